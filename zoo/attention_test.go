package zoo_test

import (
	"errors"
	"math"
	"os/exec"
	"path/filepath"
	"testing"

	"sat/attacks"
	"sat/internal/testkit"
	"sat/zoo"
)

// attentive is the network of the Patch-Fool goldens: six layers, two heads, patches of 4 pixels in images of 16.
const attentive = "../attacks/goldentest/testdata/attention.pt"

// TestAttentionExport: a vision transformer exported with attention computes what timm's own does, passes its check, and
// gives maps; other networks are refused by name of what they have or lack.
func TestAttentionExport(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	root := testkit.Root(t)
	python := filepath.Join(root, "third_party", "env", "bin", "python")
	if _, err := exec.LookPath(python); err != nil {
		t.Skip("needs the Python environment in third_party/env (make build makes it)")
	}
	x := zoo.Exporter{Python: python, Script: filepath.Join(root, "scripts", "export.py")}
	job := func(name string) zoo.Job {
		return zoo.Job{Name: name, Model: "vit_tiny_patch16_224", NumClasses: 10, InputSize: []int{3, 16, 16}, Seed: 3, Attention: true,
			Kwargs: map[string]any{"img_size": 16, "patch_size": 8, "embed_dim": 16, "depth": 3, "num_heads": 2}}
	}
	scaled := job("scaled")
	scaled.Kwargs["init_values"] = 0.1
	plain := job("plain")
	plain.Attention = false
	resnet := zoo.Job{Name: "resnet", Model: "resnet18", Attention: true, Kwargs: map[string]any{"channels": []int{4, 4, 4, 4}, "layers": []int{1, 1, 1, 1}}}
	dir := t.TempDir()
	err := x.Export(t.Context(), []zoo.Job{job("maps"), plain, scaled, resnet}, dir, nil)
	wantError(t, err, "export scaled", "no layer scale in block 0", "export resnet", "not of ResNet")
	v, err := zoo.Verify(t.Context(), filepath.Join(dir, "maps.pt"), zoo.LoadOptions{Worker: w})
	if err != nil || !v.Recorded || v.Float32.Gradient > 1e-5 {
		t.Errorf("%+v, %v", v, err)
	}
	with := load(t, filepath.Join(dir, "maps.pt"), zoo.LoadOptions{Worker: w})
	without := load(t, filepath.Join(dir, "plain.pt"), zoo.LoadOptions{Worker: w})
	if shape, ok := with.Attention(); !ok || shape != (attacks.AttentionShape{Layers: 3, Heads: 2, Prefix: 1, Patch: 8}) {
		t.Errorf("shape %+v, %v", shape, ok)
	}
	if _, ok := without.Attention(); ok {
		t.Error("a plain module has attention")
	}
	batch := images(3, 16, 16)
	a, err := with.Logits(t.Context(), batch)
	if err != nil {
		t.Fatal(err)
	}
	b, err := without.Logits(t.Context(), batch)
	if err != nil {
		t.Fatal(err)
	}
	for i := range a {
		if math.Abs(float64(a[i]-b[i])) > 1e-5 {
			t.Errorf("logit %d is %v with maps and %v without", i, a[i], b[i])
		}
	}
}

// TestAttentionGradients: the objectives' gradients are right by finite differences of what AttentionScores and the
// objective say, the cross-entropy's is LossGrad's, and patches receive what is left of 1 by the prefix tokens.
func TestAttentionGradients(t *testing.T) {
	testkit.NoLeaks(t)
	m := load(t, attentive, zoo.LoadOptions{Worker: testkit.Torch(t)})
	x, y := images(2, 16, 16), []int64{4, 7}
	layers := []int{0, 3, 5}
	patches := [][]int{{5}, {10}}
	ce, paper, err := m.AttentionGrad(t.Context(), x, y, patches, attacks.FormPaper, layers)
	if err != nil {
		t.Fatal(err)
	}
	want, err := m.LossGrad(t.Context(), x, y, nil, attacks.CrossEntropy)
	if err != nil {
		t.Fatal(err)
	}
	for i := range want.Pixels {
		if math.Abs(float64(ce.Pixels[i]-want.Pixels[i])) > 1e-6 {
			t.Fatalf("pixel %d: gradient %v, want %v", i, ce.Pixels[i], want.Pixels[i])
		}
	}
	// With one patch the objective is heads*tokens times the score of the patch.
	const heads, tokens, step = 2, 17, 1e-2
	for l, layer := range layers {
		value := func(b attacks.Batch) (sum float64) {
			scores, err := m.AttentionScores(t.Context(), b, layer)
			if err != nil {
				t.Fatal(err)
			}
			for i, p := range patches {
				sum += heads * tokens * float64(scores[i*16+p[0]])
			}
			return sum
		}
		scores, err := m.AttentionScores(t.Context(), x, layer)
		if err != nil {
			t.Fatal(err)
		}
		total := 0.0
		for _, s := range scores[:16] {
			total += float64(s)
		}
		if !(total > 0 && total < 1) { // the class token receives the rest
			t.Errorf("layer %d: the patches receive %v in all", layer, total)
		}
		// Along the gradient itself, where the difference is largest.
		length := 0.0
		for _, g := range paper[l] {
			length += float64(g) * float64(g)
		}
		length = math.Sqrt(length)
		up, down := x.Clone(), x.Clone()
		for i, g := range paper[l] {
			up.Pixels[i] += float32(step * float64(g) / length)
			down.Pixels[i] -= float32(step * float64(g) / length)
		}
		if got := (value(up) - value(down)) / (2 * step); math.Abs(got-length) > 2e-2*length {
			t.Errorf("layer %d: slope %v along the gradient of length %v", layer, got, length)
		}
	}
	_, code, err := m.AttentionGrad(t.Context(), x, y, patches, attacks.FormCode, []int{1, 2})
	if err != nil || len(code) != 2 {
		t.Fatalf("%d gradients, %v", len(code), err)
	}
}

func TestAttentionErrors(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	x, y := images(2, 16, 16), []int64{4, 7}
	m := load(t, attentive, zoo.LoadOptions{Worker: w})
	for _, c := range []struct {
		patches [][]int
		layers  []int
		want    string
	}{
		{[][]int{{16}, {0}}, nil, "patch 16 of row 0 is not one of 16"},
		{[][]int{{1}, {0, 2}}, nil, "2 patches of row 1 and 1 of row 0"},
		{[][]int{{1}}, nil, "patches of 1 images for 2"},
		{[][]int{{1}, {2}}, []int{6}, "no layer 6 of 6"},
	} {
		_, _, err := m.AttentionGrad(t.Context(), x, y, c.patches, attacks.FormPaper, c.layers)
		wantError(t, err, c.want)
	}
	_, err := m.AttentionScores(t.Context(), x, 6)
	wantError(t, err, "no layer 6")
	plain := load(t, testdata("vit"), zoo.LoadOptions{Worker: w})
	_, err = plain.AttentionScores(t.Context(), x, 0)
	wantError(t, err, "export it with attention")
	// A manifest that announces what the network does not give.
	for name, change := range map[string]func(map[string]any){
		"heads":  func(s map[string]any) { s["heads"] = 3 },
		"layers": func(s map[string]any) { s["layers"] = 5 },
		"prefix": func(s map[string]any) { s["prefix"] = 2 },
		"patch":  func(s map[string]any) { s["patch"] = 5 },
	} {
		bad := alter(t, w, attentive, func(m map[string]any) { change(m["attention_shape"].(map[string]any)) })
		if _, err := zoo.Load(t.Context(), bad, zoo.LoadOptions{Worker: w}); !errors.Is(err, zoo.ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
