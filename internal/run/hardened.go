package run

import (
	"slices"

	"sat/analysis"
)

// hardened reports whether the member is trained on adversarial images. Such a member withstands the attack by design: how
// weak the attack is on it says nothing about the attack, and it differs from others by more than architecture or seed.
func (m *Member) hardened() bool { return m.Recipe != nil && m.Recipe.Adversarial != nil }

// architecture names what the member shares with all that have its network, however they are trained: those of its [[model]]
// and those that sets have made of it.
func (m *Member) architecture() string {
	if m.set != nil {
		return m.set.Model
	}
	return m.Group
}

// isHardened is hardened of the member called name.
func (r *runner) isHardened(name string) bool {
	return slices.ContainsFunc(r.members, func(m *member) bool { return m.Name == name && m.hardened() })
}

// ordinary returns the scores without the models trained on adversarial images, for questions about architecture and seed and
// about the strength of the attack, and the group of each model that is left.
func (r *runner) ordinary(s *analysis.Scores) (*analysis.Scores, []string) {
	out := &analysis.Scores{Images: s.Images, Floor: s.Floor}
	var groups []string
	for _, m := range r.members {
		if !m.hardened() {
			out.Models, groups = append(out.Models, m.Name), append(groups, m.architecture())
		}
	}
	kept := func(name string) bool { return slices.Contains(out.Models, name) }
	for _, p := range s.Pairs {
		if kept(p.A) && kept(p.B) {
			out.Pairs = append(out.Pairs, p)
		}
	}
	for _, d := range s.Directed {
		if kept(d.Source) && kept(d.Target) {
			out.Directed = append(out.Directed, d)
		}
	}
	for _, c := range s.Self {
		if kept(c.Model) {
			out.Self = append(out.Self, c)
		}
	}
	return out, groups
}

// ordinaryTables is ordinary for bits.
func (r *runner) ordinaryTables(t *analysis.Tables) *analysis.Tables {
	out := &analysis.Tables{Images: t.Images}
	var kept []int
	for i, name := range t.Models {
		if !r.isHardened(name) {
			kept = append(kept, i)
		}
	}
	for _, i := range kept {
		out.Models, out.Correct = append(out.Models, t.Models[i]), append(out.Correct, t.Correct[i])
		wrong := make([]analysis.Bits, len(kept))
		for k, j := range kept {
			wrong[k] = t.Wrong[i][j]
		}
		out.Wrong = append(out.Wrong, wrong)
	}
	return out
}

// ordinarily is ordinary for all that is known of a setting but its bits.
func (r *runner) ordinarily(m *measured) *measured {
	out := *m
	out.scores, _ = r.ordinary(m.scores)
	if m.survivors != nil {
		left := survivorsOf(r.ordinaryTables(m.tables), out.scores.Pairs)
		out.survivors = &left
	}
	return &out
}
