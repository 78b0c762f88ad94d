package analysis

import (
	"fmt"
	"math"
	"slices"
)

// Merge is one step of a hierarchical clustering. Nodes below the number of models are models; node n+i is what step i
// made.
type Merge struct {
	A, B   int     // A < B
	Height float64 // distance at which they merge
	Size   int     // models below
}

// AverageLinkage merges, again and again, the two groups with the smallest mean distance between their models (UPGMA), and
// returns the n-1 steps by rising height. Equal distances: the groups with the lowest numbers first.
func AverageLinkage(d *Matrix) ([]Merge, error) {
	n := d.Len()
	for i := range n {
		for j := range n {
			if v := d.At(i, j); !(v >= 0) || math.IsInf(v, 0) || v != d.At(j, i) {
				return nil, fmt.Errorf("linkage: %s, %s: %v is no distance, or not the same both ways", d.Names[i], d.Names[j], v)
			}
		}
	}
	between := slices.Clone(d.Values) // of the groups in places
	type group struct{ node, size int }
	groups := make([]group, n)
	for i := range groups {
		groups[i] = group{i, 1}
	}
	nearest := make([]int, n) // place of the nearest group behind each place
	seek := func(i int) {
		nearest[i] = -1
		for j := i + 1; j < n; j++ {
			if groups[j].size > 0 && (nearest[i] < 0 || between[i*n+j] < between[i*n+nearest[i]]) {
				nearest[i] = j
			}
		}
	}
	for i := range n {
		seek(i)
	}
	var steps []Merge
	for len(steps) < n-1 {
		a := -1
		for i := range n {
			if groups[i].size > 0 && nearest[i] >= 0 && (a < 0 || between[i*n+nearest[i]] < between[a*n+nearest[a]]) {
				a = i
			}
		}
		b := nearest[a]
		u, v := groups[a], groups[b]
		steps = append(steps, Merge{min(u.node, v.node), max(u.node, v.node), between[a*n+b], u.size + v.size})
		for k := range n {
			if k == a || k == b || groups[k].size == 0 {
				continue
			}
			mean := (float64(u.size)*between[a*n+k] + float64(v.size)*between[b*n+k]) / float64(u.size+v.size)
			between[a*n+k], between[k*n+a] = mean, mean
		}
		groups[a], groups[b] = group{n + len(steps) - 1, u.size + v.size}, group{}
		for k := range n {
			if groups[k].size > 0 && (k == a || nearest[k] == a || nearest[k] == b || k < a && between[k*n+a] <= between[k*n+max(nearest[k], 0)]) {
				seek(k)
			}
		}
	}
	return steps, nil
}

// LeafOrder returns the models in the order of the tree, in which no branches cross: of each two branches the one with the
// earlier first model comes first.
func LeafOrder(n int, steps []Merge) []int {
	leaves := make([][]int, n, n+len(steps))
	for i := range leaves {
		leaves[i] = []int{i}
	}
	for _, s := range steps {
		a, b := leaves[s.A], leaves[s.B]
		if slices.Min(b) < slices.Min(a) {
			a, b = b, a
		}
		leaves = append(leaves, slices.Concat(a, b))
	}
	if n == 0 {
		return nil
	}
	return leaves[len(leaves)-1]
}
