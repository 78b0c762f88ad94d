package train

import (
	"errors"
	"fmt"
	"math"

	"sat/internal/rng"
	"sat/torch"
)

// Adversarial asks for adversarial training (Madry et al., "Towards deep learning models resistant to adversarial attacks",
// ICLR 2018): an update minimises the loss of the images that an attack on the current weights makes of the batch. With
// image x, label y, ε = Epsilon and α = StepSize, in pixels in [0,1], the attack takes Steps steps
//
//	x' <- clamp01(x + clamp(x' + α·sign(∇ CE(f(x'), y)) - x, -ε, +ε))
//
// from x, or with RandomStart from a random point of the ball. It looks at the network in evaluation mode, as the authors'
// and most later code does: dropout is off, and batch norms use their running averages and do not learn from its steps. The
// update itself is in training mode. Validation is on clean images.
type Adversarial struct {
	Epsilon     float64 `json:"epsilon"`
	StepSize    float64 `json:"step_size"`
	Steps       int     `json:"steps"`
	RandomStart bool    `json:"random_start"`
}

func (a Adversarial) validate() error {
	var errs []error
	if !(a.Epsilon > 0 && a.Epsilon <= 1) {
		errs = append(errs, fmt.Errorf("recipe: adversarial epsilon is %v, want (0,1]", a.Epsilon))
	}
	if !(a.StepSize > 0) || math.IsInf(a.StepSize, 0) {
		errs = append(errs, fmt.Errorf("recipe: adversarial step_size is %v, want a finite number > 0", a.StepSize))
	}
	if a.Steps < 1 {
		errs = append(errs, fmt.Errorf("recipe: adversarial steps is %d, want >= 1", a.Steps))
	}
	return errors.Join(errs...)
}

// attacked returns the adversarial versions of the images x with labels y, which an update sees instead.
func (t *session) attacked(s *torch.Scope, x, y torch.Tensor, epoch, update int) (adv torch.Tensor, err error) {
	a := t.Recipe.Adversarial
	if err := t.module.SetTraining(false); err != nil {
		return adv, err
	}
	adv = s.Clone(x)
	if a.RandomStart {
		adv = s.Clamp(s.Add(x, t.randomStart(s, x.Shape(), epoch, update)), 0, 1)
	}
	for range a.Steps {
		err := s.Step(func(s *torch.Scope) error {
			g, _, _ := t.module.InputGrad(s, adv, y, torch.GradOptions{Mean: t.manifest.Mean, Std: t.manifest.Std, Loss: torch.LossCrossEntropy})
			moved := s.Add(adv, s.MulScalar(s.Sign(g), a.StepSize))
			delta := s.Clamp(s.Sub(moved, x), -a.Epsilon, a.Epsilon)
			return s.Assign(adv, s.Clamp(s.Add(x, delta), 0, 1))
		})
		if err != nil {
			return adv, fmt.Errorf("attack on the batch: %w", err)
		}
	}
	return adv, errors.Join(s.Err(), t.module.SetTraining(true))
}

// randomStart returns uniform numbers in [-ε, ε], keyed by an image's place in the epoch.
func (t *session) randomStart(s *torch.Scope, shape []int, epoch, update int) torch.Tensor {
	size := shape[1] * shape[2] * shape[3]
	noise, limit := make([]float32, shape[0]*size), float32(t.Recipe.Adversarial.Epsilon)
	for i := range shape[0] {
		position := uint64(update*t.Recipe.Batch + i)
		rng.New(t.Seed, "adversarial", uint64(epoch), position).FillUniform(noise[i*size:(i+1)*size], -limit, limit)
	}
	return s.ToDevice(s.FromFloat32(noise, shape...), t.Device)
}
