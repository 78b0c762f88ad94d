package analysis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"

	"sat/internal/rng"
)

// exactLabelings is how many different labelings of the models are enumerated rather than sampled.
const exactLabelings = 200_000

// GroupOptions are the settings of [CompareGroups].
type GroupOptions struct {
	Permutations int // random labelings when there are too many to enumerate; default 9999
	Seed         uint64
}

// ErrNoContrast says that the groups give no pair inside a group or no pair across groups.
var ErrNoContrast = errors.New("comparing groups needs pairs inside a group and pairs across groups")

// Summarize describes the SAT scores of pairs. Pairs without a defined score are counted and left out.
func Summarize(pairs []Pair) Summary {
	var s Summary
	values := make([]float64, 0, len(pairs))
	for _, p := range pairs {
		if p.Status == StatusEmpty || math.IsNaN(p.SAT) {
			s.Excluded++
			continue
		}
		if p.Status == StatusFloored {
			s.Floored++
		}
		values = append(values, p.SAT)
	}
	s.Pairs = len(values)
	s.Mean, s.Median = undefined, undefined
	if s.Pairs > 0 {
		s.Mean = mean(values)
		slices.Sort(values)
		s.Median = Quantile(values, 0.5)
	}
	return s
}

// CompareGroups asks whether models of one group are more similar than models of different groups: groups holds one
// label per model (an architecture, say), and the statistic is the mean SAT score of the pairs inside groups minus that
// of the pairs across groups.
//
// The test permutes the labels of the models, not of the pairs. A model enters n-1 pairs, so pairs are not independent
// and a permutation of pairs, like a t-test over pairs, would count the same evidence many times. If the grouping does
// not matter, then the models, each with its whole row of scores, are exchangeable. All different labelings with the
// given group sizes are enumerated when there are at most 200,000 (p = share at least as large, the observed one
// included); else o.Permutations random ones are drawn, p = (b+1)/(m+1).
//
// Pairs without a score are left out of every mean. A relabeling that has no pair on one side counts as at least as
// large, which can only raise p.
func CompareGroups(ctx context.Context, models []string, pairs []Pair, groups []string, o GroupOptions) (*GroupTest, error) {
	o.Permutations = cmp.Or(o.Permutations, 9999)
	if err := checkNames(models); err != nil {
		return nil, fmt.Errorf("compare groups: %w", err)
	}
	if len(groups) != len(models) {
		return nil, fmt.Errorf("compare groups: %d group labels for %d models", len(groups), len(models))
	}
	if o.Permutations < 1 {
		return nil, fmt.Errorf("compare groups: %d permutations", o.Permutations)
	}
	at := make(map[string]int, len(models))
	for i, name := range models {
		at[name] = i
	}
	n := len(models)
	seen := make([]bool, n*n)
	score := slices.Repeat([]float64{undefined}, n*n)
	var within, across []Pair
	var values []float64
	var where []int
	inside := map[string][]Pair{}
	for _, p := range pairs {
		a, okA := at[p.A]
		b, okB := at[p.B]
		if !okA || !okB || a == b {
			return nil, fmt.Errorf("compare groups: pair (%s, %s) is not a pair of the %d models", p.A, p.B, n)
		}
		k := min(a, b)*n + max(a, b)
		if seen[k] {
			return nil, fmt.Errorf("compare groups: pair (%s, %s) stands twice", p.A, p.B)
		}
		seen[k] = true
		if groups[a] == groups[b] {
			within = append(within, p)
			inside[groups[a]] = append(inside[groups[a]], p)
		} else {
			across = append(across, p)
		}
		if p.Status != StatusEmpty && !math.IsNaN(p.SAT) {
			score[k] = p.SAT
			values, where = append(values, p.SAT), append(where, k)
		}
	}

	g := &GroupTest{Within: Summarize(within), Across: Summarize(across)}
	var blocks [][]int
	for i, name := range groups {
		if slices.Index(groups, name) < i {
			continue
		}
		var block []int
		for k, other := range groups {
			if other == name {
				block = append(block, k)
			}
		}
		blocks = append(blocks, block)
		g.Groups = append(g.Groups, GroupSummary{Group: name, Models: len(block), Summary: Summarize(inside[name])})
	}
	if g.Within.Pairs == 0 || g.Across.Pairs == 0 {
		return nil, fmt.Errorf("compare groups: %d and %d pairs with a score: %w", g.Within.Pairs, g.Across.Pairs, ErrNoContrast)
	}

	rank := slices.Repeat([]float64{undefined}, n*n)
	for i, r := range averageRanks(values) {
		rank[where[i]] = r
	}
	byScore, byRank := newContrast(n, score), newContrast(n, rank)
	observed, observedRank := byScore.difference(blocks), byRank.difference(blocks)
	g.Difference = observed

	atLeastRank := 0
	look := func(blocks [][]int) {
		g.Permutations++
		if !(byScore.difference(blocks) < observed-byScore.tolerance) {
			g.AtLeast++
		}
		if !(byRank.difference(blocks) < observedRank-byRank.tolerance) {
			atLeastRank++
		}
	}
	if labelings(blocks, n) <= exactLabelings {
		g.Exact = true
		eachPartition(blocks, n, look)
		g.P = float64(g.AtLeast) / float64(g.Permutations)
		g.PRank = float64(atLeastRank) / float64(g.Permutations)
		return g, nil
	}
	random := rng.New(o.Seed, "analysis/groups")
	for range o.Permutations {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("compare groups, permutation %d: %w", g.Permutations, err)
		}
		perm := random.Perm(n)
		moved := make([][]int, len(blocks))
		for i, block := range blocks {
			for _, k := range block {
				moved[i] = append(moved[i], perm[k])
			}
		}
		look(moved)
	}
	g.P = float64(g.AtLeast+1) / float64(g.Permutations+1)
	g.PRank = float64(atLeastRank+1) / float64(g.Permutations+1)
	return g, nil
}

