package attacks

import (
	"context"
	"math"
	"strings"
	"testing"
)

// crooked is a model with a defect.
type crooked struct {
	Model
	logits func(z []float32, x Batch)
	grad   func(g []float32)
}

func (c crooked) Logits(ctx context.Context, x Batch) ([]float32, error) {
	z, err := c.Model.Logits(ctx, x)
	if err == nil && c.logits != nil {
		c.logits(z, x)
	}
	return z, err
}

func (c crooked) LossGrad(ctx context.Context, x Batch, y, targets []int64, loss Loss) (Gradient, error) {
	g, err := c.Model.LossGrad(ctx, x, y, targets, loss)
	if err == nil && c.grad != nil {
		c.grad(g.Pixels)
	}
	return g, err
}

func softmax(z []float32, n int) {
	k := len(z) / n
	for i := range n {
		sum := 0.0
		for _, v := range z[i*k : (i+1)*k] {
			sum += math.Exp(float64(v))
		}
		for j := i * k; j < (i+1)*k; j++ {
			z[j] = float32(math.Exp(float64(z[j])) / sum)
		}
	}
}

// TestDiagnose: a sound model passes every check, and each defect is found by the check that is there for it.
func TestDiagnose(t *testing.T) {
	m := newMLP(2, 3*6*5, 12, 5, 0.6)
	x := images(11, 20, 3, 6, 5)
	y, ids := predictions(t, m, x), names(20)
	wrong := NextTargets(y, 5)
	calls := 0
	for name, c := range map[string]struct {
		model  Model
		labels []int64
		check  string
		status Status
		words  string
	}{
		"sound":          {m, y, "", Sound, ""},
		"soft-max":       {crooked{m, func(z []float32, x Batch) { softmax(z, x.N) }, nil}, y, "logits", Broken, "ends in a soft-max"},
		"random":         {crooked{m, func(z []float32, _ Batch) { calls++; z[calls%5] += 50 }, nil}, y, "determinism", Broken, "eval()"},
		"batch":          {crooked{m, func(z []float32, x Batch) { z[0] += 3 * float32(x.N) }, nil}, y, "batch", Broken, "batch normalisation"},
		"labels":         {m, wrong, "accuracy", Suspicious, "--mean"},
		"zero gradients": {crooked{m, nil, func(g []float32) { clear(g) }}, y, "gradient", Broken, "exactly 0"},
		"some zeros":     {crooked{m, nil, func(g []float32) { clear(g[:90]) }}, y, "gradient", Suspicious, "1 of 20"},
		"NaN":            {crooked{m, nil, func(g []float32) { g[3] = float32(math.NaN()) }}, y, "gradient", Broken, "not finite"},
		"wrong scale": {crooked{m, nil, func(g []float32) {
			for i := range g {
				g[i] *= 3
			}
		}}, y, "slope", Broken, "0.33 times"},
		"wrong sign": {crooked{m, nil, func(g []float32) {
			for i := range g {
				g[i] = -g[i]
			}
		}}, y, "attack", Suspicious, "does not follow"},
	} {
		t.Run(name, func(t *testing.T) {
			findings, err := Diagnose(context.Background(), c.model, x, c.labels, ids)
			if err != nil {
				t.Fatal(err)
			}
			found := c.check == ""
			for _, f := range findings {
				if c.check == "" && f.Status != Sound {
					t.Errorf("%s: %v, %s", f.Check, f.Status, f.Detail)
				}
				if f.Check == c.check {
					found = true
					if f.Status != c.status || !strings.Contains(f.Detail, c.words) {
						t.Errorf("%s: %v, %s\nwant %v with %q", f.Check, f.Status, f.Detail, c.status, c.words)
					}
				}
			}
			if !found {
				t.Errorf("no finding %q in %+v", c.check, findings)
			}
		})
	}
	if _, err := Diagnose(context.Background(), m, x, y[:3], ids); err == nil {
		t.Error("three labels for twenty images were accepted")
	}
}
