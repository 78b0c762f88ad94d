package report

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"

	"sat/analysis"
)

// markdown writes the report as text: the same content as the page, without what needs a pointer.
func markdown(r *Run, figs []*figure) ([]byte, error) {
	var b bytes.Buffer
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	title := r.Info.Title
	if title == "" {
		title = "How similar are these image classifiers?"
	}
	line("# %s\n", title)
	line("Similarity by attack transferability (SAT): how often adversarial images made on one model fool another, both ways; "+
		"the natural logarithm of the percentage, at most ln 100 = 4.61.\n\n%s\n", r.scopeLine())
	for _, s := range r.Info.See {
		if s.Report != "" {
			line("Further study: [%s](%s)\n", s.Title, s.Report)
		} else {
			line("Further study: %s (`sat run %s`)\n", s.Title, s.Experiment)
		}
	}
	if list := r.warnings(); len(list) > 0 {
		line("## Before you use these numbers\n")
		for _, w := range list {
			line("- %s", w)
		}
		line("")
	}
	has := func(stem string) bool {
		return slices.ContainsFunc(figs, func(f *figure) bool { return f.Stem == stem })
	}
	picture := func(stem string) {
		for _, f := range figs {
			if f.Stem == stem {
				line("![%s](figures/%s.svg)\n", strings.NewReplacer("[", "(", "]", ")").Replace(f.Alt), f.Stem)
			}
		}
	}

	line("## Similarity\n")
	picture("figD1_sat_matrix")
	picture("figD1_sat_matrix_dendrogram")
	all := analysis.Summarize(r.Pairs)
	line("Mean over %s of different models: %s, median %s; %d at the floor, %d undefined.\n",
		plural(all.Pairs, "pair", "pairs"), score(all.Mean), score(all.Median), all.Floored, all.Excluded)

	if g := r.Groups; g != nil {
		line("## %s\n", claimTitle)
		line("%s (%s).\n", g.verdictText(), g.testText())
		picture("same_vs_different")
		line("| pairs of | pairs | mean SAT | median | at the floor |\n|---|--:|--:|--:|--:|")
		for _, m := range append([]GroupMean{named(g.Within, "same architecture"), named(g.Across, "different architecture")}, g.withPairs()...) {
			line("| %s | %d | %s%s | %s | %d |", cell(m.Name), m.Summary.Pairs, score(m.Summary.Mean), intervalText(m.Interval), score(m.Summary.Median), m.Summary.Floored)
		}
		line("")
	}

	line("## What is near what\n\n| model | nearest | second | third | farthest | mean SAT |\n|---|---|---|---|---|--:|")
	for _, i := range r.displayOrder() {
		others := r.neighbours(i)
		entry := func(k int) string {
			if k < 0 || k >= len(others) {
				return "–"
			}
			n := r.neighbourText(i, others[k])
			return strings.TrimSpace(cell(n.Name) + " " + n.Score + " " + n.Interval)
		}
		line("| %s | %s | %s | %s | %s | %s |", cell(r.Models[i].Name), entry(0), entry(1), entry(2), entry(len(others)-1), score(r.meanTo(i)))
	}

	line("\n## Models and attack\n\n| model | accuracy, %% | fooled by its own attack |\n|---|--:|--:|")
	for _, i := range r.displayOrder() {
		m := &r.Models[i]
		line("| %s | %s | %d of %d |", cell(m.Name), m.top1Text(), m.Self.Fooled, m.Self.N)
	}
	line("")
	if len(r.Sweep) > 0 {
		if has("whitebox_sweep") {
			picture("whitebox_sweep")
		}
		line("| ε | lowest white-box success | SAT, same architecture | SAT, different | difference | p |\n|---|--:|--:|--:|--:|--:|")
		for _, s := range r.Sweep {
			low := math.Inf(1)
			for _, c := range s.Counts {
				if !math.IsNaN(c.Percent) {
					low = min(low, c.Percent)
				}
			}
			used := ""
			if s.Chosen {
				used = " (used)"
			}
			line("| %s%s | %.1f %% | %s | %s | %s | %s |", s.Label, used, low, score(s.Within), score(s.Across), score(s.Difference), formatP(s.P))
		}
		line("")
	}
	for _, status := range []analysis.Status{analysis.StatusEmpty, analysis.StatusFloored, analysis.StatusSmall} {
		if n := len(r.pairsWith(status)); n > 0 {
			line("%s with status %s.\n", plural(n, "pair", "pairs"), status)
		}
	}
	resized := 0
	for _, c := range r.Resized {
		if c.Status() != analysis.StatusOK {
			resized++
		}
	}
	if resized > 0 {
		line("%s with status %s.\n", plural(resized, "ordered pair", "ordered pairs"), analysis.StatusResize)
	}
	picture("training_curves")

	list, err := compare(r)
	if err != nil {
		return nil, err
	}
	var missing []*section
	for _, section := range sections {
		if r.sections[section.id] == nil {
			missing = append(missing, section)
			continue
		}
		line("## %s\n\n%s\n", section.title, section.lead)
		for _, block := range section.shown(r, list) {
			writeBlock(&b, block)
		}
	}
	if missing != nil || r.Groups == nil {
		line("## Not run\n")
		if r.Groups == nil {
			line("- %s %s", claimTitle, noClaim)
		}
		for _, section := range missing {
			line("- %s %s", section.title, section.missing())
		}
		line("")
	}
	if len(list) > 0 {
		line("## Beside the paper\n")
		if !r.paperScale() {
			line("Another scale than the paper's 69 ImageNet models: agreement in number is not expected.\n")
		}
		t := comparisonTable()
		for _, c := range list {
			t.Rows = append(t.Rows, c.row(r.paperScale()))
		}
		writeBlock(&b, block{Table: t})
	}

	line("\n## Settings\n")
	for _, name := range sortedKeys(r.Settings) {
		for _, kv := range pairsOf(r.Settings[name]) {
			line("- %s: %s = %s", name, kv.Key, kv.Value)
		}
	}
	for _, kv := range pairsOf(r.Info.Versions) {
		line("- version of %s: %s", kv.Key, kv.Value)
	}
	return b.Bytes(), nil
}

