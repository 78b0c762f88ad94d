package run

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"sat/attacks"
	"sat/internal/data"
	"sat/internal/store"
	"sat/torch"
	"sat/zoo"
)

// The whole validation set is shown to every model in a pass of its own. Taking the subset's predictions from it would save
// a tenth, but tie the keys of all attacks to whether anybody wants logits; and a batch of other images rounds differently.

// wholeShard is how many images of the whole set an interruption can lose.
var wholeShard = 2048

// The words of evaluate.logits, beside "none".
const (
	logitsFloat32 = "float32"
	logitsFloat16 = "float16"
)

// wholeSet is the validation set, or the subset again if that is all that is asked for.
type wholeSet struct {
	list   evaluation
	images map[*member]images
}

type wholeKey struct {
	Logits string `json:"logits"`
	From   int    `json:"from"` // of a shard
	To     int    `json:"to"`
	numerics
}

// wholeOutcome lists the predictions on the whole validation set, in measurements.json.
type wholeOutcome struct {
	Images evaluation     `json:"images"`
	Clean  []cleanOutcome `json:"clean"`
}

func (r *runner) storesLogits() bool {
	return r.Evaluate.Logits == logitsFloat32 || r.Evaluate.Logits == logitsFloat16
}

// wantsWhole reports whether there is anything to do beside the subset's predictions.
func (r *runner) wantsWhole() bool { return r.Evaluate.Images == "all" || r.storesLogits() }

// openWhole finds the images. Where the subset is the whole set, nothing is decoded again.
func (r *runner) openWhole(ctx context.Context) error {
	w := &wholeSet{list: *r.eval, images: map[*member]images{}}
	r.whole = w
	if r.Data.Images != "" || r.Data.Subset.Mode == "all" || r.Evaluate.Images != "all" {
		for _, m := range r.members {
			w.images[m] = m.images
		}
		return nil
	}
	folder, err := r.validation(ctx)
	if err != nil {
		return err
	}
	sets, number, err := r.cut(ctx, folder)
	if err != nil {
		return err
	}
	for i, m := range r.members {
		w.images[m] = &setImages{sets[number[i]]}
	}
	digest, err := labelledDigest(sets[0])
	w.list = evaluation{IDs: sets[0].IDs, Labels: sets[0].Labels, ImagesDigest: digest}
	return err
}

// wholeUnit is the predictions, and with them the logits, of one model on images from, ..., to-1. The unit of all images is
// made from those of shards, which are gone then.
func (r *runner) wholeUnit(m *member, from, to int) (store.Unit, error) {
	key, err := store.NewKey("evaluate whole", wholeKey{r.Evaluate.Logits, from, to, r.numerics(m)},
		map[string]string{"module": string(m.key), "images": r.whole.images[m].Digest(), "list": r.whole.list.Digest()})
	name := m.Name + "-all"
	if from > 0 || to < r.whole.list.Len() {
		name = fmt.Sprintf("%s-%d", name, from)
	}
	return store.Unit{Stage: string(StageEvaluate), Name: name, Key: key}, err
}

// evaluateWhole predicts the whole validation set, and keeps the logits, as [evaluate] says.
func (r *runner) evaluateWhole(ctx context.Context) error {
	if !r.wantsWhole() {
		return nil
	}
	if err := r.openWhole(ctx); err != nil {
		return err
	}
	n := r.whole.list.Len()
	var tasks []task
	skipped := 0.0
	for _, m := range r.members {
		unit, err := r.wholeUnit(m, 0, n)
		if err != nil {
			return err
		}
		done, err := r.finished(unit)
		if err != nil {
			return err
		}
		if done {
			skipped += passForward * float64(n)
			r.skipped++
			continue
		}
		there, err := r.recordedShards(m)
		if err != nil {
			return err
		}
		skipped += passForward * float64(there)
		tasks = append(tasks, task{model: m.Name, name: m.Name, passes: passForward * float64(n-there),
			do: func(ctx context.Context, w *torch.Worker, advance func(float64)) error {
				return r.wholeModel(ctx, w, m, unit, advance)
			}})
	}
	if err := r.execute(ctx, StageEvaluate, tasks, skipped, fmt.Sprintf("%d models, %d images", len(r.members), n)); err != nil {
		return err
	}
	return r.publishLogits()
}

