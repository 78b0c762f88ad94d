package analysis

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"sat/internal/rng"
)

// TestBootstrapDefinition repeats the resampling image by image, without weights or bit sets.
func TestBootstrapDefinition(t *testing.T) {
	const resamples, seed = 60, 11
	tables := randomTables(4, 130, 5)
	s := mustScore(t, tables, DefaultFloor)
	if err := s.Bootstrap(context.Background(), tables, BootstrapOptions{Resamples: resamples, Seed: seed, Level: 0.9}); err != nil {
		t.Fatal(err)
	}
	k := 0
	for a := range tables.Models {
		for b := a + 1; b < len(tables.Models); b++ {
			var sats, percents []float64
			for r := range resamples {
				random := rng.New(seed, "analysis/bootstrap", uint64(r))
				n, ab, ba := 0, 0, 0
				for range tables.Images {
					i := random.IntN(tables.Images)
					if tables.Correct[a].at(i) && tables.Correct[b].at(i) {
						n++
						if tables.Wrong[a][b].at(i) {
							ab++
						}
						if tables.Wrong[b][a].at(i) {
							ba++
						}
					}
				}
				sat, percent, err := SAT(n, ab, ba, DefaultFloor)
				if err != nil {
					t.Fatal(err)
				}
				sats, percents = append(sats, sat), append(percents, percent)
			}
			slices.Sort(sats)
			slices.Sort(percents)
			p := s.Pairs[k]
			got := []float64{p.CILo, p.CIHi, p.PercentLo, p.PercentHi}
			want := []float64{Quantile(sats, 0.05), Quantile(sats, 0.95), Quantile(percents, 0.05), Quantile(percents, 0.95)}
			for i := range got {
				near(t, fmt.Sprintf("pair %d, limit %d", k, i), got[i], want[i], 0, 1e-14)
			}
			k++
		}
	}
}

// TestBootstrapSpread: for one pair the interval of the percentage is that of a mean of n values in {0, 50, 100}.
func TestBootstrapSpread(t *testing.T) {
	tables := randomTables(2, 4000, 6)
	s := mustScore(t, tables, DefaultFloor)
	if err := s.Bootstrap(context.Background(), tables, BootstrapOptions{Seed: 1}); err != nil {
		t.Fatal(err)
	}
	p := s.Pairs[0]
	var square float64
	for i := range tables.Images {
		if tables.Correct[0].at(i) && tables.Correct[1].at(i) {
			v := 0.0
			if tables.Wrong[0][1].at(i) {
				v += 50
			}
			if tables.Wrong[1][0].at(i) {
				v += 50
			}
			square += (v - p.Percent) * (v - p.Percent)
		}
	}
	half := 1.96 * math.Sqrt(square) / float64(p.NBoth)
	near(t, "half width", (p.PercentHi-p.PercentLo)/2, half, 0, 0.06)
	if !(p.CILo < p.SAT && p.SAT < p.CIHi && p.PercentLo < p.Percent && p.Percent < p.PercentHi) {
		t.Errorf("interval does not hold the score: %+v", p)
	}
}

func TestBootstrapIsReproducible(t *testing.T) {
	tables := randomTables(7, 150, 7)
	run := func(seed uint64, workers int) []Pair {
		s := mustScore(t, tables, DefaultFloor)
		if err := s.Bootstrap(context.Background(), tables, BootstrapOptions{Resamples: 50, Seed: seed, Workers: workers}); err != nil {
			t.Fatal(err)
		}
		return s.Pairs
	}
	if !slices.Equal(run(1, 1), run(1, 5)) {
		t.Error("five goroutines give other intervals than one")
	}
	if slices.Equal(run(1, 1), run(2, 1)) {
		t.Error("two seeds give the same intervals")
	}
}

func TestBootstrapEdges(t *testing.T) {
	// Model 0 is right on image 0 only, model 1 on all, model 2 on none; nothing transfers.
	tables := randomTables(3, 10, 1)
	for i := range tables.Models {
		tables.Correct[i][0] = []uint64{1, 1<<10 - 1, 0}[i]
		for j := range tables.Models {
			tables.Wrong[i][j][0] = 0
		}
	}
	s := mustScore(t, tables, DefaultFloor)
	before := len(s.Warnings)
	if err := s.Bootstrap(context.Background(), tables, BootstrapOptions{Resamples: 100}); err != nil {
		t.Fatal(err)
	}
	if p := s.Pairs[0]; p.CILo != math.Log(DefaultFloor) || p.CIHi != p.CILo || p.PercentHi != 0 {
		t.Errorf("pair without transfer: %+v, want an interval at the floor", p)
	}
	if p := s.Pairs[1]; !math.IsNaN(p.CILo) || !math.IsNaN(p.PercentHi) {
		t.Errorf("pair without common image: %+v, want no interval", p)
	}
	if len(s.Warnings) != before+1 || !strings.Contains(s.Warnings[before], "1 pairs") {
		t.Errorf("warnings %q: want one about resamples without the only common image", s.Warnings[before:])
	}

	if err := s.Bootstrap(context.Background(), randomTables(3, 11, 1), BootstrapOptions{}); err == nil {
		t.Error("tables of other images accepted")
	}
	if err := s.Bootstrap(context.Background(), tables, BootstrapOptions{Level: 1}); err == nil {
		t.Error("level 1 accepted")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Bootstrap(ctx, tables, BootstrapOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: error %v", err)
	}
}

func BenchmarkBootstrap(b *testing.B) {
	tables := randomTables(69, 5000, 1)
	c, err := tables.Count()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		s, err := c.Score(DefaultFloor)
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Bootstrap(context.Background(), tables, BootstrapOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}
