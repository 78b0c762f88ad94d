package selfsup

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sat/internal/data"
	"sat/internal/data/augment"
	"sat/internal/testkit"
	"sat/internal/train"
	"sat/torch"
	"sat/zoo"
)

// digits reads testdata/digits.u8, the 1,797 digits of scikit-learn, as images of 16x16 pixels; every fifth is for validation.
func digits(t *testing.T) (training, validation *data.Set) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", "digits.u8"))
	if err != nil {
		t.Fatal(err)
	}
	const side, record, scale = 8, 65, 2
	sets := [2]*data.Set{}
	for k := range sets {
		sets[k] = &data.Set{C: 3, H: scale * side, W: scale * side, Digest: fmt.Sprint("digits ", k)}
	}
	for i := range len(content) / record {
		values := content[i*record:][:record]
		s := sets[0]
		if i%5 == 0 {
			s = sets[1]
		}
		for y := range scale * side {
			for x := range scale * side {
				v := uint8(int(values[y/scale*side+x/scale]) * 255 / 16)
				s.Images = append(s.Images, v, v, v)
			}
		}
		s.Labels, s.IDs = append(s.Labels, int64(values[side*side])), append(s.IDs, fmt.Sprint(i))
		s.N++
	}
	return sets[0], sets[1]
}

// A linear classifier on each pre-trained encoder must be right more often than on encoders as they are drawn.
func TestProbesBeatRandomEncoders(t *testing.T) {
	testkit.NoLeaks(t)
	worker := testkit.Torch(t)
	training, validation := digits(t)
	probe := func(t *testing.T, module string, random bool, seed uint64) float64 {
		t.Helper()
		result, err := Probe(context.Background(), ProbeJob{
			Module: module, Random: random, Seed: seed, Train: training, Val: validation, Classes: 10, L2: 7e-3, Steps: 200, Batch: 128, Worker: worker,
		})
		if err != nil {
			t.Fatal(err)
		}
		return 100 * result.Top1
	}
	baseline := 0.0
	for seed := range uint64(2) {
		top1 := probe(t, filepath.Join("testdata", "byol.pt"), true, seed)
		t.Logf("encoder as drawn from seed %d: %.1f %%", seed, top1)
		baseline = max(baseline, top1)
	}
	for _, method := range methods {
		t.Run(method, func(t *testing.T) {
			j := job(t, worker, method)
			j.Train = training
			r := &j.Recipe
			r.Epochs, r.Batch, r.LR, r.WarmupEpochs, r.HFlip, r.ClipGrad = 16, 64, 2e-3, 1, 0, 0
			if method == zoo.MAE {
				r.Epochs, r.LR, r.CropScale, r.Betas[1] = 40, 4e-3, [2]float64{0.6, 1}, 0.95
			} else {
				j.Settings.Momentum = [2]float64{0.99, 0.99}
				if method == zoo.BYOL {
					// Without other images to tell from, it all but collapses before it learns: a target that follows faster and
					// views that change less bring it out within these few updates.
					r.LR, r.CropScale, j.Settings.Momentum = 4e-3, [2]float64{0.6, 1}, [2]float64{0.97, 0.97}
				}
				for v := range j.Settings.Views { // the digits have eight pixels a side
					j.Settings.Views[v].Sigma = [2]float64{0.1, 1}
					j.Settings.Views[v].Jitter = augment.Jitter{Brightness: 0.4, Contrast: 0.4}
					if method == zoo.BYOL {
						j.Settings.Views[v].BlurProb, j.Settings.Views[v].SolarizeProb = 0.2, 0
					}
				}
			}
			mustRun(t, j)
			top1 := probe(t, j.Out, false, 0)
			t.Logf("%.1f %%, encoders as drawn at most %.1f %%, of %d images", top1, baseline, validation.N)
			if top1 < baseline+5 {
				t.Errorf("the probe is right on %.1f %% of %d images, encoders as drawn reach %.1f %%; want 5 points more", top1, validation.N, baseline)
			}
		})
	}
}

