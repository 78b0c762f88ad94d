package analysis

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"sat/internal/rng"
)

func TestSAT(t *testing.T) {
	tests := []struct {
		name         string
		n, ab, ba    int
		floor        float64
		sat, percent float64
		err          error
	}{
		{"everything transfers", 40, 40, 40, DefaultFloor, 4.605170185988092, 100, nil}, // ln 100, the paper's 4.6
		{"mean of both directions", 1000, 153, 153, DefaultFloor, math.Log(15.3), 15.3, nil},
		{"unequal directions", 200, 10, 50, DefaultFloor, math.Log(15), 15, nil},
		{"nothing transfers", 5000, 0, 0, DefaultFloor, math.Log(5e-4), 0, nil},
		{"one image of the whole validation set stays above the floor", 50000, 1, 0, DefaultFloor, math.Log(1e-3), 1e-3, nil},
		{"raised floor", 1000, 1, 1, 1, 0, 0.1, nil},
		{"no common image", 0, 0, 0, DefaultFloor, math.NaN(), math.NaN(), ErrNoSharedImages},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sat, percent, err := SAT(tt.n, tt.ab, tt.ba, tt.floor)
			if !errors.Is(err, tt.err) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if err != nil {
				if !math.IsNaN(sat) || !math.IsNaN(percent) {
					t.Errorf("undefined score is %v, %v: want NaN", sat, percent)
				}
				return
			}
			near(t, "SAT", sat, tt.sat, 1e-15, 1e-15)
			near(t, "percent", percent, tt.percent, 0, 1e-15)
			if swapped, _, _ := SAT(tt.n, tt.ba, tt.ab, tt.floor); math.Float64bits(swapped) != math.Float64bits(sat) {
				t.Errorf("SAT(B,A) = %v differs from SAT(A,B) = %v", swapped, sat)
			}
		})
	}
	for _, bad := range [][3]int{{-1, 0, 0}, {5, 6, 0}, {5, 0, 6}, {5, -1, 0}} {
		if _, _, err := SAT(bad[0], bad[1], bad[2], DefaultFloor); err == nil || errors.Is(err, ErrNoSharedImages) {
			t.Errorf("counts %v: error %v, want one about the counts", bad, err)
		}
	}
	for _, floor := range []float64{0, -1, math.NaN(), math.Inf(1), 101} {
		if _, _, err := SAT(10, 1, 1, floor); err == nil {
			t.Errorf("floor %v accepted", floor)
		}
	}
}

// randomTables draws outcomes of models with accuracy 0.8 and transfer rates that differ by pair.
func randomTables(models, images int, seed uint64) *Tables {
	t := &Tables{Models: modelNames(models), Images: images}
	random := rng.New(seed, "test")
	draw := func(p float64) Bits {
		v := make([]bool, images)
		for i := range v {
			v[i] = random.Float64() < p
		}
		return NewBits(v)
	}
	for range models {
		t.Correct = append(t.Correct, draw(0.8))
		row := make([]Bits, models)
		for d := range row {
			row[d] = draw(0.5 * random.Float64())
		}
		t.Wrong = append(t.Wrong, row)
	}
	return t
}

func (b Bits) at(i int) bool { return b[i/64]>>(i%64)&1 == 1 }

// TestCountDefinition compares the counts with the definition, image by image.
func TestCountDefinition(t *testing.T) {
	for _, images := range []int{1, 63, 64, 65, 130} {
		tables := randomTables(5, images, 3)
		c, err := tables.Count()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Validate(); err != nil {
			t.Error(err)
		}
		for s := range tables.Models {
			for d := range tables.Models {
				both, fooled := 0, 0
				for i := range images {
					if tables.Correct[s].at(i) && tables.Correct[d].at(i) {
						both++
						if tables.Wrong[s][d].at(i) {
							fooled++
						}
					}
				}
				if c.NBoth[s][d] != both || c.Fooled[s][d] != fooled {
					t.Errorf("%d images, %d -> %d: %d of %d fooled, want %d of %d", images, s, d, c.Fooled[s][d], c.NBoth[s][d], fooled, both)
				}
			}
		}
	}
}

func permuteTables(t *Tables, perm []int) *Tables {
	out := &Tables{Images: t.Images}
	for _, i := range perm {
		out.Models = append(out.Models, t.Models[i])
		out.Correct = append(out.Correct, t.Correct[i])
		row := make([]Bits, 0, len(perm))
		for _, j := range perm {
			row = append(row, t.Wrong[i][j])
		}
		out.Wrong = append(out.Wrong, row)
	}
	return out
}

// TestRelabelingPermutesScores: the order of models only permutes the tables, and another model changes no entry.
func TestRelabelingPermutesScores(t *testing.T) {
	tables := randomTables(6, 200, 4)
	scores := mustScore(t, tables, DefaultFloor)
	perm := []int{4, 0, 5, 2, 1, 3}
	moved := mustScore(t, permuteTables(tables, perm), DefaultFloor)
	fewer := mustScore(t, permuteTables(tables, []int{0, 1, 2, 3}), DefaultFloor)
	m, mm, mf := scores.Matrix(), moved.Matrix(), fewer.Matrix()
	for i := range perm {
		for j := range perm {
			if got, want := mm.At(i, j), m.At(perm[i], perm[j]); got != want {
				t.Errorf("permuted (%d, %d): %v, want %v", i, j, got, want)
			}
			if m.At(i, j) != m.At(j, i) {
				t.Errorf("(%d, %d) is %v, (%d, %d) is %v", i, j, m.At(i, j), j, i, m.At(j, i))
			}
			if i < 4 && j < 4 && m.At(i, j) != mf.At(i, j) {
				t.Errorf("(%d, %d) changes from %v to %v with two more models", i, j, mf.At(i, j), m.At(i, j))
			}
		}
	}
}

