package zoo_test

import (
	"archive/zip"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"sat/attacks"
	"sat/internal/testkit"
	"sat/torch"
	"sat/zoo"
)

// families are the module files in testdata, one for each family of the demo.
var families = []string{"convnext", "mixer", "pit", "regnet", "resmlp", "resnet", "resnext", "swin", "vit"}

func testdata(name string) string { return filepath.Join("testdata", name+".pt") }

func load(t *testing.T, path string, o zoo.LoadOptions) *zoo.Model {
	t.Helper()
	m, err := zoo.Load(t.Context(), path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

// wantError fails unless err contains every one of the words.
func wantError(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", words)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
}

// The input gradient of every family equals that of eager PyTorch, at calls 1, 3 and 10.
func TestVerifyFamilies(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	for _, name := range families {
		t.Run(name, func(t *testing.T) {
			v, err := zoo.Verify(t.Context(), testdata(name), zoo.LoadOptions{Worker: w})
			if err != nil {
				t.Fatal(err)
			}
			worst := v.Float32
			if !v.SameKernels { // kernels round differently there; double precision is the strict test
				if v.Float64 == nil {
					t.Fatal("no comparison in double precision on another kind of CPU")
				}
				worst = *v.Float64
			}
			if !v.Recorded || v.Classes != 10 || !(worst.Logits <= 1e-5 && worst.Gradient <= 1e-5) {
				t.Errorf("%+v; tolerance 1e-5", v)
			}
		})
	}
}

// Double precision is what other kinds of CPU are judged by, so it is tested here too: the record claims another CPU.
func TestVerifyOnAnotherCPU(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	for _, name := range families {
		path := alter(t, w, testdata(name), func(m map[string]any) { check(m)["cpu"] = "another" })
		v, err := zoo.Verify(t.Context(), path, zoo.LoadOptions{Worker: w})
		if err != nil {
			t.Fatal(err)
		}
		if v.SameKernels || v.Float64 == nil || !(v.Float64.Logits <= 1e-5 && v.Float64.Gradient <= 1e-5) {
			t.Errorf("%s: %+v", name, v)
		}
	}
}

func check(m map[string]any) map[string]any { return m["check"].(map[string]any) }

// alter copies the module file with another manifest and returns the path of the copy.
func alter(t *testing.T, w *torch.Worker, path string, change func(map[string]any)) string {
	t.Helper()
	return rewrite(t, w, path, func(s *torch.Scope, m *torch.Module, extra map[string][]byte) error {
		d := json.NewDecoder(strings.NewReader(string(extra["sat.json"])))
		d.UseNumber()
		var manifest map[string]any
		if err := d.Decode(&manifest); err != nil {
			return err
		}
		change(manifest)
		var err error
		extra["sat.json"], err = json.Marshal(manifest)
		return err
	})
}

// rewrite copies the module file with changes that zoo.Save would not make.
func rewrite(t *testing.T, w *torch.Worker, path string, change func(*torch.Scope, *torch.Module, map[string][]byte) error) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), filepath.Base(path))
	err := w.Do(t.Context(), func(s *torch.Scope) error {
		m, extra, err := torch.LoadModule(path, torch.CPU, "sat.json", "sat-check.bin")
		if err != nil {
			return err
		}
		defer m.Close()
		if err := change(s, m, extra); err != nil {
			return err
		}
		return m.Save(out, extra)
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestRefusals(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	vit := testdata("vit")
	for _, c := range []struct {
		name, path string
		words      []string
		refused    bool
	}{
		{"altered weight", rewrite(t, w, vit, func(s *torch.Scope, m *torch.Module, _ map[string][]byte) error {
			return m.Set(s, "head.bias", s.Full(0.125, 10))
		}), []string{"model vit refused", "weights", "altered", "SHA-256"}, true},
		{"altered normalisation", alter(t, w, vit, func(m map[string]any) { m["mean"] = []float64{0.5, 0.45, 0.5} }),
			[]string{"model vit refused", "differ", "recorded"}, true},
		{"other seed of the check", alter(t, w, vit, func(m map[string]any) { check(m)["seed"] = 1 }),
			[]string{"model vit refused", "logits differ"}, true},
		{"altered record", rewrite(t, w, vit, func(_ *torch.Scope, _ *torch.Module, extra map[string][]byte) error {
			extra["sat-check.bin"][100] ^= 1
			return nil
		}), []string{"sat-check.bin", "altered"}, true},
		{"short record", rewrite(t, w, vit, func(_ *torch.Scope, _ *torch.Module, extra map[string][]byte) error {
			extra["sat-check.bin"] = extra["sat-check.bin"][:64]
			return nil
		}), []string{"sat-check.bin has 64 bytes"}, true},
		{"no record", rewrite(t, w, vit, func(_ *torch.Scope, _ *torch.Module, extra map[string][]byte) error {
			delete(extra, "sat-check.bin")
			return nil
		}), []string{"sat-check.bin"}, false},
		{"format of the future", alter(t, w, vit, func(m map[string]any) { m["format"] = 99; m["novelty"] = 1 }),
			[]string{"format 99 is newer"}, true},
		{"unknown field", alter(t, w, vit, func(m map[string]any) { m["novelty"] = 1 }), []string{"novelty"}, false},
		{"classes", alter(t, w, vit, func(m map[string]any) { m["classes"] = 11 }), []string{"sat-check.bin"}, true},
		{"standard deviation", alter(t, w, vit, func(m map[string]any) { m["std"] = []float64{0, 1, 1} }),
			[]string{"standard deviation 0 of channel 0"}, true},
		{"flipped byte of a weight", flip(t, vit, "data/3"), []string{"vit.pt", "damaged", "data/3"}, false},
		{"flipped byte of code", flip(t, vit, "vision_transformer.py"), []string{"vit.pt", "damaged", "vision_transformer.py"}, false},
		{"flipped byte of the manifest", flip(t, vit, "sat.json"), []string{"vit.pt", "sat.json"}, false},
		{"truncated", truncate(t, vit), []string{"vit.pt", "truncated"}, false},
		{"not TorchScript", filepath.Join("testdata", "jobs.json"), []string{"jobs.json", "not a TorchScript file"}, false},
		{"missing", filepath.Join("testdata", "absent.pt"), []string{"absent.pt"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := zoo.Load(t.Context(), c.path, zoo.LoadOptions{Worker: w})
			wantError(t, err, c.words...)
			if errors.Is(err, zoo.ErrRefused) != c.refused {
				t.Errorf("errors.Is(%q, ErrRefused) = %v", err, !c.refused)
			}
		})
	}
	_, err := zoo.Load(t.Context(), filepath.Join("testdata", "absent.pt"), zoo.LoadOptions{Worker: w})
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v is not fs.ErrNotExist", err)
	}
}

// flip changes one bit in the middle of the record whose name ends in suffix.
func flip(t *testing.T, path, suffix string) string {
	t.Helper()
	archive, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	for _, f := range archive.File {
		if !strings.HasSuffix(f.Name, suffix) {
			continue
		}
		at, err := f.DataOffset()
		if err != nil {
			t.Fatal(err)
		}
		return copyFile(t, path, func(b []byte) []byte { b[at+int64(f.CompressedSize64/2)] ^= 1; return b })
	}
	t.Fatalf("%s has no record %s", path, suffix)
	return ""
}

func truncate(t *testing.T, path string) string {
	return copyFile(t, path, func(b []byte) []byte { return b[:len(b)/2] })
}

func copyFile(t *testing.T, path string, change func([]byte) []byte) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), filepath.Base(path))
	if err := os.WriteFile(out, change(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return out
}

// The result that Verify returns with a refusal says what was measured.
func TestVerifyReportsRefusal(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	path := alter(t, w, testdata("mixer"), func(m map[string]any) { m["std"] = []float64{0.5, 0.25, 0.25} })
	v, err := zoo.Verify(t.Context(), path, zoo.LoadOptions{Worker: w})
	if !errors.Is(err, zoo.ErrRefused) || v.Name != "mixer" || v.Float32.Logits < 1e-4 {
		t.Errorf("%+v, %v", v, err)
	}
}

func TestPlainFiles(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	size := zoo.Description{Height: 15, Width: 17}
	plain := func(name string) string { return testdata("plain-" + name) }

	var warnings []string
	m := load(t, plain("good"), zoo.LoadOptions{Worker: w, Describe: size, Warn: func(s string) { warnings = append(warnings, s) }})
	if m.Name() != "plain-good" || m.Manifest() != nil || m.Classes() != 4 || len(warnings) != 1 ||
		!strings.Contains(warnings[0], "no sat.json") {
		t.Errorf("name %q, %d classes, warnings %q", m.Name(), m.Classes(), warnings)
	}
	if h, w := m.InputSize(); h != 15 || w != 17 {
		t.Errorf("input size %d x %d", h, w)
	}
	if _, err := zoo.ReadManifest(plain("good")); !errors.Is(err, zoo.ErrNoManifest) {
		t.Errorf("ReadManifest: %v", err)
	}
	if name, err := zoo.Name(plain("good")); err != nil || name != "plain-good" {
		t.Errorf("Name: %q, %v", name, err)
	}

	v, err := zoo.Verify(t.Context(), plain("probabilities"), zoo.LoadOptions{Worker: w, Describe: size})
	if err != nil || v.Recorded || len(v.Warnings) != 2 || !strings.Contains(v.Warnings[0], "probabilities") {
		t.Errorf("probabilities: %+v, %v", v, err)
	}

	for name, words := range map[string][]string{
		"constant": {"gradient", "zero"},
		"noisy":    {"from call to call", "train mode"},
		"batch":    {"depend on the rest of the batch"},
		"nan":      {"NaN"},
		"planes":   {"returns a tensor [3 4 1]"},
	} {
		_, err := zoo.Load(t.Context(), plain(name), zoo.LoadOptions{Worker: w, Describe: size})
		wantError(t, err, append(words, "plain-"+name)...)
	}
	_, err = zoo.Load(t.Context(), plain("good"), zoo.LoadOptions{Worker: w})
	wantError(t, err, "input size must be given")
	_, err = zoo.Load(t.Context(), plain("good"), zoo.LoadOptions{Worker: w, Describe: zoo.Description{Height: 15, Width: 17, Std: []float32{1, 1}}})
	wantError(t, err, "2 standard deviations for 3 channels")
}

// images are n pictures that differ from each other, in [0,1].
func images(n, h, w int) attacks.Batch {
	x := attacks.NewBatch(n, 3, h, w)
	for i := range x.Pixels {
		x.Pixels[i] = float32(0.5 + 0.5*math.Sin(float64(i*i%9973)))
	}
	return x
}

func TestModel(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	m := load(t, testdata("vit"), zoo.LoadOptions{Worker: w, Name: "mine"})
	ctx := t.Context()
	x, y := images(3, 16, 16), []int64{0, 9, 4}
	before := x.Clone()

	g, err := m.LossGrad(ctx, x, y, nil, attacks.CrossEntropy)
	if err != nil {
		t.Fatal(err)
	}
	logits, err := m.Logits(ctx, x)
	if err != nil {
		t.Fatal(err)
	}
	if m.Name() != "mine" || m.Classes() != 10 || len(logits) != 30 || len(g.Pixels) != len(x.Pixels) || len(g.Loss) != 3 {
		t.Fatalf("name %q, %d classes, %d logits, %d gradients, %d losses", m.Name(), m.Classes(), len(logits), len(g.Pixels), len(g.Loss))
	}
	for i, z := range logits {
		if z != g.Logits[i] {
			t.Fatalf("logit %d is %v alone and %v with a gradient", i, z, g.Logits[i])
		}
	}
	// Loss by its definition, and the gradient as the slope of the loss, by central differences at three pixels.
	for i, label := range y {
		row := logits[10*i : 10*i+10]
		sum := 0.0
		for _, z := range row {
			sum += math.Exp(float64(z))
		}
		if want := math.Log(sum) - float64(row[label]); math.Abs(float64(g.Loss[i])-want) > 1e-5 {
			t.Errorf("loss %d is %v, want %v", i, g.Loss[i], want)
		}
	}
	const h = 1e-2
	for _, p := range []int{5, 300, 900, 2000} {
		var side [2]float64
		for k, step := range []float32{h, -h} {
			moved := x.Clone()
			moved.Pixels[p] += step
			gm, err := m.LossGrad(ctx, moved, y, nil, attacks.CrossEntropy)
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range gm.Loss {
				side[k] += float64(l)
			}
		}
		slope := (side[0] - side[1]) / (2 * h)
		if got := float64(g.Pixels[p]); math.Abs(got-slope) > 1e-3*math.Abs(slope)+2e-4 {
			t.Errorf("gradient at pixel %d is %v, slope %v", p, got, slope)
		}
	}
	for i := range x.Pixels {
		if x.Pixels[i] != before.Pixels[i] {
			t.Fatal("the images were modified")
		}
	}

	var all sync.WaitGroup // calls from several goroutines
	for range 4 {
		all.Go(func() {
			if again, err := m.Logits(ctx, x); err != nil || again[7] != logits[7] {
				t.Errorf("concurrent call: %v, %v", again, err)
			}
		})
	}
	all.Wait()

	for name, c := range map[string]struct {
		err   error
		words []string
	}{
		"size":      {second(m.Logits(ctx, images(2, 16, 15))), []string{"model mine takes 3x16x16 images, not 3x16x15"}},
		"channels":  {second(m.TransferLogits(ctx, attacks.NewBatch(1, 1, 16, 16))), []string{"not 1x16x16"}},
		"empty":     {second(m.Logits(ctx, attacks.Batch{C: 3, H: 16, W: 16})), []string{"batch of 0x3x16x16"}},
		"label":     {second(m.LossGrad(ctx, x, []int64{0, 10, 1}, nil, attacks.CrossEntropy)), []string{"label 10 of row 1", "10 classes"}},
		"negative":  {second(m.LossGrad(ctx, x, []int64{0, 1, -1}, nil, attacks.CrossEntropy)), []string{"label -1 of row 2"}},
		"few":       {second(m.LossGrad(ctx, x, []int64{0}, nil, attacks.CrossEntropy)), []string{"1 labels for 3 images"}},
		"loss":      {second(m.LossGrad(ctx, x, y, nil, attacks.Loss(77))), []string{"no gradient of loss"}},
		"no target": {second(m.LossGrad(ctx, x, y, nil, attacks.TargetedDLR)), []string{"0 targets for 3 labels"}},
		"target":    {second(m.LossGrad(ctx, x, y, []int64{9, 10, 9}, attacks.LogitDifference)), []string{"target 10 of row 1"}},
		"is label":  {second(m.LossGrad(ctx, x, y, y, attacks.TargetedDLR)), []string{"the target of row 0 is its label"}},
		"untaken":   {second(m.LossGrad(ctx, x, y, y, attacks.DLR)), []string{"loss dlr takes no targets"}},
		"cancelled": {second(m.Logits(cancelled(), x)), []string{"canceled"}},
	} {
		t.Run(name, func(t *testing.T) { wantError(t, c.err, c.words...) })
	}
	x.Pixels[2*3*16*16] = float32(math.NaN())
	wantError(t, second(m.Logits(ctx, x)), "model mine", "row 2", "NaN")
	wantError(t, second(m.LossGrad(ctx, x, y, nil, attacks.CrossEntropy)), "model mine", "row 2", "NaN")

	_, err = zoo.Load(ctx, testdata("vit"), zoo.LoadOptions{Worker: w, Classes: 1000})
	wantError(t, err, "vit has 10 classes, the data have 1000")
}

func second[T any](_ T, err error) error { return err }

func cancelled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// A NaN that a network makes of ordinary images is an error too, not a prediction.
func TestModelNaN(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	m := load(t, testdata("plain-bright"), zoo.LoadOptions{Worker: w, Describe: zoo.Description{Height: 8, Width: 8}})
	x := attacks.NewBatch(2, 3, 8, 8)
	for i := range x.Image(1) {
		x.Image(1)[i] = 1
	}
	wantError(t, second(m.Logits(t.Context(), x)), "model plain-bright", "row 1", "NaN")
}

// TransferLogits resizes as spec'd: bilinear with half-pixel centres, clamped. On images that vary linearly it must give
// what the model says of the same ramp sampled at its own pixel centres.
func TestTransferLogits(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	m := load(t, testdata("vit"), zoo.LoadOptions{Worker: w})
	same := images(2, 16, 16)
	got, err := m.TransferLogits(t.Context(), same)
	if err != nil {
		t.Fatal(err)
	}
	want, err := m.Logits(t.Context(), same)
	if err != nil {
		t.Fatal(err)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("images of the model's own size are changed: logit %d is %v, want %v", i, got[i], want[i])
		}
	}

	// 2x2 to 16x16: output column x looks at input coordinate (x+0.5)/8 - 0.5, kept in [0,1].
	small, large := attacks.NewBatch(1, 3, 2, 2), attacks.NewBatch(1, 3, 16, 16)
	for c := range 3 {
		copy(small.Pixels[4*c:], []float32{0.1, 0.9, 0.1, 0.9})
		for y := range 16 {
			for x := range 16 {
				at := min(max((float64(x)+0.5)/8-0.5, 0), 1)
				large.Pixels[(c*16+y)*16+x] = float32(0.1 + 0.8*at)
			}
		}
	}
	if got, err = m.TransferLogits(t.Context(), small); err != nil {
		t.Fatal(err)
	}
	if want, err = m.Logits(t.Context(), large); err != nil {
		t.Fatal(err)
	}
	for i := range want {
		if math.Abs(float64(got[i]-want[i])) > 1e-5 {
			t.Errorf("logit %d is %v, want %v", i, got[i], want[i])
		}
	}
}

