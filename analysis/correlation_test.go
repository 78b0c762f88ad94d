package analysis

import (
	"context"
	"math"
	"slices"
	"strings"
	"testing"

	"sat/internal/rng"
)

func TestCorrelateEdges(t *testing.T) {
	inf, nan := math.Inf(1), math.NaN()
	tests := []struct {
		name         string
		x, y         []float64
		r, p, log10p float64
		warning      bool
	}{
		{"no points", nil, nil, nan, nan, nan, true},
		{"one point", []float64{1}, []float64{2}, nan, nan, nan, true},
		{"two points", []float64{1, 2}, []float64{5, 3}, -1, 1, 0, false},
		{"constant", []float64{1, 2, 3}, []float64{4, 4, 4}, nan, nan, nan, true},
		{"a line of thirds", []float64{1. / 3, 2. / 3, 4. / 3, 5. / 3, 7. / 3}, []float64{-0.1, -0.2, -0.4, -0.5, -0.7}, -1, 0, -inf, false},
		{"a line", []float64{1, 2, 3, 4}, []float64{2, 4, 6, 8}, 1, 0, -inf, false},
		{"uncorrelated", []float64{-1, 0, 1}, []float64{1, -2, 1}, 0, 1, 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := Correlate(tt.x, tt.y, 0.95)
			if err != nil {
				t.Fatal(err)
			}
			for i, v := range [][2]float64{{c.R, tt.r}, {c.P, tt.p}, {c.Log10P, tt.log10p}} {
				if !(v[0] == v[1] || math.IsNaN(v[0]) && math.IsNaN(v[1])) {
					t.Errorf("number %d is %v, want %v", i, v[0], v[1])
				}
			}
			if (c.Warning != "") != tt.warning {
				t.Errorf("warning %q", c.Warning)
			}
		})
	}
	for name, bad := range map[string][2][]float64{
		"lengths": {{1, 2}, {1}}, "NaN": {{1, nan, 3}, {1, 2, 3}}, "infinite": {{1, 2, 3}, {1, 2, inf}},
		"overflow": {{-1.7e308, 1.7e308, 1.7e308}, {1, 2, 3}},
	} {
		if _, err := Correlate(bad[0], bad[1], 0.95); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := Correlate([]float64{1, nan}, []float64{1, 2}, 0.95); err == nil || !strings.Contains(err.Error(), "point 2") {
		t.Errorf("NaN: error %v, want one that names the point", err)
	}
	if _, err := Correlate([]float64{1, 2}, []float64{1, 2}, 1); err == nil {
		t.Error("level 1 accepted")
	}
}

func TestPearsonPRange(t *testing.T) {
	for _, bad := range []struct {
		r float64
		n int
	}{{math.NaN(), 5}, {1.5, 5}, {0.5, 1}, {0.5, -3}} {
		if p, log10p := PearsonP(bad.r, bad.n); !math.IsNaN(p) || !math.IsNaN(log10p) {
			t.Errorf("r = %v, n = %d: p %v, log10 p %v; want NaN", bad.r, bad.n, p, log10p)
		}
	}
	// The two ways to compute the tail meet where neither is at its best.
	for n := 3; n < 3000; n = n*3/2 + 1 {
		a := float64(n-2) / 2
		edge := math.Sqrt(1 - (a+1)/(a+2.5))
		_, below := PearsonP(edge*(1-1e-9), n)
		_, above := PearsonP(edge*(1+1e-9), n)
		if !(below > above) || below-above > 1e-6 {
			t.Errorf("n = %d: log10 p jumps from %v to %v at r = %v", n, below, above, edge)
		}
	}
	// p falls with |r| and is symmetric.
	last := 0.0
	for r := 0.01; r < 1; r += 0.01 {
		_, v := PearsonP(r, 30)
		_, mirrored := PearsonP(-r, 30)
		if v >= last || v != mirrored {
			t.Errorf("r = %v: log10 p %v after %v, mirrored %v", r, v, last, mirrored)
		}
		last = v
	}
}

