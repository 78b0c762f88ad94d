package analysis

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"sat/internal/rng"
)

// MatrixMean is the mean similarity inside a set of models.
type MatrixMean struct {
	Models     int
	Summary    Summary // of the pairs of different models; Floored is not known from a matrix and 0
	CILo, CIHi float64 // of the mean, resampling models; NaN without pairs
	Warnings   []string
}

// MeanSimilarity describes the pairs of different models of a symmetric matrix, with an interval of their mean by resampling
// models with replacement. A resample counts a pair as often as both its models were drawn; pairs of a model with its own
// copy are left out, since the diagonal is no similarity of two models. Pairs are not resampled: each model is in n-1 of
// them, so they are far from independent. Undefined pairs are counted and left out. The order of rows changes nothing.
func MeanSimilarity(ctx context.Context, sat *Matrix, o BootstrapOptions) (*MatrixMean, error) {
	m, err := meanSimilarity(ctx, sat, o)
	if err != nil {
		return nil, fmt.Errorf("mean similarity: %w", err)
	}
	return m, nil
}

func meanSimilarity(ctx context.Context, sat *Matrix, o BootstrapOptions) (*MatrixMean, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := sat.checkSymmetric(); err != nil {
		return nil, err
	}
	if sat.Len() < 2 {
		return nil, errors.New("one model has no pair")
	}
	sorted, err := sat.Select(slices.Sorted(slices.Values(sat.Names)))
	if err != nil {
		return nil, err
	}
	out := &MatrixMean{Models: sat.Len(), CILo: undefined, CIHi: undefined}
	pairs := sorted.pairs()
	out.Summary = Summarize(pairs)
	if out.Summary.Excluded > 0 {
		out.Warnings = append(out.Warnings, fmt.Sprintf("%d of %d pairs have no similarity and are left out",
			out.Summary.Excluded, len(pairs)))
	}
	if out.Summary.Pairs == 0 {
		return out, nil
	}
	means := make([]float64, o.Resamples)
	err = parallel(ctx, o.Resamples, o.Workers, func() func(int) {
		drawn := make([]float64, sorted.Len())
		return func(r int) {
			drawModels(drawn, rng.New(o.Seed, "analysis/models", uint64(r)))
			means[r] = weightedMean(sorted, drawn)
		}
	})
	if err != nil {
		return nil, err
	}
	means = slices.DeleteFunc(means, math.IsNaN)
	if lost := o.Resamples - len(means); lost > 0 {
		out.Warnings = append(out.Warnings, fmt.Sprintf("%d of %d resamples of the models hold no pair: the interval describes "+
			"the others", lost, o.Resamples))
	}
	slices.Sort(means)
	out.CILo, out.CIHi = Quantile(means, (1-o.Level)/2), Quantile(means, (1+o.Level)/2)
	return out, nil
}

// pairs lists the entries above the diagonal; one without a score is empty.
func (m *Matrix) pairs() []Pair {
	var pairs []Pair
	for i, a := range m.Names {
		for j := i + 1; j < m.Len(); j++ {
			p := Pair{A: a, B: m.Names[j], SAT: symmetric(m, i, j), Status: StatusOK}
			if math.IsNaN(p.SAT) {
				p.Status = StatusEmpty
			}
			pairs = append(pairs, p)
		}
	}
	return pairs
}

// drawModels counts how often each of the models is drawn in as many draws with replacement.
func drawModels(drawn []float64, random *rng.Stream) {
	clear(drawn)
	for range drawn {
		drawn[random.IntN(len(drawn))]++
	}
}

// weightedMean is the mean of the defined entries above the diagonal, each counted as often as the product of its models'
// weights; NaN without any.
func weightedMean(m *Matrix, weight []float64) float64 {
	sum, total := 0.0, 0.0
	for i, w := range weight {
		if w == 0 {
			continue
		}
		for j, v := range m.Row(i)[i+1:] {
			if u := weight[i+1+j]; u != 0 && !math.IsNaN(v) {
				sum += w * u * v
				total += w * u
			}
		}
	}
	return sum / total
}
