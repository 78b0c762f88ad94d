package torch

import "fmt"

// Operation codes of the C border (st_unary, st_binary, st_reduce).
const (
	unarySign = iota
	unaryAbs
	unarySqrt
	unaryExp
	unaryLog
)

const (
	binaryAdd = iota
	binarySub
	binaryMul
	binaryDiv
)

const (
	reduceSum = iota
	reduceMean
	reduceMax
	reduceNorm
)

func (s *Scope) unary(name string, code int, t Tensor) Tensor {
	return s.run(name, func(h []tensorHandle) (tensorHandle, error) { return borderUnary(code, h[0]) }, t)
}

func (s *Scope) binary(name string, code int, a, b Tensor) Tensor {
	return s.run(name, func(h []tensorHandle) (tensorHandle, error) { return borderBinary(code, h[0], h[1]) }, a, b)
}

// Add returns a + b with broadcasting.
func (s *Scope) Add(a, b Tensor) Tensor { return s.binary("add", binaryAdd, a, b) }

// Sub returns a - b with broadcasting.
func (s *Scope) Sub(a, b Tensor) Tensor { return s.binary("sub", binarySub, a, b) }

// Mul returns the element-wise product with broadcasting.
func (s *Scope) Mul(a, b Tensor) Tensor { return s.binary("mul", binaryMul, a, b) }

// Div returns the element-wise quotient with broadcasting.
func (s *Scope) Div(a, b Tensor) Tensor { return s.binary("div", binaryDiv, a, b) }

// AddScalar returns t + v.
func (s *Scope) AddScalar(t Tensor, v float64) Tensor {
	return s.run("add scalar", func(h []tensorHandle) (tensorHandle, error) {
		return borderBinaryScalar(binaryAdd, h[0], v)
	}, t)
}

// MulScalar returns t * v.
func (s *Scope) MulScalar(t Tensor, v float64) Tensor {
	return s.run("mul scalar", func(h []tensorHandle) (tensorHandle, error) {
		return borderBinaryScalar(binaryMul, h[0], v)
	}, t)
}

// Clamp limits every element to [lo, hi]; NaN stays NaN.
func (s *Scope) Clamp(t Tensor, lo, hi float64) Tensor {
	return s.run("clamp", func(h []tensorHandle) (tensorHandle, error) { return borderClamp(h[0], lo, hi) }, t)
}

// Sign returns -1, 0 or 1 per element; of NaN it returns 0, so check HasNonFinite before.
func (s *Scope) Sign(t Tensor) Tensor { return s.unary("sign", unarySign, t) }

// Abs returns |t|.
func (s *Scope) Abs(t Tensor) Tensor { return s.unary("abs", unaryAbs, t) }

// Sqrt returns the square root.
func (s *Scope) Sqrt(t Tensor) Tensor { return s.unary("sqrt", unarySqrt, t) }

// Exp returns e^t.
func (s *Scope) Exp(t Tensor) Tensor { return s.unary("exp", unaryExp, t) }

// Log returns the natural logarithm.
func (s *Scope) Log(t Tensor) Tensor { return s.unary("log", unaryLog, t) }

func (s *Scope) reduce(name string, code int, t Tensor, dims []int) Tensor {
	return s.run(name, func(h []tensorHandle) (tensorHandle, error) { return borderReduce(code, h[0], dims) }, t)
}

// Sum adds over dims, which disappear; without dims over everything. Negative dims count from the end.
func (s *Scope) Sum(t Tensor, dims ...int) Tensor { return s.reduce("sum", reduceSum, t, dims) }

// Mean is Sum divided by the number of elements added.
func (s *Scope) Mean(t Tensor, dims ...int) Tensor { return s.reduce("mean", reduceMean, t, dims) }

// Max returns the largest element over dims (NaN wins).
func (s *Scope) Max(t Tensor, dims ...int) Tensor { return s.reduce("max", reduceMax, t, dims) }

// Norm returns the Euclidean norm over dims.
func (s *Scope) Norm(t Tensor, dims ...int) Tensor { return s.reduce("norm", reduceNorm, t, dims) }

// Argmax returns, as int64, the index of the largest element along dim.
func (s *Scope) Argmax(t Tensor, dim int) Tensor {
	return s.run("argmax", func(h []tensorHandle) (tensorHandle, error) { return borderArgmax(h[0], dim) }, t)
}

// Softmax normalises along dim.
func (s *Scope) Softmax(t Tensor, dim int) Tensor {
	return s.run("softmax", func(h []tensorHandle) (tensorHandle, error) { return borderSoftmax(h[0], dim, false) }, t)
}

// LogSoftmax is the logarithm of Softmax, computed without overflow.
func (s *Scope) LogSoftmax(t Tensor, dim int) Tensor {
	return s.run("log softmax", func(h []tensorHandle) (tensorHandle, error) { return borderSoftmax(h[0], dim, true) }, t)
}

// MatMul returns the matrix product, batched over leading dimensions.
func (s *Scope) MatMul(a, b Tensor) Tensor {
	return s.run("matmul", func(h []tensorHandle) (tensorHandle, error) { return borderMatMul(h[0], h[1]) }, a, b)
}

// Reshape returns t with another shape and the same elements; one extent may be -1. The result may share memory with t.
func (s *Scope) Reshape(t Tensor, shape ...int) Tensor {
	return s.run("reshape", func(h []tensorHandle) (tensorHandle, error) { return borderReshape(h[0], shape) }, t)
}

