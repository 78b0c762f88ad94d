//go:build cgo

package codec

// #include "resize.h"
import "C"

import "unsafe"

func int32s(s []int32) *C.int32_t { return (*C.int32_t)(unsafe.SliceData(s)) }

func bytes8(s []byte) *C.uint8_t { return (*C.uint8_t)(unsafe.SliceData(s)) }

// resizeHorizontal convolves every row of src along x. src has loadSlack bytes of capacity beyond its pixels.
func resizeHorizontal(dst, src Image, a *axis) {
	C.sat_resize_horizontal(bytes8(dst.Pixels), C.size_t(dst.Stride), bytes8(src.Pixels), C.size_t(src.Stride),
		C.int(src.Height), int32s(a.first), int32s(a.count), int32s(a.weights), C.int(a.taps), C.int(dst.Width))
}

// resizeVertical convolves along y. Row 0 of src is row origin of the axis.
func resizeVertical(dst, src Image, a *axis, origin int) {
	C.sat_resize_vertical(bytes8(dst.Pixels), C.size_t(dst.Stride), bytes8(src.Pixels), C.size_t(src.Stride),
		C.int(dst.Width*Channels), int32s(a.first), int32s(a.count), int32s(a.weights), C.int(a.taps),
		C.int(dst.Height), C.int(origin))
}
