package analysis

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"sat/internal/rng"
)

// ClusterEnsembleOptions are the settings of [Logits.ClusterEnsembles].
type ClusterEnsembleOptions struct {
	EnsembleOptions
	Sizes     []int   // numbers of members N; default 2 to 10
	Clusters  []int   // numbers of clusters k that the members come from; default 1 to the largest N. Cells with k > N are left out
	Equal     bool    // only cells with k = N, the line "All" of Fig. 7
	Draws     int     // sets per cell; default 1000. A cell with no more different sets than that uses all of them
	NoCover   bool    // the members need not touch every chosen cluster
	Resamples int     // of the draws, for the intervals of means; default 2000
	Level     float64 // of intervals; default 0.95
	Seed      uint64
}

func (o ClusterEnsembleOptions) withDefaults() ClusterEnsembleOptions {
	if o.Sizes == nil {
		o.Sizes = []int{2, 3, 4, 5, 6, 7, 8, 9, 10}
	}
	if o.Clusters == nil && len(o.Sizes) > 0 {
		for k := range slices.Max(o.Sizes) {
			o.Clusters = append(o.Clusters, k+1)
		}
	}
	o.Draws = cmp.Or(o.Draws, 1000)
	o.Resamples = cmp.Or(o.Resamples, 2000)
	o.Level = cmp.Or(o.Level, 0.95)
	return o
}

func (o ClusterEnsembleOptions) validate(models int) error {
	if o.Draws < 1 || o.Resamples < 2 || !(o.Level > 0 && o.Level < 1) {
		return fmt.Errorf("%d draws, %d resamples, level %v: want at least one draw, two resamples, a level in (0, 1)", o.Draws,
			o.Resamples, o.Level)
	}
	for _, n := range o.Sizes {
		if n < 1 {
			return fmt.Errorf("ensembles of %d models", n)
		}
	}
	for _, k := range o.Clusters {
		if k < 1 {
			return fmt.Errorf("ensembles from %d clusters", k)
		}
	}
	return nil
}

// DrawStatistic describes a number over the sets of a cell. All are NaN for an empty cell.
type DrawStatistic struct {
	Mean, SD   float64 // SD divides by one less than the number of sets; NaN for one set
	Lo, Hi     float64 // percentiles of the sets: how much sets differ
	CILo, CIHi float64 // interval of Mean by resampling the draws; Mean itself if the cell holds all sets
	Undefined  int     // sets without a value, left out
}

// EnsembleCell holds the ensembles of N models from K clusters (one point of Figs. 6 and F.1).
type EnsembleCell struct {
	N, K       int
	Sets       int           // 0 if no N models can come from K clusters
	Exhaustive bool          // all different sets, each once, rather than draws
	ERR        DrawStatistic // share of the members' mean error that the ensemble takes away
	Error      DrawStatistic // top-1 error of the ensemble, a fraction
	WrongByAll DrawStatistic // images that every member gets wrong
}

// ClusterEnsembles asks what the diversity of an ensemble's members is worth (Figs. 6, 7 and F.1): for every N and k it
// draws k clusters, then N models from them, and averages over many such sets. labels holds the cluster of each model, in
// the order of l.Models. With one label for all, cells with k = 1 draw from one set of models, as in Fig. 7.
//
// Every choice of k clusters whose union has N models is equally likely, and so is, given it, every set of N models that
// has one of each (see NoCover). Members are ordered by cluster, then by name; the order of the models changes nothing.
func (l *Logits) ClusterEnsembles(ctx context.Context, labels []int, o ClusterEnsembleOptions) ([]EnsembleCell, error) {
	o = o.withDefaults()
	cells, err := l.clusterEnsembles(ctx, labels, o)
	if err != nil {
		return nil, fmt.Errorf("cluster ensembles: %w", err)
	}
	return cells, nil
}

