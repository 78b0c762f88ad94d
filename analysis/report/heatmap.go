package report

import (
	"fmt"
	"image"
	"image/color"
	"math"
	"slices"
	"strconv"

	"gonum.org/v1/plot/vg"

	"sat/analysis"
)

// heatmap is a square matrix over models as coloured cells: row 0 on top, names on both axes, strips of colour for
// properties of the models, lines between clusters and a colour bar.
type heatmap struct {
	title, note string
	matrix      *analysis.Matrix
	order       []int    // row k shows model order[k]
	names       []string // per model
	clusters    []int    // per model, from 1; nil: no borders and no strip
	second      *strip   // further strip; nil: none
	lo, hi      float64  // colours span [lo, hi]; values outside take the end colours
	barTitle    string
	barTicks    []tick
	format      func(i, j int) string // prints values into the cells when there are at most printCells models
	missing     string                // meaning of undefined cells
	unnamed     bool                  // no names on the axes
	tree        []analysis.Merge      // dendrogram above the columns, whose leaves are in order; nil: none
}

// strip shows a category per model.
type strip struct {
	title  string
	values []string // per model; "" is drawn as undefined
}

const (
	printCells  = 20             // most models whose values are printed into the cells
	rasterCells = 160            // from here on cells are one image and models go unnamed: paths would make files of many MB
	minCell     = vg.Length(4.9) // gives labels of 4.3 points, legible in print
	maxCell     = vg.Length(30)
	stripWidth  = vg.Length(7)
	barWidth    = vg.Length(10)
	treeHeight  = vg.Length(46) // whatever the size of the matrix
)

// heatmapLayout holds the sizes that follow from the number of models and the length of their names.
type heatmapLayout struct {
	cell, labelSize, labelWidth, bar, strips, top, legends vg.Length
	width, height                                          vg.Length
}

func (h *heatmap) labelled() bool { return !h.unnamed && len(h.order) < rasterCells }

func (h *heatmap) layout() (l heatmapLayout) {
	n := vg.Length(len(h.order))
	labelled := h.labelled()
	nStrips := vg.Length(0)
	if h.clusters != nil {
		nStrips++
	}
	if h.second != nil {
		nStrips++
	}
	l.strips = nStrips * (stripWidth + 1)
	barLabels := make([]string, len(h.barTicks))
	for i, t := range h.barTicks {
		barLabels[i] = t.label
	}
	l.bar = 12 + barWidth + 5 + widest(barLabels, smallSize) + 4 + textSize + 4
	// The cell size depends on the room the labels leave, and the label size on the cell: a few rounds settle it.
	l.cell = 12
	for range 8 {
		l.labelSize = min(0.88*l.cell, textSize)
		l.labelWidth = 0
		if labelled {
			l.labelWidth = widest(h.names, l.labelSize) + 3
		}
		if h.clusters != nil || h.second != nil {
			l.labelWidth = max(l.labelWidth, textWidth("architecture", 6, false)+4) // the strips' names stand above
		}
		l.cell = min((figureWidth-2*margin-l.labelWidth-l.strips-3-l.bar)/n, maxCell)
		if labelled {
			l.cell = max(l.cell, minCell)
		}
	}
	l.width = max(2*margin+l.labelWidth+l.strips+3+l.cell*n+l.bar, 4*vg.Inch)
	l.top = headingHeight(h.note, l.width) + l.strips + 2
	if h.tree != nil {
		l.top += treeHeight
	}
	down := vg.Length(0)
	if labelled {
		down = widest(h.names, l.labelSize) + 4
	}
	l.legends = -h.drawLegends(nil, 0, l.width-2*margin)
	// A small matrix still needs the height for a readable colour bar.
	l.height = l.top + max(l.cell*n+down, 110) + 8 + l.legends + margin
	return l
}

func (h *heatmap) drawLegends(p *pen, y, width vg.Length) vg.Length {
	if h.clusters != nil {
		count := 0
		for _, c := range h.clusters {
			count = max(count, c)
		}
		size := make([]int, count+1)
		for _, c := range h.clusters {
			size[c]++
		}
		var items []legendItem
		for c := 1; c <= count; c++ {
			models := "models"
			if size[c] == 1 {
				models = "model"
			}
			items = append(items, legendItem{fmt.Sprintf("%d (%d %s)", c, size[c], models), clusterColor(c), ""})
		}
		y = legend(p, margin, y, width, "Cluster", items)
	}
	if h.second != nil {
		colors := h.second.colors()
		var items []legendItem
		for _, name := range h.secondValues() {
			items = append(items, legendItem{name, colors[name], ""})
		}
		y = legend(p, margin, y, width, h.second.title, items)
	}
	if h.hasMissing() {
		y = legend(p, margin, y, width, "Grey", []legendItem{{h.missing, undefinedFill, ""}})
	}
	return y
}

