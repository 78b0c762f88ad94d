package analysis

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"sat/internal/rng"
)

// BootstrapMean returns the interval of the mean of independent values by resampling them with replacement.
func BootstrapMean(ctx context.Context, values []float64, o BootstrapOptions) (Interval, error) {
	none := Interval{undefined, undefined}
	o, err := o.withDefaults()
	if err != nil {
		return none, fmt.Errorf("bootstrap of a mean: %w", err)
	}
	if len(values) == 0 {
		return none, errors.New("bootstrap of a mean: no values")
	}
	means := make([]float64, o.Resamples)
	err = parallel(ctx, o.Resamples, o.Workers, func() func(int) {
		return func(r int) {
			random := rng.New(o.Seed, "analysis/mean", uint64(r))
			sum := 0.0
			for range values {
				sum += values[random.IntN(len(values))]
			}
			means[r] = sum / float64(len(values))
		}
	})
	if err != nil {
		return none, fmt.Errorf("bootstrap of a mean: %w", err)
	}
	slices.Sort(means)
	return Interval{Quantile(means, (1-o.Level)/2), Quantile(means, (1+o.Level)/2)}, nil
}
