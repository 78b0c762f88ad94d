package train

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"sat/attacks"
	"sat/internal/data"
	"sat/internal/rng"
	"sat/internal/testkit"
	"sat/torch"
	"sat/zoo"
)

// bars draws n images of four classes: a bright bar at the top, bottom, left or right of noise.
func bars(n int, seed uint64) *data.Set {
	const size, bar = 16, 5
	s := &data.Set{N: n, C: 3, H: size, W: size, Digest: fmt.Sprintf("bars %d %d", n, seed)}
	draw := rng.New(seed, "bars")
	for i := range n {
		label := i % 4
		for y := range size {
			for x := range size {
				v := draw.IntN(150)
				if inside := [4]bool{y < bar, y >= size-bar, x < bar, x >= size-bar}; inside[label] {
					v += 60
				}
				s.Images = append(s.Images, uint8(v), uint8(v), uint8(v))
			}
		}
		s.Labels, s.IDs = append(s.Labels, int64(label)), append(s.IDs, fmt.Sprint(i))
	}
	return s
}

// repeat is a set with every image of s n times.
func repeat(s *data.Set, n int) *data.Set {
	r := *s
	r.N, r.Images, r.Labels, r.IDs = s.N*n, bytes.Repeat(s.Images, n), nil, nil
	for i := range r.N {
		r.Labels, r.IDs = append(r.Labels, s.Labels[i%s.N]), append(r.IDs, fmt.Sprint(i))
	}
	return &r
}

// job is a short run of testdata/NAME.pt; "tiny" is a ResNet, "drop" an MLP-Mixer with stochastic depth.
func job(t *testing.T, w *torch.Worker, name string) Job {
	t.Helper()
	r := Defaults()
	r.Epochs, r.Batch, r.Optimizer, r.LR, r.WeightDecay = 3, 8, AdamW, 3e-3, 0.05
	r.WarmupEpochs, r.Shift, r.HFlip, r.LabelSmoothing, r.ClipGrad = 1, 1, 0.5, 0.1, 1
	dir := t.TempDir()
	return Job{
		Module: filepath.Join("testdata", name+".pt"), Recipe: r, Seed: 5, Train: bars(44, 1), Val: bars(20, 2),
		Dir: dir, Out: filepath.Join(dir, "out.pt"), Worker: w, Records: Records{LogEvery: 2, TensorBoard: true, KeepLast: 2, KeepBest: 1},
	}
}

// set is the job's training images.
func set(j *Job) *data.Set { return j.Train.(*data.Set) }

