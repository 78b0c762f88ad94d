package report

import (
	"fmt"
	"strings"
)

// attacksSection asks whether similarity depends on the attack (Figs. 2a and 2b).
var attacksSection = &section{
	id: "attacks", nav: "Other attacks", title: "Would another attack say the same?",
	lead:    "The same models compared by images of another attack: the order of the pairs should not depend on it.",
	files:   []string{"fig2a_autoattack.csv", "fig2b_patchfool.csv", "attacks.csv"},
	command: "sat analyze matrices",
	read:    readAttacks,
}

func readAttacks(r *Run) (*content, error) {
	c := &content{values: map[string]ownValue{}}
	data := map[string]any{}
	for _, f := range []struct{ id, stem, title, name, y, yTitle, paper, note string }{
		{"fig2a", "fig2a_autoattack", "Similarity by PGD and by AutoAttack", "pair", "sat_autoattack", "SAT by AutoAttack", "r = 0.98, p = 1.43e-18, n = 28",
			"One dot per pair; line with its 90 % band."},
		{"fig2b", "fig2b_patchfool", "Similarity by PGD and by Patch-Fool", "target", "sat_patchfool", "SAT by Patch-Fool (one-sided)", "r = 0.91, p = 3.62e-27, n = 68",
			"One dot per target of images made on one source; line with its 90 % band."},
	} {
		s := &scatter{stem: f.stem, title: f.title, xTitle: "SAT by PGD", yTitle: f.yTitle, paper: f.paper, note: f.note}
		columns := []string{f.name}
		if f.name == "pair" {
			columns = nil // two names each, which find no room beside the points
		}
		blocks, err := r.scatterBlocks(f.id, s, f.stem+".csv", columns, "sat_pgd", f.y)
		if err != nil {
			return nil, err
		}
		if blocks == nil {
			continue
		}
		note, err := r.ablationNote(f.stem)
		if err != nil {
			return nil, err
		}
		c.blocks = append(append(c.blocks, blocks...), note...)
		c.values[f.id] = s.value(plural(s.corr.N, "point", "points"))
		data[f.id] = correlationData(s)
	}
	table, err := r.attackSettings()
	if err != nil {
		return nil, err
	}
	if table != nil {
		c.blocks = append(c.blocks, block{Heading: "All attacks side by side"}, block{Table: table},
			block{Note: "White box: mean share of correct images that an attack fools on the model itself. Main: mean SAT of the same pairs by the main attack. r: correlation of SAT over pairs with the main attack's. " +
				"Survivors: images, over all models, that withstand and stay clean; a dash where none do."})
	}
	if c.blocks == nil {
		return nil, nil
	}
	c.data = data
	return c, nil
}

// fileCorrelation is a correlation in a result file of the run.
type fileCorrelation struct {
	R    *nullable `json:"r"`
	CILo *nullable `json:"ci_lo"`
	CIHi *nullable `json:"ci_hi"`
	N    int       `json:"n"`
}

func (c fileCorrelation) String() string {
	return "r = " + short(orNaN(c.R)) + intervalText(Interval{orNaN(c.CILo), orNaN(c.CIHi)}) + ", n = " + fmt.Sprint(c.N)
}

// ablationNote adds to the figure STEM what depends on choices: the correlation without points at the floor, whose score is an
// arbitrary low number, and between scores of equal kind where one of the two attacks was made on one source alone.
func (r *Run) ablationNote(stem string) ([]block, error) {
	var f struct {
		Floored           int              `json:"floored"`
		Unfloored         *fileCorrelation `json:"without_floored"`
		OneSided          *fileCorrelation `json:"one_sided"`
		OneSidedUnfloored *fileCorrelation `json:"one_sided_without_floored"`
	}
	if _, err := readJSON(r.path("analysis", stem+".json"), &f); err != nil {
		return nil, err
	}
	var parts []string
	without := "without " + plural(f.Floored, "point", "points") + " where an attack fools no image "
	if f.Floored > 0 && f.Unfloored != nil {
		parts = append(parts, "W"+without[1:]+f.Unfloored.String()+".")
	}
	if f.OneSided != nil {
		text := "One-sided scores of both attacks, as like should be compared with like: " + f.OneSided.String()
		if f.Floored > 0 && f.OneSidedUnfloored != nil {
			text += "; " + without + f.OneSidedUnfloored.String()
		}
		parts = append(parts, text+".")
	}
	if parts == nil {
		return nil, nil
	}
	return []block{{Note: strings.Join(parts, " ")}}, nil
}

// attackSettings is attacks.csv: one line for each attack of the run.
func (r *Run) attackSettings() (*dataTable, error) {
	t, csv, err := r.analysisTable("attacks.csv", "setting", "method", "epsilon", "step_size", "steps", "white_box", "pairs", "mean_sat",
		"median_sat", "r", "ci_lo", "ci_hi", "survivors")
	if t == nil {
		return nil, err
	}
	out := &dataTable{Stem: "attacks", CSV: csv, Label: "The same models by different attacks",
		Columns: columns("Setting", "Attack", "Epsilon", "#Step", "#Steps", "#White box, %", "#Pairs", "#Mean SAT", "#Median SAT", "#r", "#Survivors")}
	for _, row := range t.rows {
		var v [6]float64
		for i, name := range []string{"white_box", "mean_sat", "median_sat", "r", "ci_lo", "ci_hi"} {
			if v[i], err = row.number(name); err != nil {
				return nil, err
			}
		}
		step := row.text("step_size")
		if step != "" {
			number, err := row.number("step_size")
			if err != nil {
				return nil, err
			}
			step = short(number)
		}
		r := "-"
		if v[3] == v[3] {
			r = short(v[3]) + intervalText(Interval{v[4], v[5]})
		}
		cell := cells(row.text("setting"), row.text("method"), dashed(row.text("epsilon")), dashed(step), dashed(row.text("steps")),
			short(v[0]), row.text("pairs"), short(v[1]), short(v[2]), r, dashed(row.text("survivors")))
		if row.text("setting") != "main" && t.has("mean_sat_main") {
			main, err := row.number("mean_sat_main")
			if err != nil {
				return nil, err
			}
			cell[7].Small = "main: " + short(main)
		}
		out.Rows = append(out.Rows, cell)
	}
	return out, nil
}

// dashed shows an empty cell as a dash.
func dashed(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
