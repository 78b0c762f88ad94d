package torch_test

import (
	"math"
	"strings"
	"testing"

	"sat/internal/testkit"
	"sat/torch"
)

// trainingGolden is testdata/training.json; scripts/goldens/torch_training.py makes it with eager PyTorch and timm.
type trainingGolden struct {
	Alpha, Tau, Decay    float64
	Soft, Multi, Teacher []float32
	Average              map[string][]float64
	Cases                []struct {
		Name, Network       string
		Total, Distillation float64
		Grads               map[string][]float32
	}
}

func loadTrainingGolden(t *testing.T) trainingGolden {
	return readGolden[trainingGolden](t, "training.json")
}

func TestTrainingLossesEqualEager(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	g, inputs := loadTrainingGolden(t), loadGolden(t)
	for _, c := range g.Cases {
		t.Run(c.Name, func(t *testing.T) {
			m := trainable(t, c.Network+".pt")
			do(t, w, func(s *torch.Scope) error {
				n := len(inputs.Y)
				rows := func(v []float32) torch.Tensor { return s.FromFloat32(v, n, inputs.Classes) }
				o := torch.BackwardOptions{Mean: inputs.Mean, Std: inputs.Std}
				target := torch.Target{Labels: s.FromInt64(inputs.Y, n)}
				switch {
				case c.Name == "bce":
					o.Loss, target = torch.BCE, torch.Target{Probabilities: rows(g.Multi)}
				case strings.HasSuffix(c.Name, "-labels"):
					o.LabelSmoothing = 0.1
				default:
					target = torch.Target{Probabilities: rows(g.Soft)}
				}
				if c.Name != "bce" {
					o.Distillation, o.Teacher, o.Alpha, o.Tau = torch.SoftDistillation, rows(g.Teacher), g.Alpha, g.Tau
					if strings.HasPrefix(c.Name, "hard-") {
						o.Distillation = torch.HardDistillation
					}
				}
				losses, _, err := m.Backward(s, s.FromFloat32(inputs.X, inputs.XShape...), target, o)
				if err != nil {
					return err
				}
				near(t, "total", []float64{losses.Total}, []float64{c.Total}, tolFloat32)
				if c.Distillation != 0 {
					near(t, "distillation", []float64{losses.Distillation}, []float64{c.Distillation}, tolFloat32)
				}
				for name, want := range c.Grads {
					near(t, name, floats(t, m.GradOf(s, name)), want, tolFloat32)
				}
				return s.Err()
			})
		})
	}
}

func TestAverageEqualsEager(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	g := loadTrainingGolden(t)
	m, mean := load(t, "conv.pt"), load(t, "conv.pt")
	for range 3 {
		do(t, w, func(s *torch.Scope) error {
			for _, info := range m.Tensors() {
				value := m.Get(s, info.Name)
				step := 0.1
				if !info.DType.Floating() {
					step = 1
				}
				if err := m.Set(s, info.Name, s.To(s.AddScalar(value, step), info.DType)); err != nil {
					return err
				}
			}
			return mean.Average(m, g.Decay)
		})
	}
	for name, got := range tensors(t, w, mean) {
		near(t, name, got, g.Average[name], 1e-6)
	}
	if err := mean.Average(mean, 0.5); err == nil {
		t.Error("a network averaged with itself")
	}
	if err := mean.Average(load(t, "vit.pt"), 0.5); err == nil {
		t.Error("no error for networks with different tensors")
	}
}

// Autocast computes products in 16 bit but leaves parameters, losses and gradients in 32.
func TestBackwardInMixedPrecision(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	g := loadGolden(t)
	grads := map[torch.DType][]float32{}
	for _, precision := range []torch.DType{torch.Float32, torch.BFloat16} {
		m := trainable(t, "vit.pt")
		do(t, w, func(s *torch.Scope) error {
			o := torch.BackwardOptions{Mean: g.Mean, Std: g.Std, Precision: precision, Scale: 1024}
			target := torch.Target{Labels: s.FromInt64(g.Y, len(g.Y))}
			if _, _, err := m.Backward(s, s.FromFloat32(g.X, g.XShape...), target, o); err != nil {
				return err
			}
			finite, err := m.ScaleGrad(1.0 / 1024)
			if err != nil || !finite {
				t.Fatalf("gradients finite: %v, %v", finite, err)
			}
			grad := m.GradOf(s, "blocks.0.fc1.weight")
			if grad.DType() != torch.Float32 {
				t.Errorf("gradient is %s", grad.DType())
			}
			grads[precision] = floats(t, grad)
			return s.Err()
		})
	}
	near(t, "gradient in bfloat16", grads[torch.BFloat16], grads[torch.Float32], 5e-2)
	different := false
	for i, v := range grads[torch.Float32] {
		different = different || v != grads[torch.BFloat16][i]
	}
	if !different {
		t.Error("bfloat16 gave the gradients of float32: autocast was off")
	}
}

func TestScaleGradSeesOverflow(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	g := loadGolden(t)
	m := trainable(t, "conv.pt")
	do(t, w, func(s *torch.Scope) error {
		target := torch.Target{Labels: s.FromInt64(g.Y, len(g.Y))}
		_, _, err := m.Backward(s, s.FromFloat32(g.X, g.XShape...), target, torch.BackwardOptions{Mean: g.Mean, Std: g.Std})
		if err != nil {
			return err
		}
		if finite, err := m.ScaleGrad(math.MaxFloat64); finite || err != nil {
			t.Errorf("finite %v, %v after an overflow", finite, err)
		}
		if finite, err := m.ScaleGrad(0); finite || err != nil { // infinity times zero
			t.Errorf("finite %v, %v with NaN", finite, err)
		}
		return nil
	})
}
