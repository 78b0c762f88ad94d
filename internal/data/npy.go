package data

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"

	"sat/internal/data/codec"
	"sat/internal/store"
)

// NumPy's format (NEP 1): magic, version, header length, a Python dictionary padded with spaces to a multiple of 64, then
// the elements. github.com/sbinet/npyio reads and writes it too, but its header parser panics on damaged files, and it moves
// elements one by one through reflection-based code; arrays here are gigabytes and come from strangers.

// Element is a type of array element that files may have here: NumPy's float32, float64, int64, uint8 and float16.
type Element interface {
	float32 | float64 | int64 | uint8 | Half
}

const (
	npyMagic     = "\x93NUMPY"
	npyMaxHeader = 1 << 16
	npyChunk     = 1 << 18 // bytes converted at a time; a multiple of every element's size
)

// dtypes names what NumPy's descriptions mean, for messages.
var dtypes = map[string]string{
	"<f4": "float32", "<f8": "float64", "<f2": "float16", "<i8": "int64", "<i4": "int32", "<i2": "int16", "|i1": "int8",
	"|u1": "uint8", "<u2": "uint16", "<u4": "uint32", "<u8": "uint64", "|b1": "bool",
	">f4": "big-endian float32", ">f8": "big-endian float64", ">i8": "big-endian int64",
}

// descr returns NumPy's description of T and its size in bytes.
func descr[T Element]() (string, int) {
	var zero T
	switch any(zero).(type) {
	case float32:
		return "<f4", 4
	case float64:
		return "<f8", 8
	case int64:
		return "<i8", 8
	case Half:
		return "<f2", 2
	default:
		return "|u1", 1
	}
}

// npyHeader is the description of an array file.
type npyHeader struct {
	descr   string
	fortran bool
	shape   []int
	length  int64 // bytes before the first element
}

// ReadNPY reads a whole array of the given element type. A file of another type, in Fortran order, cut short or with bytes
// after its end is an error.
func ReadNPY[T Element](ctx context.Context, path string) (elements []T, shape []int, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%s: not a regular file", path)
	}
	elements, shape, err = readNPY[T](ctx, file, info.Size())
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	return elements, shape, nil
}

// readNPY reads an array file of which the size is known, so that nothing is allocated for elements that are not there.
func readNPY[T Element](ctx context.Context, r io.Reader, size int64) ([]T, []int, error) {
	header, err := readHeader(r)
	if err != nil {
		return nil, nil, err
	}
	want, width := descr[T]()
	if header.descr != want {
		have := header.descr
		if name, ok := dtypes[have]; ok {
			have = name
		}
		return nil, nil, fmt.Errorf("elements are %s, want %s: convert with .astype(%q)", have, dtypes[want], dtypes[want])
	}
	if header.fortran && len(header.shape) > 1 {
		return nil, nil, errors.New("the array is in Fortran (column-major) order: convert with numpy.ascontiguousarray")
	}
	n, err := count(header.shape)
	if err != nil {
		return nil, nil, err
	}
	switch have := size - header.length; {
	case have/int64(width) < int64(n):
		return nil, nil, fmt.Errorf("truncated: shape %v needs %d bytes of %s, the file holds %d", header.shape, int64(n)*int64(width), dtypes[want], have)
	case have > int64(n)*int64(width):
		return nil, nil, fmt.Errorf("%d bytes follow the array of shape %v", have-int64(n)*int64(width), header.shape)
	}
	elements := make([]T, n)
	buffer := make([]byte, min(npyChunk, n*width))
	for rest := elements; len(rest) > 0; {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		k := min(len(buffer)/width, len(rest))
		if _, err := io.ReadFull(r, buffer[:k*width]); err != nil {
			return nil, nil, fmt.Errorf("read elements: %w", err)
		}
		decode(rest[:k], buffer)
		rest = rest[k:]
	}
	return elements, header.shape, nil
}

