package augment

import (
	"math"

	"sat/internal/data/codec"
	"sat/internal/rng"
)

// Colour is what contrastive methods do to a view beside crop and mirror, in this order: jitter, grey, blur, solarise, each
// with its probability (BYOL, appendix B; MoCo v3 takes the same).
type Colour struct {
	Jitter     Jitter  `json:"jitter"`
	JitterProb float64 `json:"jitter_prob"`
	GreyProb   float64 `json:"grey_prob"`
	// Sigma bounds the deviation of the blur, uniform between them, in pixels.
	Sigma        [2]float64 `json:"sigma"`
	BlurProb     float64    `json:"blur_prob"`
	SolarizeProb float64    `json:"solarize_prob"`
}

// solarizeAt is the sample value from which these methods invert.
const solarizeAt = 128

// Recolour draws and changes m in place.
func (g *Augmenter) Recolour(s *rng.Stream, m codec.Image, c Colour) {
	// All numbers that decide are drawn first, so that one probability does not shift what the others draw.
	jitter, grey, blur, solarize := s.Float64() < c.JitterProb, s.Float64() < c.GreyProb, s.Float64() < c.BlurProb, s.Float64() < c.SolarizeProb
	sigma := uniform(s, c.Sigma[0], c.Sigma[1])
	if jitter {
		c.Jitter.Apply(s, m)
	}
	if grey {
		Grey(m)
	}
	if blur {
		g.GaussianBlur(m, sigma)
	}
	if solarize {
		Solarize(m, solarizeAt)
	}
}

// blurPasses is how many box filters in a row stand for a Gaussian.
const blurPasses = 3

// boxRadius is the radius, a whole part and a fraction, of the box filter whose blurPasses passes have the variance sigma²
// (Gwosdek et al., "Theoretical foundations of Gaussian convolution by extended box filtering", 2011), in the precision of
// Pillow.
func boxRadius(sigma float64) float32 {
	s := float32(sigma)
	variance := float32(s*s) / blurPasses
	length := float32(math.Sqrt(float64(12*float64(variance)) + 1))
	l := float32(math.Floor((float64(length) - 1) / 2))
	a := float32(float32(2*l)+1) * float32(float32(l*float32(l+1))-float32(3*variance))
	a /= float32(6 * float32(variance-float32(float32(l+1)*float32(l+1))))
	return l + a
}

// GaussianBlur smooths m with a Gaussian of deviation sigma in pixels, as Pillow does: three extended box filters along the
// rows, then three along the columns, every one rounded to bytes. Pixels beyond the edge are those at the edge.
func (g *Augmenter) GaussianBlur(m codec.Image, sigma float64) {
	radius := boxRadius(sigma)
	if radius == 0 {
		return
	}
	longest := max(m.Width, m.Height)
	if cap(g.scratch) < 2*longest {
		g.scratch = make([]byte, 2*longest)
	}
	from, to := g.scratch[:longest], g.scratch[longest:2*longest]
	line := func(first, step, n int) {
		for i := range n {
			from[i] = m.Pixels[first+i*step]
		}
		for range blurPasses {
			boxBlur(to[:n], from[:n], radius)
			from, to = to, from
		}
		for i := range n {
			m.Pixels[first+i*step] = from[i]
		}
	}
	for y := range m.Height {
		for c := range codec.Channels {
			line(y*m.Stride+c, codec.Channels, m.Width)
		}
	}
	for x := range m.Width {
		for c := range codec.Channels {
			line(x*codec.Channels+c, m.Stride, m.Height)
		}
	}
}

// boxBlur averages the 2r+1 samples around each with weight w, and the two next to them with weight f, in 24-bit fixed point.
func boxBlur(dst, src []byte, radius float32) {
	const one = 1 << 24
	r, last := int(radius), len(src)-1
	w := uint32(float32(one) / (float32(radius*2) + 1))
	f := (one - uint32(2*r+1)*w) / 2
	at := func(i int) uint32 { return uint32(src[min(max(i, 0), last)]) }
	sum := uint32(0)
	for i := -r - 1; i < r; i++ { // around the sample before the first
		sum += at(i)
	}
	for i := range dst {
		sum += at(i+r) - at(i-r-1)
		dst[i] = byte((sum*w + (at(i-r-1)+at(i+r+1))*f + 1<<23) >> 24)
	}
}

// Hue turns the hue of every pixel by shift, a fraction of the circle in [-1/2, 1/2], as torchvision does: by way of Pillow's
// HSV of bytes, where 255 is the circle.
func Hue(m codec.Image, shift float64) {
	turn := uint8(int32(shift * 255))
	for y := range m.Height {
		row := m.Pixels[y*m.Stride:][:m.Width*codec.Channels]
		for i := 0; i+2 < len(row); i += codec.Channels {
			h, s, v := hsv(row[i], row[i+1], row[i+2])
			row[i], row[i+1], row[i+2] = rgb(h+turn, s, v)
		}
	}
}

// hsv is Pillow's conversion: value, and hue and saturation truncated to bytes.
func hsv(r, g, b uint8) (h, s, v uint8) {
	v = max(r, g, b)
	least := min(r, g, b)
	if v == least {
		return 0, 0, v
	}
	span := float32(v - least)
	rc, gc, bc := float32(v-r)/span, float32(v-g)/span, float32(v-b)/span
	var turn float32
	switch v {
	case r:
		turn = bc - gc
	case g:
		turn = float32(2 + float64(rc) - float64(bc))
	default:
		turn = float32(4 + float64(gc) - float64(rc))
	}
	turn = float32(math.Mod(float64(turn)/6+1, 1))
	saturation := span / float32(v)
	return uint8(min(max(int(float64(turn)*255), 0), 255)), uint8(min(max(int(float64(saturation)*255), 0), 255)), v
}

// rgb is Pillow's conversion back.
func rgb(h, s, v uint8) (r, g, b uint8) {
	if s == 0 {
		return v, v, v
	}
	sector := math.Floor(float64(h) * 6 / 255)
	f := float32(float64(h)*6/255 - sector)
	fs := float32(float64(s) / 255)
	part := func(share float64) uint8 { return uint8(min(max(math.Round(float64(v)*share), 0), 255)) }
	p := part(1 - float64(fs))
	q := part(1 - float64(float64(fs)*float64(f)))
	t := part(1 - float64(float64(fs)*(1-float64(f))))
	switch int(sector) % 6 {
	case 0:
		return v, t, p
	case 1:
		return q, v, p
	case 2:
		return p, v, t
	case 3:
		return p, q, v
	case 4:
		return t, p, v
	}
	return v, p, q
}
