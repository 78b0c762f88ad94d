package analysis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/mat"
)

const (
	// reportedEigenvalues is how many eigenvalues of the Laplacian a result holds.
	reportedEigenvalues = 20
	// degenerateGap is the difference below which two eigenvalues of a Laplacian are one: then the choice of K vectors
	// among their vectors is arbitrary. Eigenvalues of normalised Laplacians are between 0 and 2.
	degenerateGap = 1e-9
)

// SpectralClusters divides models into o.K clusters by their SAT scores (Tab. 2 of the paper): the scores become edge
// weights of a graph, the K smoothest eigenvectors of its Laplacian become K features per model, and k-means divides the
// feature rows. sat must be symmetric without undefined pairs.
//
// Models are processed in the order of their names, so the result does not depend on the order of the rows. Clusters are
// numbered from 1 after o.Reference if it knows some of the models and has at most K clusters of them (by the largest
// total overlap), else by falling size, ties by the first name.
func SpectralClusters(ctx context.Context, sat *Matrix, o ClusterOptions) (*Clusters, error) {
	o = o.WithDefaults()
	c, err := spectralClusters(ctx, sat, o)
	if err != nil {
		return nil, fmt.Errorf("spectral clustering: %w", err)
	}
	return c, nil
}

func spectralClusters(ctx context.Context, sat *Matrix, o ClusterOptions) (*Clusters, error) {
	if err := sat.Validate(); err != nil {
		return nil, err
	}
	n := sat.Len()
	if n < 2 {
		return nil, errors.New("one model: want at least two")
	}
	if o.K < 1 || o.K > n {
		return nil, fmt.Errorf("%d clusters of %d models: want between 1 and the number of models", o.K, n)
	}
	sorted, err := sat.Select(slices.Sorted(slices.Values(sat.Names)))
	if err != nil {
		return nil, err
	}
	a, err := affinity(sorted, o)
	if err != nil {
		return nil, err
	}
	e, err := embed(a, sorted.Names, o)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	km, err := KMeans(ctx, e.rows, KMeansOptions{K: o.K, Restarts: o.Restarts, Seed: o.Seed, Workers: o.Workers})
	if err != nil {
		return nil, err
	}

	out := &Clusters{Names: slices.Clone(sat.Names), K: o.K, Eigenvalues: e.values[:min(n, reportedEigenvalues)],
		Eigengap: undefined, Inertia: km.Inertia, Warnings: e.warnings}
	if o.K < n {
		out.Eigengap = e.values[o.K] - e.values[o.K-1]
	}
	if km.Warning != "" {
		out.Warnings = append(out.Warnings, km.Warning)
	}
	number := numberClusters(sorted.Names, km.Labels, o)
	at, err := locate(sat.Names, sorted.Names)
	if err != nil {
		return nil, err
	}
	out.Sizes = make([]int, o.K)
	fromCentroid := make([]float64, n)
	for i, k := range at {
		out.Labels = append(out.Labels, number[km.Labels[k]])
		out.Sizes[out.Labels[i]-1]++
		out.Features = append(out.Features, e.rows[k])
		fromCentroid[i] = math.Sqrt(squaredDistance(e.rows[k], km.Centroids[km.Labels[k]]))
	}
	out.Order = displayOrder(out, fromCentroid, o.Reference)
	out.Distance = NewMatrix(sat.Names)
	for i, x := range out.Features {
		for j, y := range out.Features[:i] {
			d := math.Sqrt(squaredDistance(x, y))
			out.Distance.Set(i, j, d)
			out.Distance.Set(j, i, d)
		}
	}
	return out, nil
}

// embedding holds the spectral features of models.
type embedding struct {
	values   []float64   // all eigenvalues of the Laplacian, ascending
	chosen   []int       // which of them belong to the K features
	vectors  [][]float64 // the K unit eigenvectors, one row per model
	rows     [][]float64 // K features per model
	degree   []float64
	warnings []string
}

