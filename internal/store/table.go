package store

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
	"os"
	"slices"
)

// Tables hold one value per row and image; a row is a model, or a source model in a table of one target.
//
//	frame of frame.go with JSON of tableHeader
//	length of the payload (uint64), payload, CRC-32C of both (uint32)
//
// The payload is one stream of pixels.go (plain or zstd): for bits the rows one after the other, each starting on a
// byte, first image in the least significant bit; for predictions the int32 values of all rows in row order, as four
// planes of bytes, least significant first.
const (
	tableMagic   = "SATTAB\r\n"
	tableVersion = 1

	kindBits        = "bits"
	kindPredictions = "predictions"

	maxTableSize = 1 << 36 // bytes unpacked; a larger figure can only be damage
)

type tableHeader struct {
	Kind string `json:"kind"`
	TableHeader
}

// TableHeader says what a table is about.
type TableHeader struct {
	Subject      string   `json:"subject,omitempty"` // what all rows share: the target model of a transfer table
	Rows         []string `json:"rows"`
	Images       int      `json:"images"`
	ImagesDigest string   `json:"images_digest"` // tables of other image lists must never be mixed with this one
}

// Row returns the number of the row called name.
func (h *TableHeader) Row(name string) (int, error) {
	if i := slices.Index(h.Rows, name); i >= 0 {
		return i, nil
	}
	return 0, fmt.Errorf("the table has no row %q", name)
}

// Bits is a table of truth values: which images a model classifies correctly, or which adversarial images of each
// source a target gets wrong.
type Bits struct {
	TableHeader
	rows [][]byte
}

// NewBits returns a table of zeros.
func NewBits(header TableHeader) *Bits {
	b := &Bits{TableHeader: header, rows: make([][]byte, len(header.Rows))}
	for row := range b.rows {
		b.rows[row] = make([]byte, (header.Images+7)/8)
	}
	return b
}

// Get returns one value.
func (b *Bits) Get(row, image int) bool {
	b.inside(image)
	return b.rows[row][image/8]>>(image%8)&1 != 0
}

// Set sets one value.
func (b *Bits) Set(row, image int, value bool) {
	b.inside(image)
	mask := byte(1) << (image % 8)
	if value {
		b.rows[row][image/8] |= mask
	} else {
		b.rows[row][image/8] &^= mask
	}
}

// inside panics like an index out of range does: the padding bits of a row are not values.
func (b *Bits) inside(image int) {
	if image < 0 || image >= b.Images {
		panic(fmt.Sprintf("store: image %d of a table of %d", image, b.Images))
	}
}

// Count returns the number of ones in a row.
func (b *Bits) Count(row int) int {
	count := 0
	for _, v := range b.rows[row] {
		count += bits.OnesCount8(v)
	}
	return count
}

// Bools returns a row as a slice.
func (b *Bits) Bools(row int) []bool {
	out := make([]bool, b.Images)
	for i := range out {
		out[i] = b.Get(row, i)
	}
	return out
}

// Write writes the table to path with WriteFile.
func (b *Bits) Write(path string) error {
	return writeTable(path, tableHeader{kindBits, b.TableHeader}, bytes.Join(b.rows, nil))
}

// ReadBits reads a table written by Bits.Write. A damaged file is ErrCorrupt.
func ReadBits(path string) (*Bits, error) {
	header, content, err := readTable(path, kindBits)
	if err != nil {
		return nil, err
	}
	b := NewBits(header)
	width := (header.Images + 7) / 8
	for row := range b.rows {
		copy(b.rows[row], content[row*width:])
		if header.Images%8 != 0 && b.rows[row][width-1]>>(header.Images%8) != 0 {
			return nil, fmt.Errorf("%w: %s: row %s has bits beyond its last image", ErrCorrupt, path, header.Rows[row])
		}
	}
	return b, nil
}

// Predictions is a table of predicted classes.
type Predictions struct {
	TableHeader
	Classes [][]int32 // [row][image]
}

// NewPredictions returns a table of zeros.
func NewPredictions(header TableHeader) *Predictions {
	p := &Predictions{TableHeader: header, Classes: make([][]int32, len(header.Rows))}
	for row := range p.Classes {
		p.Classes[row] = make([]int32, header.Images)
	}
	return p
}