func TestFormatP(t *testing.T) {
	for _, tt := range []struct {
		log10p float64
		want   string
	}{
		{0, "1"}, {math.Log10(0.0312), "0.0312"}, {math.Log10(0.00015), "0.00015"}, {math.Log10(1.74e-54), "1.74 × 10^-54"},
		{-569.714, "1.93 × 10^-570"}, {math.Log10(9.999e-7), "1.00 × 10^-6"}, {math.Inf(-1), "0"}, {math.NaN(), "undefined"},
	} {
		if got := FormatP(tt.log10p); got != tt.want {
			t.Errorf("log10 p %v prints as %q, want %q", tt.log10p, got, tt.want)
		}
	}
}

func TestMantel(t *testing.T) {
	a, _ := plantedMatrix([]int{4, 4, 3}, 1)
	b, _ := plantedMatrix([]int{4, 4, 3}, 2)
	got, err := Mantel(context.Background(), a, b, MantelOptions{Permutations: 499, Seed: 3, Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	c, err := Correlate(a.UpperTriangle(), b.UpperTriangle(), 0.95)
	if err != nil {
		t.Fatal(err)
	}
	near(t, "r over pairs", got.R, c.R, 1e-12, 0)
	if got.P > 0.01 {
		t.Errorf("the same planted groups: p = %v", got.P)
	}
	many, err := Mantel(context.Background(), a, b, MantelOptions{Permutations: 499, Seed: 3, Workers: 6})
	if err != nil || many != got {
		t.Errorf("six goroutines: %+v, %v; one: %+v", many, err, got)
	}

	// All 24 relabelings of four models by hand: the share that random ones estimate.
	x, y := NewMatrix(modelNames(4)), NewMatrix(modelNames(4))
	random := rng.New(4, "test")
	for i := range 4 {
		for j := range i {
			for _, m := range []*Matrix{x, y} {
				v := random.Float64()
				m.Set(i, j, v)
				m.Set(j, i, v)
			}
		}
	}
	observed, _ := pearson(x.UpperTriangle(), y.UpperTriangle())
	count, total := 0, 0
	permutations(4, func(perm []int) {
		moved := make([]string, 4)
		for i, k := range perm {
			moved[i] = y.Names[k]
		}
		z, err := y.Select(moved)
		if err != nil {
			t.Fatal(err)
		}
		r, _ := pearson(x.UpperTriangle(), z.UpperTriangle())
		total++
		if math.Abs(r) >= math.Abs(observed)-1e-12 {
			count++
		}
	})
	got, err = Mantel(context.Background(), x, y, MantelOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := float64(count) / float64(total)
	near(t, "p", got.P, want, 4*math.Sqrt(want*(1-want)/9999)+1e-4, 0)
}

func TestMantelRefuses(t *testing.T) {
	good, _ := plantedMatrix([]int{2, 2}, 1)
	hole, _ := plantedMatrix([]int{2, 2}, 1)
	hole.Set(1, 3, math.NaN())
	flat := NewMatrix(modelNames(4))
	swapped, err := good.Select([]string{"model001", "model000", "model002", "model003"})
	if err != nil {
		t.Fatal(err)
	}
	two, err := good.Select(modelNames(2))
	if err != nil {
		t.Fatal(err)
	}
	for name, pair := range map[string][2]*Matrix{
		"NaN": {good, hole}, "constant": {flat, good}, "other order": {good, swapped}, "two models": {two, two},
	} {
		if _, err := Mantel(context.Background(), pair[0], pair[1], MantelOptions{}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestAverageRanks(t *testing.T) {
	if got, want := averageRanks([]float64{3, 1, 3, 3, -2}), []float64{4, 2, 4, 4, 1}; !slices.Equal(got, want) {
		t.Errorf("ranks %v, want %v", got, want)
	}
}
