package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// The networks of an unlabelled run have nothing in common: here eight of timm's families with random weights, of six input
// sizes and three transforms, two exported by the run and six from files.
const strangersExperiment = `name = "strangers"
batch = 4

[data]
path = "data/photographs"
prepare = "photographs"
labels = "predicted"

[data.subset]
mode = "all"

[evaluate]
logits = "float32"

[attack]
epsilon = "16/255"
steps = 2

[similarity]
bootstrap = 20

[analysis.clusters]
k = 2

[[model]]
name = "xcit"
timm = "models.xcit.Xcit"
args = { img_size = 40, patch_size = 8, embed_dim = 16, depth = 1, num_heads = 2, cls_attn_layers = 1 }
weights = "random"
input_size = 40

[[model]]
name = "mixer"
timm = "models.mlp_mixer.MlpMixer"
args = { img_size = 48, patch_size = 8, embed_dim = 16, num_blocks = 2 }
weights = "random"
input_size = 48
crop_pct = 0.9
`

// strangersOfTheZoo are networks of zoo/testdata; those that take images of any size, with the size they are shown.
var strangersOfTheZoo = []struct {
	name string
	size int // 0: as its file says
}{{"resnext", 24}, {"regnet", 20}, {"convnext", 0}, {"swin", 0}, {"pit", 0}, {"resnet", 28}}

// registryExperiment is the same with eight networks of the paper as they are, for make soak.
const registryExperiment = `name = "strangers"
batch = 2

[data]
path = "data/photographs"
prepare = "photographs"
labels = "predicted"

[data.subset]
mode = "all"

[evaluate]
logits = "float32"

[zoo]
names = ["botnet26t_256", "coat_lite_small", "deit_tiny_patch16_224", "efficientnet_b2", "nf_regnet_b1", "pit_s_224", "rexnet_150",
    "xcit_tiny_12_p8_224"]
weights = "random"

[attack]
steps = 2

[similarity]
bootstrap = 20

[analysis.clusters]
k = 2
`

// TestKilledRunWithoutLabels kills a run of eight strangers on photographs: export, cached images of several transforms,
// each model's own predictions in place of labels, controls of resizing and logits all come back with the same bytes.
func TestKilledRunWithoutLabels(t *testing.T) {
	t.Parallel()
	needTorch(t)
	needExporter(t)
	text, kills := strangersExperiment, 6
	for _, m := range strangersOfTheZoo {
		text += fmt.Sprintf("\n[[model]]\nname = %q\npath = \"modules/%s.pt\"\n", m.name, m.name)
		if m.size > 0 {
			text += fmt.Sprintf("input_size = %d\n", m.size)
		}
	}
	fill := func(dir string) {
		for _, m := range strangersOfTheZoo {
			write(t, filepath.Join(dir, "modules", m.name+".pt"), readFile(t, zooModule(m.name)))
		}
	}
	if *fullSize {
		text, kills, fill = registryExperiment, 10, nil
	}
	undisturbed := runFolder(t, finishedRun(t, []byte(text), fill))
	for _, row := range table(t, filepath.Join(undisturbed, "similarity", "pairs.csv"))[1:] {
		if row[2] != "4" {
			t.Errorf("pairs.csv: %q; each of the four photographs counts for every pair", row)
		}
	}
	const models = 8
	if rows := table(t, filepath.Join(undisturbed, "similarity", "sat.csv"))[1:]; len(rows) != models {
		t.Fatalf("%d models in sat.csv, want %d", len(rows), models)
	}
	if page := string(readFile(t, filepath.Join(undisturbed, "report.md"))); !strings.Contains(page, "predict") {
		t.Error("the report does not say that there are no labels")
	}
	killedRunEndsAs(t, undisturbed, []byte(text), fill, kills)
}
