package report

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"image/png"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"gonum.org/v1/plot/vg"

	"sat/analysis"
	"sat/internal/rng"
	"sat/internal/synthetic"
)

// TestWriteSample leaves reports in a folder for scripts/check-report.sh, which opens them in a browser: the two synthetic
// zoos, counts alone with an undefined and a floored pair, and more models than are drawn as single cells.
func TestWriteSample(t *testing.T) {
	dir := os.Getenv("SAT_REPORT_SAMPLES")
	if dir == "" {
		t.Skip("SAT_REPORT_SAMPLES names no folder to leave sample reports in")
	}
	for name, s := range map[string]*synthetic.Zoo{"small": synthetic.Small(), "large": synthetic.Paper()} {
		invent(t, s, filepath.Join(dir, name))
		if _, err := Write(context.Background(), filepath.Join(dir, name), Options{}); err != nil {
			t.Error(err)
		}
	}
	for name, c := range map[string]*analysis.Counts{"bare": threeModels(), "many": manyModels(200)} {
		scores, err := c.Score(analysis.DefaultFloor)
		if err != nil {
			t.Fatal(err)
		}
		similarity(t, filepath.Join(dir, name), c.Images, scores)
		if _, err := Write(context.Background(), filepath.Join(dir, name), Options{SkipPNG: true}); err != nil {
			t.Error(err)
		}
	}
}

// threeModels has one pair without a common image and one at the floor.
func threeModels() *analysis.Counts {
	c := counts(200, 150, 30, "a", "b", "c")
	c.NBoth[0][1], c.NBoth[1][0], c.Fooled[0][1], c.Fooled[1][0] = 0, 0, 0, 0
	c.Fooled[0][2], c.Fooled[2][0] = 0, 0
	return c
}

func manyModels(n int) *analysis.Counts {
	var names []string
	for i := range n {
		names = append(names, "model-"+strconv.Itoa(i))
	}
	c := counts(500, 400, 390, names...)
	stream := rng.New(1, "counts")
	for i := range names {
		for j := range names {
			if i != j {
				c.Fooled[i][j] = 20 + stream.IntN(200)
			}
		}
	}
	return c
}

// written makes a run directory and its report.
func written(t *testing.T, s *synthetic.Zoo) string {
	t.Helper()
	dir := t.TempDir()
	invent(t, s, dir)
	path, err := Write(context.Background(), dir, Options{SkipPNG: true})
	if err != nil {
		t.Fatal(err)
	}
	if path != filepath.Join(dir, "report.html") {
		t.Fatalf("path %s", path)
	}
	return dir
}

func read(t *testing.T, parts ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(parts...))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// texts returns the contents of the text elements of an SVG document, which must be well-formed XML.
func texts(t *testing.T, svg string) (out []string) {
	t.Helper()
	decoder := xml.NewDecoder(strings.NewReader(svg))
	inside := false
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			inside = token.Name.Local == "text"
		case xml.CharData:
			if inside {
				out = append(out, string(token))
			}
		case xml.EndElement:
			inside = false
		}
	}
}

func count(list []string, want string) (n int) {
	for _, s := range list {
		if s == want {
			n++
		}
	}
	return n
}

