package data

import (
	"context"
	"fmt"
	"slices"

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
	CacheDir string                // if set, the pixels are kept in files there and mapped into memory
	Progress func(done, total int) // called after each image, in order, from the calling goroutine
	Warn     func(string)          // told about a cache file that had to be made again
}

func (o *LoadOptions) progress(done, total int) {
	if o.Progress != nil {
		o.Progress(done, total)
	}
}

func (o *LoadOptions) warn(format string, args ...any) {
	if o.Warn != nil {
		o.Warn(fmt.Sprintf(format, args...))
	}
}

// Load decodes and transforms every image of the folder, on all cores and in order. An image that cannot be read stops
// it always; one that cannot be decoded stops it or is left out, as o.OnBad says. With a cache folder, the
// same images under the same transform are decoded once, and every later Load maps the same bytes.
func Load(ctx context.Context, f *Folder, t EvalTransform, o LoadOptions) (*Set, error) {
	sets, err := LoadAll(ctx, f, []EvalTransform{t}, o)
	if err != nil {
		return nil, err
	}
	return sets[0], nil
}

// LoadAll is Load for several distinct transforms, whose sets it returns in their order. An image is read and decoded
// once for all of them.
func LoadAll(ctx context.Context, f *Folder, transforms []EvalTransform, o LoadOptions) ([]*Set, error) {
	if len(f.Samples) == 0 {
		return nil, fmt.Errorf("image folder %s: no images", f.Root)
	}
	if o.CacheDir != "" {
		return loadCached(ctx, f, transforms, o)
	}
	images := make([][]uint8, len(transforms))
	for k, t := range transforms {
		images[k] = make([]uint8, 0, len(f.Samples)*t.bytes())
	}
	out, err := render(ctx, f, transforms, o, func(k int, pixels []byte) error {
		images[k] = append(images[k], pixels...)
		return nil
	})
	if err == nil {
		err = out.checkSome(f)
	}
	if err != nil {
		return nil, err
	}
	sets := make([]*Set, len(transforms))
	for k, t := range transforms {
		sets[k] = newSet(f.without(out.Skipped), t)
		sets[k].Images, sets[k].Content = images[k], contentOf(out.digests[k])
		sets[k].Skipped, sets[k].Warnings = out.Skipped, out.Warnings
	}
	return sets, nil
}

// bytes is the size of a transformed image.
func (t EvalTransform) bytes() int { return t.Size * t.Size * codec.Channels }
