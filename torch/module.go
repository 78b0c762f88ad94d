package torch

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// Module is a TorchScript network. Calls are serialised by a mutex; in train mode, where a forward pass writes batch
// statistics, the module belongs to the worker that used it first and calls from another one are refused.
type Module struct {
	mu       sync.Mutex
	handle   moduleHandle
	name     string // file it was loaded from, for messages
	tensors  []TensorInfo
	traced   bool // the file says so; the graph is looked at too before training
	training bool
	owner    *Worker // in train mode
}

// GradOptions says what InputGrad differentiates.
type GradOptions struct {
	Mean, Std []float32 // per channel, see Module.Forward
	Loss      LossKind
	Targets   Tensor // [N] int64, for the losses with a target; the zero Tensor for the others
}

// LoadModule reads a TorchScript file to d, in eval mode and with parameters that need no gradient. It returns the
// contents of those of the named extra files that the file has. Every record is checked against its checksum first; an
// error names the file and what is wrong with it (missing, not TorchScript, truncated, damaged).
func LoadModule(path string, d Device, extra ...string) (*Module, map[string][]byte, error) {
	if err := initialised(); err != nil {
		return nil, nil, fmt.Errorf("load module %s: %w", path, err)
	}
	files, traced, err := readArchive(path, extra)
	if err != nil {
		return nil, nil, fmt.Errorf("load module %s: %w", path, err)
	}
	h, err := borderModuleLoad(path, d)
	if err != nil {
		return nil, nil, fmt.Errorf("load module %s: %w", path, err)
	}
	m := &Module{handle: h, name: filepath.Base(path), traced: traced}
	if err := m.describe(); err != nil {
		m.Close()
		return nil, nil, fmt.Errorf("load module %s: %w", path, err)
	}
	return m, files, nil
}

// enter locks m for one call. On success the caller unlocks m.mu.
func (m *Module) enter(op string) error {
	m.mu.Lock()
	if m.handle == nil {
		m.mu.Unlock()
		return fmt.Errorf("%s: module %s %w", op, m.name, ErrClosed)
	}
	return nil
}

// enterFor is enter for a call that runs the network on the worker of s.
func (m *Module) enterFor(op string, s *Scope) error {
	if err := s.ready(op); err != nil {
		return err
	}
	if err := m.enter(op); err != nil {
		return err
	}
	if !m.training {
		return nil
	}
	if m.owner == nil {
		m.owner = s.worker
	}
	if m.owner != s.worker {
		m.mu.Unlock()
		return fmt.Errorf("%s: module %s is in train mode on another worker", op, m.name)
	}
	return nil
}

func (m *Module) wrap(op string, err error, operands ...Tensor) error {
	return fmt.Errorf("%s %s%s: %w", op, m.name, shapes(operands), err)
}

func checkNormalisation(mean, std []float32) error {
	if len(mean) != len(std) {
		return fmt.Errorf("%d means and %d standard deviations", len(mean), len(std))
	}
	for _, v := range std {
		if !(v > 0) { // also NaN
			return fmt.Errorf("standard deviation %v is not positive", v)
		}
	}
	return nil
}

// Forward returns the logits of images x [N,C,H,W], without gradient. (x - mean)/std per channel is put in front, in the
// type of x; with empty mean and std the network sees x itself. Its input is converted to the type of its parameters
// and its output back to that of x. Of a network with two classifiers this is the mean of both, of any other tuple the first element.
func (m *Module) Forward(s *Scope, x Tensor, mean, std []float32) Tensor {
	out := m.forward(s, x, mean, std, true)
	if len(out) == 0 {
		return s.fail(s.err)
	}
	return out[0]
}

// ForwardTuple is Forward with every element of the output; after an error it returns nil and s.Err says why.
func (m *Module) ForwardTuple(s *Scope, x Tensor, mean, std []float32) []Tensor {
	return m.forward(s, x, mean, std, false)
}

func (m *Module) forward(s *Scope, x Tensor, mean, std []float32, firstOnly bool) []Tensor {
	const op = "forward"
	if err := m.enterFor(op, s); err != nil {
		s.fail(err)
		return nil
	}
	defer m.mu.Unlock()
	h, err := x.use(op)
	if err == nil {
		err = checkNormalisation(mean, std)
	}
	var out []tensorHandle
	if err == nil {
		out, err = borderModuleForward(m.handle, h, mean, std, firstOnly)
	}
	if err != nil {
		s.fail(m.wrap(op, err, x))
		return nil
	}
	tensors := make([]Tensor, len(out))
	for i, h := range out {
		tensors[i] = s.adopt(op, h)
	}
	return tensors
}

