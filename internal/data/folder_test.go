package data

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
)

func listing(f *Folder) (ids []string, labels []int64) {
	for _, s := range f.Samples {
		ids, labels = append(ids, s.ID), append(labels, s.Label)
	}
	return ids, labels
}

func TestFolderLayouts(t *testing.T) {
	classes := map[string]string{
		"b/2.png": "", "b/10.PNG": "", "a/z/deep.jpeg": "", "a/y.png": "", "B/x.bmp": "",
		"a/.hidden.png": "x", "a/notes.txt": "x", ".git/c/1.png": "x", "README.md": "x", "top.png": "",
	}
	under := func(prefix string) map[string]string {
		files := map[string]string{}
		for name, content := range classes {
			files[prefix+name] = content
		}
		return files
	}
	cases := []struct {
		name    string
		files   map[string]string
		options FolderOptions
	}{
		{"classes", classes, FolderOptions{}},
		{"val", under("val/"), FolderOptions{}},
		{"validation", under("validation/"), FolderOptions{Split: "val"}},
		{"train", under("train/"), FolderOptions{Split: "train"}},
		{"train beside val", merge(under("val/"), map[string]string{"train/q/1.png": ""}), FolderOptions{}},
	}
	wantIDs := []string{"B/x.bmp", "a/y.png", "a/z/deep.jpeg", "b/10.PNG", "b/2.png"}
	wantLabels := []int64{0, 1, 1, 2, 2}
	digests := map[string]bool{}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			f, err := OpenFolder(t.Context(), tree(t, c.files), c.options)
			if err != nil {
				t.Fatal(err)
			}
			ids, labels := listing(f)
			if !slices.Equal(ids, wantIDs) || !slices.Equal(labels, wantLabels) {
				t.Errorf("got %v %v, want %v %v", ids, labels, wantIDs, wantLabels)
			}
			if want := []string{"B", "a", "b"}; !slices.Equal(f.Classes, want) {
				t.Errorf("classes: got %v, want %v", f.Classes, want)
			}
			for _, s := range f.Samples {
				if _, err := os.Stat(s.File); err != nil {
					t.Error(err)
				}
			}
			digests[f.Digest()] = true
		})
	}
	if len(digests) != 1 {
		t.Errorf("the layout changed the digest: %v", digests)
	}
}

// TestFlatFolder: images without class folders, where no labels are needed. Class folders still count as such.
func TestFlatFolder(t *testing.T) {
	f, err := OpenFolder(t.Context(), tree(t, map[string]string{"b.png": "", "a.JPG": "", ".c.png": "", "d.txt": ""}), FolderOptions{Flat: true})
	if err != nil {
		t.Fatal(err)
	}
	ids, labels := listing(f)
	if !slices.Equal(ids, []string{"a.JPG", "b.png"}) || !slices.Equal(labels, []int64{0, 0}) || f.Classes != nil {
		t.Errorf("got %v %v, classes %v", ids, labels, f.Classes)
	}
	if one, err := f.Select(Subset{Mode: Uniform, Count: 1}); err != nil || len(one.Samples) != 1 {
		t.Errorf("subset: %v, %v", one, err)
	}
	if _, err := f.Select(Subset{Mode: PerClass, Count: 3}); err == nil {
		t.Error("three of two images")
	}
	classes, err := OpenFolder(t.Context(), tree(t, map[string]string{"b/1.png": "", "a/1.png": "", "loose.png": ""}), FolderOptions{Flat: true})
	if err != nil || !slices.Equal(classes.Classes, []string{"a", "b"}) {
		t.Errorf("class folders: %v, %v", classes, err)
	}
	if _, err := OpenFolder(t.Context(), t.TempDir(), FolderOptions{Flat: true}); err == nil {
		t.Error("an empty folder")
	}
}

func merge(a, b map[string]string) map[string]string {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}

