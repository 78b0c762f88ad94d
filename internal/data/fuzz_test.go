package data

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A damaged archive gives members that lie inside it, or an error; never a crash.
func FuzzListArchive(f *testing.F) {
	good := pack(f, map[string]string{"a/1.png": "x", "a/2.png": "=> a/1.png", "b/3.png": "-> ../a/1.png", "c/": "", "d.tar": "e"})
	inner := pack(f, map[string]string{"1.png": "x"})
	f.Add(good)
	f.Add(pack(f, map[string]string{"a.tar": string(inner), "b.tar": string(inner)}))
	f.Add(pack(f, map[string]string{strings.Repeat("long/", 60) + "1.png": "x"}))
	f.Add(good[:600])
	f.Add(pack(f, map[string]string{"a/caf\xe9.png": "x"}))
	f.Add([]byte("\x1f\x8b\x08"))
	f.Fuzz(func(t *testing.T, content []byte) {
		members, err := listArchive(t.Context(), bytes.NewReader(content), int64(len(content)))
		if err != nil {
			return
		}
		for _, m := range members {
			if m.Size != folderSize && (m.From < 0 || m.Size < 0 || m.From+m.Size > int64(len(content))) {
				t.Fatalf("member %q at %d, %d bytes, of %d", m.Name, m.From, m.Size, len(content))
			}
			if strings.HasPrefix(m.Name, "/") || slices.Contains(strings.Split(m.Name, "/"), "..") {
				t.Fatalf("member %q leads out of the archive", m.Name)
			}
		}
		// What an index keeps comes back.
		of := indexed{Archive: "x", Size: int64(len(content))}
		index, err := formatIndex(members, of)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := parseIndex(index, of); err != nil || !slices.Equal(again, members) {
			t.Fatalf("index: %v", err)
		}
	})
}

// An index file of any content is refused or lists members inside the archive.
func FuzzParseIndex(f *testing.F) {
	of := indexed{Archive: "x", Size: 5000, Modified: 7}
	good, err := formatIndex([]member{{"a/1.png", 512, 100}, {"b", 0, folderSize}}, of)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:50])
	f.Add([]byte("\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		members, err := parseIndex(content, of)
		for _, m := range members {
			if err != nil || (m.Size != folderSize && (m.From < 0 || m.Size < 0 || m.From+m.Size > of.Size)) {
				t.Fatalf("member %+v, %v", m, err)
			}
		}
	})
}

// Lists and class maps of any content give a folder whose labels are in range and ordered, or an error that names the file.
func FuzzListAndClassMap(f *testing.F) {
	f.Add("1.png a\n2.png b\n", "a 1\nb 0\n")
	f.Add("im 1.png 3\n2.png 0\n", "")
	f.Add("1.png a", "a 1048576\n")
	f.Add("\xff\xfe1.png\ta\r\n", "a\t00\n")
	f.Fuzz(func(t *testing.T, list, classMap string) {
		dir := t.TempDir()
		o := FolderOptions{List: filepath.Join(dir, "list.txt")}
		if err := os.WriteFile(o.List, []byte(list), 0o644); err != nil {
			t.Fatal(err)
		}
		if classMap != "" {
			o.ClassMap = filepath.Join(dir, "map.txt")
			if err := os.WriteFile(o.ClassMap, []byte(classMap), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		folder, err := OpenFolder(t.Context(), dir, o)
		if err != nil {
			if !strings.Contains(err.Error(), "list.txt") && !strings.Contains(err.Error(), "map.txt") && !strings.Contains(err.Error(), "UTF-8") {
				t.Fatalf("the error names no file: %v", err)
			}
			return
		}
		if len(folder.Samples) == 0 {
			t.Fatal("no samples and no error")
		}
		before := int64(0)
		for _, s := range folder.Samples {
			if s.Label < before || s.Label >= int64(len(folder.Classes)) {
				t.Fatalf("label %d after %d, %d classes", s.Label, before, len(folder.Classes))
			}
			before = s.Label
			if !filepath.IsLocal(s.ID) {
				t.Fatalf("ID %q leads out of the folder", s.ID)
			}
		}
	})
}
