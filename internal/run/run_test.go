package run

import (
	"context"
	"encoding/csv"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sat/attacks"
	"sat/internal/data"
	"sat/internal/experiment"
	"sat/internal/store"
	"sat/internal/store/storetest"
	"sat/internal/studies"
)

// records reads a CSV file without its header.
func records(t *testing.T, path string) [][]string {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	all, err := csv.NewReader(f).ReadAll()
	must(t, err)
	return all[1:]
}

// TestUnitsOfARun: a finished run computes nothing; a new model costs its own evaluation, attack, row and column; another
// order, other scores, other workers cost nothing.
func TestUnitsOfARun(t *testing.T) {
	spec := comparison(t, 12, "a", "b")
	sameSet(t, "first run", computed(t, spec, func() { compare(t, spec) }),
		"evaluate/a", "evaluate/b", "attack/a-0", "attack/b-0", "transfer/a@a", "transfer/a@b", "transfer/b@a", "transfer/b@b")
	first := records(t, filepath.Join(spec.Similarity, "pairs.csv"))

	sameSet(t, "run again", computed(t, spec, func() { compare(t, spec) }))
	sameSet(t, "other workers and scores", computed(t, spec, func() {
		changed := spec
		changed.Workers, changed.Scores.Floor, changed.Scores.Bootstrap = 3, 1, 0
		compare(t, changed)
	}))

	grown := spec
	grown.Members = append(slices.Clone(spec.Members), testMember(t, filepath.Dir(spec.Dir), "c"))
	sameSet(t, "a third model", computed(t, grown, func() { compare(t, grown) }),
		"evaluate/c", "attack/c-0", "transfer/a@c", "transfer/b@c", "transfer/c@a", "transfer/c@b", "transfer/c@c")
	for _, pair := range first {
		if !slices.ContainsFunc(records(t, filepath.Join(spec.Similarity, "pairs.csv")), func(r []string) bool { return slices.Equal(r, pair) }) {
			t.Errorf("a new model changed %q", pair)
		}
	}

	sameSet(t, "one image more", computed(t, grown, func() {
		more := grown
		more.Data.Images, more.Data.LabelsFile = enlarged(t, grown)
		compare(t, more)
	}), "evaluate/a", "evaluate/b", "evaluate/c", "attack/a-0", "attack/b-0", "attack/c-0", "transfer/a@a", "transfer/a@b", "transfer/a@c",
		"transfer/b@a", "transfer/b@b", "transfer/b@c", "transfer/c@a", "transfer/c@b", "transfer/c@c")
	sameSet(t, "back again", computed(t, grown, func() { compare(t, grown) }))

	sameSet(t, "by force", computed(t, spec, func() {
		_, err := Run(t.Context(), spec, Options{Until: StageSimilarity, Force: true, Progress: silent()})
		must(t, err)
	}), "evaluate/a", "evaluate/b", "attack/a-0", "attack/b-0", "transfer/a@a", "transfer/a@b", "transfer/b@a", "transfer/b@b")
	if again := records(t, filepath.Join(spec.Similarity, "pairs.csv")); !reflect.DeepEqual(again, first) {
		t.Errorf("pairs %q, at first %q", again, first)
	}
}

// enlarged writes the images and labels of spec and one more.
func enlarged(t *testing.T, spec Spec) (images, labels string) {
	t.Helper()
	x, shape, err := data.ReadNPY[float32](t.Context(), spec.Data.Images)
	must(t, err)
	y, _, err := data.ReadNPY[int64](t.Context(), spec.Data.LabelsFile)
	must(t, err)
	shape[0]++
	dir := t.TempDir()
	images, labels = filepath.Join(dir, "x.npy"), filepath.Join(dir, "y.npy")
	must(t, data.WriteNPY(images, append(x, x[:3*side*side]...), shape...))
	must(t, data.WriteNPY(labels, append(y, y[0]), shape[0]))
	return images, labels
}

