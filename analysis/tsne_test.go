package analysis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"sat/internal/rng"
)

// tsneGolden mirrors testdata/tsne.json; its header names tools, versions, script, seed, date and tolerances.
type tsneGolden struct {
	Cases []struct {
		Name       string
		Perplexity float64
		Distance   []float64 `json:"distance_times_64"` // upper triangle
		P          []float64 // upper triangle
		Embeddings []struct {
			Y        [][2]float64
			KL       float64
			Gradient [][2]float64
		}
		FinalKL         []float64 `json:"final_kl"`
		Points          [][2]float64
		Trustworthiness map[int]float64
	}
}

func readTSNEGolden(t *testing.T) tsneGolden {
	t.Helper()
	text, err := os.ReadFile("testdata/tsne.json")
	if err != nil {
		t.Fatal(err)
	}
	var g tsneGolden
	if err := json.Unmarshal(text, &g); err != nil {
		t.Fatal(err)
	}
	return g
}

// triangle returns the symmetric matrix of n models with the given upper triangle times scale.
func triangle(n int, values []float64, scale float64) *Matrix {
	m := NewMatrix(modelNames(n))
	k := 0
	for i := range n {
		for j := i + 1; j < n; j++ {
			m.Set(i, j, scale*values[k])
			m.Set(j, i, scale*values[k])
			k++
		}
	}
	return m
}

