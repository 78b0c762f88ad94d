package analysis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"

	"sat/internal/rng"
)

// KMeansOptions are the settings of [KMeans].
type KMeansOptions struct {
	K        int
	Restarts int // default 100; the one with the lowest inertia wins
	MaxIter  int // default 300
	// Tol stops a restart when the summed squared shift of the centroids is at most Tol times the mean variance of the
	// columns. The default 0 goes on until no label changes and no move of a single point helps, so that the inertia is
	// that of a true local optimum.
	Tol     float64
	Seed    uint64
	Workers int // goroutines; default all cores. The result does not depend on it
}

// KMeansResult is a partition of rows.
type KMeansResult struct {
	Labels    []int // from 0, numbered by first appearance
	Centroids [][]float64
	Inertia   float64 // sum of squared distances of the rows to their centroids
	Restart   int     // which restart won: of those within 1e-12 of the lowest inertia, relatively, the first
	Warning   string  // set when there are fewer distinct rows than clusters
}

// KMeans divides rows (equally long, finite) into o.K clusters by Lloyd's algorithm: assign each row to its nearest
// centroid (ties to the lowest index), move each centroid to the mean of its rows, repeat. The start is greedy k-means++:
// the first centroid is a uniform choice, every further one the best of 2 + floor(ln K) rows drawn with probability
// proportional to the squared distance from the centroids so far. A cluster that loses all its rows is given the row
// farthest from its own centroid.
//
// Where Lloyd's algorithm stops, single rows are moved as long as that lowers the inertia (only with Tol 0). The usual
// libraries end without this step, at an inertia that is equal or higher; on data without clear clusters the best of 100
// restarts then misses the optimum more often than not.
//
// With fewer distinct rows than clusters every distinct row is a cluster, the inertia is 0 and Warning is set.
func KMeans(ctx context.Context, rows [][]float64, o KMeansOptions) (*KMeansResult, error) {
	o.Restarts = cmp.Or(o.Restarts, 100)
	o.MaxIter = cmp.Or(o.MaxIter, 300)
	o.Workers = cmp.Or(o.Workers, runtime.GOMAXPROCS(0))
	if o.Restarts < 1 || o.MaxIter < 1 || o.Workers < 1 || !(o.Tol >= 0) {
		return nil, fmt.Errorf("k-means: %d restarts, %d iterations, %d workers, tolerance %v", o.Restarts, o.MaxIter, o.Workers, o.Tol)
	}
	if len(rows) == 0 {
		return nil, errors.New("k-means: no rows")
	}
	if o.K < 1 || o.K > len(rows) {
		return nil, fmt.Errorf("k-means: %d clusters of %d rows: want between 1 and the number of rows", o.K, len(rows))
	}
	for i, row := range rows {
		if len(row) != len(rows[0]) {
			return nil, fmt.Errorf("k-means: row %d has %d columns, the first has %d", i+1, len(row), len(rows[0]))
		}
		for j, v := range row {
			if math.IsNaN(v) || math.IsInf(v, 0) {
				return nil, fmt.Errorf("k-means: row %d, column %d is %v", i+1, j+1, v)
			}
		}
	}

	if labels, distinct := distinctRows(rows); distinct <= o.K {
		r := &KMeansResult{Labels: labels, Centroids: make([][]float64, distinct)}
		for i, label := range labels {
			r.Centroids[label] = slices.Clone(rows[i])
		}
		if distinct < o.K {
			r.Warning = fmt.Sprintf("only %d distinct rows for %d clusters: %d clusters are used", distinct, o.K, distinct)
		}
		return r, nil
	}

	data := newPoints(rows)
	shift := o.Tol * data.meanVariance()
	labels := make([][]int, o.Restarts)
	inertia := make([]float64, o.Restarts)
	err := parallel(ctx, o.Restarts, o.Workers, func() func(int) {
		return func(restart int) {
			l := newLloyd(data, o.K)
			l.seed(rng.New(o.Seed, "analysis/kmeans", uint64(restart)))
			l.run(o.MaxIter, shift)
			if o.Tol == 0 {
				l.refine(o.MaxIter)
			}
			labels[restart], inertia[restart] = l.labels, l.inertia()
		}
	})
	if err != nil {
		return nil, fmt.Errorf("k-means: %w", err)
	}
	limit := slices.Min(inertia) * (1 + tieTolerance)
	r := &KMeansResult{Restart: slices.IndexFunc(inertia, func(v float64) bool { return v <= limit })}
	r.Labels, r.Inertia = labels[r.Restart], inertia[r.Restart]
	used := renumber(r.Labels)
	r.Centroids = centroids(rows, r.Labels, used)
	return r, nil
}

