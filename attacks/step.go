package attacks

import (
	"math"

	"sat/internal/rng"
)

// active is the part of a batch that an attack still works on, kept dense at the front of buffers that are allocated
// once. Position k of every field belongs to one image, index[k] of the input.
type active struct {
	x, adv   Batch // clean images and current iterates
	y        []int64
	index    []int
	momentum []float32 // empty without momentum
	scratch  []float32 // one image
}

func newActive(x, start Batch, y []int64, momentum bool) *active {
	a := &active{
		x: x.Clone(), adv: start.Clone(), y: append([]int64(nil), y...), index: make([]int, x.N),
		scratch: make([]float32, x.C*x.H*x.W),
	}
	for i := range a.index {
		a.index[i] = i
	}
	if momentum {
		a.momentum = make([]float32, len(x.Pixels))
	}
	return a
}

// drop removes the images for which done is true, from gradient too when it is given, and keeps the order of the rest.
func (a *active) drop(done func(k int) bool, gradient []float32) {
	size := a.x.C * a.x.H * a.x.W
	move := func(pixels []float32, to, from int) {
		if pixels != nil {
			copy(pixels[to*size:(to+1)*size], pixels[from*size:(from+1)*size])
		}
	}
	kept := 0
	for k := range a.index {
		if done(k) {
			continue
		}
		if kept != k {
			move(a.x.Pixels, kept, k)
			move(a.adv.Pixels, kept, k)
			move(a.momentum, kept, k)
			move(gradient, kept, k)
			a.y[kept], a.index[kept] = a.y[k], a.index[k]
		}
		kept++
	}
	a.x, a.adv = a.x.Slice(0, kept), a.adv.Slice(0, kept)
	a.y, a.index = a.y[:kept], a.index[:kept]
	if a.momentum != nil {
		a.momentum = a.momentum[:kept*size]
	}
}

const signBit = 1 << 31

// stepLinf replaces the iterates adv about the clean images x by
//
//	clamp01(x + clamp(adv + alpha*sign(g) - x, -eps, eps))
//
// in exactly this order, each operation rounded to float32; descend turns the sign round. A pixel with g = 0 does not
// move. Nothing here branches on the data: signs of gradients are as good as random, and mispredicted branches would
// cost more than the arithmetic.
func stepLinf(adv, x, g []float32, alpha, eps float32, descend bool) {
	var flip uint32
	if descend {
		flip = signBit
	}
	step, limit := math.Float32bits(alpha)^flip, math.Float32bits(eps)
	x, g = x[:len(adv)], g[:len(adv)]
	for i, xt := range adv {
		v := xt
		if g[i] != 0 {
			v = float32(xt + math.Float32frombits(step^math.Float32bits(g[i])&signBit))
		}
		d := math.Float32bits(v - x[i])
		d = d&signBit | min(d&^signBit, limit)
		adv[i] = clamp01(float32(x[i] + math.Float32frombits(d)))
	}
}

// clamp01 limits v, which is not NaN, to [0,1]. The bits of floats >= 0 are ordered as integers, those of negative
// floats are negative integers, and Go compiles min and max of integers without branches.
func clamp01(v float32) float32 {
	const one = 0x3f800000
	return math.Float32frombits(uint32(max(0, min(int32(math.Float32bits(v)), one))))
}

// stepL2 replaces each iterate by clamp01(x + d), d = adv + alpha*g/(||g||+1e-10) - x, shortened to length eps when it
// is longer. Lengths are over one image, summed in float64. A zero gradient gives no movement.
func stepL2(a *active, g []float32, alpha, eps float32, descend bool) {
	if descend {
		alpha = -alpha
	}
	size := len(a.scratch)
	for k := range a.index {
		x, adv, g, d := a.x.Image(k), a.adv.Image(k), g[k*size:(k+1)*size], a.scratch
		length := float32(norm2(g)) + 1e-10
		for i := range d {
			move := float32(alpha * float32(g[i]/length))
			d[i] = float32(float32(adv[i]+move) - x[i])
		}
		factor := min(1, eps/max(float32(norm2(d)), 1e-12))
		for i := range d {
			adv[i] = clamp01(float32(x[i] + float32(d[i]*factor)))
		}
	}
}

// accumulate does m = mu*m + g / max(mean|g|, 1e-12) for every active image.
func accumulate(a *active, g []float32, mu float32) {
	size := a.x.C * a.x.H * a.x.W
	for k := range a.index {
		g, m := g[k*size:(k+1)*size], a.momentum[k*size:(k+1)*size]
		sum := 0.0
		for _, v := range g {
			sum += math.Abs(float64(v))
		}
		mean := float32(max(sum/float64(size), 1e-12))
		for i := range m {
			m[i] = float32(float32(mu*m[i]) + float32(g[i]/mean))
		}
	}
}

func norm2(v []float32) float64 {
	sum := 0.0
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	return math.Sqrt(sum)
}

// randomStart sets every active iterate to clamp01(x + u), u uniform in the L-infinity ball, or a random direction of
// uniform length up to eps for L2. An image's draws depend on the seed, the restart and its id alone.
func (r *pgdRun) randomStart(a *active, restart int) {
	eps := r.Epsilon
	for k, i := range a.index {
		draw := rng.New(r.Seed, "pgd", uint64(restart), rng.ID(r.ids[i]))
		x, adv, u := a.x.Image(k), a.adv.Image(k), a.scratch
		switch r.Norm {
		case Linf:
			for j := range u {
				u[j] = float32((2*draw.Float64() - 1) * eps)
			}
		case L2:
			for j := range u {
				u[j] = float32(draw.Normal())
			}
			scale := draw.Float64() * eps / max(norm2(u), 1e-12)
			for j := range u {
				u[j] = float32(float64(u[j]) * scale)
			}
		}
		for j := range adv {
			adv[j] = clamp01(float32(x[j] + u[j]))
		}
	}
}

func count(flags []bool) int {
	n := 0
	for _, f := range flags {
		if f {
			n++
		}
	}
	return n
}
