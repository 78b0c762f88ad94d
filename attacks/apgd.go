package attacks

import (
	"context"
	"errors"
	"fmt"
	"math"
)

// APGD is auto-projected gradient descent (Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble
// of diverse parameter-free attacks", ICML 2020, algorithm 1): projected gradient ascent with momentum whose step is
// halved, and which returns to its best point, whenever a checkpoint finds that the loss no longer grows well.
//
// With a targeted loss (APGD-T) it runs once per target class, the runner-up of the clean logits first; an image leaves as
// soon as it is misclassified, as whatever.
type APGD struct {
	Norm       Norm
	Epsilon    float64 // radius of the ball, in pixel space
	Steps      int     // iterations per restart and target; each is one gradient, and there is one more at the start
	Restarts   int     // >= 1, each from another random point; only images still robust take part in later ones
	Rho        float64 // share of a window's steps that must raise the loss to keep the step size
	Loss       Loss    // CrossEntropy, DLR or Margin, or TargetedDLR or LogitDifference
	Targets    int     // classes to aim at with a targeted loss; at most all but the label are
	BestLoss   bool    // return the image of largest loss for all, instead of a fooling image or the clean one
	Seed       uint64
	Randomness Randomness
	ZeroNaN    bool // replace NaN gradient entries by 0 and count them, instead of stopping
}

// DefaultAPGD returns APGD on the cross-entropy as AutoAttack's standard version runs it, at L-infinity 8/255.
func DefaultAPGD() APGD {
	return APGD{Norm: Linf, Epsilon: 8.0 / 255, Steps: 100, Restarts: 1, Rho: 0.75, Loss: CrossEntropy}
}

// DefaultAPGDT returns APGD on the targeted DLR loss with nine targets, as AutoAttack's standard version runs it.
func DefaultAPGDT() APGD {
	a := DefaultAPGD()
	a.Loss, a.Targets = TargetedDLR, 9
	return a
}

// Name is apgd-ce, apgd-dlr, apgd-margin, apgd-t or apgd-t-logit-difference; draws are keyed by it.
func (a APGD) Name() string {
	switch a.Loss {
	case CrossEntropy:
		return "apgd-ce"
	case TargetedDLR:
		return "apgd-t"
	case LogitDifference:
		return "apgd-t-logit-difference"
	default:
		return "apgd-" + a.Loss.String()
	}
}

// Cost is that of an image that withstands: all restarts and targets.
func (a APGD) Cost() Cost {
	rounds := a.Restarts
	if a.Loss.Targeted() {
		rounds *= a.Targets
	}
	return Cost{Forwards: 2, Gradients: rounds * (a.Steps + 1)}
}

// Parameters implements Attacker.
func (a APGD) Parameters() map[string]any {
	m := map[string]any{
		"norm": a.Norm.String(), "epsilon": a.Epsilon, "steps": a.Steps, "restarts": a.Restarts, "rho": a.Rho, "loss": a.Loss.String(),
		"best_loss": a.BestLoss, "seed": a.Seed, "rng": a.Randomness.String(), "nan": nanWord(a.ZeroNaN),
	}
	if a.Loss.Targeted() {
		m["targets"] = a.Targets
	}
	return m
}

// Validate reports every setting that has no meaning, all at once.
func (a APGD) Validate() error {
	errs := []error{checkCommon(a.Norm, a.Epsilon, a.Randomness)}
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if a.Steps < 1 {
		bad("steps is %d, want >= 1", a.Steps)
	}
	if a.Restarts < 1 {
		bad("restarts is %d, want >= 1", a.Restarts)
	}
	if !(a.Rho >= 0 && a.Rho <= 1) {
		bad("rho is %v, want a number in [0,1]", a.Rho)
	}
	if a.Loss < CrossEntropy || a.Loss > LogitDifference {
		bad("unknown loss %v", a.Loss)
	}
	if a.Loss.Targeted() && a.Targets < 1 {
		bad("targets is %d, want >= 1", a.Targets)
	}
	if a.Loss.Targeted() && a.BestLoss {
		bad("losses towards different targets cannot be compared, so there is no best one")
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%s: %w", a.Name(), err)
	}
	return nil
}

// Run attacks those of the images x, labelled y, that the model classifies correctly, in one batch. The others are
// returned as they are, and so are those that no restart and no target could fool, unless BestLoss. x and y are not
// modified. Besides the gradients it costs two forward passes, over the clean images and over the result.
func (a APGD) Run(ctx context.Context, model Model, x Batch, y []int64, ids []string, progress Progress) (Result, error) {
	if err := a.Validate(); err != nil {
		return Result{}, err
	}
	return alone(ctx, a.Name(), model, x, y, ids, func(v victims) (outcome, error) {
		return a.attack(ctx, a.Name(), model, v, progress)
	})
}

