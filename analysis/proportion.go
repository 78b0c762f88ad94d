package analysis

import "math"

// z95 is the 97.5 % point of the standard normal distribution.
const z95 = 1.959963984540054

// Wilson returns the 95 % interval of a share p that was seen in n independent trials (Wilson, 1927), which stays in [0,1] and has
// a width at p = 0 and 1 too:
//
//	(p + z²/2n ± z·sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n)
//
// Without trials it is [0,1].
func Wilson(p float64, n int) (lo, hi float64) {
	if n <= 0 {
		return 0, 1
	}
	m, z2 := float64(n), z95*z95
	centre := p + z2/(2*m)
	half := z95 * math.Sqrt(p*(1-p)/m+z2/(4*m*m))
	return max(0, (centre-half)/(1+z2/m)), min(1, (centre+half)/(1+z2/m))
}
