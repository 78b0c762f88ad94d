package attacks

import (
	"context"
	"errors"
	"fmt"
)

// SignStepper is a Model that can keep the images of an L-infinity attack where it computes, so that they need not be
// copied there and back at every step. PGD uses it where nothing but the last iterate is wanted.
type SignStepper interface {
	Model
	// StartSign prepares steps about the clean images x, beginning at start. The caller closes the run.
	StartSign(ctx context.Context, x, start Batch, y []int64, s SignSettings) (SignRun, error)
}

// SignSettings are the settings of the steps. StepSize and Epsilon are rounded to float32.
type SignSettings struct {
	Loss              Loss
	StepSize, Epsilon float64
	Descend           bool
}

// SignRun is an attack in progress.
type SignRun interface {
	// Step replaces the images x_t by clamp01(x + clamp(x_t + StepSize*sign(g) - x, -Epsilon, Epsilon)), g being the
	// gradient of the summed loss at x_t, every operation rounded to float32. It returns the logits [N,K] at x_t and, for
	// each image, whether any entry of its gradient is not 0. A gradient that is not finite is an error.
	Step(ctx context.Context) (logits []float32, moves []bool, err error)
	// Images returns a copy of the pixels of x_t as they are now.
	Images(ctx context.Context) ([]float32, error)
	Close()
}

// Images is Run for a caller who knows that the model has the classes y and wants the images alone: the last iterate of
// one untargeted run. It spares the two forward passes; Clean, Predicted, Fooled and Correct of the result are nil.
func (p PGD) Images(ctx context.Context, model Model, x Batch, y []int64, ids []string, progress Progress) (Result, error) {
	if !p.ImagesAlone() {
		return Result{}, errors.New("pgd: images alone exist for the last iterate of one untargeted run")
	}
	if err := p.Validate(); err != nil {
		return Result{}, err
	}
	if err := CheckInputs(x, y, ids); err != nil {
		return Result{}, fmt.Errorf("pgd: %w", err)
	}
	r := newPGDRun(p, model, x, x, y, ids, progress)
	var err error
	if r.stepSizes, err = p.channelSteps(model, x.C); err != nil {
		return Result{}, fmt.Errorf("pgd: %w", err)
	}
	a, err := r.steps(ctx, x, 0)
	if err != nil {
		return Result{}, err
	}
	r.progress(r.Steps, r.Steps)
	r.out.Adversarial = a.adv
	r.out.Predicted, r.out.Fooled, r.out.Correct = nil, nil, nil
	return r.result(), nil
}

// ImagesAlone reports whether Images can stand in for Run: nothing it returns depends on predictions.
func (p PGD) ImagesAlone() bool {
	return p.Select == Last && p.Restarts == 1 && p.Target == Untargeted
}

// startResident hands the images to the model where it can keep them. It returns nil where it cannot, and where the
// attack looks at every iterate or at more of the gradient than its sign.
func (r *pgdRun) startResident(ctx context.Context, a *active) (SignRun, error) {
	model, can := r.model.(SignStepper)
	if !can || r.Norm != Linf || r.Select != Last || r.Momentum > 0 || r.NormalizedStep || r.ZeroNaN || r.Steps == 0 || a.x.N == 0 {
		return nil, nil
	}
	return model.StartSign(ctx, a.x, a.adv, a.y,
		SignSettings{Loss: r.Loss, StepSize: r.StepSize, Epsilon: r.Epsilon, Descend: r.Target != Untargeted})
}

// residentStep is step for images that the model keeps.
func (r *pgdRun) residentStep(ctx context.Context, a *active, run SignRun) error {
	logits, moves, err := run.Step(ctx)
	if err != nil {
		return err
	}
	if len(moves) != a.x.N {
		return fmt.Errorf("gradients of %d images for %d", len(moves), a.x.N)
	}
	if _, err := predict(logits, a.x.N, r.ids, a.index); err != nil {
		return err
	}
	classes := len(logits) / a.x.N
	for k, i := range a.index {
		r.saturated[i] = r.saturated[i] || saturated(logits[k*classes:(k+1)*classes], a.y[k])
		r.zeroGrad[i] = r.zeroGrad[i] || !moves[k]
	}
	return nil
}
