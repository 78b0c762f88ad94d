package attacks

import (
	"context"
	"errors"
	"math"
	"runtime"
	"strings"
	"testing"

	"sat/internal/rng"
)

// settings are the variants over which the properties must hold.
func settings() map[string]PGD {
	linf := Defaults()
	linf.Steps = 8
	with := func(change func(*PGD)) PGD { p := linf; change(&p); return p }
	return map[string]PGD{
		"paper":        linf,
		"small step":   with(func(p *PGD) { p.StepSize = p.Epsilon / 5 }),
		"large eps":    with(func(p *PGD) { p.Epsilon, p.StepSize = 48.0/255, 0.02 }),
		"random start": with(func(p *PGD) { p.RandomStart, p.StepSize, p.Seed = true, 0.01, 3 }),
		"restarts":     with(func(p *PGD) { p.RandomStart, p.Restarts, p.StepSize = true, 3, 0.004 }),
		"targeted":     with(func(p *PGD) { p.Target, p.StepSize = TargetGiven, 0.01 }),
		"momentum":     with(func(p *PGD) { p.Momentum, p.StepSize = 1, 0.01 }),
		"best loss":    with(func(p *PGD) { p.Select = BestLoss }),
		"dlr":          with(func(p *PGD) { p.Loss, p.StepSize, p.Select = DLR, 0.01, BestLoss }),
		"margin":       with(func(p *PGD) { p.Loss, p.StepSize = Margin, 0.01 }),
		"first fooled": with(func(p *PGD) { p.Select, p.StepSize = FirstFooled, 0.004 }),
		"L2":           with(func(p *PGD) { p.Norm, p.Epsilon, p.StepSize = L2, 0.5, 0.1 }),
		"L2 random":    with(func(p *PGD) { p.Norm, p.Epsilon, p.StepSize, p.RandomStart = L2, 0.5, 0.1, true }),
		"L2 momentum":  with(func(p *PGD) { p.Norm, p.Epsilon, p.StepSize, p.Momentum = L2, 0.5, 0.1, 0.9 }),
	}
}

// watch checks every version of one image that an attack shows to a model.
type watch struct {
	Model
	t     *testing.T
	p     PGD
	clean []float32
	seen  int
}

func (w *watch) Logits(ctx context.Context, x Batch) ([]float32, error) {
	checkBall(w.t, w.p, w.clean, x.Pixels)
	w.seen++
	return w.Model.Logits(ctx, x)
}

func (w *watch) LossGrad(ctx context.Context, x Batch, y, targets []int64, loss Loss) (Gradient, error) {
	checkBall(w.t, w.p, w.clean, x.Pixels)
	w.seen++
	return w.Model.LossGrad(ctx, x, y, targets, loss)
}

// checkBall wants the box exactly and the ball up to the rounding of float32.
func checkBall(t *testing.T, p PGD, clean, adv []float32) {
	t.Helper()
	length := 0.0
	for j, v := range adv {
		if !(v >= 0 && v <= 1) {
			t.Fatalf("pixel %d is %v, outside [0,1]", j, v)
		}
		d := math.Abs(float64(v) - float64(clean[j]))
		length += d * d
		if p.Norm == Linf && d > p.Epsilon+6e-8 {
			t.Fatalf("pixel %d moved by %v, epsilon is %v", j, d, p.Epsilon)
		}
	}
	if length = math.Sqrt(length); p.Norm == L2 && length > p.Epsilon+1e-6 {
		t.Fatalf("image moved by %v, epsilon is %v", length, p.Epsilon)
	}
}

func TestEveryIterateStaysInBallAndBox(t *testing.T) {
	m := newMLP(2, 60, 12, 4, 0.6)
	x := images(1, 5, 3, 4, 5)
	y, ids := predictions(t, m, x), names(x.N)
	for name, p := range settings() {
		t.Run(name, func(t *testing.T) {
			for i := range x.N {
				w := &watch{Model: m, t: t, p: p, clean: x.Image(i)}
				r := attack(t, p, w, x.Slice(i, i+1), y[i:i+1], ids[i:i+1])
				checkBall(t, p, x.Image(i), r.Adversarial.Pixels)
				if w.seen < 2 {
					t.Fatalf("%d iterates seen", w.seen)
				}
			}
		})
	}
}

