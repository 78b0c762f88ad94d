package report

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math"
	"time"

	"codeberg.org/go-pdf/fpdf"
	xfont "golang.org/x/image/font"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// PDF returns the figure as a page of its own size, with its fonts inside and text that can be searched.
//
// The plotting library's own PDF canvas is not used: it writes text in the Windows code page, which has no ε and no minus
// sign, and cannot set bold letters.
func (f *figure) PDF() ([]byte, error) {
	doc := fpdf.NewCustom(&fpdf.InitType{UnitStr: "pt", Size: fpdf.SizeType{Wd: f.width.Points(), Ht: f.height.Points()}})
	// Equal figures give equal bytes.
	doc.SetCreationDate(time.Unix(0, 0).UTC())
	doc.SetModificationDate(time.Unix(0, 0).UTC())
	doc.SetCatalogSort(true)
	doc.SetTitle(f.Title, true)
	doc.SetSubject(f.Alt, true)
	doc.SetMargins(0, 0, 0)
	doc.SetAutoPageBreak(false, 0)
	doc.AddPage()
	c := &pdfCanvas{doc: doc, width: f.width, height: f.height, fonts: map[string]bool{}, state: pdfState{a: 1, d: 1}}
	f.draw(pen{draw.New(c)})
	var b bytes.Buffer
	if err := doc.Output(&b); err != nil {
		return nil, fmt.Errorf("draw %s: %w", f.Stem, err)
	}
	return b.Bytes(), nil
}

// pdfCanvas is a vg.Canvas on a page of PDF. It keeps the transformation itself, so that paths are written in the
// coordinates of the page.
type pdfCanvas struct {
	doc           *fpdf.Fpdf
	width, height vg.Length
	fonts         map[string]bool
	images        int
	state         pdfState
	stack         []pdfState
}

// pdfState is what Push saves: the map (x, y) -> (a x + c y + e, b x + d y + f), and the pen.
type pdfState struct {
	a, b, c, d, e, f float64
	color            color.Color
	lineWidth        vg.Length
	dashes           []vg.Length
	offset           vg.Length
}

func (c *pdfCanvas) Size() (w, h vg.Length)   { return c.width, c.height }
func (c *pdfCanvas) SetLineWidth(w vg.Length) { c.state.lineWidth = w }
func (c *pdfCanvas) SetColor(clr color.Color) { c.state.color = clr }
func (c *pdfCanvas) Push()                    { c.stack = append(c.stack, c.state) }
func (c *pdfCanvas) Pop()                     { c.state, c.stack = c.stack[len(c.stack)-1], c.stack[:len(c.stack)-1] }
func (c *pdfCanvas) Translate(pt vg.Point) {
	c.state.e, c.state.f = c.state.at(float64(pt.X), float64(pt.Y))
}
func (c *pdfCanvas) Scale(x, y float64) { c.multiply(x, 0, 0, y) }
func (c *pdfCanvas) Rotate(rad float64) { s, k := math.Sincos(rad); c.multiply(k, s, -s, k) }
func (c *pdfCanvas) SetLineDash(p []vg.Length, offset vg.Length) {
	c.state.dashes, c.state.offset = p, offset
}

func (c *pdfCanvas) multiply(a, b, cc, d float64) {
	s := c.state
	c.state.a, c.state.b = s.a*a+s.c*b, s.b*a+s.d*b
	c.state.c, c.state.d = s.a*cc+s.c*d, s.b*cc+s.d*d
}

func (s *pdfState) at(x, y float64) (float64, float64) {
	return s.a*x + s.c*y + s.e, s.b*x + s.d*y + s.f
}

// place gives a point on the page, whose y runs down.
func (c *pdfCanvas) place(p vg.Point) (x, y float64) {
	x, y = c.state.at(p.X.Points(), p.Y.Points())
	return x, c.height.Points() - y
}

func (c *pdfCanvas) paint() {
	clr := color.NRGBAModel.Convert(c.state.color).(color.NRGBA)
	r, g, b := int(clr.R), int(clr.G), int(clr.B)
	c.doc.SetFillColor(r, g, b)
	c.doc.SetDrawColor(r, g, b)
	c.doc.SetTextColor(r, g, b)
	c.doc.SetAlpha(float64(clr.A)/255, "Normal")
}