func mustRun(t *testing.T, j Job) Result {
	t.Helper()
	result, err := Run(context.Background(), j)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func sameFiles(t *testing.T, got, want Job) {
	t.Helper()
	for _, name := range []string{"out.pt", CurveFile} {
		if !bytes.Equal(read(t, filepath.Join(got.Dir, name)), read(t, filepath.Join(want.Dir, name))) {
			t.Errorf("%s differs from that of the uninterrupted run", name)
		}
	}
	sameRecords(t, got, want)
}

func TestResumedRunEqualsUninterrupted(t *testing.T) {
	testkit.NoLeaks(t)
	worker := testkit.Torch(t)
	for _, title := range []string{"tiny", "drop", "adversarial"} {
		t.Run(title, func(t *testing.T) {
			job := func(t *testing.T, worker *torch.Worker, name string) Job {
				if name == "adversarial" {
					j := job(t, worker, "drop")
					j.Recipe.Adversarial = &Adversarial{Epsilon: 16.0 / 255, StepSize: 8.0 / 255, Steps: 2, RandomStart: true}
					return j
				}
				return job(t, worker, name)
			}
			name := title
			whole := job(t, worker, name)
			mustRun(t, whole)
			again := job(t, worker, name)
			mustRun(t, again)
			sameFiles(t, again, whole)
			other := job(t, worker, name)
			other.Seed++
			mustRun(t, other)
			if bytes.Equal(read(t, other.Out), read(t, whole.Out)) {
				t.Error("another seed gave the same weights")
			}

			// Interrupted: after the first update, inside an epoch, at its last update, in the last epoch.
			for _, at := range []struct{ epoch, update int }{{1, 1}, {1, 3}, {1, 5}, {2, 2}, {3, 5}} {
				j := job(t, worker, name)
				ctx, cancel := context.WithCancel(context.Background())
				j.Progress = func(p Progress) {
					if p.Epoch == at.epoch && p.Update == at.update {
						cancel()
					}
				}
				if _, err := Run(ctx, j); !errors.Is(err, context.Canceled) {
					t.Fatalf("interrupted at %v: %v", at, err)
				}
				if _, err := os.Stat(j.Out); !errors.Is(err, fs.ErrNotExist) {
					t.Fatalf("interrupted at %v, but there is a trained file: %v", at, err)
				}
				j.Progress = nil
				if result := mustRun(t, j); !result.Resumed || len(result.Epochs) != 3 {
					t.Errorf("interrupted at %v: resumed %v with %d epochs", at, result.Resumed, len(result.Epochs))
				}
				sameFiles(t, j, whole)
			}

			// Killed in epoch 3: what the end of epoch 2 left on disk is there, and logs of what is lost.
			j, killed := job(t, worker, name), job(t, worker, name)
			j.Progress = func(p Progress) {
				if p.Epoch == 3 && p.Update == 2 {
					if err := os.CopyFS(killed.Dir, os.DirFS(j.Dir)); err != nil {
						t.Error(err)
					}
				}
			}
			mustRun(t, j)
			mustRun(t, killed)
			sameFiles(t, killed, whole)

			// Finished: nothing is trained again, the file is written again.
			if err := os.Remove(whole.Out); err != nil {
				t.Fatal(err)
			}
			whole.Progress = func(p Progress) { t.Errorf("a finished run trains: %+v", p) }
			mustRun(t, whole)
			sameFiles(t, whole, j)
		})
	}
}

// libtorch has one generator; networks that draw from it must not disturb each other.
func TestStochasticNetworksSideBySide(t *testing.T) {
	testkit.NoLeaks(t)
	worker := testkit.Torch(t)
	second, err := torch.NewWorker()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(second.Close)
	alone := job(t, worker, "drop")
	mustRun(t, alone)
	jobs := []Job{job(t, worker, "drop"), job(t, second, "drop")}
	var wg sync.WaitGroup
	for _, j := range jobs {
		wg.Go(func() {
			if _, err := Run(context.Background(), j); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, j := range jobs {
		sameFiles(t, j, alone)
	}
}

func TestOverfitsAFewImages(t *testing.T) {
	testkit.NoLeaks(t)
	j := job(t, testkit.Torch(t), "tiny")
	j.Recipe.Epochs, j.Recipe.Batch, j.Recipe.Shift, j.Recipe.HFlip, j.Recipe.LabelSmoothing = 12, 12, 0, 0, 0
	j.Recipe.LR, j.Recipe.WeightDecay, j.Recipe.EvalEvery = 1e-2, 0, 5
	j.Val = bars(12, 3)
	j.Train = repeat(j.Val, 10)
	result := mustRun(t, j)
	if last := result.Epochs[len(result.Epochs)-1]; result.Top1 != 1 || last.TrainLoss > 0.1 {
		t.Fatalf("top-1 %v and training loss %v on 12 images, want 1 and at most 0.1", result.Top1, last.TrainLoss)
	}
	curve := strings.Split(strings.TrimSpace(string(read(t, filepath.Join(j.Dir, CurveFile)))), "\n")
	if len(curve) != 13 || curve[0] != strings.Join(curveColumns, ",") || !strings.HasSuffix(curve[1], ",,,,,,,,") ||
		strings.HasSuffix(curve[5], ",,,,") || !strings.HasSuffix(curve[12], ",1,1,,,") {
		t.Fatalf("%d lines of the curve: %q, %q, ..., %q, ..., %q", len(curve), curve[0], curve[1], curve[5], curve[len(curve)-1])
	}
}

func TestTrainedFile(t *testing.T) {
	testkit.NoLeaks(t)
	j := job(t, testkit.Torch(t), "tiny")
	result := mustRun(t, j)
	before, err := zoo.ReadManifest(j.Module)
	if err != nil {
		t.Fatal(err)
	}
	after, err := zoo.ReadManifest(j.Out)
	if err != nil {
		t.Fatal(err)
	}
	if after.Weights.Source != "trained" || after.Weights.Seed != 5 || !strings.Contains(after.Weights.Run, `"epochs":3`) ||
		after.WeightsSHA256 == before.WeightsSHA256 {
		t.Errorf("weights %+v with digest %s, before %s", after.Weights, after.WeightsSHA256, before.WeightsSHA256)
	}
	model, err := zoo.Load(context.Background(), j.Out, zoo.LoadOptions{Worker: j.Worker})
	if err != nil {
		t.Fatal(err)
	}
	defer model.Close()
	logits, err := model.Logits(context.Background(), asBatch(j.Val))
	if err != nil {
		t.Fatal(err)
	}
	correct := 0
	for i, y := range j.Val.Labels {
		best := 0
		for k := range 4 {
			if logits[4*i+k] > logits[4*i+best] {
				best = k
			}
		}
		if int64(best) == y {
			correct++
		}
	}
	if got := float64(correct) / float64(j.Val.N); got != result.Top1 {
		t.Errorf("the trained file classifies %v of the validation images, the run reported %v", got, result.Top1)
	}
}

func TestDivergenceStopsTheRun(t *testing.T) {
	testkit.NoLeaks(t)
	worker := testkit.Torch(t)
	for _, c := range []struct {
		name         string
		change       func(*Job)
		what         string
		epoch, saved int
	}{
		// The rate is 0 in the first epoch and then absurd: the second update of epoch 2 meets the wreck of the first.
		{"loss", func(j *Job) { j.Recipe.Unit = PerEpoch }, "loss is", 2, 1},
		// One update per epoch: no later loss of the epoch would show it, but parameters and validation loss do.
		{"parameter", func(j *Job) { j.Recipe.Batch, j.Recipe.WarmupEpochs = 44, 0 }, "", 1, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			j := job(t, worker, "tiny")
			j.Recipe.Optimizer, j.Recipe.LR, j.Recipe.ClipGrad, j.Recipe.WeightDecay = SGD, 1e38, 0, 1
			c.change(&j)
			_, err := Run(context.Background(), j)
			var stopped *NonFiniteError
			if !errors.As(err, &stopped) {
				t.Fatalf("got %v, want a NonFiniteError", err)
			}
			if !strings.Contains(stopped.What, c.what) || stopped.Epoch != c.epoch || stopped.SavedEpoch != c.saved || stopped.LR < 1e37 {
				t.Errorf("got %+v", stopped)
			}
			if _, err := os.Stat(j.Out); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("there is a trained file: %v", err)
			}
			if c.saved == 0 {
				if stopped.Checkpoint != "" || !strings.Contains(err.Error(), "no checkpoint yet") {
					t.Errorf("a checkpoint is named: %v", err)
				}
				return
			}
			module, _, err := torch.LoadModule(stopped.Checkpoint, torch.CPU)
			if err != nil {
				t.Fatal(err)
			}
			module.Close()
		})
	}
}

func TestRefusals(t *testing.T) {
	testkit.NoLeaks(t)
	worker := testkit.Torch(t)
	for _, c := range []struct {
		name   string
		change func(*testing.T, *Job)
		want   string
	}{
		{"recipe", func(_ *testing.T, j *Job) { j.Recipe.Epochs = 0 }, "epochs is 0"},
		{"attack of no steps", func(_ *testing.T, j *Job) { j.Recipe.Adversarial = &Adversarial{Epsilon: 0.1, StepSize: 0.1} }, "adversarial steps is 0"},
		{"no images", func(_ *testing.T, j *Job) { j.Val = &data.Set{} }, "no validation images"},
		{"size", func(_ *testing.T, j *Job) { set(j).H, set(j).W = 8, 32 }, "training images are 8x32, the network takes 16x16"},
		{"floats", func(_ *testing.T, j *Job) { set(j).Images = nil }, "training images are not uint8"},
		{"label", func(_ *testing.T, j *Job) { j.Val.Labels[3] = 4 }, "validation image 3: label is 4"},
		{"batch", func(_ *testing.T, j *Job) { j.Recipe.Batch = 45 }, "44 training images do not fill one batch of 45"},
		{"missing file", func(_ *testing.T, j *Job) { j.Module = "testdata/none.pt" }, "none.pt"},
		{"no manifest", func(_ *testing.T, j *Job) { j.Module = "testdata/steps_net.pt" }, "no sat.json"},
		{"other checkpoint", func(t *testing.T, j *Job) {
			before := *j
			before.Seed++
			before.Recipe.Epochs = 1
			mustRun(t, before)
		}, "remove it to start over"},
		{"damaged checkpoint", func(t *testing.T, j *Job) {
			if err := os.WriteFile(filepath.Join(j.Dir, CheckpointFile), []byte("PK"), 0o644); err != nil {
				t.Fatal(err)
			}
		}, CheckpointFile},
	} {
		t.Run(c.name, func(t *testing.T) {
			j := job(t, worker, "tiny")
			c.change(t, &j)
			if _, err := Run(context.Background(), j); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want an error that says %q", err, c.want)
			}
		})
	}
}

func TestMemoryStaysConstant(t *testing.T) {
	testkit.NoLeaks(t)
	j := job(t, testkit.Torch(t), "tiny")
	j.Train = repeat(set(&j), 10)
	j.Recipe.Epochs = 21 // of 55 updates
	resident := func() int64 {
		n, err := torch.ResidentBytes()
		if err != nil {
			t.Error(err)
		}
		return n
	}
	var early, late int64
	j.Progress = func(p Progress) {
		switch (p.Epoch-1)*p.Updates + p.Update {
		case 100:
			early = resident()
		case 1100:
			late = resident()
		}
	}
	mustRun(t, j)
	if grown := late - early; early == 0 || grown > 20<<20 {
		t.Fatalf("resident memory grew by %d bytes in 1,000 updates", grown)
	}
}

func asBatch(s *data.Set) attacks.Batch {
	return attacks.Batch{Pixels: s.Float32(nil, 0, s.N), N: s.N, C: s.C, H: s.H, W: s.W}
}

// TestEverythingAtOnce trains with all that a recipe can ask for, interrupts it in mid-epoch and compares the bits.
func TestEverythingAtOnce(t *testing.T) {
	testkit.NoLeaks(t)
	worker := testkit.Torch(t)
	make := func() Job {
		j := job(t, worker, "drop")
		r := &j.Recipe
		r.Shift, r.CropScale, r.Filter, r.Policy, r.EraseProb = 0, [2]float64{0.5, 1}, "random", "rand-m9-mstd0.5-inc1", 0.5
		r.Mixup, r.CutMix, r.RepeatedAug, r.Accumulate, r.EMA, r.EMAExport = 0.8, 1, 2, 2, 0.9, true
		r.Optimizer, r.LR, r.Loss, r.LayerDecay = LAMB, 5e-3, BCE, 0.8
		return j
	}
	whole := make()
	result := mustRun(t, whole)
	last := result.Epochs[2]
	if last.EMATop1 == 0 || last.EMALoss == last.ValLoss {
		t.Errorf("the averaged weights were not evaluated: %+v", last)
	}
	j := make()
	j.Workers = 1
	ctx, cancel := context.WithCancel(context.Background())
	j.Progress = func(p Progress) {
		if p.Epoch == 2 && p.Update == 3 {
			cancel()
		}
	}
	if _, err := Run(ctx, j); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	j.Progress = nil
	mustRun(t, j)
	sameFiles(t, j, whole)
}

func TestTargetsEqualTimm(t *testing.T) {
	var g struct {
		Labels  []int64
		Classes int
		Cases   []struct {
			Share, Smoothing float64
			Targets          []float32
		}
	}
	if err := json.Unmarshal(read(t, filepath.Join("testdata", "targets.json")), &g); err != nil {
		t.Fatal(err)
	}
	for _, c := range g.Cases {
		got := probabilities(g.Labels, g.Classes, c.Share, c.Smoothing, 0)
		for i, want := range c.Targets {
			if got[i] != want {
				t.Errorf("share %v, smoothing %v: target %d is %v, timm has %v", c.Share, c.Smoothing, i, got[i], want)
			}
		}
	}
}

// Mixing on tensors gives the float32 numbers of its definition.
func TestMixEqualsDefinition(t *testing.T) {
	testkit.NoLeaks(t)
	const n, c, h, w = 4, 3, 6, 8
	pixels := make([]float32, n*c*h*w)
	rng.New(1, "mix").FillUniform(pixels, 0, 1)
	err := testkit.Torch(t).Do(context.Background(), func(s *torch.Scope) error {
		kinds := map[bool]int{}
		for update := range 40 {
			run := &session{Job: Job{Seed: 3, Recipe: Recipe{Mixup: 0.8, CutMix: 1, MixProb: 1, MixSwitch: 0.5, CutMixBox: FloorBox}}}
			x := s.FromFloat32(pixels, n, c, h, w)
			share, err := run.mix(s, x, 0, update)
			if err != nil {
				return err
			}
			got, err := x.Float32s()
			if err != nil {
				return err
			}
			m := run.Recipe.mixing().Draw(run.random("mix", 0, update), w, h)
			kinds[m.CutMix]++
			for i := range got {
				image, at := i/(c*h*w), i%(c*h*w)
				other := pixels[(n-1-image)*c*h*w+at]
				y, column := at/w%h, at%w
				want := float32(pixels[i]*float32(share)) + float32(other*float32(1-share))
				if m.CutMix {
					want = pixels[i]
					if y >= m.Box.Top && y < m.Box.Top+m.Box.Height && column >= m.Box.Left && column < m.Box.Left+m.Box.Width {
						want = other
					}
				}
				if got[i] != want {
					return fmt.Errorf("update %d, %+v: element %d is %v, want %v", update, m, i, got[i], want)
				}
			}
		}
		if kinds[true] == 0 || kinds[false] == 0 {
			t.Errorf("CutMix %d times, mixup %d times", kinds[true], kinds[false])
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
