package data

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"

	"sat/internal/data/codec"
)

// rendering is what render learned besides the pixels.
type rendering struct {
	Skipped  []Skipped `json:"skipped,omitempty"`
	Warnings int       `json:"warnings"`

	digests [][]digest // of every image kept, for each transform
}

// digest is the SHA-256 of one image's pixels.
type digest [sha256.Size]byte

// contentOf identifies the pixels of a set: the SHA-256 over those of the images. In two levels, because the images'
// are computed, and checked, on all cores.
func contentOf(digests []digest) string {
	h := sha256.New()
	for _, d := range digests {
		h.Write(d[:])
	}
	return hex.EncodeToString(h.Sum(nil))
}

// checkSome reports a folder of which no image could be decoded.
func (r *rendering) checkSome(f *Folder) error {
	if n := len(r.Skipped); n == len(f.Samples) {
		return fmt.Errorf("image folder %s: none of %d images could be decoded; the first: %s: %s", f.Root, n, r.Skipped[0].ID, r.Skipped[0].Reason)
	}
	return nil
}

// render computes every image of the folder under every transform, with several workers, and hands the results to sink
// one after the other, in the folder's order; k is the number of the transform. An image that is left out never gets
// to sink. Memory is a few images per worker, whatever the length of the list.
func render(ctx context.Context, f *Folder, transforms []EvalTransform, o LoadOptions, sink func(k int, pixels []byte) error) (rendering, error) {
	workers := o.Workers
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	workers = min(workers, len(f.Samples))
	inner, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()

	// Image i is rendered into slot i mod window. A token is taken before i is handed out and given back when its
	// result was consumed, so a slot is free again before it is used again and no worker ever waits to deliver.
	type slot struct {
		images [][]byte // by transform
		done   chan rendered
	}
	window := 4 * workers
	slots := make([]slot, window)
	for i := range slots {
		slots[i].done = make(chan rendered, 1)
		for _, t := range transforms {
			slots[i].images = append(slots[i].images, make([]byte, t.bytes()))
		}
	}
	tokens, jobs := make(chan struct{}, window), make(chan int)
	running.Go(func() {
		defer close(jobs)
		for i := range f.Samples {
			select {
			case tokens <- struct{}{}:
			case <-inner.Done():
				return
			}
			select {
			case jobs <- i:
			case <-inner.Done():
				return
			}
		}
	})
	for range workers {
		running.Go(func() {
			w := newWorker(len(transforms))
			defer w.decoder.Close()
			for i := range jobs {
				s := slots[i%window]
				s.done <- w.render(&f.Samples[i], transforms, s.images)
			}
		})
	}

	out := rendering{digests: make([][]digest, len(transforms))}
	for i := range f.Samples {
		sample, s := &f.Samples[i], slots[i%window]
		var r rendered
		select {
		case r = <-s.done:
		case <-ctx.Done():
			return out, fmt.Errorf("load images of %s, %d of %d: %w", f.Root, i, len(f.Samples), ctx.Err())
		}
		out.Warnings += r.warnings
		switch {
		case r.err == nil:
			for k, pixels := range s.images {
				out.digests[k] = append(out.digests[k], r.digests[k])
				if err := sink(k, pixels); err != nil {
					return out, err
				}
			}
		case r.undecodable && o.OnBad == SkipBadImages:
			out.Skipped = append(out.Skipped, Skipped{sample.ID, r.err.Error()})
		case r.undecodable:
			return out, &renderError{fmt.Errorf("image %s: %w; replace or remove it (an experiment leaves bad images out with on_bad_image = \"skip\", "+
				"sat data dump with --on-bad-image skip)", sample.Where(), r.err)}
		default:
			return out, &renderError{fmt.Errorf("image %s: %w", sample.Where(), r.err)}
		}
		<-tokens
		o.progress(i+1, len(f.Samples))
	}
	return out, nil
}

// renderError is about an image, not about the place its pixels were to go to.
type renderError struct{ err error }

func (e *renderError) Error() string { return e.err.Error() }
func (e *renderError) Unwrap() error { return e.err }

// rendered is the outcome for one image.
type rendered struct {
	warnings    int
	digests     []digest // by transform
	err         error
	undecodable bool // the error lies in the file's content
}

// worker is what one goroutine keeps between images. A resizer for each transform keeps the weights of images of the
// same size.
type worker struct {
	file     []byte
	decoder  codec.Decoder
	resizers []codec.Resizer
}

func newWorker(transforms int) *worker { return &worker{resizers: make([]codec.Resizer, transforms)} }

func (w *worker) render(s *Sample, transforms []EvalTransform, dst [][]byte) rendered {
	m, undecodable, err := s.decode(&w.file, &w.decoder, nil)
	if err != nil {
		return rendered{err: err, undecodable: undecodable}
	}
	r := rendered{digests: make([]digest, len(transforms))}
	r.warnings, _ = w.decoder.Warnings()
	for k, t := range transforms {
		if r.err = t.Apply(dst[k], m, &w.resizers[k]); r.err != nil {
			return r
		}
		r.digests[k] = sha256.Sum256(dst[k])
	}
	return r
}

// decode returns the sample's pixels, those of the part that choose wants where it is not nil. They are valid until buffer or
// decoder is used again. An error is undecodable if it
// lies in the content: reading it went well, and so would decoding another.
func (s *Sample) decode(buffer *[]byte, decoder *codec.Decoder, choose codec.Choose) (m codec.Image, undecodable bool, err error) {
	if *buffer, err = s.read(*buffer); err != nil {
		return m, false, err
	}
	if s.part.width > 0 {
		m = codec.Image{Pixels: *buffer, Width: s.part.width, Height: s.part.height, Stride: s.part.width * codec.Channels}
		if choose != nil {
			c := choose(m.Width, m.Height)
			m = m.Crop(c.Left, c.Top, c.Width, c.Height)
		}
		return m, false, nil
	}
	if choose == nil {
		m, err = decoder.Decode(*buffer)
	} else {
		m, err = decoder.DecodePart(*buffer, choose)
	}
	return m, err != nil && !errors.Is(err, codec.ErrUnavailable), err
}

// read returns the bytes of the sample, in the memory of buffer where that is large enough.
func (s *Sample) read(buffer []byte) ([]byte, error) {
	in, err := os.Open(s.File)
	if err != nil {
		return buffer, err
	}
	defer in.Close()
	if s.part == (part{}) {
		content := bytes.NewBuffer(buffer[:0])
		_, err := content.ReadFrom(in)
		return content.Bytes(), err
	}
	if int64(cap(buffer)) < s.part.size {
		buffer = make([]byte, s.part.size)
	}
	buffer = buffer[:s.part.size]
	if n, err := in.ReadAt(buffer, s.part.from); int64(n) < s.part.size {
		if errors.Is(err, io.EOF) {
			err = errors.New("the file ends before it")
		}
		return buffer, err
	}
	return buffer, nil
}
