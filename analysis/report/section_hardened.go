package report

import (
	"fmt"
	"math"

	"sat/analysis"
)

// hardenedSection shows where SAT places models that were trained on adversarial images. It is made of the tables of
// similarity/ and of run.json, which says which models these are.
var hardenedSection = &section{
	id: "hardened", nav: "Adversarial training", title: "Where does adversarial training place a model?",
	lead: "Models trained on adversarial images withstand the attack, so their own images are few and their similarity must be read by " +
		"direction: images made on them that fool others, and images of others that fool them.",
	needs:   "model trained on adversarial images",
	command: "adversarial in its recipe",
	read:    readHardened,
}

// directions are mean success rates of one model against the ordinary others, in per cent.
type directions struct {
	made, fooledBy, sat float64
	pairs               int
}

// againstOrdinary averages over the pairs of model i with the models that were trained as usual.
func (r *Run) againstOrdinary(i int) directions {
	d := directions{made: math.NaN(), fooledBy: math.NaN(), sat: math.NaN()}
	var made, fooled, sat float64
	for j := range r.Models {
		if i == j || r.Models[j].hardened() {
			continue
		}
		p := r.Pair(i, j)
		if p.Status == analysis.StatusEmpty {
			continue
		}
		ab, ba := p.FooledAB, p.FooledBA
		if p.A != r.Models[i].Name {
			ab, ba = ba, ab
		}
		made += 100 * float64(ab) / float64(p.NBoth)
		fooled += 100 * float64(ba) / float64(p.NBoth)
		sat += p.SAT
		d.pairs++
	}
	if n := float64(d.pairs); n > 0 {
		d.made, d.fooledBy, d.sat = made/n, fooled/n, sat/n
	}
	return d
}

func readHardened(r *Run) (*content, error) {
	percent := func(v float64) string {
		if math.IsNaN(v) {
			return "–"
		}
		return fmt.Sprintf("%.1f %%", v)
	}
	t := &dataTable{Label: "Models trained on adversarial images beside the others",
		Columns: columns("Model", "#Accuracy", "#Fooled by images made on itself", "#Its images fool others", "#Images of others fool it", "#Mean SAT", "Most similar")}
	var data []map[string]any
	var others directions
	var top1, self float64
	n := 0
	for i := range r.Models {
		m := &r.Models[i]
		d := r.againstOrdinary(i)
		if !m.hardened() {
			if m.Self.N > 0 && d.pairs > 0 && !math.IsNaN(m.Top1) {
				top1, self, n = top1+m.Top1, self+m.Self.Percent, n+1
				others.made, others.fooledBy, others.sat = others.made+d.made, others.fooledBy+d.fooledBy, others.sat+d.sat
			}
			continue
		}
		nearest, best := "–", math.Inf(-1)
		for j := range r.Models {
			if i != j {
				if p := r.Pair(i, j); p.Status != analysis.StatusEmpty && p.SAT > best {
					nearest, best = r.Models[j].Name, p.SAT
				}
			}
		}
		own := math.NaN()
		if m.Self.N > 0 {
			own = m.Self.Percent
		}
		a := m.Info.Adversarial
		row := cells(m.Name, percent(m.Top1), percent(own), percent(d.made), percent(d.fooledBy), score(d.sat), nearest)
		row[0].Small = fmt.Sprintf("ε = %s, %s of %s", a.Epsilon, plural(a.Steps, "step", "steps"), a.StepSize)
		t.Rows = append(t.Rows, row)
		data = append(data, map[string]any{"model": m.Name, "epsilon": a.Epsilon, "top1": number(m.Top1), "self": number(own), "made": number(d.made),
			"fooled_by": number(d.fooledBy), "mean_sat": number(d.sat)})
	}
	if t.Rows == nil {
		return nil, nil
	}
	if k := float64(n); n > 0 {
		t.Rows = append(t.Rows, cells(fmt.Sprintf("mean of the other %s", plural(n, "model", "models")), percent(top1/k), percent(self/k), percent(others.made/k),
			percent(others.fooledBy/k), score(others.sat/k), ""))
	}
	return &content{blocks: []block{{Table: t}, {Note: "All figures against the models trained as usual, over the images that both classify correctly. These models take part in the " +
		"matrix and the clusters, not in the comparison of architectures and seeds nor in the choice of ε, which are about models that the attack can fool."}}, data: data}, nil
}
