package run

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"sat/attacks"
	"sat/internal/experiment"
	"sat/internal/store"
	"sat/torch"
	"sat/zoo"
)

// batchLadder are the batch sizes that are tried.
var batchLadder = []int{1, 2, 4, 8, 16, 32, 64}

const (
	// usableMemory is the share of the budget that batches are chosen for; the rest is for what the measurement does not
	// see: the other stages, fragmentation, images of another size on their way to a model.
	usableMemory = 0.85
	// noSlower is how much of the best throughput a larger batch must reach to be taken.
	noSlower = 0.97
	// hopeless is the share of the best throughput below which larger batches are not tried any more.
	hopeless = 0.85
)

var errMemoryOfCPU = errors.New("memory chooses batch sizes on the CPU only; give batch")

// batchChoices is DIR/batch.json. A batch size changes results in the last bits, so what was chosen once is used until the
// end of the run, also on another day with another machine; deleting the file chooses anew.
type batchChoices struct {
	SchemaVersion int                    `json:"schema_version"`
	Memory        string                 `json:"memory"`
	Workers       int                    `json:"workers"`
	Models        map[string]batchChoice `json:"models"`
}

// batchChoice is the batch size of one model, and why.
type batchChoice struct {
	Module   store.Key   `json:"module"`
	Numerics numerics    `json:"numerics"` // its Batch is the choice
	Tried    []batchTest `json:"tried"`
}

// batchTest is one gradient of a batch.
type batchTest struct {
	Batch           int     `json:"batch"`
	PeakBytes       int64   `json:"peak_bytes"` // on top of what is resident without a model
	ImagesPerSecond float64 `json:"images_per_second"`
}

func (r *runner) batchFile() string { return filepath.Join(r.Dir, "batch.json") }

// batchOf is the batch size of m. Of nobody, it is the one for all, 0 where every model has its own.
func (r *runner) batchOf(m *member) int {
	if m == nil {
		return r.Batch
	}
	return cmp.Or(m.batch, r.Batch)
}

// chooseBatches gives every member its batch size: the one in batch.json, or the fastest whose measured memory, times the
// number of workers, keeps to the budget. Only where the experiment gives none.
func (r *runner) chooseBatches(ctx context.Context) error {
	if r.Batch > 0 {
		return nil
	}
	if r.Device.Type != torch.DeviceCPU {
		return errMemoryOfCPU
	}
	choices, err := r.readBatches()
	if err != nil {
		return err
	}
	var todo []*member
	for _, m := range r.members {
		known, ok := choices.Models[m.Name]
		numbers := r.numerics(m)
		numbers.Batch = known.Numerics.Batch
		if ok && known.Module == m.key && known.Numerics == numbers {
			m.batch = known.Numerics.Batch
			continue
		}
		todo = append(todo, m)
	}
	if len(todo) == 0 {
		return nil
	}
	todo, err = r.checkModules(ctx, todo)
	if err != nil || len(todo) == 0 {
		return err
	}
	p, err := r.workers()
	if err != nil {
		return err
	}
	base, err := processStatus("VmRSS")
	if err != nil {
		return err
	}
	share := (int64(usableMemory*float64(r.Memory)) - base) / int64(r.Workers)
	if share <= 0 {
		return fmt.Errorf("memory = %q: the program without a model has %s resident already; allow more", experiment.Bytes(r.Memory), mebibytes(base))
	}
	// The small first: memory that one leaves behind then counts little for the next.
	size := map[*member]int64{}
	for _, m := range todo {
		if info, err := os.Stat(m.module); err == nil {
			size[m] = info.Size()
		}
	}
	slices.SortStableFunc(todo, func(a, b *member) int { return cmp.Compare(size[a], size[b]) })
	r.Progress.Begin("batch", float64(len(todo)), 0)
	var failures []Failure
	for _, m := range todo {
		choice, err := r.chooseBatch(ctx, p.workers[0], m, base, share)
		switch {
		case err != nil && hitsEveryModel(err):
			return fmt.Errorf("choose a batch size for %s: %w", m.Name, err)
		case err != nil:
			failures = append(failures, Failure{string(StageEvaluate), m.Name, err.Error()})
		default:
			m.batch = choice.Numerics.Batch
			choices.Models[m.Name] = choice
			if err := store.WriteJSON(r.batchFile(), choices); err != nil {
				return err
			}
		}
		r.Progress.Advance(1, m.Name)
	}
	r.Progress.End(fmt.Sprintf("sizes for %d models, %s for each of %d workers", len(todo), mebibytes(share), r.Workers))
	return r.leaveOut(StageEvaluate, failures)
}

// stageCheck is a part of evaluation, shown by its own name.
const stageCheck Stage = "check"

