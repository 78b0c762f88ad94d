package run

import (
	"slices"
	"testing"

	"sat/analysis"
	"sat/internal/experiment"
)

// A member trained on adversarial images keeps its scores, but neither the comparison of groups nor the judgement of the
// attack looks at it.
func TestHardenedMembersAreNotCompared(t *testing.T) {
	hard := &experiment.Recipe{Adversarial: &experiment.Adversarial{Steps: 3}}
	r := &runner{}
	for _, m := range []Member{{Name: "a-s0", Group: "a", Recipe: &experiment.Recipe{}}, {Name: "hard", Group: "hard", Recipe: hard}, {Name: "a-s1", Group: "a"}, {Name: "b", Group: "b"}} {
		r.members = append(r.members, &member{Member: m})
	}
	s := &analysis.Scores{Models: []string{"a-s0", "hard", "a-s1", "b"}, Images: 10, Floor: 0.1}
	for i, a := range s.Models {
		s.Self = append(s.Self, analysis.SelfCount{Model: a, N: 10, Fooled: 5, Percent: 50})
		for j, b := range s.Models {
			if j > i {
				s.Pairs = append(s.Pairs, analysis.Pair{A: a, B: b, NBoth: 10})
			}
			if j != i {
				s.Directed = append(s.Directed, analysis.Directed{Source: a, Target: b})
			}
		}
	}
	got, groups := r.ordinary(s)
	if !slices.Equal(got.Models, []string{"a-s0", "a-s1", "b"}) || !slices.Equal(groups, []string{"a", "a", "b"}) {
		t.Errorf("models %q in groups %q", got.Models, groups)
	}
	if len(got.Pairs) != 3 || len(got.Directed) != 6 || len(got.Self) != 3 || got.Images != 10 || got.Floor != 0.1 {
		t.Errorf("%d pairs, %d directed, %d self", len(got.Pairs), len(got.Directed), len(got.Self))
	}
	for _, p := range got.Pairs {
		if p.A == "hard" || p.B == "hard" {
			t.Errorf("pair %s, %s", p.A, p.B)
		}
	}
	r.Progress = silent()
	r.judge(s)
	if len(r.out.Warnings) != 3 || slices.ContainsFunc(r.out.Warnings, func(w string) bool { return w[:4] == "hard" }) {
		t.Errorf("warnings %q", r.out.Warnings)
	}
}
