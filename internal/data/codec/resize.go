package codec

import (
	"fmt"
	"math"
)

// Filter is a resampling filter.
type Filter int

const (
	Bilinear Filter = iota
	Bicubic
)

// ParseFilter returns the filter with the given name, as timm's configurations write it.
func ParseFilter(name string) (Filter, error) {
	switch name {
	case "bilinear":
		return Bilinear, nil
	case "bicubic":
		return Bicubic, nil
	}
	return 0, fmt.Errorf("unknown interpolation %q: it is bilinear or bicubic", name)
}

func (f Filter) String() string {
	if f == Bicubic {
		return "bicubic"
	}
	return "bilinear"
}

// support is the distance from its centre at which the filter becomes zero, in input samples when enlarging.
func (f Filter) support() float64 {
	if f == Bicubic {
		return 2
	}
	return 1
}

// at evaluates the filter. Explicit conversions keep the compiler from fusing a product and a sum into one operation
// with one rounding, which some processors have: the weights would move by one unit.
func (f Filter) at(x float64) float64 {
	x = math.Abs(x)
	if f == Bilinear {
		return max(0, 1-x)
	}
	const a = -0.5 // Keys' cubic convolution
	switch {
	case x < 1:
		return float64(float64((float64((a+2)*x)-(a+3))*x)*x) + 1
	case x < 2:
		return float64((float64((float64((x-5)*x)+8)*x) - 4) * a)
	}
	return 0
}

// Fixed-point weights have 22 bits after the point: with 8 bits of the sample, one of sign and some headroom for the
// filter's negative lobes, the sums fit in 32 bits.
const precisionBits = 22

// loadSlack is how many bytes beyond the last pixel the vectorised horizontal pass may read: it takes a pixel of three
// bytes as a word of four.
const loadSlack = 1

// axis holds the weights along one axis for outputs [from, to) of a resize of n samples to m.
type axis struct {
	n, m, from, to int
	filter         Filter

	taps    int     // weights reserved per output
	first   []int32 // first input sample of each output
	count   []int32 // inputs per output
	weights []int32 // taps per output, the first count in use
	scratch []float64
}

// set computes the weights unless they are those of the last call.
func (a *axis) set(n, m, from, to int, f Filter) {
	if a.n == n && a.m == m && a.from == from && a.to == to && a.filter == f {
		return
	}
	scale := float64(n) / float64(m)
	stretch := max(scale, 1)
	support := f.support() * stretch
	inverse := 1 / stretch
	a.n, a.m, a.from, a.to, a.filter = n, m, from, to, f
	a.taps = int(math.Ceil(support))*2 + 1
	a.first, a.count, a.weights = a.first[:0], a.count[:0], a.weights[:0]
	for i := from; i < to; i++ {
		centre := float64((float64(i) + 0.5) * scale)
		low := max(0, int(centre-support+0.5))
		high := min(n, int(centre+support+0.5))
		w := a.scratch[:0]
		sum := 0.0
		for j := range high - low {
			v := f.at(float64((float64(j+low) - centre + 0.5) * inverse))
			w = append(w, v)
			sum += v
		}
		for _, v := range w {
			if sum != 0 {
				v /= sum
			}
			a.weights = append(a.weights, fixed(v))
		}
		for range a.taps - len(w) {
			a.weights = append(a.weights, 0)
		}
		a.first = append(a.first, int32(low))
		a.count = append(a.count, int32(high-low))
		a.scratch = w
	}
}

// fixed converts a weight to fixed point, rounding half away from zero.
func fixed(w float64) int32 {
	scaled := float64(w * (1 << precisionBits))
	if w < 0 {
		return int32(scaled - 0.5)
	}
	return int32(scaled + 0.5)
}

// inputs returns the range of input samples that the outputs read.
func (a *axis) inputs() (low, high int) {
	last := len(a.first) - 1
	return int(a.first[0]), int(a.first[last] + a.count[last]) // both ends grow with the output
}

// A Resizer resizes images, keeping weights and scratch memory between calls. It is used by one goroutine at a time.
type Resizer struct {
	horizontal, vertical axis
	narrowed             []byte // the result of the horizontal pass
	lastRow              []byte
}

// Resize computes the part of the resized image that starts at (left, top) and fills dst, where the whole of src is
// resized to width x height pixels. A side that does not change is copied, not filtered. src and dst must not overlap.
// It is an error if dst reaches beyond the resized image.
func (r *Resizer) Resize(dst, src Image, width, height, left, top int, f Filter) error {
	if err := src.check(); err != nil {
		return fmt.Errorf("resize source: %w", err)
	}
	if err := dst.check(); err != nil {
		return fmt.Errorf("resize destination: %w", err)
	}
	if left < 0 || top < 0 || left+dst.Width > width || top+dst.Height > height {
		return fmt.Errorf("resize: %dx%d pixels at (%d, %d) reach beyond the %dx%d image",
			dst.Width, dst.Height, left, top, width, height)
	}

	// Rows of src that the result needs, and where they start in it.
	low, high := top, top+dst.Height
	if height != src.Height {
		r.vertical.set(src.Height, height, top, top+dst.Height, f)
		low, high = r.vertical.inputs()
	}
	var columns Image
	switch {
	case width == src.Width:
		columns = src.Crop(left, low, dst.Width, high-low)
	case height == src.Height:
		columns = dst // the only pass writes where the result belongs
	default:
		columns = reuse(r.narrowed, dst.Width, high-low)
		r.narrowed = columns.Pixels
	}
	if width != src.Width {
		r.horizontal.set(src.Width, width, left, left+dst.Width, f)
		r.narrow(columns, src.Crop(0, low, src.Width, high-low))
	}
	switch {
	case height != src.Height:
		resizeVertical(dst, columns, &r.vertical, low)
	case width == src.Width:
		for y := range dst.Height {
			copy(dst.Pixels[y*dst.Stride:][:dst.Width*Channels], columns.Pixels[y*columns.Stride:])
		}
	}
	return nil
}

// narrow runs the horizontal pass over all rows. If src ends where its memory ends, the last row goes through a copy
// with the slack that the pass needs.
func (r *Resizer) narrow(dst, src Image) {
	if cap(src.Pixels)-len(src.Pixels) >= loadSlack {
		resizeHorizontal(dst, src, &r.horizontal)
		return
	}
	last := src.Height - 1
	if last > 0 {
		resizeHorizontal(dst.Crop(0, 0, dst.Width, last), src.Crop(0, 0, src.Width, last), &r.horizontal)
	}
	row := reuse(r.lastRow, src.Width, 1)
	r.lastRow = row.Pixels
	copy(row.Pixels, src.Pixels[last*src.Stride:])
	resizeHorizontal(dst.Crop(0, last, dst.Width, 1), row, &r.horizontal)
}
