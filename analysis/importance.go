package analysis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"runtime"
	"slices"

	"sat/internal/rng"
)

// Eval says which pairs of models a permutation importance is measured on.
type Eval string

// The switches of [FeatureImportance].
const (
	EvalTrain   Eval = "train"   // the pairs of the fit; the paper describes no split
	EvalHoldout Eval = "holdout" // pairs left out at random. They share models with the pairs of the fit, so the split leaks
	EvalModels  Eval = "models"  // pairs with a model that is left out of the fit altogether
)

// ImportanceOptions are the settings of [FeatureImportance].
type ImportanceOptions struct {
	Boosting  BoostingOptions // Seed is not used: every fit has one of its own
	BaseMap   BaseMap         // default BaseTable
	Attention Attention       // default AttentionPresence
	Fits      int             // fits that differ in how ties are broken and, without EvalTrain, in what is held out; default 10
	Repeats   int             // permutations of each component per fit; default 10
	Eval      Eval            // default EvalTrain
	Holdout   float64         // share of the pairs or models held out; default 0.1
	Seed      uint64
	Workers   int // goroutines, one fit each; default all cores. The result does not depend on it
}

func (o ImportanceOptions) withDefaults() ImportanceOptions {
	o.BaseMap = cmp.Or(o.BaseMap, BaseTable)
	o.Attention = cmp.Or(o.Attention, AttentionPresence)
	o.Fits = cmp.Or(o.Fits, 10)
	o.Repeats = cmp.Or(o.Repeats, 10)
	o.Eval = cmp.Or(o.Eval, EvalTrain)
	o.Holdout = cmp.Or(o.Holdout, 0.1)
	o.Workers = cmp.Or(o.Workers, runtime.GOMAXPROCS(0))
	return o
}

func (o ImportanceOptions) validate() error {
	if o.Fits < 1 || o.Repeats < 1 || o.Workers < 1 || !(o.Holdout > 0 && o.Holdout < 1) {
		return fmt.Errorf("%d fits, %d repeats, %d workers, %v held out: want at least one of each and a share in (0, 1)", o.Fits,
			o.Repeats, o.Workers, o.Holdout)
	}
	if o.Eval != EvalTrain && o.Eval != EvalHoldout && o.Eval != EvalModels {
		return fmt.Errorf("evaluation on %q: want %s, %s or %s", o.Eval, EvalTrain, EvalHoldout, EvalModels)
	}
	return nil
}

// ComponentImportance says how much the prediction of similarity owes to one component (one bar of Fig. 3).
type ComponentImportance struct {
	Component string
	Rank      int     // by Mean, from 1; ties by column
	Mean      float64 // loss of R2 when the component is permuted, over all fits and repeats
	// Std is the standard deviation over all fits and repeats; its square is Within^2 + Between^2. All divide by the number
	// of values, not by one less.
	Std     float64
	Within  float64 // between the repeats of a fit, pooled over the fits
	Between float64 // between the means of the fits: the part of the spread that more repeats do not lower
}

// Importance is the result of [FeatureImportance].
type Importance struct {
	Components []ComponentImportance // in the order of the features
	Pairs      int                   // pairs of models
	Evaluated  int                   // pairs that the importances of a fit are measured on (the mean over fits, rounded)
	TrainR2    float64               // mean over the fits
	EvalR2     float64               // mean over the fits; TrainR2 under EvalTrain
	// First is the first fit, and Y and Predicted its target and prediction for every pair, upper triangle row by row.
	First        *Boosting
	Y, Predicted []float64
	Warnings     []string // conditions a reader of the importances should know
}

// FeatureImportance explains similarity by differences in architecture (Fig. 3): the SAT score of each pair of models is
// regressed on the components in which the two differ ([Boost]), and the importance of a component is the loss of R2 when
// its column is permuted. f must know all models of sat; further models are ignored.
//
// Components often divide the pairs alike, and which of them a tree names is arbitrary. Averages over fits with ties broken
// at random make this visible in Between instead of hiding it.
func FeatureImportance(ctx context.Context, sat *Matrix, f *Features, o ImportanceOptions) (*Importance, error) {
	o = o.withDefaults()
	out, err := featureImportance(ctx, sat, f, o)
	if err != nil {
		return nil, fmt.Errorf("importance: %w", err)
	}
	return out, nil
}

