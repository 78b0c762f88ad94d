package run

import (
	"encoding/json"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"sat/attacks"
	"sat/internal/data"
	"sat/internal/experiment"
	"sat/internal/testkit"
)

// TestPredictedLabels: without labels, model a is attacked away from its own prediction on every image, and an image fools b
// if b's prediction of it is not that of the clean image. Both are counted here from a single attack and two passes.
func TestPredictedLabels(t *testing.T) {
	const n = 12
	spec := comparison(t, n, "a", "b")
	images, _, err := data.ReadNPY[float32](t.Context(), spec.Data.Images)
	must(t, err)
	spec.Data.Labels, spec.Data.LabelsFile = experiment.PredictedLabels, ""
	strong := spec.Attack.Attacker.(attacks.PGD)
	strong.Epsilon = 32.0 / 255 // so that some images fool and some do not
	spec.Attack.Attacker, spec.Attack.Epsilon = strong, "32/255"
	compare(t, spec)

	a, b := spec.Members[0], spec.Members[1]
	dir := t.TempDir()
	labels, adversarial := filepath.Join(dir, "y.npy"), filepath.Join(dir, "adv.npy")
	cleanA, cleanB := predict(t, a, images, n), predict(t, b, images, n)
	must(t, data.WriteNPY(labels, cleanA, n))
	_, err = AttackOne(t.Context(), AttackJob{Model: a.Path, Describe: a.Describe, Images: spec.Data.Images, Labels: labels, Out: adversarial,
		Attack: spec.Attack, Threads: 1, Batch: spec.Batch, Progress: silent()})
	must(t, err)
	x, _, err := data.ReadNPY[float32](t.Context(), adversarial)
	must(t, err)
	changed := func(before, after []int64) (count int) {
		for i := range before {
			if before[i] != after[i] {
				count++
			}
		}
		return count
	}
	self, other := changed(cleanA, predict(t, a, x, n)), changed(cleanB, predict(t, b, x, n))
	if self == 0 || other == 0 || other == n {
		t.Fatalf("%d and %d of %d images fooled: this shows nothing", self, other, n)
	}
	if row := records(t, filepath.Join(spec.Similarity, "self.csv"))[0]; row[0] != "a" || row[1] != strconv.Itoa(n) || row[2] != strconv.Itoa(self) {
		t.Errorf("self.csv: %q, want %d of %d", row, self, n)
	}
	if row := records(t, filepath.Join(spec.Similarity, "pairs.csv"))[0]; row[0] != "a" || row[1] != "b" || row[2] != strconv.Itoa(n) || row[3] != strconv.Itoa(other) {
		t.Errorf("pairs.csv: %q, want %d of %d", row, other, n)
	}
	for _, row := range records(t, filepath.Join(spec.Similarity, "accuracy.csv")) {
		if row[2] != "" {
			t.Errorf("accuracy.csv: %q, but nobody knows what is right", row)
		}
	}
	var meta map[string]any
	must(t, json.Unmarshal(readFile(t, filepath.Join(spec.Similarity, "sat.meta.json")), &meta))
	if meta["labels"] != experiment.PredictedLabels {
		t.Errorf("sat.meta.json: labels is %v", meta["labels"])
	}

	// Scoring from stored bits must not take them for those of a run with labels.
	spec.Data.Labels = "given"
	_, err = Run(t.Context(), spec, Options{From: StageSimilarity, Until: StageSimilarity, Progress: silent()})
	if err == nil || !strings.Contains(err.Error(), "predicted") {
		t.Errorf("scored with other labels: %v", err)
	}
}

// TestRegisteredMembers: [zoo] stands for networks of the registry, with what the registry knows of them.
func TestRegisteredMembers(t *testing.T) {
	parse := func(text string) (Spec, error) {
		c, err := experiment.Parse("exp.toml", "[data]\npath = \"x\"\n"+text)
		must(t, err)
		return FromConfig(c, "exp.toml")
	}
	spec, err := parse("[zoo]\nnames = [\"ResNet-50\", \"paper\"]\nweights = \"random\"\nseed = 3\n[[model]]\npath = \"own.pt\"")
	must(t, err)
	const paper = 69
	if len(spec.Members) != paper+1 {
		t.Fatalf("%d models", len(spec.Members))
	}
	first, last := spec.Members[0], spec.Members[paper]
	if first.Name != "resnet50" || first.Export.Entry.Timm1031 != "resnet50.a1_in1k" || first.Components["base_architecture"] != "CNN" ||
		first.Export.Seed != 3 || first.Export.Pretrained || last.Name != "own" || last.Path != "own.pt" {
		t.Errorf("first %+v, last %+v", first, last)
	}
	job := first.job(0)
	if job.Model != "resnet50.a1_in1k" || job.Interpolation != "bicubic" || job.CropPct != 0.95 || job.Seed != 3 {
		t.Errorf("job %+v", job)
	}

	spec, err = parse("[zoo]\nnames = [\"resnet50\"]\nmodules = \"made\"")
	must(t, err)
	if m := spec.Members[0]; m.Path != filepath.Join("made", "resnet50.pt") || m.Export != nil || m.Weights != "pretrained" || m.Network != "resnet50.a1_in1k" {
		t.Errorf("%+v", m)
	}

	// A plain name in [[model]] means the same network, with what the table says.
	spec, err = parse("[[model]]\nname = \"mine\"\ntimm = \"resnet50\"\ncrop_pct = 0.5")
	must(t, err)
	job = spec.Members[0].job(0)
	if job.Name != "mine" || job.Model != "resnet50.a1_in1k" || job.CropPct != 0.5 || job.Interpolation != "bicubic" {
		t.Errorf("job %+v", job)
	}

	for text, part := range map[string]string{
		"[zoo]\nnames = [\"paper\", \"resnet5O\"]":                                  "exp.toml:4: the registry has no network \"resnet5O\"",
		"[zoo]\nnames = [\"resnet50\"]\n[[model]]\npath = \"resnet50.pt\"":          "two models are called \"resnet50\"",
		"[zoo]\nnames = [\"resnet50\"]\n[analysis.clusters]\nk = 2":                 "exp.toml:6: 2 clusters of 1 models",
		"[zoo]\nnames = [\"resnet50\"]\n[[model]]\ntimm = \"x\"\nname=\"resnet50\"": "two models are called \"resnet50\"",
	} {
		if _, err := parse(text); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%s\ngot %v\nwant %q", text, err, part)
		}
	}
}

// TestOtherWeights: a module with random weights is not taken where the experiment asks for trained ones.
func TestOtherWeights(t *testing.T) {
	m := Member{Name: "resnet", Path: filepath.Join(testkit.Root(t), "zoo", "testdata", "resnet.pt"), Weights: "pretrained"}
	if err := m.checkWeights(); err == nil || !strings.Contains(err.Error(), "zoo.weights") {
		t.Errorf("got %v", err)
	}
	m.Weights = "random"
	must(t, m.checkWeights())
	m.Network = "resnet50.a1_in1k"
	if err := m.checkWeights(); err == nil || !strings.Contains(err.Error(), `resnet.pt holds the network "resnet18d", not "resnet50.a1_in1k"`) {
		t.Errorf("another network under this name: %v", err)
	}
	m.Network = "resnet18d"
	must(t, m.checkWeights())
	m.Path, m.Weights = filepath.Join(testkit.Root(t), "zoo", "testdata", "plain-good.pt"), "pretrained"
	must(t, m.checkWeights()) // a file of the user's own, which says nothing about its weights
}
