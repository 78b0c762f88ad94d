package analysis

import (
	"context"
	"math"
	"slices"
	"testing"

	"sat/internal/rng"
)

func TestCompareMatrices(t *testing.T) {
	a := randomScores(9, 1)
	b := NewMatrix(append([]string{"extra"}, a.Names[1:]...))
	random := rng.New(2, "test")
	for i := range b.Names {
		for j := range i {
			v := random.Normal()
			if i > 0 && j > 0 {
				v = 0.5*a.At(i, j) + 0.05*v
			}
			b.Set(i, j, v)
			b.Set(j, i, v)
		}
	}
	run := func(a, b *Matrix) *MatrixComparison {
		got, err := CompareMatrices(context.Background(), a, b, MatrixOptions{Mantel: MantelOptions{Permutations: 999, Seed: 1}, Bootstrap: BootstrapOptions{Resamples: 50, Seed: 3}})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	got := run(a, b)
	if got.Models != 8 || !slices.Equal(got.Left, []string{"extra", "model000"}) || len(got.Points) != 28 || got.Mantel == nil ||
		got.Mantel.P > 0.01 || got.Correlation.R < 0.9 || len(got.Warnings) > 0 {
		t.Errorf("%+v", got)
	}
	if !(got.R.Lo < got.Correlation.R && got.Correlation.R < got.R.Hi) || !(got.Spearman.Lo < got.Correlation.Spearman && got.Correlation.Spearman < got.Spearman.Hi) {
		t.Errorf("intervals %v and %v", got.R, got.Spearman)
	}
	near(t, "r of the test", got.Mantel.R, got.Correlation.R, 1e-12, 0)
	back := run(b, a)
	near(t, "r of the matrices exchanged", back.Correlation.R, got.Correlation.R, 1e-14, 0)
	b.Set(3, 4, math.NaN())
	b.Set(4, 3, math.NaN())
	if holed := run(a, b); holed.Mantel != nil || len(holed.Points) != 27 || len(holed.Warnings) != 1 {
		t.Errorf("with an undefined pair: %+v", holed)
	}
	if two := run(triangle(2, []float64{1}, 1), triangle(2, []float64{3}, 1)); two.Mantel != nil || two.Correlation.Warning == "" {
		t.Errorf("two models: %+v", two)
	}
	if _, err := CompareMatrices(context.Background(), a, triangle(1, nil, 1), MatrixOptions{}); err == nil {
		t.Error("one shared model accepted")
	}
}

// TestWeightedCorrelation: a point of weight 3 counts like three equal points, in r and in the ranks.
func TestWeightedCorrelation(t *testing.T) {
	random := rng.New(5, "test")
	var x, y, weight, manyX, manyY []float64
	for range 40 {
		u, v, w := float64(random.IntN(12)), random.Normal(), random.IntN(4) // ties in x, points of weight 0
		x, y, weight = append(x, u), append(y, u/6+v), append(weight, float64(w))
		for range w {
			manyX, manyY = append(manyX, u), append(manyY, u/6+v)
		}
	}
	want, err := Correlate(manyX, manyY, 0.95)
	if err != nil {
		t.Fatal(err)
	}
	near(t, "r", weightedPearson(weight, x, y), want.R, 1e-13, 0)
	u, v := make([]float64, len(x)), make([]float64, len(x))
	weightedRanks(u, weight, x, argsort(x))
	weightedRanks(v, weight, y, argsort(y))
	near(t, "Spearman's r", weightedPearson(weight, u, v), want.Spearman, 1e-13, 0)
	if r := weightedPearson([]float64{1, 0, 2}, []float64{1, 2, 1}, []float64{1, 2, 3}); !math.IsNaN(r) {
		t.Errorf("r of a constant is %v", r)
	}
}
