package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sat/internal/store"
	"sat/internal/store/storetest"
)

const eps8 = float32(8.0 / 255)

// photo returns one image like a photograph: smooth surfaces, edges, some sensor noise, on the grid k/255.
func photo(rng *rand.Rand, c, h, w int) []float32 {
	out := make([]float32, c*h*w)
	for ch := range c {
		fx, fy, phase := 0.02+0.05*rng.Float64(), 0.02+0.05*rng.Float64(), 6*rng.Float64()
		for y := range h {
			for x := range w {
				v := 0.5 + 0.4*math.Sin(fx*float64(x)+fy*float64(y)+phase) + 0.02*rng.NormFloat64()
				if (x/40+y/30)%5 == 0 {
					v -= 0.5
				}
				out[(ch*h+y)*w+x] = float32(math.Round(255*min(max(v, 0), 1))) / 255
			}
		}
	}
	return out
}

func clamp01(v float32) float32 { return min(max(v, 0), 1) }

// pgdLike moves each pixel by step*sign for the given number of steps with random signs, clamping as PGD does; a share
// of the pixels never has a gradient.
func pgdLike(rng *rand.Rand, clean []float32, eps, step float32, steps int, still float64) []float32 {
	x := append([]float32(nil), clean...)
	for i, c := range clean {
		if rng.Float64() < still {
			continue
		}
		for range steps {
			v := float32(x[i] + step*float32(1-2*rng.IntN(2)))
			x[i] = clamp01(float32(c + min(max(float32(v-c), -eps), eps)))
		}
	}
	return x
}

func header(n, c, h, w int, eps float32) store.AdversarialHeader {
	head := store.AdversarialHeader{Source: "resnet-s0", Attack: "pgd", EpsilonBits: math.Float32bits(eps), C: c, H: h, W: w,
		CleanDigest: "abc", Parameters: []byte(`{"steps":50}`)}
	for i := range n {
		head.IDs = append(head.IDs, fmt.Sprintf("val/%d/%04d.png", i%10, i))
	}
	return head
}

func writeAdversarial(t *testing.T, head store.AdversarialHeader, clean, adversarial []float32) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a.adv")
	err := store.WriteAdversarial(path, head, func(w *store.AdversarialWriter) error { return w.Add(clean, adversarial) })
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t *testing.T, path string) *store.AdversarialReader {
	t.Helper()
	r, err := store.OpenAdversarial(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func sameBits(a, b []float32) bool {
	for i := range a {
		if math.Float32bits(a[i]) != math.Float32bits(b[i]) {
			return false
		}
	}
	return len(a) == len(b)
}

// TestAdversarialRoundTrip: whatever the attack, the same bits come back.
func TestAdversarialRoundTrip(t *testing.T) {
	const n, c, h, w = 3, 3, 20, 17
	special := []float32{0, float32(math.Copysign(0, -1)), 1, math.SmallestNonzeroFloat32, -math.SmallestNonzeroFloat32, 1e-40,
		eps8, 1 - eps8, math.Nextafter32(1, 0), math.MaxFloat32, -1, 2}
	for name, make := range map[string]func(rng *rand.Rand, clean []float32) []float32{
		"corner walk":         func(r *rand.Rand, x []float32) []float32 { return pgdLike(r, x, eps8, 0.1, 3, 0) },
		"some without motion": func(r *rand.Rand, x []float32) []float32 { return pgdLike(r, x, eps8, 0.1, 3, 0.3) },
		"not attacked":        func(r *rand.Rand, x []float32) []float32 { return x },
		"small steps":         func(r *rand.Rand, x []float32) []float32 { return pgdLike(r, x, eps8, eps8/10, 20, 0) },
		"other radius":        func(r *rand.Rand, x []float32) []float32 { return pgdLike(r, x, 2*eps8, 0.3, 1, 0) },
		"anything": func(r *rand.Rand, x []float32) []float32 {
			out := append([]float32(nil), x...)
			for i := range out {
				if out[i] = math.Float32frombits(r.Uint32()); math.IsNaN(float64(out[i])) || math.IsInf(float64(out[i]), 0) {
					out[i] = 0
				}
			}
			return out
		},
		"special values": func(r *rand.Rand, x []float32) []float32 {
			out := append([]float32(nil), x...)
			for i := range out {
				x[i], out[i] = special[r.IntN(len(special))], special[r.IntN(len(special))]
			}
			return out
		},
		"patch": func(r *rand.Rand, x []float32) []float32 {
			out := append([]float32(nil), x...)
			for i := range 40 {
				out[100+i] = r.Float32()
			}
			return out
		},
	} {
		for _, eps := range []float32{eps8, 0, 1e-40, 2} {
			t.Run(fmt.Sprintf("%s/eps=%v", name, eps), func(t *testing.T) {
				rng := rand.New(rand.NewPCG(1, 2))
				var clean []float32
				for range n {
					clean = append(clean, photo(rng, c, h, w)...)
				}
				adversarial := make(rng, clean)
				r := open(t, writeAdversarial(t, header(n, c, h, w, eps), clean, adversarial))
				if err := r.Verify(); err != nil {
					t.Fatal(err)
				}
				const px = c * h * w
				for from := range n + 1 { // every range, also the empty ones
					for to := from; to <= n; to++ {
						got := append([]float32(nil), clean[from*px:to*px]...)
						if err := r.Images(from, to, clean[from*px:to*px], got); err != nil {
							t.Fatalf("images %d to %d: %v", from, to, err)
						}
						if !sameBits(got, adversarial[from*px:to*px]) {
							t.Fatalf("images %d to %d differ", from, to)
						}
					}
				}
			})
		}
	}
}

func TestAdversarialHeader(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 3))
	clean := photo(rng, 3, 8, 8)
	r := open(t, writeAdversarial(t, header(1, 3, 8, 8, eps8), clean, clean))
	h := r.Header()
	if h.Source != "resnet-s0" || h.Epsilon() != eps8 || h.Pixels() != 192 || h.IDs[0] != "val/0/0000.png" ||
		h.CleanDigest != "abc" || string(h.Parameters) != `{"steps":50}` {
		t.Errorf("header %+v", h)
	}
}

