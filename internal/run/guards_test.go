package run

import (
	"encoding/csv"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sat/internal/experiment"
	"sat/internal/store"
	"sat/internal/testkit"
)

// guardRows reads guards.csv: model to column to cell.
func guardRows(t *testing.T, spec Spec) map[string]map[string]string {
	t.Helper()
	f, err := os.Open(filepath.Join(spec.Similarity, "guards.csv"))
	must(t, err)
	defer f.Close()
	all, err := csv.NewReader(f).ReadAll()
	must(t, err)
	rows := map[string]map[string]string{}
	for _, record := range all[1:] {
		row := map[string]string{}
		for k, column := range all[0] {
			row[column] = record[k]
		}
		rows[record[0]] = row
	}
	return rows
}

func warns(o Outcome, words string) bool {
	return slices.ContainsFunc(o.Warnings, func(w string) bool { return strings.Contains(w, words) })
}

// TestGuards: guards.csv says what is wrong with a model, also when everything was finished before.
func TestGuards(t *testing.T) {
	spec := comparison(t, 6, "a", "p=plain-probabilities")
	compare(t, spec)
	rows := guardRows(t, spec)
	if a := rows["a"]; a["probabilities"] != "false" || a["classes"] != "4" || a["checked"] != "4" || a["flags"] != "" && a["flags"] != "weak_attack" {
		t.Errorf("%q", a)
	}
	if p := rows["p"]; p["probabilities"] != "true" || !strings.Contains(p["flags"], "probabilities") {
		t.Errorf("%q", p)
	}
	if got, want := rows["a"]["white_box"], records(t, filepath.Join(spec.Similarity, "self.csv"))[0][3]; got != want {
		t.Errorf("white-box success %s, want %s", got, want)
	}
	again := compare(t, spec)
	if !warns(again, "p: the outputs look like probabilities") {
		t.Errorf("warnings of the second run: %q", again.Warnings)
	}
}

// TestPaperFilter: the paper takes models of 79 to 83 %, both included; without labels nobody knows.
func TestPaperFilter(t *testing.T) {
	for _, c := range []struct {
		accuracy accuracy
		want     string
	}{
		{accuracy{n: 1000, correct: 789}, "below"}, {accuracy{n: 100, correct: 79}, "inside"}, {accuracy{n: 100, correct: 83}, "inside"},
		{accuracy{n: 1000, correct: 831}, "above"}, {accuracy{n: 100, correct: 80, unknown: true}, ""}, {accuracy{}, ""},
	} {
		if got := c.accuracy.paperFilter(); got != c.want {
			t.Errorf("%+v: %q, want %q", c.accuracy, got, c.want)
		}
	}
	spec := comparison(t, 10, "a", "b")
	compare(t, spec)
	for _, row := range records(t, filepath.Join(spec.Similarity, "accuracy.csv")) {
		if g := guardRows(t, spec)[row[0]]; g["top1"] != row[2] || g["paper_filter"] == "" {
			t.Errorf("%q beside accuracy.csv's %q", g, row)
		}
	}
	spec.Data.Labels, spec.Data.LabelsFile = experiment.PredictedLabels, ""
	compare(t, spec)
	if g := guardRows(t, spec)["a"]; g["top1"] != "" || g["paper_filter"] != "" {
		t.Errorf("without labels: %q", g)
	}
}

// TestDifferentOutputs: labels mean other things to a model with other classes. Its own predictions fit it.
func TestDifferentOutputs(t *testing.T) {
	const words = "different numbers of outputs, a has 4, ten has 10"
	spec := comparison(t, 6, "a")
	spec.Members = append(spec.Members, Member{Name: "ten", Group: "ten", Path: filepath.Join(testkit.Root(t), "zoo", "testdata", "vit.pt")})
	outcome, err := Run(t.Context(), spec, Options{Until: StageSimilarity, Progress: silent()})
	if err != nil && !errors.Is(err, ErrPartial) { // perhaps without an image that both get right
		t.Fatal(err)
	}
	if !warns(outcome, words) || guardRows(t, spec)["ten"]["classes"] != "10" {
		t.Errorf("%q, warnings %q", guardRows(t, spec)["ten"], outcome.Warnings)
	}
	spec.Data.Labels, spec.Data.LabelsFile = experiment.PredictedLabels, ""
	if outcome := compare(t, spec); warns(outcome, words) {
		t.Errorf("without labels: %q", outcome.Warnings)
	}
}

// TestUnitsOfAnEarlierFormat: what an earlier version of the program evaluated is evaluated again, and the attacks, which do
// not depend on the format of those files, are kept. Scoring alone leaves empty what nobody looked at.
func TestUnitsOfAnEarlierFormat(t *testing.T) {
	spec := comparison(t, 6, "a", "b")
	compare(t, spec)
	want := folder(t, spec.Similarity)

	units := filepath.Join(spec.Dir, "units")
	predictions, err := filepath.Glob(filepath.Join(units, "evaluate", "*.pred"))
	must(t, err)
	for _, path := range predictions {
		// As the version without guards wrote it: under the key of the predictions alone, without a second file.
		base := strings.TrimSuffix(filepath.Base(path), ".pred")
		name, _, _ := strings.Cut(base, "-")
		old := store.Unit{Stage: string(StageEvaluate), Name: name, Key: store.Key(strings.Repeat("0", 64))}
		must(t, os.Rename(path, old.File(units, "pred")))
		must(t, old.Commit(units, "pred"))
		for _, suffix := range []string{".guards", ".unit.json"} {
			must(t, os.Remove(filepath.Join(units, "evaluate", base+suffix)))
		}
		list := filepath.Join(units, "measurements.json")
		must(t, os.WriteFile(list, []byte(strings.ReplaceAll(string(readFile(t, list)), filepath.Base(path), filepath.Base(old.File(units, "pred")))), 0o666))
	}
	outcome, err := Run(t.Context(), spec, Options{From: StageSimilarity, Until: StageSimilarity, Progress: silent()})
	must(t, err)
	if a := guardRows(t, spec)["a"]; a["classes"] != "" || a["probabilities"] != "" || a["drift"] != "" || a["attacked"] == "" || !strings.Contains(a["flags"], "unchecked") {
		t.Errorf("scored from old units: %q", a)
	}
	if !warns(outcome, "a was evaluated by an earlier version") {
		t.Errorf("scored from old units, warnings %q", outcome.Warnings)
	}

	sameSet(t, "run again", computed(t, spec, func() { compare(t, spec) }), "evaluate/a", "evaluate/b")
	for name, text := range folder(t, spec.Similarity) {
		if want[name] != text {
			t.Errorf("%s differs:\n%s\nwant\n%s", name, text, want[name])
		}
	}

	// Attacks of a version that kept no guards are not counted as attacks without any trouble.
	guards, err := filepath.Glob(filepath.Join(units, "attack", "a-0-*.guards"))
	must(t, err)
	must(t, os.Remove(guards[0]))
	_, err = Run(t.Context(), spec, Options{From: StageSimilarity, Until: StageSimilarity, Progress: silent()})
	must(t, err)
	if a := guardRows(t, spec)["a"]; a["attacked"] != "" || a["zero_gradient"] != "" || !strings.Contains(a["flags"], "unchecked") {
		t.Errorf("attacked by an earlier version: %q", a)
	}
}