// writeBlock writes a block as Markdown.
func writeBlock(b *bytes.Buffer, k block) {
	switch {
	case k.Heading != "":
		fmt.Fprintf(b, "### %s\n\n", k.Heading)
	case k.Text != "":
		fmt.Fprintf(b, "%s\n\n", k.Text)
	case k.Strong != "":
		fmt.Fprintf(b, "**%s**\n\n", k.Strong)
	case k.Note != "":
		fmt.Fprintf(b, "%s\n\n", k.Note)
	case k.NotRun != "":
		fmt.Fprintf(b, "%s\n\n", k.NotRun)
	case k.Figure != nil:
		fmt.Fprintf(b, "![%s](figures/%s.svg)\n\n", strings.NewReplacer("[", "(", "]", ")").Replace(k.Figure.Alt), k.Figure.Stem)
	case k.Table != nil:
		writeTable(b, k.Table)
	case k.Keys != nil:
		for _, kv := range k.Keys {
			fmt.Fprintf(b, "- %s = %s\n", kv.Key, kv.Value)
		}
		b.WriteString("\n")
	case k.Fold != nil && k.Fold.Summary == settingsSummary: // they stand together at the end
	case k.Fold != nil:
		fmt.Fprintf(b, "### %s\n\n", k.Fold.Summary)
		for _, inner := range k.Fold.Blocks {
			writeBlock(b, inner)
		}
	}
	// Cards say what a table beside them says.
}

func writeTable(b *bytes.Buffer, t *dataTable) {
	head, rule := "|", "|"
	for _, c := range t.Columns {
		head += " " + cell(c.Name) + " |"
		if c.Number {
			rule += "--:|"
		} else {
			rule += "---|"
		}
	}
	fmt.Fprintf(b, "%s\n%s\n", head, rule)
	for _, row := range t.Rows {
		b.WriteString("|")
		for _, c := range row {
			text := c.Text
			if c.Small != "" {
				text += " (" + c.Small + ")"
			}
			b.WriteString(" " + cell(text) + " |")
		}
		b.WriteString("\n")
	}
	b.WriteString("\n")
}

func named(m GroupMean, name string) GroupMean { m.Name = name; return m }

// cell keeps a text inside one table cell.
func cell(s string) string { return strings.NewReplacer("|", "\\|", "\n", " ").Replace(s) }
