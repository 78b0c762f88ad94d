package analysis

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// symmetryTolerance is how much the two entries of a pair may differ, relative to the larger (or absolutely below 1):
// enough for a matrix that was printed with ten digits, far below any difference that matters.
const symmetryTolerance = 1e-9

// checkNames refuses a list of model names that cannot serve as keys.
func checkNames(names []string) error {
	if len(names) == 0 {
		return errors.New("no models")
	}
	seen := make(map[string]int, len(names))
	for i, name := range names {
		if name == "" {
			return fmt.Errorf("model %d has no name", i+1)
		}
		if first, ok := seen[name]; ok {
			return fmt.Errorf("model name %q stands twice, as model %d and %d", name, first+1, i+1)
		}
		seen[name] = i
	}
	return nil
}

// Validate checks names and shape, and that no value is infinite. NaN is allowed: it marks an undefined pair.
func (m *Matrix) Validate() error {
	if err := checkNames(m.Names); err != nil {
		return err
	}
	if len(m.Values) != len(m.Names)*len(m.Names) {
		return fmt.Errorf("matrix of %d models holds %d values, want %d", len(m.Names), len(m.Values), len(m.Names)*len(m.Names))
	}
	for i := range m.Names {
		for j, v := range m.Row(i) {
			if math.IsInf(v, 0) {
				return fmt.Errorf("matrix entry (%s, %s) is infinite", m.Names[i], m.Names[j])
			}
		}
	}
	return nil
}

// checkPairs refuses a matrix with an undefined or asymmetric entry off the diagonal, by name.
func (m *Matrix) checkPairs() error {
	if err := m.Validate(); err != nil {
		return err
	}
	for i, a := range m.Names {
		for j, v := range m.Row(i) {
			if i != j && math.IsNaN(v) {
				return fmt.Errorf("matrix entry (%s, %s) is undefined: leave one of the two models out", a, m.Names[j])
			}
		}
	}
	return m.checkSymmetric()
}

// checkSymmetric refuses a matrix with an asymmetric entry off the diagonal, by name. Both entries of a pair may be
// undefined.
func (m *Matrix) checkSymmetric() error {
	if err := m.Validate(); err != nil {
		return err
	}
	for i, a := range m.Names {
		for j := i + 1; j < m.Len(); j++ {
			b, x, y := m.Names[j], m.At(i, j), m.At(j, i)
			if math.IsNaN(x) && math.IsNaN(y) {
				continue
			}
			if !(math.Abs(x-y) <= symmetryTolerance*max(1, math.Abs(x), math.Abs(y))) {
				return fmt.Errorf("matrix is not symmetric: (%s, %s) is %v and (%s, %s) is %v", a, b, x, b, a, y)
			}
		}
	}
	return nil
}

// Select returns the rows and columns of the given models, in that order.
func (m *Matrix) Select(names []string) (*Matrix, error) {
	if err := m.Validate(); err != nil {
		return nil, err
	}
	index, err := locate(names, m.Names)
	if err != nil {
		return nil, fmt.Errorf("matrix: %w", err)
	}
	out := NewMatrix(names)
	for i, a := range index {
		for j, b := range index {
			out.Set(i, j, m.At(a, b))
		}
	}
	return out, nil
}

// locate returns the index in have of every wanted name. The error lists all names that are missing.
func locate(want, have []string) ([]int, error) {
	if err := checkNames(want); err != nil {
		return nil, err
	}
	at := make(map[string]int, len(have))
	for i, name := range have {
		at[name] = i
	}
	index := make([]int, len(want))
	var missing []string
	for i, name := range want {
		k, ok := at[name]
		if !ok {
			missing = append(missing, strconv.Quote(name))
		}
		index[i] = k
	}
	if missing != nil {
		return nil, fmt.Errorf("%d of %d models missing: %s", len(missing), len(want), abbreviate(missing))
	}
	return index, nil
}

// abbreviate joins names and cuts a long list.
func abbreviate(names []string) string {
	const most = 8
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

// ReadMatrix parses a square CSV table: the header holds a title and the model names, every following line a model name
// and its values, in the same order. An empty cell is undefined and becomes NaN; any other cell must be a finite number.
// Space around cells is dropped.
func ReadMatrix(r io.Reader) (*Matrix, error) {
	cr := newCSVReader(r)
	header, err := cr.Read()
	if err != nil {
		return nil, fmt.Errorf("read matrix: header: %w", describeCSV(err))
	}
	names := trimAll(header[1:])
	if err := checkNames(names); err != nil {
		return nil, fmt.Errorf("read matrix: header: %w", err)
	}
	m := &Matrix{Names: names} // grows row by row: a long header alone must not reserve its square
	for i := 0; ; i++ {
		record, err := cr.Read()
		if errors.Is(err, io.EOF) {
			if i < len(names) {
				return nil, fmt.Errorf("read matrix: %d rows for %d columns; row %q is missing", i, len(names), names[i])
			}
			return m, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read matrix: %w", err)
		}
		line, _ := cr.FieldPos(0)
		record = trimAll(record)
		if i >= len(names) {
			return nil, fmt.Errorf("read matrix: line %d: row %q behind the last of %d columns", line, record[0], len(names))
		}
		if record[0] != names[i] {
			return nil, fmt.Errorf("read matrix: line %d is row %q where column %d is %q: rows and columns need the same order",
				line, record[0], i+1, names[i])
		}
		for j, cell := range record[1:] {
			v := undefined
			if cell != "" {
				v, err = strconv.ParseFloat(cell, 64)
				if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
					return nil, fmt.Errorf("read matrix: line %d, column %q: %q is not a finite number (leave an undefined cell empty)",
						line, names[j], cell)
				}
			}
			m.Values = append(m.Values, v)
		}
	}
}

// WriteCSV writes the format that [ReadMatrix] reads, with title in the corner and every digit of the values.
func (m *Matrix) WriteCSV(w io.Writer, title string) error {
	if err := m.Validate(); err != nil {
		return fmt.Errorf("write matrix: %w", err)
	}
	cw := csv.NewWriter(w)
	record := append([]string{title}, m.Names...)
	if err := cw.Write(record); err != nil {
		return fmt.Errorf("write matrix: %w", err)
	}
	for i, name := range m.Names {
		record[0] = name
		for j, v := range m.Row(i) {
			record[j+1] = FormatFloat(v)
		}
		if err := cw.Write(record); err != nil {
			return fmt.Errorf("write matrix: %w", err)
		}
	}
	cw.Flush()
	return cw.Error()
}

// FormatFloat prints a number with the fewest digits that read back equal, and nothing for NaN.
func FormatFloat(v float64) string {
	if math.IsNaN(v) {
		return ""
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}

// newCSVReader accepts a leading byte order mark, which spreadsheet programs write.
func newCSVReader(r io.Reader) *csv.Reader {
	br := bufio.NewReader(r)
	if mark, err := br.Peek(3); err == nil && bytes.Equal(mark, []byte("\xef\xbb\xbf")) {
		_, _ = br.Discard(3) // cannot fail: the three bytes are in the buffer
	}
	return csv.NewReader(br)
}

// describeCSV names the commonest fault: there is nothing to read.
func describeCSV(err error) error {
	if errors.Is(err, io.EOF) {
		return errors.New("the table is empty")
	}
	return err
}
