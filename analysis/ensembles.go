package analysis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"runtime"
	"sync"
)

// Average says what of its members an ensemble averages.
type Average string

// The switches of [Logits.Ensembles].
const (
	AverageLogit Average = "logit" // raw logits, as in the paper
	AverageProb  Average = "prob"  // softmax of the logits
)

// LogitReader yields logits a block at a time, so that they need never be in memory together: those of 69 models on 50,000
// images of 1,000 classes are 13.8 GB. It is called by several goroutines at once.
type LogitReader interface {
	// ReadLogits fills dst with the logits of one model on the images from, from+1, ..., as many as dst holds, row major.
	ReadLogits(ctx context.Context, model, from int, dst []float32) error
}

// Logits describes what models say to the evaluation images.
type Logits struct {
	Models  []string
	Classes int
	Labels  []int // true class of each image, from 0
	Reader  LogitReader
}

// EnsembleOptions are the settings of [Logits.Ensembles].
type EnsembleOptions struct {
	Average Average // default AverageLogit
	Workers int     // goroutines; default all cores. The result does not depend on it
}

// EnsembleErrors counts wrong images.
type EnsembleErrors struct {
	Images   int
	Model    []int // wrong of each model; 0 for models that are in no set, which are not read
	Ensemble []int // wrong of each set's ensemble
	AllWrong []int // wrong of every member of the set
	sets     [][]int
}

// Error returns the top-1 error of the ensemble of a set, a fraction.
func (e *EnsembleErrors) Error(set int) float64 { return float64(e.Ensemble[set]) / float64(e.Images) }

// Reduction returns ERR, the share of its members' mean error that the ensemble of a set takes away:
// 1 - Err_ens / mean_m Err(m); NaN if no member errs.
func (e *EnsembleErrors) Reduction(set int) float64 {
	sum := 0
	for _, m := range e.sets[set] {
		sum += e.Model[m]
	}
	if sum == 0 {
		return undefined
	}
	return 1 - float64(e.Ensemble[set]*len(e.sets[set]))/float64(sum)
}

// ensembleMemory bounds the logits that all goroutines together hold.
const ensembleMemory = 64 << 20

// Ensembles counts the errors of ensembles of the given sets of models (indices into l.Models). An ensemble's answer is the
// class with the largest sum of its members' values, the lowest such class on ties. Values are added in float64, in the
// order of the set, so the answer is exactly that of a plain sum over members; no sum is divided by the number of members,
// which could only turn nearly equal sums into ties.
//
// Nearly all classes are ruled out unseen: no class outside the t largest of every member can sum to more than the
// members' next largest values do. Since rounding keeps order, this also holds for the rounded sums.
//
// NaN and infinite logits are an error that names model, image and class.
func (l *Logits) Ensembles(ctx context.Context, sets [][]int, o EnsembleOptions) (*EnsembleErrors, error) {
	o.Average = cmp.Or(o.Average, AverageLogit)
	o.Workers = cmp.Or(o.Workers, runtime.GOMAXPROCS(0))
	e, err := l.ensembles(ctx, sets, o)
	if err != nil {
		return nil, fmt.Errorf("ensembles: %w", err)
	}
	return e, nil
}

