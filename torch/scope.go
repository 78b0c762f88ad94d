package torch

import (
	"errors"
	"fmt"
)

// Scope owns the tensors made in it and frees them, newest first, when it ends. It keeps the first error: after one,
// every operation on it does nothing and returns a failed Tensor, so that formulas read as formulas, and the error
// comes out of Step, of Worker.Do, of Err and of every copy out of a failed Tensor.
//
// A scope belongs to the goroutine of its worker and is not safe for concurrent use.
type Scope struct {
	worker *Worker
	parent *Scope
	owned  []*entry
	failed *entry // what operations return after an error
	err    error
	closed bool
}

// entry is a tensor handle and the scope that frees it.
type entry struct {
	handle tensorHandle
	scope  *Scope // the owner; of a failed entry: the scope that holds the error
	origin string // operation that made it, for messages
}

// Tensor refers to an array that a Scope owns. The zero value refers to nothing: using it is an error, not a crash.
type Tensor struct{ e *entry }

func newScope(w *Worker, parent *Scope) *Scope { return &Scope{worker: w, parent: parent} }

// Err is the first error of an operation on this scope.
func (s *Scope) Err() error { return s.err }

// Step runs f on a scope of its own and frees what f made, except what it handed to s with Keep. It returns the error
// of f or else the first error on that scope. An error on s itself makes Step return it without calling f.
func (s *Scope) Step(f func(s *Scope) error) error {
	if s.err != nil {
		return s.err
	}
	if s.closed {
		return fmt.Errorf("step: scope %w", ErrClosed)
	}
	child := newScope(s.worker, s)
	defer child.Close() // also when f panics
	if err := f(child); err != nil {
		return err
	}
	return child.err
}

// Keep hands t, which must belong to this scope, to the parent scope and returns it. On a scope without a parent it is
// an error: what outlives a Worker.Do is made in a scope of Worker.NewScope.
func (s *Scope) Keep(t Tensor) Tensor {
	if s.err != nil {
		return s.fail(s.err)
	}
	if s.parent == nil {
		return s.fail(errors.New("keep: this scope has no parent; use Worker.NewScope for what outlives Do"))
	}
	if _, err := t.use("keep"); err != nil {
		return s.fail(err)
	}
	for i := len(s.owned) - 1; i >= 0; i-- {
		if s.owned[i] == t.e {
			s.owned = append(s.owned[:i], s.owned[i+1:]...)
			s.parent.owned = append(s.parent.owned, t.e)
			t.e.scope = s.parent
			return t
		}
	}
	return s.fail(errors.New("keep: the tensor belongs to another scope"))
}

// Close frees the tensors of the scope, newest first. Only scopes made by Worker.NewScope are closed by their user.
// Closing twice is harmless.
func (s *Scope) Close() {
	if s.closed {
		return
	}
	s.closed = true
	for i := len(s.owned) - 1; i >= 0; i-- {
		e := s.owned[i]
		borderTensorFree(e.handle)
		e.handle = nil
	}
	s.owned = nil
	if s.parent == nil && s.worker != nil {
		s.worker.forget(s)
	}
}

// fail records err when it is the first one and returns a Tensor that carries the first one.
func (s *Scope) fail(err error) Tensor {
	if s.err == nil {
		s.err = err
	}
	if s.failed == nil {
		s.failed = &entry{scope: s}
	}
	return Tensor{s.failed}
}

// ready returns the reason why no operation may run on s, or nil.
func (s *Scope) ready(op string) error {
	if s.err != nil {
		return s.err
	}
	if s.closed {
		return fmt.Errorf("%s: scope %w", op, ErrClosed)
	}
	return nil
}

// adopt makes s the owner of a new handle.
func (s *Scope) adopt(op string, h tensorHandle) Tensor {
	e := &entry{handle: h, scope: s, origin: op}
	s.owned = append(s.owned, e)
	return Tensor{e}
}

// run checks the scope and the operands, calls f with their handles and adopts its result.
func (s *Scope) run(op string, f func(h []tensorHandle) (tensorHandle, error), operands ...Tensor) Tensor {
	if err := s.ready(op); err != nil {
		return s.fail(err)
	}
	handles := make([]tensorHandle, len(operands), max(len(operands), 1))
	for i, t := range operands {
		h, err := t.use(op)
		if err != nil {
			return s.fail(err)
		}
		handles[i] = h
	}
	h, err := f(handles)
	if err != nil {
		return s.fail(fmt.Errorf("%s%s: %w", op, shapes(operands), err))
	}
	return s.adopt(op, h)
}

// shapes formats the operands of an operation that went wrong, such as " [2,3] [3,4]".
func shapes(operands []Tensor) string {
	text := ""
	for _, t := range operands {
		if info, err := t.info("shape"); err == nil {
			text += " " + shapeText(info.shape)
		}
	}
	return text
}

func shapeText(shape []int) string {
	text := "["
	for i, d := range shape {
		if i > 0 {
			text += ","
		}
		text += fmt.Sprint(d)
	}
	return text + "]"
}

// use returns the handle of t or the reason why op cannot use it.
func (t Tensor) use(op string) (tensorHandle, error) {
	switch {
	case t.e == nil:
		return nil, fmt.Errorf("%s: the operand is a zero Tensor", op)
	case t.e.handle != nil:
		return t.e.handle, nil
	case t.e.scope.failed == t.e && t.e.scope.err != nil:
		return nil, t.e.scope.err
	default:
		return nil, fmt.Errorf("%s: tensor of %q %w", op, t.e.origin, ErrClosed)
	}
}
