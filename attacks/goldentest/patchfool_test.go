package goldentest

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"sat/attacks"
	"sat/internal/testkit"
	"sat/zoo"
)

// patchGolden is testdata/patchfool.json; scripts/goldens/attacks_patchfool.py makes it.
type patchGolden struct {
	Labels, Clean []int64
	Patch         int
	Cases         []struct {
		Name, Select, Form, Conflict  string
		Patches, Layer, Steps, Pixels int
		Rate, Weight                  float64
		MildL2                        float64 `json:"mild_l2"`
		MildLinf                      float64 `json:"mild_linf"`
		Chosen                        [][]int
		Predicted                     []int64
		Losses                        map[int][]float64
		Rates                         map[int]float64
		Images                        map[int][]byte // by steps done: the float32 values inside the patches
	}
}

func readPatchGolden(t *testing.T) (g patchGolden) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "patchfool.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &g); err != nil {
		t.Fatal(err)
	}
	return g
}

func loadAttention(t *testing.T) *zoo.Model {
	t.Helper()
	model, err := zoo.Load(context.Background(), filepath.Join("testdata", "attention.pt"), zoo.LoadOptions{Worker: testkit.Torch(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(model.Close)
	return model
}

// recorder notes the loss and the images of every step.
type recorder struct {
	*zoo.Model
	seen   []attacks.Batch
	losses [][]float32
	chosen [][]int
}

func (r *recorder) note(x attacks.Batch, g attacks.Gradient, err error) {
	if err == nil {
		r.seen, r.losses = append(r.seen, x.Clone()), append(r.losses, g.Loss)
	}
}

func (r *recorder) LossGrad(ctx context.Context, x attacks.Batch, y, targets []int64, loss attacks.Loss) (attacks.Gradient, error) {
	g, err := r.Model.LossGrad(ctx, x, y, targets, loss)
	r.note(x, g, err)
	return g, err
}

func (r *recorder) AttentionGrad(ctx context.Context, x attacks.Batch, y []int64, patches [][]int, form attacks.AttentionForm, layers []int) (attacks.Gradient, [][]float32, error) {
	g, attention, err := r.Model.AttentionGrad(ctx, x, y, patches, form, layers)
	r.note(x, g, err)
	r.chosen = patches
	return g, attention, err
}

// TestPatchFoolEqualsEager: patches, images, losses and predictions are those of an eager re-implementation, step by step.
func TestPatchFoolEqualsEager(t *testing.T) {
	testkit.NoLeaks(t)
	model := loadAttention(t)
	_, x := readGolden(t)
	g := readPatchGolden(t)
	n := len(g.Labels)
	x = x.Slice(0, n)
	for _, c := range g.Cases {
		t.Run(c.Name, func(t *testing.T) {
			p := attacks.DefaultPatchFool()
			p.Patches, p.Layer, p.Steps, p.Pixels, p.Rate, p.Weight = c.Patches, c.Layer, c.Steps, c.Pixels, c.Rate, c.Weight
			p.MildL2, p.MildLinf, p.Seed = c.MildL2, c.MildLinf, 3
			p.Select = map[string]attacks.PatchSelect{"attention": attacks.SelectAttention, "random": attacks.SelectRandom, "saliency": attacks.SelectSaliency}[c.Select]
			p.Form = map[string]attacks.AttentionForm{"code": attacks.FormCode, "paper": attacks.FormPaper}[c.Form]
			p.Conflict = map[string]attacks.Conflict{"project": attacks.ConflictProject, "code-norm": attacks.ConflictCodeNorm}[c.Conflict]
			r := &recorder{Model: model}
			result, err := p.Run(context.Background(), r, x, g.Labels, ids(n), nil)
			if err != nil {
				t.Fatal(err)
			}
			if p.Select == attacks.SelectSaliency { // the gradient that chose the patches
				r.seen, r.losses = r.seen[1:], r.losses[1:]
			}
			r.seen = append(r.seen, result.Adversarial)
			if !slices.Equal(result.Clean, g.Clean) {
				t.Fatalf("clean predictions %v, want %v", result.Clean, g.Clean)
			}
			if c.Weight > 0 {
				for i := range c.Chosen {
					if !slices.Equal(r.chosen[i], c.Chosen[i]) {
						t.Errorf("patches of image %d: %v, want %v", i, r.chosen[i], c.Chosen[i])
					}
				}
			}
			for _, steps := range []int{1, 5, 25} {
				differ, largest, total := 0, 0.0, 0
				want := c.Images[steps]
				for i := range n {
					for _, place := range places(x, c.Chosen[i], g.Patch) {
						w := float64(math.Float32frombits(binary.LittleEndian.Uint32(want[4*total:])))
						d := math.Abs(float64(r.seen[steps].Image(i)[place]) - w)
						largest, total = max(largest, d), total+1
						if d > 1e-3 {
							differ++
						}
					}
				}
				if 4*total != len(want) {
					t.Fatalf("%d values, %d in the golden", total, len(want)/4)
				}
				t.Logf("after %d steps %d of %d values differ by more than 1e-3, the largest by %.2g", steps, differ, total, largest)
				// Adam's first step has the sign of the gradient, so a gradient of nearly 0 may turn round; from there on paths part.
				if allowed := map[int]int{1: 1, 5: 2, 25: 5}[steps]; 1000*differ > allowed*total {
					t.Errorf("after %d steps %d of %d values differ from the eager attack's", steps, differ, total)
				}
			}
			for step, want := range c.Losses {
				if step > 25 {
					continue
				}
				for i, w := range want {
					if got := float64(r.losses[step][i]); math.Abs(got-w) > 2e-3*max(1, math.Abs(w)) {
						t.Errorf("loss of image %d in step %d is %v, want %v", i, step, got, w)
					}
				}
			}
			differ := 0
			for i := range n {
				if result.Predicted[i] != c.Predicted[i] {
					differ++
				}
			}
			if differ > 1 {
				t.Errorf("predicted %v, want %v", result.Predicted, c.Predicted)
			}
			checkPatches(t, p, model, x, result.Adversarial, c.Chosen, g.Patch)
		})
	}
}

// places are those of the values inside patches, in the order of the golden: channel after channel.
func places(x attacks.Batch, chosen []int, side int) (list []int) {
	columns := x.W / side
	for c := range x.C {
		for row := range x.H {
			for col := range x.W {
				if slices.Contains(chosen, row/side*columns+col/side) {
					list = append(list, (c*x.H+row)*x.W+col)
				}
			}
		}
	}
	return list
}

// checkPatches: nothing changes outside the patches, bit for bit; inside the box and the mild bounds hold, and the sparse
// variant changes no more pixels than it may.
func checkPatches(t *testing.T, p attacks.PatchFool, model *zoo.Model, x, adv attacks.Batch, chosen [][]int, side int) {
	t.Helper()
	for i := range x.N {
		clean, got := x.Image(i), adv.Image(i)
		inside := map[int]bool{}
		for _, place := range places(x, chosen[i], side) {
			inside[place] = true
		}
		changed := map[int]bool{}
		length := make([]float64, x.C)
		for j, v := range got {
			if v < 0 || v > 1 {
				t.Fatalf("image %d: value %v", i, v)
			}
			d := float64(v) - float64(clean[j])
			if math.Float32bits(v) == math.Float32bits(clean[j]) {
				continue
			}
			if !inside[j] {
				t.Fatalf("image %d: value %d outside the patches %v changed by %v", i, j, chosen[i], d)
			}
			changed[j%(x.H*x.W)] = true
			length[j/(x.H*x.W)] += d * d
			if p.MildLinf > 0 && math.Abs(d) > p.MildLinf+1e-6 {
				t.Errorf("image %d: value %d changed by %v", i, j, d)
			}
		}
		for c, sum := range length {
			if p.MildL2 > 0 && math.Sqrt(sum) > p.MildL2+1e-6 {
				t.Errorf("image %d: channel %d changed by %v in L2", i, c, math.Sqrt(sum))
			}
		}
		if most := p.Patches * side * side; len(changed) > most || p.Pixels > 0 && len(changed) > p.Pixels {
			t.Errorf("image %d: %d pixels changed", i, len(changed))
		}
	}
}

// TestPatchFoolBeatsRandomPatches: what the attack puts into a patch fools far more often than noise in the same patch.
func TestPatchFoolBeatsRandomPatches(t *testing.T) {
	testkit.NoLeaks(t)
	model := loadAttention(t)
	golden, x := readGolden(t)
	n := x.N
	correct, fooled, byNoise := 0, 0, 0
	p := attacks.DefaultPatchFool()
	p.Steps = 60
	r, err := p.Run(context.Background(), model, x, golden.Labels[:n], ids(n), nil)
	if err != nil {
		t.Fatal(err)
	}
	p.Steps, p.Rate = 1, 0 // the start stays: noise in the same patches
	noise, err := p.Run(context.Background(), model, x, golden.Labels[:n], ids(n), nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if r.Correct[i] {
			correct++
			fooled += one(r.Fooled[i])
			byNoise += one(noise.Fooled[i])
		}
	}
	t.Logf("%d images, %d correct: Patch-Fool fools %d, noise in the same patch %d", n, correct, fooled, byNoise)
	if correct < n*9/10 || fooled < correct*8/10 || fooled < 2*byNoise {
		t.Errorf("of %d correct images Patch-Fool fools %d, noise %d", correct, fooled, byNoise)
	}
}

func one(b bool) int {
	if b {
		return 1
	}
	return 0
}
