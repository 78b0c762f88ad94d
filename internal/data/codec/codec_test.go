package codec

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// golden reads testdata/name, written by scripts/goldens/data_pillow.py, and returns its cases.
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
func formulaImage(width, height int, kind string) Image {
	m := NewImage(width, height)
	for y := range uint32(height) {
		for x := range uint32(width) {
			for c := range uint32(Channels) {
				v := x*3 + y*2 + c*40 + x*y/64
				if kind == "noise" {
					v = x*73856093 ^ y*19349663 ^ c*83492791
					v ^= v >> 13
					v *= 0x5bd1e995
					v ^= v >> 15
				}
				m.Pixels[int(y)*m.Stride+int(x*Channels+c)] = byte(v)
			}
		}
	}
	return m
}

// digest is the SHA-256 of the image's rows without the gaps between them.
func digest(m Image) string {
	h := sha256.New()
	for y := range m.Height {
		h.Write(m.Pixels[y*m.Stride:][:m.Width*Channels])
	}
	return hex.EncodeToString(h.Sum(nil))
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// skipWithoutJPEG skips a test whose file this build cannot decode.
func skipWithoutJPEG(t testing.TB, err error) {
	t.Helper()
	if errors.Is(err, ErrUnavailable) {
		t.Skip("this build has no cgo, hence no libjpeg-turbo")
	}
}

func TestDecodeEqualsPillow(t *testing.T) {
	type decodeCase struct {
		File, Mode, SHA256 string
		Width, Height      int
	}
	var d Decoder
	defer d.Close()
	for _, c := range golden[decodeCase](t, "decode.json") {
		t.Run(c.File, func(t *testing.T) {
			m, err := d.Decode(readFile(t, c.File))
			skipWithoutJPEG(t, err)
			if err != nil {
				t.Fatal(err)
			}
			if m.Width != c.Width || m.Height != c.Height {
				t.Fatalf("got %dx%d, want %dx%d", m.Width, m.Height, c.Width, c.Height)
			}
			if got := digest(m); got != c.SHA256 {
				t.Errorf("pixels (mode %s): got SHA-256 %s, want %s", c.Mode, got, c.SHA256)
			}
		})
	}
}

type resizeCase struct {
	Width, Height, ToWidth, ToHeight int
	Filter, Kind, SHA256             string
	Pixels                           []int
}

func (c *resizeCase) UnmarshalJSON(data []byte) error {
	var raw struct {
		Width, Height        int
		ToWidth              int `json:"to_width"`
		ToHeight             int `json:"to_height"`
		Filter, Kind, SHA256 string
		Pixels               []int
	}
	err := json.Unmarshal(data, &raw)
	*c = resizeCase(raw)
	return err
}

func TestResizeEqualsPillow(t *testing.T) {
	var r Resizer
	for _, c := range golden[resizeCase](t, "resize.json") {
		filter, err := ParseFilter(c.Filter)
		if err != nil {
			t.Fatal(err)
		}
		src, dst := formulaImage(c.Width, c.Height, c.Kind), NewImage(c.ToWidth, c.ToHeight)
		if err := r.Resize(dst, src, c.ToWidth, c.ToHeight, 0, 0, filter); err != nil {
			t.Fatal(err)
		}
		if got := digest(dst); got != c.SHA256 {
			t.Errorf("%dx%d %s to %dx%d %s: got SHA-256 %s, want %s",
				c.Width, c.Height, c.Kind, c.ToWidth, c.ToHeight, c.Filter, got, c.SHA256)
			for i, want := range c.Pixels {
				if int(dst.Pixels[i]) != want {
					t.Errorf("  sample %d: got %d, want %d", i, dst.Pixels[i], want)
				}
			}
		}
	}
}

// A crop of the resized image, from a part of a larger image into a part of a larger image, must be the same bytes as
// everything computed and then cut, and must write nothing else.
func TestResizeOfParts(t *testing.T) {
	const seed = 77
	var r Resizer
	random := lcg(seed)
	for range 150 {
		w, h := 1+random(60), 1+random(60)
		toW, toH := 1+random(80), 1+random(80)
		if random(4) == 0 {
			toW = w
		}
		if random(4) == 0 {
			toH = h
		}
		filter := Filter(random(2))
		canvas := formulaImage(w+random(5), h+random(5), "noise")
		src := canvas.Crop(canvas.Width-w, canvas.Height-h, w, h)
		if random(2) == 0 {
			src.Pixels = src.Pixels[:len(src.Pixels):len(src.Pixels)] // no slack behind the last pixel
		}

		whole := NewImage(toW, toH)
		if err := r.Resize(whole, src, toW, toH, 0, 0, filter); err != nil {
			t.Fatal(err)
		}
		reference := resizePlainly(src, toW, toH, filter)
		if !bytes.Equal(whole.Pixels, reference.Pixels) {
			t.Fatalf("seed %d: %dx%d to %dx%d %v differs from the plain Go passes", seed, w, h, toW, toH, filter)
		}

		cutW, cutH := 1+random(toW), 1+random(toH)
		left, top := random(toW-cutW+1), random(toH-cutH+1)
		frame := NewImage(cutW+2, cutH+2)
		for i := range frame.Pixels {
			frame.Pixels[i] = 99
		}
		if err := r.Resize(frame.Crop(1, 1, cutW, cutH), src, toW, toH, left, top, filter); err != nil {
			t.Fatal(err)
		}
		for y := range frame.Height {
			for x := range frame.Width {
				want := []byte{99, 99, 99}
				if inside := x >= 1 && y >= 1 && x <= cutW && y <= cutH; inside {
					want = whole.Pixels[(top+y-1)*whole.Stride+(left+x-1)*Channels:][:Channels]
				}
				if got := frame.Pixels[y*frame.Stride+x*Channels:][:Channels]; !bytes.Equal(got, want) {
					t.Fatalf("seed %d: %dx%d to %dx%d %v, cut %dx%d at (%d,%d), pixel (%d,%d): got %v, want %v",
						seed, w, h, toW, toH, filter, cutW, cutH, left, top, x, y, got, want)
				}
			}
		}
	}
}

// resizePlainly is the definition without crops, caches or C.
func resizePlainly(src Image, width, height int, f Filter) Image {
	var a axis
	if width != src.Width {
		a.set(src.Width, width, 0, width, f)
		out := NewImage(width, src.Height)
		horizontalGo(out, src, &a)
		src = out
	}
	out := NewImage(width, height)
	if height != src.Height {
		a.set(src.Height, height, 0, height, f)
		verticalGo(out, src, &a, 0)
		return out
	}
	for y := range height {
		copy(out.Pixels[y*out.Stride:], src.Pixels[y*src.Stride:][:width*Channels])
	}
	return out
}

// lcg returns a small deterministic generator of integers below n.
func lcg(state uint64) func(n int) int {
	return func(n int) int {
		state = state*6364136223846793005 + 1442695040888963407
		return int(state>>33) % n
	}
}

func TestResizeRefusesContradictions(t *testing.T) {
	var r Resizer
	src := NewImage(8, 8)
	short := src
	short.Pixels = short.Pixels[:10]
	cases := []struct {
		name                     string
		dst, src                 Image
		width, height, left, top int
		want                     string
	}{
		{"crop beyond the image", NewImage(5, 5), src, 6, 6, 2, 0, "reach beyond"},
		{"negative offset", NewImage(5, 5), src, 6, 6, 0, -1, "reach beyond"},
		{"empty source", NewImage(5, 5), Image{}, 6, 6, 0, 0, "0x0 pixels"},
		{"empty destination", Image{}, src, 6, 6, 0, 0, "0x0 pixels"},
		{"source too short", NewImage(5, 5), short, 6, 6, 0, 0, "only 10 bytes"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			err := r.Resize(c.dst, c.src, c.width, c.height, c.left, c.top, Bilinear)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

func TestParseFilter(t *testing.T) {
	for _, f := range []Filter{Bilinear, Bicubic} {
		if got, err := ParseFilter(f.String()); err != nil || got != f {
			t.Errorf("%v: got %v, %v", f, got, err)
		}
	}
	if _, err := ParseFilter("random"); err == nil {
		t.Error("no error for an unknown filter")
	}
}

func TestDecodeErrors(t *testing.T) {
	jpeg, png := readFile(t, "rgb420_101x203.jpg"), readFile(t, "rgb.png")
	progressive := readFile(t, "rgb420_progressive.jpg")
	sixteen := bytes.Clone(png)
	sixteen[24] = 16
	huge := bytes.Clone(png)
	copy(huge[16:], []byte{0, 1, 0, 0, 0, 1, 0, 0}) // 65536 x 65536
	flipped := bytes.Clone(png)
	flipped[len(flipped)/2] ^= 1
	hugeJPEG := bytes.Clone(jpeg)
	if sof := bytes.Index(hugeJPEG, []byte{0xff, 0xc0}); sof > 0 {
		copy(hugeJPEG[sof+5:], []byte{0xff, 0x00, 0xff, 0x00})
	}
	cases := []struct {
		name string
		data []byte
		want string
	}{
		{"empty", nil, "empty"},
		{"text", []byte("hello, world"), "neither JPEG nor PNG"},
		{"gif", []byte("GIF89a......"), "this is a GIF"},
		{"webp", []byte("RIFF\x00\x00\x00\x00WEBPVP8 "), "this is a WebP"},
		{"jpeg, only the start", jpeg[:20], "JPEG: "},
		{"jpeg, half", jpeg[:len(jpeg)/2], "Premature end of JPEG file"},
		{"jpeg, no end marker", jpeg[:len(jpeg)-2], "Premature end of JPEG file"},
		{"progressive, half", progressive[:len(progressive)/2], "Premature end of JPEG file"},
		{"jpeg, header only", jpeg[:4], "JPEG: "},
		{"jpeg, larger than the limit", hugeJPEG, "larger than the limit"},
		{"png, half", png[:len(png)/2], "PNG: "},
		{"png, header only", png[:20], "PNG header: "},
		{"png, flipped bit", flipped, "PNG: "},
		{"png, 16 bits", sixteen, "16 bits per sample"},
		{"png, damaged header", huge, "PNG header: "}, // its checksum is wrong before its size matters
	}
	var d Decoder
	defer d.Close()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m, err := d.Decode(c.data)
			skipWithoutJPEG(t, err)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want an error with %q", err, c.want)
			}
			if m.Pixels != nil {
				t.Error("an image came with the error")
			}
			// The decoder must still work.
			if _, err := d.Decode(jpeg); err != nil && !errors.Is(err, ErrUnavailable) {
				t.Errorf("the next image: %v", err)
			}
		})
	}
}

