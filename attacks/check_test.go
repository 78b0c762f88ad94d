package attacks

import (
	"context"
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestPredict(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, c := range []struct {
		name   string
		logits []float32
		n      int
		want   []int64
		err    string
	}{
		{"plain", []float32{1, 3, 2, -1, -5, -2}, 2, []int64{1, 0}, ""},
		{"ties go to the lowest", []float32{2, 2, 1, 0, 7, 7}, 2, []int64{0, 1}, ""},
		{"infinite", []float32{-inf, inf, 0}, 1, []int64{1}, ""},
		{"NaN first", []float32{0, 1, nan, 5}, 2, nil, "row 1: logit 0 is NaN"},
		{"NaN last", []float32{0, 1, 5, nan}, 2, nil, "row 1: logit 1 is NaN"},
		{"ragged", []float32{0, 1, 5}, 2, nil, "3 logits"},
		{"no images", nil, 0, nil, "0 images"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Predict(c.logits, c.n)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("got error %v, want %q", err, c.err)
				}
				return
			}
			if err != nil || !slices.Equal(got, c.want) {
				t.Fatalf("got %v, %v, want %v", got, err, c.want)
			}
		})
	}
}

func TestCheckModel(t *testing.T) {
	m := newMLP(50, 60, 12, 4, 0.6)
	x := images(51, 6, 3, 4, 5)
	y, ids := predictions(t, m, x), names(6)
	y[2] = (y[2] + 1) % 4

	r, err := CheckModel(context.Background(), m, x, y, ids)
	if err != nil {
		t.Fatal(err)
	}
	if r.Classes != 4 || r.Correct != 5 || r.Unstable != 0 || r.Drift != 0 || len(r.Warnings()) != 0 {
		t.Fatalf("sound model: %+v, warnings %q", r, r.Warnings())
	}

	softmax := &broken{Model: m, logits: func(_ int, z []float32) {
		for i := 0; i < len(z); i += 4 {
			sum := 0.0
			for _, v := range z[i : i+4] {
				sum += math.Exp(float64(v))
			}
			for j := range z[i : i+4] {
				z[i+j] = float32(math.Exp(float64(z[i+j])) / sum)
			}
		}
	}}
	if r, err = CheckModel(context.Background(), softmax, x, y, ids); err != nil {
		t.Fatal(err)
	}
	if w := r.Warnings(); !r.Probabilities || len(w) != 1 || !strings.Contains(w[0], "probabilities") {
		t.Fatalf("soft-max output: %+v, warnings %q", r, w)
	}

	dropout := &broken{Model: m, logits: func(pass int, z []float32) { z[0] += float32(pass % 2 * 100) }}
	if r, err = CheckModel(context.Background(), dropout, x, y, ids); err != nil {
		t.Fatal(err)
	}
	if w := r.Warnings(); r.Unstable > 1 || r.Drift < 0.1 || len(w) != 1 || !strings.Contains(w[0], "training mode") {
		t.Fatalf("unstable model: %+v, warnings %q", r, w)
	}

	y[0] = 9
	if _, err = CheckModel(context.Background(), m, x, y, ids); err == nil || !strings.Contains(err.Error(), "label is 9") {
		t.Fatalf("got %v for a label beyond the classes", err)
	}
}

