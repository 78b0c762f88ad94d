package analysis

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"math/bits"
	"runtime"
	"slices"
	"sync"

	"sat/internal/rng"
)

// BootstrapOptions are the settings of [Scores.Bootstrap], [MeanSimilarity] and [CompareSpread].
type BootstrapOptions struct {
	Resamples int     // default 2000
	Level     float64 // of the percentile intervals; default 0.95
	Seed      uint64
	Workers   int // goroutines; default all cores. The result does not depend on it
}

func (o BootstrapOptions) withDefaults() (BootstrapOptions, error) {
	o.Resamples = cmp.Or(o.Resamples, 2000)
	o.Level = cmp.Or(o.Level, 0.95)
	o.Workers = cmp.Or(o.Workers, runtime.GOMAXPROCS(0))
	if o.Resamples < 2 || o.Workers < 1 || !(o.Level > 0 && o.Level < 1) {
		return o, fmt.Errorf("%d resamples, level %v, %d workers: want at least 2, a level in (0, 1), at least 1", o.Resamples,
			o.Level, o.Workers)
	}
	return o, nil
}

// Bootstrap fills the intervals of s.Pairs by resampling images with replacement, the independent unit: a resample draws
// t.Images images, the same ones for every pair, and the interval holds the percentiles (1-Level)/2 and (1+Level)/2 of the
// resampled scores. s must be the scores of t.
//
// A resample gives image i a weight w_i, and a pair's resampled counts are sums of weights over its bit sets. The weights
// are stored by their binary digits, so a weighted sum is a few population counts: 69 models, 5,000 images and 2,000
// resamples take seconds. Resamples without a common image leave a pair undefined; they are left out of its interval, and
// s.Warnings says so.
func (s *Scores) Bootstrap(ctx context.Context, t *Tables, o BootstrapOptions) error {
	o, err := o.withDefaults()
	if err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	if err := t.Validate(); err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	if !slices.Equal(s.Models, t.Models) || s.Images != t.Images {
		return fmt.Errorf("bootstrap: scores of %d models on %d images do not belong to bit tables of %d models on %d images",
			len(s.Models), s.Images, len(t.Models), t.Images)
	}
	if t.Images == 0 {
		return nil // every pair is empty
	}
	weights, err := drawWeights(ctx, t.Images, o)
	if err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}

	at := make(map[string]int, len(t.Models))
	for i, name := range t.Models {
		at[name] = i
	}
	undefinedResamples := make([]int, len(s.Pairs))
	err = parallel(ctx, len(s.Pairs), o.Workers, func() func(int) {
		w := words(t.Images)
		both, ab, ba := make(Bits, w), make(Bits, w), make(Bits, w)
		percents := make([]float64, 0, o.Resamples)
		return func(k int) {
			p := &s.Pairs[k]
			if p.NBoth == 0 {
				return
			}
			a, b := at[p.A], at[p.B]
			for i := range both {
				both[i] = t.Correct[a][i] & t.Correct[b][i]
				ab[i] = both[i] & t.Wrong[a][b][i]
				ba[i] = both[i] & t.Wrong[b][a][i]
			}
			percents = percents[:0]
			for _, planes := range weights {
				n, f := 0, 0
				for digit, plane := range planes {
					nd, fd := 0, 0
					for i, w := range plane {
						nd += bits.OnesCount64(both[i] & w)
						fd += bits.OnesCount64(ab[i]&w) + bits.OnesCount64(ba[i]&w)
					}
					n += nd << digit
					f += fd << digit
				}
				if n > 0 {
					percents = append(percents, 100*float64(f)/float64(2*n))
				}
			}
			undefinedResamples[k] = len(weights) - len(percents)
			if len(percents) == 0 {
				return
			}
			slices.Sort(percents)
			low, high := (1-o.Level)/2, (1+o.Level)/2
			p.PercentLo, p.PercentHi = Quantile(percents, low), Quantile(percents, high)
			for i, v := range percents { // the logarithm keeps the order
				percents[i] = math.Log(math.Max(s.Floor, v))
			}
			p.CILo, p.CIHi = Quantile(percents, low), Quantile(percents, high)
		}
	})
	if err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	affected, worst := 0, 0
	for _, u := range undefinedResamples {
		if u > 0 {
			affected++
			worst = max(worst, u)
		}
	}
	if affected > 0 {
		s.Warnings = append(s.Warnings, fmt.Sprintf("bootstrap: for %d pairs up to %d of %d resamples hold no common image; "+
			"their intervals describe the other resamples only", affected, worst, o.Resamples))
	}
	return nil
}

// drawWeights returns, per resample, how often each image was drawn, as binary digits: digit d of image i's weight is bit
// i of plane d. Resample r has a generator of its own, so the draws do not depend on the number of goroutines.
func drawWeights(ctx context.Context, images int, o BootstrapOptions) ([][]Bits, error) {
	weights := make([][]Bits, o.Resamples)
	err := parallel(ctx, o.Resamples, o.Workers, func() func(int) {
		drawn := make([]uint32, images)
		return func(r int) {
			clear(drawn)
			random := rng.New(o.Seed, "analysis/bootstrap", uint64(r))
			most := uint32(0)
			for range images {
				i := random.IntN(images)
				drawn[i]++
				most = max(most, drawn[i])
			}
			planes := make([]Bits, bits.Len32(most))
			for d := range planes {
				planes[d] = make(Bits, words(images))
				for i, w := range drawn {
					planes[d][i/64] |= uint64(w>>d&1) << (i % 64)
				}
			}
			weights[r] = planes
		}
	})
	return weights, err
}

// parallel calls job(0..n-1) on the given number of goroutines, each with its own job made by newJob. It stops early
// when ctx is done. Jobs write to places of their own, so their order does not matter.
func parallel(ctx context.Context, n, workers int, newJob func() func(int)) error {
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(workers, n) {
		wg.Go(func() {
			job := newJob()
			for k := range next {
				job(k)
			}
		})
	}
	var err error
	for k := range n {
		if err = ctx.Err(); err != nil {
			break
		}
		next <- k
	}
	close(next)
	wg.Wait()
	return err
}

// Quantile returns the q-quantile of sorted values by linear interpolation between the order statistics at
// h = (len-1) q, the usual default of statistics packages; NaN for none.
func Quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return undefined
	}
	h := float64(len(sorted)-1) * q
	i := min(int(h), len(sorted)-1)
	if i+1 == len(sorted) || sorted[i] == sorted[i+1] {
		return sorted[i]
	}
	return sorted[i] + (h-float64(i))*(sorted[i+1]-sorted[i])
}
