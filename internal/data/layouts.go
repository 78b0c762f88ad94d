package data

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// location is where the images of a split are: a folder, or an archive and a folder in it.
type location struct {
	dir     string
	archive *archive
	prefix  string // of the members' names, with the slash
}

func (p *location) String() string {
	if p.archive == nil {
		return p.dir
	}
	return filepath.Join(p.archive.path, p.prefix)
}

// splitNames are the names that a split's folder may have. Its archive is named like the folder or as ImageNet's is.
func splitNames(split string) []string {
	switch split {
	case "", "val", "validation":
		return []string{"val", "validation"}
	}
	return []string{split}
}

func splitArchives(split string) []string {
	var names []string
	for _, name := range splitNames(split) {
		names = append(names, name+".tar")
	}
	return append(names, "ILSVRC2012_img_"+splitNames(split)[0]+".tar")
}

// findSplit returns where the split is below root, or root itself if it is not divided into splits.
func findSplit(ctx context.Context, root string, o FolderOptions) (*location, error) {
	names := splitNames(o.Split)
	info, err := os.Stat(root)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return inArchive(ctx, root, o)
	}
	is := func(name string, mode func(fs.FileInfo) bool) bool {
		info, err := os.Stat(filepath.Join(root, name))
		return err == nil && mode(info)
	}
	folder, regular := fs.FileInfo.IsDir, func(info fs.FileInfo) bool { return info.Mode().IsRegular() }
	for _, name := range names {
		if is(name, folder) {
			return &location{dir: filepath.Join(root, name)}, nil
		}
	}
	for _, name := range splitArchives(o.Split) {
		if is(name, regular) {
			return inArchive(ctx, filepath.Join(root, name), o)
		}
	}
	// A data set with another split but not this one must not become a data set whose classes are the splits.
	for _, other := range []string{"train", "val", "test"} {
		for _, name := range splitNames(other) {
			if is(name, folder) {
				return nil, fmt.Errorf("has a folder %q but none named %q", name, names[0])
			}
		}
		for _, name := range splitArchives(other) {
			if is(name, regular) {
				return nil, fmt.Errorf("has an archive %q but neither a folder %q nor an archive %q", name, names[0], splitArchives(o.Split)[0])
			}
		}
	}
	return &location{dir: root}, nil
}

// inArchive returns where the split is in a tar file.
func inArchive(ctx context.Context, file string, o FolderOptions) (*location, error) {
	a, err := openArchive(ctx, file, o.IndexDir)
	if err != nil {
		return nil, err
	}
	names, others := splitNames(o.Split), []string{"train", "val", "validation", "test"}
	for prefix := ""; ; {
		top, only := a.top(prefix)
		for _, name := range names {
			if top[name] {
				return &location{archive: a, prefix: prefix + name + "/"}, nil
			}
		}
		for _, other := range others {
			if top[other] {
				return nil, fmt.Errorf("%s has a folder %q but none named %q", file, other, names[0])
			}
		}
		if !only {
			return &location{archive: a, prefix: prefix}, nil
		}
		for folder := range top {
			prefix += folder + "/"
		}
	}
}

// top returns the folders directly below prefix, and whether there is only one that does nothing but hold folders: one
// in which a whole tree was packed.
func (a *archive) top(prefix string) (folders map[string]bool, only bool) {
	folders = map[string]bool{}
	loose, deeper, files := false, false, false
	for _, m := range a.members {
		name, inside := strings.CutPrefix(m.Name, prefix)
		if !inside {
			continue
		}
		first, rest, below := strings.Cut(name, "/")
		if !below && m.Size != folderSize {
			loose = true
			continue
		}
		folders[first] = true
		if strings.Contains(rest, "/") {
			deeper = true
		} else if rest != "" && m.Size != folderSize && isImageName(rest) {
			files = true
		}
	}
	return folders, len(folders) == 1 && !loose && deeper && !files
}

// files are the images of a split before they have labels: those of each class, and those that lie beside the classes.
type files struct {
	classes map[string][]Sample // a class without images is here too
	loose   []Sample
	batches []string // .npy files
}

// read finds the images of the split. Labels are not set yet.
func (p *location) read(ctx context.Context, o FolderOptions) (*files, error) {
	out := &files{classes: map[string][]Sample{}}
	if p.archive != nil {
		out.addMembers(p)
		return out, nil
	}
	entries, err := os.ReadDir(p.dir)
	if err != nil {
		return nil, err
	}
	var archives []string
	for _, entry := range entries {
		name := entry.Name()
		if strings.HasPrefix(name, ".") {
			continue
		}
		full := filepath.Join(p.dir, name)
		info, err := os.Stat(full)
		if err != nil && entry.IsDir() {
			return nil, err
		}
		_, packed := archiveStem(name)
		switch {
		case err == nil && info.IsDir():
			if out.classes[name], err = walk(ctx, full, name, nil); err != nil {
				return nil, err
			}
		case err == nil && packed:
			archives = append(archives, name)
		case isImageName(name):
			out.loose = append(out.loose, Sample{ID: name, File: full})
		case strings.EqualFold(filepath.Ext(name), ".npy"):
			out.batches = append(out.batches, full)
		}
	}
	if len(out.classes) > 0 {
		return out, nil // an archive beside class folders is not one of them
	}
	for _, name := range archives {
		class, _ := archiveStem(name)
		if out.classes[class], err = readClassArchive(ctx, filepath.Join(p.dir, name), class, o); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// walk returns the images below dir. above holds the folders on the way to it, to notice a link back to one of them.
func walk(ctx context.Context, dir, id string, above []fs.FileInfo) ([]Sample, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	for _, a := range above {
		if os.SameFile(a, info) {
			return nil, fmt.Errorf("%s leads back to a folder above it through a symbolic link", id)
		}
	}
	above = append(above, info)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var samples []Sample
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
			deeper, err := walk(ctx, full, path.Join(id, name), above)
			if err != nil {
				return nil, err
			}
			samples = append(samples, deeper...)
		case isImageName(name):
			samples = append(samples, Sample{ID: path.Join(id, name), File: full})
		}
	}
	return samples, nil
}

