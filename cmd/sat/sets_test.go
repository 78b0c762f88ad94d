package main

import (
	"encoding/csv"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// bothStudies is both reduced studies in one file, as small as they can be: sets by initialization, hyper-parameters and regime,
// and students of four teachers.
const bothStudies = `name = "studies"

[data]
path = "data/digits"
prepare = "few-digits"

[data.subset]
mode = "uniform"
count = 200

[attack]
epsilon = "24/255"
steps = 2

[similarity]
bootstrap = 20

[analysis.training]
resamples = 50

[analysis.distillation]
reference = "mixer"
group = "listed"
listed = ["net"]

[recipe.short]
epochs = 8
batch = 32
opt = "adamw"
lr = 4e-3
eval_every = 4

[recipe.mixed]
inherit = "short"
mixup = 0.4
ema = 0.9

[recipe.still]
inherit = "short"
lr = 1e-9
epochs = 1

[recipe.student]
inherit = "short"
distill = { type = "hard", alpha = 0.5 }

[[model]]
name = "mixer"
timm = "models.mlp_mixer.MlpMixer"
args = { img_size = 16, patch_size = 4, embed_dim = 16, num_blocks = 1 }
recipe = "short"
input_size = 16

[[model]]
name = "net"
timm = "resnet18d"
args = { layers = [1, 1, 1, 1], channels = [8, 8, 8, 8], stem_width = 8 }
recipe = "short"
input_size = 24

[[model]]
name = "student"
template = true
timm = "deit_tiny_distilled_patch16_224"
heads = 2
args = { img_size = 16, patch_size = 8, embed_dim = 16, depth = 1, num_heads = 2 }
recipe = "student"
input_size = 16

[[set]]
name = "init"
architecture = "Mixer"
diversity = "initialization"
model = "mixer"
count = 2
first_seed = 10

[[set]]
name = "hp"
architecture = "Mixer"
diversity = "hyper-parameter"
model = "mixer"
first_seed = 20
draws = [[0.5, 1, "cosine"], [2, 0.2, "cosine"]]

[[set]]
name = "regime"
architecture = "Mixer"
diversity = "regime"
model = "mixer"
first_seed = 30
min_top1 = 15
recipes = ["short", "mixed", "still"]

[[set]]
name = "student"
architecture = "DeiT-Ti"
diversity = "distillation"
model = "student"
count = 2
teachers = ["net", "init-s10", "init-s11", "regime-mixed"]
`

// One run makes the members, trains students after their teachers and leaves them out of the comparison.
func TestStudies(t *testing.T) {
	needTorch(t)
	needExporter(t)
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "studies.toml"), []byte(bothStudies), 0o666))
	if output, err := program(t.Context(), dir, "run", "studies.toml").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	table := func(path string) [][]string {
		f, err := os.Open(filepath.Join(dir, "runs/studies", path))
		must(t, err)
		defer f.Close()
		rows, err := csv.NewReader(f).ReadAll()
		must(t, err)
		return rows
	}

	sets := table("models/sets.csv")
	if len(sets) != 1+7+8 {
		t.Errorf("%d lines in sets.csv", len(sets))
	}
	for _, row := range sets[1:] {
		if row[1] == "regime-still" { // learns nothing, so it is left out
			if row[6] != "failed" || !strings.Contains(row[8], "below the 15 %") {
				t.Errorf("%v", row)
			}
			continue
		}
		if row[6] != "trained" || row[7] == "" || (row[4] != "") != strings.HasPrefix(row[1], "student") {
			t.Errorf("%v", row)
		}
	}
	names := table("similarity/sat.csv")[0][1:]
	want := []string{"mixer", "net", "init-s10", "init-s11", "hp-lr0.5-wd1-cosine", "hp-lr2-wd0.2-cosine", "regime-short", "regime-mixed"}
	if !slices.Equal(names, want) {
		t.Errorf("compared are %v, want %v", names, want)
	}
	var lines []string
	for _, row := range table("analysis/tab3_training.csv")[1:] {
		lines = append(lines, row[0]+" "+row[1]+" "+row[5])
	}
	if want := []string{"Mixer Initialization 2", "Mixer Hyper-parameter 2", "Mixer Training regime 2", "All All 2"}; !slices.Equal(lines, want) {
		t.Errorf("sets %v, want %v: the last line is of the models that no set makes", lines, want)
	}
	distilled := table("analysis/fig8a_distill_all.csv")
	if len(distilled) != 1+4 {
		t.Errorf("%v", distilled)
	}
}