func TestNothingMovesWithoutBallStepOrSteps(t *testing.T) {
	m := newMLP(2, 60, 12, 4, 0.6)
	x := images(1, 6, 3, 4, 5)
	y := predictions(t, m, x)
	for name, change := range map[string]func(*PGD){
		"eps 0":        func(p *PGD) { p.Epsilon = 0 },
		"eps 0 random": func(p *PGD) { p.Epsilon, p.RandomStart = 0, true },
		"alpha 0":      func(p *PGD) { p.StepSize = 0 },
		"no steps":     func(p *PGD) { p.Steps = 0 },
		"L2 eps 0":     func(p *PGD) { p.Norm, p.Epsilon = L2, 0 },
		"L2 alpha 0":   func(p *PGD) { p.Norm, p.StepSize = L2, 0 },
	} {
		t.Run(name, func(t *testing.T) {
			p := Defaults()
			change(&p)
			r := attack(t, p, m, x, y, names(x.N))
			if i := bitsDiffer(r.Adversarial.Pixels, x.Pixels); i >= 0 {
				t.Fatalf("pixel %d changed from %v to %v", i, x.Pixels[i], r.Adversarial.Pixels[i])
			}
		})
	}
}

func TestPermutingAndSplittingTheBatch(t *testing.T) {
	m := newMLP(5, 60, 12, 4, 0.6)
	x := images(6, 9, 3, 4, 5)
	y, ids := predictions(t, m, x), names(x.N)
	for name, p := range settings() {
		t.Run(name, func(t *testing.T) {
			whole := attack(t, p, m, x, y, ids)

			perm := rng.New(7, "perm").Perm(x.N)
			px, py, pids := NewBatch(x.N, x.C, x.H, x.W), make([]int64, x.N), make([]string, x.N)
			for to, from := range perm {
				copy(px.Image(to), x.Image(from))
				py[to], pids[to] = y[from], ids[from]
			}
			permuted := attack(t, p, m, px, py, pids)
			for to, from := range perm {
				if i := bitsDiffer(permuted.Adversarial.Image(to), whole.Adversarial.Image(from)); i >= 0 {
					t.Fatalf("permuted: image %d differs at pixel %d", from, i)
				}
				if permuted.Fooled[to] != whole.Fooled[from] || permuted.Predicted[to] != whole.Predicted[from] {
					t.Fatalf("permuted: flags of image %d differ", from)
				}
			}

			a := attack(t, p, m, x.Slice(0, 4), y[:4], ids[:4])
			b := attack(t, p, m, x.Slice(4, 9), y[4:], ids[4:])
			if i := bitsDiffer(append(a.Adversarial.Pixels, b.Adversarial.Pixels...), whole.Adversarial.Pixels); i >= 0 {
				t.Fatalf("split: pixel %d differs", i)
			}
			if a.SaturatedImages+b.SaturatedImages != whole.SaturatedImages {
				t.Fatalf("split: %d + %d saturated images, whole: %d", a.SaturatedImages, b.SaturatedImages, whole.SaturatedImages)
			}
		})
	}
}

