package train

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"sat/torch"
)

// Optimizer names an update rule.
type Optimizer string

// Schedule names the course of the learning rate over a run.
type Schedule string

// Unit says how often the learning rate changes.
type Unit string

// The words of a recipe.
const (
	SGD   Optimizer = "sgd"
	AdamW Optimizer = "adamw"

	Cosine Schedule = "cosine"
	Step   Schedule = "step"

	PerEpoch  Unit = "epoch"
	PerUpdate Unit = "update"
)

// Recipe is how a network is trained. Its fields are the words of a recipe in an experiment file. A run is determined
// by the recipe, the network file, the seed and the images.
type Recipe struct {
	Epochs int `json:"epochs"`
	Batch  int `json:"batch"` // images per update; the last, incomplete batch of an epoch is dropped

	Optimizer    Optimizer  `json:"opt"`
	LR           float64    `json:"lr"`             // base rate, before scaling
	LRScaleBatch int        `json:"lr_scale_batch"` // the base rate used is LR*Batch/LRScaleBatch; 0: LR
	Momentum     float64    `json:"momentum"`       // SGD
	Nesterov     bool       `json:"nesterov"`       // SGD
	Betas        [2]float64 `json:"betas"`          // AdamW
	Eps          float64    `json:"eps"`            // AdamW

	WeightDecay    float64  `json:"weight_decay"`
	DecayAllParams bool     `json:"decay_all_params"` // also vectors, biases and NoDecay
	NoDecay        []string `json:"no_decay"`         // further parameters without decay, by the last part of their name
	ClipGrad       float64  `json:"clip_grad"`        // limit of the global gradient norm; 0: none

	Schedule     Schedule `json:"sched"`
	Unit         Unit     `json:"sched_unit"`
	WarmupEpochs float64  `json:"warmup_epochs"`
	WarmupLR     float64  `json:"warmup_lr"`   // rate at the start of the warm-up, not scaled
	MinLR        float64  `json:"min_lr"`      // rate at the end of the cosine, not scaled
	SchedLag     int      `json:"sched_lag"`   // epochs by which the rate of PerEpoch is late; DeiT's loop has 1
	StepEpochs   int      `json:"step_epochs"` // of Step
	Gamma        float64  `json:"gamma"`       // of Step

	LabelSmoothing float64 `json:"label_smoothing"`
	HFlip          float64 `json:"hflip"` // probability of a mirror image
	Shift          int     `json:"shift"` // images are moved by up to so many pixels each way; black comes in

	EvalEvery int `json:"eval_every"` // epochs from one evaluation to the next; the last epoch is always evaluated
	EvalBatch int `json:"eval_batch"`
}

// Defaults returns the parts of a recipe that hardly ever change. Epochs, Batch, Optimizer and LR are left to choose.
func Defaults() Recipe {
	return Recipe{
		Momentum: 0.9, Betas: [2]float64{0.9, 0.999}, Eps: 1e-8, NoDecay: []string{"pos_embed", "cls_token"},
		Schedule: Cosine, Unit: PerUpdate, StepEpochs: 30, Gamma: 0.1, EvalEvery: 1, EvalBatch: 256,
	}
}

// Validate reports everything in the recipe that has no meaning, all at once.
func (r Recipe) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("recipe: "+format, args...))
		}
	}
	finite := func(word string, v float64) {
		check(v >= 0 && !math.IsInf(v, 0), "%s is %v, want a finite number >= 0", word, v)
	}
	check(r.Epochs >= 1, "epochs is %d, want >= 1", r.Epochs)
	check(r.Batch >= 1, "batch is %d, want >= 1", r.Batch)
	check(r.EvalBatch >= 1, "eval_batch is %d, want >= 1", r.EvalBatch)
	check(r.EvalEvery >= 1, "eval_every is %d, want >= 1", r.EvalEvery)
	finite("lr", r.LR)
	finite("warmup_lr", r.WarmupLR)
	finite("min_lr", r.MinLR)
	finite("weight_decay", r.WeightDecay)
	finite("clip_grad", r.ClipGrad)
	finite("warmup_epochs", r.WarmupEpochs)
	check(r.LRScaleBatch >= 0, "lr_scale_batch is %d, want >= 0", r.LRScaleBatch)
	check(r.WarmupEpochs <= float64(r.Epochs), "warmup_epochs is %v, but there are %d epochs", r.WarmupEpochs, r.Epochs)
	switch r.Optimizer {
	case SGD:
		check(r.Momentum >= 0 && r.Momentum < 1, "momentum is %v, want [0,1)", r.Momentum)
		check(!r.Nesterov || r.Momentum > 0, "nesterov needs a momentum")
	case AdamW:
		for _, b := range r.Betas {
			check(b >= 0 && b < 1, "betas are %v, want each in [0,1)", r.Betas)
		}
		check(r.Eps > 0, "eps is %v, want > 0", r.Eps)
	default:
		check(false, "opt is %q, want %q or %q", r.Optimizer, SGD, AdamW)
	}
	switch r.Schedule {
	case Cosine:
	case Step:
		check(r.StepEpochs >= 1, "step_epochs is %d, want >= 1", r.StepEpochs)
		check(r.Gamma > 0 && r.Gamma <= 1, "gamma is %v, want (0,1]", r.Gamma)
	default:
		check(false, "sched is %q, want %q or %q", r.Schedule, Cosine, Step)
	}
	switch r.Unit {
	case PerEpoch:
		check(r.SchedLag >= 0, "sched_lag is %d, want >= 0", r.SchedLag)
	case PerUpdate:
		check(r.SchedLag == 0, "sched_lag is for sched_unit %q", PerEpoch)
	default:
		check(false, "sched_unit is %q, want %q or %q", r.Unit, PerEpoch, PerUpdate)
	}
	check(r.LabelSmoothing >= 0 && r.LabelSmoothing < 1, "label_smoothing is %v, want [0,1)", r.LabelSmoothing)
	check(r.HFlip >= 0 && r.HFlip <= 1, "hflip is %v, want [0,1]", r.HFlip)
	check(r.Shift >= 0, "shift is %d, want >= 0", r.Shift)
	return errors.Join(errs...)
}

