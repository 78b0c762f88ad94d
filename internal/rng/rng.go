package rng

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"math/bits"
)

// Stream is one addressable sequence of random numbers. It is used by one goroutine at a time; making one costs less
// than a microsecond, so make a new Stream per image or per decision rather than sharing one.
type Stream struct {
	key     [2]uint32
	counter [4]uint32 // [0] is the next block
	block   [4]uint32
	used    int  // words of block already handed out
	spare   bool // whether the second normal of a Box-Muller pair waits in normal
	normal  float64
}

// New returns the stream with the given name and counters under seed. Equal arguments give equal numbers; any
// difference (also in how many counters there are) gives independent ones.
func New(seed uint64, stream string, counters ...uint64) *Stream {
	// Name, a zero byte and the counters: unambiguous, since the number of counters follows from the total length.
	// Names hold no zero byte.
	buffer := make([]byte, 0, 96)
	buffer = append(buffer, stream...)
	buffer = append(buffer, 0)
	for _, c := range counters {
		buffer = binary.LittleEndian.AppendUint64(buffer, c)
	}
	digest := sha256.Sum256(buffer)
	s := &Stream{key: [2]uint32{uint32(seed), uint32(seed >> 32)}, used: 4}
	for i := range 3 {
		s.counter[i+1] = binary.LittleEndian.Uint32(digest[4*i:])
	}
	return s
}

// ID turns a text key (an image's path, a parameter's name) into a counter for New: the first 64 bits of its SHA-256.
func ID(text string) uint64 {
	digest := sha256.Sum256([]byte(text))
	return binary.LittleEndian.Uint64(digest[:])
}

// Uint32 returns 32 uniform random bits.
func (s *Stream) Uint32() uint32 {
	if s.used == len(s.block) {
		s.block = philox4x32(s.counter, s.key)
		s.used = 0
		s.counter[0]++
		if s.counter[0] == 0 {
			panic("rng: more than 2^34 numbers drawn from one stream")
		}
	}
	v := s.block[s.used]
	s.used++
	return v
}

// Uint64 returns 64 uniform random bits: two 32-bit draws, low word first.
func (s *Stream) Uint64() uint64 {
	low := s.Uint32()
	return uint64(low) | uint64(s.Uint32())<<32
}

// Float64 returns a uniform number in [0,1): 53 bits / 2^53.
func (s *Stream) Float64() float64 { return float64(s.Uint64()>>11) / (1 << 53) }

// Float32 returns a uniform number in [0,1): 24 bits of one 32-bit draw / 2^24.
func (s *Stream) Float32() float32 { return float32(s.Uint32()>>8) / (1 << 24) }

// FillUniform sets every element of dst to a uniform number in [low, high): low + (high-low)*u with u from Float32,
// in float32, each operation rounded, never above high.
func (s *Stream) FillUniform(dst []float32, low, high float32) {
	width := high - low
	for i := range dst {
		dst[i] = min(low+float32(width*s.Float32()), high)
	}
}

// IntN returns a uniform integer in [0,n). It panics if n <= 0, which is a bug of the caller.
func (s *Stream) IntN(n int) int {
	if n <= 0 {
		panic("rng: IntN needs n > 0")
	}
	// Multiply-shift: the high word of draw*n. The low word tells which draws would favour some results: those below
	// 2^64 mod n are drawn again.
	bound := uint64(n)
	high, low := bits.Mul64(s.Uint64(), bound)
	if low < bound {
		for threshold := -bound % bound; low < threshold; {
			high, low = bits.Mul64(s.Uint64(), bound)
		}
	}
	return int(high)
}

// Perm returns a uniform permutation of 0..n-1 (Fisher-Yates from the last position down).
func (s *Stream) Perm(n int) []int {
	p := make([]int, n)
	for i := range p {
		p[i] = i
	}
	for i := n - 1; i > 0; i-- {
		j := s.IntN(i + 1)
		p[i], p[j] = p[j], p[i]
	}
	return p
}

// Normal returns a standard normal number. Two uniforms give two of them; the second is kept for the next call.
func (s *Stream) Normal() float64 {
	if s.spare {
		s.spare = false
		return s.normal
	}
	radius := math.Sqrt(-2 * math.Log(1-s.Float64())) // 1-u is in (0,1]: the logarithm is finite
	sin, cos := math.Sincos(2 * math.Pi * s.Float64())
	s.normal, s.spare = radius*sin, true
	return radius * cos
}

// Gamma returns a number with density x^(shape-1) e^-x / Γ(shape). It panics unless shape > 0.
func (s *Stream) Gamma(shape float64) float64 {
	if !(shape > 0) {
		panic("rng: Gamma needs shape > 0")
	}
	if shape < 1 { // Gamma(a) = Gamma(a+1) * U^(1/a)
		return s.Gamma(shape+1) * math.Pow(1-s.Float64(), 1/shape)
	}
	// Marsaglia and Tsang, "A simple method for generating gamma variables", 2000.
	d := shape - 1.0/3
	c := 1 / math.Sqrt(9*d)
	for {
		x := s.Normal()
		v := 1 + c*x
		if v <= 0 {
			continue
		}
		v *= v * v
		if math.Log(1-s.Float64()) < x*x/2+d-d*v+d*math.Log(v) {
			return d * v
		}
	}
}

// Beta returns a number in [0,1] with density proportional to x^(a-1) (1-x)^(b-1). It panics unless a, b > 0.
func (s *Stream) Beta(a, b float64) float64 {
	if !(a > 0 && b > 0) {
		panic("rng: Beta needs a, b > 0")
	}
	if a > 1 || b > 1 {
		x := s.Gamma(a)
		return x / (x + s.Gamma(b))
	}
	// Jöhnk: u^(1/a) and v^(1/b), accepted when their sum is at most 1.
	for {
		logX, logY := math.Log(1-s.Float64())/a, math.Log(1-s.Float64())/b
		x, y := math.Exp(logX), math.Exp(logY)
		switch sum := x + y; {
		case sum > 1:
		case sum > 0:
			return x / sum
		default: // both underflowed (tiny a and b): the ratio from the logarithms
			return 1 / (1 + math.Exp(logY-logX))
		}
	}
}
