package report

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sat/internal/synthetic"
)

// TestResizedPairs: what resizing alone does stands among the warnings and among the pairs to treat with care.
func TestResizedPairs(t *testing.T) {
	dir := scored(t, 200, counts(200, 150, 30, "a", "b"))
	file := filepath.Join(dir, "similarity", "resize_only.csv")
	const header = "source,target,n_both,n_wrong,status\n"
	writeFile(t, file, header+"a,b,150,1,ok\nb,a,150,6,resize\n")
	if _, err := Write(t.Context(), dir, Options{}); err != nil {
		t.Fatal(err)
	}
	page := read(t, dir, "report.html")
	for _, want := range []string{"1 of 2 ordered pairs", "at most 4.0 %", "<td>b, a</td><td>resize</td>", "6 without an attack", "similarity/resize_only.csv"} {
		if !strings.Contains(page, want) {
			t.Errorf("page lacks %q", want)
		}
	}
	if text := read(t, dir, "report.md"); !strings.Contains(text, "1 ordered pair with status resize.") {
		t.Error("report.md does not tell")
	}
	for row, want := range map[string]string{
		"a,c,150,1,ok\n":             `"c" is not in sat.csv`,
		"a,b,149,1,ok\n":             "different runs",
		"a,b,150,151,ok\n":           "151 of 150",
		"a,b,150,1,\na,b,150,1,ok\n": "appears twice",
		"a,a,150,1,ok\n":             "of one model",
		"a,b,150,-1,ok\n":            "below 0",
		"a,b,150\n":                  "3 fields",
		"a,b,some,1,ok\n":            "some",
	} {
		writeFile(t, file, header+row)
		if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "resize_only.csv") {
			t.Errorf("%q: %v, want %q", row, err, want)
		}
	}
}

// loaded are the files that Load itself reads, below the run directory.
var loaded = []string{
	"similarity/sat.csv", "similarity/accuracy.csv", "similarity/self.csv", "similarity/pairs_undirected.csv", "similarity/pairs.csv",
	"similarity/resize_only.csv", "features.csv", "run.json", "similarity/sat.meta.json", "analysis/tab2_clusters.csv",
	"analysis/spectral_distance.csv", "analysis/spectral_eigenvalues.csv", "analysis/tab2_keywords.csv", "analysis/clusters.json",
	"analysis/groups.json", "sweep/sweep.csv", "sweep/groups.csv", "models/vit-s0/curve.csv",
}

// FuzzLoad: a file of any content is refused by an error that names a file, or gives a run of which a page can be made.
func FuzzLoad(f *testing.F) {
	dir := f.TempDir()
	invent(f, synthetic.Small(), dir)
	whole := make([]string, len(loaded))
	for k, name := range loaded {
		content, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
		if err != nil && !os.IsNotExist(err) {
			f.Fatal(err)
		}
		whole[k] = string(content)
		f.Add(uint8(k), whole[k])
		if lines := strings.SplitAfter(whole[k], "\n"); len(lines) > 3 {
			f.Add(uint8(k), strings.Join(slices.Delete(slices.Clone(lines), 1, 2), ""))
		}
	}
	f.Add(uint8(slices.Index(loaded, "similarity/resize_only.csv")), "source,target,n_both,n_wrong\nresnet-s0,vit-s0,0,0\n")
	f.Fuzz(func(t *testing.T, k uint8, content string) {
		at := int(k) % len(loaded)
		path := filepath.Join(dir, filepath.FromSlash(loaded[at]))
		writeFile(t, path, content)
		defer func() {
			if whole[at] == "" {
				if err := os.Remove(path); err != nil {
					t.Error(err)
				}
				return
			}
			writeFile(t, path, whole[at])
		}()
		r, err := Load(dir)
		if err != nil {
			if !strings.Contains(err.Error(), ".csv") && !strings.Contains(err.Error(), ".json") {
				t.Errorf("the error names no file: %v", err)
			}
			return
		}
		for _, w := range r.warnings() {
			if strings.Contains(w, "NaN") && !strings.Contains(content, "NaN") {
				t.Errorf("warning %q", w)
			}
		}
		if _, err := compare(r); err != nil {
			t.Errorf("comparison with the paper: %v", err)
		}
	})
}
