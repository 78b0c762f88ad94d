package selfsup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sat/internal/data"
	"sat/internal/data/augment"
	"sat/internal/rng"
	"sat/internal/testkit"
	"sat/internal/train"
	"sat/torch"
	"sat/zoo"
)

var methods = []string{zoo.MAE, zoo.MoCoV3, zoo.BYOL}

// pictures draws n images of 16x16 pixels in blocks of random colour.
func pictures(n int, seed uint64) *data.Set {
	const size = 16
	s := &data.Set{N: n, C: 3, H: size, W: size, Digest: fmt.Sprintf("pictures %d %d", n, seed)}
	for i := range n {
		var colours [16][3]int
		draw := rng.New(seed, "pictures", uint64(i))
		for k := range colours {
			for c := range 3 {
				colours[k][c] = draw.IntN(200)
			}
		}
		for y := range size {
			for x := range size {
				for c := range 3 {
					s.Images = append(s.Images, uint8(colours[y/4*4+x/4][c]+draw.IntN(50)))
				}
			}
		}
		s.Labels, s.IDs = append(s.Labels, 0), append(s.IDs, fmt.Sprint(i))
	}
	return s
}

// views are MoCo v3's.
func views() [2]augment.Colour {
	jitter := augment.Jitter{Brightness: 0.4, Contrast: 0.4, Saturation: 0.2, Hue: 0.1}
	first := augment.Colour{Jitter: jitter, JitterProb: 0.8, GreyProb: 0.2, Sigma: [2]float64{0.1, 2}, BlurProb: 1}
	second := first
	second.BlurProb, second.SolarizeProb = 0.1, 0.2
	return [2]augment.Colour{first, second}
}

// job is a short run of testdata/METHOD.pt.
func job(t *testing.T, w *torch.Worker, method string) Job {
	t.Helper()
	r := train.Defaults()
	r.Epochs, r.Batch, r.Optimizer, r.LR, r.WeightDecay, r.WarmupEpochs = 3, 8, train.AdamW, 2e-3, 0.05, 1
	r.CropScale, r.HFlip, r.ClipGrad = [2]float64{0.4, 1}, 0.5, 1
	settings := goldenSettings()[method]
	if method != zoo.MAE {
		settings.Views = views()
	}
	dir := t.TempDir()
	return Job{
		Module: filepath.Join("testdata", method+".pt"), Settings: settings, Recipe: r, Seed: 5, Train: pictures(28, 1),
		Dir: dir, Out: filepath.Join(dir, "out.pt"), Worker: w,
	}
}

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
}

