package report

import (
	"math"
	"strconv"
	"strings"

	"sat/analysis"
)

// correlationsSection lists every correlation of the run beside the paper's.
var correlationsSection = &section{
	id: "correlations", nav: "Correlations", title: "All correlations",
	lead:    "Pearson's r of every scatter plot of this page. Pairs of models share models and are not independent, so a p over pairs overstates the evidence.",
	files:   []string{"correlations.csv"},
	command: "written by the analyses that have a scatter plot",
	read:    readCorrelations,
}

// correlationRow is a line of the table.
type correlationRow struct {
	id               string
	r, lo, hi, log10 float64
	n                int
	rPaper, pPaper   string
	verdict          string
}

func readCorrelations(r *Run) (*content, error) {
	t, _, err := r.analysisTable("correlations.csv", "id", "r", "ci_lo", "ci_hi", "p", "log10_p", "n", "r_paper", "p_paper", "verdict")
	if t == nil {
		return nil, err
	}
	csv := [][]string{{"id", "r", "ci_lo", "ci_hi", "p", "log10_p", "n", "r_paper", "p_paper", "verdict"}}
	out := &dataTable{Stem: "correlations", Label: "Correlations, ours and the paper's",
		Columns: columns("Figure", "#r", "p", "#n", "#r in the paper", "p in the paper", "Verdict")}
	for _, row := range t.rows {
		c := correlationRow{id: row.text("id"), rPaper: row.text("r_paper"), pPaper: row.text("p_paper"), verdict: row.text("verdict")}
		for name, to := range map[string]*float64{"r": &c.r, "ci_lo": &c.lo, "ci_hi": &c.hi, "log10_p": &c.log10} {
			if *to, err = row.number(name); err != nil {
				return nil, err
			}
		}
		if row.text("n") != "" {
			if c.n, err = row.count("n", 0); err != nil {
				return nil, err
			}
		}
		if math.IsNaN(c.log10) && math.Abs(c.r) == 1 && c.n > 2 {
			c.log10 = math.Inf(-1) // p is 0, whose logarithm has no number in a table
		}
		if drawn := r.scatters[c.id]; drawn != nil {
			if math.Abs(drawn.corr.R-c.r) > 1e-9 || drawn.corr.N != c.n {
				return nil, row.fail("r", "%v over %d points, but the points of %s give %v over %d: the files are of different runs",
					c.r, c.n, drawn.stem, drawn.corr.R, drawn.corr.N)
			}
		}
		r0, p0, n0 := "–", "–", "–"
		if !math.IsNaN(c.r) {
			r0, p0, n0 = score(c.r)+intervalText(Interval{c.lo, c.hi}), formatLogP(c.log10), thousands(c.n)
		}
		verdict := cellText{Text: "–"}
		if c.verdict != "" {
			verdict = badge(c.verdict)
			if !r.paperScale() && c.verdict != verdictNotRun {
				verdict.Badge = "other"
			}
		}
		out.Rows = append(out.Rows, append(cells(figureName(c.id), r0, p0, n0, minus(dash(c.rPaper)), dash(c.pPaper)), verdict))
		line := make([]string, len(csv[0]))
		for k, name := range csv[0] {
			line[k] = row.text(name)
		}
		csv = append(csv, line)
	}
	out.CSV = csvBytes(csv)
	return &content{blocks: []block{{Table: out}}}, nil
}

// figureName turns fig8a into Fig. 8a, and leaves names of our own alone.
func figureName(id string) string {
	rest, ok := strings.CutPrefix(id, "fig")
	if !ok || rest == "" {
		return id
	}
	if rest[0] >= 'A' && rest[0] <= 'Z' && len(rest) > 1 {
		return "Fig. " + rest[:1] + "." + rest[1:]
	}
	if _, err := strconv.Atoi(rest[:1]); err != nil {
		return id
	}
	return "Fig. " + rest
}

func formatLogP(log10p float64) string { return raisedPower(analysis.FormatP(log10p)) }
