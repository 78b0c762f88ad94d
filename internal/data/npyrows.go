package data

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
)

// NPYRows is a matrix in a .npy file, float32 or float16 [Rows,Columns], of which any rows can be read without the others.
// It serves several goroutines at once. Rows are read, not mapped: a file that another program cuts short is then an error
// and not a fault of the process, and the pages a block has passed through do not count as this process's memory.
type NPYRows struct {
	Rows, Columns int
	path          string
	file          *os.File
	start         int64
	half          bool
}

// OpenNPYRows opens a matrix. A file of another type or shape, in Fortran order, cut short or with bytes after its end is an
// error.
func OpenNPYRows(path string) (_ *NPYRows, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = file.Close()
			err = fmt.Errorf("%s: %w", path, err)
		}
	}()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	header, err := readHeader(file)
	if err != nil {
		return nil, err
	}
	m := &NPYRows{path: path, file: file, start: header.length, half: header.descr == "<f2"}
	if !m.half && header.descr != "<f4" {
		have := header.descr
		if name, ok := dtypes[have]; ok {
			have = name
		}
		return nil, fmt.Errorf(`elements are %s, want float32 or float16: convert with .astype("float32")`, have)
	}
	if len(header.shape) != 2 || header.shape[0] == 0 || header.shape[1] == 0 {
		return nil, fmt.Errorf("shape %v, want [rows columns]", header.shape)
	}
	if header.fortran {
		return nil, errors.New("the array is in Fortran (column-major) order: convert with numpy.ascontiguousarray")
	}
	n, err := count(header.shape)
	if err != nil {
		return nil, err
	}
	if want := int64(n)*int64(m.width()) + m.start; info.Size() < want {
		return nil, fmt.Errorf("truncated: %d bytes, shape %v needs %d", info.Size(), header.shape, want)
	} else if info.Size() > want {
		return nil, fmt.Errorf("%d bytes follow the array of shape %v", info.Size()-want, header.shape)
	}
	m.Rows, m.Columns = header.shape[0], header.shape[1]
	return m, nil
}

func (m *NPYRows) width() int {
	if m.half {
		return 2
	}
	return 4
}

// Read fills dst, whole rows, with the rows from, from+1, ...
func (m *NPYRows) Read(from int, dst []float32) error {
	if from < 0 || len(dst)%m.Columns != 0 || from+len(dst)/m.Columns > m.Rows {
		return fmt.Errorf("%s: %d elements from row %d are not rows of [%d %d]", m.path, len(dst), from, m.Rows, m.Columns)
	}
	buffer := make([]byte, min(npyChunk, len(dst)*m.width()))
	at := m.start + int64(from)*int64(m.Columns)*int64(m.width())
	for len(dst) > 0 {
		k := min(len(dst), len(buffer)/m.width())
		part := buffer[:k*m.width()]
		if n, err := m.file.ReadAt(part, at); err != nil && !(errors.Is(err, io.EOF) && n == len(part)) {
			return fmt.Errorf("%s: %w", m.path, err)
		}
		if m.half {
			for i := range k {
				dst[i] = float16(binary.LittleEndian.Uint16(part[2*i:]))
			}
		} else {
			decode(dst[:k], part)
		}
		dst, at = dst[k:], at+int64(len(part))
	}
	return nil
}

// Close closes the file.
func (m *NPYRows) Close() error { return m.file.Close() }

// float16 returns the value of an IEEE 754 half-precision number.
func float16(bits uint16) float32 {
	sign, exponent, fraction := uint32(bits>>15)<<31, int(bits>>10&31), uint32(bits&0x3ff)
	switch exponent {
	case 0: // zero and subnormal: fraction times 2^-24
		v := float32(math.Ldexp(float64(fraction), -24))
		return math.Float32frombits(math.Float32bits(v) | sign)
	case 31: // infinity and NaN
		return math.Float32frombits(sign | 0xff<<23 | fraction<<13)
	}
	return math.Float32frombits(sign | uint32(exponent-15+127)<<23 | fraction<<13)
}