// With alpha >= 2 eps the step size does not matter any more: every moved pixel sits on a corner.
func TestCornerIdentity(t *testing.T) {
	m := newMLP(8, 60, 12, 4, 0.6)
	for j := range m.hidden { // two pixels without any influence
		m.u[j*60+10], m.u[j*60+20] = 0, 0
	}
	x := images(9, 6, 3, 4, 5)
	y := predictions(t, m, x)
	for _, eps := range []float64{1.0 / 255, 8.0 / 255, 12.0 / 255} {
		p := Defaults()
		p.Epsilon, p.Steps = eps, 10
		var first Result
		for n, alpha := range []float64{2*eps + 1e-6, 0.1, 0.2, 1} {
			p.StepSize = alpha
			r := attack(t, p, m, x, y, names(x.N))
			if n == 0 {
				first = r
			} else if i := bitsDiffer(r.Adversarial.Pixels, first.Adversarial.Pixels); i >= 0 {
				t.Fatalf("eps %v, step %v: pixel %d is %v, with the smallest step it is %v",
					eps, alpha, i, r.Adversarial.Pixels[i], first.Adversarial.Pixels[i])
			}
		}
		e := float32(eps)
		for i := range x.N {
			for j, v := range first.Adversarial.Image(i) {
				c := x.Image(i)[j]
				lo, hi := max(0, c-e), min(1, c+e)
				if j == 10 || j == 20 {
					lo, hi = c, c
				}
				if v != lo && v != hi {
					t.Fatalf("eps %v: image %d, pixel %d is %v, neither %v nor %v", eps, i, j, v, lo, hi)
				}
			}
		}
	}
}

func TestFirstStepIsFGSM(t *testing.T) {
	m := newMLP(10, 60, 12, 4, 0.6)
	x := images(11, 6, 3, 4, 5)
	y := predictions(t, m, x)
	p := Defaults()
	p.Steps = 1
	r := attack(t, p, m, x, y, names(x.N))
	g, err := m.LossGrad(context.Background(), x, y, nil, CrossEntropy)
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range x.Pixels {
		want := c
		if s := g.Pixels[i]; s > 0 {
			want = min(1, c+float32(p.Epsilon))
		} else if s < 0 {
			want = max(0, c-float32(p.Epsilon))
		}
		if got := r.Adversarial.Pixels[i]; got != want {
			t.Fatalf("pixel %d: got %v, FGSM gives %v", i, got, want)
		}
	}
}

// A linear model with two classes has one gradient sign everywhere, so PGD walks straight into
// clamp01(x + eps*sign(w_other - w_y)) and arrives after ceil(eps/alpha) steps.
func TestLinearModelClosedForm(t *testing.T) {
	m := newMLP(12, 60, 0, 2, 0.05)
	x := images(13, 6, 3, 4, 5)
	y := predictions(t, m, x)
	for _, alpha := range []float64{0.1, 0.02, 0.01, 0.003} {
		p := Defaults()
		p.StepSize, p.Steps = alpha, int(math.Ceil(p.Epsilon/alpha))
		r := attack(t, p, m, x, y, names(x.N))
		for i := range x.N {
			for j, c := range x.Image(i) {
				w := m.v[(1-y[i])*60+int64(j)] - m.v[y[i]*60+int64(j)]
				want := min(1, max(0, float64(c)+math.Copysign(p.Epsilon, w)))
				if got := float64(r.Adversarial.Image(i)[j]); math.Abs(got-want) > 1e-7 {
					t.Fatalf("step %v: image %d, pixel %d is %v, want %v", alpha, i, j, got, want)
				}
			}
		}
	}
}

// shifted adds a constant to all logits.
type shifted struct{ Model }

func (s shifted) LossGrad(ctx context.Context, x Batch, y, targets []int64, loss Loss) (Gradient, error) {
	g, err := s.Model.LossGrad(ctx, x, y, targets, loss)
	for i := range g.Logits {
		g.Logits[i] += 5
	}
	return g, err
}

func TestConstantOnAllLogitsChangesNothing(t *testing.T) {
	m := newMLP(14, 60, 12, 4, 0.6)
	x := images(15, 6, 3, 4, 5)
	y := predictions(t, m, x)
	for name, p := range settings() {
		a, b := attack(t, p, m, x, y, names(x.N)), attack(t, p, shifted{m}, x, y, names(x.N))
		if i := bitsDiffer(a.Adversarial.Pixels, b.Adversarial.Pixels); i >= 0 {
			t.Fatalf("%s: pixel %d differs", name, i)
		}
	}
}

