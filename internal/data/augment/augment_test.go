package augment

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sat/internal/data/codec"
	"sat/internal/rng"
)

// golden reads testdata/name, written by scripts/goldens/data_augment.py, and returns its cases.
func golden[T any](t *testing.T, name string) []T {
	t.Helper()
	var file struct {
		Header struct{ Tool string }
		Cases  []T
	}
	content, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(content, &file); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if len(file.Cases) == 0 || !strings.Contains(file.Header.Tool, "timm 1.0.31") {
		t.Fatalf("%s: %d cases made by %q", name, len(file.Cases), file.Header.Tool)
	}
	return file.Cases
}

// formulaImage computes the images that the golden script computes too, inside a larger one so that rows have gaps.
func formulaImage(width, height int, kind string) codec.Image {
	m := codec.NewImage(width+1, height).Crop(0, 0, width, height)
	for y := range uint32(height) {
		for x := range uint32(width) {
			for c := range uint32(codec.Channels) {
				v := x*3 + y*2 + c*40 + x*y/64
				if kind == "noise" {
					v = x*73856093 ^ y*19349663 ^ c*83492791
					v ^= v >> 13
					v *= 0x5bd1e995
					v ^= v >> 15
				}
				sample := byte(v)
				if kind == "dark" {
					if sample = sample/3 + 40; c == 2 {
						sample = 77
					}
				}
				m.Pixels[int(y)*m.Stride+int(x)*codec.Channels+int(c)] = sample
			}
		}
	}
	return m
}

func digest(m codec.Image) string {
	h := sha256.New()
	for y := range m.Height {
		h.Write(m.Pixels[y*m.Stride:][:m.Width*codec.Channels])
	}
	return hex.EncodeToString(h.Sum(nil))
}

var opNames = map[string]int{
	"autocontrast": opAutoContrast, "equalize": opEqualize, "invert": opInvert, "posterize": opPosterize, "solarize": opSolarize,
	"solarize_add": opSolarizeAdd, "color": opColor, "contrast": opContrast, "brightness": opBrightness, "sharpness": opSharpness,
	"rotate": opRotate, "shear_x": opShearX, "shear_y": opShearY, "translate_x": opTranslateX, "translate_y": opTranslateY,
}

func TestOperationsEqualPillow(t *testing.T) {
	fill := [codec.Channels]uint8{124, 116, 104}
	var g Augmenter
	wrong := 0
	for _, c := range golden[struct {
		Width, Height            int
		Kind, Op, Filter, SHA256 string
		Arg                      float64
	}](t, "operations.json") {
		m := formulaImage(c.Width, c.Height, c.Kind)
		if c.Op == "grey" {
			Grey(m)
		} else {
			op, ok := opNames[c.Op]
			if !ok {
				t.Fatalf("the golden has an operation %q that nothing here is", c.Op)
			}
			a := Application{op: op, arg: c.Arg}
			if c.Filter == "bicubic" {
				a.filter = codec.Bicubic
			}
			g.Apply(m, a, fill)
		}
		if got := digest(m); got != c.SHA256 {
			if wrong++; wrong < 10 {
				t.Errorf("%s %v %s of %dx%d %s: got SHA-256 %s, want %s", c.Op, c.Arg, c.Filter, c.Width, c.Height, c.Kind, got, c.SHA256)
			}
		}
	}
	if wrong > 0 {
		t.Errorf("%d cases differ", wrong)
	}
}

// Pillow 13 refuses 0 bits; every earlier version gives black.
func TestPosterizeToNothingIsBlack(t *testing.T) {
	m := formulaImage(5, 4, "noise")
	Posterize(m, 0)
	for y := range m.Height {
		for _, v := range m.Pixels[y*m.Stride:][:m.Width*codec.Channels] {
			if v != 0 {
				t.Fatalf("row %d has sample %d, want 0", y, v)
			}
		}
	}
}

