package torch

import (
	"errors"
	"fmt"
)

// SignOptions says what a SignAttack differentiates and how far it goes.
type SignOptions struct {
	Mean, Std []float32 // per channel, see Module.Forward
	Loss      LossKind  // one without a target
	StepSize  float64   // rounded to float32, like Epsilon
	Epsilon   float64
	Descend   bool // make the loss smaller instead of larger
	// Capture records the step as a CUDA graph and replays it, which saves launching its kernels one by one. It has no
	// effect on the CPU.
	Capture bool
	// ByOperations does the arithmetic with libtorch's operations on the CPU too, as on CUDA, instead of in one pass. The
	// results are the same bit for bit.
	ByOperations bool
}

// SignAttack is the inner loop of a signed-gradient attack on a batch whose images stay where the network computes, in
// its memory layout. Its owner closes it before the module. It belongs to the worker of its module.
type SignAttack struct {
	module *Module
	handle attackHandle
}

// NewSignAttack starts an attack at the float32 images start [N,C,H,W], about the images clean, with labels y [N] int64.
// It copies all three.
func (m *Module) NewSignAttack(s *Scope, clean, start, y Tensor, o SignOptions) (*SignAttack, error) {
	const op = "sign attack"
	fail := func(err error) (*SignAttack, error) {
		s.fail(err)
		return nil, err
	}
	if err := m.enterFor(op, s); err != nil {
		return fail(err)
	}
	defer m.mu.Unlock()
	if m.training {
		return fail(m.wrap(op, errors.New("the module is in train mode")))
	}
	if err := checkNormalisation(o.Mean, o.Std); err != nil {
		return fail(m.wrap(op, err, clean))
	}
	var handles [3]tensorHandle
	for i, t := range []Tensor{clean, start, y} {
		h, err := t.use(op)
		if err != nil {
			return fail(err)
		}
		handles[i] = h
	}
	h, err := borderSignAttackNew(m.handle, handles[0], handles[1], handles[2], o)
	if err != nil {
		return fail(m.wrap(op, err, clean, start, y))
	}
	return &SignAttack{module: m, handle: h}, nil
}

func (a *SignAttack) enter(op string, s *Scope) error {
	if err := a.module.enterFor(op, s); err != nil {
		return err
	}
	if a.handle == nil {
		a.module.mu.Unlock()
		return fmt.Errorf("%s: attack on %s %w", op, a.module.name, ErrClosed)
	}
	return nil
}

// SignVerdict is what a step saw in the gradient of one image.
type SignVerdict struct {
	Moves     bool // some entry is not 0
	NotFinite bool // some entry is NaN or infinite; the image is worthless then
}

// Step replaces the images x_t by
//
//	clamp01(clean + clamp(x_t + StepSize*sign(g) - clean, -Epsilon, Epsilon))
//
// where g is the gradient of the summed loss at x_t and every operation is rounded to float32. It returns the logits
// [N,K] at x_t, on the CPU.
func (a *SignAttack) Step(s *Scope) (logits Tensor, verdicts []SignVerdict, err error) {
	const op = "sign attack step"
	if err := a.enter(op, s); err != nil {
		return s.fail(err), nil, err
	}
	defer a.module.mu.Unlock()
	z, v, err := borderSignAttackStep(a.handle)
	if err != nil {
		err = a.module.wrap(op, err)
		return s.fail(err), nil, err
	}
	logits = s.adopt(op, z)
	bits, err := s.adopt(op, v).Int32s()
	for _, b := range bits {
		verdicts = append(verdicts, SignVerdict{Moves: b&1 != 0, NotFinite: b&2 != 0})
	}
	return logits, verdicts, err
}

// Images returns a copy of the images as they are now, on the CPU.
func (a *SignAttack) Images(s *Scope) Tensor {
	const op = "sign attack images"
	if err := a.enter(op, s); err != nil {
		return s.fail(err)
	}
	defer a.module.mu.Unlock()
	h, err := borderSignAttackImages(a.handle)
	if err != nil {
		return s.fail(a.module.wrap(op, err))
	}
	return s.adopt(op, h)
}

// Close frees the attack. Closing twice is harmless.
func (a *SignAttack) Close() {
	a.module.mu.Lock()
	defer a.module.mu.Unlock()
	if a.handle != nil {
		borderSignAttackFree(a.handle)
		a.handle = nil
	}
}