func TestInputsAreNotModified(t *testing.T) {
	m := newMLP(16, 60, 12, 4, 0.6)
	x := images(17, 6, 3, 4, 5)
	y, ids := predictions(t, m, x), names(x.N)
	wantX, wantY := x.Clone(), append([]int64(nil), y...)
	for name, p := range settings() {
		attack(t, p, m, x, y, ids)
		if i := bitsDiffer(x.Pixels, wantX.Pixels); i >= 0 {
			t.Fatalf("%s: pixel %d of the input changed", name, i)
		}
		for i := range y {
			if y[i] != wantY[i] {
				t.Fatalf("%s: label %d changed", name, i)
			}
		}
	}
}

func TestResumeFromAnyStep(t *testing.T) {
	m := newMLP(18, 60, 12, 4, 0.6)
	x := images(19, 6, 3, 4, 5)
	y, ids := predictions(t, m, x), names(x.N)
	for _, name := range []string{"paper", "small step", "targeted", "L2"} {
		p := settings()[name]
		want := attack(t, p, m, x, y, ids)
		for stop := range p.Steps + 1 {
			head, tail := p, p
			head.Steps, tail.Steps = stop, p.Steps-stop
			got, err := tail.RunFrom(context.Background(), m, x, attack(t, head, m, x, y, ids).Adversarial, y, ids, nil)
			if err != nil {
				t.Fatal(err)
			}
			if i := bitsDiffer(got.Adversarial.Pixels, want.Adversarial.Pixels); i >= 0 {
				t.Fatalf("%s: stopped after step %d, pixel %d differs", name, stop, i)
			}
		}
	}
}

// The formula of package doc, written down once more as plainly as possible; torchattacks performs these operations.
func plainStep(adv, x, g, alpha, eps float32) float32 {
	sign := float32(0)
	if g > 0 {
		sign = 1
	}
	if g < 0 {
		sign = -1
	}
	move := alpha * sign
	v := float32(adv) + float32(move)
	d := float32(v) - x
	if d < -eps {
		d = -eps
	}
	if d > eps {
		d = eps
	}
	next := float32(x) + float32(d)
	if next < 0 {
		next = 0
	}
	if next > 1 {
		next = 1
	}
	return next
}

func TestStepIsExact(t *testing.T) {
	draw := rng.New(20, "step")
	gradients := []float32{0, float32(math.Copysign(0, -1)), 1, -1, math.SmallestNonzeroFloat32,
		-math.SmallestNonzeroFloat32, math.MaxFloat32, -math.MaxFloat32}
	for range 200_000 {
		eps := float32(draw.IntN(64)) / 255
		alpha := float32(draw.Float64() * 0.2)
		x := float32(draw.Float64())
		if draw.IntN(4) == 0 {
			x = float32(draw.IntN(256)) / 255
		}
		adv := min(1, max(0, x+float32((2*draw.Float64()-1)*float64(eps))))
		g := gradients[draw.IntN(len(gradients))]
		for _, descend := range []bool{false, true} {
			got := []float32{adv}
			stepLinf(got, []float32{x}, []float32{g}, alpha, eps, descend)
			signed := g
			if descend {
				signed = -g
			}
			if want := plainStep(adv, x, signed, alpha, eps); got[0] != want {
				t.Fatalf("adv %v, x %v, g %v, alpha %v, eps %v, descend %v: got %v, want %v", adv, x, g, alpha, eps, descend, got[0], want)
			}
		}
	}
}

func TestMomentum(t *testing.T) {
	m := newMLP(21, 4, 3, 3, 1)
	x := images(22, 2, 1, 2, 2)
	y := predictions(t, m, x)
	p := Defaults()
	p.Epsilon, p.StepSize, p.Steps, p.Momentum = 0.2, 0.03, 6, 0.7

	adv, acc := x.Clone(), make([]float64, len(x.Pixels))
	for range p.Steps {
		g, err := m.LossGrad(context.Background(), adv, y, nil, CrossEntropy)
		if err != nil {
			t.Fatal(err)
		}
		for i := range x.N {
			mean := 0.0
			for j := range 4 {
				mean += math.Abs(float64(g.Pixels[i*4+j])) / 4
			}
			for j := i * 4; j < i*4+4; j++ {
				acc[j] = p.Momentum*acc[j] + float64(g.Pixels[j])/mean
				adv.Pixels[j] = plainStep(adv.Pixels[j], x.Pixels[j], float32(acc[j]), float32(p.StepSize), float32(p.Epsilon))
			}
		}
	}
	r := attack(t, p, m, x, y, names(2))
	if i := bitsDiffer(r.Adversarial.Pixels, adv.Pixels); i >= 0 {
		t.Fatalf("pixel %d: got %v, want %v", i, r.Adversarial.Pixels[i], adv.Pixels[i])
	}
}

