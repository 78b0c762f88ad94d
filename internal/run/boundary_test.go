package run

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sat/analysis"
	"sat/attacks"
	"sat/boundary"
	"sat/internal/data"
	"sat/internal/experiment"
	"sat/internal/studies"
	"sat/internal/testkit"
	"sat/torch"
	"sat/zoo"
)

// goldens holds two small networks trained on digits, of which boundaries are worth looking at, and 64 images.
const (
	goldens    = "attacks/goldentest/testdata"
	goldenSide = 16
)

// boundaries is a comparison of decision boundaries on the first n of those images. A model is conv.pt under another name,
// with a normalisation of its own, or another file, given as name=file.
func boundaries(t *testing.T, n, triplets int, models ...string) Spec {
	t.Helper()
	testkit.NoLeaks(t)
	testkit.SkipWithoutTorch(t)
	dir := t.TempDir()
	var golden struct{ Labels []int64 }
	must(t, json.Unmarshal(readFile(t, filepath.Join(testkit.Root(t), goldens, "golden.json")), &golden))
	raw := readFile(t, filepath.Join(testkit.Root(t), goldens, "images.u8"))
	pixels := make([]float32, n*3*goldenSide*goldenSide)
	for i := range pixels {
		pixels[i] = float32(raw[i]) / 255
	}
	spec := Spec{
		Name: "test", Dir: filepath.Join(dir, "run"), Similarity: filepath.Join(dir, "run", "similarity"),
		Agreement: filepath.Join(dir, "run", "boundary"),
		Device:    torch.CPU, Workers: 2, Threads: 1, Batch: 16,
		Data: experiment.DefaultData(), Transfer: experiment.DefaultTransfer(), Scores: experiment.DefaultSimilarity(),
		Boundary: &Boundary{Options: boundary.Options{Seed: 5, Grid: 6, Margin: 0.2}, Triplets: triplets, Pictures: 1},
	}
	pgd := attacks.Defaults()
	pgd.Steps = 2
	spec.Attack = Attack{Method: "pgd", Epsilon: "8/255", Attacker: pgd}
	spec.Scores.Bootstrap, spec.Transfer.Clean = 20, "shared"
	spec.Data.Images, spec.Data.LabelsFile = filepath.Join(dir, "images.npy"), filepath.Join(dir, "labels.npy")
	must(t, data.WriteNPY(spec.Data.Images, pixels, n, 3, goldenSide, goldenSide))
	must(t, data.WriteNPY(spec.Data.LabelsFile, golden.Labels[:n], n))
	for _, model := range models {
		spec.Members = append(spec.Members, boundaryMember(t, dir, model))
	}
	spec.Boundary.Reference = spec.Members[0].Name
	return spec
}

func boundaryMember(t *testing.T, dir, model string) Member {
	t.Helper()
	name, file, other := strings.Cut(model, "=")
	if !other {
		file = "conv"
	}
	path := filepath.Join(dir, name+".pt")
	must(t, os.WriteFile(path, readFile(t, filepath.Join(testkit.Root(t), goldens, file+".pt")), 0o666))
	shift := float32(len(name)-1) / 10
	return Member{Name: name, Group: name, Path: path,
		Describe: zoo.Description{Height: goldenSide, Width: goldenSide, Mean: []float32{shift, 0, shift}, Std: []float32{1, 1 - shift/2, 1}}}
}

var onlyBoundaries = Options{Skip: []Stage{StageAttack, StageTransfer}, Until: StageBoundary}

func runBoundaries(t *testing.T, spec Spec) {
	t.Helper()
	o := onlyBoundaries
	o.Progress = silent()
	_, err := Run(t.Context(), spec, o)
	must(t, err)
}

func readTable(t *testing.T, path string) [][]string {
	t.Helper()
	records, err := csv.NewReader(strings.NewReader(string(readFile(t, path)))).ReadAll()
	must(t, err)
	return records
}

