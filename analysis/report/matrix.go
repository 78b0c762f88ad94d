package report

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"html"
	"html/template"
	"image"
	"image/color"
	"image/png"
	"math"
	"strconv"
	"strings"

	"gonum.org/v1/plot/vg"

	"sat/analysis"
)

// pageMatrix is the similarity matrix of the page. It is drawn by hand instead of by the figure code, because the
// page's script sorts its rows and finds cells by position: row k of the display order starts at y = Top + k*Cell.
type pageMatrix struct {
	cell, left, top float64 // pixels; left and top leave room for names and strips
	width, height   float64
	n               int
	raster          bool // cells are one image, models go unnamed
}

// Widths of the strips, in pixels; the first holds cluster numbers.
const (
	clusterStrip = 15
	secondStrip  = 10
)

func newPageMatrix(r *Run) pageMatrix {
	n := len(r.Models)
	m := pageMatrix{n: n, raster: n >= rasterCells}
	switch {
	case m.raster:
		m.cell = max(math.Floor(900/float64(n)*4)/4, 0.75)
	case n <= printCells:
		m.cell = 44
	case n <= 40:
		m.cell = 20
	default:
		m.cell = 12
	}
	label := 0.0
	if !m.raster {
		label = widest(r.names(), 1).Points()*m.font() + 10
	}
	m.top = clusterStrip + secondStrip + 4 // with gaps of 2
	m.left = label + m.top
	m.width = m.left + m.cell*float64(n) + 2
	m.height = m.top + m.cell*float64(n) + label + 2
	return m
}

func (m pageMatrix) font() float64 { return min(13, 0.92*m.cell) }

