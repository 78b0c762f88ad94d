package attacks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
)

// victims are the images an attack works on, kept dense. Place k of every field but ids belongs to one image, whose
// name is ids[index[k]].
type victims struct {
	x      Batch
	y      []int64
	logits []float32 // [N,K] on the clean images
	index  []int     // in the caller's batch
	ids    []string  // of the caller's batch
}

// newVictims evaluates the clean images of a batch that CheckInputs accepts. predicted is the model's answer.
func newVictims(ctx context.Context, model Model, x Batch, y []int64, ids []string) (v victims, predicted []int64, err error) {
	if err := CheckInputs(x, y, ids); err != nil {
		return victims{}, nil, err
	}
	logits, err := model.Logits(ctx, x)
	if err != nil {
		return victims{}, nil, fmt.Errorf("clean images: %w", err)
	}
	if predicted, err = predict(logits, x.N, ids, nil); err != nil {
		return victims{}, nil, fmt.Errorf("clean images: %w", err)
	}
	v = victims{x: x, y: y, logits: logits, index: make([]int, x.N), ids: ids}
	for i := range v.index {
		v.index[i] = i
	}
	return v, predicted, CheckLabels(y, ids, v.classes())
}

func (v victims) classes() int { return len(v.logits) / v.x.N }

func (v victims) id(k int) string { return v.ids[v.index[k]] }

// names are the ids of the images, by place.
func (v victims) names() []string {
	list := make([]string, v.x.N)
	for k := range list {
		list[k] = v.id(k)
	}
	return list
}

// pick copies the images for which keep is true; places are theirs in v.
func (v victims) pick(keep func(k int) bool) (picked victims, places []int) {
	classes := v.classes()
	for k := range v.x.N {
		if keep(k) {
			places = append(places, k)
			picked.y = append(picked.y, v.y[k])
			picked.index = append(picked.index, v.index[k])
			picked.logits = append(picked.logits, v.logits[k*classes:(k+1)*classes]...)
		}
	}
	picked.x, picked.ids = v.x.gather(places), v.ids
	return picked, places
}

// gather copies the images at the given places.
func (b Batch) gather(places []int) Batch {
	out := NewBatch(len(places), b.C, b.H, b.W)
	for k, place := range places {
		copy(out.Image(k), b.Image(place))
	}
	return out
}

// predictions of the model on versions adv of the victims.
func (v victims) predictions(ctx context.Context, model Model, adv Batch) ([]int64, error) {
	logits, err := model.Logits(ctx, adv)
	if err != nil {
		return nil, err
	}
	return predict(logits, v.x.N, v.ids, v.index)
}

// ranked returns, for each victim, the class of the rank-th largest clean logit (1 is the largest), the lower class
// first among equals.
func (v victims) ranked(rank int) []int64 {
	classes := v.classes()
	order, targets := make([]int64, classes), make([]int64, v.x.N)
	for k := range targets {
		row := v.logits[k*classes : (k+1)*classes]
		for j := range order {
			order[j] = int64(j)
		}
		slices.SortStableFunc(order, func(a, b int64) int { return cmp.Compare(row[b], row[a]) })
		targets[k] = order[rank-1]
	}
	return targets
}

// outcome is what an attack made of its victims, all of which were classified correctly.
type outcome struct {
	adv       Batch  // the adversarial image; the clean one where none was found
	best      Batch  // the image of largest loss (APGD only)
	saturated []bool // by place: the float32 probability of y was exactly 1 at some step
	zeroGrad  []bool // by place: the whole gradient was 0 at some step
	replaced  int    // NaN gradient entries
}

func newOutcome(v victims) outcome {
	return outcome{adv: v.x.Clone(), saturated: make([]bool, v.x.N), zeroGrad: make([]bool, v.x.N)}
}

// differentiator evaluates gradients and looks after what models may get wrong.
type differentiator struct {
	model   Model
	loss    Loss
	zeroNaN bool
	out     *outcome
	places  []int // of the images in out
}