func (l *Logits) ensembles(ctx context.Context, sets [][]int, o EnsembleOptions) (*EnsembleErrors, error) {
	if err := l.validate(); err != nil {
		return nil, err
	}
	if o.Average != AverageLogit && o.Average != AverageProb {
		return nil, fmt.Errorf("average of %q: want %s or %s", o.Average, AverageLogit, AverageProb)
	}
	if o.Workers < 1 {
		return nil, fmt.Errorf("%d workers", o.Workers)
	}
	read, place, err := l.members(sets)
	if err != nil {
		return nil, err
	}
	e := &EnsembleErrors{Images: len(l.Labels), Model: make([]int, len(l.Models)), Ensemble: make([]int, len(sets)),
		AllWrong: make([]int, len(sets)), sets: sets}
	if len(sets) == 0 {
		return e, nil
	}
	flat, ends := make([]int32, 0, 2*len(sets)), make([]int, len(sets))
	for k, set := range sets {
		for _, m := range set {
			flat = append(flat, int32(place[m]))
		}
		ends[k] = len(flat)
	}

	rows := min(max(1, ensembleMemory/(4*l.Classes*len(read)*o.Workers)), 256, len(l.Labels))
	blocks := (len(l.Labels) + rows - 1) / rows
	wrong := make([][]bool, len(read)) // per model read and image
	for k := range wrong {
		wrong[k] = make([]bool, len(l.Labels))
	}
	faults := make([]error, blocks)
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	var mu sync.Mutex
	err = parallel(inner, blocks, o.Workers, func() func(int) {
		v := newVote(len(read), l.Classes)
		logits := make([]float32, len(read)*rows*l.Classes)
		misses := make([]int, len(sets))
		return func(block int) {
			clear(misses)
			faults[block] = func() error {
				from, to := block*rows, min((block+1)*rows, len(l.Labels))
				n := (to - from) * l.Classes
				for k, m := range read {
					if err := l.Reader.ReadLogits(inner, m, from, logits[k*n:(k+1)*n]); err != nil {
						return fmt.Errorf("logits of %s, images %d to %d: %w", l.Models[m], from+1, to, err)
					}
				}
				for i := from; i < to; i++ {
					for k, m := range read {
						at := k*n + (i-from)*l.Classes
						if class := v.set(k, logits[at:at+l.Classes], o.Average); class >= 0 {
							return fmt.Errorf("logit of %s for image %d, class %d is %v", l.Models[m], i+1, class, logits[at+class])
						}
						wrong[k][i] = v.answer(k) != l.Labels[i]
					}
					start := 0
					for k, end := range ends {
						if !v.right(flat[start:end], l.Labels[i]) {
							misses[k]++
						}
						start = end
					}
				}
				return nil
			}()
			if faults[block] != nil {
				cancel()
				return
			}
			mu.Lock()
			defer mu.Unlock()
			for k, n := range misses {
				e.Ensemble[k] += n
			}
		}
	})
	for _, fault := range faults {
		if fault != nil && !errors.Is(fault, context.Canceled) {
			return nil, fault
		}
	}
	if err := cmp.Or(ctx.Err(), err); err != nil {
		return nil, err
	}
	sheets := make([]Bits, len(read))
	for k, m := range read {
		sheets[k] = NewBits(wrong[k])
		e.Model[m] = count2(sheets[k], sheets[k])
	}
	return e, parallel(ctx, len(sets), o.Workers, func() func(int) {
		return func(k int) {
			for w := range words(len(l.Labels)) {
				all := ^uint64(0)
				for _, m := range sets[k] {
					all &= sheets[place[m]][w]
				}
				e.AllWrong[k] += bits.OnesCount64(all)
			}
		}
	})
}

func (l *Logits) validate() error {
	if err := checkNames(l.Models); err != nil {
		return err
	}
	if l.Classes < 1 || l.Classes > math.MaxInt32 || len(l.Labels) == 0 {
		return fmt.Errorf("%d images of %d classes", len(l.Labels), l.Classes)
	}
	for i, y := range l.Labels {
		if y < 0 || y >= l.Classes {
			return fmt.Errorf("label of image %d is %d, want one from 0 to %d", i+1, y, l.Classes-1)
		}
	}
	return nil
}

// members returns the models that occur in sets, ascending, and the place of each model among them.
func (l *Logits) members(sets [][]int) (read, place []int, err error) {
	place = make([]int, len(l.Models))
	last := make([]int, len(l.Models)) // the last set the model was seen in, from 1
	for k, set := range sets {
		if len(set) == 0 {
			return nil, nil, fmt.Errorf("ensemble %d has no members", k+1)
		}
		for _, m := range set {
			if m < 0 || m >= len(l.Models) {
				return nil, nil, fmt.Errorf("ensemble %d: member %d of %d models", k+1, m, len(l.Models))
			}
			if last[m] == k+1 {
				return nil, nil, fmt.Errorf("ensemble %d: %s stands twice", k+1, l.Models[m])
			}
			last[m] = k + 1
		}
	}
	for m, k := range last {
		if k > 0 {
			place[m] = len(read)
			read = append(read, m)
		}
	}
	return read, place, nil
}

// voteDepth is how many of the largest values of each model are kept in order. Beyond it all classes are summed.
const voteDepth = 16

// vote answers for ensembles on one image at a time.
type vote struct {
	classes int
	depth   int
	values  []float64 // models x classes
	top     []ranked  // models x depth, falling, ties by class
	sums    []float64
}

type ranked struct {
	value float64
	class int32
}

func newVote(models, classes int) *vote {
	depth := min(voteDepth, classes)
	return &vote{classes: classes, depth: depth, values: make([]float64, models*classes), top: make([]ranked, models*depth),
		sums: make([]float64, classes)}
}

// set takes the logits of a model. It returns the first class whose logit is not a number, or -1.
func (v *vote) set(model int, logits []float32, average Average) (bad int) {
	row := v.values[model*v.classes : (model+1)*v.classes]
	for c, x := range logits {
		if x-x != 0 {
			return c
		}
		row[c] = float64(x)
	}
	if average == AverageProb {
		softmax(row)
	}
	top := v.top[model*v.depth : model*v.depth : (model+1)*v.depth]
	least := math.Inf(-1)
	for c, x := range row {
		if len(top) == v.depth {
			if x <= least {
				continue
			}
		} else {
			top = top[:len(top)+1]
		}
		k := len(top) - 1
		for k > 0 && top[k-1].value < x {
			top[k] = top[k-1]
			k--
		}
		top[k] = ranked{x, int32(c)}
		least = top[len(top)-1].value
	}
	return -1
}

