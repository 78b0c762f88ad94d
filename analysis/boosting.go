package analysis

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"math"
	"math/bits"
	"slices"

	"sat/internal/rng"
)

// MinSamples says which reading of "minimum number of samples" applies to a regression tree.
type MinSamples string

// Ties says which of several features that divide a node equally well is taken.
type Ties string

// Criterion is the quality of a division of a node.
type Criterion string

// The switches of [Boost].
const (
	MinSamplesSplit MinSamples = "split" // a node with fewer rows is a leaf
	MinSamplesLeaf  MinSamples = "leaf"  // a division leaves at least so many rows on both sides

	TiesRandom Ties = "random" // each of the tied features is equally likely
	TiesFirst  Ties = "first"  // the lowest column, which favours early columns: never for importances

	CriterionSquaredError Criterion = "squared_error" // the sum of S^2/n over both sides, S a side's sum of residuals
	// CriterionFriedmanMSE is n_L n_R/(n_L+n_R) times the squared difference of the means, the same up to a constant of
	// the node: a synonym.
	CriterionFriedmanMSE Criterion = "friedman_mse"
)

// BoostingOptions are the settings of [Boost]. The zero value holds those of the paper (appendix B).
type BoostingOptions struct {
	Stages       int        // default 500
	Depth        int        // of a tree; default 12
	MinSamples   int        // default 4
	MinSamplesOf MinSamples // default MinSamplesSplit
	Rate         float64    // learning rate; default 0.02
	Criterion    Criterion  // default CriterionSquaredError
	Ties         Ties       // default TiesRandom
	Seed         uint64     // of TiesRandom
}

func (o BoostingOptions) withDefaults() BoostingOptions {
	o.Stages = cmp.Or(o.Stages, 500)
	o.Depth = cmp.Or(o.Depth, 12)
	o.MinSamples = cmp.Or(o.MinSamples, 4)
	o.MinSamplesOf = cmp.Or(o.MinSamplesOf, MinSamplesSplit)
	o.Rate = cmp.Or(o.Rate, 0.02)
	o.Criterion = cmp.Or(o.Criterion, CriterionSquaredError)
	o.Ties = cmp.Or(o.Ties, TiesRandom)
	return o
}

func (o BoostingOptions) validate() error {
	if o.Stages < 1 || o.Depth < 1 || o.MinSamples < 1 || !(o.Rate > 0) || math.IsInf(o.Rate, 0) {
		return fmt.Errorf("%d stages, depth %d, %d samples at least, learning rate %v: want positive numbers", o.Stages, o.Depth,
			o.MinSamples, o.Rate)
	}
	if o.MinSamplesOf != MinSamplesSplit && o.MinSamplesOf != MinSamplesLeaf {
		return fmt.Errorf("minimum number of samples of a %q: want %s or %s", o.MinSamplesOf, MinSamplesSplit, MinSamplesLeaf)
	}
	if o.Criterion != CriterionSquaredError && o.Criterion != CriterionFriedmanMSE {
		return fmt.Errorf("criterion %q: want %s or %s", o.Criterion, CriterionSquaredError, CriterionFriedmanMSE)
	}
	if o.Ties != TiesRandom && o.Ties != TiesFirst {
		return fmt.Errorf("ties %q: want %s or %s", o.Ties, TiesRandom, TiesFirst)
	}
	return nil
}

// Boosting is a sum of regression trees.
type Boosting struct {
	Loss   []float64 // mean squared error on the training rows after each stage
	R2     float64   // on the training rows; NaN if their target is constant
	Fitted []float64 // prediction of each training row

	columns int
	start   float64   // F_0
	table   []float64 // prediction by key (see rowKey), if the columns are 0/1 and few
	trees   [][]treeNode
}

// treeNode is a leaf if feature is negative. Its children are next to each other.
type treeNode struct {
	feature, left int32
	threshold     float64 // rows with a value of at most threshold go left
	value         float64 // of a leaf: learning rate times mean residual
}

