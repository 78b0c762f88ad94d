package report

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"html"
	"image/color"
	"math"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	xfont "golang.org/x/image/font"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/font/liberation"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

// This file is the one place that decides how figures look.

// The four colours that follow the page's theme. No other drawing colour may equal one of them: inside report.html they
// are replaced by CSS variables, so that a figure turns with the page into dark.
var (
	ink   = rgb(0x1a1a1a) // text, axes
	muted = rgb(0x5c5f66) // secondary text
	faint = rgb(0xdcdee2) // grid lines, context lines
	paper = rgb(0xffffff) // background, gaps between marks
)

var themed = []struct {
	color    color.RGBA
	variable string
}{{ink, "var(--ink)"}, {muted, "var(--muted)"}, {faint, "var(--faint)"}, {paper, "var(--paper)"}}

var (
	undefinedFill = rgb(0xbdbfc4) // cells without a value; no shade of the palette is grey
	separator     = rgb(0xfdfdfd) // between clusters, on top of the data
	blockBorder   = rgb(0x101010)
	accent        = rgb(0xd1495b) // what a figure wants the reader to see
)

// clusterColors tell clusters and groups apart on light and dark ground; the number or name always stands beside them.
var clusterColors = []color.RGBA{
	rgb(0x3b78b8), rgb(0xe08214), rgb(0x3a9b54), rgb(0xcc4b4b), rgb(0x8a63b8), rgb(0x8c6048),
	rgb(0xd470b0), rgb(0x808080), rgb(0xa8a32a), rgb(0x2aa7b8), rgb(0x5f6ee0), rgb(0x6e8b3d),
}

// architectureColors are lighter, so that the second strip of a heatmap is not mistaken for the first.
var architectureColors = []color.RGBA{
	rgb(0x77aadd), rgb(0xee8866), rgb(0xbbcc33), rgb(0xffaabb), rgb(0x44bb99), rgb(0xc9a6e4), rgb(0xeedd88), rgb(0x8c8c8c),
	rgb(0x99ddff), rgb(0xaaaa00),
}

// Sizes in points.
const (
	figureWidth = 7 * vg.Inch
	margin      = vg.Length(8)
	titleSize   = vg.Length(11)
	textSize    = vg.Length(8)
	smallSize   = vg.Length(7)
	dpi         = 300
)

// viridisStops are 33 equally spaced colours of viridis (S. van der Walt, N. Smith and E. Firing, public domain, CC0):
// perceptually uniform, readable with every common colour blindness and in grey. Straight lines between the stops stay
// within 2/255 of the full table.
var viridisStops = []uint32{
	0x440154, 0x470d60, 0x48186a, 0x482374, 0x472d7b, 0x453781, 0x424086, 0x3e4989, 0x3b528b, 0x375b8d, 0x33638d,
	0x2f6b8e, 0x2c728e, 0x297a8e, 0x26828e, 0x23898e, 0x21918c, 0x1f978b, 0x1f9f88, 0x21a685, 0x27ad81, 0x31b57b,
	0x3dbc74, 0x4cc26c, 0x5cc863, 0x6ece58, 0x81d34d, 0x95d840, 0xaadc32, 0xc0df25, 0xd5e21a, 0xeae51a, 0xfde725,
}

func rgb(v uint32) color.RGBA {
	return color.RGBA{R: uint8(v >> 16), G: uint8(v >> 8), B: uint8(v), A: 255}
}

func hex(c color.RGBA) string { return fmt.Sprintf("#%02x%02x%02x", c.R, c.G, c.B) }

// viridis returns the colour at t in [0,1]; values outside take the end colours, NaN the colour of undefined cells.
func viridis(t float64) color.RGBA {
	if math.IsNaN(t) {
		return undefinedFill
	}
	t = min(max(t, 0), 1) * float64(len(viridisStops)-1)
	i := min(int(t), len(viridisStops)-2)
	f := t - float64(i)
	a, b := rgb(viridisStops[i]), rgb(viridisStops[i+1])
	mix := func(a, b uint8) uint8 { return uint8(math.Round(float64(a)*(1-f) + float64(b)*f)) }
	return color.RGBA{R: mix(a.R, b.R), G: mix(a.G, b.G), B: mix(a.B, b.B), A: 255}
}

