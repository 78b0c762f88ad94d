package run

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func readBatchFile(t *testing.T, spec Spec) batchChoices {
	t.Helper()
	var c batchChoices
	must(t, json.Unmarshal(readFile(t, filepath.Join(spec.Dir, "batch.json")), &c))
	return c
}

// TestChosenBatches: with a budget instead of a batch, every model gets a size of the ladder, once; a later run, even with
// another budget, uses the same and computes nothing; results are those of a run that is given that size.
func TestChosenBatches(t *testing.T) {
	spec := comparison(t, 6, "a", "b")
	spec.Batch, spec.Memory = 0, 16<<30
	outcome := compare(t, spec)
	chosen := readBatchFile(t, spec)
	for _, name := range []string{"a", "b"} {
		c := chosen.Models[name]
		if !slices.Contains(batchLadder, c.Numerics.Batch) || c.Numerics.Batch > 8 || len(c.Tried) == 0 || c.Tried[0].ImagesPerSecond <= 0 {
			t.Errorf("%s: %+v", name, c)
		}
	}
	if outcome.PeakMemory < 10<<20 || outcome.PeakMemory > spec.Memory {
		t.Errorf("peak memory %d", outcome.PeakMemory)
	}
	sameSet(t, "again, with less", computed(t, spec, func() {
		less := spec
		less.Memory = 8 << 30
		if o := compare(t, less); !slices.ContainsFunc(o.Warnings, func(w string) bool { return strings.Contains(w, "batch.json") }) {
			t.Errorf("no word about the other budget: %q", o.Warnings)
		}
	}))

	// As if 2 had been chosen for both: the run is that of batch = 2.
	for name, c := range chosen.Models {
		c.Numerics.Batch = 2
		chosen.Models[name] = c
	}
	text, err := json.Marshal(chosen)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(spec.Dir, "batch.json"), text, 0o666))
	compare(t, spec)
	given := spec
	given.Batch, given.Memory = 2, 0
	sameSet(t, "batch = 2", computed(t, given, func() { compare(t, given) }))

	must(t, os.WriteFile(filepath.Join(spec.Dir, "batch.json"), []byte("{"), 0o666))
	if _, err := Run(t.Context(), spec, Options{Until: StageEvaluate, Progress: silent()}); err == nil || !strings.Contains(err.Error(), "batch.json") {
		t.Errorf("a damaged file: %v", err)
	}
	must(t, os.Remove(filepath.Join(spec.Dir, "batch.json")))
	spec.Memory = 1 << 20
	if _, err := Run(t.Context(), spec, Options{Until: StageEvaluate, Progress: silent()}); err == nil || !strings.Contains(err.Error(), `memory = "1MiB"`) {
		t.Errorf("no memory at all: %v", err)
	}
}

// TestBatchBudget: a share that the first rungs fill stops the ladder there.
func TestBatchBudget(t *testing.T) {
	spec := comparison(t, 6, "a")
	spec.Batch, spec.Memory = 0, 16<<30
	r := &runner{Spec: spec, Options: Options{Progress: silent()}, measured: map[string]*measured{}}
	defer r.close()
	for _, step := range []func() error{
		func() error { return r.prepare(t.Context()) }, func() error { return r.train(t.Context()) },
		func() error { return r.readDescriptions() }, func() error { return r.openImages(t.Context()) },
	} {
		must(t, step())
	}
	p, err := r.workers()
	must(t, err)
	base, err := processStatus("VmRSS")
	must(t, err)
	_, err = r.chooseBatch(t.Context(), p.workers[0], r.members[0], 0, base/2) // everything counts as the model's
	if err == nil || !strings.Contains(err.Error(), "one image takes") {
		t.Errorf("got %v", err)
	}
	choice, err := r.chooseBatch(t.Context(), p.workers[0], r.members[0], base, 1<<40)
	must(t, err)
	if last := choice.Tried[len(choice.Tried)-1].Batch; last > 8 {
		t.Errorf("tried %d for 6 images", last)
	}
}
