package attacks

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"sat/internal/rng"
)

// runner is what the attacks have in common.
type runner interface {
	Run(ctx context.Context, model Model, x Batch, y []int64, ids []string, progress Progress) (Result, error)
	Validate() error
	Name() string
}

// eachImage checks every version of every image that an attack shows to a model; it needs ids from names and images that
// all stay in the batch.
type eachImage struct {
	Model
	t     *testing.T
	ball  PGD // norm and radius
	clean Batch
	seen  int
}

func (w *eachImage) check(x Batch) {
	w.t.Helper()
	w.seen++
	for i := range x.N {
		nearest := 0
		for k := range w.clean.N { // the images are far from one another
			if far(x.Image(i), w.clean.Image(k)) < far(x.Image(i), w.clean.Image(nearest)) {
				nearest = k
			}
		}
		checkBall(w.t, w.ball, w.clean.Image(nearest), x.Image(i))
	}
}

func far(a, b []float32) float64 {
	sum := 0.0
	for j := range a {
		sum += math.Abs(float64(a[j]) - float64(b[j]))
	}
	return sum
}

func (w *eachImage) Logits(ctx context.Context, x Batch) ([]float32, error) {
	w.check(x)
	return w.Model.Logits(ctx, x)
}

func (w *eachImage) LossGrad(ctx context.Context, x Batch, y, targets []int64, loss Loss) (Gradient, error) {
	w.check(x)
	return w.Model.LossGrad(ctx, x, y, targets, loss)
}

// small are the attacks of AutoAttack but FAB, with fewer steps.
func small() map[string]runner {
	ce, targeted, square := DefaultAPGD(), DefaultAPGDT(), DefaultSquare()
	ce.Steps, targeted.Steps, targeted.Targets, square.Queries = 20, 20, 2, 60
	ce.Epsilon, targeted.Epsilon, square.Epsilon = 0.02, 0.02, 0.02
	with := func(a APGD, change func(*APGD)) APGD { change(&a); return a }
	squareL2, squareStream := square, square
	squareL2.Norm, squareL2.Epsilon = L2, 0.2
	squareStream.Randomness = StreamCompat
	return map[string]runner{
		"apgd-ce":          ce,
		"apgd-dlr":         with(ce, func(a *APGD) { a.Loss = DLR }),
		"apgd-margin":      with(ce, func(a *APGD) { a.Loss = Margin }),
		"apgd-ce L2":       with(ce, func(a *APGD) { a.Norm, a.Epsilon = L2, 0.2 }),
		"apgd-ce best":     with(ce, func(a *APGD) { a.BestLoss, a.Restarts = true, 2 }),
		"apgd-ce restarts": with(ce, func(a *APGD) { a.Restarts, a.Seed = 3, 5 }),
		"apgd-ce stream":   with(ce, func(a *APGD) { a.Randomness = StreamCompat }),
		"apgd-t":           targeted,
		"apgd-t L2":        with(targeted, func(a *APGD) { a.Norm, a.Epsilon = L2, 0.2 }),
		"apgd-t logits":    with(targeted, func(a *APGD) { a.Loss = LogitDifference }),
		"square":           square,
		"square stream":    squareStream,
		"square L2":        squareL2,
	}
}

// ballOf returns norm and radius of an attack for checkBall.
func ballOf(r runner) PGD {
	switch a := r.(type) {
	case APGD:
		return PGD{Norm: a.Norm, Epsilon: a.Epsilon}
	case Square:
		return PGD{Norm: a.Norm, Epsilon: a.Epsilon}
	case FAB:
		return PGD{Norm: a.Norm, Epsilon: a.Epsilon}
	}
	panic("no such attack")
}

// withFAB adds FAB, whose search leaves the ball.
func withFAB() map[string]runner {
	all := small()
	fab := DefaultFAB()
	fab.Steps, fab.Targets, fab.Epsilon = 15, 2, 0.05
	all["fab-t"] = fab
	fab.Norm, fab.Epsilon = L2, 0.3
	all["fab-t L2"] = fab
	return all
}

