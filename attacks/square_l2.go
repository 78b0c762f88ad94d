package attacks

import "math"

// bumps is the pattern eta of the L2 square attack (Andriushchenko et al., section 3.3): a square of unit length whose
// upper half is a hill of concentric rectangles and whose lower half is the same hill upside down, or, transposed, left and
// right.
func bumps(side int, transposed bool) []float32 {
	upper := side / 2
	eta := append(hill(upper, side), hill(side-upper, side)...)
	for j := upper * side; j < len(eta); j++ {
		eta[j] = -eta[j]
	}
	normalise(eta, 0)
	if transposed {
		t := make([]float32, len(eta))
		for row := range side {
			for col := range side {
				t[col*side+row] = eta[row*side+col]
			}
		}
		return t
	}
	return eta
}

// hill adds 1/r² on growing rectangles, r = 1, 2, ..., about the middle of a grid, and scales the sum to length 1.
func hill(rows, cols int) []float32 {
	v := make([]float32, rows*cols)
	top, left := rows/2, cols/2
	for r := 1; r <= max(rows/2, cols/2)+1; r++ {
		width := 2*r - 1
		for row := max(top, 0); row < min(top+width, rows); row++ {
			for col := max(left, 0); col < min(left+width, cols); col++ {
				v[row*cols+col] += float32(1 / float64(r*r))
			}
		}
		top, left = top-1, left-1
	}
	normalise(v, 0)
	return v
}

// normalise divides v by its length plus tiny.
func normalise(v []float32, tiny float32) {
	if length := float32(norm2(v)) + tiny; length > 0 {
		for j := range v {
			v[j] = float32(v[j] / length)
		}
	}
}

// tiles starts the L2 attack: five by five squares (more where rounding leaves room) of bumps with random signs per channel,
// together of length epsilon. Within a tile the orientation is drawn first, then the signs.
func (s *search) tiles() {
	c, h, w := s.x.C, s.x.H, s.x.W
	side := h / tiles
	first := (h - side*tiles) / 2
	delta := NewBatch(s.x.N, c, h, w)
	for row := first; row+side <= h; row += side {
		for col := first; col+side <= w; col += side {
			var eta []float32
			for k := range s.x.N {
				source := s.sources[k]
				if k == 0 || s.Randomness == Keyed {
					eta = bumps(side, source.Float32() > 0.5)
				}
				for ch := range c {
					sign := plusMinus(source)
					s.eachCell(side, row, col, ch, func(j, cell int) { delta.Image(k)[j] += float32(eta[cell] * sign) })
				}
			}
		}
	}
	s.best = s.x.Clone()
	for k := range s.x.N {
		s.place(s.best.Image(k), s.x.Image(k), delta.Image(k))
	}
}

// place sets v to clamp01 of x plus delta, which it stretches or shortens to length epsilon.
func (s *search) place(v, x, delta []float32) {
	normalise(delta, 1e-12)
	eps := float32(s.Epsilon)
	for j := range v {
		v[j] = clamp01(float32(x[j] + float32(delta[j]*eps)))
	}
}

// eachCell calls f with the index in the image and in the square, for the square at (row, col) of channel ch.
func (s *search) eachCell(side, row, col, ch int, f func(j, cell int)) {
	for r := range side {
		for q := range side {
			f((ch*s.x.H+row+r)*s.x.W+col+q, r*side+q)
		}
	}
}

// proposeL2 moves all of the perturbation in one square to another one, as bumps that keep some of the shape that was there,
// and uses up what clamping has left of the length epsilon.
func (s *search) proposeL2(proposed Batch, active []int, it int) {
	side := s.side(it)
	eps := float32(s.Epsilon)
	var row, col, row2, col2 int
	var eta []float32
	for i, k := range active {
		source := s.sources[k]
		if i == 0 || s.Randomness == Keyed {
			row, col = below(source, s.x.H-side), below(source, s.x.W-side)
			row2, col2 = below(source, s.x.H-side), below(source, s.x.W-side)
			eta = bumps(side, source.Float32() > 0.5)
		}
		x, v := s.x.Image(k), proposed.Image(i)
		delta := make([]float32, len(v))
		for j := range delta {
			delta[j] = float32(v[j] - x[j])
		}
		length := float32(norm2(delta))
		free := max(float32(eps*eps)-float32(length*length), 0)
		fresh := make([]float32, s.x.C*side*side)
		for ch := range s.x.C {
			sign := plusMinus(source)
			here, both := 0.0, 0.0 // squared lengths in the first square, and in the union of the two
			s.eachCell(side, row, col, ch, func(j, _ int) { here += float64(delta[j]) * float64(delta[j]) })
			both = here
			s.eachCell(side, row2, col2, ch, func(j, _ int) {
				if r, q := j/s.x.W%s.x.H-row, j%s.x.W-col; r < 0 || r >= side || q < 0 || q >= side {
					both += float64(delta[j]) * float64(delta[j])
				}
			})
			old := float32(math.Sqrt(here)) + 1e-12
			v := fresh[ch*side*side : (ch+1)*side*side]
			s.eachCell(side, row, col, ch, func(j, cell int) { v[cell] = float32(eta[cell]*sign) + float32(delta[j]/old) })
			normalise(v, 1e-12)
			scale := float32(math.Sqrt(float64(float32(free/float32(s.x.C)) + float32(both))))
			for cell := range v {
				v[cell] = float32(v[cell] * scale)
			}
		}
		for ch := range s.x.C {
			s.eachCell(side, row2, col2, ch, func(j, _ int) { delta[j] = 0 })
			s.eachCell(side, row, col, ch, func(j, cell int) { delta[j] = fresh[ch*side*side+cell] })
		}
		s.place(v, x, delta)
	}
}
