package torch_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"

	"sat/internal/testkit"
	"sat/torch"
)

// golden is testdata/golden.json; scripts/goldens/torch_ops.py makes it with eager PyTorch.
type golden struct {
	Mean, Std  []float32
	Classes    int
	X          []float32
	XShape     []int `json:"x_shape"`
	Y          []int64
	Soft       []float32
	Conv, ViT  network
	TwoHeads   [][]float32
	Operations map[string]any
}

type network struct {
	Names   []string
	Float32 inputGradient
	Float64 struct {
		Logits, Loss, Grad []float64
	}
	BFloat16Logits []float32 `json:"bfloat16_logits"`
	Labels, Soft   parameterGradients
	Training       map[string]training
}

type inputGradient struct{ Logits, Loss, Grad []float32 }

type parameterGradients struct {
	Loss   float64
	Logits []float32
	Grads  map[string][]float32
}

type training struct {
	Plain, Decayed []string
	BaseLR         float64 `json:"base_lr"`
	Losses         []float64
	Tensors        map[string][]float64
}

// Tolerances as relative L2. Kernels differ with the instruction set of the CPU in the last bits; on the kind of CPU
// that made the file the gradients are bit-equal.
const (
	tolFloat32  = 1e-5
	tolFloat64  = 1e-12
	tolBFloat16 = 2e-2 // eight bits of mantissa
)

func loadGolden(t *testing.T) golden { return readGolden[golden](t, "golden.json") }

// readGolden reads testdata/name.
func readGolden[T any](t *testing.T, name string) (g T) {
	t.Helper()
	text, err := os.ReadFile(file(name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &g); err != nil {
		t.Fatal(err)
	}
	return g
}

func file(name string) string { return filepath.Join("testdata", name) }

// load loads testdata/name and closes it with t.
func load(t *testing.T, name string) *torch.Module {
	t.Helper()
	m, _, err := torch.LoadModule(file(name), torch.CPU)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

// do runs f on w and fails t with its error.
func do(t *testing.T, w *torch.Worker, f func(s *torch.Scope) error) {
	t.Helper()
	if err := w.Do(context.Background(), f); err != nil {
		t.Fatal(err)
	}
}

// near fails t unless got is want within a relative L2 difference of tol.
func near[A, B float32 | float64](t *testing.T, what string, got []A, want []B, tol float64) {
	t.Helper()
	if len(got) != len(want) || len(got) == 0 {
		t.Fatalf("%s: %d values, want %d", what, len(got), len(want))
	}
	var diff, norm float64
	for i := range got {
		d := float64(got[i]) - float64(want[i])
		diff += d * d
		norm += float64(want[i]) * float64(want[i])
	}
	if d := math.Sqrt(diff / norm); !(d <= tol) {
		t.Errorf("%s: relative L2 difference %.3g, tolerance %.3g\n got %v\nwant %v", what, d, tol,
			got[:min(4, len(got))], want[:min(4, len(want))])
	}
}

// bitEqual fails t unless got and want are the same numbers.
func bitEqual(t *testing.T, what string, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d values, want %d", what, len(got), len(want))
	}
	for i := range got {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
			t.Fatalf("%s: element %d is %v, want %v", what, i, got[i], want[i])
		}
	}
}

