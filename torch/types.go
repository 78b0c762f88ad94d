package torch

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Errors that callers test with errors.Is.
var (
	// ErrUnavailable is returned by everything that needs libtorch in a program built without cgo.
	ErrUnavailable = errors.New("this program was built without cgo, so without libtorch")
	// ErrOutOfMemory reports a failed allocation in host or device memory.
	ErrOutOfMemory = errors.New("out of memory")
	// ErrClosed reports the use of a tensor, scope, module, optimiser or worker after it was closed.
	ErrClosed = errors.New("used after close")
	// ErrNoCUDA reports that a CUDA device was asked for and this machine or this libtorch has none.
	ErrNoCUDA = errors.New("no usable CUDA device")
)

// DType is the element type of a tensor.
type DType int

// The element types this binding knows. The values are part of the C border (st_dtype).
const (
	Float32 DType = iota
	Float64
	BFloat16
	Float16
	Int64
	Int32
	Uint8
	Bool
)

var dtypeNames = [...]string{"float32", "float64", "bfloat16", "float16", "int64", "int32", "uint8", "bool"}

func (d DType) String() string {
	if d < 0 || int(d) >= len(dtypeNames) {
		return "dtype(" + strconv.Itoa(int(d)) + ")"
	}
	return dtypeNames[d]
}

// ParseDType is the inverse of DType.String.
func ParseDType(s string) (DType, error) {
	for i, name := range dtypeNames {
		if s == name {
			return DType(i), nil
		}
	}
	return 0, fmt.Errorf("unknown element type %q (one of %s)", s, strings.Join(dtypeNames[:], ", "))
}

// Floating reports whether d holds real numbers.
func (d DType) Floating() bool { return d >= Float32 && d <= Float16 }

// size is the number of bytes of one element.
func (d DType) size() int {
	switch d {
	case Float64, Int64:
		return 8
	case Float32, Int32:
		return 4
	case BFloat16, Float16:
		return 2
	default:
		return 1
	}
}

// DeviceType is the kind of a Device.
type DeviceType int

// The kinds of device. The values are part of the C border (st_device).
const (
	DeviceCPU DeviceType = iota
	DeviceCUDA
)

// Device is where a tensor or a module lives. The zero value is the CPU.
type Device struct {
	Type  DeviceType
	Index int
}

// CPU is the host.
var CPU = Device{}

func (d Device) String() string {
	if d.Type == DeviceCUDA {
		return "cuda:" + strconv.Itoa(d.Index)
	}
	return "cpu"
}

// ParseDevice reads "cpu", "cuda" (the first one) or "cuda:N".
func ParseDevice(s string) (Device, error) {
	switch {
	case s == "cpu":
		return CPU, nil
	case s == "cuda":
		return Device{Type: DeviceCUDA}, nil
	case strings.HasPrefix(s, "cuda:"):
		n, err := strconv.ParseUint(s[len("cuda:"):], 10, 7) // libtorch keeps the index in a signed byte
		if err == nil {
			return Device{Type: DeviceCUDA, Index: int(n)}, nil
		}
	}
	return Device{}, fmt.Errorf("unknown device %q (cpu, cuda or cuda:N)", s)
}

// Reduction says what a loss returns.
type Reduction int

// The reductions. The values are part of the C border (st_reduction).
const (
	ReduceNone Reduction = iota // one value per row
	ReduceMean
	ReduceSum
)

// Interpolation is the filter of Scope.Interpolate.
type Interpolation int

// The filters, all with half-pixel centres (align_corners = false). The values are part of the C border
// (st_interpolation).
const (
	Nearest Interpolation = iota
	Bilinear
	Bicubic
)

// LossKind selects the loss that Module.InputGrad differentiates.
type LossKind int

// The losses of logits z, label y and, for the last two, target t, per image. z(1) >= z(2) >= ... are the sorted logits
// and other is the largest logit of a class other than y. The values are part of the C border (st_loss).
const (
	LossCrossEntropy    LossKind = iota // -log_softmax(z)[y]
	LossDLR                             // (other - z_y) / (z(1) - z(3) + 1e-12); at least 3 classes
	LossMargin                          // other - z_y
	LossTargetedDLR                     // (z_t - z_y) / (z(1) - (z(3)+z(4))/2 + 1e-12); at least 4 classes
	LossLogitDifference                 // z_t - z_y
)

// Config holds what can be chosen once per process.
type Config struct {
	// Threads is the number of threads one operation may use on the CPU; at least 1. Workers times Threads should not
	// exceed the cores. Operations never run concurrently inside one call (inter-op threads are always 1).
	Threads int
}

// Info describes the libtorch in use, for `sat doctor` and for the provenance of results.
type Info struct {
	Version      string // of the loaded libtorch
	BuildVersion string // of the headers the shim was compiled with; Init refuses a mismatch
	ABI          int    // version of the border between Go and the shim, as the loaded shim reports it
	Path         string // of libtorch_cpu.so
	CXX11ABI     bool
	Threads      int
	InterOp      int    // inter-op threads
	Capability   string // CPU instruction set the kernels were chosen for, such as AVX2
	BFloat16     bool   // whether the CPU has instructions for products in bfloat16
	BLAS         string // libraries behind matrix products on the CPU

	CUDA CUDAInfo
	JIT  JITInfo
	// OpenMP lists the mapped OpenMP runtimes. More than one in a process can deadlock.
	OpenMP []string
	// Warnings holds the distinct warnings libtorch raised so far; it never prints them itself.
	Warnings []string
}

// CUDAInfo is the CUDA part of Info.
type CUDAInfo struct {
	Built         bool   // libtorch_cuda.so lies beside libtorch_cpu.so
	Loaded        bool   // it was loaded, because a CUDA device was asked for
	Devices       int    // devices found; 0 until loaded
	Error         string // why no device is usable; "" when one is or when none was asked for
	Deterministic bool   // deterministic kernels preferred
	TF32          bool   // reduced-precision float32 matrix products allowed
	CuDNNTuning   bool   // cuDNN picks algorithms by timing them (not repeatable)
	Workspace     string // CUBLAS_WORKSPACE_CONFIG as the process sees it
}

// JITInfo is the state of TorchScript's optimisers, all off after Init: they have returned wrong input gradients.
type JITInfo struct {
	ProfilingExecutor bool
	ProfilingMode     bool
	GraphOptimizer    bool // inside the calls of this package
	TensorExprFuser   bool
	FuseOnCPU         bool
	FuseOnGPU         bool
}

// Memory holds figures of one device in bytes.
type Memory struct {
	// Allocated is held by tensors; on the CPU it is the resident size of the process.
	Allocated int64
	// Reserved is what the caching allocator holds; on the CPU it equals Allocated.
	Reserved int64
	// PeakAllocated is the highest Allocated so far.
	PeakAllocated int64
	// Free and Total describe the device; on the CPU the memory of the machine.
	Free, Total int64
}

// TensorInfo names one parameter or buffer of a module.
type TensorInfo struct {
	Name   string // dotted, as the network's own code names it
	Shape  []int
	DType  DType
	Buffer bool // false for a parameter
}

// Elements is the product of the shape.
func (t TensorInfo) Elements() int { return elements(t.Shape) }

func elements(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}
