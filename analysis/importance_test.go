package analysis

import (
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"sat/internal/rng"
)

// plantedZoo returns n models with four components of three kinds each and SAT scores that fall by the given weights where
// components differ, plus noise.
func plantedZoo(n int, weights [4]float64, noise float64, seed uint64) (*Matrix, *Features) {
	random := rng.New(seed, "test")
	f := &Features{Models: modelNames(n), Components: []string{"stem", "norm", "act", "pool"}}
	for range n {
		row := make([]string, 4)
		for c := range row {
			row[c] = fmt.Sprint("kind", random.IntN(3))
		}
		f.Values = append(f.Values, row)
	}
	m := NewMatrix(f.Models)
	for i := range n {
		m.Set(i, i, logHundred)
		for j := i + 1; j < n; j++ {
			v := 4 + noise*random.Normal()
			for c, w := range weights {
				if f.Values[i][c] != f.Values[j][c] {
					v -= w
				}
			}
			m.Set(i, j, v)
			m.Set(j, i, v)
		}
	}
	return m, f
}

func mustImportance(t testing.TB, sat *Matrix, f *Features, o ImportanceOptions) *Importance {
	t.Helper()
	out, err := FeatureImportance(context.Background(), sat, f, o)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestImportancePlanted: the planted weights give the order, and a component that explains d of the score loses about
// 2 d^2 p (1-p) / variance when permuted, p being the share of pairs in which it differs.
func TestImportancePlanted(t *testing.T) {
	sat, f := plantedZoo(40, [4]float64{0.2, 0.8, 0, 0.4}, 0.02, 1)
	for _, eval := range []Eval{EvalTrain, EvalHoldout, EvalModels} {
		got := mustImportance(t, sat, f, ImportanceOptions{Boosting: BoostingOptions{Stages: 200, Rate: 0.1}, Fits: 3, Eval: eval, Seed: 2})
		for j, want := range []int{3, 1, 4, 2} {
			if got.Components[j].Rank != want {
				t.Errorf("%s: %s has rank %d, want %d", eval, f.Components[j], got.Components[j].Rank, want)
			}
			c := got.Components[j]
			near(t, "spread", c.Std*c.Std, c.Within*c.Within+c.Between*c.Between, 1e-15, 1e-12)
		}
		if got.TrainR2 < 0.99 || got.EvalR2 < 0.95 || eval == EvalTrain && got.EvalR2 != got.TrainR2 {
			t.Errorf("%s: R2 %v on the fitted pairs, %v on the evaluated", eval, got.TrainR2, got.EvalR2)
		}
		if want := map[Eval]int{EvalTrain: 780, EvalHoldout: 78, EvalModels: 150}[eval]; got.Evaluated != want { // 780 - C(36,2)
			t.Errorf("%s: %d pairs evaluated, want %d", eval, got.Evaluated, want)
		}
		if (len(got.Warnings) > 0) != (eval == EvalHoldout) {
			t.Errorf("%s: warnings %q", eval, got.Warnings)
		}
		if eval != EvalTrain {
			continue
		}
		variance := meanSquare(got.Y, mean(got.Y))
		for j, d := range []float64{0.2, 0.8, 0, 0.4} {
			x, err := f.PairDifferences()
			if err != nil {
				t.Fatal(err)
			}
			p := 0.0
			for k := j; k < len(x); k += 4 {
				p += float64(x[k]) / float64(len(got.Y))
			}
			near(t, "importance of "+f.Components[j], got.Components[j].Mean, 2*d*d*p*(1-p)/variance, 0.02, 0.1)
		}
		near(t, "R2 from the predictions", 1-squaredDistance(got.Y, got.Predicted)/(variance*float64(len(got.Y))), got.First.R2, 1e-12, 0)
	}
}

// TestImportanceOrder: goroutines change nothing; the order of the feature table and further models in it neither.
func TestImportanceOrder(t *testing.T) {
	sat, f := plantedZoo(12, [4]float64{0.2, 0.8, 0, 0.4}, 0.3, 3)
	o := ImportanceOptions{Boosting: BoostingOptions{Stages: 20}, Fits: 4, Repeats: 3, Eval: EvalHoldout, Seed: 9, Workers: 1}
	want := mustImportance(t, sat, f, o)
	o.Workers = 3
	if got := mustImportance(t, sat, f, o); !reflect.DeepEqual(got, want) {
		t.Error("three goroutines give another result than one")
	}
	shuffled := &Features{Models: []string{"unknown"}, Components: f.Components, Values: [][]string{{"a", "b", "c", "d"}}}
	for i := range f.Models {
		k := (i*5 + 2) % 12
		shuffled.Models, shuffled.Values = append(shuffled.Models, f.Models[k]), append(shuffled.Values, f.Values[k])
	}
	if got := mustImportance(t, sat, shuffled, o); !reflect.DeepEqual(got, want) {
		t.Error("another order of the feature table gives another result")
	}
	o.Seed = 10
	if got := mustImportance(t, sat, f, o); reflect.DeepEqual(got.Components, want.Components) {
		t.Error("two seeds give the same importances")
	}
}

// TestShuffles: every arrangement is a permutation, all columns share it, and the rows have no preferred place.
func TestShuffles(t *testing.T) {
	counts := make([]int, 25)
	const repeats = 4000
	for _, source := range shuffles(5, repeats, rng.New(1, "test")) {
		if !slices.Equal(slices.Sorted(slices.Values(source)), []int32{0, 1, 2, 3, 4}) {
			t.Fatalf("%v is no permutation", source)
		}
		for i, k := range source {
			counts[5*i+int(k)]++
		}
	}
	for k, n := range counts {
		near(t, fmt.Sprintf("row %d in place %d", k%5, k/5), float64(n), repeats/5, 5*math.Sqrt(repeats*0.16), 0)
	}
}

func TestImportanceRefuses(t *testing.T) {
	sat, f := plantedZoo(6, [4]float64{1, 0, 0, 0}, 0.1, 1)
	equal, _ := plantedZoo(6, [4]float64{}, 0, 1)
	two, twoFeatures := plantedZoo(2, [4]float64{1, 0, 0, 0}, 0.1, 1)
	three, threeFeatures := plantedZoo(3, [4]float64{1, 0, 0, 0}, 0.1, 1)
	hole := NewMatrix(sat.Names)
	copy(hole.Values, sat.Values)
	hole.Set(1, 4, math.NaN())
	fewer := &Features{Models: f.Models[1:], Components: f.Components, Values: f.Values[1:]}
	tests := []struct {
		name, want string
		sat        *Matrix
		f          *Features
		o          ImportanceOptions
	}{
		{"equal similarities", "nothing to explain", equal, f, ImportanceOptions{}},
		{"two models", "nothing to explain", two, twoFeatures, ImportanceOptions{}},
		{"undefined pair", "model001, model004", hole, f, ImportanceOptions{}},
		{"missing model", "model000", sat, fewer, ImportanceOptions{}},
		{"too few models to hold one out", "hold out", three, threeFeatures, ImportanceOptions{Eval: EvalModels}},
		{"negative fits", "fits", sat, f, ImportanceOptions{Fits: -1}},
		{"whole set held out", "share", sat, f, ImportanceOptions{Holdout: 1}},
		{"unknown evaluation", "test", sat, f, ImportanceOptions{Eval: "test"}},
		{"boosting settings", "ties", sat, f, ImportanceOptions{Boosting: BoostingOptions{Ties: "last"}}},
	}
	for _, tt := range tests {
		_, err := FeatureImportance(context.Background(), tt.sat, tt.f, tt.o)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want one with %q", tt.name, err, tt.want)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := FeatureImportance(ctx, sat, f, ImportanceOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: error %v", err)
	}
}

