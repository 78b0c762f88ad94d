package analysis

import (
	"slices"

	"sat/internal/rng"
)

// setSampler draws sets of n models from k clusters: first k of the clusters whose union has at least n models, all such
// choices equally likely, then n models of their union, with cover at least one of each cluster, all such sets equally
// likely. Both choices are made by counting, so none is ever rejected. Counts are float64: exact up to 2^53, beyond that
// (ten of a thousand models) to their last digit.
type setSampler struct {
	clusters [][]int // models of each cluster
	n, k     int
	cover    bool
	// chosen[i][j][s] is the number of ways to choose j of the clusters i, i+1, ... with at least s models in all.
	chosen [][][]float64
}

func newSetSampler(clusters [][]int, n, k int, cover bool) *setSampler {
	s := &setSampler{clusters: clusters, n: n, k: k, cover: cover, chosen: make([][][]float64, len(clusters)+1)}
	for i := len(clusters); i >= 0; i-- {
		s.chosen[i] = make([][]float64, k+1)
		for j := range s.chosen[i] {
			s.chosen[i][j] = make([]float64, n+1)
			for need := range s.chosen[i][j] {
				switch {
				case i < len(clusters):
					s.chosen[i][j][need] = s.chosen[i+1][j][need]
					if j > 0 {
						s.chosen[i][j][need] += s.chosen[i+1][j-1][max(0, need-len(clusters[i]))]
					}
				case j == 0 && need == 0:
					s.chosen[i][j][need] = 1
				}
			}
		}
	}
	return s
}

// possible says whether there is any set to draw.
func (s *setSampler) possible() bool {
	return s.chosen[0][s.k][s.n] > 0 && (!s.cover || s.k <= s.n)
}

// draw returns a random set, cluster by cluster.
func (s *setSampler) draw(random *rng.Stream) []int {
	var picked [][]int
	need := s.n
	for i, cluster := range s.clusters {
		j := s.k - len(picked)
		if j == 0 {
			break
		}
		rest := max(0, need-len(cluster))
		if with, without := s.chosen[i+1][j-1][rest], s.chosen[i+1][j][need]; random.Float64()*(with+without) < with {
			picked, need = append(picked, cluster), rest
		}
	}
	ways := s.fillings(picked)
	var set []int
	for i, cluster := range picked {
		left := s.n - len(set)
		weights := make([]float64, min(left, len(cluster))+1)
		for m := s.least(); m < len(weights); m++ {
			weights[m] = binomial(len(cluster), m) * ways[i+1][left-m]
		}
		m := draw(weights, random.Float64()*ways[i][left])
		members := slices.Clone(cluster)
		for at := range m {
			other := at + random.IntN(len(members)-at)
			members[at], members[other] = members[other], members[at]
		}
		slices.Sort(members[:m])
		set = append(set, members[:m]...)
	}
	return set
}

// least is the number of models that every chosen cluster gives at least.
func (s *setSampler) least() int {
	if s.cover {
		return 1
	}
	return 0
}

// fillings returns, at [i][m], in how many ways the clusters i, i+1, ... can give m models.
func (s *setSampler) fillings(clusters [][]int) [][]float64 {
	ways := make([][]float64, len(clusters)+1)
	for i := len(clusters); i >= 0; i-- {
		ways[i] = make([]float64, s.n+1)
		if i == len(clusters) {
			ways[i][0] = 1
			continue
		}
		for total := range ways[i] {
			for m := s.least(); m <= min(total, len(clusters[i])); m++ {
				ways[i][total] += binomial(len(clusters[i]), m) * ways[i+1][total-m]
			}
		}
	}
	return ways
}

// touching returns, at [i][j][m], the number of sets of m models of the clusters i, i+1, ... that touch exactly j of them.
func (s *setSampler) touching() [][][]float64 {
	sets := make([][][]float64, len(s.clusters)+1)
	for i := len(s.clusters); i >= 0; i-- {
		sets[i] = make([][]float64, s.k+1)
		for j := range sets[i] {
			sets[i][j] = make([]float64, s.n+1)
			for m := range sets[i][j] {
				if i == len(s.clusters) {
					if j == 0 && m == 0 {
						sets[i][j][m] = 1
					}
					continue
				}
				sets[i][j][m] = sets[i+1][j][m]
				if j == 0 {
					continue
				}
				for own := 1; own <= min(m, len(s.clusters[i])); own++ {
					sets[i][j][m] += binomial(len(s.clusters[i]), own) * sets[i+1][j-1][m-own]
				}
			}
		}
	}
	return sets
}

// all returns every set that can be drawn, each once, if there are at most most of them; else nil.
func (s *setSampler) all(most int) [][]int {
	touching := s.touching()
	total := 0.0
	first := s.k
	if !s.cover {
		first = 1
	}
	for j := first; j <= s.k; j++ {
		total += touching[0][j][s.n]
	}
	if total > float64(most) {
		return nil
	}
	var out [][]int
	var set []int
	var visit func(i, clusters int)
	visit = func(i, clusters int) {
		left := s.n - len(set)
		if left == 0 && clusters == 0 {
			out = append(out, slices.Clone(set))
			return
		}
		if clusters < 0 || touching[i][clusters][left] == 0 {
			return
		}
		visit(i+1, clusters)
		cluster := s.clusters[i]
		var choose func(from int)
		choose = func(from int) {
			visit(i+1, clusters-1)
			for at := from; at < len(cluster) && len(set) < s.n; at++ {
				set = append(set, cluster[at])
				choose(at + 1)
				set = set[:len(set)-1]
			}
		}
		for at, m := range cluster {
			set = append(set, m)
			choose(at + 1)
			set = set[:len(set)-1]
		}
	}
	for j := first; j <= s.k; j++ {
		visit(0, j)
	}
	return out
}

// binomial returns the number of ways to choose m of n.
func binomial(n, m int) float64 {
	b := 1.0
	for i := range m {
		b = b * float64(n-i) / float64(i+1) // every intermediate value is an integer
	}
	return b
}
