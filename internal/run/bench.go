package run

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"sat/analysis"
	"sat/attacks"
	"sat/internal/rng"
	"sat/torch"
	"sat/zoo"
)

// BenchWork is what a benchmark repeats.
type BenchWork string

// The pieces of work. The peer of the first is torchattacks' PGD, that of the second a forward pass without gradients,
// both on timm's eager network in float32.
const (
	BenchAttacks  BenchWork = "attack"   // PGD: Steps gradients of one batch
	BenchTransfer BenchWork = "transfer" // Steps forward passes of one batch, with predictions
)

// BenchJob measures networks of timm with random weights: speed does not depend on what they learnt.
type BenchJob struct {
	Work       BenchWork
	Models     []string // names for timm.create_model
	Precisions []torch.DType
	Batch      int
	Steps      int // 0: as many as take about Seconds
	Seconds    float64
	Rounds     int // measured pairs per network
	Threads    int
	Workers    int  // copies of the network that work at the same time, each on a batch of its own; not with Peer
	Peer       bool // also run the peer, turn by turn
	Home       string
	Dir        string // modules are kept here
}

// benchWarmup is how many turns run before the first measured one: first calls are up to twice as slow.
const benchWarmup = 2

// maxBenchSteps is the paper's number of steps.
const maxBenchSteps = 50

// BenchResult is the measurement of one network in one precision.
type BenchResult struct {
	Work            BenchWork `json:"work"`
	Model           string    `json:"model"`
	Precision       string    `json:"precision"`
	Batch           int       `json:"batch"`
	Steps           int       `json:"steps"`
	Threads         int       `json:"threads"`
	Workers         int       `json:"workers"`
	Rounds          int       `json:"rounds"`
	ImagesPerSecond float64   `json:"images_per_second"` // median; an image counts once per step
	Spread          float64   `json:"spread"`            // (third quartile - first) / median of our seconds
	PeerPerSecond   float64   `json:"peer_images_per_second,omitempty"`
	PeerSpread      float64   `json:"peer_spread,omitempty"`
	// Ratio is the median of the peer's seconds over ours, pair by pair: above 1 we are faster.
	Ratio   float64 `json:"ratio,omitempty"`
	RatioLo float64 `json:"ratio_ci_lo,omitempty"` // 95 % interval of the median, by order statistics
	RatioHi float64 `json:"ratio_ci_hi,omitempty"`
	// CPURatio is the same of the processor time of the two processes, which other programs on the machine disturb less.
	CPURatio float64 `json:"cpu_ratio,omitempty"`
	PeakMB   float64 `json:"peak_mb"` // resident memory
	PeerMB   float64 `json:"peer_peak_mb,omitempty"`
}

// Bench runs the measurement and hands over each result as it is there.
func Bench(ctx context.Context, job BenchJob, report func(BenchResult)) error {
	if job.Peer && job.Workers > 1 {
		return errors.New("the peer runs one attack at a time: compare with one worker")
	}
	if err := StartTorch(torch.CPU, job.Threads); err != nil {
		return err
	}
	var jobs []zoo.Job
	for _, name := range job.Models {
		if _, err := os.Stat(filepath.Join(job.Dir, name+".pt")); err != nil {
			jobs = append(jobs, zoo.Job{Name: name, Model: name})
		}
	}
	if len(jobs) > 0 {
		if err := Export(ctx, job.Home, jobs, job.Dir, 1, nil); err != nil {
			return err
		}
	}
	for _, name := range job.Models {
		results, err := job.measure(ctx, name)
		if err != nil {
			return fmt.Errorf("bench %s: %w", name, err)
		}
		for _, r := range results {
			report(r)
		}
	}
	return nil
}

// turn is the cost of one repetition.
type turn struct{ wall, cpu float64 }

// contender repeats the work of a benchmark.
type contender interface {
	turn(ctx context.Context, steps int) (turn, error)
}

