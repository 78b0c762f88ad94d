package attacks

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"
)

// readGolden decodes testdata/NAME.json.
func readGolden(t *testing.T, name string, into any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatal(err)
	}
}

// testdata/torchrand.json is made by scripts/goldens/attacks_autoattack.py with torch.rand and torch.randn.
func TestStreamEqualsTorch(t *testing.T) {
	var golden struct {
		Uniform []struct {
			Seed    uint64
			Uniform []float64 // in units of 2^-24
		}
		Normal []struct {
			Seed   uint64
			Normal []float32
			Then   float64
		}
	}
	readGolden(t, "torchrand", &golden)
	for _, c := range golden.Uniform {
		r := newTorchRand(c.Seed)
		for i, want := range c.Uniform {
			if got := float64(r.Float32()) * (1 << 24); got != want {
				t.Fatalf("seed %d, uniform number %d: got %v, want %v", c.Seed, i, got, want)
			}
		}
	}
	for _, c := range golden.Normal {
		r, got := newTorchRand(c.Seed), make([]float32, len(c.Normal))
		r.normals(got)
		for i, want := range c.Normal {
			if math.Abs(float64(got[i]-want)) > 1e-6*max(1, math.Abs(float64(want))) {
				t.Errorf("randn(%d), number %d: got %v, want %v", len(got), i, got[i], want)
			}
		}
		if got := float64(r.Float32()) * (1 << 24); got != c.Then {
			t.Errorf("after randn(%d): got %v, want %v", len(c.Normal), got, c.Then)
		}
	}
}

// The first output of the Mersenne Twister with its authors' seed, and the 10,000th that the C++ standard demands.
func TestMersenneTwister(t *testing.T) {
	r := newTorchRand(5489)
	if first := r.Uint32(); first != 3499211612 {
		t.Errorf("first output is %d", first)
	}
	last := uint32(0)
	for range 9999 {
		last = r.Uint32()
	}
	if last != 4123659995 {
		t.Errorf("output 10000 is %d", last)
	}
}

func TestKeyedDrawsKnowNoBatch(t *testing.T) {
	together, alone := newDraws(Keyed, 7, "square"), newDraws(Keyed, 7, "square")
	a, b := together.of(0, "a"), together.of(0, "b")
	first, second := a.Float32(), b.Float32()
	if got := alone.of(0, "b").Float32(); got != second || first == second {
		t.Errorf("b draws %v alone and %v beside a, which draws %v", got, second, first)
	}
	if got := alone.of(1, "b").Float32(); got == second {
		t.Error("another round draws the same number")
	}
	pair, single := make([]float32, 8), make([]float32, 4)
	together.normals(pair, 0, []string{"a", "b"})
	together.normals(single, 0, []string{"b"})
	if bitsDiffer(pair[4:], single) >= 0 {
		t.Errorf("b draws %v alone, %v beside a", single, pair[4:])
	}
}
