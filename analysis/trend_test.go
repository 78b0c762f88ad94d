package analysis

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"sat/internal/rng"
)

// statisticsGolden mirrors testdata/statistics.json; its header names tools, versions, script, seed, date and tolerances.
type statisticsGolden struct {
	Trends []struct {
		X, Y                       []float64
		Level, Slope, Intercept    float64
		At, Line, Mean, Prediction []float64
	}
	Spreads []struct {
		Values             []float64
		Level, Std, Lo, Hi float64
	}
	BrownForsythe []struct {
		Groups       [][]float64
		Statistic, P float64
	} `json:"brown_forsythe"`
}

func readStatisticsGolden(t *testing.T) statisticsGolden {
	t.Helper()
	text, err := os.ReadFile("testdata/statistics.json")
	if err != nil {
		t.Fatal(err)
	}
	var g statisticsGolden
	if err := json.Unmarshal(text, &g); err != nil {
		t.Fatal(err)
	}
	return g
}

func mustTrend(t *testing.T, x, y []float64, o TrendOptions) *Trend {
	t.Helper()
	out, err := FitTrend(context.Background(), x, y, o)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestTrendAgainstScipy(t *testing.T) {
	for _, c := range readStatisticsGolden(t).Trends {
		for _, band := range []Band{BandMean, BandPrediction} {
			got := mustTrend(t, c.X, c.Y, TrendOptions{Band: band, Level: c.Level, Grid: len(c.At)})
			near(t, "slope", got.Slope, c.Slope, 0, 1e-11)
			near(t, "intercept", got.Intercept, c.Intercept, 1e-13, 1e-11)
			half := c.Mean
			if band == BandPrediction {
				half = c.Prediction
			}
			for k := range c.At {
				near(t, "grid", got.X[k], c.At[k], 0, 1e-14)
				near(t, "line", got.Y[k], c.Line[k], 1e-13, 1e-11)
				near(t, "upper half of the band", got.Hi[k]-got.Y[k], half[k], 1e-13, 1e-11)
				near(t, "lower half of the band", got.Y[k]-got.Lo[k], half[k], 1e-13, 1e-11)
			}
		}
	}
}

// TestTrendBootstrap: on many well-behaved points the resampled band is the one of the formula.
func TestTrendBootstrap(t *testing.T) {
	random := rng.New(1, "test")
	x, y := make([]float64, 400), make([]float64, 400)
	for i := range x {
		x[i] = random.Float64()
		y[i] = 2 - x[i] + 0.5*random.Normal()
	}
	want := mustTrend(t, x, y, TrendOptions{Grid: 7})
	got := mustTrend(t, x, y, TrendOptions{Grid: 7, Band: BandBootstrap, Seed: 1, Workers: 1})
	for k := range want.X {
		near(t, "width of the band", got.Hi[k]-got.Lo[k], want.Hi[k]-want.Lo[k], 0, 0.15)
		near(t, "line", got.Y[k], want.Y[k], 0, 0)
	}
	if many := mustTrend(t, x, y, TrendOptions{Grid: 7, Band: BandBootstrap, Seed: 1, Workers: 4}); !reflect.DeepEqual(many, got) {
		t.Error("four goroutines give another band than one")
	}
	if other := mustTrend(t, x, y, TrendOptions{Grid: 7, Band: BandBootstrap, Seed: 2}); slices.Equal(other.Lo, got.Lo) {
		t.Error("two seeds give the same band")
	}
	few := mustTrend(t, []float64{1, 1, 2}, []float64{0, 1, 3}, TrendOptions{Band: BandBootstrap, Grid: 2})
	if few.Warning == "" || !(few.Lo[0] <= few.Y[0] && few.Y[0] <= few.Hi[0]) {
		t.Errorf("three points: %+v", few)
	}
}

func TestTrendEdges(t *testing.T) {
	for name, x := range map[string][]float64{"no point": nil, "one point": {1}, "constant x": {2, 2, 2}} {
		got := mustTrend(t, x, make([]float64, len(x)), TrendOptions{})
		if !math.IsNaN(got.Slope) || !math.IsNaN(got.Intercept) || got.Warning == "" || got.X != nil {
			t.Errorf("%s: %+v, want no line and a warning", name, got)
		}
	}
	two := mustTrend(t, []float64{1, 3}, []float64{2, 8}, TrendOptions{Grid: 3})
	if two.Slope != 3 || two.Intercept != -1 || !slices.Equal(two.Y, []float64{2, 5, 8}) || !math.IsNaN(two.Lo[0]) || two.Warning == "" {
		t.Errorf("two points: %+v", two)
	}
	flat := mustTrend(t, []float64{1, 2, 3}, []float64{4, 4, 4}, TrendOptions{Grid: 2})
	if flat.Slope != 0 || flat.Lo[0] != 4 || flat.Hi[1] != 4 {
		t.Errorf("constant y: %+v", flat)
	}
	bad := []struct {
		name, want string
		x, y       []float64
		o          TrendOptions
	}{
		{"lengths", "2 and 1", []float64{1, 2}, []float64{1}, TrendOptions{}},
		{"NaN", "point 2", []float64{1, math.NaN()}, []float64{1, 2}, TrendOptions{}},
		{"infinite", "point 1", []float64{1, 2}, []float64{math.Inf(1), 2}, TrendOptions{}},
		{"huge", "too large", []float64{-1e200, 1e200}, []float64{1, 2}, TrendOptions{}},
		{"band", "sd", []float64{1, 2}, []float64{1, 2}, TrendOptions{Band: "sd"}},
		{"level", "level", []float64{1, 2}, []float64{1, 2}, TrendOptions{Level: 1}},
		{"grid", "grid", []float64{1, 2}, []float64{1, 2}, TrendOptions{Grid: 1}},
	}
	for _, tt := range bad {
		if _, err := FitTrend(context.Background(), tt.x, tt.y, tt.o); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want one with %q", tt.name, err, tt.want)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := FitTrend(ctx, []float64{1, 2, 3}, []float64{1, 2, 4}, TrendOptions{Band: BandBootstrap})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: error %v", err)
	}
}

