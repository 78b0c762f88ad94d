package data

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sat/internal/data/augment"
	"sat/internal/data/codec"
)

// numbered is a set of n images whose label is their index and whose pixels are all different.
func numbered(n, height, width int) *Set {
	s := &Set{N: n, C: 3, H: height, W: width}
	for i := range n {
		s.Labels, s.IDs = append(s.Labels, int64(i)), append(s.IDs, fmt.Sprint(i))
		for p := range height * width * 3 {
			s.Images = append(s.Images, byte(1+(i*37+p)%255))
		}
	}
	return s
}

type batch struct {
	images []uint8
	labels []int64
}

// stream is one epoch over a set of small images.
func stream(s *Set, size int, seed uint64, epoch int, a Augment) Stream {
	return Stream{Images: s, Height: s.H, Width: s.W, Batch: size, Seed: seed, Epoch: epoch, Augment: a}
}

func collect(t *testing.T, s Stream) (all []batch) {
	t.Helper()
	b := s.Open(context.Background())
	defer b.Close()
	for {
		got, ok, err := b.Next()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return all
		}
		all = append(all, batch{bytes.Clone(got.Images), slices.Clone(got.Labels)})
	}
}

func join(all []batch) (joined []byte) {
	for _, b := range all {
		joined = append(joined, b.images...)
	}
	return joined
}

func TestEpochIsAPermutation(t *testing.T) {
	s := numbered(23, 2, 2)
	var orders [][]int64
	for epoch := range 3 {
		b := stream(s, 5, 7, epoch, Augment{})
		if b.Len() != 4 {
			t.Fatalf("%d batches, want 4", b.Len())
		}
		var order []int64
		for _, got := range collect(t, b) {
			for i, label := range got.labels {
				if want := s.Images[int(label)*12:][:12]; !bytes.Equal(got.images[i*12:][:12], want) {
					t.Fatalf("image %d of label %d is another image", i, label)
				}
			}
			order = append(order, got.labels...)
		}
		sorted := slices.Clone(order)
		slices.Sort(sorted)
		if len(slices.Compact(sorted)) != 20 {
			t.Errorf("epoch %d: %d distinct images, want 20", epoch, len(sorted))
		}
		for _, other := range orders {
			if slices.Equal(other, order) {
				t.Error("two epochs have the same order")
			}
		}
		orders = append(orders, order)
	}
	if bytes.Equal(join(collect(t, stream(s, 23, 8, 0, Augment{}))), join(collect(t, stream(s, 23, 9, 0, Augment{})))) {
		t.Error("two seeds have the same order")
	}
}

// everything is all augmentations at once.
func everything(t *testing.T) Augment {
	t.Helper()
	policy, err := augment.ParsePolicy("rand-m9-mstd0.5-inc1")
	if err != nil {
		t.Fatal(err)
	}
	crop := augment.DefaultCrop()
	return Augment{Crop: &crop, RandomFilter: true, HFlip: 0.5, Policy: &policy, Jitter: augment.Jitter{Brightness: 0.2, Contrast: 0.2, Saturation: 0.2}}
}

// Starting in the middle of an epoch gives the bytes of an uninterrupted one, and neither the batch size nor the number
// of workers moves an image's draws.
func TestResume(t *testing.T) {
	s := numbered(30, 6, 5)
	for name, a := range map[string]Augment{"shift": {Shift: 2, HFlip: 0.5}, "everything": everything(t)} {
		t.Run(name, func(t *testing.T) {
			whole := collect(t, stream(s, 4, 1, 2, a))
			for skip := range len(whole) + 2 {
				b := stream(s, 4, 1, 2, a)
				b.Skip = skip
				got := collect(t, b)
				if len(got) != max(0, len(whole)-skip) {
					t.Fatalf("%d batches after skipping %d of %d", len(got), skip, len(whole))
				}
				for i := range got {
					if want := whole[skip+i]; !bytes.Equal(got[i].images, want.images) || !slices.Equal(got[i].labels, want.labels) {
						t.Errorf("batch %d differs after skipping %d", skip+i, skip)
					}
				}
			}
			if !bytes.Equal(join(whole)[:24*90], join(collect(t, stream(s, 6, 1, 2, a)))[:24*90]) {
				t.Error("another batch size changed the images")
			}
			for _, workers := range []int{1, 2, 8} {
				b := stream(s, 4, 1, 2, a)
				b.Workers = workers
				if !bytes.Equal(join(whole), join(collect(t, b))) {
					t.Errorf("%d workers changed the images", workers)
				}
			}
		})
	}
}

func TestRepeatedAugmentation(t *testing.T) {
	s := numbered(24, 6, 5)
	b := stream(s, 6, 1, 0, everything(t))
	b.Repeats = 3
	all := collect(t, b)
	if len(all) != 4 {
		t.Fatalf("%d batches, want 4", len(all))
	}
	plain := stream(s, 6, 1, 0, Augment{}).order()
	for i, got := range all {
		for k, label := range got.labels {
			if want := int64(plain[(6*i+k)/3]); label != want {
				t.Fatalf("place %d has image %d, want %d", 6*i+k, label, want)
			}
		}
		if bytes.Equal(got.images[:90], got.images[90:180]) {
			t.Errorf("batch %d: an image and its repetition are augmented alike", i)
		}
	}
}