// The counts in agreement_pairs.csv are those of every point made as an image and, for a network of another input size,
// resized as an image.
func TestBoundaryEqualsDirectEvaluation(t *testing.T) {
	const triplets = 12 // more than one unit holds
	spec := boundaries(t, 64, triplets, "a", "b=vit", "large")
	spec.Members[2].Describe.Height, spec.Members[2].Describe.Width = 24, 24
	runBoundaries(t, spec)

	worker := testkit.Torch(t)
	set, err := data.ReadImages(t.Context(), spec.Data.Images)
	must(t, err)
	labels, err := data.ReadLabels(t.Context(), spec.Data.LabelsFile)
	must(t, err)
	images := func(_ context.Context, numbers []int) (attacks.Batch, error) { return gather(set, numbers), nil }
	maps := make([][][]int64, 3)
	for k, m := range spec.Members {
		model, err := zoo.Load(t.Context(), m.Path, zoo.LoadOptions{Worker: worker, Describe: m.Describe})
		must(t, err)
		for r := range triplets {
			triplet, err := boundary.Draw(t.Context(), images, labels, count(set.N), r, spec.Boundary.Options)
			must(t, err)
			x, _ := images(t.Context(), triplet.Images[:])
			view := triplet.Plane.View(x)
			first, second := triplet.Plane.Axes(6, 0.2)
			grid := attacks.NewBatch(36, 3, goldenSide, goldenSide)
			for i := range 36 {
				view.Point(grid.Image(i), first[i/6], second[i%6])
			}
			if h := m.Describe.Height; h != goldenSide {
				larger := attacks.NewBatch(36, 3, h, h)
				must(t, worker.Do(t.Context(), func(s *torch.Scope) error {
					return s.Interpolate(s.FromFloat32(grid.Pixels, 36, 3, goldenSide, goldenSide), h, h, torch.Bilinear, false).CopyFloat32s(larger.Pixels)
				}))
				grid = larger
			}
			classes, err := attacks.Evaluate(t.Context(), model.Logits, grid, spec.Batch, nil)
			must(t, err)
			maps[k] = append(maps[k], classes)
		}
		model.Close()
	}
	rows := readTable(t, filepath.Join(spec.Agreement, "agreement_pairs.csv"))[1:]
	matrix, err := studies.ReadMatrix(filepath.Join(spec.Agreement, "agreement.csv"))
	must(t, err)
	row := 0
	for a := range 3 {
		for b := a + 1; b < 3; b++ {
			equal := 0
			for r := range triplets {
				for i := range 36 {
					if maps[a][r][i] == maps[b][r][i] {
						equal++
					}
				}
			}
			if equal == 12*36 {
				t.Errorf("%s and %s agree everywhere: the test shows nothing", spec.Members[a].Name, spec.Members[b].Name)
			}
			want := []string{spec.Members[a].Name, spec.Members[b].Name, "12", "432", strconv.Itoa(equal), analysis.FormatFloat(float64(equal) / 432)}
			if got := rows[row][:6]; !slices.Equal(got, want) {
				t.Errorf("agreement_pairs.csv: %q, want %q", got, want)
			}
			if matrix.At(a, b) != float64(equal)/432 || matrix.At(b, a) != matrix.At(a, b) || matrix.At(a, a) != 1 {
				t.Errorf("agreement.csv: %v, %v and %v on the diagonal, want %v", matrix.At(a, b), matrix.At(b, a), matrix.At(a, a), float64(equal)/432)
			}
			row++
		}
	}
}

