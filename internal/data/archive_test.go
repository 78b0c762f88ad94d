package data

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// pack makes a tar file of files as tree does: a content of "" is a small PNG, "-> " a symbolic and "=> " a hard link; a name
// ending in a slash is a folder.
func pack(t testing.TB, files map[string]string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		content := files[name]
		h := &tar.Header{Name: name, Mode: 0o644, Typeflag: tar.TypeReg}
		soft, isSoft := strings.CutPrefix(content, "-> ")
		hard, isHard := strings.CutPrefix(content, "=> ")
		switch {
		case strings.HasSuffix(name, "/"):
			h.Typeflag, content = tar.TypeDir, ""
		case isSoft:
			h.Typeflag, h.Linkname, content = tar.TypeSymlink, soft, ""
		case isHard:
			h.Typeflag, h.Linkname, content = tar.TypeLink, hard, ""
		case content == "":
			content = smallPNG(t, name)
		}
		h.Size = int64(len(content))
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// The same images as files, as an archive per class, per split and per split of archives give the same list, the same
// digest and the same bytes.
func TestArchivesAreReadInPlace(t *testing.T) {
	content := map[string]string{}
	for _, name := range []string{"a/1.png", "a/deep/2.JPEG", "b/1.png", "c/1.png"} {
		content[name] = smallPNG(t, name)
	}
	withJunk := merge(content, map[string]string{"a/notes.txt": "x", "a/._1.png": "x", ".git/d/1.png": "x", "README": "x", "a/": "", "a/deep/": ""})
	under := func(prefix string, files map[string]string) map[string]string {
		out := map[string]string{}
		for name, c := range files {
			out[prefix+name] = c
		}
		return out
	}
	classes := map[string]map[string]string{}
	for name, c := range content {
		class, file, _ := strings.Cut(name, "/")
		if classes[class] == nil {
			classes[class] = map[string]string{}
		}
		classes[class][file] = c
	}
	perClass, perClassFolder := map[string]string{}, map[string]string{}
	for class, files := range classes {
		perClass[class+".tar"] = string(pack(t, files))
		perClassFolder[class+".TAR"] = string(pack(t, under("./"+class+"/", files)))
	}
	longName := strings.Repeat("long/", 60) // beyond what the first tar format could name
	cases := []struct {
		name string
		root string
	}{
		{"folder", tree(t, under("val/", content))},
		{"archive per class", tree(t, under("val/", perClass))},
		{"archive per class, each with its folder", tree(t, under("val/", perClassFolder))},
		{"archive per split", tree(t, map[string]string{"val.tar": string(pack(t, withJunk)), "train.tar": "not looked at"})},
		{"ImageNet's name", tree(t, map[string]string{"ILSVRC2012_img_val.tar": string(pack(t, under("./", withJunk)))})},
		{"archives in an archive", tree(t, map[string]string{"validation.tar": string(pack(t, perClass))})},
		{"an archive itself", filepath.Join(tree(t, map[string]string{"x.tar": string(pack(t, under("val/", content)))}), "x.tar")},
		{"a tree packed with folders above it", filepath.Join(tree(t, map[string]string{"x.tar": string(pack(t,
			merge(under(longName+"images/val/", content), map[string]string{longName + "images/train/q/1.png": ""})))}), "x.tar")},
	}
	var want *Set
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			f, err := OpenFolder(t.Context(), c.root, FolderOptions{})
			if err != nil {
				t.Fatal(err)
			}
			s, err := Load(t.Context(), f, smallTransform, LoadOptions{CacheDir: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { s.Close() })
			if want == nil {
				whole := *s
				whole.Images = bytes.Clone(s.Images)
				want = &whole
			}
			if !slices.Equal(s.IDs, want.IDs) || !slices.Equal(s.Labels, want.Labels) || s.Digest != want.Digest || !slices.Equal(f.Classes, []string{"a", "b", "c"}) {
				t.Errorf("got %v %v, want %v %v; classes %v", s.IDs, s.Labels, want.IDs, want.Labels, f.Classes)
			}
			if !bytes.Equal(s.Images, want.Images) || s.Content != want.Content {
				t.Error("other pixels than from files")
			}
		})
	}
}