// Permute reorders the dimensions. The result shares memory with t.
func (s *Scope) Permute(t Tensor, dims ...int) Tensor {
	return s.run("permute", func(h []tensorHandle) (tensorHandle, error) { return borderPermute(h[0], dims) }, t)
}

// Slice returns the elements from <= index < to along dim. The result shares memory with t.
func (s *Scope) Slice(t Tensor, dim, from, to int) Tensor {
	return s.run("slice", func(h []tensorHandle) (tensorHandle, error) { return borderSlice(h[0], dim, from, to) }, t)
}

// Cat joins ts along dim.
func (s *Scope) Cat(dim int, ts ...Tensor) Tensor {
	return s.run("cat", func(h []tensorHandle) (tensorHandle, error) { return borderCat(h, dim) }, ts...)
}

// Flip reverses the order along dims.
func (s *Scope) Flip(t Tensor, dims ...int) Tensor {
	return s.run("flip", func(h []tensorHandle) (tensorHandle, error) { return borderFlip(h[0], dims) }, t)
}

// Index returns the rows of t (along its first dimension) that rows, an int64 vector, names.
func (s *Scope) Index(t, rows Tensor) Tensor {
	return s.run("index", func(h []tensorHandle) (tensorHandle, error) { return borderIndexRows(h[0], h[1]) }, t, rows)
}

// To converts the element type.
func (s *Scope) To(t Tensor, dtype DType) Tensor {
	return s.run("to "+dtype.String(), func(h []tensorHandle) (tensorHandle, error) {
		return borderTo(h[0], dtype)
	}, t)
}

// ToDevice copies t to d; on the same device it shares memory with t.
func (s *Scope) ToDevice(t Tensor, d Device) Tensor {
	return s.run("to "+d.String(), func(h []tensorHandle) (tensorHandle, error) { return borderToDevice(h[0], d) }, t)
}

// Clone copies t into memory of its own.
func (s *Scope) Clone(t Tensor) Tensor {
	return s.run("clone", func(h []tensorHandle) (tensorHandle, error) { return borderClone(h[0]) }, t)
}

// Interpolate resizes images [N,C,H,W] to h x w with half-pixel centres. antialias widens the filter when shrinking, as
// image libraries do; it is defined for Bilinear and Bicubic. Bicubic overshoots the range of its input.
func (s *Scope) Interpolate(t Tensor, h, w int, mode Interpolation, antialias bool) Tensor {
	return s.run("interpolate", func(hs []tensorHandle) (tensorHandle, error) {
		return borderInterpolate(hs[0], h, w, mode, antialias)
	}, t)
}

// CrossEntropy is the loss of logits [N,K] against labels [N] int64. With smoothing e the target is (1-e) on the label
// plus e/K everywhere.
func (s *Scope) CrossEntropy(logits, labels Tensor, r Reduction, smoothing float64) Tensor {
	return s.run("cross entropy", func(h []tensorHandle) (tensorHandle, error) {
		return borderCrossEntropy(h[0], h[1], r, smoothing)
	}, logits, labels)
}

// SoftCrossEntropy is -sum_k target_k log_softmax(logits)_k per row of logits and targets [N,K].
func (s *Scope) SoftCrossEntropy(logits, targets Tensor, r Reduction) Tensor {
	return s.run("soft cross entropy", func(h []tensorHandle) (tensorHandle, error) {
		return borderCrossEntropy(h[0], h[1], r, 0)
	}, logits, targets)
}

// BCEWithLogits is the binary cross-entropy of every element; ReduceMean divides by the number of elements, not of rows.
func (s *Scope) BCEWithLogits(logits, targets Tensor, r Reduction) Tensor {
	return s.run("bce with logits", func(h []tensorHandle) (tensorHandle, error) {
		return borderBCE(h[0], h[1], r)
	}, logits, targets)
}

// KLDiv is sum_k exp(target_k) (target_k - input_k) per row of log-probabilities [N,K]; ReduceMean divides by N.
func (s *Scope) KLDiv(input, target Tensor, r Reduction) Tensor {
	return s.run("kl divergence", func(h []tensorHandle) (tensorHandle, error) {
		return borderKLDiv(h[0], h[1], r)
	}, input, target)
}

// Shift moves image i of t [N,C,H,W] by dys[i] rows downwards and dxs[i] columns to the right; what moves in is 0.
func (s *Scope) Shift(t Tensor, dys, dxs []int) Tensor {
	if n := t.Shape(); len(n) != 4 || n[0] != len(dys) || n[0] != len(dxs) {
		if err := s.ready("shift"); err != nil {
			return s.fail(err)
		}
		if _, err := t.use("shift"); err != nil {
			return s.fail(err)
		}
		return s.fail(fmt.Errorf("shift: %d and %d offsets for a tensor %s", len(dys), len(dxs), shapeText(n)))
	}
	return s.run("shift", func(h []tensorHandle) (tensorHandle, error) { return borderShift(h[0], dys, dxs) }, t)
}

// Assign copies src into dst in place, which must have the same shape; element type and device are converted.
func (s *Scope) Assign(dst, src Tensor) error {
	if err := s.ready("assign"); err != nil {
		return err
	}
	d, err := dst.use("assign")
	if err == nil {
		var h tensorHandle
		if h, err = src.use("assign"); err == nil {
			if err = borderAssign(d, h); err != nil {
				err = fmt.Errorf("assign%s: %w", shapes([]Tensor{dst, src}), err)
			}
		}
	}
	if err != nil {
		s.fail(err)
	}
	return err
}
