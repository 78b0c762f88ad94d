package run

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"sat/analysis"
	"sat/internal/data"
	"sat/internal/rng"
	"sat/internal/studies"
)

// AnalysisBench measures the analyses on synthetic models.
type AnalysisBench struct {
	Models  []int // numbers of models
	Images  int   // of the ensembles, 69 models with 1,000 classes; 0: no ensembles
	Rounds  int   // measured pairs for up to fewModels models
	Tasks   []string
	Peer    bool // also scikit-learn and NumPy, turn by turn
	Home    string
	Scratch string // folder of the arrays that both sides read
}

// AnalysisTasks are what can be measured.
var AnalysisTasks = []string{"boosting", "importance", "kmeans", "tsne", "ensembles"}

// Beyond fewModels, the peer needs minutes for one run of some tasks: then the trees, permutations and rounds are fewer, on
// both sides.
const (
	fewModels       = 200
	manyStages      = 500
	fewStages       = 10
	manyRepeats     = 10
	fewRepeats      = 1
	fewRounds       = 3
	ensembleModels  = 69
	ensembleClasses = 1000
	benchClusters   = 10
	benchRestarts   = 100
)

// AnalysisResult is the measurement of one task.
type AnalysisResult struct {
	Task        string  `json:"task"`
	Models      int     `json:"models"`
	Size        string  `json:"size"` // what one run does
	Rounds      int     `json:"rounds"`
	Seconds     float64 `json:"seconds"` // median
	PeerSeconds float64 `json:"peer_seconds,omitempty"`
	// Ratio is peer seconds over ours, pair by pair: above 1 we are faster.
	Ratio  float64 `json:"ratio,omitempty"`
	RatioA float64 `json:"ratio_ci_lo,omitempty"`
	RatioB float64 `json:"ratio_ci_hi,omitempty"`
	// CPU are median seconds of processor time over all threads, which other work on the machine hardly changes.
	CPU       float64 `json:"cpu_seconds"`
	PeerCPU   float64 `json:"peer_cpu_seconds,omitempty"`
	PeakMB    float64 `json:"peak_mb"` // of the process so far
	PeerMB    float64 `json:"peer_peak_mb,omitempty"`
	Value     float64 `json:"value"` // R2, inertia, KL or wrong images: that both sides did the same
	PeerValue float64 `json:"peer_value,omitempty"`
}

// benchTask is one task on prepared data.
type benchTask struct {
	name    string
	models  int
	size    string
	rounds  int
	ours    func() (float64, error)
	request map[string]any // what the peer is asked for
	agree   func(ours, theirs float64) bool
}

// BenchAnalysis runs the measurement and hands over each result as it is there.
func BenchAnalysis(ctx context.Context, job AnalysisBench, report func(AnalysisResult)) error {
	if err := os.MkdirAll(job.Scratch, 0o777); err != nil {
		return err
	}
	var peer *analysisPeer
	if job.Peer {
		var err error
		if peer, err = startAnalysisPeer(ctx, job.Home); err != nil {
			return err
		}
		defer peer.stop()
	}
	run := func(tasks []benchTask, err error) error {
		if err != nil {
			return err
		}
		for _, t := range tasks {
			if !slices.Contains(job.Tasks, t.name) {
				continue
			}
			result, err := t.measure(ctx, peer)
			if err != nil {
				return fmt.Errorf("bench %s of %d models: %w", t.name, t.models, err)
			}
			report(result)
		}
		return nil
	}
	if slices.Contains(job.Tasks, "ensembles") && job.Images > 0 {
		if err := run(job.ensembleTask(ctx)); err != nil {
			return err
		}
	}
	for _, n := range job.Models {
		if err := run(job.matrixTasks(ctx, n)); err != nil {
			return err
		}
	}
	return nil
}

// measure takes turns with the peer, after one round that does not count.
func (t benchTask) measure(ctx context.Context, peer *analysisPeer) (AnalysisResult, error) {
	result := AnalysisResult{Task: t.name, Models: t.models, Size: t.size, Rounds: t.rounds}
	var ours, theirs, ratios, cpu, peerCPU []float64
	for round := range 1 + t.rounds {
		if err := ctx.Err(); err != nil {
			return result, err
		}
		started, before := time.Now(), processorTime()
		value, err := t.ours()
		if err != nil {
			return result, err
		}
		seconds, spent := time.Since(started).Seconds(), processorTime()-before
		result.Value = value
		answer := peerAnswer{Seconds: math.NaN()}
		if peer != nil {
			if answer, err = peer.ask(t.request); err != nil {
				return result, err
			}
			if !t.agree(value, answer.Value) {
				return result, fmt.Errorf("%v, but the peer finds %v", value, answer.Value)
			}
			result.PeerValue, result.PeerMB = answer.Value, answer.PeakKiB*1024/1e6
		}
		if round > 0 {
			ours, theirs, ratios = append(ours, seconds), append(theirs, answer.Seconds), append(ratios, answer.Seconds/seconds)
			cpu, peerCPU = append(cpu, spent), append(peerCPU, answer.CPU)
		}
	}
	result.Seconds, result.CPU = median(ours), median(cpu)
	if peer != nil {
		result.PeerSeconds, result.PeerCPU, result.Ratio = median(theirs), median(peerCPU), median(ratios)
		result.RatioA, result.RatioB = medianInterval(ratios)
	}
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err == nil {
		result.PeakMB = float64(usage.Maxrss) * 1024 / 1e6
	}
	return result, nil
}