func TestArchiveOfLooseImagesWithList(t *testing.T) {
	root := tree(t, map[string]string{
		"ILSVRC2012_img_val.tar": string(pack(t, map[string]string{"1.JPEG": "", "2.JPEG": "", "3.JPEG": "", "4.JPEG": "=> 1.JPEG", "5.JPEG": "-> 2.JPEG"})),
		"val.txt":                "2.JPEG b\n1.JPEG a\n4.JPEG b\n5.JPEG c\n", "wrong.txt": "2.JPEG b\n9.JPEG a\n",
	})
	f, err := OpenFolder(t.Context(), root, FolderOptions{List: filepath.Join(root, "val.txt")})
	if err != nil {
		t.Fatal(err)
	}
	ids, labels := listing(f)
	if !slices.Equal(ids, []string{"1.JPEG", "2.JPEG", "4.JPEG", "5.JPEG"}) || !slices.Equal(labels, []int64{0, 1, 1, 2}) {
		t.Errorf("got %v %v", ids, labels)
	}
	s, err := Load(t.Context(), f, smallTransform, LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if image := func(i int) string { return string(s.Images[75*i : 75*i+75]) }; image(2) != image(0) || image(3) != image(1) || image(0) == image(1) {
		t.Error("links lead to other images")
	}
	_, err = OpenFolder(t.Context(), root, FolderOptions{List: filepath.Join(root, "wrong.txt")})
	wantError(t, err, "wrong.txt:2", `no file "9.JPEG"`)
	_, err = OpenFolder(t.Context(), root, FolderOptions{})
	wantError(t, err, "5 images but no class folders", "list")
	if flat, err := OpenFolder(t.Context(), root, FolderOptions{Flat: true}); err != nil || len(flat.Samples) != 5 {
		t.Errorf("flat: %v, %v", flat, err)
	}
}

func TestArchiveErrors(t *testing.T) {
	good := pack(t, map[string]string{"a/1.png": "", "a/2.png": ""})
	second := bytes.Index(good, []byte("a/2.png"))
	damaged := bytes.Clone(good)
	damaged[second+120] ^= 1 // a header's checksum is now wrong
	cases := []struct {
		name, content string
		want          []string
	}{
		{"text", "hello", []string{"neither a folder nor a tar file"}},
		{"nothing", "", []string{"neither a folder nor a tar file"}},
		{"gzip", "\x1f\x8b\x08\x00rest", []string{"compressed with gzip", "gunzip"}},
		{"Zstandard", "\x28\xb5\x2f\xfdrest", []string{"compressed with Zstandard"}},
		{"cut in a member", string(good[:second+600]), []string{"truncated", "a/2.png"}},
		{"cut in a header", string(good[:second+200]), []string{"truncated", "a/1.png"}},
		{"cut between members", string(good[:second]), []string{"truncated", "without an end mark", "a/1.png"}},
		{"damaged header", string(damaged), []string{"damaged after", "a/1.png"}},
		{"link to nothing", string(pack(t, map[string]string{"a/1.png": "-> ../b/1.png", "a/2.png": ""})), []string{`"a/1.png", a link to "b/1.png"`}},
		{"link to itself", string(pack(t, map[string]string{"a/1.png": "-> 1.png", "a/2.png": ""})), []string{`"a/1.png", a link to "a/1.png"`}},
		{"archives three deep", string(pack(t, map[string]string{"a.tar": string(pack(t, map[string]string{"b.tar": string(good)}))})), []string{"archive in an archive"}},
		{"truncated archive in it", string(pack(t, map[string]string{"a.tar": string(good[:second])})), []string{"a.tar", "truncated"}},
		{"class without images", string(pack(t, map[string]string{"a/1.png": "", "b/x.txt": "x"})), []string{`no images in class "b"`}},
		{"class folder without anything", string(pack(t, map[string]string{"a/1.png": "", "b/": ""})), []string{`no images in class "b"`}},
		{"a name in Latin-1", string(pack(t, map[string]string{"a/caf\xe9.png": ""})), []string{`"a/caf\xe9.png"`, "not UTF-8"}},
		{"only another split, with folders above it", string(pack(t, map[string]string{"x/train/a/1.png": ""})), []string{`folder "train" but none named "val"`}},
		{"another split", string(pack(t, map[string]string{"train/a/1.png": "", "README": "x"})), []string{`folder "train" but none named "val"`}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "x.tar")
			if err := os.WriteFile(file, []byte(c.content), 0o644); err != nil {
				t.Fatal(err)
			}
			_, err := OpenFolder(t.Context(), file, FolderOptions{})
			wantError(t, err, append(c.want, file)...)
		})
	}
	_, err := OpenFolder(t.Context(), tree(t, map[string]string{"train.tar": ""}), FolderOptions{})
	wantError(t, err, `archive "train.tar"`, `"val.tar"`)
	_, err = OpenFolder(t.Context(), tree(t, map[string]string{"val/a.tar.gz": "\x1f\x8b"}), FolderOptions{})
	wantError(t, err, "a.tar.gz", "gunzip")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := OpenFolder(ctx, tree(t, map[string]string{"val.tar": string(good)}), FolderOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	// An image that is cut short in an archive that was listed before.
	root := tree(t, map[string]string{"val.tar": string(good)})
	f, err := OpenFolder(t.Context(), root, FolderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(root, "val.tar"), int64(second+600)); err != nil {
		t.Fatal(err)
	}
	_, err = Load(t.Context(), f, smallTransform, LoadOptions{OnBad: SkipBadImages})
	wantError(t, err, "val.tar: a/2.png", "ends before it")
}

