package run

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"sat/analysis"
	"sat/internal/data"
	"sat/internal/data/codec"
	"sat/internal/rng"
	"sat/internal/train"
	"sat/torch"
	"sat/zoo"
)

// TrainBench measures updates of the training loop on networks of timm, in memory: what a loader costs is LoadBench's. The
// peer is an eager timm network that makes the same updates, from the same weights on the same batches, in the same precision.
type TrainBench struct {
	Models     []string // names for timm.create_model; distilled ones learn from benchTeacher
	Precisions []torch.DType
	Batch      int
	Steps      int // updates per turn; 0: as many as take about Seconds
	Seconds    float64
	Rounds     int // measured pairs per network and precision
	Threads    int
	Peer       bool
	Home       string
	Dir        string // modules are kept here
}

// TrainResult is the measurement of one network in one precision.
type TrainResult struct {
	Model           string  `json:"model"`
	Precision       string  `json:"precision"`
	Optimizer       string  `json:"opt"`
	Teacher         string  `json:"teacher,omitempty"`
	Batch           int     `json:"batch"`
	Steps           int     `json:"steps"` // updates per turn
	Threads         int     `json:"threads"`
	Rounds          int     `json:"rounds"`
	StepSeconds     float64 `json:"seconds_per_update"` // median
	Spread          float64 `json:"spread"`             // (third quartile - first) / median
	ImagesPerSecond float64 `json:"images_per_second"`
	PeerStepSeconds float64 `json:"peer_seconds_per_update,omitempty"`
	PeerSpread      float64 `json:"peer_spread,omitempty"`
	// Ratio is the median of the peer's seconds over ours, pair by pair: above 1 we are faster.
	Ratio   float64 `json:"ratio,omitempty"`
	RatioLo float64 `json:"ratio_ci_lo,omitempty"` // 95 % interval, by resampling the pairs
	RatioHi float64 `json:"ratio_ci_hi,omitempty"`
	// CPURatio is the same of the processor time of the two processes.
	CPURatio float64 `json:"cpu_ratio,omitempty"`
	PeakMB   float64 `json:"peak_mb"` // resident memory
	PeerMB   float64 `json:"peer_peak_mb,omitempty"`
	// Loss and PeerLoss are those of the same early update, after the optimiser has moved the weights.
	Loss     float64 `json:"loss"`
	PeerLoss float64 `json:"peer_loss,omitempty"`
}

const (
	benchTeacher   = "resnet18"
	benchBatches   = 8 // distinct batches, which both sides repeat
	benchSmoothing = 0.1
	// lossUpdates is the number of updates after which the losses are compared: they do not fall so far that the comparison
	// means nothing, and rounding does not grow so far that it must differ.
	lossUpdates = 3
)

// lossTolerance is the largest relative difference of the early losses of two loops that do the same. Sums in another order
// account for a few units of 1e-6 in float32 and of 1e-3 in bfloat16.
var lossTolerance = map[torch.DType]float64{torch.Float32: 1e-4, torch.BFloat16: 2e-2}

// Run measures every network in every precision and hands over each result as it is there.
func (b TrainBench) Run(ctx context.Context, report func(TrainResult)) error {
	if err := StartTorch(torch.CPU, b.Threads); err != nil {
		return err
	}
	if err := b.export(ctx); err != nil {
		return err
	}
	for _, name := range b.Models {
		for _, precision := range b.Precisions {
			result, err := b.measure(ctx, name, precision)
			if err != nil {
				return fmt.Errorf("bench train %s in %s: %w", name, precision, err)
			}
			report(result)
		}
	}
	return nil
}

// export makes the modules that are not there yet, and the teacher's if one of them has two heads.
func (b TrainBench) export(ctx context.Context) error {
	var jobs []zoo.Job
	add := func(name string) {
		job := zoo.Job{Name: moduleName(name), Model: name}
		if distilled(name) {
			job.Heads = 2
		}
		if _, err := os.Stat(b.module(name)); err != nil && !slices.ContainsFunc(jobs, func(j zoo.Job) bool { return j.Name == job.Name }) {
			jobs = append(jobs, job)
		}
	}
	for _, name := range b.Models {
		add(name)
		if distilled(name) {
			add(benchTeacher)
		}
	}
	if len(jobs) == 0 {
		return nil
	}
	return Export(ctx, b.Home, jobs, b.Dir, 1, nil)
}

