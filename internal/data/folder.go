package data

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Sample is one image of a folder.
type Sample struct {
	ID    string // path below the split folder with forward slashes: CLASS/FILE, or FILE for a list
	File  string // path that opens it
	Label int64
}

// Folder is a labelled list of images, ordered by (label, ID).
type Folder struct {
	Root    string // the folder that holds the classes
	Classes []string
	Samples []Sample

	mapped bool // the labels were given by a class map or as numbers in a list
}

// FolderOptions says how to read a folder. The zero value reads the validation split and numbers classes by name.
type FolderOptions struct {
	// Split is "val" or "train"; empty means "val".
	Split string
	// Flat accepts a folder that holds images but no class folders: no classes then, and label 0 for every image.
	Flat bool
	// ClassMap names a text file with "name index" on each line, which replaces the numbering by sorted class name.
	ClassMap string
	// List names a text file with "file class" on each line, for a folder that holds images without class folders. When
	// every class is a number and there is no class map, the numbers are the labels.
	List string
}

// extensions are those that torchvision's image folders count. Formats that are not decoded here are listed too, so
// that they end in an error rather than in a smaller data set.
var extensions = []string{".jpg", ".jpeg", ".png", ".ppm", ".pgm", ".bmp", ".tif", ".tiff", ".webp"}

// OpenFolder lists the images under root, which either holds class folders (CLASS/FILE) or a folder of them for the
// split: val/CLASS/FILE, validation/CLASS/FILE or train/CLASS/FILE. Classes are numbered by the byte order of their
// names. Files are found at any depth below a class, symbolic links are followed, names beginning with a dot and files
// without an image's extension are ignored. A class without images is an error.
func OpenFolder(root string, o FolderOptions) (*Folder, error) {
	f, err := openFolder(root, o)
	if err != nil {
		return nil, fmt.Errorf("image folder %s: %w", root, err)
	}
	return f, nil
}

func openFolder(root string, o FolderOptions) (*Folder, error) {
	dir, err := splitDir(root, o.Split)
	if err != nil {
		return nil, err
	}
	f := &Folder{Root: dir}
	if o.List != "" {
		err = f.readList(o.List, o.ClassMap == "")
	} else {
		err = f.readClasses(o.Flat)
	}
	if err != nil {
		return nil, err
	}
	if o.ClassMap != "" {
		if err := f.renumber(o.ClassMap); err != nil {
			return nil, err
		}
	}
	f.sort()
	return f, nil
}

// splitDir returns the folder of the split below root, or root itself if it is not divided into splits.
func splitDir(root, split string) (string, error) {
	names := map[string][]string{"": {"val", "validation"}, "val": {"val", "validation"}, "train": {"train"}}[split]
	if names == nil {
		return "", fmt.Errorf("unknown split %q: it is val or train", split)
	}
	if info, err := os.Stat(root); err != nil {
		return "", err
	} else if !info.IsDir() {
		return "", errors.New("not a folder")
	}
	isDir := func(name string) bool {
		info, err := os.Stat(filepath.Join(root, name))
		return err == nil && info.IsDir()
	}
	for _, name := range names {
		if isDir(name) {
			return filepath.Join(root, name), nil
		}
	}
	// A data set with another split but not this one must not become a data set whose classes are the splits.
	for _, other := range []string{"train", "val", "validation"} {
		if isDir(other) {
			return "", fmt.Errorf("has a folder %q but none named %q", other, names[0])
		}
	}
	return root, nil
}

