package data

import (
	"bufio"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// readList reads the images and their classes from a text file. With numbers allowed, classes that are all numbers are
// the labels themselves.
func (f *Folder) readList(at *location, list string, numbers bool) error {
	pairs, err := readPairs(list)
	if err != nil {
		return err
	}
	if len(pairs) == 0 {
		return fmt.Errorf("%s lists no images", list)
	}
	inArchive := at.lookup()
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
		sample := Sample{ID: id, File: filepath.Join(f.Root, p.name)}
		if at.archive != nil {
			m, ok := inArchive[id]
			if !ok {
				return fmt.Errorf("%s:%d: the archive has no file %q", list, p.line, p.name)
			}
			sample = at.archive.sample(m, id)
		}
		sample.Label = int64(label)
		f.Samples = append(f.Samples, sample)
	}
	if numbers {
		f.numberClasses()
	}
	return nil
}

// lookup finds the files of an archive by their names below the split.
func (p *location) lookup() map[string]member {
	if p.archive == nil {
		return nil
	}
	out := map[string]member{}
	for _, m := range p.archive.members {
		if name, inside := strings.CutPrefix(m.Name, p.prefix); inside && m.Size != folderSize {
			out[name] = m
		}
	}
	return out
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