// floats copies t out and fails the test when that goes wrong.
func floats(t *testing.T, x torch.Tensor) []float32 {
	t.Helper()
	v, err := x.Float32s()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func networks(g golden) map[string]network {
	return map[string]network{"conv.pt": g.Conv, "vit.pt": g.ViT}
}

// TorchScript's optimisers have returned wrong gradients from the third call on, hence calls 1, 3 and 10.
func TestInputGradEqualsEager(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	g := loadGolden(t)
	for name, want := range networks(g) {
		t.Run(name, func(t *testing.T) {
			m := load(t, name)
			for call := 1; call <= 10; call++ {
				do(t, w, func(s *torch.Scope) error {
					x, y := s.FromFloat32(g.X, g.XShape...), s.FromInt64(g.Y, len(g.Y))
					grad, logits, loss := m.InputGrad(s, x, y, torch.GradOptions{Mean: g.Mean, Std: g.Std})
					if err := s.Err(); err != nil {
						return err
					}
					if call != 1 && call != 3 && call != 10 {
						return nil
					}
					at := fmt.Sprintf("call %d: ", call)
					near(t, at+"logits", floats(t, logits), want.Float32.Logits, tolFloat32)
					near(t, at+"loss", floats(t, loss), want.Float32.Loss, tolFloat32)
					near(t, at+"gradient", floats(t, grad), want.Float32.Grad, tolFloat32)
					forward := m.Forward(s, x, g.Mean, g.Std)
					bitEqual(t, at+"logits of forward", floats(t, forward), floats(t, logits))
					bitEqual(t, at+"x", floats(t, x), g.X)
					return nil
				})
			}
			// The loss is summed, so an image's gradient does not depend on the rest of the batch.
			do(t, w, func(s *torch.Scope) error {
				image := len(g.X) / g.XShape[0]
				x := s.FromFloat32(g.X[image:], 2, g.XShape[1], g.XShape[2], g.XShape[3])
				grad, _, _ := m.InputGrad(s, x, s.FromInt64(g.Y[1:], 2), torch.GradOptions{Mean: g.Mean, Std: g.Std})
				near(t, "batch of 2", floats(t, grad), want.Float32.Grad[image:], tolFloat32)
				return s.Err()
			})
		})
	}
}

func TestPrecisions(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	g := loadGolden(t)
	for name, want := range networks(g) {
		t.Run(name, func(t *testing.T) {
			m := load(t, name)
			if err := m.To(torch.CPU, torch.Float64); err != nil {
				t.Fatal(err)
			}
			do(t, w, func(s *torch.Scope) error {
				x, y := s.FromFloat32(g.X, g.XShape...), s.FromInt64(g.Y, len(g.Y))
				options := torch.GradOptions{Mean: g.Mean, Std: g.Std}
				grad, logits, _ := m.InputGrad(s, s.To(x, torch.Float64), y, options)
				values, err := grad.Float64s()
				if err != nil {
					return err
				}
				near(t, "float64 gradient", values, want.Float64.Grad, tolFloat64)
				if values, err = logits.Float64s(); err != nil {
					return err
				}
				near(t, "float64 logits", values, want.Float64.Logits, tolFloat64)
				// float32 images through a float64 network give float32 results.
				grad, _, _ = m.InputGrad(s, x, y, options)
				near(t, "mixed gradient", floats(t, grad), want.Float64.Grad, tolFloat32)
				return s.Err()
			})
			for _, info := range m.Tensors() {
				if want := info.DType == torch.Int64; want == info.DType.Floating() {
					t.Errorf("%s is %s after conversion", info.Name, info.DType)
				}
			}
			m = load(t, name)
			if err := m.To(torch.CPU, torch.BFloat16); err != nil {
				t.Fatal(err)
			}
			do(t, w, func(s *torch.Scope) error {
				x, y := s.FromFloat32(g.X, g.XShape...), s.FromInt64(g.Y, len(g.Y))
				grad, logits, loss := m.InputGrad(s, x, y, torch.GradOptions{Mean: g.Mean, Std: g.Std})
				if grad.DType() != torch.Float32 || loss.DType() != torch.Float32 {
					t.Errorf("gradient %s and loss %s, want float32", grad.DType(), loss.DType())
				}
				near(t, "bfloat16 logits", floats(t, logits), want.BFloat16Logits, tolBFloat16)
				return s.Err()
			})
		})
	}
}

func TestParameterGradientsEqualEager(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	g := loadGolden(t)
	for name, net := range networks(g) {
		for target, want := range map[string]parameterGradients{"labels": net.Labels, "soft": net.Soft} {
			t.Run(name+"/"+target, func(t *testing.T) {
				m := trainable(t, name)
				for call := 1; call <= 3; call++ {
					do(t, w, func(s *torch.Scope) error {
						if err := m.ZeroGrad(); err != nil {
							return err
						}
						o := torch.BackwardOptions{Mean: g.Mean, Std: g.Std}
						goal := torch.Target{Probabilities: s.FromFloat32(g.Soft, len(g.Y), g.Classes)}
						if target == "labels" {
							goal = torch.Target{Labels: s.FromInt64(g.Y, len(g.Y))}
							o.LabelSmoothing = 0.1
						}
						loss, logits, err := m.Backward(s, s.FromFloat32(g.X, g.XShape...), goal, o)
						if err != nil {
							return err
						}
						near(t, "loss", []float64{loss.Total}, []float64{want.Loss}, tolFloat32)
						near(t, "logits", floats(t, logits), want.Logits, tolFloat32)
						for parameter, grad := range want.Grads {
							near(t, parameter, floats(t, m.GradOf(s, parameter)), grad, tolFloat32)
						}
						return s.Err()
					})
				}
			})
		}
	}
}

// trainable loads testdata/name in train mode with gradients on.
func trainable(t *testing.T, name string) *torch.Module {
	t.Helper()
	m := load(t, name)
	if err := m.SetTraining(true); err != nil {
		t.Fatal(err)
	}
	if err := m.SetRequiresGrad(true); err != nil {
		t.Fatal(err)
	}
	return m
}

func optimizerConfig(kind string, c training) torch.OptimizerConfig {
	o := torch.OptimizerConfig{
		Momentum: 0.9, Nesterov: kind == "nesterov",
		Groups: []torch.Group{
			{Names: c.Plain},
			{Names: c.Decayed, WeightDecay: 0.05, LRScale: 0.5},
		},
	}
	switch kind {
	case "adamw":
		o.Kind, o.Beta1, o.Beta2, o.Eps = torch.AdamW, 0.9, 0.99, 1e-8
	case "lamb":
		o.Kind, o.Beta1, o.Beta2, o.Eps = torch.LAMB, 0.9, 0.99, 1e-6
	case "rmsprop":
		o.Kind, o.Beta2, o.Eps = torch.RMSProp, 0.9, 1e-3
	}
	return o
}

// train runs steps from <= step < to of the golden recipe and returns their losses.
func train(t *testing.T, w *torch.Worker, g golden, c training, m *torch.Module, o *torch.Optimizer,
	from, to int) []float64 {
	t.Helper()
	var losses []float64
	for step := from; step < to; step++ {
		do(t, w, func(s *torch.Scope) error {
			if err := o.ZeroGrad(); err != nil {
				return err
			}
			loss, _, err := m.Backward(s, s.FromFloat32(g.X, g.XShape...), torch.Target{Labels: s.FromInt64(g.Y, len(g.Y))},
				torch.BackwardOptions{Mean: g.Mean, Std: g.Std})
			if err != nil {
				return err
			}
			losses = append(losses, loss.Total)
			return o.Step(c.BaseLR * (1 - float64(step)/20))
		})
	}
	return losses
}

func newOptimizer(t *testing.T, m *torch.Module, c torch.OptimizerConfig) *torch.Optimizer {
	t.Helper()
	o, err := torch.NewOptimizer(m, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.Close)
	return o
}

// tensors copies all parameters and buffers out as float64.
func tensors(t *testing.T, w *torch.Worker, m *torch.Module) map[string][]float64 {
	t.Helper()
	out := map[string][]float64{}
	do(t, w, func(s *torch.Scope) error {
		for _, info := range m.Tensors() {
			v, err := s.To(m.Get(s, info.Name), torch.Float64).Float64s()
			if err != nil {
				return err
			}
			out[info.Name] = v
		}
		return nil
	})
	return out
}

func TestTrainingEqualsEager(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	g := loadGolden(t)
	for name, net := range networks(g) {
		for kind, c := range net.Training {
			t.Run(name+"/"+kind, func(t *testing.T) {
				m := trainable(t, name)
				o := newOptimizer(t, m, optimizerConfig(kind, c))
				losses := train(t, w, g, c, m, o, 0, 10)
				near(t, "losses", losses, c.Losses, tolFloat32)
				whole := tensors(t, w, m)
				for tensor, want := range c.Tensors {
					near(t, tensor, whole[tensor], want, 2*tolFloat32)
				}

				// Interrupted after four steps and resumed from files: the same to the last bit.
				m = trainable(t, name)
				o = newOptimizer(t, m, optimizerConfig(kind, c))
				train(t, w, g, c, m, o, 0, 4)
				state, err := o.State()
				if err != nil {
					t.Fatal(err)
				}
				path := filepath.Join(t.TempDir(), "checkpoint.pt")
				if err := m.Save(path, nil); err != nil {
					t.Fatal(err)
				}
				resumed, _, err := torch.LoadModule(path, torch.CPU)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(resumed.Close)
				if err := resumed.SetTraining(true); err != nil {
					t.Fatal(err)
				}
				if err := resumed.SetRequiresGrad(true); err != nil {
					t.Fatal(err)
				}
				o = newOptimizer(t, resumed, optimizerConfig(kind, c))
				if err := o.SetState(state); err != nil {
					t.Fatal(err)
				}
				train(t, w, g, c, resumed, o, 4, 10)
				for tensor, got := range tensors(t, w, resumed) {
					for i := range got {
						if got[i] != whole[tensor][i] {
							t.Fatalf("%s[%d] is %v after a resumed training, %v without", tensor, i, got[i], whole[tensor][i])
						}
					}
				}
			})
		}
	}
}

func TestOutputsOfTwoHeads(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	g := loadGolden(t)
	m := load(t, "twoheads.pt")
	do(t, w, func(s *torch.Scope) error {
		x := s.FromFloat32(g.X, g.XShape...)
		out := m.ForwardTuple(s, x, g.Mean, g.Std)
		if len(out) != 2 {
			t.Fatalf("%d outputs, want 2: %v", len(out), s.Err())
		}
		for i := range out {
			near(t, fmt.Sprint("output ", i), floats(t, out[i]), g.TwoHeads[i], tolFloat32)
		}
		mean := make([]float32, len(g.TwoHeads[0]))
		for i := range mean {
			mean[i] = (g.TwoHeads[0][i] + g.TwoHeads[1][i]) / 2
		}
		near(t, "mean", floats(t, m.Forward(s, x, g.Mean, g.Std)), mean, tolFloat32)
		return s.Err()
	})
}

func TestOperations(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	ops := loadGolden(t).Operations
	want := func(name string) []float64 {
		t.Helper()
		list, ok := ops[name].([]any)
		if !ok {
			t.Fatalf("no golden %s", name)
		}
		values := make([]float64, len(list))
		for i, v := range list {
			values[i] = v.(float64)
		}
		return values
	}
	narrow := func(name string) []float32 {
		var values []float32
		for _, v := range want(name) {
			values = append(values, float32(v))
		}
		return values
	}
	do(t, w, func(s *torch.Scope) error {
		x := s.FromFloat32(narrow("x"), 2, 3, 5, 7)
		logits, soft := s.FromFloat32(narrow("logits"), 4, 5), s.FromFloat32(narrow("soft"), 4, 5)
		labels := s.FromInt64([]int64{0, 3, 4, 1}, 4)
		logSoft, logP := s.Log(soft), s.LogSoftmax(logits, 1)
		cases := map[string]torch.Tensor{
			"nearest_False_8x4":   s.Interpolate(x, 8, 4, torch.Nearest, false),
			"bilinear_False_8x10": s.Interpolate(x, 8, 10, torch.Bilinear, false),
			"bilinear_True_3x4":   s.Interpolate(x, 3, 4, torch.Bilinear, true),
			"bicubic_False_8x10":  s.Interpolate(x, 8, 10, torch.Bicubic, false),
			"bicubic_True_3x4":    s.Interpolate(x, 3, 4, torch.Bicubic, true),
		}
		for name, r := range map[string]torch.Reduction{
			"none": torch.ReduceNone, "mean": torch.ReduceMean, "sum": torch.ReduceSum,
		} {
			cases["ce_"+name] = s.CrossEntropy(logits, labels, r, 0)
			cases["ce_smooth_"+name] = s.CrossEntropy(logits, labels, r, 0.1)
			cases["soft_ce_"+name] = s.SoftCrossEntropy(logits, soft, r)
			cases["bce_"+name] = s.BCEWithLogits(logits, soft, r)
			cases["kl_"+name] = s.KLDiv(logP, logSoft, r)
		}
		for name, got := range cases {
			near(t, name, floats(t, got), want(name), tolFloat32)
		}
		return s.Err()
	})
}