// at returns the gradient and the predictions at the versions adv of the victims.
func (d differentiator) at(ctx context.Context, v victims, adv Batch, targets []int64) (Gradient, []int64, error) {
	g, err := d.model.LossGrad(ctx, adv, v.y, targets, d.loss)
	if err != nil {
		return Gradient{}, nil, err
	}
	if len(g.Pixels) != len(adv.Pixels) || len(g.Loss) != adv.N || len(g.Logits) != len(v.logits) {
		return Gradient{}, nil, fmt.Errorf("gradient has %d entries for %d pixels, %d losses for %d images and %d logits, not %d",
			len(g.Pixels), len(adv.Pixels), len(g.Loss), adv.N, len(g.Logits), len(v.logits))
	}
	predicted, err := predict(g.Logits, adv.N, v.ids, v.index)
	if err != nil {
		return Gradient{}, nil, err
	}
	size, classes := adv.C*adv.H*adv.W, v.classes()
	for k := range adv.N {
		if saturated(g.Logits[k*classes:(k+1)*classes], v.y[k]) {
			d.out.saturated[d.places[k]] = true
		}
		if math.IsNaN(float64(g.Loss[k])) {
			return Gradient{}, nil, fmt.Errorf("image %q: the loss is NaN", v.id(k))
		}
		moves, replaced, err := vetGradient(g.Pixels[k*size:(k+1)*size], v.id(k), d.zeroNaN)
		if err != nil {
			return Gradient{}, nil, err
		}
		d.out.replaced += replaced
		if !moves {
			d.out.zeroGrad[d.places[k]] = true
		}
	}
	return g, predicted, nil
}

// saturated says whether the float32 probability of y is exactly 1: rounding then decides where the gradient of the
// cross-entropy points.
func saturated(z []float32, y int64) bool { return float32(math.Exp(-crossEntropy(z, y))) == 1 }

// vetGradient refuses entries of an image's gradient that are not finite; with zeroNaN it replaces NaN by 0 and counts.
// moves says whether any entry is not 0.
func vetGradient(g []float32, id string, zeroNaN bool) (moves bool, replaced int, err error) {
	for j, v := range g {
		if v-v != 0 { // NaN or infinite
			if !zeroNaN || v == v {
				return false, 0, fmt.Errorf("image %q: gradient of pixel %d is %v", id, j, v)
			}
			g[j] = 0
			replaced++
			continue
		}
		moves = moves || v != 0
	}
	return moves, replaced, nil
}

// alone runs one attack, by itself, on the images of a batch that the model classifies correctly.
func alone(ctx context.Context, name string, model Model, x Batch, y []int64, ids []string,
	attack func(v victims) (outcome, error)) (Result, error) {
	all, clean, err := newVictims(ctx, model, x, y, ids)
	if err != nil {
		return Result{}, fmt.Errorf("%s: %w", name, err)
	}
	r := Result{Adversarial: x.Clone(), Clean: clean, Predicted: slices.Clone(clean), Fooled: make([]bool, x.N), Correct: make([]bool, x.N)}
	for i := range clean {
		r.Correct[i] = clean[i] == y[i]
		r.Fooled[i] = !r.Correct[i]
	}
	v, _ := all.pick(func(i int) bool { return r.Correct[i] })
	if v.x.N == 0 {
		return r, nil
	}
	out, err := attack(v)
	if err != nil {
		return Result{}, fmt.Errorf("%s: %w", name, err)
	}
	predicted, err := v.predictions(ctx, model, out.adv)
	if err != nil {
		return Result{}, fmt.Errorf("%s, adversarial images: %w", name, err)
	}
	for k, i := range v.index {
		copy(r.Adversarial.Image(i), out.adv.Image(k))
		r.Predicted[i], r.Fooled[i] = predicted[k], predicted[k] != y[i]
	}
	r.SaturatedImages, r.ZeroGradImages, r.NaNReplaced = count(out.saturated), count(out.zeroGrad), out.replaced
	return r, nil
}

// checkCommon reports what is wrong with the settings that the attacks of AutoAttack share.
func checkCommon(norm Norm, epsilon float64, r Randomness) error {
	var errs []error
	if norm != Linf && norm != L2 {
		errs = append(errs, fmt.Errorf("unknown norm %v", norm))
	}
	if !(epsilon >= 0) || math.IsInf(epsilon, 0) {
		errs = append(errs, fmt.Errorf("epsilon is %v, want a finite number >= 0", epsilon))
	}
	if r != Keyed && r != StreamCompat {
		errs = append(errs, fmt.Errorf("unknown randomness %v", r))
	}
	return errors.Join(errs...)
}
