package zoo_test

import (
	"math"
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
