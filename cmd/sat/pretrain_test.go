package main

import (
	"encoding/csv"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// pretrainings is a run with every way to learn without labels, as small as it can be.
const pretrainings = `name = "pretrainings"

[data]
path = "data/digits"
prepare = "few-digits"

[data.subset]
mode = "uniform"
count = 300

[attack]
epsilon = "24/255"
steps = 1

[similarity]
bootstrap = 20

[recipe.alone]
epochs = 2
batch = 32
opt = "adamw"
lr = 2e-3
crop_scale = [0.5, 1.0]

[[pretrain]]
name = "mae"
method = "mae"
model = "vit"
recipe = "alone"
decoder_depth = 1
decoder_width = 16
decoder_heads = 2

[[pretrain]]
name = "moco"
method = "mocov3"
model = "vit"
recipe = "alone"
hidden = 16
projection = 8

[[pretrain]]
name = "byol"
method = "byol"
model = "vit"
recipe = "alone"
hidden = 16
projection = 8

[probe]
seeds = [0, 1]
updates = 20

[recipe.short]
epochs = 6
batch = 32
opt = "adamw"
lr = 4e-3

[recipe.mae]
inherit = "short"
pretrain = "mae"

[recipe.moco]
inherit = "short"
pretrain = "moco"

[recipe.byol]
inherit = "short"
pretrain = "byol"

[[model]]
name = "vit"
template = true
timm = "vit_tiny_patch16_224"
args = { img_size = 16, patch_size = 8, embed_dim = 16, depth = 1, num_heads = 2 }
recipe = "short"
input_size = 16

[[set]]
name = "regime"
architecture = "ViT"
diversity = "regime"
model = "vit"
recipes = ["short", "mae", "moco", "byol"]
`

// Encoders are pre-trained, probed beside encoders as they are drawn, and models start from them; a run that is killed on its way
// ends with the same bytes.
func TestPretraining(t *testing.T) {
	needTorch(t)
	needExporter(t)
	dir := finishedRun(t, []byte(pretrainings), nil)
	f, err := os.Open(filepath.Join(dir, "runs", "pretrainings", "models", "pretraining.csv"))
	must(t, err)
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	must(t, err)
	count := map[string]int{}
	for _, row := range rows[1:] {
		count[strings.Join(row[:3], " ")]++
		if row[6] == "" || row[7] == "" || row[8] == "" || row[5] == "0" {
			t.Errorf("%v", row)
		}
	}
	for _, want := range []string{"linear probe mae mae", "linear probe moco mocov3", "linear probe byol byol", "training mae mae", "training moco mocov3", "training byol byol", "training random-vit "} {
		if count[want] != 1 {
			t.Errorf("%d lines of %q, want 1: %v", count[want], want, rows)
		}
	}
	if count["linear probe random-vit "] != 2 || len(rows) != 1+9 {
		t.Errorf("lines %v, want two probes of encoders as drawn", rows)
	}
	killedRunEndsAs(t, runFolder(t, dir), []byte(pretrainings), nil, 3)
}