// measure lets all precisions and the peer take turns, in the opposite order every second round, so that a machine that
// gets slower or faster meanwhile favours nobody.
func (job BenchJob) measure(ctx context.Context, name string) (results []BenchResult, err error) {
	peaks, err := job.peaks(ctx, name)
	if err != nil {
		return nil, err
	}
	var all []contender
	for _, precision := range job.Precisions {
		c, err := job.start(ctx, name, precision)
		if err != nil {
			return nil, err
		}
		defer c.close()
		all = append(all, c)
	}
	var other *peer
	if job.Peer {
		if other, err = job.startPeer(ctx, name); err != nil {
			return nil, err
		}
		defer other.stop()
		all = append(all, other)
	}

	steps := max(job.Steps, 1)
	turns := make([][]turn, len(all))
	for round := range benchWarmup + job.Rounds {
		for k := range all {
			if round%2 == 1 {
				k = len(all) - 1 - k
			}
			cost, err := all[k].turn(ctx, steps)
			if err != nil {
				return nil, err
			}
			if round >= benchWarmup {
				turns[k] = append(turns[k], cost)
			} else if job.Steps == 0 && k == 0 && round == benchWarmup-1 {
				steps = min(max(int(job.Seconds/cost.wall*float64(steps)+0.5), 1), maxBenchSteps)
			}
		}
	}

	work := float64(job.Batch * steps * job.Workers)
	wall, cpu := func(t turn) float64 { return t.wall }, func(t turn) float64 { return t.cpu }
	for k, precision := range job.Precisions {
		r := BenchResult{Work: job.Work, Model: name, Precision: precision.String(), Batch: job.Batch, Steps: steps,
			Threads: job.Threads, Workers: job.Workers, Rounds: job.Rounds, PeakMB: peaks[k]}
		ours := column(turns[k], wall)
		r.ImagesPerSecond, r.Spread = work/median(ours), spread(ours)
		if other != nil {
			theirs := column(turns[len(turns)-1], wall)
			r.PeerPerSecond, r.PeerSpread, r.PeerMB = work/median(theirs), spread(theirs), other.peakMB
			ratios := quotients(theirs, ours)
			r.Ratio = median(ratios)
			r.RatioLo, r.RatioHi = medianInterval(ratios)
			r.CPURatio = median(quotients(column(turns[len(turns)-1], cpu), column(turns[k], cpu)))
		}
		results = append(results, r)
	}
	return results, nil
}

func column(turns []turn, f func(turn) float64) []float64 {
	out := make([]float64, len(turns))
	for i, t := range turns {
		out[i] = f(t)
	}
	return out
}

func quotients(a, b []float64) []float64 {
	out := make([]float64, len(a))
	for i := range a {
		out[i] = a[i] / b[i]
	}
	return out
}

// spread is the distance of the quartiles relative to the median.
func spread(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return (analysis.Quantile(sorted, 0.75) - analysis.Quantile(sorted, 0.25)) / analysis.Quantile(sorted, 0.5)
}

// GeometricMean is the usual average of ratios.
func GeometricMean(ratios []float64) float64 {
	sum := 0.0
	for _, r := range ratios {
		sum += math.Log(r)
	}
	return math.Exp(sum / float64(len(ratios)))
}

// peaks measures the resident memory of the process while one precision alone is loaded and works. The kernel keeps the
// peak of a process; it is reset before each.
func (job BenchJob) peaks(ctx context.Context, name string) ([]float64, error) {
	var out []float64
	for _, precision := range job.Precisions {
		torch.MallocTrim()
		if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
			return nil, fmt.Errorf("reset the peak of resident memory: %w", err)
		}
		c, err := job.start(ctx, name, precision)
		if err != nil {
			return nil, err
		}
		_, err = c.turn(ctx, 2)
		c.close()
		if err != nil {
			return nil, err
		}
		memory, err := torch.MemoryOf(torch.CPU)
		if err != nil {
			return nil, err
		}
		out = append(out, float64(memory.PeakAllocated)/1e6)
	}
	return out, nil
}

// ours is the network in this process, one copy per worker.
type ours struct {
	job    BenchJob
	models []*zoo.Model
	x      attacks.Batch
	y      []int64
	ids    []string
}

func (job BenchJob) start(ctx context.Context, name string, precision torch.DType) (*ours, error) {
	o := &ours{job: job}
	for range job.Workers {
		model, err := zoo.Load(ctx, filepath.Join(job.Dir, name+".pt"), zoo.LoadOptions{CacheDir: job.Dir, Precision: precision})
		if err != nil {
			o.close()
			return nil, err
		}
		o.models = append(o.models, model)
	}
	h, w := o.models[0].InputSize()
	o.x = attacks.NewBatch(job.Batch, 3, h, w)
	random := rng.New(0, "bench")
	for i := range o.x.Pixels {
		o.x.Pixels[i] = random.Float32()
	}
	for i := range job.Batch {
		o.y, o.ids = append(o.y, int64(random.IntN(o.models[0].Classes()))), append(o.ids, strconv.Itoa(i))
	}
	return o, nil
}

