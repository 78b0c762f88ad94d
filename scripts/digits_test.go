// Package scripts holds no Go code, only tests of the Python programs in this folder.
package scripts

import (
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"sat/internal/testkit"
)

// digits runs digits.py into dir.
func digits(t *testing.T, dir, seed string) {
	t.Helper()
	root := testkit.Root(t)
	python := filepath.Join(root, "third_party", "env", "bin", "python")
	if _, err := exec.LookPath(python); err != nil {
		t.Skip("needs the Python environment in third_party/env (make build makes it)")
	}
	text, err := exec.Command(python, filepath.Join(root, "scripts", "digits.py"), "--out", dir, "--seed", seed).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
}

// tree returns the contents of all files under dir by relative path.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		name, relErr := filepath.Rel(dir, path)
		if relErr != nil {
			return relErr
		}
		files[filepath.ToSlash(name)] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func same(t *testing.T, what string, got, want map[string]string) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d files, want %d", what, len(got), len(want))
	}
	for name, content := range want {
		if got[name] != content {
			t.Errorf("%s: %s differs", what, name)
		}
	}
}

func TestDigits(t *testing.T) {
	dir := t.TempDir()
	digits(t, dir, "0")
	first := tree(t, dir)
	if len(first) != 1797+1 {
		t.Fatalf("%d files, want 1,797 and the digest", len(first))
	}

	// Image 0 is a zero; its pixels are those of the data set, of 16 levels.
	name := filepath.Join(dir, "train", "0", "0000.png")
	if first["train/0/0000.png"] == "" {
		name = filepath.Join(dir, "val", "0", "0000.png")
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	img, err := png.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	if b := img.Bounds(); b.Dx() != 8 || b.Dy() != 8 {
		t.Errorf("size %v", b)
	}
	for x, level := range []float64{0, 0, 5, 13, 9, 1, 0, 0} { // its first row in the UCI file
		r, g, b, _ := img.At(x, 0).RGBA()
		if want := uint32(level*255/16 + 0.5); r>>8 != want || g != r || b != r {
			t.Errorf("pixel %d is %d, want %d", x, r>>8, want)
		}
	}

	// A finished tree is left alone: a file's time does not change.
	before, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	digits(t, dir, "0")
	if after, err := os.Stat(name); err != nil || !after.ModTime().Equal(before.ModTime()) {
		t.Errorf("the finished tree was written again (%v)", err)
	}

	// What an interrupted or damaged run leaves is mended: no digest, a half-written image, an image of another split.
	for _, path := range []string{"digest.json", filepath.Join("val", "7")} {
		if err := os.RemoveAll(filepath.Join(dir, path)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(name, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "train", "1", "9999.png"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	digits(t, dir, "0")
	same(t, "mended", tree(t, dir), first)

	// Another seed is another split of the same images.
	digits(t, dir, "1")
	other := tree(t, dir)
	moved := 0
	for name := range first {
		if other[name] == "" {
			moved++
		}
	}
	if len(other) != len(first) || moved < 300 {
		t.Errorf("seed 1: %d files, %d of them moved", len(other), moved)
	}
}
