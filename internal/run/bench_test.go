package run

import (
	"math"
	"path/filepath"
	"testing"

	"sat/internal/store"
)

// The order statistics are those of the tables for the sign test: ranks 2 and 9 of 10, 6 and 15 of 20.
func TestMedianInterval(t *testing.T) {
	for n, want := range map[int][2]float64{5: {1, 5}, 10: {2, 9}, 20: {6, 15}} {
		values := make([]float64, n)
		for i := range values {
			values[i] = float64(n - i)
		}
		if lo, hi := medianInterval(values); lo != want[0] || hi != want[1] {
			t.Errorf("%d values: ranks %v and %v, want %v", n, lo, hi, want)
		}
	}
}

func TestGeometricMean(t *testing.T) {
	if got := GeometricMean([]float64{1, 4, 2}); math.Abs(got-2) > 1e-15 {
		t.Errorf("geometric mean of 1, 4 and 2 is %v, want 2", got)
	}
}

func TestComparePairs(t *testing.T) {
	write := func(text string) string {
		path := filepath.Join(t.TempDir(), "pairs.csv")
		if err := store.WriteBytes(path, []byte("a,b,percent,sat,ci_lo,ci_hi,status\n"+text)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	exact, order, err := readPairs(write("m,n,50,3.912,3.8,4,ok\nm,o,20,2.996,2.95,3.1,ok\nm,p,0.5,-0.693,,,ok\nn,o,,,,,empty\n"))
	if err != nil {
		t.Fatal(err)
	}
	rough, _, err := readPairs(write("m,n,52,3.951,,,ok\nm,o,19,2.944,,,ok\nm,p,1.5,0.405,,,ok\nn,o,,,,,empty\n"))
	if err != nil {
		t.Fatal(err)
	}
	r := comparePairs(order, exact, rough)
	if len(r.Pairs) != 3 || r.AtFloor != 1 || !r.Pairs[2].Floor {
		t.Fatalf("%+v: want three pairs, the last at the floor", r)
	}
	if math.Abs(r.Max-0.052) > 1e-9 || math.Abs(r.Mean-(0.039+0.052)/2) > 1e-9 {
		t.Errorf("changes of at most %v, on average %v; want 0.052 and 0.0455", r.Max, r.Mean)
	}
	if r.Outside != 1 || r.Pairs[0].Outside || !r.Pairs[1].Outside {
		t.Errorf("%+v: want the second pair outside of its interval", r)
	}
	if r := comparePairs(order[2:3], exact, rough); r.AtFloor != 1 || r.Max != 0 || r.Mean != 0 {
		t.Errorf("of pairs at the floor alone: %+v", r)
	}
	if _, _, err := readPairs(write("m,n,50,much,,,ok\n")); err == nil {
		t.Error("a SAT that is no number is read")
	}
}
