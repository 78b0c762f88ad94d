package codec

// The two passes in plain Go: what a program without cgo runs, and what the tests hold the C code against.

const half = 1 << (precisionBits - 1)

func clip(sum int32) byte { return byte(min(max(sum>>precisionBits, 0), 255)) }

func horizontalGo(dst, src Image, a *axis) {
	for y := range src.Height {
		in, out := src.Pixels[y*src.Stride:], dst.Pixels[y*dst.Stride:]
		for x := range dst.Width {
			p := in[int(a.first[x])*Channels:]
			var red, green, blue int32 = half, half, half
			for j, k := range a.weights[x*a.taps:][:a.count[x]] {
				red += int32(p[3*j]) * k
				green += int32(p[3*j+1]) * k
				blue += int32(p[3*j+2]) * k
			}
			out[3*x], out[3*x+1], out[3*x+2] = clip(red), clip(green), clip(blue)
		}
	}
}

func verticalGo(dst, src Image, a *axis, origin int) {
	for y := range dst.Height {
		in := src.Pixels[(int(a.first[y])-origin)*src.Stride:]
		weights := a.weights[y*a.taps:][:a.count[y]]
		for x := range dst.Width * Channels {
			sum := int32(half)
			for j, k := range weights {
				sum += int32(in[j*src.Stride+x]) * k
			}
			dst.Pixels[y*dst.Stride+x] = clip(sum)
		}
	}
}