// distinctRows labels equal rows alike, by first appearance.
func distinctRows(rows [][]float64) (labels []int, distinct int) {
	order := make([]int, len(rows))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return slices.Compare(rows[a], rows[b]) })
	labels = make([]int, len(rows))
	for k, i := range order {
		if k > 0 && slices.Compare(rows[order[k-1]], rows[i]) != 0 {
			distinct++
		}
		labels[i] = distinct
	}
	return labels, renumber(labels)
}

// renumber replaces labels by 0, 1, ... in the order of first appearance and returns how many there are.
func renumber(labels []int) int {
	number := map[int]int{}
	for i, label := range labels {
		k, ok := number[label]
		if !ok {
			k = len(number)
			number[label] = k
		}
		labels[i] = k
	}
	return len(number)
}

// centroids returns the mean row of every label 0..k-1.
func centroids(rows [][]float64, labels []int, k int) [][]float64 {
	out, size := make([][]float64, k), make([]float64, k)
	for c := range out {
		out[c] = make([]float64, len(rows[0]))
	}
	for i, row := range rows {
		size[labels[i]]++
		for j, v := range row {
			out[labels[i]][j] += v
		}
	}
	for c := range out {
		for j := range out[c] {
			out[c][j] /= size[c]
		}
	}
	return out
}

// points are centred rows in one block. Centring keeps digits in squared distances; distances do not change.
type points struct {
	n, dim int
	v      []float64
}

func newPoints(rows [][]float64) *points {
	p := &points{n: len(rows), dim: len(rows[0])}
	center := centroids(rows, make([]int, len(rows)), 1)[0]
	for _, row := range rows {
		for j, v := range row {
			p.v = append(p.v, v-center[j])
		}
	}
	return p
}

func (p *points) row(i int) []float64 { return p.v[i*p.dim : (i+1)*p.dim] }

func (p *points) meanVariance() float64 {
	sum := 0.0
	for _, v := range p.v {
		sum += v * v
	}
	return sum / float64(len(p.v))
}

func squaredDistance(a, b []float64) float64 {
	sum := 0.0
	for j, v := range a {
		d := v - b[j]
		sum += d * d
	}
	return sum
}

// lloyd is one run of the algorithm.
type lloyd struct {
	*points
	k       int
	centers []float64 // k rows
	labels  []int
	// own is the squared distance of each point to the centroid it was assigned to, other a lower bound of its distance
	// to every other centroid. While own stays below it, no other centroid need be looked at (Hamerly 2010), which
	// leaves one distance per point instead of k.
	own, other []float64
}

// boundSlack keeps rounding from deciding a comparison with a lower bound: closer calls are computed in full.
const boundSlack = 1e-9

func newLloyd(p *points, k int) *lloyd {
	return &lloyd{points: p, k: k, centers: make([]float64, k*p.dim), labels: make([]int, p.n), own: make([]float64, p.n),
		other: make([]float64, p.n)}
}

func (l *lloyd) center(c int) []float64 { return l.centers[c*l.dim : (c+1)*l.dim] }

// seed chooses the first centroids by greedy k-means++.
func (l *lloyd) seed(random *rng.Stream) {
	trials := 2 + int(math.Log(float64(l.k)))
	copy(l.center(0), l.row(random.IntN(l.n)))
	nearest, best, attempt := make([]float64, l.n), make([]float64, l.n), make([]float64, l.n)
	potential := 0.0
	for i := range nearest {
		nearest[i] = squaredDistance(l.row(i), l.center(0))
		potential += nearest[i]
	}
	for c := 1; c < l.k; c++ {
		lowest, chosen := math.Inf(1), 0
		for range trials {
			candidate := draw(nearest, random.Float64()*potential)
			sum := 0.0
			for i := range attempt {
				attempt[i] = min(nearest[i], squaredDistance(l.row(i), l.row(candidate)))
				sum += attempt[i]
			}
			if sum < lowest {
				lowest, chosen = sum, candidate
				best, attempt = attempt, best
			}
		}
		copy(l.center(c), l.row(chosen))
		nearest, best = best, nearest
		potential = lowest
	}
}

// draw returns the index at which the running sum of weights exceeds target, never one of weight 0 unless all are.
func draw(weights []float64, target float64) int {
	last := 0
	for i, w := range weights {
		if w == 0 {
			continue
		}
		last = i
		if target -= w; target < 0 {
			return i
		}
	}
	return last // target reached the total by rounding
}

// run alternates the two steps until no label changes, the centroids move by at most shift, or maxIter.
func (l *lloyd) run(maxIter int, shift float64) {
	l.assign()
	previous := make([]float64, len(l.centers))
	for range maxIter {
		copy(previous, l.centers)
		l.update()
		moved, farthest := 0.0, 0.0
		for c := range l.k {
			d := squaredDistance(l.center(c), previous[c*l.dim:(c+1)*l.dim])
			moved += d
			farthest = max(farthest, d)
		}
		farthest = math.Sqrt(farthest)
		for i := range l.other {
			l.other[i] -= farthest
		}
		if !l.assign() {
			return
		}
		if moved <= shift {
			return // the labels belong to the last centroids
		}
	}
}

