package analysis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"testing"

	"sat/internal/rng"
)

// boostingGolden mirrors testdata/boosting.json; its header names tools, versions, script, seed, date and tolerances.
type boostingGolden struct {
	Fits []struct {
		Name         string
		X            [][]float64
		Y            []float64
		Stages       int
		Depth        int
		Rate         float64
		MinSamples   int        `json:"min_samples"`
		MinSamplesOf MinSamples `json:"min_samples_of"`
		Predicted    []float64
		LossStage    []int `json:"loss_stage"`
		Loss         []float64
		R2           float64
	}
	Importances []struct {
		Fit     int
		Sources [][]int32
		Seeds   int
		Mean    []float64
		Std     []float64
		Between []float64
		Unseen  [][]float64
		Target  []float64 `json:"unseen_predicted"`
	}
}

func readBoostingGolden(t *testing.T) boostingGolden {
	t.Helper()
	text, err := os.ReadFile("testdata/boosting.json")
	if err != nil {
		t.Fatal(err)
	}
	var g boostingGolden
	if err := json.Unmarshal(text, &g); err != nil {
		t.Fatal(err)
	}
	return g
}

func mustRegression(t testing.TB, x [][]float64, y []float64) *Regression {
	t.Helper()
	r, err := NewRegression(slices.Concat(x...), len(x[0]), y)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func mustBoost(t testing.TB, r *Regression, o BoostingOptions) *Boosting {
	t.Helper()
	b, err := Boost(context.Background(), r, o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBoostAgainstLibrary(t *testing.T) {
	for _, c := range readBoostingGolden(t).Fits {
		for _, ties := range []Ties{TiesRandom, TiesFirst} {
			t.Run(c.Name+"/"+string(c.MinSamplesOf)+"/"+string(ties), func(t *testing.T) {
				b := mustBoost(t, mustRegression(t, c.X, c.Y), BoostingOptions{Stages: c.Stages, Depth: c.Depth, Rate: c.Rate,
					MinSamples: c.MinSamples, MinSamplesOf: c.MinSamplesOf, Ties: ties, Criterion: CriterionFriedmanMSE, Seed: 5})
				for i, want := range c.Predicted {
					near(t, fmt.Sprintf("prediction of row %d", i), b.Fitted[i], want, 1e-9, 0)
				}
				for k, want := range c.Loss {
					near(t, fmt.Sprintf("loss of stage %d", c.LossStage[k]+1), b.Loss[c.LossStage[k]], want, 1e-9, 0)
				}
				near(t, "R2", b.R2, c.R2, 1e-9, 0)
				for i, row := range c.X {
					if got, err := b.Predict(row); err != nil || got != b.Fitted[i] {
						t.Fatalf("Predict of training row %d is %v, %v; Fitted has %v", i, got, err, b.Fitted[i])
					}
				}
			})
		}
	}
}

// TestImportanceAgainstLibrary: with unique trees and the library's own shuffles all numbers are equal; with random ties
// the means over fits agree within their errors.
func TestImportanceAgainstLibrary(t *testing.T) {
	g := readBoostingGolden(t)
	for _, c := range g.Importances {
		f := g.Fits[c.Fit]
		o := BoostingOptions{Stages: f.Stages, Depth: f.Depth, Rate: f.Rate, MinSamples: f.MinSamples, MinSamplesOf: f.MinSamplesOf}
		r := mustRegression(t, f.X, f.Y)
		t.Run(f.Name+"/"+string(f.MinSamplesOf), func(t *testing.T) {
			if c.Sources != nil {
				b := mustBoost(t, r, o)
				_, losses, err := permute(context.Background(), b, r, slices.All(c.Sources))
				if err != nil {
					t.Fatal(err)
				}
				for j, want := range c.Mean {
					center := mean(losses[j])
					near(t, fmt.Sprintf("mean of column %d", j), center, want, 1e-9, 0)
					near(t, fmt.Sprintf("std of column %d", j), math.Sqrt(meanSquare(losses[j], center)), c.Std[j], 1e-9, 0)
				}
				for i, row := range c.Unseen {
					got, err := b.Predict(row)
					if err != nil {
						t.Fatal(err)
					}
					near(t, "prediction of an unseen row", got, c.Target[i], 1e-9, 0)
				}
				return
			}
			const fits = 8
			means := make([][]float64, len(c.Mean))
			for k := range uint64(fits) {
				o.Seed = k
				_, losses, err := permute(context.Background(), mustBoost(t, r, o), r, shuffles(len(f.Y), 5, rng.New(k, "test")))
				if err != nil {
					t.Fatal(err)
				}
				for j, l := range losses {
					means[j] = append(means[j], mean(l))
				}
			}
			for j, want := range c.Mean {
				got := mean(means[j])
				variance := meanSquare(means[j], got) * fits / (fits - 1)
				se := math.Sqrt(variance/fits + c.Between[j]*c.Between[j]/float64(c.Seeds))
				near(t, fmt.Sprintf("mean importance of column %d (standard error %.2g)", j, se), got, want, 4*se, 0)
			}
		})
	}
}

// TestBoostPaths: 0/1 columns take a path of their own; a column of constant halves forces the general one.
func TestBoostPaths(t *testing.T) {
	random := rng.New(3, "test")
	for _, of := range []MinSamples{MinSamplesSplit, MinSamplesLeaf} {
		x, forced, y := make([][]float64, 300), make([][]float64, 300), make([]float64, 300)
		for i := range x {
			for range 6 {
				x[i] = append(x[i], float64(random.IntN(2)))
			}
			forced[i] = append(slices.Clone(x[i]), 0.25)
			y[i] = x[i][0]*x[i][1] - x[i][2] + random.Normal()
		}
		o := BoostingOptions{Stages: 40, Rate: 0.2, MinSamplesOf: of, Ties: TiesFirst}
		fast, general := mustBoost(t, mustRegression(t, x, y), o), mustBoost(t, mustRegression(t, forced, y), o)
		if fast.table == nil || general.table != nil {
			t.Fatal("the paths are not the ones meant")
		}
		for i := range y {
			near(t, "fitted value", fast.Fitted[i], general.Fitted[i], 1e-12, 0)
		}
		for key := range 64 { // all possible rows, most of them unseen
			row := make([]float64, 6, 7)
			for j := range row {
				row[j] = float64(key >> j & 1)
			}
			a, err := fast.Predict(row)
			if err != nil {
				t.Fatal(err)
			}
			b, err := general.Predict(append(row, 0.25))
			if err != nil {
				t.Fatal(err)
			}
			near(t, fmt.Sprintf("prediction of %v", row), a, b, 1e-12, 0)
		}
	}
}

// TestBoostOneStage compares with a tree worked out by hand: residuals about the mean 3 are -2, -1, 0, 3; the best first
// cut is {1,2,3} | {6}, and a node of three rows is a leaf.
func TestBoostOneStage(t *testing.T) {
	b := mustBoost(t, mustRegression(t, [][]float64{{1}, {2}, {3}, {4}}, []float64{1, 2, 3, 6}), BoostingOptions{Stages: 1, Rate: 0.5})
	if want := []float64{2.5, 2.5, 2.5, 4.5}; !slices.Equal(b.Fitted, want) {
		t.Errorf("fitted %v, want %v", b.Fitted, want)
	}
	near(t, "loss", b.Loss[0], (2.25+.25+.25+2.25)/4, 1e-15, 0)
	near(t, "R2", b.R2, 1-5./14, 1e-15, 0)
}

// TestBoostRowOrder: the order of rows changes no bit; the order of columns none of the fitted values, within rounding.
func TestBoostRowOrder(t *testing.T) {
	for _, name := range []string{"binary", "general"} {
		random := rng.New(4, "test")
		x, y := make([][]float64, 200), make([]float64, 200)
		for i := range x {
			for range 5 {
				v := float64(random.IntN(2))
				if name == "general" {
					v += float64(random.IntN(3)) / 3
				}
				x[i] = append(x[i], v)
			}
			y[i] = random.Normal()
		}
		o := BoostingOptions{Stages: 30, Rate: 0.1, Seed: 8}
		want := mustBoost(t, mustRegression(t, x, y), o)
		perm := random.Perm(len(x))
		px, py, reversed := make([][]float64, len(x)), make([]float64, len(x)), make([][]float64, len(x))
		for i, k := range perm {
			px[i], py[i] = x[k], y[k]
		}
		for i, row := range x {
			reversed[i] = slices.Clone(row)
			slices.Reverse(reversed[i])
		}
		got := mustBoost(t, mustRegression(t, px, py), o)
		turned := mustBoost(t, mustRegression(t, reversed, y), o)
		if !slices.Equal(got.Loss, want.Loss) || got.R2 != want.R2 {
			t.Errorf("%s: other losses in another order of rows", name)
		}
		for i, k := range perm {
			if got.Fitted[i] != want.Fitted[k] {
				t.Fatalf("%s: row %d is fitted as %v, in another order as %v", name, k, want.Fitted[k], got.Fitted[i])
			}
			near(t, name+": fitted value with columns reversed", turned.Fitted[k], want.Fitted[k], 1e-12, 0)
		}
	}
}

// TestBoostTies: two equal columns and their opposite divide every node alike, so a third of all choices falls on each.
func TestBoostTies(t *testing.T) {
	x, y := [][]float64{{0, 0, 1}, {1, 1, 0}}, []float64{-1, 1}
	chosen := make([]int, 3)
	const fits = 3000
	for seed := range uint64(fits) {
		b := mustBoost(t, mustRegression(t, x, y), BoostingOptions{Stages: 1, Rate: 1, MinSamples: 1, Seed: seed})
		for j := range 3 { // the tree cuts column j if flipping it flips the prediction
			row := slices.Clone(x[0])
			row[j] = 1 - row[j]
			if p, err := b.Predict(row); err == nil && p == 1 {
				chosen[j]++
			}
		}
	}
	for j, n := range chosen {
		near(t, fmt.Sprintf("choices of column %d", j), float64(n), fits/3., 5*math.Sqrt(fits*2/9.), 0)
	}
	first := mustBoost(t, mustRegression(t, x, y), BoostingOptions{Stages: 1, Rate: 1, MinSamples: 1, Ties: TiesFirst})
	if p, err := first.Predict([]float64{1, 0, 1}); err != nil || p != 1 {
		t.Errorf("with ties to the first column, flipping it predicts %v, %v, want 1", p, err)
	}
}

func TestBoostLossFalls(t *testing.T) {
	random := rng.New(6, "test")
	x, y := make([][]float64, 100), make([]float64, 100)
	for i := range x {
		x[i] = []float64{random.Normal(), float64(random.IntN(2))}
		y[i] = 1e6 + x[i][0] + random.Normal()
	}
	b := mustBoost(t, mustRegression(t, x, y), BoostingOptions{Stages: 200, Depth: 3, Rate: 0.5})
	if !slices.IsSortedFunc(b.Loss, func(a, b float64) int {
		if b <= a*(1+1e-12) {
			return -1
		}
		return 1
	}) {
		t.Errorf("losses rise: %v", b.Loss)
	}
}

func TestBoostDegenerate(t *testing.T) {
	tests := []struct {
		name string
		x    [][]float64
		y    []float64
		want float64 // of row 0
	}{
		{"one row", [][]float64{{1, 2}}, []float64{3}, 3},
		{"constant target", [][]float64{{1}, {0}, {1}, {0}}, []float64{7, 7, 7, 7}, 7},
		{"equal rows", [][]float64{{0, 1}, {0, 1}, {0, 1}, {0, 1}}, []float64{1, 2, 3, 6}, 3},
		{"equal general rows", [][]float64{{5}, {5}}, []float64{1, 2}, 1.5},
		{"values closer than a cut", [][]float64{{1}, {1 + 1e-7}}, []float64{1, 2}, 1.5},
		{"large", [][]float64{{0}, {1}}, []float64{-1e150, -1e150}, -1e150},
		{"tiny", [][]float64{{0}, {0}}, []float64{1e-300, 1e-300}, 1e-300},
	}
	for _, tt := range tests {
		b := mustBoost(t, mustRegression(t, tt.x, tt.y), BoostingOptions{Stages: 5, Rate: 1, MinSamples: 2})
		near(t, tt.name, b.Fitted[0], tt.want, 0, 1e-15)
		if constant(tt.y) != math.IsNaN(b.R2) {
			t.Errorf("%s: R2 %v", tt.name, b.R2)
		}
	}
}

func TestBoostRefuses(t *testing.T) {
	tests := map[string]func() error{
		"no rows":        func() error { _, err := NewRegression([]float64{}, 2, nil); return err },
		"no columns":     func() error { _, err := NewRegression([]float64{}, 0, []float64{1}); return err },
		"ragged":         func() error { _, err := NewRegression([]uint8{1, 0, 1}, 2, []float64{1, 2}); return err },
		"NaN":            func() error { _, err := NewRegression([]float64{math.NaN()}, 1, []float64{1}); return err },
		"beyond float32": func() error { _, err := NewRegression([]float64{1e39}, 1, []float64{1}); return err },
		"NaN target":     func() error { _, err := NewRegression([]uint8{1}, 1, []float64{math.NaN()}); return err },
		"huge targets":   func() error { _, err := NewRegression([]uint8{1, 0}, 1, []float64{1e200, -1e200}); return err },
	}
	r := mustRegression(t, [][]float64{{0}, {1}}, []float64{1, 2})
	for name, o := range map[string]BoostingOptions{
		"negative stages": {Stages: -1}, "negative depth": {Depth: -1}, "negative samples": {MinSamples: -1},
		"NaN rate": {Rate: math.NaN()}, "ties": {Ties: "last"}, "criterion": {Criterion: "poisson"}, "samples of": {MinSamplesOf: "node"},
	} {
		tests[name] = func() error { _, err := Boost(context.Background(), r, o); return err }
	}
	b := mustBoost(t, r, BoostingOptions{Stages: 1})
	tests["row of another length"] = func() error { _, err := b.Predict([]float64{1, 2}); return err }
	tests["NaN row"] = func() error { _, err := b.Predict([]float64{math.NaN()}); return err }
	for name, f := range tests {
		if f() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Boost(ctx, r, BoostingOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: error %v", err)
	}
}