func TestFiguresCarryTheirLabels(t *testing.T) {
	fontSize := regexp.MustCompile(`font-size:([0-9.]+)px`)
	for name, s := range map[string]*synthetic.Zoo{"14 models": synthetic.Small(), "69 models": paperZoo()} {
		t.Run(name, func(t *testing.T) {
			dir := written(t, s)
			stems := []string{"figD1_sat_matrix", "figC1_spectral_distance_named", "spectral_eigenvalues", "same_vs_different"}
			if s.Curves {
				stems = append(stems, "training_curves", "whitebox_sweep")
			}
			for _, stem := range stems {
				svg := read(t, dir, "figures", stem+".svg")
				found := texts(t, svg)
				if len(found) < 5 || !strings.Contains(svg, "<title>") || !strings.Contains(svg, "<desc>") {
					t.Errorf("%s: %d texts", stem, len(found))
				}
				if rows := strings.Count(read(t, dir, "figures", stem+".csv"), "\n"); rows < 3 {
					t.Errorf("%s.csv: %d rows", stem, rows)
				}
				for _, m := range fontSize.FindAllStringSubmatch(svg, -1) {
					if size, err := strconv.ParseFloat(m[1], 64); err != nil || size < 4 {
						t.Errorf("%s: letters of %s points", stem, m[1])
					}
				}
			}
			found := texts(t, read(t, dir, "figures", "figD1_sat_matrix.svg"))
			for _, m := range s.Models {
				if count(found, m.Name) != 2 {
					t.Errorf("matrix names %s %d times, want once per axis", m.Name, count(found, m.Name))
				}
			}
			for _, want := range []string{"SAT = ln of the percentage fooled", "4.6 = 100 %", "Cluster", "Base architecture", "CNN"} {
				if count(found, want) != 1 {
					t.Errorf("matrix has the text %q %d times", want, count(found, want))
				}
			}
			if s.Curves {
				found = texts(t, read(t, dir, "figures", "whitebox_sweep.svg"))
				for _, want := range []string{"8/255", "48/255", "95 %", "used", "resmlp"} {
					if !slices.Contains(found, want) {
						t.Errorf("sweep lacks %q in %q", want, found)
					}
				}
			}
		})
	}
}

