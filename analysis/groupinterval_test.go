package analysis

import (
	"fmt"
	"math"
	"slices"
	"testing"
)

// plantedGroups is k groups of two models: 4 inside group g plus a tenth of g, 2 between groups.
func plantedGroups(k int) (models []string, pairs []Pair, groups []string) {
	for g := range k {
		for seed := range 2 {
			models = append(models, fmt.Sprintf("g%d-s%d", g, seed))
			groups = append(groups, fmt.Sprintf("g%d", g))
		}
	}
	for i, a := range models {
		for j := i + 1; j < len(models); j++ {
			p := Pair{A: a, B: models[j], SAT: 2, Status: StatusOK}
			if groups[i] == groups[j] {
				p.SAT = 4 + float64(i/2)/10
			}
			pairs = append(pairs, p)
		}
	}
	return models, pairs, groups
}

func TestBootstrapGroups(t *testing.T) {
	models, pairs, groups := plantedGroups(6)
	got, err := BootstrapGroups(t.Context(), models, pairs, groups, BootstrapOptions{Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	if got.Across != (Interval{2, 2}) {
		t.Errorf("across: %v, want no spread at 2", got.Across)
	}
	// The mean of six draws from 4.0, ..., 4.5 has mean 4.25 and standard deviation 0.1708/sqrt(6) = 0.0697.
	if math.Abs(got.Within.Lo-(4.25-1.96*0.0697)) > 0.03 || math.Abs(got.Within.Hi-(4.25+1.96*0.0697)) > 0.03 {
		t.Errorf("within: %v, want about 4.11 to 4.39", got.Within)
	}
	if math.Abs(got.Difference.Lo-(got.Within.Lo-2)) > 1e-9 || math.Abs(got.Difference.Hi-(got.Within.Hi-2)) > 1e-9 {
		t.Errorf("difference %v does not follow from within %v and across 2", got.Difference, got.Within)
	}

	slices.Reverse(pairs)
	for _, workers := range []int{1, 3} {
		again, err := BootstrapGroups(t.Context(), models, pairs, groups, BootstrapOptions{Seed: 1, Workers: workers})
		if err != nil {
			t.Fatal(err)
		}
		if math.Abs(again.Within.Lo-got.Within.Lo) > 1e-12 || math.Abs(again.Difference.Hi-got.Difference.Hi) > 1e-12 {
			t.Errorf("%d workers, reversed pairs: %v, want %v", workers, again, got)
		}
	}

	single, err := BootstrapGroups(t.Context(), models[:2], pairs[:0], groups[:2], BootstrapOptions{})
	if err != nil || !math.IsNaN(single.Across.Lo) || !math.IsNaN(single.Within.Lo) {
		t.Errorf("without pairs: %v, %v; want undefined intervals", single, err)
	}
	if _, err := BootstrapGroups(t.Context(), models, pairs, groups[1:], BootstrapOptions{}); err == nil {
		t.Error("a missing label was accepted")
	}
}
