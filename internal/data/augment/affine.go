package augment

import (
	"math"

	"sat/internal/data/codec"
)

// Matrix maps the centre of an output pixel (x, y) to (A·x + B·y + C, D·x + E·y + F) in the input.
type Matrix struct{ A, B, C, D, E, F float64 }

// Rotation turns a width x height image counter-clockwise about its centre.
func Rotation(degrees float64, width, height int) Matrix {
	t := -math.Mod(math.Mod(degrees, 360)+360, 360) * math.Pi / 180
	sin, cos := round15(math.Sin(t)), round15(math.Cos(t))
	w, h := float64(width)/2, float64(height)/2
	m := Matrix{A: cos, B: sin, D: round15(-math.Sin(t)), E: cos}
	m.C = float64(m.A*-w) + float64(m.B*-h) + w
	m.F = float64(m.D*-w) + float64(m.E*-h) + h
	return m
}

// round15 rounds to 15 decimals, as Python's round does for the sizes that occur.
func round15(v float64) float64 { return math.RoundToEven(v*1e15) / 1e15 }

// ShearX moves each row by s times its height; ShearY moves each column.
func ShearX(s float64) Matrix { return Matrix{A: 1, B: s, E: 1} }
func ShearY(s float64) Matrix { return Matrix{A: 1, D: s, E: 1} }

// Translation moves the image by (-x, -y) pixels.
func Translation(x, y float64) Matrix { return Matrix{A: 1, C: x, E: 1, F: y} }

// Transform samples src by the matrix into dst of the same size; what lies outside src becomes fill. The two must not
// share memory.
func Transform(dst, src codec.Image, m Matrix, filter codec.Filter, fill [codec.Channels]uint8) {
	w, h := float64(src.Width), float64(src.Height)
	six := [6]float64{m.A, m.B, m.C, m.D, m.E, m.F}
	for y := range dst.Height {
		row := dst.Pixels[y*dst.Stride:][:dst.Width*codec.Channels]
		yin := float64(y) + 0.5
		if filter == codec.Bicubic && codec.BicubicRow(row, src, yin, &six, &fill) {
			continue
		}
		for x := range dst.Width {
			xin := float64(x) + 0.5
			xs := float64(m.A*xin) + float64(m.B*yin) + m.C
			ys := float64(m.D*xin) + float64(m.E*yin) + m.F
			out := (*[codec.Channels]uint8)(row[x*codec.Channels:])
			switch {
			case !(xs >= 0 && xs < w && ys >= 0 && ys < h):
				*out = fill
			case filter == codec.Bicubic:
				bicubic(out, src, xs-0.5, ys-0.5)
			default:
				bilinear(out, src, xs-0.5, ys-0.5)
			}
		}
	}
}

// bilinear repeats the border beyond the image.
func bilinear(out *[codec.Channels]uint8, src codec.Image, u, v float64) {
	fx, fy := math.Floor(u), math.Floor(v)
	dx, dy := u-fx, v-fy
	left := min(max(int(fx), 0), src.Width-1) * codec.Channels
	right := min(max(int(fx)+1, 0), src.Width-1) * codec.Channels
	y := int(fy)
	upper := src.Pixels[min(max(y, 0), src.Height-1)*src.Stride:]
	lower := upper
	if y+1 >= 0 && y+1 < src.Height {
		lower = src.Pixels[(y+1)*src.Stride:]
	}
	for c := range out {
		a, b := float64(upper[left+c]), float64(upper[right+c])
		v1 := a + float64((b-a)*dx)
		a, b = float64(lower[left+c]), float64(lower[right+c])
		v2 := a + float64((b-a)*dx)
		out[c] = uint8(v1 + float64((v2-v1)*dy))
	}
}

// cubic is the interpolating polynomial through four neighbours, a = -1.
func cubic(v1, v2, v3, v4, d float64) float64 {
	p2 := -v1 + v3
	p3 := float64(2*(v1-v2)) + v3 - v4
	p4 := -v1 + v2 - v3 + v4
	return v2 + float64(d*(p2+float64(d*(p3+float64(d*p4)))))
}

func bicubic(out *[codec.Channels]uint8, src codec.Image, u, v float64) {
	fx, fy := math.Floor(u), math.Floor(v)
	dx, dy := u-fx, v-fy
	x, y := int(fx)-1, int(fy)-1
	var columns [4]int
	for i := range columns {
		columns[i] = min(max(x+i, 0), src.Width-1) * codec.Channels
	}
	// The first row is the nearest inside the image; one further down that lies outside repeats the one before it.
	var rows [4][]uint8
	rows[0] = src.Pixels[min(max(y, 0), src.Height-1)*src.Stride:]
	for i := 1; i < len(rows); i++ {
		rows[i] = rows[i-1]
		if y+i >= 0 && y+i < src.Height {
			rows[i] = src.Pixels[(y+i)*src.Stride:]
		}
	}
	// A pixel that lies on a row or a column of the input needs one interpolation, not five: the cubic at 0 is its second
	// value exactly. Shears and translations are of this kind everywhere.
	if dy == 0 {
		row := rows[1]
		p1, p2, p3, p4 := pixel(row, columns[0]), pixel(row, columns[1]), pixel(row, columns[2]), pixel(row, columns[3])
		for c := range out {
			out[c] = clip(cubic(float64(p1[c]), float64(p2[c]), float64(p3[c]), float64(p4[c]), dx))
		}
		return
	}
	if dx == 0 {
		column := columns[1]
		p1, p2, p3, p4 := pixel(rows[0], column), pixel(rows[1], column), pixel(rows[2], column), pixel(rows[3], column)
		for c := range out {
			out[c] = clip(cubic(float64(p1[c]), float64(p2[c]), float64(p3[c]), float64(p4[c]), dy))
		}
		return
	}
	var along [4][codec.Channels]float64
	for i, row := range rows {
		p1, p2, p3, p4 := pixel(row, columns[0]), pixel(row, columns[1]), pixel(row, columns[2]), pixel(row, columns[3])
		for c := range out {
			along[i][c] = cubic(float64(p1[c]), float64(p2[c]), float64(p3[c]), float64(p4[c]), dx)
		}
	}
	for c := range out {
		out[c] = clip(cubic(along[0][c], along[1][c], along[2][c], along[3][c], dy))
	}
}

func pixel(row []uint8, at int) *[codec.Channels]uint8 { return (*[codec.Channels]uint8)(row[at:]) }

func clip(v float64) uint8 {
	switch {
	case v <= 0:
		return 0
	case v >= 255:
		return 255
	}
	return uint8(v)
}
