package data

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sat/internal/data/codec"
	"sat/internal/store/storetest"
)

var smallTransform = EvalTransform{Size: 5, Short: 6, Filter: codec.Bicubic}

func openTree(t testing.TB, files map[string]string) *Folder {
	t.Helper()
	f, err := OpenFolder(t.Context(), tree(t, files), FolderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func manyFiles(n int) map[string]string {
	files := map[string]string{}
	for i := range n {
		files["class"+strconv.Itoa(i%3)+"/"+strconv.Itoa(i)+".png"] = ""
	}
	return files
}

func TestLoad(t *testing.T) {
	f := openTree(t, manyFiles(40))
	var reference *Set
	for _, workers := range []int{1, 2, 8, 100} {
		calls := 0
		s, err := Load(t.Context(), f, smallTransform, LoadOptions{Workers: workers, Progress: func(done, total int) {
			if calls++; done != calls || total != 40 {
				t.Errorf("call %d of Progress: %d of %d", calls, done, total)
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		if calls != 40 || s.N != 40 || s.C != 3 || s.H != 5 || s.W != 5 || len(s.Images) != 40*75 {
			t.Fatalf("%d calls, %dx%dx%dx%d, %d bytes", calls, s.N, s.C, s.H, s.W, len(s.Images))
		}
		if reference == nil {
			reference = s
		}
		if !bytes.Equal(s.Images, reference.Images) || s.Content != reference.Content {
			t.Errorf("%d workers: other bytes than 1", workers)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	ids, labels := listing(f)
	s := reference
	if !slices.Equal(s.IDs, ids) || !slices.Equal(s.Labels, labels) || s.Digest != f.Digest() || s.Content != contentOfImages(s) {
		t.Errorf("the set does not describe the folder: %v %v", s.IDs, s.Labels)
	}
	// Each image alone is what the codec and the transform make of its file.
	var d codec.Decoder
	var r codec.Resizer
	for i, sample := range f.Samples {
		content, err := os.ReadFile(sample.File)
		if err != nil {
			t.Fatal(err)
		}
		m, err := d.Decode(content)
		if err != nil {
			t.Fatal(err)
		}
		want := make([]byte, 75)
		if err := smallTransform.Apply(want, m, &r); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(s.Images[i*75:][:75], want) {
			t.Errorf("image %d (%s) differs", i, sample.ID)
		}
	}
	// Floats: NCHW, bytes over 255, and Gather agrees with Float32.
	x := s.Float32(nil, 3, 6)
	for n := range 3 {
		for c := range 3 {
			for p := range 25 {
				want := float32(s.Images[(3+n)*75+p*3+c]) / 255
				if got := x[n*75+c*25+p]; got != want {
					t.Fatalf("image %d channel %d pixel %d: got %v, want %v", n, c, p, got, want)
				}
			}
		}
	}
	if g := s.Gather(make([]float32, 0, 300), []int{3, 4, 5}); !slices.Equal(g, x) {
		t.Error("Gather differs from Float32")
	}
}

// contentOfImages is the definition of Set.Content for bytes.
func contentOfImages(s *Set) string {
	h := sha256.New()
	for i := range s.N {
		sum := sha256.Sum256(s.Images[i*s.C*s.H*s.W:][:s.C*s.H*s.W])
		h.Write(sum[:])
	}
	return hex.EncodeToString(h.Sum(nil))
}

func TestBadImages(t *testing.T) {
	good := smallPNG(t, "good")
	files := map[string]string{
		"a/1.png": "", "a/2.png": good[:len(good)/2], "a/3.png": "", "b/1.jpg": "not an image", "b/2.png": "", "b/3.png": "",
	}
	f := openTree(t, files)
	_, err := Load(t.Context(), f, smallTransform, LoadOptions{})
	wantError(t, err, filepath.Join("a", "2.png"), "PNG")

	s, err := Load(t.Context(), f, smallTransform, LoadOptions{OnBad: SkipBadImages})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"a/1.png", "a/3.png", "b/2.png", "b/3.png"}; !slices.Equal(s.IDs, want) || s.N != 4 || len(s.Images) != 4*75 {
		t.Errorf("kept %v, %d images, %d bytes", s.IDs, s.N, len(s.Images))
	}
	if len(s.Skipped) != 2 || s.Skipped[0].ID != "a/2.png" || s.Skipped[1].ID != "b/1.jpg" || s.Skipped[1].Reason == "" {
		t.Errorf("skipped %+v", s.Skipped)
	}
	if s.Digest == f.Digest() {
		t.Error("the digest does not notice that images are missing")
	}

	delete(files, "a/2.png")
	delete(files, "b/1.jpg")
	files["b/4.png"] = "-> /nowhere"
	_, err = Load(t.Context(), openTree(t, files), smallTransform, LoadOptions{OnBad: SkipBadImages})
	wantError(t, err, "4.png", "no such file") // a file that cannot be read is not a bad image

	bad := openTree(t, map[string]string{"a/1.png": "x", "a/2.png": "y"})
	_, err = Load(t.Context(), bad, smallTransform, LoadOptions{OnBad: SkipBadImages})
	wantError(t, err, "none of 2 images", "a/1.png")

	_, err = Load(t.Context(), &Folder{Root: "DIR"}, smallTransform, LoadOptions{})
	wantError(t, err, "no images")

	if _, err := ParseBadImagePolicy("ignore"); err == nil {
		t.Error("no error for an unknown policy")
	}
}

func TestTruncatedJPEG(t *testing.T) {
	jpeg, err := os.ReadFile("codec/testdata/rgb420_101x203.jpg")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"a/1.JPEG": string(jpeg), "a/2.JPEG": string(jpeg[:len(jpeg)*2/3]), "a/3.JPEG": string(jpeg)}
	for name, root := range map[string]string{"file": tree(t, files), "archive": tree(t, map[string]string{"val.tar": string(pack(t, files))})} {
		t.Run(name, func(t *testing.T) {
			f, err := OpenFolder(t.Context(), root, FolderOptions{})
			if err != nil {
				t.Fatal(err)
			}
			_, err = Load(t.Context(), f, smallTransform, LoadOptions{})
			skipWithoutJPEG(t, err)
			wantError(t, err, "2.JPEG", "Premature end of JPEG file", "on_bad_image")
			s, err := Load(t.Context(), f, smallTransform, LoadOptions{OnBad: SkipBadImages})
			if err != nil || s.N != 2 || len(s.Skipped) != 1 || s.Skipped[0].ID != "a/2.JPEG" {
				t.Errorf("skipping: %+v, %v", s, err)
			}
		})
	}
}

func TestJPEGWithoutCgoIsNotSkipped(t *testing.T) {
	jpeg, err := os.ReadFile("codec/testdata/grey.jpg")
	if err != nil {
		t.Fatal(err)
	}
	f := openTree(t, map[string]string{"a/1.jpg": string(jpeg), "a/2.png": ""})
	s, err := Load(t.Context(), f, smallTransform, LoadOptions{OnBad: SkipBadImages})
	if err != nil {
		if !errors.Is(err, codec.ErrUnavailable) {
			t.Fatal(err)
		}
	} else if s.N != 2 {
		t.Errorf("%d images, skipped %v", s.N, s.Skipped)
	}
}

func TestLoadStopsWhenCancelled(t *testing.T) {
	f := openTree(t, manyFiles(60))
	for _, cache := range []string{"", t.TempDir()} {
		ctx, cancel := context.WithCancel(t.Context())
		_, err := Load(ctx, f, smallTransform, LoadOptions{Workers: 3, CacheDir: cache, Progress: func(done, _ int) {
			if done == 5 {
				cancel()
			}
		}})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if cache != "" {
			if left, _ := os.ReadDir(cache); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		}
		cancel()
	}
}

func TestCache(t *testing.T) {
	f := openTree(t, manyFiles(20))
	plain, err := Load(t.Context(), f, smallTransform, LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "cache")
	var warnings []string
	decoded := 0
	load := func(transform EvalTransform) *Set {
		t.Helper()
		warnings, decoded = nil, 0
		s, err := Load(t.Context(), f, transform, LoadOptions{CacheDir: dir,
			Progress: func(int, int) { decoded++ }, Warn: func(w string) { warnings = append(warnings, w) }})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
	same := func(s *Set) {
		t.Helper()
		if !bytes.Equal(s.Images, plain.Images) || s.Digest != plain.Digest || s.Content != plain.Content || !slices.Equal(s.IDs, plain.IDs) {
			t.Error("the cached set differs from the one loaded into memory")
		}
	}
	s := load(smallTransform)
	same(s)
	if decoded != 20 || len(warnings) != 0 {
		t.Errorf("first load: %d decoded, warnings %q", decoded, warnings)
	}
	if same(load(smallTransform)); decoded != 0 {
		t.Errorf("second load: %d decoded", decoded)
	}
	if load(EvalTransform{Size: 5, Short: 6, Filter: codec.Bilinear}); decoded != 20 {
		t.Error("another filter took the same cache")
	}
	if load(EvalTransform{Size: 5, Short: 7, Filter: codec.Bicubic}); decoded != 20 {
		t.Error("another crop took the same cache")
	}

	name := cacheFile(t, dir, "-5-6-bicubic.images")
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what   string
		damage func([]byte) []byte
		want   string
	}{
		{"a flipped bit in an image", func(b []byte) []byte { b[cachePage+100] ^= 4; return b }, "checksum of the images"},
		{"a flipped bit in the description", func(b []byte) []byte { b[len(b)-60] ^= 4; return b }, "checksum of its description"},
		{"cut short", func(b []byte) []byte { return b[:len(b)-900] }, "damaged"},
		{"almost nothing", func(b []byte) []byte { return b[:100] }, "truncated"},
		{"something else", func(b []byte) []byte { copy(b, "PNG"); return b }, "not an image cache"},
	} {
		if err := os.WriteFile(name, c.damage(bytes.Clone(content)), 0o644); err != nil {
			t.Fatal(err)
		}
		same(load(smallTransform))
		if decoded != 20 || len(warnings) != 1 || !strings.Contains(warnings[0], c.want) || !strings.Contains(warnings[0], name) {
			t.Errorf("%s: %d decoded, warnings %q", c.what, decoded, warnings)
		}
	}

	// A replaced source file is noticed.
	if err := os.Chtimes(f.Samples[3].File, time.Time{}, time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if same(load(smallTransform)); decoded != 20 || len(warnings) != 1 {
		t.Errorf("changed file: %d decoded, warnings %q", decoded, warnings)
	}

	s = load(smallTransform)
	if err := s.Close(); err != nil || s.Images != nil {
		t.Errorf("close: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
}

func cacheFile(t *testing.T, dir, suffix string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), suffix) {
			return filepath.Join(dir, e.Name())
		}
	}
	t.Fatalf("no file *%s in %v", suffix, entries)
	return ""
}

func TestCacheRemembersBadImages(t *testing.T) {
	f := openTree(t, map[string]string{"a/1.png": "", "a/2.png": "bad", "a/3.png": ""})
	dir := t.TempDir()
	var first *Set
	for range 2 {
		s, err := Load(t.Context(), f, smallTransform, LoadOptions{CacheDir: dir, OnBad: SkipBadImages})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if first == nil {
			first = s
		}
		if s.N != 2 || len(s.Skipped) != 1 || s.Skipped[0] != first.Skipped[0] || s.Digest != first.Digest {
			t.Errorf("%d images, skipped %v", s.N, s.Skipped)
		}
	}
	_, err := Load(t.Context(), f, smallTransform, LoadOptions{CacheDir: dir})
	wantError(t, err, filepath.Join("a", "2.png"))
}

func TestFailingDisk(t *testing.T) {
	f := openTree(t, manyFiles(4))
	x, err := Load(t.Context(), f, smallTransform, LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, op := range storetest.Ops {
		t.Run(string(op), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "out")
			storetest.Fail(t, dir, op, 0, syscall.ENOSPC)
			_, err := Load(t.Context(), f, smallTransform, LoadOptions{CacheDir: dir})
			if !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("cache: got %v", err)
			}
			if err := x.WriteImages(filepath.Join(dir, "x.npy")); !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("npy: got %v", err)
			}
			if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func BenchmarkLoad(b *testing.B) {
	f := openTree(b, manyFiles(200))
	var dst []float32
	for b.Loop() {
		s, err := Load(b.Context(), f, EvalTransform{Size: 224, Short: 256, Filter: codec.Bicubic}, LoadOptions{})
		if err != nil {
			b.Fatal(err)
		}
		dst = s.Float32(dst, 0, 8)
	}
	b.ReportMetric(200*float64(b.N)/b.Elapsed().Seconds(), "images/s")
}
