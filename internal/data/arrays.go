package data

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"strconv"

	"sat/internal/data/codec"
)

// ReadImages reads images from a .npy file: float32 [N,3,H,W] in [0,1]. A value that is NaN or outside is an error that
// names its place. The set has no labels; its IDs are the indices.
func ReadImages(ctx context.Context, path string) (*Set, error) {
	pixels, shape, err := ReadNPY[float32](ctx, path)
	if err != nil {
		return nil, err
	}
	if len(shape) != 4 || shape[1] != codec.Channels {
		return nil, fmt.Errorf("%s: shape %v, want [N 3 H W]%s", path, shape, layoutHint(shape))
	}
	for _, side := range shape {
		if side == 0 {
			return nil, fmt.Errorf("%s: shape %v holds no images", path, shape)
		}
	}
	s := &Set{Pixels: pixels, N: shape[0], C: shape[1], H: shape[2], W: shape[3]}
	if err := s.checkPixels(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for i := range s.N {
		s.IDs = append(s.IDs, strconv.Itoa(i))
	}
	s.hashPixels()
	return s, nil
}

func layoutHint(shape []int) string {
	if len(shape) == 4 && shape[3] == codec.Channels {
		return ": move the channels with .transpose(0, 3, 1, 2)"
	}
	if len(shape) == 3 && shape[0] == codec.Channels {
		return ": add an axis for a single image with [None]"
	}
	return ""
}

// checkPixels reports the first value that is not in [0,1].
func (s *Set) checkPixels() error {
	for i, v := range s.Pixels {
		if v >= 0 && v <= 1 {
			continue
		}
		plane, area := s.H*s.W, s.C*s.H*s.W
		place := fmt.Sprintf("image %d, channel %d, row %d, column %d", i/area, i%area/plane, i%plane/s.W, i%s.W)
		if math.IsNaN(float64(v)) {
			return fmt.Errorf("%s is NaN", place)
		}
		hint := ""
		if v > 1 && v <= 255 {
			hint = "; if these are bytes, divide by 255"
		}
		return fmt.Errorf("%s is %v, want a value in [0,1]%s", place, v, hint)
	}
	return nil
}

// hashPixels sets Content and Digest from float pixels.
func (s *Set) hashPixels() {
	h := sha256.New()
	fmt.Fprintln(h, s.N, s.C, s.H, s.W)
	buffer := make([]byte, npyChunk)
	for rest := s.Pixels; len(rest) > 0; {
		k := min(len(buffer)/4, len(rest))
		for i, v := range rest[:k] {
			binary.LittleEndian.PutUint32(buffer[4*i:], math.Float32bits(v))
		}
		h.Write(buffer[:4*k])
		rest = rest[k:]
	}
	s.Content = hex.EncodeToString(h.Sum(nil))
	s.Digest = s.Content
}

// ReadLabels reads labels from a .npy file: int64 [N], none negative.
func ReadLabels(ctx context.Context, path string) ([]int64, error) {
	labels, shape, err := ReadNPY[int64](ctx, path)
	if err != nil {
		return nil, err
	}
	if len(shape) != 1 {
		return nil, fmt.Errorf("%s: shape %v, want [N]", path, shape)
	}
	for i, label := range labels {
		if label < 0 {
			return nil, fmt.Errorf("%s: label %d is %d; labels count from 0", path, i, label)
		}
	}
	return labels, nil
}

// WriteImages writes the images of a set as a .npy file, uint8 [N,H,W,3].
func (s *Set) WriteImages(path string) error {
	return WriteNPY(path, s.Images, s.N, s.H, s.W, s.C)
}