// secondValues lists the categories of the second strip in display order, so that the legend follows the rows.
func (h *heatmap) secondValues() (values []string) {
	for _, i := range h.order {
		if v := h.second.values[i]; v != "" && !slices.Contains(values, v) {
			values = append(values, v)
		}
	}
	return values
}

// colors gives each category its colour, the same in every order of the models.
func (s *strip) colors() map[string]color.RGBA {
	var values []string
	for _, v := range s.values {
		if v != "" {
			values = append(values, v)
		}
	}
	_, colors := colorize(values, architectureColors)
	return colors
}

func (h *heatmap) hasMissing() bool {
	for _, v := range h.matrix.Values {
		if math.IsNaN(v) {
			return true
		}
	}
	return false
}

func (h *heatmap) color(v float64) color.RGBA {
	if h.hi <= h.lo && !math.IsNaN(v) { // one value everywhere
		return viridis(0.5)
	}
	return viridis((v - h.lo) / (h.hi - h.lo))
}

func (h *heatmap) figure(stem, alt string) *figure {
	l := h.layout()
	return &figure{Stem: stem, Title: h.title, Alt: alt, CSV: matrixCSV(h.matrix, h.order), width: l.width, height: l.height,
		draw: func(p pen) { h.draw(p, l) }}
}

func (h *heatmap) draw(p pen, l heatmapLayout) {
	n := len(h.order)
	p.heading(h.title, h.note)
	x0 := margin + l.labelWidth + l.strips + 3
	y1 := p.Max.Y - l.top // top of the cells
	size := l.cell * vg.Length(n)
	x1, y0 := x0+size, y1-size
	column := func(k int) vg.Length { return x0 + vg.Length(k)*l.cell }
	row := func(k int) vg.Length { return y1 - vg.Length(k)*l.cell } // top edge

	labelled := h.labelled()
	if n < rasterCells {
		h.drawCells(p, l, column, row)
	} else {
		img := image.NewRGBA(image.Rect(0, 0, n, n))
		for a, i := range h.order {
			for b, j := range h.order {
				img.SetRGBA(b, a, h.color(h.matrix.At(i, j)))
			}
		}
		p.DrawImage(vg.Rectangle{Min: vg.Point{X: x0, Y: y0}, Max: vg.Point{X: x1, Y: y1}}, enlarge(img, int(math.Ceil(size.Dots(dpi)/float64(n)))))
	}
	h.drawBorders(p, column, row)
	h.drawTree(p, l, column)

	for k, i := range h.order {
		if !labelled {
			break
		}
		mid := vg.Length(k)*l.cell + l.cell/2
		p.text(x0-l.strips-3, y1-mid, h.names[i], lettering{size: l.labelSize, align: 1})
		p.text(x0+mid, y0-3, h.names[i], lettering{size: l.labelSize, align: 1, upright: true})
	}
	at := vg.Length(2)
	if h.clusters != nil {
		h.drawStrip(p, l, at, "cluster", func(i int) (color.RGBA, string) {
			return clusterColor(h.clusters[i]), strconv.Itoa(h.clusters[i])
		})
		at += stripWidth + 1
	}
	if h.second != nil {
		colors := h.second.colors()
		h.drawStrip(p, l, at, "architecture", func(i int) (color.RGBA, string) {
			if c, ok := colors[h.second.values[i]]; ok {
				return c, ""
			}
			return undefinedFill, ""
		})
	}
	h.drawBar(p, x1+12, y1, min(max(size, 100), 220))
	h.drawLegends(&p, margin+l.legends, l.width-2*margin)
}

// drawTree draws the dendrogram: every step is a bracket as high as the distance at which two groups merge.
func (h *heatmap) drawTree(p pen, l heatmapLayout, column func(int) vg.Length) {
	if len(h.tree) == 0 {
		return
	}
	foot := p.Max.Y - l.top + l.strips + 4
	highest := h.tree[len(h.tree)-1].Height
	at := make([]vg.Point, len(h.order), len(h.order)+len(h.tree))
	for k, i := range h.order {
		at[i] = vg.Point{X: column(k) + l.cell/2, Y: foot}
	}
	for _, s := range h.tree {
		a, b := at[s.A], at[s.B]
		y := foot
		if highest > 0 {
			y += (treeHeight - 6) * vg.Length(s.Height/highest)
		}
		p.line(0.6, muted, a, vg.Point{X: a.X, Y: y}, vg.Point{X: b.X, Y: y}, b)
		at = append(at, vg.Point{X: (a.X + b.X) / 2, Y: y})
	}
}

// overlap extends each cell below the next one: without it the smoothing of edges leaves pale lines between cells.
const overlap = vg.Length(0.4)

