package attacks

import (
	"math"
	"strings"
	"testing"

	"sat/internal/rng"
)

// allLosses in the order of their constants.
var allLosses = []Loss{CrossEntropy, DLR, Margin, TargetedDLR, LogitDifference}

// By hand: z = (1, 4, 2, 0, 3), sorted 4, 3, 2, 1, 0.
func TestLossesByHand(t *testing.T) {
	z := []float32{1, 4, 2, 0, 3}
	for _, c := range []struct {
		loss      Loss
		y, target int64
		want      float64
	}{
		{CrossEntropy, 1, 0, math.Log(math.Exp(1)+math.Exp(4)+math.Exp(2)+1+math.Exp(3)) - 4},
		{Margin, 1, 0, 3 - 4},
		{Margin, 4, 0, 4 - 3},
		{DLR, 1, 0, -1.0 / (4 - 2)},
		{DLR, 2, 0, 2.0 / (4 - 2)},
		{TargetedDLR, 1, 3, -4.0 / (4 - 1.5)},
		{TargetedDLR, 0, 4, 2.0 / (4 - 1.5)},
		{LogitDifference, 1, 3, -4},
	} {
		got, err := c.loss.Value(z, c.y, c.target)
		if err != nil || math.Abs(got-c.want) > 1e-10 {
			t.Errorf("%v, label %d, target %d: got %v, %v, want %v", c.loss, c.y, c.target, got, err, c.want)
		}
	}
	if got, err := DLR.Value([]float32{2, 2, 2}, 0, 0); err != nil || got != 0 {
		t.Errorf("dlr of equal logits: got %v, %v, want 0", got, err)
	}
}

// The DLR losses do not change when logits are shifted or scaled; the others do not when they are shifted. All grow
// with the logit that should win and fall with that of the label.
func TestLossProperties(t *testing.T) {
	draw := rng.New(3, "logits")
	for range 50 {
		z, shifted, scaled := make([]float32, 6), make([]float32, 6), make([]float32, 6)
		for k := range z {
			z[k] = float32(draw.IntN(4001)-2000) / 256 // exact under what follows
			shifted[k], scaled[k] = z[k]+8, z[k]*4
		}
		y, target := int64(draw.IntN(3)), int64(3+draw.IntN(3))
		for _, loss := range allLosses {
			v := loss.value(z, y, target)
			if s := loss.value(shifted, y, target); math.Abs(s-v) > 1e-9 {
				t.Fatalf("%v of %v is %v, %v when shifted", loss, z, v, s)
			}
			if s := loss.value(scaled, y, target); (loss == DLR || loss == TargetedDLR) && math.Abs(s-v) > 1e-6 {
				t.Fatalf("%v of %v is %v, %v when scaled", loss, z, v, s)
			}
			lower := append([]float32(nil), z...)
			lower[y] -= 0.125
			if s := loss.value(lower, y, target); (loss == CrossEntropy || loss == Margin || loss == LogitDifference) && s <= v {
				t.Fatalf("%v of %v is %v, not more with a lower logit of the label: %v", loss, z, v, s)
			}
		}
	}
}

// The gradients that the other tests' model computes are slopes of Value.
func TestLossGradientsAreSlopes(t *testing.T) {
	draw := rng.New(4, "logits")
	for range 20 {
		z := make([]float64, 5)
		for k := range z {
			z[k] = float64(k) + 0.8*draw.Float64()
		}
		y, target := int64(draw.IntN(5)), int64(draw.IntN(5))
		for _, loss := range allLosses {
			_, dz := lossGradient(loss, z, y, target)
			for k := range z {
				const h = 1.0 / 64 // exact steps in float32 matter more than a small remainder
				at := func(step float64) float64 {
					moved := make([]float32, len(z))
					for j := range z {
						moved[j] = float32(z[j])
					}
					moved[k] += float32(step)
					return loss.value(moved, y, target)
				}
				if slope := (at(h) - at(-h)) / (2 * h); math.Abs(slope-dz[k]) > 2e-3 {
					t.Fatalf("%v of %v, label %d, target %d: slope %d is %v, gradient %v", loss, z, y, target, k, slope, dz[k])
				}
			}
		}
	}
}

func TestLossErrors(t *testing.T) {
	for _, c := range []struct {
		name      string
		loss      Loss
		logits    int
		y, target int64
		want      string
	}{
		{"unknown", 99, 5, 0, 0, "unknown loss"},
		{"dlr of two", DLR, 2, 0, 0, "needs 3 classes"},
		{"targeted dlr of three", TargetedDLR, 3, 0, 1, "needs 4 classes"},
		{"label", Margin, 3, 3, 0, "label 3"},
		{"target", LogitDifference, 3, 0, -1, "target -1"},
	} {
		if _, err := c.loss.Value(make([]float32, c.logits), c.y, c.target); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
	for _, loss := range allLosses {
		if strings.HasPrefix(loss.String(), "Loss(") {
			t.Errorf("loss %d has no name", int(loss))
		}
	}
}
