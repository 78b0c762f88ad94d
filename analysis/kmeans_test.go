package analysis

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"sat/internal/rng"
)

func randomRows(n, dim int, seed uint64) [][]float64 {
	random := rng.New(seed, "test")
	rows := make([][]float64, n)
	for i := range rows {
		rows[i] = make([]float64, dim)
		for j := range rows[i] {
			rows[i][j] = random.Normal()
		}
	}
	return rows
}

func mustKMeans(t *testing.T, rows [][]float64, o KMeansOptions) *KMeansResult {
	t.Helper()
	r, err := KMeans(context.Background(), rows, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestKMeansOptimum enumerates every partition of nine rows into at most three clusters.
func TestKMeansOptimum(t *testing.T) {
	for seed := range uint64(10) {
		rows := randomRows(9, 2, seed)
		best := math.Inf(1)
		labels := make([]int, 9)
		for code := range 19683 { // 3^9
			for i, c := 0, code; i < 9; i, c = i+1, c/3 {
				labels[i] = c % 3
			}
			numbered := slices.Clone(labels)
			sum := 0.0
			centers := centroids(rows, numbered, renumber(numbered))
			for i, row := range rows {
				sum += squaredDistance(row, centers[numbered[i]])
			}
			best = min(best, sum)
		}
		near(t, "inertia", mustKMeans(t, rows, KMeansOptions{K: 3}).Inertia, best, 0, 1e-12)
	}
}

func TestKMeansIsReproducible(t *testing.T) {
	rows := randomRows(60, 3, 1)
	one := mustKMeans(t, rows, KMeansOptions{K: 6, Seed: 4, Restarts: 7, Workers: 1})
	many := mustKMeans(t, rows, KMeansOptions{K: 6, Seed: 4, Restarts: 7, Workers: 5})
	if !slices.Equal(one.Labels, many.Labels) || one.Inertia != many.Inertia || one.Restart != many.Restart {
		t.Errorf("five goroutines: inertia %v of restart %d; one: %v of %d", many.Inertia, many.Restart, one.Inertia, one.Restart)
	}
	if one.Labels[0] != 0 {
		t.Errorf("first label is %d, want 0", one.Labels[0])
	}
	loose := mustKMeans(t, rows, KMeansOptions{K: 6, Seed: 4, Restarts: 7, Tol: 1e-4})
	if loose.Inertia < one.Inertia {
		t.Errorf("early stop has inertia %v below %v", loose.Inertia, one.Inertia)
	}
	moved := make([][]float64, len(rows))
	for i, row := range rows {
		moved[i] = []float64{row[0] + 1e6, row[1] - 1e6, row[2]}
	}
	if far := mustKMeans(t, moved, KMeansOptions{K: 6, Seed: 4, Restarts: 7}); !slices.Equal(far.Labels, one.Labels) {
		t.Error("shifting all rows changes the clusters")
	}
}

func TestKMeansFewDistinctRows(t *testing.T) {
	rows := [][]float64{{2, 2}, {1, 1}, {2, 2}, {1, 1}, {2, 2}}
	r := mustKMeans(t, rows, KMeansOptions{K: 4})
	if !slices.Equal(r.Labels, []int{0, 1, 0, 1, 0}) || r.Inertia != 0 || r.Warning == "" || len(r.Centroids) != 2 {
		t.Errorf("two distinct rows, four clusters: %+v", r)
	}
	r = mustKMeans(t, rows, KMeansOptions{K: 2})
	if !slices.Equal(r.Labels, []int{0, 1, 0, 1, 0}) || r.Inertia != 0 || r.Warning != "" {
		t.Errorf("two distinct rows, two clusters: %+v", r)
	}
	r = mustKMeans(t, rows, KMeansOptions{K: 1})
	near(t, "inertia of one cluster", r.Inertia, 2.4, 1e-15, 0) // mean 1.6: 3 x 2 x 0.16 + 2 x 2 x 0.36
}

// TestKMeansEmptyCluster: from centroids far from all rows but one, a cluster starts empty and is given a row.
func TestKMeansEmptyCluster(t *testing.T) {
	l := newLloyd(newPoints([][]float64{{0}, {1}, {2}, {10}, {11}}), 3)
	copy(l.centers, []float64{-3, 1000, 2000})
	l.run(300, 0)
	size := make([]int, 3)
	for _, label := range l.labels {
		size[label]++
	}
	if slices.Min(size) == 0 || math.IsNaN(l.inertia()) {
		t.Errorf("sizes %v, inertia %v", size, l.inertia())
	}
}

func TestKMeansRefuses(t *testing.T) {
	good := [][]float64{{1, 2}, {3, 4}}
	tests := map[string]struct {
		rows [][]float64
		o    KMeansOptions
	}{
		"no rows":           {nil, KMeansOptions{K: 1}},
		"more than rows":    {good, KMeansOptions{K: 3}},
		"no cluster":        {good, KMeansOptions{}},
		"NaN":               {[][]float64{{1, math.NaN()}, {3, 4}}, KMeansOptions{K: 1}},
		"infinite":          {[][]float64{{1, 2}, {3, math.Inf(1)}}, KMeansOptions{K: 1}},
		"ragged":            {[][]float64{{1, 2}, {3}}, KMeansOptions{K: 1}},
		"negative restarts": {good, KMeansOptions{K: 1, Restarts: -1}},
		"NaN tolerance":     {good, KMeansOptions{K: 1, Tol: math.NaN()}},
	}
	for name, tt := range tests {
		if _, err := KMeans(context.Background(), tt.rows, tt.o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := KMeans(ctx, randomRows(5, 2, 1), KMeansOptions{K: 2}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: error %v", err)
	}
}

func BenchmarkKMeans(b *testing.B) {
	for _, n := range []int{69, 1000} {
		rows := randomRows(n, 10, 1)
		b.Run(fmt.Sprint("n=", n), func(b *testing.B) {
			for b.Loop() {
				if _, err := KMeans(context.Background(), rows, KMeansOptions{K: 10}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
