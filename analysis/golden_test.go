package analysis

import (
	"bytes"
	"context"
	"encoding/json"
	"math"
	"os"
	"slices"
	"testing"

	"sat/analysis/paper"
)

// golden mirrors testdata/sklearn.json; its header names tools, versions, script, seed, date and tolerances.
type golden struct {
	Spectral []struct {
		Name     string
		K        int
		SAT      [][]float64
		Group    []int
		Variants []struct {
			Affinity    Affinity
			Diagonal    Diagonal
			Laplacian   Laplacian
			Rows        Rows
			Which       Which
			Eigenvalues []float64
			Gram        []float64
			Inertia     float64
			Labels      []int
		}
	}
	KMeans []struct {
		Name    string
		K       int
		Rows    [][]float64
		Inertia float64
	}
	TFIDF []struct {
		IDF    IDF
		Norm   Norm
		Scores map[int]map[string]float64
	}
	Agreement []struct {
		A, B              []int
		ARI, NMI, Matched float64
	}
	PValues []struct {
		R      float64
		N      int
		P      float64
		Log10P float64 `json:"log10_p"`
	} `json:"p_values"`
	Correlations []struct {
		Name      string
		X, Y      []float64
		R, P      float64
		Log10P    *float64 `json:"log10_p"`
		CILo      *float64 `json:"ci_lo"`
		CIHi      *float64 `json:"ci_hi"`
		Spearman  float64
		SpearmanP float64 `json:"spearman_p"`
	}
	Quantiles struct{ Sorted, Q, Value []float64 }
}

func readGolden(t *testing.T) golden {
	t.Helper()
	text, err := os.ReadFile("testdata/sklearn.json")
	if err != nil {
		t.Fatal(err)
	}
	var g golden
	if err := json.Unmarshal(text, &g); err != nil {
		t.Fatal(err)
	}
	return g
}

// near fails unless |got-want| <= abs + rel |want|.
func near(t *testing.T, what string, got, want, abs, rel float64) {
	t.Helper()
	if !(math.Abs(got-want) <= abs+rel*math.Abs(want)) && got != want {
		t.Errorf("%s: got %v, want %v, off by %.3g, tolerance %.3g + %.3g relative", what, got, want, math.Abs(got-want), abs, rel)
	}
}

func squareMatrix(values [][]float64) *Matrix {
	m := NewMatrix(modelNames(len(values)))
	for i, row := range values {
		copy(m.Row(i), row)
	}
	return m
}

func TestSpectralAgainstLibrary(t *testing.T) {
	for _, c := range readGolden(t).Spectral {
		for _, v := range c.Variants {
			t.Run(c.Name+"/"+string(v.Affinity)+"/"+string(v.Diagonal)+"/"+string(v.Laplacian)+"/"+string(v.Which), func(t *testing.T) {
				got, err := SpectralClusters(context.Background(), squareMatrix(c.SAT), ClusterOptions{K: c.K, Affinity: v.Affinity,
					Diagonal: v.Diagonal, Laplacian: v.Laplacian, Rows: v.Rows, Which: v.Which, Seed: 1})
				if err != nil {
					t.Fatal(err)
				}
				if len(got.Eigenvalues) != len(v.Eigenvalues) {
					t.Fatalf("%d eigenvalues, want %d", len(got.Eigenvalues), len(v.Eigenvalues))
				}
				for i, want := range v.Eigenvalues {
					near(t, "eigenvalue", got.Eigenvalues[i], want, 1e-10, 0)
				}
				near(t, "eigengap", got.Eigengap, v.Eigenvalues[c.K]-v.Eigenvalues[c.K-1], 1e-10, 0)
				k := 0
				for i, x := range got.Features {
					for _, y := range got.Features[i:] {
						near(t, "inner product of feature rows", dot(x, y), v.Gram[k], 1e-10, 0)
						k++
					}
				}
				for i, x := range got.Features { // |x-y|^2 = xx - 2xy + yy
					for j, y := range got.Features {
						d := got.Distance.At(i, j)
						near(t, "squared distance", d*d, dot(x, x)-2*dot(x, y)+dot(y, y), 1e-12, 1e-12)
					}
				}
				if got.Inertia > v.Inertia*(1+1e-12) {
					t.Errorf("inertia %v is above the library's %v", got.Inertia, v.Inertia)
				}
				near(t, "inertia", got.Inertia, v.Inertia, 0, 0.05)
				if c.Name == "planted" && v.Which == WhichSmooth {
					if a, err := Agree(got.Labels, c.Group); err != nil || a.ARI != 1 {
						t.Errorf("planted groups not found: %+v, %v, labels %v", a, err, got.Labels)
					}
				}
			})
		}
	}
}

