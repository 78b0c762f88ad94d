package data

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"path"
	"slices"
)

// SubsetMode says over which images the smallest keys are kept.
type SubsetMode int

const (
	All      SubsetMode = iota // no subset
	PerClass                   // the smallest keys of every class
	Uniform                    // the smallest keys over all images; class counts vary
)

var subsetModes = []string{"all", "per-class", "uniform"}

// ParseSubsetMode returns the mode with the given name: all, per-class or uniform.
func ParseSubsetMode(name string) (SubsetMode, error) {
	if i := slices.Index(subsetModes, name); i >= 0 {
		return SubsetMode(i), nil
	}
	return 0, fmt.Errorf("unknown subset %q: it is all, per-class or uniform", name)
}

func (m SubsetMode) String() string { return subsetModes[m] }

// Subset chooses images by the hash of their names. The zero value keeps all.
type Subset struct {
	Mode     SubsetMode
	Fraction float64 // share kept, in (0,1], rounded to whole images, a half upwards
	Count    int     // if positive, how many are kept instead: in each class (PerClass), or in all (Uniform)
	Salt     uint64  // another salt is another subset
}

// Select returns the folder reduced to the subset, still ordered by (label, ID). Subsets of one mode and salt are
// nested. It is an error if nothing would be left, in any class for PerClass, or if fewer images exist than Count.
func (f *Folder) Select(s Subset) (*Folder, error) {
	if s.Mode == All {
		return f, nil
	}
	if s.Count < 0 || (s.Count == 0 && !(s.Fraction > 0 && s.Fraction <= 1)) {
		return nil, fmt.Errorf("subset %v: needs a fraction in (0,1] or a count, got fraction %v, count %d", s.Mode, s.Fraction, s.Count)
	}
	out := *f
	out.Samples = nil
	for from := 0; from < len(f.Samples); {
		to := len(f.Samples)
		if s.Mode == PerClass {
			for to = from + 1; to < len(f.Samples) && f.Samples[to].Label == f.Samples[from].Label; {
				to++
			}
		}
		kept, err := smallestKeys(f.Samples[from:to], s)
		if err != nil {
			if s.Mode == PerClass && f.Classes != nil {
				err = fmt.Errorf("class %q: %w", f.Classes[f.Samples[from].Label], err)
			}
			return nil, fmt.Errorf("subset %v of %s: %w", s.Mode, f.Root, err)
		}
		out.Samples = append(out.Samples, kept...)
		from = to
	}
	out.sort()
	return &out, nil
}

func smallestKeys(samples []Sample, s Subset) ([]Sample, error) {
	n := s.Count
	if n == 0 {
		n = int(math.Round(s.Fraction * float64(len(samples))))
	}
	switch {
	case n > len(samples):
		return nil, fmt.Errorf("%d images asked for, there are %d", n, len(samples))
	case n == 0:
		return nil, errors.New("the fraction leaves no image")
	}
	type keyed struct {
		Sample
		key [sha256.Size]byte
	}
	ranked := make([]keyed, len(samples))
	for i, sample := range samples {
		ranked[i] = keyed{sample, sha256.Sum256(fmt.Appendf(nil, "satgo-subset/1:%d:%s", s.Salt, path.Base(sample.ID)))}
	}
	slices.SortFunc(ranked, func(a, b keyed) int {
		return cmp.Or(bytes.Compare(a.key[:], b.key[:]), cmp.Compare(a.ID, b.ID))
	})
	kept := make([]Sample, n)
	for i := range kept {
		kept[i] = ranked[i].Sample
	}
	return kept, nil
}
