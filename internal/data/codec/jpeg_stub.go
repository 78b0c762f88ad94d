//go:build !cgo

package codec

type jpegDecoder struct{}

func (*jpegDecoder) close() {}

func (*Decoder) decodeJPEG([]byte, Choose) (Image, error) { return Image{}, ErrUnavailable }