// TestOtherLabels: with other labels other images are attacked, in another direction. Nothing of the run before may be
// taken for them.
func TestOtherLabels(t *testing.T) {
	spec := comparison(t, 12, "a", "b")
	compare(t, spec)
	labels, _, err := data.ReadNPY[int64](t.Context(), spec.Data.LabelsFile)
	must(t, err)
	for i := range labels {
		if i%3 == 0 {
			labels[i] = (labels[i] + 1) % classes
		}
	}
	must(t, data.WriteNPY(spec.Data.LabelsFile, labels, len(labels)))
	compare(t, spec)
	fresh := spec
	fresh.Dir = filepath.Join(t.TempDir(), "run")
	fresh.Similarity = filepath.Join(fresh.Dir, "similarity")
	compare(t, fresh)
	sameFolder(t, spec.Similarity, fresh.Similarity)
}

// sameFolder compares the files of two folders byte for byte.
func sameFolder(t *testing.T, got, want string) {
	t.Helper()
	g, w := folder(t, got), folder(t, want)
	if len(w) == 0 {
		t.Errorf("%s is empty", want)
	}
	for name := range w {
		if g[name] != w[name] {
			t.Errorf("%s: got\n%s\nwant\n%s", name, g[name], w[name])
		}
	}
	for name := range g {
		if _, ok := w[name]; !ok {
			t.Errorf("%s should not be there", name)
		}
	}
}

func folder(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	files := map[string]string{}
	for _, e := range entries {
		if !e.IsDir() {
			files[e.Name()] = string(readFile(t, filepath.Join(dir, e.Name())))
		}
	}
	return files
}

// TestOrderOfModels: listing the models in another order permutes the matrix and swaps the directions, nothing else.
func TestOrderOfModels(t *testing.T) {
	spec := comparison(t, 12, "a", "b", "c")
	compare(t, spec)
	matrix, err := studies.ReadMatrix(filepath.Join(spec.Similarity, "sat.csv"))
	must(t, err)
	reversed := spec
	reversed.Members = slices.Clone(spec.Members)
	slices.Reverse(reversed.Members)
	sameSet(t, "reversed", computed(t, spec, func() { compare(t, reversed) }))
	other, err := studies.ReadMatrix(filepath.Join(spec.Similarity, "sat.csv"))
	must(t, err)
	n := matrix.Len()
	for i := range n {
		for j := range n {
			if got, want := other.At(n-1-i, n-1-j), matrix.At(i, j); got != want {
				t.Errorf("SAT of %s and %s: %v in reversed order, %v before", matrix.Names[i], matrix.Names[j], got, want)
			}
			if matrix.At(i, j) != matrix.At(j, i) {
				t.Errorf("SAT of %s and %s is not symmetric", matrix.Names[i], matrix.Names[j])
			}
		}
	}
}

// TestSweep: an epsilon of the sweep gives what a run at that epsilon gives, and the main one is not computed twice.
func TestSweep(t *testing.T) {
	spec := comparison(t, 12, "a", "b")
	spec.Members[0].Group, spec.Members[1].Group = "same", "same"
	spec.Members = append(spec.Members, testMember(t, filepath.Dir(spec.Dir), "c"), testMember(t, filepath.Dir(spec.Dir), "d"))
	for _, epsilon := range []string{"2/255", "8/255"} {
		f, err := experiment.ParseFraction(epsilon)
		must(t, err)
		a := spec.Attack
		p := a.Attacker.(attacks.PGD)
		p.Epsilon = f.Float64()
		a.Epsilon, a.Attacker = epsilon, p
		spec.Sweep = append(spec.Sweep, a)
	}
	spec.Attack.Attacker = spec.Sweep[1].Attacker
	_, err := Run(t.Context(), spec, Options{Until: StageAnalysis, Progress: silent()})
	must(t, err)
	attacked, err := filepath.Glob(filepath.Join(spec.Dir, "units", "attack", "*.adv"))
	must(t, err)
	if len(attacked) != 2*len(spec.Members) {
		t.Errorf("%d attacks of %d models at two epsilons", len(attacked), len(spec.Members))
	}
	alone := spec
	alone.Attack, alone.Sweep, alone.Dir = spec.Sweep[0], nil, filepath.Join(t.TempDir(), "run")
	alone.Similarity = filepath.Join(alone.Dir, "similarity")
	compare(t, alone)
	swept := filepath.Join(spec.Dir, "sweep", "epsilon-2-255")
	for _, name := range []string{"sat.csv", "pairs.csv", "self.csv", "accuracy.csv"} {
		if got, want := string(readFile(t, filepath.Join(swept, name))), string(readFile(t, filepath.Join(alone.Similarity, name))); got != want {
			t.Errorf("%s of the sweep\n%s\nof a run at that epsilon\n%s", name, got, want)
		}
	}
	groups := records(t, filepath.Join(spec.Dir, "sweep", "groups.csv"))
	if len(groups) != 2 || groups[0][0] != "2/255" || groups[0][len(groups[0])-1] != "0" || groups[1][0] != "8/255" || groups[1][len(groups[1])-1] != "1" {
		t.Errorf("groups.csv: %q", groups)
	}
	if rows := records(t, filepath.Join(spec.Dir, "sweep", "sweep.csv")); len(rows) != 2*len(spec.Members) {
		t.Errorf("sweep.csv: %q", rows)
	}
}

