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

// memoryLogits are logits in memory, images x classes per model.
type memoryLogits struct {
	classes int
	values  [][]float32
}

func (m memoryLogits) ReadLogits(_ context.Context, model, from int, dst []float32) error {
	if n := copy(dst, m.values[model][from*m.classes:]); n < len(dst) {
		return fmt.Errorf("%d of %d values", n, len(dst))
	}
	return nil
}

func newLogits(values [][]float32, labels []int, classes int) *Logits {
	return &Logits{Models: modelNames(len(values)), Classes: classes, Labels: labels, Reader: memoryLogits{classes, values}}
}

// drawLogits returns random logits; signal is how much stronger the true class is.
func drawLogits(models, images, classes int, signal float64, seed uint64) *Logits {
	random := rng.New(seed, "test")
	labels := make([]int, images)
	shared := make([]float64, images*classes)
	for i := range labels {
		labels[i] = random.IntN(classes)
		for c := range classes {
			shared[i*classes+c] = random.Normal()
		}
		shared[i*classes+labels[i]] += signal
	}
	values := make([][]float32, models)
	for m := range values {
		values[m] = make([]float32, len(shared))
		for k, s := range shared {
			values[m][k] = float32(s + random.Normal())
		}
	}
	return newLogits(values, labels, classes)
}

