package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sat/internal/data"
	"sat/internal/experiment"
	"sat/internal/rng"
	"sat/internal/run"
	"sat/internal/store"
	"sat/internal/testkit"
	"sat/torch"
)

// counted is the output of scripts/peers/definition.py.
type counted struct {
	Correct  map[string]int
	Directed []struct {
		Source, Target string
		NBoth          int `json:"n_both"`
		NFooled        int `json:"n_fooled"`
	}
	Undirected []struct {
		A, B         string
		NBoth        int `json:"n_both"`
		FooledAB     int `json:"fooled_ab"`
		FooledBA     int `json:"fooled_ba"`
		Percent, SAT *float64
	}
	ResizeOnly []struct {
		Source, Target string
		NBoth          int `json:"n_both"`
		NWrong         int `json:"n_wrong"`
	} `json:"resize_only"`
}

// TestCompareEqualsTheDefinition: every number of `sat compare` follows from the stored adversarial images as a page of
// Python counts them. Three networks, one of which takes larger images, so that images are resized both ways; more images
// than one unit of work holds.
func TestCompareEqualsTheDefinition(t *testing.T) {
	worker := testkit.Torch(t)
	needExporter(t)
	dir := workplace(t)
	in := func(name string) string { return filepath.Join(dir, name) }
	write(t, in("convnext.pt"), readFile(t, zooModule("convnext")))
	const n = 520
	images, labels := noisyDigits(t, dir, n)
	must(t, data.WriteNPY(in("many.npy"), images, n, 3, side, side))
	must(t, data.WriteNPY(in("many-labels.npy"), labels, n))

	names := []string{"b", "convnext", "a"} // the order of the command line, not of the alphabet
	args := []string{"compare", "--images", "many.npy", "--labels", "many-labels.npy", "--epsilon", "24/255", "--steps", "2",
		"--threads", "1", "--workers", "2", "--out", "similarity"}
	for _, name := range names {
		args = append(args, "--model", name+".pt")
	}
	mustSat(t, dir, args...)

	// What Python gets: the stored images, decoded.
	type model struct {
		Name        string `json:"name"`
		Path        string `json:"path"`
		Adversarial string `json:"adversarial"`
		Numbers     []int  `json:"numbers"`
	}
	var models []model
	for _, name := range names {
		clean, size := images, side
		if name == "convnext" {
			size = 32
			clean = resized(t, worker, images, n, side, size)
		}
		m := model{name, in(name + ".pt"), in(name + ".npy"), nil}
		var pixels []float32
		for _, unit := range []string{"-0-", "-512-"} {
			files, err := filepath.Glob(in("similarity/units/attack/" + name + unit + "*.adv"))
			must(t, err)
			if len(files) != 1 {
				t.Fatalf("%s: stored images in %q, want one file for each 512 images", name, files)
			}
			numbers, stored := decodeStored(t, files[0], clean, 3*size*size)
			m.Numbers, pixels = append(m.Numbers, numbers...), append(pixels, stored...)
		}
		must(t, data.WriteNPY(m.Adversarial, pixels, len(m.Numbers), 3, size, size))
		models = append(models, m)
	}
	floor := experiment.DefaultSimilarity().Floor
	job, err := json.Marshal(map[string]any{"images": in("many.npy"), "labels": in("many-labels.npy"), "floor": floor, "models": models})
	must(t, err)
	write(t, in("job.json"), job)
	cmd := exec.CommandContext(t.Context(), run.ExporterPython(checkout()), filepath.Join(checkout(), "scripts", "peers", "definition.py"), in("job.json"))
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	text, err := cmd.Output()
	if err != nil {
		t.Fatalf("definition.py: %v\n%s", err, complaints.String())
	}
	var want counted
	must(t, json.Unmarshal(text, &want))

	// The integer tables must be the same, cell by cell.
	var pairs, self, resizing [][]string
	for _, d := range want.Directed {
		if d.Source == d.Target {
			self = append(self, []string{d.Source, strconv.Itoa(d.NBoth), strconv.Itoa(d.NFooled)})
		} else {
			pairs = append(pairs, []string{d.Source, d.Target, strconv.Itoa(d.NBoth), strconv.Itoa(d.NFooled)})
		}
	}
	for _, r := range want.ResizeOnly {
		resizing = append(resizing, []string{r.Source, r.Target, strconv.Itoa(r.NBoth), strconv.Itoa(r.NWrong)})
	}
	similarity := filepath.Join(dir, "similarity")
	sameRows(t, columns(t, filepath.Join(similarity, "pairs.csv"), "source", "target", "n_both", "n_fooled"), pairs)
	sameRows(t, columns(t, filepath.Join(similarity, "self.csv"), "model", "n_both", "n_fooled"), self)
	// Only pairs of different input sizes are resized.
	resizing = slices.DeleteFunc(resizing, func(r []string) bool { return r[0] != "convnext" && r[1] != "convnext" })
	sameRows(t, columns(t, filepath.Join(similarity, "resize_only.csv"), "source", "target", "n_both", "n_wrong"), resizing)
	for i, row := range columns(t, filepath.Join(similarity, "accuracy.csv"), "model", "n", "top1") {
		if row[0] != names[i] || row[1] != strconv.Itoa(n) || number(t, row[2]) != 100*float64(want.Correct[row[0]])/n {
			t.Errorf("accuracy.csv: %q, want %d of %d images for %s", row, want.Correct[row[0]], n, names[i])
		}
	}

	matrix := table(t, filepath.Join(similarity, "sat.csv"))
	if header := append([]string{"model"}, names...); !slices.Equal(matrix[0], header) {
		t.Errorf("sat.csv starts with %q, want %q", matrix[0], header)
	}
	at := map[string]int{}
	for i, name := range names {
		at[name] = i + 1
	}
	undirected := columns(t, filepath.Join(similarity, "pairs_undirected.csv"), "a", "b", "n_both", "fooled_ab", "fooled_ba", "percent", "sat",
		"ci_lo", "ci_hi")
	if len(undirected) != len(want.Undirected) {
		t.Fatalf("%d pairs, want %d", len(undirected), len(want.Undirected))
	}
	for i, w := range want.Undirected {
		got := undirected[i]
		counts := []string{w.A, w.B, strconv.Itoa(w.NBoth), strconv.Itoa(w.FooledAB), strconv.Itoa(w.FooledBA)}
		if !slices.Equal(got[:5], counts) {
			t.Errorf("pairs_undirected.csv: %q, want %q", got[:5], counts)
		}
		if w.NBoth == 0 {
			t.Fatalf("%s and %s have no common correct image: the test shows nothing", w.A, w.B)
		}
		percent, sat := number(t, got[5]), number(t, got[6])
		const ulps = 1e-15 // Python's logarithm and Go's may differ in the last place
		if percent != *w.Percent || math.Abs(sat-*w.SAT) > ulps*math.Abs(*w.SAT) {
			t.Errorf("%s, %s: percent %v, SAT %v, want %v and %v", w.A, w.B, percent, sat, *w.Percent, *w.SAT)
		}
		if lo, hi := number(t, got[7]), number(t, got[8]); !(lo <= sat && sat <= hi) {
			t.Errorf("%s, %s: SAT %v is outside its interval [%v, %v]", w.A, w.B, sat, lo, hi)
		}
		for _, cell := range []string{matrix[at[w.A]][at[w.B]], matrix[at[w.B]][at[w.A]]} {
			if cell != got[6] {
				t.Errorf("sat.csv has %s for %s and %s, pairs_undirected.csv %s", cell, w.A, w.B, got[6])
			}
		}
	}
}

