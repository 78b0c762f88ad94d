package report

// attacksSection asks whether similarity depends on the attack (Figs. 2a and 2b).
var attacksSection = &section{
	id: "attacks", nav: "Other attacks", title: "Would another attack say the same?",
	lead:    "The same models compared by images of another attack: the order of the pairs should not depend on it.",
	files:   []string{"fig2a_autoattack.csv", "fig2b_patchfool.csv"},
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
		c.blocks = append(c.blocks, blocks...)
		c.values[f.id] = s.value(plural(s.corr.N, "point", "points"))
		data[f.id] = correlationData(s)
	}
	if c.blocks == nil {
		return nil, nil
	}
	c.data = data
	return c, nil
}
