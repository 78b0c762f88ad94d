package torch

import "errors"

// Objective runs a network that computes what is to be minimised itself: its forward method takes the inputs and returns
// one number, perhaps with others after it. It runs in train mode and adds the gradient of scale (0 means 1) times the first
// number to the gradients of the parameters. It returns all numbers. precision BFloat16, or Float16 on CUDA, lets matrix
// products and convolutions compute in it (autocast).
func (m *Module) Objective(s *Scope, scale float64, precision DType, inputs ...Tensor) ([]float64, error) {
	const op = "objective"
	if err := m.enterFor(op, s); err != nil {
		s.fail(err)
		return nil, err
	}
	defer m.mu.Unlock()
	values, err := func() ([]float64, error) {
		if !m.training {
			return nil, errors.New("the module is in eval mode; call SetTraining(true)")
		}
		handles, err := handlesOf(op, inputs)
		if err != nil {
			return nil, err
		}
		if scale == 0 {
			scale = 1
		}
		return borderModuleObjective(m.handle, handles, scale, precision)
	}()
	if err != nil {
		err = m.wrap(op, err, inputs...)
		s.fail(err)
	}
	return values, err
}

// Call runs a method of the network's code on the inputs, in the network's mode and without gradients, and returns every
// tensor that it returns. After an error it returns nil and s.Err says why. precision is as in Objective.
func (m *Module) Call(s *Scope, method string, precision DType, inputs ...Tensor) []Tensor {
	op := "call " + method + " of"
	if err := m.enterFor(op, s); err != nil {
		s.fail(err)
		return nil
	}
	defer m.mu.Unlock()
	handles, err := handlesOf(op, inputs)
	if err == nil {
		handles, err = borderModuleCall(m.handle, method, handles, precision)
	}
	if err != nil {
		s.fail(m.wrap(op, err, inputs...))
		return nil
	}
	out := make([]Tensor, len(handles))
	for i, h := range handles {
		out[i] = s.adopt(op, h)
	}
	return out
}

func handlesOf(op string, tensors []Tensor) ([]tensorHandle, error) {
	handles := make([]tensorHandle, len(tensors))
	for i, t := range tensors {
		h, err := t.use(op)
		if err != nil {
			return nil, err
		}
		handles[i] = h
	}
	return handles, nil
}
