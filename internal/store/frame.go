package store

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
)

// Every file of our own starts with: magic (8 bytes), format version (uint32), length of the header (uint32), header
// (JSON), CRC-32C of all of these (uint32).

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

const (
	magicSize     = 8
	preambleSize  = magicSize + 8
	checksumSize  = 4
	maxHeaderSize = 256 << 20 // names of a million images; a larger figure can only be damage
)

func writeHeader(w io.Writer, magic string, version uint32, header any) (size int64, err error) {
	text, err := json.Marshal(header)
	if err != nil {
		return 0, err
	}
	frame := make([]byte, 0, preambleSize+len(text)+checksumSize)
	frame = append(frame, magic...)
	frame = binary.LittleEndian.AppendUint32(frame, version)
	frame = binary.LittleEndian.AppendUint32(frame, uint32(len(text)))
	frame = append(frame, text...)
	frame = appendChecksum(frame, frame)
	n, err := w.Write(frame)
	return int64(n), err
}

// readHeader reads the header of a file of fileSize bytes into header and returns where the header ends. Its errors
// are ErrCorrupt unless reading itself went wrong; they do not name the file.
func readHeader(r io.ReaderAt, fileSize int64, magic string, version uint32, header any) (end int64, err error) {
	var preamble [preambleSize]byte
	if fileSize < preambleSize+checksumSize {
		return 0, fmt.Errorf("%w: %d bytes are too few for a header", ErrCorrupt, fileSize)
	}
	if _, err := r.ReadAt(preamble[:], 0); err != nil {
		return 0, err
	}
	if string(preamble[:magicSize]) != magic {
		return 0, fmt.Errorf("%w: it does not start with %q", ErrCorrupt, strings.TrimSpace(magic))
	}
	got := binary.LittleEndian.Uint32(preamble[magicSize:])
	length := int64(binary.LittleEndian.Uint32(preamble[magicSize+4:]))
	end = preambleSize + length + checksumSize
	if length > maxHeaderSize || end > fileSize {
		return 0, fmt.Errorf("%w: truncated in the header (%d of %d bytes)", ErrCorrupt, fileSize, end)
	}
	frame := make([]byte, end)
	if _, err := r.ReadAt(frame, 0); err != nil {
		return 0, err
	}
	if err := checkChecksum(frame); err != nil {
		return 0, fmt.Errorf("%w: header: %v", ErrCorrupt, err)
	}
	// Only after the checksum: a damaged version would send the reader looking for a newer program.
	if got != version {
		return 0, fmt.Errorf("format version %d, this program reads version %d", got, version)
	}
	if err := json.Unmarshal(frame[preambleSize:preambleSize+length], header); err != nil {
		return 0, fmt.Errorf("%w: header: %v", ErrCorrupt, err)
	}
	return end, nil
}

func appendChecksum(dst, content []byte) []byte {
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(content, castagnoli))
}

// checkChecksum checks a frame that ends with the checksum of what precedes it.
func checkChecksum(frame []byte) error {
	content, stored := frame[:len(frame)-checksumSize], frame[len(frame)-checksumSize:]
	if got, want := crc32.Checksum(content, castagnoli), binary.LittleEndian.Uint32(stored); got != want {
		return fmt.Errorf("checksum is %08x, %08x was written", got, want)
	}
	return nil
}