// readImageHeader returns the header of a file of images, uint8 [N,H,W,3], after checking that it holds them all.
func readImageHeader(path string) (h npyHeader, err error) {
	file, err := os.Open(path)
	if err != nil {
		return h, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err == nil {
		h, err = readHeader(file)
	}
	if err != nil {
		return h, fmt.Errorf("%s: %w", path, err)
	}
	n, err := count(h.shape)
	switch {
	case err != nil:
	case h.descr != "|u1" || h.fortran || len(h.shape) != 4 || h.shape[3] != codec.Channels || h.shape[1] == 0 || h.shape[2] == 0:
		err = fmt.Errorf("elements %s, shape %v; want images as uint8 [N,H,W,3], not in Fortran order", h.descr, h.shape)
	case info.Size()-h.length != int64(n):
		err = fmt.Errorf("shape %v needs %d bytes, the file holds %d: truncated or damaged", h.shape, n, info.Size()-h.length)
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", path, err)
	}
	return h, err
}

// maxElements bounds arrays so that their size in bytes fits in 63 bits for every element type.
const maxElements = math.MaxInt64 / 8

// count returns the number of elements of an array.
func count(shape []int) (int, error) {
	n := 1
	for _, side := range shape {
		if side < 0 {
			return 0, fmt.Errorf("shape %v has a negative side", shape)
		}
		if side != 0 && n > maxElements/side {
			return 0, fmt.Errorf("shape %v is too large", shape)
		}
		n *= side
	}
	return n, nil
}

func readHeader(r io.Reader) (h npyHeader, err error) {
	var start [8]byte
	if _, err := io.ReadFull(r, start[:]); err != nil || string(start[:6]) != npyMagic {
		return h, errors.New("not a .npy file")
	}
	lengthBytes := 4
	switch start[6] {
	case 1:
		lengthBytes = 2
	case 2, 3: // 3 differs from 2 in the encoding of field names, which plain arrays do not have
	default:
		return h, fmt.Errorf(".npy format version %d.%d is unknown", start[6], start[7])
	}
	var lengthField [4]byte
	if _, err := io.ReadFull(r, lengthField[:lengthBytes]); err != nil {
		return h, errors.New("truncated in the header")
	}
	length := int(binary.LittleEndian.Uint32(lengthField[:]))
	if length > npyMaxHeader {
		return h, fmt.Errorf("header of %d bytes is longer than any for a plain array", length)
	}
	text := make([]byte, length)
	if _, err := io.ReadFull(r, text); err != nil {
		return h, errors.New("truncated in the header")
	}
	if h.descr, h.fortran, h.shape, err = parseHeader(string(text)); err != nil {
		return h, fmt.Errorf("header %.80q: %w", strings.TrimSpace(string(text)), err)
	}
	h.length = int64(len(start) + lengthBytes + length)
	return h, nil
}

// headerEntry matches one entry of the header's dictionary: a quoted key, and a quoted text, a truth value or a tuple.
var headerEntry = regexp.MustCompile(`^\s*(?:'(\w+)'|"(\w+)")\s*:\s*(?:'([^']*)'|"([^"]*)"|(True|False)|\(([\d\s,L]*)\))\s*(,|$)`)

// parseHeader reads the dictionary literal that NumPy writes. Its keys may come in any order.
func parseHeader(text string) (descr string, fortran bool, shape []int, err error) {
	text = strings.TrimSpace(text)
	inner, opened := strings.CutPrefix(text, "{")
	inner, closed := strings.CutSuffix(inner, "}")
	if !opened || !closed {
		return "", false, nil, errors.New("not a dictionary")
	}
	seen := map[string]bool{}
	for strings.TrimSpace(inner) != "" {
		m := headerEntry.FindStringSubmatch(inner)
		if m == nil {
			if strings.Contains(inner, "[") {
				return "", false, nil, errors.New("structured arrays are not supported")
			}
			return "", false, nil, errors.New("malformed")
		}
		inner = inner[len(m[0]):]
		key, quoted, truth, tuple := m[1]+m[2], m[3]+m[4], m[5], m[6]
		if seen[key] {
			return "", false, nil, fmt.Errorf("%q comes twice", key)
		}
		seen[key] = true
		switch {
		case key == "descr" && quoted != "":
			descr = quoted
		case key == "fortran_order" && truth != "":
			fortran = truth == "True"
		case key == "shape" && quoted == "" && truth == "":
			if shape, err = parseShape(tuple); err != nil {
				return "", false, nil, err
			}
		default:
			return "", false, nil, fmt.Errorf("unexpected entry %q", strings.TrimSpace(m[0]))
		}
	}
	if len(seen) != 3 {
		return "", false, nil, errors.New("descr, fortran_order and shape are not all there")
	}
	return descr, fortran, shape, nil
}

// parseShape reads the inside of a tuple of integers. Python 2 wrote an L behind some.
func parseShape(tuple string) ([]int, error) {
	shape := []int{}
	tuple = strings.TrimSuffix(strings.TrimSpace(tuple), ",")
	if tuple == "" {
		return shape, nil
	}
	for part := range strings.SplitSeq(tuple, ",") {
		side, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(part), "L"))
		if err != nil {
			return nil, fmt.Errorf("shape (%s) is not a tuple of integers", tuple)
		}
		shape = append(shape, side)
	}
	return shape, nil
}

