package analysis

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/stat/distuv"

	"sat/internal/rng"
)

const (
	// passesUnit is the number of forward passes that Tab. 1 counts as a cost of 1.
	passesUnit = 25_000
	// TripletPasses are the forward passes of one decision-boundary triplet: a plane of 50 x 50 points.
	TripletPasses = 2500
)

// AttackPasses returns the forward passes per image of a SAT score: one per attack step, and the final one.
func AttackPasses(steps int) int { return steps + 1 }

// PercentOn returns the two-sided similarity of two models on some of the images, in percent, without logarithm or floor.
// The error is [ErrNoSharedImages] if the models share no correct one among them.
func (t *Tables) PercentOn(a, b string, images []int) (float64, error) {
	index, err := locate([]string{a, b}, t.Models)
	if err != nil {
		return undefined, fmt.Errorf("similarity on a set of images: %w", err)
	}
	if err := t.Validate(); err != nil {
		return undefined, fmt.Errorf("similarity on a set of images: %w", err)
	}
	set := make(Bits, words(t.Images))
	for _, i := range images {
		if i < 0 || i >= t.Images || set[i/64]>>(i%64)&1 == 1 {
			return undefined, fmt.Errorf("similarity on a set of images: image %d of %d is unknown or stands twice", i, t.Images)
		}
		set[i/64] |= 1 << (i % 64)
	}
	for w := range set {
		set[w] &= t.Correct[index[0]][w] & t.Correct[index[1]][w]
	}
	fooledAB, fooledBA := count2(set, t.Wrong[index[0]][index[1]]), count2(set, t.Wrong[index[1]][index[0]])
	_, percent, err := SAT(count2(set, set), fooledAB, fooledBA, DefaultFloor)
	return percent, err
}

// StabilitySeries holds the scores of one pair of models by one method at one sample size.
type StabilitySeries struct {
	Method     string
	Samples    int       // images or triplets per score
	Population float64   // how many different samples there are; 0 if not known
	Passes     int       // forward passes per sample, attack included: see [AttackPasses] and [TripletPasses]
	Scores     []float64 // percent, one per repeat; series of one study have the same sets behind the same index
}

// StabilityRow is a line of Tab. 1.
type StabilityRow struct {
	Method       string
	Samples      int
	Ratio        float64 // share of the population that one score looks at; NaN if not known
	Mean         float64 // percent
	Std          float64 // of the scores, in percentage points; divides by one less than their number
	StdLo, StdHi float64 // interval of Std for normal scores
	Cost         float64 // forward passes / 25,000, without the factor 2 of both directions that all methods share
}

// DescribeStability summarises series of scores (Tab. 1). level is that of the intervals, 0.95 for example: the standard
// deviation of ten values is known to a factor of 0.69 to 1.83 only. Fewer than two scores and NaN are errors that name
// the series.
func DescribeStability(series []StabilitySeries, level float64) ([]StabilityRow, error) {
	if !(level > 0 && level < 1) {
		return nil, fmt.Errorf("stability: confidence level %v: want one in (0, 1)", level)
	}
	var rows []StabilityRow
	for _, s := range series {
		if err := s.validate(); err != nil {
			return nil, fmt.Errorf("stability: %w", err)
		}
		r := StabilityRow{Method: s.Method, Samples: s.Samples, Ratio: undefined, Mean: mean(s.Scores), Std: standardDeviation(s.Scores),
			Cost: float64(s.Samples) * float64(s.Passes) / passesUnit}
		if s.Population > 0 {
			r.Ratio = float64(s.Samples) / s.Population
		}
		r.StdLo, r.StdHi = spreadInterval(r.Std, len(s.Scores), level)
		rows = append(rows, r)
	}
	return rows, nil
}

func (s StabilitySeries) validate() error {
	if len(s.Scores) < 2 || s.Samples < 1 || s.Passes < 0 || !(s.Population >= 0) {
		return fmt.Errorf("%s, %d samples of %v: %d scores and %d passes per sample: want at least two scores", s.Method, s.Samples,
			s.Population, len(s.Scores), s.Passes)
	}
	for q, v := range s.Scores {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Errorf("%s, %d samples: score %d is %v", s.Method, s.Samples, q+1, v)
		}
	}
	return nil
}

