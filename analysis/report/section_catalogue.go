package report

import (
	"slices"
	"strings"

	papertables "sat/analysis/paper"
)

// catalogueSection is the list of the models and what they are built of (Tabs. A.1 to A.4).
var catalogueSection = &section{
	id: "catalogue", nav: "Components of models", title: "What the models are built of",
	lead:  "The components that the keywords and the importances are about.",
	needs: "features.csv",
	read:  readCatalogue,
}

func readCatalogue(r *Run) (*content, error) {
	components := r.components()
	if components == nil {
		return nil, nil
	}
	aliases, names := papertables.Aliases(), map[string]string{}
	for _, p := range papertables.Components() {
		names[p.Column] = p.Name
	}
	label := func(column string) string {
		if name, ok := names[column]; ok {
			return name
		}
		return readable(column)
	}

	list := &dataTable{Stem: "tabA1_names", Label: "Names of the models (Tab. A.1)", Columns: columns("Model", "Name in the paper"), Narrow: true}
	listRows := [][]string{{"timm", "alias"}}
	known := 0
	for i := range r.Models {
		name := r.Models[i].Name
		alias := aliases[name]
		if alias != "" {
			known++
		}
		list.Rows = append(list.Rows, cells(name, dash(alias)))
		listRows = append(listRows, []string{name, alias})
	}
	list.CSV = csvBytes(listRows)

	elements := &dataTable{Stem: "tabA2_elements", Label: "Components and their values (Tab. A.2)", Columns: columns("Component", "Values in this run")}
	elementRows := [][]string{{"component", "elements"}}
	for _, c := range components {
		var values []string
		for i := range r.Models {
			if v := r.Models[i].Features[c]; v != "" && !slices.Contains(values, v) {
				values = append(values, v)
			}
		}
		text := strings.Join(values, "; ")
		elements.Rows = append(elements.Rows, cells(label(c), text))
		elementRows = append(elementRows, []string{c, text})
	}
	elements.CSV = csvBytes(elementRows)

	header := []string{"Model"}
	for _, c := range components {
		header = append(header, label(c))
	}
	table := &dataTable{Stem: "tabA3_A4_features", Label: "Components of each model (Tabs. A.3 and A.4)", Columns: columns(header...)}
	tableRows := [][]string{append([]string{"timm"}, components...)}
	for i := range r.Models {
		row := []string{r.Models[i].Name}
		for _, c := range components {
			row = append(row, r.Models[i].Features[c])
		}
		table.Rows, tableRows = append(table.Rows, cells(row...)), append(tableRows, row)
	}
	table.CSV = csvBytes(tableRows)

	c := &content{blocks: []block{
		{Table: elements},
		{Fold: &foldedPart{"Components of each model", []block{{Table: table}}}},
	}, values: map[string]ownValue{}}
	if known > 0 {
		c.blocks = append(c.blocks, block{Fold: &foldedPart{"Names of the models in the paper", []block{{Table: list}}}})
		c.values["tabA1"] = ownValue{value: float64(known), interval: noInterval, scope: "models of this run that Tab. A.1 names"}
	} else {
		c.blocks = append(c.blocks, block{Table: nil, Note: "None of these models is one of the paper's 69."})
	}
	return c, nil
}

// components are the columns of features.csv, the paper's first and in its order, the others by name.
func (r *Run) components() (out []string) {
	var given []string
	for i := range r.Models {
		for c := range r.Models[i].Features {
			if !slices.Contains(given, c) {
				given = append(given, c)
			}
		}
	}
	slices.Sort(given)
	for _, p := range papertables.Components() {
		if slices.Contains(given, p.Column) {
			out = append(out, p.Column)
		}
	}
	for _, c := range given {
		if !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	return out
}

func dash(s string) string {
	if s == "" {
		return "–"
	}
	return s
}