func mustScore(t *testing.T, tables *Tables, floor float64) *Scores {
	t.Helper()
	c, err := tables.Count()
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Score(floor)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestScoreStatuses(t *testing.T) {
	c := NewCounts([]string{"a", "b", "c", "d"}, 1000)
	set := func(a, b, n, ab, ba int) {
		c.NBoth[a][b], c.NBoth[b][a], c.Fooled[a][b], c.Fooled[b][a] = n, n, ab, ba
	}
	for i, n := range []int{900, 800, 60, 0} {
		set(i, i, n, n-1*min(n, 1), n-1*min(n, 1))
	}
	set(0, 1, 700, 70, 140)
	set(0, 2, 50, 5, 0)
	set(1, 2, 40, 0, 0)
	s, err := c.Score(DefaultFloor)
	if err != nil {
		t.Fatal(err)
	}
	want := []Pair{
		{A: "a", B: "b", NBoth: 700, FooledAB: 70, FooledBA: 140, Percent: 15, SAT: math.Log(15), Status: StatusOK},
		{A: "a", B: "c", NBoth: 50, FooledAB: 5, Percent: 5, SAT: math.Log(5), Status: StatusSmall},
		{A: "a", B: "d", Percent: math.NaN(), SAT: math.NaN(), Status: StatusEmpty},
		{A: "b", B: "c", NBoth: 40, SAT: math.Log(DefaultFloor), Status: StatusFloored},
		{A: "b", B: "d", Percent: math.NaN(), SAT: math.NaN(), Status: StatusEmpty},
		{A: "c", B: "d", Percent: math.NaN(), SAT: math.NaN(), Status: StatusEmpty},
	}
	for i, p := range s.Pairs {
		w := want[i]
		w.CILo, w.CIHi, w.PercentLo, w.PercentHi = math.NaN(), math.NaN(), math.NaN(), math.NaN()
		if fmt.Sprint(p) != fmt.Sprint(w) {
			t.Errorf("pair %d: %v, want %v", i, p, w)
		}
	}
	if d := s.Directed[0]; d.Source != "a" || d.Target != "b" || d.Fooled != 70 || d.Percent != 10 || d.OneSided != math.Log(10) {
		t.Errorf("directed a -> b: %+v", d)
	}
	if d := s.Directed[3]; d.Source != "b" || d.Target != "a" || d.Fooled != 140 || d.Percent != 20 {
		t.Errorf("directed b -> a: %+v", d)
	}
	if self := s.Self[0]; self.N != 900 || self.Fooled != 899 || s.Matrix().At(0, 0) != self.SAT {
		t.Errorf("self of a: %+v", self)
	}
	if self := s.Self[3]; self.Status != StatusEmpty || !math.IsNaN(self.SAT) {
		t.Errorf("self of d: %+v", self)
	}
	sum := s.Summary()
	if sum.Pairs != 3 || sum.Excluded != 3 || sum.Floored != 1 || sum.Median != math.Log(5) {
		t.Errorf("summary %+v", sum)
	}
	if len(s.Warnings) != 2 {
		t.Errorf("warnings %q: want one about the floor reached and one about undefined pairs", s.Warnings)
	}

	again, err := c.Score(1) // one image of two times 700 is 0.07 %, below this floor
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(again.Warnings, func(w string) bool { return strings.Contains(w, "smallest nonzero percentage") }) {
		t.Errorf("floor above the resolution: warnings %q", again.Warnings)
	}
}

func TestTablesAndCountsRefuse(t *testing.T) {
	tables := map[string]struct {
		change func(*Tables)
		want   string
	}{
		"no models":      {func(x *Tables) { x.Models = nil }, "no models"},
		"duplicate name": {func(x *Tables) { x.Models[1] = x.Models[0] }, "stands twice"},
		"empty name":     {func(x *Tables) { x.Models[1] = "" }, "has no name"},
		"missing row":    {func(x *Tables) { x.Wrong = x.Wrong[1:] }, "rows"},
		"missing target": {func(x *Tables) { x.Wrong[2] = x.Wrong[2][1:] }, "images of model002"},
		"short row":      {func(x *Tables) { x.Wrong[2][0] = x.Wrong[2][0][1:] }, "images of model002 on model000"},
		"short clean":    {func(x *Tables) { x.Correct[1] = nil }, "clean outcomes of model001"},
		"stray bit":      {func(x *Tables) { x.Correct[1][1] |= 1 << 63 }, "behind the last of 70"},
		"negative":       {func(x *Tables) { x.Images = -1 }, "-1 images"},
	}
	for name, tt := range tables {
		t.Run(name, func(t *testing.T) {
			x := randomTables(3, 70, 1)
			tt.change(x)
			if _, err := x.Count(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
	counts := map[string]func(*Counts){
		"asymmetric common images":      func(c *Counts) { c.NBoth[0][1]++ },
		"more common images than alone": func(c *Counts) { c.NBoth[0][1] += 100; c.NBoth[1][0] += 100 },
		"more fooled than common":       func(c *Counts) { c.Fooled[0][1] = c.NBoth[0][1] + 1 },
		"negative":                      func(c *Counts) { c.Fooled[0][1] = -1 },
		"more correct than images":      func(c *Counts) { c.Images = 1 },
		"short":                         func(c *Counts) { c.Fooled[1] = nil },
		"missing":                       func(c *Counts) { c.NBoth = nil },
	}
	for name, change := range counts {
		t.Run(name, func(t *testing.T) {
			c, err := randomTables(3, 70, 1).Count()
			if err != nil {
				t.Fatal(err)
			}
			change(c)
			if _, err := c.Score(DefaultFloor); err == nil {
				t.Error("accepted")
			}
		})
	}
}
