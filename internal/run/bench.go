package run

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
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

// The pieces of work. The peers of the attacks are named in benchattack.go, that of the second a forward pass without
// gradients, all on timm's eager network in float32 with the module's own weights, on the same images.
const (
	BenchAttacks  BenchWork = "attack"   // Method with Steps iterations on one batch
	BenchTransfer BenchWork = "transfer" // Steps forward passes of one batch, with predictions
)

// BenchJob measures networks of timm with random weights: speed does not depend on what they learnt.
type BenchJob struct {
	Work BenchWork
	BenchAttack
	Models  []string // names for timm.create_model
	Modes   []zoo.Mode
	Batch   int
	Steps   int // 0: as many as take about Seconds
	Seconds float64
	Rounds  int // measured pairs per network
	Threads int
	Workers int  // copies of the network that work at the same time, each on a batch of its own; not with Peer
	Peer    bool // also run the peer, turn by turn
	Home    string
	Dir     string // modules are kept here
}

// benchWarmup is how many turns run before the first measured one: first calls are up to twice as slow.
const benchWarmup = 2

// maxTransferSteps is the largest number of forward passes of a turn.
const maxTransferSteps = 50

// BenchResult is the measurement of one network in one mode.
type BenchResult struct {
	Work            BenchWork `json:"work"`
	Method          string    `json:"method,omitempty"`
	Epsilon         string    `json:"epsilon,omitempty"`
	Targets         int       `json:"targets,omitempty"` // classes that apgd-t and fab-t aim at
	Queries         int       `json:"queries,omitempty"` // of square within autoattack
	Model           string    `json:"model"`
	Precision       string    `json:"precision"` // the mode
	Batch           int       `json:"batch"`
	Steps           int       `json:"steps"`
	Threads         int       `json:"threads"`
	Workers         int       `json:"workers"`
	Rounds          int       `json:"rounds"`
	ImagesPerSecond float64   `json:"images_per_second"` // median; an image counts once per step
	SecondsPerImage float64   `json:"seconds_per_image"` // median cost of an image for all steps
	Spread          float64   `json:"spread"`            // (third quartile - first) / median of our seconds
	PeerPerSecond   float64   `json:"peer_images_per_second,omitempty"`
	PeerPerImage    float64   `json:"peer_seconds_per_image,omitempty"`
	PeerSpread      float64   `json:"peer_spread,omitempty"`
	// Ratio is the median of the peer's seconds over ours, pair by pair: above 1 we are faster.
	Ratio   float64 `json:"ratio,omitempty"`
	RatioLo float64 `json:"ratio_ci_lo,omitempty"` // 95 % interval of the median, by order statistics
	RatioHi float64 `json:"ratio_ci_hi,omitempty"`
	// CPURatio is the same of the processor time of the two processes, which other programs on the machine disturb less.
	CPURatio float64 `json:"cpu_ratio,omitempty"`
	PeakMB   float64 `json:"peak_mb"` // resident memory
	PeerMB   float64 `json:"peer_peak_mb,omitempty"`
	// Fooled counts the images of the batch that fell; the peer's number is the same, or Bench fails.
	Fooled *int `json:"fooled,omitempty"`
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
		if _, err := os.Stat(job.module(name)); err != nil {
			jobs = append(jobs, zoo.Job{Name: job.exported(name), Model: name, Attention: job.needsAttention()})
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

// turn is the cost of one repetition, and how many images an attack fooled (-1: it does not say).
type turn struct {
	wall, cpu float64
	fooled    int
}

// contender repeats the work of a benchmark.
type contender interface {
	turn(ctx context.Context, steps int) (turn, error)
}

// measure lets all modes and the peer take turns, in the opposite order every second round, so that a machine that
// gets slower or faster meanwhile favours nobody.
func (job BenchJob) measure(ctx context.Context, name string) (results []BenchResult, err error) {
	peaks, err := job.peaks(ctx, name)
	if err != nil {
		return nil, err
	}
	var all []contender
	for _, mode := range job.Modes {
		c, err := job.start(ctx, name, mode)
		if err != nil {
			return nil, err
		}
		defer c.close()
		all = append(all, c)
	}
	var other *peer
	if job.Peer {
		if other, err = job.startPeer(ctx, name, all[0].(*ours).x); err != nil {
			return nil, err
		}
		defer other.stop()
		all = append(all, attackPeer{other})
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
				steps = min(max(int(job.Seconds/cost.wall*float64(steps)+0.5), 1), job.maxSteps())
			}
		}
		for k := range turns {
			if round >= benchWarmup && last(turns[k]).fooled != last(turns[0]).fooled {
				return nil, fmt.Errorf("%d of %d images fall in one mode or by the peer, %d in the other: they did not do the same work; choose another epsilon",
					last(turns[k]).fooled, job.Batch, last(turns[0]).fooled)
			}
		}
	}

	work := float64(job.Batch * steps * job.Workers)
	wall, cpu := func(t turn) float64 { return t.wall }, func(t turn) float64 { return t.cpu }
	for k, mode := range job.Modes {
		r := BenchResult{Work: job.Work, Model: name, Precision: mode.String(), Batch: job.Batch, Steps: steps,
			Threads: job.Threads, Workers: job.Workers, Rounds: job.Rounds, PeakMB: peaks[k]}
		if job.Work == BenchAttacks {
			job.describe(&r, last(turns[k]).fooled)
		}
		ours := column(turns[k], wall)
		r.ImagesPerSecond, r.SecondsPerImage, r.Spread = work/median(ours), median(ours)/(work/float64(steps)), spread(ours)
		if other != nil {
			theirs := column(turns[len(turns)-1], wall)
			r.PeerPerSecond, r.PeerPerImage, r.PeerSpread, r.PeerMB =
				work/median(theirs), median(theirs)/float64(job.Batch), spread(theirs), other.peakMB
			ratios := quotients(theirs, ours)
			r.Ratio = median(ratios)
			r.RatioLo, r.RatioHi = medianInterval(ratios)
			r.CPURatio = median(quotients(column(turns[len(turns)-1], cpu), column(turns[k], cpu)))
		}
		results = append(results, r)
	}
	return results, nil
}

