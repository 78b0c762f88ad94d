package augment

import "sat/internal/data/codec"

// table is what a point operation makes of each sample value, by channel.
type table [codec.Channels][256]uint8

// same gives every channel the values of f.
func same(f func(v int) int) *table {
	var t table
	for v := range 256 {
		out := uint8(f(v))
		for c := range t {
			t[c][v] = out
		}
	}
	return &t
}

func (t *table) apply(m codec.Image) {
	for y := range m.Height {
		row := m.Pixels[y*m.Stride:][:m.Width*codec.Channels]
		for i := 0; i+2 < len(row); i += codec.Channels {
			row[i], row[i+1], row[i+2] = t[0][row[i]], t[1][row[i+1]], t[2][row[i+2]]
		}
	}
}

type histogram [codec.Channels][256]int

func count(m codec.Image) *histogram {
	var h histogram
	for y := range m.Height {
		row := m.Pixels[y*m.Stride:][:m.Width*codec.Channels]
		for i := 0; i+2 < len(row); i += codec.Channels {
			h[0][row[i]]++
			h[1][row[i+1]]++
			h[2][row[i+2]]++
		}
	}
	return &h
}

// AutoContrast stretches each channel to the full range.
func AutoContrast(m codec.Image) {
	h := count(m)
	var t table
	for c := range t {
		lo, hi := 0, 255
		for lo < 255 && h[c][lo] == 0 {
			lo++
		}
		for hi > 0 && h[c][hi] == 0 {
			hi--
		}
		scale, offset := 1.0, 0.0
		if hi > lo {
			scale = 255.0 / float64(hi-lo)
			offset = float64(-float64(lo) * scale)
		}
		for v := range 256 {
			t[c][v] = uint8(min(max(int(float64(float64(v)*scale)+offset), 0), 255))
		}
	}
	t.apply(m)
}

// Equalize gives each channel a flat histogram.
func Equalize(m codec.Image) {
	h := count(m)
	var t table
	for c := range t {
		used, last, total := 0, 0, 0
		for v, n := range h[c] {
			total += n
			if n > 0 {
				used, last = used+1, v
			}
		}
		step := 0
		if used > 1 {
			step = (total - h[c][last]) / 255
		}
		n := step / 2
		for v := range 256 {
			if step == 0 {
				t[c][v] = uint8(v)
				continue
			}
			t[c][v] = uint8(min(255, n/step))
			n += h[c][v]
		}
	}
	t.apply(m)
}

// Invert turns light into dark.
func Invert(m codec.Image) { same(func(v int) int { return 255 - v }).apply(m) }

// Posterize keeps the highest bits, 0 to 8, of every sample.
func Posterize(m codec.Image, bits int) {
	mask := 0
	if bits > 0 {
		mask = ^(1<<(8-bits) - 1)
	}
	same(func(v int) int { return v & mask }).apply(m)
}

// Solarize inverts the samples from threshold on.
func Solarize(m codec.Image, threshold int) {
	same(func(v int) int {
		if v < threshold {
			return v
		}
		return 255 - v
	}).apply(m)
}

// SolarizeAdd adds to the samples of the darker half.
func SolarizeAdd(m codec.Image, add int) {
	same(func(v int) int {
		if v < 128 {
			return min(255, v+add)
		}
		return v
	}).apply(m)
}

// luma is the grey value of a pixel (ITU-R 601, in 16-bit fixed point).
func luma(r, g, b uint8) uint8 {
	return uint8((19595*uint32(r) + 38470*uint32(g) + 7471*uint32(b) + 1<<15) >> 16)
}

// mix is a + f(b-a), where a comes from the degenerate image and b from the image. Between the two, it cannot leave the range.
func mix(a, b uint8, f float32) uint8 {
	v := float32(a) + float32(f*float32(int(b)-int(a)))
	switch {
	case f >= 0 && f <= 1:
		return uint8(v)
	case v <= 0:
		return 0
	case v >= 255:
		return 255
	}
	return uint8(v)
}

