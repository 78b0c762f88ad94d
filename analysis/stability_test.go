package analysis

import (
	"context"
	"errors"
	"math"
	"slices"
	"testing"

	"sat/internal/rng"
)

func TestSpreadAgainstScipy(t *testing.T) {
	g := readStatisticsGolden(t)
	for _, c := range g.Spreads {
		rows, err := DescribeStability([]StabilitySeries{{Samples: 1, Scores: c.Values}}, c.Level)
		if err != nil {
			t.Fatal(err)
		}
		near(t, "standard deviation", rows[0].Std, c.Std, 0, 1e-12)
		near(t, "lower end", rows[0].StdLo, c.Lo, 0, 1e-11)
		near(t, "upper end", rows[0].StdHi, c.Hi, 0, 1e-11)
	}
	for _, c := range g.BrownForsythe {
		f, p := brownForsythe(c.Groups[0], c.Groups[1])
		near(t, "F", f, c.Statistic, 0, 1e-11)
		near(t, "p", p, c.P, 0, 1e-10)
	}
}

// TestStabilityTable checks the costs and ratios that Tab. 1 prints, and the factors of an interval from ten values.
func TestStabilityTable(t *testing.T) {
	scores := []float64{30, 31, 29, 30, 32, 28, 30, 31, 29, 30}
	triplets := 50_000. * 49_999 * 49_998 / 6
	rows, err := DescribeStability([]StabilitySeries{
		{Method: "sat", Samples: 500, Population: 50_000, Passes: AttackPasses(50), Scores: scores},
		{Method: "sat", Samples: 5000, Population: 50_000, Passes: AttackPasses(50), Scores: scores},
		{Method: "triplets", Samples: 10, Population: triplets, Passes: TripletPasses, Scores: scores},
		{Method: "unknown", Samples: 10, Scores: scores},
	}, 0.95)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []struct{ ratio, cost float64 }{{0.01, 1.02}, {0.1, 10.2}, {4.8e-13, 1}, {math.NaN(), 0}} {
		if !(math.IsNaN(want.ratio) && math.IsNaN(rows[i].Ratio)) {
			near(t, "ratio", rows[i].Ratio, want.ratio, 0, 1e-3)
		}
		near(t, "cost", rows[i].Cost, want.cost, 0, 1e-12)
		near(t, "lower factor", rows[i].StdLo/rows[i].Std, 0.69, 0.005, 0)
		near(t, "upper factor", rows[i].StdHi/rows[i].Std, 1.83, 0.005, 0)
	}
	for name, s := range map[string]StabilitySeries{"one score": {Samples: 1, Scores: []float64{1}}, "no samples": {Scores: scores},
		"NaN": {Samples: 1, Scores: []float64{1, math.NaN()}}} {
		if _, err := DescribeStability([]StabilitySeries{s}, 0.95); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := DescribeStability(nil, 1); err == nil {
		t.Error("level 1 accepted")
	}
}

func TestPercentOn(t *testing.T) {
	tables := randomTables(3, 150, 2)
	order := rng.New(1, "stability test").Perm(150)
	got, err := tables.PercentOn("model002", "model000", order[:60])
	if err != nil {
		t.Fatal(err)
	}
	both, fooled := 0, 0
	for _, i := range order[:60] {
		if tables.Correct[0].at(i) && tables.Correct[2].at(i) {
			both++
			if tables.Wrong[0][2].at(i) {
				fooled++
			}
			if tables.Wrong[2][0].at(i) {
				fooled++
			}
		}
	}
	if want := 100 * float64(fooled) / float64(2*both); got != want {
		t.Errorf("similarity on 60 images is %v, want %v", got, want)
	}
	all, err := tables.PercentOn("model000", "model002", order)
	if s := mustScore(t, tables, DefaultFloor); err != nil || all != s.Pairs[1].Percent {
		t.Errorf("similarity on all images is %v, %v, want %v", all, err, s.Pairs[1].Percent)
	}
	if _, err := tables.PercentOn("model000", "model001", nil); !errors.Is(err, ErrNoSharedImages) {
		t.Errorf("no images: error %v", err)
	}
	for name, images := range map[string][]int{"twice": {1, 1}, "unknown": {150}} {
		if _, err := tables.PercentOn("model000", "model001", images); err == nil {
			t.Errorf("image %s: accepted", name)
		}
	}
	if _, err := tables.PercentOn("model000", "model009", []int{1}); err == nil {
		t.Error("unknown model accepted")
	}
}

func TestCompareSpread(t *testing.T) {
	a := StabilitySeries{Method: "a", Samples: 1, Scores: []float64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}}
	b := StabilitySeries{Method: "b", Samples: 1}
	for _, v := range a.Scores {
		b.Scores = append(b.Scores, 50-3*v)
	}
	run := func(a, b StabilitySeries, o BootstrapOptions) SpreadTest {
		got, err := CompareSpread(context.Background(), a, b, o)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	got := run(a, b, BootstrapOptions{Seed: 1, Workers: 1})
	// Paired scores on a line: every resample has the same ratio.
	near(t, "log ratio", got.LogRatio, -math.Log(3), 1e-14, 0)
	near(t, "lower end", got.CILo, -math.Log(3), 1e-13, 0)
	near(t, "upper end", got.CIHi, -math.Log(3), 1e-13, 0)
	if got.P > 0.01 {
		t.Errorf("p %v of spreads 1 to 3", got.P)
	}
	slices.Reverse(b.Scores[:5])
	one, many := run(a, b, BootstrapOptions{Seed: 1, Workers: 1}), run(a, b, BootstrapOptions{Seed: 1, Workers: 4})
	if one != many || !(one.CILo < one.LogRatio && one.LogRatio < one.CIHi) {
		t.Errorf("one goroutine %+v, four %+v", one, many)
	}
	if back := run(b, a, BootstrapOptions{Seed: 1}); back.LogRatio != -one.LogRatio || back.P != one.P {
		t.Errorf("exchanged: %+v, want the opposite of %+v", back, one)
	}
	flat := StabilitySeries{Method: "flat", Samples: 1, Scores: make([]float64, 10)}
	if f := run(a, flat, BootstrapOptions{}); !math.IsNaN(f.LogRatio) || f.Warning == "" || math.IsNaN(f.P) {
		t.Errorf("constant series: %+v", f)
	}
	if f := run(flat, flat, BootstrapOptions{}); !math.IsNaN(f.P) {
		t.Errorf("two constant series: %+v", f)
	}
	flat.Scores = flat.Scores[1:]
	if _, err := CompareSpread(context.Background(), a, flat, BootstrapOptions{}); err == nil {
		t.Error("series of different repeats accepted")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := CompareSpread(ctx, a, b, BootstrapOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: error %v", err)
	}
}