func mustEnsembles(t testing.TB, l *Logits, sets [][]int, o EnsembleOptions) *EnsembleErrors {
	t.Helper()
	e, err := l.Ensembles(context.Background(), sets, o)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// TestEnsemblesAgainstNumpy compares with testdata/ensembles.json; its header names tools, versions, script, seed and date.
// All numbers are counts and must be equal.
func TestEnsemblesAgainstNumpy(t *testing.T) {
	text, err := os.ReadFile("testdata/ensembles.json")
	if err != nil {
		t.Fatal(err)
	}
	var g struct {
		Cases []struct {
			Name        string
			Classes     int
			Labels      []int
			Logits      [][]float32
			Sets        [][]int
			Model       []int
			Logit, Prob []int
			AllWrong    []int `json:"all_wrong"`
		}
	}
	if err := json.Unmarshal(text, &g); err != nil {
		t.Fatal(err)
	}
	for _, c := range g.Cases {
		t.Run(c.Name, func(t *testing.T) {
			l := newLogits(c.Logits, c.Labels, c.Classes)
			for average, want := range map[Average][]int{AverageLogit: c.Logit, AverageProb: c.Prob} {
				got := mustEnsembles(t, l, c.Sets, EnsembleOptions{Average: average})
				if !slices.Equal(got.Ensemble, want) || !slices.Equal(got.Model, c.Model) || !slices.Equal(got.AllWrong, c.AllWrong) {
					t.Errorf("%s: wrong %v, members %v, all %v;\nwant %v, %v, %v", average, got.Ensemble, got.Model, got.AllWrong, want,
						c.Model, c.AllWrong)
				}
			}
		})
	}
}

// TestEnsemblesBruteForce compares with plain sums over all classes, on logits from clear to meaningless, with ties, and
// constant.
func TestEnsemblesBruteForce(t *testing.T) {
	for _, signal := range []float64{0, 2, 8} {
		for _, step := range []float32{0, 0.5, 1e9} { // values are rounded to multiples of step
			l := drawLogits(5, 40, 3*voteDepth, signal, 3)
			values := l.Reader.(memoryLogits).values
			for _, row := range values {
				for k, v := range row {
					if step > 0 {
						row[k] = step * float32(math.Round(float64(v/step)))
					}
				}
			}
			sets := [][]int{{0}, {0, 1}, {1, 0}, {4, 2}, {0, 1, 2}, {2, 1, 0}, {0, 1, 2, 3, 4}, {4, 3, 2, 1, 0}}
			got := mustEnsembles(t, l, sets, EnsembleOptions{})
			for k, set := range sets {
				wrong, all := 0, 0
				for i, y := range l.Labels {
					answer := func(members []int) int {
						sums := make([]float64, l.Classes)
						for _, m := range members {
							for c := range sums {
								sums[c] += float64(values[m][i*l.Classes+c])
							}
						}
						return slices.Index(sums, slices.Max(sums))
					}
					if answer(set) != y {
						wrong++
					}
					if !slices.ContainsFunc(set, func(m int) bool { return answer([]int{m}) == y }) {
						all++
					}
				}
				if got.Ensemble[k] != wrong || got.AllWrong[k] != all {
					t.Errorf("signal %v, step %v, set %v: %d wrong, %d by all members; want %d, %d", signal, step, set, got.Ensemble[k],
						got.AllWrong[k], wrong, all)
				}
			}
		}
	}
}

func TestEnsemblesBlocksAndWorkers(t *testing.T) {
	l := drawLogits(4, 700, 5, 1, 1) // more images than a block
	sets := [][]int{{0, 1}, {3}, {0, 1, 3}}
	want := mustEnsembles(t, l, sets, EnsembleOptions{Workers: 1})
	if got := mustEnsembles(t, l, sets, EnsembleOptions{Workers: 4}); !reflect.DeepEqual(got, want) {
		t.Errorf("four goroutines: %+v, want %+v", got, want)
	}
	if want.Model[2] != 0 || want.Model[0] == 0 {
		t.Errorf("errors of models %v: want none counted of the third, which is in no set", want.Model)
	}
	if want.Ensemble[1] != want.Model[3] || want.AllWrong[1] != want.Model[3] || want.Reduction(1) != 0 {
		t.Errorf("an ensemble of one is not the model: %+v", want)
	}
	near(t, "ERR", want.Reduction(0), 1-want.Error(0)/(float64(want.Model[0]+want.Model[1])/1400), 1e-15, 0)
}

func TestPairEnsembles(t *testing.T) {
	l := drawLogits(6, 300, 6, 1, 2)
	sat := randomScores(7, 1) // one model more
	sat.Set(0, 3, math.NaN())
	sat.Set(3, 0, math.NaN())
	got, err := l.PairEnsembles(context.Background(), sat, EnsembleOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Pairs) != 15 || got.Correlation.N != 14 || len(got.Warnings) != 1 || got.Images != 300 {
		t.Errorf("%d pairs, %d in the correlation, warnings %q", len(got.Pairs), got.Correlation.N, got.Warnings)
	}
	e := mustEnsembles(t, l, [][]int{{1, 4}}, EnsembleOptions{})
	for _, p := range got.Pairs {
		if p.A == "model001" && p.B == "model004" {
			want := PairEnsemble{p.A, p.B, sat.At(1, 4), float64(e.Model[1]) / 300, float64(e.Model[4]) / 300, e.Error(0), e.Reduction(0),
				e.AllWrong[0], float64(e.AllWrong[0]) / 300}
			if p != want {
				t.Errorf("%+v, want %+v", p, want)
			}
		}
	}
	perfect := drawLogits(3, 20, 3, 100, 2)
	p, err := perfect.PairEnsembles(context.Background(), sat, EnsembleOptions{})
	if err != nil || !math.IsNaN(p.Pairs[0].ERR) || !math.IsNaN(p.Correlation.R) {
		t.Errorf("models without errors: %+v, %v", p, err)
	}
	if _, err := drawLogits(9, 10, 3, 1, 1).PairEnsembles(context.Background(), sat, EnsembleOptions{}); err == nil {
		t.Error("models missing from the matrix accepted")
	}
	if _, err := drawLogits(1, 10, 3, 1, 1).PairEnsembles(context.Background(), sat, EnsembleOptions{}); err == nil {
		t.Error("one model accepted")
	}
}

func TestEnsemblesRefuse(t *testing.T) {
	sets := [][]int{{0, 1}}
	tests := []struct {
		name, want string
		change     func(l *Logits) (*Logits, [][]int, EnsembleOptions)
	}{
		{"NaN", "model001 for image 4, class 2", func(l *Logits) (*Logits, [][]int, EnsembleOptions) {
			l.Reader.(memoryLogits).values[1][3*4+2] = float32(math.NaN())
			return l, sets, EnsembleOptions{}
		}},
		{"infinite", "model000 for image 1, class 0", func(l *Logits) (*Logits, [][]int, EnsembleOptions) {
			l.Reader.(memoryLogits).values[0][0] = float32(math.Inf(-1))
			return l, sets, EnsembleOptions{Average: AverageProb}
		}},
		{"short", "images 1 to 10", func(l *Logits) (*Logits, [][]int, EnsembleOptions) {
			l.Reader.(memoryLogits).values[1] = nil
			return l, sets, EnsembleOptions{}
		}},
		{"label", "image 3", func(l *Logits) (*Logits, [][]int, EnsembleOptions) {
			l.Labels[2] = 4
			return l, sets, EnsembleOptions{}
		}},
		{"no images", "0 images", func(l *Logits) (*Logits, [][]int, EnsembleOptions) {
			l.Labels = nil
			return l, sets, EnsembleOptions{}
		}},
		{"unknown member", "member 3", func(l *Logits) (*Logits, [][]int, EnsembleOptions) {
			return l, [][]int{{0, 3}}, EnsembleOptions{}
		}},
		{"member twice", "model001 stands twice", func(l *Logits) (*Logits, [][]int, EnsembleOptions) {
			return l, [][]int{{1, 0, 1}}, EnsembleOptions{}
		}},
		{"empty set", "no members", func(l *Logits) (*Logits, [][]int, EnsembleOptions) {
			return l, [][]int{{}}, EnsembleOptions{}
		}},
		{"average", "median", func(l *Logits) (*Logits, [][]int, EnsembleOptions) {
			return l, sets, EnsembleOptions{Average: "median"}
		}},
	}
	for _, tt := range tests {
		l, sets, o := tt.change(drawLogits(3, 10, 4, 1, 1))
		if _, err := l.Ensembles(context.Background(), sets, o); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want one with %q", tt.name, err, tt.want)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := drawLogits(3, 10, 4, 1, 1).Ensembles(ctx, sets, EnsembleOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: error %v", err)
	}
}

