package run

import (
	"os"
	"path/filepath"
	"testing"

	"sat/internal/data"
	"sat/internal/rng"
)

// TestBenchAnalysis: every task runs, the ensembles are those of the definition, and their logits do not stay behind.
func TestBenchAnalysis(t *testing.T) {
	const images, classes = 30, 12
	job := AnalysisBench{Models: []int{20}, Images: images, Classes: classes, Rounds: 1, Tasks: AnalysisTasks, Scratch: t.TempDir()}
	// A file of another shape is replaced.
	must(t, data.WriteNPY(filepath.Join(job.logits(), "model07.npy"), make([]float32, 2*classes), 2, classes))
	found := map[string]AnalysisResult{}
	must(t, BenchAnalysis(t.Context(), job, func(r AnalysisResult) { found[r.Task] = r }))
	for _, task := range AnalysisTasks {
		if r, ok := found[task]; !ok || !(r.Seconds > 0) {
			t.Errorf("%s: %+v", task, r)
		}
	}

	random, wrong := rng.New(0, "bench/labels"), 0
	for i := range images {
		label := random.IntN(classes)
		var rows [ensembleModels][]float32
		for m := range rows {
			rows[m] = make([]float32, classes)
			benchLogits(rows[m], m, i, label)
		}
		for a := range rows {
			for b := a + 1; b < len(rows); b++ {
				best := 0
				for c := range classes {
					if float64(rows[a][c])+float64(rows[b][c]) > float64(rows[a][best])+float64(rows[b][best]) {
						best = c
					}
				}
				if best != label {
					wrong++
				}
			}
		}
	}
	if got := found["ensembles"].Value; got != float64(wrong) || wrong == 0 {
		t.Errorf("%v wrong answers, want %d", got, wrong)
	}
	if _, err := os.Stat(job.logits()); !os.IsNotExist(err) {
		t.Errorf("the logits are still there: %v", err)
	}
}

// TestDistinct: one row for each pattern, with the mean of its targets.
func TestDistinct(t *testing.T) {
	rows, means := distinct([]uint8{0, 1, 1, 1, 0, 1, 0, 0}, 2, []float64{1, 5, 3, 7})
	if string(rows) != string([]uint8{0, 1, 1, 1, 0, 0}) || len(means) != 3 || means[0] != 2 || means[1] != 5 || means[2] != 7 {
		t.Errorf("%v %v", rows, means)
	}
}