// textOn returns black or white, whichever reads better on c.
func textOn(c color.RGBA) color.RGBA {
	if 0.299*float64(c.R)+0.587*float64(c.G)+0.114*float64(c.B) > 140 {
		return blockBorder
	}
	return separator
}

func clusterColor(cluster int) color.RGBA {
	if cluster < 1 {
		return undefinedFill
	}
	return clusterColors[(cluster-1)%len(clusterColors)]
}

// colorize gives each distinct name a colour, in order of first appearance. Names beyond the palette repeat colours.
func colorize(names []string, palette []color.RGBA) (distinct []string, colors map[string]color.RGBA) {
	colors = map[string]color.RGBA{}
	for _, name := range names {
		if _, ok := colors[name]; !ok {
			colors[name] = palette[len(distinct)%len(palette)]
			distinct = append(distinct, name)
		}
	}
	return distinct, colors
}

// figure is a drawing of fixed size with the numbers behind it.
type figure struct {
	Stem   string // file name without extension
	Title  string
	Alt    string // what the figure shows, for readers who cannot see it
	CSV    []byte
	width  vg.Length
	height vg.Length
	draw   func(pen)
	body   string // what svgBody drew
}

// SVG returns the figure as a document of its own, on white.
func (f *figure) SVG() ([]byte, error) {
	body, err := f.svgBody()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, `<?xml version="1.0" encoding="UTF-8"?>`+"\n"+
		`<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="%.5gpt" height="%.5gpt" viewBox="0 0 %.5g %.5g" role="img">`+"\n"+
		"<title>%s</title>\n<desc>%s</desc>\n<rect width=\"100%%\" height=\"100%%\" fill=\"%s\"/>\n",
		f.width.Points(), f.height.Points(), f.width.Points(), f.height.Points(), html.EscapeString(f.Title), html.EscapeString(f.Alt), hex(paper))
	b.WriteString(body)
	b.WriteString("</svg>\n")
	return b.Bytes(), nil
}

// inlineSVG returns the figure for embedding in a page: no background, theme colours as CSS variables.
func (f *figure) inlineSVG() (string, error) {
	body, err := f.svgBody()
	if err != nil {
		return "", err
	}
	for _, t := range themed {
		body = strings.ReplaceAll(body, strings.ToUpper(hex(t.color)), t.variable)
	}
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 %.5g %.5g" role="img" aria-label="%s">`,
		f.width.Points(), f.height.Points(), html.EscapeString(f.Alt)) + "\n" + body + "</svg>", nil
}

// svgBody draws and returns what stands between the svg tags.
func (f *figure) svgBody() (string, error) {
	if f.body != "" {
		return f.body, nil
	}
	c := vgsvg.New(f.width, f.height)
	f.draw(pen{draw.New(c)})
	var b bytes.Buffer
	if _, err := c.WriteTo(&b); err != nil {
		return "", fmt.Errorf("draw %s: %w", f.Stem, err)
	}
	s := b.String()
	start := strings.Index(s, "<svg")
	start += strings.Index(s[start:], ">") + 1
	body := strings.TrimSpace(s[start:strings.LastIndex(s, "</svg>")]) + "\n"
	f.body = withWidths(strings.NewReplacer(
		"font-family:Liberation Sans;", "font-family:'Liberation Sans',Arial,Helvetica,sans-serif;",
		"font-variant:normal;", "", "font-weight:normal;", "", "font-style:normal;", "",
		"\n\tstyle=", " style=",
	).Replace(body))
	return f.body, nil
}

var styledText = regexp.MustCompile(`<text ([^>]*style="([^"]*)font-size:([0-9.]+)px[^"]*")>([^<]+)</text>`)

