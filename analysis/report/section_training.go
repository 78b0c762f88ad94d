package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"sat/analysis"
	papertables "sat/analysis/paper"
)

// trainingSection asks what training changes in models of one architecture (Tab. 3, Figs. 4b and 7).
var trainingSection = &section{
	id: "training", nav: "Training", title: "What does training change?",
	lead: "Models of one architecture that differ in the random start, in hyper-parameters or in the whole training regime, " +
		"and how similar they remain.",
	files:   []string{"tab3_training.csv", "fig4b_training_distance.csv", "fig7_training_ensembles.csv"},
	command: "sat analyze training",
	read:    readTraining,
}

func readTraining(r *Run) (*content, error) {
	c := &content{values: map[string]ownValue{}}
	if err := readTrainingTable(r, c); err != nil {
		return nil, err
	}
	if err := readTrainingDistance(r, c); err != nil {
		return nil, err
	}
	if err := readTrainingEnsembles(r, c); err != nil {
		return nil, err
	}
	if c.blocks == nil {
		return nil, nil
	}
	return c, nil
}

func readTrainingTable(r *Run, c *content) error {
	t, csv, err := r.analysisTable("tab3_training.csv", "architecture", "diversity", "mean_sat", "ci_lo", "ci_hi", "n_models", "n_pairs")
	if t == nil {
		return err
	}
	out := &dataTable{Stem: "tab3_training", CSV: csv, Label: "Mean similarity inside each training set (Tab. 3)",
		Columns: columns("Architecture", "Models differ by", "#Mean SAT", "#Models", "#Pairs")}
	var data []map[string]any
	for _, row := range t.rows {
		var v [3]float64
		for i, name := range []string{"mean_sat", "ci_lo", "ci_hi"} {
			if v[i], err = row.number(name); err != nil {
				return err
			}
		}
		models, err := row.count("n_models", 0)
		if err != nil {
			return err
		}
		pairs, err := row.count("n_pairs", 0)
		if err != nil {
			return err
		}
		architecture, diversity := row.text("architecture"), row.text("diversity")
		interval := Interval{v[1], v[2]}
		out.Rows = append(out.Rows, cells(architecture, diversity, score(v[0])+intervalText(interval), strconv.Itoa(models), strconv.Itoa(pairs)))
		scope := plural(models, "model", "models") + ", " + plural(pairs, "pair", "pairs")
		if like, found := papertables.TrainingSetLike(architecture, diversity); found {
			id := "tab3_" + key(like.Architecture) + "_" + key(like.Diversity)
			same := strings.EqualFold(like.Architecture, architecture)
			if _, taken := c.values[id]; same || !taken {
				if !same {
					scope = architecture + ", " + scope
				}
				c.values[id] = ownValue{value: v[0], interval: interval, scope: scope}
			}
		}
		data = append(data, map[string]any{"architecture": architecture, "diversity": diversity, "mean_sat": number(v[0]), "ci_lo": number(v[1]),
			"ci_hi": number(v[2]), "n_models": models, "n_pairs": pairs})
	}
	c.blocks = append(c.blocks, block{Table: out})
	c.data = map[string]any{"tab3": data}
	return nil
}

// key makes a name fit for an id: small letters and digits, words joined by hyphens.
func key(s string) string {
	return strings.Join(strings.FieldsFunc(strings.ToLower(s), func(r rune) bool {
		return !('a' <= r && r <= 'z' || '0' <= r && r <= '9')
	}), "-")
}

