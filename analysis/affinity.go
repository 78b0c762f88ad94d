package analysis

import (
	"cmp"
	"errors"
	"fmt"
	"math"

	"gonum.org/v1/gonum/mat"
)

// Affinity says how a SAT score becomes the weight of an edge between two models.
type Affinity string

// Diagonal says what happens to a model's similarity with itself.
type Diagonal string

// Laplacian says which matrix of the graph gives the spectral features.
type Laplacian string

// Which says which of its eigenvectors do.
type Which string

// Rows says how the rows of the matrix of eigenvectors are scaled.
type Rows string

// The switches of spectral clustering. D is the diagonal matrix of the degrees (row sums) of the affinity matrix A.
const (
	AffinitySAT     Affinity = "sat"     // max(SAT, 0)
	AffinityPercent Affinity = "percent" // exp SAT, the floored percentage
	AffinityRBF     Affinity = "rbf"     // exp(-gamma (ln 100 - min(SAT, ln 100))^2)
	AffinityShift   Affinity = "shift"   // SAT minus the smallest SAT of two different models

	DiagonalZero Diagonal = "zero" // no self-loops, as in the cited method
	DiagonalKeep Diagonal = "keep"

	LaplacianSym          Laplacian = "sym"          // I - D^-1/2 A D^-1/2
	LaplacianRW           Laplacian = "rw"           // eigenvectors of the former divided by the root of the degree
	LaplacianUnnormalized Laplacian = "unnormalized" // D - A

	WhichSmooth         Which = "smooth"          // K smallest eigenvalues of the Laplacian
	WhichLiteralLargest Which = "literal-largest" // K largest, what the paper's wording says literally; for comparison

	RowsUnit Rows = "unit" // Euclidean length 1
	RowsNone Rows = "none"
)

// logHundred is the SAT score of a pair whose every adversarial image transfers.
var logHundred = math.Log(100)

// ClusterOptions are the switches of [SpectralClusters]. The zero value, with K set, is the algorithm of Ng, Jordan and
// Weiss that the paper cites.
type ClusterOptions struct {
	K         int
	Affinity  Affinity  // default AffinitySAT
	Gamma     float64   // of AffinityRBF; default 1
	Diagonal  Diagonal  // default DiagonalZero
	Laplacian Laplacian // default LaplacianSym
	Which     Which     // default WhichSmooth
	Rows      Rows      // default RowsUnit, but RowsNone for LaplacianRW
	Restarts  int       // of k-means; default 100
	Seed      uint64
	Workers   int // goroutines; default all cores. The result does not depend on it
	// Reference is a known partition of some of the models, in display order: clusters are numbered after it and models
	// inside a cluster ordered by it.
	Reference []ReferenceModel
}

// ReferenceModel is one line of a known partition.
type ReferenceModel struct {
	Model   string
	Cluster int
}

// WithDefaults replaces zero fields by the values their comments name.
func (o ClusterOptions) WithDefaults() ClusterOptions {
	o.Affinity = cmp.Or(o.Affinity, AffinitySAT)
	o.Gamma = cmp.Or(o.Gamma, 1)
	o.Diagonal = cmp.Or(o.Diagonal, DiagonalZero)
	o.Laplacian = cmp.Or(o.Laplacian, LaplacianSym)
	o.Which = cmp.Or(o.Which, WhichSmooth)
	if o.Laplacian == LaplacianRW {
		o.Rows = cmp.Or(o.Rows, RowsNone)
	}
	o.Rows = cmp.Or(o.Rows, RowsUnit)
	return o
}

// weight returns the function from SAT scores to weights; lowest is the smallest score of two different models.
func (o ClusterOptions) weight(lowest float64) (func(s float64) float64, error) {
	switch o.Affinity {
	case AffinitySAT:
		return func(s float64) float64 { return max(s, 0) }, nil
	case AffinityPercent:
		return math.Exp, nil
	case AffinityRBF:
		return func(s float64) float64 { d := logHundred - min(s, logHundred); return math.Exp(-o.Gamma * d * d) }, nil
	case AffinityShift:
		return func(s float64) float64 { return s - lowest }, nil
	}
	return nil, fmt.Errorf("affinity %q: want %s, %s, %s or %s", o.Affinity, AffinitySAT, AffinityPercent, AffinityRBF, AffinityShift)
}

// lowestScore returns the smallest score of two different models.
func lowestScore(sat *Matrix) float64 {
	lowest := math.Inf(1)
	for i := range sat.Names {
		for j := i + 1; j < sat.Len(); j++ {
			lowest = min(lowest, symmetric(sat, i, j))
		}
	}
	return lowest
}

// affinity returns the symmetric matrix A of edge weights.
func affinity(sat *Matrix, o ClusterOptions) (*mat.SymDense, error) {
	if err := sat.checkPairs(); err != nil {
		return nil, err
	}
	if !(o.Gamma > 0) || math.IsInf(o.Gamma, 0) {
		return nil, fmt.Errorf("gamma %v: want a positive number", o.Gamma)
	}
	weight, err := o.weight(lowestScore(sat))
	if err != nil {
		return nil, err
	}
	a := mat.NewSymDense(sat.Len(), nil)
	for i, name := range sat.Names {
		for j := i; j < sat.Len(); j++ {
			if i == j {
				switch o.Diagonal {
				case DiagonalZero:
					continue
				case DiagonalKeep:
				default:
					return nil, fmt.Errorf("diagonal %q: want %s or %s", o.Diagonal, DiagonalZero, DiagonalKeep)
				}
			}
			s := symmetric(sat, i, j)
			if math.IsNaN(s) { // checkPairs has looked everywhere but here
				return nil, fmt.Errorf("matrix entry (%s, %s) is undefined: drop the diagonal or leave the model out", name, name)
			}
			w := weight(s)
			if w < 0 || math.IsInf(w, 0) {
				return nil, fmt.Errorf("affinity of %s and %s is %v: want a weight of zero or more", name, sat.Names[j], w)
			}
			a.SetSym(i, j, w)
		}
	}
	return a, nil
}

// symmetric returns entry (i, j), which checkPairs allows to differ from (j, i) in the last digits.
func symmetric(m *Matrix, i, j int) float64 { return (m.At(i, j) + m.At(j, i)) / 2 }

// ErrIsolated reports a model without any similarity to the others, which has no place in a graph of similarities.
var ErrIsolated = errors.New("isolated node")

// degrees returns the row sums of A. A model without any similarity has no place in a graph: an error that names it.
func degrees(a *mat.SymDense, names []string) ([]float64, error) {
	d := make([]float64, len(names))
	for i, name := range names {
		for j := range names {
			d[i] += a.At(i, j)
		}
		if d[i] == 0 {
			return nil, fmt.Errorf("%s is an %w: its affinity to every other model is 0; leave it out or choose another affinity",
				name, ErrIsolated)
		}
	}
	return d, nil
}
