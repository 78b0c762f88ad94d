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

// Correlate describes how x and y go together: Pearson's r with its two-sided p under independent, normal points,
// Fisher's interval of the given level (0.95, say), and Spearman's r with the p of the same t distribution (an
// approximation below about ten points). Pairs of models share models, so a p over pairs overstates the evidence:
// [Mantel] does not.
//
// Fewer than two points or a constant variable leave r undefined (NaN, with a Warning); NaN or infinite input is an error
// that names the point.
func Correlate(x, y []float64, level float64) (Correlation, error) {
	if len(x) != len(y) {
		return Correlation{}, fmt.Errorf("correlate: %d and %d values", len(x), len(y))
	}
	if !(level > 0 && level < 1) {
		return Correlation{}, fmt.Errorf("correlate: confidence level %v: want one in (0, 1)", level)
	}
	for i := range x {
		if math.IsNaN(x[i]-x[i]) || math.IsNaN(y[i]-y[i]) { // v-v is NaN for NaN and both infinities
			return Correlation{}, fmt.Errorf("correlate: point %d is (%v, %v)", i+1, x[i], y[i])
		}
	}
	c := Correlation{N: len(x), R: undefined, P: undefined, Log10P: undefined, CILo: undefined, CIHi: undefined,
		Spearman: undefined, SpearmanP: undefined, SpearmanLog10P: undefined}
	switch {
	case len(x) < 2:
		c.Warning = "a correlation needs at least two points"
		return c, nil
	case constant(x) || constant(y):
		c.Warning = "a variable is constant: its correlation is undefined"
		return c, nil
	}
	var rest float64
	c.R, rest = pearson(x, y)
	if math.IsNaN(c.R) {
		return Correlation{}, errors.New("correlate: values too large for float64 arithmetic")
	}
	c.P, c.Log10P = pValue(c.R, rest, c.N)
	c.CILo, c.CIHi = fisherInterval(c.R, c.N, level)
	c.Spearman, rest = pearson(averageRanks(x), averageRanks(y))
	c.SpearmanP, c.SpearmanLog10P = pValue(c.Spearman, rest, c.N)
	return c, nil
}

func constant(v []float64) bool { return slices.Min(v) == slices.Max(v) }

// pearson returns r and 1-r^2 of two variables that are not constant, by two passes: centre, then sum products. Sums are
// compensated, because p at n = 500,000 magnifies an error of r by n.
func pearson(x, y []float64) (r, rest float64) {
	u, v := standardize(x), standardize(y)
	r = max(-1, min(1, sumOf(len(u), func(i int) float64 { return u[i] * v[i] })))
	rest = (1 - r) * (1 + r)
	if rest < 1e-6 {
		// Near |r| = 1 the rounding of r is all of 1-r; the residual of the regression keeps its digits.
		rest = sumOf(len(u), func(i int) float64 { e := v[i] - r*u[i]; return e * e })
		if rest <= 0x1p-100 { // (4 ulp)^2
			return math.Copysign(1, r), 0 // residuals of rounding only: all points are on a line
		}
	}
	return r, rest
}

// standardize centres a variable and scales it to unit Euclidean length.
func standardize(x []float64) []float64 {
	center := sumOf(len(x), func(i int) float64 { return x[i] / float64(len(x)) })
	largest := 0.0
	for _, v := range x {
		largest = max(largest, math.Abs(v-center))
	}
	// Divided by the largest first, so that squares neither overflow nor vanish.
	u := make([]float64, len(x))
	for i, v := range x {
		u[i] = (v - center) / largest
	}
	length := math.Sqrt(sumOf(len(u), func(i int) float64 { return u[i] * u[i] }))
	for i := range u {
		u[i] /= length
	}
	return u
}

// sumOf adds n terms with Neumaier's compensation.
func sumOf(n int, term func(int) float64) float64 {
	sum, lost := 0.0, 0.0
	for i := range n {
		v := term(i)
		t := sum + v
		if math.Abs(sum) >= math.Abs(v) {
			lost += (sum - t) + v
		} else {
			lost += (v - t) + sum
		}
		sum = t
	}
	return sum + lost
}

// averageRanks returns ranks from 1, the mean rank for ties.
func averageRanks(x []float64) []float64 {
	order := make([]int, len(x))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(x[a], x[b]) })
	ranks := make([]float64, len(x))
	for from := 0; from < len(order); {
		to := from + 1
		for to < len(order) && x[order[to]] == x[order[from]] {
			to++
		}
		for _, i := range order[from:to] {
			ranks[i] = float64(from+to+1) / 2
		}
		from = to
	}
	return ranks
}

