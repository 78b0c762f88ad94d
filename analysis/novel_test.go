package analysis

import (
	"math"
	"slices"
	"strings"
	"testing"

	"sat/internal/rng"
)

// groupedScores is a matrix of three groups of models, and their clusters.
func groupedScores(seed uint64) (*Matrix, []int) {
	random := rng.New(seed, "test")
	labels := []int{1, 1, 1, 1, 2, 2, 2, 2, 2, 3, 3, 3}
	m := NewMatrix(modelNames(len(labels)))
	for i := range labels {
		m.Set(i, i, 4.5)
		for j := range i {
			v := 2 + 0.2*random.Normal()
			if labels[i] == labels[j] {
				v += 1.5
			}
			m.Set(i, j, v)
			m.Set(j, i, v)
		}
	}
	return m, labels
}

// TestNovelKnown: the row of a clustered model gives that model's own features, whatever the variant, as long as nothing
// enters its row of the graph that the row of scores does not hold.
func TestNovelKnown(t *testing.T) {
	m, labels := groupedScores(1)
	for _, o := range []ClusterOptions{{K: 3}, {K: 3, Affinity: AffinityPercent}, {K: 3, Affinity: AffinityRBF}, {K: 3, Laplacian: LaplacianRW},
		{K: 3, Laplacian: LaplacianUnnormalized}, {K: 3, Rows: RowsNone}, {K: 2, Which: WhichLiteralLargest}} {
		o = o.WithDefaults()
		a, err := affinity(m, o)
		if err != nil {
			t.Fatal(err)
		}
		e, err := embed(a, m.Names, o)
		if err != nil {
			t.Fatal(err)
		}
		for i := range m.Names {
			weights := make([]float64, m.Len())
			for j := range weights {
				weights[j] = a.At(i, j)
			}
			row, err := e.extend(weights, o)
			if err != nil {
				t.Fatal(err)
			}
			near(t, "distance from the model's own features", math.Sqrt(squaredDistance(row, e.rows[i])), 0, 1e-10, 0)
		}
	}
	// A copy of model 5 belongs to its cluster by every rule.
	scores := slices.Clone(m.Row(5))
	got, err := AssignNovel(m, labels, "new", scores, ClusterOptions{K: 3})
	if err != nil {
		t.Fatal(err)
	}
	for k, rule := range []NovelRule{NovelNystrom, NovelMean, NovelNearest} {
		if a := got[k]; a.Rule != rule || a.Cluster != 2 || !(a.Margin > 0) || len(a.Values) != 3 || a.Model != "new" {
			t.Errorf("%+v, want cluster 2 by %s", a, rule)
		}
	}
}

// TestNovelRules: a model near one member only, and in the middle of another cluster, is assigned by hand.
func TestNovelRules(t *testing.T) {
	m, labels := groupedScores(2)
	scores := []float64{2, 2, 2, 2, 3, 3, 3, 3, 3, 3.4, 1, 1}
	got, err := AssignNovel(m, labels, "new", scores, ClusterOptions{K: 4}) // cluster 4 is empty
	if err != nil {
		t.Fatal(err)
	}
	if a := got[1]; a.Cluster != 2 || a.Values[0] != 2 || a.Values[1] != 3 || math.Abs(a.Values[2]-1.8) > 1e-15 || !math.IsNaN(a.Values[3]) || a.Margin != 1 {
		t.Errorf("by mean: %+v", a)
	}
	if a := got[2]; a.Cluster != 3 || !slices.Equal(a.Values[:3], []float64{2, 3, 3.4}) || !math.IsNaN(a.Values[3]) {
		t.Errorf("by the nearest model: %+v", a)
	}
	near(t, "margin by the nearest model", got[2].Margin, 0.4, 1e-15, 0)
	if a := got[0]; a.Cluster != 2 {
		t.Errorf("by features: %+v", a)
	}
	one, err := AssignNovel(m, slices.Repeat([]int{1}, 12), "new", scores, ClusterOptions{K: 1})
	if err != nil || one[0].Cluster != 1 || !math.IsNaN(one[0].Margin) {
		t.Errorf("one cluster: %+v, %v", one, err)
	}
	// Reordering the models changes nothing.
	perm := []int{7, 0, 11, 3, 5, 1, 9, 2, 10, 4, 8, 6}
	var names []string
	var movedLabels []int
	var movedScores []float64
	for _, k := range perm {
		names, movedLabels, movedScores = append(names, m.Names[k]), append(movedLabels, labels[k]), append(movedScores, scores[k])
	}
	moved, err := m.Select(names)
	if err != nil {
		t.Fatal(err)
	}
	again, err := AssignNovel(moved, movedLabels, "new", movedScores, ClusterOptions{K: 4})
	if err != nil {
		t.Fatal(err)
	}
	for k, a := range again {
		if a.Cluster != got[k].Cluster {
			t.Errorf("%s: cluster %d in another order of models, want %d", a.Rule, a.Cluster, got[k].Cluster)
		}
		near(t, "margin in another order", a.Margin, got[k].Margin, 1e-10, 0)
	}
}