func TestArchiveIndex(t *testing.T) {
	root, dir := tree(t, map[string]string{"val.tar": string(pack(t, manyFiles(30)))}), t.TempDir()
	file := filepath.Join(root, "val.tar")
	open := func() *Folder {
		t.Helper()
		f, err := OpenFolder(t.Context(), root, FolderOptions{IndexDir: dir})
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	want := open().Samples
	index := cacheFile(t, dir, ".tarindex")
	content, err := os.ReadFile(index)
	if err != nil {
		t.Fatal(err)
	}
	// The index is used: with a name changed in it, and the checksum made right, that name appears.
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	of := indexed{Archive: file, Size: info.Size(), Modified: info.ModTime().UnixNano()}
	members, err := parseIndex(content, of)
	if err != nil {
		t.Fatal(err)
	}
	members[0].Name = "class0/renamed.png"
	changed, err := formatIndex(members, of)
	if err != nil {
		t.Fatal(err)
	}
	write := func(content []byte) {
		t.Helper()
		if err := os.WriteFile(index, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(changed)
	if !slices.ContainsFunc(open().Samples, func(s Sample) bool { return s.ID == "class0/renamed.png" }) {
		t.Error("the index was not used")
	}
	members[0].From = of.Size
	outside, err := formatIndex(members, of)
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string][]byte{
		"flipped bit": append(bytes.Clone(changed[:len(changed)-9]), changed[len(changed)-9]^1), "cut short": changed[:200], "empty": nil,
		"a member outside": outside,
	} {
		write(bad)
		if !slices.Equal(open().Samples, want) {
			t.Errorf("%s: another list than without an index", name)
		}
		if now, _ := os.ReadFile(index); !bytes.Equal(now, content) {
			t.Errorf("%s: the index was not mended", name)
		}
	}
	write(changed)
	if err := os.Chtimes(file, time.Time{}, time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(open().Samples, want) {
		t.Error("the index of another archive was used")
	}
}

// The images of arrays, of two sizes.
func TestFolderOfArrays(t *testing.T) {
	root := t.TempDir()
	val := filepath.Join(root, "val")
	images := func(n, h, w int) []uint8 {
		pixels := make([]uint8, n*h*w*3)
		for i := range pixels {
			pixels[i] = byte(i*7 + i/256)
		}
		return pixels
	}
	first, second := images(3, 5, 5), images(2, 9, 7)
	write := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	write(WriteNPY(filepath.Join(val, "images-0.npy"), first, 3, 5, 5, 3))
	write(WriteNPY(filepath.Join(val, "labels-0.npy"), []int64{2, 0, 2}, 3))
	write(WriteNPY(filepath.Join(val, "images-1.npy"), second, 2, 9, 7, 3))
	write(WriteNPY(filepath.Join(val, "labels-1.npy"), []int64{1, 0}, 2))
	f, err := OpenFolder(t.Context(), root, FolderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ids, labels := listing(f)
	if want := []string{"images-0-000001", "images-1-000001", "images-1-000000", "images-0-000000", "images-0-000002"}; !slices.Equal(ids, want) || !slices.Equal(labels, []int64{0, 0, 1, 2, 2}) {
		t.Errorf("got %v %v", ids, labels)
	}
	s, err := Load(t.Context(), f, EvalTransform{Size: 5, Short: 5}, LoadOptions{CacheDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if !bytes.Equal(s.Images[:75], first[75:150]) || !bytes.Equal(s.Images[4*75:], first[150:]) {
		t.Error("images of the network's size changed")
	}
	if err := f.CheckClasses(3); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func() error{
		"labels-1.npy: label 1 is -1":             func() error { return WriteNPY(filepath.Join(val, "labels-1.npy"), []int64{1, -1}, 2) },
		"2 images, labels-1.npy 3 labels":         func() error { return WriteNPY(filepath.Join(val, "labels-1.npy"), []int64{1, 1, 1}, 3) },
		"labels-1.npy: no such file":              func() error { return os.Remove(filepath.Join(val, "labels-1.npy")) },
		"label 0 is 9999999, which is not":        func() error { return WriteNPY(filepath.Join(val, "labels-0.npy"), []int64{9999999, 1, 1}, 3) },
		"images-0.npy: elements <f4, shape [1 3]": func() error { return WriteNPY(filepath.Join(val, "images-0.npy"), []float32{1, 2, 3}, 1, 3) },
	} {
		t.Run(name, func(t *testing.T) {
			kept := map[string][]byte{}
			for _, file := range []string{"images-0.npy", "labels-0.npy", "labels-1.npy"} {
				content, err := os.ReadFile(filepath.Join(val, file))
				if err != nil {
					t.Fatal(err)
				}
				kept[file] = content
			}
			write(spoil())
			_, err := OpenFolder(t.Context(), root, FolderOptions{})
			for part := range strings.SplitSeq(name, ": ") {
				wantError(t, err, part)
			}
			for file, content := range kept {
				write(os.WriteFile(filepath.Join(val, file), content, 0o644))
			}
		})
	}
	write(os.Truncate(filepath.Join(val, "images-1.npy"), 400))
	_, err = OpenFolder(t.Context(), root, FolderOptions{})
	wantError(t, err, "images-1.npy", "truncated")
}

// A list longer than a part is written part by part; what a killed program left is used.
func TestCacheResumes(t *testing.T) {
	defer func(n int) { partSamples = n }(partSamples)
	partSamples = 7
	f := openTree(t, manyFiles(40))
	transforms := []EvalTransform{smallTransform, {Size: 4, Short: 4}, {Size: 8, Short: 9}}
	plain, err := LoadAll(t.Context(), f, transforms, LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, stop := range []int{0, 3, 7, 20, 39, 40} {
		t.Run(strconv.Itoa(stop), func(t *testing.T) {
			dir := t.TempDir()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if stop == 0 {
				cancel()
			}
			sets, err := LoadAll(ctx, f, transforms[:2], LoadOptions{CacheDir: dir, Progress: func(done, total int) {
				if total != 40 {
					t.Errorf("%d of %d", done, total)
				}
				if done == stop {
					cancel()
				}
			}})
			if !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			if sets != nil {
				t.Error("sets came with the error")
			}
			parts, _ := filepath.Glob(filepath.Join(dir, "parts", "*"))
			if complete := stop / 7 * 2; len(parts) < complete {
				t.Errorf("%d parts kept, want %d", len(parts), complete)
			}
			if len(parts) > 2 { // one is damaged
				if err := os.Truncate(parts[1], 5000); err != nil {
					t.Fatal(err)
				}
			}
			done := 0
			sets, err = LoadAll(t.Context(), f, transforms, LoadOptions{CacheDir: dir, Progress: func(int, int) { done++ }})
			if err != nil || done != 40 {
				t.Fatalf("%d images, %v", done, err)
			}
			for k, s := range sets {
				defer s.Close()
				if !bytes.Equal(s.Images, plain[k].Images) || s.Content != plain[k].Content || !slices.Equal(s.IDs, plain[k].IDs) {
					t.Errorf("transform %d differs from an uninterrupted load", k)
				}
			}
			if left, _ := filepath.Glob(filepath.Join(dir, "parts*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// Several transforms, several workers and bad images at once.
func TestLoadAllSkips(t *testing.T) {
	defer func(n int) { partSamples = n }(partSamples)
	partSamples = 5
	files := manyFiles(23)
	for i := range 5 {
		files["class0/bad"+strconv.Itoa(i)+".png"] = "bad"
	}
	f := openTree(t, files)
	transforms := []EvalTransform{smallTransform, {Size: 4, Short: 4}}
	var first []*Set
	for _, o := range []LoadOptions{{}, {Workers: 5}, {CacheDir: t.TempDir()}} {
		o.OnBad = SkipBadImages
		sets, err := LoadAll(t.Context(), f, transforms, o)
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = sets
		}
		for k, s := range sets {
			defer s.Close()
			if s.N != 23 || len(s.Skipped) != 5 || !bytes.Equal(s.Images, first[k].Images) || s.Content != first[k].Content || fmt.Sprint(s.Skipped) != fmt.Sprint(first[k].Skipped) {
				t.Errorf("%+v: %d images, %d skipped", o, s.N, len(s.Skipped))
			}
		}
	}
}
