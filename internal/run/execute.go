package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"sat/torch"
)

// StartTorch starts libtorch for a device. Everything that computes calls it first: libtorch looks for CUDA only once,
// so its CUDA part must be loaded before any other work.
func StartTorch(d torch.Device, threads int) error {
	if err := torch.Init(torch.Config{Threads: threads}); err != nil {
		return err
	}
	if d.Type == torch.DeviceCUDA {
		return torch.LoadCUDA()
	}
	return nil
}

// slowBFloat16 warns of a precision that this processor has no instructions for.
func slowBFloat16(d torch.Device, setting string, precision torch.DType, warn func(string)) {
	if d.Type != torch.DeviceCPU || precision != torch.BFloat16 {
		return
	}
	if info, err := torch.Describe(); err == nil && !info.BFloat16 {
		warn(setting + " = \"bfloat16\": this processor has no instructions for it; float32 is faster here, and exact")
	}
}

// task is a piece of work for one worker. It makes one or more units: for instance, "show every stored source to this
// target" makes one unit per source, with the target loaded once. A task skips the units that are already finished.
type task struct {
	model  string  // whose failure this would be; later stages leave a failed model out
	name   string  // for people: "attack resnet-s0, images 0 to 255"
	passes float64 // cost, see Progress
	do     func(ctx context.Context, w *torch.Worker, advance func(passes float64)) error
}

// Failure is a unit of work that could not be finished, and why.
type Failure struct {
	Stage string `json:"stage"`
	Model string `json:"model"`
	Error string `json:"error"`
}

// pool runs tasks on a fixed set of workers. Each worker is one OS thread that owns what it loads, so workers ×
// intra-op threads never exceed what the experiment allows.
type pool struct {
	workers  []*torch.Worker
	progress *Progress
}

func newPool(workers int, progress *Progress) (*pool, error) {
	p := &pool{progress: progress}
	for range workers {
		w, err := torch.NewWorker()
		if err != nil {
			p.Close()
			return nil, err
		}
		p.workers = append(p.workers, w)
	}
	return p, nil
}

// Close ends the workers' threads.
func (p *pool) Close() {
	for _, w := range p.workers {
		w.Close()
	}
}

// run executes tasks, the costly first so that no worker waits long for the last one, and returns the failures of
// single models. An error that would hit every model alike (an interrupt, a full disk, no libtorch) ends the stage.
func (p *pool) run(ctx context.Context, stage string, tasks []task, skipped float64) ([]Failure, error) {
	total := skipped
	for _, t := range tasks {
		total += t.passes
	}
	p.progress.Begin(stage, total, skipped)
	p.progress.enter(Stage(stage), tasks, len(p.workers))
	queue := slices.Clone(tasks)
	slices.SortStableFunc(queue, func(a, b task) int { return cmp.Compare(b.passes, a.passes) })

	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var (
		mu       sync.Mutex
		failures []Failure
		fatal    error
		wg       sync.WaitGroup
	)
	next := func() (task, bool) {
		mu.Lock()
		defer mu.Unlock()
		if len(queue) == 0 || ctx.Err() != nil {
			return task{}, false
		}
		t := queue[0]
		queue = queue[1:]
		return t, true
	}
	for _, w := range p.workers {
		wg.Go(func() {
			for {
				t, ok := next()
				if !ok {
					return
				}
				p.progress.Advance(0, t.name)
				err := t.do(ctx, w, p.progress.clock(Stage(stage), t, w).lap)
				p.progress.ended(t.model)
				if err == nil {
					continue
				}
				mu.Lock()
				switch {
				case hitsEveryModel(err):
					if fatal == nil || errors.Is(fatal, context.Canceled) {
						fatal = err
					}
					stop()
				default:
					failures = append(failures, Failure{Stage: stage, Model: t.model, Error: err.Error()})
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if fatal == nil {
		fatal = ctx.Err()
	}
	if fatal != nil {
		return failures, fmt.Errorf("%s: %w", stage, fatal)
	}
	slices.SortFunc(failures, func(a, b Failure) int { return cmp.Compare(a.Model, b.Model) })
	return failures, nil
}

// hitsEveryModel tells causes outside a model from a model's own failure.
func hitsEveryModel(err error) bool {
	for _, cause := range []error{
		context.Canceled, torch.ErrUnavailable, torch.ErrNoCUDA, torch.ErrOutOfMemory,
		unix.ENOSPC, unix.EDQUOT, unix.EROFS, unix.EIO, fs.ErrPermission,
	} {
		if errors.Is(err, cause) {
			return true
		}
	}
	return false
}