// The step of a one-pixel-row image in L2, by hand: g = (3,4), so x moves by alpha*(0.6,0.8).
func TestL2ByHand(t *testing.T) {
	a := newActive(Batch{Pixels: []float32{0.5, 0.5}, N: 1, C: 1, H: 1, W: 2}, Batch{Pixels: []float32{0.5, 0.5}, N: 1, C: 1, H: 1, W: 2}, []int64{0}, false)
	stepL2(a, []float32{3, 4}, 0.1, 1, false)
	stepL2(a, []float32{0, 0}, 0.1, 1, false)
	want := []float64{0.56, 0.58}
	for i, v := range a.adv.Pixels {
		if math.Abs(float64(v)-want[i]) > 1e-7 {
			t.Fatalf("free step: got %v, want %v", a.adv.Pixels, want)
		}
	}
	stepL2(a, []float32{3, 4}, 10, 0.25, false) // shortened to 0.25*(0.6,0.8)
	want = []float64{0.65, 0.7}
	for i, v := range a.adv.Pixels {
		if math.Abs(float64(v)-want[i]) > 1e-6 {
			t.Fatalf("projected step: got %v, want %v", a.adv.Pixels, want)
		}
	}
}

func TestSelectBestLoss(t *testing.T) {
	m := newMLP(23, 60, 12, 4, 0.6)
	x := images(24, 8, 3, 4, 5)
	y, ids := predictions(t, m, x), names(x.N)
	for _, targeted := range []bool{false, true} {
		p := Defaults()
		p.Steps, p.Select = 7, BestLoss
		if targeted {
			p.Target = TargetGiven
			y = NextTargets(y, 4)
		}
		got := attack(t, p, m, x, y, ids)
		s := 1.0
		if targeted {
			s = -1
		}
		for i := range x.N {
			best, want := math.Inf(-1), []float32(nil)
			for stop := range p.Steps + 1 {
				q := p
				q.Steps, q.Select = stop, Last
				it := attack(t, q, m, x, y, ids).Adversarial
				logits, err := m.Logits(context.Background(), it.Slice(i, i+1))
				if err != nil {
					t.Fatal(err)
				}
				if loss := s * crossEntropy(logits, y[i]); loss > best {
					best, want = loss, it.Image(i)
				}
			}
			if j := bitsDiffer(got.Adversarial.Image(i), want); j >= 0 {
				t.Fatalf("targeted %v, image %d: pixel %d is not that of the iterate of largest loss", targeted, i, j)
			}
		}
	}
}

func TestSelectFirstFooled(t *testing.T) {
	m := newMLP(25, 60, 12, 4, 0.6)
	x := images(26, 12, 3, 4, 5)
	y, ids := predictions(t, m, x), names(x.N)
	y[3] = (y[3] + 1) % 4 // misclassified from the start: returned as it is
	p := Defaults()
	p.Steps, p.StepSize, p.Select, p.Epsilon = 12, 0.005, FirstFooled, 6.0/255
	m.images = 0
	got := attack(t, p, m, x, y, ids)
	spent := m.images
	fooled := 0
	for i := range x.N {
		var want []float32
		for stop := range p.Steps + 1 {
			q := p
			q.Steps, q.Select = stop, Last
			r := attack(t, q, m, x, y, ids)
			want = r.Adversarial.Image(i)
			if r.Fooled[i] {
				fooled++
				if !got.Fooled[i] {
					t.Fatalf("image %d is fooled after %d steps, but not reported", i, stop)
				}
				break
			}
		}
		if j := bitsDiffer(got.Adversarial.Image(i), want); j >= 0 {
			t.Fatalf("image %d: pixel %d is not that of the first fooling iterate", i, j)
		}
	}
	if fooled == 0 || fooled == x.N || spent >= x.N*p.Steps {
		t.Fatalf("the case is too easy or saves nothing: %d of %d fooled, %d gradients", fooled, x.N, spent)
	}
	if got.Correct[3] || !got.Correct[0] || !got.Fooled[3] {
		t.Fatalf("flags of the misclassified image: correct %v, fooled %v", got.Correct[3], got.Fooled[3])
	}
}