// TestSetSampler compares with a plain enumeration: the sets that can be drawn, and how often each is.
func TestSetSampler(t *testing.T) {
	clusters := [][]int{{0, 1, 2}, {3}, {4, 5}, {6}}
	of := []int{0, 0, 0, 1, 2, 2, 3}
	for _, tt := range []struct {
		n, k  int
		cover bool
	}{{1, 1, true}, {2, 1, true}, {2, 2, true}, {3, 2, true}, {4, 3, true}, {4, 4, true}, {6, 4, true}, {5, 2, true}, {3, 3, true},
		{2, 2, false}, {3, 2, false}, {4, 3, false}, {1, 1, false}} {
		// The probability of every set: over all choices of k clusters with n models or more, over their admissible sets.
		probability := map[string]float64{}
		choices := 0
		for mask := range 16 {
			var union []int
			chosen := 0
			for i, c := range clusters {
				if mask>>i&1 == 1 {
					union = append(union, c...)
					chosen++
				}
			}
			if chosen != tt.k || len(union) < tt.n {
				continue
			}
			choices++
			var sets []string
			for pick := range 1 << len(union) {
				var set []int
				touched := map[int]bool{}
				for i, m := range union {
					if pick>>i&1 == 1 {
						set = append(set, m)
						touched[of[m]] = true
					}
				}
				if len(set) == tt.n && (!tt.cover || len(touched) == tt.k) {
					sets = append(sets, fmt.Sprint(set))
				}
			}
			for _, set := range sets {
				probability[set] += 1 / float64(len(sets))
			}
		}
		name := fmt.Sprintf("%d of %d clusters, cover %v", tt.n, tt.k, tt.cover)
		s := newSetSampler(clusters, tt.n, tt.k, tt.cover)
		if s.possible() != (choices > 0) {
			t.Errorf("%s: possible %v", name, s.possible())
		}
		all := s.all(1000)
		found := map[string]bool{}
		for _, set := range all {
			found[fmt.Sprint(set)] = true
		}
		if len(found) != len(all) || len(all) != len(probability) {
			t.Errorf("%s: %d sets, %d different, want %d", name, len(all), len(found), len(probability))
		}
		for set := range probability {
			if !found[set] {
				t.Errorf("%s: set %s not listed", name, set)
			}
		}
		if len(all) > 1 && s.all(len(all)-1) != nil {
			t.Errorf("%s: more sets than asked for", name)
		}
		const draws = 20000
		random := rng.New(1, "test")
		drawn := map[string]float64{}
		for range draws {
			drawn[fmt.Sprint(s.draw(random))]++
		}
		for set := range drawn {
			if probability[set] == 0 {
				t.Errorf("%s: drew %s", name, set)
			}
		}
		for set, p := range probability {
			p /= float64(choices)
			near(t, name+": draws of "+set, drawn[set], draws*p, 5*math.Sqrt(draws*p*(1-p)), 0)
		}
	}
}

