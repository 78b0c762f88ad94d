package report

import (
	"fmt"
	"math"
)

// ensembleSection asks what similarity means for ensembles (Figs. 5, 6 and F.1).
var ensembleSection = &section{
	id: "ensembles", nav: "Ensembles", title: "Do dissimilar models make better ensembles?",
	lead: "An ensemble averages the logits of its members. ERR is the share of the members' mean error that it takes away: " +
		"1 − error of the ensemble / mean error of the members.",
	files:   []string{"fig5_sat_vs_err.csv", "fig6a_err_by_clusters.csv", "fig6b_wrong_by_all.csv", "figF1_ens_error.csv"},
	command: "sat analyze ensembles",
	read:    readEnsembles,
}

func readEnsembles(r *Run) (*content, error) {
	c := &content{values: map[string]ownValue{}}
	data := map[string]any{}
	pairs := &scatter{stem: "fig5_sat_vs_err", title: "Similarity of two models and the gain of their ensemble", xTitle: "SAT of the two models",
		yTitle: "error reduction of the ensemble, %", yPercent: true, paper: "r = −0.31, p = 1.74e-54, n = 2,346",
		note: "One dot per pair; line with its 90 % band."}
	blocks, err := r.scatterBlocks("fig5", pairs, "fig5_sat_vs_err.csv", []string{"a", "b"}, "sat", "ERR")
	if err != nil {
		return nil, err
	}
	if blocks != nil {
		c.blocks = append(c.blocks, blocks...)
		c.values["fig5"] = pairs.value(plural(pairs.corr.N, "pair", "pairs"))
		data["fig5"] = correlationData(pairs)
	}
	for _, f := range []struct {
		stem, column, title, yTitle, note, id string
		scale                                 float64
		sign                                  float64 // of the paper's finding as k grows
		says                                  string
	}{
		{"fig6a_err_by_clusters", "mean_ERR", "Ensembles of N models from k clusters", "mean error reduction, %",
			"Mean over drawn sets; bands: its 95 % interval.", "fig6a", 100, 1, "more clusters give a larger error reduction"},
		{"fig6b_wrong_by_all", "mean_count", "Images that every member gets wrong", "mean number of images",
			"Mean over drawn sets; bands: its 95 % interval.", "fig6b", 1, -1, "more clusters leave fewer images that all get wrong"},
		{"figF1_ens_error", "mean_top1_error", "Error of the ensembles", "mean top-1 error, %",
			"Mean over drawn sets; bands: its 95 % interval.", "figF1", 100, -1, "more clusters give a lower error"},
	} {
		lines, csv, err := r.readCells(f.stem+".csv", f.column, f.scale)
		if err != nil {
			return nil, err
		}
		if lines == nil {
			continue
		}
		chart := &lineChart{stem: f.stem, title: f.title, note: f.note, xTitle: "members N", yTitle: f.yTitle, legend: "Clusters", lines: lines, csv: csv, ordered: true}
		c.blocks = append(c.blocks, block{Figure: chart.figure()})
		if up, all := comparableSteps(lines, f.sign); all > 0 {
			text := fmt.Sprintf("in %d of %d comparisons of k with k + 1 at equal N", up, all)
			c.values[f.id] = ownValue{value: math.NaN(), text: text, same: up == all, scope: plural(len(lines), "value of k", "values of k")}
			data[f.id] = map[string]any{"steps_as_in_the_paper": up, "steps": all}
		}
	}
	if c.blocks == nil {
		return nil, nil
	}
	c.data = data
	return c, nil
}

// comparableSteps counts at how many sizes a line lies above (sign 1) or below (sign -1) the line of one cluster less.
func comparableSteps(lines []chartLine, sign float64) (as, all int) {
	for i := 1; i < len(lines); i++ {
		before := map[float64]float64{}
		for k, x := range lines[i-1].x {
			before[x] = lines[i-1].y[k]
		}
		for k, x := range lines[i].x {
			y, ok := before[x]
			if !ok || math.IsNaN(y) || math.IsNaN(lines[i].y[k]) {
				continue
			}
			all++
			if sign*(lines[i].y[k]-y) > 0 {
				as++
			}
		}
	}
	return as, all
}