func TestCropEqualsTimm(t *testing.T) {
	crop := DefaultCrop()
	for _, c := range golden[struct {
		Width, Height int
		Scale         float64
		LogRatio      float64 `json:"log_ratio"`
		Left, Top     int
		CropWidth     int `json:"crop_width"`
		CropHeight    int `json:"crop_height"`
	}](t, "crops.json") {
		w, h := sides(c.Scale*float64(c.Width*c.Height), c.LogRatio)
		got := Rect{Left: c.Width - w, Top: c.Height - h, Width: w, Height: h}
		if w > c.Width || h > c.Height {
			got = crop.centre(c.Width, c.Height)
		}
		if want := (Rect{Left: c.Left, Top: c.Top, Width: c.CropWidth, Height: c.CropHeight}); got != want {
			t.Errorf("%dx%d, scale %v, log ratio %v: got %+v, want %+v", c.Width, c.Height, c.Scale, c.LogRatio, got, want)
		}
	}
}

func TestErasingEqualsTimm(t *testing.T) {
	for _, c := range golden[struct {
		Width, Height int
		Area          float64
		LogRatio      float64 `json:"log_ratio"`
		BoxWidth      int     `json:"box_width"`
		BoxHeight     int     `json:"box_height"`
	}](t, "erasing.json") {
		h, w := sides(c.Area*float64(c.Width*c.Height), c.LogRatio)
		if w >= c.Width || h >= c.Height {
			w, h = 0, 0
		}
		if w != c.BoxWidth || h != c.BoxHeight {
			t.Errorf("%dx%d, area %v, log ratio %v: got %dx%d, want %dx%d", c.Width, c.Height, c.Area, c.LogRatio, w, h, c.BoxWidth, c.BoxHeight)
		}
	}
}

func TestCutMixEqualsTimm(t *testing.T) {
	for _, c := range golden[struct {
		Width, Height, CX, CY    int
		Left, Top, Right, Bottom int
		Lambda, Share            float64
	}](t, "cutmix.json") {
		got := Mixing{CeilBox: true}.cut(c.Lambda, c.CY, c.CX, c.Width, c.Height)
		want := Mix{Share: c.Share, CutMix: true, Box: Rect{Left: c.Left, Top: c.Top, Width: c.Right - c.Left, Height: c.Bottom - c.Top}}
		if got != want {
			t.Errorf("%dx%d, lambda %v, centre (%d,%d): got %+v, want %+v", c.Width, c.Height, c.Lambda, c.CY, c.CX, got, want)
		}
		// The box of timm 0.6.7 leaves out the last row and column of an odd box that is not clipped.
		floor := Mixing{}.cut(c.Lambda, c.CY, c.CX, c.Width, c.Height)
		h := int(float64(c.Height) * math.Sqrt(1-c.Lambda))
		if wantHeight := min(c.CY+h/2, c.Height) - max(c.CY-h/2, 0); floor.Box.Height != wantHeight {
			t.Errorf("floor box of height %d, want %d", floor.Box.Height, wantHeight)
		}
	}
}

func TestDrawsStayInTheImage(t *testing.T) {
	const seed = 5
	crop, erasing := DefaultCrop(), DefaultErasing(1)
	mixing := Mixing{Mixup: 0.8, CutMix: 1, Probability: 1, Switch: 0.5}
	cut := 0
	for i := range 3000 {
		s := rng.New(seed, "test", uint64(i))
		w, h := 1+s.IntN(80), 1+s.IntN(80)
		if r := crop.Draw(s, w, h); r.Width < 1 || r.Height < 1 || r.Left < 0 || r.Top < 0 || r.Left+r.Width > w || r.Top+r.Height > h {
			t.Fatalf("seed %d, draw %d: crop %+v of %dx%d", seed, i, r, w, h)
		}
		if r, ok := erasing.Draw(s, w, h); ok && (r.Width < 1 || r.Height < 1 || r.Left < 0 || r.Top < 0 || r.Left+r.Width > w || r.Top+r.Height > h) {
			t.Fatalf("seed %d, draw %d: box %+v of %dx%d", seed, i, r, w, h)
		}
		m := mixing.Draw(s, w, h)
		if !(m.Share >= 0 && m.Share <= 1) {
			t.Fatalf("seed %d, draw %d: share %v", seed, i, m.Share)
		}
		if m.CutMix {
			cut++
			if want := 1 - float64(m.Box.Width*m.Box.Height)/float64(w*h); m.Share != want {
				t.Fatalf("seed %d, draw %d: share %v of box %+v in %dx%d, want %v", seed, i, m.Share, m.Box, w, h, want)
			}
		}
	}
	if cut < 1300 || cut > 1700 {
		t.Errorf("CutMix in %d of 3000 batches, want about half", cut)
	}
}

