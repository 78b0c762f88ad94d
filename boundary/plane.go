package boundary

import (
	"errors"
	"fmt"
	"math"

	"sat/attacks"
)

// The original's constants, and the lengths below which three images span no plane.
const (
	DefaultGrid   = 50
	DefaultMargin = 0.1

	shortest = 1e-6 // of |u|
	flattest = 1e-6 // of h/|v|
)

// ErrDegenerate marks three images that span no plane: two are equal, or all are on one line.
var ErrDegenerate = errors.New("the three images span no plane")

// Plane holds the coordinates of three images in the plane that they span: x1 = (0,0), x2 = (U,0), x3 = (C,H).
type Plane struct {
	U float64 `json:"u"`
	C float64 `json:"c"`
	H float64 `json:"h"`
}

// Span returns the plane through the three images of x. std, one number per channel, measures lengths in the space of
// images divided by it; nil is pixel space. Images that span no plane are ErrDegenerate.
func Span(x attacks.Batch, std []float64) (Plane, error) {
	weights, err := weights(x, std)
	if err != nil {
		return Plane{}, err
	}
	x1, x2, x3 := x.Image(0), x.Image(1), x.Image(2)
	area := x.H * x.W
	var uu, uv, vv float64
	for i := range x1 {
		u, v := float64(x2[i])-float64(x1[i]), float64(x3[i])-float64(x1[i])
		g := weights[i/area]
		uu += g * u * u
		uv += g * u * v
		vv += g * v * v
	}
	length := math.Sqrt(uu)
	if !(length >= shortest) {
		return Plane{}, ErrDegenerate
	}
	p := Plane{U: length, C: uv / length}
	var ww float64 // of v - c·e1 itself: uu·vv - uv² would cancel
	for i := range x1 {
		u, v := float64(x2[i])-float64(x1[i]), float64(x3[i])-float64(x1[i])
		w := v - p.C*(u/length)
		ww += weights[i/area] * w * w
	}
	p.H = math.Sqrt(ww)
	if !(p.H >= flattest*math.Sqrt(vv)) || p.H == 0 {
		return Plane{}, ErrDegenerate
	}
	return p, nil
}

// weights returns the factor of a squared difference in each channel.
func weights(x attacks.Batch, std []float64) ([]float64, error) {
	if x.N != 3 || len(x.Pixels) != 3*x.C*x.H*x.W || x.C*x.H*x.W == 0 {
		return nil, fmt.Errorf("a plane of %d images %dx%dx%d with %d pixels in all: want three", x.N, x.C, x.H, x.W, len(x.Pixels))
	}
	out := make([]float64, x.C)
	for c := range out {
		out[c] = 1
	}
	if std == nil {
		return out, nil
	}
	if len(std) != x.C {
		return nil, fmt.Errorf("%d standard deviations for images of %d channels", len(std), x.C)
	}
	for c, s := range std {
		if !(s > 0) || math.IsInf(s, 0) {
			return nil, fmt.Errorf("standard deviation of channel %d is %v, want a finite number > 0", c, s)
		}
		out[c] = 1 / (s * s)
	}
	return out, nil
}

// Axes returns the n coordinates of the grid along each axis: the box about the three images, widened at both ends by
// margin times its length.
func (p Plane) Axes(n int, margin float64) (first, second []float64) {
	widened := func(low, high float64) []float64 {
		extra := margin * (high - low)
		return linspace(low-extra, high+extra, n)
	}
	return widened(min(0, p.C), max(p.U, p.C)), widened(0, p.H)
}

// linspace returns n evenly spaced numbers, both ends included, rounded as NumPy rounds them.
func linspace(low, high float64, n int) []float64 {
	out := make([]float64, n)
	step := (high - low) / float64(n-1)
	for i := range out {
		out[i] = float64(float64(i)*step) + low
	}
	out[n-1] = high
	return out
}

// View is a plane as one model sees it: through three images of its size.
type View struct {
	origin, e1, e2 []float64
}

// View puts the plane through the three images x, the plane's own or resized ones.
func (p Plane) View(x attacks.Batch) View {
	x1, x2, x3 := x.Image(0), x.Image(1), x.Image(2)
	v := View{make([]float64, len(x1)), make([]float64, len(x1)), make([]float64, len(x1))}
	for i := range x1 {
		origin := float64(x1[i])
		e1 := (float64(x2[i]) - origin) / p.U
		v.origin[i], v.e1[i] = origin, e1
		v.e2[i] = (float64(x3[i]) - origin - float64(p.C*e1)) / p.H
	}
	return v
}

// Point writes the image at (a,b) to dst. Every operation is rounded on its own, on every kind of processor.
func (v View) Point(dst []float32, a, b float64) {
	row := make([]float64, len(v.origin))
	v.row(row, a)
	v.along(dst, row, b)
}

// row writes x1 + a·e1, which the points of one row of the grid share.
func (v View) row(dst []float64, a float64) {
	e1 := v.e1[:len(dst)]
	for i, origin := range v.origin[:len(dst)] {
		dst[i] = origin + float64(a*e1[i])
	}
}

// along writes row + b·e2, in float32.
func (v View) along(dst []float32, row []float64, b float64) {
	row, e2 := row[:len(dst)], v.e2[:len(dst)]
	for i := range dst {
		dst[i] = float32(row[i] + float64(b*e2[i]))
	}
}
