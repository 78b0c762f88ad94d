package codec

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
)

const pngSignature = "\x89PNG\r\n\x1a\n"

// decodePNG decodes with the standard library, which returns a different image type for each colour type.
func (d *Decoder) decodePNG(data []byte) (Image, error) {
	// The IHDR chunk follows the signature at a fixed place: length, "IHDR", width, height, bit depth.
	if len(data) > 24 && data[24] == 16 {
		return Image{}, errors.New("PNG with 16 bits per sample is not supported; convert it to 8 bits first")
	}
	config, err := png.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return Image{}, fmt.Errorf("PNG header: %w", err)
	}
	if err := checkSize(config.Width, config.Height); err != nil {
		return Image{}, err
	}
	decoded, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		return Image{}, fmt.Errorf("PNG: %w", err)
	}
	out := reuse(d.buffer, config.Width, config.Height)
	d.buffer = out.Pixels
	if err := dropAlpha(out, decoded); err != nil {
		return Image{}, err
	}
	return out, nil
}

// dropAlpha copies the colour samples of src to dst as they were stored. Colour conversion by the image package would
// premultiply them by alpha, which loses the colours of transparent pixels; Pillow keeps them.
func dropAlpha(dst Image, src image.Image) error {
	rgba := func(pixels []byte, stride int) { // 4 bytes a pixel, the last one alpha
		for y := range dst.Height {
			row, out := pixels[y*stride:], dst.Pixels[y*dst.Stride:]
			for x := range dst.Width {
				copy(out[x*Channels:x*Channels+Channels], row[4*x:])
			}
		}
	}
	switch src := src.(type) {
	case *image.NRGBA:
		rgba(src.Pix, src.Stride)
	case *image.RGBA: // the decoder uses it for files without alpha only
		rgba(src.Pix, src.Stride)
	case *image.Gray:
		for y := range dst.Height {
			row, out := src.Pix[y*src.Stride:], dst.Pixels[y*dst.Stride:]
			for x := range dst.Width {
				out[3*x], out[3*x+1], out[3*x+2] = row[x], row[x], row[x]
			}
		}
	case *image.Paletted:
		var colours [256][Channels]byte // an index beyond the palette is black, as in Pillow
		for i, c := range src.Palette {
			switch c := c.(type) {
			case color.RGBA:
				colours[i] = [Channels]byte{c.R, c.G, c.B}
			case color.NRGBA:
				colours[i] = [Channels]byte{c.R, c.G, c.B}
			default:
				return fmt.Errorf("PNG palette of unexpected type %T", c)
			}
		}
		for y := range dst.Height {
			row, out := src.Pix[y*src.Stride:], dst.Pixels[y*dst.Stride:]
			for x := range dst.Width {
				copy(out[x*Channels:x*Channels+Channels], colours[row[x]][:])
			}
		}
	default:
		return fmt.Errorf("PNG decoded to the unexpected type %T", src)
	}
	return nil
}