// WriteNPY writes a whole array, atomically.
func WriteNPY[T Element](path string, elements []T, shape ...int) error {
	return StreamNPY(path, shape, func(write func([]T) error) error { return write(elements) })
}

// StreamNPY writes an array piece by piece, atomically: fill is called once and passes its elements in order to write.
// If their number is not that of the shape, or fill returns an error, there is no file (or still the old one).
func StreamNPY[T Element](path string, shape []int, fill func(write func([]T) error) error) error {
	n, err := count(shape)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return store.WriteFile(path, func(w io.Writer) error {
		if _, err := w.Write(formatHeader[T](shape)); err != nil {
			return err
		}
		written := 0
		buffer := make([]byte, npyChunk)
		_, width := descr[T]()
		err := fill(func(elements []T) error {
			written += len(elements)
			if written > n {
				return fmt.Errorf("more than the %d elements of shape %v", n, shape)
			}
			for len(elements) > 0 {
				k := min(len(buffer)/width, len(elements))
				encode(buffer, elements[:k])
				if _, err := w.Write(buffer[:k*width]); err != nil {
					return err
				}
				elements = elements[k:]
			}
			return nil
		})
		if err == nil && written != n {
			err = fmt.Errorf("%d elements given for shape %v", written, shape)
		}
		return err
	})
}

// formatHeader writes the header as NumPy does, so that equal arrays are equal files.
func formatHeader[T Element](shape []int) []byte {
	description, _ := descr[T]()
	var tuple strings.Builder
	for i, side := range shape {
		if i > 0 {
			tuple.WriteString(", ")
		}
		fmt.Fprint(&tuple, side)
	}
	if len(shape) == 1 {
		tuple.WriteString(",")
	}
	dictionary := fmt.Sprintf("{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", description, tuple.String())
	const prefix, align = 10, 64 // magic, version and a 16-bit length; the elements start at a multiple of 64
	length := (prefix+len(dictionary)+1+align-1)/align*align - prefix
	header := append([]byte(npyMagic), 1, 0)
	header = binary.LittleEndian.AppendUint16(header, uint16(length))
	header = append(header, dictionary...)
	for len(header) < prefix+length-1 {
		header = append(header, ' ')
	}
	return append(header, '\n')
}

// decode converts little-endian bytes to elements.
func decode[T Element](dst []T, src []byte) {
	switch dst := any(dst).(type) {
	case []float32:
		for i := range dst {
			dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
		}
	case []float64:
		for i := range dst {
			dst[i] = math.Float64frombits(binary.LittleEndian.Uint64(src[8*i:]))
		}
	case []int64:
		for i := range dst {
			dst[i] = int64(binary.LittleEndian.Uint64(src[8*i:]))
		}
	case []Half:
		for i := range dst {
			dst[i] = Half(binary.LittleEndian.Uint16(src[2*i:]))
		}
	case []uint8:
		copy(dst, src)
	}
}

// encode converts elements to little-endian bytes.
func encode[T Element](dst []byte, src []T) {
	switch src := any(src).(type) {
	case []float32:
		for i, v := range src {
			binary.LittleEndian.PutUint32(dst[4*i:], math.Float32bits(v))
		}
	case []float64:
		for i, v := range src {
			binary.LittleEndian.PutUint64(dst[8*i:], math.Float64bits(v))
		}
	case []int64:
		for i, v := range src {
			binary.LittleEndian.PutUint64(dst[8*i:], uint64(v))
		}
	case []Half:
		for i, v := range src {
			binary.LittleEndian.PutUint16(dst[2*i:], uint16(v))
		}
	case []uint8:
		copy(dst, src)
	}
}
