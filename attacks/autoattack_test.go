package attacks

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
)

// smallAuto runs in milliseconds on the models of these tests.
func smallAuto() AutoAttack {
	a := DefaultAutoAttack()
	a.Epsilon, a.Steps, a.Targets, a.Queries = 0.012, 15, 3, 60
	return a
}

// crowd is a model with more images than problem, the second and seventh of them misclassified; they fall to different
// stages.
func crowd(t *testing.T) (*mlp, Batch, []int64, []string) {
	t.Helper()
	m := newMLP(2, 3*6*5, 12, 5, 0.6)
	x := images(11, 30, 3, 6, 5)
	y := predictions(t, m, x)
	y[1], y[6] = (y[1]+1)%5, (y[6]+1)%5
	return m, x, y, names(x.N)
}

func auto(t *testing.T, a AutoAttack, m Model, x Batch, y []int64, ids []string, o AutoAttackOptions) Result {
	t.Helper()
	r, err := a.RunWith(context.Background(), m, x, y, ids, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// staged hides gradients of the cross-entropy from the model, so that APGD-CE leaves work to the others.
func staged(m Model) Model {
	return &shy{m}
}

type shy struct{ Model }

func (s *shy) LossGrad(ctx context.Context, x Batch, y, targets []int64, loss Loss) (Gradient, error) {
	g, err := s.Model.LossGrad(ctx, x, y, targets, loss)
	if loss == CrossEntropy {
		clear(g.Pixels)
	}
	return g, err
}

func TestAutoAttackBookkeeping(t *testing.T) {
	plain, x, y, ids := crowd(t)
	m := staged(plain)
	for _, norm := range []Norm{Linf, L2} {
		for _, batch := range []int{0, 7} {
			a := smallAuto()
			a.Norm, a.Batch = norm, batch
			if norm == L2 {
				a.Epsilon = 0.1
			}
			ends := map[string]int{}
			r := auto(t, a, m, x, y, ids, AutoAttackOptions{Progress: func(stage string, done, total int) {
				if done < ends[stage] || done > total {
					t.Fatalf("%s: progress went from %d to %d of %d", stage, ends[stage], done, total)
				}
				ends[stage] = done
			}})
			if len(r.Stages) != 4 {
				t.Fatalf("%d stages", len(r.Stages))
			}
			before := r.Correct
			for s, stage := range r.Stages {
				if stage.Name != StageNames[s] {
					t.Errorf("stage %d is %s", s, stage.Name)
				}
				for i, robust := range stage.Robust {
					if robust && !before[i] {
						t.Errorf("%s: image %d is robust again", stage.Name, i)
					}
				}
				before = stage.Robust
			}
			if a, b, d := count(r.Stages[0].Robust), count(r.Stages[1].Robust), count(r.Stages[3].Robust); a == b || d == 0 {
				t.Errorf("%v: %d, %d, ..., %d images robust: the test decides nothing", norm, a, b, d)
			}
			final := r.Stages[3].Robust
			if r.Survivors() != count(final) || r.ZeroGradImages == 0 {
				t.Errorf("%d survivors, want %d; %d images without gradient", r.Survivors(), count(final), r.ZeroGradImages)
			}
			if p := predictions(t, m, r.Adversarial); !slices.Equal(p, r.Predicted) {
				t.Errorf("predictions %v, the model says %v", r.Predicted, p)
			}
			for i := range x.N {
				moved := bitsDiffer(r.Adversarial.Image(i), x.Image(i)) >= 0
				if r.Fooled[i] == final[i] || r.Fooled[i] != (r.Predicted[i] != y[i]) {
					t.Errorf("image %d: fooled %v, robust %v, predicted %d of label %d", i, r.Fooled[i], final[i], r.Predicted[i], y[i])
				}
				if moved != (r.Fooled[i] && r.Correct[i]) {
					t.Errorf("image %d: moved %v, fooled %v, correct %v", i, moved, r.Fooled[i], r.Correct[i])
				}
				checkBall(t, PGD{Norm: a.Norm, Epsilon: a.Epsilon}, x.Image(i), r.Adversarial.Image(i))
			}
		}
	}
}

// The stages are the attacks themselves: the first one alone gives the first flags, and the images robust in the end are
// robust against each attack alone.
func TestAutoAttackIsItsAttacks(t *testing.T) {
	m, x, y, ids := crowd(t)
	a := smallAuto()
	whole := auto(t, a, m, x, y, ids, AutoAttackOptions{})
	ce, targeted, fab, square := a.attacks()
	for s, attack := range []runner{ce, targeted, fab, square} {
		r := run(t, attack, m, x, y, ids)
		single := 0
		for i, fooled := range r.Fooled {
			if !fooled {
				single++
			}
			if s == 0 && fooled == whole.Stages[0].Robust[i] {
				t.Errorf("image %d: apgd-ce alone: fooled %v", i, fooled)
			}
			if whole.Stages[3].Robust[i] && fooled {
				t.Errorf("image %d falls to %s alone and withstands them all", i, attack.Name())
			}
		}
		if whole.Survivors() > single {
			t.Errorf("%d survivors of all, %d of %s", whole.Survivors(), single, attack.Name())
		}
	}
}

func TestAutoAttackResumesFromEveryCheckpoint(t *testing.T) {
	plain, x, y, ids := crowd(t)
	m := staged(plain)
	for _, randomness := range []Randomness{Keyed, StreamCompat} {
		a := smallAuto()
		a.Batch, a.Randomness, a.Survivors, a.Seed = 6, randomness, SurvivorsBestLoss, 3
		var saved [][]byte
		whole := auto(t, a, m, x, y, ids, AutoAttackOptions{Checkpoint: func(s *AutoAttackState) error {
			text, err := json.Marshal(s)
			saved = append(saved, text)
			return err
		}})
		if len(saved) < 10 {
			t.Fatalf("%d checkpoints", len(saved))
		}
		for i, text := range saved {
			var state AutoAttackState
			if err := json.Unmarshal(text, &state); err != nil {
				t.Fatal(err)
			}
			again := 0
			r := auto(t, a, m, x, y, ids, AutoAttackOptions{Resume: &state, Checkpoint: func(*AutoAttackState) error { again++; return nil }})
			if again != len(saved)-1-i {
				t.Errorf("resumed after checkpoint %d of %d: %d more", i+1, len(saved), again)
			}
			if at := bitsDiffer(r.Adversarial.Pixels, whole.Adversarial.Pixels); at >= 0 {
				t.Fatalf("%v: resumed after checkpoint %d: pixel %d differs", randomness, i+1, at)
			}
			got, want := r, whole
			got.Adversarial, want.Adversarial = Batch{}, Batch{}
			if a, b := mustJSON(t, got), mustJSON(t, want); a != b {
				t.Fatalf("%v: resumed after checkpoint %d:\n%s\nwant\n%s", randomness, i+1, a, b)
			}
			if text2 := mustJSON(t, state); text2 != string(text) {
				t.Fatal("the state to resume from was modified")
			}
		}
	}
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestAutoAttackStopsAndRefuses(t *testing.T) {
	m, x, y, ids := crowd(t)
	a := smallAuto()
	full := errors.New("disk full")
	_, err := a.RunWith(context.Background(), m, x, y, ids, AutoAttackOptions{Checkpoint: func(*AutoAttackState) error { return full }})
	if !errors.Is(err, full) || !strings.Contains(err.Error(), "apgd-ce") {
		t.Errorf("a checkpoint that fails gives %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	_, err = a.RunWith(ctx, m, x, y, ids, AutoAttackOptions{Progress: func(stage string, _, _ int) {
		if stage == "fab-t" {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "fab-t") {
		t.Errorf("cancelled in fab-t: %v", err)
	}

	var state AutoAttackState
	auto(t, a, m, x, y, ids, AutoAttackOptions{Checkpoint: func(s *AutoAttackState) error { state = *s; return nil }})
	for name, c := range map[string]struct {
		change func(s *AutoAttackState)
		want   string
	}{
		"other model": {func(s *AutoAttackState) { s.Correct = slices.Clone(s.Correct); s.Correct[0] = false }, "another model"},
		"few images":  {func(s *AutoAttackState) { s.Robust = s.Robust[1:] }, "does not fit"},
		"few pixels":  {func(s *AutoAttackState) { s.Adversarial.Pixels = nil }, "does not fit"},
		"stage": {func(s *AutoAttackState) {
			s.Stages = slices.Clone(s.Stages)
			s.Stages[1].Name = "fab"
		}, `stage "fab"`},
	} {
		bad := state
		c.change(&bad)
		if _, err := a.RunWith(context.Background(), m, x, y, ids, AutoAttackOptions{Resume: &bad}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
	a.Norm, a.Steps, a.Queries, a.Batch, a.Survivors = 7, 0, -1, -1, 5
	err = a.Validate()
	for _, want := range []string{"unknown norm", "steps is 0", "queries is -1", "batch of -1", "policy"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestAutoAttackSurvivors(t *testing.T) {
	m, x, y, ids := crowd(t)
	a := smallAuto()
	clean := auto(t, a, m, x, y, ids, AutoAttackOptions{})
	a.Survivors = SurvivorsBestLoss
	best := auto(t, a, m, x, y, ids, AutoAttackOptions{})
	if clean.Survivors() == 0 || !slices.Equal(clean.Predicted, best.Predicted) {
		t.Fatalf("%d survivors; the policy changes predictions", clean.Survivors())
	}
	if p := predictions(t, m, best.Adversarial); !slices.Equal(p, best.Predicted) {
		t.Errorf("predictions %v, the model says %v", best.Predicted, p)
	}
	for i := range x.N {
		same := bitsDiffer(clean.Adversarial.Image(i), best.Adversarial.Image(i)) < 0
		survivor := best.Stages[3].Robust[i]
		if same == survivor {
			t.Errorf("image %d: survivor %v, same image under both policies %v", i, survivor, same)
		}
		if survivor {
			g, err := m.LossGrad(context.Background(), best.Adversarial.Slice(i, i+1), y[i:i+1], nil, CrossEntropy)
			h, err2 := m.LossGrad(context.Background(), x.Slice(i, i+1), y[i:i+1], nil, CrossEntropy)
			if err := errors.Join(err, err2); err != nil || g.Loss[0] <= h.Loss[0] {
				t.Errorf("image %d: loss %v is not above the clean %v (%v)", i, g.Loss, h.Loss, err)
			}
		}
	}
}

func TestAutoAttackWithFewClasses(t *testing.T) {
	for classes, want := range map[int][]string{
		2: {"climbs the loss cross-entropy", "1 targets, not 3"},
		3: {"climbs the loss dlr", "2 targets, not 3"},
		4: nil,
	} {
		m := newMLP(3, 60, 8, classes, 0.3)
		x := images(4, 5, 3, 4, 5)
		r := auto(t, smallAuto(), m, x, predictions(t, m, x), names(5), AutoAttackOptions{})
		for _, w := range want {
			if !slices.ContainsFunc(r.Warnings, func(s string) bool { return strings.Contains(s, w) }) {
				t.Errorf("%d classes: warnings %q, want %q", classes, r.Warnings, w)
			}
		}
		if classes == 4 && len(r.Warnings) > 0 {
			t.Errorf("4 classes: warnings %q", r.Warnings)
		}
	}
}

// Nothing is left after the first stage, or before it; and a Square that finds more than gradients is suspicious.
func TestAutoAttackEdges(t *testing.T) {
	m, x, y, ids := crowd(t)
	a := smallAuto()
	a.Epsilon = 0.5
	r := auto(t, a, m, x, y, ids, AutoAttackOptions{})
	if len(r.Stages) != 4 || r.Survivors() != 0 || count(r.Stages[0].Robust) != 0 {
		t.Errorf("%d stages, %d survivors", len(r.Stages), r.Survivors())
	}
	wrong := make([]int64, x.N)
	for i := range wrong {
		wrong[i] = (predictions(t, m, x)[i] + 1) % 5
	}
	r = auto(t, a, m, x, wrong, ids, AutoAttackOptions{})
	if len(r.Stages) != 4 || r.Survivors() != 0 || bitsDiffer(r.Adversarial.Pixels, x.Pixels) >= 0 || count(r.Fooled) != x.N {
		t.Errorf("all misclassified: %d stages, %d survivors, %d fooled", len(r.Stages), r.Survivors(), count(r.Fooled))
	}
	a.Epsilon = 0.03
	masked := &broken{Model: m, grad: func(_ int, g Gradient) { clear(g.Pixels) }}
	r = auto(t, a, masked, x, y, ids, AutoAttackOptions{})
	if !slices.ContainsFunc(r.Warnings, func(s string) bool { return strings.HasPrefix(s, "square fooled") }) ||
		!slices.ContainsFunc(r.Warnings, func(s string) bool { return strings.Contains(s, "gradient of exactly 0") }) {
		t.Errorf("masked gradients: warnings %q", r.Warnings)
	}
}
