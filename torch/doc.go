// Package torch drives libtorch: tensors in scopes, TorchScript networks with the gradients of their inputs and
// parameters, optimiser steps. It is a small binding of its own, over a plain C header (csrc/st_*.h) in front of one
// shared library that CMake builds. Only this package knows that libtorch exists.
//
// # Ownership
//
// The Go collector does not see the memory behind a tensor, so lifetime is written in the code. A Scope owns every
// tensor made in it and frees them, newest first, when it ends: the scope of Worker.Do at the end of Do, that of Step at
// the end of Step. Keep hands a tensor to the parent scope. Module, Optimizer, Worker and scopes of Worker.NewScope have
// a Close. Use after close is an error that wraps ErrClosed and names the operation. LiveHandles counts what exists on
// the C++ side; tests end with it where it started. There are no finalizers: they run late, on another thread, or never.
//
// Data is copied in (FromFloat32) and out (Float32s). No Go memory is kept by C and no view of C memory reaches Go.
// Reshape, Permute, Slice, and ToDevice on the same device, return tensors that share memory with their operand; Assign
// to one writes to both.
//
// # Threads
//
// libtorch keeps state per operating-system thread (gradient mode, device, OpenMP team, oneDNN's primitives) and
// goroutines change threads, so torch code runs in Worker.Do, on a goroutine locked to its thread. Methods without a
// scope (SetTraining, Optimizer.Step, LoadModule, ...) are safe anywhere but belong there too: an OpenMP team and caches
// stay behind on every thread that computed once. Workers times Config.Threads should not exceed the cores.
//
// Every call sets what it needs and restores it before it returns, gradient mode first of all: nothing a call does
// depends on what ran on the thread before. A Module serialises its callers with a mutex; in train mode it belongs to
// one worker. Scopes and tensors belong to the goroutine of their worker.
//
// # Errors
//
// A call into C++ returns its error by value from the same call; no exception, abort or last-error variable is involved.
// Operations on a scope keep the first error and do nothing after it, so formulas can be chained and checked once.
// ErrOutOfMemory is told apart by libtorch's exception type or, on the CPU and inside TorchScript's interpreter, by the
// text of the message. NaN is not an error here: HasNonFinite is the cheap check for callers.
//
// Things that libtorch does silently and this package refuses: labels out of range (-100 is skipped, others corrupt a
// GPU context), slices beyond the end, copies that broadcast, damaged records in a module file, training a trace.
//
// # TorchScript without its optimisers
//
// The profiling executor, the graph optimiser (a setting per thread, made inside each call) and the fusers are off. They
// have returned wrong input gradients from the third call of a network on, with right outputs; an attack is the sign of
// that gradient. Without them TorchScript interprets the recorded operations one by one and autograd differentiates
// them, as in eager PyTorch, and as fast. Describe reports the switches; golden tests compare calls 1, 3 and 10.
//
// # Repeatability
//
// Deterministic kernels are preferred, cuDNN does not choose by timing, TF32 is off, and CUBLAS_WORKSPACE_CONFIG is set
// before CUDA starts. An operation without a deterministic kernel still runs; its warning is in Info.Warnings. Denormal
// numbers are kept.
//
// # Attacks
//
// SignAttack is the inner loop of a signed-gradient attack with the images in the memory of the device, in the layout of the
// network; only logits and two bits per image leave it at each step. On the CPU the arithmetic of a step is one pass of our
// own over the pixels, elsewhere libtorch's operations, equal bit for bit. Forward works in inference mode.
//
// # Networks that compute their own loss
//
// Self-supervised methods differ in what is computed from which inputs, not in what is done with the gradient. So Objective runs
// a network whose forward pass returns the loss and differentiates that, Call runs another of its methods, and Freeze keeps
// parameters from learning; what such a network computes is up to its file.
//
// # 16 bit
//
// To(device, BFloat16) converts floating-point tensors only: Swin holds integer tables. Images, logits and gradients stay
// float32 outside the network. On the CPU attention in bfloat16 is computed by its plain formula, because libtorch's fused
// kernel takes 2.7 to 8.5 times as long as that; float32 keeps the fused one. Filters and feature maps lie channels-last
// (SetChannelsLast) where the caller says so.
//
// # Lowered networks
//
// Lower makes a network on the CPU faster for attacks, in float32 or bfloat16, at the price of the last bits. It freezes the
// network, makes normalisation part of the filters, keeps filters in oneDNN's order for both directions, in place of putting
// them in it on every pass, and writes the gradient of strided filters over few channels as a convolution. In bfloat16, where
// products take half the time and all else would come to be half of the rest, it also replaces functions of single elements
// by loops that keep the slope for the way back; filters are multiplied with their normalisation in float32 and rounded once.
// Functions that overwrite their argument are replaced by those that do not, where libtorch's alias analysis allows it.
//
// What it computes in float32 equals eager PyTorch's results to 1e-5 on the networks of torch/testdata/lowered. In bfloat16 it
// is as near to float32 as what To gives: relative distances of logits and gradients of eleven networks were equal to within a
// tenth. Where oneDNN has no kernels for bfloat16 (it wants AVX-512 or AVX-NE-CONVERT) products are computed in float32 and
// rounded, a tenth of the time that libtorch's own kernels for bfloat16 take there.
//
// # CUDA
//
// Written, and not yet run on a GPU: pinned asynchronous copies to the device, TensorFloat-32 (AllowTF32), attack steps
// captured as CUDA graphs (SignOptions.Capture). The class behind the last needs libtorch_cuda at link time, so it is in
// libsat_torch_cuda.so, which is opened when a graph is first wanted and left out of a build without libtorch_cuda or the
// headers of the CUDA runtime. A network whose forward pass waits for the GPU in between (.item(), data-dependent shapes)
// cannot be captured; starting the attack is then an error.
//
// libtorch_cuda is loaded when a CUDA device is first asked for, so that a start without one stays fast. libtorch looks
// for it only once, so a program that will use a GPU calls LoadCUDA directly after Init. Signal handlers that CUDA's
// libraries install are replaced by those of before. One process per GPU is the supported layout.
//
// # Without cgo
//
// With CGO_ENABLED=0 the package has the same API; Init, NewWorker and LoadModule return ErrUnavailable. ReadExtra and
// ExtraFiles work: a TorchScript file is a zip archive.
//
// # Not here
//
// No operations beyond what this project uses, no modules written in Go, no distributed training, and autocast in training only
// (BackwardOptions.Precision): for attacks a module is converted as a whole.
package torch
