package data

import (
	"bytes"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func numpyFile(t testing.TB, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", name+".npy"))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// Arrays that numpy saved are read, and written again become the same file.
func TestNPYEqualsNumPy(t *testing.T) {
	float32s := make([]float32, 24)
	bytes24 := make([]uint8, 24)
	for i := range float32s {
		float32s[i], bytes24[i] = float32(i)/23, uint8(i)
	}
	checkNPY(t, "float32", float32s, []int{2, 3, 2, 2})
	checkNPY(t, "version2", float32s, []int{2, 3, 2, 2})
	checkNPY(t, "version3", float32s, []int{2, 3, 2, 2})
	checkNPY(t, "float64", []float64{float64(float32s[0]), float64(float32s[1]), float64(float32s[2]), float64(float32s[3])}, []int{2, 2})
	checkNPY(t, "int64", []int64{3, 1, 4, 1, 5}, []int{5})
	checkNPY(t, "uint8", bytes24, []int{1, 2, 4, 3})
	checkNPY(t, "empty", []float32{}, []int{0, 3})
	checkNPY(t, "scalar", []float32{2.5}, []int{})
}

func checkNPY[T Element](t *testing.T, name string, want []T, wantShape []int) {
	t.Helper()
	got, shape, err := ReadNPY[T](t.Context(), filepath.Join("testdata", name+".npy"))
	if err != nil {
		t.Error(err)
		return
	}
	if !slices.Equal(got, want) || !slices.Equal(shape, wantShape) {
		t.Errorf("%s: got %v %v, want %v %v", name, shape, got, wantShape, want)
	}
	path := filepath.Join(t.TempDir(), "out.npy")
	if err := WriteNPY(path, got, shape...); err != nil {
		t.Fatal(err)
	}
	written, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if name != "version2" && name != "version3" && !bytes.Equal(written, numpyFile(t, name)) {
		t.Errorf("%s: the file written differs from numpy's: %q", name, written)
	}
}

func TestNPYErrors(t *testing.T) {
	good := numpyFile(t, "float32")
	replace := func(old, new string) []byte { return bytes.Replace(good, []byte(old), []byte(new), 1) }
	cases := []struct {
		name    string
		content []byte
		want    string
	}{
		{"other type", numpyFile(t, "int64"), `elements are int64, want float32: convert with .astype("float32")`},
		{"half", numpyFile(t, "float16"), "elements are float16"},
		{"big-endian", numpyFile(t, "bigendian"), "elements are big-endian float32"},
		{"structured", numpyFile(t, "structured"), "structured"},
		{"Fortran order", numpyFile(t, "fortran"), "Fortran"},
		{"empty file", nil, "not a .npy file"},
		{"text", []byte("1,2,3\n4,5,6\n"), "not a .npy file"},
		{"zip", []byte("PK\x03\x04 and so on"), "not a .npy file"},
		{"cut in the header", good[:40], "truncated in the header"},
		{"cut after the magic", good[:9], "truncated in the header"},
		{"cut in the elements", good[:len(good)-1], "truncated: shape [2 3 2 2] needs 96 bytes of float32, the file holds 95"},
		{"no elements", good[:128], "the file holds 0"},
		{"trailing bytes", append(bytes.Clone(good), 1, 2), "2 bytes follow"},
		{"version", append([]byte("\x93NUMPY\x09\x00"), good[8:]...), "version 9.0"},
		{"huge header", []byte("\x93NUMPY\x02\x00\xff\xff\xff\x7f"), "longer than any"},
		{"not a dictionary", replace("{", " "), "not a dictionary"},
		{"missing key", replace("'shape': (2, 3, 2, 2), ", "                       "), "not all there"},
		{"key twice", replace("'fortran_order': False", "'descr': '<f4'        "), "comes twice"},
		{"unknown key", replace("'descr'", "'other'"), "unexpected entry"},
		{"negative side", replace("(2, 3, 2, 2)", "(-2, 3, 2,2)"), "malformed"},
		{"side not a number", replace("(2, 3, 2, 2)", "(2, 3, , 2) "), "tuple of integers"},
		{"overflow", replace("(2, 3, 2, 2)", "(9999999999)"), "truncated"},
		{"more overflow", replace("(2, 3, 2, 2), }", "(99999999999,99999999999)}"), "too large"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.npy")
			if err := os.WriteFile(path, c.content, 0o644); err != nil {
				t.Fatal(err)
			}
			_, _, err := ReadNPY[float32](t.Context(), path)
			wantError(t, err, path, c.want)
		})
	}
	_, _, err := ReadNPY[float32](t.Context(), "/does/not/exist.npy")
	wantError(t, err, "/does/not/exist.npy", "no such file")
	_, _, err = ReadNPY[float32](t.Context(), t.TempDir())
	wantError(t, err, "not a regular file")
}

func TestStreamNPY(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.npy")
	big := make([]float32, 3*npyChunk/4+5) // several chunks and a rest
	for i := range big {
		big[i] = float32(i)
	}
	if err := StreamNPY(path, []int{len(big)}, func(write func([]float32) error) error {
		for from := 0; from < len(big); from += 1000 {
			if err := write(big[from:min(from+1000, len(big))]); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	got, _, err := ReadNPY[float32](t.Context(), path)
	if err != nil || !slices.Equal(got, big) {
		t.Fatalf("%d elements back, %v", len(got), err)
	}

	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	boom := errors.New("boom")
	for _, c := range []struct {
		name  string
		shape []int
		fill  func(func([]float32) error) error
		want  string
	}{
		{"too few", []int{5}, func(w func([]float32) error) error { return w(big[:4]) }, "4 elements given for shape [5]"},
		{"too many", []int{5}, func(w func([]float32) error) error { return w(big[:6]) }, "more than the 5 elements"},
		{"own error", []int{5}, func(w func([]float32) error) error { return boom }, "boom"},
		{"negative shape", []int{-5}, nil, "negative side"},
	} {
		t.Run(c.name, func(t *testing.T) {
			wantError(t, StreamNPY(path, c.shape, c.fill), path, c.want)
			if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, before) {
				t.Errorf("the old file changed: %v", err)
			}
		})
	}
}

func TestReadImages(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, pixels []float32, shape ...int) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := WriteNPY(path, pixels, shape...); err != nil {
			t.Fatal(err)
		}
		return path
	}
	s, err := ReadImages(t.Context(), "testdata/float32.npy")
	if err != nil {
		t.Fatal(err)
	}
	if s.N != 2 || s.C != 3 || s.H != 2 || s.W != 2 || !slices.Equal(s.IDs, []string{"0", "1"}) || s.Digest == "" || s.Digest != s.Content {
		t.Errorf("%+v", s)
	}
	if got := s.Float32(nil, 1, 2); !slices.Equal(got, s.Pixels[12:]) {
		t.Errorf("Float32: %v", got)
	}
	other := append([]float32{}, s.Pixels...)
	other[5] += 1e-6
	if o, err := ReadImages(t.Context(), write("other.npy", other, 2, 3, 2, 2)); err != nil || o.Digest == s.Digest {
		t.Errorf("another pixel, same digest (%v)", err)
	}

	with := func(i int, v float32) []float32 {
		pixels := make([]float32, 24)
		pixels[i] = v
		return pixels
	}
	nan := float32(math.NaN())
	inf := float32(math.Inf(1))
	cases := []struct {
		name   string
		pixels []float32
		shape  []int
		want   string
	}{
		{"NaN", with(12+4+2, nan), []int{2, 3, 2, 2}, "image 1, channel 1, row 1, column 0 is NaN"},
		{"infinite", with(3, inf), []int{2, 3, 2, 2}, "image 0, channel 0, row 1, column 1 is +Inf"},
		{"negative", with(0, -1e-7), []int{2, 3, 2, 2}, "is -1e-07, want a value in [0,1]"},
		{"above one", with(0, 1.0000001), []int{2, 3, 2, 2}, "want a value in [0,1]"},
		{"bytes", with(0, 200), []int{2, 3, 2, 2}, "divide by 255"},
		{"channels last", with(0, 0), []int{2, 2, 2, 3}, ".transpose(0, 3, 1, 2)"},
		{"one image", with(0, 0), []int{3, 2, 4}, "[None]"},
		{"grey", with(0, 0), []int{2, 1, 3, 4}, "want [N 3 H W]"},
		{"no images", nil, []int{0, 3, 2, 2}, "holds no images"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			path := write("x.npy", c.pixels, c.shape...)
			_, err := ReadImages(t.Context(), path)
			wantError(t, err, path, c.want)
		})
	}
}

