package attacks

import (
	"math"
	"testing"
)

// On a linear model the boundary is the hyperplane itself, so the nearest misclassified point of the box is known: FAB
// comes within its overshoot of it.
func TestFABFindsTheNearestPointOfALinearModel(t *testing.T) {
	m := newMLP(9, 40, 0, 2, 0.3)
	x := images(8, 6, 1, 8, 5)
	y, ids := predictions(t, m, x), names(6)
	for _, norm := range []Norm{Linf, L2} {
		for i := range x.N {
			w, difference := make([]float32, 40), m.b[1-y[i]]-m.b[y[i]]
			for j, v := range x.Image(i) {
				up := m.v[(1-y[i])*40+int64(j)] - m.v[y[i]*40+int64(j)]
				w[j] = float32(up)
				difference += up * float64(v)
			}
			d := make([]float32, 40)
			project(d, x.Image(i), w, difference, norm)
			nearest := lengthOf(d, norm)
			for _, c := range []struct {
				share  float64
				fooled bool
			}{{0.99, false}, {1.06, true}} {
				f := DefaultFAB()
				f.Norm, f.Epsilon, f.Steps = norm, nearest*c.share, 30
				r := run(t, f, m, x.Slice(i, i+1), y[i:i+1], ids[i:i+1])
				if r.Fooled[0] != c.fooled {
					t.Errorf("%v, image %d, nearest point at %v: fooled within %v of that: %v", norm, i, nearest, c.share, r.Fooled[0])
				}
			}
		}
	}
}

// Without a gradient there is no hyperplane to go to: the image stays and counts.
func TestFABWithoutGradients(t *testing.T) {
	m, x, y, ids := problem(t)
	flat := &broken{Model: m, grad: func(_ int, g Gradient) { clear(g.Pixels) }}
	f := DefaultFAB()
	f.Steps, f.Epsilon = 3, 1
	r := run(t, f, flat, x, y, ids)
	if r.ZeroGradImages != 5 || bitsDiffer(r.Adversarial.Pixels, x.Pixels) >= 0 {
		t.Errorf("%d of 5 images counted", r.ZeroGradImages)
	}
}

// The point kept is the nearest one, and the walk goes on from nine tenths of it.
func TestFABKeepsTheNearest(t *testing.T) {
	x := Batch{Pixels: []float32{0.5, 0.5}, N: 1, C: 1, H: 1, W: 2}
	w := walk{FAB: DefaultFAB(), victims: victims{x: x}, found: NewBatch(1, 1, 1, 2), distance: []float32{float32(math.Inf(1))}}
	for _, c := range []struct{ move, want float32 }{{0.25, 0.25}, {0.375, 0.25}, {0.125, 0.125}} {
		adv := []float32{0.5, 0.5 - c.move}
		w.keep(0, adv)
		if w.distance[0] != c.want || w.found.Pixels[1] != 0.5-c.want {
			t.Errorf("after a move of %v: distance %v, image %v", c.move, w.distance[0], w.found.Pixels)
		}
		if want := float32(0.5 - c.move*0.9); math.Abs(float64(adv[1]-want)) > 1e-7 {
			t.Errorf("after a move of %v the walk goes on at %v, want %v", c.move, adv[1], want)
		}
	}
}