// randomScores is a symmetric matrix with a part per model, which makes pairs that share a model alike.
func randomScores(n int, seed uint64) *Matrix {
	random := rng.New(seed, "test")
	m := NewMatrix(modelNames(n))
	own := make([]float64, n)
	for i := range n {
		own[i] = random.Normal()
		m.Set(i, i, logHundred)
		for j := range i {
			v := 3 + 0.3*own[i] + 0.3*own[j] + 0.1*random.Normal()
			m.Set(i, j, v)
			m.Set(j, i, v)
		}
	}
	return m
}

func mustMean(t *testing.T, m *Matrix, o BootstrapOptions) *MatrixMean {
	t.Helper()
	out, err := MeanSimilarity(context.Background(), m, o)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestMeanSimilarityDefinition repeats the resampling with a list of the drawn models.
func TestMeanSimilarityDefinition(t *testing.T) {
	m := randomScores(6, 2)
	m.Set(1, 4, math.NaN())
	m.Set(4, 1, math.NaN())
	const resamples = 80
	got := mustMean(t, m, BootstrapOptions{Resamples: resamples, Level: 0.8, Seed: 4})
	var means []float64
	for r := range resamples {
		random := rng.New(4, "analysis/models", uint64(r))
		drawn := make([]int, 6)
		for k := range drawn {
			drawn[k] = random.IntN(6)
		}
		var values []float64
		for i, a := range drawn {
			for _, b := range drawn[i+1:] {
				if v := m.At(a, b); a != b && !math.IsNaN(v) {
					values = append(values, v)
				}
			}
		}
		if len(values) > 0 {
			means = append(means, mean(values))
		}
	}
	slices.Sort(means)
	near(t, "lower end", got.CILo, Quantile(means, 0.1), 1e-13, 0)
	near(t, "upper end", got.CIHi, Quantile(means, 0.9), 1e-13, 0)
	if got.Models != 6 || got.Summary.Pairs != 14 || got.Summary.Excluded != 1 || len(got.Warnings) != 1 {
		t.Errorf("%+v, want 14 pairs, one left out, with a warning", got)
	}
}

// TestMeanSimilarityUnit: where models matter, resampling them gives a far wider interval than pairs would.
func TestMeanSimilarityUnit(t *testing.T) {
	m := randomScores(40, 3)
	got := mustMean(t, m, BootstrapOptions{Seed: 1})
	values := m.UpperTriangle()
	naive := 1.96 * math.Sqrt(meanSquare(values, mean(values))/float64(len(values)))
	if half := (got.CIHi - got.CILo) / 2; half < 3*naive || !(got.CILo < got.Summary.Mean && got.Summary.Mean < got.CIHi) {
		t.Errorf("half width %v, from independent pairs %v; %+v", half, naive, got)
	}
	names := slices.Clone(m.Names)
	slices.Reverse(names)
	turned, err := m.Select(names)
	if err != nil {
		t.Fatal(err)
	}
	if other := mustMean(t, turned, BootstrapOptions{Seed: 1, Workers: 3}); !reflect.DeepEqual(other, got) {
		t.Errorf("another order of rows on three goroutines: %+v, want %+v", other, got)
	}
}

func TestMeanSimilarityEdges(t *testing.T) {
	two := mustMean(t, triangle(2, []float64{3}, 1), BootstrapOptions{})
	if two.Summary.Mean != 3 || two.CILo != 3 || two.CIHi != 3 || len(two.Warnings) != 1 {
		t.Errorf("two models: %+v", two)
	}
	none := mustMean(t, triangle(2, []float64{math.NaN()}, 1), BootstrapOptions{})
	if !math.IsNaN(none.Summary.Mean) || !math.IsNaN(none.CILo) || len(none.Warnings) != 1 {
		t.Errorf("an undefined pair: %+v", none)
	}
	lopsided := triangle(3, []float64{1, 2, 3}, 1)
	lopsided.Set(0, 2, math.NaN())
	for name, m := range map[string]*Matrix{"one model": triangle(1, nil, 1), "asymmetric": lopsided, "no models": NewMatrix(nil)} {
		if _, err := MeanSimilarity(context.Background(), m, BootstrapOptions{}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := MeanSimilarity(context.Background(), triangle(2, []float64{3}, 1), BootstrapOptions{Level: 2}); err == nil {
		t.Error("level 2 accepted")
	}
}