// PearsonP returns the two-sided p of a correlation r of n points, and its decimal logarithm, which stays exact where p
// underflows: under independence t = r sqrt((n-2)/((1-r)(1+r))) follows Student's distribution with n-2 degrees of
// freedom, so p = I_x((n-2)/2, 1/2) at x = (1-r)(1+r), I being the regularised incomplete beta function.
// Two points always have |r| = 1 and p = 1; fewer, or |r| > 1, give NaN.
func PearsonP(r float64, n int) (p, log10p float64) {
	return pValue(r, (1-r)*(1+r), n)
}

// pValue is PearsonP with rest = 1-r^2 given, because r near 1 does not determine it.
func pValue(r, rest float64, n int) (p, log10p float64) {
	switch {
	case math.IsNaN(r) || math.Abs(r) > 1 || n < 2:
		return undefined, undefined
	case n == 2:
		return 1, 0
	case rest <= 0:
		return 0, math.Inf(-1)
	}
	ln := logBetaTail(float64(n-2)/2, rest, r*r)
	return math.Exp(ln), ln / math.Ln10
}

// logBetaTail returns ln I_x(a, 1/2) for x in (0, 1], a >= 1/2. y is 1-x, given apart because one of the two is tiny.
//
// I_x(a,b) = x^a y^b / (a B(a,b)) * f with a continued fraction f that converges fast for x < (a+1)/(a+b+2); beyond, p is
// not small and the same fraction of the complement, 1 - I_y(b, a), loses no digits that matter.
func logBetaTail(a, x, y float64) float64 {
	const b = 0.5
	lnX := math.Log(x)
	if y < 0.5 {
		lnX = math.Log1p(-y) // near 1 the digits of ln x are in y; a times their error is the error of ln p
	}
	front := a*lnX + b*math.Log(y) - logBetaHalf(a)
	if x < (a+1)/(a+b+2) {
		return front - math.Log(a) + math.Log(betaFraction(a, b, x))
	}
	return math.Log1p(-math.Exp(front-math.Log(b)) * betaFraction(b, a, y))
}

// betaFraction is the continued fraction of the incomplete beta function (Abramowitz and Stegun 26.5.8, as one over the
// fraction there), evaluated by Lentz's method.
func betaFraction(a, b, x float64) float64 {
	const (
		tiny = 1e-300
		most = 100_000 // it takes about sqrt(max(a, b)) steps
	)
	away := func(v float64) float64 { // from zero
		if math.Abs(v) < tiny {
			return tiny
		}
		return v
	}
	c, d := 1.0, 1/away(1-(a+b)*x/(a+1))
	f := d
	for m := 1.0; m < most; m++ {
		even := m * (b - m) * x / ((a + 2*m - 1) * (a + 2*m))
		d, c = 1/away(1+even*d), away(1+even/c)
		f *= d * c
		odd := -(a + m) * (a + b + m) * x / ((a + 2*m) * (a + 2*m + 1))
		d, c = 1/away(1+odd*d), away(1+odd/c)
		f *= d * c
		if math.Abs(d*c-1) < 1e-16 {
			break
		}
	}
	return f
}

// logBetaHalf returns ln B(a, 1/2) = ln sqrt(pi) - ln(Gamma(a+1/2)/Gamma(a)). A difference of two log-gammas of size
// a ln a would lose the digits that are wanted here; the ratio has an expansion of its own (Stirling's series of both,
// subtracted), taken at a >= 30 after shifting a up by Gamma(z+1) = z Gamma(z).
func logBetaHalf(a float64) float64 {
	shift := 0.0
	for a < 30 {
		shift += math.Log1p(0.5 / a) // Gamma(a+1/2)/Gamma(a) gains (a+1/2)/a with each step up
		a++
	}
	i := 1 / a
	s := i * i
	ratio := math.Log(a)/2 - i*(1./8-s*(1./192-s*(1./640-s*(17./14336-s*31./18432))))
	return math.Log(math.Pi)/2 - (ratio - shift)
}

// fisherInterval is tanh(atanh r +- z/sqrt(n-3)); NaN below four points, where it does not exist.
func fisherInterval(r float64, n int, level float64) (low, high float64) {
	if n <= 3 {
		return undefined, undefined
	}
	if math.Abs(r) == 1 {
		return r, r
	}
	half := distuv.UnitNormal.Quantile((1+level)/2) / math.Sqrt(float64(n-3))
	return math.Tanh(math.Atanh(r) - half), math.Tanh(math.Atanh(r) + half)
}

