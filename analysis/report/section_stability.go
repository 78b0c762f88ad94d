package report

import (
	"fmt"
	"strconv"
)

// stabilitySection asks how much a score changes with the images (Tab. 1).
var stabilitySection = &section{
	id: "stability", nav: "Stability", title: "How stable is a score?",
	lead:    "The score of one pair on several independent sets of images: the smaller the standard deviation, the fewer images are needed.",
	files:   []string{"tab1_stability.csv"},
	command: "sat analyze stability",
	read:    readStability,
}

// methodNames are the methods of Tab. 1 in words.
var methodNames = map[string]string{"sat": "SAT, on images", "somepalli": "decision boundaries, on triplets of images"}

func readStability(r *Run) (*content, error) {
	t, csv, err := r.analysisTable("tab1_stability.csv", "method", "n", "ratio", "std", "std_lo", "std_hi", "cost")
	if t == nil {
		return nil, err
	}
	c := &content{values: map[string]ownValue{}}
	out := &dataTable{Stem: "tab1_stability", CSV: csv, Label: "Standard deviation of a score over independent samples (Tab. 1)",
		Columns: columns("Method", "#Sample size", "#Share of all samples", "#Standard deviation, points", "#Cost")}
	var data []map[string]any
	for _, row := range t.rows {
		n, err := row.count("n", 1)
		if err != nil {
			return nil, err
		}
		var v [5]float64
		for i, name := range []string{"ratio", "std", "std_lo", "std_hi", "cost"} {
			if v[i], err = row.number(name); err != nil {
				return nil, err
			}
		}
		method := row.text("method")
		name := methodNames[method]
		if name == "" {
			name = method
		}
		interval := Interval{v[2], v[3]}
		out.Rows = append(out.Rows, cells(name, thousands(n), short(v[0]), score(v[1])+intervalText(interval), short(v[4])))
		c.values[fmt.Sprintf("tab1_%s_%d", method, n)] = ownValue{value: v[1], interval: interval, scope: "sample size " + strconv.Itoa(n)}
		data = append(data, map[string]any{"method": method, "n": n, "ratio": number(v[0]), "std": number(v[1]), "std_lo": number(v[2]),
			"std_hi": number(v[3]), "cost": number(v[4])})
	}
	c.blocks = []block{{Table: out}, {Note: "In brackets: the 95 % interval of a standard deviation of so few scores. Cost: forward passes, attack steps included, in units of 25,000."}}
	c.data = data
	return c, nil
}
