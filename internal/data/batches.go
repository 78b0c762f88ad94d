package data

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"sat/internal/data/augment"
	"sat/internal/data/codec"
	"sat/internal/rng"
)

// Augment says how training images are changed at random, in the order of the fields. The zero value leaves them alone.
type Augment struct {
	// Crop takes a part of the image and resizes it to the whole with Filter or, if RandomFilter, bilinear or bicubic by
	// chance. Without one the images must have the size that is asked for.
	Crop         *augment.Crop
	Filter       codec.Filter
	RandomFilter bool

	Shift  int     // moved by -Shift..Shift pixels along both axes, each equally likely; black comes in
	HFlip  float64 // probability of a mirror image, left for right
	Policy *augment.Policy
	Jitter augment.Jitter
	Colour *augment.Colour // of a view of self-supervised training
}

// Stream says which batches to make. Every image's place and augmentation is a function of (Seed, Epoch, position in the
// epoch) alone: neither the number of workers nor where the epoch was entered changes a byte.
type Stream struct {
	Images        Images
	Height, Width int
	Batch         int // images that do not fill a last batch are left out of this epoch
	Seed          uint64
	Epoch         int
	// Repeats is how often an image comes in a row, differently augmented; an epoch stays as long as with 1 (repeated
	// augmentation, as DeiT does it).
	Repeats int
	Augment Augment
	// Views, if there are any, take the place of Augment: a batch then holds so many versions of its images, first all images
	// by the first view, then all by the second. Each view draws numbers of its own.
	Views   []Augment
	Workers int // goroutines that prepare images; 0: one per core
	Skip    int // batches to leave out at the beginning: after a resume, those that were already used
}

// Batch is a training batch.
type Batch struct {
	Images []uint8 // NHWC; with views, one such block for each
	Labels []int64
}

// Len returns the number of batches in the epoch.
func (s Stream) Len() int { return s.Images.Len() / s.Batch }

// Batches are the batches of one epoch, prepared by several goroutines while earlier ones are used.
type Batches struct {
	batches chan Batch
	buffers chan Batch
	cancel  context.CancelFunc
	running sync.WaitGroup
	err     error // set before batches is closed
	last    Batch // handed out, to be used again
}

// prefetch is how many batches are ready before they are asked for.
const prefetch = 3

// Open starts preparing the batches. Close ends it.
func (s Stream) Open(ctx context.Context) *Batches {
	ctx, cancel := context.WithCancel(ctx)
	b := &Batches{batches: make(chan Batch, prefetch), buffers: make(chan Batch, prefetch+2), cancel: cancel}
	for range cap(b.buffers) {
		b.buffers <- Batch{}
	}
	b.running.Go(func() {
		defer close(b.batches)
		b.err = s.prepare(ctx, b)
	})
	return b
}

// Next returns the next batch, which is valid until the following call; ok is false after the last one.
func (b *Batches) Next() (batch Batch, ok bool, err error) {
	if b.last.Images != nil {
		b.buffers <- b.last
		b.last = Batch{}
	}
	b.last, ok = <-b.batches
	if !ok {
		return Batch{}, false, b.err
	}
	return b.last, true, nil
}

// Close ends the preparation.
func (b *Batches) Close() {
	b.cancel()
	b.running.Wait()
}

// order lists the images of the epoch by position.
func (s Stream) order() []int {
	order := rng.New(s.Seed, "order", uint64(s.Epoch)).Perm(s.Images.Len())
	if s.Repeats > 1 {
		for position := len(order) - 1; position >= 0; position-- {
			order[position] = order[position/s.Repeats]
		}
	}
	return order
}