// processorTime is what this process has used so far, in seconds; NaN if the system does not say.
func processorTime() float64 {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		return math.NaN()
	}
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e9
}

// benchZoo makes models with thirteen components and a similarity that falls with the number of different ones.
func benchZoo(n int) (*analysis.Matrix, *analysis.Features) {
	random := rng.New(0, "bench/analysis", uint64(n))
	f := &analysis.Features{Components: componentNames}
	for i := range n {
		row := make([]string, len(componentNames))
		for c := range row {
			row[c] = fmt.Sprint(random.IntN(2 + c%4))
		}
		f.Models, f.Values = append(f.Models, fmt.Sprintf("model%04d", i)), append(f.Values, row)
	}
	m := analysis.NewMatrix(f.Models)
	for i := range n {
		m.Set(i, i, math.Log(100))
		for j := range i {
			v := 3.8 + 0.1*random.Normal()
			for c := range componentNames {
				if f.Values[i][c] != f.Values[j][c] {
					v -= 0.3 / float64(1+c)
				}
			}
			m.Set(i, j, v)
			m.Set(j, i, v)
		}
	}
	return m, f
}

// matrixTasks are the tasks on a similarity matrix of n models.
func (job AnalysisBench) matrixTasks(ctx context.Context, n int) ([]benchTask, error) {
	stages, repeats, rounds := manyStages, manyRepeats, job.Rounds
	if n > fewModels {
		stages, repeats, rounds = fewStages, fewRepeats, min(fewRounds, job.Rounds)
	}
	sat, features := benchZoo(n)
	x, err := features.PairDifferences()
	if err != nil {
		return nil, err
	}
	y, columns := sat.UpperTriangle(), len(features.Components)
	clusters, err := analysis.SpectralClusters(ctx, sat, analysis.ClusterOptions{K: benchClusters, Restarts: 1})
	if err != nil {
		return nil, err
	}
	var flat []float64
	for _, row := range clusters.Features {
		flat = append(flat, row...)
	}
	distance := analysis.NewMatrix(sat.Names)
	for i := range n {
		for j := range n {
			if i != j {
				distance.Set(i, j, max(0, math.Log(100)-sat.At(i, j)))
			}
		}
	}
	in := func(name string) string { return filepath.Join(job.Scratch, fmt.Sprintf("%s-%d.npy", name, n)) }
	if err := errors.Join(data.WriteNPY(in("x"), x, len(y), columns), data.WriteNPY(in("y"), y, len(y)),
		data.WriteNPY(in("rows"), flat, n, benchClusters), data.WriteNPY(in("distance"), distance.Values, n, n)); err != nil {
		return nil, err
	}
	var fitted *analysis.Boosting
	var problem *analysis.Regression
	close := func(a, b float64) bool { return math.Abs(a-b) <= 1e-9*math.Max(math.Abs(a), math.Abs(b)) }
	fit := func() (float64, error) {
		if problem, err = analysis.NewRegression(x, columns, y); err != nil {
			return 0, err
		}
		fitted, err = analysis.Boost(ctx, problem, analysis.BoostingOptions{Stages: stages})
		if err != nil {
			return 0, err
		}
		return fitted.R2, nil
	}
	return []benchTask{
		{name: "boosting", models: n, size: fmt.Sprintf("%d pairs, %d trees", len(y), stages), rounds: rounds, ours: fit,
			request: map[string]any{"task": "boosting", "x": in("x"), "y": in("y"), "stages": stages}, agree: close},
		{name: "importance", models: n, size: fmt.Sprintf("%d pairs, %d trees, %d permutations", len(y), stages, repeats*columns),
			rounds: rounds, ours: func() (float64, error) {
				if fitted == nil { // boosting is not among the tasks
					return 0, errors.New("needs the task boosting, whose model it looks into")
				}
				r2, _, err := fitted.PermutationImportance(ctx, problem, repeats, 0)
				return r2, err
			}, request: map[string]any{"task": "importance", "repeats": repeats}, agree: close},
		{name: "kmeans", models: n, size: fmt.Sprintf("%d clusters, %d restarts", benchClusters, benchRestarts), rounds: rounds,
			ours: func() (float64, error) {
				r, err := analysis.KMeans(ctx, clusters.Features, analysis.KMeansOptions{K: benchClusters, Restarts: benchRestarts})
				if err != nil {
					return 0, err
				}
				return r.Inertia, nil
			}, request: map[string]any{"task": "kmeans", "x": in("rows"), "k": benchClusters, "restarts": benchRestarts},
			agree: func(a, b float64) bool { return a <= b*(1+1e-9) }},
		{name: "tsne", models: n, size: "1000 steps", rounds: rounds,
			ours: func() (float64, error) {
				e, err := analysis.TSNEOfDistances(ctx, distance, analysis.TSNEOptions{Perplexity: 30, Init: analysis.InitRandom})
				if err != nil {
					return 0, err
				}
				return e.KL, nil
			}, request: map[string]any{"task": "tsne", "x": in("distance")},
			agree: func(a, b float64) bool { return math.Abs(a-b) < 0.15*b }}, // another local optimum of another start
	}, nil
}