// noisyDigits makes n images of the golden 64 by adding small noise, which the networks mostly see through.
func noisyDigits(t *testing.T, dir string, n int) ([]float32, []int64) {
	t.Helper()
	clean, _, err := data.ReadNPY[float32](t.Context(), filepath.Join(dir, "images.npy"))
	must(t, err)
	g := readGolden(t)
	size := 3 * side * side
	images, labels := make([]float32, n*size), make([]int64, n)
	noise := rng.New(0, "noisy digits")
	for i := range n {
		from := i % len(g.Labels)
		labels[i] = g.Labels[from]
		for p := range size {
			images[i*size+p] = min(max(clean[from*size+p]+float32(0.1*noise.Normal()), 0), 1)
		}
	}
	return images, labels
}

// resized is what a model of another size is shown: bilinear, half-pixel centres, no antialiasing.
func resized(t *testing.T, w *torch.Worker, images []float32, n, from, to int) []float32 {
	t.Helper()
	out := make([]float32, n*3*to*to)
	must(t, w.Do(t.Context(), func(s *torch.Scope) error {
		x := s.Interpolate(s.FromFloat32(images, n, 3, from, from), to, to, torch.Bilinear, false)
		return s.Clamp(x, 0, 1).CopyFloat32s(out)
	}))
	return out
}

// decodeStored returns the numbers of the images in a store, which are their names, and their pixels.
func decodeStored(t *testing.T, path string, clean []float32, size int) (numbers []int, pixels []float32) {
	t.Helper()
	stored, err := store.OpenAdversarial(path)
	must(t, err)
	defer stored.Close()
	ids := stored.Header().IDs
	pixels = make([]float32, len(ids)*size)
	for k, id := range ids {
		i, err := strconv.Atoi(id)
		must(t, err)
		numbers = append(numbers, i)
		must(t, stored.Images(k, k+1, clean[i*size:(i+1)*size], pixels[k*size:(k+1)*size]))
	}
	return numbers, pixels
}