// Boost fits gradient boosting with squared error (Friedman 2001): F_0 is the mean of y, and stage m fits a tree to the
// residuals r = y - F_{m-1} and adds the learning rate times the mean residual of the leaf.
//
// A node is a leaf at the full depth (the root has depth 0), with too few rows, with a mean squared deviation of at most
// 2.22e-16, or if nothing divides it. Otherwise the division with the largest S_L^2/n_L + S_R^2/n_R is made, S being the
// sum of the residuals of a side, also if it gains nothing. A cut lies halfway between two neighbouring values of a
// feature that differ by more than 1e-7.
//
// Sums of residuals are kept as integers, in units of 2^-61 of the sum of all absolute residuals. Integer sums do not
// depend on the order of addition, so two features that divide a node into the same two sets score equal to the last bit,
// and a node's sums are its parent's minus its sibling's without loss. Which of such features is taken changes neither the
// predictions of training rows nor losses nor R2; it does change predictions of other rows and importances.
func Boost(ctx context.Context, r *Regression, o BoostingOptions) (*Boosting, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("boosting: %w", err)
	}
	b := &Boosting{columns: r.columns, start: r.total(), Loss: make([]float64, 0, o.Stages)}
	fitted := r.constant(b.start)
	t := &tree{problem: r, minSplit: o.MinSamples, minLeaf: 1, depth: o.Depth, rate: o.Rate, first: o.Ties == TiesFirst,
		residual: make([]float64, len(fitted)), sum: make([]int64, len(fitted))}
	if o.MinSamplesOf == MinSamplesLeaf {
		t.minSplit, t.minLeaf = 2, o.MinSamples
	}
	var grow func()
	if r.binary {
		b.table = slices.Repeat([]float64{b.start}, 1<<r.columns)
		c := newCubeTree(t, b.table)
		grow = func() {
			c.grow()
			for p, key := range c.keys {
				fitted[p] = b.table[key]
			}
		}
	} else {
		s := newSortedTree(t, fitted)
		grow = func() { b.trees = append(b.trees, s.grow()) }
	}
	for stage := range o.Stages {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("boosting, stage %d: %w", stage+1, err)
		}
		t.random = rng.New(o.Seed, "analysis/boosting", uint64(stage))
		t.setResiduals(fitted)
		grow()
		b.Loss = append(b.Loss, r.squares(fitted)/float64(len(r.y)))
	}
	b.R2 = r2(r.squares(fitted), r.squares(r.constant(b.start)))
	b.Fitted = make([]float64, len(r.y))
	for i, p := range r.pattern {
		b.Fitted[i] = fitted[p]
	}
	return b, nil
}

// Predict returns the prediction for a row with the columns of the training rows.
func (b *Boosting) Predict(row []float64) (float64, error) {
	if len(row) != b.columns {
		return undefined, fmt.Errorf("boosting: row of %d columns, want %d", len(row), b.columns)
	}
	x := make([]float32, len(row))
	for j, v := range row {
		if math.IsNaN(v) {
			return undefined, fmt.Errorf("boosting: column %d is NaN", j+1)
		}
		x[j] = float32(v)
	}
	return b.predict(x), nil
}

func (b *Boosting) predict(row []float32) float64 {
	if b.table != nil {
		return b.table[rowKey(row)]
	}
	f := b.start
	for _, nodes := range b.trees {
		n := &nodes[0]
		for n.feature >= 0 {
			if float64(row[n.feature]) <= n.threshold {
				n = &nodes[n.left]
			} else {
				n = &nodes[n.left+1]
			}
		}
		f += n.value
	}
	return f
}

// pure is the mean squared deviation below which a node is a leaf: the spacing of float64 at 1, as in the usual library.
const pure = 0x1p-52

// tree holds what both kinds of tree below need: the settings and the residuals of the current stage.
type tree struct {
	problem           *Regression
	minSplit, minLeaf int
	depth             int
	rate              float64
	first             bool
	random            *rng.Stream
	residual          []float64 // mean residual per pattern
	sum               []int64   // sum of residuals per pattern, in units of unit
	unit              float64
}

// setResiduals starts a stage.
func (t *tree) setResiduals(fitted []float64) {
	total := 0.0
	for p, f := range fitted {
		t.residual[p] = t.problem.mean[p] - f
		total += math.Abs(t.residual[p]) * t.problem.count[p]
	}
	_, exponent := math.Frexp(total)
	const digits = 62 // the sum of all absolute values stays below 2^62, so no sum overflows
	t.unit = math.Ldexp(1, max(exponent-digits, -1022))
	for p, v := range t.residual {
		t.sum[p] = int64(math.RoundToEven(v * t.problem.count[p] / t.unit))
	}
}

// gain is the quality of dividing a node into sides of n0 and n1 rows with sums s0 and s1, in units of unit^2: the
// between-group sum of squares times n0+n1. Exchanging the sides changes nothing; the conversions keep the compiler from
// fusing a product with the difference, which would break that.
func gain(s0, s1 int64, n0, n1 float64) float64 {
	d := float64(float64(s1)*n0) - float64(float64(s0)*n1)
	return d * d / (n0 * n1)
}

// impure says that a node of n rows is worth dividing, given the gain of its best division and its patterns.
func (t *tree) impure(gain, n float64, sum int64, patterns iter.Seq[int]) bool {
	if gain*(t.unit*t.unit)/(n*n) > pure { // what a division explains is at most what there is
		return true
	}
	center := float64(sum) * t.unit / n
	squares := 0.0
	for p := range patterns {
		d := t.residual[p] - center
		squares += t.problem.within[p] + t.problem.count[p]*(d*d)
	}
	return squares/n > pure
}

