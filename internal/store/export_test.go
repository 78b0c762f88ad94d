package store

import (
	"encoding/binary"
	"hash/crc32"
)

// ReadAdversarial is OpenAdversarial for a file in memory.
var ReadAdversarial = newAdversarialReader

// RepairChecksums makes the checksums of a mutated adversarial store right as far as its lengths make sense, so that a
// fuzzer reaches the code behind them.
func RepairChecksums(file []byte) {
	set := func(from, to int) bool {
		if from < 0 || to < from || to+checksumSize > len(file) {
			return false
		}
		binary.LittleEndian.PutUint32(file[to:], crc32.Checksum(file[from:to], castagnoli))
		return true
	}
	if len(file) < preambleSize+trailerSize {
		return
	}
	end := len(file)
	binary.LittleEndian.PutUint64(file[end-trailerSize:], uint64(end))
	set(end-trailerSize, end-magicSize-checksumSize)
	header := preambleSize + int(binary.LittleEndian.Uint32(file[magicSize+4:]))
	if !set(0, header) {
		return
	}
	blocks := int(binary.LittleEndian.Uint32(file[end-trailerSize+8:]))
	indexAt := end - trailerSize - checksumSize - 4*blocks
	if !set(indexAt, indexAt+4*blocks) {
		return
	}
	at := header + checksumSize
	for i := range blocks {
		length := int(binary.LittleEndian.Uint32(file[indexAt+4*i:]))
		if length < blockHeaderSize+checksumSize || !set(at, at+length-checksumSize) {
			return
		}
		at += length
	}
}

// ParseTable checks the bytes of a table file.
func ParseTable(file []byte) error {
	_, _, err := parseTable(file)
	return err
}

// RepairTable makes the checksums of a mutated table right.
func RepairTable(file []byte) {
	if len(file) < preambleSize {
		return
	}
	header := preambleSize + int(binary.LittleEndian.Uint32(file[magicSize+4:]))
	if header+2*checksumSize+8 > len(file) {
		return
	}
	binary.LittleEndian.PutUint32(file[header:], crc32.Checksum(file[:header], castagnoli))
	body := file[header+checksumSize:]
	binary.LittleEndian.PutUint64(body, uint64(len(body)-8-checksumSize))
	binary.LittleEndian.PutUint32(body[len(body)-checksumSize:], crc32.Checksum(body[:len(body)-checksumSize], castagnoli))
}
