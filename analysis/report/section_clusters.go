package report

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/plot/vg"

	"sat/analysis"
	papertables "sat/analysis/paper"
)

// clustersSection is the partition of the models (Tab. 2, Figs. 4a and C.1).
var clustersSection = &section{
	id: "clusters", nav: "Clusters", title: "Which models belong together?",
	lead: "Spectral clustering of the similarity graph. Keywords are the components that are frequent in a cluster and rare elsewhere, " +
		"with their weight (TF-IDF).",
	files:   []string{"tab2_clusters.csv", "tab2_keywords.csv", "spectral_distance.csv"},
	command: "sat analyze clusters, sat analyze keywords",
	read:    readClusters,
}

// readClusters shows what loadClusters, loadKeywords, loadDistance and loadEigenvalues have read, because other sections and
// the matrix need the clusters too.
func readClusters(r *Run) (*content, error) {
	c := r.Clusters
	if c == nil {
		return nil, nil
	}
	out := &content{values: map[string]ownValue{}}
	out.values["tab2_k"] = ownValue{value: float64(c.K), interval: noInterval, scope: plural(len(r.Models), "model", "models")}
	if a := c.Agreement; a != nil {
		out.blocks = append(out.blocks, block{Text: fmt.Sprintf("Agreement with the clusters printed in the paper: adjusted Rand index %.2f, "+
			"mutual information %.2f, %.0f %% of the models in matching clusters.", a.ARI, a.NMI, 100*a.Matched)})
		scope := plural(len(r.Models), "model", "models")
		out.values["tab2_ari"] = ownValue{value: a.ARI, interval: noInterval, scope: scope}
		out.values["tab2_nmi"] = ownValue{value: a.NMI, interval: noInterval, scope: scope}
		out.values["tab2_matched"] = ownValue{value: 100 * a.Matched, interval: noInterval, scope: scope}
		if r.Keywords != nil {
			out.values["tab2_keywords"] = ownValue{value: float64(r.printedKeywords()), interval: noInterval, scope: "clusters numbered as in the paper"}
		}
	}
	out.blocks = append(out.blocks, block{Cards: r.clusterCards(), Label: "Clusters"}, block{Fold: &foldedPart{"The same as a table (Tab. 2)", []block{{Table: r.clusterTable()}}}})
	if r.Keywords == nil {
		out.blocks = append(out.blocks, block{NotRun: "Keywords: not run."})
	}
	if f := eigenvalueFigure(r); f != nil {
		out.blocks = append(out.blocks, block{Figure: f}, block{Note: "A large gap after the k-th eigenvalue speaks for k clusters; where there is none, the number of clusters is a choice."})
	} else {
		out.blocks = append(out.blocks, block{NotRun: "Eigenvalues: not run."})
	}
	if r.Distance != nil {
		out.blocks = append(out.blocks, block{Figure: r.distanceFigure("fig4a_spectral_distance", false)},
			block{Fold: &foldedPart{"The same with the names of the models (Fig. C.1)", []block{{Figure: r.distanceFigure("figC1_spectral_distance_named", true)}}}})
	} else {
		out.blocks = append(out.blocks, block{NotRun: "Spectral distances: not run."})
	}
	return out, nil
}

// printedKeywords counts the paper's keywords that stand in our cluster of the same number. Two of the printed words stand
// for several values of the paper's own table: several 3x3 convolutions, and two activations.
func (r *Run) printedKeywords() (n int) {
	for _, k := range papertables.Keywords() {
		value := k.Value
		if k.Opposite != "" {
			value = k.Opposite
		}
		if k.Cluster > len(r.Keywords) {
			continue
		}
		for _, own := range r.Keywords[k.Cluster-1] {
			if own.Component == k.Component && sameKeyword(value, own.Value) {
				n++
				break
			}
		}
	}
	return n
}

func sameKeyword(printed, ours string) bool {
	switch {
	case printed == "stack of 3x3 convs":
		return strings.HasPrefix(ours, "3s2/")
	case strings.Contains(printed, "+"):
		return slices.Contains(strings.Split(printed, "+"), ours)
	}
	return printed == ours
}

func (r *Run) clusterCards() (out []card) {
	for number := 1; number <= r.Clusters.K; number++ {
		members := r.memberNames(number)
		c := card{Title: "Cluster " + strconv.Itoa(number), Small: plural(len(members), "model", "models"), Color: hex(clusterColor(number)), Members: members}
		if r.Keywords != nil {
			for _, k := range r.Keywords[number-1] {
				c.List = append(c.List, cellText{Text: readable(k.Component) + ": " + k.Value, Small: fmt.Sprintf("%.2f", k.Score)})
			}
		}
		out = append(out, c)
	}
	return out
}

func (r *Run) memberNames(cluster int) (names []string) {
	for _, i := range r.members(cluster) {
		names = append(names, r.Models[i].Name)
	}
	return names
}

