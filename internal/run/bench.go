package run

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"sat/analysis"
	"sat/attacks"
	"sat/internal/rng"
	"sat/torch"
	"sat/zoo"
)

// BenchJob measures the attack loop on networks of timm with random weights: speed does not depend on what they learnt.
type BenchJob struct {
	Models  []string // names for timm.create_model
	Batch   int
	Steps   int
	Rounds  int // measured pairs per network
	Threads int
	Peer    bool // also run torchattacks on the eager network, turn by turn
	Home    string
	Dir     string // modules are kept here
}

// benchWarmup is how many attacks run before the first measured one: first calls are up to twice as slow.
const benchWarmup = 2

// BenchResult is the measurement of one network.
type BenchResult struct {
	Model           string  `json:"model"`
	Batch           int     `json:"batch"`
	Steps           int     `json:"steps"`
	Threads         int     `json:"threads"`
	Rounds          int     `json:"rounds"`
	ImagesPerSecond float64 `json:"image_steps_per_second"` // median; gradients of one image
	PeerPerSecond   float64 `json:"peer_image_steps_per_second,omitempty"`
	// Ratio is peer seconds over ours, pair by pair: above 1 we are faster.
	Ratio  float64 `json:"ratio,omitempty"`
	RatioA float64 `json:"ratio_ci_lo,omitempty"` // 95 % interval of the median, by order statistics
	RatioB float64 `json:"ratio_ci_hi,omitempty"`
	PeakMB float64 `json:"peak_mb"`
	PeerMB float64 `json:"peer_peak_mb,omitempty"`
}

// BenchAttack runs the measurement and hands over each result as it is there.
func BenchAttack(ctx context.Context, job BenchJob, report func(BenchResult)) error {
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
		result, err := job.measure(ctx, name)
		if err != nil {
			return fmt.Errorf("bench %s: %w", name, err)
		}
		report(result)
	}
	return nil
}

func (job BenchJob) measure(ctx context.Context, name string) (BenchResult, error) {
	model, err := zoo.Load(ctx, filepath.Join(job.Dir, name+".pt"), zoo.LoadOptions{CacheDir: job.Dir})
	if err != nil {
		return BenchResult{}, err
	}
	defer model.Close()
	h, w := model.InputSize()
	x := attacks.NewBatch(job.Batch, 3, h, w)
	random := rng.New(0, "bench")
	for i := range x.Pixels {
		x.Pixels[i] = random.Float32()
	}
	y, ids := make([]int64, x.N), make([]string, x.N)
	for i := range y {
		y[i], ids[i] = int64(random.IntN(model.Classes())), fmt.Sprint(i)
	}
	pgd := attacks.Defaults()
	pgd.Steps = job.Steps
	attack := func() (float64, error) {
		started := time.Now()
		_, err := pgd.Run(ctx, model, x, y, ids, nil)
		return time.Since(started).Seconds(), err
	}
	var other *peer
	if job.Peer {
		if other, err = job.startPeer(ctx, name, h); err != nil {
			return BenchResult{}, err
		}
		defer other.stop()
	}
	var ours, theirs, ratios []float64
	result := BenchResult{Model: name, Batch: job.Batch, Steps: job.Steps, Threads: job.Threads, Rounds: job.Rounds}
	for round := range benchWarmup + job.Rounds {
		seconds, err := attack()
		if err != nil {
			return result, err
		}
		var peerSeconds float64
		if other != nil {
			if peerSeconds, result.PeerMB, err = other.attack(); err != nil {
				return result, err
			}
		}
		if round < benchWarmup {
			continue
		}
		ours = append(ours, seconds)
		if other != nil {
			theirs, ratios = append(theirs, peerSeconds), append(ratios, peerSeconds/seconds)
		}
	}
	work := float64(job.Batch * job.Steps)
	result.ImagesPerSecond = work / median(ours)
	if memory, err := torch.MemoryOf(torch.CPU); err == nil {
		result.PeakMB = float64(memory.PeakAllocated) / 1e6
	}
	if other != nil {
		result.PeerPerSecond = work / median(theirs)
		result.Ratio = median(ratios)
		result.RatioA, result.RatioB = medianInterval(ratios)
	}
	return result, nil
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

// peer is scripts/peers/attack.py waiting for the next attack.
type peer struct {
	cmd   *exec.Cmd
	input io.WriteCloser
	lines *bufio.Reader
}

func (job BenchJob) startPeer(ctx context.Context, name string, size int) (*peer, error) {
	python := filepath.Join(job.Home, "third_party", "peers", "bin", "python")
	if _, err := os.Stat(python); err != nil {
		return nil, fmt.Errorf("%w: no peer environment at %s; \"scripts/setup.sh peers\" makes it", ErrEnvironment, python)
	}
	cmd := exec.CommandContext(ctx, python, script(job.Home, "peers/attack.py"), "--model", name, "--size", fmt.Sprint(size),
		"--batch", fmt.Sprint(job.Batch), "--steps", fmt.Sprint(job.Steps), "--threads", fmt.Sprint(job.Threads))
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
	p := &peer{cmd, input, bufio.NewReader(output)}
	if _, err := p.lines.ReadString('\n'); err != nil { // "ready"
		p.stop()
		return nil, errors.New("the peer did not start; its complaint is above")
	}
	return p, nil
}

// attack has the peer run one attack and returns its seconds and its peak memory in MB.
func (p *peer) attack() (seconds, peakMB float64, err error) {
	if _, err := fmt.Fprintln(p.input, "run"); err != nil {
		return 0, 0, err
	}
	var kib float64
	_, err = fmt.Fscanln(p.lines, &seconds, &kib)
	return seconds, kib * 1024 / 1e6, err
}

func (p *peer) stop() {
	_ = p.input.Close() // ends its loop
	_ = p.cmd.Wait()
}