func dot(a, b []float64) float64 {
	sum := 0.0
	for i, v := range a {
		sum += v * b[i]
	}
	return sum
}

func TestKMeansAgainstLibrary(t *testing.T) {
	for _, c := range readGolden(t).KMeans {
		t.Run(c.Name, func(t *testing.T) {
			got, err := KMeans(context.Background(), c.Rows, KMeansOptions{K: c.K, Seed: 1})
			if err != nil {
				t.Fatal(err)
			}
			if got.Inertia > c.Inertia*(1+1e-12) {
				t.Errorf("inertia %v is above the library's best of 100 restarts, %v", got.Inertia, c.Inertia)
			}
			sum := 0.0
			for i, row := range c.Rows {
				sum += squaredDistance(row, got.Centroids[got.Labels[i]])
			}
			near(t, "inertia from the returned centroids", sum, got.Inertia, 0, 1e-12)
		})
	}
}

func TestKeywordsAgainstLibrary(t *testing.T) {
	f, labels := paperTable(t)
	for _, c := range readGolden(t).TFIDF {
		t.Run(string(c.IDF)+"/"+string(c.Norm), func(t *testing.T) {
			// Frequency divides every weight of a document by one number, which unit length removes again.
			for _, tf := range []TF{TFCount, TFFrequency} {
				if tf == TFFrequency && c.Norm == NormNone {
					continue
				}
				got, err := Keywords(f, labels, KeywordOptions{TF: tf, IDF: c.IDF, Norm: c.Norm, Top: 1000})
				if err != nil {
					t.Fatal(err)
				}
				found := map[int]int{}
				for _, k := range got {
					want, ok := c.Scores[k.Cluster][k.Component+"="+k.Value]
					if !ok {
						t.Errorf("cluster %d: word %s=%s is not the library's", k.Cluster, k.Component, k.Value)
					}
					near(t, "weight of "+k.Component+"="+k.Value, k.Score, want, 1e-12, 0)
					found[k.Cluster]++
				}
				for cluster, scores := range c.Scores {
					if found[cluster] != len(scores) {
						t.Errorf("cluster %d: %d words, want %d", cluster, found[cluster], len(scores))
					}
				}
			}
		})
	}
}

// paperTable returns the paper's feature table and its printed clusters.
func paperTable(t *testing.T) (*Features, []int) {
	t.Helper()
	f, err := ReadFeatures(bytes.NewReader(paper.FeaturesCSV()))
	if err != nil {
		t.Fatal(err)
	}
	var models []string
	var clusters []int
	for _, m := range paper.Clusters() {
		models, clusters = append(models, m.Timm), append(clusters, m.Cluster)
	}
	labels, err := SelectLabels(f.Models, models, clusters)
	if err != nil {
		t.Fatal(err)
	}
	return f, labels
}

func fig3Order() []string {
	var order []string
	for _, c := range paper.Components() {
		order = append(order, c.Column)
	}
	return order
}

