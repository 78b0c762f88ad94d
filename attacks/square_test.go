package attacks

import (
	"context"
	"math"
	"testing"
)

// Sides for 32x32 images by the definition, and that rounding is to even: sqrt(0.8/16*125) = 2.5.
func TestSquareSides(t *testing.T) {
	for _, c := range []struct {
		norm     Norm
		h, w, it int
		want     int
	}{
		{Linf, 32, 32, 0, 29}, {Linf, 32, 32, 10, 29}, {Linf, 32, 32, 11, 20}, {Linf, 32, 32, 50, 20}, {Linf, 32, 32, 51, 14},
		{Linf, 32, 32, 200, 14}, {Linf, 32, 32, 201, 10}, {Linf, 32, 32, 501, 7}, {Linf, 32, 32, 1001, 5},
		{Linf, 32, 32, 2001, 4}, {Linf, 32, 32, 4001, 3}, {Linf, 32, 32, 6001, 2}, {Linf, 32, 32, 8001, 1},
		{Linf, 5, 25, 501, 2}, {Linf, 4, 40, 0, 4}, {Linf, 1, 1, 9000, 1},
		{L2, 32, 32, 0, 29}, {L2, 32, 32, 11, 21}, {L2, 32, 32, 9000, 3}, {L2, 6, 6, 0, 5}, {L2, 6, 7, 0, 6},
	} {
		s := search{Square: DefaultSquare(), victims: victims{x: NewBatch(1, 1, c.h, c.w)}}
		s.Norm = c.norm
		if got := s.side(c.it); got != c.want {
			t.Errorf("%v, %dx%d, query %d: side %d, want %d", c.norm, c.h, c.w, c.it, got, c.want)
		}
	}
}

// margins counts queries about one image and remembers its margins.
type margins struct {
	Model
	y       int64
	queries int
	asked   []float64
}

func (m *margins) Logits(ctx context.Context, x Batch) ([]float32, error) {
	z, err := m.Model.Logits(ctx, x)
	m.queries++
	m.asked = append(m.asked, margin(z, m.y))
	return z, err
}

// A robust image is asked about 1 + Queries times, plus once clean, once at the end and once for the result; one that falls
// is not asked about any more.
func TestSquareStopsAtSuccess(t *testing.T) {
	m, x, y, ids := problem(t)
	for _, norm := range []Norm{Linf, L2} {
		q := DefaultSquare()
		q.Norm, q.Queries, q.Epsilon = norm, 40, 1e-7
		w := &margins{Model: m, y: y[0]}
		if r := run(t, q, w, x.Slice(0, 1), y[:1], ids[:1]); r.Fooled[0] || w.queries != 4+q.Queries {
			t.Errorf("%v: robust image: fooled %v after %d queries", norm, r.Fooled[0], w.queries)
		}
		q.Queries, q.Epsilon = 2000, 0.2
		if norm == L2 {
			q.Epsilon = 2
		}
		w = &margins{Model: m, y: y[0]}
		if r := run(t, q, w, x.Slice(0, 1), y[:1], ids[:1]); !r.Fooled[0] || w.queries > 200 || w.asked[len(w.asked)-3] > 0 {
			t.Errorf("%v: fooled %v after %d queries, margins %v", norm, r.Fooled[0], w.queries, w.asked[max(0, len(w.asked)-4):])
		}
	}
}

// The margin of the image kept never rises.
func TestSquareOnlyImproves(t *testing.T) {
	m, x, y, ids := problem(t)
	for _, norm := range []Norm{Linf, L2} {
		v, _, err := newVictims(context.Background(), m, x, y, ids)
		if err != nil {
			t.Fatal(err)
		}
		q := DefaultSquare()
		q.Norm, q.Queries, q.Epsilon = norm, 80, 0.02
		if norm == L2 {
			q.Epsilon = 0.2
		}
		s := search{Square: q, victims: v, model: m, sources: make([]uniform, x.N)}
		for k := range s.sources {
			s.sources[k] = newDraws(Keyed, 3, "test").of(0, ids[k])
		}
		var before []float32
		improved := 0
		err = s.run(context.Background(), func(int) {
			for k, now := range s.margin {
				if before != nil && now > before[k] {
					t.Fatalf("%v, image %d: margin rose from %v to %v", norm, k, before[k], now)
				}
				if before != nil && now < before[k] {
					improved++
				}
			}
			before = append(before[:0], s.margin...)
		})
		if err != nil || improved < 10 {
			t.Errorf("%v: %d improvements, %v", norm, improved, err)
		}
		logits, err := m.Logits(context.Background(), s.best)
		if err != nil {
			t.Fatal(err)
		}
		for k := range s.margin {
			if got := float32(margin(logits[k*5:(k+1)*5], y[k])); got != s.margin[k] {
				t.Errorf("%v, image %d: margin of the image kept is %v, remembered %v", norm, k, got, s.margin[k])
			}
		}
	}
}

// The pattern of the L2 attack has length 1, one half positive and the other its mirror in sign; transposing turns it.
func TestBumps(t *testing.T) {
	for _, side := range []int{1, 2, 3, 5, 8, 29} {
		eta, turned := bumps(side, false), bumps(side, true)
		if length := norm2(eta); math.Abs(length-1) > 1e-6 {
			t.Errorf("side %d: length %v", side, length)
		}
		for row := range side {
			for col := range side {
				v := eta[row*side+col]
				if (row < side/2) != (v > 0) || v == 0 {
					t.Fatalf("side %d, row %d, column %d: %v", side, row, col, v)
				}
				if turned[col*side+row] != v {
					t.Fatalf("side %d: transposed, row %d, column %d: %v, want %v", side, col, row, turned[col*side+row], v)
				}
			}
		}
	}
}

// By hand, 3x3: the upper half is one row whose rectangle r covers columns within r-1 of the middle, so its values are
// 1/1+1/4 in the middle and 1/4 beside it; the lower half is two rows.
func TestHillByHand(t *testing.T) {
	got := hill(1, 3)
	want := []float64{0.25, 1.25, 0.25}
	length := math.Sqrt(2*0.25*0.25 + 1.25*1.25)
	for j := range want {
		if math.Abs(float64(got[j])-want[j]/length) > 1e-6 {
			t.Errorf("cell %d: got %v, want %v", j, got[j], want[j]/length)
		}
	}
}
