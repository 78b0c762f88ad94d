package report

import "sat/analysis"

// AdversarialInfo says how a model was trained on adversarial images.
type AdversarialInfo struct {
	Epsilon  string `json:"epsilon"`
	StepSize string `json:"step_size"`
	Steps    int    `json:"steps"`
}

// hardened reports whether the model was trained to withstand attacks. It takes no part in the central claim, which is about
// architecture and seed, nor in the judgement of the attack.
func (m *Model) hardened() bool { return m.Info.Adversarial != nil }

// ordinaryModels counts the others.
func (r *Run) ordinaryModels() int {
	n := 0
	for i := range r.Models {
		if !r.Models[i].hardened() {
			n++
		}
	}
	return n
}

// ordinaryPairs lists the pairs of them.
func (r *Run) ordinaryPairs() []analysis.Pair {
	hardened := map[string]bool{}
	for i := range r.Models {
		hardened[r.Models[i].Name] = r.Models[i].hardened()
	}
	var out []analysis.Pair
	for _, p := range r.Pairs {
		if !hardened[p.A] && !hardened[p.B] {
			out = append(out, p)
		}
	}
	return out
}
