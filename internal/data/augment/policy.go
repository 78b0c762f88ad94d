package augment

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"sat/internal/data/codec"
	"sat/internal/rng"
)

// Policy is RandAugment (Cubuk et al., 2020) in timm's form.
type Policy struct {
	Layers      int     // operations drawn for an image
	Magnitude   float64 // 0 to 10
	Deviation   float64 // of the magnitude of one application
	Increasing  bool    // whether a larger magnitude always changes more
	Probability float64 // that a drawn operation is applied

	Fill   [codec.Channels]uint8 // colour of what geometry uncovers
	Filter codec.Filter          // of the geometric operations
	// RandomFilter draws bilinear or bicubic for each application instead.
	RandomFilter bool
}

// maxMagnitude is the end of timm's scale.
const maxMagnitude = 10.0

// The operations in timm's order.
const (
	opAutoContrast = iota
	opEqualize
	opInvert
	opRotate
	opPosterize
	opSolarize
	opSolarizeAdd
	opColor
	opContrast
	opBrightness
	opSharpness
	opShearX
	opShearY
	opTranslateX
	opTranslateY
	operations
)

// ParsePolicy reads timm's notation: "rand" and then, joined by dashes, m (magnitude), mstd (its deviation), inc (1 for the
// increasing operations), n (layers, 2) and p (probability, 0.5) with their numbers, as in rand-m9-mstd0.5-inc1.
func ParsePolicy(text string) (Policy, error) {
	p := Policy{Layers: 2, Magnitude: maxMagnitude, Probability: 0.5, Filter: codec.Bicubic}
	parts := strings.Split(text, "-")
	if parts[0] != "rand" {
		return p, fmt.Errorf("augmentation policy %q: it starts with rand, as in rand-m9-mstd0.5-inc1", text)
	}
	for _, part := range parts[1:] {
		word := strings.TrimRight(part, "0123456789.")
		v, err := strconv.ParseFloat(part[len(word):], 64)
		whole := v == math.Trunc(v)
		switch {
		case err != nil:
			return p, fmt.Errorf("augmentation policy %q: %q has no number", text, part)
		case word == "m" && v <= maxMagnitude:
			p.Magnitude = v
		case word == "mstd" && v <= 100:
			p.Deviation = v
		case word == "inc" && (v == 0 || v == 1):
			p.Increasing = v == 1
		case word == "n" && whole && v >= 1 && v <= 16:
			p.Layers = int(v)
		case word == "p" && v <= 1:
			p.Probability = v
		default:
			return p, fmt.Errorf("augmentation policy %q: %q is none of m0..10, mstd0..100, inc0 or inc1, n1..16, p0..1", text, part)
		}
	}
	return p, nil
}

// Application is one drawn operation with its argument.
type Application struct {
	op     int
	arg    float64 // degrees, bits, threshold, addend, factor, shear or share of the side
	filter codec.Filter
}

// Draw returns what the policy does to one image.
func (p Policy) Draw(s *rng.Stream) []Application {
	var ops []int
	for range p.Layers {
		ops = append(ops, s.IntN(operations))
	}
	var out []Application
	for _, op := range ops {
		if p.Probability < 1 && s.Float64() >= p.Probability {
			continue
		}
		level := p.Magnitude
		if p.Deviation > 0 {
			level += float64(p.Deviation * s.Normal())
		}
		level = min(max(level, 0), maxMagnitude) / maxMagnitude
		a := Application{op: op, filter: p.Filter}
		switch op {
		case opRotate:
			a.arg = signed(s, level*30)
		case opPosterize:
			a.arg = math.Trunc(level * 4)
			if p.Increasing {
				a.arg = 4 - a.arg
			}
		case opSolarize:
			a.arg = min(256, math.Trunc(level*256))
			if p.Increasing {
				a.arg = 256 - a.arg
			}
		case opSolarizeAdd:
			a.arg = min(128, math.Trunc(level*110))
		case opColor, opContrast, opBrightness, opSharpness:
			a.arg = float64(level*1.8) + 0.1
			if p.Increasing {
				a.arg = max(0.1, 1+signed(s, level*0.9))
			}
		case opShearX, opShearY:
			a.arg = signed(s, level*0.3)
		case opTranslateX, opTranslateY:
			a.arg = signed(s, level*0.45)
		}
		if p.RandomFilter && a.geometric() && s.Float64() < 0.5 {
			a.filter = codec.Bilinear
		}
		out = append(out, a)
	}
	return out
}

func signed(s *rng.Stream, v float64) float64 {
	if s.Float64() < 0.5 {
		return -v
	}
	return v
}

func (a Application) geometric() bool {
	switch a.op {
	case opRotate, opShearX, opShearY, opTranslateX, opTranslateY:
		return true
	}
	return false
}

// Augmenter applies operations, reusing its memory between images. It is used by one goroutine at a time.
type Augmenter struct{ scratch []byte }

// Apply changes m in place.
func (g *Augmenter) Apply(m codec.Image, a Application, fill [codec.Channels]uint8) {
	switch a.op {
	case opAutoContrast:
		AutoContrast(m)
	case opEqualize:
		Equalize(m)
	case opInvert:
		Invert(m)
	case opPosterize:
		Posterize(m, int(a.arg))
	case opSolarize:
		Solarize(m, int(a.arg))
	case opSolarizeAdd:
		SolarizeAdd(m, int(a.arg))
	case opColor:
		Color(m, a.arg)
	case opContrast:
		Contrast(m, a.arg)
	case opBrightness:
		Brightness(m, a.arg)
	case opSharpness:
		g.scratch = Sharpness(m, a.arg, g.scratch)
	case opRotate:
		if a.arg != 0 {
			g.transform(m, Rotation(a.arg, m.Width, m.Height), a.filter, fill)
		}
	case opShearX:
		g.transform(m, ShearX(a.arg), a.filter, fill)
	case opShearY:
		g.transform(m, ShearY(a.arg), a.filter, fill)
	case opTranslateX:
		g.transform(m, Translation(a.arg*float64(m.Width), 0), a.filter, fill)
	case opTranslateY:
		g.transform(m, Translation(0, a.arg*float64(m.Height)), a.filter, fill)
	}
}

func (g *Augmenter) transform(m codec.Image, matrix Matrix, filter codec.Filter, fill [codec.Channels]uint8) {
	row := m.Width * codec.Channels
	if cap(g.scratch) < m.Height*row {
		g.scratch = make([]byte, m.Height*row)
	}
	src := codec.Image{Pixels: g.scratch[:m.Height*row], Width: m.Width, Height: m.Height, Stride: row}
	for y := range m.Height {
		copy(src.Pixels[y*row:][:row], m.Pixels[y*m.Stride:])
	}
	Transform(m, src, matrix, filter, fill)
}
