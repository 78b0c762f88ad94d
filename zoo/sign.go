package zoo

import (
	"context"
	"fmt"

	"sat/attacks"
	"sat/torch"
)

var _ attacks.SignStepper = (*Model)(nil)

// signRun is an attack whose images stay in the memory of the model's device.
type signRun struct {
	model  *Model
	attack *torch.SignAttack
}

// StartSign implements attacks.SignStepper.
func (m *Model) StartSign(ctx context.Context, x, start attacks.Batch, y []int64, o attacks.SignSettings) (attacks.SignRun, error) {
	kind, known := losses[o.Loss]
	if !known || o.Loss.Targeted() {
		return nil, fmt.Errorf("model %s: no steps along the gradient of loss %v", m.name, o.Loss)
	}
	for _, b := range []attacks.Batch{x, start} {
		if err := m.checkBatch(b, true); err != nil {
			return nil, err
		}
	}
	if start.N != x.N {
		return nil, fmt.Errorf("model %s: %d images to start from, %d clean ones", m.name, start.N, x.N)
	}
	if err := m.checkLabels(y, x.N); err != nil {
		return nil, err
	}
	r := &signRun{model: m}
	err := m.worker.Do(ctx, func(s *torch.Scope) (err error) {
		r.attack, err = m.module.NewSignAttack(s, tensorOf(s, x), tensorOf(s, start), s.FromInt64(y, x.N), torch.SignOptions{
			Mean: m.mean, Std: m.std, Loss: kind, StepSize: o.StepSize, Epsilon: o.Epsilon, Descend: o.Descend,
			Capture: m.capture,
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("model %s: %w", m.name, err)
	}
	return r, nil
}

func tensorOf(s *torch.Scope, x attacks.Batch) torch.Tensor {
	return s.FromFloat32(x.Pixels, x.N, x.C, x.H, x.W)
}

// Step implements attacks.SignRun.
func (r *signRun) Step(ctx context.Context) (logits []float32, moves []bool, err error) {
	m := r.model
	err = m.worker.Do(ctx, func(s *torch.Scope) error {
		z, verdicts, err := r.attack.Step(s)
		if err != nil {
			return err
		}
		if err := m.checkLogits(s, z, len(verdicts)); err != nil {
			return err
		}
		if logits, err = z.Float32s(); err != nil {
			return err
		}
		moves = make([]bool, len(verdicts))
		for i, v := range verdicts {
			if moves[i] = v.Moves; v.NotFinite {
				return fmt.Errorf("the gradient of row %d is not finite", i)
			}
		}
		return nil
	})
	_, err = m.finite(logits, err)
	return logits, moves, err
}

// Images implements attacks.SignRun.
func (r *signRun) Images(ctx context.Context) (pixels []float32, err error) {
	err = r.model.worker.Do(ctx, func(s *torch.Scope) error {
		pixels, err = r.attack.Images(s).Float32s()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("model %s: %w", r.model.name, err)
	}
	return pixels, nil
}

// Close implements attacks.SignRun.
func (r *signRun) Close() { r.attack.Close() }