// Native initialisation and Save: the new file verifies, keeps its manifest, and depends on nothing but the seed.
func TestInitialiseAndSave(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	ctx := t.Context()
	for _, name := range []string{"resnet", "swin"} { // running statistics; index tables
		dir := t.TempDir()
		save := func(file string, seed uint64) *zoo.Manifest {
			var m *zoo.Manifest
			err := w.Do(ctx, func(s *torch.Scope) (err error) {
				module, manifest, err := zoo.OpenModule(ctx, s, testdata(name), torch.CPU)
				if err != nil {
					return err
				}
				defer module.Close()
				if err := zoo.InitWeights(ctx, s, module, manifest.Init, seed); err != nil {
					return err
				}
				m = manifest
				m.Name, m.Weights = strings.TrimSuffix(file, ".pt"), zoo.Weights{Source: "random", Seed: seed}
				return zoo.Save(ctx, s, module, m, filepath.Join(dir, file))
			})
			if err != nil {
				t.Fatal(err)
			}
			return m
		}
		a, b, c := save("a.pt", 1), save("b.pt", 1), save("c.pt", 2)
		if a.WeightsSHA256 != b.WeightsSHA256 || a.WeightsSHA256 == c.WeightsSHA256 {
			t.Errorf("%s: digests of seeds 1, 1, 2: %s %s %s", name, a.WeightsSHA256, b.WeightsSHA256, c.WeightsSHA256)
		}
		v, err := zoo.Verify(ctx, filepath.Join(dir, "c.pt"), zoo.LoadOptions{Worker: w})
		if err != nil || v.Name != "c" {
			t.Errorf("%s: %+v, %v", name, v, err)
		}
		again, err := zoo.ReadManifest(filepath.Join(dir, "c.pt"))
		if err != nil {
			t.Fatal(err)
		}
		original, err := zoo.ReadManifest(testdata(name))
		if err != nil {
			t.Fatal(err)
		}
		original.Name, original.Weights, original.WeightsSHA256 = again.Name, again.Weights, again.WeightsSHA256
		if x, y := encode(t, original), encode(t, again); x != y {
			t.Errorf("%s: the manifest changed: %s\n%s", name, x, y)
		}
	}
}