// A classifier starts from the encoder's weights and from a head of its own; another network is refused.
func TestEncodersOfOtherNetworksAreRefused(t *testing.T) {
	testkit.NoLeaks(t)
	worker := testkit.Torch(t)
	for _, c := range []struct {
		name, module, encoder, want string
	}{
		{"another network", "../testdata/tiny.pt", "testdata/mae.pt", "it is another network"},
		{"no pre-training", "testdata/vit.pt", "testdata/vit.pt", "sat-pretrain.json"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := train.Defaults()
			r.Epochs, r.Batch, r.Optimizer, r.LR = 1, 4, train.SGD, 0.1
			set := pictures(8, 1)
			dir := t.TempDir()
			_, err := train.Run(context.Background(), train.Job{
				Module: filepath.FromSlash(c.module), Encoder: filepath.FromSlash(c.encoder), Recipe: r, Train: set, Val: set, Dir: dir,
				Out: filepath.Join(dir, "out.pt"), Worker: worker,
			})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want one with %q", err, c.want)
			}
		})
	}
}

// A classifier starts from the weights of the encoder and from a head of its own; with a rate of zero it stays there.
func TestClassifierStartsFromTheEncoder(t *testing.T) {
	testkit.NoLeaks(t)
	worker := testkit.Torch(t)
	r := train.Defaults()
	r.Epochs, r.Batch, r.Optimizer, r.LR = 1, 4, train.SGD, 0
	set := pictures(8, 1)
	run := func(encoder string) string {
		dir := t.TempDir()
		out := filepath.Join(dir, "out.pt")
		_, err := train.Run(context.Background(), train.Job{
			Module: filepath.Join("testdata", "vit.pt"), Encoder: encoder, Recipe: r, Seed: 3, Train: set, Val: set, Dir: dir, Out: out, Worker: worker,
		})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	encoder := filepath.Join("testdata", "mae.pt")
	with, without := run(encoder), run("")
	err := worker.Do(context.Background(), func(s *torch.Scope) error {
		ctx := context.Background()
		from, _, err := zoo.OpenPretraining(ctx, s, encoder, torch.CPU)
		if err != nil {
			return err
		}
		defer from.Close()
		var trained [2]*torch.Module
		for i, path := range []string{with, without} {
			if trained[i], _, err = zoo.OpenModule(ctx, s, path, torch.CPU); err != nil {
				return err
			}
			defer trained[i].Close()
		}
		for _, info := range trained[0].Tensors() {
			got := trained[0].Get(s, info.Name)
			want := trained[1].Get(s, info.Name)
			if !zoo.IsHead(info.Name) {
				want = from.Get(s, zoo.EncoderPrefix+info.Name)
			}
			different, err := s.Max(s.Abs(s.Sub(got, want))).Item()
			if err != nil {
				return err
			}
			if different != 0 {
				t.Errorf("%s is off by up to %v", info.Name, different)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// The classifier of a probe is the minimum: features that tell the classes apart are told apart, and a step more changes nothing.
func TestProbeReachesTheMinimum(t *testing.T) {
	testkit.NoLeaks(t)
	worker := testkit.Torch(t)
	// Two features, the second of another size; classes by the sign of the first. One feature never changes.
	var training table
	training.width = 4
	for i := range 40 {
		side := float32(1 - 2*(i%2))
		training.x = append(training.x, side*(1+float32(i%5)/10), 100*float32(i%7), 3, 1)
		training.labels = append(training.labels, int64(i%2))
	}
	validation := table{x: append([]float32(nil), training.x...), width: 4, labels: training.labels}
	standardise(&training, &validation)
	fit := func(steps int) (result ProbeResult) {
		err := worker.Do(context.Background(), func(s *torch.Scope) (err error) {
			result, err = ProbeJob{Classes: 2, L2: 0.1, Steps: steps}.fit(context.Background(), s, &training, &validation)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return result
	}
	short, long := fit(200), fit(2000)
	if short.Top1 != 1 || short.TrainTop1 != 1 || short.Images != 40 {
		t.Errorf("classes that one feature tells apart: %+v", short)
	}
	if d := short.Loss - long.Loss; d > 1e-5 || d < -1e-5 {
		t.Errorf("loss %v after 200 steps, %v after 2000", short.Loss, long.Loss)
	}
	if first := fit(1); first.Loss <= long.Loss {
		t.Errorf("loss %v after one step, %v after 2000", first.Loss, long.Loss)
	}
}