// Write writes the table to path with WriteFile.
func (p *Predictions) Write(path string) error {
	n := len(p.Rows) * p.Images
	planes := make([]byte, 4*n)
	for row, classes := range p.Classes {
		if len(classes) != p.Images {
			return fmt.Errorf("write %s: row %s has %d images of %d", path, p.Rows[row], len(classes), p.Images)
		}
		for image, class := range classes {
			for plane := range 4 {
				planes[plane*n+row*p.Images+image] = byte(uint32(class) >> (8 * plane))
			}
		}
	}
	return writeTable(path, tableHeader{kindPredictions, p.TableHeader}, planes)
}

// ReadPredictions reads a table written by Predictions.Write. A damaged file is ErrCorrupt.
func ReadPredictions(path string) (*Predictions, error) {
	header, planes, err := readTable(path, kindPredictions)
	if err != nil {
		return nil, err
	}
	p := NewPredictions(header)
	n := len(p.Rows) * p.Images
	for row, classes := range p.Classes {
		for image := range classes {
			value := uint32(0)
			for plane := range 4 {
				value |= uint32(planes[plane*n+row*p.Images+image]) << (8 * plane)
			}
			classes[image] = int32(value)
		}
	}
	return p, nil
}

// size returns the bytes of the unpacked payload.
func (h *tableHeader) size() (int, error) {
	if h.Images < 0 || h.Images > maxTableSize || len(h.Rows) > maxTableSize/max(h.Images, 1) {
		return 0, fmt.Errorf("%d rows of %d images", len(h.Rows), h.Images)
	}
	switch h.Kind {
	case kindBits:
		return len(h.Rows) * ((h.Images + 7) / 8), nil
	case kindPredictions:
		return len(h.Rows) * h.Images * 4, nil
	}
	return 0, fmt.Errorf("unknown kind of table %q", h.Kind)
}

func writeTable(path string, header tableHeader, content []byte) error {
	return WriteFile(path, func(w io.Writer) error {
		if _, err := writeHeader(w, tableMagic, tableVersion, header); err != nil {
			return err
		}
		body := make([]byte, 8)
		body, _ = appendStream(body, content, nil)
		binary.LittleEndian.PutUint64(body, uint64(len(body)-8))
		_, err := w.Write(appendChecksum(body, body))
		return err
	})
}

func readTable(path, kind string) (TableHeader, []byte, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return TableHeader{}, nil, err
	}
	header, body, err := parseTable(content)
	if err != nil {
		return TableHeader{}, nil, fmt.Errorf("table %s: %w", path, err)
	}
	if header.Kind != kind {
		return TableHeader{}, nil, fmt.Errorf("table %s holds %s, not %s", path, header.Kind, kind)
	}
	return header.TableHeader, body, nil
}

func parseTable(file []byte) (header tableHeader, content []byte, err error) {
	end, err := readHeader(bytes.NewReader(file), int64(len(file)), tableMagic, tableVersion, &header)
	if err != nil {
		return header, nil, err
	}
	size, err := header.size()
	if err != nil {
		return header, nil, fmt.Errorf("%w: header: %v", ErrCorrupt, err)
	}
	body := file[end:]
	if len(body) < 8+checksumSize || uint64(len(body)-8-checksumSize) != binary.LittleEndian.Uint64(body) {
		return header, nil, fmt.Errorf("%w: truncated or extended, %d bytes after the header", ErrCorrupt, len(body))
	}
	if err := checkChecksum(body); err != nil {
		return header, nil, fmt.Errorf("%w: %v", ErrCorrupt, err)
	}
	// A stream of n bytes takes at least n/32768 packed (zstd blocks of 128 KiB take 4 bytes each), so a small file
	// cannot ask for a large buffer.
	if stored := len(body) - 8 - checksumSize; size > 64 && size/(1<<15) > stored {
		return header, nil, fmt.Errorf("%w: %d bytes cannot hold a table of %d", ErrCorrupt, stored, size)
	}
	content, rest, err := readStream(body[8:len(body)-checksumSize], nil, size)
	if err == nil && len(rest) != 0 {
		err = fmt.Errorf("%d bytes after the table", len(rest))
	}
	if err != nil {
		return header, nil, fmt.Errorf("%w: %v", ErrCorrupt, err)
	}
	return header, content, nil
}
