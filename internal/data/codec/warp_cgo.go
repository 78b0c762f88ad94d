//go:build cgo

package codec

// #include "warp.h"
import "C"

import "unsafe"

// The loops of package augment that the compiler of C makes several times faster. Each reports whether it did the work,
// which it does not without cgo.

// SharpenRow blends the samples of out with their 3x3 smoothed values; the three rows start one pixel before out and end
// one after it.
func SharpenRow(out, above, at, below []byte, factor float32) bool {
	C.sat_sharpen_row(bytes8(out), bytes8(above), bytes8(at), bytes8(below), C.int(len(out)), C.float(factor))
	return true
}

// ColorRow blends the pixels of a row with their grey values.
func ColorRow(row []byte, factor float32) bool {
	C.sat_color_row(bytes8(row), C.int(len(row)/Channels), C.float(factor))
	return true
}

// BicubicRow computes one row of an affine map: output pixel x is that of src at
// (m0·(x+0.5) + m1·y + m2, m3·(x+0.5) + m4·y + m5).
func BicubicRow(out []byte, src Image, y float64, m *[6]float64, fill *[Channels]byte) bool {
	C.sat_bicubic_row(bytes8(out), C.int(len(out)/Channels), bytes8(src.Pixels), C.size_t(src.Stride), C.int(src.Width),
		C.int(src.Height), C.double(y), (*C.double)(unsafe.Pointer(m)), (*C.uint8_t)(unsafe.Pointer(fill)))
	return true
}
