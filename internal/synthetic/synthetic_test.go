package synthetic

import (
	"math"
	"os"
	"path/filepath"
	"testing"

	"sat/analysis"
	"sat/internal/studies"
)

func TestPaperHasItsStructure(t *testing.T) {
	dir := t.TempDir()
	z := Paper()
	if testing.Short() {
		z.Studies = false
	}
	if err := z.Write(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	sat, err := studies.ReadMatrix(filepath.Join(dir, "similarity", "sat.csv"))
	if err != nil {
		t.Fatal(err)
	}
	var inside, outside []float64
	for i := range z.Models {
		for j := range i {
			if z.Models[i].Cluster == z.Models[j].Cluster {
				inside = append(inside, sat.At(i, j))
			} else {
				outside = append(outside, sat.At(i, j))
			}
		}
	}
	in, out := mean(inside), mean(outside)
	all := mean(append(inside, outside...))
	t.Logf("mean SAT %.2f: %.2f inside the planted clusters, %.2f outside", all, in, out)
	if len(z.Models) != 69 || in-out < 0.5 || math.Abs(all-2.73) > 0.4 {
		t.Errorf("%d models, mean SAT %v inside the planted clusters and %v outside, want a difference and a mean near 2.73", len(z.Models), in, out)
	}
	accuracy, err := studies.ReadAccuracy(filepath.Join(dir, "similarity", "accuracy.csv"), sat.Names)
	if err != nil {
		t.Fatal(err)
	}
	if a := mean(accuracy); a < 70 || a > 90 {
		t.Errorf("mean accuracy %v %%", a)
	}
	labels, err := studies.ReadLabels(filepath.Join(dir, "analysis", "tab2_clusters.csv"))
	if err != nil {
		t.Fatal(err)
	}
	found, err := labels.Of(sat.Names)
	if err != nil {
		t.Fatal(err)
	}
	var planted []int
	for _, m := range z.Models {
		planted = append(planted, m.Cluster)
	}
	if a, err := analysis.Agree(found, planted); err != nil || a.ARI < 0.9 {
		t.Errorf("the planted clusters are found with ARI %v, %v", a.ARI, err)
	}
}

func mean(v []float64) float64 {
	sum := 0.0
	for _, x := range v {
		sum += x
	}
	return sum / float64(len(v))
}

func TestEqualSeedsGiveEqualBytes(t *testing.T) {
	one, two := t.TempDir(), t.TempDir()
	for _, dir := range []string{one, two} {
		if err := Small().Write(t.Context(), dir); err != nil {
			t.Fatal(err)
		}
	}
	files := 0
	err := filepath.WalkDir(one, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		files++
		name, err := filepath.Rel(one, path)
		if err != nil {
			return err
		}
		a, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		b, err := os.ReadFile(filepath.Join(two, name))
		if err != nil {
			return err
		}
		if string(a) != string(b) {
			t.Errorf("%s differs", name)
		}
		return nil
	})
	if err != nil || files < 25 {
		t.Errorf("%d files, %v", files, err)
	}
}
