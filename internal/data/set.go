package data

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"sat/internal/data/codec"
)

// Set is a list of images of one size, as bytes or as floats, with what is known about each.
type Set struct {
	Images []uint8   // [N,H,W,C] ("NHWC"), or nil
	Pixels []float32 // [N,C,H,W] ("NCHW") in [0,1], or nil; exactly one of both is set

	N, C, H, W int
	Labels     []int64  // nil if unknown
	IDs        []string // unique
	Classes    []string // names by label; nil if unknown

	Digest   string // identifies the list of images and labels: Folder.Digest of those here, or Content for arrays
	Content  string // identifies the pixels: SHA-256 over those of the images, or of the array
	Skipped  []Skipped
	Warnings int // of the decoders, over all images

	mapped []byte // the cache file that Images is a part of
}

// Skipped is an image that was left out because it could not be decoded.
type Skipped struct {
	ID     string `json:"id"`
	Reason string `json:"reason"`
}

// Close releases the memory of a set that came from a cache. The images must not be used afterwards.
func (s *Set) Close() error {
	if s.mapped == nil {
		return nil
	}
	mapped := s.mapped
	s.Images, s.mapped = nil, nil
	return unix.Munmap(mapped)
}

// scale holds v/255 in float32 for every byte v.
var scale = func() (table [256]float32) {
	for v := range table {
		table[v] = float32(v) / 255
	}
	return table
}()

// Float32 returns images from, ..., to-1 as float32 in [0,1], NCHW. The result is in dst if that is large enough.
func (s *Set) Float32(dst []float32, from, to int) []float32 {
	size := s.C * s.H * s.W
	dst = resliced(dst, (to-from)*size)
	for i := from; i < to; i++ {
		s.image(dst[(i-from)*size:][:size], i)
	}
	s.forget(from, to)
	return dst
}

// Gather is Float32 for the images with the given indices, in their order.
func (s *Set) Gather(dst []float32, indices []int) []float32 {
	size := s.C * s.H * s.W
	dst = resliced(dst, len(indices)*size)
	for n, i := range indices {
		s.image(dst[n*size:][:size], i)
	}
	if len(indices) > 0 {
		s.forget(slices.Min(indices), slices.Max(indices)+1)
	}
	return dst
}

func resliced(dst []float32, n int) []float32 {
	if cap(dst) < n {
		return make([]float32, n)
	}
	return dst[:n]
}

func (s *Set) image(dst []float32, i int) {
	size := s.C * s.H * s.W
	if s.Pixels != nil {
		copy(dst, s.Pixels[i*size:][:size])
		return
	}
	pixels := s.Images[i*size:][:size]
	plane := s.H * s.W
	for c := range s.C {
		out := dst[c*plane:][:plane]
		for j := range out {
			out[j] = scale[pixels[j*s.C+c]]
		}
	}
}

// SetLabels replaces the labels. The class names stay; a label beyond them simply has none.
func (s *Set) SetLabels(labels []int64) error {
	if len(labels) != s.N {
		return fmt.Errorf("%d labels for %d images", len(labels), s.N)
	}
	for i, label := range labels {
		if label < 0 {
			return fmt.Errorf("label %d (image %s) is %d; labels count from 0", i, s.IDs[i], label)
		}
	}
	s.Labels = labels
	return nil
}

// CheckLabels reports labels that a network with k outputs cannot have.
func (s *Set) CheckLabels(k int) error {
	if s.Labels == nil {
		return errors.New("the images have no labels")
	}
	for i, label := range s.Labels {
		if label < 0 || label >= int64(k) {
			return fmt.Errorf("label %d (image %s) is %d, but the network has outputs 0 to %d", i, s.IDs[i], label, k-1)
		}
	}
	return nil
}

// newSet describes the images of f at the transform's size, without pixels.
func newSet(f *Folder, t EvalTransform) *Set {
	s := &Set{N: len(f.Samples), C: codec.Channels, H: t.Size, W: t.Size, Classes: f.Classes, Digest: f.Digest()}
	for _, sample := range f.Samples {
		s.IDs = append(s.IDs, sample.ID)
		s.Labels = append(s.Labels, sample.Label)
	}
	return s
}

// without returns the folder without the images that were skipped.
func (f *Folder) without(skipped []Skipped) *Folder {
	if len(skipped) == 0 {
		return f
	}
	gone := map[string]bool{}
	for _, s := range skipped {
		gone[s.ID] = true
	}
	out := *f
	out.Samples = nil
	for _, s := range f.Samples {
		if !gone[s.ID] {
			out.Samples = append(out.Samples, s)
		}
	}
	return &out
}
