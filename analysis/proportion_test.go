package analysis

import (
	"math"
	"testing"
)

func TestWilson(t *testing.T) {
	// scipy 1.17.1: stats.binomtest(k, n).proportion_ci(method="wilson").
	for _, c := range []struct {
		k, n   int
		lo, hi float64
	}{
		{8, 10, 0.4901624715366418, 0.9433178485456248},
		{0, 20, 0.0, 0.16112515805281935},
		{360, 360, 0.9894419431113064, 1.0},
		{321, 360, 0.8553292667869178, 0.9197335886502723},
	} {
		lo, hi := Wilson(float64(c.k)/float64(c.n), c.n)
		if math.Abs(lo-c.lo) > 1e-12 || math.Abs(hi-c.hi) > 1e-12 {
			t.Errorf("%d of %d: [%v, %v], want [%v, %v]", c.k, c.n, lo, hi, c.lo, c.hi)
		}
	}
	if lo, hi := Wilson(0.5, 0); lo != 0 || hi != 1 {
		t.Errorf("without trials [%v, %v], want [0, 1]", lo, hi)
	}
}
