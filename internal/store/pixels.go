package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// How one adversarial image x is described relative to its clean image c and the radius eps, all float32.
//
// With a step of at least twice the radius (the paper's: 0.1 against 8/255) PGD leaves every pixel that ever had a
// gradient on the edge, x = clamp01(c ± eps), so one bit says which. Each value is therefore one of
//
//	edge   x is bit for bit clamp01(c + eps) (sign bit 1) or clamp01(c - eps) (sign bit 0)
//	same   x is bit for bit c: no gradient, or the image was not attacked
//	other  anything else: smaller steps, other norms, patches
//
// and the payload is four streams, whose lengths follow from the number of values and the bits before them:
//
//	1. for each value, a bit: is it not on the edge?
//	2. for each edge value its sign bit
//	3. for each value not on the edge, a bit: is it other?
//	4. for each other value, bits(x) XOR bits(c), as four planes of bytes, most significant first: a small change
//	   of a float32 leaves its sign and exponent alone, so the first planes are nearly all zero
//
// Each stream is stored as it is or, where that is smaller, as a zstd frame; the choice is made per stream and image.
// An attack that never touches the edge costs a few bytes for the first stream, so there is no second format for it.
// Signs of gradients on photographs are close to random and stay uncompressed: 1/32 of float32.
//
// A pixel of which two descriptions hold (c = 0 pushed below 0 is both "edge" and "same") takes the sign of its
// left neighbour if that fits, which compresses best, else the other; any fixed rule would do.

// streamKind says how a stream is stored; it is followed by the stored length as a uvarint.
const (
	streamPlain = 0
	streamZstd  = 1
)

// clamp01 is the clamp of the attacks (v < 0 gives +0).
func clamp01(v float32) float32 {
	if v < 0 {
		return 0
	}
	if v > 1 {
		return 1
	}
	return v
}

// edges returns clamp01(c - eps) and clamp01(c + eps), each operation rounded to float32, as the attacks compute them.
func edges(c, eps float32) (low, high float32) {
	return clamp01(float32(c - eps)), clamp01(float32(c + eps))
}

// bitStream is a sequence of bits, the first in the least significant bit of the first byte.
type bitStream struct {
	bytes []byte
	n     int
}

func (s *bitStream) reset() { s.bytes, s.n = s.bytes[:0], 0 }

func (s *bitStream) add(bit bool) {
	if s.n%8 == 0 {
		s.bytes = append(s.bytes, 0)
	}
	if bit {
		s.bytes[s.n/8] |= 1 << (s.n % 8)
	}
	s.n++
}

func (s *bitStream) at(i int) bool { return s.bytes[i/8]>>(i%8)&1 != 0 }

// ones counts the bits that are set.
func (s *bitStream) ones() int {
	count := 0
	for _, b := range s.bytes {
		count += bits.OnesCount8(b)
	}
	return count
}

// check refuses set bits after the last one, which would make two files of the same image.
func (s *bitStream) check() error {
	if s.n%8 != 0 && s.bytes[len(s.bytes)-1]>>(s.n%8) != 0 {
		return errors.New("bits after the end of a stream")
	}
	return nil
}

// One encoder and one decoder serve the process: both keep tables of some megabytes, and EncodeAll and DecodeAll may be
// called concurrently. A single thread per call and fixed options make equal input give equal bytes.
var (
	zstdEncoder = sync.OnceValue(func() *zstd.Encoder {
		e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderConcurrency(1),
			zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true))
		if err != nil {
			panic("zstd encoder options: " + err.Error()) // constants above
		}
		return e
	})
	zstdDecoder = sync.OnceValue(func() *zstd.Decoder {
		// The limit to the capacity given keeps a damaged length from allocating gigabytes.
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecodeAllCapLimit(true))
		if err != nil {
			panic("zstd decoder options: " + err.Error())
		}
		return d
	})
)

// appendStream appends kind, length and content of a stream; an empty stream is nothing at all.
func appendStream(dst, content, scratch []byte) (out, newScratch []byte) {
	if len(content) == 0 {
		return dst, scratch
	}
	packed := zstdEncoder().EncodeAll(content, scratch[:0])
	kind, stored := byte(streamZstd), packed
	if len(packed) >= len(content) {
		kind, stored = streamPlain, content
	}
	dst = append(dst, kind)
	dst = binary.AppendUvarint(dst, uint64(len(stored)))
	return append(dst, stored...), packed
}

