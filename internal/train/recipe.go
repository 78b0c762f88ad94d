package train

import (
	"errors"
	"fmt"
	"math"
	"strconv"
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
	SGD     Optimizer = "sgd"
	AdamW   Optimizer = "adamw"
	LAMB    Optimizer = "lamb"
	RMSProp Optimizer = "rmsprop" // of TensorFlow 1

	FloorBox = "floor" // CutMix boxes as in timm 0.6.7 and DeiT
	CeilBox  = "ceil"  // as in timm 1.0.31: odd ones are a pixel larger

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
	Momentum     float64    `json:"momentum"`       // SGD, RMSProp
	Nesterov     bool       `json:"nesterov"`       // SGD
	Betas        [2]float64 `json:"betas"`          // AdamW, LAMB; RMSProp averages squares with the second
	Eps          float64    `json:"eps"`            // all but SGD

	WeightDecay    float64  `json:"weight_decay"`
	DecayAllParams bool     `json:"decay_all_params"` // also vectors, biases and NoDecay
	NoDecay        []string `json:"no_decay"`         // further parameters without decay, by the last part of their name
	ClipGrad       float64  `json:"clip_grad"`        // limit of the global gradient norm; 0: none
	LayerDecay     float64  `json:"layer_decay"`      // factor of the rate from one block to the one before it; 1: none
	Accumulate     int      `json:"accumulate"`       // parts of a batch that are computed one after the other
	EMA            float64  `json:"ema"`              // decay of the average of the weights; 0: none
	EMAExport      bool     `json:"ema_export"`       // keep the averaged weights rather than the last ones
	// AverageLast, where it is not 0, makes the result the mean of the weights after each of so many last epochs.
	AverageLast int `json:"average_last,omitempty"`

	Schedule     Schedule `json:"sched"`
	Unit         Unit     `json:"sched_unit"`
	WarmupEpochs float64  `json:"warmup_epochs"`
	WarmupLR     float64  `json:"warmup_lr"`   // rate at the start of the warm-up, not scaled
	MinLR        float64  `json:"min_lr"`      // rate at the end of the cosine, not scaled
	SchedLag     int      `json:"sched_lag"`   // epochs by which the rate of PerEpoch is late; DeiT's loop has 1
	StepEpochs   int      `json:"step_epochs"` // of Step
	Gamma        float64  `json:"gamma"`       // of Step

	Loss           Loss    `json:"loss"`
	BCEThreshold   float64 `json:"bce_threshold"` // targets above it count as 1, others as 0; 0: as they are
	LabelSmoothing float64 `json:"label_smoothing"`

	CropScale   [2]float64 `json:"crop_scale"`    // share of the area that a random resized crop takes; zero: no crop
	CropRatio   [2]float64 `json:"crop_ratio"`    // of its width to its height
	Filter      string     `json:"interpolation"` // of the crop and of geometric augmentation: bilinear, bicubic or random
	HFlip       float64    `json:"hflip"`         // probability of a mirror image
	Shift       int        `json:"shift"`         // images are moved by up to so many pixels each way; black comes in
	Policy      string     `json:"aa"`            // RandAugment: rand-m9-mstd0.5-inc1; "": none
	Jitter      float64    `json:"color_jitter"`  // of brightness, contrast and saturation; without effect beside a policy
	EraseProb   float64    `json:"erase_prob"`    // probability that a box of an image is erased
	RepeatedAug int        `json:"repeated_aug"`  // how often an image comes in a row, differently augmented
	Mixup       float64    `json:"mixup"`         // parameter of the Beta distribution of the shares; 0: no mixup
	CutMix      float64    `json:"cutmix"`
	MixProb     float64    `json:"mix_prob"`   // that a batch is mixed
	MixSwitch   float64    `json:"mix_switch"` // that it is CutMix, where both are used
	CutMixBox   string     `json:"cutmix_box"`
	Precision   string     `json:"amp"` // float32, bfloat16 or, on CUDA, float16: products and convolutions

	Adversarial *Adversarial `json:"adversarial,omitempty"` // nil: train on the images as they are

	EvalEvery int `json:"eval_every"` // epochs from one evaluation to the next; the last epoch is always evaluated
	EvalBatch int `json:"eval_batch"`
}

