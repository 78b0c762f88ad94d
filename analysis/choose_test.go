package analysis

import (
	"context"
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"sat/internal/rng"
)

func mustChoose(t *testing.T, m *Matrix, accuracy []float64, o ChooseOptions) *Choice {
	t.Helper()
	c, err := ChooseDiverse(context.Background(), m, accuracy, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestChooseBruteForce compares with all subsets.
func TestChooseBruteForce(t *testing.T) {
	for seed := range uint64(8) {
		m := randomScores(11, seed)
		random := rng.New(seed, "test/accuracy")
		accuracy := make([]float64, 11)
		for i := range accuracy {
			accuracy[i] = random.Float64()
		}
		for size := 2; size <= 6; size++ {
			best, candidates := math.Inf(1), 0
			for _, v := range accuracy {
				if v >= 0.3 {
					candidates++
				}
			}
			for mask := range 1 << 11 {
				sum, n, ok := 0.0, 0, true
				for i := range 11 {
					if mask>>i&1 == 0 {
						continue
					}
					n++
					ok = ok && accuracy[i] >= 0.3
					for j := range i {
						if mask>>j&1 == 1 {
							sum += m.At(i, j)
						}
					}
				}
				if ok && n == size {
					best = min(best, sum/float64(n*(n-1)/2))
				}
			}
			if candidates < size {
				continue
			}
			got := mustChoose(t, m, accuracy, ChooseOptions{Size: size, MinAccuracy: 0.3})
			near(t, "mean of the best set", got.Mean, best, 1e-13, 0)
			if !got.Exact || got.Candidates != candidates || got.GreedyMean < got.Mean-1e-13 || got.Largest < got.Mean || len(got.Models) != size {
				t.Errorf("seed %d, %d models: %+v", seed, size, got)
			}
			set, err := m.Select(got.Models)
			if err != nil {
				t.Fatal(err)
			}
			near(t, "mean of the named models", mean(set.UpperTriangle()), got.Mean, 1e-14, 0)
			near(t, "most similar pair", slices.Max(set.UpperTriangle()), got.Largest, 0, 0)
			for _, name := range got.Models {
				if accuracy[slices.Index(m.Names, name)] < 0.3 {
					t.Errorf("%s is below the accuracy floor", name)
				}
			}
		}
	}
}

func TestChooseEdges(t *testing.T) {
	m := randomScores(30, 1)
	accuracy := make([]float64, 30)
	big := mustChoose(t, m, accuracy, ChooseOptions{Size: 12}) // 86,493,225 sets
	if big.Exact || big.Mean != big.GreedyMean {
		t.Errorf("%+v, want a greedy choice", big)
	}
	names := slices.Clone(m.Names)
	slices.Reverse(names)
	turned, err := m.Select(names)
	if err != nil {
		t.Fatal(err)
	}
	if got := mustChoose(t, turned, accuracy, ChooseOptions{Size: 12}); !reflect.DeepEqual(got, big) {
		t.Errorf("another order of rows: %+v, want %+v", got, big)
	}
	equal := triangle(5, slices.Repeat([]float64{2}, 10), 1)
	if got := mustChoose(t, equal, make([]float64, 5), ChooseOptions{Size: 2}); !slices.Equal(got.Models, []string{"model000", "model001"}) || got.Mean != 2 {
		t.Errorf("equal similarities: %+v, want the first two names", got)
	}
	// A hole between models that are no candidates does not matter; between candidates it is named.
	hole := randomScores(5, 2)
	hole.Set(0, 1, math.NaN())
	hole.Set(1, 0, math.NaN())
	mustChoose(t, hole, []float64{0, 1, 1, 1, 1}, ChooseOptions{Size: 3, MinAccuracy: 0.5})
	for _, tt := range []struct {
		name, want string
		accuracy   []float64
		o          ChooseOptions
	}{
		{"hole", "model000, model001", make([]float64, 5), ChooseOptions{Size: 2}},
		{"one", "at least two", make([]float64, 5), ChooseOptions{Size: 1}},
		{"more than there are", "at least 6", make([]float64, 5), ChooseOptions{Size: 6}},
		{"accuracy", "model002", []float64{1, 1, math.NaN(), 1, 1}, ChooseOptions{Size: 2}},
		{"accuracies", "4 accuracies", make([]float64, 4), ChooseOptions{Size: 2}},
	} {
		if _, err := ChooseDiverse(context.Background(), hole, tt.accuracy, tt.o); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want one with %q", tt.name, err, tt.want)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := ChooseDiverse(ctx, m, accuracy, ChooseOptions{Size: 3}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: error %v", err)
	}
}

func TestRankTeachers(t *testing.T) {
	m := triangle(4, []float64{3, 2, math.NaN(), 1, 2, 3}, 1)
	got, err := RankTeachers(m, []float64{80, 70, 75, 90}, "model002", 72)
	if err != nil {
		t.Fatal(err)
	}
	if want := []Teacher{{"model003", 3, 90}, {"model000", 2, 80}}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got, err := RankTeachers(m, []float64{80, 70, 75, 90}, "model000", 0); err != nil || len(got) != 2 {
		t.Errorf("%v, %v, want two teachers: one similarity is undefined", got, err)
	}
	for name, f := range map[string]func() error{
		"unknown student": func() error { _, err := RankTeachers(m, make([]float64, 4), "x", 0); return err },
		"no teacher":      func() error { _, err := RankTeachers(m, make([]float64, 4), "model000", 1); return err },
	} {
		if f() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
