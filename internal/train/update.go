package train

import (
	"fmt"

	"sat/internal/data"
	"sat/torch"
)

// update is one step of the optimiser. It returns the mean losses of the batch before the step; nothing has moved when
// the total is not finite.
func (t *session) update(s *torch.Scope, batch data.Batch, lr float64, epoch, update int) (loss torch.Losses, err error) {
	x := t.input(s, batch.Images, len(batch.Labels))
	if err := s.Err(); err != nil {
		return loss, err
	}
	if t.Recipe.EraseProb > 0 {
		if err := t.erase(s, x, epoch, update); err != nil {
			return loss, fmt.Errorf("random erasing: %w", err)
		}
	}
	if t.Recipe.Adversarial != nil {
		y := s.ToDevice(s.FromInt64(batch.Labels, len(batch.Labels)), t.Device)
		if x, err = t.attacked(s, x, y, epoch, update); err != nil {
			return loss, err
		}
	}
	share := 1.0
	if t.Recipe.mixes() {
		if share, err = t.mix(s, x, epoch, update); err != nil {
			return loss, fmt.Errorf("mix: %w", err)
		}
	}
	loss, err = t.gradients(s, x, batch.Labels, share, epoch, update)
	if err != nil || !finite(loss.Total) {
		return loss, err
	}
	step, err := t.unscale()
	if err != nil || !step {
		return loss, err
	}
	if t.Recipe.ClipGrad > 0 {
		if _, err := t.module.ClipGradNorm(t.Recipe.ClipGrad); err != nil {
			return loss, err
		}
	}
	if err := t.optimizer.Step(lr); err != nil {
		return loss, err
	}
	if t.average != nil {
		if err := t.average.Average(t.module, t.Recipe.EMA); err != nil {
			return loss, err
		}
	}
	return loss, t.optimizer.ZeroGrad()
}

// gradients fills the gradients of the batch, part by part, and returns its mean losses. A network that draws random numbers
// does so from a generator seeded for this update.
func (t *session) gradients(s *torch.Scope, x torch.Tensor, labels []int64, share float64, epoch, update int) (loss torch.Losses, err error) {
	err = t.draws.Do(t.random("network", epoch, update).Uint64(), func() error {
		loss, err = t.backward(s, x, labels, share)
		return err
	})
	return loss, err
}

func (t *session) backward(s *torch.Scope, x torch.Tensor, labels []int64, share float64) (loss torch.Losses, err error) {
	parts := t.Recipe.Accumulate
	size := len(labels) / parts
	var soft []float32
	classes := t.manifest.Classes
	if t.Recipe.softTargets() {
		soft = probabilities(labels, classes, share, t.Recipe.LabelSmoothing, t.Recipe.BCEThreshold)
	}
	for part := range parts {
		from, to := part*size, (part+1)*size
		err := s.Step(func(s *torch.Scope) error {
			images := x
			if parts > 1 {
				images = s.Slice(x, 0, from, to)
			}
			o := torch.BackwardOptions{
				Mean: t.manifest.Mean, Std: t.manifest.Std, Precision: t.precision, Scale: t.scale() / float64(parts),
			}
			var target torch.Target
			if soft == nil {
				target.Labels = s.ToDevice(s.FromInt64(labels[from:to], size), t.Device)
				o.LabelSmoothing = t.Recipe.LabelSmoothing
			} else {
				target.Probabilities = s.ToDevice(s.FromFloat32(soft[from*classes:to*classes], size, classes), t.Device)
				if t.Recipe.Loss == BCE {
					o.Loss = torch.BCE
				}
			}
			if t.Teacher != nil {
				t.distil(s, images, &o)
			}
			losses, _, err := t.module.Backward(s, images, target, o)
			loss.Total += losses.Total / float64(parts)
			loss.Distillation += losses.Distillation / float64(parts)
			return err
		})
		if err != nil {
			return loss, err
		}
	}
	return loss, nil
}

// input makes n uint8 images NHWC a float32 tensor NCHW in [0,1].
func (t *session) input(s *torch.Scope, images []uint8, n int) torch.Tensor {
	return ImageTensor(s, images, n, t.manifest.InputSize, t.Device)
}

// ImageTensor makes n uint8 images NHWC of the given size (channels, height, width) a float32 tensor NCHW in [0,1] on d. In
// memory it stays NHWC, and convolutions then compute channels-last; filters in that order too made no difference.
func ImageTensor(s *torch.Scope, images []uint8, n int, size [3]int, d torch.Device) torch.Tensor {
	x := s.ToDevice(s.FromUint8(images, n, size[1], size[2], size[0]), d)
	x = s.To(s.Permute(x, 0, 3, 1, 2), torch.Float32)
	return s.Div(x, s.ToDevice(s.Full(255), d))
}

// Gradients in float16 vanish without a scale. It doubles after so many good updates and halves after an overflow, whose
// update is left out (as PyTorch's GradScaler does).
const (
	firstScale   = 65536
	scaleUpdates = 2000
)

// scale is the factor of the loss for the coming update.
func (t *session) scale() float64 {
	if t.precision != torch.Float16 {
		return 1
	}
	if t.state.Scale == 0 {
		t.state.Scale = firstScale
	}
	return t.state.Scale
}

// unscale divides the gradients by the scale and reports whether the update can be made.
func (t *session) unscale() (bool, error) {
	if t.precision != torch.Float16 {
		return true, nil
	}
	ok, err := t.module.ScaleGrad(1 / t.state.Scale)
	if err != nil {
		return false, err
	}
	if !ok {
		t.state.Scale, t.state.Good = t.state.Scale/2, 0
		return false, t.optimizer.ZeroGrad()
	}
	if t.state.Good++; t.state.Good == scaleUpdates {
		t.state.Scale, t.state.Good = 2*t.state.Scale, 0
	}
	return true, nil
}