// withWidths gives every text the width that the layout counts with. The Liberation fonts have the widths of Arial and
// Helvetica; a machine with neither takes a wider one, whose letters are then narrowed instead of being drawn over others.
func withWidths(body string) string {
	return styledText.ReplaceAllStringFunc(body, func(text string) string {
		m := styledText.FindStringSubmatch(text)
		size, err := strconv.ParseFloat(m[3], 64)
		if err != nil {
			return text
		}
		return "<text " + m[1] + widthAttributes(html.UnescapeString(m[4]), vg.Length(size), strings.Contains(m[2], "bold")) + ">" +
			strings.ReplaceAll(m[4], "  ", "\u00a0 ") + "</text>" // SVG draws a run of spaces as one
	})
}

// widthAttributes are those of an SVG text that make it as wide as the layout takes it for. A single letter needs none.
func widthAttributes(s string, size vg.Length, bold bool) string {
	if utf8.RuneCountInString(s) < 2 {
		return ""
	}
	return fmt.Sprintf(` textLength="%.5g" lengthAdjust="spacingAndGlyphs"`, textWidth(s, size, bold).Points())
}

// PNG returns the figure at 300 dots per inch.
func (f *figure) PNG() ([]byte, error) {
	c := vgimg.NewWith(vgimg.UseWH(f.width, f.height), vgimg.UseDPI(dpi), vgimg.UseBackgroundColor(paper))
	f.draw(pen{draw.New(c)})
	var b bytes.Buffer
	if _, err := (vgimg.PngCanvas{Canvas: c}).WriteTo(&b); err != nil {
		return nil, fmt.Errorf("draw %s: %w", f.Stem, err)
	}
	return withResolution(b.Bytes()), nil
}

// withResolution adds the pHYs chunk, without which programs take a PNG for 72 or 96 dots per inch.
func withResolution(png []byte) []byte {
	const header = 8 + 25 // signature and the IHDR chunk, after which pHYs may stand
	perMetre := uint32(math.Round(dpi / 0.0254))
	chunk := binary.BigEndian.AppendUint32(nil, 9)
	chunk = append(chunk, "pHYs"...)
	chunk = binary.BigEndian.AppendUint32(chunk, perMetre)
	chunk = binary.BigEndian.AppendUint32(chunk, perMetre)
	chunk = append(chunk, 1) // unit: metre
	chunk = binary.BigEndian.AppendUint32(chunk, crc32.ChecksumIEEE(chunk[4:]))
	return append(append(append(make([]byte, 0, len(png)+len(chunk)), png[:header]...), chunk...), png[header:]...)
}

// pen draws on a canvas whose origin is the bottom left corner, in points.
type pen struct{ draw.Canvas }

// lettering is the style of a piece of text. align is 0 for text that starts at the given x, 0.5 for centred, 1 for
// text that ends there. Text is centred vertically on its capital letters. Upright text reads from bottom to top;
// align then counts from the bottom.
type lettering struct {
	size    vg.Length
	color   color.Color
	bold    bool
	align   vg.Length
	upright bool
}

// capHeight is the height of capital letters over the font size.
const capHeight = 0.72

// fonts come with the plotting library: the same widths, so the same layout, on every machine.
var fonts = font.NewCache(liberation.Collection())

func face(size vg.Length, bold bool) font.Face {
	f := font.Font{Typeface: "Liberation", Variant: "Sans", Size: size}
	if bold {
		f.Weight = xfont.WeightBold
	}
	return fonts.Lookup(f, size)
}

func textWidth(s string, size vg.Length, bold bool) vg.Length {
	f := face(size, bold)
	return f.Width(s)
}

// widest returns the width of the longest text.
func widest(texts []string, size vg.Length) (w vg.Length) {
	for _, s := range texts {
		w = max(w, textWidth(s, size, false))
	}
	return w
}

func (p pen) text(x, y vg.Length, s string, l lettering) {
	if s == "" {
		return
	}
	f := face(l.size, l.bold)
	along, across := -l.align*f.Width(s), -capHeight/2*l.size
	c := l.color
	if c == nil {
		c = ink
	}
	p.SetColor(c)
	if !l.upright {
		p.FillString(f, vg.Point{X: x + along, Y: y + across}, s)
		return
	}
	p.Push()
	p.Translate(vg.Point{X: x, Y: y})
	p.Rotate(math.Pi / 2)
	p.FillString(f, vg.Point{X: along, Y: across}, s)
	p.Pop()
}