func readTrainingDistance(r *Run, c *content) error {
	m, err := r.optionalMatrix("fig4b_training_distance.csv")
	if m == nil {
		return err
	}
	order, clusters := r.extendedOrder(m)
	h := &heatmap{
		title:  "Distances between models and training variants",
		note:   "Euclidean distance of the spectral features; dark means close.",
		matrix: m, order: order, names: m.Names, clusters: clusters, lo: 0, barTitle: "distance",
		format: func(i, j int) string { return score(m.At(i, j)) },
	}
	if clusters != nil {
		h.note += " Variants, which were not clustered, stand behind the models of the cluster of the model that is nearest to them."
	}
	h.hi = highest(m)
	h.barTicks = ticks(0, h.hi)
	c.blocks = append(c.blocks, block{Figure: h.figure("fig4b_training_distance",
		fmt.Sprintf("Heatmap of the distances between %s and variants trained differently, from 0 to %.2f.", plural(m.Len(), "model", "models"), h.hi))})
	return nil
}

// extendedOrder sorts a matrix that has more models than the run by the run's clusters: the clustered models in display
// order, and after those of a cluster the others whose nearest clustered model is one of them. Without clusters it is the
// order of the file.
func (r *Run) extendedOrder(m *analysis.Matrix) (order, clusters []int) {
	place := make(map[string]int, len(r.Models)) // in display order
	for k, i := range r.displayOrder() {
		place[r.Models[i].Name] = k
	}
	known := []int{}
	for i, name := range m.Names {
		order = append(order, i)
		if _, ok := place[name]; ok {
			known = append(known, i)
		}
	}
	if r.Clusters == nil || len(known) == 0 {
		return order, nil
	}
	index := r.lookup()
	clusters, at := make([]int, m.Len()), make([]int, m.Len())
	for i, name := range m.Names {
		if k, ok := place[name]; ok {
			clusters[i], at[i] = r.Models[index[name]].Cluster, k
			continue
		}
		nearest := slices.MinFunc(known, func(a, b int) int { return cmp.Compare(m.At(i, a), m.At(i, b)) })
		clusters[i], at[i] = r.Models[index[m.Names[nearest]]].Cluster, len(r.Models)+i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Or(clusters[a]-clusters[b], at[a]-at[b]) })
	return order, clusters
}

func readTrainingEnsembles(r *Run, c *content) error {
	t, csv, err := r.analysisTable("fig7_training_ensembles.csv", "architecture", "set", "N", "mean_ERR")
	if t == nil {
		return err
	}
	byName := map[string]int{}
	var lines []chartLine
	for _, row := range t.rows {
		name := row.text("architecture") + ", " + row.text("set")
		if row.text("architecture") == row.text("set") {
			name = row.text("set")
		}
		at, ok := byName[name]
		if !ok {
			at = len(lines)
			byName[name] = at
			lines = append(lines, chartLine{name: name, single: strings.EqualFold(row.text("architecture"), "all")})
		}
		n, err := row.count("N", 1)
		if err != nil {
			return err
		}
		var v [3]float64
		if v[0], err = row.number("mean_ERR"); err != nil {
			return err
		}
		if v[1], err = row.optional("ci_lo"); err != nil {
			return err
		}
		if v[2], err = row.optional("ci_hi"); err != nil {
			return err
		}
		l := &lines[at]
		if k := len(l.x); k > 0 && float64(n) <= l.x[k-1] {
			return row.fail("N", "%d after %g for %s: want N to rise", n, l.x[k-1], name)
		}
		l.x, l.y, l.lo, l.hi = append(l.x, float64(n)), append(l.y, 100*v[0]), append(l.lo, 100*v[1]), append(l.hi, 100*v[2])
	}
	if lines == nil {
		return fmt.Errorf("%s: no line behind the header", t.path)
	}
	chart := &lineChart{stem: "fig7_training_ensembles", title: "Ensembles of models that differ in training", xTitle: "members N",
		yTitle: "mean error reduction, %", legend: "Models differ by", lines: lines, csv: csv,
		note: "N models of one training set. All: N models, one from each of N clusters."}
	if !t.has("ci_lo") || math.IsNaN(lines[0].lo[0]) {
		chart.note += " Mean over drawn sets."
	} else {
		chart.note += " Mean over drawn sets; bands: its 95 % interval."
	}
	c.blocks = append(c.blocks, block{Figure: chart.figure()})
	return nil
}
