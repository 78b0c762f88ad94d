package studies

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"sat/analysis"
	"sat/internal/store"
)

// schemaVersion is that of the JSON files written here.
const schemaVersion = 1

// Meta is the provenance beside a result file, in NAME.meta.json: what was measured, how, and on how much.
// Times and host names are not in it, so that equal inputs give equal bytes.
type Meta map[string]any

// Folder is where a study's files go, and what is known of all its inputs.
type Folder struct {
	Dir  string
	Meta Meta
}

// with returns a folder whose files also carry the settings of a study.
func (f Folder) with(study string, settings map[string]any) Folder {
	meta := maps.Clone(f.Meta)
	if meta == nil {
		meta = Meta{}
	}
	meta[study] = settings
	return Folder{f.Dir, meta}
}

func (f Folder) table(name string, header []string, rows [][]string) error {
	return WriteTable(filepath.Join(f.Dir, name), f.Meta, header, rows)
}

func (f Folder) matrix(name string, m *analysis.Matrix) error {
	return WriteMatrix(filepath.Join(f.Dir, name), f.Meta, m)
}

func (f Folder) json(name string, value any) error {
	return store.WriteJSON(filepath.Join(f.Dir, name), value)
}

// WriteTable writes header and rows as CSV, and meta beside it unless it is nil.
func WriteTable(path string, meta Meta, header []string, rows [][]string) error {
	return writeCSV(path, meta, func(w io.Writer) error {
		c := csv.NewWriter(w)
		if err := c.Write(header); err != nil {
			return err
		}
		return c.WriteAll(rows)
	})
}

// WriteMatrix writes a square table with the model names as header and first column.
func WriteMatrix(path string, meta Meta, m *analysis.Matrix) error {
	return writeCSV(path, meta, func(w io.Writer) error { return m.WriteCSV(w, "model") })
}

func writeCSV(path string, meta Meta, write func(io.Writer) error) error {
	if err := store.WriteFile(path, write); err != nil || meta == nil {
		return err
	}
	return store.WriteJSON(strings.TrimSuffix(path, ".csv")+".meta.json", meta)
}

// Defined turns NaN and infinities, which JSON lacks, into null.
func Defined(v float64) *float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	return &v
}

// number prints a value for a CSV file; infinities are as undefined there as NaN.
func number(v float64) string {
	if math.IsInf(v, 0) {
		return ""
	}
	return analysis.FormatFloat(v)
}

// read opens a file for one of the readers of package analysis and puts its name in front of what that complains about.
func read[T any](path string, parse func(io.Reader) (T, error)) (v T, err error) {
	f, err := os.Open(path)
	if err != nil {
		return v, err
	}
	defer f.Close()
	if v, err = parse(f); err != nil {
		return v, fmt.Errorf("%s: %w", path, err)
	}
	return v, nil
}

// ReadMatrix reads a square table such as sat.csv.
func ReadMatrix(path string) (*analysis.Matrix, error) { return read(path, analysis.ReadMatrix) }

// ReadFeatures reads a table of components and puts it into the order of models.
func ReadFeatures(path string, models []string) (*analysis.Features, error) {
	return read(path, func(r io.Reader) (*analysis.Features, error) {
		f, err := analysis.ReadFeatures(r)
		if err != nil {
			return nil, err
		}
		return f.Select(models)
	})
}

// Labels are the clusters of models.
type Labels struct {
	Models []string
	Labels []int // from 1
}

// ReadLabels reads clusters such as tab2_clusters.csv.
func ReadLabels(path string) (*Labels, error) {
	return read(path, func(r io.Reader) (l *Labels, err error) {
		l = &Labels{}
		l.Models, l.Labels, err = analysis.ReadLabels(r)
		return l, err
	})
}

// Of returns the labels of the given models, in that order.
func (l *Labels) Of(models []string) ([]int, error) {
	return analysis.SelectLabels(models, l.Models, l.Labels)
}

