package report

import (
	"math"
	"strings"
	"testing"

	"sat/internal/synthetic"
)

// TestEigenvalueFigure: with as many clusters as models there is no gap, and the figure says so instead of a number.
func TestEigenvalueFigure(t *testing.T) {
	dir := t.TempDir()
	invent(t, synthetic.Small(), dir)
	r, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if alt := eigenvalueFigure(r).Alt; !strings.Contains(alt, "The gap after eigenvalue") || strings.Contains(alt, "NaN") {
		t.Errorf("%q", alt)
	}
	r.Clusters.K, r.Clusters.Eigengap = len(r.Models), math.NaN()
	f := eigenvalueFigure(r)
	if !strings.Contains(f.Alt, "there is no gap") || strings.Contains(f.Alt, "NaN") {
		t.Errorf("%q", f.Alt)
	}
	svg, err := f.SVG()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(svg), "NaN") || strings.Contains(string(svg), "gap ") {
		t.Error("the figure shows a gap that does not exist")
	}
}