// svg draws the matrix in display order. Every cell carries its text as a title, which browsers show on hover without
// any script.
func (m pageMatrix) svg(r *Run) (template.HTML, error) {
	lo, hi := satRange(r)
	h := &heatmap{matrix: r.SAT, order: r.displayOrder(), lo: lo, hi: hi, clusters: r.clusterNumbers(), second: r.secondStrip()}
	class := "matrix"
	if m.n <= printCells {
		class += " few" // on paper it need not fill a page
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg id="matrix" class="%s" xmlns="http://www.w3.org/2000/svg" width="%g" height="%g" viewBox="0 0 %g %g" role="img" tabindex="0" `+
		`aria-label="Similarity matrix of %d models; the same numbers are in the tables below. With the script, arrow keys read single cells.">`+"\n",
		class, m.width, m.height, m.width, m.height, m.n)
	if err := m.cells(&b, r, h); err != nil {
		return "", err
	}
	m.borders(&b, h)
	m.heads(&b, r, h)
	extent := m.cell * float64(m.n)
	fmt.Fprintf(&b, `<rect id="mark-row" class="mark" x="%g" y="0" width="%g" height="%g" visibility="hidden"/>`, m.left, extent, m.cell)
	fmt.Fprintf(&b, `<rect id="mark-column" class="mark" x="0" y="%g" width="%g" height="%g" visibility="hidden"/>`, m.top, m.cell, extent)
	b.WriteString("</svg>")
	return template.HTML(b.String()), nil
}

func (m pageMatrix) borders(b *strings.Builder, h *heatmap) {
	b.WriteString(`<g id="borders" fill="none">`)
	defer b.WriteString("</g>\n")
	if h.clusters == nil {
		return
	}
	extent := m.cell * float64(m.n)
	blocks := h.blocks()
	for _, block := range blocks[1:] {
		from := m.cell * float64(block.from)
		fmt.Fprintf(b, `<path class="sep" d="M%g,%gv%gM%g,%gh%g"/>`, m.left+from, m.top, extent, m.left, m.top+from, extent)
	}
	for _, block := range blocks {
		from, to := m.cell*float64(block.from), m.cell*float64(block.to)
		fmt.Fprintf(b, `<rect class="block" x="%g" y="%g" width="%g" height="%g"/>`, m.left+from, m.top+from, to-from, to-from)
	}
}

// heads draws the names and strips. A cluster's number stands once, in the middle of its rows; the script moves it.
func (m pageMatrix) heads(b *strings.Builder, r *Run, h *heatmap) {
	numbered := map[int]bool{}
	if h.clusters != nil && m.cell >= 9 {
		for _, block := range h.blocks() {
			numbered[(block.from+block.to-1)/2] = true
		}
	}
	colors := map[string]color.RGBA{}
	if h.second != nil {
		colors = h.second.colors()
	}
	extent := m.cell * float64(m.n)
	for k, i := range h.order {
		model := &r.Models[i]
		at := m.cell * float64(k)
		mid := at + m.cell/2
		fmt.Fprintf(b, `<g class="head" data-model="%d">`, i)
		if h.clusters != nil {
			c := clusterColor(model.Cluster)
			x, y := m.left-2-clusterStrip, m.top-2-clusterStrip
			m.strip(b, at, clusterStrip, x, y, hex(c), "cluster "+strconv.Itoa(model.Cluster))
			shown := "hidden"
			if numbered[k] {
				shown = "visible"
			}
			const number = `<text class="%s number" visibility="%s" x="%g" y="%g" fill="%s">%d</text>`
			fmt.Fprintf(b, number, "left", shown, x+clusterStrip/2.0, m.top+mid, hex(textOn(c)), model.Cluster)
			fmt.Fprintf(b, number, "up", shown, m.left+mid, y+clusterStrip/2.0, hex(textOn(c)), model.Cluster)
		}
		if c, ok := colors[model.Architecture]; ok {
			m.strip(b, at, secondStrip, m.left-4-clusterStrip-secondStrip, m.top-4-clusterStrip-secondStrip, hex(c), model.Architecture)
		}
		if !m.raster {
			const style = `font-size="%g" text-anchor="end" dominant-baseline="central"%s>%s</text>`
			text, width := html.EscapeString(model.Name), widthAttributes(model.Name, vg.Length(m.font()), false)
			fmt.Fprintf(b, `<text class="left" x="%g" y="%g" `+style, m.left-8-clusterStrip-secondStrip, m.top+mid, m.font(), width, text)
			fmt.Fprintf(b, `<text class="down" transform="translate(%g,%g) rotate(-90)" `+style, m.left+mid, m.top+extent+5, m.font(), width, text)
		}
		b.WriteString("</g>\n")
	}
}

// strip draws one model's part of a strip left of the cells and above them.
func (m pageMatrix) strip(b *strings.Builder, at, width, x, y float64, fill, title string) {
	title = html.EscapeString(title)
	fmt.Fprintf(b, `<rect class="left" x="%g" y="%g" width="%g" height="%g" fill="%s"><title>%s</title></rect>`, x, m.top+at, width, m.cell, fill, title)
	fmt.Fprintf(b, `<rect class="up" x="%g" y="%g" width="%g" height="%g" fill="%s"><title>%s</title></rect>`, m.left+at, y, m.cell, width, fill, title)
}

func (m pageMatrix) cells(b *strings.Builder, r *Run, h *heatmap) error {
	if m.raster {
		img := image.NewRGBA(image.Rect(0, 0, m.n, m.n))
		for a, i := range h.order {
			for c, j := range h.order {
				img.SetRGBA(c, a, h.color(r.SAT.At(i, j)))
			}
		}
		var encoded bytes.Buffer
		if err := png.Encode(&encoded, img); err != nil {
			return fmt.Errorf("encode matrix: %w", err)
		}
		fmt.Fprintf(b, `<image id="cells" x="%g" y="%g" width="%g" height="%g" style="image-rendering:pixelated" href="data:image/png;base64,%s"/>`+"\n",
			m.left, m.top, m.cell*float64(m.n), m.cell*float64(m.n), base64.StdEncoding.EncodeToString(encoded.Bytes()))
		return nil
	}
	b.WriteString(`<g id="cells" shape-rendering="crispEdges">` + "\n")
	printed := m.n <= printCells
	for a, i := range h.order {
		for c, j := range h.order {
			v := r.SAT.At(i, j)
			fill := h.color(v)
			x, y := m.left+m.cell*float64(c), m.top+m.cell*float64(a)
			fmt.Fprintf(b, `<g data-i="%d" data-j="%d" transform="translate(%g,%g)"><rect width="%g" height="%g" fill="%s"><title>%s</title></rect>`,
				i, j, x, y, m.cell, m.cell, hex(fill), html.EscapeString(r.cellText(i, j)))
			if printed && !math.IsNaN(v) {
				fmt.Fprintf(b, `<text x="%g" y="%g" fill="%s">%s</text>`, m.cell/2, m.cell/2, hex(textOn(fill)), r.cellLabel(i, j))
			}
			b.WriteString("</g>")
		}
		b.WriteString("\n")
	}
	b.WriteString("</g>\n")
	return nil
}

// cellText describes one cell of the matrix.
func (r *Run) cellText(i, j int) string {
	if i == j {
		s := &r.Models[i].Self
		if s.N == 0 {
			return s.Model + ": no image classified correctly"
		}
		return fmt.Sprintf("%s on itself: the attack fools %d of %d images (%.1f %%)", s.Model, s.Fooled, s.N, s.Percent)
	}
	p := r.Pair(i, j)
	if p.Status == analysis.StatusEmpty {
		return fmt.Sprintf("%s and %s: no image that both classify correctly", p.A, p.B)
	}
	s := fmt.Sprintf("%s and %s: SAT %.2f%s, %s %%; %d common images, made on the first fool the second %d, the other way %d",
		p.A, p.B, p.SAT, intervalText(Interval{p.CILo, p.CIHi}), strconv.FormatFloat(p.Percent, 'f', 1, 64), p.NBoth, p.FooledAB, p.FooledBA)
	if p.Status != analysis.StatusOK {
		s += " (" + string(p.Status) + ")"
	}
	return s
}

// pageData is what the page's script knows. Numbers are rounded for display; the exact ones are in the CSV files.
type pageData struct {
	Left, Top, Cell float64
	Raster          bool
	Order           []int       // display order
	Palette         []string    // colours of equally spaced values from Lo to Hi
	Undefined       string      // colour of undefined cells
	Lo, Hi          float64     // of the colours
	Models          []pageModel // in the order of sat.csv
	// Of the pairs i < j, row by row, packed because a thousand models have half a million of them.
	Counts    packed   // common images, fooled i to j, fooled j to i
	Intervals packed   // low and high end of the score in thousandths, undefined as packedNaN; empty: none
	Floor     *float64 // score of pairs that no image transfers between; null: there are none
	Small     int      // fewer common images make a pair small
}

// packed are numbers as bytes, little endian, in base64; Width is that of one number: 2 or 4 bytes.
type packed struct {
	Width int
	Bytes string
}

const packedNaN = math.MinInt16

func packCounts(pairs []analysis.Pair) packed {
	most := 0
	for k := range pairs {
		most = max(most, pairs[k].NBoth)
	}
	var b []byte
	width := 2
	if most > math.MaxUint16 {
		width = 4
	}
	for k := range pairs {
		for _, n := range [3]int{pairs[k].NBoth, pairs[k].FooledAB, pairs[k].FooledBA} {
			if width == 2 {
				b = binary.LittleEndian.AppendUint16(b, uint16(n))
			} else {
				b = binary.LittleEndian.AppendUint32(b, uint32(n))
			}
		}
	}
	return packed{width, base64.StdEncoding.EncodeToString(b)}
}

func packIntervals(pairs []analysis.Pair) packed {
	var b []byte
	any := false
	for k := range pairs {
		for _, v := range [2]float64{pairs[k].CILo, pairs[k].CIHi} {
			n := int16(packedNaN)
			if !math.IsNaN(v) {
				any = true
				n = int16(math.Round(1000 * min(max(v, -32), 32)))
			}
			b = binary.LittleEndian.AppendUint16(b, uint16(n))
		}
	}
	if !any {
		return packed{Width: 2}
	}
	return packed{2, base64.StdEncoding.EncodeToString(b)}
}

type pageModel struct {
	Name    string
	Top1    *float64
	Mean    *float64 // SAT to the others
	Cluster int
	Group   string // for sorting by architecture
	N       int    // correct images
	Fooled  int
}

func (m pageMatrix) data(r *Run) (template.JS, error) {
	lo, hi := satRange(r)
	d := pageData{Left: m.left, Top: m.top, Cell: m.cell, Raster: m.raster, Order: r.displayOrder(), Undefined: hex(undefinedFill), Lo: lo, Hi: hi}
	for k := range 256 {
		d.Palette = append(d.Palette, hex(viridis(float64(k)/255)))
	}
	for i := range r.Models {
		model := &r.Models[i]
		group := model.groupOf()
		if group == "" {
			group = model.Architecture
		}
		d.Models = append(d.Models, pageModel{model.Name, nullableNumber(model.Top1), nullableNumber(r.meanTo(i)), model.Cluster, group, model.Self.N, model.Self.Fooled})
	}
	d.Counts, d.Intervals, d.Small = packCounts(r.Pairs), packIntervals(r.Pairs), analysis.SmallSample
	for k := range r.Pairs {
		if r.Pairs[k].Status == analysis.StatusFloored {
			d.Floor = nullableNumber(r.Pairs[k].SAT)
			break
		}
	}
	b, err := json.Marshal(d) // escapes <, > and &, so that no name ends the script element
	if err != nil {
		return "", fmt.Errorf("encode page data: %w", err)
	}
	return template.JS(b), nil
}

func round3(v float64) float64 { return math.Round(v*1000) / 1000 }

func nullableNumber(v float64) *float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	v = round3(v)
	return &v
}
