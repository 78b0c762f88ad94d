// Package rng is the project's only source of randomness: the counter-based generator Philox4x32-10 (Salmon, Moraes,
// Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
//
// A counter-based generator has no hidden history. Every random decision is a pure function of
//
//	key     = the run seed (64 bits)
//	counter = (what the number is for: a stream name and integers such as epoch and position; which draw of it)
//
// so a result does not depend on the number of workers, on the order in which they run, on prefetching, or on where
// a run was interrupted. Nothing needs to be saved to resume except the integers.
//
// # Counter layout
//
// The 128-bit counter is four 32-bit words. Word 0 counts the blocks drawn from the stream (four 32-bit numbers each).
// Words 1 to 3 are the first 96 bits of SHA-256 over the stream name and the counters, which lets a stream be
// addressed by any number of 64-bit integers (epoch, sample, restart, image) without words to be rationed. Two
// addresses collide with probability 2^-96 each; with a billion streams in a run that is below 1e-11.
//
// # Distributions
//
// Uniform doubles are 53 bits / 2^53. Integers below n come from the multiply-shift method with rejection, without
// bias. Normal numbers come in pairs from Box-Muller on two uniforms. Beta(a,b) is Jöhnk's method for a, b <= 1
// (in log space when both powers underflow), otherwise two Gamma draws by Marsaglia and Tsang.
//
// Integers, uniforms and permutations are bit-equal on every platform. Normal, gamma and beta numbers go through
// math.Log, Cos, Pow and Exp, whose last bit may differ between processor architectures (never between runs on one).
//
// The generator is not for secrets, and it does not reproduce the numbers of NumPy, PyTorch or cuRAND: those share the
// Philox rounds in part, but not the layout of counters.
package rng
