package data

import (
	"math"
	"testing"
)

// TestHalf: every half is what it says, and every float32 goes to the nearest half, ties to even, which is found here among
// its neighbours.
func TestHalf(t *testing.T) {
	var values []float32
	for bits := range uint32(0x7c00) { // all that are finite and not negative, ascending
		v := Half(bits).Float32()
		values = append(values, v)
		for _, sign := range []Half{0, 0x8000} {
			if back, ok := ToHalf((Half(bits) | sign).Float32()); !ok || back != Half(bits)|sign {
				t.Fatalf("%#x: %v goes back to %#x", Half(bits)|sign, v, back)
			}
		}
	}
	for i := range len(values) - 1 {
		low, high := float64(values[i]), float64(values[i+1])
		middle := (low + high) / 2
		even := Half(i + i&1)
		for v, want := range map[float32]Half{
			float32(middle): even, math.Nextafter32(float32(middle), 0): Half(i), math.Nextafter32(float32(middle), math.MaxFloat32): Half(i + 1),
		} {
			if got, ok := ToHalf(v); !ok || got != want {
				t.Fatalf("%v between %v and %v: got %#x, want %#x", v, low, high, got, want)
			}
		}
	}
	for _, v := range []float32{65520, float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN()), -65520} {
		if h, ok := ToHalf(v); ok {
			t.Errorf("%v: got %#x", v, h)
		}
	}
	if h, ok := ToHalf(65519.996); !ok || h.Float32() != 65504 {
		t.Errorf("just below the overflow: %v %v", h, ok)
	}
}