func (o *ours) close() {
	for _, m := range o.models {
		m.Close()
	}
}

// turn implements contender.
func (o *ours) turn(ctx context.Context, steps int) (turn, error) {
	started, before := time.Now(), cpuSeconds()
	failures := make([]error, len(o.models))
	var wg sync.WaitGroup
	for i, m := range o.models {
		wg.Go(func() { failures[i] = o.work(ctx, m, steps) })
	}
	wg.Wait()
	return turn{time.Since(started).Seconds(), cpuSeconds() - before}, errors.Join(failures...)
}

func (o *ours) work(ctx context.Context, m *zoo.Model, steps int) error {
	if o.job.Work == BenchAttacks {
		pgd := attacks.Defaults()
		pgd.Steps = steps
		_, err := pgd.Images(ctx, m, o.x, o.y, o.ids, nil)
		return err
	}
	for range steps {
		if _, err := attacks.Evaluate(ctx, m.TransferLogits, o.x, o.x.N, nil); err != nil {
			return err
		}
	}
	return nil
}

// cpuSeconds is the processor time of this process so far, over all threads.
func cpuSeconds() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return math.NaN()
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return analysis.Quantile(sorted, 0.5)
}

// medianInterval is the distribution-free interval of the median: the order statistics between which it lies with at
// least 95 % probability, from the binomial distribution with p = 1/2.
func medianInterval(values []float64) (lo, hi float64) {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	tail, term := 0.0, 1.0 // P(fewer than k of n are below the median)
	for range n {
		term /= 2
	}
	k := 0
	for ; k < n/2; k++ {
		if tail+term > 0.025 {
			break
		}
		tail += term
		term *= float64(n-k) / float64(k+1)
	}
	k = max(k, 1)
	return sorted[k-1], sorted[n-k]
}

// peer is a script of scripts/peers waiting for its next turn.
type peer struct {
	cmd    *exec.Cmd
	input  io.WriteCloser
	lines  *bufio.Reader
	peakMB float64
}

func (job BenchJob) startPeer(ctx context.Context, name string) (*peer, error) {
	m, err := zoo.ReadManifest(filepath.Join(job.Dir, name+".pt"))
	if err != nil {
		return nil, err
	}
	return startPeer(ctx, job.Home, "attack.py", "--model", name, "--work", string(job.Work),
		"--size", strconv.Itoa(m.InputSize[1]), "--batch", strconv.Itoa(job.Batch), "--threads", strconv.Itoa(job.Threads))
}

// startPeer starts scripts/peers/NAME in the peers' environment and waits until it is ready.
func startPeer(ctx context.Context, home, name string, args ...string) (*peer, error) {
	python := filepath.Join(home, "third_party", "peers", "bin", "python")
	if _, err := os.Stat(python); err != nil {
		return nil, fmt.Errorf("%w: no peer environment at %s; \"scripts/setup.sh peers\" makes it", ErrEnvironment, python)
	}
	cmd := exec.CommandContext(ctx, python, append([]string{script(home, "peers/"+name)}, args...)...)
	cmd.Stderr = os.Stderr
	input, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &peer{cmd: cmd, input: input, lines: bufio.NewReader(output)}
	if line, err := p.lines.ReadString('\n'); err != nil || !strings.HasPrefix(line, "ready") {
		p.stop()
		return nil, errors.New("the peer did not start; its complaint is above")
	}
	return p, nil
}

// turn implements contender.
func (p *peer) turn(_ context.Context, steps int) (turn, error) {
	t, _, err := p.do(steps, false)
	return t, err
}

// do has the peer repeat its work. A peer that trains also says the loss of its last update.
func (p *peer) do(steps int, trains bool) (t turn, loss float64, err error) {
	if _, err := fmt.Fprintln(p.input, steps); err != nil {
		return turn{}, 0, err
	}
	var kib float64
	answer := []any{&t.wall, &t.cpu, &kib}
	if trains {
		answer = append(answer, &loss)
	}
	_, err = fmt.Fscanln(p.lines, answer...)
	p.peakMB = kib * 1024 / 1e6
	return t, loss, err
}

func (p *peer) stop() {
	_ = p.input.Close() // ends its loop
	_ = p.cmd.Wait()
}