// paragraph writes wrapped lines of the given width from the top y down and returns the y below them.
func (p pen) paragraph(x, y, width vg.Length, s string, l lettering) vg.Length {
	for _, line := range wrap(s, width, l.size) {
		p.text(x, y-l.size/2, line, l)
		y -= 1.3 * l.size
	}
	return y
}

func wrap(s string, width, size vg.Length) (lines []string) {
	line := ""
	for _, word := range strings.Split(s, " ") { // not Fields, which splits at no-break spaces too
		if longer := line + " " + word; line != "" && textWidth(longer, size, false) > width {
			lines = append(lines, line)
			line = word
		} else {
			line = strings.TrimSpace(longer)
		}
	}
	return append(lines, line)
}

func (p pen) fill(x0, y0, x1, y1 vg.Length, c color.Color) {
	p.SetColor(c)
	p.Fill(rectangle(x0, y0, x1, y1))
}

func (p pen) outline(x0, y0, x1, y1, width vg.Length, c color.Color) {
	p.SetLineStyle(draw.LineStyle{Color: c, Width: width})
	p.Stroke(rectangle(x0, y0, x1, y1))
}

func rectangle(x0, y0, x1, y1 vg.Length) vg.Path {
	var path vg.Path
	path.Move(vg.Point{X: x0, Y: y0})
	path.Line(vg.Point{X: x1, Y: y0})
	path.Line(vg.Point{X: x1, Y: y1})
	path.Line(vg.Point{X: x0, Y: y1})
	path.Close()
	return path
}

func (p pen) line(width vg.Length, c color.Color, points ...vg.Point) {
	p.dashed(width, c, nil, points...)
}

func (p pen) dashed(width vg.Length, c color.Color, dashes []vg.Length, points ...vg.Point) {
	if len(points) < 2 {
		return
	}
	var path vg.Path
	path.Move(points[0])
	for _, q := range points[1:] {
		path.Line(q)
	}
	p.SetLineStyle(draw.LineStyle{Color: c, Width: width, Dashes: dashes})
	p.Stroke(path)
}

func (p pen) dot(x, y, radius vg.Length, c color.Color) {
	p.SetColor(c)
	var path vg.Path
	path.Move(vg.Point{X: x + radius, Y: y})
	path.Arc(vg.Point{X: x, Y: y}, radius, 0, 2*math.Pi)
	path.Close()
	p.Fill(path)
}

// panel is a plotting area with linear x and linear or logarithmic y.
type panel struct {
	pen
	x0, y0, x1, y1         vg.Length
	xmin, xmax, ymin, ymax float64
	logY                   bool
}

func (a *panel) X(v float64) vg.Length {
	return a.x0 + vg.Length((v-a.xmin)/(a.xmax-a.xmin))*(a.x1-a.x0)
}

func (a *panel) Y(v float64) vg.Length {
	lo, hi := a.ymin, a.ymax
	if a.logY {
		v, lo, hi = math.Log(v), math.Log(lo), math.Log(hi)
	}
	return a.y0 + vg.Length((v-lo)/(hi-lo))*(a.y1-a.y0)
}

// tick is a position on an axis; one without label is drawn as a short line only.
type tick struct {
	at    float64
	label string
}

// ticks returns about five round positions inside [lo, hi]: multiples of 1, 2 or 5 times a power of ten.
func ticks(lo, hi float64) (major []tick) {
	step := math.Pow(10, math.Floor(math.Log10((hi-lo)/3)))
	for _, m := range []float64{1, 2, 5, 10} {
		if (hi-lo)/(m*step) <= 5.5 {
			step *= m
			break
		}
	}
	digits := max(0, int(-math.Floor(math.Log10(step)+1e-9)))
	for k := math.Ceil(lo/step - 1e-9); k*step <= hi+1e-9*step; k++ {
		major = append(major, tick{k * step, strconv.FormatFloat(k*step+0, 'f', digits, 64)})
	}
	return major
}

