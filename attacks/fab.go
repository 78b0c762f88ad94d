package attacks

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"sync"
)

// FAB is the targeted fast adaptive boundary attack (FAB-T; Croce and Hein, "Minimally distorted adversarial examples with
// a fast adaptive boundary attack", ICML 2020). For each target class t, the runner-up of the clean logits first, it walks
// along the boundary between y and t, which it replaces at every point by the hyperplane where the linearised difference
// D = z_t - z_y is zero, and keeps the misclassified point nearest to the image. Epsilon plays no part in the search: it
// only decides afterwards whether that point counts. An image leaves once a target has succeeded. Nothing is random.
type FAB struct {
	Norm     Norm
	Epsilon  float64 // radius of the ball, in pixel space
	Steps    int     // iterations per target; each is one gradient and one forward pass
	Targets  int     // classes to aim at; at most all but the label are
	AlphaMax float64 // largest weight of the step from the clean image
	Eta      float64 // overshoot across the hyperplane
	Beta     float64 // share of the way from the clean image that is kept after a success
	ZeroNaN  bool    // replace NaN gradient entries by 0 and count them, instead of stopping
}

// DefaultFAB returns FAB-T with nine targets as AutoAttack's standard version runs it, at L-infinity 8/255.
func DefaultFAB() FAB {
	return FAB{Norm: Linf, Epsilon: 8.0 / 255, Steps: 100, Targets: 9, AlphaMax: 0.1, Eta: 1.05, Beta: 0.9}
}

// Name is fab-t.
func (f FAB) Name() string { return "fab-t" }

// Cost is that of an image that withstands: all targets.
func (f FAB) Cost() Cost {
	return Cost{Forwards: 2 + f.Targets*f.Steps, Gradients: f.Targets * f.Steps}
}

// Parameters implements Attacker.
func (f FAB) Parameters() map[string]any {
	return map[string]any{
		"norm": f.Norm.String(), "epsilon": f.Epsilon, "steps": f.Steps, "targets": f.Targets, "alpha_max": f.AlphaMax,
		"eta": f.Eta, "beta": f.Beta, "nan": nanWord(f.ZeroNaN),
	}
}

// Validate reports every setting that has no meaning, all at once.
func (f FAB) Validate() error {
	errs := []error{checkCommon(f.Norm, f.Epsilon, Keyed)}
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if f.Steps < 1 {
		bad("steps is %d, want >= 1", f.Steps)
	}
	if f.Targets < 1 {
		bad("targets is %d, want >= 1", f.Targets)
	}
	if !(f.AlphaMax >= 0 && f.AlphaMax <= 1) {
		bad("alpha max is %v, want a number in [0,1]", f.AlphaMax)
	}
	if !(f.Eta >= 1) || math.IsInf(f.Eta, 0) {
		bad("eta is %v, want a finite number >= 1", f.Eta)
	}
	if !(f.Beta > 0 && f.Beta < 1) {
		bad("beta is %v, want a number between 0 and 1", f.Beta)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%s: %w", f.Name(), err)
	}
	return nil
}

// Run attacks those of the images x, labelled y, that the model classifies correctly, in one batch. The others are
// returned as they are, and so are those for which no target gave a misclassified image inside the ball. x and y are not
// modified. Besides the steps it costs two forward passes, over the clean images and over the result.
func (f FAB) Run(ctx context.Context, model Model, x Batch, y []int64, ids []string, progress Progress) (Result, error) {
	if err := f.Validate(); err != nil {
		return Result{}, err
	}
	return alone(ctx, f.Name(), model, x, y, ids, func(v victims) (outcome, error) {
		return f.attack(ctx, model, v, progress)
	})
}