// readClassArchive returns the images of a class that is a tar file. A folder in it that is named like the class is not
// part of the images' names, so that packing a class folder changes no ID.
func readClassArchive(ctx context.Context, file, class string, o FolderOptions) ([]Sample, error) {
	a, err := openArchive(ctx, file, o.IndexDir)
	if err != nil {
		return nil, err
	}
	var samples []Sample
	for _, m := range a.members {
		if m.Size == folderSize || !isImageName(m.Name) {
			continue
		}
		samples = append(samples, a.sample(m, path.Join(class, strings.TrimPrefix(m.Name, class+"/"))))
	}
	return samples, nil
}

// addMembers sorts the members of a split's archive into classes.
func (f *files) addMembers(p *location) {
	for _, m := range p.archive.members {
		id, inside := strings.CutPrefix(m.Name, p.prefix)
		class, _, below := strings.Cut(id, "/")
		switch {
		case !inside:
		case m.Size == folderSize:
			f.classes[class] = append(f.classes[class], []Sample{}...)
		case below && isImageName(id):
			f.classes[class] = append(f.classes[class], p.archive.sample(m, id))
		case below:
			f.classes[class] = append(f.classes[class], []Sample{}...)
		case isImageName(id):
			f.loose = append(f.loose, p.archive.sample(m, id))
		}
	}
}

func (a *archive) sample(m member, id string) Sample {
	return Sample{ID: id, File: a.path, part: part{name: m.Name, from: m.From, size: m.Size}}
}

// addClasses numbers the classes by the byte order of their names. Without any, and with flat allowed, the images are
// taken as they lie there, without labels.
func (f *Folder) addClasses(found *files, flat bool) error {
	var empty []string
	for label, class := range slices.Sorted(maps.Keys(found.classes)) {
		samples := found.classes[class]
		if len(samples) == 0 {
			empty = append(empty, class)
		}
		for _, s := range samples {
			s.Label = int64(label)
			f.Samples = append(f.Samples, s)
		}
		f.Classes = append(f.Classes, class)
	}
	switch {
	case len(f.Samples) == 0 && len(found.loose) > 0 && flat:
		f.Samples, f.Classes = found.loose, nil
		return nil
	case len(f.Samples) == 0 && len(found.loose) > 0:
		return fmt.Errorf("holds %d images but no class folders; sort them into one folder per class, give a list with the class of each file, or compare without labels", len(found.loose))
	case len(f.Classes) == 0:
		return errors.New("is empty: no class folders with images")
	case len(empty) > 0:
		return fmt.Errorf("no images in %s", nameSome(empty, "class", "classes"))
	}
	return nil
}

// addBatches takes the images and labels of arrays: images*.npy, uint8 [N,H,W,3], each with labels*.npy, int64 [N],
// whose name differs only in that word. The labels are class indices.
func (f *Folder) addBatches(ctx context.Context, paths []string) error {
	for _, file := range paths {
		base := filepath.Base(file)
		rest, ok := strings.CutPrefix(base, "images")
		if !ok {
			continue
		}
		labels, err := ReadLabels(ctx, filepath.Join(filepath.Dir(file), "labels"+rest))
		if err != nil {
			return err
		}
		h, err := readImageHeader(file)
		if err != nil {
			return err
		}
		if len(labels) != h.shape[0] {
			return fmt.Errorf("%s holds %d images, labels%s %d labels", file, h.shape[0], rest, len(labels))
		}
		size := int64(h.shape[1] * h.shape[2] * h.shape[3])
		stem := strings.TrimSuffix(base, filepath.Ext(base))
		for i, label := range labels {
			if label > maxLabel {
				return fmt.Errorf("labels%s: label %d is %d, which is not a class index", rest, i, label)
			}
			id := fmt.Sprintf("%s-%06d", stem, i)
			f.Samples = append(f.Samples, Sample{ID: id, File: file, Label: label, part: part{
				name: "image " + strconv.Itoa(i), from: h.length + int64(i)*size, size: size, width: h.shape[2], height: h.shape[1]}})
		}
	}
	if len(f.Samples) == 0 {
		return errors.New("holds .npy files, but no images*.npy with images in it")
	}
	f.numberClasses()
	return nil
}

// numberClasses names the classes of images whose labels came as numbers.
func (f *Folder) numberClasses() {
	last := slices.MaxFunc(f.Samples, func(a, b Sample) int { return int(a.Label - b.Label) })
	f.Classes = make([]string, last.Label+1)
	for i := range f.Classes {
		f.Classes[i] = strconv.Itoa(i)
	}
	f.mapped = true
}
