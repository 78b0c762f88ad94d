package augment

import (
	"testing"

	"sat/internal/rng"
)

func TestBlurAndHueEqualPillow(t *testing.T) {
	var g Augmenter
	for _, c := range golden[struct {
		Width, Height    int
		Kind, Op, SHA256 string
		Arg              float64
	}](t, "colour.json") {
		m := formulaImage(c.Width, c.Height, c.Kind)
		switch c.Op {
		case "blur":
			g.GaussianBlur(m, c.Arg)
		case "hue":
			Hue(m, c.Arg)
		default:
			t.Fatalf("the golden has an operation %q that nothing here is", c.Op)
		}
		if got := digest(m); got != c.SHA256 {
			t.Errorf("%s %v of %dx%d %s: got SHA-256 %s, want %s", c.Op, c.Arg, c.Width, c.Height, c.Kind, got, c.SHA256)
		}
	}
}

// Each part of a view must come with its probability, whatever the others' are.
func TestRecolourProbabilities(t *testing.T) {
	full := Colour{Jitter: Jitter{Brightness: 0.4, Contrast: 0.4, Saturation: 0.2, Hue: 0.1}, Sigma: [2]float64{0.1, 2}}
	var g Augmenter
	for name, set := range map[string]func(c *Colour, p float64){
		"jitter":   func(c *Colour, p float64) { c.JitterProb = p },
		"grey":     func(c *Colour, p float64) { c.GreyProb = p },
		"blur":     func(c *Colour, p float64) { c.BlurProb = p },
		"solarize": func(c *Colour, p float64) { c.SolarizeProb = p },
	} {
		before := digest(formulaImage(12, 9, "noise"))
		changed := func(p float64) (n int) {
			c := full
			set(&c, p)
			for i := range uint64(400) {
				m := formulaImage(12, 9, "noise")
				g.Recolour(rng.New(7, "colour", i), m, c)
				if digest(m) != before {
					n++
				}
			}
			return n
		}
		// 400 draws at 0.2: 80 are expected, and 8 is one standard deviation. A blur of less than half a pixel can round to nothing.
		if n := changed(0); n != 0 {
			t.Errorf("%s with probability 0 changed %d of 400 images", name, n)
		}
		if n := changed(1); n < 380 {
			t.Errorf("%s with probability 1 changed %d of 400 images", name, n)
		}
		if n := changed(0.2); n < 40 || n > 120 {
			t.Errorf("%s with probability 0.2 changed %d of 400 images, want about 80", name, n)
		}
	}
}
