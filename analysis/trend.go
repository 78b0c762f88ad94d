package analysis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"

	"gonum.org/v1/gonum/stat/distuv"

	"sat/internal/rng"
)

// Band says what the shaded band around a trend line holds.
type Band string

// The switches of [FitTrend]. s^2 = SSE/(n-2), and t is a quantile of Student's distribution with n-2 degrees of freedom.
const (
	BandMean       Band = "mean"       // f(x) +- t s sqrt(1/n + (x-xbar)^2/Sxx): where the line may be
	BandPrediction Band = "prediction" // f(x) +- t s sqrt(1 + 1/n + (x-xbar)^2/Sxx): where the next point may be
	BandBootstrap  Band = "bootstrap"  // percentiles of the lines through points drawn with replacement
)

// TrendOptions are the settings of [FitTrend].
type TrendOptions struct {
	Band      Band    // default BandMean
	Level     float64 // share that the band holds; default 0.9
	Grid      int     // points of the line, evenly spaced over the range of x; default 100
	Resamples int     // of BandBootstrap; default 1000
	Seed      uint64  // of BandBootstrap
	Workers   int     // goroutines; default all cores. The result does not depend on it
}

// Trend is the least-squares line y = Intercept + Slope x with a band, at the grid X: the line is at Y, the band from Lo to
// Hi. Undefined numbers are NaN, and Warning then says why.
type Trend struct {
	N                int
	Slope, Intercept float64
	Band             Band
	Level            float64
	X, Y, Lo, Hi     []float64
	Warning          string
}

// FitTrend fits y on x (the lines of Figs. 2, 5, 8, G.1 and H.1). Fewer than two points or a constant x leave the line
// undefined, two points its band; NaN or infinite input is an error that names the point.
func FitTrend(ctx context.Context, x, y []float64, o TrendOptions) (*Trend, error) {
	o.Band = cmp.Or(o.Band, BandMean)
	o.Level = cmp.Or(o.Level, 0.9)
	o.Grid = cmp.Or(o.Grid, 100)
	o.Resamples = cmp.Or(o.Resamples, 1000)
	o.Workers = cmp.Or(o.Workers, runtime.GOMAXPROCS(0))
	t, err := fitTrend(ctx, x, y, o)
	if err != nil {
		return nil, fmt.Errorf("trend: %w", err)
	}
	return t, nil
}

func fitTrend(ctx context.Context, x, y []float64, o TrendOptions) (*Trend, error) {
	if !slices.Contains([]Band{BandMean, BandPrediction, BandBootstrap}, o.Band) {
		return nil, fmt.Errorf("band %q: want %s, %s or %s", o.Band, BandMean, BandPrediction, BandBootstrap)
	}
	if !(o.Level > 0 && o.Level < 1) || o.Grid < 2 || o.Resamples < 2 || o.Workers < 1 {
		return nil, fmt.Errorf("level %v, %d grid points, %d resamples, %d workers: want a level in (0, 1), two points and resamples, "+
			"a worker", o.Level, o.Grid, o.Resamples, o.Workers)
	}
	if len(x) != len(y) {
		return nil, fmt.Errorf("%d and %d values", len(x), len(y))
	}
	for i := range x {
		if math.IsNaN(x[i]-x[i]) || math.IsNaN(y[i]-y[i]) { // v-v is NaN for NaN and both infinities
			return nil, fmt.Errorf("point %d is (%v, %v)", i+1, x[i], y[i])
		}
	}
	t := &Trend{N: len(x), Slope: undefined, Intercept: undefined, Band: o.Band, Level: o.Level}
	switch {
	case len(x) < 2:
		t.Warning = "a line needs at least two points"
		return t, nil
	case constant(x):
		t.Warning = "x is constant: the line is undefined"
		return t, nil
	}
	l := leastSquares(x, y)
	t.Slope, t.Intercept = l.slope, l.y-l.slope*l.x
	if math.IsNaN(t.Intercept-t.Intercept) || math.IsNaN(l.sxx-l.sxx) {
		return nil, errors.New("values too large for float64 arithmetic")
	}
	low, high := slices.Min(x), slices.Max(x)
	for k := range o.Grid {
		at := low + (high-low)*float64(k)/float64(o.Grid-1)
		t.X, t.Y = append(t.X, at), append(t.Y, l.at(at))
	}
	if len(x) == 2 {
		t.Warning = "two points leave no residual: the band is undefined"
		t.Lo, t.Hi = slices.Repeat([]float64{undefined}, o.Grid), slices.Repeat([]float64{undefined}, o.Grid)
		return t, nil
	}
	if o.Band == BandBootstrap {
		return t, t.bootstrap(ctx, x, y, o)
	}
	n := float64(len(x))
	sse := sumOf(len(x), func(i int) float64 { e := y[i] - l.at(x[i]); return e * e })
	width := distuv.StudentsT{Sigma: 1, Nu: n - 2}.Quantile((1+o.Level)/2) * math.Sqrt(sse/(n-2))
	extra := 1 / n
	if o.Band == BandPrediction {
		extra++
	}
	for k, at := range t.X {
		half := width * math.Sqrt(extra+(at-l.x)*(at-l.x)/l.sxx)
		t.Lo, t.Hi = append(t.Lo, t.Y[k]-half), append(t.Hi, t.Y[k]+half)
	}
	return t, nil
}

// line is y + slope (at - x), through the mean of the points.
type line struct{ slope, x, y, sxx float64 }

func (l line) at(x float64) float64 { return l.y + l.slope*(x-l.x) }

func leastSquares(x, y []float64) line {
	n := float64(len(x))
	l := line{x: sumOf(len(x), func(i int) float64 { return x[i] / n }), y: sumOf(len(y), func(i int) float64 { return y[i] / n })}
	l.sxx = sumOf(len(x), func(i int) float64 { return (x[i] - l.x) * (x[i] - l.x) })
	l.slope = sumOf(len(x), func(i int) float64 { return (x[i] - l.x) * (y[i] - l.y) }) / l.sxx
	return l
}

// bootstrap fills the band with the percentiles of the lines through resampled points. Resamples of one x give no line.
func (t *Trend) bootstrap(ctx context.Context, x, y []float64, o TrendOptions) error {
	lines := make([]line, o.Resamples)
	err := parallel(ctx, o.Resamples, o.Workers, func() func(int) {
		u, v := make([]float64, len(x)), make([]float64, len(x))
		return func(r int) {
			random := rng.New(o.Seed, "analysis/trend", uint64(r))
			for i := range u {
				k := random.IntN(len(x))
				u[i], v[i] = x[k], y[k]
			}
			lines[r] = line{slope: undefined}
			if !constant(u) {
				lines[r] = leastSquares(u, v)
			}
		}
	})
	if err != nil {
		return err
	}
	lines = slices.DeleteFunc(lines, func(l line) bool { return math.IsNaN(l.slope) })
	if lost := o.Resamples - len(lines); lost > 0 {
		t.Warning = fmt.Sprintf("%d of %d resamples hold a single x and no line: the band describes the others", lost, o.Resamples)
	}
	heights := make([]float64, len(lines))
	for _, at := range t.X {
		for r, l := range lines {
			heights[r] = l.at(at)
		}
		slices.Sort(heights)
		t.Lo, t.Hi = append(t.Lo, Quantile(heights, (1-o.Level)/2)), append(t.Hi, Quantile(heights, (1+o.Level)/2))
	}
	return nil
}