// attack is Run on victims.
func (f FAB) attack(ctx context.Context, model Model, v victims, progress Progress) (outcome, error) {
	if v.classes() < 2 {
		return outcome{}, errors.New("the model has one class only")
	}
	if progress == nil {
		progress = func(int, int) {}
	}
	out := newOutcome(v)
	fooled := make([]bool, v.x.N)
	targets := min(f.Targets, v.classes()-1)
	for round := range targets {
		left, places := v.pick(func(k int) bool { return !fooled[k] })
		if left.x.N == 0 {
			break
		}
		w := walk{FAB: f, victims: left, model: model, targets: left.ranked(2 + round),
			different: differentiator{model, LogitDifference, f.ZeroNaN, &out, places}}
		if err := w.run(ctx, func(step int) { progress(round*f.Steps+step, targets*f.Steps) }); err != nil {
			return outcome{}, fmt.Errorf("target %d: %w", round+1, err)
		}
		for k, place := range places {
			if w.distance[k] <= float32(f.Epsilon) {
				fooled[place] = true
				copy(out.adv.Image(place), w.found.Image(k))
			}
		}
	}
	progress(targets*f.Steps, targets*f.Steps)
	return out, nil
}

// walk is the search towards one target.
type walk struct {
	FAB
	victims
	model     Model
	different differentiator
	targets   []int64

	found    Batch     // nearest misclassified image so far
	distance []float32 // how far it is; +Inf before the first
}

func (w *walk) run(ctx context.Context, done func(step int)) error {
	n, size := w.x.N, w.x.C*w.x.H*w.x.W
	w.found, w.distance = NewBatch(n, w.x.C, w.x.H, w.x.W), make([]float32, n)
	for k := range w.distance {
		w.distance[k] = float32(math.Inf(1))
	}
	adv := w.x.Clone()
	moves := make([]float32, 2*n*size) // both projections of every image
	for i := range w.Steps {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
		g, _, err := w.different.at(ctx, w.victims, adv, w.targets)
		if err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
		onAllCores(n, func(k int) {
			w.step(k, adv.Image(k), g.Pixels[k*size:(k+1)*size], g.Loss[k],
				moves[2*k*size:(2*k+1)*size], moves[(2*k+1)*size:(2*k+2)*size])
		})
		predicted, err := w.predictions(ctx, w.model, adv)
		if err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
		for k, class := range predicted {
			if class != w.y[k] {
				w.keep(k, adv.Image(k))
			}
		}
		done(i + 1)
	}
	return nil
}

// step moves iterate adv of image k, where the difference of logits is d and has gradient g.
func (w *walk) step(k int, adv, g []float32, d float32, d1, d2 []float32) {
	x := w.x.Image(k)
	// The hyperplane is g·p = g·adv - d. In float64, because the terms of g·x cancel.
	shift := float64(d)
	for j := range g {
		shift += float64(g[j]) * (float64(x[j]) - float64(adv[j]))
	}
	project(d1, adv, g, float64(d), w.Norm)
	project(d2, x, g, shift, w.Norm)
	const least = 1e-8
	a1, a2 := max(w.length(d1), least), max(w.length(d2), least)
	alpha := min(a1/(a1+a2), float32(w.AlphaMax))
	eta := float32(w.Eta)
	for j := range adv {
		near := float32(float32(adv[j]+float32(eta*d1[j])) * float32(1-alpha))
		home := float32(float32(x[j]+float32(d2[j]*eta)) * alpha)
		adv[j] = clamp01(float32(near + home))
	}
}

// keep remembers the misclassified image adv if it is the nearest so far, and draws adv towards the clean image.
func (w *walk) keep(k int, adv []float32) {
	x := w.x.Image(k)
	d := make([]float32, len(x))
	for j := range d {
		d[j] = float32(adv[j] - x[j])
	}
	if r := w.length(d); r < w.distance[k] {
		w.distance[k] = r
		copy(w.found.Image(k), adv)
	}
	for j := range adv {
		adv[j] = float32(x[j] + float32(d[j]*float32(w.Beta)))
	}
}

func (w *walk) length(d []float32) float32 {
	if w.Norm == L2 {
		return float32(norm2(d))
	}
	largest := float32(0)
	for _, v := range d {
		largest = max(largest, v, -v)
	}
	return largest
}

// onAllCores calls f for 0, ..., n-1, on all cores.
func onAllCores(n int, f func(k int)) {
	workers := min(n, runtime.GOMAXPROCS(0))
	var group sync.WaitGroup
	for worker := range workers {
		group.Go(func() {
			for k := worker; k < n; k += workers {
				f(k)
			}
		})
	}
	group.Wait()
}
