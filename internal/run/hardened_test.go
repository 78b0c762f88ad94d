package run

import (
	"bytes"
	"math"
	"path/filepath"
	"slices"
	"strings"
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
	got, groups := r.scoresAmong(s, ordinary)
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
	var printed bytes.Buffer
	r.Progress = NewProgress(&printed, false, true)
	r.judge(s)
	if text := printed.String(); !strings.Contains(text, "a-s0 (50.0 %), a-s1 (50.0 %), b (50.0 %)\n") || strings.Contains(text, "hard") {
		t.Errorf("printed %q", text)
	}
}

// An ablation of all models leaves a hardened member out, on both sides of every pair; one of that member alone attacks it and
// shows its images to everybody.
func TestAblationWithHardenedMember(t *testing.T) {
	names := []string{"a", "hard", "b", "c"}
	r := &runner{Spec: Spec{Dir: t.TempDir(), Scores: experiment.DefaultSimilarity()}, measured: map[string]*measured{}}
	r.Attack, r.Progress = attackOfMethod(t, "pgd"), silent()
	for _, name := range names {
		m := Member{Name: name, Group: name}
		if name == "hard" {
			m.Recipe = &experiment.Recipe{Adversarial: &experiment.Adversarial{Steps: 3}}
		}
		r.members = append(r.members, &member{Member: m})
	}
	square := attackOfMethod(t, "square")
	// The third is about some models only, and another does for it; of the fourth they have images of their own.
	few, gradients := []string{"a", "hard", "c"}, attackOfMethod(t, "apgd-ce")
	r.Ablation = []Ablation{{Name: "square", Attack: square}, {Name: "onhard", Attack: square, Sources: []string{"hard"}},
		{Name: "few", Attack: square, Models: few}, {Name: "own", Attack: gradients, Models: few}}
	all := r.settings()
	if len(all) != 4 || r.settingOf(all, r.Ablation[0]) != &all[1] || r.settingOf(all, r.Ablation[1]) != &all[2] ||
		r.settingOf(all, r.Ablation[2]) != &all[1] || r.settingOf(all, r.Ablation[3]) != &all[3] {
		t.Fatalf("settings %+v", all)
	}
	for _, m := range r.members {
		hard := m.Name == "hard"
		if !all[0].attacked(m) || all[1].attacked(m) == hard || all[1].shown(m) == hard || all[2].attacked(m) != hard || !all[2].shown(m) {
			t.Errorf("%s takes part in %v, %v and %v", m.Name, all[0].attacked(m), all[1].attacked(m), all[2].attacked(m))
		}
		if among := m.Name == "a" || m.Name == "c"; all[3].attacked(m) != among || all[3].shown(m) != among {
			t.Errorf("%s: attacked %v and shown %v of an ablation of %q", m.Name, all[3].attacked(m), all[3].shown(m), few)
		}
	}

	// Ten images that all classify correctly. An image made on s fools t if its number is below some product of their numbers.
	tables := func(names []string, factor int) *analysis.Tables {
		out := &analysis.Tables{Images: 10, Models: names}
		right := make([]bool, 10)
		for i := range right {
			right[i] = true
		}
		for s := range names {
			out.Correct = append(out.Correct, analysis.NewBits(right))
			var row []analysis.Bits
			for t := range names {
				wrong := make([]bool, 10)
				for i := range wrong {
					wrong[i] = i < fooledBetween(names[s], names[t], factor)
				}
				row = append(row, analysis.NewBits(wrong))
			}
			out.Wrong = append(out.Wrong, row)
		}
		return out
	}
	measure := func(names []string, factor int) *measured {
		m := &measured{attack: square, tables: tables(names, factor)}
		counts, err := m.tables.Count()
		must(t, err)
		m.scores, err = counts.Score(r.Scores.Floor)
		must(t, err)
		return m
	}
	r.measured[""] = measure(names, 1)
	r.measured[all[1].folder] = measure([]string{"a", "b", "c"}, 2)
	r.measured[all[2].folder] = &measured{attack: square, tables: tables(names, 3)}
	r.measured[all[3].folder] = measure([]string{"a", "c"}, 4)
	must(t, r.writeAblations(filepath.Join(r.Dir, "analysis")))

	rows := csvRows(t, filepath.Join(r.Dir, "analysis", "ablation_square.csv"))
	if len(rows) != 4 {
		t.Fatalf("%q", rows)
	}
	sat := func(pair [2]string, factor int) string {
		n := fooledBetween(pair[0], pair[1], factor) + fooledBetween(pair[1], pair[0], factor)
		return analysis.FormatFloat(math.Log(100 * float64(n) / 20))
	}
	for i, pair := range [][2]string{{"a", "b"}, {"a", "c"}, {"b", "c"}} {
		if row := rows[i+1]; row[0] != pair[0]+"|"+pair[1] || row[1] != sat(pair, 1) || row[2] != sat(pair, 2) {
			t.Errorf("pair %q: %q, want %s and %s", pair, row, sat(pair, 1), sat(pair, 2))
		}
	}
	for name, factor := range map[string]int{"few": 2, "own": 4} {
		rows := csvRows(t, filepath.Join(r.Dir, "analysis", "ablation_"+name+".csv"))
		if pair := [2]string{"a", "c"}; len(rows) != 2 || rows[1][0] != "a|c" || rows[1][1] != sat(pair, 1) || rows[1][2] != sat(pair, factor) {
			t.Errorf("%s: %q, want a|c alone, %s and %s", name, rows, sat(pair, 1), sat(pair, factor))
		}
	}
	rows = csvRows(t, filepath.Join(r.Dir, "analysis", "ablation_onhard.csv"))
	if len(rows) != 4 {
		t.Fatalf("%q", rows)
	}
	for i, target := range []string{"a", "b", "c"} {
		one := analysis.FormatFloat(math.Log(10 * float64(fooledBetween("hard", target, 3))))
		if row := rows[i+1]; row[0] != target || row[4] != "hard" || row[2] != one {
			t.Errorf("target %s: %q, want %s", target, row, one)
		}
	}
	if table := csvRows(t, filepath.Join(r.Dir, "analysis", "attacks.csv")); len(table) != 5 || table[1][6] != "3" || table[2][6] != "3" ||
		table[3][6] != "1" || table[4][6] != "1" {
		t.Errorf("settings of %q: want three pairs each, and one", table)
	}
}

// fooledBetween is how many of ten images made on s fool t, a number of its own for each pair.
func fooledBetween(s, t string, factor int) int {
	number := map[string]int{"a": 1, "hard": 2, "b": 3, "c": 5}
	return (number[s]*number[t]*factor+number[s])%9 + 1
}
