package run

import (
	"math"
	"path/filepath"
	"testing"

	"sat/internal/store"
	"sat/torch"
	"sat/zoo"
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
	modes := []zoo.Mode{{Lowered: true}, {Precision: torch.BFloat16}}
	r := comparePairs(order, exact, modes, []map[[2]string]pairScore{exact, rough})
	if len(r.Pairs) != 3 || len(r.Modes) != 2 || r.Modes[1].AtFloor != 1 || r.Modes[1].Pairs != 2 || !r.Pairs[2].Others[1].Floor {
		t.Fatalf("%+v: want three pairs in two modes, the last at the floor", r)
	}
	if m := r.Modes[0]; m != (PrecisionMode{Mode: "lowered", Pairs: 2, AtFloor: 1}) {
		t.Errorf("%+v: want no change of equal scores", m)
	}
	m := r.Modes[1]
	if m.Mode != "bfloat16" || math.Abs(m.Max-0.052) > 1e-9 || math.Abs(m.MeanSize-(0.039+0.052)/2) > 1e-9 ||
		math.Abs(m.Mean-(0.039-0.052)/2) > 1e-9 {
		t.Errorf("%+v: want changes of at most 0.052, 0.0455 in size and -0.0065 on average", m)
	}
	if m.Outside != 1 || r.Pairs[0].Others[1].Outside || !r.Pairs[1].Others[1].Outside {
		t.Errorf("%+v: want the second pair outside of its interval", r)
	}
	r = comparePairs(order[2:3], exact, modes[1:], []map[[2]string]pairScore{rough})
	if m := r.Modes[0]; m.AtFloor != 1 || m.Max != 0 || m.MeanSize != 0 {
		t.Errorf("of pairs at the floor alone: %+v", r)
	}
	if r := comparePairs(order, exact, modes[1:], []map[[2]string]pairScore{{}}); len(r.Pairs) != 0 {
		t.Errorf("pairs that a mode has not: %+v", r.Pairs)
	}
	if _, _, err := readPairs(write("m,n,50,much,,,ok\n")); err == nil {
		t.Error("a SAT that is no number is read")
	}
}
