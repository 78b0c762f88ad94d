package data

import (
	"fmt"

	"sat/internal/data/codec"
)

// Images is what training draws from: labelled images of any size, by number.
type Images interface {
	Len() int
	Label(i int) int64
	ID(i int) string
	// Key identifies the images, their order and their labels.
	Key() string
	// Reader returns a reader for one goroutine.
	Reader() ImageReader
}

// ImageReader reads single images. It is used by one goroutine at a time.
type ImageReader interface {
	// Image returns an image that is valid until the next call and must not be changed.
	Image(i int) (codec.Image, error)
	Close()
}

// A partReader can do with less than the whole image.
type partReader interface {
	// Part returns the part of an image that choose wants, valid until the next call.
	Part(i int, choose codec.Choose) (codec.Image, error)
}

// readPart returns the part of image i that choose wants.
func readPart(r ImageReader, i int, choose codec.Choose) (codec.Image, error) {
	if p, ok := r.(partReader); ok {
		return p.Part(i, choose)
	}
	m, err := r.Image(i)
	if err != nil {
		return m, err
	}
	c := choose(m.Width, m.Height)
	return m.Crop(c.Left, c.Top, c.Width, c.Height), nil
}

// The images of a Set, which must be bytes.
func (s *Set) Len() int            { return s.N }
func (s *Set) Label(i int) int64   { return s.Labels[i] }
func (s *Set) ID(i int) string     { return s.IDs[i] }
func (s *Set) Key() string         { return s.Digest + s.Content }
func (s *Set) Reader() ImageReader { return setReader{s} }

type setReader struct{ set *Set }

func (r setReader) Image(i int) (codec.Image, error) {
	s := r.set
	row := s.W * codec.Channels
	return codec.Image{Pixels: s.Images[i*s.H*row:][:s.H*row], Width: s.W, Height: s.H, Stride: row}, nil
}

func (r setReader) Close() {}

// FolderImages are the images of a folder, decoded when they are asked for.
type FolderImages struct{ *Folder }

func (f FolderImages) Len() int            { return len(f.Samples) }
func (f FolderImages) Label(i int) int64   { return f.Samples[i].Label }
func (f FolderImages) ID(i int) string     { return f.Samples[i].ID }
func (f FolderImages) Key() string         { return f.Digest() }
func (f FolderImages) Reader() ImageReader { return &folderReader{folder: f.Folder} }

type folderReader struct {
	folder  *Folder
	file    []byte
	decoder codec.Decoder
}

func (r *folderReader) Image(i int) (codec.Image, error) { return r.Part(i, nil) }

// Part implements partReader.
func (r *folderReader) Part(i int, choose codec.Choose) (codec.Image, error) {
	sample := &r.folder.Samples[i]
	m, _, err := sample.decode(&r.file, &r.decoder, choose)
	if err != nil {
		return codec.Image{}, fmt.Errorf("image %s: %w", sample.Where(), err)
	}
	return m, nil
}

func (r *folderReader) Close() { r.decoder.Close() }