// find returns the label of a model, 0 if it has none.
func (l *Labels) find(model string) int {
	if l == nil {
		return 0
	}
	if k := slices.Index(l.Models, model); k >= 0 {
		return l.Labels[k]
	}
	return 0
}

// Table is a CSV file with named columns.
type Table struct {
	path    string
	columns []string
	rows    [][]string
	lines   []int // of the file
}

// ReadTable reads a CSV file that has at least the given columns, in any order and among others.
func ReadTable(path string, columns ...string) (*Table, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseTable(path, f, columns...)
}

func parseTable(path string, r io.Reader, columns ...string) (*Table, error) {
	t := &Table{path: path}
	reader := csv.NewReader(r)
	for {
		record, err := reader.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		for k, cell := range record {
			record[k] = strings.TrimSpace(cell)
		}
		if t.columns == nil {
			record[0] = strings.TrimPrefix(record[0], "\ufeff") // which spreadsheet programs write
			t.columns = record
			continue
		}
		line, _ := reader.FieldPos(0)
		t.rows, t.lines = append(t.rows, record), append(t.lines, line)
	}
	if t.columns == nil {
		return nil, fmt.Errorf("%s is empty", path)
	}
	for k, name := range t.columns {
		if slices.Index(t.columns, name) < k {
			return nil, fmt.Errorf("%s:1: column %q stands twice", path, name)
		}
	}
	for _, name := range columns {
		if !t.Has(name) {
			return nil, fmt.Errorf("%s:1: no column %q; there are %s", path, name, strings.Join(t.columns, ", "))
		}
	}
	return t, nil
}

// Columns lists the names of the columns.
func (t *Table) Columns() []string { return t.columns }

// Has reports whether there is such a column.
func (t *Table) Has(column string) bool { return slices.Contains(t.columns, column) }

// Len returns the number of rows.
func (t *Table) Len() int { return len(t.rows) }

// Text returns a cell.
func (t *Table) Text(row int, column string) string {
	return t.rows[row][slices.Index(t.columns, column)]
}

// Number returns a cell that must hold a finite number.
func (t *Table) Number(row int, column string) (float64, error) {
	text := t.Text(row, column)
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		return 0, t.Fail(row, "%s is %q, not a finite number", column, text)
	}
	return v, nil
}

// Count returns a cell that must hold a whole number from 0.
func (t *Table) Count(row int, column string) (int, error) {
	text := t.Text(row, column)
	v, err := strconv.Atoi(text)
	if err != nil || v < 0 {
		return 0, t.Fail(row, "%s is %q, not a whole number from 0", column, text)
	}
	return v, nil
}

// Fail describes what is wrong with a row.
func (t *Table) Fail(row int, format string, args ...any) error {
	return fmt.Errorf("%s:%d: %s", t.path, t.lines[row], fmt.Sprintf(format, args...))
}

// ByModel returns the row of each model; a model that stands twice is an error.
func (t *Table) ByModel(column string) (map[string]int, error) {
	rows := map[string]int{}
	for i := range t.rows {
		name := t.Text(i, column)
		if name == "" {
			return nil, t.Fail(i, "%s is empty", column)
		}
		if first, ok := rows[name]; ok {
			return nil, t.Fail(i, "%s %q stands in line %d already", column, name, t.lines[first])
		}
		rows[name] = i
	}
	return rows, nil
}

// ReadAccuracy reads accuracy.csv, columns model and top1, in the order of models.
func ReadAccuracy(path string, models []string) ([]float64, error) {
	t, err := ReadTable(path, "model", "top1")
	if err != nil {
		return nil, err
	}
	rows, err := t.ByModel("model")
	if err != nil {
		return nil, err
	}
	out := make([]float64, len(models))
	for i, name := range models {
		row, ok := rows[name]
		if !ok {
			return nil, fmt.Errorf("%s: no accuracy of %s", path, name)
		}
		if out[i], err = t.Number(row, "top1"); err != nil {
			return nil, err
		}
	}
	return out, nil
}
