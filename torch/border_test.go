//go:build cgo

package torch

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"unsafe"
)

// every exported C function with null handles and, where it has other arguments, with wrong ones. All must come back
// with an error or do nothing; none may end the process.
func borderCalls(h tensorHandle, m moduleHandle) map[string]func() error {
	second := func(_ tensorHandle, err error) error { return err }
	ignore := func(f func()) func() error { return func() error { f(); return nil } }
	value := [1]float32{1}
	data := unsafe.Pointer(&value)
	badGroups := OptimizerConfig{Groups: []Group{{Names: []string{"no such parameter"}}}}
	return map[string]func() error{
		"st_abi_version":         ignore(func() { _, _, _, _ = borderVersions() }),
		"st_torch_build_version": ignore(func() { _, _, _, _ = borderVersions() }),
		"st_torch_version":       ignore(func() { _, _, _, _ = borderVersions() }),
		"st_string_free":         nil, // called by every error below
		"st_bytes_free":          ignore(func() { _, _ = borderGeneratorState() }),
		"st_live_handles":        ignore(func() { borderLiveHandles() }),
		"st_allow_tf32":          func() error { return borderAllowTF32(false) },
		"st_init":                func() error { return borderInit(0) },
		"st_describe":            ignore(func() { _, _ = borderDescribe() }),
		"st_malloc_trim":         ignore(borderMallocTrim),
		"st_manual_seed":         ignore(func() { _ = borderManualSeed(1) }),
		"st_generator_state":     ignore(func() { _, _ = borderGeneratorState() }),
		"st_set_generator_state": func() error { return borderSetGeneratorState([]byte{1, 2, 3}) },
		// These load libtorch_cuda, see TestSignalHandlersSurviveCUDA.
		"st_cuda_load": nil, "st_cuda_memory": nil, "st_cuda_empty_cache": nil, "st_cuda_synchronize": nil,

		"st_tensor_free":     ignore(func() { borderTensorFree(nil) }),
		"st_module_free":     ignore(func() { borderModuleFree(nil) }),
		"st_optimizer_free":  ignore(func() { borderOptimizerFree(nil) }),
		"st_tensor_get_info": func() error { _, err := borderTensorInfo(nil); return err },
		"st_tensor_item":     func() error { _, err := borderTensorItem(h); return err }, // six elements

		"st_tensor_from_data":      func() error { return second(borderTensorFromData(data, DType(99), []int{1})) },
		"st_tensor_full":           func() error { return second(borderTensorFull(1, Float32, make([]int, 17))) },
		"st_tensor_copy_out":       func() error { return borderTensorCopyOut(h, Float32, data, 4) },
		"st_tensor_has_non_finite": func() error { _, err := borderTensorNonFinite(nil); return err },
		"st_tensor_assign":         func() error { return borderAssign(h, nil) },
		"st_tensor_clone":          func() error { return second(borderClone(nil)) },
		"st_tensor_to_dtype":       func() error { return second(borderTo(h, DType(99))) },
		"st_tensor_to_device":      func() error { return second(borderToDevice(h, Device{Type: 7})) },

		"st_unary":         func() error { return second(borderUnary(99, h)) },
		"st_binary":        func() error { return second(borderBinary(binaryAdd, h, nil)) },
		"st_binary_scalar": func() error { return second(borderBinaryScalar(99, h, 1)) },
		"st_clamp":         func() error { return second(borderClamp(h, 2, 1)) },
		"st_reduce":        func() error { return second(borderReduce(reduceSum, h, []int{5})) },
		"st_argmax":        func() error { return second(borderArgmax(h, 5)) },
		"st_softmax":       func() error { return second(borderSoftmax(h, 5, true)) },
		"st_matmul":        func() error { return second(borderMatMul(h, h)) }, // [2,3] x [2,3]
		"st_reshape":       func() error { return second(borderReshape(h, []int{4})) },
		"st_permute":       func() error { return second(borderPermute(h, []int{0, 0})) },
		"st_slice":         func() error { return second(borderSlice(h, 0, 1, 3)) },
		"st_cat":           func() error { return second(borderCat([]tensorHandle{h, nil}, 0)) },
		"st_flip":          func() error { return second(borderFlip(h, []int{2})) },
		"st_index_rows":    func() error { return second(borderIndexRows(h, h)) }, // not int64
		"st_shift":         func() error { return second(borderShift(h, []int{1, 1}, []int{1, 1})) },
		"st_interpolate":   func() error { return second(borderInterpolate(h, 4, 4, Bilinear, false)) },

		"st_cross_entropy":   func() error { return second(borderCrossEntropy(h, nil, ReduceMean, 0)) },
		"st_bce_with_logits": func() error { return second(borderBCE(h, h, Reduction(9))) },
		"st_kl_div":          func() error { return second(borderKLDiv(h, nil, ReduceMean)) },

		"st_module_load":           func() error { _, err := borderModuleLoad("no such file", CPU); return err },
		"st_module_save":           func() error { return borderModuleSave(m, "/no such folder/x.pt", nil) },
		"st_module_clone":          func() error { _, err := borderModuleClone(nil); return err },
		"st_module_describe":       func() error { _, err := borderModuleDescribe(nil); return err },
		"st_module_get":            func() error { return second(borderModuleGet(m, "no such parameter", false)) },
		"st_module_set":            func() error { return borderModuleSet(m, "head.bias", nil) },
		"st_module_train":          func() error { return borderModuleTrain(nil, true) },
		"st_module_requires_grad":  func() error { return borderModuleRequiresGrad(nil, true) },
		"st_module_to":             func() error { return borderModuleTo(m, CPU, Int64) },
		"st_module_channels_last":  func() error { return borderModuleChannelsLast(nil, true) },
		"st_module_lower":          func() error { return borderModuleLower(nil, BFloat16) },
		"st_module_zero_grad":      func() error { return borderModuleZeroGrad(nil) },
		"st_module_clip_grad_norm": func() error { _, err := borderModuleClip(m, 1); return err }, // no gradients

		"st_module_freeze":     func() error { return borderModuleFreeze(m, []string{"no such parameter"}) },
		"st_module_objective":  func() error { _, err := borderModuleObjective(m, nil, 1, Float32); return err }, // one input is needed
		"st_module_call":       func() error { _, err := borderModuleCall(m, "no_such_method", nil, Float32); return err },
		"st_module_forward":    func() error { _, err := borderModuleForward(m, h, nil, nil, true); return err },
		"st_module_input_grad": func() error { _, err := borderModuleInputGrad(m, h, h, nil, GradOptions{}); return err },
		"st_module_attention_grad": func() error {
			_, err := borderModuleAttentionGrad(m, h, h, h, AttentionOptions{})
			return err
		},
		"st_module_backward": func() error {
			_, _, err := borderModuleBackward(m, h, h, nil, BackwardOptions{Scale: 1})
			return err
		},
		"st_module_scale_grad": func() error { _, err := borderModuleScaleGrad(nil, 1); return err },
		"st_module_average":    func() error { return borderModuleAverage(m, nil, 0.5) },

		"st_sign_attack_new":    func() error { _, err := borderSignAttackNew(m, h, h, h, SignOptions{}); return err }, // no images
		"st_sign_attack_step":   func() error { _, _, err := borderSignAttackStep(nil); return err },
		"st_sign_attack_images": func() error { return second(borderSignAttackImages(nil)) },
		"st_sign_attack_free":   ignore(func() { borderSignAttackFree(nil) }),

		"st_optimizer_new":       func() error { _, err := borderOptimizerNew(m, badGroups); return err },
		"st_optimizer_step":      func() error { return borderOptimizerStep(nil, 1) },
		"st_optimizer_state":     func() error { _, err := borderOptimizerState(nil); return err },
		"st_optimizer_set_state": func() error { return borderOptimizerSetState(nil, []byte("x")) },
	}
}

