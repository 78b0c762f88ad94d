package analysis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"

	"gonum.org/v1/gonum/mat"

	"sat/internal/rng"
)

// Distance says how a SAT score becomes the distance of two models.
type Distance string

// Init says where the points of an embedding start.
type Init string

// The switches of [TSNE].
const (
	DistanceLogDiff Distance = "logdiff" // max(0, ln 100 - SAT)
	DistancePercent Distance = "percent" // max(0, 1 - exp(SAT)/100)

	InitMDS    Init = "mds"    // classical scaling, first axis with standard deviation 1e-4: no randomness at all
	InitRandom Init = "random" // normal with standard deviation 1e-4, from the seed
)

// Constants of the method (van der Maaten and Hinton 2008) as the usual library sets them.
const (
	tsneExplore      = 250 // steps with exaggerated P
	tsneExaggeration = 12
	tsneCheck        = 50  // steps between two looks at the progress
	tsnePatience     = 300 // steps without a better KL before stopping, after the exploration
	tsneMinGrad      = 1e-7
	tsneMinGain      = 0.01
	tsneStartStd     = 1e-4
	tsneFloor        = 0x1p-52 // of every p and q
	tsneParallel     = 256     // points from which several goroutines pay
	tsneLargest      = 1e100   // distance whose square and sums of squares are in range
)

// TSNEOptions are the settings of [TSNE].
type TSNEOptions struct {
	Distance   Distance // default DistanceLogDiff
	Perplexity float64  // effective number of neighbours; default 30, with at most 30 models a third of the other models
	Init       Init     // default InitMDS
	Steps      int      // default 1000
	Rate       float64  // learning rate; default max(n/48, 50)
	Seed       uint64   // of InitRandom
	Workers    int      // goroutines; default all cores. The result does not depend on it
}

func (o TSNEOptions) withDefaults(n int) TSNEOptions {
	o.Distance = cmp.Or(o.Distance, DistanceLogDiff)
	if o.Perplexity == 0 {
		o.Perplexity = 30
		if n <= 30 {
			o.Perplexity = max(1, float64(n-1)/3)
		}
	}
	o.Init = cmp.Or(o.Init, InitMDS)
	o.Steps = cmp.Or(o.Steps, 1000)
	if o.Rate == 0 {
		o.Rate = max(float64(n)/tsneExaggeration/4, 50)
	}
	o.Workers = cmp.Or(o.Workers, runtime.GOMAXPROCS(0))
	return o
}

// Embedding places models in the plane. Only the distances of near points mean something; the whole may be turned or
// mirrored.
type Embedding struct {
	Names           []string
	Points          [][2]float64
	KL              float64 // Kullback-Leibler divergence that was minimised, in nats
	Perplexity      float64
	Steps           int     // done
	Trustworthiness float64 // with five neighbours, or as many as [Trustworthiness] allows; NaN below four models
	Warnings        []string
}

// TSNE embeds models in the plane by exact t-distributed stochastic neighbour embedding of their distances (Fig. 1). sat
// must be symmetric without undefined pairs off the diagonal. Models are processed in the order of their names, so the
// result does not depend on the order of the rows.
func TSNE(ctx context.Context, sat *Matrix, o TSNEOptions) (*Embedding, error) {
	if err := sat.checkPairs(); err != nil {
		return nil, fmt.Errorf("t-SNE: %w", err)
	}
	d, err := similarityDistance(sat, o.withDefaults(sat.Len()).Distance)
	if err != nil {
		return nil, fmt.Errorf("t-SNE: %w", err)
	}
	return TSNEOfDistances(ctx, d, o)
}

// similarityDistance turns SAT scores into distances, zero on the diagonal.
func similarityDistance(sat *Matrix, kind Distance) (*Matrix, error) {
	d := NewMatrix(sat.Names)
	for i := range sat.Names {
		for j := range sat.Names {
			if i == j {
				continue
			}
			switch s := symmetric(sat, i, j); kind {
			case DistanceLogDiff:
				d.Set(i, j, max(0, logHundred-s))
			case DistancePercent:
				d.Set(i, j, max(0, 1-math.Exp(s)/100))
			default:
				return nil, fmt.Errorf("distance %q: want %s or %s", kind, DistanceLogDiff, DistancePercent)
			}
		}
	}
	return d, nil
}

// TSNEOfDistances is [TSNE] for distances given, [Clusters].Distance for example. The diagonal is not used.
func TSNEOfDistances(ctx context.Context, d *Matrix, o TSNEOptions) (*Embedding, error) {
	e, err := tsne(ctx, d, o.withDefaults(d.Len()))
	if err != nil {
		return nil, fmt.Errorf("t-SNE: %w", err)
	}
	return e, nil
}