// Every model classifies a plane once: another model costs its own maps only, more triplets only the new ones, and a
// finished run nothing.
func TestBoundaryUnits(t *testing.T) {
	spec := boundaries(t, 64, 10, "a", "b=vit")
	sameSet(t, "first run", onlyMaps(computed(t, spec, func() { runBoundaries(t, spec) })), "boundary/a-0", "boundary/b-0")
	first := readFile(t, filepath.Join(spec.Agreement, "agreement_pairs.csv"))
	sameSet(t, "again", computed(t, spec, func() { runBoundaries(t, spec) }))
	spec.Members = append(spec.Members, boundaryMember(t, filepath.Dir(spec.Data.Images), "c"))
	sameSet(t, "another model", onlyMaps(computed(t, spec, func() { runBoundaries(t, spec) })), "boundary/c-0")
	spec.Boundary.Triplets = 12
	sameSet(t, "more triplets", computed(t, spec, func() { runBoundaries(t, spec) }), "boundary/a-10", "boundary/b-10", "boundary/c-10")
	spec.Boundary.Triplets = 10
	spec.Members = spec.Members[:2]
	sameSet(t, "as at first", computed(t, spec, func() { runBoundaries(t, spec) }))
	if again := readFile(t, filepath.Join(spec.Agreement, "agreement_pairs.csv")); string(again) != string(first) {
		t.Errorf("the same experiment has other results:\n%s\n%s", first, again)
	}
	spec.Boundary.Margin = 0.3
	sameSet(t, "another range", computed(t, spec, func() { runBoundaries(t, spec) }), "boundary/a-0", "boundary/b-0")
}

func onlyMaps(units map[string]bool) map[string]bool {
	for name := range units {
		if !strings.HasPrefix(name, "boundary/") {
			delete(units, name)
		}
	}
	return units
}

// Damaged class maps are computed again.
func TestDamagedClassMaps(t *testing.T) {
	spec := boundaries(t, 64, 3, "a", "b=vit")
	runBoundaries(t, spec)
	files, err := filepath.Glob(filepath.Join(spec.Dir, "units", "boundary", "a-0-*.maps"))
	must(t, err)
	must(t, os.Truncate(files[0], 20))
	sameSet(t, "after the damage", computed(t, spec, func() { runBoundaries(t, spec) }), "boundary/a-0")
}

// Copies of one architecture: the mean over pairs of different copies.
func TestGroupAgreement(t *testing.T) {
	spec := boundaries(t, 64, 4, "aa", "aab", "c=vit")
	spec.Members[0].Group, spec.Members[1].Group = "a", "a"
	runBoundaries(t, spec)
	share := map[string]float64{}
	for _, row := range readTable(t, filepath.Join(spec.Agreement, "agreement_pairs.csv"))[1:] {
		v, err := strconv.ParseFloat(row[5], 64)
		must(t, err)
		share[row[0]+row[1]] = v
	}
	want := [][]string{{"group_a", "group_b", "pairs", "agreement"}, {"a", "a", "1", analysis.FormatFloat(share["aaaab"])},
		{"a", "c", "2", analysis.FormatFloat((share["aac"] + share["aabc"]) / 2)}}
	if got := readTable(t, filepath.Join(spec.Agreement, "agreement_groups.csv")); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("agreement_groups.csv: %q, want %q", got, want)
	}
}

// planes.json shows the pair that agrees most and the one that agrees least, with their own maps.
func TestPlanePictures(t *testing.T) {
	spec := boundaries(t, 64, 3, "a", "bb", "ccc=vit")
	spec.Boundary.Pictures = 2
	runBoundaries(t, spec)
	var file planesFile
	must(t, json.Unmarshal(readFile(t, filepath.Join(spec.Agreement, "planes.json")), &file))
	matrix, err := studies.ReadMatrix(filepath.Join(spec.Agreement, "agreement.csv"))
	must(t, err)
	above := matrix.UpperTriangle()
	if len(file.Pictures) != 4 {
		t.Fatalf("%d pictures, want two of two pairs", len(file.Pictures))
	}
	for i, p := range file.Pictures {
		a, b := slices.Index(matrix.Names, p.A), slices.Index(matrix.Names, p.B)
		want, why := slices.Max(above), "most alike"
		if i >= 2 {
			want, why = slices.Min(above), "least alike"
		}
		if matrix.At(a, b) != want || p.Pair != why || p.Triplet != i%2 {
			t.Errorf("picture %d shows %s and %s (%v), triplet %d, %s", i, p.A, p.B, matrix.At(a, b), p.Triplet, p.Pair)
		}
		equal := 0
		for k := range p.ClassesA {
			if p.ClassesA[k] == p.ClassesB[k] {
				equal++
			}
		}
		if len(p.ClassesA) != 36 || float64(equal)/36 != p.Agreement {
			t.Errorf("picture %d: %d of %d points are equal, agreement %v", i, equal, len(p.ClassesA), p.Agreement)
		}
	}
}

