package run

import (
	"context"
	"fmt"

	"sat/attacks"
	"sat/internal/store"
	"sat/torch"
	"sat/zoo"
)

type transferKey struct {
	Resize    string `json:"resize"`
	Antialias bool   `json:"antialias"`
	numerics
}

// transferUnit is the target's predictions on the images made on source.
func (r *runner) transferUnit(a Attack, source, target *member) (store.Unit, error) {
	digests := map[string]string{}
	for _, shard := range r.shards() {
		unit, err := r.attackUnit(a, source, shard)
		if err != nil {
			return store.Unit{}, err
		}
		digests[fmt.Sprintf("images %d", shard[0])] = string(unit.Key)
	}
	clean, err := r.cleanKey(target)
	if err != nil {
		return store.Unit{}, err
	}
	digests["target"] = string(clean)
	key, err := store.NewKey("transfer", transferKey{r.Transfer.Resize, r.Transfer.Antialias, r.numerics(target)}, digests)
	return store.Unit{Stage: string(StageTransfer), Name: source.Name + "@" + target.Name, Key: key}, err
}

// transfer shows every stored source to every target; a task is one target, loaded once.
func (r *runner) transfer(ctx context.Context) error {
	var tasks []task
	skipped := 0.0
	perSource := passForward * float64(r.eval.Len())
	for _, target := range r.members {
		var todo []pending
		for _, set := range r.imageSets() {
			a := set.attack
			for _, source := range r.members {
				if !set.transferred(source, target) {
					continue
				}
				unit, err := r.transferUnit(a, source, target)
				if err != nil {
					return err
				}
				done, err := r.finished(unit)
				if err != nil {
					return err
				}
				if done {
					skipped += perSource
					r.skipped++
					continue
				}
				todo = append(todo, pending{attack: a, source: source, unit: unit})
			}
		}
		controls, done, err := r.pendingControls(target)
		if err != nil {
			return err
		}
		todo, skipped = append(todo, controls...), skipped+perSource*float64(done)
		if len(todo) > 0 {
			tasks = append(tasks, task{model: target.Name, name: target.Name, passes: perSource * float64(len(todo)),
				do: func(ctx context.Context, w *torch.Worker, advance func(float64)) error {
					return r.transferTo(ctx, w, target, todo, advance)
				}})
		}
	}
	what := fmt.Sprintf("%d sources to %d targets", len(r.members), len(r.members))
	if err := r.execute(ctx, StageTransfer, tasks, skipped, what); err != nil {
		return err
	}
	if err := r.record(); err != nil {
		return err
	}
	return r.pictures(ctx)
}

// pending is one transfer unit to compute.
type pending struct {
	attack  Attack
	source  *member
	unit    store.Unit
	control bool // the source's clean images instead of its adversarial ones
}

// needsControl reports whether target sees the images of source otherwise than its own: resized, or cut differently.
func (r *runner) needsControl(source, target *member) bool {
	return r.Transfer.ResizeOnly && source.images.Digest() != target.images.Digest()
}

// controlUnit is the target's predictions on the clean images as source takes them. Sources with one preprocessing
// share it.
func (r *runner) controlUnit(source, target *member) (store.Unit, error) {
	clean, err := r.cleanKey(target)
	if err != nil {
		return store.Unit{}, err
	}
	key, err := store.NewKey("control", transferKey{r.Transfer.Resize, r.Transfer.Antialias, r.numerics(target)},
		map[string]string{"target": string(clean), "images": source.images.Digest()})
	return store.Unit{Stage: string(StageTransfer), Name: "clean@" + target.Name, Key: key}, err
}

// pendingControls lists the control units of target that are not finished, and counts those that are.
func (r *runner) pendingControls(target *member) (todo []pending, done int, err error) {
	seen := map[store.Key]bool{}
	for _, source := range r.members {
		if !r.needsControl(source, target) {
			continue
		}
		unit, err := r.controlUnit(source, target)
		if err != nil {
			return nil, 0, err
		}
		if seen[unit.Key] {
			continue
		}
		seen[unit.Key] = true
		finished, err := r.finished(unit)
		if err != nil {
			return nil, 0, err
		}
		if finished {
			done++
			r.skipped++
			continue
		}
		todo = append(todo, pending{source: source, unit: unit, control: true})
	}
	return todo, done, nil
}

func (r *runner) transferTo(ctx context.Context, w *torch.Worker, target *member, todo []pending, advance func(float64)) error {
	model, err := r.load(ctx, w, target)
	if err != nil {
		return err
	}
	defer model.Close()
	for _, t := range todo {
		table := store.NewPredictions(store.TableHeader{
			Subject: target.Name, Rows: []string{t.source.Name}, Images: r.eval.Len(), ImagesDigest: r.eval.Digest(),
		})
		show := r.showAdversarial
		if t.control {
			show = r.showClean
		}
		if err := show(ctx, w, target, model, t, table.Classes[0], advance); err != nil {
			return fmt.Errorf("transfer from %s to %s: %w", t.source.Name, target.Name, err)
		}
		if err := r.commit(t.unit, unitFile{"pred", table.Write}); err != nil {
			return err
		}
	}
	return nil
}

// showClean fills classes with the model's predictions on the clean images of t.source.
func (r *runner) showClean(ctx context.Context, w *torch.Worker, target *member, model *zoo.Model, t pending, classes []int32, advance func(float64)) error {
	reader := &cleanReader{images: t.source.images, worker: w, n: r.eval.Len()}
	predicted, err := attacks.Evaluate(ctx, model.TransferLogits, reader, r.batchOf(target), stepwise(passForward, advance))
	for i, class := range predicted {
		classes[i] = int32(class)
	}
	return err
}

// showAdversarial fills classes with the model's predictions on the stored images of t.source.
func (r *runner) showAdversarial(ctx context.Context, w *torch.Worker, target *member, model *zoo.Model, t pending, classes []int32, advance func(float64)) error {
	for i := range classes {
		classes[i] = notAttacked
	}
	for _, shard := range r.shards() {
		if err := r.transferShard(ctx, w, target, model, t, shard, classes, advance); err != nil {
			return err
		}
	}
	return nil
}

func (r *runner) transferShard(ctx context.Context, w *torch.Worker, target *member, model *zoo.Model, t pending, shard [2]int, classes []int32, advance func(float64)) error {
	numbers, _, err := r.correct(t.source, shard)
	if err != nil {
		return err
	}
	advance(passForward * float64(shard[1]-shard[0]-len(numbers)))
	if len(numbers) == 0 {
		return nil
	}
	unit, err := r.attackUnit(t.attack, t.source, shard)
	if err != nil {
		return err
	}
	stored, err := store.OpenAdversarial(unit.File(r.units(), "adv"))
	if err != nil {
		return err
	}
	defer stored.Close()
	reader := &adversarialReader{stored: stored, images: t.source.images, worker: w, numbers: numbers}
	predicted, err := attacks.Evaluate(ctx, model.TransferLogits, reader, r.batchOf(target), stepwise(passForward, advance))
	if err != nil {
		return err
	}
	for k, i := range numbers {
		classes[i] = int32(predicted[k])
	}
	return nil
}