// contrast computes the statistic of a grouping from the scores of pairs a < b at index a*n+b, NaN where undefined.
type contrast struct {
	n         int
	value     []float64 // centred scores, 0 where undefined
	defined   []uint8
	sum       float64
	count     int
	tolerance float64 // differences of the statistic below this are rounding
}

func newContrast(n int, score []float64) *contrast {
	c := &contrast{n: n, value: make([]float64, n*n), defined: make([]uint8, n*n)}
	center, largest := 0.0, 0.0
	for _, v := range score {
		if !math.IsNaN(v) {
			center += v
			c.count++
		}
	}
	center /= float64(c.count)
	for k, v := range score {
		if !math.IsNaN(v) {
			c.value[k], c.defined[k] = v-center, 1
			c.sum += c.value[k]
			largest = max(largest, math.Abs(v), math.Abs(c.value[k]))
		}
	}
	c.tolerance = tieTolerance * largest
	return c
}

// difference returns the mean inside the blocks minus the mean across them; NaN if either has no pair.
func (c *contrast) difference(blocks [][]int) float64 {
	sum, count := 0.0, 0
	for _, block := range blocks {
		for i, a := range block {
			for _, b := range block[i+1:] {
				k := min(a, b)*c.n + max(a, b)
				sum += c.value[k]
				count += int(c.defined[k])
			}
		}
	}
	if count == 0 || count == c.count {
		return undefined
	}
	return sum/float64(count) - (c.sum-sum)/float64(c.count-count)
}

// labelings returns the number of ways to divide n models into blocks of the given sizes, as a float64: it only decides
// whether enumerating them is cheap.
func labelings(blocks [][]int, n int) float64 {
	count := new(big.Int).MulRange(1, int64(n))
	equal := map[int]int64{}
	for _, b := range blocks {
		count.Div(count, new(big.Int).MulRange(1, int64(len(b))))
		equal[len(b)]++
	}
	for _, m := range equal {
		count.Div(count, new(big.Int).MulRange(1, m))
	}
	f, _ := new(big.Float).SetInt(count).Float64()
	return f
}

// eachPartition calls visit with every division of n models into blocks of the given sizes, each once. The slices are
// reused.
func eachPartition(blocks [][]int, n int, visit func([][]int)) {
	remaining := map[int]int{} // size: number of blocks still to be filled
	for _, b := range blocks {
		remaining[len(b)]++
	}
	sizes := slices.Sorted(func(yield func(int) bool) {
		for s := range remaining {
			if !yield(s) {
				return
			}
		}
	})
	free := make([]bool, n)
	for i := range free {
		free[i] = true
	}
	var made [][]int
	var next func()
	// fill completes block from free models behind position from, then goes on with the next block.
	var fill func(block []int, size, from int)
	fill = func(block []int, size, from int) {
		if len(block) == size {
			made = append(made, block)
			next()
			made = made[:len(made)-1]
			return
		}
		for k := from; k < n; k++ {
			if free[k] {
				free[k] = false
				fill(append(block, k), size, k+1)
				free[k] = true
			}
		}
	}
	// next opens a block with the first free model: so each division is met once, whatever the order of its blocks.
	next = func() {
		first := slices.Index(free, true)
		if first < 0 {
			visit(made)
			return
		}
		free[first] = false
		for _, size := range sizes {
			if remaining[size] > 0 {
				remaining[size]--
				fill(append(make([]int, 0, size), first), size, first+1)
				remaining[size]++
			}
		}
		free[first] = true
	}
	next()
}

// mean returns the arithmetic mean; NaN for none.
func mean(values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}