// checkModules loads every module once, on all workers, and returns those that are what they say. Sizes are measured with
// one model at a time, and without this its first check, which costs more than the measurement, would keep one core busy too.
func (r *runner) checkModules(ctx context.Context, members []*member) ([]*member, error) {
	if r.Workers == 1 {
		return members, nil
	}
	var tasks []task
	for _, m := range members {
		tasks = append(tasks, task{model: m.Name, name: m.Name, passes: 1, do: func(ctx context.Context, w *torch.Worker, _ func(float64)) error {
			model, err := r.load(ctx, w, m)
			if err != nil {
				return err
			}
			model.Close()
			r.Progress.advance(1, m.Name, "")
			return nil
		}})
	}
	defer r.Progress.over(stageCheck)
	if err := r.execute(ctx, stageCheck, tasks, 0, fmt.Sprintf("modules of %d models", len(tasks))); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(members, func(m *member) bool { return !slices.Contains(r.members, m) }), nil
}

func (r *runner) readBatches() (batchChoices, error) {
	choices := batchChoices{SchemaVersion: schemaVersion, Memory: experiment.Bytes(r.Memory).String(), Workers: r.Workers, Models: map[string]batchChoice{}}
	content, err := os.ReadFile(r.batchFile())
	if errors.Is(err, fs.ErrNotExist) {
		return choices, nil
	}
	if err != nil {
		return choices, err
	}
	var known batchChoices
	if err := json.Unmarshal(content, &known); err != nil || known.Models == nil {
		return choices, fmt.Errorf("%w: %s; delete it to choose batch sizes anew", store.ErrCorrupt, r.batchFile())
	}
	if known.Memory != choices.Memory || known.Workers < r.Workers {
		r.warn("the batch sizes were chosen for memory = %q and %d workers and are kept, because results depend on them; delete %s to choose anew",
			known.Memory, known.Workers, r.batchFile())
		choices.Memory, choices.Workers = known.Memory, known.Workers
	}
	choices.Models = known.Models
	return choices, nil
}

// chooseBatch climbs the ladder with one gradient per rung, the heaviest thing that a run does with a model.
func (r *runner) chooseBatch(ctx context.Context, w *torch.Worker, m *member, base, share int64) (batchChoice, error) {
	choice := batchChoice{Module: m.key, Numerics: r.numerics(m)}
	var model *zoo.Model
	if _, err := r.meter.during(func() (err error) { model, err = r.load(ctx, w, m); return err }); err != nil {
		return choice, err
	}
	defer model.Close()
	var err error
	choice.Numerics.Batch, choice.Tried, err = climb(r.eval.Len(), share, func(n int) (batchTest, error) {
		numbers := make([]int, n)
		for k := range numbers {
			numbers[k] = k % r.eval.Len()
		}
		return tryBatch(ctx, &r.meter, model, base, n, func() (attacks.Batch, error) { return m.images.Batch(ctx, w, numbers) })
	})
	if err == nil && choice.Numerics.Batch == 0 {
		err = fmt.Errorf("one image takes %s, and memory = %q leaves %s to each of %d workers; allow more memory or fewer workers",
			mebibytes(choice.Tried[0].PeakBytes), experiment.Bytes(r.Memory), mebibytes(share), r.Workers)
	}
	return choice, err
}

// climb tries the sizes of the ladder for so many images and returns the fastest that keeps to share bytes; 0 if one image
// does not.
func climb(images int, share int64, try func(n int) (batchTest, error)) (batch int, tried []batchTest, err error) {
	best := 0.0
	for k, n := range batchLadder {
		if k > 0 && batchLadder[k-1] >= images {
			break // it would never be full
		}
		if k > 1 {
			// Memory grows evenly with the batch, so the next rung is known before it is tried.
			a, b := tried[k-2].PeakBytes, tried[k-1].PeakBytes
			if b+2*max(b-a, 0) > share {
				break
			}
		}
		test, err := try(n)
		if err != nil {
			return 0, tried, err
		}
		tried = append(tried, test)
		if test.PeakBytes > share {
			break
		}
		if best = max(best, test.ImagesPerSecond); test.ImagesPerSecond >= noSlower*best {
			batch = n
		}
		if test.ImagesPerSecond < hopeless*best {
			break
		}
	}
	return batch, tried, nil
}

// tryBatch measures one gradient of n images; base is what was resident without a model.
func tryBatch(ctx context.Context, meter *memoryMeter, model *zoo.Model, base int64, n int, images func() (attacks.Batch, error)) (batchTest, error) {
	y := make([]int64, n)
	var took time.Duration
	peak, err := meter.during(func() error {
		x, err := images()
		if err != nil {
			return err
		}
		for range 2 { // the first pays for what libtorch sets up
			started := time.Now()
			if _, err := model.LossGrad(ctx, x, y, nil, attacks.CrossEntropy); err != nil {
				return err
			}
			took = time.Since(started)
		}
		return nil
	})
	return batchTest{Batch: n, PeakBytes: max(peak-base, 0), ImagesPerSecond: float64(n) / max(took.Seconds(), 1e-9)}, err
}

func mebibytes(n int64) string { return fmt.Sprintf("%d MiB", (n+1<<20-1)>>20) }
