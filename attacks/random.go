package attacks

import (
	"fmt"
	"math"

	"sat/internal/rng"
)

// Randomness says where an attack's random numbers come from.
type Randomness int

const (
	// Keyed draws depend on (seed, attack, restart, image id) alone: the same in any batch, order and process.
	Keyed Randomness = iota
	// StreamCompat takes the numbers, in the order in which the reference implementation of AutoAttack takes them, from
	// libtorch's CPU generator, seeded with the low 32 bits of Seed before every attack on every batch. An image's draws
	// then depend on the batch. It exists to compare results with the reference.
	StreamCompat
)

// String returns the word used in files and messages.
func (r Randomness) String() string {
	switch r {
	case Keyed:
		return "keyed"
	case StreamCompat:
		return "stream-compat"
	default:
		return fmt.Sprintf("Randomness(%d)", int(r))
	}
}

// uniform is a source of numbers in [0,1) with 24 random bits.
type uniform interface{ Float32() float32 }

// draws hands out the random numbers of one attack on one batch.
type draws struct {
	seed   uint64
	attack string
	stream *torchRand // nil for keyed draws
}

func newDraws(r Randomness, seed uint64, attack string) draws {
	d := draws{seed: seed, attack: attack}
	if r == StreamCompat {
		d.stream = newTorchRand(seed)
	}
	return d
}

// of returns the source for one image in one round (restart or target) of the attack: its own, or the common stream,
// which images must use in their order.
func (d draws) of(round int, id string) uniform {
	if d.stream != nil {
		return d.stream
	}
	return rng.New(d.seed, d.attack, uint64(round), rng.ID(id))
}

// normals fills one image after another, all of equal size, with standard normal numbers.
func (d draws) normals(dst []float32, round int, ids []string) {
	if d.stream != nil {
		d.stream.normals(dst)
		return
	}
	size := len(dst) / len(ids)
	for k, id := range ids {
		source := rng.New(d.seed, d.attack, uint64(round), rng.ID(id))
		for j := k * size; j < (k+1)*size; j++ {
			dst[j] = float32(source.Normal())
		}
	}
}

// plusMinus returns 1 or -1 with equal probability. Like the reference it is sign(2u-1): 0 once in 2^24 draws.
func plusMinus(source uniform) float32 {
	switch u := source.Float32(); {
	case u > 0.5:
		return 1
	case u < 0.5:
		return -1
	default:
		return 0
	}
}

// torchRand reproduces libtorch's CPU generator, the Mersenne Twister MT19937 (Matsumoto and Nishimura 1998), and how
// torch.rand and torch.randn of float32 turn its output into numbers.
type torchRand struct {
	state [mtSize]uint32
	next  int
}

const mtSize, mtShift = 624, 397

func newTorchRand(seed uint64) *torchRand {
	r := &torchRand{next: mtSize}
	r.state[0] = uint32(seed)
	for i := uint32(1); i < mtSize; i++ {
		last := r.state[i-1]
		r.state[i] = 1812433253*(last^last>>30) + i
	}
	return r
}

// Uint32 returns the next 32 random bits.
func (r *torchRand) Uint32() uint32 {
	if r.next == mtSize {
		for i := range r.state {
			mixed := r.state[i]&(1<<31) | r.state[(i+1)%mtSize]&^(1<<31)
			v := r.state[(i+mtShift)%mtSize] ^ mixed>>1
			if mixed&1 != 0 {
				v ^= 0x9908b0df
			}
			r.state[i] = v
		}
		r.next = 0
	}
	y := r.state[r.next]
	r.next++
	y ^= y >> 11
	y ^= y << 7 & 0x9d2c5680
	y ^= y << 15 & 0xefc60000
	return y ^ y>>18
}

// Float32 is one element of torch.rand: the low 24 bits.
func (r *torchRand) Float32() float32 { return float32(r.Uint32()&(1<<24-1)) / (1 << 24) }

// float64 is a uniform double from 53 bits of two outputs, the first one on top.
func (r *torchRand) float64() float64 {
	high := uint64(r.Uint32())
	return float64((high<<32|uint64(r.Uint32()))&(1<<53-1)) / (1 << 53)
}

// normals is torch.randn of len(dst) elements, up to the last bits of logarithm and cosine: Box-Muller on blocks of
// sixteen uniforms, the last block redrawn where the length is not a multiple, and double precision below sixteen.
func (r *torchRand) normals(dst []float32) {
	const block = 16
	if len(dst) < block {
		for i := 0; i < len(dst); i += 2 {
			u1, u2 := r.float64(), r.float64()
			radius, theta := math.Sqrt(-2*math.Log1p(-u2)), 2*math.Pi*u1
			dst[i] = float32(radius * math.Cos(theta))
			if i+1 < len(dst) {
				dst[i+1] = float32(radius * math.Sin(theta))
			}
		}
		return
	}
	for i := range dst {
		dst[i] = r.Float32()
	}
	for i := 0; i+block <= len(dst); i += block {
		boxMuller(dst[i : i+block])
	}
	if len(dst)%block != 0 {
		last := dst[len(dst)-block:]
		for i := range last {
			last[i] = r.Float32()
		}
		boxMuller(last)
	}
}

// boxMuller turns pairs of uniforms, j and j + half, into pairs of normal numbers.
func boxMuller(v []float32) {
	half := len(v) / 2
	for j := range half {
		radius := float32(math.Sqrt(float64(float32(-2 * float32(math.Log(float64(1-v[j])))))))
		theta := float64(float32(2*math.Pi) * v[j+half])
		v[j], v[j+half] = float32(radius*float32(math.Cos(theta))), float32(radius*float32(math.Sin(theta)))
	}
}