// Defaults returns the parts of a recipe that hardly ever change. Epochs, Batch, Optimizer and LR are left to choose.
func Defaults() Recipe {
	return Recipe{
		Momentum: 0.9, Betas: [2]float64{0.9, 0.999}, Eps: 1e-8, NoDecay: []string{"pos_embed", "cls_token"},
		Schedule: Cosine, Unit: PerUpdate, StepEpochs: 30, Gamma: 0.1, EvalEvery: 1, EvalBatch: 256,
		LayerDecay: 1, Accumulate: 1, Loss: CrossEntropy, CropRatio: [2]float64{3.0 / 4, 4.0 / 3}, Filter: "bicubic",
		RepeatedAug: 1, MixProb: 1, MixSwitch: 0.5, CutMixBox: FloorBox, Precision: "float32",
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
	case AdamW, LAMB, RMSProp:
		for _, b := range r.Betas {
			check(b >= 0 && b < 1, "betas are %v, want each in [0,1)", r.Betas)
		}
		check(r.Eps > 0, "eps is %v, want > 0", r.Eps)
		check(r.Optimizer != RMSProp || r.Momentum >= 0 && r.Momentum < 1, "momentum is %v, want [0,1)", r.Momentum)
	default:
		check(false, "opt is %q, want %s, %s, %s or %s", r.Optimizer, SGD, AdamW, LAMB, RMSProp)
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
	errs = append(errs, r.validateAugmentation()...)
	check(r.LayerDecay > 0 && r.LayerDecay <= 1, "layer_decay is %v, want (0,1]", r.LayerDecay)
	check(r.Accumulate >= 1 && (r.Batch == 0 || r.Batch%max(r.Accumulate, 1) == 0), "accumulate is %d, want a divisor of the batch, %d", r.Accumulate, r.Batch)
	check(r.EMA >= 0 && r.EMA < 1, "ema is %v, want [0,1)", r.EMA)
	check(r.AverageLast >= 0 && r.AverageLast <= max(r.Epochs, 0), "average_last is %d, want 0 to the number of epochs, %d", r.AverageLast, r.Epochs)
	check(r.AverageLast == 0 || !r.EMAExport, "average_last and ema_export both say which weights are kept; use one of them")
	check(r.Loss == CrossEntropy || r.Loss == BCE, "loss is %q, want %q or %q", r.Loss, CrossEntropy, BCE)
	check(r.BCEThreshold >= 0 && r.BCEThreshold < 1, "bce_threshold is %v, want [0,1)", r.BCEThreshold)
	check(r.BCEThreshold == 0 || r.Loss == BCE, "bce_threshold is for loss %q", BCE)
	_, err := torch.ParseDType(r.Precision)
	check(err == nil, "amp is %q, want float32, bfloat16 or float16", r.Precision)
	if r.Adversarial != nil {
		errs = append(errs, r.Adversarial.validate())
		check(!r.mixes(), "adversarial training attacks the one label of an image; leave mixup and cutmix out")
	}
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
// tensors of at most one dimension (norms, biases) and those called ".bias" or as in NoDecay do not decay. With layer decay
// each depth of the network has such a pair of groups.
func (r Recipe) groups(tensors []torch.TensorInfo) []torch.Group {
	deepest := 0
	for _, t := range tensors {
		if b, ok := block(t.Name); ok {
			deepest = max(deepest, b+1)
		}
	}
	depths := make([][2]torch.Group, deepest+2)
	for _, t := range tensors {
		if t.Buffer {
			continue
		}
		depth := 0
		if r.LayerDecay < 1 {
			depth = depthOf(t.Name, deepest)
		}
		g := &depths[depth][1]
		if !r.DecayAllParams && r.exempt(t) {
			g = &depths[depth][0]
		} else {
			g.WeightDecay = r.WeightDecay
		}
		if r.LayerDecay < 1 {
			g.LRScale = math.Pow(r.LayerDecay, float64(deepest+1-depth))
		}
		g.Names = append(g.Names, t.Name)
	}
	var groups []torch.Group
	for _, pair := range depths {
		for _, g := range pair {
			if len(g.Names) > 0 {
				groups = append(groups, g)
			}
		}
	}
	return groups
}

// block is the number of the transformer block that a parameter belongs to, from names as blocks.3.attn.qkv.weight.
func block(name string) (int, bool) {
	before, rest, ok := strings.Cut(name, "blocks.")
	if !ok || before != "" && !strings.HasSuffix(before, ".") {
		return 0, false
	}
	number, _, _ := strings.Cut(rest, ".")
	n, err := strconv.Atoi(number)
	return n, err == nil
}

// depthOf counts the embedding as 0, block i as i+1 and what comes after the blocks as one more (Bao et al., 2022, and
// MAE's fine-tuning).
func depthOf(name string, blocks int) int {
	if b, ok := block(name); ok {
		return b + 1
	}
	for _, first := range []string{"patch_embed", "pos_embed", "cls_token", "dist_token"} {
		if strings.Contains(name, first) {
			return 0
		}
	}
	return blocks + 1
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

// OptimizerConfig returns the binding's form of the recipe's update rule.
func (r Recipe) OptimizerConfig(tensors []torch.TensorInfo) torch.OptimizerConfig {
	kinds := map[Optimizer]torch.OptimizerKind{SGD: torch.SGD, AdamW: torch.AdamW, LAMB: torch.LAMB, RMSProp: torch.RMSProp}
	c := torch.OptimizerConfig{
		Kind: kinds[r.Optimizer], Beta1: r.Betas[0], Beta2: r.Betas[1], Eps: r.Eps, Groups: r.groups(tensors),
	}
	switch r.Optimizer {
	case SGD:
		c = torch.OptimizerConfig{Kind: torch.SGD, Momentum: r.Momentum, Nesterov: r.Nesterov, Groups: c.Groups}
	case RMSProp:
		c.Momentum = r.Momentum
	}
	return c
}