// assign gives every point its nearest centroid and says whether a label changed.
func (l *lloyd) assign() bool {
	changed := false
	for i := range l.n {
		row := l.row(i)
		if l.other[i] > 0 {
			l.own[i] = squaredDistance(row, l.center(l.labels[i]))
			if l.own[i] < l.other[i]*l.other[i]*(1-boundSlack) {
				continue
			}
		}
		label, nearest, second := 0, math.Inf(1), math.Inf(1)
		for c := range l.k {
			switch d := squaredDistance(row, l.center(c)); {
			case d < nearest:
				label, nearest, second = c, d, nearest
			case d < second:
				second = d
			}
		}
		if label != l.labels[i] {
			l.labels[i] = label
			changed = true
		}
		l.own[i], l.other[i] = nearest, math.Sqrt(second)
	}
	return changed
}

// update moves every centroid to the mean of its points, and that of an empty cluster to the point farthest from its own
// centroid, which leaves its former cluster. Each point is moved once, never the last of a cluster.
func (l *lloyd) update() {
	size := make([]int, l.k)
	for _, label := range l.labels {
		size[label]++
	}
	var donors []int // points by falling distance, made when first needed
	for c := range l.k {
		if size[c] > 0 {
			continue
		}
		if donors == nil {
			donors = make([]int, l.n)
			for i := range donors {
				donors[i] = i
			}
			slices.SortStableFunc(donors, func(a, b int) int { return cmp.Compare(l.own[b], l.own[a]) })
		}
		for len(donors) > 0 {
			i := donors[0]
			donors = donors[1:]
			if size[l.labels[i]] > 1 {
				size[l.labels[i]]--
				size[c]++
				l.labels[i], l.other[i] = c, 0
				break
			}
		}
	}
	l.means()
}

// refine moves single points (Hartigan's step) until none lowers the inertia: moving a point also moves both centroids,
// which Lloyd's assignment ignores, so some of its fixed points are not optima yet. Every fixed point left is one of
// Lloyd's too.
func (l *lloyd) refine(maxIter int) {
	previous := slices.Clone(l.centers)
	size := l.means()
	drift := 0.0 // how far any centroid can have moved since the bounds were right
	for c := range l.k {
		drift = max(drift, math.Sqrt(squaredDistance(l.center(c), previous[c*l.dim:(c+1)*l.dim])))
	}
	for range maxIter {
		moved := false
		for i := range l.n {
			from := l.labels[i]
			if size[from] == 1 {
				continue
			}
			row := l.row(i)
			// The inertia falls by gain when the point leaves and rises by cost when it joins another cluster, which
			// is at least half its squared distance.
			gain := squaredDistance(row, l.center(from)) * size[from] / (size[from] - 1)
			if bound := l.other[i] - drift; bound > 0 && gain < bound*bound/2*(1-boundSlack) {
				continue
			}
			to, lowest := from, gain*(1-tieTolerance)
			for c := range l.k {
				if c == from || size[c] == 0 {
					continue
				}
				if cost := squaredDistance(row, l.center(c)) * size[c] / (size[c] + 1); cost < lowest {
					to, lowest = c, cost
				}
			}
			if to == from {
				continue
			}
			moved = true
			l.labels[i], l.other[i] = to, 0
			source, target := l.center(from), l.center(to)
			before := math.Sqrt(squaredDistance(row, source))
			after := math.Sqrt(squaredDistance(row, target))
			drift += max(before/(size[from]-1), after/(size[to]+1))
			for j, v := range row {
				source[j] -= (v - source[j]) / (size[from] - 1)
				target[j] += (v - target[j]) / (size[to] + 1)
			}
			size[from]--
			size[to]++
		}
		if !moved {
			return
		}
	}
}

// inertia is measured from the means of the final clusters, whatever stopped the run.
func (l *lloyd) inertia() float64 {
	l.means()
	sum := 0.0
	for i, label := range l.labels {
		sum += squaredDistance(l.row(i), l.center(label))
	}
	return sum
}

// means sets every centroid to the mean of its points, leaves that of an empty cluster alone, and returns the sizes.
func (l *lloyd) means() []float64 {
	size := make([]float64, l.k)
	for _, label := range l.labels {
		if size[label] == 0 {
			clear(l.center(label))
		}
		size[label]++
	}
	for i, label := range l.labels {
		center := l.center(label)
		for j, v := range l.row(i) {
			center[j] += v
		}
	}
	for c, s := range size {
		if s > 0 {
			for j := range l.center(c) {
				l.center(c)[j] /= s
			}
		}
	}
	return size
}
