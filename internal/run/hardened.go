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

// ordinary reports whether the member is trained as usual: questions about architecture and seed and about the strength of
// the attack are asked of these.
func ordinary(m *member) bool { return !m.hardened() }

// kept lists the names of the members that keep names, and the architecture of each.
func (r *runner) kept(keep func(*member) bool) (names, architectures []string) {
	for _, m := range r.members {
		if keep(m) {
			names, architectures = append(names, m.Name), append(architectures, m.architecture())
		}
	}
	return names, architectures
}

// scoresAmong returns the scores of the models that keep names, and the architecture of each.
func (r *runner) scoresAmong(s *analysis.Scores, keep func(*member) bool) (*analysis.Scores, []string) {
	names, architectures := r.kept(keep)
	out := &analysis.Scores{Images: s.Images, Floor: s.Floor, Models: names}
	has := func(name string) bool { return slices.Contains(names, name) }
	for _, p := range s.Pairs {
		if has(p.A) && has(p.B) {
			out.Pairs = append(out.Pairs, p)
		}
	}
	for _, d := range s.Directed {
		if has(d.Source) && has(d.Target) {
			out.Directed = append(out.Directed, d)
		}
	}
	for _, c := range s.Self {
		if has(c.Model) {
			out.Self = append(out.Self, c)
		}
	}
	return out, architectures
}

// tablesAmong is scoresAmong for bits.
func (r *runner) tablesAmong(t *analysis.Tables, keep func(*member) bool) *analysis.Tables {
	names, _ := r.kept(keep)
	out := &analysis.Tables{Images: t.Images}
	var at []int
	for i, name := range t.Models {
		if slices.Contains(names, name) {
			at = append(at, i)
		}
	}
	for _, i := range at {
		out.Models, out.Correct = append(out.Models, t.Models[i]), append(out.Correct, t.Correct[i])
		wrong := make([]analysis.Bits, len(at))
		for k, j := range at {
			wrong[k] = t.Wrong[i][j]
		}
		out.Wrong = append(out.Wrong, wrong)
	}
	return out
}

// among is scoresAmong for all that is known of a setting.
func (r *runner) among(m *measured, keep func(*member) bool) *measured {
	out := *m
	out.scores, _ = r.scoresAmong(m.scores, keep)
	out.tables = r.tablesAmong(m.tables, keep)
	if m.survivors != nil {
		left := survivorsOf(out.tables, out.scores.Pairs)
		out.survivors = &left
	}
	return &out
}