func TestNovelRefuses(t *testing.T) {
	m, labels := groupedScores(3)
	scores := slices.Clone(m.Row(0))
	with := func(i int, v float64) []float64 { s := slices.Clone(scores); s[i] = v; return s }
	tests := []struct {
		name, want, model string
		labels            []int
		scores            []float64
		o                 ClusterOptions
	}{
		{"NaN", "model003", "new", labels, with(3, math.NaN()), ClusterOptions{K: 3}},
		{"known model", "model000", "model000", labels, scores, ClusterOptions{K: 3}},
		{"few scores", "scores", "new", labels, scores[1:], ClusterOptions{K: 3}},
		{"label", "model009", "new", labels, scores, ClusterOptions{K: 2}},
		{"no similarity", "affinity", "new", labels, make([]float64, 12), ClusterOptions{K: 3}},
		{"affinity", "cosine", "new", labels, scores, ClusterOptions{K: 3, Affinity: "cosine"}},
	}
	for _, tt := range tests {
		if _, err := AssignNovel(m, tt.labels, tt.model, tt.scores, tt.o); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want one with %q", tt.name, err, tt.want)
		}
	}
}

func TestCompareOneSided(t *testing.T) {
	tables := randomTables(5, 200, 3)
	for w := range tables.Correct[4] {
		tables.Correct[4][w] = 0 // a model without correct images: four empty pairs
	}
	s := mustScore(t, tables, DefaultFloor)
	for _, ordered := range []bool{false, true} {
		got, err := s.CompareOneSided(ordered)
		if err != nil {
			t.Fatal(err)
		}
		want := 6
		if ordered {
			want = 12
		}
		if len(got.Points) != want || got.Correlation.N != want || len(got.Warnings) != 1 {
			t.Errorf("ordered %v: %d points, warnings %q", ordered, len(got.Points), got.Warnings)
		}
		for _, p := range got.Points {
			a, b := slices.Index(s.Models, p.A), slices.Index(s.Models, p.B)
			n, f, g := 0, 0, 0
			for i := range tables.Images {
				if tables.Correct[a].at(i) && tables.Correct[b].at(i) {
					n++
					if tables.Wrong[a][b].at(i) {
						f++
					}
					if tables.Wrong[b][a].at(i) {
						g++
					}
				}
			}
			near(t, "one-sided score", p.OneSided, math.Log(100*float64(f)/float64(n)), 1e-14, 0)
			near(t, "two-sided score", p.TwoSided, math.Log(100*float64(f+g)/float64(2*n)), 1e-14, 0)
			if !ordered && a > b {
				t.Errorf("pair %s, %s with the later model as source", p.A, p.B)
			}
		}
	}
}