// TestMatrixRowZeroOnTop reads positions back: the first model of the display order must stand above the last.
func TestMatrixRowZeroOnTop(t *testing.T) {
	dir := written(t, synthetic.Small())
	r, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	svg := read(t, dir, "figures", "figD1_sat_matrix.svg")
	y := func(name string) float64 {
		// Canvas y grows upwards and text is flipped back, so the attribute is minus the height above the bottom.
		m := regexp.MustCompile(`<text x="[^"]*" y="([^"]*)" transform="scale\(1, -1\)"[^>]*>` + name + `</text>`).FindStringSubmatch(svg)
		if m == nil {
			t.Fatalf("no row label %s", name)
		}
		v, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	first, last := r.Models[r.Clusters.Order[0]].Name, r.Models[r.Clusters.Order[len(r.Models)-1]].Name
	if !(y(first) < y(last)) {
		t.Errorf("%s at %v is not above %s at %v", first, y(first), last, y(last))
	}
}

func TestReportIsDeterministic(t *testing.T) {
	one, two := t.TempDir(), t.TempDir()
	for _, dir := range []string{one, two} {
		invent(t, synthetic.Small(), dir)
		if _, err := Write(context.Background(), dir, Options{}); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	err := filepath.WalkDir(one, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		n++
		rel, err := filepath.Rel(one, path)
		if err != nil {
			return err
		}
		if read(t, path) != read(t, two, rel) {
			t.Errorf("%s differs between two runs", rel)
		}
		return nil
	})
	if err != nil || n < 30 {
		t.Errorf("%d files compared: %v", n, err)
	}
}

func TestPNGResolution(t *testing.T) {
	dir := t.TempDir()
	invent(t, synthetic.Small(), dir)
	r, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	f := eigenvalueFigure(r)
	b, err := f.PNG()
	if err != nil {
		t.Fatal(err)
	}
	config, err := png.DecodeConfig(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if want := int(math.Ceil(f.width.Dots(300))); config.Width != want {
		t.Errorf("width %d pixels, want %d", config.Width, want)
	}
	// 300 dots per inch are 11811 per metre.
	if !bytes.Contains(b[:64], append([]byte("pHYs"), 0, 0, 0x2e, 0x23, 0, 0, 0x2e, 0x23, 1)) {
		t.Errorf("no resolution in % x", b[:64])
	}
}

var pageIDs = []string{"similarity", "near", "claim", "clusters", "map", "importance", "ensembles", "training", "distillation", "attacks", "stability", "novel", "catalogue", "correlations", "attack", "models", "paper", "settings"}

func TestPage(t *testing.T) {
	for name, s := range map[string]*synthetic.Zoo{"14 models": synthetic.Small(), "69 models": paperZoo()} {
		t.Run(name, func(t *testing.T) {
			dir := written(t, s)
			page := read(t, dir, "report.html")
			for _, id := range pageIDs {
				if !strings.Contains(page, ` id="`+id+`">`) {
					t.Errorf("no section %s", id)
				}
			}
			for _, bad := range []string{"ZgotmplZ", "<no value>", "%!", "NaN", "+Inf", `src="http`, `href="http`, "url(http"} {
				if strings.Contains(page, bad) {
					t.Errorf("page contains %q", bad)
				}
			}
			// Each cell tells its counts without any script.
			if got, want := strings.Count(page, "common images, made on the first fool the second"), len(s.Models)*(len(s.Models)-1); got != want {
				t.Errorf("%d cells with counts, want %d", got, want)
			}
			if s.Curves == strings.Contains(page, "Training: not run here") {
				t.Errorf("training %v, page says otherwise", s.Curves)
			}
			if got := strings.Count(page, "data:text/csv;base64,"); got < 4 {
				t.Errorf("%d embedded CSV files", got)
			}
			if !strings.Contains(page, "other scale") || !strings.Contains(page, ">not run<") {
				t.Error("comparison with the paper lacks its scope or verdicts")
			}
			markdown := read(t, dir, "report.md")
			for _, want := range []string{"## Similarity", "## Which models belong together?", "## Beside the paper", "| Tab 3 |", s.Models[0].Name} {
				if !strings.Contains(markdown, want) {
					t.Errorf("report.md lacks %q", want)
				}
			}
		})
	}
}

func TestPageWithoutOptionalFiles(t *testing.T) {
	s := synthetic.Small()
	s.Clusters, s.Curves, s.Sweep = false, false, false
	dir := written(t, s)
	page := read(t, dir, "report.html")
	if got := strings.Count(page, `class="notrun"`); got < 3 {
		t.Errorf("%d parts marked as not run", got)
	}
	if strings.Contains(page, `<section id="claim">`) || strings.Count(page, `<li id="claim">`) != 1 || strings.Contains(read(t, dir, "report.md"), "## "+claimTitle) {
		t.Error("without groups the claim is not among what was not run")
	}
	if strings.Contains(page, `id="fig-"`) {
		t.Error("an empty figure stands in the page")
	}
	var report jsonReport
	decodeJSON(t, read(t, dir, "report.json"), &report)
	if report.Claim != nil || report.Clusters != nil || len(report.Sweep) != 0 {
		t.Errorf("report.json invents parts: %+v", report)
	}
	for _, item := range report.Items {
		if item.ID == "mean_init" && item.Verdict != verdictNotRun {
			t.Errorf("%s: verdict %s without groups", item.ID, item.Verdict)
		}
	}
}

// UnmarshalJSON reads null back as NaN.
func (v *number) UnmarshalJSON(b []byte) error { return (*nullable)(v).UnmarshalJSON(b) }

func decodeJSON(t *testing.T, s string, v any) {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(s))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(v); err != nil {
		t.Fatal(err)
	}
}

func TestReportJSON(t *testing.T) {
	dir := written(t, synthetic.Small())
	r, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	var report jsonReport
	decodeJSON(t, read(t, dir, "report.json"), &report)
	if report.SchemaVersion != 2 || report.Scope.Models != 14 || report.Scope.Pairs != 91 || report.Scope.PaperScale {
		t.Errorf("scope %+v", report.Scope)
	}
	if !report.Claim.Holds || report.Claim.Within.Pairs != 7 || math.Abs(float64(report.Claim.P)-1.0/135135) > 1e-12 {
		t.Errorf("claim %+v", report.Claim) // 14 models in pairs: 13!! = 135135 labelings, the planted one is the best
	}
	for i, m := range report.Models {
		best, worst := math.Inf(-1), math.Inf(1)
		for j := range r.Models {
			if j != i {
				best, worst = max(best, r.SAT.At(i, j)), min(worst, r.SAT.At(i, j))
			}
		}
		if float64(m.Nearest[0].SAT) != best || float64(m.Farthest.SAT) != worst {
			t.Errorf("%s: nearest %v and farthest %v, want %v and %v", m.Model, m.Nearest[0].SAT, m.Farthest.SAT, best, worst)
		}
		if partner := m.Nearest[0].Model; strings.TrimRight(partner, "01") != strings.TrimRight(m.Model, "01") {
			t.Errorf("nearest of %s is %s, but its other seed was planted nearest", m.Model, partner)
		}
	}
	if len(report.Sweep) != 5 || !report.Sweep[2].Chosen || report.Sweep[0].Epsilon != "8/255" {
		t.Errorf("sweep %+v", report.Sweep)
	}
	ids := map[string]string{}
	for _, item := range report.Items {
		ids[item.ID] = item.Verdict
	}
	if ids["mean_all"] != verdictDiffers || ids["figH1"] != verdictNotRun {
		t.Errorf("verdicts %v", ids)
	}
}

func TestVerdict(t *testing.T) {
	none := Interval{math.NaN(), math.NaN()}
	for _, c := range []struct {
		name         string
		lo, hi, ours float64
		interval     Interval
		want         string
	}{
		{"equal as printed", 2.73, 2.73, 2.7349, none, verdictMatch},
		{"inside the range", 4.21, 4.23, 4.22, none, verdictMatch},
		{"covered by the interval", 2.73, 2.73, 2.60, Interval{2.5, 2.75}, verdictNoise},
		{"interval touches the range", 4.21, 4.23, 4.10, Interval{4.0, 4.21}, verdictNoise},
		{"outside the interval", 2.73, 2.73, 2.60, Interval{2.5, 2.7}, verdictDiffers},
		{"no interval", 2.73, 2.73, 2.60, none, verdictDiffers},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := verdict(comparison{rounding: lastDigit("2.73"), Lo: c.lo, Hi: c.hi, Ours: c.ours, Interval: c.interval}); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// edit changes a file of a run directory.
func edit(t *testing.T, dir, file, old, with string) {
	t.Helper()
	path := filepath.Join(dir, filepath.FromSlash(file))
	content := read(t, path)
	if !strings.Contains(content, old) {
		t.Fatalf("%s does not contain %q", file, old)
	}
	writeFile(t, path, strings.Replace(content, old, with, 1))
}

func TestLoadNamesTheFault(t *testing.T) {
	whole := t.TempDir()
	invent(t, synthetic.Small(), whole)
	first := strings.SplitN(read(t, whole, "similarity", "sat.csv"), "\n", 3)[1] // the row of resnet-s0
	cell := strings.Split(first, ",")[2]
	for _, c := range []struct{ name, file, old, with, want string }{
		{"missing file", "similarity/self.csv", "", "remove", "self.csv: no such file"},
		{"empty file", "similarity/accuracy.csv", "", "truncate", "accuracy.csv:1:1: file is empty"},
		{"missing column", "similarity/accuracy.csv", "model,n,top1", "model,n,top5", `accuracy.csv:1:1: no column "top1"`},
		{"column twice", "similarity/accuracy.csv", "model,n,top1", "model,n,n", `accuracy.csv:1:9: column "n" appears twice`},
		{"short row", "similarity/self.csv", "resnet-s0,", "resnet-s0\n,", "self.csv:2:1: row has 1 fields, the header 3"},
		{"bare quote", "similarity/self.csv", "resnet-s0", `res"net-s0`, "self.csv:2:4: bare"},
		{"not a number", "similarity/sat.csv", cell, "high", `sat.csv:2:` + strconv.Itoa(len("resnet-s0,")+len(strings.Split(first, ",")[1])+2) + `: resnet-s0, resnet-s1: "high" is not a number`},
		{"NaN in the matrix", "similarity/sat.csv", cell, "NaN", "undefined values are written as empty fields"},
		{"row order", "similarity/sat.csv", "\nresnet-s0", "\nresnet-s9", `sat.csv:2:1: row "resnet-s9" where the columns' order has "resnet-s0"`},
		{"asymmetric matrix", "similarity/sat.csv", cell, "1.5", "sat.csv: resnet-s0, resnet-s1: 1.5 and"},
		{"unknown model", "similarity/accuracy.csv", "resnet-s0", "resnet-s9", `accuracy.csv:2:1: model: "resnet-s9" is not in sat.csv`},
		{"duplicate model", "similarity/accuracy.csv", "resnet-s1", "resnet-s0", `accuracy.csv:3:1: model: "resnet-s0" appears twice`},
		{"accuracy as a fraction", "similarity/accuracy.csv", "", "fraction", "is not the per cent correct of 360 images"},
		{"unknown status", "similarity/pairs_undirected.csv", ",ok", ",fine", `status: "fine" is none of ok, small, floored, empty`},
		{"more fooled than shown", "similarity/pairs_undirected.csv", "resnet-s0,resnet-s1,", "resnet-s0,resnet-s1,1", "but the counts give"},
		{"counts of another run", "similarity/pairs.csv", "resnet-s0,resnet-s1,", "resnet-s0,resnet-s1,1", "the files are of different runs"},
		{"negative count", "similarity/self.csv", "resnet-s0,", "resnet-s0,-", "is below 0"},
		{"cluster below 1", "analysis/tab2_clusters.csv", "resnet-s0,", "resnet-s0,-", "tab2_clusters.csv:2:11: cluster: -"},
		{"negative distance", "analysis/spectral_distance.csv", ",0,", ",-1,", "spectral_distance.csv:2: "},
		{"falling eigenvalues", "analysis/spectral_eigenvalues.csv", "\n2,", "\n2,-", "spectral_eigenvalues.csv:3:3: eigenvalue:"},
		{"syntax of JSON", "analysis/clusters.json", `"affinity"`, `affinity`, "clusters.json:22:"},
		{"type in JSON", "run.json", `"classes": 10`, `"classes": "ten"`, "data.classes is a string, want int"},
		{"text after JSON", "run.json", "", "append", "text after the JSON value"},
		{"truncated JSON", "analysis/groups.json", "", "truncate", "groups.json:1:1: file ends inside the JSON value"},
		{"claim of another run", "analysis/groups.json", `"mean": `, `"mean": 1`, "the files are of different runs"},
		{"epsilon", "sweep/sweep.csv", "8/255", "8/0", `sweep.csv:2:1: epsilon: "8/0" is not a positive number or fraction`},
		{"epsilon without sweep", "sweep/groups.csv", "8/255", "9/255", "epsilon: 9/255 is not in sweep.csv"},
		{"epochs out of order", "models/vit-s0/curve.csv", "\n3,", "\n1,", "curve.csv:4:1: epoch: 1 after 2"},
		{"accuracy of a curve", "models/vit-s0/curve.csv", "0.", "55.", "curve.csv:2:3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(whole)); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, filepath.FromSlash(c.file))
			switch c.with {
			case "remove":
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			case "truncate":
				writeFile(t, path, "")
			case "append":
				writeFile(t, path, read(t, path)+"{}")
			case "fraction":
				content := read(t, path)
				row := strings.Split(strings.Split(content, "\n")[1], ",")
				v, err := strconv.ParseFloat(row[2], 64)
				if err != nil {
					t.Fatal(err)
				}
				writeFile(t, path, strings.Replace(content, row[2], analysis.FormatFloat(v/100), 1))
			default:
				edit(t, dir, c.file, c.old, c.with)
			}
			if c.name == "accuracy of a curve" { // lr may be anything; the fault is in the last column
				writeFile(t, path, "epoch,train_loss,val_top1\n1,0.5,97.5\n")
				c.want = "curve.csv:2:7: val_top1: 97.5 is not a fraction"
			}
			_, err := Load(dir)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if _, err := Write(context.Background(), dir, Options{}); err == nil {
				t.Error("a report was written")
			} else if _, err := os.Stat(filepath.Join(dir, "report.html")); err == nil {
				t.Error("report.html exists")
			}
		})
	}
}

// scored writes a run directory of counts alone.
func scored(t *testing.T, images int, c *analysis.Counts) string {
	t.Helper()
	dir := t.TempDir()
	scores, err := c.Score(analysis.DefaultFloor)
	if err != nil {
		t.Fatal(err)
	}
	similarity(t, dir, images, scores)
	return dir
}

func counts(images, correct, fooled int, names ...string) *analysis.Counts {
	c := analysis.NewCounts(names, images)
	for i := range names {
		for j := range names {
			c.NBoth[i][j], c.Fooled[i][j] = correct, fooled
		}
	}
	return c
}

func TestEdges(t *testing.T) {
	nobody := counts(200, 0, 0, "a", "b")
	for _, c := range []struct {
		name   string
		counts *analysis.Counts
		want   []string
	}{
		{"one model", counts(200, 150, 140, "alone"), []string{"Not run: there is no pair", "1 model,"}},
		{"two models", counts(200, 150, 140, "a", "b"), []string{"2 models"}},
		{"all equal", counts(200, 150, 150, "a", "b", "c"), []string{"3 models"}},
		{"undefined and floored pairs", threeModels(), []string{"1 of 3 pairs have no image", "no image that both models classify correctly",
			"<td>empty</td>", "1 of 3 pairs are at the floor", "<td>floored</td>"}},
		{"few images", counts(60, 50, 45, "a", "b"), []string{"fewer than 100 common images"}},
		{"weak attack", counts(200, 150, 3, "a", "b"), []string{"fools 2 models in fewer than 95 %"}},
		{"nobody correct", nobody, []string{"no correct image"}},
		{"markup in names", counts(200, 150, 30, `<b>&"x'`, "</script>", "{{.}}"), []string{"&lt;b&gt;&amp;", "{{.}}"}},
		{"letters beyond ASCII", counts(200, 150, 30, "modèle ε", "模型"), []string{"modèle ε", "模型"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := scored(t, c.counts.Images, c.counts)
			if _, err := Write(context.Background(), dir, Options{}); err != nil {
				t.Fatal(err)
			}
			page := read(t, dir, "report.html")
			for _, want := range c.want {
				if !strings.Contains(page, want) {
					t.Errorf("page lacks %q", want)
				}
			}
			for _, bad := range []string{"NaN", "Inf", "<b>&", "<no value>"} {
				if strings.Contains(strings.ReplaceAll(page, "Infinity", ""), bad) {
					t.Errorf("page contains %q", bad)
				}
			}
			// One closing tag per script element: a model's name must not end one.
			if got := strings.Count(page, "</script>"); got != 2 {
				t.Errorf("%d closing script tags", got)
			}
			texts(t, read(t, dir, "figures", "figD1_sat_matrix.svg"))
			var report jsonReport
			decodeJSON(t, read(t, dir, "report.json"), &report)
		})
	}
}

// TestManyModels draws a matrix that would be too large as single cells.
func TestManyModels(t *testing.T) {
	dir := scored(t, 500, manyModels(200))
	if _, err := Write(context.Background(), dir, Options{SkipPNG: true}); err != nil {
		t.Fatal(err)
	}
	page := read(t, dir, "report.html")
	if !strings.Contains(page, `<image id="cells"`) || len(page) > 5<<20 {
		t.Errorf("page of %d bytes", len(page))
	}
	if svg := read(t, dir, "figures", "figD1_sat_matrix.svg"); len(svg) > 3<<20 {
		t.Errorf("figure of %d bytes", len(svg))
	}
}

func TestWriteStopsWhenCancelled(t *testing.T) {
	dir := t.TempDir()
	invent(t, synthetic.Small(), dir)
	ctx, cancel := context.WithCancel(context.Background())
	var paths []string
	_, err := Write(ctx, dir, Options{SkipPNG: true, Progress: func(path string) {
		if paths = append(paths, path); len(paths) == 3 {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) || len(paths) != 3 {
		t.Errorf("%d files, then %v", len(paths), err)
	}
}

// The page of a thousand models can be sent by mail.
func TestThousandModels(t *testing.T) {
	if testing.Short() {
		t.Skip("takes ten seconds")
	}
	counts := manyModels(1000)
	scores, err := counts.Score(analysis.DefaultFloor)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	similarity(t, dir, counts.Images, scores)
	path, err := Write(context.Background(), dir, Options{SkipPNG: true})
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > 30e6 {
		t.Errorf("report.html has %d bytes, more than 30 MB", info.Size())
	}
}

func TestWriteFailure(t *testing.T) {
	dir := t.TempDir()
	invent(t, synthetic.Small(), dir)
	writeFile(t, filepath.Join(dir, "figures"), "a file where a folder is needed")
	if _, err := Write(context.Background(), dir, Options{}); err == nil || !strings.Contains(err.Error(), "figures") {
		t.Errorf("got %v", err)
	}
}

// A trend line that leaves the plot keeps its slope.
func TestTrendLineIsCutAlongItself(t *testing.T) {
	for _, c := range []struct {
		y, wantX, wantY [2]float64
		ok              bool
	}{
		{y: [2]float64{1, 3}, wantX: [2]float64{0, 4}, wantY: [2]float64{1, 3}, ok: true},
		{y: [2]float64{-2, 6}, wantX: [2]float64{1, 3}, wantY: [2]float64{0, 4}, ok: true},
		{y: [2]float64{6, 2}, wantX: [2]float64{2, 4}, wantY: [2]float64{4, 2}, ok: true},
		{y: [2]float64{5, 5}},
		{y: [2]float64{-1, -3}},
	} {
		x, y, ok := clipped([2]float64{0, 4}, c.y, 0, 4)
		if ok != c.ok || ok && (x != c.wantX || y != c.wantY) {
			t.Errorf("%v: x %v, y %v, %v; want %v, %v, %v", c.y, x, y, ok, c.wantX, c.wantY, c.ok)
		}
	}
}

func TestViridis(t *testing.T) {
	if viridis(0) != rgb(0x440154) || viridis(1) != rgb(0xfde725) || viridis(-3) != viridis(0) || viridis(7) != viridis(1) {
		t.Error("wrong ends")
	}
	if viridis(math.NaN()) != undefinedFill {
		t.Error("NaN has a colour of the palette")
	}
	// Lightness must rise all the way, or equal steps of the value would not look equal.
	before := -1.0
	for k := range 101 {
		c := viridis(float64(k) / 100)
		light := 0.2126*math.Pow(float64(c.R)/255, 2.2) + 0.7152*math.Pow(float64(c.G)/255, 2.2) + 0.0722*math.Pow(float64(c.B)/255, 2.2)
		if light <= before {
			t.Errorf("lightness %v at %d after %v", light, k, before)
		}
		before = light
	}
	// What the page replaces by its own colours must not occur in data.
	for k := range 1001 {
		for _, theme := range themed {
			if viridis(float64(k)/1000) == theme.color {
				t.Errorf("palette holds %s", theme.variable)
			}
		}
	}
}

func TestTicks(t *testing.T) {
	for _, c := range []struct {
		lo, hi float64
		want   string
	}{
		{0, 1, "0.0 0.2 0.4 0.6 0.8 1.0"},
		{1, 30, "10 20 30"},
		{20, 100, "20 40 60 80 100"},
		{0, 1.61, "0.0 0.5 1.0 1.5"},
		{90, 100, "90 92 94 96 98 100"},
		{0, 0.05, "0.00 0.01 0.02 0.03 0.04 0.05"},
	} {
		var got []string
		for _, tick := range ticks(c.lo, c.hi) {
			got = append(got, tick.label)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("ticks of [%v, %v]: %v, want %s", c.lo, c.hi, got, c.want)
		}
	}
}

func TestSwarmKeepsDotsApart(t *testing.T) {
	stream := rng.New(3, "swarm")
	var xs []vg.Length
	for range 300 {
		xs = append(xs, vg.Length(200*stream.Float64()))
	}
	slices.Sort(xs)
	const radius, half = vg.Length(1.5), vg.Length(40)
	rise, fits := swarm(xs, radius, half)
	if !fits {
		t.Fatal("300 dots do not fit")
	}
	for i := range xs {
		if rise[i] > half || rise[i] < -half {
			t.Errorf("dot %d outside its lane: %v", i, rise[i])
		}
		for j := range i {
			if dx, dy := xs[i]-xs[j], rise[i]-rise[j]; dx*dx+dy*dy < 4*radius*radius {
				t.Errorf("dots %d and %d overlap", j, i)
			}
		}
	}
	if _, fits := swarm(make([]vg.Length, 100), radius, 10); fits {
		t.Error("100 dots at one place fit into a lane of 20 points")
	}
}

func TestFormatting(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{formatP(0.0667), "0.0667"},
		{formatP(7.4e-6), "7.40\u00a0×\u00a010⁻⁶"},
		{formatP(math.NaN()), "undefined"},
		{plainP(7.4e-6), "0.0000074"},
		{plainP(0.0667), "0.067"},
		{plainP(1e-9), "less than 0.000001"},
		{thousands(1234567), "1,234,567"},
		{thousands(999), "999"},
		{thousands(-1234), "-1,234"},
		{score(math.NaN()), "–"},
		{score(-7.6), "−7.60"},
		{intervalText(Interval{-0.98, 1.3}), " [−0.98, 1.30]"},
		{duration(12.34), "12.3 s"},
		{duration(600), "10.0 min"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}

func FuzzParseTable(f *testing.F) {
	f.Add("model,n\na,1\n")
	f.Add("\ufeffmodel\n\"a\n\",,\n")
	f.Add("model,model\n")
	f.Fuzz(func(t *testing.T, content string) {
		table, err := parseTable("x.csv", strings.NewReader(content), "model")
		if err != nil {
			if !strings.HasPrefix(err.Error(), "x.csv:") {
				t.Errorf("error without position: %v", err)
			}
			return
		}
		for _, row := range table.rows {
			if len(row.fields) != len(table.columns) {
				t.Errorf("row of %d fields", len(row.fields))
			}
		}
	})
}

func FuzzParseEpsilon(f *testing.F) {
	for _, s := range []string{"8/255", "0.1", "8/0", "1e999", "-1", "/", "8/255/2", "nan"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if v, err := parseEpsilon(s); err == nil && !(v > 0 && !math.IsInf(v, 0)) {
			t.Errorf("%q gave %v", s, v)
		}
	})
}

// TestWithoutPaper: an experiment may ask not to be set beside the paper.
func TestWithoutPaper(t *testing.T) {
	dir := t.TempDir()
	invent(t, synthetic.Small(), dir)
	path := filepath.Join(dir, "run.json")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var info map[string]any
	if err := json.Unmarshal(text, &info); err != nil {
		t.Fatal(err)
	}
	info["without_paper"] = true
	writeJSON(t, path, info)
	if _, err := Write(t.Context(), dir, Options{SkipPNG: true}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"report.html", "report.md"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, unwanted := range []string{"Beside the paper", "Agreement with the clusters printed in the paper"} {
			if strings.Contains(string(text), unwanted) {
				t.Errorf("%s still has %q", name, unwanted)
			}
		}
	}
}

// TestSee: a report points to others, or to the commands that make them.
func TestSee(t *testing.T) {
	dir := t.TempDir()
	invent(t, synthetic.Small(), dir)
	path := filepath.Join(dir, "run.json")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var info map[string]any
	if err := json.Unmarshal(text, &info); err != nil {
		t.Fatal(err)
	}
	info["see"] = []OtherReport{{"What training changes", "training.toml", "../training/report.html"}, {"Which teacher?", "distill.toml", ""}}
	writeJSON(t, path, info)
	if _, err := Write(t.Context(), dir, Options{SkipPNG: true}); err != nil {
		t.Fatal(err)
	}
	for name, wanted := range map[string][]string{
		"report.html": {`<a href="../training/report.html">What training changes</a>`, "<code>sat run distill.toml</code>"},
		"report.md":   {"[What training changes](../training/report.html)", "`sat run distill.toml`"},
	} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range wanted {
			if !strings.Contains(string(text), want) {
				t.Errorf("%s lacks %s", name, want)
			}
		}
	}
}