// problem is a model with images that it gets right, but for the second.
func problem(t *testing.T) (*mlp, Batch, []int64, []string) {
	t.Helper()
	m := newMLP(2, 3*6*5, 12, 5, 0.6)
	x := images(1, 6, 3, 6, 5)
	y := predictions(t, m, x)
	y[1] = (y[1] + 1) % 5
	return m, x, y, names(x.N)
}

func run(t *testing.T, a runner, m Model, x Batch, y []int64, ids []string) Result {
	t.Helper()
	r, err := a.Run(context.Background(), m, x, y, ids, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAttacksStayInBallAndBox(t *testing.T) {
	m, x, y, ids := problem(t)
	for name, a := range small() {
		t.Run(name, func(t *testing.T) {
			w := &eachImage{Model: m, t: t, ball: ballOf(a), clean: x}
			run(t, a, w, x, y, ids)
			if w.seen < 3 {
				t.Fatalf("%d batches seen", w.seen)
			}
		})
	}
}

// What every attack promises about its result.
func TestAttackResults(t *testing.T) {
	m, x, y, ids := problem(t)
	fooledOnce := false
	for name, a := range withFAB() {
		t.Run(name, func(t *testing.T) {
			before, labels := x.Clone(), slices.Clone(y)
			last := 0
			r, err := a.Run(context.Background(), m, x, y, ids, func(done, total int) {
				if done < last || done > total {
					t.Fatalf("progress went from %d to %d of %d", last, done, total)
				}
				last = done
			})
			if err != nil {
				t.Fatal(err)
			}
			if bitsDiffer(before.Pixels, x.Pixels) >= 0 || !slices.Equal(labels, y) {
				t.Error("images or labels were modified")
			}
			if again := run(t, a, m, x, y, ids); bitsDiffer(again.Adversarial.Pixels, r.Adversarial.Pixels) >= 0 {
				t.Error("a second run gives other images")
			}
			if p := predictions(t, m, r.Adversarial); !slices.Equal(p, r.Predicted) {
				t.Errorf("predictions %v, the model says %v", r.Predicted, p)
			}
			for i := range x.N {
				if r.Fooled[i] != (r.Predicted[i] != y[i]) || r.Correct[i] != (i != 1) {
					t.Errorf("image %d: fooled %v, correct %v", i, r.Fooled[i], r.Correct[i])
				}
				checkBall(t, ballOf(a), x.Image(i), r.Adversarial.Image(i))
				moved := bitsDiffer(r.Adversarial.Image(i), x.Image(i)) >= 0
				best, _ := a.(APGD)
				if (i == 1 || !r.Fooled[i] && !best.BestLoss) && moved {
					t.Errorf("image %d was moved, although it is misclassified or robust", i)
				}
				fooledOnce = fooledOnce || r.Correct[i] && r.Fooled[i]
			}
		})
	}
	if !fooledOnce {
		t.Error("no attack fooled the model")
	}
}

// Keyed draws: an image's result does not depend on its batch, with a model whose numbers do not.
func TestAttacksOnPermutedAndSplitBatches(t *testing.T) {
	m, x, y, ids := problem(t)
	for name, a := range withFAB() {
		if strings.Contains(name, "stream") {
			continue
		}
		t.Run(name, func(t *testing.T) {
			whole := run(t, a, m, x, y, ids)
			for i := range x.N {
				alone := run(t, a, m, x.Slice(i, i+1), y[i:i+1], ids[i:i+1])
				if at := bitsDiffer(alone.Adversarial.Pixels, whole.Adversarial.Image(i)); at >= 0 {
					t.Fatalf("image %d alone differs at pixel %d", i, at)
				}
			}
			order := []int{4, 1, 5, 0, 3, 2}
			labels, permuted := make([]int64, len(order)), make([]string, len(order))
			for k, i := range order {
				labels[k], permuted[k] = y[i], ids[i]
			}
			r := run(t, a, m, x.gather(order), labels, permuted)
			for k, i := range order {
				if at := bitsDiffer(r.Adversarial.Image(k), whole.Adversarial.Image(i)); at >= 0 {
					t.Fatalf("image %d at place %d differs at pixel %d", i, k, at)
				}
			}
		})
	}
}

func TestZeroEpsilonMovesNothing(t *testing.T) {
	m, x, y, ids := problem(t)
	for name, a := range small() {
		switch v := a.(type) {
		case APGD:
			v.Epsilon, v.BestLoss = 0, !v.Loss.Targeted()
			a = v
		case Square:
			v.Epsilon = 0
			a = v
		}
		if at := bitsDiffer(run(t, a, m, x, y, ids).Adversarial.Pixels, x.Pixels); at >= 0 {
			t.Errorf("%s: pixel %d moved", name, at)
		}
	}
}

func TestCheckpoints(t *testing.T) {
	for steps, want := range map[int][]int{
		100: {22, 41, 57, 70, 80, 87, 93, 99},
		50:  {11, 21, 30, 38, 45},
		40:  {8, 15, 21, 26, 30, 33, 35, 37, 39},
		10:  {2, 3, 4, 5, 6, 7, 8, 9, 10},
	} {
		var got []int
		window, shrink, least := checkpoints(steps)
		for at := window; at <= steps; at += window {
			got = append(got, at)
			window = max(window-shrink, least)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%d steps: checkpoints at %v, want %v", steps, got, want)
		}
	}
}

func TestStalled(t *testing.T) {
	column := func(losses ...float32) [][]float32 {
		h := make([][]float32, len(losses))
		for i, v := range losses {
			h[i] = []float32{v}
		}
		return h
	}
	for _, c := range []struct {
		name      string
		history   [][]float32
		i, window int
		want      bool
	}{
		{"always up", column(1, 2, 3, 4, 0, 0), 3, 4, false},
		{"three of four", column(1, 2, 2, 4, 0, 0), 3, 4, true}, // 3 <= 0.75*4
		{"first compares with the last row", column(-1, 2, 3, 4, 0, 0), 3, 4, true},
		{"later window", column(9, 1, 2, 3, 4, 5), 5, 4, false},
		{"equal is not up", column(1, 1, 1, 1), 3, 4, true},
	} {
		if got := stalled(c.history, c.i, c.window, 0, 0.75); got != c.want {
			t.Errorf("%s: got %v", c.name, got)
		}
	}
}

// The invariants of the iteration, looked at after every step.
func TestClimbInvariants(t *testing.T) {
	for _, norm := range []Norm{Linf, L2} {
		for _, loss := range []Loss{CrossEntropy, DLR, TargetedDLR} {
			t.Run(fmt.Sprintf("%v %v", norm, loss), func(t *testing.T) {
				m, x, _, ids := problem(t)
				y := predictions(t, m, x)
				v, _, err := newVictims(context.Background(), m, x, y, ids)
				if err != nil {
					t.Fatal(err)
				}
				a := DefaultAPGD()
				a.Norm, a.Loss, a.Steps, a.Epsilon = norm, loss, 50, 0.03
				if norm == L2 {
					a.Epsilon = 0.3
				}
				out := newOutcome(v)
				places := v.index
				c := climb{APGD: a, victims: v, different: differentiator{m, loss, false, &out, places}}
				if loss.Targeted() {
					c.targets = v.ranked(2)
				}
				eta, best := make([]float32, x.N), make([]float32, x.N)
				for k := range eta {
					eta[k], best[k] = float32(2*a.Epsilon), float32(math.Inf(-1))
				}
				m.grads = 0
				halvings := 0
				err = c.run(context.Background(), c.start(newDraws(Keyed, 1, "test"), 0), func(int) {
					grads := m.grads
					g, err := m.LossGrad(context.Background(), c.best, y, c.targets, loss)
					if err != nil {
						t.Fatal(err)
					}
					fooled, err := v.predictions(context.Background(), m, c.fool)
					if err != nil {
						t.Fatal(err)
					}
					m.grads = grads
					for k := range eta {
						if c.eta[k] != eta[k] && c.eta[k] != eta[k]/2 {
							t.Fatalf("image %d: step size went from %v to %v", k, eta[k], c.eta[k])
						}
						if c.eta[k] != eta[k] {
							halvings++
						}
						if c.bestLoss[k] < best[k] {
							t.Fatalf("image %d: best loss fell from %v to %v", k, best[k], c.bestLoss[k])
						}
						if g.Loss[k] != c.bestLoss[k] {
							t.Fatalf("image %d: loss of the best image is %v, remembered %v", k, g.Loss[k], c.bestLoss[k])
						}
						if !c.robust[k] && fooled[k] == y[k] {
							t.Fatalf("image %d: the fooling image is classified correctly", k)
						}
						checkBall(t, PGD{Norm: norm, Epsilon: a.Epsilon}, x.Image(k), c.best.Image(k))
						eta[k], best[k] = c.eta[k], c.bestLoss[k]
					}
				})
				if err != nil {
					t.Fatal(err)
				}
				if m.grads != 1+a.Steps {
					t.Errorf("%d gradients, want %d", m.grads, 1+a.Steps)
				}
				if halvings == 0 || halvings > 5*x.N {
					t.Errorf("%d halvings of %d step sizes at 5 checkpoints", halvings, x.N)
				}
			})
		}
	}
}

// A linear model with two classes: the corner against the difference of its rows is best, and APGD gets there.
func TestAPGDOnALinearModel(t *testing.T) {
	m := newMLP(9, 40, 0, 2, 0.05)
	x := images(8, 4, 1, 8, 5)
	y, ids := predictions(t, m, x), names(4)
	a := DefaultAPGD()
	a.BestLoss = true
	r := run(t, a, m, x, y, ids)
	eps := float32(a.Epsilon)
	for i := range x.N {
		for j, v := range x.Image(i) {
			up := m.v[(1-y[i])*40+int64(j)] - m.v[y[i]*40+int64(j)]
			want := clamp01(v + eps*sign(float32(up)))
			if got := r.Adversarial.Image(i)[j]; math.Abs(float64(got-want)) > 1e-6 {
				t.Fatalf("image %d, pixel %d: got %v, want %v", i, j, got, want)
			}
		}
	}
}

// The first point lies on the surface of the ball, before clamping.
func TestAPGDStart(t *testing.T) {
	x := NewBatch(3, 2, 6, 5)
	for j := range x.Pixels {
		x.Pixels[j] = 0.5
	}
	for _, norm := range []Norm{Linf, L2} {
		for _, r := range []Randomness{Keyed, StreamCompat} {
			c := climb{APGD: APGD{Norm: norm, Epsilon: 0.25}, victims: victims{x: x, index: []int{0, 1, 2}, ids: names(3)}}
			x0 := c.start(newDraws(r, 4, "test"), 0)
			for k := range x0.N {
				d := make([]float32, 60)
				for j, v := range x0.Image(k) {
					d[j] = v - 0.5
				}
				if got := lengthOf(d, norm); math.Abs(got-0.25) > 1e-6 {
					t.Errorf("%v, %v: image %d starts at distance %v", norm, r, k, got)
				}
			}
			if bitsDiffer(x0.Image(0), x0.Image(1)) < 0 {
				t.Errorf("%v, %v: two images start equal", norm, r)
			}
		}
	}
}

// Clean logits 0, 3, 1, 2: targets of label 1 are 3, then 2, then 0; more there are not.
func TestRankedTargets(t *testing.T) {
	v := victims{x: NewBatch(2, 1, 1, 1), logits: []float32{0, 3, 1, 2, 5, 5, -1, -1}}
	for rank, want := range map[int][]int64{1: {1, 0}, 2: {3, 1}, 3: {2, 2}, 4: {0, 3}} {
		if got := v.ranked(rank); !slices.Equal(got, want) {
			t.Errorf("rank %d: got %v, want %v", rank, got, want)
		}
	}
	m := newMLP(2, 12, 0, 4, 0.01) // too flat to be fooled
	x := images(3, 2, 1, 3, 4)
	y, ids := predictions(t, m, x), names(2)
	a := DefaultAPGDT()
	a.Steps, a.Epsilon = 5, 1e-6
	m.grads = 0
	if run(t, a, m, x, y, ids); m.grads != 3*6 {
		t.Errorf("%d gradients for three targets, want 18", m.grads)
	}
}

func TestAttackErrors(t *testing.T) {
	m, x, y, ids := problem(t)
	nan := float32(math.NaN())
	for name, a := range map[string]runner{"apgd-ce": DefaultAPGD(), "apgd-t": DefaultAPGDT(), "fab-t": DefaultFAB()} {
		bad := &broken{Model: m, grad: func(_ int, g Gradient) { g.Pixels[7] = nan }}
		if _, err := a.Run(context.Background(), bad, x, y, ids, nil); err == nil || !strings.Contains(err.Error(), name) ||
			!strings.Contains(err.Error(), `image "image-0": gradient of pixel 7 is NaN`) {
			t.Errorf("%s: NaN gradient gives %v", name, err)
		}
	}
	for name, a := range withFAB() {
		bad := &broken{Model: m, logits: func(pass int, z []float32) {
			if pass == 1 {
				z[3] = nan
			}
		}}
		if _, err := a.Run(context.Background(), bad, x, y, ids, nil); err == nil || !strings.Contains(err.Error(), "is NaN") {
			t.Errorf("%s: a NaN logit in the second pass gives %v", name, err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		_, err := a.Run(ctx, m, x, y, ids, func(int, int) { cancel() })
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: cancelled run gives %v", name, err)
		}
		if _, err := a.Run(context.Background(), m, x, append([]int64{9}, y[1:]...), ids, nil); err == nil ||
			!strings.Contains(err.Error(), "label is 9") {
			t.Errorf("%s: label 9 gives %v", name, err)
		}
	}
	zeroNaN := DefaultAPGD()
	zeroNaN.ZeroNaN, zeroNaN.Steps = true, 3
	bad := &broken{Model: m, grad: func(_ int, g Gradient) { g.Pixels[7] = nan }}
	if r, err := zeroNaN.Run(context.Background(), bad, x, y, ids, nil); err != nil || r.NaNReplaced != 4 {
		t.Errorf("4 NaN gradients: %d replaced, %v", r.NaNReplaced, err)
	}
	three := newMLP(4, 90, 0, 3, 0.1)
	if _, err := DefaultAPGDT().Run(context.Background(), three, x, make([]int64, 6), ids, nil); err == nil ||
		!strings.Contains(err.Error(), "needs 4 classes") {
		t.Errorf("targeted DLR of three classes gives %v", err)
	}
}

func TestAttackValidation(t *testing.T) {
	apgd := func(change func(*APGD)) runner { a := DefaultAPGDT(); change(&a); return a }
	fab := func(change func(*FAB)) runner { f := DefaultFAB(); change(&f); return f }
	square := func(change func(*Square)) runner { q := DefaultSquare(); change(&q); return q }
	for _, c := range []struct {
		a    runner
		want string
	}{
		{apgd(func(a *APGD) { a.Norm = 9 }), "unknown norm"},
		{apgd(func(a *APGD) { a.Epsilon = math.NaN() }), "epsilon is NaN"},
		{apgd(func(a *APGD) { a.Steps = 0 }), "steps is 0"},
		{apgd(func(a *APGD) { a.Restarts = 0 }), "restarts is 0"},
		{apgd(func(a *APGD) { a.Rho = 2 }), "rho is 2"},
		{apgd(func(a *APGD) { a.Targets = 0 }), "targets is 0"},
		{apgd(func(a *APGD) { a.BestLoss = true }), "no best one"},
		{apgd(func(a *APGD) { a.Loss = 77 }), "unknown loss"},
		{apgd(func(a *APGD) { a.Randomness = 3 }), "unknown randomness"},
		{fab(func(f *FAB) { f.Steps = 0 }), "steps is 0"},
		{fab(func(f *FAB) { f.Targets = -1 }), "targets is -1"},
		{fab(func(f *FAB) { f.AlphaMax = 1.5 }), "alpha max"},
		{fab(func(f *FAB) { f.Eta = 0.5 }), "eta is 0.5"},
		{fab(func(f *FAB) { f.Beta = 1 }), "beta is 1"},
		{square(func(q *Square) { q.Queries = -1 }), "queries is -1"},
		{square(func(q *Square) { q.Share = 0 }), "share is 0"},
		{square(func(q *Square) { q.Restarts = 0 }), "restarts is 0"},
	} {
		if err := c.a.Validate(); err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), c.a.Name()+": ") {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}

// Large weights: p_y rounds to 1.
func TestSaturationIsCounted(t *testing.T) {
	m := newMLP(6, 60, 0, 4, 20)
	x := images(4, 5, 3, 4, 5)
	a := DefaultAPGD()
	a.Steps, a.Epsilon = 2, 1e-4
	if r := run(t, a, m, x, predictions(t, m, x), names(5)); r.SaturatedImages == 0 {
		t.Error("no image counts as saturated")
	}
}

// plainAPGDStep is the L-infinity iteration of APGD written with comparisons, one pixel at a time.
func plainAPGDStep(adv, prev, x, g, eta, eps, a, rest float32) float32 {
	limit := func(v float32) float32 {
		return min(max(min(max(v, float32(x-eps)), float32(x+eps)), 0), 1)
	}
	z := limit(float32(adv + float32(eta*sign(g))))
	return limit(float32(float32(adv+float32(float32(z-adv)*a)) + float32(float32(adv-prev)*rest)))
}

func TestAPGDStepIsExact(t *testing.T) {
	draw := rng.New(21, "apgd step")
	gradients := []float32{0, float32(math.Copysign(0, -1)), 1, -1, math.SmallestNonzeroFloat32,
		-math.SmallestNonzeroFloat32, math.MaxFloat32, -math.MaxFloat32}
	edges := []float32{0, 1, math.SmallestNonzeroFloat32, math.Nextafter32(1, 0)}
	for range 200_000 {
		eps := float32(draw.IntN(300)) / 255
		x := float32(draw.Float64())
		switch draw.IntN(4) {
		case 0:
			x = float32(draw.IntN(256)) / 255
		case 1:
			x = edges[draw.IntN(len(edges))]
		}
		point := func() float32 { return clamp01(float32(x + float32((2*draw.Float64()-1)*float64(eps)))) }
		adv, prev, g := point(), point(), gradients[draw.IntN(len(gradients))]
		eta := 2 * eps / float32(int(1)<<draw.IntN(6))
		for _, a := range []float32{0.75, 1} {
			got, before := []float32{adv}, []float32{prev}
			stepAPGDLinf(got, before, []float32{x}, []float32{g}, eta, eps, a, 1-a)
			if want := plainAPGDStep(adv, prev, x, g, eta, eps, a, 1-a); got[0] != want || before[0] != adv {
				t.Fatalf("adv %v, prev %v, x %v, g %v, eta %v, eps %v, a %v: got %v and %v, want %v and %v", adv, prev, x, g, eta, eps, a,
					got[0], before[0], want, adv)
			}
		}
	}
}
