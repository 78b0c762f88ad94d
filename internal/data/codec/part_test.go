package codec

import (
	"bytes"
	"image"
	"image/jpeg"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// A part has the pixels that a crop of the whole has, which equal Pillow's: for every kind of file, with parts at all edges
// and of all sizes.
func TestDecodePartEqualsCrop(t *testing.T) {
	files := map[string][]byte{"photograph.jpg": photograph(t, 500, 375), "tall.jpg": photograph(t, 97, 640)}
	names, err := filepath.Glob("testdata/*.[jp][pn]g")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		files[filepath.Base(name)] = content
	}
	if len(files) < 40 {
		t.Fatalf("only %d files", len(files))
	}
	var d, whole Decoder
	defer d.Close()
	defer whole.Close()
	for name, content := range files {
		t.Run(name, func(t *testing.T) {
			m, err := whole.Decode(content)
			skipWithoutJPEG(t, err)
			if err != nil {
				t.Fatal(err)
			}
			const seed = 1
			random := rand.New(rand.NewPCG(seed, 0))
			for round := range 80 {
				w, h := 1+random.IntN(m.Width), 1+random.IntN(m.Height)
				r := Rect{Left: random.IntN(m.Width - w + 1), Top: random.IntN(m.Height - h + 1), Width: w, Height: h}
				switch round {
				case 0:
					r = Rect{Width: m.Width, Height: m.Height}
				case 1:
					r.Left, r.Top = m.Width-w, m.Height-h
				case 2:
					r.Left, r.Top = 0, 0
				case 3:
					r.Width = 1
				case 4:
					r.Height = 1
				}
				got, err := d.DecodePart(content, func(width, height int) Rect {
					if width != m.Width || height != m.Height {
						t.Errorf("asked for a part of %dx%d, the image is %dx%d", width, height, m.Width, m.Height)
					}
					return r
				})
				if err != nil {
					t.Fatalf("%+v: %v", r, err)
				}
				if want := m.Crop(r.Left, r.Top, r.Width, r.Height); got.Width != r.Width || got.Height != r.Height || digest(got) != digest(want) {
					t.Fatalf("%+v of %dx%d (seed %d): other pixels than the crop of the whole", r, m.Width, m.Height, seed)
				}
			}
		})
	}
}

// photograph is a JPEG file with 4:2:0 chroma and structure everywhere.
func photograph(t *testing.T, width, height int) []byte {
	t.Helper()
	m := formulaImage(width, height, "noise")
	out := image.NewRGBA(image.Rect(0, 0, width, height))
	for p := range width * height {
		copy(out.Pix[4*p:4*p+3], m.Pixels[3*p:])
		out.Pix[4*p+3] = 255
	}
	var file bytes.Buffer
	if err := jpeg.Encode(&file, out, &jpeg.Options{Quality: 90}); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

func TestDecodePartErrors(t *testing.T) {
	content := readFile(t, "rgb420_101x203.jpg")
	corner := func(int, int) Rect { return Rect{Width: 8, Height: 8} }
	var d Decoder
	defer d.Close()
	_, err := d.Decode(content)
	skipWithoutJPEG(t, err)
	// Half a file is an error also where the part that is there would do.
	if _, err := d.DecodePart(content[:len(content)/2], corner); err == nil {
		t.Error("half a file: no error")
	}
	for _, r := range []Rect{{}, {Left: -1, Width: 5, Height: 5}, {Left: 97, Width: 5, Height: 5}, {Top: 203, Width: 1, Height: 1}} {
		if _, err := d.DecodePart(content, func(int, int) Rect { return r }); err == nil {
			t.Errorf("%+v: no error", r)
		}
	}
	// The decoder still works, and for whole images too.
	if _, err := d.DecodePart(content, corner); err != nil {
		t.Error(err)
	}
	if m, err := d.Decode(content); err != nil || m.Width != 101 || m.Height != 203 {
		t.Errorf("whole image after parts: %dx%d, %v", m.Width, m.Height, err)
	}
	if png := readFile(t, "rgb.png"); !slices.Equal(png[:4], []byte("\x89PNG")) {
		t.Error("not a PNG")
	} else if _, err := d.DecodePart(png, func(w, h int) Rect { return Rect{Width: w + 1, Height: h} }); err == nil {
		t.Error("a part larger than the PNG: no error")
	}
}