func TestClusterEnsembles(t *testing.T) {
	l := drawLogits(9, 200, 6, 1, 4)
	labels := []int{1, 1, 1, 1, 2, 2, 2, 3, 3}
	o := ClusterEnsembleOptions{Sizes: []int{2, 4, 9}, Draws: 30, Resamples: 200, Seed: 3}
	run := func(l *Logits, labels []int, o ClusterEnsembleOptions) []EnsembleCell {
		cells, err := l.ClusterEnsembles(context.Background(), labels, o)
		if err != nil {
			t.Fatal(err)
		}
		return cells
	}
	want := run(l, labels, o)
	sets := map[[2]int]int{{2, 1}: 10, {2, 2}: 26, {4, 1}: 1, {4, 2}: 30, {4, 3}: 30, {9, 3}: 1} // others are impossible
	for _, c := range want {
		n := sets[[2]int{c.N, c.K}]
		if c.K > c.N || c.Sets != n || c.Exhaustive != (n > 0 && n != 30) {
			t.Errorf("cell of %d models from %d clusters: %d sets, exhaustive %v; want %d", c.N, c.K, c.Sets, c.Exhaustive, n)
		}
		if math.IsNaN(c.ERR.Mean) != (n == 0) || n == 30 && !(c.ERR.CILo <= c.ERR.Mean && c.ERR.Mean <= c.ERR.CIHi && c.ERR.CILo < c.ERR.CIHi) ||
			c.Exhaustive && c.ERR.CILo != c.ERR.Mean || n > 2 && !(c.Error.Lo <= c.Error.Mean && c.Error.Mean <= c.Error.Hi) {
			t.Errorf("cell of %d models from %d clusters: %+v", c.N, c.K, c)
		}
	}
	e := mustEnsembles(t, l, [][]int{{0, 1, 2, 3}}, EnsembleOptions{})
	for _, c := range want {
		if c.N == 4 && c.K == 1 && (c.ERR.Mean != e.Reduction(0) || c.Error.Mean != e.Error(0) || c.WrongByAll.Mean != float64(e.AllWrong[0]) ||
			!math.IsNaN(c.ERR.SD)) {
			t.Errorf("the only four models of one cluster: %+v", c)
		}
	}

	o.Workers = 3
	perm := []int{8, 3, 0, 6, 5, 1, 2, 7, 4}
	moved := &Logits{Classes: l.Classes, Labels: l.Labels}
	var values [][]float32
	var movedLabels []int
	for _, k := range perm {
		moved.Models = append(moved.Models, l.Models[k])
		values = append(values, l.Reader.(memoryLogits).values[k])
		movedLabels = append(movedLabels, labels[k])
	}
	moved.Reader = memoryLogits{l.Classes, values}
	if got := run(moved, movedLabels, o); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("another order of the models on three goroutines:\n%+v\nwant\n%+v", got, want)
	}

	same := run(l, slices.Repeat([]int{1}, 9), ClusterEnsembleOptions{Sizes: []int{3}, Clusters: []int{1}})
	if len(same) != 1 || same[0].Sets != 84 || !same[0].Exhaustive {
		t.Errorf("three of one set of nine: %+v, want all 84", same)
	}
	for name, bad := range map[string]ClusterEnsembleOptions{"draws": {Draws: -1}, "size": {Sizes: []int{0}}, "clusters": {Clusters: []int{0}},
		"level": {Level: 1}} {
		if _, err := l.ClusterEnsembles(context.Background(), labels, bad); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := l.ClusterEnsembles(context.Background(), labels[1:], o); err == nil {
		t.Error("a label too few accepted")
	}
}

