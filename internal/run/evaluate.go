package run

import (
	"context"
	"fmt"
	"slices"
	"time"

	"sat/attacks"
	"sat/internal/data"
	"sat/internal/store"
	"sat/torch"
	"sat/zoo"
)

// evaluateFormat is the version of the files of an evaluate unit; it goes up when they hold more than before. 1 had no guards,
// 2 no number of classes.
const evaluateFormat = 3

// evaluateUnit is the clean predictions of one model, and its guards. Units of an earlier format are made again.
func (r *runner) evaluateUnit(m *member) (store.Unit, error) {
	clean, err := r.cleanKey(m)
	if err != nil {
		return store.Unit{}, err
	}
	key, err := store.NewKey("evaluate", map[string]int{"format": evaluateFormat}, map[string]string{"clean": string(clean)})
	return store.Unit{Stage: string(StageEvaluate), Name: m.Name, Key: key}, err
}

// cleanKey identifies the clean predictions of one model, whatever the format of their file: attacks and transfer depend on
// it, and a night of them is not thrown away for another file beside the predictions. It covers pixels, names and labels of
// the images, so that the keys of the attack, which goes by the labels and draws by the names, follow.
func (r *runner) cleanKey(m *member) (store.Key, error) {
	return store.NewKey("evaluate", r.numerics(m),
		map[string]string{"module": string(m.key), "images": m.images.Digest(), "list": r.eval.Digest()})
}

// evaluate predicts the clean images of every model.
func (r *runner) evaluate(ctx context.Context) error {
	if err := r.readDescriptions(); err != nil {
		return err
	}
	if err := r.openImages(ctx); err != nil {
		return err
	}
	if r.Data.Images != "" {
		r.split = r.eval.Len()
	}
	r.setPlan(r.eval.Len()) // now with controls, and without what failed or only studied
	if err := r.chooseBatches(ctx); err != nil {
		return err
	}
	var tasks []task
	skipped := 0.0
	for _, m := range r.members {
		unit, err := r.evaluateUnit(m)
		if err != nil {
			return err
		}
		done, err := r.finished(unit)
		if err != nil {
			return err
		}
		if done {
			skipped += passForward * float64(r.eval.Len())
			r.skipped++
			continue
		}
		tasks = append(tasks, task{model: m.Name, name: m.Name, passes: passForward * float64(r.eval.Len()),
			do: func(ctx context.Context, w *torch.Worker, advance func(float64)) error {
				return r.evaluateModel(ctx, w, m, unit, advance)
			}})
	}
	what := fmt.Sprintf("%d models, %d images", len(r.members), r.eval.Len())
	if err := r.execute(ctx, StageEvaluate, tasks, skipped, what); err != nil {
		return err
	}
	return r.evaluateWhole(ctx)
}

// readDescriptions leaves out the models whose file does not even say what it is, before images are cut for them.
func (r *runner) readDescriptions() error {
	var failures []Failure
	for _, m := range r.members {
		if _, err := m.describe(); err != nil {
			failures = append(failures, Failure{string(StageEvaluate), m.Name, err.Error()})
		}
	}
	return r.leaveOut(StageEvaluate, failures)
}

func (r *runner) evaluateModel(ctx context.Context, w *torch.Worker, m *member, unit store.Unit, advance func(float64)) error {
	model, err := r.load(ctx, w, m)
	if err != nil {
		return err
	}
	defer model.Close()
	if err := r.checkClasses(m, model); err != nil {
		return err
	}
	started := time.Now()
	guards, err := r.guard(ctx, w, m, model)
	r.Progress.checked(w, time.Since(started))
	if err != nil {
		return fmt.Errorf("check %s: %w", m.Name, err)
	}
	clean := &cleanReader{images: m.images, worker: w, n: r.eval.Len()}
	predicted, err := attacks.Evaluate(ctx, model.Logits, clean, r.batchOf(m), stepwise(passForward, advance))
	if err != nil {
		return fmt.Errorf("evaluate %s: %w", m.Name, err)
	}
	table := store.NewPredictions(store.TableHeader{Rows: []string{m.Name}, Images: r.eval.Len(), ImagesDigest: r.eval.Digest()})
	for i, class := range predicted {
		table.Classes[0][i] = int32(class)
	}
	if r.eval.Labels != nil {
		if err := data.CheckOrder(r.eval.Labels, table.Classes[0]); err != nil {
			r.warn("model %s is %v", m.Name, err)
		}
	}
	return r.commit(unit, unitFile{"pred", table.Write}, unitFile{"guards", writeJSON(guards)})
}

// checkClasses refuses a model whose outputs cannot be the data's classes, before its predictions become nonsense.
func (r *runner) checkClasses(m *member, model *zoo.Model) error {
	if r.eval.Labels == nil {
		return nil // a model's own predictions fit it
	}
	if largest := slices.Max(r.eval.Labels); int(largest) >= model.Classes() {
		return fmt.Errorf("%s has %d classes, but labels go up to %d: give it the data set it was trained for", m.Name, model.Classes(), largest)
	}
	if r.labelled == nil {
		return nil
	}
	if err := r.labelled.CheckClasses(model.Classes()); err != nil {
		return fmt.Errorf("%w; or give labels (--labels, labels_file)", err)
	}
	return nil
}

// unitFile is one file of a unit, and how it comes to be.
type unitFile struct {
	suffix string
	write  func(path string) error
}

// commit writes the files of a unit, in their order, and declares the unit finished.
func (r *runner) commit(unit store.Unit, files ...unitFile) error {
	if err := unit.Begin(r.units()); err != nil {
		return err
	}
	var suffixes []string
	for _, f := range files {
		if err := f.write(unit.File(r.units(), f.suffix)); err != nil {
			return err
		}
		suffixes = append(suffixes, f.suffix)
	}
	if err := unit.Commit(r.units(), suffixes...); err != nil {
		return err
	}
	r.Progress.count(&r.computed)
	return nil
}

// stepwise turns "done of total images" into increments of passes.
func stepwise(perImage float64, advance func(float64)) attacks.Progress {
	before := 0
	return func(done, _ int) {
		advance(perImage * float64(done-before))
		before = done
	}
}

// predictions reads the clean predictions of m, which must be finished.
func (r *runner) predictions(m *member) ([]int32, error) {
	unit, err := r.evaluateUnit(m)
	if err != nil {
		return nil, err
	}
	table, err := store.ReadPredictions(unit.File(r.units(), "pred"))
	if err != nil {
		return nil, fmt.Errorf("clean predictions of %s: %w", m.Name, err)
	}
	return table.Classes[0], nil
}

// correct returns the numbers of the images of a shard that m classifies correctly, and their classes.
func (r *runner) correct(m *member, shard [2]int) (numbers []int, classes []int64, err error) {
	predicted, err := r.predictions(m)
	if err != nil {
		return nil, nil, err
	}
	right := r.eval.right(predicted)
	for i := shard[0]; i < shard[1]; i++ {
		if int64(predicted[i]) == right[i] {
			numbers, classes = append(numbers, i), append(classes, right[i])
		}
	}
	return numbers, classes, nil
}
