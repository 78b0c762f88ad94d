package rng

import "math/bits"

// Constants of Philox4x32 (paper, section 3.3): the two multipliers, and the Weyl increments of the key schedule
// (golden ratio and sqrt(3)-1 in 32 bits).
const (
	multiplier0 = 0xD2511F53
	multiplier1 = 0xCD9E8D57
	weyl0       = 0x9E3779B9
	weyl1       = 0xBB67AE85
	rounds      = 10
)

// philox4x32 is the bijection of counters under a key: ten rounds of two 32x32→64 multiplications, a permutation of
// the words and the key added by exclusive or.
func philox4x32(c [4]uint32, k [2]uint32) [4]uint32 {
	for range rounds {
		hi0, lo0 := bits.Mul32(multiplier0, c[0])
		hi1, lo1 := bits.Mul32(multiplier1, c[2])
		c = [4]uint32{hi1 ^ c[1] ^ k[0], lo1, hi0 ^ c[3] ^ k[1], lo0}
		k[0] += weyl0
		k[1] += weyl1
	}
	return c
}