// choice keeps the best division seen. Of several equal ones it holds each with equal probability, or the first.
type choice struct {
	gain float64
	ties int
}

// offer says whether a division is to replace the one held.
func (c *choice) offer(t *tree, gain float64) bool {
	switch {
	case c.ties == 0 || gain > c.gain:
		c.gain, c.ties = gain, 1
		return true
	case gain < c.gain || t.first:
		return false
	}
	c.ties++
	return t.random.IntN(c.ties) == 0
}

// cubeTree grows trees on 0/1 columns. A node is a face of the cube of all rows; each feature has one possible division,
// described by the count and the sum of its 1 side.
type cubeTree struct {
	*tree
	table []float64
	keys  []uint32
	items []cubeItem
}

// cubeItem is a pattern; items of a node are next to each other.
type cubeItem struct {
	sum     int64
	count   int32
	pattern uint16 // at most 2^tableColumns of them
	key     uint16
}

// moments are the 1 sides of all features of a node.
type moments [tableColumns]struct{ count, sum int64 }

func newCubeTree(t *tree, table []float64) *cubeTree {
	c := &cubeTree{tree: t, table: table, keys: make([]uint32, len(t.sum)), items: make([]cubeItem, len(t.sum))}
	for p := range c.keys {
		c.keys[p] = t.problem.key(p)
	}
	return c
}

// grow fits one tree and adds it to the table.
func (c *cubeTree) grow() {
	total := int64(0)
	for p, key := range c.keys {
		c.items[p] = cubeItem{sum: c.sum[p], count: int32(c.problem.count[p]), pattern: uint16(p), key: uint16(key)}
		total += c.sum[p]
	}
	all := uint32(1)<<c.problem.columns - 1
	var m moments
	m.add(c.items, all)
	c.node(c.items, &m, all, 0, 0, len(c.problem.y), total, 0)
}

// add collects the moments of the features in the mask.
func (m *moments) add(items []cubeItem, features uint32) {
	for i := range items {
		item := &items[i]
		for b := uint32(item.key) & features; b != 0; b &= b - 1 {
			side := &m[bits.TrailingZeros32(b)%tableColumns]
			side.count += int64(item.count)
			side.sum += item.sum
		}
	}
}

// splits says whether a node may be divided, as far as its size and depth tell.
func (t *tree) splits(n, patterns, depth int) bool {
	return depth < t.depth && n >= t.minSplit && n >= 2*t.minLeaf && patterns > 1
}

// node grows the tree below a node of n rows: items are its patterns, m the moments of its features (unused if it cannot
// split), features those that may still divide it, fixed the columns cut above it and at their values there.
func (c *cubeTree) node(items []cubeItem, m *moments, features, fixed, at uint32, n int, sum int64, depth int) {
	var best choice
	feature := -1
	if c.splits(n, len(items), depth) {
		for b := features; b != 0; b &= b - 1 {
			f := bits.TrailingZeros32(b)
			ones := int(m[f%tableColumns].count)
			if ones < c.minLeaf || n-ones < c.minLeaf {
				features &^= 1 << f // nor can it divide a child, whose sides are no larger
				continue
			}
			s := m[f%tableColumns].sum
			if best.offer(c.tree, gain(sum-s, s, float64(n-ones), float64(ones))) {
				feature = f
			}
		}
	}
	if feature < 0 || !c.impure(best.gain, float64(n), sum, func(yield func(int) bool) {
		for i := range items {
			if !yield(int(items[i].pattern)) {
				return
			}
		}
	}) {
		value := c.rate * (float64(sum) * c.unit / float64(n))
		free := uint32(len(c.table)-1) &^ fixed
		for sub := free; ; sub = (sub - 1) & free { // every row of the face
			c.table[at|sub] += value
			if sub == 0 {
				return
			}
		}
	}

	bit := uint32(1) << feature
	zeros := 0
	for i := range items {
		if uint32(items[i].key)&bit == 0 {
			items[i], items[zeros] = items[zeros], items[i]
			zeros++
		}
	}
	side := [2][]cubeItem{items[:zeros], items[zeros:]}
	count := [2]int{n - int(m[feature].count), int(m[feature].count)}
	sums := [2]int64{sum - m[feature].sum, m[feature].sum}
	features &^= bit
	fixed |= bit
	depth++
	small := 0
	if len(side[1]) < len(side[0]) {
		small = 1
	}
	large := 1 - small
	largeSplits := c.splits(count[large], len(side[large]), depth)
	var below moments
	if largeSplits || c.splits(count[small], len(side[small]), depth) {
		below.add(side[small], features)
	}
	if largeSplits { // the node's own moments are needed no more: they become those of its large child
		for b := features; b != 0; b &= b - 1 {
			f := bits.TrailingZeros32(b) % tableColumns
			m[f].count -= below[f].count
			m[f].sum -= below[f].sum
		}
	}
	of := [2]*moments{&below, &below}
	of[large] = m
	for k := range side {
		c.node(side[k], of[k], features, fixed, at|bit*uint32(k), count[k], sums[k], depth)
	}
}