func (c *pdfCanvas) Fill(p vg.Path) {
	c.paint()
	c.trace(p)
	c.doc.DrawPath("F")
}

func (c *pdfCanvas) Stroke(p vg.Path) {
	if c.state.lineWidth <= 0 {
		return
	}
	c.paint()
	c.doc.SetLineWidth(c.state.lineWidth.Points())
	dashes := make([]float64, len(c.state.dashes))
	for i, d := range c.state.dashes {
		dashes[i] = d.Points()
	}
	c.doc.SetDashPattern(dashes, c.state.offset.Points())
	c.trace(p)
	c.doc.DrawPath("D")
}

func (c *pdfCanvas) trace(p vg.Path) {
	for _, step := range p {
		switch step.Type {
		case vg.MoveComp:
			c.doc.MoveTo(c.place(step.Pos))
		case vg.LineComp:
			c.doc.LineTo(c.place(step.Pos))
		case vg.ArcComp:
			c.arc(step)
		case vg.CurveComp:
			x1, y1 := c.place(step.Control[0])
			x2, y2 := c.place(step.Control[len(step.Control)-1])
			x, y := c.place(step.Pos)
			c.doc.CurveBezierCubicTo(x1, y1, x2, y2, x, y)
		case vg.CloseComp:
			c.doc.ClosePath()
		}
	}
}

// arc draws an arc as one cubic curve per quarter, which differ from it by 0.03 % of the radius.
func (c *pdfCanvas) arc(step vg.PathComp) {
	quarters := int(math.Ceil(math.Abs(step.Angle) / (math.Pi / 2)))
	turn := step.Angle / float64(quarters)
	reach := 4.0 / 3 * math.Tan(turn/4)
	at := func(angle, along float64) (x, y float64) {
		s, k := math.Sincos(angle)
		r := step.Radius.Points()
		return c.place(vg.Point{X: step.Pos.X + vg.Length(r*(k-along*s)), Y: step.Pos.Y + vg.Length(r*(s+along*k))})
	}
	for q := range quarters {
		from := step.Start + turn*float64(q)
		x1, y1 := at(from, reach)
		x2, y2 := at(from+turn, -reach)
		x, y := at(from+turn, 0)
		c.doc.CurveBezierCubicTo(x1, y1, x2, y2, x, y)
	}
}

func (c *pdfCanvas) FillString(f font.Face, pt vg.Point, s string) {
	style := ""
	if f.Font.Weight == xfont.WeightBold {
		style = "B"
	}
	if !c.fonts[style] {
		var source bytes.Buffer
		if _, err := f.Face.WriteSourceTo(nil, &source); err != nil {
			c.doc.SetError(err)
			return
		}
		c.doc.AddUTF8FontFromBytes(fontFamily, style, source.Bytes())
		c.fonts[style] = true
	}
	c.paint()
	c.doc.SetFont(fontFamily, style, f.Font.Size.Points())
	x, y := c.place(pt)
	angle := math.Atan2(c.state.b, c.state.a)
	if angle == 0 {
		c.doc.Text(x, y, s)
		return
	}
	c.doc.TransformBegin()
	c.doc.TransformRotate(angle*180/math.Pi, x, y)
	c.doc.Text(x, y, s)
	c.doc.TransformEnd()
}

const fontFamily = "liberation"

func (c *pdfCanvas) DrawImage(rect vg.Rectangle, img image.Image) {
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		c.doc.SetError(err)
		return
	}
	c.images++
	name := fmt.Sprintf("image%d", c.images)
	c.doc.SetAlpha(1, "Normal")
	c.doc.RegisterImageOptionsReader(name, fpdf.ImageOptions{ImageType: "PNG"}, &b)
	x, y := c.place(vg.Point{X: rect.Min.X, Y: rect.Max.Y})
	size := rect.Size()
	c.doc.ImageOptions(name, x, y, size.X.Points(), size.Y.Points(), false, fpdf.ImageOptions{ImageType: "PNG"}, 0, "")
}
