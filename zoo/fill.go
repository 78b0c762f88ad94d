package zoo

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// generator names the algorithm below in manifests. scripts/satexport/fill.py is the other implementation; the two must
// agree bit for bit, so neither can use the project's own streams.
const generator = "splitmix64/1"

// checkStream is the stream called name: number i is splitmix64's finaliser of key + (i+1)*gamma.
type checkStream uint64

func newCheckStream(seed uint64, name string) checkStream {
	digest := sha256.Sum256(fmt.Appendf(nil, "sat-check\x00%d\x00%s", seed, name))
	return checkStream(binary.BigEndian.Uint64(digest[:]))
}

func (k checkStream) bits(i int) uint64 {
	z := uint64(k) + (uint64(i)+1)*0x9E3779B97F4A7C15
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return z ^ z>>31
}

// uniform is a double in [0,1): 53 bits / 2^53.
func (k checkStream) uniform(i int) float64 { return float64(k.bits(i)>>11) / (1 << 53) }

// fillValues returns n numbers low + (high-low)*u. The conversion keeps the compiler from fusing product and sum, which
// would round once instead of twice on processors that have such an instruction.
func fillValues(seed uint64, name string, n int, low, high float64) []float32 {
	k := newCheckStream(seed, name)
	width := high - low
	out := make([]float32, n)
	for i := range out {
		out[i] = float32(low + float64(width*k.uniform(i)))
	}
	return out
}

// checkImages returns n images in [0,1], NCHW: the mean of noise per pixel and of noise per cell of an 8x8 grid. White
// noise alone would look the same to every network with a pooling layer.
func checkImages(seed uint64, n, channels, height, width int) []float32 {
	name := fmt.Sprintf("images/%d", n)
	fine, cells := newCheckStream(seed, name), newCheckStream(seed, name+"/cells")
	out := make([]float32, n*channels*height*width)
	i := 0
	for plane := range n * channels {
		for y := range height {
			for x := range width {
				cell := plane*64 + y*8/height*8 + x*8/width
				out[i] = float32(float64(0.5*fine.uniform(i)) + float64(0.5*cells.uniform(cell)))
				i++
			}
		}
	}
	return out
}

// checkLabels returns n labels below classes.
func checkLabels(seed uint64, n, classes int) []int64 {
	k := newCheckStream(seed, fmt.Sprintf("labels/%d", n))
	out := make([]int64, n)
	for i := range out {
		out[i] = int64(k.bits(i) % uint64(classes))
	}
	return out
}
