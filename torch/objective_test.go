package torch_test

import (
	"path/filepath"
	"strings"
	"testing"

	"sat/internal/testkit"
	"sat/torch"
)

// pretraining loads a network that computes its own loss, in train mode. Its values and gradients are compared with eager
// PyTorch in internal/train/selfsup.
func pretraining(t *testing.T, name string) *torch.Module {
	t.Helper()
	m, _, err := torch.LoadModule(filepath.Join("..", "internal", "train", "selfsup", "testdata", name), torch.CPU)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	for _, err := range []error{m.SetTraining(true), m.SetRequiresGrad(true)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func TestFrozenParametersGetNoGradient(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	m := pretraining(t, "byol.pt")
	const frozen = "encoder.patch_embed.proj.weight"
	gradient := func(s *torch.Scope, m *torch.Module) error {
		x := s.Full(0.5, 4, 3, 16, 16)
		keys := m.Call(s, "keys", torch.Float32, x)
		if len(keys) != 1 {
			return s.Err()
		}
		if _, err := m.Objective(s, 1, torch.Float32, x, x, keys[0], keys[0]); err != nil {
			return err
		}
		m.GradOf(s, frozen)
		return s.Err()
	}
	has := func(m *torch.Module) (err error) {
		do(t, w, func(s *torch.Scope) error {
			_ = s.Step(func(s *torch.Scope) error { err = gradient(s, m); return err })
			return nil
		})
		return err
	}
	if err := has(m); err != nil {
		t.Fatalf("before freezing: %v", err)
	}
	if err := m.Freeze(frozen); err != nil {
		t.Fatal(err)
	}
	if err := has(m); err == nil || !strings.Contains(err.Error(), "it has no gradient") {
		t.Errorf("frozen, the gradient gives the error %v", err)
	}
	clone, err := m.Clone()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(clone.Close)
	if err := has(clone); err == nil || !strings.Contains(err.Error(), "it has no gradient") {
		t.Errorf("in a clone of the frozen network, the gradient gives the error %v", err)
	}
	// Saving switches all gradients off and on again.
	if err := m.Save(filepath.Join(t.TempDir(), "saved.pt"), nil); err != nil {
		t.Fatal(err)
	}
	if err := has(m); err == nil {
		t.Error("saving has thawed the parameter")
	}
	if err := m.Freeze(); err != nil {
		t.Fatal(err)
	}
	if err := has(m); err != nil {
		t.Errorf("thawed: %v", err)
	}
	if err := m.Freeze("encoder.nothing"); err == nil || !strings.Contains(err.Error(), "encoder.nothing") {
		t.Errorf("an unknown name gives the error %v", err)
	}
}

func TestObjectiveScalesGradients(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	m := pretraining(t, "byol.pt")
	do(t, w, func(s *torch.Scope) error {
		x := s.FromFloat32(ramp(2*3*16*16), 2, 3, 16, 16)
		y := s.Flip(x, 3)
		keys := []torch.Tensor{m.Call(s, "keys", torch.Float32, x)[0], m.Call(s, "keys", torch.Float32, y)[0]}
		norm := func(scale float64) (values []float64, norm float64) {
			values, err := m.Objective(s, scale, torch.Float32, x, y, keys[0], keys[1])
			if err == nil {
				norm, err = m.ClipGradNorm(1e30)
			}
			if err == nil {
				err = m.ZeroGrad()
			}
			if err != nil {
				t.Fatal(err)
			}
			return values, norm
		}
		values, one := norm(0)
		again, three := norm(3)
		if len(values) != 2 {
			t.Fatalf("the network returns loss and spread, got %v", values)
		}
		near(t, "values, whatever the scale", again, values, tolFloat32)
		near(t, "norm at scale 3", []float64{three}, []float64{3 * one}, tolFloat32)
		return s.Err()
	})
}

func ramp(n int) []float32 {
	out := make([]float32, n)
	for i := range out {
		out[i] = float32((i*37)%101) / 101
	}
	return out
}

func TestObjectiveRefuses(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	classifier, m := trainable(t, "conv.pt"), pretraining(t, "byol.pt")
	eval, still := pretraining(t, "byol.pt"), pretraining(t, "byol.pt")
	for _, err := range []error{eval.SetTraining(false), still.SetRequiresGrad(false)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	inputs := loadGolden(t)
	for _, c := range []struct {
		name, want string
		run        func(s *torch.Scope) error
	}{
		{"logits", "an objective is one number", func(s *torch.Scope) error {
			_, err := classifier.Objective(s, 1, torch.Float32, s.FromFloat32(inputs.X, inputs.XShape...))
			return err
		}},
		{"eval mode", "eval mode", func(s *torch.Scope) error {
			_, err := eval.Objective(s, 1, torch.Float32)
			return err
		}},
		{"no gradients", "do not require gradients", func(s *torch.Scope) error {
			_, err := still.Objective(s, 1, torch.Float32)
			return err
		}},
		{"arguments", "objective byol.pt", func(s *torch.Scope) error {
			_, err := m.Objective(s, 1, torch.Float32, s.Full(0, 1))
			return err
		}},
		{"method", "the network has no method nothing", func(s *torch.Scope) error {
			m.Call(s, "nothing", torch.Float32)
			return s.Err()
		}},
		{"float16 on the CPU", "float16 on CUDA", func(s *torch.Scope) error {
			m.Call(s, "keys", torch.Float16, s.Full(0, 2, 3, 16, 16))
			return s.Err()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			do(t, w, func(s *torch.Scope) error {
				var err error
				_ = s.Step(func(s *torch.Scope) error { err = c.run(s); return err })
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("error is %v, want one with %q", err, c.want)
				}
				return nil
			})
		})
	}
}
