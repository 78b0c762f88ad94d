package store

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
)

// The adversarial store of one source model.
//
//	header    frame of frame.go; JSON of AdversarialHeader
//	block 0   image 0: image number (uint32), length of the payload (uint32), CRC-32C of the decoded float32 bytes
//	          (uint32), payload (see pixels.go), CRC-32C of all that (uint32)
//	...       one block per image, in order, without gaps
//	index     for each block its length in bytes (uint32); CRC-32C (uint32)
//	trailer   length of the file in bytes (uint64), number of blocks (uint32), CRC-32C (uint32), magic (8 bytes)
//
// The clean images are not in the file: blocks describe the difference to them. A reader passes them in; the checksum
// of the decoded bytes tells a wrong clean image from a damaged block.
const (
	adversarialMagic   = "SATADV\r\n" // the line end shows files that were copied as text
	adversarialEnd     = "SATADVE\n"
	adversarialVersion = 1

	blockHeaderSize = 12
	trailerSize     = 8 + 4 + checksumSize + magicSize
)

// ErrWrongClean marks clean images that are not the ones the adversarial images were made from.
var ErrWrongClean = errors.New("the clean image is not the one that was attacked")

// AdversarialHeader says what an adversarial store holds.
type AdversarialHeader struct {
	Source      string   `json:"source"`       // name of the attacked model
	Attack      string   `json:"attack"`       // its word: "pgd"
	EpsilonBits uint32   `json:"epsilon_bits"` // radius of the ball as float32 bits, see Epsilon; 0 if there is none
	C           int      `json:"c"`
	H           int      `json:"h"`
	W           int      `json:"w"`
	IDs         []string `json:"ids"`          // of the images, in order
	CleanDigest string   `json:"clean_digest"` // of the clean image set, as the caller defines it

	// Parameters are all settings of the attack, for the reader of the file; nothing here depends on them.
	Parameters json.RawMessage `json:"parameters,omitempty"`
}

// Epsilon returns the radius as the attack used it.
func (h *AdversarialHeader) Epsilon() float32 { return math.Float32frombits(h.EpsilonBits) }

// Pixels returns the number of values of an image, C*H*W.
func (h *AdversarialHeader) Pixels() int { return h.C * h.H * h.W }

func (h *AdversarialHeader) check() error {
	const maxSide, maxPixels = 1 << 20, 1 << 30
	for _, side := range []int{h.C, h.H, h.W} {
		if side < 1 || side > maxSide {
			return fmt.Errorf("image shape %dx%dx%d", h.C, h.H, h.W)
		}
	}
	if int64(h.C)*int64(h.H) > maxPixels || int64(h.C)*int64(h.H)*int64(h.W) > maxPixels {
		return fmt.Errorf("image shape %dx%dx%d", h.C, h.H, h.W)
	}
	if int64(len(h.IDs)) > math.MaxUint32 {
		return fmt.Errorf("%d images", len(h.IDs))
	}
	if eps := h.Epsilon(); !(eps >= 0) || math.IsInf(float64(eps), 0) {
		return fmt.Errorf("epsilon is %v", eps)
	}
	return nil
}

// AdversarialWriter takes the images of a store in order.
type AdversarialWriter struct {
	header  *AdversarialHeader
	w       io.Writer
	encoder *pixelEncoder
	size    int64
	lengths []uint32
	frame   []byte
}

// WriteAdversarial writes a store at path with WriteFile: fill adds every image of header.IDs, in order. Images are
// written as they come, so memory holds one at a time.
func WriteAdversarial(path string, header AdversarialHeader, fill func(w *AdversarialWriter) error) error {
	if err := header.check(); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return WriteFile(path, func(out io.Writer) error {
		w := &AdversarialWriter{header: &header, w: out, encoder: &pixelEncoder{eps: header.Epsilon()}}
		var err error
		if w.size, err = writeHeader(out, adversarialMagic, adversarialVersion, header); err != nil {
			return err
		}
		if err := fill(w); err != nil {
			return err
		}
		return w.finish()
	})
}

// Add appends images: clean and adversarial have len a multiple of C*H*W and belong together image by image. A NaN or
// an infinity is an error that names the image.
func (w *AdversarialWriter) Add(clean, adversarial []float32) error {
	pixels := w.header.Pixels()
	if len(clean) != len(adversarial) || len(clean)%pixels != 0 {
		return fmt.Errorf("add %d clean and %d adversarial values, want equal multiples of %d", len(clean), len(adversarial), pixels)
	}
	for from := 0; from < len(clean); from += pixels {
		if err := w.add(clean[from:from+pixels], adversarial[from:from+pixels]); err != nil {
			return err
		}
	}
	return nil
}

