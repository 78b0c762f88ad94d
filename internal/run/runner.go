package run

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"sat/internal/data"
	"sat/internal/experiment"
	"sat/internal/store"
)

// Errors that commands map to exit codes.
var (
	// ErrPartial: the run ended, but some models failed or some pairs are undefined.
	ErrPartial = errors.New("finished, but not everything")
	// ErrEnvironment: something the program needs is not installed.
	ErrEnvironment = errors.New("the environment is incomplete")
)

// schemaVersion is that of the JSON files written here.
const schemaVersion = 1

// Stage is one step of a run.
type Stage string

// The stages in order.
const (
	StagePrepare    Stage = "prepare"
	StageExport     Stage = "export"
	StagePretrain   Stage = "pretrain"
	StageTrain      Stage = "train"
	StageEvaluate   Stage = "evaluate"
	StageAttack     Stage = "attack"
	StageTransfer   Stage = "transfer"
	StageBoundary   Stage = "boundary"
	StageSimilarity Stage = "similarity"
	StageAnalysis   Stage = "analysis"
	StageReport     Stage = "report"
)

var stages = []Stage{StagePrepare, StageExport, StagePretrain, StageTrain, StageEvaluate, StageAttack, StageTransfer,
	StageBoundary, StageSimilarity, StageAnalysis, StageReport}

// Options say how to execute a Spec. They change no result.
type Options struct {
	From     Stage   // the first stage to execute; "" for all
	Until    Stage   // the last stage to execute; StageReport for everything
	Skip     []Stage // stages to leave out
	Force    bool    // compute again what is finished
	Home     string  // the checkout with scripts/ and the exporter's environment
	Progress *Progress
}

// Outcome is what a run came to.
type Outcome struct {
	Report   string // path of report.html; "" if that stage was not asked for
	Failures []Failure
	Warnings []string
	// Undefined counts the pairs without a commonly correct image.
	Undefined int
	// PeakMemory is the most that this process had resident, in bytes; 0 if it is not known.
	PeakMemory int64
}

// runner is one execution of a Spec.
type runner struct {
	Spec
	Options
	pool     *pool
	mu       sync.Mutex // guards out, which workers and the heartbeat share
	members  []*member  // those that have not failed
	students []student  // distilled and left out from there on
	encoders []*encoder // of the self-supervised pre-trainings
	probed   []*probed  // linear probes of them
	eval     *evaluation
	split    int          // images of the validation split
	whole    *wholeSet    // nil unless [evaluate] asks for it
	labelled *data.Folder // whose classes are the labels; nil if they came from elsewhere
	out      Outcome
	meter    memoryMeter
	planned  []planned // guarded by mu: the heartbeat shows it
	timings  []timing
	measured map[string]*measured // by sweep folder; "" is the main attack
	classes  int                  // of the image folder; 0 without one
	computed int                  // units computed by this execution
	skipped  int                  // units found finished
	closers  []func() error       // image sets to unmap at the end
}

type timing struct {
	Stage   string  `json:"stage"`
	Seconds float64 `json:"seconds"`
	Units   int     `json:"units"` // computed now, not found finished
}

// Run executes spec up to o.Until. The error is ErrPartial if it came to the end with failures or undefined pairs; the
// outcome is valid then too. Interrupted by ctx, it returns ctx's error and everything finished stays.
func Run(ctx context.Context, spec Spec, o Options) (Outcome, error) {
	lock, err := store.Lock(spec.Dir)
	if err != nil {
		return Outcome{}, err
	}
	defer lock.Unlock()
	if _, err := store.Sweep(spec.Dir); err != nil {
		return Outcome{}, err
	}
	r := &runner{Spec: spec, Options: o, measured: map[string]*measured{}}
	if spec.Resolved != nil {
		if err := store.WriteBytes(filepath.Join(spec.Dir, "experiment.toml"), spec.Resolved); err != nil {
			return Outcome{}, err
		}
	}
	defer r.close()
	r.rememberCosts()
	defer r.beat()()
	steps := map[Stage]func(context.Context) error{
		StagePrepare: r.prepare, StageExport: r.export, StagePretrain: r.pretrain, StageTrain: r.train, StageEvaluate: r.evaluate, StageAttack: r.attack,
		StageTransfer: r.transfer, StageBoundary: r.boundary, StageSimilarity: r.similarity, StageAnalysis: r.analyse, StageReport: r.report,
	}
	for _, stage := range stages[max(0, slices.Index(stages, o.From)):] {
		if err := ctx.Err(); err != nil {
			return r.out, fmt.Errorf("%s: %w", stage, err)
		}
		if slices.Contains(o.Skip, stage) {
			continue
		}
		started, before, found := time.Now(), r.computed, r.skipped
		if err := steps[stage](ctx); err != nil {
			return r.out, err
		}
		r.Progress.over(stage)
		if n := r.skipped - found; n > 0 {
			r.Progress.Say("%-10s %d units were finished before", stage, n)
		}
		r.timings = append(r.timings, timing{string(stage), time.Since(started).Seconds(), r.computed - before})
		if stage == o.Until {
			break
		}
	}
	if r.out.PeakMemory, err = r.meter.highest(); err == nil && r.Memory > 0 && r.out.PeakMemory > r.Memory {
		r.warn("%s were resident at most, more than memory = %q allows", mebibytes(r.out.PeakMemory), experiment.Bytes(r.Memory))
	}
	switch {
	case len(r.out.Failures) > 0:
		f := r.out.Failures[0]
		return r.out, fmt.Errorf("%w: %d failures, the first: %s of %s: %s", ErrPartial, len(r.out.Failures), f.Stage, f.Model, f.Error)
	case r.out.Undefined > 0:
		return r.out, fmt.Errorf("%w: %d pairs have no image that both models classify correctly (status empty in pairs_undirected.csv)",
			ErrPartial, r.out.Undefined)
	}
	return r.out, nil
}