func distilled(name string) bool { return strings.Contains(name, "_distilled") }

// moduleName is the name of the module of a network. Distilled networks have two heads here, and one where other benchmarks
// export them.
func moduleName(name string) string {
	if distilled(name) {
		return name + "-heads"
	}
	return name
}

func (b TrainBench) module(name string) string { return filepath.Join(b.Dir, moduleName(name)+".pt") }

// measure lets the native loop and the peer take turns, the first one first in every other round.
func (b TrainBench) measure(ctx context.Context, name string, precision torch.DType) (result TrainResult, err error) {
	work, err := os.MkdirTemp("", "sat-bench-train")
	if err != nil {
		return result, err
	}
	defer os.RemoveAll(work)
	loop, err := b.start(ctx, name, precision, work)
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, loop.stop()) }()
	recipe := loop.job.Recipe
	result = TrainResult{Model: name, Precision: precision.String(), Optimizer: string(recipe.Optimizer), Batch: b.Batch, Threads: b.Threads, Rounds: b.Rounds}
	if loop.job.Teacher != nil {
		result.Teacher = benchTeacher
	}
	if _, err := loop.turn(ctx, lossUpdates); err != nil {
		return result, err
	}
	result.Loss = loop.loss
	memory, err := torch.MemoryOf(torch.CPU)
	if err != nil {
		return result, err
	}
	result.PeakMB = float64(memory.PeakAllocated) / 1e6
	all := []contender{loop}
	var other *peer
	if b.Peer {
		if other, err = b.startPeer(ctx, name, precision, loop, work); err != nil {
			return result, err
		}
		defer other.stop()
		if _, err = other.do(lossUpdates, &result.PeerLoss); err != nil {
			return result, err
		}
		if difference := math.Abs(result.PeerLoss/result.Loss - 1); !(difference <= lossTolerance[precision]) {
			return result, fmt.Errorf("the loss of update %d is %v, that of the peer %v: they do not train alike", lossUpdates, result.Loss, result.PeerLoss)
		}
		all = append(all, trainPeer{other})
	}

	steps := max(b.Steps, 1)
	turns := make([][]turn, len(all))
	for round := range benchWarmup + b.Rounds {
		for k := range all {
			if round%2 == 1 {
				k = len(all) - 1 - k
			}
			cost, err := all[k].turn(ctx, steps)
			if err != nil {
				return result, err
			}
			if round >= benchWarmup {
				turns[k] = append(turns[k], cost)
			} else if b.Steps == 0 && k == 0 && round == benchWarmup-1 {
				steps = max(int(b.Seconds/cost.wall*float64(steps)+0.5), 1)
			}
		}
	}

	wall, cpu := func(t turn) float64 { return t.wall }, func(t turn) float64 { return t.cpu }
	own := column(turns[0], wall)
	result.Steps = steps
	result.StepSeconds, result.Spread = median(own)/float64(steps), spread(own)
	result.ImagesPerSecond = float64(b.Batch) / result.StepSeconds
	if other != nil {
		theirs := column(turns[1], wall)
		result.PeerStepSeconds, result.PeerSpread, result.PeerMB = median(theirs)/float64(steps), spread(theirs), other.peakMB
		ratios := quotients(theirs, own)
		result.Ratio = median(ratios)
		result.RatioLo, result.RatioHi = bootstrapMedian(ratios)
		result.CPURatio = median(quotients(column(turns[1], cpu), column(turns[0], cpu)))
	}
	return result, nil
}

// trainPeer is scripts/peers/train.py.
type trainPeer struct{ *peer }

// turn implements contender.
func (p trainPeer) turn(_ context.Context, steps int) (turn, error) {
	var loss float64
	return p.do(steps, &loss)
}