// benchmarkZoo has n models of the variety of the paper's: 13 components.
func benchmarkZoo(n int) (x []uint8, y []float64) {
	random := rng.New(1, "bench")
	kinds := []int{4, 4, 4, 4, 4, 4, 3, 2, 2, 2, 2, 2, 2}
	f := &Features{Models: modelNames(n)}
	for c := range kinds {
		f.Components = append(f.Components, fmt.Sprint("component", c))
	}
	for range n {
		row := make([]string, len(kinds))
		for c, k := range kinds {
			row[c] = fmt.Sprint(random.IntN(k))
		}
		f.Values = append(f.Values, row)
	}
	x, err := f.PairDifferences()
	if err != nil {
		panic(err)
	}
	for k := 0; k < len(x); k += len(kinds) {
		v := 3.4 + 0.3*random.Normal()
		for c := range kinds {
			v -= 0.1 * float64(x[k+c]) / float64(c+1)
		}
		y = append(y, v)
	}
	return x, y
}

func BenchmarkBoosting(b *testing.B) {
	for _, n := range []int{69, 200, 1000} {
		x, y := benchmarkZoo(n)
		b.Run(fmt.Sprint("n=", n), func(b *testing.B) {
			for b.Loop() {
				r, err := NewRegression(x, 13, y)
				if err != nil {
					b.Fatal(err)
				}
				mustBoost(b, r, BoostingOptions{})
			}
		})
	}
}

func BenchmarkImportance(b *testing.B) {
	for _, n := range []int{69, 200, 1000} {
		x, y := benchmarkZoo(n)
		r, err := NewRegression(x, 13, y)
		if err != nil {
			b.Fatal(err)
		}
		model := mustBoost(b, r, BoostingOptions{Stages: 50})
		b.Run(fmt.Sprint("n=", n), func(b *testing.B) {
			for b.Loop() {
				if _, _, err := permute(context.Background(), model, r, shuffles(len(y), 10, rng.New(1, "bench"))); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
