package analysis

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/mat"
)

// NovelRule says how a model that was not clustered finds its cluster. The paper gives no rule.
type NovelRule string

// The rules of [AssignNovel].
const (
	// NovelNystrom extends the spectral features to the new model and takes the nearest centroid.
	NovelNystrom NovelRule = "nystrom"
	// NovelMean takes the cluster with the largest mean score.
	NovelMean NovelRule = "mean"
	// NovelNearest takes the cluster of the most similar model.
	NovelNearest NovelRule = "nearest"
)

// NovelAssignment is the cluster of a new model by one rule.
type NovelAssignment struct {
	Model   string
	Rule    NovelRule
	Cluster int // from 1; ties go to the lower number
	// Margin is how far the second best cluster is behind: in the distance of features for NovelNystrom, in SAT for the
	// others; NaN with one cluster.
	Margin float64
	// Values are the distance from each cluster's centroid (NovelNystrom), the mean score of its members (NovelMean) or the
	// largest (NovelNearest); NaN for a cluster without members.
	Values []float64
}

// AssignNovel finds the cluster of a new model from its scores with the clustered ones, by all three rules, the default
// NovelNystrom first (appendix H). sat and o are those of the clustering, labels its cluster numbers from 1, and scores[i]
// is the score of the new model with sat.Names[i], one-sided or two-sided.
//
// With weights a_j from the scores, d_new = sum_j a_j and the eigenvectors v_k of M = D^-1/2 A D^-1/2 for eigenvalues mu_k,
// feature k of the new model is (1/mu_k) sum_j a_j v_jk / sqrt(d_new d_j): what it would be if its row of M obeyed the same
// equation as the other rows do. Applied to the row of a clustered model, this gives the model's own features.
func AssignNovel(sat *Matrix, labels []int, model string, scores []float64, o ClusterOptions) ([]NovelAssignment, error) {
	out, err := assignNovel(sat, labels, model, scores, o.WithDefaults())
	if err != nil {
		return nil, fmt.Errorf("novel model %s: %w", model, err)
	}
	return out, nil
}

func assignNovel(sat *Matrix, labels []int, model string, scores []float64, o ClusterOptions) ([]NovelAssignment, error) {
	a, err := affinity(sat, o)
	if err != nil {
		return nil, err
	}
	n := sat.Len()
	if o.K < 1 || o.K > n || len(labels) != n || len(scores) != n {
		return nil, fmt.Errorf("%d labels, %d scores and %d clusters for %d models", len(labels), len(scores), o.K, n)
	}
	if slices.Contains(sat.Names, model) {
		return nil, errors.New("is one of the clustered models")
	}
	for i, name := range sat.Names {
		if labels[i] < 1 || labels[i] > o.K {
			return nil, fmt.Errorf("label of %s is %d, want one from 1 to %d", name, labels[i], o.K)
		}
		if math.IsNaN(scores[i]) || math.IsInf(scores[i], 0) {
			return nil, fmt.Errorf("score with %s is %v", name, scores[i])
		}
	}
	weight, err := o.weight(lowestScore(sat))
	if err != nil {
		return nil, err
	}
	weights := make([]float64, n)
	for i, s := range scores {
		weights[i] = max(0, weight(s))
	}
	e, err := embed(a, sat.Names, o)
	if err != nil {
		return nil, err
	}
	features, err := e.extend(weights, o)
	if err != nil {
		return nil, err
	}

	size := make([]float64, o.K)
	centers := make([][]float64, o.K)
	sums, largest := make([]float64, o.K), slices.Repeat([]float64{math.Inf(-1)}, o.K)
	for c := range centers {
		centers[c] = make([]float64, o.K)
	}
	for i, label := range labels {
		c := label - 1
		size[c]++
		for k, v := range e.rows[i] {
			centers[c][k] += v
		}
		sums[c] += scores[i]
		largest[c] = max(largest[c], scores[i])
	}
	distance, means := make([]float64, o.K), make([]float64, o.K)
	for c := range centers {
		for k := range centers[c] {
			centers[c][k] /= size[c]
		}
		distance[c], means[c] = math.Sqrt(squaredDistance(features, centers[c])), sums[c]/size[c]
		if size[c] == 0 {
			largest[c] = undefined
		}
	}
	return []NovelAssignment{
		assign(model, NovelNystrom, distance, -1),
		assign(model, NovelMean, means, 1),
		assign(model, NovelNearest, largest, 1),
	}, nil
}