func (b TrainBench) startPeer(ctx context.Context, name string, precision torch.DType, loop *trainLoop, work string) (*peer, error) {
	number := func(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
	list := func(values []float32) string {
		words := make([]string, len(values))
		for i, v := range values {
			words[i] = strconv.FormatFloat(float64(v), 'g', -1, 32)
		}
		return strings.Join(words, ",")
	}
	r := loop.job.Recipe
	args := []string{"--model", name, "--weights", loop.initial, "--batches", work, "--opt", string(r.Optimizer), "--lr", number(r.LR),
		"--weight-decay", number(r.WeightDecay), "--smoothing", number(r.LabelSmoothing), "--precision", precision.String(),
		"--threads", strconv.Itoa(b.Threads), "--mean", list(loop.manifest.Mean), "--std", list(loop.manifest.Std)}
	if loop.job.Teacher != nil {
		args = append(args, "--teacher", benchTeacher, "--teacher-weights", loop.job.Teacher.Module)
	}
	return startPeer(ctx, b.Home, "train.py", args...)
}

// trainLoop is train.Run in the background: it makes as many updates as a turn has and waits for the next one.
type trainLoop struct {
	job      train.Job
	manifest *zoo.Manifest
	initial  string  // file with the weights it starts from
	loss     float64 // of the last update

	cancel  context.CancelFunc
	updates chan int     // to make
	losses  chan float64 // of the last of them
	ended   chan error
}

// start prepares a loop in the folder work, where it leaves what the peer needs.
func (b TrainBench) start(ctx context.Context, name string, precision torch.DType, work string) (_ *trainLoop, err error) {
	l := &trainLoop{initial: filepath.Join(work, "initial.pt"), updates: make(chan int), losses: make(chan float64), ended: make(chan error, 1)}
	if l.manifest, err = zoo.ReadManifest(b.module(name)); err != nil {
		return nil, err
	}
	worker, err := torch.NewWorker()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			worker.Close()
		}
	}()
	convolutional, err := b.writeInitial(ctx, worker, l, name)
	if err != nil {
		return nil, err
	}
	r := train.Defaults()
	r.Batch, r.EvalBatch, r.LabelSmoothing, r.Precision = b.Batch, b.Batch, benchSmoothing, precision.String()
	// One epoch whose end nobody sees, at a constant rate.
	r.Epochs, r.Schedule, r.Unit = 1, train.Step, train.PerEpoch
	if convolutional {
		r.Optimizer, r.LR, r.WeightDecay = train.SGD, 1e-2, 1e-4
	} else {
		r.Optimizer, r.LR, r.WeightDecay = train.AdamW, 1e-4, 0.05
	}
	l.job = train.Job{Module: b.module(name), Recipe: r, Seed: benchSeed, Dir: filepath.Join(work, "run"), Out: filepath.Join(work, "out.pt"),
		Worker: worker, Workers: 1}
	if l.manifest.Heads == 2 {
		l.job.Teacher = &train.Teacher{Module: b.module(benchTeacher), Key: benchTeacher, Alpha: 0.5, Tau: 1}
	}
	if l.job.Val, err = b.writeBatches(ctx, l, work); err != nil {
		return nil, err
	}
	l.job.Train = endless{l.job.Val}

	ctx, l.cancel = context.WithCancel(ctx)
	next := func() (n int) {
		select {
		case n = <-l.updates:
		case <-ctx.Done():
		}
		return n
	}
	left := 0
	l.job.Progress = func(p train.Progress) {
		if left--; left > 0 || ctx.Err() != nil {
			return
		}
		select {
		case l.losses <- p.Loss:
			left = next()
		case <-ctx.Done():
		}
	}
	torch.MallocTrim()
	resetPeak()
	go func() {
		defer worker.Close()
		left = next()
		_, err := train.Run(ctx, l.job)
		l.ended <- err
	}()
	return l, nil
}

const benchSeed = 1

