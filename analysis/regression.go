package analysis

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// tableColumns is the largest number of 0/1 columns for which a prediction per possible row is kept: 2^16 of them.
const tableColumns = 16

// Regression is a regression problem: rows of predictors and a target for each row. Equal rows are collapsed into one
// pattern with a count, since no tree can tell them apart: the pairs of 1,000 models, 499,500 rows, have at most 8,192
// patterns of 13 differing components.
type Regression struct {
	columns int
	y       []float64
	pattern []int32 // of each row
	binary  bool    // every entry is 0 or 1 and there are at most tableColumns columns

	// Per pattern, ascending by its values, so that nothing depends on the order of the rows.
	values []float32 // row major
	count  []float64
	mean   []float64 // of y
	within []float64 // sum of squared deviations of y from mean
}

// NewRegression prepares a regression problem of len(y) rows; x is row major with the given number of columns. The
// entries of x are compared as float32, like in the usual libraries. NaN, infinite numbers and entries beyond float32 are
// an error that names the cell.
func NewRegression[T uint8 | float32 | float64](x []T, columns int, y []float64) (*Regression, error) {
	if columns < 1 || len(x) != columns*len(y) {
		return nil, fmt.Errorf("regression: %d numbers for %d rows of %d columns", len(x), len(y), columns)
	}
	if len(y) == 0 {
		return nil, errors.New("regression: no rows")
	}
	if len(y) > math.MaxInt32 {
		return nil, fmt.Errorf("regression: %d rows", len(y))
	}
	for i, v := range y {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, fmt.Errorf("regression: target of row %d is %v", i+1, v)
		}
	}
	r := &Regression{columns: columns, y: y, pattern: make([]int32, len(y)), binary: columns <= tableColumns}
	for k, v := range x {
		if v == 0 || v == 1 {
			continue
		}
		r.binary = false
		if f := float64(float32(v)); math.IsNaN(f) || math.IsInf(f, 0) {
			return nil, fmt.Errorf("regression: row %d, column %d is %v", k/columns+1, k%columns+1, v)
		}
	}
	var order []int32 // rows by pattern
	if r.binary {
		for i := range y {
			key := int32(0)
			for _, v := range x[i*columns : (i+1)*columns] { // the first column is the highest digit: keys ascend as the rows do
				key = key<<1 | int32(v)
			}
			r.pattern[i] = key
		}
		order = r.collapseKeys()
	} else {
		rows := make([]float32, len(x))
		for k, v := range x {
			rows[k] = float32(v) + 0 // -0 is 0
		}
		order = r.collapse(rows)
	}
	return r, r.summarize(order)
}

// collapse fills pattern and values by sorting the rows, and returns the rows in that order.
func (r *Regression) collapse(rows []float32) []int32 {
	row := func(i int32) []float32 { return rows[int(i)*r.columns : (int(i)+1)*r.columns] }
	order := make([]int32, len(r.y))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int { return slices.Compare(row(a), row(b)) })
	patterns := int32(0)
	for k, i := range order {
		if k == 0 || !slices.Equal(row(order[k-1]), row(i)) {
			r.values = append(r.values, row(i)...)
			patterns++
		}
		r.pattern[i] = patterns - 1
	}
	return order
}

// collapseKeys is collapse for 0/1 rows, by counting. It finds the rows, read as binary numbers, in pattern.
func (r *Regression) collapseKeys() []int32 {
	size := make([]int32, 1<<r.columns+1)
	for _, key := range r.pattern {
		size[key+1]++
	}
	number := make([]int32, 1<<r.columns)
	patterns := int32(0)
	for key := range number {
		if size[key+1] > 0 {
			number[key] = patterns
			patterns++
			for j := range r.columns {
				r.values = append(r.values, float32(key>>(r.columns-1-j)&1))
			}
		}
		size[key+1] += size[key] // from here on size[key] is where the rows of key begin
	}
	order := make([]int32, len(r.y))
	for i, key := range r.pattern {
		order[size[key]] = int32(i)
		size[key]++
		r.pattern[i] = number[key]
	}
	return order
}

// summarize fills count, mean and within. Targets are added in ascending order, so that the order of rows does not show
// in the last digit.
func (r *Regression) summarize(order []int32) error {
	patterns := len(r.values) / r.columns
	r.count, r.mean, r.within = make([]float64, patterns), make([]float64, patterns), make([]float64, patterns)
	var group []float64
	for from := 0; from < len(order); {
		p := r.pattern[order[from]]
		to := from
		for group = group[:0]; to < len(order) && r.pattern[order[to]] == p; to++ {
			group = append(group, r.y[order[to]])
		}
		slices.Sort(group)
		n := float64(len(group))
		center := sumOf(len(group), func(k int) float64 { return group[k] / n })
		r.count[p], r.mean[p] = n, center
		r.within[p] = sumOf(len(group), func(k int) float64 { d := group[k] - center; return d * d })
		if math.IsInf(r.within[p], 0) || math.IsNaN(r.within[p]) {
			return errors.New("regression: targets too large for float64 arithmetic")
		}
		from = to
	}
	if v := r.squares(r.constant(r.total())); math.IsInf(v, 0) || math.IsNaN(v) {
		return errors.New("regression: targets too large for float64 arithmetic")
	}
	return nil
}

// total returns the mean of the target over all rows.
func (r *Regression) total() float64 {
	n := float64(len(r.y))
	return sumOf(len(r.count), func(p int) float64 { return r.mean[p] * (r.count[p] / n) })
}

// constant returns v for every pattern.
func (r *Regression) constant(v float64) []float64 { return slices.Repeat([]float64{v}, len(r.count)) }

// squares returns the sum over all rows of the squared difference between the target and the prediction of its pattern.
func (r *Regression) squares(predicted []float64) float64 {
	return sumOf(len(r.count), func(p int) float64 {
		d := r.mean[p] - predicted[p]
		return r.within[p] + r.count[p]*(d*d)
	})
}

// r2 is 1 - SSE/SST, with SST about the mean of the target; NaN for a target without variance.
func r2(sse, sst float64) float64 {
	if sst == 0 {
		return undefined
	}
	return 1 - sse/sst
}

// key returns a 0/1 pattern as an integer, column j being bit j.
func (r *Regression) key(p int) uint32 { return rowKey(r.values[p*r.columns : (p+1)*r.columns]) }

func rowKey(row []float32) uint32 {
	key := uint32(0)
	for j, v := range row {
		if v > binaryThreshold {
			key |= 1 << j
		}
	}
	return key
}

// binaryThreshold divides 0 from 1.
const binaryThreshold = 0.5
