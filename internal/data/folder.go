package data

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Sample is one image of a folder.
type Sample struct {
	ID    string // path below the split folder with forward slashes: CLASS/FILE, or FILE for a list
	File  string // path that opens it, or the archive or array that holds it
	Label int64

	part part // where it is in File
}

// part is a stretch of a file; the zero value is all of it.
type part struct {
	name          string // in File, for messages
	from, size    int64
	width, height int // of RGB pixels that are not encoded; else 0
}

// Where names the sample in messages.
func (s *Sample) Where() string {
	if s.part.name == "" {
		return s.File
	}
	return s.File + ": " + s.part.name
}

// Folder is a labelled list of images, ordered by (label, ID).
type Folder struct {
	Root    string // the folder that holds the classes
	Classes []string
	Samples []Sample

	mapped bool // the labels were given by a class map or as numbers
}

// FolderOptions says how to read a folder. The zero value reads the validation split and numbers classes by name.
type FolderOptions struct {
	// Split is the name of the split's folder; empty means "val", which may be "validation" too.
	Split string
	// Flat accepts a folder that holds images but no class folders: no classes then, and label 0 for every image.
	Flat bool
	// ClassMap names a text file with "name index" on each line, which replaces the numbering by sorted class name.
	ClassMap string
	// List names a text file with "file class" on each line, for a folder that holds images without class folders. When
	// every class is a number and there is no class map, the numbers are the labels.
	List string
	// IndexDir keeps the lists of what archives hold, so that they are made once.
	IndexDir string
}

// extensions are those that torchvision's image folders count. Formats that are not decoded here are listed too, so
// that they end in an error rather than in a smaller data set.
var extensions = []string{".jpg", ".jpeg", ".png", ".ppm", ".pgm", ".bmp", ".tif", ".tiff", ".webp"}

// OpenFolder lists the images under root; doc.go has the layouts. Classes are numbered by the byte order of their
// names. Files are found at any depth below a class, symbolic links are followed, names beginning with a dot and files
// without an image's extension are ignored. A class without images is an error.
func OpenFolder(ctx context.Context, root string, o FolderOptions) (*Folder, error) {
	f, err := openFolder(ctx, root, o)
	if err != nil {
		return nil, fmt.Errorf("image folder %s: %w", root, err)
	}
	return f, nil
}

func openFolder(ctx context.Context, root string, o FolderOptions) (*Folder, error) {
	at, err := findSplit(ctx, root, o)
	if err != nil {
		return nil, err
	}
	f := &Folder{Root: at.String()}
	if o.List != "" {
		err = f.readList(at, o.List, o.ClassMap == "")
	} else {
		err = f.readClasses(ctx, at, o)
	}
	if err != nil {
		return nil, err
	}
	for i := range f.Samples {
		if err := checkName(f.Samples[i].ID); err != nil {
			return nil, err
		}
	}
	if o.ClassMap != "" {
		if err := f.renumber(o.ClassMap); err != nil {
			return nil, err
		}
	}
	f.sort()
	return f, nil
}

// checkName refuses names that result files, which are UTF-8, could not tell apart.
func checkName(id string) error {
	if !utf8.ValidString(id) {
		return fmt.Errorf("%q, whose name is not UTF-8; rename it", id)
	}
	return nil
}

// readClasses lists the images of a split that says itself what their classes are.
func (f *Folder) readClasses(ctx context.Context, at *location, o FolderOptions) error {
	found, err := at.read(ctx, o)
	if err != nil {
		return err
	}
	if len(found.classes) == 0 && len(found.loose) == 0 && len(found.batches) > 0 {
		return f.addBatches(ctx, found.batches)
	}
	return f.addClasses(found, o.Flat)
}

func isImageName(name string) bool {
	return slices.Contains(extensions, strings.ToLower(filepath.Ext(name)))
}

func (f *Folder) sort() {
	slices.SortFunc(f.Samples, func(a, b Sample) int {
		if a.Label != b.Label {
			return int(a.Label - b.Label)
		}
		return strings.Compare(a.ID, b.ID)
	})
}

// Digest identifies the list of images and labels: the SHA-256, in hexadecimal, of a line "label<tab>ID" for each.
func (f *Folder) Digest() string {
	h := sha256.New()
	for _, s := range f.Samples {
		fmt.Fprintf(h, "%d\t%s\n", s.Label, s.ID)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// where names the sample with the given ID in messages.
func (f *Folder) where(id string) string {
	for i := range f.Samples {
		if f.Samples[i].ID == id {
			return f.Samples[i].Where()
		}
	}
	return id
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