// softmax replaces logits by probabilities.
func softmax(row []float64) {
	largest := math.Inf(-1)
	for _, x := range row {
		largest = max(largest, x)
	}
	sum := 0.0
	for c, x := range row {
		row[c] = math.Exp(x - largest)
		sum += row[c]
	}
	for c := range row {
		row[c] /= sum
	}
}

// answer returns the class that a single model gives.
func (v *vote) answer(model int) int { return int(v.top[model*v.depth].class) }

// right says whether an ensemble gives class y: whether no other class has a larger sum, or an equal one and comes first.
func (v *vote) right(members []int32, y int) bool {
	own := v.sum(members, y)
	for t := range v.depth {
		bound := 0.0
		for _, m := range members {
			bound += v.top[int(m)*v.depth+t].value
		}
		if bound < own { // no class that has not been looked at can reach it
			return true
		}
		looked := y
		for _, m := range members {
			c := int(v.top[int(m)*v.depth+t].class)
			if c == y || c == looked {
				continue
			}
			looked = c
			if s := v.sum(members, c); s > own || s == own && c < y {
				return false
			}
		}
	}
	clear(v.sums)
	for _, m := range members {
		row := v.values[int(m)*v.classes : (int(m)+1)*v.classes]
		for c, x := range row[:len(v.sums)] {
			v.sums[c] += x
		}
	}
	for c, s := range v.sums {
		if s > own || s == own && c < y {
			return false
		}
	}
	return true
}

// sum adds the members' values for a class, in their order.
func (v *vote) sum(members []int32, class int) float64 {
	s := 0.0
	for _, m := range members {
		s += v.values[int(m)*v.classes+class]
	}
	return s
}

// PairEnsemble is the ensemble of two models (one point of Fig. 5). Errors are fractions.
type PairEnsemble struct {
	A, B            string
	SAT             float64
	ErrA, ErrB      float64
	ErrEns          float64
	ERR             float64 // share of the mean error that the ensemble takes away; NaN if neither model errs
	WrongByAll      int     // images that both get wrong
	WrongByAllShare float64 // share of the images
}

// PairEnsembles are the ensembles of all pairs of models.
type PairEnsembles struct {
	Images      int
	Pairs       []PairEnsemble // in the order of the models, row by row
	Correlation Correlation    // of SAT and ERR over the pairs with both
	Warnings    []string
}

// PairEnsembles evaluates the ensembles of all pairs of models and correlates their gain with SAT (Fig. 5): similar models
// are expected to gain less. sat must know all models of l; a pair may be undefined there.
func (l *Logits) PairEnsembles(ctx context.Context, sat *Matrix, o EnsembleOptions) (*PairEnsembles, error) {
	if err := sat.checkSymmetric(); err != nil {
		return nil, fmt.Errorf("pair ensembles: %w", err)
	}
	sat, err := sat.Select(l.Models)
	if err != nil {
		return nil, fmt.Errorf("pair ensembles: %w", err)
	}
	n := len(l.Models)
	if n < 2 {
		return nil, errors.New("pair ensembles: one model has no pair")
	}
	sets := make([][]int, 0, n*(n-1)/2)
	for a := range n {
		for b := a + 1; b < n; b++ {
			sets = append(sets, []int{a, b})
		}
	}
	e, err := l.Ensembles(ctx, sets, o)
	if err != nil {
		return nil, err
	}
	out := &PairEnsembles{Images: e.Images}
	var x, y []float64
	for k, set := range sets {
		a, b := set[0], set[1]
		p := PairEnsemble{A: l.Models[a], B: l.Models[b], SAT: symmetric(sat, a, b), ErrA: float64(e.Model[a]) / float64(e.Images),
			ErrB: float64(e.Model[b]) / float64(e.Images), ErrEns: e.Error(k), ERR: e.Reduction(k), WrongByAll: e.AllWrong[k],
			WrongByAllShare: float64(e.AllWrong[k]) / float64(e.Images)}
		out.Pairs = append(out.Pairs, p)
		if !math.IsNaN(p.SAT) && !math.IsNaN(p.ERR) {
			x, y = append(x, p.SAT), append(y, p.ERR)
		}
	}
	if lost := len(sets) - len(x); lost > 0 {
		out.Warnings = append(out.Warnings, fmt.Sprintf("%d of %d pairs have no similarity or no errors and are left out of "+
			"the correlation", lost, len(sets)))
	}
	out.Correlation, err = Correlate(x, y, 0.95)
	if err != nil {
		return nil, fmt.Errorf("pair ensembles: %w", err)
	}
	return out, nil
}
