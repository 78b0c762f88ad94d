package train

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sat/internal/data"
	"sat/internal/tensorboard"
	"sat/internal/testkit"
	"sat/torch"
	"sat/zoo"
)

// logLines reads the log of a run, without what depends on the machine and the hour.
func logLines(t *testing.T, j Job) (lines []map[string]any) {
	t.Helper()
	for line := range bytes.Lines(read(t, filepath.Join(j.Dir, LogFile))) {
		var l map[string]any
		if err := json.Unmarshal(line, &l); err != nil {
			t.Fatalf("line %d of the log: %v", len(lines)+1, err)
		}
		for _, key := range []string{"images_per_second", "loader_wait", "time"} {
			if _, ok := l[key]; !ok {
				t.Errorf("line %d of the log has no %s", len(lines)+1, key)
			}
			delete(l, key)
		}
		lines = append(lines, l)
	}
	return lines
}

// points reads the event file of a run likewise, as texts "step tag value".
func points(t *testing.T, j Job) (out []string) {
	t.Helper()
	events, err := tensorboard.Read(filepath.Join(j.Dir, EventFile))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		for _, v := range e.Values {
			if !strings.HasSuffix(v.Tag, "images_per_second") && !strings.HasSuffix(v.Tag, "loader_wait") {
				out = append(out, fmt.Sprint(e.Step, " ", v.Tag, " ", v.Scalar))
			}
		}
	}
	return out
}

// epochFiles lists the kept checkpoints of a run.
func epochFiles(t *testing.T, j Job) (names []string) {
	t.Helper()
	files, err := os.ReadDir(filepath.Join(j.Dir, EpochsDir))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		names = append(names, f.Name())
	}
	return names
}

// sameRecords compares what two runs have left beside their results.
func sameRecords(t *testing.T, got, want Job) {
	t.Helper()
	if a, b := logLines(t, got), logLines(t, want); !reflect.DeepEqual(a, b) {
		t.Errorf("the log is\n%v, that of the uninterrupted run\n%v", a, b)
	}
	if a, b := points(t, got), points(t, want); !slices.Equal(a, b) {
		t.Errorf("the event file holds\n%v, that of the uninterrupted run\n%v", a, b)
	}
	a, b := epochFiles(t, got), epochFiles(t, want)
	if !slices.Equal(a, b) {
		t.Errorf("checkpoints of %v are kept, of the uninterrupted run %v", a, b)
	}
	for _, name := range a {
		one, other := tensorsIn(t, got.Worker, filepath.Join(got.Dir, EpochsDir, name)), tensorsIn(t, want.Worker, filepath.Join(want.Dir, EpochsDir, name))
		if !reflect.DeepEqual(one, other) {
			t.Errorf("%s holds other weights than that of the uninterrupted run", name)
		}
	}
}