func last[T any](values []T) T { return values[len(values)-1] }

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

// peaks measures the resident memory of the process while one mode alone is loaded and works. The kernel keeps the
// peak of a process; it is reset before each.
func (job BenchJob) peaks(ctx context.Context, name string) ([]float64, error) {
	var out []float64
	for _, mode := range job.Modes {
		torch.MallocTrim()
		if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
			return nil, fmt.Errorf("reset the peak of resident memory: %w", err)
		}
		c, err := job.start(ctx, name, mode)
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

func (job BenchJob) start(ctx context.Context, name string, mode zoo.Mode) (*ours, error) {
	o := &ours{job: job}
	for range job.Workers {
		model, err := zoo.Load(ctx, job.module(name), zoo.LoadOptions{CacheDir: job.Dir, Mode: mode})
		if err != nil {
			o.close()
			return nil, err
		}
		o.models = append(o.models, model)
	}
	o.x = benchImages(job.Batch, o.models[0])
	for i := range job.Batch {
		o.ids = append(o.ids, strconv.Itoa(i))
	}
	// The network's own predictions: its images are then all there to be attacked.
	logits, err := o.models[0].Logits(ctx, o.x)
	if err == nil {
		o.y, err = attacks.Predict(logits, job.Batch)
	}
	if err != nil {
		o.close()
		return nil, err
	}
	return o, nil
}

// benchImages are noise.
func benchImages(n int, m *zoo.Model) attacks.Batch {
	h, w := m.InputSize()
	x := attacks.NewBatch(n, 3, h, w)
	random := rng.New(0, "bench")
	for i := range x.Pixels {
		x.Pixels[i] = random.Float32()
	}
	return x
}

func (o *ours) close() {
	for _, m := range o.models {
		m.Close()
	}
}

// turn implements contender.
func (o *ours) turn(ctx context.Context, steps int) (turn, error) {
	started, before := time.Now(), cpuSeconds()
	failures, fooled := make([]error, len(o.models)), make([]int, len(o.models))
	var wg sync.WaitGroup
	for i, m := range o.models {
		wg.Go(func() { fooled[i], failures[i] = o.work(ctx, m, steps) })
	}
	wg.Wait()
	return turn{time.Since(started).Seconds(), cpuSeconds() - before, fooled[0]}, errors.Join(failures...)
}

// work says how many images an attack fooled, -1 where it does not look.
func (o *ours) work(ctx context.Context, m *zoo.Model, steps int) (fooled int, err error) {
	if o.job.Work == BenchAttacks {
		return o.job.attack(ctx, m, o.x, o.y, o.ids, steps)
	}
	for range steps {
		if _, err := attacks.Evaluate(ctx, m.TransferLogits, o.x, o.x.N, nil); err != nil {
			return 0, err
		}
	}
	return -1, nil
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
