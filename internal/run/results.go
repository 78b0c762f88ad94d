package run

import (
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/sbinet/npyio"
	"gonum.org/v1/gonum/mat"

	"sat/analysis"
	"sat/internal/store"
	"sat/internal/studies"
)

// forget removes results of an earlier run that the experiment does not ask for any more, so that no report shows them. A
// folder that only command line flags name may hold anything and is left alone.
func (r *runner) forget(dir string, names ...string) error {
	if r.Resolved == nil {
		return nil
	}
	for _, name := range names {
		path := filepath.Join(dir, name)
		for _, file := range []string{path, strings.TrimSuffix(path, ".csv") + ".meta.json"} {
			if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// accuracy is the clean accuracy of one model.
type accuracy struct {
	model      string
	n, correct int
	unknown    bool // without labels nobody can say
}

func (a accuracy) percent() float64 {
	if a.unknown {
		return math.NaN()
	}
	return 100 * float64(a.correct) / float64(a.n)
}

// writeScores puts the result files of the similarity stage into dir.
func writeScores(dir string, meta studies.Meta, s *analysis.Scores, accuracies []accuracy) error {
	in := func(name string) string { return filepath.Join(dir, name) }
	matrix := s.Matrix()
	if err := studies.WriteMatrix(in("sat.csv"), meta, matrix); err != nil {
		return err
	}
	n := matrix.Len()
	err := store.WriteFile(in("sat.npy"), func(w io.Writer) error {
		return npyio.Write(w, mat.NewDense(n, n, matrix.Values))
	})
	if err != nil {
		return err
	}

	var rows [][]string
	for _, d := range s.Directed {
		rows = append(rows, []string{d.Source, d.Target, strconv.Itoa(d.NBoth), strconv.Itoa(d.Fooled)})
	}
	if err := studies.WriteTable(in("pairs.csv"), meta, []string{"source", "target", "n_both", "n_fooled"}, rows); err != nil {
		return err
	}

	number := analysis.FormatFloat
	rows = nil
	for _, p := range s.Pairs {
		rows = append(rows, []string{p.A, p.B, strconv.Itoa(p.NBoth), strconv.Itoa(p.FooledAB), strconv.Itoa(p.FooledBA),
			number(p.Percent), number(p.SAT), number(p.CILo), number(p.CIHi), string(p.Status)})
	}
	header := []string{"a", "b", "n_both", "fooled_ab", "fooled_ba", "percent", "sat", "ci_lo", "ci_hi", "status"}
	if err := studies.WriteTable(in("pairs_undirected.csv"), meta, header, rows); err != nil {
		return err
	}

	rows = nil
	for _, c := range s.Self {
		rows = append(rows, []string{c.Model, strconv.Itoa(c.N), strconv.Itoa(c.Fooled), number(c.Percent), number(c.SAT), string(c.Status)})
	}
	if err := studies.WriteTable(in("self.csv"), meta, []string{"model", "n_both", "n_fooled", "percent", "sat", "status"}, rows); err != nil {
		return err
	}

	rows = nil
	for _, a := range accuracies {
		rows = append(rows, []string{a.model, strconv.Itoa(a.n), number(a.percent())})
	}
	return studies.WriteTable(in("accuracy.csv"), meta, []string{"model", "n", "top1"}, rows)
}