// spreadInterval is std sqrt((n-1)/q) with q the upper and lower quantile of chi-squared with n-1 degrees of freedom.
func spreadInterval(std float64, n int, level float64) (low, high float64) {
	c := distuv.ChiSquared{K: float64(n - 1)}
	return std * math.Sqrt(float64(n-1)/c.Quantile((1+level)/2)), std * math.Sqrt(float64(n-1)/c.Quantile((1-level)/2))
}

// SpreadTest compares the standard deviations of two series.
type SpreadTest struct {
	LogRatio   float64 // ln(std_a / std_b): below 0 if a is the stabler one; NaN if a series is constant
	CILo, CIHi float64 // bootstrap interval of LogRatio
	F, P       float64 // Brown-Forsythe test; NaN where no score differs from its series' median
	Warning    string
}

// CompareSpread asks whether two methods differ in stability. Repeats are resampled, the same ones for both series, since
// both methods saw the same sets; resamples with a constant series have no ratio and are left out. The Brown-Forsythe test
// compares the distances from the medians of independent series and so makes no use of the pairing.
func CompareSpread(ctx context.Context, a, b StabilitySeries, o BootstrapOptions) (SpreadTest, error) {
	t := SpreadTest{LogRatio: undefined, CILo: undefined, CIHi: undefined}
	o, err := o.withDefaults()
	if err != nil {
		return t, fmt.Errorf("compare spread: %w", err)
	}
	if err := errors.Join(a.validate(), b.validate()); err != nil {
		return t, fmt.Errorf("compare spread: %w", err)
	}
	if len(a.Scores) != len(b.Scores) {
		return t, fmt.Errorf("compare spread: %d scores by %s and %d by %s: want the same repeats", len(a.Scores), a.Method,
			len(b.Scores), b.Method)
	}
	t.F, t.P = brownForsythe(a.Scores, b.Scores)
	if constant(a.Scores) || constant(b.Scores) {
		t.Warning = "a series is constant: the ratio of spreads is undefined"
		return t, nil
	}
	t.LogRatio = math.Log(standardDeviation(a.Scores) / standardDeviation(b.Scores))
	ratios := make([]float64, o.Resamples)
	err = parallel(ctx, o.Resamples, o.Workers, func() func(int) {
		u, v := make([]float64, len(a.Scores)), make([]float64, len(a.Scores))
		return func(r int) {
			random := rng.New(o.Seed, "analysis/spread", uint64(r))
			for k := range u {
				q := random.IntN(len(u))
				u[k], v[k] = a.Scores[q], b.Scores[q]
			}
			ratios[r] = undefined
			if !constant(u) && !constant(v) {
				ratios[r] = math.Log(standardDeviation(u) / standardDeviation(v))
			}
		}
	})
	if err != nil {
		return t, fmt.Errorf("compare spread: %w", err)
	}
	ratios = slices.DeleteFunc(ratios, math.IsNaN)
	if lost := o.Resamples - len(ratios); lost > 0 {
		t.Warning = fmt.Sprintf("%d of %d resamples hold a constant series: the interval describes the others", lost, o.Resamples)
	}
	slices.Sort(ratios)
	t.CILo, t.CIHi = Quantile(ratios, (1-o.Level)/2), Quantile(ratios, (1+o.Level)/2)
	return t, nil
}

// brownForsythe tests two groups for equal spread: the one-way analysis of variance of the distances from the median, whose
// F has 1 and d = n-2 degrees of freedom under equal spread, so that p = I_x(d/2, 1/2) at x = d/(d+F).
func brownForsythe(a, b []float64) (f, p float64) {
	distances := func(values []float64) []float64 {
		sorted := slices.Sorted(slices.Values(values))
		center := Quantile(sorted, 0.5)
		out := make([]float64, len(values))
		for i, v := range values {
			out[i] = math.Abs(v - center)
		}
		return out
	}
	u, v := distances(a), distances(b)
	m, n := float64(len(u)), float64(len(v))
	within := m*meanSquare(u, mean(u)) + n*meanSquare(v, mean(v))
	gap := mean(u) - mean(v)
	between := m * n / (m + n) * gap * gap
	d := m + n - 2
	switch {
	case d <= 0 || within == 0 && between == 0:
		return undefined, undefined
	case between == 0:
		return 0, 1
	case within == 0:
		return math.Inf(1), 0
	}
	f = between / (within / d)
	return f, math.Exp(logBetaTail(d/2, d/(d+f), f/(d+f)))
}