// LearningRate returns the rate of an update: the update-th (from 0) of the updates of epoch epoch (from 0). It is a
// pure function, so that there is nothing to restore when a run resumes.
//
// With T epochs, base rate b, warm-up w, start s and floor m, at time t (in epochs):
//
//	t < w:   s + t*(b-s)/w
//	cosine:  m + (b-m)*(1 + cos(pi*t/T))/2      the warm-up is part of T, the cosine is not shifted by it
//	step:    b * gamma^floor(t/StepEpochs)
//
// PerEpoch, t = max(0, epoch - SchedLag); PerUpdate, t = epoch + update/updates.
func (r Recipe) LearningRate(epoch, update, updates int) float64 {
	t := float64(epoch) + float64(update)/float64(updates)
	if r.Unit == PerEpoch {
		t = float64(max(0, epoch-r.SchedLag))
	}
	base := r.LR
	if r.LRScaleBatch > 0 {
		base *= float64(r.Batch) / float64(r.LRScaleBatch)
	}
	switch {
	case t < r.WarmupEpochs:
		return r.WarmupLR + t*(base-r.WarmupLR)/r.WarmupEpochs
	case r.Schedule == Step:
		return base * math.Pow(r.Gamma, math.Floor(t/float64(r.StepEpochs)))
	case t >= float64(r.Epochs):
		return r.MinLR
	default:
		return r.MinLR + 0.5*(base-r.MinLR)*(1+math.Cos(math.Pi*t/float64(r.Epochs)))
	}
}

// groups splits the parameters into those without and those with weight decay, in this order. Without DecayAllParams,
// tensors of at most one dimension (norms, biases) and those called ".bias" or as in NoDecay do not decay.
func (r Recipe) groups(tensors []torch.TensorInfo) []torch.Group {
	none, decayed := torch.Group{}, torch.Group{WeightDecay: r.WeightDecay}
	for _, t := range tensors {
		if t.Buffer {
			continue
		}
		g := &decayed
		if !r.DecayAllParams && r.exempt(t) {
			g = &none
		}
		g.Names = append(g.Names, t.Name)
	}
	var groups []torch.Group
	for _, g := range []torch.Group{none, decayed} {
		if len(g.Names) > 0 {
			groups = append(groups, g)
		}
	}
	return groups
}

func (r Recipe) exempt(t torch.TensorInfo) bool {
	if len(t.Shape) <= 1 || strings.HasSuffix(t.Name, ".bias") {
		return true
	}
	last := t.Name[strings.LastIndexByte(t.Name, '.')+1:]
	for _, name := range r.NoDecay {
		if name == last {
			return true
		}
	}
	return false
}

// optimizer returns the binding's form of the recipe's update rule.
func (r Recipe) optimizer(tensors []torch.TensorInfo) torch.OptimizerConfig {
	c := torch.OptimizerConfig{
		Kind: torch.AdamW, Beta1: r.Betas[0], Beta2: r.Betas[1], Eps: r.Eps, Groups: r.groups(tensors),
	}
	if r.Optimizer == SGD {
		c = torch.OptimizerConfig{Kind: torch.SGD, Momentum: r.Momentum, Nesterov: r.Nesterov, Groups: c.Groups}
	}
	return c
}
