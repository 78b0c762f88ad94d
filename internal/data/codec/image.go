package codec

import (
	"bytes"
	"errors"
	"fmt"
)

// Channels is the number of samples of a pixel: R, G and B, in this order.
const Channels = 3

// maxPixels is the largest image that is decoded, width times height. It is Pillow's limit, beyond which it takes a
// file for a decompression bomb.
const maxPixels = 178_956_970

var (
	// ErrUnavailable is returned for JPEG data by a program built without cgo.
	ErrUnavailable = errors.New("JPEG decoding needs libjpeg-turbo, and this program was built without cgo")
	// ErrFormat is returned for data that is neither JPEG nor PNG.
	ErrFormat = errors.New("neither JPEG nor PNG")
)

// Image is an 8-bit RGB image: sample c of pixel (x, y) is Pixels[y*Stride+x*Channels+c].
type Image struct {
	Pixels        []byte
	Width, Height int
	Stride        int // bytes from one row to the next, at least Width*Channels
}

// NewImage returns a black image without gaps between its rows.
func NewImage(width, height int) Image {
	return reuse(nil, width, height)
}

// reuse is NewImage in the memory of buffer where that is large enough. The content is then arbitrary.
func reuse(buffer []byte, width, height int) Image {
	size := width * height * Channels
	if cap(buffer) < size+loadSlack {
		buffer = make([]byte, size+loadSlack)
	}
	return Image{Pixels: buffer[:size], Width: width, Height: height, Stride: width * Channels}
}

// Crop returns the part of m that starts at (left, top), sharing its memory. The rectangle must lie in m.
func (m Image) Crop(left, top, width, height int) Image {
	start := top*m.Stride + left*Channels
	end := start
	if height > 0 {
		end += (height-1)*m.Stride + width*Channels
	}
	return Image{Pixels: m.Pixels[start:end], Width: width, Height: height, Stride: m.Stride}
}

// Rect is a part of an image.
type Rect struct{ Left, Top, Width, Height int }

// in reports a part that is empty or reaches beyond an image of width x height pixels.
func (r Rect) in(width, height int) error {
	if r.Left < 0 || r.Top < 0 || r.Width <= 0 || r.Height <= 0 || r.Left > width-r.Width || r.Top > height-r.Height {
		return fmt.Errorf("%dx%d pixels at (%d, %d) are not a part of a %dx%d image", r.Width, r.Height, r.Left, r.Top, width, height)
	}
	return nil
}

// Choose says which part of a width x height image is wanted.
type Choose func(width, height int) Rect

// check reports an image whose fields contradict each other.
func (m Image) check() error {
	if m.Width <= 0 || m.Height <= 0 {
		return fmt.Errorf("image of %dx%d pixels", m.Width, m.Height)
	}
	if row := m.Width * Channels; m.Stride < row || len(m.Pixels) < (m.Height-1)*m.Stride+row {
		return fmt.Errorf("image of %dx%d pixels, stride %d, has only %d bytes", m.Width, m.Height, m.Stride, len(m.Pixels))
	}
	return nil
}

// A Decoder decodes one image after the other, keeping the library's object and the pixel buffer between them. It is
// used by one goroutine at a time.
type Decoder struct {
	jpeg     *jpegDecoder // made when the first JPEG comes
	buffer   []byte
	warnings int
	warning  string
}

// Close frees what the decoder holds outside Go's memory. The decoder may be used again afterwards.
func (d *Decoder) Close() {
	if d.jpeg != nil {
		d.jpeg.close()
		d.jpeg = nil
	}
}

// Decode returns the image in data. The format is chosen by the first bytes, never by a file name: ImageNet holds a
// PNG named .JPEG. The pixels are valid until the next call. Data in an unknown format is ErrFormat.
func (d *Decoder) Decode(data []byte) (Image, error) { return d.decode(data, nil) }

// DecodePart returns the part of the image that choose, which is called once, wants: the pixels that a crop of Decode's has.
// Of a JPEG only the blocks that the part needs are transformed, and what follows them in the file is not looked at, so that
// damage there goes unnoticed; that the file ends where it should is checked.
func (d *Decoder) DecodePart(data []byte, choose Choose) (Image, error) {
	return d.decode(data, choose)
}

func (d *Decoder) decode(data []byte, choose Choose) (Image, error) {
	d.warnings, d.warning = 0, ""
	switch {
	case bytes.HasPrefix(data, []byte("\xff\xd8\xff")):
		return d.decodeJPEG(data, choose)
	case bytes.HasPrefix(data, []byte(pngSignature)):
		m, err := d.decodePNG(data)
		if err != nil || choose == nil {
			return m, err
		}
		part := choose(m.Width, m.Height)
		if err := part.in(m.Width, m.Height); err != nil {
			return Image{}, err
		}
		return m.Crop(part.Left, part.Top, part.Width, part.Height), nil
	case len(data) == 0:
		return Image{}, errors.New("the file is empty")
	}
	if name := otherFormat(data); name != "" {
		return Image{}, fmt.Errorf("%w: this is %s; convert it first", ErrFormat, name)
	}
	return Image{}, ErrFormat
}

// endsWithMarker reports whether a JPEG file ends with its end marker, followed by a few bytes at most.
func endsWithMarker(data []byte) bool {
	const few = 16
	return bytes.Contains(data[max(0, len(data)-few):], []byte("\xff\xd9"))
}

// Warnings returns how often the library warned about the last image, and its last warning.
func (d *Decoder) Warnings() (count int, last string) { return d.warnings, d.warning }

// otherFormat names a format that people keep images in but that is not decoded here, for the error message.
func otherFormat(data []byte) string {
	signatures := []struct{ prefix, name string }{
		{"GIF8", "a GIF"}, {"BM", "a BMP"}, {"II*\x00", "a TIFF"}, {"MM\x00*", "a TIFF"},
		{"P2", "a PGM"}, {"P3", "a PPM"}, {"P5", "a PGM"}, {"P6", "a PPM"},
	}
	for _, s := range signatures {
		if bytes.HasPrefix(data, []byte(s.prefix)) {
			return s.name
		}
	}
	if len(data) >= 12 && string(data[:4]) == "RIFF" && string(data[8:12]) == "WEBP" {
		return "a WebP"
	}
	return ""
}

// checkSize refuses images that would take more memory than any real photograph.
func checkSize(width, height int) error {
	if width <= 0 || height <= 0 {
		return fmt.Errorf("image of %dx%d pixels", width, height)
	}
	if width > maxPixels/height {
		return fmt.Errorf("image of %dx%d pixels is larger than the limit of %d pixels", width, height, maxPixels)
	}
	return nil
}
