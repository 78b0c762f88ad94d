package attacks

import (
	"context"
	"fmt"
	"math"
	"slices"
)

// Finding is the outcome of one check of a model.
type Finding struct {
	Check  string // its word
	Status Status
	Detail string // what was seen and, unless it is sound, what it means and the way out
}

// Status says how bad a finding is.
type Status int

const (
	Sound      Status = iota
	Suspicious        // figures may mislead
	Broken            // figures of attacks mean nothing
)

// String returns the word used in files and messages.
func (s Status) String() string { return wordOf(int(s), "Status", "ok", "warning", "failed") }

// Diagnose looks for what makes attacks on a model meaningless, before anything is spent on one: outputs that are
// probabilities or depend on chance or on the batch, gradients that are zero or do not predict the loss, and attacks that
// leave their ball. It shows the images x, labelled y, to the model a few dozen times. Broken input is an error, a broken
// model a Finding.
func Diagnose(ctx context.Context, model Model, x Batch, y []int64, ids []string) ([]Finding, error) {
	report, err := CheckModel(ctx, model, x, y, ids)
	if err != nil {
		return nil, err
	}
	d := diagnosis{ctx: ctx, model: model, x: x, y: y, ids: ids}
	d.outputs(report)
	for _, check := range []func() error{d.batches, d.gradients, d.attack} {
		if err := check(); err != nil {
			return nil, err
		}
	}
	return d.findings, nil
}

type diagnosis struct {
	ctx      context.Context
	model    Model
	x        Batch
	y        []int64
	ids      []string
	findings []Finding
}

func (d *diagnosis) add(check string, s Status, format string, args ...any) {
	d.findings = append(d.findings, Finding{check, s, fmt.Sprintf(format, args...)})
}

// outputs judges what CheckModel saw.
func (d *diagnosis) outputs(r Report) {
	if r.Probabilities {
		d.add("logits", Broken, "every output lies in [0,1] and every row sums to 1: the model ends in a soft-max, through which "+
			"gradients vanish where it is sure; export it without")
	} else {
		d.add("logits", Sound, "%d outputs per image, not probabilities", r.Classes)
	}
	switch {
	case r.Unstable > 0:
		d.add("determinism", Broken, "%d of %d predictions changed in %d passes over equal images: the model is in training mode "+
			"(dropout) or draws random numbers; call eval() before saving it", r.Unstable, d.x.N, passes)
	case r.Drift > maxDrift:
		d.add("determinism", Suspicious, "logits of equal images differ by up to %.2g: something in the model is random", r.Drift)
	default:
		d.add("determinism", Sound, "%d passes over equal images agree", passes)
	}
	share, chance := float64(r.Correct)/float64(d.x.N), 1/float64(r.Classes)
	// Three standard deviations of guessing above chance.
	if limit := chance + 3*math.Sqrt(chance*(1-chance)/float64(d.x.N)); share <= limit {
		d.add("accuracy", Suspicious, "%.1f %% of %d images are classified correctly, guessing gives %.1f %%: are the images of this "+
			"model's kind, the labels in its order, and its normalisation known (--mean, --std)?", 100*share, d.x.N, 100*chance)
	} else {
		d.add("accuracy", Sound, "%.1f %% of %d images are classified correctly", 100*share, d.x.N)
	}
}

// batches compares the logits of single images with those in the batch. Kernels round differently for other batches, by
// much less than the tolerance.
func (d *diagnosis) batches() error {
	const most, tolerance = 4, 1e-2
	all, err := d.model.Logits(d.ctx, d.x)
	if err != nil {
		return err
	}
	k := len(all) / d.x.N
	worst := 0.0
	for i := range min(d.x.N, most) {
		alone, err := d.model.Logits(d.ctx, d.x.Slice(i, i+1))
		if err != nil {
			return err
		}
		row, largest := all[i*k:(i+1)*k], 0.0
		difference := 0.0
		for j, z := range row {
			largest = max(largest, math.Abs(float64(z)))
			difference = max(difference, math.Abs(float64(alone[j])-float64(z)))
		}
		worst = max(worst, difference/max(largest, 1e-12))
	}
	if d.x.N < 2 {
		return nil
	}
	if worst > tolerance {
		d.add("batch", Broken, "the logits of an image change by %.2g of the largest when it is alone: batch normalisation is in "+
			"training mode; call eval() before saving the model", worst)
	} else {
		d.add("batch", Sound, "the logits of an image do not depend on its batch (%.1g)", worst)
	}
	return nil
}

