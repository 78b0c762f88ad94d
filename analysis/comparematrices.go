package analysis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"sat/internal/rng"
)

// MatrixComparison relates two matrices over the models they share: PGD and AutoAttack, for example (Fig. 2a).
type MatrixComparison struct {
	Models      int
	Left        []string // models that only one of the two has, by name
	Points      []MatrixPoint
	Correlation Correlation // over the pairs defined in both; its p takes pairs for independent
	Mantel      *MantelTest // the test that does not; nil with fewer than three models, an undefined pair or a constant matrix
	// R and Spearman are intervals of the two coefficients by resampling models; those of Correlation take pairs for
	// independent. NaN without a defined coefficient.
	R, Spearman Interval
	Warnings    []string
}

// MatrixPoint is a pair of models in both matrices.
type MatrixPoint struct {
	A, B string
	X, Y float64
}

// MatrixOptions are the settings of [CompareMatrices].
type MatrixOptions struct {
	Mantel    MantelOptions
	Bootstrap BootstrapOptions
}

// CompareMatrices asks whether two similarity matrices rank pairs of models alike. The diagonals are not used; the order of
// the rows changes nothing.
func CompareMatrices(ctx context.Context, a, b *Matrix, o MatrixOptions) (*MatrixComparison, error) {
	out, err := compareMatrices(ctx, a, b, o)
	if err != nil {
		return nil, fmt.Errorf("compare matrices: %w", err)
	}
	return out, nil
}

func compareMatrices(ctx context.Context, a, b *Matrix, o MatrixOptions) (*MatrixComparison, error) {
	if err := errors.Join(a.checkSymmetric(), b.checkSymmetric()); err != nil {
		return nil, err
	}
	boot, err := o.Bootstrap.withDefaults()
	if err != nil {
		return nil, err
	}
	out := &MatrixComparison{R: Interval{undefined, undefined}, Spearman: Interval{undefined, undefined}}
	var shared []string
	for _, name := range slices.Sorted(slices.Values(append(slices.Clone(a.Names), b.Names...))) {
		inA, inB := slices.Contains(a.Names, name), slices.Contains(b.Names, name)
		switch {
		case !inA || !inB:
			out.Left = append(out.Left, name)
		case len(shared) == 0 || shared[len(shared)-1] != name: // a shared name occurs twice in a row
			shared = append(shared, name)
		}
	}
	if len(shared) < 2 {
		return nil, fmt.Errorf("%d models in both: want at least two", len(shared))
	}
	if a, err = a.Select(shared); err != nil {
		return nil, err
	}
	if b, err = b.Select(shared); err != nil {
		return nil, err
	}
	out.Models = len(shared)
	var x, y []float64
	var first, second []int32 // models of each point
	lost := 0
	for i, name := range shared {
		for j := i + 1; j < len(shared); j++ {
			p := MatrixPoint{A: name, B: shared[j], X: symmetric(a, i, j), Y: symmetric(b, i, j)}
			if math.IsNaN(p.X) || math.IsNaN(p.Y) {
				lost++
				continue
			}
			out.Points = append(out.Points, p)
			x, y = append(x, p.X), append(y, p.Y)
			first, second = append(first, int32(i)), append(second, int32(j))
		}
	}
	if lost > 0 {
		out.Warnings = append(out.Warnings, fmt.Sprintf("%d pairs are undefined in one of the matrices and left out; the test over "+
			"models needs all pairs and is not run", lost))
	}
	if out.Correlation, err = Correlate(x, y, 0.95); err != nil {
		return nil, err
	}
	if lost == 0 && len(shared) > 2 && !constant(x) && !constant(y) {
		t, err := Mantel(ctx, a, b, o.Mantel)
		if err != nil {
			return nil, err
		}
		out.Mantel = &t
	}
	if len(x) < 2 || constant(x) || constant(y) {
		return out, nil
	}
	return out, out.bootstrap(ctx, pairResampler{models: len(shared), first: first, second: second, x: standardize(x), y: standardize(y)}, boot)
}

// pairResampler holds points that are pairs of models.
type pairResampler struct {
	models        int
	first, second []int32
	x, y          []float64
}

// bootstrap fills the intervals. A resample counts a pair as often as both its models were drawn, as [MeanSimilarity] does.
func (c *MatrixComparison) bootstrap(ctx context.Context, p pairResampler, o BootstrapOptions) error {
	r, spearman := make([]float64, o.Resamples), make([]float64, o.Resamples)
	byX, byY := argsort(p.x), argsort(p.y)
	err := parallel(ctx, o.Resamples, o.Workers, func() func(int) {
		drawn := make([]float64, p.models)
		weight, u, v := make([]float64, len(p.x)), make([]float64, len(p.x)), make([]float64, len(p.x))
		return func(k int) {
			drawModels(drawn, rng.New(o.Seed, "analysis/matrices", uint64(k)))
			for i := range weight {
				weight[i] = drawn[p.first[i]] * drawn[p.second[i]]
			}
			r[k] = weightedPearson(weight, p.x, p.y)
			weightedRanks(u, weight, p.x, byX)
			weightedRanks(v, weight, p.y, byY)
			spearman[k] = weightedPearson(weight, u, v)
		}
	})
	if err != nil {
		return err
	}
	interval := func(values []float64) (Interval, int) {
		defined := slices.DeleteFunc(slices.Clone(values), math.IsNaN)
		slices.Sort(defined)
		return Interval{Quantile(defined, (1-o.Level)/2), Quantile(defined, (1+o.Level)/2)}, len(values) - len(defined)
	}
	lost := 0
	c.R, _ = interval(r)
	if c.Spearman, lost = interval(spearman); lost > 0 {
		c.Warnings = append(c.Warnings, fmt.Sprintf("%d of %d resamples of the models leave no correlation: the intervals describe the others",
			lost, o.Resamples))
	}
	return nil
}

// argsort returns the indices of values in ascending order of these.
func argsort(values []float64) []int32 {
	order := make([]int32, len(values))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortStableFunc(order, func(a, b int32) int { return cmp.Compare(values[a], values[b]) })
	return order
}

// weightedRanks fills ranks with the average rank of each value among values repeated as often as their weights say.
func weightedRanks(ranks, weight, values []float64, order []int32) {
	before := 0.0
	for from := 0; from < len(order); {
		to, tied := from, 0.0
		for ; to < len(order) && values[order[to]] == values[order[from]]; to++ {
			tied += weight[order[to]]
		}
		for _, i := range order[from:to] {
			ranks[i] = before + (tied+1)/2
		}
		before, from = before+tied, to
	}
}

// weightedPearson is Pearson's r of points repeated as often as their weights say; NaN if that leaves a variable constant.
func weightedPearson(weight, x, y []float64) float64 {
	var sum, mx, my float64
	for i, w := range weight {
		sum += w
		mx += w * x[i]
		my += w * y[i]
	}
	mx, my = mx/sum, my/sum
	var xx, yy, xy float64
	for i, w := range weight {
		if w == 0 {
			continue
		}
		u, v := x[i]-mx, y[i]-my
		xx += w * u * u
		yy += w * v * v
		xy += w * u * v
	}
	// What rounding leaves of a constant is no variance.
	if least := 1e-24 * sum * (1 + mx*mx + my*my); !(xx > least && yy > least) {
		return undefined
	}
	return max(-1, min(1, xy/math.Sqrt(xx*yy)))
}
