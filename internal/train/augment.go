package train

import (
	"fmt"
	"math"

	"sat/internal/data"
	"sat/internal/data/augment"
	"sat/internal/data/codec"
	"sat/torch"
	"sat/zoo"
)

// validateAugmentation reports what has no meaning in the part of the recipe that changes images.
func (r Recipe) validateAugmentation() (errs []error) {
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("recipe: "+format, args...))
		}
	}
	if r.crops() {
		check(r.CropScale[0] > 0 && r.CropScale[0] <= r.CropScale[1] && r.CropScale[1] <= 1, "crop_scale is %v, want rising numbers in (0,1]", r.CropScale)
		check(r.CropRatio[0] > 0 && r.CropRatio[0] <= r.CropRatio[1], "crop_ratio is %v, want rising numbers > 0", r.CropRatio)
		check(r.Shift == 0, "shift and crop_scale both move the image; use one of them")
	}
	if r.Filter != "random" {
		_, err := codec.ParseFilter(r.Filter)
		check(err == nil, "interpolation is %q, want bilinear, bicubic or random", r.Filter)
	}
	if r.Policy != "" {
		if _, err := augment.ParsePolicy(r.Policy); err != nil {
			errs = append(errs, fmt.Errorf("recipe: aa: %w", err))
		}
	}
	check(r.Jitter >= 0 && r.Jitter <= 10, "color_jitter is %v, want [0,10]", r.Jitter)
	check(r.EraseProb >= 0 && r.EraseProb <= 1, "erase_prob is %v, want [0,1]", r.EraseProb)
	check(r.RepeatedAug >= 1, "repeated_aug is %d, want >= 1", r.RepeatedAug)
	check(r.Mixup >= 0 && !math.IsInf(r.Mixup, 0), "mixup is %v, want a finite number >= 0", r.Mixup)
	check(r.CutMix >= 0 && !math.IsInf(r.CutMix, 0), "cutmix is %v, want a finite number >= 0", r.CutMix)
	check(r.MixProb >= 0 && r.MixProb <= 1, "mix_prob is %v, want [0,1]", r.MixProb)
	check(r.MixSwitch >= 0 && r.MixSwitch <= 1, "mix_switch is %v, want [0,1]", r.MixSwitch)
	check(r.CutMixBox == FloorBox || r.CutMixBox == CeilBox, "cutmix_box is %q, want %q or %q", r.CutMixBox, FloorBox, CeilBox)
	check(!r.mixes() || r.Batch%2 == 0, "mixing needs an even batch, not %d", r.Batch)
	return errs
}

func (r Recipe) crops() bool { return r.CropScale != [2]float64{} }

// Stream returns the training batches of one epoch of images as the recipe asks for them, for a network that takes height x
// width pixels. mean, the network's, colours what geometric augmentation uncovers. Seed, Epoch, Workers and Skip are left to set.
func (r Recipe) Stream(images data.Images, height, width int, mean []float32) (data.Stream, error) {
	a, err := r.augmentation(mean)
	return data.Stream{Images: images, Height: height, Width: width, Batch: r.Batch, Repeats: r.RepeatedAug, Augment: a}, err
}

// Pixels makes a batch of Stream the tensor [N,3,H,W] in [0,1] of the epoch's first update, with its random erasing: what a run
// does before it mixes and normalises. It is for measuring.
func (r Recipe) Pixels(s *torch.Scope, batch data.Batch, height, width int, mean, std []float32, epoch int) (torch.Tensor, error) {
	t := session{Job: Job{Recipe: r}, manifest: &zoo.Manifest{InputSize: [3]int{codec.Channels, height, width}, Mean: mean, Std: std}}
	x := t.input(s, batch.Images, len(batch.Labels))
	if err := s.Err(); err != nil {
		return x, err
	}
	return x, t.erase(s, x, epoch, 0)
}

// augmentation is what the recipe does to single images before they become tensors. mean colours what geometry uncovers.
func (r Recipe) augmentation(mean []float32) (data.Augment, error) {
	a := data.Augment{Shift: r.Shift, HFlip: r.HFlip, RandomFilter: r.Filter == "random"}
	if !a.RandomFilter {
		var err error
		if a.Filter, err = codec.ParseFilter(r.Filter); err != nil {
			return a, err
		}
	}
	if r.crops() {
		a.Crop = &augment.Crop{Scale: r.CropScale, Ratio: r.CropRatio}
	}
	if r.Policy == "" {
		a.Jitter = augment.Jitter{Brightness: r.Jitter, Contrast: r.Jitter, Saturation: r.Jitter}
		return a, nil
	}
	policy, err := augment.ParsePolicy(r.Policy)
	if err != nil {
		return a, err
	}
	policy.Filter, policy.RandomFilter = a.Filter, a.RandomFilter
	for c := range policy.Fill {
		if c < len(mean) {
			policy.Fill[c] = uint8(math.RoundToEven(255 * float64(mean[c])))
		}
	}
	a.Policy = &policy
	return a, nil
}