// sortedTree grows trees on any columns. Each column keeps the patterns sorted by its values; a node is the same range of
// all these lists.
type sortedTree struct {
	*tree
	fitted []float64
	column [][]float32 // column[f][p]
	sorted [][]int32   // patterns by column f
	order  [][]int32   // the same, while a tree grows: sorted inside each node
	left   []bool      // per pattern
	spare  []int32
	nodes  []treeNode
}

// sameValue is the difference up to which two values of a feature are one, as in the usual library.
const sameValue float32 = 1e-7

func newSortedTree(t *tree, fitted []float64) *sortedTree {
	patterns := len(t.sum)
	s := &sortedTree{tree: t, fitted: fitted, left: make([]bool, patterns), spare: make([]int32, patterns)}
	for f := range t.problem.columns {
		column, order := make([]float32, patterns), make([]int32, patterns)
		for p := range column {
			column[p], order[p] = t.problem.values[p*t.problem.columns+f], int32(p)
		}
		slices.SortStableFunc(order, func(a, b int32) int { return cmp.Compare(column[a], column[b]) })
		s.column, s.sorted, s.order = append(s.column, column), append(s.sorted, order), append(s.order, slices.Clone(order))
	}
	return s
}

// grow fits one tree, adds it to the predictions of the patterns and returns its nodes.
func (s *sortedTree) grow() []treeNode {
	for f := range s.order {
		copy(s.order[f], s.sorted[f])
	}
	s.nodes = []treeNode{{}}
	s.node(0, 0, len(s.sum), 0)
	return s.nodes
}

// node grows the tree below node k, which holds the patterns order[f][from:to].
func (s *sortedTree) node(k, from, to, depth int) {
	rows, sum := 0.0, int64(0)
	for _, p := range s.order[0][from:to] {
		rows += s.problem.count[p]
		sum += s.sum[p]
	}
	var best choice
	var cut treeNode
	if s.splits(int(rows), to-from, depth) {
		for f, column := range s.column {
			if gain, threshold, ok := s.bestCut(column, s.order[f][from:to], rows, sum); ok && best.offer(s.tree, gain) {
				cut = treeNode{feature: int32(f), threshold: threshold}
			}
		}
	}
	if best.ties == 0 || !s.impure(best.gain, rows, sum, func(yield func(int) bool) {
		for _, p := range s.order[0][from:to] {
			if !yield(int(p)) {
				return
			}
		}
	}) {
		value := s.rate * (float64(sum) * s.unit / rows)
		for _, p := range s.order[0][from:to] {
			s.fitted[p] += value
		}
		s.nodes[k] = treeNode{feature: -1, value: value}
		return
	}

	middle := from
	for p := from; p < to; p++ {
		q := s.order[cut.feature][p]
		s.left[q] = float64(s.column[cut.feature][q]) <= cut.threshold
		if s.left[q] {
			middle++
		}
	}
	for _, order := range s.order { // both sides keep their order
		l, r := from, 0
		for _, p := range order[from:to] {
			if s.left[p] {
				order[l] = p
				l++
			} else {
				s.spare[r] = p
				r++
			}
		}
		copy(order[l:to], s.spare[:r])
	}
	cut.left = int32(len(s.nodes))
	s.nodes[k] = cut
	s.nodes = append(s.nodes, treeNode{}, treeNode{})
	s.node(int(cut.left), from, middle, depth+1)
	s.node(int(cut.left)+1, middle, to, depth+1)
}

// bestCut returns the first best cut of a node by one feature, order being the node's patterns by its values.
func (s *sortedTree) bestCut(column []float32, order []int32, rows float64, sum int64) (best, threshold float64, ok bool) {
	if column[order[len(order)-1]] <= column[order[0]]+sameValue {
		return 0, 0, false
	}
	n0, s0 := 0.0, int64(0)
	for i, p := range order[:len(order)-1] {
		n0 += s.problem.count[p]
		s0 += s.sum[p]
		low, high := column[p], column[order[i+1]]
		if high <= low+sameValue || int(n0) < s.minLeaf || int(rows-n0) < s.minLeaf {
			continue
		}
		if g := gain(s0, sum-s0, n0, rows-n0); !ok || g > best {
			best, threshold, ok = g, float64(low)/2+float64(high)/2, true
		}
	}
	return best, threshold, ok
}
