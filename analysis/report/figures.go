package report

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"fmt"
	"image/color"
	"math"
	"strconv"
	"strings"

	"gonum.org/v1/plot/vg"

	"sat/analysis"
)

// ln100 is the largest possible SAT: every image transfers, both ways.
var ln100 = math.Log(100)

// figures returns the figures this run has the data for, in the order of the page.
func figures(r *Run, o Options) ([]*figure, error) {
	var out []*figure
	var tree *figure
	if o.Dendrogram {
		var err error
		if tree, err = treeFigure(r); err != nil {
			return nil, err
		}
	}
	for _, f := range []*figure{
		satFigure(r), tree, groupsFigure(r), sweepFigure(r), curvesFigure(r),
	} {
		if f != nil {
			out = append(out, f)
		}
	}
	for _, s := range sections {
		if c := r.sections[s.id]; c != nil {
			out = append(out, figuresIn(c.blocks)...)
		}
	}
	return out, nil
}

// tables returns the tables that are files of figures/.
func tables(r *Run) (out []*dataTable) {
	for _, s := range sections {
		if c := r.sections[s.id]; c != nil {
			out = append(out, tablesIn(c.blocks)...)
		}
	}
	return out
}

// displayOrder is the order of rows in figures: by cluster when there are clusters, else that of sat.csv.
func (r *Run) displayOrder() []int {
	if r.Clusters != nil {
		return r.Clusters.Order
	}
	order := make([]int, len(r.Models))
	for i := range order {
		order[i] = i
	}
	return order
}

func (r *Run) names() []string {
	names := make([]string, len(r.Models))
	for i := range r.Models {
		names[i] = r.Models[i].Name
	}
	return names
}

// clusterNumbers returns the cluster of each model, nil when models were not clustered.
func (r *Run) clusterNumbers() []int {
	if r.Clusters == nil {
		return nil
	}
	numbers := make([]int, len(r.Models))
	for i := range r.Models {
		numbers[i] = r.Models[i].Cluster
	}
	return numbers
}

// groupOf names what models are compared by: the group of the central claim, else what run.json calls family or
// architecture.
func (m *Model) groupOf() string { return cmp.Or(m.Group, m.Info.Family, m.Info.Architecture) }

// secondStrip shows the base architecture, where it is known and differs between models.
func (r *Run) secondStrip() *strip {
	s := &strip{title: "Base architecture", values: make([]string, len(r.Models))}
	distinct := map[string]bool{}
	for i := range r.Models {
		s.values[i] = r.Models[i].Architecture
		if s.values[i] != "" {
			distinct[s.values[i]] = true
		}
	}
	if len(distinct) == 0 {
		return nil
	}
	return s
}

// images describes the number of common images behind the pairs, for example "346 to 358".
func (r *Run) images() string {
	if len(r.Pairs) == 0 {
		return "0"
	}
	lo, hi := r.Pairs[0].NBoth, r.Pairs[0].NBoth
	for _, p := range r.Pairs {
		lo, hi = min(lo, p.NBoth), max(hi, p.NBoth)
	}
	if lo == hi {
		return strconv.Itoa(lo)
	}
	return fmt.Sprintf("%d to %d", lo, hi)
}

// satRange gives the colours of the similarity matrix: from just below the lowest score of a pair that is not floored
// up to ln 100. Floored pairs, at an arbitrary low number, take the lowest colour and do not spend the palette.
func satRange(r *Run) (lo, hi float64) {
	lo = ln100 - 0.5 // the palette never spans less, or noise would look like structure
	for _, p := range r.Pairs {
		if p.Status != analysis.StatusFloored && p.SAT < lo {
			lo = p.SAT
		}
	}
	for i := range r.Models {
		if s := r.Models[i].Self; s.Fooled > 0 && s.SAT < lo {
			lo = s.SAT
		}
	}
	return math.Floor(lo*10) / 10, ln100
}

func satTicks(lo, hi float64) (out []tick) {
	step := 0.5
	if hi-lo > 4 {
		step = 1
	}
	// The page draws the bar lying down, where labels closer than 0.7 steps run into each other.
	for v := math.Ceil(lo/step) * step; v < hi-0.7*step; v += step {
		label := fmt.Sprintf("%.1f = %s %%", v+0, formatPercent(math.Exp(v))) // Ceil may give -0, which + 0 makes 0
		out = append(out, tick{v, minus(label)})
	}
	return append(out, tick{hi, fmt.Sprintf("%.1f = 100 %%", hi)})
}

// formatPercent gives two significant digits, as fits an axis.
func formatPercent(v float64) string {
	if v >= 9.95 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 2, 64)
}

