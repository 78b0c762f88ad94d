package zoo_test

import (
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"sat/attacks"
	"sat/internal/testkit"
	"sat/torch"
	"sat/zoo"
)

// In bfloat16 a network computes other numbers, near those of float32, and what goes in and out stays float32. Swin holds
// integer tables, which must not be converted. torch.TestPrecisions compares the numbers with eager PyTorch's.
func TestPrecision(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	for _, name := range []string{"resnet", "convnext", "vit", "pit", "swin"} {
		t.Run(name, func(t *testing.T) {
			exact := load(t, testdata(name), zoo.LoadOptions{Worker: w})
			rough := load(t, testdata(name), zoo.LoadOptions{Worker: w, Mode: zoo.Mode{Precision: torch.BFloat16}})
			height, width := exact.InputSize()
			x, y := images(4, height, width), []int64{0, 9, 4, 1}
			want, got := gradientOf(t, exact, x, y), gradientOf(t, rough, x, y)
			// bfloat16 keeps 8 bits: rounding of 1/256, which a few layers add up.
			if d := distance(got.Logits, want.Logits); !(d > 0 && d < 0.05) {
				t.Errorf("relative distance of the logits is %g", d)
			}
			if d := distance(got.Pixels, want.Pixels); !(d > 0 && d < 0.3) {
				t.Errorf("relative distance of the gradient is %g", d)
			}
		})
	}
	_, err := zoo.Load(t.Context(), testdata("vit"), zoo.LoadOptions{Worker: w, Mode: zoo.Mode{Precision: torch.Float16}})
	wantError(t, err, "precision float16", "float32 or bfloat16")
}

// Another layout in memory changes the order of additions and nothing else, and every attack copes with the layout of the
// gradients.
func TestChannelsLast(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	for _, name := range []string{"resnet", "convnext", "vit", "pit", "swin"} {
		t.Run(name, func(t *testing.T) {
			usual := load(t, testdata(name), zoo.LoadOptions{Worker: w})
			last := load(t, testdata(name), zoo.LoadOptions{Worker: w, Mode: zoo.Mode{ChannelsLast: true}})
			height, width := usual.InputSize()
			x, y, ids := images(4, height, width), []int64{0, 9, 4, 1}, []string{"a", "b", "c", "d"}
			want, got := gradientOf(t, usual, x, y), gradientOf(t, last, x, y)
			if d := distance(got.Logits, want.Logits); !(d < 1e-5) {
				t.Errorf("relative distance of the logits is %g", d)
			}
			if d := distance(got.Pixels, want.Pixels); !(d < 1e-4) {
				t.Errorf("relative distance of the gradient is %g", d)
			}
			// One step of a size that rounding cannot hide: a gradient read in the wrong order would change every pixel.
			for _, norm := range []attacks.Norm{attacks.Linf, attacks.L2} {
				attack := attacks.Defaults()
				attack.Norm, attack.Steps, attack.StepSize = norm, 1, 2.0/255
				if norm == attacks.L2 {
					attack.Epsilon, attack.StepSize = 1, 0.5
				}
				a, err := attack.Run(t.Context(), usual, x, y, ids, nil)
				if err != nil {
					t.Fatal(err)
				}
				b, err := attack.Run(t.Context(), last, x, y, ids, nil)
				if err != nil {
					t.Fatal(err)
				}
				if d := distance(minus(b.Adversarial.Pixels, x.Pixels), minus(a.Adversarial.Pixels, x.Pixels)); !(d < 0.05) {
					t.Errorf("norm %v: relative distance of the perturbations is %g", norm, d)
				}
			}
		})
	}
}