// TestFailingModels: a model that cannot be used is left out and named, whatever the stage; the others give what they give
// without it.
func TestFailingModels(t *testing.T) {
	for _, c := range []struct {
		name  string
		model string // as comparison takes it
		spoil func(t *testing.T, m *Member)
		stage Stage
		want  string
	}{
		{"damaged file", "x", func(t *testing.T, m *Member) {
			must(t, os.WriteFile(m.Path, readFile(t, m.Path)[:3000], 0o666))
		}, StageEvaluate, "truncated"},
		{"outputs of NaN", "x=plain-nan", nil, StageEvaluate, "NaN"},
		{"outputs that are no logits", "x=plain-planes", nil, StageEvaluate, "logits"},
		{"text", "x", func(t *testing.T, m *Member) { must(t, os.WriteFile(m.Path, []byte("no module"), 0o666)) }, StageEvaluate, "not a TorchScript file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			spec := comparison(t, 12, "a", "b")
			compare(t, spec)
			want := folder(t, spec.Similarity)
			m := testMember(t, filepath.Dir(spec.Dir), c.model)
			if c.spoil != nil {
				c.spoil(t, &m)
			}
			spec.Members = []Member{spec.Members[0], m, spec.Members[1]}
			outcome, err := Run(t.Context(), spec, Options{Until: StageSimilarity, Progress: silent()})
			if !errors.Is(err, ErrPartial) || !strings.Contains(err.Error(), "x") {
				t.Errorf("error %v, want ErrPartial with the model's name", err)
			}
			if len(outcome.Failures) != 1 || outcome.Failures[0].Model != "x" || outcome.Failures[0].Stage != string(c.stage) ||
				!strings.Contains(outcome.Failures[0].Error, c.want) {
				t.Errorf("failures %+v, want one of x at %s with %q", outcome.Failures, c.stage, c.want)
			}
			if got := folder(t, spec.Similarity); !reflect.DeepEqual(got, want) {
				t.Errorf("the other models' results changed: %v\nwant %v", got, want)
			}
		})
	}
}

