//go:build !cgo

package codec

type jpegDecoder struct{}

func (*jpegDecoder) close() {}

func (*Decoder) decodeJPEG([]byte) (Image, error) { return Image{}, ErrUnavailable }
