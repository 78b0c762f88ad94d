package data

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sat/internal/data/codec"
)

// golden reads testdata/name, written by scripts/goldens/data_pillow.py, into cases of type T.
func golden[T any](t testing.TB, name string) []T {
	t.Helper()
	var file struct {
		Header struct{ Tool, Script, Date, Tolerance string }
		Cases  []T
	}
	content, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(content, &file); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if len(file.Cases) == 0 || !strings.Contains(file.Header.Tool, "pillow 13.0.0") {
		t.Fatalf("%s: %d cases made by %q", name, len(file.Cases), file.Header.Tool)
	}
	return file.Cases
}

// formulaImage computes the images that the golden script computes too.
func formulaImage(width, height int) codec.Image {
	m := codec.NewImage(width, height)
	for y := range uint32(height) {
		for x := range uint32(width) {
			for c := range uint32(codec.Channels) {
				v := x*3 + y*2 + c*40 + x*y/64
				if (width+height)%2 == 1 {
					v = x*73856093 ^ y*19349663 ^ c*83492791
					v ^= v >> 13
					v *= 0x5bd1e995
					v ^= v >> 15
				}
				m.Pixels[int(y)*m.Stride+int(x*codec.Channels+c)] = byte(v)
			}
		}
	}
	return m
}

func sha(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// tree makes files below a new folder. A content of "" becomes a small PNG whose pixels depend on the name; one that
// begins with "-> " becomes a symbolic link.
func tree(t testing.TB, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, "/") {
			if err := os.MkdirAll(path, 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if target, ok := strings.CutPrefix(content, "-> "); ok {
			if err := os.Symlink(target, path); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if content == "" {
			content = smallPNG(t, name)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// smallPNG encodes a 9x7 image that differs for every name.
func smallPNG(t testing.TB, name string) string {
	t.Helper()
	seed := sha256.Sum256([]byte(name))
	m := image.NewNRGBA(image.Rect(0, 0, 9, 7))
	for y := range 7 {
		for x := range 9 {
			i := y*9 + x
			m.SetNRGBA(x, y, color.NRGBA{seed[i%32] + byte(i), seed[(i+7)%32], seed[(3*i)%32], 255})
		}
	}
	var out bytes.Buffer
	if err := png.Encode(&out, m); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// wantError checks that err is there and says every one of the given words.
func wantError(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", words)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("got error %q, want it to say %q", err, word)
		}
	}
}

func skipWithoutJPEG(t testing.TB, err error) {
	t.Helper()
	if errors.Is(err, codec.ErrUnavailable) {
		t.Skip("this build has no cgo, hence no libjpeg-turbo")
	}
}
