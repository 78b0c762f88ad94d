package run

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sat/attacks"
	"sat/internal/data"
	"sat/internal/experiment"
	"sat/internal/rng"
	"sat/internal/testkit"
	"sat/torch"
	"sat/zoo"
)

// side is the size of the tests' images, classes the number of outputs of their network, zoo/testdata/plain-good.pt.
const (
	side    = 8
	classes = 4
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	must(t, err)
	return content
}

// silent is a Progress for runs that nobody watches.
func silent() *Progress { return NewProgress(io.Discard, false, true) }

// comparison makes images.npy, labels.npy and the named models in a new folder, and the Spec that compares them. A model
// is plain-good.pt under another name, with a normalisation of its own so that no two are the same; "wrong" models
// are other files of zoo/testdata, given as name=file. The labels are what the model of the first name predicts, except
// every fifth.
func comparison(t *testing.T, n int, models ...string) Spec {
	t.Helper()
	testkit.NoLeaks(t)
	testkit.SkipWithoutTorch(t)
	dir := t.TempDir()
	spec := Spec{
		Name: "test", Dir: filepath.Join(dir, "run"), Similarity: filepath.Join(dir, "run", "similarity"), Agreement: filepath.Join(dir, "run", "boundary"),
		Device: torch.CPU, Workers: 2, Threads: 1, Batch: 4,
		Data: experiment.DefaultData(), Transfer: experiment.DefaultTransfer(), Scores: experiment.DefaultSimilarity(),
		Attack: Attack{Method: "pgd", Epsilon: "8/255", Attacker: attacks.Defaults()},
	}
	pgd := attacks.Defaults()
	pgd.Steps = 2
	spec.Attack.Attacker = pgd
	spec.Scores.Bootstrap = 20
	spec.Data.Images, spec.Data.LabelsFile = filepath.Join(dir, "images.npy"), filepath.Join(dir, "labels.npy")
	spec.Transfer.Clean = "shared"
	for _, model := range models {
		spec.Members = append(spec.Members, testMember(t, dir, model))
	}

	images := make([]float32, n*3*side*side)
	noise := rng.New(1, "run tests")
	for i := range images {
		images[i] = noise.Float32()
	}
	must(t, data.WriteNPY(spec.Data.Images, images, n, 3, side, side))
	labels := predict(t, spec.Members[0], images, n)
	for i := range labels {
		if i%5 == 4 {
			labels[i] = (labels[i] + 1) % classes
		}
	}
	must(t, data.WriteNPY(spec.Data.LabelsFile, labels, n))
	return spec
}

// testMember puts a module file for the model into dir.
func testMember(t *testing.T, dir, model string) Member {
	t.Helper()
	name, file, other := strings.Cut(model, "=")
	if !other {
		file = "plain-good"
	}
	path := filepath.Join(dir, name+".pt")
	must(t, os.WriteFile(path, readFile(t, filepath.Join(testkit.Root(t), "zoo", "testdata", file+".pt")), 0o666))
	shift := float32(len(name)) / 20
	for _, letter := range name {
		shift += float32(letter-'a') / 100
	}
	return Member{Name: name, Group: name, Path: path,
		Describe: zoo.Description{Height: side, Width: side, Mean: []float32{shift, 0.5, 0.5}, Std: []float32{0.3, 0.3, 0.3}}}
}

// predict returns the classes that a model sees.
func predict(t *testing.T, m Member, images []float32, n int) []int64 {
	t.Helper()
	worker := testkit.Torch(t)
	model, err := zoo.Load(t.Context(), m.Path, zoo.LoadOptions{Worker: worker, Describe: m.Describe})
	must(t, err)
	defer model.Close()
	logits, err := model.Logits(t.Context(), attacks.Batch{Pixels: images, N: n, C: 3, H: side, W: side})
	must(t, err)
	labels, err := attacks.Predict(logits, n)
	must(t, err)
	return labels
}

// compare runs spec up to its scores.
func compare(t *testing.T, spec Spec) Outcome {
	t.Helper()
	outcome, err := Run(t.Context(), spec, Options{Until: StageSimilarity, Progress: silent()})
	must(t, err)
	return outcome
}

// computed runs f and returns the units that it recorded, as STAGE/NAME.
func computed(t *testing.T, spec Spec, f func()) map[string]bool {
	t.Helper()
	before := recordTimes(t, spec)
	f()
	fresh := map[string]bool{}
	for path, at := range recordTimes(t, spec) {
		if old, ok := before[path]; !ok || !old.Equal(at) {
			base := filepath.Base(path)
			fresh[filepath.Base(filepath.Dir(path))+"/"+base[:strings.LastIndex(base, "-")]] = true
		}
	}
	return fresh
}

func recordTimes(t *testing.T, spec Spec) map[string]time.Time {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(spec.Dir, "units", "*", "*.unit.json"))
	must(t, err)
	times := map[string]time.Time{}
	for _, path := range paths {
		info, err := os.Stat(path)
		must(t, err)
		times[path] = info.ModTime()
	}
	return times
}

// sameSet compares with the wanted names.
func sameSet(t *testing.T, what string, got map[string]bool, want ...string) {
	t.Helper()
	for _, name := range want {
		if !got[name] {
			t.Errorf("%s: %s is missing", what, name)
		}
		delete(got, name)
	}
	for name := range got {
		t.Errorf("%s: %s should not be there", what, name)
	}
}

// fixedImages stand in for images of which only the digest matters.
type fixedImages string

func (f fixedImages) Digest() string { return string(f) }

func (f fixedImages) Batch(context.Context, *torch.Worker, []int) (attacks.Batch, error) {
	return attacks.Batch{}, fmt.Errorf("no images in this test")
}