// embed computes eigenvalues and features of the graph with edge weights a.
func embed(a *mat.SymDense, names []string, o ClusterOptions) (*embedding, error) {
	n := len(names)
	degree, err := degrees(a, names)
	if err != nil {
		return nil, err
	}
	laplacian := mat.NewSymDense(n, nil)
	for i := range n {
		for j := i; j < n; j++ {
			var v float64
			switch o.Laplacian {
			case LaplacianSym, LaplacianRW:
				v = -a.At(i, j) / math.Sqrt(degree[i]*degree[j])
				if i == j {
					v++
				}
			case LaplacianUnnormalized:
				v = -a.At(i, j)
				if i == j {
					v += degree[i]
				}
			default:
				return nil, fmt.Errorf("laplacian %q: want %s, %s or %s", o.Laplacian, LaplacianSym, LaplacianRW, LaplacianUnnormalized)
			}
			laplacian.SetSym(i, j, v)
		}
	}
	var eigen mat.EigenSym
	if !eigen.Factorize(laplacian, true) {
		return nil, errors.New("the eigenvalues of the Laplacian did not converge")
	}
	e := &embedding{values: eigen.Values(nil), chosen: make([]int, o.K), degree: degree}
	var vectors mat.Dense
	eigen.VectorsTo(&vectors)

	cut := o.K // the eigenvalues on both sides of the cut are cut-1 and cut
	for k := range e.chosen {
		switch o.Which {
		case WhichSmooth:
			e.chosen[k] = k
		case WhichLiteralLargest:
			e.chosen[k] = n - 1 - k
			cut = n - o.K
		default:
			return nil, fmt.Errorf("which eigenvectors %q: want %s or %s", o.Which, WhichSmooth, WhichLiteralLargest)
		}
	}
	scale := max(1, math.Abs(e.values[n-1])) // D - A has the scale of the degrees
	if o.K < n && e.values[cut]-e.values[cut-1] <= degenerateGap*scale {
		e.warnings = append(e.warnings, fmt.Sprintf("eigenvalues %d and %d of the Laplacian are equal: which vectors belong to "+
			"the first %d is arbitrary, and so are the clusters (as with equal similarities, or more components than clusters)",
			cut, cut+1, o.K))
	}

	e.rows, e.vectors = make([][]float64, n), make([][]float64, n)
	for i := range e.rows {
		e.rows[i], e.vectors[i] = make([]float64, o.K), make([]float64, o.K)
	}
	for k, c := range e.chosen {
		sign := 1.0 // an eigenvector has no sign of its own: its largest entry is made positive
		largest := 0.0
		for i := range n {
			if v := vectors.At(i, c); math.Abs(v) > largest {
				largest = math.Abs(v)
				sign = math.Copysign(1, v)
			}
		}
		for i := range n {
			e.vectors[i][k] = sign * vectors.At(i, c)
			e.rows[i][k] = e.vectors[i][k]
			if o.Laplacian == LaplacianRW {
				e.rows[i][k] /= math.Sqrt(degree[i])
			}
		}
	}
	switch o.Rows {
	case RowsUnit:
		for i, row := range e.rows {
			length := 0.0
			for _, v := range row {
				length = math.Hypot(length, v)
			}
			if length < degenerateGap {
				e.warnings = append(e.warnings, fmt.Sprintf("%s has no part in the %d eigenvectors: its features are zero", names[i], o.K))
				clear(row)
				continue
			}
			for k := range row {
				row[k] /= length
			}
		}
	case RowsNone:
	default:
		return nil, fmt.Errorf("rows %q: want %s or %s", o.Rows, RowsUnit, RowsNone)
	}
	return e, nil
}

// numberClusters returns the number, from 1, of each k-means label.
func numberClusters(names []string, labels []int, o ClusterOptions) []int {
	used := slices.Max(labels) + 1
	size := make([]int, used)
	for _, label := range labels {
		size[label]++
	}
	number := make([]int, used)
	taken := make([]bool, o.K+1)

	known := make(map[string]int, len(o.Reference))
	for _, r := range o.Reference {
		known[r.Model] = r.Cluster
	}
	var ours, theirs []int
	for i, name := range names {
		if cluster, ok := known[name]; ok {
			ours, theirs = append(ours, labels[i]), append(theirs, cluster)
		}
	}
	if len(ours) > 0 && slices.Min(theirs) >= 1 && slices.Max(theirs) <= o.K {
		overlap, rows, cols := contingency(ours, theirs)
		for i, j := range maximumMatching(overlap) {
			if j >= 0 && overlap[i][j] > 0 {
				number[rows[i]] = cols[j]
				taken[cols[j]] = true
			}
		}
	}
	// The rest by falling size. Labels were numbered by first appearance in the order of names, which breaks ties.
	bySize := make([]int, used)
	for label := range bySize {
		bySize[label] = label
	}
	slices.SortStableFunc(bySize, func(a, b int) int { return cmp.Compare(size[b], size[a]) })
	next := 1
	for _, label := range bySize {
		if number[label] != 0 {
			continue
		}
		for taken[next] {
			next++
		}
		number[label] = next
		taken[next] = true
	}
	return number
}

// displayOrder sorts models by cluster number; inside a cluster by the order of the reference if it knows all members,
// else by distance from the centroid, ties by name.
func displayOrder(c *Clusters, fromCentroid []float64, reference []ReferenceModel) []int {
	place := make(map[string]int, len(reference))
	for i, r := range reference {
		place[r.Model] = i
	}
	complete := slices.Repeat([]bool{true}, c.K+1)
	for i, name := range c.Names {
		if _, ok := place[name]; !ok {
			complete[c.Labels[i]] = false
		}
	}
	order := make([]int, len(c.Names))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		if byCluster := cmp.Compare(c.Labels[a], c.Labels[b]); byCluster != 0 {
			return byCluster
		}
		if complete[c.Labels[a]] {
			return cmp.Compare(place[c.Names[a]], place[c.Names[b]])
		}
		return cmp.Or(cmp.Compare(fromCentroid[a], fromCentroid[b]), cmp.Compare(c.Names[a], c.Names[b]))
	})
	return order
}
