package run

import (
	"encoding/json"
	"math"
	"path/filepath"
	"testing"

	"sat/analysis"
)

// TestCorrelationWithoutFloored: pairs of which an attack fools nothing carry an arbitrary logarithm. The correlation is given
// with and without them.
func TestCorrelationWithoutFloored(t *testing.T) {
	names := []string{"a", "b", "c", "d"}
	type count struct{ main, other int } // of 100 images, both directions together
	counts := map[[2]int]count{{0, 1}: {40, 20}, {0, 2}: {60, 50}, {0, 3}: {100, 120}, {1, 2}: {10, 60}, {1, 3}: {0, 90}, {2, 3}: {50, 0}}
	scores := func(of func(count) int) *analysis.Scores {
		s := &analysis.Scores{Models: names, Images: 100, Floor: analysis.DefaultFloor}
		for i := range names {
			for j := i + 1; j < len(names); j++ {
				n := of(counts[[2]int{i, j}])
				s.Pairs = append(s.Pairs, analysis.Pair{A: names[i], B: names[j], NBoth: 100, FooledAB: n / 2, FooledBA: n - n/2,
					SAT: math.Log(max(analysis.DefaultFloor, float64(n)/2))})
			}
		}
		return s
	}
	r := &runner{Spec: Spec{Dir: t.TempDir()}, measured: map[string]*measured{"": {}}}
	r.Attack, r.Progress = attackOfMethod(t, "pgd"), silent()
	main, other := &measured{scores: scores(func(c count) int { return c.main })}, &measured{scores: scores(func(c count) int { return c.other })}
	file, err := r.writeTwoSided(filepath.Join(r.Dir, "analysis"), Ablation{Name: "again", Attack: attackOfMethod(t, "square")}, main, other)
	must(t, err)
	if file.Floored != 2 || file.N != 6 || file.Unfloored.N != 4 {
		t.Fatalf("%d floored, correlations over %d and %d points", file.Floored, file.N, file.Unfloored.N)
	}
	// By the definition: centred sums over the four pairs that both attacks reach.
	x := []float64{math.Log(20), math.Log(30), math.Log(50), math.Log(5)}
	y := []float64{math.Log(10), math.Log(25), math.Log(60), math.Log(30)}
	var mx, my, xx, yy, xy float64
	for i := range x {
		mx, my = mx+x[i]/4, my+y[i]/4
	}
	for i := range x {
		xx, yy, xy = xx+(x[i]-mx)*(x[i]-mx), yy+(y[i]-my)*(y[i]-my), xy+(x[i]-mx)*(y[i]-my)
	}
	if want := xy / math.Sqrt(xx*yy); math.Abs(*file.Unfloored.R-want) > 1e-12 || math.Abs(*file.R-want) < 0.1 {
		t.Errorf("r without floored pairs %v, want %v; with them %v", *file.Unfloored.R, want, *file.R)
	}
	text, err := json.Marshal(file)
	must(t, err)
	var shown struct {
		R         float64
		Unfloored struct{ R float64 } `json:"without_floored"`
	}
	must(t, json.Unmarshal(text, &shown))
	if shown.R != *file.R || shown.Unfloored.R != *file.Unfloored.R {
		t.Errorf("JSON %s", text)
	}
	if rows := csvRows(t, filepath.Join(r.Dir, "analysis", "ablation_again.csv")); len(rows) != 7 {
		t.Errorf("%d lines; floored pairs stay in the table", len(rows))
	}
}