// close frees what the run holds.
func (r *runner) close() {
	if r.pool != nil {
		r.pool.Close()
	}
	for _, c := range r.closers {
		_ = c() // unmapping what was only read
	}
}

// workers starts libtorch and the pool when the first stage needs them: similarity and analysis need neither.
func (r *runner) workers() (*pool, error) {
	if r.pool != nil {
		return r.pool, nil
	}
	if err := StartTorch(r.Device, r.Threads); err != nil {
		return nil, err
	}
	slowBFloat16(r.Device, "precision", r.Precision, r.Progress.Warn)
	var err error
	r.pool, err = newPool(r.Workers, r.Progress)
	return r.pool, err
}

// units is the folder of the units of work.
func (r *runner) units() string { return filepath.Join(r.Dir, "units") }

// finished reports whether a unit can be skipped. A damaged one is computed again, with a word about it.
func (r *runner) finished(u store.Unit) (bool, error) {
	if r.Force {
		return false, nil
	}
	done, err := u.Finished(r.units())
	if errors.Is(err, store.ErrCorrupt) {
		r.Progress.Say("%v; computing it again", err)
		return false, nil
	}
	return done, err
}

// execute runs the tasks of a stage and leaves out the models that failed.
func (r *runner) execute(ctx context.Context, stage Stage, tasks []task, skippedPasses float64, what string) error {
	if len(tasks) == 0 {
		r.Progress.nothing(stage)
		return nil
	}
	p, err := r.workers()
	if err != nil {
		return err
	}
	failures, err := p.run(ctx, string(stage), tasks, skippedPasses)
	if err != nil {
		return err
	}
	r.Progress.End(what)
	return r.leaveOut(stage, failures)
}

// leaveOut records the failures of a stage and goes on without their models.
func (r *runner) leaveOut(stage Stage, failures []Failure) error {
	for _, f := range failures {
		r.Progress.Warn(fmt.Sprintf("%s of %s failed, it is left out: %s", f.Stage, f.Model, f.Error))
		r.mu.Lock()
		r.out.Failures = append(r.out.Failures, f)
		r.mu.Unlock()
		r.members = slices.DeleteFunc(r.members, func(m *member) bool { return m.Name == f.Model })
		r.Progress.forget(f.Model)
	}
	if len(r.members) == 0 {
		return fmt.Errorf("%s: every model failed; the first: %s: %s", stage, failures[0].Model, failures[0].Error)
	}
	return nil
}

// setPlan tells Progress and the heartbeat what the run will cost, for n images in the subset.
func (r *runner) setPlan(n int) {
	plan := r.plan(n, r.split)
	r.Progress.Plan(plan, r.units())
	r.mu.Lock()
	defer r.mu.Unlock()
	r.planned = plan
}

func (r *runner) planOf() []planned {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.planned
}

// failures returns a copy of the failures so far, for the heartbeat.
func (r *runner) failures() []Failure {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.out.Failures)
}

// warn keeps a warning for the report and shows it.
func (r *runner) warn(format string, args ...any) {
	message := fmt.Sprintf(format, args...)
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Contains(r.out.Warnings, message) {
		r.out.Warnings = append(r.out.Warnings, message)
		r.Progress.Warn(message)
	}
}
