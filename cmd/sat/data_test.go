package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"path/filepath"
	"slices"
	"testing"
)

// TestDataDumpLayouts: the same images as a folder, a tar file, and loose in a tar file with a list are the same array; a
// class map changes the order, a subset keeps what a run would keep.
func TestDataDumpLayouts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	names := []string{"3/a.png", "3/b.png", "4/c.png", "4/d.png"}
	pack := func(rename func(string) string) []byte {
		var out bytes.Buffer
		w := tar.NewWriter(&out)
		for i, name := range names {
			content := readFile(t, in("images/val/"+name))
			must(t, w.WriteHeader(&tar.Header{Name: rename(names[i]), Size: int64(len(content)), Mode: 0o644, Typeflag: tar.TypeReg}))
			_, err := w.Write(content)
			must(t, err)
		}
		must(t, w.Close())
		return out.Bytes()
	}
	digit := digitPNG(t)
	for i, name := range names {
		content := slices.Clone(digit)
		if i%2 == 1 {
			content = readFile(t, filepath.Join(checkout(), "internal", "data", "codec", "testdata", "rgb.png"))
		}
		write(t, in("images/val/"+name), content)
	}
	write(t, in("digits.tar"), pack(func(name string) string { return "val/" + name }))
	write(t, in("flat/val.tar"), pack(filepath.Base))
	write(t, in("val.txt"), []byte("a.png three\nb.png three\nc.png four\nd.png four\n"))
	write(t, in("classes.txt"), []byte("three 0\nfour 1\n"))
	write(t, in("reversed.txt"), []byte("3 1\n4 0\n"))
	type dump struct {
		Shape  []int
		Labels []int64
		IDs    []string `json:"ids"`
		Digest string
	}
	pixels := map[string][]byte{}
	described := map[string]dump{}
	for _, c := range []struct {
		name string
		args []string
	}{
		{"folder", []string{"--images", "images"}},
		{"tar", []string{"--images", "digits.tar"}},
		{"list", []string{"--images", "flat", "--list", "val.txt", "--class-map", "classes.txt"}},
		{"reversed", []string{"--images", "images", "--class-map", "reversed.txt"}},
		{"subset", []string{"--images", "digits.tar", "--subset", "per-class", "--count", "1"}},
	} {
		out := mustSat(t, dir, append([]string{"data", "dump", "--size", "8", "--json", "--out", c.name + ".npy"}, c.args...)...)
		var d dump
		must(t, json.Unmarshal([]byte(out), &d))
		described[c.name], pixels[c.name] = d, readFile(t, in(c.name+".npy"))
	}
	for _, name := range []string{"tar", "list"} {
		if !bytes.Equal(pixels[name], pixels["folder"]) || !slices.Equal(described[name].Labels, []int64{0, 0, 1, 1}) {
			t.Errorf("%s: other images than the folder, or labels %v", name, described[name].Labels)
		}
	}
	if described["tar"].Digest != described["folder"].Digest || !slices.Equal(described["tar"].IDs, names) {
		t.Errorf("the archive: %+v, the folder: %+v", described["tar"], described["folder"])
	}
	if want := []string{"4/c.png", "4/d.png", "3/a.png", "3/b.png"}; !slices.Equal(described["reversed"].IDs, want) {
		t.Errorf("class map: %v", described["reversed"].IDs)
	}
	if d := described["subset"]; d.Shape[0] != 2 || !slices.Equal(d.Labels, []int64{0, 1}) {
		t.Errorf("subset: %+v", d)
	}
	for _, c := range []struct {
		args []string
		code int
		want []string
	}{
		{[]string{"--images", "flat"}, 1, []string{"4 images but no class folders", "list"}},
		{[]string{"--images", "images", "--class-map", "classes.txt"}, 1, []string{"classes.txt", `"3", "4"`}},
		{[]string{"--images", "digits.tar", "--split", "train"}, 1, []string{`folder "val" but none named "train"`}},
		{[]string{"--images", "images", "--subset", "per-class"}, 2, []string{"--subset", "--fraction", "--count"}},
		{[]string{"--images", "images", "--fraction", "0.5"}, 2, []string{"--fraction", "--subset"}},
	} {
		args := append([]string{"data", "dump", "--size", "8", "--out", "x.npy"}, c.args...)
		refused(t, sat(t, dir, args...), c.code, c.want, args)
	}
}