// The library with the captured graphs is opened on machines with a GPU only; that everything it needs exists shows here.
func TestGraphLibraryIsComplete(t *testing.T) {
	library := filepath.Join("..", "build", "libsat_torch_cuda.so")
	if _, err := os.Stat(library); err != nil {
		t.Skip("built without captured CUDA graphs: libtorch_cuda or the headers of the CUDA runtime are missing")
	}
	out, err := exec.Command("ldd", "-r", library).CombinedOutput()
	if err != nil {
		t.Skipf("ldd: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "undefined symbol") || strings.Contains(line, "not found") && !strings.Contains(line, "libcuda.so") {
			t.Error(strings.TrimSpace(line))
		}
	}
}

func TestEveryExportedFunctionRefusesBadArguments(t *testing.T) {
	if err := Init(Config{Threads: 1}); err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	m, err := borderModuleLoad(filepath.Join("testdata", "conv.pt"), CPU)
	if err != nil {
		t.Fatal(err)
	}
	defer borderModuleFree(m)
	h, err := borderTensorFull(1, Float32, []int{2, 3})
	if err != nil {
		t.Fatal(err)
	}
	defer borderTensorFree(h)
	state, err := borderGeneratorState()
	if err != nil {
		t.Fatal(err)
	}

	calls := borderCalls(h, m)
	nothingToRefuse := map[string]bool{
		"st_abi_version": true, "st_torch_build_version": true, "st_torch_version": true, "st_bytes_free": true,
		"st_live_handles": true, "st_allow_tf32": true, "st_describe": true, "st_malloc_trim": true, "st_manual_seed": true,
		"st_generator_state": true, "st_tensor_free": true, "st_module_free": true, "st_optimizer_free": true,
		"st_sign_attack_free": true,
	}
	live := LiveHandles()
	for _, name := range exported(t) {
		call, ok := calls[name]
		if !ok {
			t.Errorf("%s is not in the table", name)
			continue
		}
		if call == nil {
			continue
		}
		err := call()
		if err == nil && !nothingToRefuse[name] {
			t.Errorf("%s accepts bad arguments", name)
		}
		if err != nil && (strings.TrimSpace(err.Error()) == "" || strings.Contains(err.Error(), "unknown C++ exception")) {
			t.Errorf("%s: error %q says nothing", name, err)
		}
	}
	if LiveHandles() != live {
		t.Errorf("%d handles after refused calls, %d before", LiveHandles(), live)
	}
	after, err := borderGeneratorState()
	if err != nil {
		t.Fatal(err)
	}
	if len(after) != len(state) {
		t.Errorf("a refused generator state changed the generator")
	}
}

// Null handles in every place where the functions above get a real one.
func TestNullHandles(t *testing.T) {
	if err := Init(Config{Threads: 1}); err != nil {
		t.Fatal(err)
	}
	for name, call := range borderCalls(nil, nil) {
		if call != nil {
			t.Logf("%s: %v", name, call())
		}
	}
}

// exported lists the functions that the C headers declare.
func exported(t *testing.T) []string {
	t.Helper()
	headers, err := filepath.Glob(filepath.Join("csrc", "st_*.h"))
	if err != nil || len(headers) == 0 {
		t.Fatalf("no headers: %v", err)
	}
	declaration := regexp.MustCompile(`(?m)^ST_API [^(]*?(st_\w+)\(`)
	var names []string
	for _, h := range headers {
		text, err := os.ReadFile(h)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range declaration.FindAllStringSubmatch(string(text), -1) {
			names = append(names, match[1])
		}
	}
	if len(names) < 50 || len(names) > 80 {
		t.Errorf("%d exported functions", len(names))
	}
	return names
}
