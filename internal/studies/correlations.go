package studies

import (
	"errors"
	"io/fs"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"sat/analysis"
	"sat/analysis/paper"
)

// NamedCorrelation is a line of correlations.csv. ID is that of the paper's figure, or a name of our own.
type NamedCorrelation struct {
	ID string
	analysis.Correlation
}

var correlationHeader = []string{"id", "r", "ci_lo", "ci_hi", "p", "log10_p", "n", "r_paper", "p_paper", "verdict"}

// Correlations writes correlations.csv: ours beside those the paper prints. Lines that other studies have written into the
// file stay; what no study has computed is "not run".
func Correlations(f Folder, ours ...NamedCorrelation) error {
	lines := map[string][]string{}
	var others []string // in the file but not in the paper, in the order of the file
	before, err := ReadTable(filepath.Join(f.Dir, "correlations.csv"), correlationHeader...)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	default:
		for i := range before.Len() {
			line := make([]string, len(correlationHeader))
			for k, column := range correlationHeader {
				line[k] = before.Text(i, column)
			}
			lines[line[0]] = line
			others = append(others, line[0])
		}
	}
	printed := paper.Correlations()
	for _, c := range ours {
		line := []string{c.ID, number(c.R), number(c.CILo), number(c.CIHi), number(c.P), number(c.Log10P), strconv.Itoa(c.N), "", "", ""}
		if k := slices.IndexFunc(printed, func(p paper.Correlation) bool { return p.ID == c.ID }); k >= 0 {
			line[7], line[8], line[9] = printed[k].R, printed[k].P, verdict(c.Correlation, printed[k].R)
		}
		lines[c.ID] = line
		others = append(others, c.ID)
	}
	var rows [][]string
	var done []string
	for _, p := range printed {
		line := lines[p.ID]
		if line == nil {
			line = []string{p.ID, "", "", "", "", "", "", p.R, p.P, "not run"}
		}
		rows, done = append(rows, line), append(done, p.ID)
	}
	for _, id := range others {
		if !slices.Contains(done, id) {
			rows, done = append(rows, lines[id]), append(done, id)
		}
	}
	return f.table("correlations.csv", correlationHeader, rows)
}

// verdict compares r with the paper's, which is known to half a unit of its last digit.
func verdict(c analysis.Correlation, printed string) string {
	r, err := strconv.ParseFloat(printed, 64)
	if err != nil || math.IsNaN(c.R) {
		return "not run"
	}
	_, decimals, _ := strings.Cut(printed, ".")
	rounding := 0.5 * math.Pow10(-len(decimals))
	switch {
	case math.Abs(c.R-r) <= rounding:
		return "match"
	case c.CILo <= r+rounding && c.CIHi >= r-rounding: // false without an interval, which is NaN
		return "within noise"
	}
	return "differs"
}

// correlationFile is a correlation in JSON.
type correlationFile struct {
	N         int      `json:"n"`
	R         *float64 `json:"r"`
	P         *float64 `json:"p"`
	Log10P    *float64 `json:"log10_p"`
	CILo      *float64 `json:"ci_lo"`
	CIHi      *float64 `json:"ci_hi"`
	Spearman  *float64 `json:"spearman"`
	SpearmanP *float64 `json:"spearman_p"`
	Status    string   `json:"status"` // "ok", or why a number is null
}

func correlationOf(c analysis.Correlation) correlationFile {
	status := "ok"
	if c.Warning != "" {
		status = c.Warning
	}
	return correlationFile{c.N, Defined(c.R), Defined(c.P), Defined(c.Log10P), Defined(c.CILo), Defined(c.CIHi), Defined(c.Spearman),
		Defined(c.SpearmanP), status}
}