func (w *AdversarialWriter) add(clean, adversarial []float32) error {
	image := len(w.lengths)
	if image == len(w.header.IDs) {
		return fmt.Errorf("more images than the %d announced", image)
	}
	for i := range clean {
		if !finite(clean[i]) || !finite(adversarial[i]) {
			return fmt.Errorf("image %d (%s) holds %v at value %d (clean %v)", image, w.header.IDs[image], adversarial[i], i, clean[i])
		}
	}
	frame := w.frame[:0]
	frame = binary.LittleEndian.AppendUint32(frame, uint32(image))
	frame = append(frame, 0, 0, 0, 0) // length of the payload, once known
	frame = binary.LittleEndian.AppendUint32(frame, floatChecksum(adversarial))
	frame = w.encoder.append(frame, clean, adversarial)
	binary.LittleEndian.PutUint32(frame[4:], uint32(len(frame)-blockHeaderSize))
	frame = appendChecksum(frame, frame)
	w.frame = frame
	if _, err := w.w.Write(frame); err != nil {
		return err
	}
	w.size += int64(len(frame))
	w.lengths = append(w.lengths, uint32(len(frame)))
	return nil
}

func (w *AdversarialWriter) finish() error {
	if len(w.lengths) != len(w.header.IDs) {
		return fmt.Errorf("%d images added, %d announced", len(w.lengths), len(w.header.IDs))
	}
	var index []byte
	for _, length := range w.lengths {
		index = binary.LittleEndian.AppendUint32(index, length)
	}
	index = appendChecksum(index, index)
	var trailer []byte
	trailer = binary.LittleEndian.AppendUint64(trailer, uint64(w.size)+uint64(len(index))+trailerSize)
	trailer = binary.LittleEndian.AppendUint32(trailer, uint32(len(w.lengths)))
	trailer = appendChecksum(trailer, trailer)
	trailer = append(trailer, adversarialEnd...)
	_, err := w.w.Write(append(index, trailer...))
	return err
}

// AdversarialReader reads single images of a store. Its methods may be called from several goroutines at once.
type AdversarialReader struct {
	path    string
	r       io.ReaderAt
	close   func() error
	header  AdversarialHeader
	offsets []int64 // of each block, and of the index
}

// OpenAdversarial opens a store and checks its header, index and trailer; blocks are checked when they are read, or
// all by Verify. A damaged or truncated file is ErrCorrupt.
func OpenAdversarial(path string) (*AdversarialReader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	r, err := newAdversarialReader(f, info.Size())
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("adversarial images %s: %w", path, err)
	}
	r.path, r.close = path, f.Close
	return r, nil
}

func newAdversarialReader(src io.ReaderAt, size int64) (*AdversarialReader, error) {
	r := &AdversarialReader{r: src, close: func() error { return nil }}
	start, err := readHeader(src, size, adversarialMagic, adversarialVersion, &r.header)
	if err != nil {
		return nil, err
	}
	if err := r.header.check(); err != nil {
		return nil, fmt.Errorf("%w: header: %v", ErrCorrupt, err)
	}
	var trailer [trailerSize]byte
	if size < start+trailerSize {
		return nil, fmt.Errorf("%w: truncated, %d bytes end in the first block", ErrCorrupt, size)
	}
	if _, err := src.ReadAt(trailer[:], size-trailerSize); err != nil {
		return nil, err
	}
	if string(trailer[trailerSize-magicSize:]) != adversarialEnd {
		return nil, fmt.Errorf("%w: truncated, %d bytes without the mark of the end", ErrCorrupt, size)
	}
	if err := checkChecksum(trailer[:trailerSize-magicSize]); err != nil {
		return nil, fmt.Errorf("%w: trailer: %v", ErrCorrupt, err)
	}
	if written := binary.LittleEndian.Uint64(trailer[:]); written != uint64(size) {
		return nil, fmt.Errorf("%w: %d bytes, %d were written", ErrCorrupt, size, written)
	}
	blocks := int64(binary.LittleEndian.Uint32(trailer[8:]))
	if blocks != int64(len(r.header.IDs)) {
		return nil, fmt.Errorf("%w: %d blocks for %d images", ErrCorrupt, blocks, len(r.header.IDs))
	}
	indexSize := blocks*4 + checksumSize
	indexAt := size - trailerSize - indexSize
	if indexAt < start {
		return nil, fmt.Errorf("%w: %d bytes are too few for %d images", ErrCorrupt, size, blocks)
	}
	index := make([]byte, indexSize)
	if _, err := src.ReadAt(index, indexAt); err != nil {
		return nil, err
	}
	if err := checkChecksum(index); err != nil {
		return nil, fmt.Errorf("%w: index: %v", ErrCorrupt, err)
	}
	r.offsets = make([]int64, blocks+1)
	r.offsets[0] = start
	for i := range blocks {
		length := int64(binary.LittleEndian.Uint32(index[4*i:]))
		if length < blockHeaderSize+checksumSize {
			return nil, fmt.Errorf("%w: index: block %d has %d bytes", ErrCorrupt, i, length)
		}
		r.offsets[i+1] = r.offsets[i] + length
	}
	if r.offsets[blocks] != indexAt {
		return nil, fmt.Errorf("%w: the blocks end at byte %d, the index starts at %d", ErrCorrupt, r.offsets[blocks], indexAt)
	}
	return r, nil
}

