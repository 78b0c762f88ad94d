package zoo

import (
	"context"
	"errors"
	"fmt"
	"math"

	"sat/attacks"
	"sat/torch"
)

// AttentionShape is the part of the manifest that describes the attention maps.
type AttentionShape struct {
	Layers int `json:"layers"`
	Heads  int `json:"heads"`
	Prefix int `json:"prefix"` // tokens before those of the patches
	Patch  int `json:"patch"`  // side in pixels
}

var _ attacks.AttentionModel = (*Model)(nil)

// tokens is how many a network with input of h x w pixels has.
func (a AttentionShape) tokens(h, w int) int { return a.Prefix + (h/a.Patch)*(w/a.Patch) }

func (m *Manifest) validateAttention() error {
	if m.Attention != (m.AttentionShape != nil) {
		return errors.New("attention is true exactly if attention_shape is there")
	}
	a := m.AttentionShape
	if a == nil {
		return nil
	}
	if a.Layers < 1 || a.Layers > 63 || a.Heads < 1 || a.Prefix < 0 || a.Patch < 1 || m.InputSize[1]%a.Patch != 0 || m.InputSize[2]%a.Patch != 0 {
		return fmt.Errorf("attention of %+v over images of %dx%d pixels", *a, m.InputSize[1], m.InputSize[2])
	}
	return nil
}

// checkAttention looks whether the network gives the maps that the manifest announces: as many, of that shape, and each
// query pays 1 in all.
func (m *Model) checkAttention(s *torch.Scope) error {
	const n, rowTolerance = 2, 1e-5
	a := m.manifest.AttentionShape
	x := s.ToDevice(s.FromFloat32(checkImages(0, n, m.channels, m.height, m.width), n, m.channels, m.height, m.width), m.device)
	out := m.module.ForwardTuple(s, x, m.mean, m.std)
	if err := s.Err(); err != nil {
		return err
	}
	if len(out) != 1+a.Layers {
		return fmt.Errorf("%w: it returns %d tensors; logits and %d attention maps were announced", ErrRefused, len(out), a.Layers)
	}
	tokens := a.tokens(m.height, m.width)
	for l, maps := range out[1:] {
		if shape := maps.Shape(); len(shape) != 4 || shape[0] != n || shape[1] != a.Heads || shape[2] != tokens || shape[3] != tokens {
			return fmt.Errorf("%w: the attention map of layer %d is %v, want [%d %d %d %d]", ErrRefused, l, shape, n, a.Heads, tokens, tokens)
		}
		sums, err := s.Sum(maps, 3).Float32s()
		if err != nil {
			return err
		}
		for _, v := range sums {
			if !(math.Abs(float64(v)-1) <= rowTolerance) {
				return fmt.Errorf("%w: a row of the attention map of layer %d sums to %v, not to 1", ErrRefused, l, v)
			}
		}
	}
	return nil
}

// Attention implements attacks.AttentionModel; ok is false for a module without attention maps.
func (m *Model) Attention() (shape attacks.AttentionShape, ok bool) {
	if m.manifest == nil || m.manifest.AttentionShape == nil {
		return shape, false
	}
	return attacks.AttentionShape(*m.manifest.AttentionShape), true
}

// AttentionScores implements attacks.AttentionModel.
func (m *Model) AttentionScores(ctx context.Context, x attacks.Batch, layer int) (scores []float32, err error) {
	shape, ok := m.Attention()
	if !ok {
		return nil, m.noAttention()
	}
	if layer < 0 || layer >= shape.Layers {
		return nil, fmt.Errorf("model %s has no layer %d, it has %d", m.name, layer, shape.Layers)
	}
	if err := m.checkBatch(x, true); err != nil {
		return nil, err
	}
	err = m.worker.Do(ctx, func(s *torch.Scope) error {
		out := m.module.ForwardTuple(s, m.upload(s, x), m.mean, m.std)
		if err := s.Err(); err != nil {
			return err
		}
		received := s.Mean(out[1+layer], 1, 2)
		scores, err = s.Slice(received, 1, shape.Prefix, AttentionShape(shape).tokens(m.height, m.width)).Float32s()
		return err
	})
	return m.finite(scores, err)
}

func (m *Model) noAttention() error {
	return fmt.Errorf("model %s does not give its attention maps; export it with attention", m.name)
}

// AttentionGrad implements attacks.AttentionModel.
func (m *Model) AttentionGrad(ctx context.Context, x attacks.Batch, y []int64, patches [][]int, form attacks.AttentionForm, layers []int) (attacks.Gradient, [][]float32, error) {
	fail := func(err error) (attacks.Gradient, [][]float32, error) { return attacks.Gradient{}, nil, err }
	shape, ok := m.Attention()
	if !ok {
		return fail(m.noAttention())
	}
	if err := m.checkBatch(x, true); err != nil {
		return fail(err)
	}
	if err := m.checkLabels(y, x.N); err != nil {
		return fail(err)
	}
	if len(patches) != x.N {
		return fail(fmt.Errorf("model %s: patches of %d images for %d", m.name, len(patches), x.N))
	}
	total := AttentionShape(shape).tokens(m.height, m.width) - shape.Prefix
	var tokens []int64
	for i, list := range patches {
		if len(list) == 0 || len(list) != len(patches[0]) {
			return fail(fmt.Errorf("model %s: %d patches of row %d and %d of row 0", m.name, len(list), i, len(patches[0])))
		}
		for _, p := range list {
			if p < 0 || p >= total {
				return fail(fmt.Errorf("model %s: patch %d of row %d is not one of %d", m.name, p, i, total))
			}
			tokens = append(tokens, int64(p+shape.Prefix))
		}
	}
	o := torch.AttentionOptions{Mean: m.mean, Std: m.std, Layers: layers}
	if form == attacks.FormPaper {
		o.Form = torch.AttentionPaper
	}
	var out attacks.Gradient
	attention := make([][]float32, len(layers))
	err := m.worker.Do(ctx, func(s *torch.Scope) (err error) {
		grads, logits, loss := m.module.AttentionGrad(s, m.upload(s, x), s.FromInt64(y, x.N), s.FromInt64(tokens, x.N, len(patches[0])), o)
		if err := m.checkLogits(s, logits, x.N); err != nil {
			return err
		}
		if out.Pixels, err = grads[0].Float32s(); err != nil {
			return err
		}
		for i := range attention {
			if attention[i], err = grads[1+i].Float32s(); err != nil {
				return err
			}
		}
		if out.Logits, err = logits.Float32s(); err != nil {
			return err
		}
		out.Loss, err = loss.Float32s()
		return err
	})
	if _, err = m.finite(out.Logits, err); err != nil {
		return fail(err)
	}
	return out, attention, nil
}