// writeInitial writes the weights that the loop draws, and reports whether the network has batch normalisation.
func (b TrainBench) writeInitial(ctx context.Context, w *torch.Worker, l *trainLoop, name string) (convolutional bool, err error) {
	err = w.Do(ctx, func(s *torch.Scope) error {
		network, _, err := zoo.OpenModule(ctx, s, b.module(name), torch.CPU)
		if err != nil {
			return err
		}
		defer network.Close()
		if err := zoo.InitWeights(ctx, s, network, l.manifest.Init, benchSeed); err != nil {
			return err
		}
		convolutional = slices.ContainsFunc(network.Tensors(), func(t torch.TensorInfo) bool { return strings.HasSuffix(t.Name, "running_mean") })
		return network.Save(l.initial, nil)
	})
	return convolutional, err
}

// writeBatches makes images of noise and writes the first batches that the loop will see for the peer.
func (b TrainBench) writeBatches(ctx context.Context, l *trainLoop, dir string) (*data.Set, error) {
	height, width := l.manifest.InputSize[1], l.manifest.InputSize[2]
	random := rng.New(benchSeed, "bench")
	n := benchBatches * b.Batch
	set := &data.Set{N: n, C: codec.Channels, H: height, W: width, Digest: "noise", Images: make([]uint8, n*height*width*codec.Channels)}
	for i := range set.Images {
		set.Images[i] = uint8(random.Uint32())
	}
	for i := range n {
		set.Labels, set.IDs = append(set.Labels, int64(random.IntN(l.manifest.Classes))), append(set.IDs, strconv.Itoa(i))
	}
	batches := data.Stream{Images: endless{set}, Height: height, Width: width, Batch: b.Batch, Seed: benchSeed}.Open(ctx)
	defer batches.Close()
	var images []uint8
	var labels []int64
	for range benchBatches {
		batch, _, err := batches.Next()
		if err != nil {
			return nil, err
		}
		images, labels = append(images, batch.Images...), append(labels, batch.Labels...)
	}
	return set, errors.Join(
		data.WriteNPY(filepath.Join(dir, "images.npy"), images, benchBatches, b.Batch, height, width, codec.Channels),
		data.WriteNPY(filepath.Join(dir, "labels.npy"), labels, benchBatches, b.Batch))
}

// endless has the images of a set so often that no benchmark comes to their end.
type endless struct{ *data.Set }

const endlessImages = 1 << 18

func (e endless) Len() int                 { return endlessImages }
func (e endless) Label(i int) int64        { return e.Set.Label(i % e.N) }
func (e endless) ID(i int) string          { return e.Set.ID(i % e.N) }
func (e endless) Reader() data.ImageReader { return endlessReader{e.Set.Reader(), e.N} }

type endlessReader struct {
	data.ImageReader
	n int
}

func (r endlessReader) Image(i int) (codec.Image, error) { return r.ImageReader.Image(i % r.n) }

// turn implements contender.
func (l *trainLoop) turn(ctx context.Context, steps int) (turn, error) {
	started, before := time.Now(), cpuSeconds()
	select {
	case l.updates <- steps:
	case err := <-l.ended:
		return turn{}, l.early(err)
	case <-ctx.Done():
		return turn{}, ctx.Err()
	}
	select {
	case l.loss = <-l.losses:
		return turn{wall: time.Since(started).Seconds(), cpu: cpuSeconds() - before}, nil
	case err := <-l.ended:
		return turn{}, l.early(err)
	}
}

// early is the error of a loop that ended before it was stopped.
func (l *trainLoop) early(err error) error {
	l.ended <- nil // for stop
	if err == nil {
		err = fmt.Errorf("%d images are not enough for so many updates", endlessImages)
	}
	return err
}

// stop ends the loop.
func (l *trainLoop) stop() error {
	l.cancel()
	if err := <-l.ended; err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// resamples is how often bootstrapMedian draws.
const resamples = 10_000

// bootstrapMedian returns the 95 % percentile interval of the median under resampling of the values.
func bootstrapMedian(values []float64) (lo, hi float64) {
	random := rng.New(0, "bootstrap")
	medians, drawn := make([]float64, resamples), make([]float64, len(values))
	for i := range medians {
		for k := range drawn {
			drawn[k] = values[random.IntN(len(values))]
		}
		medians[i] = median(drawn)
	}
	slices.Sort(medians)
	return analysis.Quantile(medians, 0.025), analysis.Quantile(medians, 0.975)
}