// shardUnit is the unit of images from, ..., to-1.
func (r *runner) shardUnit(m *member, from, to int) (store.Unit, error) {
	shard, err := r.wholeUnit(m, from, to)
	if from == 0 && to == r.whole.list.Len() { // one shard is the whole
		shard.Name += "-0"
	}
	return shard, err
}

// recordedShards counts the images of the shards that an earlier execution finished.
func (r *runner) recordedShards(m *member) (images int, err error) {
	n := r.whole.list.Len()
	for from := 0; from < n && !r.Force; from += wholeShard {
		to := min(from+wholeShard, n)
		shard, err := r.shardUnit(m, from, to)
		if err != nil {
			return 0, err
		}
		if shard.Recorded(r.units()) {
			images += to - from
		}
	}
	return images, nil
}

// wholeModel computes the shards that are missing and joins all.
func (r *runner) wholeModel(ctx context.Context, w *torch.Worker, m *member, unit store.Unit, advance func(float64)) error {
	var model *zoo.Model
	defer func() {
		if model != nil {
			model.Close()
		}
	}()
	n := r.whole.list.Len()
	var shards []store.Unit
	for from := 0; from < n; from += wholeShard {
		to := min(from+wholeShard, n)
		shard, err := r.shardUnit(m, from, to)
		if err != nil {
			return err
		}
		shards = append(shards, shard)
		done, err := r.finished(shard)
		if err != nil {
			return err
		}
		if done {
			continue // counted before
		}
		if model == nil {
			if model, err = r.load(ctx, w, m); err != nil {
				return err
			}
			if err := r.checkClasses(m, model); err != nil {
				return err
			}
		}
		if err := r.wholeShard(ctx, w, m, model, shard, from, to, advance); err != nil {
			return fmt.Errorf("evaluate %s on images %d to %d: %w", m.Name, from, to-1, err)
		}
	}
	files := []unitFile{{"pred", func(path string) error { return r.joinPredictions(path, m, shards) }}}
	if r.storesLogits() {
		files = append(files, unitFile{"npy", func(path string) error { return r.joinLogits(path, shards) }})
	}
	if err := r.commit(unit, files...); err != nil {
		return err
	}
	for _, shard := range shards {
		for _, suffix := range []string{"unit.json", "pred", "npy"} { // the record first: without files there is no unit
			if err := os.Remove(shard.File(r.units(), suffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// wholeShard predicts images from, ..., to-1.
func (r *runner) wholeShard(ctx context.Context, w *torch.Worker, m *member, model *zoo.Model, unit store.Unit, from, to int, advance func(float64)) error {
	table := store.NewPredictions(store.TableHeader{Rows: []string{m.Name}, Images: to - from, ImagesDigest: r.whole.list.Digest()})
	pass := func(keep func(logits []float32, at int) error) error {
		reader := &rangeReader{cleanReader{images: r.whole.images[m], worker: w, n: to - from}, from}
		at := from
		predicted, err := attacks.Evaluate(ctx, func(ctx context.Context, x attacks.Batch) ([]float32, error) {
			logits, err := model.Logits(ctx, x)
			if err == nil {
				err = keep(logits, at)
			}
			at += x.N
			return logits, err
		}, reader, r.batchOf(m), stepwise(passForward, advance))
		for i, class := range predicted {
			table.Classes[0][i] = int32(class)
		}
		return err
	}
	if !r.storesLogits() {
		return r.commit(unit, unitFile{"pred", func(path string) error {
			if err := pass(func([]float32, int) error { return nil }); err != nil {
				return err
			}
			return table.Write(path)
		}})
	}
	logits := func(path string) error {
		return r.streamLogits(path, to-from, model.Classes(), func(write func([]float32, int) error) error { return pass(write) })
	}
	return r.commit(unit, unitFile{"npy", logits}, unitFile{"pred", table.Write})
}

// streamLogits writes n rows of k logits in the precision asked for. fill passes rows in order, with the number of the first.
func (r *runner) streamLogits(path string, n, k int, fill func(write func(rows []float32, at int) error) error) error {
	if r.Evaluate.Logits == logitsFloat32 {
		return data.StreamNPY(path, []int{n, k}, func(write func([]float32) error) error {
			return fill(func(rows []float32, _ int) error { return write(rows) })
		})
	}
	return data.StreamNPY(path, []int{n, k}, func(write func([]data.Half) error) error {
		return fill(func(rows []float32, at int) error {
			half := make([]data.Half, len(rows))
			for i, v := range rows {
				var ok bool
				if half[i], ok = data.ToHalf(v); !ok {
					return fmt.Errorf("the logit %v of image %s does not fit float16; write logits = %q", v, r.whole.list.IDs[at+i/k], logitsFloat32)
				}
			}
			return write(half)
		})
	})
}

func (r *runner) joinPredictions(path string, m *member, shards []store.Unit) error {
	all := store.NewPredictions(store.TableHeader{Rows: []string{m.Name}, Images: r.whole.list.Len(), ImagesDigest: r.whole.list.Digest()})
	rest := all.Classes[0]
	for _, shard := range shards {
		table, err := store.ReadPredictions(shard.File(r.units(), "pred"))
		if err != nil {
			return err
		}
		rest = rest[copy(rest, table.Classes[0]):]
	}
	return all.Write(path)
}

// joinLogits copies the shards' rows, a block at a time.
func (r *runner) joinLogits(path string, shards []store.Unit) (err error) {
	var files []*data.NPYRows
	defer func() {
		for _, f := range files {
			err = errors.Join(err, f.Close())
		}
	}()
	for _, shard := range shards {
		f, err := data.OpenNPYRows(shard.File(r.units(), "npy"))
		if err != nil {
			return err
		}
		files = append(files, f)
	}
	const block = 256 // rows
	buffer := make([]float32, block*files[0].Columns)
	return r.streamLogits(path, r.whole.list.Len(), files[0].Columns, func(write func([]float32, int) error) error {
		at := 0
		for _, f := range files {
			for row := 0; row < f.Rows; row += block {
				part := buffer[:min(block, f.Rows-row)*f.Columns]
				if err := f.Read(row, part); err != nil {
					return err
				}
				if err := write(part, at+row); err != nil {
					return err
				}
			}
			at += f.Rows
		}
		return nil
	})
}

func (r *runner) logitFolder() string { return filepath.Join(r.Dir, "logits") }
func (r *runner) logitLabels() string { return filepath.Join(r.Dir, "logit_labels.npy") }

// publishLogits puts the logits where `sat analyze ensembles` and people look for them: DIR/logits/NAME.npy, the same bytes
// as in the unit, with the labels and names of the rows beside the folder.
func (r *runner) publishLogits() error {
	if !r.storesLogits() {
		return nil
	}
	for _, m := range r.members {
		unit, err := r.wholeUnit(m, 0, r.whole.list.Len())
		if err != nil {
			return err
		}
		if err := linkFile(unit.File(r.units(), "npy"), filepath.Join(r.logitFolder(), m.Name+".npy")); err != nil {
			return fmt.Errorf("logits of %s: %w", m.Name, err)
		}
	}
	list := r.whole.list
	if list.Labels != nil {
		if err := data.WriteNPY(r.logitLabels(), list.Labels, list.Len()); err != nil {
			return err
		}
	}
	return store.WriteFile(filepath.Join(r.Dir, "logit_images.csv"), func(w io.Writer) error {
		c := csv.NewWriter(w)
		rows := [][]string{{"image", "label"}}
		for i, id := range list.IDs {
			label := ""
			if list.Labels != nil {
				label = strconv.FormatInt(list.Labels[i], 10)
			}
			rows = append(rows, []string{id, label})
		}
		return c.WriteAll(rows)
	})
}

// linkFile makes to another name of the file from, or a copy where the file system has no links. Gigabytes need no second
// place.
func linkFile(from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o777); err != nil {
		return err
	}
	a, err := os.Stat(from)
	if err != nil {
		return err
	}
	if b, err := os.Stat(to); err == nil && os.SameFile(a, b) {
		return nil
	}
	if err := os.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if os.Link(from, to) == nil {
		return nil
	}
	return store.CopyFile(to, from)
}

// rangeReader reads images from, from+1, ... of a cleanReader's.
type rangeReader struct {
	cleanReader
	from int
}

func (s *rangeReader) Read(ctx context.Context, from, to int) (attacks.Batch, error) {
	return s.cleanReader.Read(ctx, s.from+from, s.from+to)
}

// wholeOutcomes is what record writes of it.
func (r *runner) wholeOutcomes(relative func(u store.Unit, suffix string) string) (*wholeOutcome, error) {
	if !r.wantsWhole() || r.whole == nil {
		return nil, nil
	}
	out := &wholeOutcome{Images: r.whole.list}
	for _, m := range r.members {
		unit, err := r.wholeUnit(m, 0, r.whole.list.Len())
		if err != nil {
			return nil, err
		}
		out.Clean = append(out.Clean, cleanOutcome{m.Name, relative(unit, "pred")})
	}
	return out, nil
}

// wholeAccuracies counts what the models get right of the whole validation set.
func (r *runner) wholeAccuracies(w *wholeOutcome) ([]accuracy, error) {
	var out []accuracy
	for _, c := range w.Clean {
		table, err := store.ReadPredictions(filepath.Join(r.units(), c.File))
		if err != nil {
			return nil, fmt.Errorf("predictions of %s on the whole validation set: %w", c.Model, err)
		}
		if table.ImagesDigest != w.Images.ImagesDigest || len(table.Classes) != 1 || len(table.Classes[0]) != w.Images.Len() {
			return nil, fmt.Errorf("%w: %s is about other images", store.ErrCorrupt, c.File)
		}
		a := accuracy{model: c.Model, n: w.Images.Len(), unknown: w.Images.Labels == nil}
		for i, class := range table.Classes[0] {
			if !a.unknown && int64(class) == w.Images.Labels[i] {
				a.correct++
			}
		}
		out = append(out, a)
	}
	return out, nil
}

// The paper took models whose top-1 accuracy lies in this range (section 3).
const (
	paperLowest  = 79
	paperHighest = 83
	imageNet     = 1000 // classes
)

// judgeAccuracies reports the models that the paper's filter would not have taken. It removes none.
func (r *runner) judgeAccuracies(accuracies []accuracy) {
	if r.classes != imageNet || !r.besidePaper() {
		return
	}
	outside := slices.DeleteFunc(slices.Clone(accuracies), accuracy.inPaperRange)
	if len(outside) > 0 {
		r.warn("the accuracy of %d of %d models lies outside the %d to %d %% of the paper's, for instance %s with %.1f %% (accuracy.csv)",
			len(outside), len(accuracies), paperLowest, paperHighest, outside[0].model, outside[0].percent())
	}
}

func (a accuracy) inPaperRange() bool { return a.paperFilter() == "inside" }

// paperFilter says where the accuracy lies: "inside" the paper's range, "below" or "above" it; "" where nobody knows it.
func (a accuracy) paperFilter() string {
	switch p := a.percent(); {
	case a.unknown || a.n == 0:
		return ""
	case p < paperLowest:
		return "below"
	case p > paperHighest:
		return "above"
	}
	return "inside"
}