func (r *Run) clusterTable() *dataTable {
	t := &dataTable{Stem: "tab2_clusters", Label: "Clusters, their keywords and members", Columns: columns("Cluster", "Keywords", "Members")}
	rows := [][]string{{"cluster", "keywords", "members"}}
	for number := 1; number <= r.Clusters.K; number++ {
		var words []string
		if r.Keywords != nil {
			for _, k := range r.Keywords[number-1] {
				words = append(words, readable(k.Component)+": "+k.Value)
			}
		}
		row := []string{strconv.Itoa(number), strings.Join(words, "; "), strings.Join(r.memberNames(number), ", ")}
		t.Rows, rows = append(t.Rows, cells(row...)), append(rows, row)
	}
	t.CSV = csvBytes(rows)
	return t
}

// distanceFigure shows the distances of the spectral features, with or without names of the models.
func (r *Run) distanceFigure(stem string, named bool) *figure {
	hi := highest(r.Distance)
	h := &heatmap{
		title:  "Distance of the spectral features",
		note:   "Euclidean distance between the rows that were clustered; dark means close.",
		matrix: r.Distance, order: r.displayOrder(), names: r.names(), clusters: r.clusterNumbers(),
		lo: 0, hi: hi, barTitle: "distance", barTicks: ticks(0, hi), unnamed: !named,
	}
	if named {
		h.second = r.secondStrip()
		h.format = func(i, j int) string { return score(r.Distance.At(i, j)) }
	}
	return h.figure(stem, fmt.Sprintf("Heatmap of the distances between the spectral features of %s, from 0 to %.2f. "+
		"Blocks on the diagonal are the clusters.", plural(len(r.Models), "model", "models"), hi))
}

func eigenvalueFigure(r *Run) *figure {
	c := r.Clusters
	if c == nil || len(c.Eigenvalues) < 2 {
		return nil
	}
	rows := [][]string{{"index", "eigenvalue"}}
	xs := make([]float64, len(c.Eigenvalues))
	for i, v := range c.Eigenvalues {
		xs[i] = float64(i + 1)
		rows = append(rows, []string{strconv.Itoa(i + 1), analysis.FormatFloat(v)})
	}
	gap := c.Eigengap
	if math.IsNaN(gap) && c.K < len(c.Eigenvalues) {
		gap = c.Eigenvalues[c.K] - c.Eigenvalues[c.K-1]
	}
	note := fmt.Sprintf("Smallest eigenvalues of the Laplacian of the similarity graph; k = %s were used.", plural(c.K, "cluster", "clusters"))
	alt := fmt.Sprintf("Eigenvalues 1 to %d of the graph Laplacian, rising from %.3g to %.3g.", len(xs), c.Eigenvalues[0], c.Eigenvalues[len(xs)-1])
	switch {
	case !math.IsNaN(gap):
		alt += fmt.Sprintf(" The gap after eigenvalue %d is %.3g.", c.K, gap)
	case c.K >= len(r.Models):
		alt += fmt.Sprintf(" As there are as many clusters as models, %d, no eigenvalue is left out, and there is no gap.", c.K)
	}
	const height = 2.7 * vg.Inch
	width := vg.Length(5 * vg.Inch)
	return &figure{Stem: "spectral_eigenvalues", Title: "Eigenvalues and eigengap", Alt: alt, CSV: csvBytes(rows), width: width, height: height,
		draw: func(p pen) {
			top := p.heading("Eigenvalues and eigengap", note)
			lo, hi := min(0, c.Eigenvalues[0]), c.Eigenvalues[len(xs)-1]
			span := max(hi-lo, 1e-9)
			a := &panel{pen: p, x0: margin + 34, y0: margin + 30, x1: width - margin - 4, y1: top - 6,
				xmin: 0.5, xmax: float64(len(xs)) + 0.5, ymin: lo - 0.04*span, ymax: hi + 0.08*span}
			var at []tick
			for i := range xs {
				at = append(at, tick{xs[i], strconv.Itoa(i + 1)})
			}
			a.axes(at, ticks(a.ymin, a.ymax), true, true)
			p.text((a.x0+a.x1)/2, margin+6, "index of the eigenvalue", lettering{size: smallSize, align: 0.5, color: muted})
			p.text(margin+4, (a.y0+a.y1)/2, "eigenvalue", lettering{size: smallSize, align: 0.5, color: muted, upright: true})
			if c.K < len(xs) {
				x := a.X(float64(c.K) + 0.5)
				below, above := a.Y(c.Eigenvalues[c.K-1]), a.Y(c.Eigenvalues[c.K])
				p.dashed(0.8, accent, []vg.Length{3, 2}, vg.Point{X: x, Y: a.y0}, vg.Point{X: x, Y: a.y1})
				p.line(2.2, accent, vg.Point{X: x, Y: below}, vg.Point{X: x, Y: above})
				label := fmt.Sprintf("gap %.3f after k = %d", gap, c.K)
				style := lettering{size: smallSize, color: accent, bold: true}
				// Eigenvalues ascend, so the room is right of the line at the bottom and left of it at the top.
				if x+4+textWidth(label, smallSize, true) <= a.x1 {
					p.text(x+4, a.y0+8, label, style)
				} else {
					style.align = 1
					p.text(x-4, a.y1-6, label, style)
				}
			}
			a.curve(xs, c.Eigenvalues, 0.8, muted)
			for i, v := range c.Eigenvalues {
				fill := clusterColors[0]
				if i >= c.K {
					fill = undefinedFill
				}
				p.dot(a.X(xs[i]), a.Y(v), 2.6, fill)
			}
		}}
}