func satFigure(r *Run) *figure {
	h := r.satHeatmap()
	if r.Clusters != nil {
		return h.figure("figD1_sat_matrix", r.satAlt()+fmt.Sprintf("Rows and columns are in the order of %d clusters. ", r.Clusters.K)+numbersElsewhere)
	}
	return h.figure("figD1_sat_matrix", r.satAlt()+numbersElsewhere)
}

// treeFigure is the similarity matrix in the order of a dendrogram: average linkage of the distances ln 100 - SAT. A pair
// without a score has no distance, and then there is no tree.
func treeFigure(r *Run) (*figure, error) {
	d := analysis.NewMatrix(r.names())
	for i := range r.Models {
		for j := range r.Models {
			if i != j {
				d.Set(i, j, max(0, ln100-r.SAT.At(i, j)))
			}
		}
	}
	steps, err := analysis.AverageLinkage(d)
	if err != nil {
		return nil, fmt.Errorf("dendrogram of the similarity matrix: %w", err)
	}
	h := r.satHeatmap()
	h.title = "Similarity in the order of a dendrogram"
	h.note = "Average linkage of the distances ln 100 − SAT: branches merge at the mean distance of their models. " + h.note
	h.tree, h.order = steps, analysis.LeafOrder(len(r.Models), steps)
	return h.figure("figD1_sat_matrix_dendrogram", r.satAlt()+"Rows and columns are in the order of the dendrogram above. "+numbersElsewhere), nil
}

const numbersElsewhere = "The numbers are in the table of pairs."

func (r *Run) satHeatmap() *heatmap {
	lo, hi := satRange(r)
	return &heatmap{
		title:  "Similarity by attack transferability (SAT)",
		note:   r.scopeLine() + " Diagonal: success of the attack on the model it was made on.",
		matrix: r.SAT, order: r.displayOrder(), names: r.names(), clusters: r.clusterNumbers(), second: r.secondStrip(),
		lo: lo, hi: hi, barTitle: "SAT = ln of the percentage fooled", barTicks: satTicks(lo, hi),
		format:  r.cellLabel,
		missing: "no image that both models classify correctly",
	}
}

func (r *Run) satAlt() string {
	alt := fmt.Sprintf("Heatmap of the similarity of %s. ", plural(len(r.Models), "model", "models"))
	if mean := analysis.Summarize(r.Pairs); mean.Pairs > 0 {
		alt += fmt.Sprintf("Mean over %s of different models %.2f, median %.2f. ", plural(mean.Pairs, "pair", "pairs"), mean.Mean, mean.Median)
	}
	return alt
}

// cellLabel is what stands in a cell of the similarity matrix. The number of a pair at the floor would mean nothing.
func (r *Run) cellLabel(i, j int) string {
	state := r.Models[i].Self.Status
	if i != j {
		state = r.Pair(i, j).Status
	}
	if state == analysis.StatusFloored {
		return "floor"
	}
	return score(r.SAT.At(i, j))
}

// scopeLine says what the scores rest on.
func (r *Run) scopeLine() string {
	s := plural(len(r.Models), "model", "models")
	if r.Info.Data.Name != "" {
		s += " on " + r.Info.Data.Name
	}
	s += ", " + r.images() + " common images per pair"
	if a := r.attackLine(); a != "" {
		s += ", " + a
	}
	return s + "."
}

// attackLine says in a few words which attack was used, "" when run.json does not tell.
func (r *Run) attackLine() string {
	a := r.Info.Attack
	var parts []string
	if a["method"] != "" {
		parts = append(parts, strings.ToUpper(a["method"]))
	}
	if a["epsilon"] != "" {
		parts = append(parts, "ε\u00a0=\u00a0"+a["epsilon"])
	}
	if a["steps"] != "" {
		parts = append(parts, a["steps"]+"\u00a0steps")
	}
	return strings.Join(parts, ", ")
}

