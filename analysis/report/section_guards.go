package report

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"strings"
)

// guardsSection says of each model whether the attack on it can mean anything: similarity/guards.csv in words.
var guardsSection = &section{
	id: "guards", nav: "Checks of models", title: "Was each model fit for the attack?",
	lead: "Every model was shown images several times before the attack, and the attack counted what would make it weak: gradients that are " +
		"zero, or not a number, and images of which the model is certain.",
	needs:   "similarity/guards.csv",
	command: "sat run",
	read:    readGuards,
}

// guardRow is one model of guards.csv. NaN: not known, as of units that an earlier version made.
type guardRow struct {
	classes, attacked, zeroGradient, saturated, nanReplaced, whiteBox, resizedPairs, resizeMarked, top1 float64

	filter string // "inside", "below" or "above" the accuracies that the paper took; "" without labels
	flags  []string
}

// inWords are the flags of a model as sentences for people. A flag without words stands for itself.
func (g guardRow) inWords() string {
	of := func(n, all float64) string {
		if math.IsNaN(n) || math.IsNaN(all) {
			return "some"
		}
		return fmt.Sprintf("%s of %s", thousands(int(n)), thousands(int(all)))
	}
	words := map[string]string{
		"probabilities": "its outputs look like probabilities: attacked through a soft-max, gradients vanish",
		"unstable":      "it does not answer the same image twice alike",
		"zero_gradient": fmt.Sprintf("the whole gradient of %s images was zero at some step: they stood still there", of(g.zeroGradient, g.attacked)),
		"nan":           "gradient entries were not a number and taken for zero",
		"saturated": fmt.Sprintf("of %s images it was so certain at some step that the probability of the class rounds to 1",
			of(g.saturated, g.attacked)),
		"weak_attack": fmt.Sprintf("the attack fools it on fewer than %d %% of its own images", whiteBoxGoal),
		"resize":      fmt.Sprintf("resizing alone, without an attack, makes it wrong for images of %s other models", of(g.resizeMarked, g.resizedPairs)),
		"unchecked":   "an earlier version of the program made its units, and did not check it",
	}
	var out []string
	for _, flag := range g.flags {
		if w, known := words[flag]; known {
			flag = w
		}
		out = append(out, flag)
	}
	return strings.Join(out, "; ")
}

func readGuards(r *Run) (*content, error) {
	t, err := readTable(r.path("similarity", "guards.csv"), "model", "flags")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	guards := map[string]guardRow{}
	labelled := false
	err = r.modelRows(t, func(row tableRow, m *Model) error {
		var g guardRow
		for _, c := range []struct {
			column string
			to     *float64
		}{{"classes", &g.classes}, {"attacked", &g.attacked}, {"zero_gradient", &g.zeroGradient}, {"saturated", &g.saturated},
			{"nan_replaced", &g.nanReplaced}, {"white_box", &g.whiteBox}, {"resized_pairs", &g.resizedPairs}, {"resize_marked", &g.resizeMarked},
			{"top1", &g.top1}} {
			var err error
			if *c.to, err = row.optional(c.column); err != nil {
				return err
			}
		}
		if t.has("paper_filter") {
			switch g.filter = row.text("paper_filter"); g.filter {
			case "", "inside", "below", "above":
			default:
				return row.fail("paper_filter", "%q is none of inside, below, above", g.filter)
			}
		}
		labelled = labelled || g.filter != ""
		if flags := row.text("flags"); flags != "" {
			g.flags = strings.Split(flags, ";")
		}
		guards[m.Name] = g
		return nil
	})
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(t.path)
	if err != nil {
		return nil, err
	}
	return r.guardsContent(guards, labelled && !r.Info.WithoutPaper, text), nil
}

func (r *Run) guardsContent(guards map[string]guardRow, filtered bool, text []byte) *content {
	names := []string{"Model", "#Outputs", "#Attacked images", "#Zero gradient", "#Saturated", "#Not a number", "#Fooled on itself"}
	if filtered {
		names = append(names, "#Accuracy", "The paper's filter")
	}
	all := &dataTable{Label: "Checks of each model", Columns: columns(names...), Stem: "guards", CSV: text}
	flagged := &dataTable{Label: "Models with something to know", Columns: columns("Model", "What to know of it")}
	whole := func(v float64) string {
		if math.IsNaN(v) {
			return "–"
		}
		return thousands(int(v))
	}
	percent := func(v float64) string {
		if math.IsNaN(v) {
			return "–"
		}
		return fmt.Sprintf("%.1f %%", v)
	}
	var data []map[string]any
	inside := 0
	for i := range r.Models {
		name := r.Models[i].Name
		g := guards[name]
		row := cells(name, whole(g.classes), whole(g.attacked), whole(g.zeroGradient), whole(g.saturated), whole(g.nanReplaced), percent(g.whiteBox))
		if filtered {
			row = append(row, cells(percent(g.top1), dash(g.filter))...)
		}
		all.Rows = append(all.Rows, row)
		if g.flags != nil {
			flagged.Rows = append(flagged.Rows, cells(name, g.inWords()))
		}
		if g.filter == "inside" {
			inside++
		}
		data = append(data, map[string]any{"model": name, "classes": number(g.classes), "attacked": number(g.attacked), "zero_gradient": number(g.zeroGradient),
			"saturated": number(g.saturated), "nan_replaced": number(g.nanReplaced), "white_box": number(g.whiteBox), "top1": number(g.top1),
			"paper_filter": g.filter, "flags": append([]string{}, g.flags...)})
	}
	c := &content{data: data}
	if flagged.Rows == nil {
		c.blocks = append(c.blocks, block{Strong: fmt.Sprintf("Nothing speaks against the attack on any of the %s.", plural(len(r.Models), "model", "models"))})
	} else {
		c.blocks = append(c.blocks, block{Strong: fmt.Sprintf("There is something to know of %d of %s.", len(flagged.Rows), plural(len(r.Models), "model", "models"))},
			block{Table: flagged})
	}
	if filtered {
		c.blocks = append(c.blocks, block{Text: fmt.Sprintf("The paper took models with a top-1 accuracy of 79 to 83 %% on ImageNet. On the images of this run, %d of %s lie in that range.",
			inside, plural(len(r.Models), "model", "models"))})
	}
	c.blocks = append(c.blocks, block{Fold: &foldedPart{"Checks of each model", []block{{Table: all}}}})
	return c
}
