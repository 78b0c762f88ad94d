package data

import (
	"bytes"
	"slices"
	"testing"
)

// numbered is a set of n images whose label is their index and whose pixels are all different.
func numbered(n, height, width int) *Set {
	s := &Set{N: n, C: 3, H: height, W: width}
	for i := range n {
		s.Labels = append(s.Labels, int64(i))
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

func collect(b *Batches) (all []batch) {
	for {
		images, labels, ok := b.Next()
		if !ok {
			return all
		}
		all = append(all, batch{bytes.Clone(images), slices.Clone(labels)})
	}
}

func TestEpochIsAPermutation(t *testing.T) {
	s := numbered(23, 2, 2)
	var orders [][]int64
	for epoch := range 3 {
		b := NewBatches(s, 5, 7, epoch, Augment{})
		if b.Len() != 4 {
			t.Fatalf("%d batches, want 4", b.Len())
		}
		var order []int64
		for _, got := range collect(b) {
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
	first, _, _ := NewBatches(s, 23, 8, 0, Augment{}).Next()
	second, _, _ := NewBatches(s, 23, 9, 0, Augment{}).Next()
	if bytes.Equal(first, second) {
		t.Error("two seeds have the same order")
	}
}

// Starting in the middle of an epoch gives the bytes of an uninterrupted one, augmentation included, and the batch size
// does not move an image's draws.
func TestResume(t *testing.T) {
	s := numbered(30, 6, 5)
	a := Augment{Shift: 2, HFlip: 0.5}
	whole := collect(NewBatches(s, 4, 1, 2, a))
	for skip := range len(whole) + 2 {
		b := NewBatches(s, 4, 1, 2, a)
		b.Skip(skip)
		got := collect(b)
		if len(got) != max(0, len(whole)-skip) {
			t.Fatalf("%d batches after skipping %d of %d", len(got), skip, len(whole))
		}
		for i := range got {
			if want := whole[skip+i]; !bytes.Equal(got[i].images, want.images) || !slices.Equal(got[i].labels, want.labels) {
				t.Errorf("batch %d differs after skipping %d", skip+i, skip)
			}
		}
	}
	join := func(all []batch) (joined []byte) {
		for _, b := range all {
			joined = append(joined, b.images...)
		}
		return joined
	}
	if !bytes.Equal(join(whole)[:24*90], join(collect(NewBatches(s, 6, 1, 2, a)))[:24*90]) {
		t.Error("another batch size changed the images")
	}
}

func TestPlace(t *testing.T) {
	const height, width = 4, 5
	src := numbered(1, height, width).Images
	for dy := -5; dy <= 5; dy++ {
		for dx := -6; dx <= 6; dx++ {
			for _, flip := range []bool{false, true} {
				got := bytes.Repeat([]byte{9}, len(src))
				place(got, src, height, width, 3, dy, dx, flip)
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
		dy, dx, flip := a.draw(3, 1, position)
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
