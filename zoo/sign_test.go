package zoo_test

import (
	"context"
	"fmt"
	"math"
	"reflect"
	"testing"

	"sat/attacks"
	"sat/internal/testkit"
	"sat/torch"
	"sat/zoo"
)

// plain hides that a model can keep the images of an attack.
type plain struct{ attacks.Model }

func (p plain) Normalization() (mean, std []float32) { return p.Model.(*zoo.Model).Normalization() }

// counted counts forward passes without gradient.
type counted struct {
	*zoo.Model
	forward int
}

func (c *counted) Logits(ctx context.Context, x attacks.Batch) ([]float32, error) {
	c.forward++
	return c.Model.Logits(ctx, x)
}

// An attack whose images stay with the model gives the same result, bit for bit, as one that carries them to and fro.
func TestStepsOnTheModelEqualPlainSteps(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	for _, name := range []string{"resnet", "vit"} {
		for _, mode := range []zoo.Mode{{}, {ChannelsLast: true}, {Lowered: true}, {Precision: torch.BFloat16}} {
			if testing.Short() && name == "vit" && mode != (zoo.Mode{}) {
				continue
			}
			m := load(t, testdata(name), zoo.LoadOptions{Worker: w, Mode: mode})
			x, y, ids := images(4, 16, 16), []int64{0, 9, 4, 1}, []string{"a", "b", "c", "d"}
			for label, change := range map[string]func(*attacks.PGD){
				"paper":        func(*attacks.PGD) {},
				"small step":   func(p *attacks.PGD) { p.StepSize = 1.0 / 255 },
				"random start": func(p *attacks.PGD) { p.RandomStart, p.StepSize, p.Seed = true, 2.0/255, 7 },
				"restarts":     func(p *attacks.PGD) { p.RandomStart, p.Restarts, p.StepSize = true, 3, 1.0/255 },
				"targeted":     func(p *attacks.PGD) { p.Target, p.StepSize = attacks.TargetGiven, 2.0/255 },
				"normalised":   func(p *attacks.PGD) { p.NormalizedStep = true },
				"margin":       func(p *attacks.PGD) { p.Loss = attacks.Margin },
			} {
				t.Run(fmt.Sprintf("%s %v %s", name, mode, label), func(t *testing.T) {
					p := attacks.Defaults()
					p.Steps = 4
					change(&p)
					want, err := p.Run(t.Context(), plain{m}, x, y, ids, nil)
					if err != nil {
						t.Fatal(err)
					}
					got, err := p.Run(t.Context(), m, x, y, ids, nil)
					if err != nil {
						t.Fatal(err)
					}
					if !reflect.DeepEqual(got, want) {
						t.Error("the results differ")
					}
					if !p.ImagesAlone() {
						return
					}
					c := &counted{Model: m}
					alone, err := p.Images(t.Context(), c, x, y, ids, nil)
					if err != nil {
						t.Fatal(err)
					}
					if !reflect.DeepEqual(alone.Adversarial, want.Adversarial) || alone.ZeroGradImages != want.ZeroGradImages {
						t.Error("the images alone differ from those of the whole attack")
					}
					if c.forward > 0 {
						t.Errorf("images alone cost %d forward passes", c.forward)
					}
				})
			}
		}
	}
}

func TestStartSignRefuses(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	m := load(t, testdata("vit"), zoo.LoadOptions{Worker: w})
	ctx, x, y := t.Context(), images(2, 16, 16), []int64{0, 1}
	o := attacks.SignSettings{StepSize: 0.1, Epsilon: 0.1}
	start := func(x, from attacks.Batch, y []int64, o attacks.SignSettings) error {
		r, err := m.StartSign(ctx, x, from, y, o)
		if err == nil {
			r.Close()
		}
		return err
	}
	wantError(t, start(images(2, 16, 15), x, y, o), "takes 3x16x16")
	wantError(t, start(x, images(2, 15, 16), y, o), "takes 3x16x16")
	wantError(t, start(x, images(1, 16, 16), y, o), "1 images to start from, 2 clean ones")
	wantError(t, start(x, x, []int64{0, 10}, o), "label 10 of row 1")
	wantError(t, start(x, x, y, attacks.SignSettings{Loss: attacks.TargetedDLR}), "no steps along")

	// NaN is an error that names the row, as in LossGrad.
	x.Pixels[3*16*16] = float32(math.NaN())
	r, err := m.StartSign(ctx, x, x, y, o)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	_, _, err = r.Step(ctx)
	wantError(t, err, "model vit", "row 1")
}
