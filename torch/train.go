package torch

import (
	"errors"
	"fmt"
)

// Target holds what a batch should be classified as: exactly one of the two fields.
type Target struct {
	Labels        Tensor // [N] int64
	Probabilities Tensor // [N,K] of the logits' type
}

// TrainingLoss is the loss of the first output.
type TrainingLoss int

// The losses. The values are part of the C border (st_train_loss).
const (
	CrossEntropy TrainingLoss = iota // with labels or probabilities
	BCE                              // binary cross-entropy per class, over all elements; with probabilities
)

// Distillation is how a network with two outputs learns from a teacher with its second one.
type Distillation int

// The ways to distil. The values are part of the C border (st_distillation).
const (
	NoDistillation   Distillation = iota
	HardDistillation              // cross-entropy with the teacher's class
	SoftDistillation              // Tau^2 * KL(teacher || student) at temperature Tau, divided by the number of elements
)

// BackwardOptions says what Backward differentiates.
type BackwardOptions struct {
	Mean, Std      []float32 // per channel, see Module.Forward
	Loss           TrainingLoss
	LabelSmoothing float64 // of Labels; soft targets come smoothed
	Scale          float64 // factor of the loss before differentiating, such as 1/accumulation steps; 0 means 1
	Precision      DType   // BFloat16, or Float16 on CUDA: matrix products and convolutions compute in it (autocast)

	// The total is (1-Alpha) times the loss above plus Alpha times that of the second output.
	Distillation Distillation
	Teacher      Tensor // logits [N,K]
	Alpha, Tau   float64
}

// Losses are means over the batch, without BackwardOptions.Scale.
type Losses struct {
	Total        float64
	Distillation float64 // its part, before Alpha; 0 without distillation
}

// Backward runs the network in train mode on x [N,C,H,W] and adds the gradient of Scale times the mean loss to the
// gradients of the parameters. It returns the losses and the logits [N,K] of the first output.
func (m *Module) Backward(s *Scope, x Tensor, target Target, o BackwardOptions) (Losses, Tensor, error) {
	const op = "backward"
	if err := m.enterFor(op, s); err != nil {
		return Losses{}, s.fail(err), err
	}
	defer m.mu.Unlock()
	losses, h, err := m.backward(op, x, target, o)
	if err != nil {
		err = m.wrap(op, err, x)
		return Losses{}, s.fail(err), err
	}
	return losses, s.adopt(op, h), nil
}

func (m *Module) backward(op string, x Tensor, target Target, o BackwardOptions) (Losses, tensorHandle, error) {
	if !m.training {
		return Losses{}, nil, errors.New("the module is in eval mode; call SetTraining(true)")
	}
	if (target.Labels.e == nil) == (target.Probabilities.e == nil) {
		return Losses{}, nil, errors.New("a target has either labels or probabilities")
	}
	if (o.Distillation == NoDistillation) != (o.Teacher.e == nil) {
		return Losses{}, nil, errors.New("distillation and the teacher's logits need each other")
	}
	if err := checkNormalisation(o.Mean, o.Std); err != nil {
		return Losses{}, nil, err
	}
	handles := make([]tensorHandle, 3)
	for i, t := range []Tensor{x, target.Labels, o.Teacher} {
		if i == 1 && t.e == nil {
			t = target.Probabilities
		}
		if i == 2 && t.e == nil {
			continue
		}
		h, err := t.use(op)
		if err != nil {
			return Losses{}, nil, err
		}
		handles[i] = h
	}
	if o.Scale == 0 {
		o.Scale = 1
	}
	return borderModuleBackward(m.handle, handles[0], handles[1], handles[2], o)
}

// ScaleGrad multiplies the gradients of all parameters and reports whether they are finite afterwards.
func (m *Module) ScaleGrad(factor float64) (finite bool, err error) {
	const op = "scale gradients"
	if err := m.enter(op); err != nil {
		return false, err
	}
	defer m.mu.Unlock()
	if finite, err = borderModuleScaleGrad(m.handle, factor); err != nil {
		return false, m.wrap(op, err)
	}
	return finite, nil
}

// Average makes every floating-point parameter and buffer of m decay times itself plus (1-decay) times that of the other
// network, and copies the others: the moving average of weights.
func (m *Module) Average(of *Module, decay float64) error {
	const op = "average"
	if m == of {
		return fmt.Errorf("%s: a network cannot be its own average", op)
	}
	if err := m.enter(op); err != nil {
		return err
	}
	defer m.mu.Unlock()
	if err := of.enter(op); err != nil {
		return err
	}
	defer of.mu.Unlock()
	if err := borderModuleAverage(m.handle, of.handle, decay); err != nil {
		return m.wrap(op, err)
	}
	return nil
}
