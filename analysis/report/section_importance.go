package report

import (
	"fmt"
	"math"
	"slices"
	"strconv"

	"gonum.org/v1/plot/vg"

	"sat/analysis"
	papertables "sat/analysis/paper"
)

// importanceSection says which components of an architecture decide about similarity (Fig. 3).
var importanceSection = &section{
	id: "importance", nav: "Components", title: "Which component decides?",
	lead: "Boosted regression trees predict the similarity of two models from the components in which they differ. A component is important " +
		"if the prediction loses much of its R² when that column is permuted.",
	files:   []string{"fig3_importance.csv"},
	command: "sat analyze importance",
	read:    readImportance,
}

type componentBar struct {
	column, name string
	mean, std    float64
	rank         int
	paper        int // rank in the paper; 0: not one of its components
}

func readImportance(r *Run) (*content, error) {
	t, csv, err := r.analysisTable("fig3_importance.csv", "component", "mean", "std", "rank")
	if t == nil {
		return nil, err
	}
	printed := map[string]papertables.Component{}
	for _, p := range papertables.Components() {
		printed[p.Column] = p
	}
	var bars []componentBar
	for _, row := range t.rows {
		b := componentBar{column: row.text("component"), name: readable(row.text("component"))}
		if p, ok := printed[b.column]; ok {
			b.name, b.paper = p.Name, p.Rank
		}
		if b.mean, err = row.number("mean"); err != nil {
			return nil, err
		}
		if b.std, err = row.number("std"); err != nil {
			return nil, err
		}
		if b.rank, err = row.count("rank", 1); err != nil {
			return nil, err
		}
		bars = append(bars, b)
	}
	if bars == nil {
		return nil, fmt.Errorf("%s: no line behind the header", t.path)
	}
	slices.SortStableFunc(bars, func(a, b componentBar) int { return a.rank - b.rank })
	var info struct {
		TrainR2       *nullable `json:"train_r2"`
		EvalR2        *nullable `json:"eval_r2"`
		SpearmanPaper *nullable `json:"spearman_paper"`
		Eval          string    `json:"eval"`
		Pairs         int       `json:"pairs"`
		Warnings      []string  `json:"warnings"`
	}
	if _, err := readJSON(r.path("analysis", "importance_fit.json"), &info); err != nil {
		return nil, err
	}
	note := "Loss of R² when the component is permuted; whiskers: one standard deviation."
	if r2 := orNaN(info.TrainR2); !math.IsNaN(r2) {
		note += fmt.Sprintf(" R² of the fit: %.2f.", r2)
	}
	c := &content{blocks: []block{{Figure: importanceFigure(bars, note, csv, !r.Info.WithoutPaper)}}, values: map[string]ownValue{}}
	scope := plural(len(bars), "component", "components")
	if info.Pairs > 0 {
		scope += ", " + plural(info.Pairs, "pair", "pairs")
	}
	first := bars[0]
	c.values["fig3"] = ownValue{value: math.NaN(), text: first.name, same: first.paper == 1, scope: scope}
	rho, n := rankAgreement(bars)
	if n >= 3 {
		c.values["fig3_order"] = ownValue{value: rho.Spearman, interval: noInterval, scope: plural(n, "shared component", "shared components")}
	}
	for _, w := range info.Warnings {
		c.blocks = append(c.blocks, block{Note: w})
	}
	data := make([]map[string]any, len(bars))
	for i, b := range bars {
		data[i] = map[string]any{"component": b.column, "mean": number(b.mean), "std": number(b.std), "rank": b.rank, "rank_paper": nil}
		if b.paper > 0 {
			data[i]["rank_paper"] = b.paper
		}
	}
	c.data = map[string]any{"train_r2": number(orNaN(info.TrainR2)), "components": data}
	return c, nil
}

// rankAgreement is Spearman's correlation of our order of the components with the paper's.
func rankAgreement(bars []componentBar) (c analysis.Correlation, n int) {
	var ours, theirs []float64
	for _, b := range bars {
		if b.paper > 0 {
			ours, theirs = append(ours, float64(b.rank)), append(theirs, float64(b.paper))
		}
	}
	c, err := analysis.Correlate(ours, theirs, intervalLevel)
	if err != nil {
		return c, 0
	}
	return c, len(ours)
}

func importanceFigure(bars []componentBar, note string, csv []byte, withPaper bool) *figure {
	names := make([]string, len(bars))
	lo, hi := 0.0, 1e-9
	for i, b := range bars {
		names[i] = b.name
		lo, hi = min(lo, b.mean-zeroIfNaN(b.std)), max(hi, b.mean+zeroIfNaN(b.std))
	}
	const rowHeight = vg.Length(17)
	width := vg.Length(5.6 * vg.Inch)
	height := headingHeight(note, width) + rowHeight*vg.Length(len(bars)) + 50
	alt := "Horizontal bars of permutation importance, largest first:"
	for _, b := range bars {
		alt += fmt.Sprintf(" %s %s;", b.name, short(b.mean))
	}
	return &figure{Stem: "fig3_importance", Title: "Importance of the components", Alt: alt, CSV: csv, width: width, height: height, draw: func(p pen) {
		top := p.heading("Importance of the components", note)
		right := margin + 6
		if withPaper {
			right += 40
		}
		a := &panel{pen: p, x0: margin + widest(names, textSize) + 10, y0: margin + 30, x1: width - right, y1: top - 14,
			xmin: lo * 1.05, xmax: hi * 1.04, ymin: 0, ymax: float64(len(bars))}
		for _, t := range ticks(a.xmin, a.xmax) {
			x := a.X(t.at)
			p.line(0.5, faint, vg.Point{X: x, Y: a.y0}, vg.Point{X: x, Y: a.y1})
			p.text(x, a.y0-8, t.label, lettering{size: smallSize, color: muted, align: 0.5})
		}
		p.text((a.x0+a.x1)/2, margin+6, "permutation importance (loss of R²)", lettering{size: smallSize, align: 0.5, color: muted})
		if withPaper {
			p.text(width-margin-20, a.y1+6, "rank in the paper", lettering{size: 6, align: 0.7, color: muted})
		}
		for i, b := range bars {
			y := a.Y(float64(len(bars)-i) - 0.5)
			p.fill(a.X(0), y-5.5, a.X(b.mean), y+5.5, clusterColors[0])
			if !math.IsNaN(b.std) {
				from, to := a.X(b.mean-b.std), a.X(b.mean+b.std)
				p.line(1, ink, vg.Point{X: from, Y: y}, vg.Point{X: to, Y: y})
				for _, x := range []vg.Length{from, to} {
					p.line(1, ink, vg.Point{X: x, Y: y - 2.5}, vg.Point{X: x, Y: y + 2.5})
				}
			}
			p.text(a.x0-6, y, b.name, lettering{size: textSize, align: 1})
			if withPaper {
				rank := "–"
				if b.paper > 0 {
					rank = strconv.Itoa(b.paper)
				}
				p.text(width-margin-20, y, rank, lettering{size: textSize, align: 0.5, color: muted})
			}
		}
		p.line(0.7, muted, vg.Point{X: a.X(0), Y: a.y0}, vg.Point{X: a.X(0), Y: a.y1})
	}}
}

func zeroIfNaN(v float64) float64 {
	if math.IsNaN(v) {
		return 0
	}
	return v
}