func tsne(ctx context.Context, d *Matrix, o TSNEOptions) (*Embedding, error) {
	if err := checkDistances(d); err != nil {
		return nil, err
	}
	n := d.Len()
	switch {
	case n < 2:
		return nil, errors.New("one model: want at least two")
	case !(o.Perplexity >= 1 && o.Perplexity < float64(n)):
		return nil, fmt.Errorf("perplexity %v of %d models: want one from 1 to below the number of models", o.Perplexity, n)
	case o.Steps < tsneExplore || o.Workers < 1 || !(o.Rate > 0) || math.IsInf(o.Rate, 0):
		return nil, fmt.Errorf("%d steps, learning rate %v, %d workers: want at least %d steps, a positive rate and a worker", o.Steps,
			o.Rate, o.Workers, tsneExplore)
	}
	sorted, err := d.Select(slices.Sorted(slices.Values(d.Names)))
	if err != nil {
		return nil, err
	}
	squares := make([]float64, n*n)
	for i := range n {
		for j := range n {
			if i != j {
				v := symmetric(sorted, i, j)
				if v > tsneLargest {
					return nil, fmt.Errorf("distance of %s and %s is %v: want at most %g", sorted.Names[i], sorted.Names[j], v, tsneLargest)
				}
				squares[i*n+j] = v * v
			}
		}
	}
	out := &Embedding{Names: slices.Clone(d.Names), Perplexity: o.Perplexity}
	s := newScatter(jointProbabilities(squares, n, o.Perplexity), n, o.Workers)
	warning, err := s.start(squares, o)
	if err != nil {
		return nil, err
	}
	if warning != "" {
		out.Warnings = append(out.Warnings, warning)
	}
	if err := s.run(ctx, o); err != nil {
		return nil, err
	}
	out.Steps = s.steps
	s.gradient()
	out.KL = s.divergence()
	for i := range s.y {
		if math.IsNaN(s.y[i]-s.y[i]) || math.IsNaN(s.x[i]-s.x[i]) {
			return nil, fmt.Errorf("points left the range of float64 at learning rate %v: choose a lower one", o.Rate)
		}
	}
	at, err := locate(d.Names, sorted.Names)
	if err != nil {
		return nil, err
	}
	for _, k := range at {
		out.Points = append(out.Points, [2]float64{s.x[k], s.y[k]})
	}
	const neighbours = 5
	out.Trustworthiness = undefined
	if k := min(neighbours, (n-1)/2); k >= 1 && n > 3 {
		out.Trustworthiness, err = Trustworthiness(d, out.Points, k)
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// checkDistances refuses a matrix that does not hold distances, by name.
func checkDistances(d *Matrix) error {
	if err := d.checkPairs(); err != nil {
		return err
	}
	for i, a := range d.Names {
		for j, b := range d.Names {
			if i != j && d.At(i, j) < 0 {
				return fmt.Errorf("distance of %s and %s is %v: want zero or more", a, b, d.At(i, j))
			}
		}
	}
	return nil
}

// jointProbabilities returns p_ij = (p_{j|i} + p_{i|j}) / 2n from squared distances, with the entropy of every p_{.|i} equal
// to ln perplexity. beta_i is bisected from 1, doubled or halved until bracketed.
func jointProbabilities(squares []float64, n int, perplexity float64) []float64 {
	const (
		tolerance = 1e-5 // nats
		most      = 100
	)
	target := math.Log(perplexity)
	p := make([]float64, n*n)
	for i := range n {
		d, row := squares[i*n:(i+1)*n], p[i*n:(i+1)*n]
		nearest := math.Inf(1)
		for j, v := range d {
			if j != i {
				nearest = min(nearest, v)
			}
		}
		low, high, beta := math.Inf(-1), math.Inf(1), 1.0
		for range most {
			sum, moment := 0.0, 0.0
			for j, v := range d {
				if j == i {
					continue
				}
				// Measured from the nearest, the largest term is 1 and the sum cannot vanish, whatever the unit.
				row[j] = math.Exp(-(v - nearest) * beta)
				sum += row[j]
				moment += row[j] * (v - nearest)
			}
			for j := range row {
				row[j] /= sum
			}
			excess := math.Log(sum) + beta*moment/sum - target
			if math.Abs(excess) <= tolerance {
				break
			}
			switch {
			case excess > 0 && math.IsInf(high, 1):
				low, beta = beta, beta*2
			case excess > 0:
				low, beta = beta, (beta+high)/2
			case math.IsInf(low, -1):
				high, beta = beta, beta/2
			default:
				high, beta = beta, (beta+low)/2
			}
		}
	}
	total := 0.0
	for i := range n {
		for j := range i {
			v := p[i*n+j] + p[j*n+i]
			p[i*n+j], p[j*n+i] = v, v
			total += 2 * v
		}
	}
	for k := range p {
		if k%(n+1) == 0 {
			p[k] = 0
			continue
		}
		p[k] = max(p[k]/total, tsneFloor)
	}
	return p
}

// scatter is a cloud of points in the plane, drawn together by P.
type scatter struct {
	n       int
	workers int
	p       []float64 // n x n, zero diagonal
	x, y    []float64
	sum     float64 // over ordered pairs of 1/(1+distance^2)
	partial []float64
	gx, gy  []float64
	steps   int
}

func newScatter(p []float64, n, workers int) *scatter {
	if n < tsneParallel {
		workers = 1
	}
	make1 := func() []float64 { return make([]float64, n) }
	return &scatter{n: n, workers: workers, p: p, x: make1(), y: make1(), partial: make1(), gx: make1(), gy: make1()}
}

// start places the points. The warning says so where classical scaling has nothing to offer.
func (s *scatter) start(squares []float64, o TSNEOptions) (warning string, err error) {
	switch o.Init {
	case InitMDS:
		ok, err := s.classicalScaling(squares)
		if ok || err != nil {
			return "", err
		}
		warning = "all distances are zero: the points start at random"
	case InitRandom:
	default:
		return "", fmt.Errorf("start %q: want %s or %s", o.Init, InitMDS, InitRandom)
	}
	random := rng.New(o.Seed, "analysis/tsne")
	for i := range s.x {
		s.x[i], s.y[i] = tsneStartStd*random.Normal(), tsneStartStd*random.Normal()
	}
	return warning, nil
}

// classicalScaling places the points along the two main axes of the doubly centred squared distances (Torgerson). An axis
// has no sign of its own: its largest entry is made positive.
func (s *scatter) classicalScaling(squares []float64) (ok bool, err error) {
	n := s.n
	rows, total := make([]float64, n), 0.0
	for i := range n {
		rows[i] = mean(squares[i*n : (i+1)*n])
		total += rows[i] / float64(n)
	}
	b := mat.NewSymDense(n, nil)
	for i := range n {
		for j := i; j < n; j++ {
			b.SetSym(i, j, -(squares[i*n+j]-rows[i]-rows[j]+total)/2)
		}
	}
	var eigen mat.EigenSym
	if !eigen.Factorize(b, true) {
		return false, errors.New("the eigenvalues of the distances did not converge")
	}
	values := eigen.Values(nil)
	if values[n-1] <= 0 {
		return false, nil
	}
	var vectors mat.Dense
	eigen.VectorsTo(&vectors)
	// The first axis has mean 0 and squared length values[n-1].
	scale := tsneStartStd * math.Sqrt(float64(n)/values[n-1])
	for axis, target := range [][]float64{s.x, s.y} {
		c := n - 1 - axis
		length := scale * math.Sqrt(max(0, values[c]))
		largest, sign := 0.0, 1.0
		for i := range n {
			if v := vectors.At(i, c); math.Abs(v) > largest {
				largest, sign = math.Abs(v), math.Copysign(1, v)
			}
		}
		for i := range n {
			target[i] = sign * length * vectors.At(i, c)
		}
	}
	return true, nil
}

// run minimises the divergence by gradient descent with momentum and a gain per coordinate.
func (s *scatter) run(ctx context.Context, o TSNEOptions) error {
	for k := range s.p {
		s.p[k] *= tsneExaggeration
	}
	if err := s.descend(ctx, tsneExplore, 0.5, tsneExplore, o.Rate); err != nil {
		return err
	}
	for k := range s.p {
		s.p[k] /= tsneExaggeration
	}
	return s.descend(ctx, o.Steps, 0.8, tsnePatience, o.Rate)
}

// descend goes on until step number last, or until nothing is gained.
func (s *scatter) descend(ctx context.Context, last int, momentum float64, patience int, rate float64) error {
	coordinates, gradients := [2][]float64{s.x, s.y}, [2][]float64{s.gx, s.gy}
	var update, gain [2][]float64
	for a := range update {
		update[a], gain[a] = make([]float64, s.n), slices.Repeat([]float64{1}, s.n)
	}
	best, bestStep := math.Inf(1), s.steps
	for s.steps < last {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("step %d: %w", s.steps+1, err)
		}
		step := s.steps
		s.steps++
		s.gradient()
		check := s.steps%tsneCheck == 0
		divergence, squares := undefined, 0.0
		if check {
			divergence = s.divergence()
		}
		for a, g := range gradients {
			for i := range g {
				if update[a][i]*g[i] < 0 {
					gain[a][i] += 0.2
				} else {
					gain[a][i] = max(gain[a][i]*0.8, tsneMinGain)
				}
				g[i] *= gain[a][i]
				squares += g[i] * g[i]
				update[a][i] = momentum*update[a][i] - rate*g[i]
				coordinates[a][i] += update[a][i]
			}
		}
		if !check {
			continue
		}
		if divergence < best {
			best, bestStep = divergence, step
		} else if step-bestStep > patience {
			return nil
		}
		if math.Sqrt(squares) <= tsneMinGrad {
			return nil
		}
	}
	return nil
}

// gradient fills gx, gy with 4 sum_j (p_ij - q_ij) (y_i - y_j) / (1 + |y_i - y_j|^2), in one pass over the ordered pairs:
// the sum that q_ij is divided by is known only at its end, so attraction and repulsion are kept apart until then. Each
// row has sums of its own, so the number of goroutines does not show in the last digit.
func (s *scatter) gradient() {
	repelX, repelY := make([]float64, s.n), make([]float64, s.n)
	rows := func(from, to int) {
		x, y := s.x, s.y[:len(s.x)]
		for i := from; i < to; i++ {
			xi, yi := x[i], y[i]
			var sum, ax, ay, rx, ry float64
			for j, p := range s.p[i*s.n : (i+1)*s.n][:len(x)] {
				dx, dy := xi-x[j], yi-y[j]
				w := 1 / (1 + dx*dx + dy*dy)
				sum += w
				pw, ww := p*w, w*w
				ax += pw * dx
				ay += pw * dy
				rx += ww * dx
				ry += ww * dy
			}
			s.partial[i] = sum - 1 // the point itself
			s.gx[i], s.gy[i], repelX[i], repelY[i] = ax, ay, rx, ry
		}
	}
	if s.workers == 1 {
		rows(0, s.n)
	} else {
		var wg sync.WaitGroup
		for k := range s.workers {
			wg.Go(func() { rows(k*s.n/s.workers, (k+1)*s.n/s.workers) })
		}
		wg.Wait()
	}
	s.sum = 0
	for _, v := range s.partial {
		s.sum += v
	}
	for i := range s.gx {
		s.gx[i] = 4 * (s.gx[i] - repelX[i]/s.sum)
		s.gy[i] = 4 * (s.gy[i] - repelY[i]/s.sum)
	}
}

// divergence returns sum_{i != j} p_ij ln(p_ij/q_ij) of the points at the last gradient.
func (s *scatter) divergence() float64 {
	total := 0.0
	for i := range s.n {
		for j, p := range s.p[i*s.n : i*s.n+i] { // both orders of a pair are equal
			dx, dy := s.x[i]-s.x[j], s.y[i]-s.y[j]
			q := max(1/((1+dx*dx+dy*dy)*s.sum), tsneFloor)
			total += 2 * p * math.Log(p/q)
		}
	}
	return total
}

// Trustworthiness says how far the k nearest neighbours in the plane are near ones by d, too (Venna and Kaski 2001): 1 if
// all are among the k nearest, less by the ranks they miss that by; k must be below half the number of models. Equal
// distances are ranked by index.
func Trustworthiness(d *Matrix, points [][2]float64, k int) (float64, error) {
	if err := checkDistances(d); err != nil {
		return undefined, fmt.Errorf("trustworthiness: %w", err)
	}
	n := d.Len()
	if len(points) != n || k < 1 || 2*k >= n {
		return undefined, fmt.Errorf("trustworthiness of %d points of %d models with %d neighbours: want fewer than half as many "+
			"neighbours as models", len(points), n, k)
	}
	order := func(i int, distance func(j int) float64) []int {
		var others []int
		for j := range n {
			if j != i {
				others = append(others, j)
			}
		}
		slices.SortStableFunc(others, func(a, b int) int { return cmp.Compare(distance(a), distance(b)) })
		return others
	}
	missed := 0
	rank := make([]int, n)
	for i, p := range points {
		for r, j := range order(i, func(j int) float64 { return d.At(i, j) }) {
			rank[j] = r + 1
		}
		near := order(i, func(j int) float64 { return math.Hypot(p[0]-points[j][0], p[1]-points[j][1]) })
		for _, j := range near[:k] {
			missed += max(0, rank[j]-k)
		}
	}
	return 1 - 2*float64(missed)/(float64(n*k)*float64(2*n-3*k-1)), nil
}
