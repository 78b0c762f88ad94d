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
	ids := make([]string, len(samples))
	for i, sample := range samples {
		ids[i] = sample.ID
	}
	kept := make([]Sample, n)
	for i, place := range Ranked(ids, s.Salt)[:n] {
		kept[i] = samples[place]
	}
	return kept, nil
}

// Ranked returns the places of images, named by their IDs, in the order in which subsets with this salt take them: by
// SHA-256 of "satgo-subset/1:SALT:BASENAME", whatever the order of ids, the platform or a generator's version.
func Ranked(ids []string, salt uint64) []int {
	type keyed struct {
		place int
		key   [sha256.Size]byte
	}
	ranked := make([]keyed, len(ids))
	for i, id := range ids {
		ranked[i] = keyed{i, sha256.Sum256(fmt.Appendf(nil, "satgo-subset/1:%d:%s", salt, path.Base(id)))}
	}
	slices.SortFunc(ranked, func(a, b keyed) int {
		return cmp.Or(bytes.Compare(a.key[:], b.key[:]), cmp.Compare(ids[a.place], ids[b.place]))
	})
	places := make([]int, len(ids))
	for i, k := range ranked {
		places[i] = k.place
	}
	return places
}
