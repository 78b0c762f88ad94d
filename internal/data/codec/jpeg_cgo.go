//go:build cgo

package codec

// #cgo CFLAGS: -O3
// #cgo LDFLAGS: -ljpeg
// #include "jpeg.h"
import "C"

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"
)

// jpegDecoder owns the library's decompression object.
type jpegDecoder struct{ handle *C.sat_jpeg }

func newJPEGDecoder() (*jpegDecoder, error) {
	handle := C.sat_jpeg_new()
	if handle == nil {
		return nil, errors.New("making a JPEG decoder: out of memory")
	}
	return &jpegDecoder{handle}, nil
}

func (j *jpegDecoder) close() { C.sat_jpeg_free(j.handle) }

func (d *Decoder) decodeJPEG(data []byte) (Image, error) {
	if d.jpeg == nil {
		var err error
		if d.jpeg, err = newJPEGDecoder(); err != nil {
			return Image{}, err
		}
	}
	handle := d.jpeg.handle
	// The library keeps a pointer into data from the first call to the second.
	var pinner runtime.Pinner
	pinner.Pin(unsafe.SliceData(data))
	defer pinner.Unpin()

	var width, height C.int
	if C.sat_jpeg_open(handle, (*C.uint8_t)(unsafe.SliceData(data)), C.size_t(len(data)), &width, &height) != 0 {
		return Image{}, jpegError(handle)
	}
	if err := checkSize(int(width), int(height)); err != nil {
		C.sat_jpeg_abort(handle)
		return Image{}, err
	}
	out := reuse(d.buffer, int(width), int(height))
	d.buffer = out.Pixels
	if C.sat_jpeg_read(handle, (*C.uint8_t)(unsafe.SliceData(out.Pixels)), C.size_t(out.Stride)) != 0 {
		return Image{}, jpegError(handle)
	}
	if d.warnings = int(C.sat_jpeg_warnings(handle)); d.warnings > 0 {
		d.warning = C.GoString(C.sat_jpeg_message(handle))
	}
	return out, nil
}

func jpegError(handle *C.sat_jpeg) error {
	return fmt.Errorf("JPEG: %s", C.GoString(C.sat_jpeg_message(handle)))
}