func encode(t *testing.T, m *zoo.Manifest) string {
	t.Helper()
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestInitWeightsNeedsEveryTensor(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	ctx := t.Context()
	err := w.Do(ctx, func(s *torch.Scope) error {
		module, m, err := zoo.OpenModule(ctx, s, testdata("mixer"), torch.CPU)
		if err != nil {
			return err
		}
		defer module.Close()
		wantError(t, zoo.InitWeights(ctx, s, module, m.Init[1:], 0), "no rule for tensor "+m.Init[0].Tensor)
		wantError(t, zoo.InitWeights(ctx, s, module, append(m.Init, m.Init[2]), 0), "two rules for tensor "+m.Init[2].Tensor)
		wantError(t, zoo.InitWeights(ctx, s, module, append(m.Init, zoo.InitRule{Tensor: "odd"}), 0), "no tensor odd")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = openPlain(t, w)
	if !errors.Is(err, zoo.ErrNoManifest) {
		t.Errorf("OpenModule without manifest: %v", err)
	}
}

func openPlain(t *testing.T, w *torch.Worker) (module *torch.Module, m *zoo.Manifest, err error) {
	doErr := w.Do(t.Context(), func(s *torch.Scope) error {
		module, m, err = zoo.OpenModule(t.Context(), s, testdata("plain-good"), torch.CPU)
		return nil
	})
	if doErr != nil {
		t.Fatal(doErr)
	}
	return module, m, err
}

// With a cache folder a file is replayed once; another content is another entry, and a broken entry is no entry.
func TestVerificationCache(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	dir := filepath.Join(t.TempDir(), "cache")
	entries := func() []string {
		found, err := filepath.Glob(filepath.Join(dir, "verified-*.json"))
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	o := zoo.LoadOptions{Worker: w, CacheDir: dir}
	first := load(t, testdata("vit"), o).Verified()
	if len(entries()) != 1 {
		t.Fatalf("cache holds %q", entries())
	}
	// A mark in the entry shows that it is used.
	entry := entries()[0]
	marked := first
	marked.Warnings = []string{"from the cache"}
	text, err := json.Marshal(marked)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(entry, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if v := load(t, testdata("vit"), o).Verified(); len(v.Warnings) != 1 {
		t.Errorf("the cache was not used: %+v", v)
	}
	load(t, testdata("mixer"), o)
	if len(entries()) != 2 {
		t.Errorf("cache holds %q after a second file", entries())
	}
	if err := os.WriteFile(entry, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if v := load(t, testdata("vit"), o).Verified(); len(v.Warnings) != 0 || !v.Recorded {
		t.Errorf("a broken entry was used: %+v", v)
	}
	// A refused file leaves no entry.
	bad := alter(t, w, testdata("vit"), func(m map[string]any) { m["mean"] = []float64{0.5, 0.45, 0.5} })
	if _, err := zoo.Load(t.Context(), bad, o); !errors.Is(err, zoo.ErrRefused) || len(entries()) != 2 {
		t.Errorf("%v; cache holds %q", err, entries())
	}
}

// The exporter as users run it: equal files whatever else is exported, failures named, the rest still done.
func TestExporter(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	root := testkit.Root(t)
	python := filepath.Join(root, "third_party", "env", "bin", "python")
	if _, err := exec.LookPath(python); err != nil {
		t.Skip("needs the Python environment in third_party/env (make build makes it)")
	}
	x := zoo.Exporter{Python: python, Script: filepath.Join(root, "scripts", "export.py")}
	job := func(name string) zoo.Job {
		return zoo.Job{Name: name, Model: "vit_tiny_patch16_224", NumClasses: 10, InputSize: []int{3, 16, 16}, Seed: 3,
			Kwargs: map[string]any{"img_size": 16, "patch_size": 4, "embed_dim": 16, "depth": 1, "num_heads": 2}}
	}
	resnet := zoo.Job{Name: "resnet", Model: "resnet18", NumClasses: 10, InputSize: []int{3, 32, 32},
		Kwargs: map[string]any{"channels": []int{4, 4, 4, 4}, "layers": []int{1, 1, 1, 1}}}
	unknown, broken := job("unknown"), job("broken")
	unknown.Model = "vit_enormous"
	broken.Kwargs = map[string]any{"img_size": 17, "patch_size": 4, "embed_dim": 15, "num_heads": 2}
	pretrained := zoo.Job{Name: "pretrained", Model: "resnet18.a1_in1k", Weights: "pretrained", Checkpoints: t.TempDir()}

	dir := t.TempDir()
	events := map[string]int{}
	err := x.Export(t.Context(), []zoo.Job{resnet, unknown, job("late"), broken, pretrained}, dir, func(e zoo.ExportEvent) { events[e.Event]++ })
	wantError(t, err, "export unknown", "vit_enormous", "export broken", "export pretrained",
		"resnet18.a1_in1k", "resnet18.a1_in1k.safetensors")
	if events["start"] != 5 || events["done"] != 2 || events["error"] != 3 {
		t.Errorf("events %v", events)
	}
	alone := t.TempDir()
	if err := x.Export(t.Context(), []zoo.Job{job("late")}, alone, nil); err != nil {
		t.Fatal(err)
	}
	a, errA := os.ReadFile(filepath.Join(dir, "late.pt"))
	b, errB := os.ReadFile(filepath.Join(alone, "late.pt"))
	if errA != nil || errB != nil || string(a) != string(b) {
		t.Errorf("the file depends on what was exported before it (%v, %v)", errA, errB)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 2 {
		t.Errorf("the folder holds %v, %v; want two files", left, err)
	}
	v, err := zoo.Verify(t.Context(), filepath.Join(dir, "late.pt"), zoo.LoadOptions{Worker: w})
	if err != nil || !v.Recorded || v.Float32.Gradient > 1e-5 {
		t.Errorf("%+v, %v", v, err)
	}
	if err := x.Export(t.Context(), []zoo.Job{{Name: "a/b", Model: "resnet18"}}, dir, nil); err == nil {
		t.Error("a name with a slash is accepted")
	}
}

// Every loss of package attacks is computed on the other side of the border as it is defined on this one.
func TestModelLosses(t *testing.T) {
	testkit.NoLeaks(t)
	m := load(t, testdata("vit"), zoo.LoadOptions{Worker: testkit.Torch(t)})
	x, y, targets := images(3, 16, 16), []int64{0, 9, 4}, []int64{3, 1, 7}
	for _, loss := range []attacks.Loss{attacks.CrossEntropy, attacks.DLR, attacks.Margin, attacks.TargetedDLR, attacks.LogitDifference} {
		var given []int64
		if loss.Targeted() {
			given = targets
		}
		g, err := m.LossGrad(t.Context(), x, y, given, loss)
		if err != nil {
			t.Fatal(err)
		}
		for i, got := range g.Loss {
			want, err := loss.Value(g.Logits[10*i:10*i+10], y[i], targets[i])
			if err != nil || math.Abs(float64(got)-want) > 1e-5*max(1, math.Abs(want)) {
				t.Errorf("%v of image %d is %v, want %v (%v)", loss, i, got, want, err)
			}
		}
	}
}