// readClasses makes every folder directly under the root a class. Without any, and with flat allowed, the images are taken
// as they lie there.
func (f *Folder) readClasses(flat bool) error {
	entries, err := os.ReadDir(f.Root)
	if err != nil {
		return err
	}
	loose := 0
	var empty []string
	for _, entry := range entries { // in byte order
		name := entry.Name()
		if strings.HasPrefix(name, ".") {
			continue
		}
		full := filepath.Join(f.Root, name)
		info, err := os.Stat(full)
		if err != nil && entry.IsDir() {
			return err
		}
		if err != nil || !info.IsDir() {
			if isImageName(name) {
				loose++
			}
			continue
		}
		label := int64(len(f.Classes))
		before := len(f.Samples)
		if err := f.walk(full, name, label, nil); err != nil {
			return err
		}
		if len(f.Samples) == before {
			empty = append(empty, name)
		}
		f.Classes = append(f.Classes, name)
	}
	switch {
	case len(f.Classes) == 0 && loose > 0 && flat:
		return f.walk(f.Root, "", 0, nil)
	case len(f.Classes) == 0 && loose > 0:
		return fmt.Errorf("holds %d images but no class folders; sort them into one folder per class, give a list with the class of each file, or compare without labels", loose)
	case len(f.Classes) == 0:
		return errors.New("is empty: no class folders with images")
	case len(empty) > 0:
		return fmt.Errorf("no images in %s", nameSome(empty, "class", "classes"))
	}
	return nil
}

// walk adds the images below dir. above holds the folders on the way to it, to notice a link back to one of them.
func (f *Folder) walk(dir, id string, label int64, above []fs.FileInfo) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	for _, a := range above {
		if os.SameFile(a, info) {
			return fmt.Errorf("%s leads back to a folder above it through a symbolic link", id)
		}
	}
	above = append(above, info)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		name := entry.Name()
		if strings.HasPrefix(name, ".") {
			continue
		}
		full, isDir := filepath.Join(dir, name), entry.IsDir()
		if entry.Type()&fs.ModeSymlink != 0 {
			// A broken link counts as what its name says; opening it will fail and name it.
			if target, err := os.Stat(full); err == nil {
				isDir = target.IsDir()
			}
		}
		switch {
		case isDir:
			if err := f.walk(full, path.Join(id, name), label, above); err != nil {
				return err
			}
		case isImageName(name):
			f.Samples = append(f.Samples, Sample{ID: path.Join(id, name), File: full, Label: label})
		}
	}
	return nil
}

func isImageName(name string) bool {
	return slices.Contains(extensions, strings.ToLower(filepath.Ext(name)))
}

// readList reads the images and their classes from a text file. With numbers allowed, classes that are all numbers are
// the labels themselves.
func (f *Folder) readList(list string, numbers bool) error {
	pairs, err := readPairs(list)
	if err != nil {
		return err
	}
	if len(pairs) == 0 {
		return fmt.Errorf("%s lists no images", list)
	}
	seen := map[string]bool{}
	for _, p := range pairs {
		if !filepath.IsLocal(p.name) {
			return fmt.Errorf("%s:%d: %q is not a path below the image folder", list, p.line, p.name)
		}
		if seen[p.name] {
			return fmt.Errorf("%s:%d: %q is listed twice", list, p.line, p.name)
		}
		seen[p.name] = true
		if _, err := parseLabel(p.value); err != nil {
			numbers = false
		}
		f.Classes = append(f.Classes, p.value)
	}
	slices.Sort(f.Classes)
	f.Classes = slices.Compact(f.Classes)
	for _, p := range pairs {
		label, _ := slices.BinarySearch(f.Classes, p.value)
		if numbers {
			label, _ = parseLabel(p.value)
		}
		id := path.Clean(filepath.ToSlash(p.name))
		f.Samples = append(f.Samples, Sample{ID: id, File: filepath.Join(f.Root, p.name), Label: int64(label)})
	}
	if numbers {
		f.mapped = true
		last := slices.MaxFunc(f.Samples, func(a, b Sample) int { return int(a.Label - b.Label) })
		f.Classes = make([]string, last.Label+1)
		for i := range f.Classes {
			f.Classes[i] = strconv.Itoa(i)
		}
	}
	return nil
}