func TestLabels(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "y.npy")
	if got, err := ReadLabels(t.Context(), "testdata/int64.npy"); err != nil || !slices.Equal(got, []int64{3, 1, 4, 1, 5}) {
		t.Errorf("got %v, %v", got, err)
	}
	if err := WriteNPY(path, []int64{0, 1, -1}, 3); err != nil {
		t.Fatal(err)
	}
	_, err := ReadLabels(t.Context(), path)
	wantError(t, err, path, "label 2 is -1")
	if err := WriteNPY(path, []int64{0, 1}, 2, 1); err != nil {
		t.Fatal(err)
	}
	_, err = ReadLabels(t.Context(), path)
	wantError(t, err, path, "want [N]")

	s := &Set{N: 2, IDs: []string{"a", "b"}}
	wantError(t, s.CheckLabels(10), "no labels")
	wantError(t, s.SetLabels([]int64{1}), "1 labels for 2 images")
	wantError(t, s.SetLabels([]int64{1, -3}), "label 1 (image b) is -3")
	if err := s.SetLabels([]int64{1, 9}); err != nil {
		t.Fatal(err)
	}
	if err := s.CheckLabels(10); err != nil {
		t.Error(err)
	}
	wantError(t, s.CheckLabels(9), "label 1 (image b) is 9", "outputs 0 to 8")
}

// A damaged file must give an array or an error, never a crash or an attempt to allocate what it claims.
func FuzzReadNPY(f *testing.F) {
	for _, name := range []string{"float32", "version2", "version3", "empty", "scalar", "fortran", "structured"} {
		f.Add(numpyFile(f, name))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		elements, shape, err := readNPY[float32](t.Context(), bytes.NewReader(content), int64(len(content)))
		if err != nil {
			return
		}
		n, err := count(shape)
		if err != nil || n != len(elements) || 4*n > len(content) {
			t.Fatalf("shape %v with %d elements from %d bytes (%v)", shape, len(elements), len(content), err)
		}
	})
}

func BenchmarkReadNPY(b *testing.B) {
	path := filepath.Join(b.TempDir(), "x.npy")
	pixels := make([]float32, 64*3*224*224)
	if err := WriteNPY(path, pixels, 64, 3, 224, 224); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(4 * len(pixels)))
	for b.Loop() {
		if _, _, err := ReadNPY[float32](b.Context(), path); err != nil {
			b.Fatal(err)
		}
	}
}