// stabilityStudy adds the stability study of the first two models.
func stabilityStudy(spec Spec, sizes, triplets []int, repeats int) Spec {
	spec.Stability = &Stability{Pair: [2]string{spec.Members[0].Name, spec.Members[1].Name}, Sizes: sizes, Triplets: triplets, Repeats: repeats}
	return spec
}

// The scores of both measures are on the same images in each repeat, and Tab. 1 follows from them.
func TestStability(t *testing.T) {
	spec := stabilityStudy(boundaries(t, 64, 2, "a", "bb=vit", "ccc"), []int{8, 20}, []int{1, 3}, 3)
	_, err := Run(t.Context(), spec, Options{Until: StageAnalysis, Progress: silent()})
	must(t, err)
	dir := filepath.Join(spec.Dir, "analysis")
	series, err := studies.ReadStabilityScores(filepath.Join(dir, "stability_scores.csv"))
	must(t, err)
	var shape []string
	for _, s := range series {
		shape = append(shape, fmt.Sprintf("%s %d %d %d", s.Method, s.Samples, s.Passes, len(s.Scores)))
	}
	if want := []string{"somepalli 1 36 3", "somepalli 3 36 3", "sat 8 3 3", "sat 20 3 3"}; !slices.Equal(shape, want) {
		t.Fatalf("series %q, want %q", shape, want)
	}

	// The similarity of repeat 1 on 8 images, from the stored predictions.
	r := &runner{Spec: spec, measured: map[string]*measured{}}
	m, err := r.recall()
	must(t, err)
	tables, err := r.tables(m, m.Settings[0])
	must(t, err)
	order := data.Ranked(m.Images.IDs, 1)
	sets, err := stabilitySets(m.Images.IDs, m.Images.Labels, 20, 3)
	must(t, err)
	if len(sets[1]) != 20 || sets[1][0] != order[0] {
		t.Errorf("repeat 1 starts with image %d, want that of the smallest key, %d", sets[1][0], order[0])
	}
	percent, err := tables.PercentOn("a", "bb", sets[1][:8])
	must(t, err)
	if percent != series[2].Scores[1] {
		t.Errorf("similarity of repeat 1 on 8 images is %v, want %v", series[2].Scores[1], percent)
	}
	described, err := analysis.DescribeStability(series, 0.95)
	must(t, err)
	rows := readTable(t, filepath.Join(dir, "tab1_stability.csv"))
	if want := "method n ratio std std_lo std_hi cost"; strings.Join(rows[0], " ") != want {
		t.Errorf("columns %q, want %q", rows[0], want)
	}
	for i, d := range described {
		want := []string{d.Method, strconv.Itoa(d.Samples), analysis.FormatFloat(d.Ratio), analysis.FormatFloat(d.Std)}
		if !slices.Equal(rows[i+1][:4], want) {
			t.Errorf("row %d is %q, want %q", i, rows[i+1], want)
		}
	}
	var file struct {
		Repeats int
		Tests   []struct {
			NA int `json:"n_a"`
			NB int `json:"n_b"`
		}
	}
	must(t, json.Unmarshal(readFile(t, filepath.Join(dir, "stability.json")), &file))
	if len(file.Tests) != 2 || file.Tests[1].NA != 3 || file.Tests[1].NB != 20 || file.Repeats != 3 {
		t.Errorf("stability.json: %+v", file)
	}
	var seconds secondsFile
	must(t, json.Unmarshal(readFile(t, r.secondsFile()), &seconds))
	if len(seconds.Rows) != 4 || len(seconds.Models) != 2 {
		t.Fatalf("stability_seconds.json: %+v", seconds)
	}
	for _, row := range seconds.Rows {
		if !(row.Seconds > 0) {
			t.Errorf("%s with %d samples takes %v seconds", row.Method, row.N, row.Seconds)
		}
	}
	// Both measures together.
	rows = readTable(t, filepath.Join(dir, "agreement_sat.csv"))
	var correlation struct {
		Correlation struct {
			N int
			R *float64
		}
		Mantel *struct{ P float64 }
	}
	must(t, json.Unmarshal(readFile(t, filepath.Join(dir, "agreement_sat.json")), &correlation))
	if len(rows) != 4 || correlation.Correlation.N != 3 || correlation.Correlation.R == nil || correlation.Mantel == nil {
		t.Errorf("%d pairs in agreement_sat.csv, %+v", len(rows)-1, correlation)
	}
}