// InputGrad returns, for images x [N,C,H,W] and labels y [N] int64, the gradient of the summed loss with respect to x
// (before normalisation, like x in shape and type), the logits [N,K] and the loss per image [N]. The network runs in its
// present mode; parameters receive no gradient. NaN is passed on: check HasNonFinite where it matters.
func (m *Module) InputGrad(s *Scope, x, y Tensor, g GradOptions) (grad, logits, loss Tensor) {
	const op = "input gradient"
	fail := func(err error) (Tensor, Tensor, Tensor) {
		t := s.fail(err)
		return t, t, t
	}
	if err := m.enterFor(op, s); err != nil {
		return fail(err)
	}
	defer m.mu.Unlock()
	hx, err := x.use(op)
	if err != nil {
		return fail(err)
	}
	hy, err := y.use(op)
	if err != nil {
		return fail(err)
	}
	var ht tensorHandle
	if g.Targets.e != nil {
		if ht, err = g.Targets.use(op); err != nil {
			return fail(err)
		}
	}
	if err := checkNormalisation(g.Mean, g.Std); err != nil {
		return fail(m.wrap(op, err, x, y))
	}
	out, err := borderModuleInputGrad(m.handle, hx, hy, ht, g)
	if err != nil {
		return fail(m.wrap(op, err, x, y))
	}
	return s.adopt(op, out[0]), s.adopt(op, out[1]), s.adopt(op, out[2])
}

// describe reads names, shapes and types of the tensors.
func (m *Module) describe() error {
	text, err := borderModuleDescribe(m.handle)
	if err != nil {
		return err
	}
	var d struct {
		Tensors []TensorInfo
	}
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		return fmt.Errorf("describe: %w", err)
	}
	m.tensors = d.Tensors
	return nil
}

// Tensors lists the parameters and then the buffers, each in the order of the network's own code. Plain tensor
// attributes of a TorchScript class are neither and not listed.
func (m *Module) Tensors() []TensorInfo {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.tensors)
}

// Get returns a copy of the parameter or buffer of that name.
func (m *Module) Get(s *Scope, name string) Tensor {
	return m.get(s, "get "+name, name, false)
}

// GradOf returns a copy of the accumulated gradient of a parameter; it is an error when there is none.
func (m *Module) GradOf(s *Scope, name string) Tensor {
	return m.get(s, "gradient of "+name, name, true)
}

func (m *Module) get(s *Scope, op, name string, grad bool) Tensor {
	if err := m.enterFor(op, s); err != nil {
		return s.fail(err)
	}
	defer m.mu.Unlock()
	h, err := borderModuleGet(m.handle, name, grad)
	if err != nil {
		return s.fail(m.wrap(op, err))
	}
	return s.adopt(op, h)
}

// Set copies value into the parameter or buffer of that name, which must have the same shape; the element type is
// converted.
func (m *Module) Set(s *Scope, name string, value Tensor) error {
	op := "set " + name
	if err := m.enterFor(op, s); err != nil {
		s.fail(err)
		return err
	}
	defer m.mu.Unlock()
	h, err := value.use(op)
	if err == nil {
		if err = borderModuleSet(m.handle, name, h); err != nil {
			err = m.wrap(op, err, value)
		}
	}
	if err != nil {
		s.fail(err)
	}
	return err
}

// SetTraining switches between train and eval mode. A traced network has its mode baked in, so train mode is refused
// for it: batch normalisation would silently keep its old statistics.
func (m *Module) SetTraining(on bool) error {
	if err := m.enter("set training"); err != nil {
		return err
	}
	defer m.mu.Unlock()
	if on && m.traced {
		return m.wrap("train", errors.New("a traced network cannot be trained; export it with torch.jit.script"))
	}
	if err := borderModuleTrain(m.handle, on); err != nil {
		return m.wrap("set training", err)
	}
	m.training, m.owner = on, nil
	return nil
}

// Training reports the mode.
func (m *Module) Training() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.training
}

// SetRequiresGrad says whether Backward collects gradients of the parameters. Off after loading: a backward pass to the
// input alone is cheaper.
func (m *Module) SetRequiresGrad(on bool) error {
	if err := m.enter("set requires grad"); err != nil {
		return err
	}
	defer m.mu.Unlock()
	return borderModuleRequiresGrad(m.handle, on)
}