// FormatP prints a p from its decimal logarithm: three decimals or more as they are down to 1e-4, then d.dd x 10^k, also
// far below the smallest float64.
func FormatP(log10p float64) string {
	switch {
	case math.IsNaN(log10p):
		return "undefined"
	case math.IsInf(log10p, -1):
		return "0"
	case log10p >= -4:
		return fmt.Sprintf("%.3g", math.Pow(10, log10p))
	}
	exponent := math.Floor(log10p)
	digits := math.Round(100*math.Pow(10, log10p-exponent)) / 100
	if digits >= 10 {
		digits, exponent = digits/10, exponent+1
	}
	return fmt.Sprintf("%.2f × 10^%.0f", digits, exponent)
}

// MantelTest is the correlation of two matrices over the pairs of models.
type MantelTest struct {
	R            float64 // Pearson's r over the unordered pairs
	P            float64 // two-sided: share of relabelings with |r| at least as large, (b+1)/(m+1)
	Permutations int
}

// MantelOptions are the settings of [Mantel].
type MantelOptions struct {
	Permutations int // default 9999
	Seed         uint64
	Workers      int // goroutines; default all cores. The result does not depend on it
}

// Mantel tests whether two symmetric matrices over the same models, in the same order, go together. Because pairs share
// models, it permutes the models of one matrix, rows and columns together. The diagonals are not used.
func Mantel(ctx context.Context, a, b *Matrix, o MantelOptions) (MantelTest, error) {
	o.Permutations = cmp.Or(o.Permutations, 9999)
	o.Workers = cmp.Or(o.Workers, runtime.GOMAXPROCS(0))
	if o.Permutations < 1 || o.Workers < 1 {
		return MantelTest{}, fmt.Errorf("mantel test: %d permutations, %d workers", o.Permutations, o.Workers)
	}
	for _, m := range []*Matrix{a, b} {
		if err := m.checkPairs(); err != nil {
			return MantelTest{}, fmt.Errorf("mantel test: %w", err)
		}
	}
	if !slices.Equal(a.Names, b.Names) {
		return MantelTest{}, errors.New("mantel test: the matrices have different models or orders")
	}
	n := a.Len()
	if n < 3 {
		return MantelTest{}, fmt.Errorf("mantel test: %d models: want at least three", n)
	}
	x, y := a.UpperTriangle(), b.UpperTriangle()
	if constant(x) || constant(y) {
		return MantelTest{}, errors.New("mantel test: all similarities are equal")
	}
	u, v := standardize(x), standardize(y)
	square := make([]float64, n*n) // v as a square, so that a relabeled pair is one lookup
	k := 0
	for i := range n {
		for j := i + 1; j < n; j++ {
			square[i*n+j], square[j*n+i] = v[k], v[k]
			k++
		}
	}
	correlation := func(perm []int) float64 {
		sum, k := 0.0, 0
		for i, pi := range perm {
			row := square[pi*n : (pi+1)*n]
			for _, pj := range perm[i+1:] {
				sum += u[k] * row[pj]
				k++
			}
		}
		return sum
	}
	identity := make([]int, n)
	for i := range identity {
		identity[i] = i
	}
	t := MantelTest{R: max(-1, min(1, correlation(identity))), Permutations: o.Permutations}
	extreme := make([]bool, o.Permutations)
	err := parallel(ctx, o.Permutations, o.Workers, func() func(int) {
		return func(i int) {
			perm := rng.New(o.Seed, "analysis/mantel", uint64(i)).Perm(n)
			extreme[i] = math.Abs(correlation(perm)) >= math.Abs(t.R)-tieTolerance
		}
	})
	if err != nil {
		return MantelTest{}, fmt.Errorf("mantel test: %w", err)
	}
	count := 0
	for _, e := range extreme {
		if e {
			count++
		}
	}
	t.P = float64(count+1) / float64(o.Permutations+1)
	return t, nil
}

// UpperTriangle returns the entries (i, j), i < j, row by row.
func (m *Matrix) UpperTriangle() []float64 {
	out := make([]float64, 0, m.Len()*(m.Len()-1)/2)
	for i := range m.Names {
		out = append(out, m.Row(i)[i+1:]...)
	}
	return out
}