func TestTargets(t *testing.T) {
	logits := []float32{0, 3, 1, 2, 5, 5, -1, -1}
	y := []int64{1, 0}
	least, err := LeastLikelyTargets(logits, 2, 1)
	second, err2 := LeastLikelyTargets(logits, 2, 2)
	runner, err3 := RunnerUpTargets(logits, 2, y)
	if err := errors.Join(err, err2, err3); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(least, []int64{0, 2}) || !slices.Equal(second, []int64{2, 3}) || !slices.Equal(runner, []int64{3, 1}) {
		t.Fatalf("least likely %v, second %v, runner-up %v", least, second, runner)
	}
	if next := NextTargets([]int64{0, 3}, 4); !slices.Equal(next, []int64{1, 0}) {
		t.Fatalf("next %v", next)
	}

	ids := names(4000)
	labels := make([]int64, len(ids))
	for i := range labels {
		labels[i] = int64(i % 4)
	}
	targets, err := RandomTargets(labels, ids, 4, 1)
	if err != nil {
		t.Fatal(err)
	}
	hits := map[[2]int64]int{}
	for i, target := range targets {
		if target == labels[i] {
			t.Fatalf("image %d: the target is its label", i)
		}
		hits[[2]int64{labels[i], target}]++
	}
	for pair, n := range hits {
		if n < 260 || n > 410 { // 1000/3, 5 standard deviations of 15
			t.Errorf("label and target %v: %d of 1000 draws", pair, n)
		}
	}
	alone, err := RandomTargets(labels[17:18], ids[17:18], 4, 1)
	if err != nil || alone[0] != targets[17] {
		t.Fatalf("image 17 alone draws %v (%v), in the batch %d", alone, err, targets[17])
	}
	if _, err := RandomTargets([]int64{0}, ids[:1], 1, 1); err == nil {
		t.Error("one class gave a target")
	}
}

// memory collects what Transfer writes.
type memory map[string][]int64

func (m memory) WriteTransfer(source string, predicted []int64) error {
	m[source] = predicted
	return nil
}

type failing struct{}

func (failing) WriteTransfer(string, []int64) error { return errors.New("disk full") }

func TestTransfer(t *testing.T) {
	m := newMLP(60, 60, 12, 4, 0.6)
	a, b := images(61, 7, 3, 4, 5), images(62, 3, 3, 4, 5)
	sources := []Source{{"a", a}, {"b", b}}
	seen := 0
	target := func(ctx context.Context, x Batch) ([]float32, error) {
		seen += x.N
		if x.N > 3 {
			t.Errorf("batch of %d, want at most 3", x.N)
		}
		return m.Logits(ctx, x)
	}
	got := memory{}
	var steps []int
	err := Transfer(context.Background(), target, sources, 3, got, func(done, total int) {
		if total != 10 {
			t.Errorf("total is %d, want 10", total)
		}
		steps = append(steps, done)
	})
	if err != nil {
		t.Fatal(err)
	}
	want := memory{"a": predictions(t, m, a), "b": predictions(t, m, b)}
	if !reflect.DeepEqual(got, want) || seen != 10 || !slices.Equal(steps, []int{3, 6, 7, 10}) {
		t.Fatalf("got %v after %d images, progress %v; want %v", got, seen, steps, want)
	}
	wrong, err := Wrong(got["b"], []int64{got["b"][0], 9, got["b"][2]})
	if err != nil || !slices.Equal(wrong, []bool{false, true, false}) {
		t.Fatalf("wrong is %v, %v", wrong, err)
	}

	if err := Transfer(context.Background(), target, sources, 3, failing{}, nil); err == nil || !strings.Contains(err.Error(), "disk full") {
		t.Fatalf("got %v from a failing writer", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	got = memory{}
	err = Transfer(ctx, target, sources, 3, got, func(done, _ int) {
		if done == 7 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) || len(got) != 1 || len(got["a"]) != 7 {
		t.Fatalf("cancelled after source a: %v, written %v", err, got)
	}
	nan := func(context.Context, Batch) ([]float32, error) {
		return []float32{float32(math.NaN()), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, nil
	}
	if err := Transfer(context.Background(), nan, sources, 3, got, nil); err == nil || !strings.Contains(err.Error(), "from a: images 0 to 2: row 0: logit 0 is NaN") {
		t.Fatalf("got %v from a target that answers NaN", err)
	}
	if _, err := Evaluate(context.Background(), target, a, 0, nil); err == nil {
		t.Error("a batch of 0 was accepted")
	}
}
