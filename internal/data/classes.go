package data

import (
	_ "embed"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// synset is the form of an ImageNet class folder's name.
var synset = regexp.MustCompile(`^n[0-9]{8}$`)

// imagenetSynsets are the 1000 classes of ILSVRC 2012 in the order of the networks' outputs, which is the byte order of
// their names. The file is timm 1.0.31's timm/data/_info/imagenet_synsets.txt.
//
//go:embed imagenet_synsets.txt
var imagenetSynsets string

const imagenetClasses = 1000

// CheckClasses reports whether the labels can belong to a network with k outputs. A folder's sorted names say nothing
// about a network's outputs unless all classes are there; with 1000 of them they must be ImageNet's, whose sorted order
// is that of every ImageNet network. A class map settles everything but the range.
func (f *Folder) CheckClasses(k int) error {
	if f.mapped {
		if len(f.Classes) > k {
			hint := ""
			if len(f.Classes) == k+1 {
				hint = "; if they count from 1, they are in the order of the challenge's kit, which no network has: give synset names instead of numbers"
			}
			return fmt.Errorf("image folder %s: labels go up to %d, but the network has %d outputs%s", f.Root, len(f.Classes)-1, k, hint)
		}
		return nil
	}
	if k == imagenetClasses {
		if err := f.checkSynsets(); err != nil {
			return fmt.Errorf("image folder %s: %w", f.Root, err)
		}
	}
	if len(f.Classes) != k {
		return fmt.Errorf("image folder %s: %d classes, but the network has %d outputs; if the folder holds only some of its classes, give a class map",
			f.Root, len(f.Classes), k)
	}
	return nil
}

// checkSynsets reports how the class folders differ from ImageNet's, if that is what they look like, and if there are as
// many, names that cannot be ImageNet's at all.
func (f *Folder) checkSynsets() error {
	known := strings.Fields(imagenetSynsets)
	var strange, missing []string
	for _, name := range f.Classes {
		if _, ok := slices.BinarySearch(known, name); !ok {
			strange = append(strange, name)
		}
	}
	for _, name := range known {
		if _, ok := slices.BinarySearch(f.Classes, name); !ok {
			missing = append(missing, name)
		}
	}
	const settle = `give a class map ("name index" on each line)`
	switch {
	case len(missing) == 0 && len(strange) == 0:
		return nil
	case len(strange) == 0 && len(missing) <= imagenetClasses/2:
		return fmt.Errorf("%d of ImageNet's %d class folders, %s missing; copy it again, or if that is meant, %s",
			len(f.Classes), imagenetClasses, nameSome(missing, "class", "classes"), settle)
	case len(strange) == 0:
		return fmt.Errorf("%d of ImageNet's %d class folders, but the network has all as outputs; %s", len(f.Classes), imagenetClasses, settle)
	case len(strange) < len(f.Classes)/2:
		return fmt.Errorf("%s not ImageNet's, and %s missing; mend the names, or if that is meant, %s",
			nameSome(strange, "class", "classes"), nameSome(missing, "class", "classes"), settle)
	}
	for _, name := range f.Classes {
		if len(f.Classes) == imagenetClasses && !synset.MatchString(name) {
			return fmt.Errorf("%d classes, but %q is not an ImageNet class (n and eight digits); %s", imagenetClasses, name, settle)
		}
	}
	return nil
}
