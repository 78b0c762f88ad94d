package studies

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"

	"sat/analysis"
)

// ColumnCorrelation is what `sat analyze correlate` prints; undefined or infinite numbers are null.
type ColumnCorrelation struct {
	SchemaVersion int      `json:"schema_version"`
	R             *float64 `json:"r"`
	P             *float64 `json:"p"`
	Log10P        *float64 `json:"log10_p"`
	N             int      `json:"n"`
	CILo          *float64 `json:"ci_lo"`
	CIHi          *float64 `json:"ci_hi"`
	Spearman      *float64 `json:"spearman"`
	SpearmanP     *float64 `json:"spearman_p"`
	Excluded      int      `json:"excluded"` // rows with an empty cell
	// Mantel permutes models, which pairs share; null unless the rows are all pairs of at least three models.
	Mantel *mantelFile `json:"mantel"`
	Status string      `json:"status"` // "ok", or why a number is null
}

// Correlate relates two columns of a table. Where columns a and b say that its rows are all pairs of models, models are
// permuted too; no permutations: not.
func Correlate(ctx context.Context, path, xName, yName string, o analysis.MantelOptions) (*ColumnCorrelation, error) {
	t, err := ReadTable(path, xName, yName)
	if err != nil {
		return nil, err
	}
	var x, y []float64
	var kept []int
	out := &ColumnCorrelation{SchemaVersion: schemaVersion, Status: "ok"}
	for i := range t.Len() {
		if t.Text(i, xName) == "" || t.Text(i, yName) == "" {
			out.Excluded++
			continue
		}
		u, err := t.Number(i, xName)
		if err != nil {
			return nil, err
		}
		v, err := t.Number(i, yName)
		if err != nil {
			return nil, err
		}
		x, y, kept = append(x, u), append(y, v), append(kept, i)
	}
	if len(x) == 0 {
		return nil, errors.New(path + ": no row has a number in both columns")
	}
	c, err := analysis.Correlate(x, y, 0.95)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if c.Warning != "" {
		out.Status = c.Warning
	}
	out.R, out.P, out.Log10P, out.N, out.CILo, out.CIHi = Defined(c.R), Defined(c.P), Defined(c.Log10P), c.N, Defined(c.CILo), Defined(c.CIHi)
	out.Spearman, out.SpearmanP = Defined(c.Spearman), Defined(c.SpearmanP)
	if o.Permutations == 0 || math.IsNaN(c.R) {
		return out, nil
	}
	a, b, ok := pairMatrices(t, kept, x, y)
	if !ok {
		return out, nil
	}
	test, err := analysis.Mantel(ctx, a, b, o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	out.Mantel = &mantelFile{test.R, test.P, test.Permutations}
	return out, nil
}

// pairMatrices arranges two columns as matrices, if the rows are all unordered pairs of at least three models.
func pairMatrices(t *Table, rows []int, x, y []float64) (a, b *analysis.Matrix, ok bool) {
	if !t.Has("a") || !t.Has("b") || len(rows) < 3 {
		return nil, nil, false
	}
	index := map[string]int{}
	var names []string
	for _, i := range rows {
		for _, column := range []string{"a", "b"} {
			name := t.Text(i, column)
			if _, known := index[name]; !known {
				index[name] = len(names)
				names = append(names, name)
			}
		}
	}
	n := len(names)
	if len(rows) != n*(n-1)/2 || slices.Contains(names, "") {
		return nil, nil, false
	}
	a, b = analysis.NewMatrix(names), analysis.NewMatrix(names)
	seen := map[string]bool{}
	for k, i := range rows {
		u, v := index[t.Text(i, "a")], index[t.Text(i, "b")]
		key := strconv.Itoa(min(u, v)) + "," + strconv.Itoa(max(u, v))
		if u == v || seen[key] {
			return nil, nil, false
		}
		seen[key] = true
		a.Set(u, v, x[k])
		a.Set(v, u, x[k])
		b.Set(u, v, y[k])
		b.Set(v, u, y[k])
	}
	return a, b, true
}