func mustTSNE(t testing.TB, d *Matrix, o TSNEOptions) *Embedding {
	t.Helper()
	e, err := TSNEOfDistances(context.Background(), d, o)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestTSNEAgainstLibrary(t *testing.T) {
	for _, c := range readTSNEGolden(t).Cases {
		t.Run(c.Name, func(t *testing.T) {
			n := len(c.Points)
			d := triangle(n, c.Distance, 1./64)
			squares := make([]float64, n*n)
			for k, v := range d.Values {
				squares[k] = v * v
			}
			p := jointProbabilities(squares, n, c.Perplexity)
			k := 0
			for i := range n {
				for j := i + 1; j < n; j++ {
					near(t, fmt.Sprintf("p of %d and %d", i, j), p[i*n+j], c.P[k], 1e-10, 0)
					near(t, "symmetry of p", p[j*n+i], p[i*n+j], 0, 0)
					k++
				}
			}
			for _, e := range c.Embeddings {
				s := newScatter(p, n, 1)
				largest := 0.0
				for i, y := range e.Y {
					s.x[i], s.y[i] = y[0], y[1]
					largest = max(largest, math.Abs(e.Gradient[i][0]), math.Abs(e.Gradient[i][1]))
				}
				s.gradient()
				near(t, "KL", s.divergence(), e.KL, 1e-10, 0)
				for i, want := range e.Gradient {
					near(t, "gradient", s.gx[i], want[0], 1e-10*largest, 0)
					near(t, "gradient", s.gy[i], want[1], 1e-10*largest, 0)
				}
			}
			low, high := slices.Min(c.FinalKL), slices.Max(c.FinalKL)
			for seed := range uint64(3) {
				e := mustTSNE(t, d, TSNEOptions{Perplexity: c.Perplexity, Init: InitRandom, Seed: seed})
				if !(e.KL >= low && e.KL <= high) {
					t.Errorf("final KL %v, the library's are from %v to %v", e.KL, low, high)
				}
			}
			if e := mustTSNE(t, d, TSNEOptions{Perplexity: c.Perplexity}); e.KL > high {
				t.Errorf("final KL from classical scaling is %v, the library's worst from random starts %v", e.KL, high)
			}
			for k, want := range c.Trustworthiness {
				got, err := Trustworthiness(d, c.Points, k)
				if err != nil {
					t.Fatal(err)
				}
				near(t, fmt.Sprintf("trustworthiness of %d neighbours", k), got, want, 1e-12, 0)
			}
		})
	}
}

// TestTSNEGradient compares with differences of the divergence.
func TestTSNEGradient(t *testing.T) {
	const n, h = 9, 1e-6
	random := rng.New(2, "test")
	squares := make([]float64, n*n)
	for i := range n {
		for j := range i {
			v := random.Float64()
			squares[i*n+j], squares[j*n+i] = v, v
		}
	}
	s := newScatter(jointProbabilities(squares, n, 3), n, 1)
	for i := range n {
		s.x[i], s.y[i] = random.Normal(), random.Normal()
	}
	at := func(c *float64, v float64) float64 {
		old := *c
		*c = v
		s.gradient()
		kl := s.divergence()
		*c = old
		return kl
	}
	for i := range n {
		dx := (at(&s.x[i], s.x[i]+h) - at(&s.x[i], s.x[i]-h)) / (2 * h)
		dy := (at(&s.y[i], s.y[i]+h) - at(&s.y[i], s.y[i]-h)) / (2 * h)
		s.gradient()
		near(t, "x gradient", s.gx[i], dx, 1e-8, 0)
		near(t, "y gradient", s.gy[i], dy, 1e-8, 0)
	}
}

// TestTSNEGroups: three groups of eight, far apart; the embedding keeps every model's group together.
func TestTSNEGroups(t *testing.T) {
	const n = 24
	sat := NewMatrix(modelNames(n))
	random := rng.New(1, "test")
	for i := range n {
		for j := i; j < n; j++ {
			v := 1 + 0.2*random.Float64()
			if i/8 == j/8 {
				v += 2.5
			}
			sat.Set(i, j, v)
			sat.Set(j, i, v)
		}
	}
	for _, distance := range []Distance{DistanceLogDiff, DistancePercent} {
		e, err := TSNE(context.Background(), sat, TSNEOptions{Distance: distance, Perplexity: 5})
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range e.Points {
			for j, q := range e.Points {
				for k, r := range e.Points {
					if i/8 == j/8 && i/8 != k/8 && math.Hypot(p[0]-q[0], p[1]-q[1]) > math.Hypot(p[0]-r[0], p[1]-r[1]) {
						t.Fatalf("%s: model %d is farther from %d of its group than from %d", distance, i, j, k)
					}
				}
			}
		}
		if e.Trustworthiness < 0.9 || e.Perplexity != 5 || e.Steps < tsneExplore || len(e.Warnings) > 0 {
			t.Errorf("%s: trustworthiness %v, perplexity %v, %d steps, %q", distance, e.Trustworthiness, e.Perplexity, e.Steps, e.Warnings)
		}
	}
}

func TestTSNEOrder(t *testing.T) {
	random := rng.New(5, "test")
	small := make([]float64, 20*19/2)
	for k := range small {
		small[k] = 1 + random.Float64()
	}
	for _, init := range []Init{InitMDS, InitRandom} {
		d := triangle(20, small, 1)
		want := mustTSNE(t, d, TSNEOptions{Init: init, Seed: 3})
		names := slices.Clone(d.Names)
		slices.Reverse(names)
		turned, err := d.Select(names)
		if err != nil {
			t.Fatal(err)
		}
		got := mustTSNE(t, turned, TSNEOptions{Init: init, Seed: 3})
		slices.Reverse(got.Points)
		if !slices.Equal(got.Points, want.Points) || got.KL != want.KL {
			t.Errorf("%s: another order of the rows gives another embedding", init)
		}
		if other := mustTSNE(t, d, TSNEOptions{Init: init, Seed: 4}); slices.Equal(other.Points, want.Points) != (init == InitMDS) {
			t.Errorf("%s: effect of the seed is wrong", init)
		}
	}
	big := make([]float64, tsneParallel*(tsneParallel-1)/2)
	for k := range big {
		big[k] = 1 + random.Float64()
	}
	d := triangle(tsneParallel, big, 1)
	one := mustTSNE(t, d, TSNEOptions{Workers: 1, Steps: tsneExplore})
	if many := mustTSNE(t, d, TSNEOptions{Workers: 3, Steps: tsneExplore}); !reflect.DeepEqual(one, many) {
		t.Error("three goroutines give another embedding than one")
	}
}

func TestTSNEDegenerate(t *testing.T) {
	equal := func(n int, v float64) *Matrix { return triangle(n, slices.Repeat([]float64{v}, n*(n-1)/2), 1) }
	for _, tt := range []struct {
		name  string
		d     *Matrix
		warns int
	}{{"two models", equal(2, 1), 0}, {"all distances one", equal(7, 1), 0}, {"all distances zero", equal(7, 0), 1},
		{"four models", equal(4, 2), 0}, {"large", equal(5, 1e99), 0}, {"tiny", equal(5, 1e-150), 0}} {
		e := mustTSNE(t, tt.d, TSNEOptions{})
		for _, p := range e.Points {
			if math.IsNaN(p[0]) || math.IsNaN(p[1]) {
				t.Errorf("%s: points %v", tt.name, e.Points)
			}
		}
		if len(e.Warnings) != tt.warns || math.IsNaN(e.KL) || math.IsNaN(e.Trustworthiness) != (len(e.Points) < 4) {
			t.Errorf("%s: %+v", tt.name, e)
		}
	}
	// Twins share a place, whatever else.
	d := triangle(4, []float64{0, 1, 2, 1, 2, 1.5}, 1)
	e := mustTSNE(t, d, TSNEOptions{Perplexity: 2})
	if gap := math.Hypot(e.Points[0][0]-e.Points[1][0], e.Points[0][1]-e.Points[1][1]); gap > 1 {
		t.Errorf("two models at distance 0 are %v apart", gap)
	}
}

func TestTSNERefuses(t *testing.T) {
	d := triangle(4, []float64{1, 2, 3, 4, 5, 6}, 1)
	with := func(v float64) *Matrix {
		m := triangle(4, []float64{1, 2, 3, 4, 5, 6}, 1)
		m.Set(1, 3, v)
		m.Set(3, 1, v)
		return m
	}
	tests := []struct {
		name, want string
		d          *Matrix
		o          TSNEOptions
	}{
		{"one model", "one model", triangle(1, nil, 1), TSNEOptions{}},
		{"undefined", "model001, model003", with(math.NaN()), TSNEOptions{}},
		{"negative", "model001 and model003", with(-1), TSNEOptions{}},
		{"huge", "model001 and model003", with(1e200), TSNEOptions{}},
		{"perplexity", "perplexity 4", d, TSNEOptions{Perplexity: 4}},
		{"NaN perplexity", "perplexity", d, TSNEOptions{Perplexity: math.NaN()}},
		{"few steps", "steps", d, TSNEOptions{Steps: 10}},
		{"start", "pca", d, TSNEOptions{Init: "pca"}},
		{"rate", "rate", d, TSNEOptions{Rate: -1}},
		{"rate that diverges", "lower", d, TSNEOptions{Rate: 1e300}},
	}
	for _, tt := range tests {
		_, err := TSNEOfDistances(context.Background(), tt.d, tt.o)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want one with %q", tt.name, err, tt.want)
		}
	}
	if _, err := TSNE(context.Background(), d, TSNEOptions{Distance: "cosine"}); err == nil {
		t.Error("unknown distance accepted")
	}
	if _, err := Trustworthiness(d, make([][2]float64, 4), 2); err == nil {
		t.Error("trustworthiness with half the models as neighbours accepted")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := TSNEOfDistances(ctx, d, TSNEOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: error %v", err)
	}
}

func BenchmarkTSNE(b *testing.B) {
	for _, n := range []int{69, 200, 1000} {
		random := rng.New(1, "bench")
		values := make([]float64, n*(n-1)/2)
		for k := range values {
			values[k] = 1 + random.Float64()
		}
		d := triangle(n, values, 1)
		b.Run(fmt.Sprint("n=", n), func(b *testing.B) {
			for b.Loop() {
				mustTSNE(b, d, TSNEOptions{Perplexity: 30, Init: InitRandom})
			}
		})
	}
}
