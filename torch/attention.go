package torch

// AttentionForm is an objective for what one layer's queries pay to given tokens.
type AttentionForm int

// The order is that of enum st_attention_form.
const (
	AttentionCode  AttentionForm = iota // mean over queries of log(mean over heads), of the first token only
	AttentionPaper                      // sum over heads, queries and tokens
)

// AttentionOptions says what AttentionGrad differentiates.
type AttentionOptions struct {
	Mean, Std []float32 // per channel, see Module.Forward
	Form      AttentionForm
	Layers    []int // from 0
}

// AttentionGrad is for a network that returns logits [N,K] and one attention map [N,heads,T,T] per layer. From one forward
// pass over images x [N,C,H,W] with labels y [N] it returns the gradients with respect to x, first that of the summed
// cross-entropy, then those of the summed objectives of each layer for the token numbers [N,k] int64; and logits and the
// cross-entropy per image [N].
func (m *Module) AttentionGrad(s *Scope, x, y, tokens Tensor, o AttentionOptions) (grads []Tensor, logits, loss Tensor) {
	const op = "attention gradient"
	fail := func(err error) ([]Tensor, Tensor, Tensor) {
		t := s.fail(err)
		return nil, t, t
	}
	if err := m.enterFor(op, s); err != nil {
		return fail(err)
	}
	defer m.mu.Unlock()
	var handles [3]tensorHandle
	for i, t := range []Tensor{x, y, tokens} {
		h, err := t.use(op)
		if err != nil {
			return fail(err)
		}
		handles[i] = h
	}
	if err := checkNormalisation(o.Mean, o.Std); err != nil {
		return fail(m.wrap(op, err, x, y))
	}
	out, err := borderModuleAttentionGrad(m.handle, handles[0], handles[1], handles[2], o)
	if err != nil {
		return fail(m.wrap(op, err, x, y, tokens))
	}
	tensors := make([]Tensor, len(out))
	for i, h := range out {
		tensors[i] = s.adopt(op, h)
	}
	last := len(tensors) - 2
	return tensors[:last], tensors[last], tensors[last+1]
}
