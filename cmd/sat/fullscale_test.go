package main

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sat/internal/rng"
)

// TestFullScaleTrainings trains by every recipe of the full-scale studies, with the real architectures on generated photographs,
// for one epoch of a few steps. It takes a quarter of an hour, so it runs in `make soak` only.
func TestFullScaleTrainings(t *testing.T) {
	if !*fullSize {
		t.Skip("ResNet-50, ViT-S and DeiT-Ti at 224 pixels: with -full-size only, see make soak")
	}
	needTorch(t)
	needExporter(t)
	for _, c := range []struct {
		study         string
		outputs       int // of the networks; the images have four of the classes
		edits         []edit
		trained       []string // names of models
		withoutLabels []string // names of pre-trainings
	}{
		{study: "training", outputs: 4,
			edits: []edit{
				{`(?s)\n\[\[model\]\]\nname = "resnet50-cutout".*?\n(\[\[set\]\]\nname = "resnet50-init")`, "\n$1"}, // downloads
				{`(?s)\n\[\[set\]\]\nname = "resnet50-regime".*?\n(\[\[set\]\])`, "\n$1"},
				{`(?m)^models = \["vit_small.*\n`, ""},
				{`(?m)^count = .*`, "count = 1"},
				{`(?s)draws = \[.*?\n\]`, `draws = [[5, 0.1, "cosine"], [0.2, 1, "step"]]`},
				{`(?m)^(lr_mul|weight_decay_mul) = .*`, "$1 = [0.2]"},
			},
			trained: []string{"resnet50-init-s0", "resnet50-hp-lr5-wd0.1-cosine", "resnet50-hp-lr0.2-wd1-step", "vit_s-init-s0",
				"vit_s-regime-vit_s_mocov3", "vit_s-regime-vit_s_mae", "vit_s-regime-vit_s_byol"},
			withoutLabels: []string{"mocov3", "mae", "byol"}},
		{study: "distill", outputs: 1000,
			edits: []edit{
				{`(?s)teachers = \[.*?\n\]`, `teachers = ["resnet50", "pit_s_224"]`},
				{`"teachers", "deit_small_patch16_224"`, `"resnet50", "pit_s_224", "deit_small_patch16_224"`},
			},
			trained: []string{"deit_ti-resnet50", "deit_ti-pit_s_224"}},
	} {
		t.Run(c.study, func(t *testing.T) {
			text := string(readFile(t, filepath.Join(checkout(), "experiments", c.study+".toml")))
			for _, e := range append(c.edits,
				edit{`device = "cuda"`, ""},
				edit{`weights = "pretrained"`, `weights = "random"`},
				edit{`"paper", "regimes"`, `"deit_small_patch16_224"`},
				edit{`(?s)\n\[analysis\..*?\n(\[report\])`, "\n$1"},
				edit{`mode = "per-class"\nfraction = 0.1`, `mode = "all"`},
				edit{`(?m)^epochs = \d+`, "epochs = 1"},
				edit{`(?m)^step_epochs = \d+`, "step_epochs = 1"},
				edit{`(?m)^warmup_epochs = \d+`, "warmup_epochs = 0"},
				edit{`(?m)^batch = \d+`, "batch = 8"},
				edit{`path = "data/imagenet"`, "$0\nclass_map = \"classes.txt\""},
				edit{`(?m)^amp = .*\n`, ""}, // float16 wants a GPU, and training in bfloat16 without instructions for it takes minutes per step
			) {
				text = regexp.MustCompile(e.from).ReplaceAllString(text, e.to)
			}
			dir := t.TempDir()
			writePhotographs(t, dir, c.outputs)
			write(t, filepath.Join(dir, "experiment.toml"), []byte(text))
			mustSat(t, dir, "train", "experiment.toml")
			models := filepath.Join(dir, "runs", c.study, "models")
			for _, name := range c.trained {
				rows, err := csv.NewReader(bytes.NewReader(readFile(t, filepath.Join(models, name, "curve.csv")))).ReadAll()
				must(t, err)
				if len(rows) != 2 || rows[1][2] == "" || strings.Contains(rows[1][2], "NaN") {
					t.Errorf("%s: curve %v", name, rows)
				}
			}
			for _, name := range c.withoutLabels {
				if len(readFile(t, filepath.Join(models, "pretrain-"+name, "pretrain.csv"))) == 0 {
					t.Errorf("%s left no curve", name)
				}
			}
		})
	}
}

// edit replaces what a regular expression matches.
type edit struct{ from, to string }

// writePhotographs writes a folder of images as ImageNet's is, data/imagenet/train/CLASS/FILE and val/CLASS/FILE, with four
// classes, ten images of each to train with and one to validate with, and classes.txt, which spreads them over the outputs.
func writePhotographs(t *testing.T, dir string, outputs int) {
	t.Helper()
	draw := rng.New(7, "photographs")
	const classes = 4
	var classMap bytes.Buffer
	for class := range classes {
		name := fmt.Sprintf("n%08d", class)
		fmt.Fprintln(&classMap, name, class*(outputs-1)/(classes-1))
		for _, part := range []struct {
			name  string
			count int
		}{{"train", 10}, {"val", 1}} {
			folder := filepath.Join(dir, "data", "imagenet", part.name, name)
			must(t, os.MkdirAll(folder, 0o777))
			for i := range part.count {
				picture := image.NewRGBA(image.Rect(0, 0, 230+draw.IntN(40), 230+draw.IntN(40)))
				wave, tint := 2+draw.IntN(40), draw.IntN(256)
				for y := range picture.Rect.Dy() {
					for x := range picture.Rect.Dx() {
						picture.Set(x, y, color.RGBA{uint8(x * 255 / wave), uint8(y * 255 / wave), uint8((x*y/wave + tint)), 255})
					}
				}
				var b bytes.Buffer
				must(t, jpeg.Encode(&b, picture, nil))
				write(t, filepath.Join(folder, fmt.Sprintf("%d.JPEG", i)), b.Bytes())
			}
		}
	}
	write(t, filepath.Join(dir, "classes.txt"), classMap.Bytes())
}
