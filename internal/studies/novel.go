package studies

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"sat/analysis"
	"sat/analysis/paper"
)

// ReadCounts reads pairs.csv: the directed counts of all pairs of models, which may lack the pairs that a novel model is
// the target of. Known says which counts are there.
func ReadCounts(path string) (*Counts, error) {
	t, err := ReadTable(path, "source", "target", "n_both", "n_fooled")
	if err != nil {
		return nil, err
	}
	c := &Counts{index: map[string]int{}, pairs: map[[2]int]directed{}}
	place := func(name string) int {
		k, ok := c.index[name]
		if !ok {
			k = len(c.Models)
			c.index[name] = k
			c.Models = append(c.Models, name)
		}
		return k
	}
	for i := range t.Len() {
		source, target := t.Text(i, "source"), t.Text(i, "target")
		if source == "" || target == "" || source == target {
			return nil, t.Fail(i, "source %q, target %q: want two models", source, target)
		}
		var d directed
		if d.both, err = t.Count(i, "n_both"); err != nil {
			return nil, err
		}
		if d.fooled, err = t.Count(i, "n_fooled"); err != nil {
			return nil, err
		}
		if d.fooled > d.both {
			return nil, t.Fail(i, "%d images fooled of %d common ones", d.fooled, d.both)
		}
		pair := [2]int{place(source), place(target)}
		if _, ok := c.pairs[pair]; ok {
			return nil, t.Fail(i, "%s to %s stands twice", source, target)
		}
		if back, ok := c.pairs[[2]int{pair[1], pair[0]}]; ok && back.both != d.both {
			return nil, t.Fail(i, "%d common images of %s and %s, but %d in the other direction", d.both, source, target, back.both)
		}
		c.pairs[pair] = d
	}
	if len(c.Models) == 0 {
		return nil, fmt.Errorf("%s: no line behind the header", path)
	}
	return c, nil
}

// Counts are directed counts of pairs of models.
type Counts struct {
	Models []string // in the order of their first appearance
	index  map[string]int
	pairs  map[[2]int]directed
}

type directed struct{ both, fooled int }

func (c *Counts) at(source, target string) (directed, bool) {
	s, known := c.index[source]
	t, also := c.index[target]
	d, ok := c.pairs[[2]int{s, t}]
	return d, ok && known && also
}

// scores returns the scores of the given models, all of whose pairs must be there.
func (c *Counts) scores(models []string, floor float64) (*analysis.Scores, error) {
	// The scores of single models are not in the table and not needed: a count that bounds every pair's serves.
	most := 0
	for _, d := range c.pairs {
		most = max(most, d.both)
	}
	counts := analysis.NewCounts(models, most)
	for i, source := range models {
		counts.NBoth[i][i] = most
		for j, target := range models {
			if i == j {
				continue
			}
			d, ok := c.at(source, target)
			if !ok {
				return nil, fmt.Errorf("no line for images made on %s and shown to %s", source, target)
			}
			counts.NBoth[i][j], counts.Fooled[i][j] = d.both, d.fooled
		}
	}
	return counts.Score(floor)
}

// NovelJob asks what is known of models that were not clustered (Fig. H.1, appendix H).
type NovelJob struct {
	Counts  *Counts
	Labels  *Labels  // clusters; nil: only Fig. H.1. The cluster it gives a novel model is the expected one
	Novel   []string // models to assign; they take no part in clusters or in Fig. H.1
	Floor   float64  // percent
	Ordered bool     // both directions of each pair in Fig. H.1
	Options analysis.ClusterOptions
}

// exactSuffix marks the rules applied to two-sided scores, for models whose row is complete.
const exactSuffix = " (two-sided)"