func TestStabilitySets(t *testing.T) {
	var ids []string
	var labels []int64
	for i := range 60 {
		ids, labels = append(ids, fmt.Sprintf("%d/img%d.png", i%3, i)), append(labels, int64(i%3))
	}
	// A shuffled list has the same sets: they go by names.
	order := data.Ranked(ids, 99)
	var shuffled []string
	var shuffledLabels []int64
	for _, i := range order {
		shuffled, shuffledLabels = append(shuffled, ids[i]), append(shuffledLabels, labels[i])
	}
	names := func(ids []string, set []int) []string {
		var out []string
		for _, i := range set {
			out = append(out, ids[i])
		}
		return out
	}
	sets, err := stabilitySets(ids, labels, 30, 4)
	must(t, err)
	again, err := stabilitySets(shuffled, shuffledLabels, 30, 4)
	must(t, err)
	for q, set := range sets {
		if !slices.Equal(names(ids, set), names(shuffled, again[q])) {
			t.Errorf("repeat %d depends on the order of the images", q)
		}
		counts := map[int64]int{}
		for _, i := range set {
			counts[labels[i]]++
		}
		if len(set) != 30 || counts[0] != 10 || counts[1] != 10 || counts[2] != 10 {
			t.Errorf("repeat %d: %d images, %v of each class, want 10", q, len(set), counts)
		}
		if distinct := slices.Compact(slices.Sorted(slices.Values(set))); len(distinct) != 30 {
			t.Errorf("repeat %d holds images twice", q)
		}
		if q > 0 && slices.Equal(set, sets[q-1]) {
			t.Error("two repeats are equal")
		}
	}
	if sets, err = stabilitySets(ids, labels, 31, 1); err != nil || len(sets[0]) != 31 {
		t.Errorf("31 images of three classes: %v, %v", sets, err)
	}
	if _, err := stabilitySets(ids, labels, 61, 1); err == nil || !strings.Contains(err.Error(), "smaller sizes") {
		t.Errorf("61 of 60 images: %v", err)
	}
}

// Models that [boundary] and [stability] name must be there, under the names of the results; the defaults are the first ones.
func TestModelsOfBoundaries(t *testing.T) {
	const file = "[data]\npath=\"x\"\n[recipe.r]\nepochs=1\nbatch=1\nopt=\"sgd\"\nlr=1\n[[model]]\nname=\"a\"\ntimm=\"a\"\nrecipe=\"r\"\nseeds=[0,1]\n[boundary]\n"
	spec := func(text string) (Spec, error) {
		c, err := experiment.Parse("exp.toml", file+text)
		must(t, err)
		return FromConfig(c, "exp.toml")
	}
	s, err := spec("[stability]\n")
	must(t, err)
	if s.Boundary.Reference != "a-s0" || s.Stability.Pair != [2]string{"a-s0", "a-s1"} {
		t.Errorf("reference %s, pair %v", s.Boundary.Reference, s.Stability.Pair)
	}
	for name, c := range map[string]struct{ text, want string }{
		"reference": {"reference=\"a\"\n", `exp.toml:14: there is no model "a"`},
		"pair":      {"[stability]\npair=[\"a-s0\",\"a-s2\"]\n", `did you mean "a-s0"?`},
	} {
		if _, err := spec(c.text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
