package attacks

import "math"

// project finds the smallest displacement d of the point t of the box [0,1]^n that reaches the hyperplane w·p = b inside
// the box:
//
//	minimise ‖d‖  subject to  w·(t+d) = b,  0 <= t+d <= 1
//
// in the L∞ or the L2 norm, and writes it to d. Entries with w_i = 0 do not move. Where the box does not reach the
// hyperplane, d goes to the corner closest to it. b is given as w·t - c.
//
// With w turned so that c >= 0, every entry moves against its w_i and has room R_i up to its wall. The optimality
// conditions give d_i = -sign(w_i) min(λ u_i, R_i), u_i = 1 in L∞ and |w_i| in L2, so that λ is the root of
//
//	Σ |w_i| min(λ u_i, R_i) = c
//
// whose left side grows, is concave and is piecewise linear in λ. Newton's method from the left therefore never
// overshoots and ends at the exact root as soon as a step passes no further wall, after a few passes over the entries;
// sorting them, as the reference does, is not needed.
func project(d, t, w []float32, c float64, norm Norm) {
	w, d = w[:len(t)], d[:len(t)]
	turn := float32(1)
	if c < 0 {
		c, turn = -c, -1
	}
	lambda := 0.0
	for {
		slope, walled := 0.0, 0.0 // of the entries still short of their wall at lambda, and what the others contribute
		for i, wi := range w {
			size, u := pace(wi, norm)
			if r := float64(room(t[i], turn*wi)); lambda*u < r {
				slope += size * u
			} else {
				walled += size * r
			}
		}
		if slope == 0 { // everything that moves is at its wall
			lambda = math.Inf(1)
			break
		}
		next := (c - walled) / slope
		if !(next > lambda) {
			break
		}
		lambda = next
	}
	for i, wi := range w {
		_, u := pace(wi, norm)
		move := float32(0)
		if wi != 0 {
			move = min(float32(lambda*u), room(t[i], turn*wi))
		}
		d[i] = -sign(turn*wi) * move
	}
}

// pace returns |w_i| and u_i.
func pace(wi float32, norm Norm) (size, u float64) {
	size = math.Abs(float64(wi))
	if norm == L2 {
		return size, size
	}
	return size, 1
}

// room is how far an entry at t can move against wi.
func room(t, wi float32) float32 {
	if wi > 0 {
		return t
	}
	return 1 - t
}
