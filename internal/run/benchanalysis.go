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
	"sync"
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
	Images  int   // of the ensembles of 69 models; 0: no ensembles
	Classes int   // of the ensembles
	// PeerImages are those that NumPy does of them, where all would take it too long: its seconds are then scaled. 0: all.
	PeerImages int
	Rounds     int // measured pairs for up to fewModels models
	Tasks      []string
	Peer       bool // also scikit-learn and NumPy, turn by turn
	Home       string
	Scratch    string // folder of the arrays that both sides read
}

// AnalysisTasks are what can be measured.
var AnalysisTasks = []string{"boosting", "importance", "kmeans", "tsne", "ensembles"}

// Beyond fewModels, the peer needs minutes for one run of some tasks: then the trees, permutations and rounds are fewer, on
// both sides. Importance looks into more trees there, fitted once, before the clock runs, to one row for each pattern of
// differences, because 500 trees on all pairs take the peer an hour.
const (
	fewModels       = 200
	manyStages      = 500
	fewStages       = 10
	patternStages   = 100
	manyRepeats     = 10
	fewRepeats      = 1
	fewRounds       = 3
	ensembleModels  = 69
	manyImages      = 10000 // from here on a turn is long, and none goes before the first measured one
	benchClusters   = 10
	benchRestarts   = 100
	usualPerplexity = 30.0
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
	warmup  int            // rounds before the measured ones
	prepare map[string]any // what the peer is asked for once, before the clock runs
	ours    func() (float64, error)
	request map[string]any // what the peer is asked for
	scale   float64        // of the peer's seconds, where it does a part of the work; 0: all of it
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
		defer os.RemoveAll(job.logits())
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

// measure takes turns with the peer, after rounds that do not count.
func (t benchTask) measure(ctx context.Context, peer *analysisPeer) (AnalysisResult, error) {
	result := AnalysisResult{Task: t.name, Models: t.models, Size: t.size, Rounds: t.rounds}
	var ours, theirs, ratios, cpu, peerCPU []float64
	if t.prepare != nil && peer != nil {
		if _, err := peer.ask(t.prepare); err != nil {
			return result, err
		}
	}
	for round := range t.warmup + t.rounds {
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
			if t.scale > 0 {
				answer.Seconds, answer.CPU = t.scale*answer.Seconds, t.scale*answer.CPU
			}
		}
		if round >= t.warmup {
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
	stages, lookInto, repeats, rounds := manyStages, manyStages, manyRepeats, job.Rounds
	if n > fewModels {
		stages, lookInto, repeats, rounds = fewStages, patternStages, fewRepeats, min(fewRounds, job.Rounds)
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
	fitX, fitY, fitFiles := x, y, [2]string{in("x"), in("y")}
	if n > fewModels {
		fitX, fitY = distinct(x, columns, y)
		fitFiles = [2]string{in("patterns-x"), in("patterns-y")}
		if err := errors.Join(data.WriteNPY(fitFiles[0], fitX, len(fitY), columns), data.WriteNPY(fitFiles[1], fitY, len(fitY))); err != nil {
			return nil, err
		}
	}
	fit := func(x []uint8, y []float64, stages int) (*analysis.Boosting, error) {
		problem, err := analysis.NewRegression(x, columns, y)
		if err != nil {
			return nil, err
		}
		return analysis.Boost(ctx, problem, analysis.BoostingOptions{Stages: stages})
	}
	var fitted *analysis.Boosting
	if slices.Contains(job.Tasks, "importance") {
		if fitted, err = fit(fitX, fitY, lookInto); err != nil {
			return nil, err
		}
	}
	perplexity := min(usualPerplexity, float64(n-1)/2) // which must be below n
	close := func(a, b float64) bool { return math.Abs(a-b) <= 1e-9*math.Max(math.Abs(a), math.Abs(b)) }
	return []benchTask{
		{name: "boosting", models: n, size: fmt.Sprintf("%d pairs, %d trees", len(y), stages), rounds: rounds, warmup: 1,
			ours: func() (float64, error) {
				b, err := fit(x, y, stages)
				if err != nil {
					return 0, err
				}
				return b.R2, nil
			}, request: map[string]any{"task": "boosting", "x": in("x"), "y": in("y"), "stages": stages}, agree: close},
		{name: "importance", models: n, size: fmt.Sprintf("%d pairs, %d trees, %d permutations", len(y), lookInto, repeats*columns),
			rounds: rounds, warmup: 1, prepare: map[string]any{"task": "fit", "x": fitFiles[0], "y": fitFiles[1], "stages": lookInto},
			ours: func() (float64, error) {
				problem, err := analysis.NewRegression(x, columns, y)
				if err != nil {
					return 0, err
				}
				r2, _, err := fitted.PermutationImportance(ctx, problem, repeats, 0)
				return r2, err
			}, request: map[string]any{"task": "importance", "x": in("x"), "y": in("y"), "repeats": repeats}, agree: close},
		{name: "kmeans", models: n, size: fmt.Sprintf("%d clusters, %d restarts", benchClusters, benchRestarts), rounds: rounds, warmup: 1,
			ours: func() (float64, error) {
				r, err := analysis.KMeans(ctx, clusters.Features, analysis.KMeansOptions{K: benchClusters, Restarts: benchRestarts})
				if err != nil {
					return 0, err
				}
				return r.Inertia, nil
			}, request: map[string]any{"task": "kmeans", "x": in("rows"), "k": benchClusters, "restarts": benchRestarts},
			agree: func(a, b float64) bool { return a <= b*(1+1e-9) }},
		{name: "tsne", models: n, size: "1000 steps", rounds: rounds, warmup: 1,
			ours: func() (float64, error) {
				e, err := analysis.TSNEOfDistances(ctx, distance, analysis.TSNEOptions{Perplexity: perplexity, Init: analysis.InitRandom})
				if err != nil {
					return 0, err
				}
				return e.KL, nil
			}, request: map[string]any{"task": "tsne", "x": in("distance"), "perplexity": perplexity},
			agree: func(a, b float64) bool { return math.Abs(a-b) < 0.15*b }}, // another local optimum of another start
	}, nil
}

// ensembleTask is the ensembles of all pairs of 69 models, whose logits lie in files.
func (job AnalysisBench) ensembleTask(ctx context.Context) ([]benchTask, error) {
	labels := make([]int64, job.Images)
	random := rng.New(0, "bench/labels")
	for i := range labels {
		labels[i] = int64(random.IntN(job.Classes))
	}
	dir := job.logits()
	labelFile := filepath.Join(job.Scratch, "labels.npy")
	if err := data.WriteNPY(labelFile, labels, len(labels)); err != nil {
		return nil, err
	}
	var names, paths []string
	for m := range ensembleModels {
		name := fmt.Sprintf("model%02d", m)
		names, paths = append(names, name), append(paths, filepath.Join(dir, name+".npy"))
	}
	if err := job.writeLogits(ctx, paths, labels); err != nil {
		return nil, err
	}
	var sets [][]int
	for a := range names {
		for b := a + 1; b < len(names); b++ {
			sets = append(sets, []int{a, b})
		}
	}
	// wrong counts the wrong answers of all ensembles on the first images.
	wrong := func(images int) (float64, error) {
		logits, err := studies.OpenLogits(dir, names, labels)
		if err != nil {
			return 0, err
		}
		defer logits.Close()
		part := *logits.Logits
		part.Labels = part.Labels[:images]
		e, err := part.Ensembles(ctx, sets, analysis.EnsembleOptions{})
		if err != nil {
			return 0, err
		}
		sum := 0
		for _, n := range e.Ensemble {
			sum += n
		}
		return float64(sum), nil
	}
	task := benchTask{
		name: "ensembles", models: ensembleModels,
		size:   fmt.Sprintf("%d pairs, %d images, %d classes", len(sets), job.Images, job.Classes),
		rounds: job.Rounds, warmup: 1,
		ours:    func() (float64, error) { return wrong(job.Images) },
		request: map[string]any{"task": "ensembles", "logits": paths, "labels": labelFile, "images": job.Images},
		agree:   func(a, b float64) bool { return a == b },
	}
	if job.Images >= manyImages {
		task.warmup = 0
	}
	if n := job.PeerImages; job.Peer && 0 < n && n < job.Images {
		part, err := wrong(n)
		if err != nil {
			return nil, err
		}
		task.size += fmt.Sprintf(" (peer: %d images, seconds scaled)", n)
		task.request["images"], task.scale = n, float64(job.Images)/float64(n)
		task.agree = func(_, theirs float64) bool { return theirs == part }
	}
	return []benchTask{task}, nil
}

// logits is the folder of the logits, which go when they have served.
func (job AnalysisBench) logits() string { return filepath.Join(job.Scratch, "logits") }

// writeLogits makes up the logits of every model, on all cores. Files that a run left which was killed are as good as new.
func (job AnalysisBench) writeLogits(ctx context.Context, paths []string, labels []int64) error {
	if err := os.MkdirAll(job.logits(), 0o777); err != nil {
		return err
	}
	missing := slices.DeleteFunc(slices.Clone(paths), func(path string) bool { return job.written(path, len(labels)) })
	need := int64(len(missing)) * int64(len(labels)) * int64(job.Classes) * 4
	var disk unix.Statfs_t
	if err := unix.Statfs(job.logits(), &disk); err != nil {
		return err
	}
	if free := int64(disk.Bavail) * disk.Bsize; need > free {
		return fmt.Errorf("the logits take %.1f GB, and %s has %.1f GB left; give fewer images or another folder", float64(need)/1e9, job.logits(), float64(free)/1e9)
	}
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	faults := make([]error, len(paths))
	next := make(chan int)
	var group sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() {
			row := make([]float32, job.Classes)
			for m := range next {
				if job.written(paths[m], len(labels)) {
					continue
				}
				faults[m] = data.StreamNPY(paths[m], []int{len(labels), job.Classes}, func(write func([]float32) error) error {
					for i, y := range labels {
						if err := inner.Err(); err != nil {
							return err
						}
						benchLogits(row, m, i, int(y))
						if err := write(row); err != nil {
							return err
						}
					}
					return nil
				})
				if faults[m] != nil {
					cancel()
				}
			}
		})
	}
	for m := range paths {
		next <- m
	}
	close(next)
	group.Wait()
	for _, fault := range faults {
		if fault != nil && !errors.Is(fault, context.Canceled) {
			return fault
		}
	}
	return ctx.Err()
}

// written reports whether there is a file of so many rows; what stands in it follows from its name.
func (job AnalysisBench) written(path string, rows int) bool {
	file, err := data.OpenNPYRows(path)
	if err != nil {
		return false
	}
	defer file.Close()
	return file.Rows == rows && file.Columns == job.Classes
}

// distinct returns one row for each pattern of x, with the mean of its y.
func distinct(x []uint8, columns int, y []float64) (rows []uint8, means []float64) {
	place := map[string]int{}
	var counts []float64
	for i, v := range y {
		row := x[i*columns : (i+1)*columns]
		k, seen := place[string(row)]
		if !seen {
			k = len(means)
			place[string(row)] = k
			rows, means, counts = append(rows, row...), append(means, 0), append(counts, 0)
		}
		means[k] += v
		counts[k]++
	}
	for k, n := range counts {
		means[k] /= n
	}
	return rows, means
}

// benchLogits are those of a classifier of about 80 % accuracy: noise, and more for the true class, less so on images that
// are hard for all.
func benchLogits(row []float32, model, image, label int) {
	random := rng.New(1, "bench/logits", uint64(model), uint64(image))
	for c := range row { // a triangular distribution, from both halves of one draw
		v := random.Uint32()
		row[c] = float32(v>>16+v&0xffff)/(1<<15) - 2
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
