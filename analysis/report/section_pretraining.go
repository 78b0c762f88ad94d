package report

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"slices"
	"strings"
)

// pretrainingSection is about encoders that learned without labels: models/pretraining.csv, see docs/files.md.
var pretrainingSection = &section{
	id: "pretraining", nav: "Without labels", title: "What does learning without labels give?",
	lead: "Encoders that saw the training images without their labels. A linear probe is a linear classifier on what the frozen encoder makes of " +
		"an image; an encoder as it was drawn is what has to be beaten. Fine-tuned, the encoder itself is trained on with labels.",
	needs:   "models/pretraining.csv",
	command: "[[pretrain]] in the experiment",
	read:    readPretraining,
}

var pretrainingMethods = map[string]string{"mae": "MAE", "mocov3": "MoCo v3", "byol": "BYOL", "": "none: as drawn"}

// encoderResults are the accuracies, in per cent, reached from one pre-trained encoder, or from one network as drawn.
type encoderResults struct {
	name, method  string
	probes, tuned []reached
}

type reached struct {
	model    string // "" for a probe
	top1     float64
	interval Interval
}

func readPretraining(r *Run) (*content, error) {
	t, err := readTable(r.path("models", "pretraining.csv"), "kind", "encoder", "method", "model", "seed", "n", "top1", "ci_lo", "ci_hi")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(t.path)
	if err != nil {
		return nil, err
	}
	var list []*encoderResults
	byName := map[string]*encoderResults{}
	var data []map[string]any
	for _, row := range t.rows {
		var v [3]float64
		for i, column := range []string{"top1", "ci_lo", "ci_hi"} {
			if v[i], err = row.number(column); err != nil {
				return nil, err
			}
			if !(v[i] >= 0 && v[i] <= 100) {
				return nil, row.fail(column, "%v is not a percentage", v[i])
			}
		}
		name, method, kind := row.text("encoder"), row.text("method"), row.text("kind")
		e := byName[name]
		if e == nil {
			e = &encoderResults{name: name, method: method}
			byName[name], list = e, append(list, e)
		}
		if method != e.method {
			return nil, row.fail("method", "%q, but %q above for the same encoder", method, e.method)
		}
		x := reached{row.text("model"), v[0], Interval{v[1], v[2]}}
		switch kind {
		case "linear probe":
			e.probes = append(e.probes, x)
		case "training":
			e.tuned = append(e.tuned, x)
		default:
			return nil, row.fail("kind", "%q is neither \"linear probe\" nor \"training\"", kind)
		}
		data = append(data, map[string]any{"kind": kind, "encoder": name, "method": method, "model": x.model, "top1": number(v[0]),
			"ci_lo": number(v[1]), "ci_hi": number(v[2])})
	}
	if list == nil {
		return nil, nil
	}
	slices.SortStableFunc(list, func(a, b *encoderResults) int { // networks as drawn behind what learned
		switch {
		case (a.method == "") == (b.method == ""):
			return 0
		case a.method == "":
			return 1
		}
		return -1
	})
	out := &dataTable{Stem: "pretraining", CSV: text, Label: "Accuracy on the validation images, %", Columns: columns("Encoder", "Learned by", "#Linear probe", "#Trained with labels", "Models")}
	for _, e := range list {
		method := e.method
		if words, ok := pretrainingMethods[method]; ok {
			method = words
		}
		probe, tuned := spanCell(e.probes, "encoder", "encoders"), spanCell(e.tuned, "model", "models")
		var models []string
		for _, x := range e.tuned {
			models = append(models, x.model)
		}
		out.Rows = append(out.Rows, []cellText{{Text: e.name}, {Text: method}, probe, tuned, {Text: dash(strings.Join(models, ", "))}})
	}
	c := &content{data: data}
	if finding := probeFinding(list); finding != "" {
		c.blocks = append(c.blocks, block{Strong: finding})
	}
	c.blocks = append(c.blocks, block{Table: out}, block{Note: "In brackets: 95 % interval over images (Wilson). How alike the models are that start from different encoders stands " +
		"in the matrix and, where they are a training set, under “" + trainingSection.title + "”"})
	return c, nil
}

// spanCell is one accuracy with its interval, or the lowest and highest of several.
func spanCell(list []reached, one, many string) cellText {
	switch len(list) {
	case 0:
		return cellText{Text: "–"}
	case 1:
		return cellText{Text: fmt.Sprintf("%.1f", list[0].top1), Small: fmt.Sprintf("[%.1f, %.1f]", list[0].interval.Lo, list[0].interval.Hi)}
	}
	lo, hi := rangeOf(list)
	return cellText{Text: fmt.Sprintf("%.1f to %.1f", lo, hi), Small: plural(len(list), one, many)}
}

func rangeOf(list []reached) (lo, hi float64) {
	lo, hi = math.Inf(1), math.Inf(-1)
	for _, x := range list {
		lo, hi = min(lo, x.top1), max(hi, x.top1)
	}
	return lo, hi
}

// probeFinding sets the probes of pre-trained encoders beside the best of those as drawn; "" without either.
func probeFinding(list []*encoderResults) string {
	var drawn []reached
	for _, e := range list {
		if e.method == "" {
			drawn = append(drawn, e.probes...)
		}
	}
	_, bar := rangeOf(drawn)
	better, all := 0, 0
	for _, e := range list {
		for _, x := range e.probes {
			if e.method != "" {
				all++
				if x.top1 > bar {
					better++
				}
			}
		}
	}
	if all == 0 || drawn == nil {
		return ""
	}
	return fmt.Sprintf("%d of %s better than the best of %s as drawn (%.1f\u00a0%%).",
		better, plural(all, "pre-trained encoder is", "pre-trained encoders are"), plural(len(drawn), "encoder", "encoders"), bar)
}