// Freeze says which parameters, and no others, get no gradient while SetRequiresGrad is on; an optimiser leaves them where
// they are. Without names every parameter learns again.
func (m *Module) Freeze(names ...string) error {
	if err := m.enter("freeze"); err != nil {
		return err
	}
	defer m.mu.Unlock()
	if err := borderModuleFreeze(m.handle, names); err != nil {
		return m.wrap("freeze parameters of", err)
	}
	return nil
}

// To moves the module to d and converts its floating-point tensors to dtype, which must be a floating type; integer
// buffers keep theirs. Gradients are dropped.
func (m *Module) To(d Device, dtype DType) error {
	if !dtype.Floating() {
		return fmt.Errorf("convert module %s: %s is not a floating-point type", m.name, dtype)
	}
	if err := m.enter("convert"); err != nil {
		return err
	}
	defer m.mu.Unlock()
	if err := borderModuleTo(m.handle, d, dtype); err != nil {
		return m.wrap("convert", err)
	}
	return m.describe()
}

// SetChannelsLast says how images, filters and feature maps lie in memory: pixel by pixel (NHWC) or, as after loading,
// channel by channel (NCHW). Tensors keep their shapes; only speed and rounding differ. Convolutions gain from it.
func (m *Module) SetChannelsLast(on bool) error {
	if err := m.enter("set channels last"); err != nil {
		return err
	}
	defer m.mu.Unlock()
	if err := borderModuleChannelsLast(m.handle, on); err != nil {
		return m.wrap("set channels last", err)
	}
	return nil
}

// Lower makes a network in float32 on the CPU, in eval mode, faster for attacks, in float32 or bfloat16: forward passes and
// gradients of the input. Its parameters become constants that nothing can change or read any more, so it cannot be saved or
// trained. Against To(CPU, dtype) followed by SetChannelsLast(true), batch normalisation and other factors behind a convolution
// become part of its filters, in float32 before they are rounded; filters lie as oneDNN's kernels read them, in place of being
// put in that order on every pass; and in bfloat16 GELU stores its slope for the way back.
func (m *Module) Lower(dtype DType) error {
	if err := m.enter("lower"); err != nil {
		return err
	}
	defer m.mu.Unlock()
	if err := borderModuleLower(m.handle, dtype); err != nil {
		return m.wrap("lower", err)
	}
	return m.describe()
}

// ZeroGrad drops the gradients of the parameters.
func (m *Module) ZeroGrad() error {
	if err := m.enter("zero gradients"); err != nil {
		return err
	}
	defer m.mu.Unlock()
	return borderModuleZeroGrad(m.handle)
}

// ClipGradNorm scales the gradients of all parameters by min(1, max/(norm + 1e-6)), where norm, which it returns, is the
// Euclidean norm of all of them together. A norm that is not finite is an error and nothing is scaled.
func (m *Module) ClipGradNorm(max float64) (float64, error) {
	if !(max > 0) {
		return 0, fmt.Errorf("clip gradients of %s: limit %v is not positive", m.name, max)
	}
	if err := m.enter("clip gradients"); err != nil {
		return 0, err
	}
	defer m.mu.Unlock()
	norm, err := borderModuleClip(m.handle, max)
	if err != nil {
		return 0, m.wrap("clip gradients of", err)
	}
	return norm, nil
}

// Save writes the module as a TorchScript file with the given extra files: first to a temporary file beside path, then
// synced and renamed. Equal modules and extra files give equal bytes, whatever the name of the file.
func (m *Module) Save(path string, extra map[string][]byte) (err error) {
	if err := m.enter("save"); err != nil {
		return err
	}
	defer m.mu.Unlock()
	defer func() {
		if err != nil {
			err = fmt.Errorf("save module to %s: %w", path, err)
		}
	}()
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".tmp-*")
	if err != nil {
		return err
	}
	defer func() {
		tmp.Close() // the error that matters was seen by Sync
		if err != nil {
			os.Remove(tmp.Name())
		}
	}()
	if err := tmp.Chmod(0o644); err != nil { // CreateTemp makes files private
		return err
	}
	if err := borderModuleSave(m.handle, tmp.Name(), extra); err != nil {
		return err
	}
	if err := tmp.Sync(); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// Clone copies the module with its parameters and buffers, in the same mode, without gradients.
func (m *Module) Clone() (*Module, error) {
	if err := m.enter("clone"); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	h, err := borderModuleClone(m.handle)
	if err != nil {
		return nil, m.wrap("clone", err)
	}
	return &Module{handle: h, name: m.name, tensors: m.tensors, traced: m.traced, training: m.training}, nil
}

// Close frees the module. Closing twice is harmless.
func (m *Module) Close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.handle != nil {
		borderModuleFree(m.handle)
		m.handle = nil
	}
}
