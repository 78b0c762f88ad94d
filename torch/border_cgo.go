//go:build cgo

package torch

/*
#cgo CFLAGS: -I${SRCDIR}/csrc
#cgo LDFLAGS: -L${SRCDIR}/../build -lsat_torch -Wl,-rpath,$ORIGIN/../build -Wl,-rpath,${SRCDIR}/../build
#include <stdlib.h>
#include "st_attack.h"
#include "st_optimizer.h"
#include "st_train.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"runtime"
	"sort"
	"unsafe"
)

const available = true

type (
	tensorHandle    unsafe.Pointer
	moduleHandle    unsafe.Pointer
	optimizerHandle unsafe.Pointer
	attackHandle    unsafe.Pointer
)

func tensorC(h tensorHandle) *C.st_tensor          { return (*C.st_tensor)(h) }
func moduleC(h moduleHandle) *C.st_module          { return (*C.st_module)(h) }
func optimizerC(h optimizerHandle) *C.st_optimizer { return (*C.st_optimizer)(h) }
func attackC(h attackHandle) *C.st_sign_attack     { return (*C.st_sign_attack)(h) }
func deviceC(d Device) C.st_device {
	return C.st_device{_type: C.int32_t(d.Type), index: C.int32_t(d.Index)}
}

// check turns the error value of a call into a Go error and frees its text.
func check(e C.st_error) error {
	if e.code == C.ST_OK {
		return nil
	}
	text := "no memory for the message"
	if e.msg != nil {
		text = C.GoString(e.msg)
		C.st_string_free(e.msg)
	}
	switch e.code {
	case C.ST_OOM:
		return fmt.Errorf("%w: %s", ErrOutOfMemory, text)
	case C.ST_NO_CUDA:
		return fmt.Errorf("%w: %s", ErrNoCUDA, text)
	default:
		return errors.New(text)
	}
}

// checkTensor is check for a call that hands out one tensor.
func checkTensor(e C.st_error, out *C.st_tensor) (tensorHandle, error) {
	if err := check(e); err != nil {
		return nil, err
	}
	return tensorHandle(out), nil
}

// boolC is 1 for true.
func boolC(b bool) C.int32_t {
	if b {
		return 1
	}
	return 0
}

// int64s converts to what C reads during one call.
func int64s(values []int) []C.int64_t {
	out := make([]C.int64_t, len(values))
	for i, v := range values {
		out[i] = C.int64_t(v)
	}
	return out
}

// withString calls f with a C copy of s.
func withString(s string, f func(*C.char)) {
	c := C.CString(s)
	defer C.free(unsafe.Pointer(c))
	f(c)
}

// takeBytes copies and frees what C handed out.
func takeBytes(b C.st_bytes) []byte {
	defer C.st_bytes_free(b)
	// Not GoBytes: its length is a C int and the state of an optimiser can be larger than 2 GiB.
	return append([]byte(nil), unsafe.Slice((*byte)(unsafe.Pointer(b.data)), int(b.len))...)
}

// takeString copies and frees what C handed out.
func takeString(s *C.char) string {
	defer C.st_string_free(s)
	return C.GoString(s)
}

func borderVersions() (abi int, built, loaded string, err error) {
	return int(C.st_abi_version()), C.GoString(C.st_torch_build_version()), C.GoString(C.st_torch_version()), nil
}

func borderInit(threads int) error { return check(C.st_init(C.int32_t(threads))) }

func borderDescribe() (string, error) {
	var out *C.char
	if err := check(C.st_describe(&out)); err != nil {
		return "", err
	}
	return takeString(out), nil
}

func borderLoadCUDA() error           { return check(C.st_cuda_load()) }
func borderAllowTF32(on bool) error   { return check(C.st_allow_tf32(boolC(on))) }
func borderLiveHandles() int64        { return int64(C.st_live_handles()) }
func borderMallocTrim()               { C.st_malloc_trim() }
func borderEmptyCache(d Device) error { return check(C.st_cuda_empty_cache(C.int32_t(d.Index))) }
func borderSynchronize(d Device) error {
	return check(C.st_cuda_synchronize(C.int32_t(d.Index)))
}

func borderMemory(d Device) (Memory, error) {
	var m C.st_memory
	if err := check(C.st_cuda_memory(C.int32_t(d.Index), &m)); err != nil {
		return Memory{}, err
	}
	return Memory{
		Allocated: int64(m.allocated), Reserved: int64(m.reserved), PeakAllocated: int64(m.peak_allocated),
		Free: int64(m.free_bytes), Total: int64(m.total_bytes),
	}, nil
}

func borderManualSeed(seed uint64) error { return check(C.st_manual_seed(C.uint64_t(seed))) }

func borderGeneratorState() ([]byte, error) {
	var out C.st_bytes
	if err := check(C.st_generator_state(&out)); err != nil {
		return nil, err
	}
	return takeBytes(out), nil
}

func borderSetGeneratorState(state []byte) error {
	return check(C.st_set_generator_state((*C.uint8_t)(unsafe.SliceData(state)), C.size_t(len(state))))
}

func borderTensorFree(h tensorHandle) { C.st_tensor_free(tensorC(h)) }

func borderTensorInfo(h tensorHandle) (tensorInfo, error) {
	var info C.st_tensor_info
	if err := check(C.st_tensor_get_info(tensorC(h), &info)); err != nil {
		return tensorInfo{}, err
	}
	shape := make([]int, info.dims)
	for i := range shape {
		shape[i] = int(info.shape[i])
	}
	device := Device{Type: DeviceType(info.device._type), Index: int(info.device.index)}
	return tensorInfo{shape: shape, dtype: DType(info.dtype), device: device}, nil
}

func borderTensorItem(h tensorHandle) (float64, error) {
	var v C.double
	err := check(C.st_tensor_item(tensorC(h), &v))
	return float64(v), err
}

func borderTensorNonFinite(h tensorHandle) (bool, error) {
	var v C.int32_t
	err := check(C.st_tensor_has_non_finite(tensorC(h), &v))
	return v != 0, err
}

func borderTensorCopyOut(h tensorHandle, dtype DType, dst unsafe.Pointer, bytes int) error {
	return check(C.st_tensor_copy_out(tensorC(h), C.int32_t(dtype), dst, C.size_t(bytes)))
}

func borderTensorFromData(data unsafe.Pointer, dtype DType, shape []int) (tensorHandle, error) {
	dims := int64s(shape)
	var out *C.st_tensor
	e := C.st_tensor_from_data(data, C.size_t(elements(shape)*dtype.size()), C.int32_t(dtype),
		unsafe.SliceData(dims), C.int32_t(len(dims)), &out)
	return checkTensor(e, out)
}

func borderTensorFull(v float64, dtype DType, shape []int) (tensorHandle, error) {
	dims := int64s(shape)
	var out *C.st_tensor
	e := C.st_tensor_full(C.double(v), C.int32_t(dtype), unsafe.SliceData(dims), C.int32_t(len(dims)), &out)
	return checkTensor(e, out)
}

func borderAssign(dst, src tensorHandle) error {
	return check(C.st_tensor_assign(tensorC(dst), tensorC(src)))
}

func borderClone(h tensorHandle) (tensorHandle, error) {
	var out *C.st_tensor
	e := C.st_tensor_clone(tensorC(h), &out)
	return checkTensor(e, out)
}

func borderTo(h tensorHandle, dtype DType) (tensorHandle, error) {
	var out *C.st_tensor
	e := C.st_tensor_to_dtype(tensorC(h), C.int32_t(dtype), &out)
	return checkTensor(e, out)
}

func borderToDevice(h tensorHandle, d Device) (tensorHandle, error) {
	var out *C.st_tensor
	e := C.st_tensor_to_device(tensorC(h), deviceC(d), &out)
	return checkTensor(e, out)
}

func borderUnary(op int, h tensorHandle) (tensorHandle, error) {
	var out *C.st_tensor
	e := C.st_unary(C.int32_t(op), tensorC(h), &out)
	return checkTensor(e, out)
}

func borderBinary(op int, a, b tensorHandle) (tensorHandle, error) {
	var out *C.st_tensor
	e := C.st_binary(C.int32_t(op), tensorC(a), tensorC(b), &out)
	return checkTensor(e, out)
}

func borderBinaryScalar(op int, h tensorHandle, v float64) (tensorHandle, error) {
	var out *C.st_tensor
	e := C.st_binary_scalar(C.int32_t(op), tensorC(h), C.double(v), &out)
	return checkTensor(e, out)
}

func borderClamp(h tensorHandle, lo, hi float64) (tensorHandle, error) {
	var out *C.st_tensor
	e := C.st_clamp(tensorC(h), C.double(lo), C.double(hi), &out)
	return checkTensor(e, out)
}

func borderReduce(op int, h tensorHandle, dims []int) (tensorHandle, error) {
	d := int64s(dims)
	var out *C.st_tensor
	e := C.st_reduce(C.int32_t(op), tensorC(h), unsafe.SliceData(d), C.int32_t(len(d)), &out)
	return checkTensor(e, out)
}

func borderArgmax(h tensorHandle, dim int) (tensorHandle, error) {
	var out *C.st_tensor
	e := C.st_argmax(tensorC(h), C.int64_t(dim), &out)
	return checkTensor(e, out)
}

func borderSoftmax(h tensorHandle, dim int, logarithm bool) (tensorHandle, error) {
	var out *C.st_tensor
	e := C.st_softmax(tensorC(h), C.int64_t(dim), boolC(logarithm), &out)
	return checkTensor(e, out)
}

func borderMatMul(a, b tensorHandle) (tensorHandle, error) {
	var out *C.st_tensor
	e := C.st_matmul(tensorC(a), tensorC(b), &out)
	return checkTensor(e, out)
}

func borderReshape(h tensorHandle, shape []int) (tensorHandle, error) {
	d := int64s(shape)
	var out *C.st_tensor
	e := C.st_reshape(tensorC(h), unsafe.SliceData(d), C.int32_t(len(d)), &out)
	return checkTensor(e, out)
}

func borderPermute(h tensorHandle, dims []int) (tensorHandle, error) {
	d := int64s(dims)
	var out *C.st_tensor
	e := C.st_permute(tensorC(h), unsafe.SliceData(d), C.int32_t(len(d)), &out)
	return checkTensor(e, out)
}

func borderSlice(h tensorHandle, dim, from, to int) (tensorHandle, error) {
	var out *C.st_tensor
	e := C.st_slice(tensorC(h), C.int64_t(dim), C.int64_t(from), C.int64_t(to), &out)
	return checkTensor(e, out)
}

func borderCat(hs []tensorHandle, dim int) (tensorHandle, error) {
	list := tensorsC(hs)
	var out *C.st_tensor
	e := C.st_cat(unsafe.SliceData(list), C.int32_t(len(list)), C.int64_t(dim), &out)
	return checkTensor(e, out)
}

func borderFlip(h tensorHandle, dims []int) (tensorHandle, error) {
	d := int64s(dims)
	var out *C.st_tensor
	e := C.st_flip(tensorC(h), unsafe.SliceData(d), C.int32_t(len(d)), &out)
	return checkTensor(e, out)
}

func borderIndexRows(h, rows tensorHandle) (tensorHandle, error) {
	var out *C.st_tensor
	e := C.st_index_rows(tensorC(h), tensorC(rows), &out)
	return checkTensor(e, out)
}

func borderShift(h tensorHandle, dys, dxs []int) (tensorHandle, error) {
	y, x := int64s(dys), int64s(dxs)
	var out *C.st_tensor
	e := C.st_shift(tensorC(h), unsafe.SliceData(y), unsafe.SliceData(x), C.int64_t(len(y)), &out)
	return checkTensor(e, out)
}

func borderInterpolate(h tensorHandle, height, width int, mode Interpolation, antialias bool) (tensorHandle, error) {
	var out *C.st_tensor
	e := C.st_interpolate(tensorC(h), C.int64_t(height), C.int64_t(width), C.int32_t(mode), boolC(antialias), &out)
	return checkTensor(e, out)
}

func borderCrossEntropy(logits, targets tensorHandle, r Reduction, smoothing float64) (tensorHandle, error) {
	var out *C.st_tensor
	e := C.st_cross_entropy(tensorC(logits), tensorC(targets), C.int32_t(r), C.double(smoothing), &out)
	return checkTensor(e, out)
}

func borderBCE(logits, targets tensorHandle, r Reduction) (tensorHandle, error) {
	var out *C.st_tensor
	e := C.st_bce_with_logits(tensorC(logits), tensorC(targets), C.int32_t(r), &out)
	return checkTensor(e, out)
}

func borderKLDiv(input, target tensorHandle, r Reduction) (tensorHandle, error) {
	var out *C.st_tensor
	e := C.st_kl_div(tensorC(input), tensorC(target), C.int32_t(r), &out)
	return checkTensor(e, out)
}

func borderModuleLoad(path string, d Device) (h moduleHandle, err error) {
	withString(path, func(p *C.char) {
		var out *C.st_module
		if err = check(C.st_module_load(p, deviceC(d), &out)); err == nil {
			h = moduleHandle(out)
		}
	})
	return h, err
}

func borderModuleSave(h moduleHandle, path string, extra map[string][]byte) (err error) {
	names := make([]string, 0, len(extra))
	for name := range extra {
		names = append(names, name)
	}
	sort.Strings(names) // the order of the records in the file
	// Names and contents are copied to C memory: an array of pointers to Go memory may not be passed.
	n := len(names)
	nameC, contentC, sizes := make([]*C.char, n), make([]*C.uint8_t, n), make([]C.size_t, n)
	defer func() {
		for i := range names {
			C.free(unsafe.Pointer(nameC[i]))
			C.free(unsafe.Pointer(contentC[i]))
		}
	}()
	for i, name := range names {
		nameC[i] = C.CString(name)
		contentC[i] = (*C.uint8_t)(C.CBytes(extra[name]))
		sizes[i] = C.size_t(len(extra[name]))
	}
	withString(path, func(p *C.char) {
		err = check(C.st_module_save(moduleC(h), p, unsafe.SliceData(nameC), unsafe.SliceData(contentC),
			unsafe.SliceData(sizes), C.int32_t(n)))
	})
	return err
}

func borderModuleClone(h moduleHandle) (moduleHandle, error) {
	var out *C.st_module
	if err := check(C.st_module_clone(moduleC(h), &out)); err != nil {
		return nil, err
	}
	return moduleHandle(out), nil
}

func borderModuleFree(h moduleHandle) { C.st_module_free(moduleC(h)) }

func borderModuleDescribe(h moduleHandle) (string, error) {
	var out *C.char
	if err := check(C.st_module_describe(moduleC(h), &out)); err != nil {
		return "", err
	}
	return takeString(out), nil
}

func borderModuleGet(h moduleHandle, name string, gradient bool) (t tensorHandle, err error) {
	withString(name, func(n *C.char) {
		var out *C.st_tensor
		e := C.st_module_get(moduleC(h), n, boolC(gradient), &out)
		t, err = checkTensor(e, out)
	})
	return t, err
}

func borderModuleSet(h moduleHandle, name string, value tensorHandle) (err error) {
	withString(name, func(n *C.char) { err = check(C.st_module_set(moduleC(h), n, tensorC(value))) })
	return err
}

func borderModuleTrain(h moduleHandle, on bool) error {
	return check(C.st_module_train(moduleC(h), boolC(on)))
}

func borderModuleRequiresGrad(h moduleHandle, on bool) error {
	return check(C.st_module_requires_grad(moduleC(h), boolC(on)))
}

func borderModuleFreeze(h moduleHandle, names []string) error {
	list := make([]*C.char, len(names))
	defer func() {
		for _, name := range list {
			C.free(unsafe.Pointer(name))
		}
	}()
	for i, name := range names {
		list[i] = C.CString(name)
	}
	return check(C.st_module_freeze(moduleC(h), unsafe.SliceData(list), C.int32_t(len(list))))
}

func borderModuleTo(h moduleHandle, d Device, dtype DType) error {
	return check(C.st_module_to(moduleC(h), deviceC(d), C.int32_t(dtype)))
}

func borderModuleChannelsLast(h moduleHandle, on bool) error {
	return check(C.st_module_channels_last(moduleC(h), boolC(on)))
}

func borderModuleLower(h moduleHandle, dtype DType) error {
	return check(C.st_module_lower(moduleC(h), C.int32_t(dtype)))
}

func borderModuleZeroGrad(h moduleHandle) error { return check(C.st_module_zero_grad(moduleC(h))) }

func borderModuleClip(h moduleHandle, max float64) (float64, error) {
	var norm C.double
	err := check(C.st_module_clip_grad_norm(moduleC(h), C.double(max), &norm))
	return float64(norm), err
}

// normalisationC describes mean and std to C. The slices are pinned until the call is over.
func normalisationC(p *runtime.Pinner, mean, std []float32) C.st_normalisation {
	if len(mean) == 0 {
		return C.st_normalisation{}
	}
	p.Pin(&mean[0])
	p.Pin(&std[0])
	return C.st_normalisation{
		mean: (*C.float)(&mean[0]), std: (*C.float)(&std[0]), channels: C.int32_t(len(mean)),
	}
}

func borderModuleForward(h moduleHandle, x tensorHandle, mean, std []float32, firstOnly bool) ([]tensorHandle, error) {
	var pinner runtime.Pinner
	defer pinner.Unpin()
	var out [C.ST_MAX_OUTPUTS]*C.st_tensor
	var n C.int32_t
	e := C.st_module_forward(moduleC(h), tensorC(x), normalisationC(&pinner, mean, std), boolC(firstOnly), &out[0], &n)
	if err := check(e); err != nil {
		return nil, err
	}
	handles := make([]tensorHandle, n)
	for i := range handles {
		handles[i] = tensorHandle(out[i])
	}
	return handles, nil
}

func borderModuleInputGrad(h moduleHandle, x, y, targets tensorHandle, g GradOptions) (out [3]tensorHandle, err error) {
	var pinner runtime.Pinner
	defer pinner.Unpin()
	var grad, logits, loss *C.st_tensor
	e := C.st_module_input_grad(moduleC(h), tensorC(x), tensorC(y), tensorC(targets),
		normalisationC(&pinner, g.Mean, g.Std), C.int32_t(g.Loss), &grad, &logits, &loss)
	if err := check(e); err != nil {
		return out, err
	}
	return [3]tensorHandle{tensorHandle(grad), tensorHandle(logits), tensorHandle(loss)}, nil
}

func borderModuleAttentionGrad(h moduleHandle, x, y, tokens tensorHandle, g AttentionOptions) (out []tensorHandle, err error) {
	var pinner runtime.Pinner
	defer pinner.Unpin()
	layers := make([]C.int32_t, len(g.Layers))
	for i, l := range g.Layers {
		layers[i] = C.int32_t(l)
	}
	grads := make([]*C.st_tensor, 1+len(layers))
	var logits, loss *C.st_tensor
	pinner.Pin(&grads[0])
	e := C.st_module_attention_grad(moduleC(h), tensorC(x), tensorC(y), tensorC(tokens), normalisationC(&pinner, g.Mean, g.Std),
		C.int32_t(g.Form), unsafe.SliceData(layers), C.int32_t(len(layers)), &grads[0], &logits, &loss)
	if err := check(e); err != nil {
		return nil, err
	}
	for _, t := range append(grads, logits, loss) {
		out = append(out, tensorHandle(t))
	}
	return out, nil
}

func borderModuleBackward(h moduleHandle, x, target, teacher tensorHandle, o BackwardOptions) (Losses, tensorHandle, error) {
	var pinner runtime.Pinner
	defer pinner.Unpin()
	loss := C.st_training_loss{
		kind: C.int32_t(o.Loss), smoothing: C.double(o.LabelSmoothing), scale: C.double(o.Scale), precision: C.int32_t(o.Precision),
		distillation: C.int32_t(o.Distillation), teacher: tensorC(teacher), alpha: C.double(o.Alpha), tau: C.double(o.Tau),
	}
	var losses [2]C.double
	var logits *C.st_tensor
	e := C.st_module_backward(moduleC(h), tensorC(x), tensorC(target), normalisationC(&pinner, o.Mean, o.Std), &loss, &losses[0], &logits)
	if err := check(e); err != nil {
		return Losses{}, nil, err
	}
	return Losses{Total: float64(losses[0]), Distillation: float64(losses[1])}, tensorHandle(logits), nil
}

// tensorsC lists handles for one call.
func tensorsC(hs []tensorHandle) []*C.st_tensor {
	list := make([]*C.st_tensor, len(hs))
	for i, h := range hs {
		list[i] = tensorC(h)
	}
	return list
}

func borderModuleObjective(h moduleHandle, inputs []tensorHandle, scale float64, precision DType) ([]float64, error) {
	list := tensorsC(inputs)
	var values [C.ST_MAX_OUTPUTS]C.double
	var n C.int32_t
	e := C.st_module_objective(moduleC(h), unsafe.SliceData(list), C.int32_t(len(list)), C.double(scale), C.int32_t(precision), &values[0], &n)
	if err := check(e); err != nil {
		return nil, err
	}
	out := make([]float64, n)
	for i := range out {
		out[i] = float64(values[i])
	}
	return out, nil
}

func borderModuleCall(h moduleHandle, method string, inputs []tensorHandle, precision DType) (handles []tensorHandle, err error) {
	list := tensorsC(inputs)
	withString(method, func(name *C.char) {
		var out [C.ST_MAX_OUTPUTS]*C.st_tensor
		var n C.int32_t
		if err = check(C.st_module_call(moduleC(h), name, unsafe.SliceData(list), C.int32_t(len(list)), C.int32_t(precision), &out[0], &n)); err != nil {
			return
		}
		for _, t := range out[:n] {
			handles = append(handles, tensorHandle(t))
		}
	})
	return handles, err
}

func borderModuleScaleGrad(h moduleHandle, factor float64) (bool, error) {
	var finite C.int32_t
	err := check(C.st_module_scale_grad(moduleC(h), C.double(factor), &finite))
	return finite != 0, err
}

func borderModuleAverage(average, m moduleHandle, decay float64) error {
	return check(C.st_module_average(moduleC(average), moduleC(m), C.double(decay)))
}

func borderSignAttackNew(m moduleHandle, clean, start, labels tensorHandle, o SignOptions) (attackHandle, error) {
	var pinner runtime.Pinner
	defer pinner.Unpin()
	options := C.st_sign_options{
		loss_kind: C.int32_t(o.Loss), step_size: C.double(o.StepSize), epsilon: C.double(o.Epsilon),
		descend: boolC(o.Descend), capture: boolC(o.Capture), by_operations: boolC(o.ByOperations),
	}
	var out *C.st_sign_attack
	e := C.st_sign_attack_new(moduleC(m), tensorC(clean), tensorC(start), tensorC(labels),
		normalisationC(&pinner, o.Mean, o.Std), options, &out)
	if err := check(e); err != nil {
		return nil, err
	}
	return attackHandle(out), nil
}

func borderSignAttackStep(h attackHandle) (logits, verdicts tensorHandle, err error) {
	var z, v *C.st_tensor
	if err := check(C.st_sign_attack_step(attackC(h), &z, &v)); err != nil {
		return nil, nil, err
	}
	return tensorHandle(z), tensorHandle(v), nil
}

func borderSignAttackImages(h attackHandle) (tensorHandle, error) {
	var out *C.st_tensor
	e := C.st_sign_attack_images(attackC(h), &out)
	return checkTensor(e, out)
}

func borderSignAttackFree(h attackHandle) { C.st_sign_attack_free(attackC(h)) }

func borderOptimizerNew(m moduleHandle, c OptimizerConfig) (optimizerHandle, error) {
	var pinner runtime.Pinner
	defer pinner.Unpin()
	var owned []unsafe.Pointer // C copies of the names
	defer func() {
		for _, p := range owned {
			C.free(p)
		}
	}()
	groups := make([]C.st_group, len(c.Groups))
	for i, g := range c.Groups {
		groups[i] = C.st_group{
			n: C.int32_t(len(g.Names)), weight_decay: C.double(g.WeightDecay), lr_scale: C.double(g.LRScale),
		}
		if len(g.Names) == 0 {
			continue
		}
		names := make([]*C.char, len(g.Names))
		for j, name := range g.Names {
			names[j] = C.CString(name)
			owned = append(owned, unsafe.Pointer(names[j]))
		}
		pinner.Pin(&names[0])
		groups[i].names = &names[0]
	}
	pinner.Pin(&groups[0])
	config := C.st_optimizer_config{
		kind: C.int32_t(c.Kind), momentum: C.double(c.Momentum), nesterov: boolC(c.Nesterov),
		beta1: C.double(c.Beta1), beta2: C.double(c.Beta2), eps: C.double(c.Eps),
		groups: &groups[0], n_groups: C.int32_t(len(groups)),
	}
	var out *C.st_optimizer
	if err := check(C.st_optimizer_new(moduleC(m), &config, &out)); err != nil {
		return nil, err
	}
	return optimizerHandle(out), nil
}

func borderOptimizerFree(h optimizerHandle) { C.st_optimizer_free(optimizerC(h)) }

func borderOptimizerStep(h optimizerHandle, lr float64) error {
	return check(C.st_optimizer_step(optimizerC(h), C.double(lr)))
}

func borderOptimizerState(h optimizerHandle) ([]byte, error) {
	var out C.st_bytes
	if err := check(C.st_optimizer_state(optimizerC(h), &out)); err != nil {
		return nil, err
	}
	return takeBytes(out), nil
}

func borderOptimizerSetState(h optimizerHandle, state []byte) error {
	return check(C.st_optimizer_set_state(optimizerC(h), (*C.uint8_t)(unsafe.SliceData(state)), C.size_t(len(state))))
}
