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

// decodeJPEG returns the part of the image that choose wants, or all of it without choose.
func (d *Decoder) decodeJPEG(data []byte, choose Choose) (Image, error) {
	if d.jpeg == nil {
		var err error
		if d.jpeg, err = newJPEGDecoder(); err != nil {
			return Image{}, err
		}
	}
	handle := d.jpeg.handle
	// The library keeps a pointer into data from the first call to the last.
	var pinner runtime.Pinner
	pinner.Pin(unsafe.SliceData(data))
	defer pinner.Unpin()

	var width, height C.int
	if C.sat_jpeg_open(handle, (*C.uint8_t)(unsafe.SliceData(data)), C.size_t(len(data)), &width, &height) != 0 {
		return Image{}, jpegError(handle)
	}
	whole := Rect{Width: int(width), Height: int(height)}
	if err := checkSize(whole.Width, whole.Height); err != nil {
		C.sat_jpeg_abort(handle)
		return Image{}, err
	}
	part := whole
	if choose != nil {
		part = choose(whole.Width, whole.Height)
		if err := part.in(whole.Width, whole.Height); err != nil {
			C.sat_jpeg_abort(handle)
			return Image{}, err
		}
	}
	var out Image
	var err error
	if part == whole || C.sat_jpeg_is_cmyk(handle) != 0 || !endsWithMarker(data) {
		if out, err = d.readJPEG(whole); err == nil {
			out = out.Crop(part.Left, part.Top, part.Width, part.Height)
		}
	} else {
		out, err = d.readJPEGPart(part)
	}
	if err != nil {
		return Image{}, err
	}
	if d.warnings = int(C.sat_jpeg_warnings(handle)); d.warnings > 0 {
		d.warning = C.GoString(C.sat_jpeg_message(handle))
	}
	return out, nil
}

// readJPEG decodes all of the opened image.
func (d *Decoder) readJPEG(whole Rect) (Image, error) {
	handle := d.jpeg.handle
	out := reuse(d.buffer, whole.Width, whole.Height)
	d.buffer = out.Pixels
	if C.sat_jpeg_read(handle, (*C.uint8_t)(unsafe.SliceData(out.Pixels)), C.size_t(out.Stride)) != 0 {
		return Image{}, jpegError(handle)
	}
	return out, nil
}

// readJPEGPart decodes the blocks that a part of the opened image needs.
func (d *Decoder) readJPEGPart(part Rect) (Image, error) {
	handle := d.jpeg.handle
	left, width := C.int(part.Left), C.int(part.Width)
	if C.sat_jpeg_columns(handle, &left, &width) != 0 {
		return Image{}, jpegError(handle)
	}
	out := reuse(d.buffer, int(width), part.Height)
	d.buffer = out.Pixels
	if C.sat_jpeg_rows(handle, (*C.uint8_t)(unsafe.SliceData(out.Pixels)), C.size_t(out.Stride), C.int(part.Top), C.int(part.Height)) != 0 {
		return Image{}, jpegError(handle)
	}
	return out.Crop(part.Left-int(left), 0, part.Width, part.Height), nil
}

func jpegError(handle *C.sat_jpeg) error {
	return fmt.Errorf("JPEG: %s", C.GoString(C.sat_jpeg_message(handle)))
}
