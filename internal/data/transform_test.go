package data

import (
	"math"
	"os"
	"path/filepath"
	"testing"

	"sat/internal/data/codec"
)

type evalCase struct {
	File          string
	Width, Height int
	Size          int
	CropPct       float64 `json:"crop_pct"`
	Filter        string
	ToWidth       int `json:"to_width"`
	ToHeight      int `json:"to_height"`
	SHA256        string
}

func TestEvalTransformEqualsPillow(t *testing.T) {
	var r codec.Resizer
	var d codec.Decoder
	defer d.Close()
	skipped := 0
	for _, c := range golden[evalCase](t, "eval.json") {
		transform, err := NewEvalTransform(c.Size, c.CropPct, c.Filter)
		if err != nil {
			t.Fatal(err)
		}
		if w, h := transform.resized(c.Width, c.Height); w != c.ToWidth || h != c.ToHeight {
			t.Errorf("%+v: resized to %dx%d", c, w, h)
			continue
		}
		src := codec.Image{}
		if c.File == "" {
			src = formulaImage(c.Width, c.Height)
		} else {
			content, err := os.ReadFile(filepath.Join("codec", "testdata", c.File))
			if err != nil {
				t.Fatal(err)
			}
			if src, err = d.Decode(content); err != nil {
				if filepath.Ext(c.File) == ".jpg" {
					skipped++
					continue
				}
				t.Fatal(err)
			}
		}
		dst := make([]byte, c.Size*c.Size*codec.Channels)
		for i := range dst {
			dst[i] = 77 // what is not written must be noticed
		}
		if err := transform.Apply(dst, src, &r); err != nil {
			t.Fatalf("%+v: %v", c, err)
		}
		if got := sha(dst); got != c.SHA256 {
			t.Errorf("%+v: got SHA-256 %s", c, got)
		}
	}
	if _, err := d.Decode([]byte("\xff\xd8\xff")); skipped > 0 {
		skipWithoutJPEG(t, err)
		t.Errorf("%d JPEG files could not be decoded", skipped)
	}
}

// The short sides of the zoo's combinations, worked out by hand (floor of size / crop in double precision).
func TestShortSide(t *testing.T) {
	cases := []struct {
		size int
		crop float64
		want int
	}{
		{224, 0.875, 256}, {224, 0.9, 248}, {224, 0.94, 238}, {224, 0.95, 235}, {224, 0.965, 232}, {224, 1, 224},
		{240, 0.875, 274}, {240, 0.95, 252}, {256, 0.887, 288}, {256, 0.9, 284}, {256, 0.94, 272}, {256, 0.95, 269},
		{288, 1, 288}, {299, 0.903, 331},
	}
	for _, c := range cases {
		transform, err := NewEvalTransform(c.size, c.crop, "bicubic")
		if err != nil || transform.Short != c.want {
			t.Errorf("%d / %v: got %d, %v, want %d", c.size, c.crop, transform.Short, err, c.want)
		}
	}
}

func TestCentreCrop(t *testing.T) {
	transform := EvalTransform{Size: 10}
	cases := []struct{ n, from, to, length int }{
		{10, 0, 0, 10},
		{11, 0, 0, 10},  // 0.5 rounds to even: 0
		{13, 2, 0, 10},  // 1.5 -> 2
		{15, 2, 0, 10},  // 2.5 -> 2
		{31, 10, 0, 10}, // 10.5 -> 10
		{33, 12, 0, 10}, // 11.5 -> 12
		{9, 0, 0, 9},    // one column of black behind
		{7, 0, 1, 7},    // one before, two behind
		{1, 0, 4, 1},
	}
	for _, c := range cases {
		if from, to, length := transform.centre(c.n); from != c.from || to != c.to || length != c.length {
			t.Errorf("%d: got (%d, %d, %d), want (%d, %d, %d)", c.n, from, to, length, c.from, c.to, c.length)
		}
	}
}

func TestNewEvalTransformErrors(t *testing.T) {
	cases := []struct {
		name   string
		size   int
		crop   float64
		filter string
		want   string
	}{
		{"filter", 224, 0.9, "nearest", `"nearest"`},
		{"no size", 0, 0.9, "bicubic", "input size 0"},
		{"huge size", 1 << 20, 0.9, "bicubic", "input size"},
		{"no crop", 224, 0, "bicubic", "crop_pct 0"},
		{"negative crop", 224, -1, "bicubic", "crop_pct -1"},
		{"NaN", 224, math.NaN(), "bicubic", "crop_pct NaN"},
		{"tiny crop", 224, 1e-9, "bicubic", "crop_pct 1e-09"},
		{"huge crop", 224, 1e9, "bicubic", "crop_pct 1e+09"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := NewEvalTransform(c.size, c.crop, c.filter)
			wantError(t, err, c.want)
		})
	}
}

func TestScaleEqualsNumPy(t *testing.T) {
	type scaleCase struct{ Bits []uint32 }
	bits := golden[scaleCase](t, "scale.json")[0].Bits
	if len(bits) != 256 {
		t.Fatalf("%d values", len(bits))
	}
	for v, want := range bits {
		if got := math.Float32bits(scale[v]); got != want {
			t.Errorf("%d/255: got %#x, want %#x", v, got, want)
		}
	}
}
