package boundary

import (
	"context"
	"errors"
	"math"
	"slices"
	"testing"

	"sat/attacks"
	"sat/internal/rng"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// noise is n random images.
func noise(seed uint64, n, c, h, w int) attacks.Batch {
	x := attacks.NewBatch(n, c, h, w)
	rng.New(seed, "boundary tests").FillUniform(x.Pixels, 0, 1)
	return x
}

// gather serves images of a batch.
func gather(x attacks.Batch) Images {
	return func(_ context.Context, numbers []int) (attacks.Batch, error) {
		out := attacks.NewBatch(len(numbers), x.C, x.H, x.W)
		for k, i := range numbers {
			copy(out.Image(k), x.Image(i))
		}
		return out, nil
	}
}

// linear is a classifier with logits z_k = w_k·x, w drawn from seed.
func linear(seed uint64, classes int) attacks.LogitsFunc {
	return func(_ context.Context, x attacks.Batch) ([]float32, error) {
		size := x.C * x.H * x.W
		weights := make([]float32, classes*size)
		rng.New(seed, "linear model").FillUniform(weights, -1, 1)
		logits := make([]float32, x.N*classes)
		for i := range x.N {
			for k := range classes {
				sum := 0.0
				for j, v := range x.Image(i) {
					sum += float64(v) * float64(weights[k*size+j])
				}
				logits[i*classes+k] = float32(sum)
			}
		}
		return logits, nil
	}
}

// Specification 6.4: e1 and e2 are orthonormal in the space of the plane, and the three images lie at their coordinates.
func TestPlaneHoldsItsCorners(t *testing.T) {
	for _, std := range [][]float64{nil, {0.2, 0.5, 0.25}} {
		for seed := range uint64(50) {
			x := noise(seed, 3, 3, 5, 4)
			p, err := Span(x, std)
			must(t, err)
			v := p.View(x)
			var e11, e12, e22 float64
			for i := range v.e1 {
				g := 1.0
				if std != nil {
					g = 1 / (std[i/20] * std[i/20])
				}
				e11, e12, e22 = e11+g*v.e1[i]*v.e1[i], e12+g*v.e1[i]*v.e2[i], e22+g*v.e2[i]*v.e2[i]
			}
			if math.Abs(e11-1) > 1e-10 || math.Abs(e12) > 1e-10 || math.Abs(e22-1) > 1e-10 || p.H <= 0 {
				t.Errorf("seed %d, std %v: e1·e1 = %v, e1·e2 = %v, e2·e2 = %v, h = %v", seed, std, e11, e12, e22, p.H)
			}
			for k, at := range [][2]float64{{0, 0}, {p.U, 0}, {p.C, p.H}} {
				got := make([]float32, len(x.Image(k)))
				v.Point(got, at[0], at[1])
				for i, want := range x.Image(k) {
					if math.Abs(float64(got[i]-want)) > 1e-5 {
						t.Fatalf("seed %d, std %v: corner %d is %v at pixel %d, want %v", seed, std, k+1, got[i], i, want)
					}
				}
			}
		}
	}
}

// Swapping the second and the third image keeps the plane: a point of one lies in the other, at other coordinates.
func TestSwappedImagesSpanTheSamePlane(t *testing.T) {
	x := noise(7, 3, 3, 4, 4)
	swapped := gather(x)
	y, err := swapped(t.Context(), []int{0, 2, 1})
	must(t, err)
	p, err := Span(x, nil)
	must(t, err)
	q, err := Span(y, nil)
	must(t, err)
	if p == q {
		t.Fatalf("both planes have the coordinates %+v: the grids do not differ", p)
	}
	v, w := p.View(x), q.View(y)
	first, second := p.Axes(7, DefaultMargin)
	point := make([]float32, len(v.origin))
	for _, a := range first {
		for _, b := range second {
			v.Point(point, a, b)
			var c1, c2, norm, rest float64 // coordinates of the point in the other plane, and what is left over
			for i, value := range point {
				d := float64(value) - w.origin[i]
				c1, c2, norm = c1+d*w.e1[i], c2+d*w.e2[i], norm+d*d
			}
			if rest = norm - c1*c1 - c2*c2; math.Abs(rest) > 1e-5*max(norm, 1) {
				t.Errorf("point (%v, %v) is %v away from the other plane", a, b, math.Sqrt(rest))
			}
		}
	}
}

func TestDegenerateImages(t *testing.T) {
	x := noise(1, 3, 3, 2, 2)
	line := noise(1, 3, 3, 2, 2)
	for i := range line.Image(2) { // on the line through the first two
		line.Image(2)[i] = line.Image(0)[i] + 0.5*(line.Image(1)[i]-line.Image(0)[i])
	}
	same := noise(1, 3, 3, 2, 2)
	copy(same.Image(1), same.Image(0))
	third := noise(1, 3, 3, 2, 2)
	copy(third.Image(2), third.Image(0))
	for name, c := range map[string]struct {
		x    attacks.Batch
		want error
	}{"general": {x, nil}, "on a line": {line, ErrDegenerate}, "x1 = x2": {same, ErrDegenerate}, "x1 = x3": {third, ErrDegenerate}} {
		if _, err := Span(c.x, nil); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	for name, std := range map[string][]float64{"too few": {1}, "zero": {1, 0, 1}, "NaN": {1, 1, math.NaN()}} {
		if _, err := Span(x, std); err == nil || errors.Is(err, ErrDegenerate) {
			t.Errorf("std %s: %v", name, err)
		}
	}
	if _, err := Span(noise(1, 2, 3, 2, 2), nil); err == nil {
		t.Error("two images span a plane")
	}
}

// The grid is that of the specification: 2,500 points, both ends of a box that is a tenth wider at each end.
func TestAxes(t *testing.T) {
	for name, p := range map[string]Plane{"acute": {U: 2, C: 1, H: 3}, "x3 left of x1": {U: 2, C: -1, H: 0.5}, "x3 right of x2": {U: 2, C: 5, H: 1}} {
		first, second := p.Axes(DefaultGrid, DefaultMargin)
		low, high := min(0, p.C), max(p.U, p.C)
		for axis, c := range map[string]struct {
			got       []float64
			low, high float64
		}{
			"first":  {first, low - 0.1*(high-low), high + 0.1*(high-low)},
			"second": {second, -0.1 * p.H, 1.1 * p.H},
		} {
			if len(c.got) != 50 || math.Abs(c.got[0]-c.low) > 1e-12 || math.Abs(c.got[49]-c.high) > 1e-12 {
				t.Errorf("%s, %s axis: %d points from %v to %v, want 50 from %v to %v", name, axis, len(c.got), c.got[0], c.got[49], c.low, c.high)
			}
			for i := 1; i < 50; i++ {
				if step := c.got[i] - c.got[i-1]; math.Abs(step-(c.high-c.low)/49) > 1e-12 {
					t.Errorf("%s, %s axis: step %d is %v", name, axis, i, step)
				}
			}
		}
	}
}

// Points do not depend on how they are cut into batches, go beyond [0,1], and run along the second axis first.
func TestPointsInAnyBatches(t *testing.T) {
	o := Options{Grid: 6, Margin: 0.4}
	var planes []Plane
	var corners []attacks.Batch
	for seed := range uint64(3) {
		x := noise(seed, 3, 3, 3, 3)
		p, err := Span(x, nil)
		must(t, err)
		planes, corners = append(planes, p), append(corners, x)
	}
	corner := func(_ context.Context, k int) (attacks.Batch, error) { return corners[k], nil }
	read := func(batch int) []float32 {
		points, err := NewPoints(planes, corner, o)
		must(t, err)
		var all []float32
		for from := 0; from < points.Len(); from += batch {
			x, err := points.Read(t.Context(), from, min(from+batch, points.Len()))
			must(t, err)
			all = append(all, x.Pixels...)
		}
		return all
	}
	whole := read(3 * 36)
	if low, high := slices.Min(whole), slices.Max(whole); low >= 0 || high <= 1 {
		t.Errorf("points lie in [%v, %v]: they seem to be clipped", low, high)
	}
	for _, batch := range []int{1, 5, 36} {
		if !slices.Equal(read(batch), whole) {
			t.Errorf("batches of %d give other points", batch)
		}
	}
	first, second := planes[1].Axes(o.Grid, o.Margin)
	want := make([]float32, 27)
	planes[1].View(corners[1]).Point(want, first[4], second[2])
	if got := whole[(36+4*6+2)*27:][:27]; !slices.Equal(got, want) {
		t.Error("point 4*6+2 of the second plane is not at (first[4], second[2])")
	}
}

func TestDraw(t *testing.T) {
	x := noise(1, 30, 3, 3, 3)
	labels := make([]int64, 30)
	candidates := make([]int, 30)
	for i := range labels {
		labels[i], candidates[i] = int64(i%4), i
	}
	o := Defaults()
	o.Seed = 100
	seen := map[[3]int]bool{}
	counts := make([]int, 30)
	for r := range 2000 {
		a, err := Draw(t.Context(), gather(x), labels, candidates, r, o)
		must(t, err)
		l := [3]int64{labels[a.Images[0]], labels[a.Images[1]], labels[a.Images[2]]}
		if l[0] == l[1] || l[0] == l[2] || l[1] == l[2] {
			t.Fatalf("triplet %d: labels %v", r, l)
		}
		for _, i := range a.Images {
			counts[i]++
		}
		seen[a.Images] = true
	}
	if len(seen) < 1700 {
		t.Errorf("2000 triplets, only %d different ones", len(seen))
	}
	for i, n := range counts { // 200 expected, standard deviation 14
		if n < 130 || n > 270 {
			t.Errorf("image %d was drawn %d times of 6000, about 200 expected", i, n)
		}
	}
	// Triplet r of seed s is triplet 0 of seed s+r.
	a, err := Draw(t.Context(), gather(x), labels, candidates, 7, o)
	must(t, err)
	o.Seed += 7
	b, err := Draw(t.Context(), gather(x), labels, candidates, 0, o)
	must(t, err)
	if a.Images != b.Images || a.Plane != b.Plane {
		t.Errorf("triplet 7 of seed 100 is %v, triplet 0 of seed 107 %v", a, b)
	}
	only, err := Draw(t.Context(), gather(x), labels, []int{3, 9, 10, 14}, 0, o)
	must(t, err)
	for _, i := range only.Images {
		if !slices.Contains([]int{3, 9, 10, 14}, i) {
			t.Errorf("image %d is no candidate", i)
		}
	}
	for name, candidates := range map[string][]int{"two labels": {0, 1, 4, 5}, "none": nil, "unknown": {0, 1, 2, 30}} {
		if _, err := Draw(t.Context(), gather(x), labels, candidates, 0, o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// A degenerate triplet is replaced; images that are all alike are an error and not an endless loop.
func TestDrawRedrawsDegenerateTriplets(t *testing.T) {
	x := noise(1, 6, 3, 2, 2)
	copy(x.Image(1), x.Image(0)) // labels 0 and 1: every triplet with both is degenerate
	labels := []int64{0, 1, 2, 3, 4, 5}
	all := []int{0, 1, 2, 3, 4, 5}
	redrawn := 0
	for r := range 100 {
		d, err := Draw(t.Context(), gather(x), labels, all, r, Defaults())
		must(t, err)
		redrawn += d.Redrawn
		if slices.Contains(d.Images[:], 0) && slices.Contains(d.Images[:], 1) {
			t.Errorf("triplet %d is degenerate: %v", r, d.Images)
		}
	}
	if redrawn < 5 || redrawn > 60 { // a fifth of all triplets hold both
		t.Errorf("%d triplets of 100 were drawn again, about 25 expected", redrawn)
	}
	if _, err := Draw(t.Context(), gather(attacks.NewBatch(6, 3, 2, 2)), labels, all, 0, Defaults()); !errors.Is(err, ErrDegenerate) {
		t.Errorf("six black images: %v", err)
	}
}

// study returns the class maps of a model on some planes.
func study(t *testing.T, model attacks.LogitsFunc, batch int) [][]int32 {
	t.Helper()
	o := Options{Grid: 20, Margin: DefaultMargin}
	var planes []Plane
	for seed := range uint64(4) {
		p, err := Span(noise(seed, 3, 3, 3, 3), nil)
		must(t, err)
		planes = append(planes, p)
	}
	points, err := NewPoints(planes, func(_ context.Context, k int) (attacks.Batch, error) { return noise(uint64(k), 3, 3, 3, 3), nil }, o)
	must(t, err)
	maps, err := ClassMaps(t.Context(), model, points, batch, nil)
	must(t, err)
	return maps
}

func total(t *testing.T, a, b [][]int32) int {
	t.Helper()
	equal, err := Agree(a, b)
	must(t, err)
	sum := 0
	for _, n := range equal {
		sum += n
	}
	return sum
}

// Specification 6.4: a model agrees with itself everywhere, constant models agree everywhere, agreement is symmetric.
func TestAgreement(t *testing.T) {
	a, b := study(t, linear(1, 5), 64), study(t, linear(2, 5), 64)
	points := 4 * 20 * 20
	if got := total(t, a, study(t, linear(1, 5), 7)); got != points {
		t.Errorf("a model agrees with itself on %d of %d points", got, points)
	}
	ab, ba := total(t, a, b), total(t, b, a)
	if ab != ba || ab == 0 || ab == points {
		t.Errorf("two models agree on %d points, the other way round on %d, of %d", ab, ba, points)
	}
	constant := func(class int) attacks.LogitsFunc {
		return func(_ context.Context, x attacks.Batch) ([]float32, error) {
			logits := make([]float32, 3*x.N)
			for i := range x.N {
				logits[3*i+class] = 1
			}
			return logits, nil
		}
	}
	if got := total(t, study(t, constant(1), 64), study(t, constant(1), 64)); got != points {
		t.Errorf("constant models agree on %d of %d points", got, points)
	}
	if got := total(t, study(t, constant(1), 64), study(t, constant(2), 64)); got != 0 {
		t.Errorf("different constant models agree on %d points", got)
	}
	if _, err := Agree(a, b[:3]); err == nil {
		t.Error("maps of 4 and 3 planes are compared")
	}
}

// For two linear models of two classes whose boundary crosses the plane in known lines, agreement is a matter of counting:
// here model A splits the box at a = U/2, and B never splits it.
func TestAgreementClosedForm(t *testing.T) {
	x := attacks.NewBatch(3, 1, 1, 3)
	copy(x.Pixels, []float32{0, 0, 0, 1, 0, 0, 0, 1, 0}) // x1 the origin, e1 and e2 the first two pixels
	p, err := Span(x, nil)
	must(t, err)
	if p != (Plane{U: 1, C: 0, H: 1}) {
		t.Fatalf("plane %+v", p)
	}
	points, err := NewPoints([]Plane{p}, func(context.Context, int) (attacks.Batch, error) { return x, nil }, Defaults())
	must(t, err)
	split := func(threshold float32) attacks.LogitsFunc {
		return func(_ context.Context, x attacks.Batch) ([]float32, error) {
			var logits []float32
			for i := range x.N {
				logits = append(logits, threshold, x.Image(i)[0])
			}
			return logits, nil
		}
	}
	a, err := ClassMaps(t.Context(), split(0.5), points, 100, nil)
	must(t, err)
	b, err := ClassMaps(t.Context(), split(10), points, 100, nil)
	must(t, err)
	if got := total(t, a, b); got != 1250 {
		t.Errorf("the models agree on %d points, want one half, 1250", got)
	}
	for i, class := range a[0] { // the first axis is the slow one
		if want := int32(i / 1250); class != want {
			t.Fatalf("point %d has class %d, want %d", i, class, want)
		}
	}
}

func TestClassMapsStops(t *testing.T) {
	points, err := NewPoints([]Plane{{1, 0, 1}}, func(context.Context, int) (attacks.Batch, error) { return noise(1, 3, 1, 1, 3), nil }, Defaults())
	must(t, err)
	nan := func(_ context.Context, x attacks.Batch) ([]float32, error) {
		return slices.Repeat([]float32{float32(math.NaN())}, 2*x.N), nil
	}
	if _, err := ClassMaps(t.Context(), nan, points, 10, nil); err == nil {
		t.Error("NaN logits became classes")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := ClassMaps(ctx, linear(1, 3), points, 10, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("after an interrupt: %v", err)
	}
	for name, o := range map[string]Options{"one point": {Grid: 1}, "negative": {Grid: 5, Margin: -1}, "NaN": {Grid: 5, Margin: math.NaN()}} {
		if _, err := NewPoints(nil, nil, o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
