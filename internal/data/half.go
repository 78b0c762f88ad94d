package data

import "math"

// Half is a number in IEEE 754 half precision, NumPy's float16.
type Half uint16

// ToHalf returns the nearest half, ties to even; ok is false for what is not finite or rounds to infinity.
func ToHalf(v float32) (h Half, ok bool) {
	const (
		overflow    = 65520       // from here on, rounding gives infinity
		smallNormal = 1.0 / 16384 // 2^-14; below, numbers are multiples of 2^-24
	)
	a := math.Abs(float64(v))
	if !(a < overflow) {
		return 0, false
	}
	sign := Half(math.Float32bits(v)>>31) << 15
	if a < smallNormal {
		return sign | Half(math.RoundToEven(a*(1<<24))), true
	}
	fraction, exponent := math.Frexp(a) // a = fraction * 2^exponent, fraction in [1/2, 1)
	mantissa := math.RoundToEven((2*fraction - 1) * 1024)
	// A mantissa of 1024 carries into the exponent, which is what rounding up to the next power of two means.
	return sign | Half(exponent-1+15)<<10 + Half(mantissa), true
}

// Float32 returns the value, exactly.
func (h Half) Float32() float32 { return float16(uint16(h)) }