// readStream reads a stream of exactly size bytes into dst and returns it and what follows in src.
func readStream(src, dst []byte, size int) (content, rest []byte, err error) {
	if size == 0 {
		return dst[:0], src, nil
	}
	if len(src) == 0 {
		return nil, nil, errors.New("a stream is missing")
	}
	kind := src[0]
	length, n := binary.Uvarint(src[1:])
	if n <= 0 || length > uint64(len(src)-1-n) {
		return nil, nil, errors.New("a stream is longer than its block")
	}
	stored, rest := src[1+n:1+n+int(length)], src[1+n+int(length):]
	switch kind {
	case streamPlain:
		content = append(dst[:0], stored...)
	case streamZstd:
		if cap(dst) < size {
			dst = make([]byte, 0, size)
		}
		if content, err = zstdDecoder().DecodeAll(stored, dst[:0:size]); err != nil {
			return nil, nil, fmt.Errorf("zstd: %w", err)
		}
	default:
		return nil, nil, fmt.Errorf("unknown kind of stream %d", kind)
	}
	if len(content) != size {
		return nil, nil, fmt.Errorf("a stream has %d bytes instead of %d", len(content), size)
	}
	return content, rest, nil
}

type pixelEncoder struct {
	eps                 float32
	notEdge, sign, kind bitStream
	others              []uint32
	planes, scratch     []byte
}

// append appends the payload of the image x.
func (e *pixelEncoder) append(dst []byte, clean, x []float32) []byte {
	e.notEdge.reset()
	e.sign.reset()
	e.kind.reset()
	e.others = e.others[:0]
	last := false
	for i, c := range clean {
		low, high := edges(c, e.eps)
		xBits := math.Float32bits(x[i])
		isLow, isHigh := xBits == math.Float32bits(low), xBits == math.Float32bits(high)
		onEdge := isLow || isHigh
		e.notEdge.add(!onEdge)
		if onEdge {
			if isLow != isHigh {
				last = isHigh
			}
			e.sign.add(last)
			continue
		}
		difference := xBits ^ math.Float32bits(c)
		e.kind.add(difference != 0)
		if difference != 0 {
			e.others = append(e.others, difference)
		}
	}
	e.planes = e.planes[:0]
	for shift := 24; shift >= 0; shift -= 8 {
		for _, v := range e.others {
			e.planes = append(e.planes, byte(v>>shift))
		}
	}
	for _, stream := range [][]byte{e.notEdge.bytes, e.sign.bytes, e.kind.bytes, e.planes} {
		dst, e.scratch = appendStream(dst, stream, e.scratch)
	}
	return dst
}

type pixelDecoder struct {
	eps                 float32
	notEdge, sign, kind bitStream
	planes              []byte
}

// decode is the inverse of append for equal clean images; with others it yields other images, without an error.
func (d *pixelDecoder) decode(payload []byte, clean, x []float32) error {
	rest, err := d.readBits(&d.notEdge, payload, len(clean))
	if err != nil {
		return err
	}
	off := d.notEdge.ones()
	if rest, err = d.readBits(&d.sign, rest, len(clean)-off); err != nil {
		return err
	}
	if rest, err = d.readBits(&d.kind, rest, off); err != nil {
		return err
	}
	others := d.kind.ones()
	if d.planes, rest, err = readStream(rest, d.planes, 4*others); err != nil {
		return err
	}
	if len(rest) != 0 {
		return fmt.Errorf("%d bytes after the last stream", len(rest))
	}
	edge, notEdge, other := 0, 0, 0
	for i, c := range clean {
		if !d.notEdge.at(i) {
			low, high := edges(c, d.eps)
			x[i] = low
			if d.sign.at(edge) {
				x[i] = high
			}
			edge++
			continue
		}
		xBits := math.Float32bits(c)
		if d.kind.at(notEdge) {
			for plane := range 4 {
				xBits ^= uint32(d.planes[plane*others+other]) << (24 - 8*plane)
			}
			other++
		}
		notEdge++
		x[i] = math.Float32frombits(xBits)
	}
	return nil
}

// readBits reads a stream of n bits and returns what follows it.
func (d *pixelDecoder) readBits(s *bitStream, src []byte, n int) (rest []byte, err error) {
	if s.bytes, rest, err = readStream(src, s.bytes, (n+7)/8); err != nil {
		return nil, err
	}
	s.n = n
	return rest, s.check()
}
