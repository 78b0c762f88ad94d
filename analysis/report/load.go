package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
)

// Load reads a run directory; doc.go lists the files and columns. The files of similarity/ must be there and agree with
// each other: a report made of files from different runs would be wrong in a way nobody can see. A missing optional
// file leaves its part of the result empty; a malformed one is an error that names file, line and column.
func Load(dir string) (*Run, error) {
	r := &Run{Dir: dir, Settings: map[string]settingMap{}}
	steps := []func(*Run) error{
		loadMatrix, loadAccuracy, loadSelf, loadPairs, loadDirected, checkMatrix, loadResized,
		loadInfo, loadMeta, loadFeatures, loadClusters, loadDistance, loadEigenvalues, loadKeywords, loadClusterInfo, orderModels,
		loadGroups, loadSweep, loadSweepGroups, loadCurves, readSections,
	}
	for _, step := range steps {
		if err := step(r); err != nil {
			return nil, fmt.Errorf("load run: %w", err)
		}
	}
	return r, nil
}

func (r *Run) path(parts ...string) string {
	return filepath.Join(append([]string{r.Dir}, parts...)...)
}

// lookup maps model names to their index.
func (r *Run) lookup() map[string]int {
	index := make(map[string]int, len(r.Models))
	for i := range r.Models {
		index[r.Models[i].Name] = i
	}
	return index
}

// modelRows calls f once for each row of a table with one row per model, and checks that every model has one.
func (r *Run) modelRows(t *table, f func(row tableRow, m *Model) error) error {
	index, seen := r.lookup(), make([]bool, len(r.Models))
	for _, row := range t.rows {
		i, ok := index[row.text("model")]
		if !ok {
			return row.fail("model", "%q is not in sat.csv", row.text("model"))
		}
		if seen[i] {
			return row.fail("model", "%q appears twice", row.text("model"))
		}
		seen[i] = true
		if err := f(row, &r.Models[i]); err != nil {
			return err
		}
	}
	for i, ok := range seen {
		if !ok {
			return fmt.Errorf("%s: no row for model %q", t.path, r.Models[i].Name)
		}
	}
	return nil
}

// readJSON decodes path into v and turns offsets into lines and columns. It reports whether the file exists.
func readJSON(path string, v any) (bool, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	decoder := json.NewDecoder(bytes.NewReader(b))
	err = decoder.Decode(v)
	if err == nil {
		if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
			line, column := position(b, decoder.InputOffset())
			return false, fmt.Errorf("%s:%d:%d: text after the JSON value", path, line, column)
		}
		return true, nil
	}
	offset := decoder.InputOffset()
	var syntax *json.SyntaxError
	var wrongType *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		offset = syntax.Offset
	case errors.As(err, &wrongType):
		offset = wrongType.Offset
		err = fmt.Errorf("%s is a %s, want %s", wrongType.Field, wrongType.Value, wrongType.Type)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		offset = int64(len(b))
		err = errors.New("file ends inside the JSON value")
	}
	line, column := position(b, offset)
	return false, fmt.Errorf("%s:%d:%d: %w", path, line, column, err)
}

func position(b []byte, offset int64) (line, column int) {
	before := b[:min(max(offset, 0), int64(len(b)))]
	return bytes.Count(before, []byte("\n")) + 1, len(before) - bytes.LastIndexByte(before, '\n')
}

func loadInfo(r *Run) error {
	path := r.path("run.json")
	if _, err := readJSON(path, &r.Info); err != nil {
		return err
	}
	index := r.lookup()
	for k, m := range r.Info.Models {
		i, ok := index[m.Model]
		if !ok {
			return fmt.Errorf("%s: models[%d]: %q is not in sat.csv", path, k, m.Model)
		}
		r.Models[i].Info = m
	}
	for section, values := range r.Info.Settings {
		r.Settings[section] = values
	}
	for name, values := range map[string]settingMap{"attack": r.Info.Attack, "similarity": r.Info.Similarity} {
		if len(values) > 0 {
			r.Settings[name] = values
		}
	}
	return nil
}

func loadMeta(r *Run) error {
	for _, name := range []string{"sat", "pairs_undirected"} {
		var values settingMap
		found, err := readJSON(r.path("similarity", name+".meta.json"), &values)
		if err != nil {
			return err
		}
		if found && !maps.Equal(values, r.Settings["similarity/sat.csv"]) {
			r.Settings["similarity/"+name+".csv"] = values
		}
	}
	return nil
}

// optionalTable is readTable for a file that may be missing: nil then.
func optionalTable(path string, required ...string) (*table, error) {
	t, err := readTable(path, required...)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return t, err
}

// nullable reads a JSON number; null and a missing key are NaN.
type nullable float64

func (v *nullable) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*v = nullable(math.NaN())
		return nil
	}
	return json.Unmarshal(b, (*float64)(v))
}

// orNaN returns *v, or NaN when the key was missing.
func orNaN(v *nullable) float64 {
	if v == nil {
		return math.NaN()
	}
	return float64(*v)
}

func loadCurves(r *Run) error {
	for i := range r.Models {
		m := &r.Models[i]
		t, err := optionalTable(r.path("models", m.Name, "curve.csv"), "epoch", "train_loss")
		if err != nil {
			return err
		}
		if t == nil {
			continue
		}
		for _, row := range t.rows {
			var e Epoch
			if e.Epoch, err = row.count("epoch", 0); err != nil {
				return err
			}
			if n := len(m.Curve); n > 0 && e.Epoch <= m.Curve[n-1].Epoch {
				return row.fail("epoch", "%d after %d", e.Epoch, m.Curve[n-1].Epoch)
			}
			var top1 float64
			for _, c := range []struct {
				column string
				to     *float64
			}{{"train_loss", &e.TrainLoss}, {"val_loss", &e.ValLoss}, {"val_top1", &top1}} {
				if *c.to, err = row.optional(c.column); err != nil {
					return err
				}
			}
			if top1 < 0 || top1 > 1 {
				return row.fail("val_top1", "%v is not a fraction between 0 and 1", top1)
			}
			e.ValTop1 = 100 * top1
			m.Curve = append(m.Curve, e)
		}
		if len(m.Curve) > 0 {
			r.Curves++
		}
	}
	return nil
}
