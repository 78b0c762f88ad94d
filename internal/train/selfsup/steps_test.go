package selfsup

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sat/internal/data"
	"sat/internal/testkit"
	"sat/internal/train"
	"sat/torch"
	"sat/zoo"
)

// golden is testdata/steps.json; scripts/goldens/selfsup_steps.py says what it holds.
type golden struct {
	Header struct {
		Capability string `json:"cpu_capability"`
	}
	Batch int
	Cases []struct {
		Name    string
		Rates   []float64
		Losses  []float64
		Masks   [][]int64
		Tensors map[string]struct {
			Sum, Squares float64
			Every        int
			Elements     []float64
		}
	}
}

// goldenSettings are those of the golden's cases, in our words.
func goldenSettings() map[string]Settings {
	return map[string]Settings{
		zoo.MAE:    {},
		zoo.MoCoV3: {Momentum: [2]float64{0.9, 1}, FreezePatches: true},
		zoo.BYOL:   {Momentum: [2]float64{0.95, 0.95}},
	}
}

func TestEightUpdatesEqualEagerPyTorch(t *testing.T) {
	testkit.NoLeaks(t)
	worker := testkit.Torch(t)
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
	const (
		size, images1 = 16 * 16 * 3, 32
		scaleUp       = 6 // of the matrices in the encoder's blocks, see the script
		first         = 1e-6
		floor         = 1e-3 // of the size of a tensor: a bias in front of a batch norm has no gradient but rounding
	)
	sameKernels := testkit.SameKernels(t, g.Header.Capability)
	for _, c := range g.Cases {
		t.Run(c.Name, func(t *testing.T) {
			tolerance := 1e-4
			if c.Name == zoo.BYOL && !sameKernels {
				tolerance = 5e-2 // its batch norms stretch what kernels round, from the second update on
			}
			r := train.Defaults()
			r.Optimizer, r.Epochs, r.Batch, r.LR, r.Nesterov, r.WeightDecay = train.SGD, 2, g.Batch, 0.01, true, 0.01
			module := filepath.Join("testdata", c.Name+".pt")
			err := worker.Do(context.Background(), func(s *torch.Scope) error {
				run, err := open(context.Background(), s, Job{
					Module: module, Settings: goldenSettings()[c.Name], Recipe: r, Train: pictures(g.Batch, 1), Dir: t.TempDir(),
				})
				if err != nil {
					return err
				}
				defer run.close()
				// The golden starts from the weights of the file, not from those of a seed.
				file, _, err := torch.LoadModule(module, torch.CPU)
				if err != nil {
					return err
				}
				defer file.Close()
				for _, m := range []*torch.Module{run.module, run.target} {
					if m == nil {
						continue
					}
					for _, info := range m.Tensors() {
						err := s.Step(func(s *torch.Scope) error {
							value := file.Get(s, info.Name)
							if strings.HasPrefix(info.Name, "encoder.blocks.") && len(info.Shape) == 2 {
								value = s.MulScalar(value, scaleUp)
							}
							return m.Set(s, info.Name, value)
						})
						if err != nil {
							return err
						}
					}
				}
				for i, want := range c.Losses {
					run.masks = func(int, int, int) []int64 { return c.Masks[i] }
					var batch data.Batch
					for v := range run.stream.Views {
						for j := range r.Batch {
							row := (i*r.Batch+j)%images1 + v*images1
							batch.Images = append(batch.Images, images[row*size:(row+1)*size]...)
						}
					}
					lr := r.LearningRate(i/4, i%4, 4)
					if math.Abs(lr-c.Rates[i]) > 1e-12 {
						t.Errorf("update %d: rate %v, PyTorch used %v", i, lr, c.Rates[i])
					}
					allowed := tolerance
					if i == 0 {
						allowed = first
					}
					err := s.Step(func(s *torch.Scope) error {
						loss, _, err := run.update(s, batch, lr, run.Settings.momentum(i, len(c.Losses)), i)
						if math.Abs(loss-want) > allowed*want {
							t.Errorf("update %d: loss %v, PyTorch has %v, tolerance %v relative", i, loss, want, allowed)
						}
						return err
					})
					if err != nil {
						return err
					}
				}
				for name, want := range c.Tensors {
					m := run.module
					if rest, ok := strings.CutPrefix(name, "target:"); ok {
						m, name = run.target, rest
					}
					got, err := m.Get(s, name).Float32s()
					if err != nil {
						return err
					}
					sum, squares := 0.0, 0.0
					for _, v := range got {
						sum, squares = sum+float64(v), squares+float64(v)*float64(v)
					}
					count := float64(len(got))
					scale := max(math.Sqrt(want.Squares/count), floor)
					if math.Abs(squares-want.Squares) > tolerance*scale*scale*count || math.Abs(sum-want.Sum) > tolerance*scale*count {
						t.Errorf("%s: sum %v and sum of squares %v, PyTorch has %v and %v, tolerance %v", name, sum, squares, want.Sum, want.Squares, tolerance)
					}
					for k, v := range want.Elements {
						if d := math.Abs(float64(got[k*want.Every]) - v); d > 10*tolerance*scale {
							t.Errorf("%s[%d] is %v, PyTorch has %v", name, k*want.Every, got[k*want.Every], v)
						}
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
