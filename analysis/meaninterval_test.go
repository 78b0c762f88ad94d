package analysis

import (
	"context"
	"errors"
	"math"
	"testing"

	"sat/internal/rng"
)

// The interval of a mean of many values is the normal one, and does not depend on the number of goroutines.
func TestBootstrapMean(t *testing.T) {
	random := rng.New(1, "mean interval")
	values := make([]float64, 400)
	for i := range values {
		values[i] = 5 + random.Normal()
	}
	got, err := BootstrapMean(t.Context(), values, BootstrapOptions{Resamples: 4000, Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	half := 1.959964 * standardDeviation(values) / math.Sqrt(400)
	near(t, "lower end", got.Lo, mean(values)-half, 0.006, 0)
	near(t, "upper end", got.Hi, mean(values)+half, 0.006, 0)
	again, err := BootstrapMean(t.Context(), values, BootstrapOptions{Resamples: 4000, Workers: 3})
	if err != nil || again != got {
		t.Errorf("on three goroutines %v, %v, on one %v", again, err, got)
	}
	if same, err := BootstrapMean(t.Context(), []float64{2, 2, 2}, BootstrapOptions{}); err != nil || same != (Interval{2, 2}) {
		t.Errorf("equal values: %v, %v", same, err)
	}
	if _, err := BootstrapMean(t.Context(), nil, BootstrapOptions{}); err == nil {
		t.Error("no values: accepted")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := BootstrapMean(ctx, values, BootstrapOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("after an interrupt: %v", err)
	}
}
