package torch_test

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"sat/internal/testkit"
	"sat/torch"
)

// signStep is the step as attacks.stepLinf defines it, written out in float32.
func signStep(adv, clean, g []float32, step, epsilon float32) {
	for i := range adv {
		v := adv[i]
		switch {
		case g[i] > 0:
			v += step
		case g[i] < 0:
			v -= step
		}
		d := min(max(v-clean[i], -epsilon), epsilon)
		adv[i] = min(max(clean[i]+d, 0), 1)
	}
}

// The loop that keeps images where the network computes gives the images of the plain loop, bit for bit: in one pass, by
// libtorch's operations, in either direction, from a start away from the clean images.
func TestSignAttackEqualsPlainSteps(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	g := loadGolden(t)
	const steps = 4
	for _, name := range []string{"conv.pt", "vit.pt"} {
		for label, o := range map[string]torch.SignOptions{
			"paper":      {StepSize: 0.1, Epsilon: 8.0 / 255},
			"small":      {StepSize: 1.0 / 255, Epsilon: 4.0 / 255},
			"descend":    {StepSize: 2.0 / 255, Epsilon: 8.0 / 255, Descend: true},
			"margin":     {StepSize: 2.0 / 255, Epsilon: 8.0 / 255, Loss: torch.LossMargin},
			"no radius":  {StepSize: 0.1},
			"operations": {StepSize: 1.0 / 255, Epsilon: 4.0 / 255, ByOperations: true},
		} {
			t.Run(name+" "+label, func(t *testing.T) {
				m := load(t, name)
				o.Mean, o.Std = g.Mean, g.Std
				do(t, w, func(s *torch.Scope) error {
					clean := unit(g.X)
					start := slices.Clone(clean)
					for i := range start {
						start[i] = min(max(start[i]+float32(i%5-2)*float32(o.Epsilon)/2, 0), 1)
					}
					x, y := s.FromFloat32(clean, g.XShape...), s.FromInt64(g.Y, len(g.Y))
					a, err := m.NewSignAttack(s, x, s.FromFloat32(start, g.XShape...), y, o)
					if err != nil {
						return err
					}
					defer a.Close()
					want := slices.Clone(start)
					step := float32(o.StepSize)
					if o.Descend {
						step = -step
					}
					for range steps {
						grad, z, _ := m.InputGrad(s, s.FromFloat32(want, g.XShape...), y, torch.GradOptions{Mean: g.Mean, Std: g.Std, Loss: o.Loss})
						logits, verdicts, err := a.Step(s)
						if err != nil {
							return err
						}
						bitEqual(t, "logits", floats(t, logits), floats(t, z))
						for i, v := range verdicts {
							if !v.Moves || v.NotFinite {
								t.Errorf("image %d: %+v", i, v)
							}
						}
						signStep(want, clean, floats(t, grad), step, float32(o.Epsilon))
						bitEqual(t, "images", floats(t, a.Images(s)), want)
					}
					return s.Err()
				})
			})
		}
	}
}

// unit brings numbers into [0,1].
func unit(x []float32) []float32 {
	out := make([]float32, len(x))
	for i, v := range x {
		out[i] = min(max(v, 0), 1)
	}
	return out
}