func featureImportance(ctx context.Context, sat *Matrix, f *Features, o ImportanceOptions) (*Importance, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	if err := sat.checkPairs(); err != nil {
		return nil, err
	}
	f, err := f.Select(sat.Names)
	if err != nil {
		return nil, err
	}
	if f, err = f.Recode(o.BaseMap, o.Attention); err != nil {
		return nil, err
	}
	x, err := f.PairDifferences()
	if err != nil {
		return nil, err
	}
	y := sat.UpperTriangle()
	if len(y) < 2 || constant(y) {
		return nil, fmt.Errorf("%d models with %d pairs of one similarity: there is nothing to explain", sat.Len(), len(y))
	}

	all, err := NewRegression(x, len(f.Components), y)
	if err != nil {
		return nil, err
	}
	fits := make([]importanceFit, o.Fits)
	faults := make([]error, o.Fits)
	err = parallel(ctx, o.Fits, o.Workers, func() func(int) {
		return func(k int) { fits[k], faults[k] = fitImportance(ctx, all, x, sat.Len(), o, k) }
	})
	if err := errors.Join(err, errors.Join(faults...)); err != nil {
		return nil, err
	}
	out := &Importance{Components: make([]ComponentImportance, len(f.Components)), Pairs: len(y), First: fits[0].model, Y: y,
		Predicted: fits[0].predicted}
	evaluated := 0
	for _, fit := range fits {
		evaluated += fit.evaluated
		out.TrainR2 += fit.model.R2 / float64(o.Fits)
		out.EvalR2 += fit.baseline / float64(o.Fits)
	}
	out.Evaluated = int(math.Round(float64(evaluated) / float64(o.Fits)))
	for j, name := range f.Components {
		means, squares := make([]float64, o.Fits), make([]float64, o.Fits)
		for k, fit := range fits {
			means[k] = mean(fit.losses[j])
			squares[k] = meanSquare(fit.losses[j], means[k])
		}
		c := ComponentImportance{Component: name, Mean: mean(means)}
		within, between := mean(squares), meanSquare(means, mean(means))
		c.Within, c.Between, c.Std = math.Sqrt(within), math.Sqrt(between), math.Sqrt(within+between)
		out.Components[j] = c
	}
	order := make([]int, len(f.Components))
	for j := range order {
		order[j] = j
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(out.Components[b].Mean, out.Components[a].Mean) })
	for rank, j := range order {
		out.Components[j].Rank = rank + 1
	}
	if o.Eval == EvalHoldout {
		out.Warnings = append(out.Warnings, "the pairs held out share their models with the pairs of the fit, so the split leaks: "+
			"compare with models held out")
	}
	return out, nil
}

// meanSquare returns the mean squared deviation from center.
func meanSquare(values []float64, center float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += (v - center) * (v - center)
	}
	return sum / float64(len(values))
}

// importanceFit is one fit with its permutations.
type importanceFit struct {
	model     *Boosting
	predicted []float64 // for all pairs
	evaluated int
	baseline  float64     // R2 on the evaluated pairs
	losses    [][]float64 // [column][repeat]: baseline minus R2 after the permutation
}

// fitImportance is fit number k of the pairs all, whose rows are x.
func fitImportance(ctx context.Context, all *Regression, x []uint8, models int, o ImportanceOptions, k int) (importanceFit, error) {
	var fit importanceFit
	train, eval := all, all
	if o.Eval != EvalTrain {
		out := holdOut(len(all.y), models, o, rng.New(o.Seed, "analysis/importance/holdout", uint64(k)))
		for _, part := range []struct {
			of   **Regression
			want bool
		}{{&train, false}, {&eval, true}} {
			r, err := NewRegression(pick(x, all.columns, out, part.want), all.columns, pick(all.y, 1, out, part.want))
			if err != nil {
				return fit, err
			}
			if constant(r.y) {
				return fit, fmt.Errorf("fit %d: one side of the split holds %d pairs of one similarity: hold out another share", k+1, len(r.y))
			}
			*part.of = r
		}
	}
	o.Boosting.Seed = rng.New(o.Seed, "analysis/importance/fit", uint64(k)).Uint64()
	var err error
	if fit.model, err = Boost(ctx, train, o.Boosting); err != nil {
		return fit, fmt.Errorf("fit %d: %w", k+1, err)
	}
	fit.predicted = fit.model.predictAll(all)
	fit.evaluated = len(eval.y)
	fit.baseline, fit.losses, err = fit.model.permutationImportance(ctx, eval, o.Repeats, rng.New(o.Seed, "analysis/importance/permute", uint64(k)))
	if err != nil {
		return fit, fmt.Errorf("fit %d: %w", k+1, err)
	}
	return fit, nil
}

// PermutationImportance returns R2 of a model on r and, per column and repeat, how much of it is lost when the column's
// values are permuted.
func (b *Boosting) PermutationImportance(ctx context.Context, r *Regression, repeats int, seed uint64) (r2 float64, losses [][]float64, err error) {
	if r.columns != b.columns || repeats < 1 {
		return undefined, nil, fmt.Errorf("permutation importance: %d columns, want %d; %d repeats", r.columns, b.columns, repeats)
	}
	return b.permutationImportance(ctx, r, repeats, rng.New(seed, "analysis/importance/permute"))
}

