package analysis

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"runtime"
	"slices"

	"sat/internal/rng"
)

// Interval is a confidence interval; both ends are NaN where the data do not determine it.
type Interval struct{ Lo, Hi float64 }

// GroupIntervals are the uncertainties of a [GroupTest].
type GroupIntervals struct {
	Within, Across, Difference Interval
}

// BootstrapGroups returns intervals of the means that [CompareGroups] compares, by resampling whole groups with
// replacement: a group (an architecture with all its seeds) is the independent unit here, since what is claimed is claimed
// of architectures. A resample counts a pair as often as its group, or the product of its two groups, was drawn; pairs
// between copies of one group are left out. With few groups the intervals are wide, and should be.
func BootstrapGroups(ctx context.Context, models []string, pairs []Pair, groups []string, o BootstrapOptions) (GroupIntervals, error) {
	o.Resamples = cmp.Or(o.Resamples, 2000)
	o.Level = cmp.Or(o.Level, 0.95)
	o.Workers = cmp.Or(o.Workers, runtime.GOMAXPROCS(0))
	none := Interval{undefined, undefined}
	out := GroupIntervals{none, none, none}
	if err := checkNames(models); err != nil {
		return out, fmt.Errorf("bootstrap groups: %w", err)
	}
	if len(groups) != len(models) {
		return out, fmt.Errorf("bootstrap groups: %d group labels for %d models", len(groups), len(models))
	}
	names := slices.Compact(slices.Sorted(slices.Values(groups))) // the order of rows changes nothing
	k := len(names)
	of := make(map[string]int, len(models))
	for i, model := range models {
		of[model], _ = slices.BinarySearch(names, groups[i])
	}
	sum, count := make([]float64, k*k), make([]float64, k*k) // over the pairs of two groups, the smaller index first
	for _, p := range pairs {
		if p.Status == StatusEmpty || math.IsNaN(p.SAT) {
			continue
		}
		g, okG := of[p.A]
		h, okH := of[p.B]
		if !okG || !okH {
			return out, fmt.Errorf("bootstrap groups: pair (%s, %s) is not of the given models", p.A, p.B)
		}
		cell := min(g, h)*k + max(g, h)
		sum[cell] += p.SAT
		count[cell]++
	}
	within, across, difference := make([]float64, o.Resamples), make([]float64, o.Resamples), make([]float64, o.Resamples)
	err := parallel(ctx, o.Resamples, o.Workers, func() func(int) {
		drawn := make([]float64, k)
		return func(r int) {
			drawModels(drawn, rng.New(o.Seed, "analysis/groups", uint64(r)))
			var inSum, inCount, outSum, outCount float64
			for g, w := range drawn {
				inSum += w * sum[g*k+g]
				inCount += w * count[g*k+g]
				for h := g + 1; h < k; h++ {
					outSum += w * drawn[h] * sum[g*k+h]
					outCount += w * drawn[h] * count[g*k+h]
				}
			}
			within[r], across[r] = inSum/inCount, outSum/outCount // 0/0 is NaN and left out below
			difference[r] = within[r] - across[r]
		}
	})
	if err != nil {
		return out, fmt.Errorf("bootstrap groups: %w", err)
	}
	interval := func(values []float64) Interval {
		values = slices.DeleteFunc(values, math.IsNaN)
		if len(values) == 0 {
			return none
		}
		slices.Sort(values)
		return Interval{Quantile(values, (1-o.Level)/2), Quantile(values, (1+o.Level)/2)}
	}
	return GroupIntervals{interval(within), interval(across), interval(difference)}, nil
}