// TestPaperKeywords recomputes Tab. 2 from the paper's own feature table: no network, no images. A printed keyword is
// found if the same component and value is among the five; where the printed sign of a Yes/No component contradicts the
// feature table, the value that the keyword must stand for counts (paper.Keyword.Opposite). The paper writes every stem
// of several 3x3 convolutions as "stack of 3x3 convs".
func TestPaperKeywords(t *testing.T) {
	f, labels := paperTable(t)
	same := func(printed paper.Keyword, got Keyword) bool {
		if printed.Component != got.Component {
			return false
		}
		switch {
		case printed.Opposite != "":
			return got.Value == printed.Opposite
		case printed.Value == "stack of 3x3 convs":
			return len(got.Value) > 3 && got.Value[0] == '3' && bytes.ContainsRune([]byte(got.Value), '/')
		case printed.Value == "ReLU+Leaky ReLU":
			return got.Value == "Leaky ReLU" || got.Value == "ReLU"
		}
		return got.Value == printed.Value
	}
	tests := []struct {
		name           string
		options        KeywordOptions
		found, inOrder int // of 50 keywords and of 10 clusters; inOrder < 0: not known
	}{
		{"default", KeywordOptions{}, 49, 8},
		{"no unit length", KeywordOptions{Norm: NormNone}, 47, -1},
		{"plain+1", KeywordOptions{IDF: IDFPlainPlus}, 48, -1},
		{"plain", KeywordOptions{IDF: IDFPlain}, 39, -1},
		{"table strings", KeywordOptions{BaseMap: BaseTable}, 45, -1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.options.Order = fig3Order()
			got, err := Keywords(f, labels, tt.options)
			if err != nil {
				t.Fatal(err)
			}
			found, inOrder := 0, 0
			for cluster := 1; cluster <= 10; cluster++ {
				var ours []Keyword
				var printed []paper.Keyword
				for _, k := range got {
					if k.Cluster == cluster {
						ours = append(ours, k)
					}
				}
				for _, k := range paper.Keywords() {
					if k.Cluster == cluster {
						printed = append(printed, k)
					}
				}
				ordered := len(ours) == len(printed)
				for i, p := range printed {
					if slices.ContainsFunc(ours, func(k Keyword) bool { return same(p, k) }) {
						found++
					} else {
						t.Logf("cluster %d: %q (%s) not among %v", cluster, p.Printed, p.Component, ours)
					}
					ordered = ordered && same(p, ours[i])
				}
				if ordered {
					inOrder++
				}
			}
			if found != tt.found || tt.inOrder >= 0 && inOrder != tt.inOrder {
				t.Errorf("%d of 50 keywords, order of %d of 10 clusters; want %d and %d", found, inOrder, tt.found, tt.inOrder)
			}
		})
	}
}

func TestAgreementAgainstLibrary(t *testing.T) {
	for _, c := range readGolden(t).Agreement {
		got, err := Agree(c.A, c.B)
		if err != nil {
			t.Fatal(err)
		}
		near(t, "ARI", got.ARI, c.ARI, 1e-12, 0)
		near(t, "NMI", got.NMI, c.NMI, 1e-12, 0)
		near(t, "matched fraction", got.Matched, c.Matched, 1e-12, 0)
	}
}

func TestPearsonPAgainstMpmath(t *testing.T) {
	for _, c := range readGolden(t).PValues {
		p, log10p := PearsonP(c.R, c.N)
		if c.P > 1e-290 {
			near(t, "p", p, c.P, 0, 1e-10)
		}
		near(t, "log10 p", log10p, c.Log10P, 1e-9, 1e-14)
		if t.Failed() {
			t.Fatalf("r = %v, n = %d", c.R, c.N)
		}
	}
}

func TestCorrelateAgainstScipy(t *testing.T) {
	for _, c := range readGolden(t).Correlations {
		t.Run(c.Name, func(t *testing.T) {
			got, err := Correlate(c.X, c.Y, 0.95)
			if err != nil {
				t.Fatal(err)
			}
			near(t, "r", got.R, c.R, 1e-12, 0)
			near(t, "p", got.P, c.P, 0, 1e-10)
			log10P := math.Inf(-1)
			if c.Log10P != nil {
				log10P = *c.Log10P
			}
			near(t, "log10 p", got.Log10P, log10P, 1e-9, 0)
			near(t, "Spearman", got.Spearman, c.Spearman, 1e-12, 0)
			near(t, "p of Spearman", got.SpearmanP, c.SpearmanP, 0, 1e-10)
			if c.CILo == nil {
				if !math.IsNaN(got.CILo) || !math.IsNaN(got.CIHi) {
					t.Errorf("interval %v, %v of %d points: want none", got.CILo, got.CIHi, got.N)
				}
				return
			}
			near(t, "lower end", got.CILo, *c.CILo, 1e-12, 0)
			near(t, "upper end", got.CIHi, *c.CIHi, 1e-12, 0)
		})
	}
}

func TestQuantileAgainstNumpy(t *testing.T) {
	g := readGolden(t).Quantiles
	for i, q := range g.Q {
		near(t, "quantile", Quantile(g.Sorted, q), g.Value[i], 1e-15, 0)
	}
}