// Header returns what the store holds. It belongs to the reader.
func (r *AdversarialReader) Header() *AdversarialHeader { return &r.header }

// Close closes the file.
func (r *AdversarialReader) Close() error { return r.close() }

// Images decodes the images from, ..., to-1 into dst, given the clean images of the same numbers. dst and clean have
// (to-from)*C*H*W values and may not overlap. ErrCorrupt and ErrWrongClean name the file and the image; dst is then
// undefined.
func (r *AdversarialReader) Images(from, to int, clean, dst []float32) error {
	if from < 0 || to < from || to > len(r.header.IDs) {
		return fmt.Errorf("images %d to %d of the %d in %s", from, to, len(r.header.IDs), r.path)
	}
	pixels := r.header.Pixels()
	if want := (to - from) * pixels; len(clean) != want || len(dst) != want {
		return fmt.Errorf("images %d to %d of %s: %d clean values and room for %d, want %d", from, to, r.path, len(clean), len(dst), want)
	}
	decoder := pixelDecoder{eps: r.header.Epsilon()}
	var frame []byte
	for image := from; image < to; image++ {
		at := (image - from) * pixels
		var err error
		if frame, err = r.block(image, frame); err != nil {
			return err
		}
		payload := frame[blockHeaderSize : len(frame)-checksumSize]
		out := dst[at : at+pixels]
		if err := decoder.decode(payload, clean[at:at+pixels], out); err != nil {
			return r.corrupt(image, err)
		}
		if floatChecksum(out) != binary.LittleEndian.Uint32(frame[8:]) {
			return fmt.Errorf("%s, image %d (%s): %w", r.path, image, r.header.IDs[image], ErrWrongClean)
		}
	}
	return nil
}

// Verify checks every block. It needs no clean images and decodes nothing.
func (r *AdversarialReader) Verify() error {
	var frame []byte
	for image := range r.header.IDs {
		var err error
		if frame, err = r.block(image, frame); err != nil {
			return err
		}
	}
	return nil
}

// block reads and checks the block of one image, reusing buffer.
func (r *AdversarialReader) block(image int, buffer []byte) ([]byte, error) {
	length := int(r.offsets[image+1] - r.offsets[image])
	if cap(buffer) < length {
		buffer = make([]byte, length)
	}
	frame := buffer[:length]
	if _, err := r.r.ReadAt(frame, r.offsets[image]); err != nil {
		return nil, fmt.Errorf("read %s, image %d: %w", r.path, image, err)
	}
	if err := checkChecksum(frame); err != nil {
		return nil, r.corrupt(image, err)
	}
	if number := binary.LittleEndian.Uint32(frame); int64(number) != int64(image) {
		return nil, r.corrupt(image, fmt.Errorf("it is the block of image %d", number))
	}
	if stated := int64(binary.LittleEndian.Uint32(frame[4:])); stated != int64(length-blockHeaderSize-checksumSize) {
		return nil, r.corrupt(image, fmt.Errorf("its payload has %d bytes in the block and %d in the index",
			stated, length-blockHeaderSize-checksumSize))
	}
	return frame, nil
}

func (r *AdversarialReader) corrupt(image int, err error) error {
	return fmt.Errorf("%w: %s, block of image %d (%s), bytes %d to %d: %v",
		ErrCorrupt, r.path, image, r.header.IDs[image], r.offsets[image], r.offsets[image+1]-1, err)
}

func finite(v float32) bool {
	const exponent = 0x7f800000 // all ones in infinities and NaN only
	return math.Float32bits(v)&exponent != exponent
}

// floatChecksum is the CRC-32C of the little-endian bytes of the values.
func floatChecksum(values []float32) uint32 {
	var chunk [4096]byte
	sum := uint32(0)
	for len(values) > 0 {
		n := min(len(values), len(chunk)/4)
		for i, v := range values[:n] {
			binary.LittleEndian.PutUint32(chunk[4*i:], math.Float32bits(v))
		}
		sum = crc32.Update(sum, castagnoli, chunk[:4*n])
		values = values[n:]
	}
	return sum
}
