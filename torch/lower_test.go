package torch_test

import (
	"math"
	"path/filepath"
	"strings"
	"testing"

	"sat/internal/testkit"
	"sat/torch"
)

type loweredGolden struct {
	Mean, Std []float32
	X         []float32
	XShape    []int `json:"x_shape"`
	Y         []int64
	Networks  map[string]inputGradient
	Functions []float32
}

func loadLoweredGolden(t *testing.T) loweredGolden {
	return readGolden[loweredGolden](t, filepath.Join("lowered", "golden.json"))
}

func lowered(t *testing.T, name string, dtype torch.DType) *torch.Module {
	t.Helper()
	m := load(t, name)
	if err := m.Lower(dtype); err != nil {
		t.Fatal(err)
	}
	return m
}

// In bfloat16, which keeps eight bits, layers add up the rounding. A tap of a filter in the wrong place, or a gradient that goes
// to the wrong pixel, makes a difference of the order of 1.
var tolLowered = map[torch.DType]struct{ logits, gradient float64 }{
	torch.Float32:  {1e-5, 1e-5},
	torch.BFloat16: {tolBFloat16, 8e-2},
}

// A lowered network computes what eager PyTorch computes in float32, but for rounding; what it computed before, for images
// of another number or size, changes no bit.
func TestLower(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	g := loadLoweredGolden(t)
	for name, want := range g.Networks {
		for dtype, tol := range tolLowered {
			t.Run(name+" "+dtype.String(), func(t *testing.T) {
				m := lowered(t, filepath.Join("lowered", name+".pt"), dtype)
				do(t, w, func(s *torch.Scope) error {
					x, y := s.FromFloat32(g.X, g.XShape...), s.FromInt64(g.Y, len(g.Y))
					options := torch.GradOptions{Mean: g.Mean, Std: g.Std}
					alone := m.Forward(s, x, g.Mean, g.Std)
					grad, logits, loss := m.InputGrad(s, x, y, options)
					near(t, "logits", floats(t, logits), want.Logits, tol.logits)
					near(t, "loss", floats(t, loss), want.Loss, tol.logits)
					near(t, "gradient", floats(t, grad), want.Grad, tol.gradient)
					near(t, "logits without a gradient", floats(t, alone), want.Logits, tol.logits)

					n := len(g.X) / 3
					two, _, _ := m.InputGrad(s, s.FromFloat32(g.X[:2*n], 2, 3, g.XShape[2], g.XShape[3]), s.FromInt64(g.Y[:2], 2), options)
					near(t, "gradient of two", floats(t, two), want.Grad[:2*n], tol.gradient)
					again, _, _ := m.InputGrad(s, x, y, options)
					bitEqual(t, "gradient after two", floats(t, again), floats(t, grad))
					return s.Err()
				})
			})
		}
	}
}

// Every value of a function is the exact one, rounded.
func TestLoweredFunctions(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	g := loadLoweredGolden(t)
	m := lowered(t, filepath.Join("lowered", "functions.pt"), torch.BFloat16)
	do(t, w, func(s *torch.Scope) error {
		x := s.FromFloat32(g.X, g.XShape...)
		got := floats(t, m.Forward(s, x, g.Mean, g.Std))
		if len(got) != len(g.Functions) {
			t.Fatalf("%d values, want %d", len(got), len(g.Functions))
		}
		for i, want := range g.Functions {
			// Half a step of bfloat16, and what float32 loses where a sum cancels.
			if d := math.Abs(float64(got[i] - want)); !(d <= math.Abs(float64(want))/255+1e-6) {
				t.Errorf("value %d is %v, want %v", i, got[i], want)
			}
		}
		return s.Err()
	})
}

// A pixel that is no number makes the logits and gradients of its image none, also through functions that this library computes.
func TestLowerKeepsNaN(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	g := loadLoweredGolden(t)
	for name := range g.Networks {
		for dtype := range tolLowered {
			m := lowered(t, filepath.Join("lowered", name+".pt"), dtype)
			do(t, w, func(s *torch.Scope) error {
				x := append([]float32(nil), g.X...)
				for i := range len(x) / 3 {
					x[i] = float32(math.NaN())
				}
				logits := floats(t, m.Forward(s, s.FromFloat32(x, g.XShape...), g.Mean, g.Std))
				for k, v := range logits {
					first := k < len(logits)/3
					if isNaN := math.IsNaN(float64(v)); isNaN != first {
						t.Errorf("%s in %v: logit %d is %v", name, dtype, k, v)
					}
				}
				return s.Err()
			})
		}
	}
}

func TestLowerRefuses(t *testing.T) {
	testkit.NoLeaks(t)
	testkit.Torch(t)
	m := load(t, "conv.pt")
	if err := m.SetTraining(true); err != nil {
		t.Fatal(err)
	}
	if err := m.Lower(torch.BFloat16); err == nil || !strings.Contains(err.Error(), "train mode") {
		t.Errorf("in train mode: %v", err)
	}
	m = load(t, "conv.pt")
	if err := m.Lower(torch.Float64); err == nil || !strings.Contains(err.Error(), "float32 or bfloat16") {
		t.Errorf("to float64: %v", err)
	}
	if err := m.To(torch.CPU, torch.BFloat16); err != nil {
		t.Fatal(err)
	}
	if err := m.Lower(torch.BFloat16); err == nil || !strings.Contains(err.Error(), "not in float32") {
		t.Errorf("from bfloat16: %v", err)
	}
	m = lowered(t, "conv.pt", torch.BFloat16)
	if n := len(m.Tensors()); n != 0 {
		t.Errorf("%d tensors can be changed after lowering", n)
	}
	if err := m.Lower(torch.BFloat16); err == nil || !strings.Contains(err.Error(), "lowered") {
		t.Errorf("twice: %v", err)
	}
	if err := m.Save(filepath.Join(t.TempDir(), "m.pt"), nil); err == nil || !strings.Contains(err.Error(), "lowered") {
		t.Errorf("saved: %v", err)
	}
	if _, err := m.Clone(); err == nil || !strings.Contains(err.Error(), "lowered") {
		t.Errorf("cloned: %v", err)
	}
	if err := m.To(torch.CPU, torch.Float32); err == nil || !strings.Contains(err.Error(), "lowered") {
		t.Errorf("converted: %v", err)
	}
}
