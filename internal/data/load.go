package data

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"

	"sat/internal/data/codec"
)

// BadImagePolicy says what to do with an image that cannot be decoded.
type BadImagePolicy int

const (
	StopOnBadImage BadImagePolicy = iota // an error that names it
	SkipBadImages                        // leave it out and list it in Set.Skipped
)

var badImagePolicies = []string{"stop", "skip"}

// ParseBadImagePolicy returns the policy with the given name: stop or skip.
func ParseBadImagePolicy(name string) (BadImagePolicy, error) {
	if i := slices.Index(badImagePolicies, name); i >= 0 {
		return BadImagePolicy(i), nil
	}
	return 0, fmt.Errorf("unknown policy for bad images %q: it is stop or skip", name)
}

func (p BadImagePolicy) String() string { return badImagePolicies[p] }

// LoadOptions says how to load a folder. The zero value loads into memory on all cores and stops at a bad image.
type LoadOptions struct {
	Workers  int // goroutines that decode; 0 means one per core
	OnBad    BadImagePolicy
	CacheDir string                // if set, the pixels are kept in a file there and mapped into memory
	Progress func(done, total int) // called after each image, in order, from the calling goroutine
	Warn     func(string)          // told about a cache file that had to be made again
}

// Load decodes and transforms every image of the folder, on all cores and in order. An image that cannot be read stops
// it always; one that cannot be decoded stops it or is left out, as o.OnBad says. With a cache folder, the
// same images under the same transform are decoded once, and every later Load maps the same bytes.
func Load(ctx context.Context, f *Folder, t EvalTransform, o LoadOptions) (*Set, error) {
	if len(f.Samples) == 0 {
		return nil, fmt.Errorf("image folder %s: no images", f.Root)
	}
	if o.CacheDir != "" {
		return loadCached(ctx, f, t, o)
	}
	size := t.Size * t.Size * codec.Channels
	images := make([]uint8, 0, len(f.Samples)*size)
	summary, err := render(ctx, f, t, o, func(pixels []byte) error {
		images = append(images, pixels...)
		return nil
	})
	if err != nil {
		return nil, err
	}
	s := newSet(f.without(summary.Skipped), t)
	s.Images = images
	s.Content, s.Skipped, s.Warnings = summary.Content, summary.Skipped, summary.Warnings
	return s, nil
}

// summary is what render learned besides the pixels.
type summary struct {
	Content  string    `json:"content_sha256"` // of all pixels in order
	Skipped  []Skipped `json:"skipped,omitempty"`
	Warnings int       `json:"warnings"`
}

// render computes every image of the folder with several workers and hands the results to sink one after the other,
// in the folder's order. Memory is a few images per worker, whatever the length of the list.
func render(ctx context.Context, f *Folder, t EvalTransform, o LoadOptions, sink func(pixels []byte) error) (summary, error) {
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
		pixels []byte
		done   chan rendered
	}
	window := 4 * workers
	slots := make([]slot, window)
	for i := range slots {
		slots[i] = slot{make([]byte, t.Size*t.Size*codec.Channels), make(chan rendered, 1)}
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
			var w worker
			defer w.decoder.Close()
			for i := range jobs {
				s := slots[i%window]
				s.done <- w.render(f.Samples[i].File, t, s.pixels)
			}
		})
	}

	var sum summary
	content := sha256.New()
	for i, sample := range f.Samples {
		var r rendered
		select {
		case r = <-slots[i%window].done:
		case <-ctx.Done():
			return sum, fmt.Errorf("load images of %s, %d of %d: %w", f.Root, i, len(f.Samples), ctx.Err())
		}
		sum.Warnings += r.warnings
		switch {
		case r.err == nil:
			content.Write(slots[i%window].pixels)
			if err := sink(slots[i%window].pixels); err != nil {
				return sum, err
			}
		case r.undecodable && o.OnBad == SkipBadImages:
			sum.Skipped = append(sum.Skipped, Skipped{sample.ID, r.err.Error()})
		case r.undecodable:
			return sum, &renderError{fmt.Errorf("image %s: %w; replace or remove it (an experiment leaves bad images out with on_bad_image = \"skip\", "+
				"sat data dump with --on-bad-image skip)", sample.File, r.err)}
		default:
			return sum, &renderError{fmt.Errorf("image %s: %w", sample.File, r.err)}
		}
		<-tokens
		if o.Progress != nil {
			o.Progress(i+1, len(f.Samples))
		}
	}
	if n := len(sum.Skipped); n == len(f.Samples) {
		return sum, fmt.Errorf("image folder %s: none of %d images could be decoded; the first: %s: %s",
			f.Root, n, sum.Skipped[0].ID, sum.Skipped[0].Reason)
	}
	sum.Content = hex.EncodeToString(content.Sum(nil))
	return sum, nil
}

// renderError is about an image, not about the place its pixels were to go to.
type renderError struct{ err error }

func (e *renderError) Error() string { return e.err.Error() }
func (e *renderError) Unwrap() error { return e.err }

// rendered is the outcome for one image.
type rendered struct {
	warnings    int
	err         error
	undecodable bool // the error lies in the file's content: reading it went well, and so would decoding another
}

// worker is what one goroutine keeps between images.
type worker struct {
	file    bytes.Buffer
	decoder codec.Decoder
	resizer codec.Resizer
}

func (w *worker) render(file string, t EvalTransform, dst []byte) rendered {
	in, err := os.Open(file)
	if err != nil {
		return rendered{err: err}
	}
	defer in.Close()
	w.file.Reset()
	if _, err := w.file.ReadFrom(in); err != nil {
		return rendered{err: err}
	}
	m, err := w.decoder.Decode(w.file.Bytes())
	if err != nil {
		return rendered{err: err, undecodable: !errors.Is(err, codec.ErrUnavailable)}
	}
	warnings, _ := w.decoder.Warnings()
	return rendered{warnings: warnings, err: t.Apply(dst, m, &w.resizer)}
}
