package data

import (
	"fmt"
	"math"

	"sat/internal/data/codec"
)

// maxSide bounds input sizes, so that a mistyped one is an error and not an attempt to allocate.
const maxSide = 1 << 14

// EvalTransform is the preprocessing of one network: resize of the short side, then the centre crop. See doc.go.
type EvalTransform struct {
	Size   int // side of the network's square input
	Short  int // length to which the short side is resized
	Filter codec.Filter
}

// NewEvalTransform returns the transform for a network that was trained for size x size pixels, crop fraction cropPct
// and interpolation "bilinear" or "bicubic".
func NewEvalTransform(size int, cropPct float64, interpolation string) (EvalTransform, error) {
	filter, err := codec.ParseFilter(interpolation)
	if err != nil {
		return EvalTransform{}, err
	}
	if size <= 0 || size > maxSide {
		return EvalTransform{}, fmt.Errorf("input size %d is not in 1..%d", size, maxSide)
	}
	short := math.Floor(float64(size) / cropPct)
	if !(cropPct > 0) || !(short >= 1 && short <= maxSide) {
		return EvalTransform{}, fmt.Errorf("crop_pct %v with input size %d resizes the short side to %v pixels, which is not in 1..%d",
			cropPct, size, short, maxSide)
	}
	return EvalTransform{Size: size, Short: int(short), Filter: filter}, nil
}

// resized returns the size to which a width x height image is resized.
func (t EvalTransform) resized(width, height int) (int, int) {
	short, long := min(width, height), max(width, height)
	long = int(float64(t.Short*long) / float64(short)) // multiplied first, truncated
	if width <= height {
		return t.Short, long
	}
	return long, t.Short
}

// centre returns where along one side of n pixels the crop reads and writes: it takes length pixels from position
// from and puts them at position to of the result; what it does not cover stays black.
func (t EvalTransform) centre(n int) (from, to, length int) {
	if n < t.Size {
		return 0, (t.Size - n) / 2, n
	}
	return int(math.RoundToEven(float64(n-t.Size) / 2)), 0, t.Size
}

// Apply writes the transformed image to dst, Size*Size*3 bytes, NHWC.
func (t EvalTransform) Apply(dst []byte, src codec.Image, r *codec.Resizer) error {
	out := codec.Image{Pixels: dst, Width: t.Size, Height: t.Size, Stride: t.Size * codec.Channels}
	width, height := t.resized(src.Width, src.Height)
	left, x, w := t.centre(width)
	top, y, h := t.centre(height)
	if w < t.Size || h < t.Size {
		clear(dst)
	}
	return r.Resize(out.Crop(x, y, w, h), src, width, height, left, top, t.Filter)
}
