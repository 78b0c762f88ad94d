package torch

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// A TorchScript file is a zip archive with one top folder; extra files lie in its folder extra/.
const (
	codeRecord  = "constants.pkl" // in every TorchScript file, in no state dictionary of torch.save
	extraFolder = "extra/"
	traceRecord = "traced_inputs.pkl" // what torch.jit.trace adds
)

// readArchive checks that path is a TorchScript archive whose records all match their checksums (libtorch's own reader
// leaves that out) and returns those of the extra files named and whether torch.jit.trace made the file.
func readArchive(path string, extra []string) (files map[string][]byte, traced bool, err error) {
	archive, err := openArchive(path)
	if err != nil {
		return nil, false, err
	}
	defer archive.Close()
	files = map[string][]byte{}
	for _, f := range archive.File {
		var dst io.Writer = io.Discard
		var content bytes.Buffer
		_, name, _ := strings.Cut(f.Name, "/")
		traced = traced || name == traceRecord
		name, isExtra := strings.CutPrefix(name, extraFolder)
		wanted := isExtra && slices.Contains(extra, name)
		if wanted {
			dst = &content
		}
		if err := readRecord(f, dst); err != nil {
			return nil, false, fmt.Errorf("record %s is damaged: %w", f.Name, err)
		}
		if wanted {
			files[name] = content.Bytes()
		}
	}
	return files, traced, nil
}

func readRecord(f *zip.File, dst io.Writer) error {
	r, err := f.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(dst, r) // zip compares the checksum at the end of the record
	return err
}

// openArchive opens path and tells apart what else it can be.
func openArchive(path string) (*zip.ReadCloser, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	var magic [4]byte
	_, err = io.ReadFull(f, magic[:])
	f.Close()
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	if string(magic[:]) != "PK\x03\x04" {
		return nil, errors.New("not a TorchScript file (those are zip archives)")
	}
	archive, err := zip.OpenReader(path)
	if err != nil {
		return nil, fmt.Errorf("truncated or damaged: %w", err)
	}
	for _, f := range archive.File {
		if _, name, _ := strings.Cut(f.Name, "/"); name == codeRecord {
			return archive, nil
		}
	}
	archive.Close()
	return nil, errors.New("not a TorchScript file but another zip archive, perhaps weights written by torch.save; " +
		"export the network with torch.jit.script")
}

// ExtraFiles lists the names of the extra files in the TorchScript file at path. It needs no libtorch.
func ExtraFiles(path string) ([]string, error) {
	archive, err := openArchive(path)
	if err != nil {
		return nil, fmt.Errorf("extra files of %s: %w", path, err)
	}
	defer archive.Close()
	var names []string
	for _, f := range archive.File {
		_, name, _ := strings.Cut(f.Name, "/")
		if name, ok := strings.CutPrefix(name, extraFolder); ok {
			names = append(names, name)
		}
	}
	return names, nil
}

// ReadExtra returns one extra file of the TorchScript file at path, or an error that wraps fs.ErrNotExist. It needs no
// libtorch.
func ReadExtra(path, name string) ([]byte, error) {
	archive, err := openArchive(path)
	if err != nil {
		return nil, fmt.Errorf("extra file %s of %s: %w", name, path, err)
	}
	defer archive.Close()
	for _, f := range archive.File {
		if _, rest, _ := strings.Cut(f.Name, "/"); rest == extraFolder+name {
			var content bytes.Buffer
			if err := readRecord(f, &content); err != nil {
				return nil, fmt.Errorf("extra file %s of %s: %w", name, path, err)
			}
			return content.Bytes(), nil
		}
	}
	return nil, fmt.Errorf("extra file %s of %s: %w", name, path, os.ErrNotExist)
}