func TestRestarts(t *testing.T) {
	m := newMLP(27, 60, 12, 4, 0.6)
	x := images(28, 12, 3, 4, 5)
	y, ids := predictions(t, m, x), names(x.N)
	p := Defaults()
	p.RandomStart, p.Steps, p.StepSize, p.Epsilon, p.Seed = true, 2, 0.004, 5.0/255, 1
	one := attack(t, p, m, x, y, ids)
	p.Restarts = 6
	m.images = 0
	many := attack(t, p, m, x, y, ids)
	gained := 0
	for i := range x.N {
		switch {
		case one.Fooled[i] || !many.Fooled[i]: // restart 0 stays: it succeeded, or nothing did
			if j := bitsDiffer(one.Adversarial.Image(i), many.Adversarial.Image(i)); j >= 0 {
				t.Fatalf("image %d: restart 0 was replaced", i)
			}
		default:
			gained++
		}
	}
	if first := count(one.Fooled); first == 0 || gained == 0 {
		t.Fatalf("the case shows nothing: %d fooled at first, %d gained", first, gained)
	}
	if want := x.N * p.Steps * p.Restarts; m.images >= want {
		t.Fatalf("%d gradients, fooled images were attacked again (all of them would be %d)", m.images, want)
	}

	p.Select = BestLoss
	best := attack(t, p, m, x, y, ids)
	for i := range x.N {
		if loss(t, m, best, i, y) < loss(t, m, many, i, y) {
			t.Fatalf("image %d: best-loss over restarts has a smaller loss than last", i)
		}
	}
}

func loss(t *testing.T, m Model, r Result, i int, y []int64) float64 {
	t.Helper()
	logits, err := m.Logits(context.Background(), r.Adversarial.Slice(i, i+1))
	if err != nil {
		t.Fatal(err)
	}
	return crossEntropy(logits, y[i])
}

func TestRandomStartFillsTheBall(t *testing.T) {
	x := NewBatch(40, 3, 8, 8)
	for i := range x.Pixels {
		x.Pixels[i] = 0.5
	}
	m := newMLP(29, 192, 0, 2, 0.1)
	p := Defaults()
	p.RandomStart, p.Steps, p.Epsilon = true, 0, 0.25
	r := attack(t, p, m, x, make([]int64, x.N), names(x.N))
	mean, square := 0.0, 0.0
	for _, v := range r.Adversarial.Pixels {
		d := (float64(v) - 0.5) / p.Epsilon
		mean += d / float64(len(x.Pixels))
		square += d * d / float64(len(x.Pixels))
	}
	if math.Abs(mean) > 0.03 || math.Abs(square-1.0/3) > 0.02 { // U[-1,1]; 5 standard errors of 7,680 draws
		t.Fatalf("mean %v and mean square %v of the start, want 0 and 1/3", mean, square)
	}
	p.Norm, p.Epsilon = L2, 0.4
	r = attack(t, p, m, x, make([]int64, x.N), names(x.N))
	length := 0.0
	for i := range x.N {
		s := 0.0
		for j, v := range r.Adversarial.Image(i) {
			d := float64(v) - float64(x.Image(i)[j])
			s += d * d
		}
		length += math.Sqrt(s) / p.Epsilon / float64(x.N)
	}
	if math.Abs(length-0.5) > 0.23 { // U[0,1] lengths, 40 images
		t.Fatalf("mean length of the L2 start is %v of epsilon, want about 0.5", length)
	}
}