func TestResumedRunEqualsUninterrupted(t *testing.T) {
	testkit.NoLeaks(t)
	worker := testkit.Torch(t)
	for _, method := range methods {
		t.Run(method, func(t *testing.T) {
			whole := job(t, worker, method)
			if result := mustRun(t, whole); len(result.Epochs) != 3 || result.Resumed {
				t.Errorf("resumed %v with %d epochs, want a whole run of 3", result.Resumed, len(result.Epochs))
			}
			other := job(t, worker, method)
			other.Seed++
			mustRun(t, other)
			if bytes.Equal(read(t, other.Out), read(t, whole.Out)) {
				t.Error("another seed gave the same weights")
			}
			for _, at := range []struct{ epoch, update int }{{1, 1}, {2, 2}, {3, 3}} {
				j := job(t, worker, method)
				j.Workers = 1 + at.update
				ctx, cancel := context.WithCancel(context.Background())
				j.Progress = func(p train.Progress) {
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

			// Killed in epoch 3: only what the end of epoch 2 left on disk is there.
			j, killed := job(t, worker, method), job(t, worker, method)
			j.Progress = func(p train.Progress) {
				if p.Epoch == 3 && p.Update == 2 {
					for _, file := range []string{train.CheckpointFile, CurveFile} {
						if err := os.WriteFile(filepath.Join(killed.Dir, file), read(t, filepath.Join(j.Dir, file)), 0o644); err != nil {
							t.Error(err)
						}
					}
				}
			}
			mustRun(t, j)
			mustRun(t, killed)
			sameFiles(t, killed, whole)
		})
	}
}

// What a method leaves alone must be as it was drawn, and everything else must have moved.
func TestFrozenParametersStay(t *testing.T) {
	testkit.NoLeaks(t)
	worker := testkit.Torch(t)
	for _, method := range methods {
		t.Run(method, func(t *testing.T) {
			j := job(t, worker, method)
			mustRun(t, j)
			err := worker.Do(context.Background(), func(s *torch.Scope) error {
				ctx := context.Background()
				start, manifest, err := zoo.OpenPretraining(ctx, s, j.Module, torch.CPU)
				if err != nil {
					return err
				}
				defer start.Close()
				if err := zoo.InitWeights(ctx, s, start, manifest.Init, j.Seed); err != nil {
					return err
				}
				end, manifest, err := zoo.OpenPretraining(ctx, s, j.Out, torch.CPU)
				if err != nil {
					return err
				}
				defer end.Close()
				if manifest.Weights.Source != "trained" || manifest.Weights.Seed != 5 || !strings.Contains(manifest.Weights.Run, `"images":28`) {
					t.Errorf("the file says of its weights %+v", manifest.Weights)
				}
				for _, info := range start.Tensors() {
					if info.Buffer {
						continue
					}
					a, err := start.Get(s, info.Name).Float32s()
					if err != nil {
						return err
					}
					b, err := end.Get(s, info.Name).Float32s()
					if err != nil {
						return err
					}
					still := true
					for i := range a {
						still = still && a[i] == b[i]
					}
					frozen := info.Name == "encoder.pos_embed" || method == zoo.MoCoV3 && strings.HasPrefix(info.Name, "encoder.patch_embed.")
					if still != frozen {
						t.Errorf("%s stayed: %v, want %v", info.Name, still, frozen)
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestWrongJobsAreRefused(t *testing.T) {
	testkit.NoLeaks(t)
	worker := testkit.Torch(t)
	for _, c := range []struct {
		name, method, want string
		change             func(*Job)
	}{
		{"labels", zoo.MAE, "mixup of the recipe means nothing here", func(j *Job) { j.Recipe.Mixup = 0.8 }},
		{"float16", zoo.MAE, "use bfloat16 or float32", func(j *Job) { j.Recipe.Precision = "float16" }},
		{"views of mae", zoo.MAE, "neither a momentum nor two views", func(j *Job) { j.Settings.Views = views() }},
		{"momentum", zoo.BYOL, "momentum is [1.5 1], want rising numbers in [0,1]", func(j *Job) { j.Settings.Momentum = [2]float64{1.5, 1} }},
		{"probability", zoo.MoCoV3, "grey_prob is 2, want [0,1]", func(j *Job) { j.Settings.Views[1].GreyProb = 2 }},
		{"few images", zoo.MAE, "4 training images do not fill one batch of 8", func(j *Job) { j.Train = pictures(4, 1) }},
		{"classifier", zoo.MAE, "sat-pretrain.json", func(j *Job) { j.Module = filepath.Join("testdata", "vit.pt") }},
		{"divergence", zoo.MAE, "there is no checkpoint yet", func(j *Job) { j.Recipe.LR, j.Recipe.ClipGrad, j.Recipe.WarmupEpochs = 1e38, 0, 0 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			j := job(t, worker, c.method)
			c.change(&j)
			_, err := Run(context.Background(), j)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want one with %q", err, c.want)
			}
			if _, err := os.Stat(j.Out); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("there is a trained file: %v", err)
			}
		})
	}
	t.Run("another seed's checkpoint", func(t *testing.T) {
		j := job(t, worker, zoo.BYOL)
		mustRun(t, j)
		j.Seed++
		if _, err := Run(context.Background(), j); err == nil || !strings.Contains(err.Error(), "belongs to another recipe") {
			t.Errorf("error is %v", err)
		}
	})
}

func TestMasksAreKeyedPermutations(t *testing.T) {
	const n, patches = 6, 16
	whole := masks(3, 1, 10, n, patches)
	for i := range n {
		seen := map[int64]bool{}
		for _, p := range whole[i*patches : (i+1)*patches] {
			if p < 0 || p >= patches || seen[p] {
				t.Fatalf("image %d: %v is no permutation", i, whole[i*patches:(i+1)*patches])
			}
			seen[p] = true
		}
	}
	// The numbers of an image do not depend on the batch that it is in.
	if got := masks(3, 1, 14, 1, patches); fmt.Sprint(got) != fmt.Sprint(whole[4*patches:5*patches]) {
		t.Errorf("alone the fifth image gets %v, in a batch %v", got, whole[4*patches:5*patches])
	}
	if fmt.Sprint(masks(3, 2, 10, n, patches)) == fmt.Sprint(whole) {
		t.Error("another epoch has the same masks")
	}
}
