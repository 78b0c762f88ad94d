//go:build !cgo

package torch

import "unsafe"

// Without cgo there is no libtorch. NewWorker and LoadModule fail first, so nothing below them is ever reached; the
// functions exist so that every package that imports this one still builds.

const available = false

type (
	tensorHandle    unsafe.Pointer
	moduleHandle    unsafe.Pointer
	optimizerHandle unsafe.Pointer
	attackHandle    unsafe.Pointer
)

func borderVersions() (abi int, built, loaded string, err error) { return 0, "", "", ErrUnavailable }
func borderInit(int) error                                       { return ErrUnavailable }
func borderDescribe() (string, error)                            { return "", ErrUnavailable }
func borderLoadCUDA() error                                      { return ErrUnavailable }
func borderAllowTF32(bool) error                                 { return ErrUnavailable }
func borderLiveHandles() int64                                   { return 0 }
func borderMallocTrim()                                          {}
func borderEmptyCache(Device) error                              { return ErrUnavailable }
func borderSynchronize(Device) error                             { return ErrUnavailable }
func borderMemory(Device) (Memory, error)                        { return Memory{}, ErrUnavailable }
func borderManualSeed(uint64) error                              { return ErrUnavailable }
func borderGeneratorState() ([]byte, error)                      { return nil, ErrUnavailable }
func borderSetGeneratorState([]byte) error                       { return ErrUnavailable }

func borderTensorFree(tensorHandle)                       {}
func borderTensorInfo(tensorHandle) (tensorInfo, error)   { return tensorInfo{}, ErrUnavailable }
func borderTensorItem(tensorHandle) (float64, error)      { return 0, ErrUnavailable }
func borderTensorNonFinite(tensorHandle) (bool, error)    { return false, ErrUnavailable }
func borderAssign(tensorHandle, tensorHandle) error       { return ErrUnavailable }
func borderClone(tensorHandle) (tensorHandle, error)      { return nil, ErrUnavailable }
func borderUnary(int, tensorHandle) (tensorHandle, error) { return nil, ErrUnavailable }

func borderTensorCopyOut(tensorHandle, DType, unsafe.Pointer, int) error { return ErrUnavailable }

func borderTensorFromData(unsafe.Pointer, DType, []int) (tensorHandle, error) {
	return nil, ErrUnavailable
}

func borderTensorFull(float64, DType, []int) (tensorHandle, error) { return nil, ErrUnavailable }

func borderBinary(int, tensorHandle, tensorHandle) (tensorHandle, error) { return nil, ErrUnavailable }

func borderBinaryScalar(int, tensorHandle, float64) (tensorHandle, error) {
	return nil, ErrUnavailable
}

func borderClamp(tensorHandle, float64, float64) (tensorHandle, error) { return nil, ErrUnavailable }
func borderReduce(int, tensorHandle, []int) (tensorHandle, error)      { return nil, ErrUnavailable }
func borderArgmax(tensorHandle, int) (tensorHandle, error)             { return nil, ErrUnavailable }
func borderSoftmax(tensorHandle, int, bool) (tensorHandle, error)      { return nil, ErrUnavailable }
func borderMatMul(tensorHandle, tensorHandle) (tensorHandle, error)    { return nil, ErrUnavailable }
func borderReshape(tensorHandle, []int) (tensorHandle, error)          { return nil, ErrUnavailable }
func borderPermute(tensorHandle, []int) (tensorHandle, error)          { return nil, ErrUnavailable }
func borderSlice(tensorHandle, int, int, int) (tensorHandle, error)    { return nil, ErrUnavailable }
func borderCat([]tensorHandle, int) (tensorHandle, error)              { return nil, ErrUnavailable }
func borderFlip(tensorHandle, []int) (tensorHandle, error)             { return nil, ErrUnavailable }
func borderIndexRows(tensorHandle, tensorHandle) (tensorHandle, error) { return nil, ErrUnavailable }
func borderTo(tensorHandle, DType) (tensorHandle, error)               { return nil, ErrUnavailable }
func borderToDevice(tensorHandle, Device) (tensorHandle, error)        { return nil, ErrUnavailable }
func borderShift(tensorHandle, []int, []int) (tensorHandle, error)     { return nil, ErrUnavailable }

