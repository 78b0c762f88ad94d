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
			rough := load(t, testdata(name), zoo.LoadOptions{Worker: w, Precision: torch.BFloat16})
			height, width := exact.InputSize()
			x, y := images(4, height, width), []int64{0, 9, 4, 1}
			want, err := exact.LossGrad(t.Context(), x, y, nil, attacks.CrossEntropy)
			if err != nil {
				t.Fatal(err)
			}
			got, err := rough.LossGrad(t.Context(), x, y, nil, attacks.CrossEntropy)
			if err != nil {
				t.Fatal(err)
			}
			// bfloat16 keeps 8 bits: rounding of 1/256, which a few layers add up.
			if d := distance(got.Logits, want.Logits); !(d > 0 && d < 0.05) {
				t.Errorf("relative distance of the logits is %g", d)
			}
			if d := distance(got.Pixels, want.Pixels); !(d > 0 && d < 0.3) {
				t.Errorf("relative distance of the gradient is %g", d)
			}
		})
	}
	_, err := zoo.Load(t.Context(), testdata("vit"), zoo.LoadOptions{Worker: w, Precision: torch.Float16})
	wantError(t, err, "precision float16", "float32 or bfloat16")
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
