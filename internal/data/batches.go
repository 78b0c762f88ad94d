package data

import "sat/internal/rng"

// Augment says how training images are changed at random. The zero value leaves them alone.
type Augment struct {
	Shift int     // moved by -Shift..Shift pixels along both axes, each equally likely; black comes in
	HFlip float64 // probability of a mirror image, left for right
}

// Batches gives the batches of one training epoch. Every image's place and augmentation is a function of (seed, epoch,
// position in the epoch) alone.
type Batches struct {
	set     *Set
	size    int
	seed    uint64
	epoch   int
	augment Augment
	order   []int
	next    int // position of the next image

	images []uint8
	labels []int64
}

// NewBatches returns the batches of the given epoch: the images of set, which must be bytes, in an order shuffled for
// this epoch, size at a time. Images that do not fill a last batch are left out of this epoch.
func NewBatches(set *Set, size int, seed uint64, epoch int, a Augment) *Batches {
	return &Batches{
		set: set, size: size, seed: seed, epoch: epoch, augment: a,
		order:  rng.New(seed, "order", uint64(epoch)).Perm(set.N),
		images: make([]uint8, size*set.H*set.W*set.C),
		labels: make([]int64, size),
	}
}

// Len returns the number of batches in the epoch.
func (b *Batches) Len() int { return len(b.order) / b.size }

// Skip leaves out the next n batches: after a resume, those that were already used.
func (b *Batches) Skip(n int) { b.next += n * b.size }

// Next returns the next batch, images as NHWC bytes; ok is false after the last one. Both slices are valid until the
// next call.
func (b *Batches) Next() (images []uint8, labels []int64, ok bool) {
	if b.next+b.size > len(b.order) {
		return nil, nil, false
	}
	s := b.set
	length := s.H * s.W * s.C
	for i := range b.size {
		position := b.next + i
		index := b.order[position]
		dy, dx, flip := b.augment.draw(b.seed, b.epoch, position)
		place(b.images[i*length:][:length], s.Images[index*length:][:length], s.H, s.W, s.C, dy, dx, flip)
		b.labels[i] = s.Labels[index]
	}
	b.next += b.size
	return b.images, b.labels, true
}

// draw returns the augmentation of the image at a position of an epoch.
func (a Augment) draw(seed uint64, epoch, position int) (dy, dx int, flip bool) {
	if a.Shift > 0 {
		crop := rng.New(seed, "crop", uint64(epoch), uint64(position))
		dy, dx = crop.IntN(2*a.Shift+1)-a.Shift, crop.IntN(2*a.Shift+1)-a.Shift
	}
	if a.HFlip > 0 {
		flip = rng.New(seed, "flip", uint64(epoch), uint64(position)).Float64() < a.HFlip
	}
	return dy, dx, flip
}

// place copies an image moved down by dy and right by dx, then mirrored if flip.
func place(dst, src []uint8, height, width, channels, dy, dx int, flip bool) {
	if dy == 0 && dx == 0 && !flip {
		copy(dst, src)
		return
	}
	clear(dst)
	row := width * channels
	for y := max(0, dy); y < min(height, height+dy); y++ {
		in, out := src[(y-dy)*row:][:row], dst[y*row:][:row]
		from, to := max(0, dx), min(width, width+dx) // columns of the moved image that are not black
		if from >= to {
			continue
		}
		if !flip {
			copy(out[from*channels:to*channels], in[(from-dx)*channels:])
			continue
		}
		for x := from; x < to; x++ {
			copy(out[(width-1-x)*channels:][:channels], in[(x-dx)*channels:])
		}
	}
}