// TestAdversarialSize: the paper's settings take at most 1/20 of float32, here and there pixels without a gradient
// included.
func TestAdversarialSize(t *testing.T) {
	const n, c, h, w = 8, 3, 224, 224
	for _, still := range []float64{0, 0.005, 0.02} {
		rng := rand.New(rand.NewPCG(1, 4))
		var clean []float32
		for range n {
			clean = append(clean, photo(rng, c, h, w)...)
		}
		path := writeAdversarial(t, header(n, c, h, w, eps8), clean, pgdLike(rng, clean, eps8, 0.1, 5, still))
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		ratio := float64(4*len(clean)) / float64(info.Size())
		t.Logf("share without gradient %v: 1/%.1f of float32", still, ratio)
		if ratio < 20 {
			t.Errorf("share without gradient %v: 1/%.1f of float32, want 1/20 or less", still, ratio)
		}
	}
}

// TestAdversarialBytes: equal images give equal bytes, however they are handed over.
func TestAdversarialBytes(t *testing.T) {
	const n, c, h, w = 4, 3, 16, 16
	rng := rand.New(rand.NewPCG(1, 5))
	var clean []float32
	for range n {
		clean = append(clean, photo(rng, c, h, w)...)
	}
	adversarial := pgdLike(rng, clean, eps8, eps8/4, 9, 0.1)
	whole, err := os.ReadFile(writeAdversarial(t, header(n, c, h, w, eps8), clean, adversarial))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "b.adv")
	err = store.WriteAdversarial(path, header(n, c, h, w, eps8), func(out *store.AdversarialWriter) error {
		const px = c * h * w
		for _, cut := range [][2]int{{0, 1}, {1, 1}, {1, 4}} {
			if err := out.Add(clean[cut[0]*px:cut[1]*px], adversarial[cut[0]*px:cut[1]*px]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if single, err := os.ReadFile(path); err != nil || !bytes.Equal(single, whole) {
		t.Errorf("bytes differ (%v)", err)
	}
}

func TestAdversarialRefusesOnWrite(t *testing.T) {
	clean := make([]float32, 2*12)
	nan := append([]float32(nil), clean...)
	nan[17] = float32(math.NaN())
	inf := append([]float32(nil), clean...)
	inf[3] = float32(math.Inf(1))
	for name, fill := range map[string]func(w *store.AdversarialWriter) error{
		"image 1 (val/1/0001.png) holds NaN":  func(w *store.AdversarialWriter) error { return w.Add(clean, nan) },
		"image 0 (val/0/0000.png) holds +Inf": func(w *store.AdversarialWriter) error { return w.Add(clean, inf) },
		"(clean NaN)":                         func(w *store.AdversarialWriter) error { return w.Add(nan, clean) },
		"1 images added, 2 announced":         func(w *store.AdversarialWriter) error { return w.Add(clean[:12], clean[:12]) },
		"want equal multiples of 12":          func(w *store.AdversarialWriter) error { return w.Add(clean[:13], clean[:13]) },
		"more images than the 2 announced": func(w *store.AdversarialWriter) error {
			return errors.Join(w.Add(clean, clean), w.Add(clean[:12], clean[:12]))
		},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "a.adv")
		err := store.WriteAdversarial(path, header(2, 3, 2, 2, eps8), fill)
		if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), path) {
			t.Errorf("error is %v, want %q", err, name)
		}
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s: the file exists", name)
		}
		storetest.NoTemps(t, dir)
	}
	for name, head := range map[string]store.AdversarialHeader{
		"no shape": {}, "negative": header(1, 3, -2, 2, eps8), "huge": header(1, 1<<20, 1<<20, 1<<20, eps8),
		"NaN radius": header(1, 1, 1, 1, float32(math.NaN())), "negative radius": header(1, 1, 1, 1, -1),
	} {
		if err := store.WriteAdversarial(filepath.Join(t.TempDir(), "a"), head, nil); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestAdversarialWrongClean(t *testing.T) {
	const n, c, h, w = 2, 3, 9, 9
	rng := rand.New(rand.NewPCG(1, 6))
	clean := append(photo(rng, c, h, w), photo(rng, c, h, w)...)
	path := writeAdversarial(t, header(n, c, h, w, eps8), clean, pgdLike(rng, clean, eps8, 0.1, 3, 0))
	r := open(t, path)
	dst := make([]float32, len(clean))
	wrong := append([]float32(nil), clean...)
	wrong[c*h*w+5] = 0.4999
	err := r.Images(0, n, wrong, dst)
	if !errors.Is(err, store.ErrWrongClean) || errors.Is(err, store.ErrCorrupt) || !strings.Contains(err.Error(), "image 1 (val/1/0001.png)") ||
		!strings.Contains(err.Error(), path) {
		t.Errorf("error is %v", err)
	}
	if err := r.Images(0, 1, wrong[:c*h*w], dst[:c*h*w]); err != nil {
		t.Errorf("image 0 has the right clean image: %v", err)
	}
	for _, bad := range [][2]int{{-1, 1}, {1, 0}, {0, 3}} {
		if err := r.Images(bad[0], bad[1], clean, dst); err == nil {
			t.Errorf("range %v accepted", bad)
		}
	}
	if err := r.Images(0, 1, clean, dst); err == nil {
		t.Error("slices of the wrong length accepted")
	}
}

// TestAdversarialEveryFlip: no byte of the file can change unnoticed, and a damaged block is named.
func TestAdversarialEveryFlip(t *testing.T) {
	const n, c, h, w = 3, 3, 5, 7
	rng := rand.New(rand.NewPCG(1, 7))
	var clean []float32
	for range n {
		clean = append(clean, photo(rng, c, h, w)...)
	}
	path := writeAdversarial(t, header(n, c, h, w, eps8), clean, pgdLike(rng, clean, eps8, 0.02, 5, 0.1))
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	damaged := filepath.Join(t.TempDir(), "damaged.adv")
	check := func(what string, content []byte) {
		t.Helper()
		if err := os.WriteFile(damaged, content, 0o666); err != nil {
			t.Fatal(err)
		}
		r, err := store.OpenAdversarial(damaged)
		if err == nil {
			err = r.Verify()
			if images := r.Images(0, n, clean, make([]float32, len(clean))); (images == nil) != (err == nil) {
				t.Errorf("%s: verify says %v, reading says %v", what, err, images)
			}
			r.Close()
			if err != nil && !strings.Contains(err.Error(), "block of image") {
				t.Errorf("%s: %q does not name the block", what, err)
			}
		}
		if !errors.Is(err, store.ErrCorrupt) || !strings.Contains(err.Error(), damaged) {
			t.Errorf("%s: %v, want ErrCorrupt naming the file", what, err)
		}
	}
	for i := range whole {
		flipped := bytes.Clone(whole)
		flipped[i] ^= byte(1 << rng.IntN(8))
		check(fmt.Sprintf("byte %d of %d", i, len(whole)), flipped)
	}
	for size := range whole {
		check(fmt.Sprintf("cut to %d of %d", size, len(whole)), whole[:size])
	}
	check("a byte too many", append(bytes.Clone(whole), 0))
	check("two files in one", append(bytes.Clone(whole), whole...))
}

func TestAdversarialEveryFailure(t *testing.T) {
	const n, c, h, w = 4, 3, 224, 224 // several buffers
	rng := rand.New(rand.NewPCG(1, 8))
	clean, adversarial := make([]float32, n*c*h*w), make([]float32, n*c*h*w)
	for i := range clean {
		clean[i], adversarial[i] = rng.Float32(), rng.Float32()
	}
	storetest.EveryFailure(t, t.TempDir, unix.ENOSPC,
		func(dir string) error {
			return store.WriteAdversarial(filepath.Join(dir, "a.adv"), header(n, c, h, w, eps8),
				func(w *store.AdversarialWriter) error { return w.Add(clean, adversarial) })
		},
		func(t *testing.T, dir string, err error) {
			if !errors.Is(err, unix.ENOSPC) {
				t.Errorf("error is %v", err)
			}
			if _, err := os.Stat(filepath.Join(dir, "a.adv")); err == nil {
				t.Error("the file exists")
			}
			storetest.NoTemps(t, dir)
		})
}

func FuzzAdversarial(f *testing.F) {
	const n, c, h, w = 2, 1, 4, 5
	rng := rand.New(rand.NewPCG(1, 9))
	clean := append(photo(rng, c, h, w), photo(rng, c, h, w)...)
	for _, still := range []float64{0, 0.5} {
		path := filepath.Join(f.TempDir(), "a.adv")
		err := store.WriteAdversarial(path, header(n, c, h, w, eps8), func(w *store.AdversarialWriter) error {
			return w.Add(clean, pgdLike(rng, clean, eps8, 0.02, 3, still))
		})
		if err != nil {
			f.Fatal(err)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content)
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		content = bytes.Clone(content)
		store.RepairChecksums(content) // or the fuzzer would never get past them
		r, err := store.ReadAdversarial(bytes.NewReader(content), int64(len(content)))
		if err != nil {
			return
		}
		px := r.Header().Pixels()
		if px > 1<<16 {
			return
		}
		for i := range min(len(r.Header().IDs), 10) {
			_ = r.Images(i, i+1, make([]float32, px), make([]float32, px))
		}
	})
}