// logTicks returns 1, 2, 5 times powers of ten inside [lo, hi], or only the powers where these are enough.
func logTicks(lo, hi float64) (out []tick) {
	steps := []float64{1, 2, 5}
	if hi/lo > 200 {
		steps = []float64{1}
	}
	for e := math.Floor(math.Log10(lo)); e <= math.Log10(hi); e++ {
		for _, s := range steps {
			if v := s * math.Pow(10, e); v >= lo*(1-1e-9) && v <= hi*(1+1e-9) {
				out = append(out, tick{v, strconv.FormatFloat(v, 'g', 3, 64)})
			}
		}
	}
	return out
}

// axes draws grid lines, ticks and their labels where wanted.
func (a *panel) axes(x, y []tick, labelX, labelY bool) {
	for _, t := range y {
		at := a.Y(t.at)
		a.line(0.5, faint, vg.Point{X: a.x0, Y: at}, vg.Point{X: a.x1, Y: at})
		if labelY {
			a.text(a.x0-4, at, t.label, lettering{size: smallSize, color: muted, align: 1})
		}
	}
	for _, t := range x {
		at := a.X(t.at)
		a.line(0.5, muted, vg.Point{X: at, Y: a.y0}, vg.Point{X: at, Y: a.y0 - 2.5})
		if labelX {
			a.text(at, a.y0-8, t.label, lettering{size: smallSize, color: muted, align: 0.5})
		}
	}
	a.line(0.7, muted, vg.Point{X: a.x0, Y: a.y0}, vg.Point{X: a.x1, Y: a.y0})
}

// curve draws a polyline through the points that are defined; values between them were not measured.
func (a *panel) curve(xs, ys []float64, width vg.Length, c color.Color) {
	var points []vg.Point
	for i, y := range ys {
		if !math.IsNaN(y) && (!a.logY || y > 0) {
			points = append(points, vg.Point{X: a.X(xs[i]), Y: a.Y(y)})
		}
	}
	a.line(width, c, points...)
}

// heading writes title and note at the top and returns the y below them.
func (p pen) heading(title, note string) vg.Length {
	y := p.Max.Y - margin
	p.text(margin, y-titleSize/2, title, lettering{size: titleSize, bold: true})
	y -= titleSize + 5
	if note != "" {
		y = p.paragraph(margin, y, p.Max.X-2*margin, note, lettering{size: smallSize, color: muted})
	}
	return y - 4
}

// headingHeight is the height heading needs.
func headingHeight(note string, width vg.Length) vg.Length {
	h := margin + titleSize + 5 + 4
	if note != "" {
		h += 1.3 * smallSize * vg.Length(len(wrap(note, width-2*margin, smallSize)))
	}
	return h
}

// legendItem is a colour with its meaning.
type legendItem struct {
	label string
	color color.RGBA
	mark  string // printed inside the swatch, for example a cluster number
}

const (
	legendRow    = vg.Length(11)
	legendSwatch = vg.Length(8)
)

// legend writes items in rows no wider than width, the title in front, and returns the y below. It draws nothing when
// p is nil, which gives the height needed.
func legend(p *pen, x, y, width vg.Length, title string, items []legendItem) vg.Length {
	indent := textWidth(title, smallSize, true) + 8
	if p != nil {
		p.text(x, y-legendRow/2, title, lettering{size: smallSize, bold: true})
	}
	at := x + indent
	for _, item := range items {
		w := legendSwatch + 3 + textWidth(item.label, smallSize, false) + 9
		if at+w > x+width+9 && at > x+indent {
			at, y = x+indent, y-legendRow
		}
		if p != nil {
			mid := y - legendRow/2
			p.fill(at, mid-legendSwatch/2, at+legendSwatch, mid+legendSwatch/2, item.color)
			p.text(at+legendSwatch/2, mid, item.mark, lettering{size: 5.5, color: textOn(item.color), align: 0.5, bold: true})
			p.text(at+legendSwatch+3, mid, item.label, lettering{size: smallSize})
		}
		at += w
	}
	return y - legendRow - 2
}
