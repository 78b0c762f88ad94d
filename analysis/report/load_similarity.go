package report

import (
	"errors"
	"fmt"
	"io/fs"
	"math"

	"sat/analysis"
)

func loadMatrix(r *Run) error {
	m, err := readMatrix(r.path("similarity", "sat.csv"))
	if err != nil {
		return err
	}
	r.SAT = m
	r.Models = make([]Model, m.Len())
	for i, name := range m.Names {
		r.Models[i].Name = name
	}
	return nil
}

func loadAccuracy(r *Run) error {
	t, err := readTable(r.path("similarity", "accuracy.csv"), "model", "n", "top1")
	if err != nil {
		return err
	}
	return r.modelRows(t, func(row tableRow, m *Model) (err error) {
		if m.Images, err = row.count("n", 1); err != nil {
			return err
		}
		if m.Top1, err = row.number("top1"); err != nil {
			return err
		}
		if math.IsNaN(m.Top1) {
			return nil // a run without labels
		}
		// Per cent of n images is a whole number of images; a fraction in [0,1] almost never is one.
		correct := m.Top1 / 100 * float64(m.Images)
		if !(m.Top1 >= 0 && m.Top1 <= 100) || math.Abs(correct-math.Round(correct)) > 1e-6*float64(m.Images) {
			return row.fail("top1", "%v is not the per cent correct of %d images", m.Top1, m.Images)
		}
		return nil
	})
}

func loadSelf(r *Run) error {
	t, err := readTable(r.path("similarity", "self.csv"), "model", "n_both", "n_fooled")
	if err != nil {
		return err
	}
	return r.modelRows(t, func(row tableRow, m *Model) error {
		c, err := selfCount(row)
		if err != nil {
			return err
		}
		c.Model = m.Name
		if c.N > m.Images {
			return row.fail("n_both", "%d images, but accuracy.csv has only %d", c.N, m.Images)
		}
		m.Self = c
		return nil
	})
}

// selfCount reads the columns n_both and n_fooled of a diagonal entry.
func selfCount(row tableRow) (c analysis.SelfCount, err error) {
	if c.N, err = row.count("n_both", 0); err != nil {
		return c, err
	}
	if c.Fooled, err = row.count("n_fooled", 0); err != nil {
		return c, err
	}
	if c.Fooled > c.N {
		return c, row.fail("n_fooled", "%d of %d images", c.Fooled, c.N)
	}
	c.Percent = math.NaN()
	if c.N > 0 {
		c.Percent = 100 * float64(c.Fooled) / float64(c.N)
	}
	return c, nil
}

func loadPairs(r *Run) error {
	t, err := readTable(r.path("similarity", "pairs_undirected.csv"),
		"a", "b", "n_both", "fooled_ab", "fooled_ba", "percent", "sat", "ci_lo", "ci_hi", "status")
	if err != nil {
		return err
	}
	n := len(r.Models)
	r.Pairs = make([]analysis.Pair, n*(n-1)/2)
	index := r.lookup()
	for _, row := range t.rows {
		p, err := pairRow(row)
		if err != nil {
			return err
		}
		i, okA := index[p.A]
		j, okB := index[p.B]
		switch {
		case !okA:
			return row.fail("a", "%q is not in sat.csv", p.A)
		case !okB:
			return row.fail("b", "%q is not in sat.csv", p.B)
		case i == j:
			return row.fail("b", "%q is paired with itself; such counts belong into self.csv", p.B)
		case i > j: // keep the pair in the order of the matrix
			p.A, p.B, p.FooledAB, p.FooledBA = p.B, p.A, p.FooledBA, p.FooledAB
		}
		slot := r.Pair(i, j)
		if slot.A != "" {
			return row.fail("a", "pair %s, %s appears twice", p.A, p.B)
		}
		*slot = p
	}
	for i := range n {
		for j := i + 1; j < n; j++ {
			if r.Pair(i, j).A == "" {
				return fmt.Errorf("%s: no row for the pair %s, %s", t.path, r.Models[i].Name, r.Models[j].Name)
			}
		}
	}
	return nil
}

func pairRow(row tableRow) (p analysis.Pair, err error) {
	p.A, p.B = row.text("a"), row.text("b")
	if p.NBoth, err = row.count("n_both", 0); err != nil {
		return p, err
	}
	for _, c := range []struct {
		column string
		to     *int
	}{{"fooled_ab", &p.FooledAB}, {"fooled_ba", &p.FooledBA}} {
		if *c.to, err = row.count(c.column, 0); err != nil {
			return p, err
		}
		if *c.to > p.NBoth {
			return p, row.fail(c.column, "%d of %d images", *c.to, p.NBoth)
		}
	}
	for _, c := range []struct {
		column string
		to     *float64
	}{{"percent", &p.Percent}, {"sat", &p.SAT}, {"ci_lo", &p.CILo}, {"ci_hi", &p.CIHi}} {
		if *c.to, err = row.number(c.column); err != nil {
			return p, err
		}
	}
	p.PercentLo, p.PercentHi = math.Exp(p.CILo), math.Exp(p.CIHi)
	p.Status = analysis.Status(row.text("status"))
	switch p.Status {
	case analysis.StatusOK, analysis.StatusSmall, analysis.StatusFloored, analysis.StatusEmpty:
	default:
		return p, row.fail("status", "%q is none of ok, small, floored, empty", p.Status)
	}
	empty := p.Status == analysis.StatusEmpty
	if empty != (p.NBoth == 0) || empty != math.IsNaN(p.SAT) || empty != math.IsNaN(p.Percent) {
		return p, row.fail("status", "%q with n_both %d, percent %q, sat %q: a pair is empty, and its score undefined, "+
			"exactly if it has no common image", p.Status, p.NBoth, row.text("percent"), row.text("sat"))
	}
	if empty {
		return p, nil
	}
	want := 100 * float64(p.FooledAB+p.FooledBA) / (2 * float64(p.NBoth))
	if math.Abs(p.Percent-want) > 1e-9*want {
		return p, row.fail("percent", "%v, but the counts give %v", p.Percent, want)
	}
	if p.Status != analysis.StatusFloored && math.Abs(p.SAT-math.Log(want)) > 1e-9 {
		return p, row.fail("sat", "%v, but the counts give %v", p.SAT, math.Log(want))
	}
	if p.CILo > p.CIHi {
		return p, row.fail("ci_lo", "%v is above ci_hi %v", p.CILo, p.CIHi)
	}
	return p, nil
}