func TestWarningsAreCounted(t *testing.T) {
	data := readFile(t, "rgb444_101x203.jpg")
	var d Decoder
	defer d.Close()
	m, err := d.Decode(data)
	skipWithoutJPEG(t, err)
	if n, _ := d.Warnings(); err != nil || n != 0 {
		t.Fatalf("good file: %d warnings, %v", n, err)
	}
	want := digest(m)
	// Bytes between two markers: the library skips them and warns; the pixels do not change.
	marker := bytes.Index(data, []byte{0xff, 0xdb})
	extra := append(append(bytes.Clone(data[:marker]), "extra"...), data[marker:]...)
	m, err = d.Decode(extra)
	if err != nil {
		t.Fatal(err)
	}
	if n, text := d.Warnings(); n == 0 || !strings.Contains(text, "extraneous bytes") {
		t.Errorf("got %d warnings, %q", n, text)
	}
	if digest(m) != want {
		t.Error("extra bytes changed the pixels")
	}
	if _, err = d.Decode(data); err != nil {
		t.Fatal(err)
	}
	if n, text := d.Warnings(); n != 0 || text != "" {
		t.Errorf("the next good file: %d warnings, %q", n, text)
	}
}

func TestDecoderWorksAfterClose(t *testing.T) {
	var d Decoder
	d.Close()
	for range 2 {
		_, err := d.Decode(readFile(t, "grey.jpg"))
		skipWithoutJPEG(t, err)
		if err != nil {
			t.Fatal(err)
		}
		d.Close()
		d.Close()
	}
}