// broken changes what a model returns.
type broken struct {
	Model
	logits func(pass int, z []float32)
	grad   func(step int, g Gradient)
	passes int
	steps  int
}

func (b *broken) Logits(ctx context.Context, x Batch) ([]float32, error) {
	z, err := b.Model.Logits(ctx, x)
	if b.logits != nil {
		b.logits(b.passes, z)
	}
	b.passes++
	return z, err
}

func (b *broken) LossGrad(ctx context.Context, x Batch, y, targets []int64, loss Loss) (Gradient, error) {
	g, err := b.Model.LossGrad(ctx, x, y, targets, loss)
	if b.grad != nil {
		b.grad(b.steps, g)
	}
	b.steps++
	return g, err
}

func TestErrorsNameImageAndStep(t *testing.T) {
	nan := float32(math.NaN())
	x := images(30, 3, 3, 4, 5)
	good := newMLP(31, 60, 12, 4, 0.6)
	y := predictions(t, good, x)
	for name, c := range map[string]struct {
		model Model
		x     func(Batch)
		y     []int64
		ids   []string
		p     func(*PGD)
		want  []string
	}{
		"NaN gradient": {model: &broken{Model: good, grad: func(step int, g Gradient) {
			if step == 2 {
				g.Pixels[60+7] = nan
			}
		}}, want: []string{"step 2", `"image-1"`, "pixel 7", "NaN"}},
		"infinite gradient even with ZeroNaN": {model: &broken{Model: good, grad: func(step int, g Gradient) {
			g.Pixels[0] = float32(math.Inf(1))
		}}, p: func(p *PGD) { p.ZeroNaN = true }, want: []string{"step 0", `"image-0"`, "Inf"}},
		"NaN logit": {model: &broken{Model: good, grad: func(step int, g Gradient) { g.Logits[4*2+1] = nan }},
			want: []string{"step 0", `"image-2"`, "logit 1"}},
		"NaN clean logit": {model: &broken{Model: good, logits: func(_ int, z []float32) { z[0] = nan }},
			want: []string{"clean images", `"image-0"`}},
		"NaN pixel":        {model: good, x: func(b Batch) { b.Pixels[60+21] = nan }, want: []string{"image 1", "channel 1, row 0, column 1", "NaN"}},
		"pixel above 1":    {model: good, x: func(b Batch) { b.Pixels[0] = 1.001 }, want: []string{"image 0", "1.001", "[0,1]"}},
		"label too big":    {model: good, y: []int64{0, 4, 0}, want: []string{"image 1", "label is 4", "0 to 3"}},
		"negative label":   {model: good, y: []int64{0, -1, 0}, want: []string{"image 1", "label is -1"}},
		"id twice":         {model: good, ids: []string{"a", "b", "a"}, want: []string{`"a"`, "twice"}},
		"too few labels":   {model: good, y: []int64{0}, want: []string{"1 labels for 3 images"}},
		"bad options":      {model: good, p: func(p *PGD) { p.Epsilon, p.Steps, p.Restarts = math.NaN(), -1, 0 }, want: []string{"epsilon is NaN", "steps is -1", "restarts is 0"}},
		"useless restarts": {model: good, p: func(p *PGD) { p.Restarts = 3 }, want: []string{"restarts without random start"}},
	} {
		t.Run(name, func(t *testing.T) {
			in, labels, ids, p := x.Clone(), y, names(3), Defaults()
			p.Steps = 4
			if c.x != nil {
				c.x(in)
			}
			if c.y != nil {
				labels = c.y
			}
			if c.ids != nil {
				ids = c.ids
			}
			if c.p != nil {
				c.p(&p)
			}
			_, err := p.Run(context.Background(), c.model, in, labels, ids, nil)
			if err == nil {
				t.Fatal("no error")
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("error %q does not say %q", err, w)
				}
			}
		})
	}
}

