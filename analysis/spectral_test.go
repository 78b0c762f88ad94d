package analysis

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"sat/internal/rng"
)

// plantedMatrix has groups of the given sizes, more similar inside than across, with noise.
func plantedMatrix(sizes []int, seed uint64) (m *Matrix, group []int) {
	for g, size := range sizes {
		group = append(group, slices.Repeat([]int{g}, size)...)
	}
	m = NewMatrix(modelNames(len(group)))
	random := rng.New(seed, "test")
	for i := range group {
		m.Set(i, i, 4.6)
		for j := range i {
			v := 2.2 + 0.1*random.Normal()
			if group[i] == group[j] {
				v = 3.4 + 0.1*random.Normal()
			}
			m.Set(i, j, v)
			m.Set(j, i, v)
		}
	}
	return m, group
}

func mustCluster(t *testing.T, m *Matrix, o ClusterOptions) *Clusters {
	t.Helper()
	c, err := SpectralClusters(context.Background(), m, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestClustersDoNotDependOnRowOrder: labels, order and distances follow the models, to the last bit.
func TestClustersDoNotDependOnRowOrder(t *testing.T) {
	m, _ := plantedMatrix([]int{5, 4, 4, 2}, 1)
	for _, o := range []ClusterOptions{{K: 4}, {K: 6, Affinity: AffinityRBF, Seed: 3}, {K: 3, Laplacian: LaplacianRW}} {
		want := mustCluster(t, m, o)
		perm := rng.New(8, "test").Perm(m.Len())
		names := make([]string, m.Len())
		for i, k := range perm {
			names[i] = m.Names[k]
		}
		moved, err := m.Select(names)
		if err != nil {
			t.Fatal(err)
		}
		got := mustCluster(t, moved, o)
		for i, k := range perm {
			if got.Labels[i] != want.Labels[k] {
				t.Errorf("%s: cluster %d, want %d", names[i], got.Labels[i], want.Labels[k])
			}
			if got.Names[got.Order[i]] != want.Names[want.Order[i]] {
				t.Errorf("place %d in display order: %s, want %s", i, got.Names[got.Order[i]], want.Names[want.Order[i]])
			}
			for j, l := range perm {
				if got.Distance.At(i, j) != want.Distance.At(k, l) {
					t.Errorf("distance (%d, %d): %v, want %v", i, j, got.Distance.At(i, j), want.Distance.At(k, l))
				}
			}
		}
		if !slices.Equal(got.Eigenvalues, want.Eigenvalues) || got.Inertia != want.Inertia {
			t.Error("eigenvalues or inertia change with the order of rows")
		}
		o.Workers = 7
		if many := mustCluster(t, m, o); !slices.Equal(many.Labels, want.Labels) {
			t.Error("labels change with the number of goroutines")
		}
	}
}

func TestClusterNumbersAndOrder(t *testing.T) {
	m, group := plantedMatrix([]int{2, 5, 3}, 2)
	c := mustCluster(t, m, ClusterOptions{K: 3})
	for i, g := range group { // by falling size
		if want := []int{3, 1, 2}[g]; c.Labels[i] != want {
			t.Errorf("%s: cluster %d, want %d", c.Names[i], c.Labels[i], want)
		}
	}
	if !slices.Equal(c.Sizes, []int{5, 3, 2}) {
		t.Errorf("sizes %v", c.Sizes)
	}
	if !slices.IsSortedFunc(c.Order, func(a, b int) int { return c.Labels[a] - c.Labels[b] }) {
		t.Errorf("display order %v is not by cluster %v", c.Order, c.Labels)
	}

	// A reference that knows the second group as cluster 3, in falling order, and one model of the first as cluster 1.
	reference := []ReferenceModel{{c.Names[0], 1}}
	for i := 6; i >= 2; i-- {
		reference = append(reference, ReferenceModel{c.Names[i], 3})
	}
	c = mustCluster(t, m, ClusterOptions{K: 3, Reference: reference})
	for i, g := range group {
		if want := []int{1, 3, 2}[g]; c.Labels[i] != want {
			t.Errorf("with reference: %s in cluster %d, want %d", c.Names[i], c.Labels[i], want)
		}
	}
	if tail := c.Order[5:]; !slices.Equal(tail, []int{6, 5, 4, 3, 2}) {
		t.Errorf("order inside cluster 3 is %v, want the reference's", tail)
	}
	// Cluster 3 of two: the reference has too many clusters, so sizes decide.
	c = mustCluster(t, m, ClusterOptions{K: 2, Reference: reference})
	if c.Sizes[0] < c.Sizes[1] {
		t.Errorf("sizes %v are not falling", c.Sizes)
	}
}

func TestClusterEdges(t *testing.T) {
	equal := func(n int, v float64) *Matrix {
		m := NewMatrix(modelNames(n))
		for i := range m.Values {
			m.Values[i] = v
		}
		return m
	}
	with := func(m *Matrix, i, j int, v float64) *Matrix {
		m.Set(i, j, v)
		return m
	}
	duplicate := equal(3, 2)
	duplicate.Names[2] = duplicate.Names[0]
	disconnected := equal(4, 2)
	for _, k := range [][2]int{{0, 2}, {0, 3}, {1, 2}, {1, 3}} {
		disconnected.Set(k[0], k[1], -1)
		disconnected.Set(k[1], k[0], -1)
	}
	isolated := equal(3, 2)
	for i := range 2 {
		isolated.Set(2, i, -7.6)
		isolated.Set(i, 2, -7.6)
	}

	tests := []struct {
		name    string
		m       *Matrix
		o       ClusterOptions
		err     string // part of the error, "" for none
		warning string // part of a warning, "" for none
	}{
		{"one model", equal(1, 4.6), ClusterOptions{K: 1}, "one model", ""},
		{"two models", equal(2, 3), ClusterOptions{K: 2}, "", ""},
		{"two models, one cluster", equal(2, 3), ClusterOptions{K: 1}, "", ""},
		{"no models", &Matrix{}, ClusterOptions{K: 1}, "no models", ""},
		{"more clusters than models", equal(3, 2), ClusterOptions{K: 4}, "4 clusters of 3 models", ""},
		{"no clusters", equal(3, 2), ClusterOptions{}, "0 clusters", ""},
		{"duplicate name", duplicate, ClusterOptions{K: 2}, `"model000" stands twice`, ""},
		{"NaN pair", with(equal(3, 2), 0, 2, math.NaN()), ClusterOptions{K: 2}, "(model000, model002) is undefined", ""},
		{"NaN mirror", with(equal(3, 2), 2, 1, math.NaN()), ClusterOptions{K: 2}, "(model002, model001) is undefined", ""},
		{"NaN diagonal dropped", with(equal(3, 2), 1, 1, math.NaN()), ClusterOptions{K: 2}, "", "arbitrary"},
		{"NaN diagonal kept", with(equal(3, 2), 1, 1, math.NaN()), ClusterOptions{K: 2, Diagonal: DiagonalKeep}, "(model001, model001)", ""},
		{"asymmetric", with(equal(3, 2), 0, 1, 2.1), ClusterOptions{K: 2}, "not symmetric", ""},
		{"infinite", with(equal(3, 2), 0, 1, math.Inf(-1)), ClusterOptions{K: 2}, "infinite", ""},
		{"wrong shape", &Matrix{Names: modelNames(3), Values: make([]float64, 8)}, ClusterOptions{K: 2}, "8 values", ""},
		{"all equal", equal(6, 2), ClusterOptions{K: 3}, "", "arbitrary"},
		{"all equal, shifted to zero", equal(6, 2), ClusterOptions{K: 3, Affinity: AffinityShift}, "isolated", ""},
		{"isolated node", isolated, ClusterOptions{K: 2}, "model002 is an isolated node", ""},
		{"two components", disconnected, ClusterOptions{K: 2}, "", ""},
		{"fewer clusters than components", disconnected, ClusterOptions{K: 1}, "", "arbitrary"},
		{"as many clusters as models", equal(3, 2), ClusterOptions{K: 3}, "", ""},
		{"negative self-similarity", with(equal(3, 2), 0, 0, 1), ClusterOptions{K: 2, Affinity: AffinityShift, Diagonal: DiagonalKeep}, "affinity", ""},
		{"unknown affinity", equal(3, 2), ClusterOptions{K: 2, Affinity: "cosine"}, `"cosine"`, ""},
		{"unknown laplacian", equal(3, 2), ClusterOptions{K: 2, Laplacian: "x"}, `"x"`, ""},
		{"unknown rows", equal(3, 2), ClusterOptions{K: 2, Rows: "x"}, `"x"`, ""},
		{"unknown diagonal", equal(3, 2), ClusterOptions{K: 2, Diagonal: "x"}, `"x"`, ""},
		{"unknown which", equal(3, 2), ClusterOptions{K: 2, Which: "x"}, `"x"`, ""},
		{"negative gamma", equal(3, 2), ClusterOptions{K: 2, Affinity: AffinityRBF, Gamma: -1}, "gamma", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := SpectralClusters(context.Background(), tt.m, tt.o)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("error %v, want one with %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if tt.warning != "" && !strings.Contains(strings.Join(c.Warnings, "\n"), tt.warning) {
				t.Errorf("warnings %q, want one with %q", c.Warnings, tt.warning)
			}
			for i, v := range c.Distance.Values {
				if math.IsNaN(v) {
					t.Errorf("distance %d is NaN", i)
				}
			}
			if slices.Min(c.Labels) < 1 || slices.Max(c.Labels) > tt.o.K || math.IsNaN(c.Inertia) {
				t.Errorf("labels %v, inertia %v", c.Labels, c.Inertia)
			}
		})
	}
	c := mustCluster(t, disconnected, ClusterOptions{K: 2})
	if !slices.Equal(c.Labels, []int{1, 1, 2, 2}) {
		t.Errorf("two components are clusters %v", c.Labels)
	}
	near(t, "smallest eigenvalue", c.Eigenvalues[0], 0, 1e-12, 0)
	near(t, "second eigenvalue of two components", c.Eigenvalues[1], 0, 1e-12, 0)
}

func BenchmarkSpectralClusters(b *testing.B) {
	for _, n := range []int{70, 200} {
		m, _ := plantedMatrix(slices.Repeat([]int{n / 10}, 10), 1)
		b.Run(fmt.Sprint("n=", n), func(b *testing.B) {
			for b.Loop() {
				if _, err := SpectralClusters(context.Background(), m, ClusterOptions{K: 10}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
