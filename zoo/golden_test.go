package zoo

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"sat/internal/rng"
)

// golden reads testdata/NAME, written by scripts/goldens/zoo_modules.py (header inside).
func golden(t *testing.T, name string, into any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

func bitsOf(values []float32) []uint32 {
	out := make([]uint32, len(values))
	for i, v := range values {
		out[i] = math.Float32bits(v)
	}
	return out
}

// The numbers of a check are made twice, by NumPy when a file is exported and here when it is verified.
func TestFillEqualsPython(t *testing.T) {
	var g struct {
		Values []struct {
			Seed      uint64
			Name      string
			Low, High float64
			Bits      []uint32
		}
		Long struct {
			Seed      uint64
			Name      string
			Low, High float64
			Skip      int
			Bits      []uint32
		}
		Images struct {
			Seed  uint64
			Shape [4]int
			Bits  []uint32
		}
		Labels struct {
			Seed       uint64
			N, Classes int
			Labels     []int64
		}
	}
	golden(t, "fill.json", &g)
	for _, c := range g.Values {
		if got := bitsOf(fillValues(c.Seed, c.Name, len(c.Bits), c.Low, c.High)); !slices.Equal(got, c.Bits) {
			t.Errorf("seed %d, %s: bits %08x, want %08x", c.Seed, c.Name, got, c.Bits)
		}
	}
	l := g.Long
	if got := bitsOf(fillValues(l.Seed, l.Name, l.Skip+len(l.Bits), l.Low, l.High)[l.Skip:]); !slices.Equal(got, l.Bits) {
		t.Errorf("after %d numbers: bits %08x, want %08x", l.Skip, got, l.Bits)
	}
	s := g.Images.Shape
	if got := bitsOf(checkImages(g.Images.Seed, s[0], s[1], s[2], s[3])); !slices.Equal(got, g.Images.Bits) {
		t.Error("images differ from NumPy's")
	}
	if got := checkLabels(g.Labels.Seed, g.Labels.N, g.Labels.Classes); !slices.Equal(got, g.Labels.Labels) {
		t.Errorf("labels %v, want %v", got, g.Labels.Labels)
	}
}

// Our draws and those of timm's own initialisation are two samples of one distribution: mean, standard deviation and
// quantiles agree within six standard errors.
func TestInitEqualsTimm(t *testing.T) {
	var g struct {
		Cases []struct {
			Network             string
			Rule                InitRule
			N                   int
			Mean, Std, Min, Max float64
			Quantiles           []float64
		}
	}
	golden(t, "init.json", &g)
	kinds := map[string]int{}
	for _, c := range g.Cases {
		kinds[c.Rule.Kind]++
		values, err := c.Rule.draw(c.N, rng.New(11, "init", rng.ID(c.Rule.Tensor)))
		if err != nil {
			t.Fatal(err)
		}
		mean, std := moments(values)
		n := float64(c.N)
		if e := 6 * c.Std * math.Sqrt(2/n); math.Abs(mean-c.Mean) > e {
			t.Errorf("%s %s: mean %.6g, timm's %.6g, allowed ±%.2g", c.Network, c.Rule.Tensor, mean, c.Mean, e)
		}
		// Standard error of a standard deviation: at most std/sqrt(2n) for these kinds (kurtosis at most 3).
		if e := 6 * c.Std * math.Sqrt(2/(2*n)); math.Abs(std-c.Std) > e {
			t.Errorf("%s %s: standard deviation %.6g, timm's %.6g, allowed ±%.2g", c.Network, c.Rule.Tensor, std, c.Std, e)
		}
		for i, q := range []float64{0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99} {
			below := 0
			for _, v := range values {
				if float64(v) < c.Quantiles[i] {
					below++
				}
			}
			if e := 6 * math.Sqrt(2*q*(1-q)/n); math.Abs(float64(below)/n-q) > e {
				t.Errorf("%s %s: %.4f of our values are below timm's %.2f quantile, allowed ±%.2g", c.Network, c.Rule.Tensor,
					float64(below)/n, q, e)
			}
		}
		if c.Rule.Kind == "uniform" || c.Rule.Kind == "trunc_normal" {
			if low := float64(slices.Min(values)); low < c.Rule.Low-1e-6 {
				t.Errorf("%s %s: value %v below the cut %v", c.Network, c.Rule.Tensor, low, c.Rule.Low)
			}
			if high := float64(slices.Max(values)); high > c.Rule.High+1e-6 {
				t.Errorf("%s %s: value %v above the cut %v", c.Network, c.Rule.Tensor, high, c.Rule.High)
			}
		}
	}
	for _, kind := range []string{"normal", "trunc_normal", "uniform"} {
		if kinds[kind] == 0 {
			t.Errorf("no case of kind %s in the golden file", kind)
		}
	}
}

func moments(values []float32) (mean, std float64) {
	for _, v := range values {
		mean += float64(v)
	}
	mean /= float64(len(values))
	for _, v := range values {
		std += (float64(v) - mean) * (float64(v) - mean)
	}
	return mean, math.Sqrt(std / float64(len(values)))
}

// The truncated normal against its closed form: the cut moves mean and spread by known amounts.
func TestTruncatedNormal(t *testing.T) {
	const n = 200_000
	density := func(x float64) float64 { return math.Exp(-x*x/2) / math.Sqrt(2*math.Pi) }
	for _, r := range []InitRule{
		{Kind: "trunc_normal", Mean: 0, Std: 1, Low: -2, High: 2},
		{Kind: "trunc_normal", Mean: 1, Std: 0.5, Low: 0.9, High: 3},
		{Kind: "trunc_normal", Mean: 0, Std: 0.02, Low: -2, High: 2},
	} {
		a, b := (r.Low-r.Mean)/r.Std, (r.High-r.Mean)/r.Std
		z := normalCDF(b) - normalCDF(a)
		shift := (density(a) - density(b)) / z
		wantMean := r.Mean + r.Std*shift
		tail := func(x float64) float64 { // x*density(x) at a cut that may lie far outside
			return x * density(x)
		}
		wantStd := r.Std * math.Sqrt(1+(tail(a)-tail(b))/z-shift*shift)
		values, err := r.draw(n, rng.New(5, "init", 1))
		if err != nil {
			t.Fatal(err)
		}
		mean, std := moments(values)
		e := 6 * wantStd / math.Sqrt(n)
		if math.Abs(mean-wantMean) > e || math.Abs(std-wantStd) > e {
			t.Errorf("%+v: mean %.6g ± %.2g, want %.6g; standard deviation %.6g, want %.6g", r, mean, e, wantMean, std, wantStd)
		}
	}
}

func TestInitRuleErrors(t *testing.T) {
	for name, r := range map[string]InitRule{
		"no kind":      {Tensor: "w"},
		"zero spread":  {Kind: "normal"},
		"NaN spread":   {Kind: "normal", Std: math.NaN()},
		"empty":        {Kind: "uniform", Low: 1, High: 1},
		"reversed":     {Kind: "trunc_normal", Std: 1, Low: 1, High: -1},
		"far cut":      {Kind: "trunc_normal", Std: 1e-3, Low: 1, High: 2},
		"partial run":  {Kind: "values", Runs: [][2]float64{{1.5, 0}}},
		"negative run": {Kind: "values", Runs: [][2]float64{{-1, 0}}},
	} {
		if r.validate() == nil {
			t.Errorf("%s: %+v is accepted", name, r)
		}
	}
	for name, runs := range map[string][][2]float64{"too few": {{2, 0}}, "too many": {{3, 0}, {2, 1}}} {
		if _, err := (InitRule{Kind: "values", Runs: runs}).draw(4, nil); err == nil {
			t.Errorf("%s runs are accepted", name)
		}
	}
	got, err := InitRule{Kind: "values", Runs: [][2]float64{{1, 1}, {2, 0}, {1, 1}}}.draw(4, nil)
	if err != nil || !slices.Equal(got, []float32{1, 0, 0, 1}) {
		t.Errorf("runs of the 2x2 identity give %v, %v", got, err)
	}
}