// Novel writes figH1_one_sided.csv and correlations.csv; with novel models tabH_novel_assignment.csv.
func Novel(ctx context.Context, f Folder, job NovelJob) (warnings []string, err error) {
	for _, name := range job.Novel {
		if _, ok := job.Counts.index[name]; !ok {
			return nil, fmt.Errorf("novel model %s: not in the table of pairs", name)
		}
	}
	var existing []string
	for _, name := range job.Counts.Models {
		if !slices.Contains(job.Novel, name) {
			existing = append(existing, name)
		}
	}
	if len(existing) < 2 {
		return nil, fmt.Errorf("novel models: %d models are left to compare them with: want at least two", len(existing))
	}
	scores, err := job.Counts.scores(existing, job.Floor)
	if err != nil {
		return nil, err
	}
	study, err := scores.CompareOneSided(job.Ordered)
	if err != nil {
		return nil, err
	}
	warnings = study.Warnings
	var assignments [][]string
	if len(job.Novel) > 0 {
		if job.Labels == nil {
			return nil, errors.New("novel models: clusters of the other models are needed")
		}
		if assignments, err = job.assign(ctx, existing, scores.Matrix()); err != nil {
			return nil, err
		}
	}

	direction := "i<j"
	if job.Ordered {
		direction = "ordered"
	}
	f = f.with("novel", map[string]any{"pairs": direction, "floor": job.Floor, "novel": job.Novel, "k": job.Options.K,
		"affinity": job.Options.Affinity, "laplacian": job.Options.Laplacian})
	var rows [][]string
	for _, p := range study.Points {
		rows = append(rows, []string{p.A, p.B, number(p.TwoSided), number(p.OneSided)})
	}
	if err := f.table("figH1_one_sided.csv", []string{"a", "b", "sat_two_sided", "sat_one_sided"}, rows); err != nil {
		return nil, err
	}
	if err := Correlations(f, NamedCorrelation{"figH1", study.Correlation}); err != nil {
		return nil, err
	}
	if assignments == nil {
		return warnings, nil
	}
	return warnings, f.table("tabH_novel_assignment.csv", []string{"model", "method", "cluster", "margin", "expected"}, assignments)
}

// assign finds the cluster of every novel model by all rules, from its one-sided scores and, where images of the others
// were shown to it too, from the exact two-sided ones.
func (job NovelJob) assign(ctx context.Context, existing []string, sat *analysis.Matrix) ([][]string, error) {
	labels, err := job.Labels.Of(existing)
	if err != nil {
		return nil, err
	}
	o := job.Options
	o.K = slices.Max(labels)
	printed := paper.Assignments()
	var rows [][]string
	for _, name := range job.Novel {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		expected := ""
		if c := job.Labels.find(name); c > 0 {
			expected = strconv.Itoa(c)
		} else if c, ok := printed[name]; ok {
			expected = strconv.Itoa(c)
		}
		one, two := make([]float64, len(existing)), make([]float64, len(existing))
		exact := true
		for i, other := range existing {
			there, ok := job.Counts.at(name, other)
			if !ok {
				return nil, fmt.Errorf("novel model %s: no line for its images shown to %s", name, other)
			}
			if one[i], _, err = analysis.OneSided(there.both, there.fooled, job.Floor); err != nil {
				return nil, fmt.Errorf("novel model %s and %s: %w", name, other, err)
			}
			back, ok := job.Counts.at(other, name)
			if exact = exact && ok; ok {
				if two[i], _, err = analysis.SAT(there.both, there.fooled, back.fooled, job.Floor); err != nil {
					return nil, fmt.Errorf("novel model %s and %s: %w", name, other, err)
				}
			}
		}
		for _, row := range []struct {
			scores []float64
			suffix string
			there  bool
		}{{one, "", true}, {two, exactSuffix, exact}} {
			if !row.there {
				continue
			}
			found, err := analysis.AssignNovel(sat, labels, name, row.scores, o)
			if err != nil {
				return nil, err
			}
			for _, a := range found {
				rows = append(rows, []string{name, string(a.Rule) + row.suffix, strconv.Itoa(a.Cluster), number(a.Margin), expected})
			}
		}
	}
	return rows, nil
}