func TestFolderFollowsLinks(t *testing.T) {
	elsewhere := tree(t, map[string]string{"one.png": "", "deeper/two.png": ""})
	f, err := OpenFolder(t.Context(), tree(t, map[string]string{
		"a/link":       "-> " + elsewhere,
		"b":            "-> " + elsewhere,
		"c/file.png":   "-> " + filepath.Join(elsewhere, "one.png"),
		"c/broken.png": "-> /nowhere",
	}), FolderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ids, _ := listing(f)
	want := []string{"a/link/deeper/two.png", "a/link/one.png", "b/deeper/two.png", "b/one.png", "c/broken.png", "c/file.png"}
	if !slices.Equal(ids, want) {
		t.Errorf("got %v, want %v", ids, want)
	}
}

func TestFolderErrors(t *testing.T) {
	file := filepath.Join(tree(t, map[string]string{"file.png": ""}), "file.png")
	cases := []struct {
		name    string
		root    string
		options FolderOptions
		want    []string
	}{
		{"missing", "/does/not/exist", FolderOptions{}, []string{"/does/not/exist", "no such file"}},
		{"a file", file, FolderOptions{}, []string{"neither a folder nor a tar file"}},
		{"empty", tree(t, nil), FolderOptions{}, []string{"empty"}},
		{"no class folders", tree(t, map[string]string{"1.png": "", "2.png": ""}), FolderOptions{}, []string{"2 images but no class folders"}},
		{"class without images", tree(t, map[string]string{"a/1.png": "", "b/x.txt": "x"}), FolderOptions{}, []string{`no images in class "b"`}},
		{"classes without images", tree(t, map[string]string{"a/1.png": "", "b/": "", "c/": "", "d/": "", "e/": ""}), FolderOptions{},
			[]string{`4 classes: "b", "c", "d", ...`}},
		{"no such split", tree(t, map[string]string{"train/a/1.png": ""}), FolderOptions{}, []string{`folder "train" but none named "val"`}},
		{"no such split of a user's own", tree(t, map[string]string{"val/a/1.png": ""}), FolderOptions{Split: "val2"}, []string{`folder "val" but none named "val2"`}},
		{"loop", tree(t, map[string]string{"a/b/1.png": "", "a/b/up": "-> .."}), FolderOptions{}, []string{"a/b/up", "symbolic link"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := OpenFolder(t.Context(), c.root, c.options)
			wantError(t, err, c.want...)
		})
	}
}

func TestFolderList(t *testing.T) {
	root := tree(t, map[string]string{"val/im 1.png": "", "val/im2.png": "", "val/im3.png": "", "val/unlisted.png": ""})
	write := func(content string) string {
		path := filepath.Join(t.TempDir(), "list.txt")
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	cases := []struct {
		name, list, classMap string
		ids, classes         []string
		labels               []int64
	}{
		{"names", "im3.png zebra\nim 1.png ant\n\nim2.png zebra\n", "",
			[]string{"im 1.png", "im2.png", "im3.png"}, []string{"ant", "zebra"}, []int64{0, 1, 1}},
		{"numbers are labels", "im3.png 2\nim 1.png 10\nim2.png 2\n", "",
			[]string{"im2.png", "im3.png", "im 1.png"}, []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10"}, []int64{2, 2, 10}},
		{"class map", "im3.png zebra\nim2.png ant\n", "zebra 0\nant 2\nbee 1\n",
			[]string{"im3.png", "im2.png"}, []string{"zebra", "bee", "ant"}, []int64{0, 2}},
		{"class map of numbers", "im3.png 7\nim2.png 5\n", "7 0\n5 1\n",
			[]string{"im3.png", "im2.png"}, []string{"7", "5"}, []int64{0, 1}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			o := FolderOptions{List: write(c.list)}
			if c.classMap != "" {
				o.ClassMap = write(c.classMap)
			}
			f, err := OpenFolder(t.Context(), root, o)
			if err != nil {
				t.Fatal(err)
			}
			ids, labels := listing(f)
			if !slices.Equal(ids, c.ids) || !slices.Equal(labels, c.labels) || !slices.Equal(f.Classes, c.classes) {
				t.Errorf("got %v %v %v, want %v %v %v", ids, labels, f.Classes, c.ids, c.labels, c.classes)
			}
		})
	}
	bad := []struct{ name, list, classMap, want string }{
		{"empty list", "\n", "", "lists no images"},
		{"no class", "im1.png\n", "", "list.txt:1:"},
		{"twice", "im2.png a\nim2.png b\n", "", "listed twice"},
		{"outside", "../x.png a\n", "", "not a path below"},
		{"class not in the map", "im2.png a\nim3.png b\n", "a 0\n", `does not list class "b"`},
		{"index not a number", "im2.png a\n", "a one\n", `"one" is not a class index`},
		{"index too large", "im2.png a\n", "a 99999999\n", `"99999999" is not a class index`},
		{"same index", "im2.png a\n", "a 1\nb 1\n", "same index 1"},
		{"class twice", "im2.png a\n", "a 1\na 2\n", "listed twice"},
	}
	for _, c := range bad {
		t.Run(c.name, func(t *testing.T) {
			o := FolderOptions{List: write(c.list)}
			if c.classMap != "" {
				o.ClassMap = write(c.classMap)
			}
			_, err := OpenFolder(t.Context(), root, o)
			wantError(t, err, c.want)
		})
	}
	_, err := OpenFolder(t.Context(), root, FolderOptions{List: filepath.Join(root, "none.txt")})
	wantError(t, err, "none.txt", "no such file")
}

func TestSubsetEqualsHashlib(t *testing.T) {
	f := &Folder{Root: "DIR"}
	for c := range 7 {
		f.Classes = append(f.Classes, "class"+strconv.Itoa(c))
		for i := range c + 1 {
			id := f.Classes[c] + "/image" + strconv.Itoa(c*i%11) + "_" + strconv.Itoa(i) + ".png"
			f.Samples = append(f.Samples, Sample{ID: id, Label: int64(c)})
		}
	}
	f.sort()
	type subsetCase struct {
		Mode, Salt, Digest string
		Fraction           float64
		Count              int
		Kept               []string
	}
	for _, c := range golden[subsetCase](t, "subset.json") {
		salt, err := strconv.ParseUint(c.Salt, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		mode, err := ParseSubsetMode(c.Mode)
		if err != nil {
			t.Fatal(err)
		}
		s := Subset{Mode: mode, Fraction: c.Fraction, Count: c.Count, Salt: salt}
		got, err := f.Select(s)
		if err != nil {
			t.Fatalf("%+v: %v", s, err)
		}
		if ids, _ := listing(got); !slices.Equal(ids, c.Kept) {
			t.Errorf("%+v: got %v, want %v", s, ids, c.Kept)
		}
		if got.Digest() != c.Digest {
			t.Errorf("%+v: digest %s, want %s", s, got.Digest(), c.Digest)
		}
	}
}

func TestSubsetProperties(t *testing.T) {
	f := &Folder{Root: "DIR", Classes: []string{"a", "b"}}
	for i := range 60 {
		f.Samples = append(f.Samples, Sample{ID: "x/" + strconv.Itoa(i), Label: int64(i % 2)})
	}
	f.sort()
	kept := func(s Subset) map[string]bool {
		t.Helper()
		g, err := f.Select(s)
		if err != nil {
			t.Fatalf("%+v: %v", s, err)
		}
		ids, labels := listing(g)
		if !slices.IsSorted(labels) {
			t.Errorf("%+v: not ordered by label: %v", s, labels)
		}
		set := map[string]bool{}
		for _, id := range ids {
			set[id] = true
		}
		return set
	}
	for _, mode := range []SubsetMode{PerClass, Uniform} {
		smaller := map[string]bool{}
		for _, fraction := range []float64{0.1, 0.2, 0.5, 0.9, 1} {
			larger := kept(Subset{Mode: mode, Fraction: fraction, Salt: 3})
			if want := int(fraction * 60); len(larger) != want {
				t.Errorf("%v %v: %d images, want %d", mode, fraction, len(larger), want)
			}
			for id := range smaller {
				if !larger[id] {
					t.Errorf("%v: %s is in a smaller subset but not in that of %v", mode, id, fraction)
				}
			}
			smaller = larger
		}
		if maps.Equal(kept(Subset{Mode: mode, Fraction: 0.5, Salt: 1}), kept(Subset{Mode: mode, Fraction: 0.5, Salt: 2})) {
			t.Errorf("%v: two salts chose the same images", mode)
		}
	}
	if all, err := f.Select(Subset{}); err != nil || len(all.Samples) != 60 {
		t.Errorf("the zero subset: %d images, %v", len(all.Samples), err)
	}
	for _, c := range []struct {
		name   string
		subset Subset
		want   string
	}{
		{"no size", Subset{Mode: PerClass}, "fraction in (0,1]"},
		{"fraction above one", Subset{Mode: Uniform, Fraction: 1.5}, "fraction in (0,1]"},
		{"negative count", Subset{Mode: Uniform, Count: -1}, "fraction in (0,1]"},
		{"too many", Subset{Mode: Uniform, Count: 61}, "61 images asked for, there are 60"},
		{"too many per class", Subset{Mode: PerClass, Count: 31}, `class "a": 31 images asked for, there are 30`},
		{"nothing left", Subset{Mode: PerClass, Fraction: 0.001}, "leaves no image"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := f.Select(c.subset)
			wantError(t, err, c.want)
		})
	}
	if _, err := ParseSubsetMode("half"); err == nil {
		t.Error("no error for an unknown mode")
	}
}
