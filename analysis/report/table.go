package report

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"

	"sat/analysis"
)

// table is a CSV file in memory. It keeps the position of every field, so that an error can point at it.
type table struct {
	path    string
	columns []string
	index   map[string]int
	rows    []tableRow
}

type tableRow struct {
	table  *table
	fields []string
	line   []int // line and column (in bytes, from 1) at which each field starts
	column []int
}

// readTable reads path and checks that it has the required columns, in any order; others are kept too.
func readTable(path string, required ...string) (*table, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseTable(path, f, required...)
}

func parseTable(path string, r io.Reader, required ...string) (*table, error) {
	reader := csv.NewReader(r)
	reader.FieldsPerRecord = -1 // checked below, where the message can name both counts
	t := &table{path: path, index: map[string]int{}}
	for {
		fields, err := reader.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		var syntax *csv.ParseError
		if errors.As(err, &syntax) {
			return nil, fmt.Errorf("%s:%d:%d: %w", path, syntax.Line, syntax.Column, syntax.Err)
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		row := tableRow{table: t, fields: fields, line: make([]int, len(fields)), column: make([]int, len(fields))}
		for i := range fields {
			row.line[i], row.column[i] = reader.FieldPos(i)
		}
		if t.columns == nil {
			fields[0] = strings.TrimPrefix(fields[0], "\ufeff") // spreadsheet programs write a byte order mark
			t.columns = fields
			for i, name := range fields {
				if _, twice := t.index[name]; twice {
					return nil, row.errorf(i, "column %q appears twice", name)
				}
				t.index[name] = i
			}
			for _, name := range required {
				if _, ok := t.index[name]; !ok {
					return nil, fmt.Errorf("%s:1:1: no column %q (found %s)", path, name, strings.Join(fields, ", "))
				}
			}
			continue
		}
		if len(fields) != len(t.columns) {
			return nil, row.errorf(len(fields)-1, "row has %d fields, the header %d", len(fields), len(t.columns))
		}
		t.rows = append(t.rows, row)
	}
	if t.columns == nil {
		return nil, fmt.Errorf("%s:1:1: file is empty, a header is needed", path)
	}
	return t, nil
}

func (t *table) has(column string) bool { _, ok := t.index[column]; return ok }

// errorf names the file, line and column of a field.
func (r tableRow) errorf(field int, format string, args ...any) error {
	return fmt.Errorf("%s:%d:%d: %w", r.table.path, r.line[field], r.column[field], fmt.Errorf(format, args...))
}

func (r tableRow) text(column string) string { return r.fields[r.table.index[column]] }

// fail is errorf for a named column.
func (r tableRow) fail(column, format string, args ...any) error {
	return r.errorf(r.table.index[column], "%s: %w", column, fmt.Errorf(format, args...))
}

// count reads an integer of at least low.
func (r tableRow) count(column string, low int) (int, error) {
	v, err := strconv.Atoi(r.text(column))
	if err != nil {
		return 0, r.fail(column, "%q is not an integer", r.text(column))
	}
	if v < low {
		return 0, r.fail(column, "%d is below %d", v, low)
	}
	return v, nil
}

// number reads a finite number; an empty field is NaN, the undefined value.
func (r tableRow) number(column string) (float64, error) {
	i := r.table.index[column]
	v, err := parseNumber(r.fields[i])
	if err != nil {
		return 0, r.fail(column, "%w", err)
	}
	return v, nil
}

// optional is number for a column the file may not have: NaN then.
func (r tableRow) optional(column string) (float64, error) {
	if !r.table.has(column) {
		return math.NaN(), nil
	}
	return r.number(column)
}

func parseNumber(s string) (float64, error) {
	if s == "" {
		return math.NaN(), nil
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not a number", s)
	}
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return 0, fmt.Errorf("%q: undefined values are written as empty fields", s)
	}
	return v, nil
}

// readMatrix reads a square table: header "model,<names>", then one row per name in the same order.
func readMatrix(path string) (*analysis.Matrix, error) {
	t, err := readTable(path, "model")
	if err != nil {
		return nil, err
	}
	if t.columns[0] != "model" {
		return nil, fmt.Errorf("%s:1:1: the first column is %q, want \"model\"", path, t.columns[0])
	}
	names := t.columns[1:]
	if len(names) == 0 {
		return nil, fmt.Errorf("%s:1:1: no models", path)
	}
	if len(t.rows) != len(names) {
		return nil, fmt.Errorf("%s: %d rows for %d columns of models, want a square", path, len(t.rows), len(names))
	}
	m := analysis.NewMatrix(names)
	for i, row := range t.rows {
		if row.fields[0] != names[i] {
			return nil, row.errorf(0, "row %q where the columns' order has %q", row.fields[0], names[i])
		}
		for j := range names {
			v, err := parseNumber(row.fields[j+1])
			if err != nil {
				return nil, row.errorf(j+1, "%s, %s: %w", names[i], names[j], err)
			}
			m.Set(i, j, v)
		}
	}
	return m, nil
}