func (b *Boosting) permutationImportance(ctx context.Context, r *Regression, repeats int, random *rng.Stream) (float64, [][]float64, error) {
	return permute(ctx, b, r, shuffles(len(r.y), repeats, random))
}

// holdOut marks the pairs that a fit does not see.
func holdOut(pairs, models int, o ImportanceOptions, random *rng.Stream) []bool {
	out := make([]bool, pairs)
	share := func(n int) int { return max(1, int(math.Round(o.Holdout*float64(n)))) }
	switch o.Eval {
	case EvalHoldout:
		for _, k := range random.Perm(pairs)[:min(share(pairs), pairs-1)] {
			out[k] = true
		}
	case EvalModels:
		left := make([]bool, models)
		for _, m := range random.Perm(models)[:min(share(models), max(models-2, 0))] {
			left[m] = true
		}
		k := 0
		for a := range models {
			for b := a + 1; b < models; b++ {
				out[k] = left[a] || left[b]
				k++
			}
		}
	}
	return out
}

// pick returns the rows whose mark is want.
func pick[T uint8 | float64](x []T, columns int, marks []bool, want bool) []T {
	var rows []T
	for i, mark := range marks {
		if mark == want {
			rows = append(rows, x[i*columns:(i+1)*columns]...)
		}
	}
	return rows
}

// predictAll returns the prediction of every row.
func (b *Boosting) predictAll(r *Regression) []float64 {
	byPattern := b.predictPatterns(r)
	out := make([]float64, len(r.y))
	for i, p := range r.pattern {
		out[i] = byPattern[p]
	}
	return out
}

func (b *Boosting) predictPatterns(r *Regression) []float64 {
	out := make([]float64, len(r.count))
	for p := range out {
		out[p] = b.predict(r.values[p*r.columns : (p+1)*r.columns])
	}
	return out
}

// shuffles yields arrangements of n rows: row i is to take the place of row source[i]. Like in the usual library, one index
// vector is shuffled again and again and applied to the rows as they were left; every column is shown the same
// arrangements. The slice is reused.
func shuffles(n, repeats int, random *rng.Stream) iter.Seq2[int, []int32] {
	return func(yield func(int, []int32) bool) {
		index, source, next := make([]int32, n), make([]int32, n), make([]int32, n)
		for i := range index {
			index[i], source[i] = int32(i), int32(i)
		}
		for repeat := range repeats {
			for i := n - 1; i > 0; i-- {
				j := random.IntN(i + 1)
				index[i], index[j] = index[j], index[i]
			}
			for i, k := range index {
				next[i] = source[k]
			}
			source, next = next, source
			if !yield(repeat, source) {
				return
			}
		}
	}
}

// permute returns the R2 of a model on r and, per column and arrangement, how much it loses when the column is arranged so.
func permute(ctx context.Context, b *Boosting, r *Regression, arrangements iter.Seq2[int, []int32]) (float64, [][]float64, error) {
	own := b.predictPatterns(r)
	sst := r.squares(r.constant(r.total()))
	baseline := r2(r.squares(own), sst)
	losses := make([][]float64, r.columns)
	if b.table != nil && r.binary {
		byPattern := make([]uint32, len(r.count))
		for p := range byPattern {
			byPattern[p] = r.key(p)
		}
		keys, moved := make([]uint32, len(r.y)), make([]uint32, len(r.y))
		for i, p := range r.pattern {
			keys[i] = byPattern[p]
		}
		for _, source := range arrangements {
			if err := ctx.Err(); err != nil {
				return 0, nil, err
			}
			for i, k := range source {
				moved[i] = keys[k]
			}
			for j := range losses {
				bit, sse := uint32(1)<<j, 0.0
				for i, key := range keys {
					d := r.y[i] - b.table[key&^bit|moved[i]&bit]
					sse += d * d
				}
				losses[j] = append(losses[j], baseline-r2(sse, sst))
			}
		}
		return baseline, losses, nil
	}
	row := make([]float32, r.columns)
	for _, source := range arrangements {
		for j := range losses {
			if err := ctx.Err(); err != nil {
				return 0, nil, err
			}
			sse := 0.0
			for i, k := range source {
				p, q := int(r.pattern[i]), int(r.pattern[k])
				predicted := own[p]
				if v := r.values[q*r.columns+j]; v != r.values[p*r.columns+j] {
					copy(row, r.values[p*r.columns:(p+1)*r.columns])
					row[j] = v
					predicted = b.predict(row)
				}
				d := r.y[i] - predicted
				sse += d * d
			}
			losses[j] = append(losses[j], baseline-r2(sse, sst))
		}
	}
	return baseline, losses, nil
}