func TestSignAttackVerdicts(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	g := loadGolden(t)
	m := load(t, "conv.pt")
	for _, operations := range []bool{false, true} {
		o := torch.SignOptions{Mean: g.Mean, Std: g.Std, StepSize: 0.1, Epsilon: 0.1, ByOperations: operations}
		do(t, w, func(s *torch.Scope) error {
			x := unit(g.X)
			x[0] = float32(math.NaN()) // of the first image
			images, y := s.FromFloat32(x, g.XShape...), s.FromInt64(g.Y, len(g.Y))
			a, err := m.NewSignAttack(s, images, images, y, o)
			if err != nil {
				return err
			}
			defer a.Close()
			_, verdicts, err := a.Step(s)
			if err != nil {
				return err
			}
			if !verdicts[0].NotFinite || verdicts[1].NotFinite || !verdicts[1].Moves {
				t.Errorf("operations %v: verdicts %+v", operations, verdicts)
			}
			return nil
		})
	}
	do(t, w, func(s *torch.Scope) error { // a network without any slope
		if err := m.Set(s, lastWeight(m), s.Zeros(shapeOf(m, lastWeight(m))...)); err != nil {
			return err
		}
		images, y := s.FromFloat32(unit(g.X), g.XShape...), s.FromInt64(g.Y, len(g.Y))
		a, err := m.NewSignAttack(s, images, images, y, torch.SignOptions{StepSize: 0.1, Epsilon: 0.1})
		if err != nil {
			return err
		}
		defer a.Close()
		_, verdicts, err := a.Step(s)
		if err != nil {
			return err
		}
		for i, v := range verdicts {
			if v.Moves || v.NotFinite {
				t.Errorf("image %d: %+v, want no movement", i, v)
			}
		}
		bitEqual(t, "images", floats(t, a.Images(s)), unit(g.X))
		return s.Err()
	})
}

// lastWeight is the name of the last matrix, that of the head.
func lastWeight(m *torch.Module) string {
	name := ""
	for _, info := range m.Tensors() {
		if len(info.Shape) == 2 && !info.Buffer {
			name = info.Name
		}
	}
	return name
}

func shapeOf(m *torch.Module, name string) []int {
	for _, info := range m.Tensors() {
		if info.Name == name {
			return info.Shape
		}
	}
	return nil
}

func TestSignAttackRefusals(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	g := loadGolden(t)
	m := load(t, "conv.pt")
	start := func(change func(s *torch.Scope, x, y *torch.Tensor, o *torch.SignOptions)) error {
		return w.Do(t.Context(), func(s *torch.Scope) error {
			x, y := s.FromFloat32(unit(g.X), g.XShape...), s.FromInt64(g.Y, len(g.Y))
			o := torch.SignOptions{Mean: g.Mean, Std: g.Std, StepSize: 0.1, Epsilon: 0.1}
			clean := x
			change(s, &x, &y, &o)
			a, err := m.NewSignAttack(s, clean, x, y, o)
			if err != nil {
				return err
			}
			defer a.Close()
			_, _, err = a.Step(s)
			return err
		})
	}
	for want, change := range map[string]func(s *torch.Scope, x, y *torch.Tensor, o *torch.SignOptions){
		"not both [N,C,H,W]": func(s *torch.Scope, x, _ *torch.Tensor, _ *torch.SignOptions) { *x = s.Zeros(1, 3, 8, 8) },
		"not float32":        func(s *torch.Scope, x, _ *torch.Tensor, _ *torch.SignOptions) { *x = s.To(*x, torch.Float64) },
		"loss with targets":  func(_ *torch.Scope, _, _ *torch.Tensor, o *torch.SignOptions) { o.Loss = torch.LossLogitDifference },
		"negative step":      func(_ *torch.Scope, _, _ *torch.Tensor, o *torch.SignOptions) { o.StepSize = -1 },
		"standard deviation": func(_ *torch.Scope, _, _ *torch.Tensor, o *torch.SignOptions) { o.Std = []float32{1, 0, 1} },
		"outside of": func(s *torch.Scope, _, y *torch.Tensor, _ *torch.SignOptions) {
			*y = s.FromInt64([]int64{-100, 0, 0}[:len(g.Y)], len(g.Y))
		},
	} {
		if err := start(change); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
	err := w.Do(t.Context(), func(s *torch.Scope) error {
		x := s.FromFloat32(unit(g.X), g.XShape...)
		a, err := m.NewSignAttack(s, x, x, s.FromInt64(g.Y, len(g.Y)), torch.SignOptions{})
		if err != nil {
			return err
		}
		a.Close()
		a.Close()
		_, _, err = a.Step(s)
		return err
	})
	if !errors.Is(err, torch.ErrClosed) {
		t.Errorf("step after close: %v", err)
	}
}