// ensembleTask is the ensembles of all pairs of 69 models, whose logits lie in files.
func (job AnalysisBench) ensembleTask(ctx context.Context) ([]benchTask, error) {
	labels := make([]int64, job.Images)
	random := rng.New(0, "bench/labels")
	for i := range labels {
		labels[i] = int64(random.IntN(ensembleClasses))
	}
	dir := filepath.Join(job.Scratch, "logits")
	labelFile := filepath.Join(job.Scratch, "labels.npy")
	if err := data.WriteNPY(labelFile, labels, len(labels)); err != nil {
		return nil, err
	}
	var names, paths []string
	for m := range ensembleModels {
		name := fmt.Sprintf("model%02d", m)
		names, paths = append(names, name), append(paths, filepath.Join(dir, name+".npy"))
		err := data.StreamNPY(paths[m], []int{job.Images, ensembleClasses}, func(write func([]float32) error) error {
			row := make([]float32, ensembleClasses)
			for i, y := range labels {
				benchLogits(row, m, i, int(y))
				if err := write(row); err != nil {
					return err
				}
			}
			return ctx.Err()
		})
		if err != nil {
			return nil, err
		}
	}
	var sets [][]int
	for a := range names {
		for b := a + 1; b < len(names); b++ {
			sets = append(sets, []int{a, b})
		}
	}
	return []benchTask{{
		name: "ensembles", models: ensembleModels,
		size:   fmt.Sprintf("%d pairs, %d images, %d classes", len(sets), job.Images, ensembleClasses),
		rounds: job.Rounds,
		ours: func() (float64, error) {
			logits, err := studies.OpenLogits(dir, names, labels)
			if err != nil {
				return 0, err
			}
			defer logits.Close()
			e, err := logits.Ensembles(ctx, sets, analysis.EnsembleOptions{})
			if err != nil {
				return 0, err
			}
			wrong := 0
			for _, n := range e.Ensemble {
				wrong += n
			}
			return float64(wrong), nil
		},
		request: map[string]any{"task": "ensembles", "logits": paths, "labels": labelFile, "block": 64},
		agree:   func(a, b float64) bool { return a == b },
	}}, nil
}

// benchLogits are those of a classifier of about 80 % accuracy: noise, and more for the true class, less so on images that
// are hard for all.
func benchLogits(row []float32, model, image, label int) {
	random := rng.New(1, "bench/logits", uint64(model), uint64(image))
	for c := range row {
		row[c] = 2*(random.Float32()+random.Float32()) - 2
	}
	row[label] += 1.5 + 2*rng.New(1, "bench/hard", uint64(image)).Float32()
}

// analysisPeer is scripts/peers/analysis.py waiting for the next task.
type analysisPeer struct {
	cmd   *exec.Cmd
	input io.WriteCloser
	lines *bufio.Reader
}

type peerAnswer struct {
	Seconds float64 `json:"seconds"`
	CPU     float64 `json:"cpu_seconds"`
	PeakKiB float64 `json:"peak_kib"`
	Value   float64 `json:"value"`
}

func startAnalysisPeer(ctx context.Context, home string) (*analysisPeer, error) {
	python := filepath.Join(home, "third_party", "peers", "bin", "python")
	if _, err := os.Stat(python); err != nil {
		return nil, fmt.Errorf("%w: no peer environment at %s; \"scripts/setup.sh peers\" makes it", ErrEnvironment, python)
	}
	cmd := exec.CommandContext(ctx, python, script(home, "peers/analysis.py"))
	cmd.Stderr = os.Stderr
	// Settings that make NumPy's BLAS take the machine for another one would flatter us.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "OPENBLAS_CORETYPE=") || strings.HasPrefix(v, "OPENBLAS_L2_SIZE=")
	})
	cmd.Env = append(cmd.Env, fmt.Sprintf("OMP_NUM_THREADS=%d", runtime.GOMAXPROCS(0)))
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
	p := &analysisPeer{cmd, input, bufio.NewReader(output)}
	if _, err := p.lines.ReadString('\n'); err != nil { // its versions
		p.stop()
		return nil, errors.New("the peer did not start; its complaint is above")
	}
	return p, nil
}

func (p *analysisPeer) ask(request map[string]any) (answer peerAnswer, err error) {
	line, err := json.Marshal(request)
	if err != nil {
		return answer, err
	}
	if _, err := p.input.Write(append(line, '\n')); err != nil {
		return answer, err
	}
	text, err := p.lines.ReadBytes('\n')
	if err != nil {
		return answer, errors.New("the peer ended; its complaint is above")
	}
	return answer, json.Unmarshal(text, &answer)
}

func (p *analysisPeer) stop() {
	_ = p.input.Close() // ends its loop
	_ = p.cmd.Wait()
}