func sweepFigure(r *Run) *figure {
	if len(r.Sweep) < 2 {
		return nil
	}
	rows := [][]string{{"epsilon", "model", "group", "n_both", "n_fooled", "percent"}}
	xs := make([]float64, len(r.Sweep))
	lines := make([][]float64, len(r.Models))
	xTicks := make([]tick, len(r.Sweep))
	chosen := -1
	lo := 100.0
	for k, p := range r.Sweep {
		xs[k] = 255 * p.Epsilon
		xTicks[k] = tick{xs[k], p.Label}
		if p.Chosen {
			chosen = k
		}
		for i, c := range p.Counts {
			lines[i] = append(lines[i], c.Percent)
			rows = append(rows, []string{p.Label, c.Model, r.Models[i].groupOf(), strconv.Itoa(c.N), strconv.Itoa(c.Fooled), analysis.FormatFloat(c.Percent)})
			if !math.IsNaN(c.Percent) {
				lo = min(lo, c.Percent)
			}
		}
	}
	groups, colors := r.lineColors()
	width, height := vg.Length(figureWidth), vg.Length(3.2*vg.Inch)
	const title = "White-box success of the attack"
	note := "Share of the images a model gets right that the attack, made on that model, turns wrong."
	alt := fmt.Sprintf("Lines of white-box success against epsilon, one per model. Lowest value %.1f per cent.", lo)
	if chosen >= 0 {
		alt += fmt.Sprintf(" The run uses epsilon %s.", r.Sweep[chosen].Label)
	}
	return &figure{Stem: "whitebox_sweep", Title: title, Alt: alt, CSV: csvBytes(rows), width: width, height: height, draw: func(p pen) {
		top := p.heading(title, note)
		legendWidth := sideLegendWidth(groups)
		span := xs[len(xs)-1] - xs[0]
		a := &panel{pen: p, x0: margin + 34, y0: margin + 32, x1: width - margin - legendWidth, y1: top - 8,
			xmin: xs[0] - 0.04*span, xmax: xs[len(xs)-1] + 0.04*span, ymin: math.Floor(lo/10) * 10, ymax: 101}
		if a.ymin == 100 {
			a.ymin = 90
		}
		if chosen >= 0 {
			x := a.X(xs[chosen])
			p.fill(x-7, a.y0, x+7, a.y1, faint)
			p.text(x, a.y1+5, "used", lettering{size: smallSize, align: 0.5, bold: true})
		}
		a.axes(xTicks, ticks(a.ymin, 100), true, true)
		if a.ymin < 95 {
			p.dashed(0.8, accent, []vg.Length{4, 2}, vg.Point{X: a.x0, Y: a.Y(95)}, vg.Point{X: a.x1, Y: a.Y(95)})
			p.text(a.x1, a.Y(95)-6, "95 %", lettering{size: smallSize, color: accent, bold: true, align: 1})
		}
		for i, ys := range lines {
			c := colors[r.Models[i].groupOf()]
			a.curve(xs, ys, 1, c)
			for k, y := range ys {
				if !math.IsNaN(y) {
					p.dot(a.X(xs[k]), a.Y(y), 1.8, c)
				}
			}
		}
		p.text((a.x0+a.x1)/2, margin+6, "ε (largest change of a pixel)", lettering{size: smallSize, align: 0.5, color: muted})
		p.text(margin+4, (a.y0+a.y1)/2, "images fooled, %", lettering{size: smallSize, align: 0.5, color: muted, upright: true})
		sideLegend(p, a.x1+12, a.y1, groups, colors)
	}}
}

// lineColors gives each group of models a colour; groups beyond the palette share grey, and the legend says so.
func (r *Run) lineColors() (groups []string, colors map[string]color.RGBA) {
	var names []string
	for i := range r.Models {
		names = append(names, r.Models[i].groupOf())
	}
	groups, colors = colorize(names, clusterColors)
	if len(groups) == 1 && groups[0] == "" {
		return nil, colors
	}
	if len(groups) <= len(clusterColors) {
		return groups, colors
	}
	for _, g := range groups {
		colors[g] = clusterColors[0]
	}
	return nil, colors
}

func sideLegendWidth(groups []string) vg.Length {
	if len(groups) == 0 {
		return 6
	}
	return 12 + 14 + widest(groups, smallSize) + 4
}

func sideLegend(p pen, x, top vg.Length, groups []string, colors map[string]color.RGBA) {
	for i, g := range groups {
		y := top - 5 - 11*vg.Length(i)
		p.line(2, colors[g], vg.Point{X: x, Y: y}, vg.Point{X: x + 10, Y: y})
		p.text(x+14, y, g, lettering{size: smallSize})
	}
}

// csvBytes writes rows as CSV.
func csvBytes(rows [][]string) []byte {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	_ = w.WriteAll(rows) // a bytes.Buffer takes everything
	return b.Bytes()
}

func matrixCSV(m *analysis.Matrix, order []int) []byte {
	header := []string{"model"}
	for _, j := range order {
		header = append(header, m.Names[j])
	}
	rows := [][]string{header}
	for _, i := range order {
		row := []string{m.Names[i]}
		for _, j := range order {
			row = append(row, analysis.FormatFloat(m.At(i, j)))
		}
		rows = append(rows, row)
	}
	return csvBytes(rows)
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return thousands(n) + " " + many
}