func (h *heatmap) drawCells(p pen, l heatmapLayout, column, row func(int) vg.Length) {
	n := len(h.order)
	for a, i := range h.order {
		for b, j := range h.order {
			right, bottom := column(b+1)+overlap, row(a+1)-overlap
			if b == n-1 {
				right -= overlap
			}
			if a == n-1 {
				bottom += overlap
			}
			p.fill(column(b), bottom, right, row(a), h.color(h.matrix.At(i, j)))
		}
	}
	if h.format == nil || n > printCells {
		return
	}
	size := min(0.34*l.cell, smallSize)
	for a, i := range h.order {
		for b, j := range h.order {
			if v := h.matrix.At(i, j); !math.IsNaN(v) {
				p.text(column(b)+l.cell/2, row(a)-l.cell/2, h.format(i, j), lettering{size: size, align: 0.5, color: textOn(h.color(v))})
			}
		}
	}
}

// enlarge repeats pixels, because some viewers smooth small images when they scale them.
func enlarge(img *image.RGBA, factor int) *image.RGBA {
	if factor <= 1 {
		return img
	}
	size := img.Rect.Size()
	big := image.NewRGBA(image.Rect(0, 0, size.X*factor, size.Y*factor))
	for y := range size.Y * factor {
		for x := range size.X * factor {
			big.SetRGBA(x, y, img.RGBAAt(x/factor, y/factor))
		}
	}
	return big
}

func (h *heatmap) drawBorders(p pen, column, row func(int) vg.Length) {
	if h.clusters == nil {
		return
	}
	blocks := h.blocks()
	end := len(h.order)
	for _, b := range blocks[1:] {
		p.line(0.6, separator, vg.Point{X: column(b.from), Y: row(0)}, vg.Point{X: column(b.from), Y: row(end)})
		p.line(0.6, separator, vg.Point{X: column(0), Y: row(b.from)}, vg.Point{X: column(end), Y: row(b.from)})
	}
	for _, b := range blocks {
		p.outline(column(b.from), row(b.to), column(b.to), row(b.from), 0.9, blockBorder)
	}
}

// span is a run of rows [from, to) with one cluster.
type span struct{ from, to int }

func (h *heatmap) blocks() []span {
	same := func(i, j int) bool { return h.clusters[i] == h.clusters[j] }
	return runs(h.order, same)
}

func runs(order []int, same func(i, j int) bool) (out []span) {
	for k, i := range order {
		if k == 0 || !same(i, order[k-1]) {
			out = append(out, span{k, k})
		}
		out[len(out)-1].to = k + 1
	}
	return out
}

// drawStrip draws one strip left of the cells and one above them, at the given distance. Where a run of equal marks is
// long enough the mark is printed on it once.
func (h *heatmap) drawStrip(p pen, l heatmapLayout, distance vg.Length, title string, look func(i int) (color.RGBA, string)) {
	x := margin + l.labelWidth + l.strips + 3 - distance
	y := p.Max.Y - l.top + distance
	left, top := x+distance, y-distance
	for _, b := range runs(h.order, func(i, j int) bool {
		ci, mi := look(i)
		cj, mj := look(j)
		return ci == cj && mi == mj
	}) {
		c, mark := look(h.order[b.from])
		from, to := vg.Length(b.from)*l.cell, vg.Length(b.to)*l.cell
		gap := vg.Length(0)
		if b.to < len(h.order) {
			gap = 0.5
		}
		p.fill(x-stripWidth, top-to+gap, x, top-from, c)
		p.fill(left+from, y, left+to-gap, y+stripWidth, c)
		if mark != "" && to-from >= 5 {
			style := lettering{size: 5.5, align: 0.5, bold: true, color: textOn(c)}
			p.text(x-stripWidth/2, top-(from+to)/2, mark, style)
			p.text(left+(from+to)/2, y+stripWidth/2, mark, style)
		}
	}
	p.text(left-l.strips-3, y+stripWidth/2, title, lettering{size: 6, color: muted, align: 1})
}

func (h *heatmap) drawBar(p pen, x, top, length vg.Length) {
	const steps = 128
	bottom := top - length
	for k := range steps {
		from := bottom + length*vg.Length(k)/steps
		to := min(bottom+length*vg.Length(k+1)/steps+overlap, top)
		p.fill(x, from, x+barWidth, to, viridis((float64(k)+0.5)/steps))
	}
	p.outline(x, bottom, x+barWidth, top, 0.5, muted)
	labels := make([]string, 0, len(h.barTicks))
	for _, t := range h.barTicks {
		f := vg.Length(0.5)
		if h.hi > h.lo {
			f = vg.Length((t.at - h.lo) / (h.hi - h.lo))
		}
		y := bottom + f*length
		p.line(0.6, muted, vg.Point{X: x + barWidth, Y: y}, vg.Point{X: x + barWidth + 3, Y: y})
		p.text(x+barWidth+5, y, t.label, lettering{size: smallSize})
		labels = append(labels, t.label)
	}
	p.text(x+barWidth+5+widest(labels, smallSize)+4+textSize/2, bottom+length/2, h.barTitle,
		lettering{size: smallSize, color: muted, align: 0.5, upright: true})
}
