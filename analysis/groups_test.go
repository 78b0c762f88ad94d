package analysis

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"sat/internal/rng"
)

// pairsOf lists the pairs of n models with scores from f.
func pairsOf(names []string, f func(i, j int) float64) []Pair {
	var out []Pair
	for i := range names {
		for j := i + 1; j < len(names); j++ {
			p := Pair{A: names[i], B: names[j], SAT: f(i, j), Status: StatusOK}
			if math.IsNaN(p.SAT) {
				p.Status = StatusEmpty
			}
			out = append(out, p)
		}
	}
	return out
}

func TestCompareGroupsByHand(t *testing.T) {
	// Four models in two groups: three ways to pair them up, of which the true one has the largest contrast.
	names := []string{"a1", "a2", "b1", "b2"}
	pairs := pairsOf(names, func(i, j int) float64 {
		if i/2 == j/2 {
			return 4
		}
		return float64(i+j) / 2
	})
	g, err := CompareGroups(context.Background(), names, pairs, []string{"a", "a", "b", "b"}, GroupOptions{})
	if err != nil {
		t.Fatal(err)
	}
	// Across: (0,2) 1, (0,3) 1.5, (1,2) 1.5, (1,3) 2.
	if !g.Exact || g.Permutations != 3 || g.AtLeast != 1 || g.P != 1./3 || g.PRank != 1./3 {
		t.Errorf("test %+v, want 1 of 3 labelings", g)
	}
	if g.Within.Mean != 4 || g.Within.Pairs != 2 || g.Across.Mean != 1.5 || g.Across.Pairs != 4 || g.Across.Median != 1.5 {
		t.Errorf("within %+v, across %+v", g.Within, g.Across)
	}
	near(t, "difference", g.Difference, 2.5, 1e-15, 0)
	if len(g.Groups) != 2 || g.Groups[1].Group != "b" || g.Groups[1].Models != 2 || g.Groups[1].Summary.Mean != 4 {
		t.Errorf("groups %+v", g.Groups)
	}
}

// TestCompareGroupsBruteForce compares the enumeration with all n! permutations of the labels.
func TestCompareGroupsBruteForce(t *testing.T) {
	names := modelNames(6)
	random := rng.New(9, "test")
	for _, groups := range [][]string{
		{"a", "a", "a", "b", "b", "c"}, {"a", "b", "a", "b", "a", "b"}, {"a", "a", "b", "b", "c", "c"}, {"a", "a", "a", "a", "a", "b"},
	} {
		for _, missing := range []bool{false, true} {
			scores := map[[2]int]float64{}
			pairs := pairsOf(names, func(i, j int) float64 {
				v := math.Round(random.Float64()*8) / 4 // with ties
				if missing && i == 0 && j >= 3 {
					v = math.NaN()
				}
				scores[[2]int{i, j}] = v
				return v
			})
			statistic := func(g []string) float64 {
				var in, out []float64
				for k, v := range scores {
					switch {
					case math.IsNaN(v):
					case g[k[0]] == g[k[1]]:
						in = append(in, v)
					default:
						out = append(out, v)
					}
				}
				return mean(in) - mean(out)
			}
			observed := statistic(groups)
			if math.IsNaN(observed) {
				continue
			}
			count, total := 0, 0
			permutations(6, func(perm []int) {
				moved := make([]string, 6)
				for i, k := range perm {
					moved[i] = groups[k]
				}
				total++
				if s := statistic(moved); math.IsNaN(s) || s >= observed-1e-9 {
					count++
				}
			})
			g, err := CompareGroups(context.Background(), names, pairs, groups, GroupOptions{})
			if err != nil {
				t.Fatal(err)
			}
			near(t, fmt.Sprint("p of ", groups, missing), g.P, float64(count)/float64(total), 1e-15, 0)
		}
	}
}

func permutations(n int, visit func([]int)) {
	perm := make([]int, 0, n)
	var next func()
	next = func() {
		if len(perm) == n {
			visit(perm)
			return
		}
		for k := range n {
			if !slices.Contains(perm, k) {
				perm = append(perm, k)
				next()
				perm = perm[:len(perm)-1]
			}
		}
	}
	next()
}