// tensorsIn reads the floating-point tensors of a TorchScript file.
func tensorsIn(t *testing.T, w *torch.Worker, path string) map[string][]float32 {
	t.Helper()
	out := map[string][]float32{}
	err := w.Do(context.Background(), func(s *torch.Scope) error {
		module, _, err := torch.LoadModule(path, torch.CPU)
		if err != nil {
			return err
		}
		defer module.Close()
		for _, info := range module.Tensors() {
			if info.DType.Floating() {
				if out[info.Name], err = module.Get(s, info.Name).Float32s(); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// A line stands for the updates since the last one, across the ends of epochs; the last update of a run ends the last line.
func TestLog(t *testing.T) {
	testkit.NoLeaks(t)
	j := job(t, testkit.Torch(t), "tiny")
	j.Records.LogEvery = 4 // of 3 epochs of 5 updates
	losses, rates := []float64{}, []float64{}
	j.Progress = func(p Progress) {
		if p.ImagesPerSecond <= 0 || p.LoaderWait < 0 || p.LoaderWait > 1 {
			t.Errorf("progress %+v", p)
		}
		if n := (p.Epoch-1)*p.Updates + p.Update; n > len(losses) {
			losses, rates = append(losses, p.Loss), append(rates, p.LR)
		}
	}
	result := mustRun(t, j)
	var updates []string
	epochs := 0
	for _, l := range logLines(t, j) {
		step := int(l["step"].(float64))
		if l["kind"] == "epoch" {
			epochs++
			want := result.Epochs[epochs-1]
			if l["epoch"] != float64(epochs) || step != 5*epochs || l["loss"] != want.TrainLoss || l["val_loss"] != want.ValLoss ||
				l["val_top1"] != want.ValTop1 || l["val_top5"] != want.ValTop5 || l["ema_loss"] != nil || l["task_loss"] != nil {
				t.Errorf("epoch %d is logged as %v, it was %+v", epochs, l, want)
			}
			continue
		}
		from, sum := len(updates)*4, 0.0
		for _, loss := range losses[from:step] {
			sum += loss
		}
		if got, want := l["loss"].(float64), sum/float64(step-from); math.Abs(got-want) > 1e-12 || l["lr"] != rates[step-1] || l["epoch"] != float64((step-1)/5+1) {
			t.Errorf("%v: the mean loss of updates %d to %d is %v, the rate %v", l, from+1, step, want, rates[step-1])
		}
		updates = append(updates, strconv.Itoa(step))
	}
	if got := strings.Join(updates, " "); got != "4 8 12 15" || epochs != 3 {
		t.Errorf("lines after updates %s and %d epochs, want 4 8 12 15 and 3", got, epochs)
	}
	text := strings.Join(points(t, j), "\n")
	for _, want := range []string{
		"4 update/loss ", "15 update/lr ", fmt.Sprint("15 epoch/val_top1 ", float32(result.Epochs[2].ValTop1)), fmt.Sprint("5 epoch/loss ", float32(result.Epochs[0].TrainLoss)),
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the event file has no %q:\n%s", want, text)
		}
	}
}

func TestNoRecords(t *testing.T) {
	testkit.NoLeaks(t)
	j := job(t, testkit.Torch(t), "tiny")
	j.Records, j.Recipe.Epochs = Records{}, 1
	mustRun(t, j)
	for _, name := range []string{LogFile, EventFile, EpochsDir} {
		if _, err := os.Stat(filepath.Join(j.Dir, name)); err == nil {
			t.Errorf("%s is there, and nobody asked for it", name)
		}
	}
}

func TestKept(t *testing.T) {
	history := []Epoch{{Evaluated: true, ValTop1: 0.5, EMATop1: 0.1}, {}, {Evaluated: true, ValTop1: 0.7, EMATop1: 0.2},
		{Evaluated: true, ValTop1: 0.7, EMATop1: 0.4}, {Evaluated: true, ValTop1: 0.6, EMATop1: 0.3}}
	for _, c := range []struct {
		name        string
		records     Records
		averageLast int
		ema         bool
		want        []int
	}{
		{"nothing", Records{}, 0, false, nil},
		{"last", Records{KeepLast: 2}, 0, false, []int{4, 5}},
		{"more than there are", Records{KeepLast: 9}, 0, false, []int{1, 2, 3, 4, 5}},
		{"best, the earlier of equals", Records{KeepBest: 1}, 0, false, []int{3}},
		{"best three", Records{KeepBest: 3}, 0, false, []int{3, 4, 5}},
		{"best of those that were evaluated", Records{KeepBest: 9}, 0, false, []int{1, 3, 4, 5}},
		{"best by the averaged weights", Records{KeepBest: 2}, 0, true, []int{4, 5}},
		{"last and best", Records{KeepLast: 1, KeepBest: 1}, 0, false, []int{3, 5}},
		{"for the average", Records{KeepLast: 1}, 3, false, []int{3, 4, 5}},
	} {
		if got := kept(history, c.records, c.averageLast, c.ema); !slices.Equal(got, c.want) {
			t.Errorf("%s: epochs %v are kept, want %v", c.name, got, c.want)
		}
	}
	if got := kept(nil, Records{KeepLast: 2, KeepBest: 2}, 2, false); len(got) > 0 {
		t.Errorf("before the first epoch: %v", got)
	}
}

func TestAverageOfEpochs(t *testing.T) {
	testkit.NoLeaks(t)
	worker := testkit.Torch(t)
	average := func() Job {
		j := job(t, worker, "tiny")
		j.Recipe.AverageLast, j.Records = 2, Records{LogEvery: 2, TensorBoard: true, KeepLast: 3}
		return j
	}
	j := average()
	result := mustRun(t, j)
	if got := epochFiles(t, j); !slices.Equal(got, []string{"epoch-0001.pt", "epoch-0002.pt", "epoch-0003.pt"}) {
		t.Fatalf("kept are %v", got)
	}
	second, third := tensorsIn(t, worker, j.epochFile(2)), tensorsIn(t, worker, j.epochFile(3))
	got := tensorsIn(t, worker, j.Out)
	different := false
	for name, values := range got {
		for i, v := range values {
			if want := float32((float64(second[name][i]) + float64(third[name][i])) / 2); v != want {
				t.Fatalf("%s[%d] is %v, the mean of both epochs %v", name, i, v, want)
			}
			different = different || v != third[name][i]
		}
	}
	if len(got) == 0 || !different {
		t.Error("the average is the last epoch")
	}

	// The scores are those of the average.
	manifest, err := zoo.ReadManifest(j.Out)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(manifest.Weights.Run, `"weights":"average_last"`) || !strings.Contains(manifest.Weights.Run, fmt.Sprintf(`"val_loss":%s`, number(result.ValLoss))) {
		t.Errorf("the file says of its weights %s, the run %+v", manifest.Weights.Run, result)
	}
	loss, top1, top5 := scores(t, j)
	if math.Abs(result.ValLoss-loss) > 1e-6 || result.Top1 != top1 || result.Top5 != top5 {
		t.Errorf("the run reports loss %v, top-1 %v and top-5 %v of the average, its file has %v, %v and %v", result.ValLoss, result.Top1, result.Top5, loss, top1, top5)
	}

	// Interrupted in the middle and between the epochs of the average, it is the same.
	for _, at := range []struct{ epoch, update int }{{2, 3}, {3, 1}} {
		again := average()
		interruptAt(t, again, at.epoch, at.update)
		mustRun(t, again)
		sameFiles(t, again, j)
	}

	// Another epoch's checkpoint in the place of one, or none, is refused.
	if err := os.WriteFile(j.epochFile(2), read(t, j.epochFile(1)), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(context.Background(), j); err == nil || !strings.Contains(err.Error(), "is not that of epoch 2") {
		t.Errorf("with the checkpoint of epoch 1 for that of epoch 2: %v", err)
	}
	if err := os.Remove(j.epochFile(2)); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(context.Background(), j); err == nil || !strings.Contains(err.Error(), "epoch-0002.pt, is gone") {
		t.Errorf("without the checkpoint of epoch 2: %v", err)
	}
}

func (j Job) epochFile(epoch int) string { return filepath.Join(j.Dir, EpochsDir, EpochFile(epoch)) }

// interruptAt lets a run come as far as an update and stops it there.
func interruptAt(t *testing.T, j Job, epoch, update int) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	j.Progress = func(p Progress) {
		if p.Epoch == epoch && p.Update == update {
			cancel()
		}
	}
	if _, err := Run(ctx, j); err == nil {
		t.Fatalf("interrupted in epoch %d, update %d, and it went on", epoch, update)
	}
}

// scores evaluates the trained file of a run on its own, with sorted logits.
func scores(t *testing.T, j Job) (loss, top1, top5 float64) {
	t.Helper()
	model, err := zoo.Load(context.Background(), j.Out, zoo.LoadOptions{Worker: j.Worker})
	if err != nil {
		t.Fatal(err)
	}
	defer model.Close()
	logits, err := model.Logits(context.Background(), asBatch(j.Val))
	if err != nil {
		t.Fatal(err)
	}
	k, n := model.Classes(), float64(j.Val.N)
	for i, y := range j.Val.Labels {
		z := logits[i*k:][:k]
		sum := 0.0
		for _, v := range z {
			sum += math.Exp(float64(v - z[y]))
		}
		loss += math.Log(sum) / n
		order := make([]int, k)
		for c := range order {
			order[c] = c
		}
		slices.SortStableFunc(order, func(a, b int) int {
			switch {
			case z[a] > z[b]:
				return -1
			case z[a] < z[b]:
				return 1
			}
			return 0
		})
		if order[0] == int(y) {
			top1 += 1 / n
		}
		if slices.Contains(order[:min(5, k)], int(y)) {
			top5 += 1 / n
		}
	}
	return loss, math.Round(top1*n) / n, math.Round(top5*n) / n
}

func TestRank(t *testing.T) {
	z := []float32{1, 3, 2, 3, -1, 2}
	for y, want := range []int{4, 0, 2, 1, 5, 3} {
		if got := rank(z, y); got != want {
			t.Errorf("class %d comes after %d others, want %d", y, got, want)
		}
	}
}

// With a learning rate of zero the losses of an epoch are those of the initial networks, which are computed here from their
// logits in float64.
func TestPartsOfTheLoss(t *testing.T) {
	testkit.NoLeaks(t)
	worker := testkit.Torch(t)
	const alpha = 0.3
	distilled := func() Job {
		j := job(t, worker, "heads")
		j.Recipe.Epochs, j.Recipe.Optimizer, j.Recipe.LR, j.Recipe.WarmupEpochs, j.Recipe.WeightDecay = 1, SGD, 0, 0, 0
		j.Recipe.Shift, j.Recipe.HFlip, j.Recipe.LabelSmoothing, j.Recipe.ClipGrad = 0, 0, 0, 0
		j.Train = bars(40, 1)
		j.Teacher = &Teacher{Module: filepath.Join("testdata", "tiny.pt"), Key: "tiny", Alpha: alpha, Tau: 1}
		return j
	}
	j := distilled()
	result := mustRun(t, j)
	task, distill := 0.0, 0.0
	err := worker.Do(context.Background(), func(s *torch.Scope) error {
		student, manifest, err := zoo.OpenModule(context.Background(), s, j.Out, torch.CPU)
		if err != nil {
			return err
		}
		defer student.Close()
		teacher, _, err := zoo.OpenModule(context.Background(), s, j.Teacher.Module, torch.CPU)
		if err != nil {
			return err
		}
		defer teacher.Close()
		set := j.Train.(*data.Set)
		x := s.FromFloat32(asBatch(set).Pixels, set.N, 3, set.H, set.W)
		heads := student.ForwardTuple(s, x, manifest.Mean, manifest.Std)
		if len(heads) != 2 {
			return fmt.Errorf("%d outputs: %w", len(heads), s.Err())
		}
		var logits [3][]float32
		for i, z := range []torch.Tensor{heads[0], heads[1], teacher.Forward(s, x, manifest.Mean, manifest.Std)} {
			if logits[i], err = z.Float32s(); err != nil {
				return err
			}
		}
		for i, y := range set.Labels {
			row := func(z []float32) []float32 { return z[4*i : 4*i+4] }
			class := slices.Index(row(logits[2]), slices.Max(row(logits[2])))
			task += crossEntropy(row(logits[0]), y) / float64(set.N)
			distill += crossEntropy(row(logits[1]), int64(class)) / float64(set.N)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	total := (1-alpha)*task + alpha*distill
	curve := strings.Split(strings.TrimSpace(string(read(t, filepath.Join(j.Dir, CurveFile)))), "\n")
	cells := strings.Split(curve[1], ",")
	for column, want := range map[string]float64{"train_loss": total, "task_loss": task, "distill_loss": distill} {
		got, err := strconv.ParseFloat(cells[slices.Index(curveColumns, column)], 64)
		if err != nil || math.Abs(got-want) > 1e-5 {
			t.Errorf("%s is %v (%v), the networks' logits give %v", column, got, err, want)
		}
	}
	if math.Abs(result.Epochs[0].TrainLoss-total) > 1e-5 {
		t.Errorf("the loss was %v, want %v", result.Epochs[0].TrainLoss, total)
	}

	// With the teacher's loss alone there is no loss on the labels to speak of.
	alone := distilled()
	alone.Teacher.Alpha = 1
	mustRun(t, alone)
	curve = strings.Split(string(read(t, filepath.Join(alone.Dir, CurveFile))), "\n")
	if cells := strings.Split(curve[1], ","); cells[slices.Index(curveColumns, "task_loss")] != "" || cells[slices.Index(curveColumns, "distill_loss")] != cells[slices.Index(curveColumns, "train_loss")] {
		t.Errorf("with alpha 1 the curve has %q", curve[1])
	}

	// A teacher in bfloat16, lowered or not, is nearly the same.
	loss := func(precision torch.DType, lowered int) float64 {
		j := distilled()
		j.Teacher.Soft, j.Teacher.Alpha, j.Teacher.Precision, j.Teacher.Lowered = true, 1, precision, lowered
		return mustRun(t, j).Epochs[0].TrainLoss
	}
	want := loss(torch.Float32, 0)
	for _, lowered := range []int{0, 1} {
		if got := loss(torch.BFloat16, lowered); got == want || !(math.Abs(got-want) <= 2e-2*want) {
			t.Errorf("by a teacher in bfloat16 (lowered: %d) the loss is %v, by one in float32 %v", lowered, got, want)
		}
	}
}

// A fresh start removes what an earlier run left, also of another recipe.
func TestFreshStartClearsRecords(t *testing.T) {
	testkit.NoLeaks(t)
	j := job(t, testkit.Torch(t), "tiny")
	mustRun(t, j)
	if err := os.Remove(filepath.Join(j.Dir, CheckpointFile)); err != nil {
		t.Fatal(err)
	}
	j.Recipe.Epochs, j.Seed = 1, 77
	mustRun(t, j)
	if got := epochFiles(t, j); !slices.Equal(got, []string{"epoch-0001.pt"}) {
		t.Errorf("kept are %v", got)
	}
	for _, l := range logLines(t, j) {
		if l["step"].(float64) > 5 {
			t.Errorf("the log still has %v", l)
		}
	}
	if _, err := fs.Stat(os.DirFS(j.Dir), EventFile); err != nil {
		t.Error(err)
	}
}

// Erasing fills boxes of some images with noise that is standard normal after the normalisation and leaves all else alone.
func TestErase(t *testing.T) {
	testkit.NoLeaks(t)
	const n, c, size, grey = 64, 3, 32, 0.25
	mean, std := []float32{0.5, 0.4, 0.3}, []float32{0.25, 0.2, 0.1}
	err := testkit.Torch(t).Do(context.Background(), func(s *torch.Scope) error {
		run := &session{Job: Job{Seed: 3, Recipe: Recipe{EraseProb: 0.5}}, manifest: &zoo.Manifest{Mean: mean, Std: std}}
		x := s.Full(grey, n, c, size, size)
		if err := run.erase(s, x, 2, 7); err != nil {
			return err
		}
		pixels, err := x.Float32s()
		if err != nil {
			return err
		}
		erased, sum, squares, count := 0, 0.0, 0.0, 0.0
		for i := range n {
			changed := map[[2]int]bool{}
			left, right, top, bottom := size, -1, size, -1
			for k, v := range pixels[i*c*size*size:][:c*size*size] {
				if v == grey {
					continue
				}
				channel, y, column := k/(size*size), k/size%size, k%size
				changed[[2]int{y, column}] = true
				left, right, top, bottom = min(left, column), max(right, column), min(top, y), max(bottom, y)
				z := float64((v - mean[channel]) / std[channel])
				sum, squares, count = sum+z, squares+z*z, count+1
			}
			if len(changed) == 0 {
				continue
			}
			erased++
			if area := (right - left + 1) * (bottom - top + 1); area != len(changed) {
				return fmt.Errorf("image %d: %d pixels changed, the box around them has %d", i, len(changed), area)
			}
		}
		if erased < n/4 || erased > n*3/4 {
			return fmt.Errorf("%d of %d images are erased with probability 1/2", erased, n)
		}
		// The mean of so many normal numbers lies within five deviations of zero, their variance within five of one.
		if m, v := sum/count, squares/count; math.Abs(m) > 5/math.Sqrt(count) || math.Abs(v-1) > 5*math.Sqrt(2/count) {
			return fmt.Errorf("%v erased values have mean %v and variance %v", count, m, v)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