// TestClusterEnsemblesDiversity: models of one cluster share their mistakes, so members from more clusters gain more.
func TestClusterEnsemblesDiversity(t *testing.T) {
	const images, classes = 400, 10
	random := rng.New(6, "test")
	labels := make([]int, images)
	for i := range labels {
		labels[i] = random.IntN(classes)
	}
	var values [][]float32
	var clusters []int
	for c := range 4 {
		bias := make([]float64, images*classes)
		for k := range bias {
			bias[k] = random.Normal()
		}
		for range 4 {
			row := make([]float32, images*classes)
			for k := range row {
				row[k] = float32(bias[k] + 0.3*random.Normal())
			}
			for i, y := range labels {
				row[i*classes+y] += 1.5
			}
			values, clusters = append(values, row), append(clusters, c)
		}
	}
	cells, err := newLogits(values, labels, classes).ClusterEnsembles(context.Background(), clusters, ClusterEnsembleOptions{Sizes: []int{4}, Draws: 200})
	if err != nil {
		t.Fatal(err)
	}
	for k := 1; k < len(cells); k++ {
		if !(cells[k].ERR.CILo > cells[k-1].ERR.CIHi && cells[k].WrongByAll.CIHi < cells[k-1].WrongByAll.CILo) {
			t.Errorf("four models from %d clusters gain %v, from %d %v", cells[k].K, cells[k].ERR, cells[k-1].K, cells[k-1].ERR)
		}
	}
}

// generatedLogits makes logits as they are read: nothing is stored, so any number of images fits.
type generatedLogits struct {
	labels []int
	signal float32
}

func (g generatedLogits) ReadLogits(_ context.Context, model, from int, dst []float32) error {
	const classes = 1000
	for i := range len(dst) / classes {
		row := dst[i*classes : (i+1)*classes]
		shared, own := uint64(from+i)*0x9E3779B97F4A7C15+1, uint64(model*1_000_003+from+i)*0xD1342543DE82EF95+1
		for c := range row { // two xorshift streams, one for all models and one of its own, each a sum of four uniforms
			shared ^= shared << 13
			shared ^= shared >> 7
			shared ^= shared << 17
			own ^= own << 13
			own ^= own >> 7
			own ^= own << 17
			row[c] = float32(shared&0xffff+shared>>16&0xffff+shared>>32&0xffff+shared>>48)/0x8000 +
				float32(own&0xffff+own>>16&0xffff+own>>32&0xffff+own>>48)/0x8000
		}
		row[g.labels[from+i]] += g.signal
	}
	return nil
}

// BenchmarkPairEnsembles is all 2,346 pairs of 69 models on images of 1,000 classes, for logits of a good and of a useless
// model.
func BenchmarkPairEnsembles(b *testing.B) {
	const images = 256
	labels := make([]int, images)
	for i := range labels {
		labels[i] = i * 7 % 1000
	}
	var sets [][]int
	for i := range 69 {
		for j := range i {
			sets = append(sets, []int{j, i})
		}
	}
	for _, signal := range []float32{3, 0} {
		l := &Logits{Models: modelNames(69), Classes: 1000, Labels: labels, Reader: generatedLogits{labels, signal}}
		b.Run(fmt.Sprint("signal=", signal), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				mustEnsembles(b, l, sets, EnsembleOptions{})
			}
			b.ReportMetric(float64(images)*float64(b.N)/b.Elapsed().Seconds(), "images/s")
		})
	}
}