// attack is Run on victims; name keys the draws.
func (a APGD) attack(ctx context.Context, name string, model Model, v victims, progress Progress) (outcome, error) {
	if k := v.classes(); k < a.Loss.Classes() {
		return outcome{}, fmt.Errorf("loss %v needs %d classes, the model has %d", a.Loss, a.Loss.Classes(), k)
	}
	targets := 1
	if a.Loss.Targeted() {
		targets = min(a.Targets, v.classes()-1)
	}
	if progress == nil {
		progress = func(int, int) {}
	}
	out := newOutcome(v)
	out.best = v.x.Clone()
	random := newDraws(a.Randomness, a.Seed, name)
	fooled, loss := make([]bool, v.x.N), make([]float32, v.x.N) // loss of out.best
	rounds := targets * a.Restarts
	for round := range rounds {
		left, places := v.pick(func(k int) bool { return a.BestLoss || !fooled[k] })
		if left.x.N == 0 {
			break
		}
		c := climb{APGD: a, victims: left, different: differentiator{model, a.Loss, a.ZeroNaN, &out, places}}
		if a.Loss.Targeted() {
			c.targets = left.ranked(2 + round/a.Restarts)
		}
		if err := c.run(ctx, c.start(random, round), func(step int) { progress(round*a.Steps+step, rounds*a.Steps) }); err != nil {
			return outcome{}, fmt.Errorf("round %d: %w", round, err)
		}
		for k, place := range places {
			if round == 0 || c.bestLoss[k] > loss[place] {
				loss[place] = c.bestLoss[k]
				copy(out.best.Image(place), c.best.Image(k))
			}
			if !c.robust[k] && !fooled[place] {
				fooled[place] = true
				copy(out.adv.Image(place), c.fool.Image(k))
			}
		}
	}
	progress(rounds*a.Steps, rounds*a.Steps)
	if a.BestLoss {
		out.adv = out.best
	}
	return out, nil
}

// climb is one run from one random point.
type climb struct {
	APGD
	victims
	different differentiator
	targets   []int64

	best     Batch     // iterate of largest loss, the earliest of equals
	bestLoss []float32 // its loss
	bestGrad []float32
	fool     Batch     // latest iterate that is misclassified, where robust is false
	robust   []bool    // no iterate was misclassified
	eta      []float32 // step size
}

// start draws x_0: a random point whose largest change is epsilon (L-infinity), or on the sphere of radius epsilon (L2),
// then clamped to [0,1].
func (c *climb) start(random draws, round int) Batch {
	eps := float32(c.Epsilon)
	x0 := NewBatch(c.x.N, c.x.C, c.x.H, c.x.W)
	if c.Norm == L2 {
		random.normals(x0.Pixels, round, c.names())
	}
	for k := range x0.N {
		u := x0.Image(k)
		length := float32(0)
		switch c.Norm {
		case Linf:
			source := random.of(round, c.id(k))
			for j := range u {
				u[j] = 2*source.Float32() - 1
				length = max(length, u[j], -u[j])
			}
		case L2:
			length = float32(norm2(u))
		}
		length += 1e-12
		for j, x := range c.x.Image(k) {
			u[j] = clamp01(float32(x + float32(eps*float32(u[j]/length))))
		}
	}
	return x0
}

// run iterates from x_0 = adv, which it overwrites. done is called after every iteration.
func (c *climb) run(ctx context.Context, adv Batch, done func(step int)) error {
	n, size := adv.N, adv.C*adv.H*adv.W
	g, predicted, err := c.different.at(ctx, c.victims, adv, c.targets)
	if err != nil {
		return fmt.Errorf("starting point: %w", err)
	}
	c.best, c.fool, c.bestGrad = adv.Clone(), adv.Clone(), append([]float32(nil), g.Pixels...)
	c.bestLoss = append([]float32(nil), g.Loss...)
	c.robust, c.eta = make([]bool, n), make([]float32, n)
	halved := make([]bool, n) // at the last checkpoint
	for k := range n {
		c.robust[k] = predicted[k] == c.y[k]
		c.eta[k], halved[k] = float32(2*c.Epsilon), true
	}
	lossAtCheck := append([]float32(nil), g.Loss...) // best loss at the last checkpoint
	history := make([][]float32, c.Steps)            // row i: losses after iteration i; zeros before, see stalled
	for i := range history {
		history[i] = make([]float32, n)
	}
	prev, scratch := adv.Clone(), make([]float32, size)
	window, shrink, least := checkpoints(c.Steps)
	since := 0 // iterations since the last checkpoint

	for i := range c.Steps {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
		for k := range n {
			c.step(k, adv.Image(k), prev.Image(k), g.Pixels[k*size:(k+1)*size], scratch, c.eta[k], i == 0)
		}
		if g, predicted, err = c.different.at(ctx, c.victims, adv, c.targets); err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
		copy(history[i], g.Loss)
		for k := range n {
			if predicted[k] != c.y[k] {
				c.robust[k] = false
				copy(c.fool.Image(k), adv.Image(k))
			}
			if g.Loss[k] > c.bestLoss[k] {
				c.bestLoss[k] = g.Loss[k]
				copy(c.best.Image(k), adv.Image(k))
				copy(c.bestGrad[k*size:(k+1)*size], g.Pixels[k*size:(k+1)*size])
			}
		}
		if since++; since == window {
			for k := range n {
				oscillates := stalled(history, i, window, k, c.Rho)
				flat := !halved[k] && lossAtCheck[k] >= c.bestLoss[k]
				halved[k], lossAtCheck[k] = oscillates || flat, c.bestLoss[k]
				if halved[k] {
					c.eta[k] /= 2
					copy(adv.Image(k), c.best.Image(k))
					copy(g.Pixels[k*size:(k+1)*size], c.bestGrad[k*size:(k+1)*size])
				}
			}
			since, window = 0, max(window-shrink, least)
		}
		done(i + 1)
	}
	return nil
}