func BenchmarkAdversarialWrite(b *testing.B) {
	const c, h, w = 3, 224, 224
	rng := rand.New(rand.NewPCG(1, 10))
	clean := photo(rng, c, h, w)
	adversarial := pgdLike(rng, clean, eps8, 0.1, 3, 0)
	path := filepath.Join(b.TempDir(), "a.adv")
	b.SetBytes(4 * c * h * w)
	err := store.WriteAdversarial(path, header(b.N, c, h, w, eps8), func(w *store.AdversarialWriter) error {
		for range b.N {
			if err := w.Add(clean, adversarial); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
}

func BenchmarkAdversarialRead(b *testing.B) {
	const c, h, w = 3, 224, 224
	rng := rand.New(rand.NewPCG(1, 11))
	clean := photo(rng, c, h, w)
	path := filepath.Join(b.TempDir(), "a.adv")
	err := store.WriteAdversarial(path, header(1, c, h, w, eps8), func(w *store.AdversarialWriter) error {
		return w.Add(clean, pgdLike(rng, clean, eps8, 0.1, 3, 0))
	})
	if err != nil {
		b.Fatal(err)
	}
	r, err := store.OpenAdversarial(path)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	dst := make([]float32, len(clean))
	b.SetBytes(4 * c * h * w)
	for b.Loop() {
		if err := r.Images(0, 1, clean, dst); err != nil {
			b.Fatal(err)
		}
	}
}
