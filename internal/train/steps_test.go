package train

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"sat/internal/data"
	"sat/internal/testkit"
	"sat/torch"
	"sat/zoo"
)

// golden is testdata/steps.json; scripts/goldens/train_steps.py says what it holds.
type golden struct {
	Mean, Std []float32
	Batch     int
	Labels    []int64
	Cases     []struct {
		Name    string
		Rates   []float64
		Losses  []float64
		Tensors map[string][]float64
		Average map[string][]float64 // of the weights; nil without
	}
}

func readGolden(t *testing.T) (golden, []uint8) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "steps.json"))
	if err != nil {
		t.Fatal(err)
	}
	var g golden
	if err := json.Unmarshal(text, &g); err != nil {
		t.Fatal(err)
	}
	images, err := os.ReadFile(filepath.Join("testdata", "steps_images.u8"))
	if err != nil {
		t.Fatal(err)
	}
	return g, images
}

// goldenRecipes are the settings of the golden's cases, in our words.
func goldenRecipes() map[string]Recipe {
	adamw := Defaults()
	adamw.Optimizer, adamw.Epochs, adamw.Batch, adamw.LR, adamw.Betas[1] = AdamW, 5, 16, 4e-3, 0.99
	adamw.WeightDecay, adamw.LabelSmoothing, adamw.ClipGrad = 0.05, 0.1, 0.5
	adamw.Unit, adamw.WarmupEpochs, adamw.WarmupLR, adamw.MinLR = PerUpdate, 1, 1e-4, 1e-5
	sgd := Defaults()
	sgd.Optimizer, sgd.Epochs, sgd.Batch, sgd.LR, sgd.Nesterov = SGD, 5, 16, 0.05, true
	sgd.WeightDecay, sgd.DecayAllParams, sgd.Schedule, sgd.StepEpochs = 1e-2, true, Step, 2
	lamb := Defaults()
	lamb.Optimizer, lamb.Epochs, lamb.Batch, lamb.LR, lamb.Betas[1], lamb.Eps = LAMB, 5, 16, 0.02, 0.99, 1e-6
	lamb.WeightDecay, lamb.LabelSmoothing, lamb.Loss, lamb.BCEThreshold = 0.02, 0.1, BCE, 0.2
	lamb.Accumulate, lamb.EMA = 2, 0.9
	adversarial := adamw
	adversarial.Adversarial = &Adversarial{Epsilon: 8.0 / 255, StepSize: 3.0 / 255, Steps: 3}
	return map[string]Recipe{"adamw": adamw, "sgd": sgd, "lamb": lamb, "adversarial": adversarial}
}

func TestTwentyUpdatesEqualEagerPyTorch(t *testing.T) {
	testkit.NoLeaks(t)
	worker := testkit.Torch(t)
	g, images := readGolden(t)
	const updates, tolerance = 4, 1e-4
	for _, c := range g.Cases {
		t.Run(c.Name, func(t *testing.T) {
			r := goldenRecipes()[c.Name]
			err := worker.Do(context.Background(), func(s *torch.Scope) error {
				module, _, err := torch.LoadModule(filepath.Join("testdata", "steps_net.pt"), torch.CPU)
				if err != nil {
					return err
				}
				run := &session{
					Job:      Job{Recipe: r},
					manifest: &zoo.Manifest{Mean: g.Mean, Std: g.Std, InputSize: [3]int{3, 8, 8}, Classes: 5}, module: module,
				}
				defer run.close()
				if r.EMA > 0 {
					if run.average, err = module.Clone(); err != nil {
						return err
					}
				}
				if err := module.SetRequiresGrad(true); err != nil {
					return err
				}
				if err := module.SetTraining(true); err != nil {
					return err
				}
				if run.optimizer, err = torch.NewOptimizer(module, r.OptimizerConfig(module.Tensors())); err != nil {
					return err
				}
				for i, want := range c.Losses {
					batch, labels := make([]uint8, 0, r.Batch*192), make([]int64, 0, r.Batch)
					for j := range r.Batch {
						row := (i*r.Batch + j) % len(g.Labels)
						batch, labels = append(batch, images[row*192:(row+1)*192]...), append(labels, g.Labels[row])
					}
					lr := r.LearningRate(i/updates, i%updates, updates)
					if math.Abs(lr-c.Rates[i]) > 1e-12 {
						t.Errorf("update %d: rate %v, PyTorch used %v", i, lr, c.Rates[i])
					}
					err := s.Step(func(s *torch.Scope) error {
						loss, err := run.update(s, data.Batch{Images: batch, Labels: labels}, lr, i/updates, i%updates)
						if math.Abs(loss.Total-want) > tolerance*want {
							t.Errorf("update %d: loss %v, PyTorch has %v, tolerance %v relative", i, loss.Total, want, tolerance)
						}
						return err
					})
					if err != nil {
						return err
					}
				}
				if err := compare(t, s, "", module, c.Tensors, tolerance); err != nil || run.average == nil {
					return err
				}
				return compare(t, s, "average of ", run.average, c.Average, tolerance)
			})
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}

// compare holds every floating-point tensor of a network against what PyTorch has.
func compare(t *testing.T, s *torch.Scope, what string, module *torch.Module, want map[string][]float64, tolerance float64) error {
	t.Helper()
	for _, info := range module.Tensors() {
		if !info.DType.Floating() {
			continue
		}
		got, err := module.Get(s, info.Name).Float32s()
		if err != nil {
			return err
		}
		values, scale := want[info.Name], 0.0
		for _, v := range values {
			scale = max(scale, math.Abs(v))
		}
		for i, v := range values {
			if math.Abs(float64(got[i])-v) > tolerance*scale {
				t.Errorf("%s%s[%d] is %v, PyTorch has %v, tolerance %v of the largest", what, info.Name, i, got[i], v, tolerance)
				break
			}
		}
	}
	return nil
}