// table reads a CSV file.
func table(t *testing.T, path string) [][]string {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	records, err := csv.NewReader(f).ReadAll()
	must(t, err)
	return records
}

// columns returns the named columns of a CSV file, row by row; they must be its first.
func columns(t *testing.T, path string, names ...string) [][]string {
	t.Helper()
	records := table(t, path)
	if len(records[0]) < len(names) || !slices.Equal(records[0][:len(names)], names) {
		t.Fatalf("%s starts with %q, want %q", path, records[0], names)
	}
	var rows [][]string
	for _, r := range records[1:] {
		rows = append(rows, r[:len(names)])
	}
	return rows
}

func sameRows(t *testing.T, got, want [][]string) {
	t.Helper()
	format := func(rows [][]string) string {
		var lines []string
		for _, r := range rows {
			lines = append(lines, strings.Join(r, ","))
		}
		return strings.Join(lines, "\n")
	}
	if format(got) != format(want) {
		t.Errorf("got\n%s\nwant\n%s", format(got), format(want))
	}
}

func number(t *testing.T, cell string) float64 {
	t.Helper()
	v, err := strconv.ParseFloat(cell, 64)
	must(t, err)
	return v
}

// TestCompareWithoutAModel: a model that cannot be compared is named and left out, which is exit code 3; the others have
// their scores.
func TestCompareWithoutAModel(t *testing.T) {
	t.Parallel()
	needTorch(t)
	dir := workplace(t)
	write(t, filepath.Join(dir, "few.pt"), readFile(t, zooModule("plain-good"))) // four classes; the labels go up to nine
	out := sat(t, dir, "compare", "--model", "a.pt", "--model", "few.pt", "--model", "b.pt", "--images", "images.npy",
		"--labels", "labels.npy", "--steps", "1", "--epsilon", "24/255", "--out", "similarity", "--json", "--quiet")
	var result struct {
		Undefined int `json:"undefined_pairs"`
		Failures  []struct{ Stage, Model, Error string }
	}
	must(t, json.Unmarshal([]byte(out.stdout), &result))
	if out.code != exitPartial || len(result.Failures) != 1 || result.Failures[0].Model != "few" || result.Failures[0].Stage != "evaluate" ||
		!strings.Contains(result.Failures[0].Error, "4 classes") {
		t.Errorf("exit code %d, want %d; %+v\n%s", out.code, exitPartial, result, out.stderr)
	}
	if !strings.Contains(out.stderr, "few") {
		t.Errorf("stderr does not name the model: %s", out.stderr)
	}
	if header := table(t, filepath.Join(dir, "similarity", "sat.csv"))[0]; !slices.Equal(header, []string{"model", "a", "b"}) {
		t.Errorf("sat.csv is about %q", header)
	}
}

// TestMemory: with a budget in place of a batch, both commands choose one, say which, and give what they give with it.
func TestMemory(t *testing.T) {
	t.Parallel()
	needTorch(t)
	dir := workplace(t)
	common := []string{"--images", "images.npy", "--labels", "labels.npy", "--steps", "2", "--threads", "1"}
	mustSat(t, dir, append([]string{"compare", "--model", "a.pt", "--model", "b.pt", "--memory", "16GiB", "--out", "similarity"}, common...)...)
	var meta struct {
		Batches map[string]int `json:"batches"`
	}
	must(t, json.Unmarshal(readFile(t, filepath.Join(dir, "similarity/sat.meta.json")), &meta))
	if meta.Batches["a"] < 1 || meta.Batches["b"] < 1 {
		t.Errorf("batches %v", meta.Batches)
	}
	var chosen attackJSON
	must(t, json.Unmarshal([]byte(mustSat(t, dir, append([]string{"attack", "--model", "a.pt", "--memory", "16GiB", "--out", "x.npy", "--json"}, common...)...)), &chosen))
	if n := len(chosen.Correct); chosen.Batch < 1 || chosen.Batch > 64 || n == 0 {
		t.Fatalf("batch %d of %d images", chosen.Batch, n)
	}
	mustSat(t, dir, append([]string{"attack", "--model", "a.pt", "--batch", strconv.Itoa(chosen.Batch), "--out", "y.npy"}, common...)...)
	if !bytes.Equal(readFile(t, filepath.Join(dir, "x.npy")), readFile(t, filepath.Join(dir, "y.npy"))) {
		t.Errorf("the chosen batch %d gives other images than the given one", chosen.Batch)
	}
}