// TestNobodyLeft: when every model fails the run fails, rather than ending with an empty matrix.
func TestNobodyLeft(t *testing.T) {
	spec := comparison(t, 6, "a")
	spec.Members = []Member{testMember(t, filepath.Dir(spec.Dir), "x=plain-nan"), testMember(t, filepath.Dir(spec.Dir), "y=plain-planes")}
	_, err := Run(t.Context(), spec, Options{Until: StageSimilarity, Progress: silent()})
	if err == nil || errors.Is(err, ErrPartial) || !strings.Contains(err.Error(), "every model failed") {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(filepath.Join(spec.Similarity, "sat.csv")); err == nil {
		t.Error("there is a matrix")
	}
}

// TestScoringAgain: similarity needs neither models nor images, takes other constants, and refuses what was not measured.
func TestScoringAgain(t *testing.T) {
	spec := comparison(t, 12, "a", "b")
	compare(t, spec)
	want := folder(t, spec.Similarity)
	for _, path := range []string{spec.Data.Images, spec.Data.LabelsFile, spec.Members[0].Path, spec.Members[1].Path} {
		must(t, os.Remove(path))
	}
	must(t, os.RemoveAll(spec.Similarity))
	again := Options{From: StageSimilarity, Until: StageSimilarity, Progress: silent()}
	_, err := Run(t.Context(), spec, again)
	must(t, err)
	if got := folder(t, spec.Similarity); !reflect.DeepEqual(got, want) {
		t.Errorf("scored again %v\nwant %v", got, want)
	}
	other, longer := spec, spec.Attack.Attacker.(attacks.PGD)
	longer.Steps++
	other.Attack.Attacker = longer
	if _, err := Run(t.Context(), other, again); err == nil || !strings.Contains(err.Error(), "sat transfer") {
		t.Errorf("scores of an attack that was not run: %v", err)
	}
	nothing := spec
	nothing.Dir = t.TempDir()
	if _, err := Run(t.Context(), nothing, again); err == nil || !strings.Contains(err.Error(), "sat transfer") {
		t.Errorf("scores of nothing: %v", err)
	}
}

// TestMissingAdversarialImage: a commonly correct image without adversarial version is an error; it would count as an image
// that the attack does not fool.
func TestMissingAdversarialImage(t *testing.T) {
	spec := comparison(t, 12, "a", "b")
	compare(t, spec)
	found, err := filepath.Glob(filepath.Join(spec.Dir, "units", "transfer", "a@b-*.pred"))
	must(t, err)
	table, err := store.ReadPredictions(found[0])
	must(t, err)
	i := slices.IndexFunc(table.Classes[0], func(class int32) bool { return class != notAttacked })
	table.Classes[0][i] = notAttacked
	must(t, table.Write(found[0]))
	_, err = Run(t.Context(), spec, Options{From: StageSimilarity, Until: StageSimilarity, Progress: silent()})
	if !errors.Is(err, store.ErrCorrupt) || !strings.Contains(err.Error(), filepath.Base(found[0])) {
		t.Errorf("error %v, want ErrCorrupt naming the file", err)
	}
	// The whole run finds the unit altered and computes it again.
	sameSet(t, "run again", computed(t, spec, func() { compare(t, spec) }), "transfer/a@b")
}

// TestCanceledRun: an interrupt ends the run with its error, and the next run finishes it.
func TestCanceledRun(t *testing.T) {
	spec := comparison(t, 12, "a", "b")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Run(ctx, spec, Options{Until: StageSimilarity, Progress: silent()}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	compare(t, spec)
}

// TestInterruptedTransfer: what an interruption of the transfer stage loses is one source shown to one target, not what the
// target has seen before.
func TestInterruptedTransfer(t *testing.T) {
	spec := comparison(t, 12, "a", "b", "c")
	spec.Workers = 1
	_, err := Run(t.Context(), spec, Options{Until: StageAttack, Progress: silent()})
	must(t, err)
	const done, writes = 4, 2 // units, and the writes of each: predictions and record
	t.Run("interrupted", func(t *testing.T) {
		storetest.Fail(t, filepath.Join(spec.Dir, "units", "transfer"), storetest.Write, done*writes, unix.ENOSPC)
		if _, err := Run(t.Context(), spec, Options{Until: StageTransfer, Progress: silent()}); !errors.Is(err, unix.ENOSPC) {
			t.Errorf("error %v", err)
		}
	})
	sameSet(t, "continued", computed(t, spec, func() { compare(t, spec) }),
		"transfer/b@b", "transfer/c@b", "transfer/a@c", "transfer/b@c", "transfer/c@c")
}

// TestLockedRun: two runs in one folder would overwrite each other.
func TestLockedRun(t *testing.T) {
	spec := comparison(t, 6, "a", "b")
	lock, err := store.Lock(spec.Dir)
	must(t, err)
	defer lock.Unlock()
	if _, err := Run(t.Context(), spec, Options{Until: StageSimilarity, Progress: silent()}); !errors.Is(err, store.ErrLocked) {
		t.Errorf("error %v, want ErrLocked", err)
	}
}
