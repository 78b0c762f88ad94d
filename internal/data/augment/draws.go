package augment

import (
	"math"

	"sat/internal/data/codec"
	"sat/internal/rng"
)

// Rect is a part of an image.
type Rect = codec.Rect

// Crop says how a random resized crop is drawn.
type Crop struct {
	Scale [2]float64 // of the area
	Ratio [2]float64 // width to height
}

// DefaultCrop is that of the ImageNet recipes.
func DefaultCrop() Crop { return Crop{Scale: [2]float64{0.08, 1}, Ratio: [2]float64{3.0 / 4, 4.0 / 3}} }

// cropTries is how often timm and torchvision draw before they fall back to the centre.
const cropTries = 10

// Draw returns a part of a width x height image.
func (c Crop) Draw(s *rng.Stream, width, height int) Rect {
	for range cropTries {
		scale := uniform(s, c.Scale[0], c.Scale[1])
		w, h := sides(scale*float64(width*height), uniform(s, math.Log(c.Ratio[0]), math.Log(c.Ratio[1])))
		if w > 0 && h > 0 && w <= width && h <= height {
			top := s.IntN(height - h + 1)
			return Rect{Left: s.IntN(width - w + 1), Top: top, Width: w, Height: h}
		}
	}
	return c.centre(width, height)
}

// sides are those of a rectangle with the given area and logarithm of first to second side.
func sides(area, logRatio float64) (first, second int) {
	ratio := math.Exp(logRatio)
	return int(math.RoundToEven(math.Sqrt(area * ratio))), int(math.RoundToEven(math.Sqrt(area / ratio)))
}

// centre is the largest centred part whose ratio is allowed.
func (c Crop) centre(width, height int) Rect {
	w, h := width, height
	switch ratio := float64(width) / float64(height); {
	case ratio < c.Ratio[0]:
		h = max(1, min(height, int(math.RoundToEven(float64(w)/c.Ratio[0]))))
	case ratio > c.Ratio[1]:
		w = max(1, min(width, int(math.RoundToEven(float64(h)*c.Ratio[1]))))
	}
	return Rect{Left: (width - w) / 2, Top: (height - h) / 2, Width: w, Height: h}
}

func uniform(s *rng.Stream, low, high float64) float64 { return low + float64((high-low)*s.Float64()) }

// Jitter changes brightness, contrast and saturation by factors from [max(0, 1-Amount), 1+Amount], and turns the hue by up to
// Hue of the circle each way, in random order.
type Jitter struct{ Brightness, Contrast, Saturation, Hue float64 }

// Apply draws and changes m in place.
func (j Jitter) Apply(s *rng.Stream, m codec.Image) {
	type step struct {
		amount, low float64
		do          func(codec.Image, float64)
	}
	factor := func(amount float64, do func(codec.Image, float64)) step { return step{amount, max(0, 1-amount), do} }
	steps := []step{factor(j.Brightness, Brightness), factor(j.Contrast, Contrast), factor(j.Saturation, Color)}
	if j.Hue > 0 { // only then a part of the order, which is that of earlier results otherwise
		steps = append(steps, step{j.Hue, -j.Hue, Hue})
	}
	for _, i := range s.Perm(len(steps)) {
		switch step := steps[i]; {
		case step.amount <= 0:
		case step.low < 0:
			step.do(m, uniform(s, step.low, step.amount))
		default:
			step.do(m, uniform(s, step.low, 1+step.amount))
		}
	}
}

// Erasing says how random erasing (Zhong et al., 2020) draws its box, as in timm.
type Erasing struct {
	Probability float64
	Area        [2]float64 // share of the image
	Ratio       [2]float64 // height to width
}

// DefaultErasing is timm's, with the given probability.
func DefaultErasing(probability float64) Erasing {
	return Erasing{Probability: probability, Area: [2]float64{0.02, 1.0 / 3}, Ratio: [2]float64{0.3, 1 / 0.3}}
}

// erasingTries is how often timm draws a box before it leaves the image alone.
const erasingTries = 10

// Draw returns the box to erase in a width x height image; ok is false when the image is left alone.
func (e Erasing) Draw(s *rng.Stream, width, height int) (box Rect, ok bool) {
	if s.Float64() >= e.Probability {
		return Rect{}, false
	}
	for range erasingTries {
		area := uniform(s, e.Area[0], e.Area[1])
		h, w := sides(area*float64(width*height), uniform(s, math.Log(e.Ratio[0]), math.Log(e.Ratio[1])))
		if w > 0 && h > 0 && w < width && h < height {
			top := s.IntN(height - h + 1)
			return Rect{Left: s.IntN(width - w + 1), Top: top, Width: w, Height: h}, true
		}
	}
	return Rect{}, false
}

// Mixing says how the images of a batch are mixed with those of the reversed batch.
type Mixing struct {
	Mixup, CutMix float64 // parameters of the Beta distributions; 0: not used
	Probability   float64 // that a batch is mixed at all
	Switch        float64 // that it is CutMix, where both are used
	// CeilBox makes odd CutMix boxes one pixel larger, as timm 1.0.31 does; 0.6.7 and DeiT do not.
	CeilBox bool
}

// Mix is what is done to one batch: x = Share·x + (1-Share)·reversed, or, with a box, the box of the reversed batch pasted.
// Labels are mixed with Share in both cases.
type Mix struct {
	Share  float64 // 1: nothing is mixed
	CutMix bool
	Box    Rect
}

// Draw decides about a batch of width x height images.
func (m Mixing) Draw(s *rng.Stream, width, height int) Mix {
	if m.Mixup <= 0 && m.CutMix <= 0 || s.Float64() >= m.Probability {
		return Mix{Share: 1}
	}
	if m.CutMix > 0 && (m.Mixup <= 0 || s.Float64() < m.Switch) {
		lambda := s.Beta(m.CutMix, m.CutMix)
		return m.cut(lambda, s.IntN(height), s.IntN(width), width, height)
	}
	return Mix{Share: s.Beta(m.Mixup, m.Mixup)}
}

// cut is CutMix (Yun et al., 2019) with share lambda and the box's centre; the share is that of the box after clipping.
func (m Mixing) cut(lambda float64, cy, cx, width, height int) Mix {
	r := math.Sqrt(1 - lambda)
	h, w := int(float64(height)*r), int(float64(width)*r)
	extra := 0
	if m.CeilBox {
		extra = 1
	}
	top, bottom := max(cy-h/2, 0), min(cy+(h+extra)/2, height)
	left, right := max(cx-w/2, 0), min(cx+(w+extra)/2, width)
	box := Rect{Left: left, Top: top, Width: right - left, Height: bottom - top}
	return Mix{Share: 1 - float64(box.Width*box.Height)/float64(width*height), CutMix: true, Box: box}
}