// prepare makes one batch after the other, the images of each on all workers.
func (s Stream) prepare(ctx context.Context, b *Batches) error {
	order := s.order()
	workers := s.Workers
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	renderers := make([]*renderer, min(workers, s.Batch))
	for i := range renderers {
		renderers[i] = &renderer{Stream: s, reader: s.Images.Reader()}
		defer renderers[i].reader.Close()
	}
	length := s.Height * s.Width * codec.Channels
	views := s.Views
	if len(views) == 0 {
		views = []Augment{s.Augment}
	}
	for first := s.Skip * s.Batch; first+s.Batch <= len(order); first += s.Batch {
		var batch Batch
		select {
		case batch = <-b.buffers:
		case <-ctx.Done():
			return ctx.Err()
		}
		if batch.Images == nil {
			batch = Batch{Images: make([]uint8, len(views)*s.Batch*length), Labels: make([]int64, s.Batch)}
		}
		var next atomic.Int64
		errs := make([]error, len(renderers))
		var group sync.WaitGroup
		for w, r := range renderers {
			group.Go(func() {
				for errs[w] == nil && ctx.Err() == nil {
					i := int(next.Add(1)) - 1
					if i >= s.Batch {
						return
					}
					position := first + i
					batch.Labels[i] = s.Images.Label(order[position])
					for v, a := range views {
						if errs[w] == nil {
							errs[w] = r.render(batch.Images[(v*s.Batch+i)*length:][:length], order[position], address{s.Seed, s.Epoch, position, v}, a)
						}
					}
				}
			})
		}
		group.Wait()
		if err := errors.Join(errs...); err != nil {
			return err
		}
		select {
		case b.batches <- batch:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// renderer makes single images. It is used by one goroutine.
type renderer struct {
	Stream
	reader    ImageReader
	resizer   codec.Resizer
	augmenter augment.Augmenter
}

// address says which random numbers an image gets.
type address struct {
	seed                  uint64
	epoch, position, view int
}

// random is a stream of random numbers of one image.
func (at address) random(stream string) *rng.Stream {
	if at.view == 0 {
		return rng.New(at.seed, stream, uint64(at.epoch), uint64(at.position))
	}
	return rng.New(at.seed, stream, uint64(at.epoch), uint64(at.position), uint64(at.view))
}

// render writes what a makes of image number index to dst.
func (r *renderer) render(dst []uint8, index int, at address, a Augment) error {
	out := codec.Image{Pixels: dst, Width: r.Width, Height: r.Height, Stride: r.Width * codec.Channels}
	dy, dx, flip := a.draw(at)
	if a.Crop != nil {
		s := at.random("crop")
		m, err := readPart(r.reader, index, func(width, height int) codec.Rect { return a.Crop.Draw(s, width, height) })
		if err != nil {
			return err
		}
		filter := a.Filter
		if a.RandomFilter {
			filter = codec.Filter(s.IntN(2))
		}
		if err := r.resizer.Resize(out, m, r.Width, r.Height, 0, 0, filter); err != nil {
			return fmt.Errorf("image %s: %w", r.Images.ID(index), err)
		}
		if flip {
			mirror(out)
		}
	} else {
		m, err := r.reader.Image(index)
		if err != nil {
			return err
		}
		if m.Width != r.Width || m.Height != r.Height {
			return fmt.Errorf("image %s is %dx%d, the network takes %dx%d: train with random crops, which resize", r.Images.ID(index),
				m.Width, m.Height, r.Width, r.Height)
		}
		place(out, m, dy, dx, flip)
	}
	if a.Policy != nil {
		for _, application := range a.Policy.Draw(at.random("augment")) {
			r.augmenter.Apply(out, application, a.Policy.Fill)
		}
	}
	a.Jitter.Apply(at.random("jitter"), out)
	if a.Colour != nil {
		r.augmenter.Recolour(at.random("colour"), out, *a.Colour)
	}
	return nil
}

// draw returns the shift and whether the image is mirrored.
func (a Augment) draw(at address) (dy, dx int, flip bool) {
	if a.Shift > 0 {
		crop := at.random("crop")
		dy, dx = crop.IntN(2*a.Shift+1)-a.Shift, crop.IntN(2*a.Shift+1)-a.Shift
	}
	if a.HFlip > 0 {
		flip = at.random("flip").Float64() < a.HFlip
	}
	return dy, dx, flip
}

// mirror exchanges left and right.
func mirror(m codec.Image) {
	for y := range m.Height {
		row := m.Pixels[y*m.Stride:][:m.Width*codec.Channels]
		for i, j := 0, len(row)-codec.Channels; i < j; i, j = i+codec.Channels, j-codec.Channels {
			for c := range codec.Channels {
				row[i+c], row[j+c] = row[j+c], row[i+c]
			}
		}
	}
}

// place copies an image moved down by dy and right by dx, then mirrored if flip.
func place(dst, src codec.Image, dy, dx int, flip bool) {
	clear(dst.Pixels)
	width, height := dst.Width, dst.Height
	from, to := max(0, dx), min(width, width+dx) // columns of the moved image that are not black
	if from < to {
		for y := max(0, dy); y < min(height, height+dy); y++ {
			copy(dst.Pixels[y*dst.Stride:][from*codec.Channels:to*codec.Channels], src.Pixels[(y-dy)*src.Stride+(from-dx)*codec.Channels:])
		}
	}
	if flip {
		mirror(dst)
	}
}