// loadDirected checks pairs.csv, the file other programs start from, against the undirected counts.
func loadDirected(r *Run) error {
	t, err := readTable(r.path("similarity", "pairs.csv"), "source", "target", "n_both", "n_fooled")
	if err != nil {
		return err
	}
	index := r.lookup()
	n := len(r.Models)
	if len(t.rows) != n*(n-1) {
		return fmt.Errorf("%s: %d rows, want %d for %d models", t.path, len(t.rows), n*(n-1), n)
	}
	seen := make([]bool, n*n)
	for _, row := range t.rows {
		i, okS := index[row.text("source")]
		j, okT := index[row.text("target")]
		if !okS || !okT || i == j || seen[i*n+j] {
			return row.fail("source", "%q, %q is not a pair of models of sat.csv, or appears twice", row.text("source"), row.text("target"))
		}
		seen[i*n+j] = true
		both, err := row.count("n_both", 0)
		if err != nil {
			return err
		}
		fooled, err := row.count("n_fooled", 0)
		if err != nil {
			return err
		}
		p := r.Pair(i, j)
		want := p.FooledAB
		if i > j {
			want = p.FooledBA
		}
		if both != p.NBoth || fooled != want {
			return row.fail("n_fooled", "%d of %d, but pairs_undirected.csv has %d of %d: the files are of different runs",
				fooled, both, want, p.NBoth)
		}
	}
	return nil
}

// checkMatrix compares sat.csv with the pairs and the diagonal's counts.
func checkMatrix(r *Run) error {
	path := r.path("similarity", "sat.csv")
	agree := func(a, b float64) bool { return a == b || math.Abs(a-b) <= 1e-9 || math.IsNaN(a) && math.IsNaN(b) }
	for i := range r.Models {
		s := &r.Models[i].Self
		s.SAT = r.SAT.At(i, i)
		// A score above the logarithm of its percentage stands at the floor.
		if math.IsNaN(s.SAT) != (s.N == 0) || s.Fooled > 0 && s.SAT < math.Log(s.Percent)-1e-9 {
			return fmt.Errorf("%s: diagonal of %s is %v, but self.csv has %d of %d", path, s.Model, s.SAT, s.Fooled, s.N)
		}
		s.Status = status(s.N, s.Fooled)
		for j := i + 1; j < len(r.Models); j++ {
			p := r.Pair(i, j)
			if a, b := r.SAT.At(i, j), r.SAT.At(j, i); !agree(a, p.SAT) || !agree(b, p.SAT) {
				return fmt.Errorf("%s: %s, %s: %v and %v, but pairs_undirected.csv has %v", path, p.A, p.B, a, b, p.SAT)
			}
		}
	}
	return nil
}

func status(n, fooled int) analysis.Status {
	switch {
	case n == 0:
		return analysis.StatusEmpty
	case fooled == 0:
		return analysis.StatusFloored
	case n < analysis.SmallSample:
		return analysis.StatusSmall
	}
	return analysis.StatusOK
}

// loadResized reads the optional counts of what resizing alone turns wrong.
func loadResized(r *Run) error {
	t, err := readTable(r.path("similarity", "resize_only.csv"), "source", "target", "n_both", "n_wrong")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	index := r.lookup()
	seen := map[[2]string]bool{}
	for _, row := range t.rows {
		c := analysis.Resized{Source: row.text("source"), Target: row.text("target")}
		for _, column := range []string{"source", "target"} {
			if _, ok := index[row.text(column)]; !ok {
				return row.fail(column, "%q is not in sat.csv", row.text(column))
			}
		}
		pair := [2]string{c.Source, c.Target}
		if c.Source == c.Target || seen[pair] {
			return row.fail("target", "the pair %s, %s is of one model or appears twice", c.Source, c.Target)
		}
		seen[pair] = true
		if c.NBoth, err = row.count("n_both", 0); err != nil {
			return err
		}
		if c.NWrong, err = row.count("n_wrong", 0); err != nil {
			return err
		}
		if p := r.Pair(index[c.Source], index[c.Target]); c.NBoth != p.NBoth {
			return row.fail("n_both", "%d, but pairs_undirected.csv has %d: the files are of different runs", c.NBoth, p.NBoth)
		}
		if c.NWrong > c.NBoth {
			return row.fail("n_wrong", "%d of %d images", c.NWrong, c.NBoth)
		}
		r.Resized = append(r.Resized, c)
	}
	return nil
}