// A folder on disk gives the images that a decoded set gives.
func TestImagesOfAFolder(t *testing.T) {
	root := t.TempDir()
	for i := range 6 {
		m := image.NewRGBA(image.Rect(0, 0, 9, 7))
		for p := range m.Pix {
			m.Pix[p] = byte(i*40 + p)
			if p%4 == 3 {
				m.Pix[p] = 255
			}
		}
		dir := filepath.Join(root, fmt.Sprint(i%2))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		file, err := os.Create(filepath.Join(dir, fmt.Sprintf("%d.png", i)))
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(png.Encode(file, m), file.Close()); err != nil {
			t.Fatal(err)
		}
	}
	folder, err := OpenFolder(t.Context(), root, FolderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	a := everything(t)
	onDisk := Stream{Images: FolderImages{folder}, Height: 8, Width: 8, Batch: 2, Seed: 3, Augment: a}
	set := &Set{N: 6, C: 3, H: 7, W: 9}
	reader := FolderImages{folder}.Reader()
	defer reader.Close()
	for i, sample := range folder.Samples {
		m, err := reader.Image(i)
		if err != nil {
			t.Fatal(err)
		}
		set.Images, set.Labels, set.IDs = append(set.Images, m.Pixels...), append(set.Labels, sample.Label), append(set.IDs, sample.ID)
	}
	inMemory := onDisk
	inMemory.Images = set
	if !bytes.Equal(join(collect(t, onDisk)), join(collect(t, inMemory))) {
		t.Error("the images of a folder differ from those of a set")
	}

	if err := os.WriteFile(folder.Samples[3].File, []byte("no image"), 0o644); err != nil {
		t.Fatal(err)
	}
	b := onDisk.Open(context.Background())
	defer b.Close()
	for ok := true; ok; {
		if _, ok, err = b.Next(); err != nil {
			break
		}
	}
	if err == nil || !strings.Contains(err.Error(), folder.Samples[3].File) {
		t.Errorf("got %v, want an error that names %s", err, folder.Samples[3].File)
	}
}

func TestWrongSizeWithoutCrop(t *testing.T) {
	b := Stream{Images: numbered(4, 6, 5), Height: 8, Width: 8, Batch: 2}.Open(context.Background())
	defer b.Close()
	if _, _, err := b.Next(); err == nil || !strings.Contains(err.Error(), "takes 8x8") {
		t.Errorf("got %v, want an error about the size", err)
	}
}

func view(pixels []uint8, width, height int) codec.Image {
	return codec.Image{Pixels: pixels, Width: width, Height: height, Stride: width * codec.Channels}
}

func TestPlace(t *testing.T) {
	const height, width = 4, 5
	src := numbered(1, height, width).Images
	for dy := -5; dy <= 5; dy++ {
		for dx := -6; dx <= 6; dx++ {
			for _, flip := range []bool{false, true} {
				got := bytes.Repeat([]byte{9}, len(src))
				place(view(got, width, height), view(src, width, height), dy, dx, flip)
				for y := range height {
					for x := range width {
						moved := x // the column before mirroring
						if flip {
							moved = width - 1 - x
						}
						for c := range 3 {
							want := byte(0)
							if sy, sx := y-dy, moved-dx; sy >= 0 && sy < height && sx >= 0 && sx < width {
								want = src[(sy*width+sx)*3+c]
							}
							if v := got[(y*width+x)*3+c]; v != want {
								t.Fatalf("dy %d dx %d flip %v at (%d,%d,%d): got %d, want %d", dy, dx, flip, x, y, c, v, want)
							}
						}
					}
				}
			}
		}
	}
}

func TestAugmentDraws(t *testing.T) {
	a := Augment{Shift: 2, HFlip: 0.25}
	shifts, flips := map[[2]int]int{}, 0
	const n = 5000
	for position := range n {
		dy, dx, flip := a.draw(address{seed: 3, epoch: 1, position: position})
		shifts[[2]int{dy, dx}]++
		if flip {
			flips++
		}
	}
	if len(shifts) != 25 {
		t.Errorf("%d kinds of shift, want 25", len(shifts))
	}
	for shift, count := range shifts {
		if shift[0] < -2 || shift[0] > 2 || shift[1] < -2 || shift[1] > 2 || count < 130 || count > 270 { // 200 ± 5 sd
			t.Errorf("shift %v came %d times of %d", shift, count, n)
		}
	}
	if flips < 1097 || flips > 1403 { // 1250 ± 5 sd
		t.Errorf("%d of %d flipped, want about 1250", flips, n)
	}
}

// The first view is what there would be without views; the others are of the same images, changed by other numbers.
func TestViewsOfABatch(t *testing.T) {
	s := numbered(12, 6, 6)
	a := Augment{Shift: 2, HFlip: 0.5}
	plain := collect(t, stream(s, 5, 7, 1, a))
	with := stream(s, 5, 7, 1, Augment{})
	with.Views, with.Workers = []Augment{a, a, {}}, 3
	views := collect(t, with)
	if len(views) != len(plain) || len(views) != 2 {
		t.Fatalf("%d batches with views, %d without, want 2", len(views), len(plain))
	}
	const length = 5 * 6 * 6 * 3
	different := false
	for i, b := range views {
		if len(b.images) != 3*length || !slices.Equal(b.labels, plain[i].labels) {
			t.Fatalf("batch %d has %d bytes and labels %v, want %d and %v", i, len(b.images), b.labels, 3*length, plain[i].labels)
		}
		if !bytes.Equal(b.images[:length], plain[i].images) {
			t.Errorf("batch %d: the first view is not the batch without views", i)
		}
		different = different || !bytes.Equal(b.images[length:2*length], b.images[:length])
		for k, label := range b.labels {
			if want := s.Images[int(label)*108:][:108]; !bytes.Equal(b.images[2*length+k*108:][:108], want) {
				t.Errorf("batch %d: the view that changes nothing is not image %d", i, label)
			}
		}
	}
	if !different {
		t.Error("two views with the same settings are equal throughout")
	}
}