// The policy's draws have the shares and ranges that timm's have.
func TestPolicyDraws(t *testing.T) {
	p, err := ParsePolicy("rand-m9-mstd0.5-inc1")
	if err != nil {
		t.Fatal(err)
	}
	want := Policy{Layers: 2, Magnitude: 9, Deviation: 0.5, Increasing: true, Probability: 0.5, Filter: codec.Bicubic}
	if p != want {
		t.Fatalf("got %+v, want %+v", p, want)
	}
	const n = 60000
	var seen [operations]int
	total, negative, black := 0, 0, 0
	for i := range n {
		for _, a := range p.Draw(rng.New(1, "augment", uint64(i))) {
			total++
			seen[a.op]++
			if a.op == opRotate {
				if math.Abs(a.arg) > 30 || math.Abs(a.arg) < 15 {
					t.Fatalf("rotation by %v degrees at magnitude 9 ± 0.5", a.arg)
				}
				if a.arg < 0 {
					negative++
				}
			}
			if a.op == opPosterize && a.arg == 0 {
				black++
			}
		}
	}
	near := func(what string, got int, mean float64) {
		t.Helper()
		if sd := math.Sqrt(mean); math.Abs(float64(got)-mean) > 5*sd {
			t.Errorf("%s: %d, want %.0f ± %.0f", what, got, mean, 5*sd)
		}
	}
	near("applications", total, n)
	for op, count := range seen {
		near(fmt.Sprintf("operation %d", op), count, n/operations)
	}
	near("negative rotations", negative, float64(seen[opRotate])/2)
	near("posterised to 0 bits", black, 0.02275*float64(seen[opPosterize])) // P(N(9, 0.5) >= 10)
}

func TestParsePolicyRefuses(t *testing.T) {
	for _, text := range []string{"", "augmix-m3", "rand-m11", "rand-m", "rand-inc2", "rand-x3", "rand-n1.5", "rand-p2", "rand--m9", "rand-m-9"} {
		if p, err := ParsePolicy(text); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", text)) {
			t.Errorf("%q: got %+v, %v; want an error that names it", text, p, err)
		}
	}
}

func TestJitterOfNothing(t *testing.T) {
	m := formulaImage(9, 9, "noise")
	before := digest(m)
	Jitter{}.Apply(rng.New(3, "jitter"), m)
	if digest(m) != before {
		t.Error("a jitter of amount 0 changed the image")
	}
	Jitter{Brightness: 0.3, Contrast: 0.3, Saturation: 0.3}.Apply(rng.New(3, "jitter"), m)
	if digest(m) == before {
		t.Error("a jitter of 0.3 changed nothing")
	}
}

func BenchmarkOperations(b *testing.B) {
	var g Augmenter
	for name, op := range opNames {
		b.Run(name, func(b *testing.B) {
			m := formulaImage(224, 224, "noise")
			arg := map[int]float64{opRotate: 27, opPosterize: 4, opSolarize: 26, opSolarizeAdd: 99, opShearX: 0.27, opShearY: 0.27,
				opTranslateX: 0.4, opTranslateY: 0.4}[op]
			if arg == 0 {
				arg = 1.81
			}
			for b.Loop() {
				g.Apply(m, Application{op: op, arg: arg, filter: codec.Bicubic}, [3]uint8{})
			}
		})
	}
}