func (l *Logits) clusterEnsembles(ctx context.Context, labels []int, o ClusterEnsembleOptions) ([]EnsembleCell, error) {
	if err := l.validate(); err != nil {
		return nil, err
	}
	if err := o.validate(len(l.Models)); err != nil {
		return nil, err
	}
	if len(labels) != len(l.Models) {
		return nil, fmt.Errorf("%d cluster labels for %d models", len(labels), len(l.Models))
	}
	clusters := clusterMembers(l.Models, labels)
	var cells []EnsembleCell
	var sets [][]int
	for _, n := range o.Sizes {
		for _, k := range o.Clusters {
			if k > n || o.Equal && k != n {
				continue
			}
			cell := EnsembleCell{N: n, K: k}
			s := newSetSampler(clusters, n, k, !o.NoCover)
			if s.possible() {
				all := s.all(o.Draws)
				cell.Exhaustive = all != nil
				if all == nil {
					random := rng.New(o.Seed, "analysis/ensembles", uint64(n), uint64(k))
					for range o.Draws {
						all = append(all, s.draw(random))
					}
				}
				cell.Sets = len(all)
				sets = append(sets, all...)
			}
			cells = append(cells, cell)
		}
	}
	e, err := l.Ensembles(ctx, sets, o.EnsembleOptions)
	if err != nil {
		return nil, err
	}
	from := 0
	for c := range cells {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		cell := &cells[c]
		values := make([][3]float64, cell.Sets)
		for k := range values {
			values[k] = [3]float64{e.Reduction(from + k), e.Error(from + k), float64(e.AllWrong[from+k])}
		}
		from += cell.Sets
		random := rng.New(o.Seed, "analysis/ensembles/bootstrap", uint64(cell.N), uint64(cell.K))
		d := describeDraws(values, cell.Exhaustive, o.Resamples, o.Level, random)
		cell.ERR, cell.Error, cell.WrongByAll = d[0], d[1], d[2]
	}
	return cells, nil
}

// clusterMembers lists the models of each cluster by name, the clusters by label.
func clusterMembers(models []string, labels []int) [][]int {
	order := make([]int, len(models))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(labels[a], labels[b]), cmp.Compare(models[a], models[b]))
	})
	var clusters [][]int
	for k, i := range order {
		if k == 0 || labels[order[k-1]] != labels[i] {
			clusters = append(clusters, nil)
		}
		last := len(clusters) - 1
		clusters[last] = append(clusters[last], i)
	}
	return clusters
}

// describeDraws describes three numbers over the sets of a cell; they share the resamples.
func describeDraws(values [][3]float64, exhaustive bool, resamples int, level float64, random *rng.Stream) (out [3]DrawStatistic) {
	for s := range out {
		d := &out[s]
		var defined []float64
		for _, v := range values {
			if !math.IsNaN(v[s]) {
				defined = append(defined, v[s])
			}
		}
		d.Undefined = len(values) - len(defined)
		d.Mean, d.SD, d.Lo, d.Hi = undefined, undefined, undefined, undefined
		if len(defined) > 0 {
			d.Mean, d.SD = mean(defined), standardDeviation(defined)
			slices.Sort(defined)
			d.Lo, d.Hi = Quantile(defined, (1-level)/2), Quantile(defined, (1+level)/2)
		}
		d.CILo, d.CIHi = d.Mean, d.Mean
	}
	if exhaustive || len(values) < 2 {
		return out
	}
	var means [3][]float64
	for range resamples {
		var sum, count [3]float64
		for range values {
			for s, v := range values[random.IntN(len(values))] {
				if !math.IsNaN(v) {
					sum[s] += v
					count[s]++
				}
			}
		}
		for s := range means {
			if count[s] > 0 {
				means[s] = append(means[s], sum[s]/count[s])
			}
		}
	}
	for s := range out {
		slices.Sort(means[s])
		out[s].CILo, out[s].CIHi = Quantile(means[s], (1-level)/2), Quantile(means[s], (1+level)/2)
	}
	return out
}

// standardDeviation divides by one less than the number of values; NaN below two.
func standardDeviation(values []float64) float64 {
	if len(values) < 2 {
		return undefined
	}
	n := float64(len(values))
	return math.Sqrt(meanSquare(values, mean(values)) * n / (n - 1))
}