// Color blends with the grey image: 0 is grey, 1 leaves the image alone.
func Color(m codec.Image, factor float64) {
	f := float32(factor)
	for y := range m.Height {
		row := m.Pixels[y*m.Stride:][:m.Width*codec.Channels]
		if codec.ColorRow(row, f) {
			continue
		}
		for i := 0; i+2 < len(row); i += codec.Channels {
			grey := luma(row[i], row[i+1], row[i+2])
			row[i], row[i+1], row[i+2] = mix(grey, row[i], f), mix(grey, row[i+1], f), mix(grey, row[i+2], f)
		}
	}
}

// Grey makes the image grey, in three equal channels.
func Grey(m codec.Image) {
	for y := range m.Height {
		row := m.Pixels[y*m.Stride:][:m.Width*codec.Channels]
		for i := 0; i+2 < len(row); i += codec.Channels {
			grey := luma(row[i], row[i+1], row[i+2])
			row[i], row[i+1], row[i+2] = grey, grey, grey
		}
	}
}

// Contrast blends with the mean of the grey image.
func Contrast(m codec.Image, factor float64) {
	sum := 0
	for y := range m.Height {
		row := m.Pixels[y*m.Stride:][:m.Width*codec.Channels]
		for i := 0; i+2 < len(row); i += codec.Channels {
			sum += int(luma(row[i], row[i+1], row[i+2]))
		}
	}
	mean := uint8(float64(sum)/float64(m.Width*m.Height) + 0.5)
	f := float32(factor)
	same(func(v int) int { return int(mix(mean, uint8(v), f)) }).apply(m)
}

// Brightness blends with black.
func Brightness(m codec.Image, factor float64) {
	f := float32(factor)
	same(func(v int) int { return int(mix(0, uint8(v), f)) }).apply(m)
}

// edge and middle are the products of each sample value with the smoothing kernel: 5/13 in the middle, 1/13 around it.
var edge, middle = func() (edge, middle [256]float32) {
	for v := range edge {
		edge[v] = float32(v) * float32(1.0/13)
		middle[v] = float32(v) * float32(5.0/13)
	}
	return edge, middle
}()

// Sharpness blends with the smoothed image. scratch is reused memory; it returns it, grown if need be.
func Sharpness(m codec.Image, factor float64, scratch []byte) []byte {
	row := m.Width * codec.Channels
	if cap(scratch) < m.Height*row {
		scratch = make([]byte, m.Height*row)
	}
	scratch = scratch[:m.Height*row]
	for y := range m.Height {
		copy(scratch[y*row:][:row], m.Pixels[y*m.Stride:])
	}
	if m.Width < 3 || m.Height < 3 {
		return scratch // Pillow leaves such an image unsmoothed, and the blend of equal images is the image
	}
	f := float32(factor)
	for y := 1; y < m.Height-1; y++ {
		above, at, below := scratch[(y-1)*row:][:row], scratch[y*row:][:row], scratch[(y+1)*row:][:row]
		out := m.Pixels[y*m.Stride:][:row]
		inner := out[codec.Channels : row-codec.Channels]
		if !codec.SharpenRow(inner, above, at, below, f) {
			smoothRow(inner, above, at, below, f)
		}
	}
	return scratch
}

// smoothRow blends the inner samples of a row, in out, with their smoothed values; the other rows start one pixel earlier.
func smoothRow(out, above, at, below []uint8, f float32) {
	const next, last = codec.Channels, 2 * codec.Channels
	n := len(out)
	above, at, below = above[:n+last], at[:n+last], below[:n+last]
	for i := range out {
		// The order of the sum is part of the result: the row below, this one, the one above, each from left to right.
		s := float32(0.5)
		s += edge[below[i]] + edge[below[i+next]] + edge[below[i+last]]
		s += edge[at[i]] + middle[at[i+next]] + edge[at[i+last]]
		s += edge[above[i]] + edge[above[i+next]] + edge[above[i+last]]
		out[i] = mix(uint8(min(s, 255)), at[i+next], f)
	}
}