func TestCompareGroupsEnumeratesPairsOfSeeds(t *testing.T) {
	// The demo's case: seven architectures with two seeds each, 14!/(2^7 7!) = 135,135 labelings.
	names := modelNames(14)
	groups := make([]string, 14)
	for i := range groups {
		groups[i] = fmt.Sprint(i / 2)
	}
	pairs := pairsOf(names, func(i, j int) float64 {
		if i/2 == j/2 {
			return 3
		}
		return 2
	})
	g, err := CompareGroups(context.Background(), names, pairs, groups, GroupOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !g.Exact || g.Permutations != 135135 || g.AtLeast != 1 {
		t.Errorf("%d of %d labelings, exact %v; want 1 of 135135", g.AtLeast, g.Permutations, g.Exact)
	}
}

// TestCompareGroupsRandom: too many labelings to enumerate; reproducible, and p is close to uniform without an effect.
func TestCompareGroupsRandom(t *testing.T) {
	names := modelNames(24)
	groups := make([]string, 24)
	for i := range groups {
		groups[i] = fmt.Sprint(i % 6)
	}
	low := 0
	for seed := range uint64(40) {
		random := rng.New(seed, "test")
		pairs := pairsOf(names, func(int, int) float64 { return random.Float64() })
		g, err := CompareGroups(context.Background(), names, pairs, groups, GroupOptions{Permutations: 199, Seed: seed})
		if err != nil {
			t.Fatal(err)
		}
		again, err := CompareGroups(context.Background(), names, pairs, groups, GroupOptions{Permutations: 199, Seed: seed})
		if err != nil {
			t.Fatal(err)
		}
		if g.Exact || g.P != float64(g.AtLeast+1)/200 || g.P != again.P || g.PRank != again.PRank {
			t.Errorf("seed %d: %+v, again %+v", seed, g, again)
		}
		if g.P <= 0.25 {
			low++
		}
	}
	if low < 2 || low > 20 { // binomial(40, 1/4): outside with probability below 1e-3
		t.Errorf("%d of 40 p values at most 0.25 without an effect", low)
	}
}

func TestCompareGroupsEdges(t *testing.T) {
	names := modelNames(4)
	same := func(int, int) float64 { return 2 }
	g, err := CompareGroups(context.Background(), names, pairsOf(names, same), []string{"a", "a", "b", "b"}, GroupOptions{})
	if err != nil || g.P != 1 || g.PRank != 1 || g.Difference != 0 {
		t.Errorf("equal scores: %+v, %v; want difference 0 and p 1", g, err)
	}
	pairs := pairsOf(names, func(i, j int) float64 {
		if i == 0 && j == 1 {
			return math.NaN()
		}
		return float64(i * j)
	})
	pairs[5].Status = StatusFloored
	g, err = CompareGroups(context.Background(), names, pairs, []string{"a", "a", "b", "b"}, GroupOptions{})
	if err != nil || g.Within.Excluded != 1 || g.Within.Pairs != 1 || g.Within.Floored != 1 || g.Groups[0].Summary.Excluded != 1 {
		t.Errorf("undefined and floored pairs: %+v, %v", g, err)
	}
	for _, groups := range [][]string{{"a", "a", "a", "a"}, {"a", "b", "c", "d"}} {
		if _, err := CompareGroups(context.Background(), names, pairs, groups, GroupOptions{}); !errors.Is(err, ErrNoContrast) {
			t.Errorf("groups %v: error %v, want ErrNoContrast", groups, err)
		}
	}
	if _, err := CompareGroups(context.Background(), names, pairs, []string{"a", "b"}, GroupOptions{}); err == nil {
		t.Error("two labels for four models accepted")
	}
	if _, err := CompareGroups(context.Background(), names, append(pairs, pairs[0]), []string{"a", "a", "b", "b"}, GroupOptions{}); err == nil {
		t.Error("a pair given twice accepted")
	}
	stranger := append(slices.Clone(pairs), Pair{A: "x", B: names[0]})
	if _, err := CompareGroups(context.Background(), names, stranger, []string{"a", "a", "b", "b"}, GroupOptions{}); err == nil {
		t.Error("a pair of an unknown model accepted")
	}
}
