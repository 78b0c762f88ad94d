package report

import (
	"math"
	"strconv"
)

// novelSection is about models that were not clustered (Fig. H.1, appendix H).
var novelSection = &section{
	id: "novel", nav: "New models", title: "What can be said of a new model?",
	lead: "A new model costs one attack: its images shown to the models that are there give one-sided scores. How well these stand for the " +
		"two-sided ones, and the cluster that they give new models.",
	files:   []string{"figH1_one_sided.csv", "tabH_novel_assignment.csv"},
	command: "sat analyze novel",
	read:    readNovel,
}

var novelRules = map[string]string{"nystrom": "spectral features extended to the new model", "mean": "largest mean score", "nearest": "cluster of the most similar model"}

func readNovel(r *Run) (*content, error) {
	c := &content{values: map[string]ownValue{}}
	data := map[string]any{}
	s := &scatter{stem: "figH1_one_sided", title: "Two-sided and one-sided similarity", xTitle: "SAT, two-sided", yTitle: "SAT, one-sided",
		paper: "r = 0.82, p almost 0", note: "One dot per pair; line with its 90 % band."}
	blocks, err := r.scatterBlocks("figH1", s, "figH1_one_sided.csv", []string{"a", "b"}, "sat_two_sided", "sat_one_sided")
	if err != nil {
		return nil, err
	}
	if blocks != nil {
		c.blocks = append(c.blocks, blocks...)
		c.values["figH1"] = s.value(plural(s.corr.N, "pair", "pairs"))
		data["figH1"] = correlationData(s)
	}
	t, csv, err := r.analysisTable("tabH_novel_assignment.csv", "model", "method", "cluster", "margin", "expected")
	if err != nil {
		return nil, err
	}
	if t != nil {
		out := &dataTable{Stem: "tabH_novel_assignment", CSV: csv, Label: "Clusters of new models (appendix H)",
			Columns: columns("Model", "Rule", "#Cluster", "#Margin", "#Expected", "Verdict")}
		var rows []map[string]any
		for _, row := range t.rows {
			cluster, err := row.count("cluster", 1)
			if err != nil {
				return nil, err
			}
			margin, err := row.number("margin")
			if err != nil {
				return nil, err
			}
			model, method, expected := row.text("model"), row.text("method"), row.text("expected")
			verdict := cellText{Text: "–"}
			if expected != "" {
				verdict = badge(verdictDiffers)
				if expected == strconv.Itoa(cluster) {
					verdict = badge(verdictMatch)
				}
			}
			rule := method
			if words := novelRules[method]; words != "" {
				rule = method + ": " + words
			}
			out.Rows = append(out.Rows, append(cells(model, rule, strconv.Itoa(cluster), score(margin), expected), verdict))
			rows = append(rows, map[string]any{"model": model, "method": method, "cluster": cluster, "margin": number(margin), "expected": expected})
			if method == "nystrom" {
				c.values["tabH_"+model] = ownValue{value: math.NaN(), text: "cluster " + strconv.Itoa(cluster), same: expected == strconv.Itoa(cluster), scope: "rule " + method}
			}
		}
		c.blocks = append(c.blocks, block{Table: out})
		data["assignments"] = rows
	}
	if c.blocks == nil {
		return nil, nil
	}
	c.data = data
	return c, nil
}
