package torch

import (
	"errors"
	"fmt"
	"unsafe"
)

// tensorInfo is what the border tells about a tensor.
type tensorInfo struct {
	shape  []int
	dtype  DType
	device Device
}

func (t Tensor) info(op string) (tensorInfo, error) {
	h, err := t.use(op)
	if err != nil {
		return tensorInfo{}, err
	}
	return borderTensorInfo(h)
}

// Valid reports whether t refers to a live array.
func (t Tensor) Valid() bool { return t.e != nil && t.e.handle != nil }

// Shape returns the extents, or nil when t is not valid. The shape of a single number is empty, not nil.
func (t Tensor) Shape() []int {
	info, err := t.info("shape")
	if err != nil {
		return nil
	}
	return info.shape
}

// DType returns the element type; of a tensor that is not valid, -1.
func (t Tensor) DType() DType {
	info, err := t.info("dtype")
	if err != nil {
		return -1
	}
	return info.dtype
}

// Device returns where t lives; of a tensor that is not valid, the CPU.
func (t Tensor) Device() Device {
	info, err := t.info("device")
	if err != nil {
		return CPU
	}
	return info.device
}

// Item returns the only element of t as a float64.
func (t Tensor) Item() (float64, error) {
	h, err := t.use("item")
	if err != nil {
		return 0, err
	}
	v, err := borderTensorItem(h)
	if err != nil {
		return 0, fmt.Errorf("item%s: %w", shapes([]Tensor{t}), err)
	}
	return v, nil
}

// HasNonFinite reports whether t holds a NaN or an infinity. It costs one pass over t and copies one number.
func (t Tensor) HasNonFinite() (bool, error) {
	h, err := t.use("has non-finite")
	if err != nil {
		return false, err
	}
	return borderTensorNonFinite(h)
}

// Float32s copies t, which must hold float32, out in row-major order.
func (t Tensor) Float32s() ([]float32, error) { return copyOut[float32](t, Float32) }

// Float64s copies t, which must hold float64, out in row-major order.
func (t Tensor) Float64s() ([]float64, error) { return copyOut[float64](t, Float64) }

// Int64s copies t, which must hold int64, out in row-major order.
func (t Tensor) Int64s() ([]int64, error) { return copyOut[int64](t, Int64) }

// Int32s copies t, which must hold int32, out in row-major order.
func (t Tensor) Int32s() ([]int32, error) { return copyOut[int32](t, Int32) }

// Uint8s copies t, which must hold uint8, out in row-major order.
func (t Tensor) Uint8s() ([]uint8, error) { return copyOut[uint8](t, Uint8) }

// CopyFloat32s is Float32s into dst, which must have exactly the elements of t.
func (t Tensor) CopyFloat32s(dst []float32) error {
	info, err := t.info("copy out")
	if err != nil {
		return err
	}
	return copyInto(t, info, dst, Float32)
}

type element interface {
	float32 | float64 | int64 | int32 | uint8
}

func copyOut[T element](t Tensor, dtype DType) ([]T, error) {
	info, err := t.info("copy out")
	if err != nil {
		return nil, err
	}
	dst := make([]T, elements(info.shape))
	if err := copyInto(t, info, dst, dtype); err != nil {
		return nil, err
	}
	return dst, nil
}

func copyInto[T element](t Tensor, info tensorInfo, dst []T, dtype DType) error {
	if info.dtype != dtype {
		return fmt.Errorf("copy out: the tensor holds %s, not %s", info.dtype, dtype)
	}
	if n := elements(info.shape); n != len(dst) {
		return fmt.Errorf("copy out: %d elements of a tensor %s into a slice of %d", n, shapeText(info.shape), len(dst))
	}
	if len(dst) == 0 {
		return nil
	}
	h, err := t.use("copy out")
	if err != nil {
		return err
	}
	if err := borderTensorCopyOut(h, dtype, unsafe.Pointer(unsafe.SliceData(dst)), len(dst)*dtype.size()); err != nil {
		return fmt.Errorf("copy out %s: %w", shapeText(info.shape), err)
	}
	return nil
}

func fromSlice[T element](s *Scope, dtype DType, data []T, shape []int) Tensor {
	op := "from " + dtype.String()
	if err := s.ready(op); err != nil {
		return s.fail(err)
	}
	n, err := checkedElements(shape)
	if err != nil {
		return s.fail(fmt.Errorf("%s: %w", op, err))
	}
	if n != len(data) {
		return s.fail(fmt.Errorf("%s: shape %s needs %d elements, the slice has %d", op, shapeText(shape), n, len(data)))
	}
	h, err := borderTensorFromData(unsafe.Pointer(unsafe.SliceData(data)), dtype, shape)
	if err != nil {
		return s.fail(fmt.Errorf("%s %s: %w", op, shapeText(shape), err))
	}
	return s.adopt(op, h)
}

// checkedElements is the product of shape, refused when an extent is negative or the product overflows.
func checkedElements(shape []int) (int, error) {
	n := 1
	for _, d := range shape {
		if d < 0 {
			return 0, fmt.Errorf("shape %s has a negative extent", shapeText(shape))
		}
		if d > 0 && n > (1<<62)/d {
			return 0, errors.New("shape " + shapeText(shape) + " has too many elements")
		}
		n *= d
	}
	return n, nil
}

// FromFloat32 copies data, in row-major order, into a new tensor on the CPU.
func (s *Scope) FromFloat32(data []float32, shape ...int) Tensor {
	return fromSlice(s, Float32, data, shape)
}

// FromFloat64 is FromFloat32 for float64.
func (s *Scope) FromFloat64(data []float64, shape ...int) Tensor {
	return fromSlice(s, Float64, data, shape)
}

// FromInt64 is FromFloat32 for int64.
func (s *Scope) FromInt64(data []int64, shape ...int) Tensor { return fromSlice(s, Int64, data, shape) }

// FromUint8 is FromFloat32 for uint8.
func (s *Scope) FromUint8(data []uint8, shape ...int) Tensor { return fromSlice(s, Uint8, data, shape) }

// Full returns a float32 tensor on the CPU with every element v.
func (s *Scope) Full(v float64, shape ...int) Tensor {
	if err := s.ready("full"); err != nil {
		return s.fail(err)
	}
	if _, err := checkedElements(shape); err != nil {
		return s.fail(fmt.Errorf("full: %w", err))
	}
	h, err := borderTensorFull(v, Float32, shape)
	if err != nil {
		return s.fail(fmt.Errorf("full %s: %w", shapeText(shape), err))
	}
	return s.adopt("full", h)
}

// Zeros is Full with 0.
func (s *Scope) Zeros(shape ...int) Tensor { return s.Full(0, shape...) }

// Ones is Full with 1.
func (s *Scope) Ones(shape ...int) Tensor { return s.Full(1, shape...) }