// gradients looks at the gradient of the cross-entropy, and whether it is the slope of the loss.
func (d *diagnosis) gradients() error {
	g, err := d.model.LossGrad(d.ctx, d.x, d.y, nil, CrossEntropy)
	if err != nil {
		return err
	}
	size := d.x.C * d.x.H * d.x.W
	if len(g.Pixels) != len(d.x.Pixels) {
		return fmt.Errorf("gradient has %d entries for %d pixels", len(g.Pixels), len(d.x.Pixels))
	}
	zero, broken := 0, 0
	lengths := make([]float64, d.x.N)
	for i := range d.x.N {
		lengths[i] = norm2(g.Pixels[i*size : (i+1)*size])
		switch {
		case math.IsNaN(lengths[i]) || math.IsInf(lengths[i], 0):
			broken++
		case lengths[i] == 0:
			zero++
		}
	}
	switch {
	case broken > 0:
		d.add("gradient", Broken, "the gradients of %d of %d images are not finite", broken, d.x.N)
		return nil
	case zero > d.x.N/2:
		d.add("gradient", Broken, "the gradients of %d of %d images are exactly 0: the model rounds, takes an argmax or has a soft-max "+
			"that saturates, and attacks by gradients cannot move", zero, d.x.N)
		return nil
	case zero > 0:
		d.add("gradient", Suspicious, "the gradients of %d of %d images are exactly 0: attacks by gradients leave these alone", zero, d.x.N)
	default:
		d.add("gradient", Sound, "all gradients are finite and none is 0")
	}
	return d.slope(g, lengths)
}

// slope compares the length of the gradient with the slope of the loss along it, by central differences.
func (d *diagnosis) slope(g Gradient, lengths []float64) error {
	const step, least, tolerance = 0.02, 1e-3, 0.25 // a length in pixel space; a change of the loss that float32 logits show
	up, down := d.x.Clone(), d.x.Clone()
	size := d.x.C * d.x.H * d.x.W
	for j, v := range g.Pixels {
		if length := lengths[j/size]; length > 0 {
			move := float32(step * float64(v) / length)
			up.Pixels[j] += move
			down.Pixels[j] -= move
		}
	}
	high, err := d.model.Logits(d.ctx, up)
	if err != nil {
		return err
	}
	low, err := d.model.Logits(d.ctx, down)
	if err != nil {
		return err
	}
	k := len(high) / d.x.N
	var ratios []float64
	for i, length := range lengths {
		if 2*step*length < least {
			continue
		}
		rise := crossEntropy(high[i*k:(i+1)*k], d.y[i]) - crossEntropy(low[i*k:(i+1)*k], d.y[i])
		ratios = append(ratios, rise/(2*step*length))
	}
	if len(ratios) == 0 {
		d.add("slope", Suspicious, "the loss hardly changes with the images: the model is sure of all of them, or nearly flat")
		return nil
	}
	slices.Sort(ratios)
	if median := ratios[len(ratios)/2]; math.Abs(median-1) > tolerance {
		d.add("slope", Broken, "along its gradient the loss rises %.2f times as fast as the gradient says (median of %d images): gradients "+
			"are masked, by rounding, straight-through or custom backward code; trust only attacks without gradients (square)", median, len(ratios))
	} else {
		d.add("slope", Sound, "the gradient is the slope of the loss (ratio %.3f, median of %d images)", median, len(ratios))
	}
	return nil
}

// attack runs a short PGD and checks what must hold of any.
func (d *diagnosis) attack() error {
	p := Defaults()
	p.Steps, p.Select = 3, BestLoss
	r, err := p.Run(d.ctx, d.model, d.x, d.y, d.ids, nil)
	if err != nil {
		d.add("attack", Broken, "three steps of PGD end with an error: %v", err)
		return nil
	}
	for i, v := range r.Adversarial.Pixels {
		if moved := math.Abs(float64(v) - float64(d.x.Pixels[i])); moved > p.Epsilon+6e-8 || !(v >= 0 && v <= 1) {
			d.add("attack", Broken, "pixel %d went from %v to %v, outside the ball of %v or the box", i, d.x.Pixels[i], v, p.Epsilon)
			return nil
		}
	}
	clean, err := d.model.Logits(d.ctx, d.x)
	if err != nil {
		return err
	}
	logits, err := d.model.Logits(d.ctx, r.Adversarial)
	if err != nil {
		return err
	}
	k, raised := len(clean)/d.x.N, 0
	for i, label := range d.y {
		if crossEntropy(logits[i*k:(i+1)*k], label) > crossEntropy(clean[i*k:(i+1)*k], label) {
			raised++
		}
	}
	detail := fmt.Sprintf("three steps of PGD at 8/255 raise the loss of %d of %d images and fool %d of the %d that were right", raised, d.x.N,
		count(r.Correct)-r.Survivors(), count(r.Correct))
	if raised < d.x.N/2 {
		d.add("attack", Suspicious, "%s: the model does not follow its gradients", detail)
	} else {
		d.add("attack", Sound, "%s", detail)
	}
	return nil
}