func borderInterpolate(tensorHandle, int, int, Interpolation, bool) (tensorHandle, error) {
	return nil, ErrUnavailable
}

func borderCrossEntropy(tensorHandle, tensorHandle, Reduction, float64) (tensorHandle, error) {
	return nil, ErrUnavailable
}

func borderBCE(tensorHandle, tensorHandle, Reduction) (tensorHandle, error) {
	return nil, ErrUnavailable
}

func borderKLDiv(tensorHandle, tensorHandle, Reduction) (tensorHandle, error) {
	return nil, ErrUnavailable
}

func borderModuleLoad(string, Device) (moduleHandle, error)            { return nil, ErrUnavailable }
func borderModuleSave(moduleHandle, string, map[string][]byte) error   { return ErrUnavailable }
func borderModuleClone(moduleHandle) (moduleHandle, error)             { return nil, ErrUnavailable }
func borderModuleFree(moduleHandle)                                    {}
func borderModuleDescribe(moduleHandle) (string, error)                { return "", ErrUnavailable }
func borderModuleGet(moduleHandle, string, bool) (tensorHandle, error) { return nil, ErrUnavailable }
func borderModuleSet(moduleHandle, string, tensorHandle) error         { return ErrUnavailable }
func borderModuleTrain(moduleHandle, bool) error                       { return ErrUnavailable }
func borderModuleRequiresGrad(moduleHandle, bool) error                { return ErrUnavailable }
func borderModuleTo(moduleHandle, Device, DType) error                 { return ErrUnavailable }
func borderModuleChannelsLast(moduleHandle, bool) error                { return ErrUnavailable }
func borderModuleLower(moduleHandle, DType) error                      { return ErrUnavailable }
func borderModuleZeroGrad(moduleHandle) error                          { return ErrUnavailable }
func borderModuleClip(moduleHandle, float64) (float64, error)          { return 0, ErrUnavailable }

func borderModuleForward(moduleHandle, tensorHandle, []float32, []float32, bool) ([]tensorHandle, error) {
	return nil, ErrUnavailable
}

func borderModuleInputGrad(_ moduleHandle, _, _, _ tensorHandle, _ GradOptions) ([3]tensorHandle, error) {
	return [3]tensorHandle{}, ErrUnavailable
}

func borderModuleAttentionGrad(moduleHandle, tensorHandle, tensorHandle, tensorHandle, AttentionOptions) ([]tensorHandle, error) {
	return nil, ErrUnavailable
}

func borderModuleBackward(_ moduleHandle, _, _, _ tensorHandle, _ BackwardOptions) (Losses, tensorHandle, error) {
	return Losses{}, nil, ErrUnavailable
}

func borderModuleObjective(moduleHandle, []tensorHandle, float64, DType) ([]float64, error) {
	return nil, ErrUnavailable
}

func borderModuleCall(moduleHandle, string, []tensorHandle, DType) ([]tensorHandle, error) {
	return nil, ErrUnavailable
}

func borderModuleFreeze(moduleHandle, []string) error               { return ErrUnavailable }
func borderModuleScaleGrad(moduleHandle, float64) (bool, error)     { return false, ErrUnavailable }
func borderModuleAverage(moduleHandle, moduleHandle, float64) error { return ErrUnavailable }

func borderSignAttackNew(_ moduleHandle, _, _, _ tensorHandle, _ SignOptions) (attackHandle, error) {
	return nil, ErrUnavailable
}

func borderSignAttackStep(attackHandle) (logits, verdicts tensorHandle, err error) {
	return nil, nil, ErrUnavailable
}

func borderSignAttackImages(attackHandle) (tensorHandle, error) { return nil, ErrUnavailable }
func borderSignAttackFree(attackHandle)                         {}

func borderOptimizerNew(moduleHandle, OptimizerConfig) (optimizerHandle, error) {
	return nil, ErrUnavailable
}

func borderOptimizerFree(optimizerHandle)                   {}
func borderOptimizerStep(optimizerHandle, float64) error    { return ErrUnavailable }
func borderOptimizerState(optimizerHandle) ([]byte, error)  { return nil, ErrUnavailable }
func borderOptimizerSetState(optimizerHandle, []byte) error { return ErrUnavailable }