// checkpoints returns the length of the first window, by how much each next one is shorter, and the shortest.
func checkpoints(steps int) (window, shrink, least int) {
	part := func(share float64) int { return max(int(share*float64(steps)), 1) }
	return part(0.22), part(0.03), part(0.06)
}

// stalled says whether at most rho*window of the last window iterations, ending with iteration i, raised the loss of
// image k. Before iteration 0 stands the last row, still zero at the first checkpoint, as in the reference.
func stalled(history [][]float32, i, window, k int, rho float64) bool {
	up := 0
	for j := i; j > i-window; j-- {
		before := j - 1
		if before < 0 {
			before = len(history) - 1
		}
		if history[j][k] > history[before][k] {
			up++
		}
	}
	return float64(up) <= rho*float64(window)
}

// step replaces iterate adv of image k by the next one and prev by adv. Every operation is rounded to float32, in the
// order of the reference.
func (c *climb) step(k int, adv, prev, g, scratch []float32, eta float32, first bool) {
	x, eps := c.x.Image(k), float32(c.Epsilon)
	a, rest := float32(0.75), float32(0.25)
	if first {
		a, rest = 1, 0
	}
	if c.Norm == Linf {
		stepAPGDLinf(adv, prev, x, g, eta, eps, a, rest)
		return
	}
	length := float32(norm2(g)) + 1e-12
	z := scratch
	for j, xi := range adv {
		z[j] = float32(xi + float32(eta*float32(g[j]/length)))
	}
	projectL2(z, x, eps)
	for j, xi := range adv {
		z[j] = float32(float32(xi+float32(float32(z[j]-xi)*a)) + float32(float32(xi-prev[j])*rest))
		prev[j] = xi
	}
	projectL2(z, x, eps)
	copy(adv, z)
}

// stepAPGDLinf is step in the L-infinity ball: with z = clamp(adv + eta*sign(g)),
//
//	adv, prev = clamp(adv + a*(z-adv) + rest*(adv-prev)), adv
//
// where clamp limits to [x-eps, x+eps] and to [0,1]. Like stepLinf it does not branch on the data; both limits are
// floats >= 0, whose bits are ordered as integers (see clamp01).
func stepAPGDLinf(adv, prev, x, g []float32, eta, eps, a, rest float32) {
	const one = 0x3f800000
	step := math.Float32bits(eta)
	prev, x, g = prev[:len(adv)], x[:len(adv)], g[:len(adv)]
	for j, xi := range adv {
		low := max(int32(math.Float32bits(float32(x[j]-eps))), 0)
		high := min(int32(math.Float32bits(float32(x[j]+eps))), one)
		z := xi
		if g[j] != 0 {
			z = float32(xi + math.Float32frombits(step^math.Float32bits(g[j])&signBit))
		}
		z = math.Float32frombits(uint32(min(max(int32(math.Float32bits(z)), low), high)))
		v := float32(float32(xi+float32(float32(z-xi)*a)) + float32(float32(xi-prev[j])*rest))
		prev[j] = xi
		adv[j] = math.Float32frombits(uint32(min(max(int32(math.Float32bits(v)), low), high)))
	}
}

// projectL2 moves v to clamp01 of the nearest point of the ball of radius eps about x.
func projectL2(v, x []float32, eps float32) {
	for j := range v {
		v[j] = float32(v[j] - x[j])
	}
	length := float32(norm2(v))
	limit := min(eps, length)
	for j := range v {
		v[j] = clamp01(float32(x[j] + float32(float32(v[j]/(length+1e-12))*limit)))
	}
}

func sign(v float32) float32 {
	switch {
	case v > 0:
		return 1
	case v < 0:
		return -1
	default:
		return 0
	}
}