// renumber gives every class the label that the class map says.
func (f *Folder) renumber(classMap string) error {
	pairs, err := readPairs(classMap)
	if err != nil {
		return err
	}
	label := map[string]int64{}
	owner := map[int]string{}
	highest := -1
	for _, p := range pairs {
		index, err := parseLabel(p.value)
		if err != nil {
			return fmt.Errorf("%s:%d: %w", classMap, p.line, err)
		}
		if _, ok := label[p.name]; ok {
			return fmt.Errorf("%s:%d: class %q is listed twice", classMap, p.line, p.name)
		}
		if other, ok := owner[index]; ok {
			return fmt.Errorf("%s:%d: classes %q and %q have the same index %d", classMap, p.line, other, p.name, index)
		}
		label[p.name], owner[index] = int64(index), p.name
		highest = max(highest, index)
	}
	var missing []string
	for _, class := range f.Classes {
		if _, ok := label[class]; !ok {
			missing = append(missing, class)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%s does not list %s", classMap, nameSome(missing, "class", "classes"))
	}
	for i := range f.Samples {
		f.Samples[i].Label = label[f.Classes[f.Samples[i].Label]]
	}
	f.Classes = make([]string, highest+1)
	for index, name := range owner {
		f.Classes[index] = name
	}
	f.mapped = true
	return nil
}

// maxLabel bounds labels in text files, so that a stray number does not become a list of a billion classes.
const maxLabel = 1 << 20

func parseLabel(text string) (int, error) {
	v, err := strconv.Atoi(text)
	if err != nil || v < 0 || v > maxLabel || text != strconv.Itoa(v) {
		return 0, fmt.Errorf("%q is not a class index", text)
	}
	return v, nil
}

// pair is a line "name value" of a text file. The name may hold spaces.
type pair struct {
	name, value string
	line        int
}

func readPairs(file string) ([]pair, error) {
	in, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	var pairs []pair
	lines := bufio.NewScanner(in)
	for n := 1; lines.Scan(); n++ {
		text := strings.TrimSpace(lines.Text())
		if text == "" {
			continue
		}
		cut := strings.LastIndexAny(text, " \t")
		if cut < 0 {
			return nil, fmt.Errorf("%s:%d: %q is not a name and a value with a space between them", file, n, text)
		}
		pairs = append(pairs, pair{strings.TrimSpace(text[:cut]), text[cut+1:], n})
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return pairs, nil
}

func (f *Folder) sort() {
	slices.SortFunc(f.Samples, func(a, b Sample) int {
		if a.Label != b.Label {
			return int(a.Label - b.Label)
		}
		return strings.Compare(a.ID, b.ID)
	})
}

// synset is the form of an ImageNet class folder's name.
var synset = regexp.MustCompile(`^n[0-9]{8}$`)

// CheckClasses reports whether the labels can belong to a network with k outputs. A folder's sorted names say nothing
// about a network's outputs unless all classes are there; with 1000 of them they must be ImageNet's, whose sorted order
// is that of every ImageNet network. A class map settles everything but the range.
func (f *Folder) CheckClasses(k int) error {
	if f.mapped {
		if len(f.Classes) > k {
			return fmt.Errorf("image folder %s: labels go up to %d, but the network has %d outputs", f.Root, len(f.Classes)-1, k)
		}
		return nil
	}
	if len(f.Classes) != k {
		return fmt.Errorf("image folder %s: %d classes, but the network has %d outputs; if the folder holds only some of its classes, give a class map",
			f.Root, len(f.Classes), k)
	}
	if k == 1000 {
		for _, name := range f.Classes {
			if !synset.MatchString(name) {
				return fmt.Errorf("image folder %s: 1000 classes, but %q is not an ImageNet class (n and eight digits); give a class map", f.Root, name)
			}
		}
	}
	return nil
}

// Digest identifies the list of images and labels: the SHA-256, in hexadecimal, of a line "label<tab>ID" for each.
func (f *Folder) Digest() string {
	h := sha256.New()
	for _, s := range f.Samples {
		fmt.Fprintf(h, "%d\t%s\n", s.Label, s.ID)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// nameSome writes up to three names and says how many there are.
func nameSome(names []string, one, many string) string {
	if len(names) == 1 {
		return fmt.Sprintf("%s %q", one, names[0])
	}
	quoted := make([]string, 0, 3)
	for _, name := range names[:min(3, len(names))] {
		quoted = append(quoted, strconv.Quote(name))
	}
	more := ""
	if len(names) > len(quoted) {
		more = ", ..."
	}
	return fmt.Sprintf("%d %s: %s%s", len(names), many, strings.Join(quoted, ", "), more)
}