func TestZeroNaNCounts(t *testing.T) {
	x := images(32, 3, 3, 4, 5)
	good := newMLP(33, 60, 12, 4, 0.6)
	m := &broken{Model: good, grad: func(_ int, g Gradient) { g.Pixels[5], g.Pixels[65] = float32(math.NaN()), float32(math.NaN()) }}
	p := Defaults()
	p.Steps, p.ZeroNaN = 3, true
	r := attack(t, p, m, x, predictions(t, good, x), names(3))
	if r.NaNReplaced != 6 || r.Adversarial.Pixels[5] != x.Pixels[5] {
		t.Fatalf("%d replaced, want 6; pixel 5 moved from %v to %v", r.NaNReplaced, x.Pixels[5], r.Adversarial.Pixels[5])
	}
}

func TestSaturationAndZeroGradients(t *testing.T) {
	x := images(34, 4, 3, 4, 5)
	m := newMLP(35, 60, 12, 4, 0.6)
	y := predictions(t, m, x)
	b := &broken{Model: m, grad: func(step int, g Gradient) {
		if step == 1 { // image 1 is sure beyond float32, image 2 stands still, image 3 both
			g.Logits[1*4+int(y[1])] += 40
			g.Logits[3*4+int(y[3])] += 40
			clear(g.Pixels[2*60:])
		}
	}}
	p := Defaults()
	p.Steps = 3
	r := attack(t, p, b, x, y, names(4))
	if r.SaturatedImages != 2 || r.ZeroGradImages != 2 {
		t.Fatalf("%d saturated and %d motionless images, want 2 and 2", r.SaturatedImages, r.ZeroGradImages)
	}
}

func TestCancellation(t *testing.T) {
	m := newMLP(36, 60, 12, 4, 0.6)
	x := images(37, 2, 3, 4, 5)
	ctx, cancel := context.WithCancel(context.Background())
	_, err := Defaults().Run(ctx, m, x, predictions(t, m, x), names(2), func(done, total int) {
		if total != 50 {
			t.Errorf("total is %d, want 50", total)
		}
		if done == 3 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "step 3") {
		t.Fatalf("got %v, want a cancellation at step 3", err)
	}
}

func TestRunFromRefusesWhatItCannotContinue(t *testing.T) {
	m := newMLP(36, 60, 12, 4, 0.6)
	x := images(37, 2, 3, 4, 5)
	y := predictions(t, m, x)
	p := Defaults()
	if _, err := p.RunFrom(context.Background(), m, x, x.Slice(0, 1), y, names(2), nil); err == nil {
		t.Error("a start of another size was accepted")
	}
	p.RandomStart = true
	if _, err := p.RunFrom(context.Background(), m, x, x, y, names(2), nil); err == nil {
		t.Error("a start together with random start was accepted")
	}
}

// fixed returns the same answer every time, so that what is allocated is the attack's own.
type fixed struct{ g Gradient }

func (f fixed) Logits(context.Context, Batch) ([]float32, error) { return f.g.Logits, nil }
func (f fixed) LossGrad(context.Context, Batch, []int64, []int64, Loss) (Gradient, error) {
	return f.g, nil
}

func TestStepsAllocateNoPixels(t *testing.T) {
	x := images(38, 4, 3, 32, 32)
	f := fixed{Gradient{Pixels: images(39, 4, 3, 32, 32).Pixels, Logits: make([]float32, 40)}}
	bytes := func(steps int) uint64 {
		p := Defaults()
		p.Steps = steps
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := p.Run(context.Background(), f, x, make([]int64, 4), names(4), nil); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	if few, many := bytes(10), bytes(110); many-few > 100*256 {
		t.Fatalf("%d bytes allocated in 10 steps, %d in 110: more than the predictions", few, many)
	}
}

func BenchmarkStepLinf(b *testing.B) {
	x := images(40, 1, 3, 224, 224)
	adv, g := x.Clone(), images(41, 1, 3, 224, 224)
	for i := range g.Pixels {
		g.Pixels[i] -= 0.5
	}
	b.SetBytes(int64(4 * len(x.Pixels)))
	for b.Loop() {
		stepLinf(adv.Pixels, x.Pixels, g.Pixels, 0.1, 8.0/255, false)
	}
}
