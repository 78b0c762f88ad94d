package selfsup

import (
	"errors"
	"fmt"
	"math"

	"sat/internal/data/augment"
	"sat/internal/train"
	"sat/zoo"
)

// Settings are those of a method that are not a part of the network file.
type Settings struct {
	// Momentum is the share of itself that the target network keeps at an update (MoCo v3, BYOL). It goes by a cosine from the
	// first to the second; equal ones hold it.
	Momentum [2]float64 `json:"momentum"`
	// FreezePatches leaves the projection of patches as it was drawn (MoCo v3, section 4).
	FreezePatches bool `json:"freeze_patches"`
	// Views change the colours of the two views of each image (MoCo v3, BYOL).
	Views [2]augment.Colour `json:"views"`
}

// validate reports what has no meaning, all at once.
func (o Settings) validate(method string) error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("pre-training: "+format, args...))
		}
	}
	if method == zoo.MAE {
		check(o.Momentum == [2]float64{} && o.Views == [2]augment.Colour{}, "mae has neither a momentum nor two views")
		return errors.Join(errs...)
	}
	check(o.Momentum[0] >= 0 && o.Momentum[0] <= o.Momentum[1] && o.Momentum[1] <= 1, "momentum is %v, want rising numbers in [0,1]", o.Momentum)
	for _, v := range o.Views {
		for word, p := range map[string]float64{
			"jitter_prob": v.JitterProb, "grey_prob": v.GreyProb, "blur_prob": v.BlurProb, "solarize_prob": v.SolarizeProb,
		} {
			check(p >= 0 && p <= 1, "%s is %v, want [0,1]", word, p)
		}
		check(v.Sigma[0] >= 0 && v.Sigma[0] <= v.Sigma[1] && !math.IsInf(v.Sigma[1], 0), "blur is %v, want rising numbers >= 0", v.Sigma)
		for word, amount := range map[string]float64{
			"brightness": v.Jitter.Brightness, "contrast": v.Jitter.Contrast, "saturation": v.Jitter.Saturation,
		} {
			check(amount >= 0 && amount <= 10, "the jitter of %s is %v, want [0,10]", word, amount)
		}
		check(v.Jitter.Hue >= 0 && v.Jitter.Hue <= 0.5, "the jitter of hue is %v, want [0,0.5]", v.Jitter.Hue)
	}
	return errors.Join(errs...)
}

// momentum is the target's share of itself at update t (from 0) of all: m1 - (m1 - m0)(1 + cos(pi t/all))/2.
func (o Settings) momentum(t, all int) float64 {
	return o.Momentum[1] - (o.Momentum[1]-o.Momentum[0])*(1+math.Cos(math.Pi*float64(t)/float64(all)))/2
}

// checkRecipe reports the parts of a recipe that are about labels, or that the loop here does not have.
func checkRecipe(r train.Recipe) error {
	errs := []error{r.Validate()}
	for word, given := range map[string]bool{
		"mixup": r.Mixup > 0, "cutmix": r.CutMix > 0, "label_smoothing": r.LabelSmoothing > 0, "loss": r.Loss != train.CrossEntropy,
		"adversarial": r.Adversarial != nil, "erase_prob": r.EraseProb > 0, "repeated_aug": r.RepeatedAug > 1, "aa": r.Policy != "",
		"color_jitter": r.Jitter > 0, "accumulate": r.Accumulate > 1, "ema": r.EMA > 0, "layer_decay": r.LayerDecay < 1,
	} {
		if given {
			errs = append(errs, fmt.Errorf("pre-training: %s of the recipe means nothing here; leave it out", word))
		}
	}
	if r.Precision == "float16" {
		errs = append(errs, errors.New("pre-training: amp is float16, which needs a scale of the loss; use bfloat16 or float32"))
	}
	return errors.Join(errs...)
}
