package torch_test

import (
	"math"
	"strings"
	"testing"

	"sat/internal/testkit"
	"sat/torch"
)

// lossGolden is testdata/losses.json; scripts/goldens/torch_losses.py makes it with eager PyTorch.
type lossGolden struct {
	Cases []struct {
		Network, Loss string
		Y, Targets    []int64
		Value, Grad   []float32
	}
}

var lossKinds = map[string]torch.LossKind{
	"cross-entropy": torch.LossCrossEntropy, "dlr": torch.LossDLR, "margin": torch.LossMargin,
	"targeted-dlr": torch.LossTargetedDLR, "logit-difference": torch.LossLogitDifference,
}

func targeted(kind torch.LossKind) bool {
	return kind == torch.LossTargetedDLR || kind == torch.LossLogitDifference
}

func TestLossesEqualEager(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	g, golden := loadGolden(t), readGolden[lossGolden](t, "losses.json")
	for _, c := range golden.Cases {
		t.Run(c.Network+"/"+c.Loss, func(t *testing.T) {
			m := load(t, c.Network+".pt")
			o := torch.GradOptions{Mean: g.Mean, Std: g.Std, Loss: lossKinds[c.Loss]}
			for range 3 {
				do(t, w, func(s *torch.Scope) error {
					if targeted(o.Loss) {
						o.Targets = s.FromInt64(c.Targets, len(c.Targets))
					}
					grad, _, loss := m.InputGrad(s, s.FromFloat32(g.X, g.XShape...), s.FromInt64(c.Y, len(c.Y)), o)
					if err := s.Err(); err != nil {
						return err
					}
					near(t, "loss", floats(t, loss), c.Value, tolFloat32)
					near(t, "gradient", floats(t, grad), c.Grad, tolFloat32)
					return nil
				})
			}
		})
	}
}

func TestLossesRefuseBadTargets(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	g := loadGolden(t)
	m := load(t, "conv.pt")
	for _, c := range []struct {
		name    string
		kind    torch.LossKind
		targets []int64 // nil: none
		want    string
	}{
		{"none", torch.LossTargetedDLR, nil, "needs targets"},
		{"superfluous", torch.LossDLR, []int64{0, 1, 2}, "takes no targets"},
		{"few", torch.LossLogitDifference, []int64{0, 1}, "not [N]"},
		{"beyond", torch.LossLogitDifference, []int64{0, 1, 5}, "label 5 lies outside of 5 classes"},
		{"negative", torch.LossTargetedDLR, []int64{0, -100, 1}, "label -100"},
		{"unknown loss", 99, nil, "unknown loss"},
		{"negative loss", -1, nil, "unknown loss"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := w.Do(t.Context(), func(s *torch.Scope) error {
				o := torch.GradOptions{Mean: g.Mean, Std: g.Std, Loss: c.kind}
				if c.targets != nil {
					o.Targets = s.FromInt64(c.targets, len(c.targets))
				}
				m.InputGrad(s, s.FromFloat32(g.X, g.XShape...), s.FromInt64(g.Y, len(g.Y)), o)
				return s.Err()
			})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got error %v, want %q", err, c.want)
			}
		})
	}
}

// Equal logits divide 0 by 1e-12, not by 0.
func TestRatioLossesOfEqualLogitsAreFinite(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	g := loadGolden(t)
	m := load(t, "conv.pt")
	do(t, w, func(s *torch.Scope) error {
		for _, name := range []string{"head.weight", "head.bias"} {
			if err := m.Set(s, name, s.MulScalar(m.Get(s, name), 0)); err != nil {
				return err
			}
		}
		for kind := range map[torch.LossKind]bool{torch.LossDLR: true, torch.LossTargetedDLR: true} {
			o := torch.GradOptions{Mean: g.Mean, Std: g.Std, Loss: kind}
			if targeted(kind) {
				o.Targets = s.FromInt64([]int64{2, 2, 2}, 3)
			}
			grad, _, loss := m.InputGrad(s, s.FromFloat32(g.X, g.XShape...), s.FromInt64(g.Y, len(g.Y)), o)
			for _, v := range append(floats(t, loss), floats(t, grad)...) {
				if v != 0 || math.IsNaN(float64(v)) {
					t.Fatalf("loss %d of equal logits, or its gradient, is %v, want 0", kind, v)
				}
			}
		}
		return s.Err()
	})
}