// A lowered network computes the same but for the last bits, and loading has compared it with the record; where there is none,
// with the network as it is.
func TestLowered(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	dir := t.TempDir()
	for _, name := range []string{"resnet", "resnext", "regnet", "convnext", "vit", "pit", "swin", "mixer", "resmlp"} {
		t.Run(name, func(t *testing.T) {
			usual := load(t, testdata(name), zoo.LoadOptions{Worker: w, CacheDir: dir})
			if usual.Verified().Lowered != nil {
				t.Error("lowering was checked although nothing is lowered")
			}
			var first *zoo.Difference
			for _, mode := range []zoo.Mode{{Lowered: true}, {Precision: torch.BFloat16}} { // the second time the cache remembers
				m := load(t, testdata(name), zoo.LoadOptions{Worker: w, CacheDir: dir, Mode: mode})
				d := m.Verified().Lowered
				if d == nil || !(d.Logits <= 1e-4 && d.Gradient <= 3e-2) {
					t.Fatalf("%v: lowering was checked with result %v", mode, d)
				}
				if first != nil && *d != *first {
					t.Errorf("checked again: %v, before %v", *d, *first)
				}
				first = d
				if m.Parameters() != usual.Parameters() {
					t.Errorf("%v: %d parameters, want %d", mode, m.Parameters(), usual.Parameters())
				}
			}
			m := load(t, testdata(name), zoo.LoadOptions{Worker: w, CacheDir: dir, Mode: zoo.Mode{Lowered: true}})
			height, width := usual.InputSize()
			x, y := images(4, height, width), []int64{0, 9, 4, 1}
			want, got := gradientOf(t, usual, x, y), gradientOf(t, m, x, y)
			if name == "mixer" || name == "resmlp" { // their heads are zero
				if !reflect.DeepEqual(got, want) {
					t.Error("logits and gradients are not zero")
				}
				return
			}
			if d := distance(got.Logits, want.Logits); !(d < 1e-5) {
				t.Errorf("relative distance of the logits is %g", d)
			}
			if d := distance(got.Pixels, want.Pixels); !(d < 1e-4) {
				t.Errorf("relative distance of the gradient is %g", d)
			}
		})
	}
	m := load(t, testdata("plain-good"), zoo.LoadOptions{Worker: w, Describe: zoo.Description{Height: 15, Width: 17}, Mode: zoo.Mode{Lowered: true}})
	if d := m.Verified().Lowered; d == nil || !(d.Logits <= 1e-5 && d.Gradient <= 1e-4) {
		t.Errorf("without a record, lowering was checked with result %v", d)
	}
	// A network that makes much of any rounding is not refused for it, but it is told so.
	m = load(t, testdata("plain-chaotic"), zoo.LoadOptions{Worker: w, Describe: zoo.Description{Height: 15, Width: 17}, Mode: zoo.Mode{Lowered: true}})
	d := m.Verified().Lowered
	warned := slices.ContainsFunc(m.Verified().Warnings, func(s string) bool { return strings.Contains(s, "rounding alone changes its logits by") })
	if beyond := d.Logits > 1e-4 || d.Gradient > 3e-2; warned != beyond {
		t.Errorf("a chaotic network: lowering was checked with result %+v, warnings %q", *d, m.Verified().Warnings)
	}
}

func TestMode(t *testing.T) {
	cuda := torch.Device{Type: torch.DeviceCUDA}
	for word, want := range map[string]struct{ parsed, cpu, cuda zoo.Mode }{
		"float32":       {},
		"channels-last": {zoo.Mode{ChannelsLast: true}, zoo.Mode{ChannelsLast: true}, zoo.Mode{ChannelsLast: true}},
		"lowered":       {zoo.Mode{Lowered: true}, zoo.Mode{ChannelsLast: true, Lowered: true}, zoo.Mode{}},
		"bfloat16": {zoo.Mode{Precision: torch.BFloat16}, zoo.Mode{Precision: torch.BFloat16, ChannelsLast: true, Lowered: true},
			zoo.Mode{Precision: torch.BFloat16, ChannelsLast: true}},
	} {
		m, err := zoo.ParseMode(word)
		if err != nil || m != want.parsed || m.String() != word || m.On(torch.CPU) != want.cpu || m.On(cuda) != want.cuda {
			t.Errorf("%s: %+v (%v), on the CPU %+v, on CUDA %+v, error %v", word, m, m, m.On(torch.CPU), m.On(cuda), err)
		}
		if err := m.Check(torch.CPU); err != nil {
			t.Errorf("%s on the CPU: %v", word, err)
		}
		if err := m.Check(cuda); (err != nil) != m.Lowered {
			t.Errorf("%s on CUDA: %v", word, err)
		}
	}
	for _, word := range []string{"", "float16", "int64", "Lowered"} {
		if m, err := zoo.ParseMode(word); err == nil {
			t.Errorf("%q is %v", word, m)
		}
	}
}

func gradientOf(t *testing.T, m *zoo.Model, x attacks.Batch, y []int64) attacks.Gradient {
	t.Helper()
	g, err := m.LossGrad(t.Context(), x, y, nil, attacks.CrossEntropy)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func minus(a, b []float32) []float32 {
	out := make([]float32, len(a))
	for i := range a {
		out[i] = a[i] - b[i]
	}
	return out
}

// distance is |got - want| / |want|.
func distance(got, want []float32) float64 {
	var difference, norm float64
	for i := range want {
		d := float64(got[i]) - float64(want[i])
		difference += d * d
		norm += float64(want[i]) * float64(want[i])
	}
	return math.Sqrt(difference / norm)
}