// extend returns the features of a further model from the weights of its edges.
func (e *embedding) extend(weights []float64, o ClusterOptions) ([]float64, error) {
	degree := 0.0
	for _, w := range weights {
		degree += w
	}
	if degree == 0 {
		return nil, errors.New("its affinity to every clustered model is 0")
	}
	row := make([]float64, o.K)
	for k, c := range e.chosen {
		scale := 1 - e.values[c] // the eigenvalue of M
		if o.Laplacian == LaplacianUnnormalized {
			scale = degree - e.values[c] // (D - A) v = lambda v
		}
		if math.Abs(scale) < degenerateGap {
			return nil, fmt.Errorf("eigenvector %d of the affinity has eigenvalue 0 and says nothing about further models: take fewer "+
				"clusters", k+1)
		}
		for j, w := range weights {
			if o.Laplacian != LaplacianUnnormalized {
				w /= math.Sqrt(degree * e.degree[j])
			}
			row[k] += w * e.vectors[j][k] / scale
		}
		if o.Laplacian == LaplacianRW {
			row[k] /= math.Sqrt(degree)
		}
	}
	if o.Rows == RowsUnit {
		length := mat.Norm(mat.NewVecDense(o.K, row), 2)
		if length < degenerateGap {
			return nil, fmt.Errorf("has no part in the %d eigenvectors", o.K)
		}
		for k := range row {
			row[k] /= length
		}
	}
	return row, nil
}

// assign picks the cluster with the largest value times sign.
func assign(model string, rule NovelRule, values []float64, sign float64) NovelAssignment {
	a := NovelAssignment{Model: model, Rule: rule, Values: values, Margin: undefined}
	best, second := math.Inf(-1), math.Inf(-1)
	for c, v := range values {
		switch v *= sign; {
		case v > best:
			a.Cluster, best, second = c+1, v, best
		case v > second:
			second = v
		}
	}
	if !math.IsInf(second, -1) {
		a.Margin = best - second
	}
	return a
}

// OneSidedPoint compares both scores of a pair (one point of Fig. H.1). The one-sided score uses the images made on A.
type OneSidedPoint struct {
	A, B               string
	TwoSided, OneSided float64
}

// OneSidedStudy is the result of [Scores.CompareOneSided].
type OneSidedStudy struct {
	Points      []OneSidedPoint
	Correlation Correlation
	Warnings    []string
}

// CompareOneSided asks how much is lost where only one of two models can be attacked (Fig. H.1): it correlates the one-sided
// with the two-sided score over the pairs. By default every pair counts once, the images made on its first model; ordered
// counts it twice, once for each. Pairs without common images are left out.
func (s *Scores) CompareOneSided(ordered bool) (*OneSidedStudy, error) {
	place := make(map[string]int, len(s.Models))
	for i, name := range s.Models {
		place[name] = i
	}
	two := s.Matrix()
	out := &OneSidedStudy{}
	var x, y []float64
	empty, floored := 0, 0
	for _, d := range s.Directed {
		a, b := place[d.Source], place[d.Target]
		if a > b && !ordered {
			continue
		}
		switch d.Status {
		case StatusEmpty:
			empty++
			continue
		case StatusFloored:
			floored++
		}
		p := OneSidedPoint{A: d.Source, B: d.Target, TwoSided: two.At(a, b), OneSided: d.OneSided}
		out.Points = append(out.Points, p)
		x, y = append(x, p.TwoSided), append(y, p.OneSided)
	}
	if empty > 0 {
		out.Warnings = append(out.Warnings, fmt.Sprintf("%d pairs have no image that both models classify correctly and are left "+
			"out", empty))
	}
	if floored > 0 {
		out.Warnings = append(out.Warnings, fmt.Sprintf("%d one-sided scores are at the floor: compare Spearman's correlation", floored))
	}
	var err error
	if out.Correlation, err = Correlate(x, y, 0.95); err != nil {
		return nil, fmt.Errorf("one-sided scores: %w", err)
	}
	return out, nil
}