// A damaged file must give an image or an error, never a crash, and must not spoil the decoder.
func FuzzDecode(f *testing.F) {
	for _, name := range []string{"rgb420_16x16.jpg", "grey_progressive.jpg", "cmyk.jpg", "restart.jpg", "rgba.png", "palette4.png", "interlaced.png"} {
		f.Add(readFile(f, name))
	}
	var d Decoder
	f.Cleanup(d.Close)
	good := readFile(f, "rgb422_3x2.jpg")
	want := ""
	if m, err := d.Decode(good); err == nil {
		want = digest(m)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if claimedPixels(data) > 1<<22 {
			return // correct, but slow
		}
		m, err := d.Decode(data)
		if err == nil {
			if err := m.check(); err != nil {
				t.Fatal(err)
			}
		}
		if m, err := d.Decode(good); err == nil && digest(m) != want {
			t.Fatal("the decoder gave other pixels after this file")
		}
	})
}

// claimedPixels returns the largest image size that any header in data claims.
func claimedPixels(data []byte) int {
	largest := 0
	if len(data) > 24 {
		large := func(b []byte) int { return int(b[0])<<24 | int(b[1])<<16 | int(b[2])<<8 | int(b[3]) }
		if w, h := large(data[16:]), large(data[20:]); h > 0 && w < 1<<31/h {
			largest = w * h
		}
	}
	for i := 0; i+8 < len(data); i++ {
		if data[i] == 0xff && data[i+1]&0xf0 == 0xc0 {
			largest = max(largest, (int(data[i+5])<<8|int(data[i+6]))*(int(data[i+7])<<8|int(data[i+8])))
		}
	}
	return largest
}

// The C passes and the Go passes agree on any size and filter.
func FuzzResize(f *testing.F) {
	f.Add(5, 7, 11, 3, true)
	f.Add(64, 1, 1, 64, false)
	var r Resizer
	f.Fuzz(func(t *testing.T, w, h, toW, toH int, cubic bool) {
		w, h, toW, toH = 1+w&0x7f, 1+h&0x7f, 1+toW&0x7f, 1+toH&0x7f
		filter := Bilinear
		if cubic {
			filter = Bicubic
		}
		src, dst := formulaImage(w, h, "noise"), NewImage(toW, toH)
		if err := r.Resize(dst, src, toW, toH, 0, 0, filter); err != nil {
			t.Fatal(err)
		}
		if want := resizePlainly(src, toW, toH, filter); !bytes.Equal(dst.Pixels, want.Pixels) {
			t.Fatalf("%dx%d to %dx%d %v: C and Go differ", w, h, toW, toH, filter)
		}
	})
}
