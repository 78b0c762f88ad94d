package report

import (
	"fmt"
	"image/color"
	"math"
	"slices"
	"strconv"

	"gonum.org/v1/plot/vg"
)

// lineChart is a set of lines over whole numbers with a band each: the form of Figs. 6, 7 and F.1.
type lineChart struct {
	stem, title, note string
	xTitle, yTitle    string
	legend            string // what the lines are, for example "clusters k"
	lines             []chartLine
	csv               []byte
	ordered           bool // the lines have an order, which their colours show
}

type chartLine struct {
	name   string
	x      []float64
	y      []float64
	lo, hi []float64 // band; NaN: none
	single bool      // drawn dashed, in ink: a line of another kind than the others
}

func (c *lineChart) figure() *figure {
	names := make([]string, len(c.lines))
	for i, l := range c.lines {
		names[i] = l.name
	}
	var xs, ys []float64
	for _, l := range c.lines {
		xs, ys = append(xs, l.x...), slices.Concat(ys, l.y, l.lo, l.hi)
	}
	alt := fmt.Sprintf("%s against %s, %s.", c.yTitle, c.xTitle, plural(len(c.lines), "line", "lines"))
	for _, l := range c.lines {
		if n := len(l.x); n > 0 && len(c.lines) <= 12 {
			alt += fmt.Sprintf(" %s: %s at %g, %s at %g.", l.name, short(l.y[0]), l.x[0], short(l.y[n-1]), l.x[n-1])
		}
	}
	width, height := vg.Length(5.2*vg.Inch), vg.Length(3.5*vg.Inch)
	return &figure{Stem: c.stem, Title: c.title, Alt: alt, CSV: c.csv, width: width, height: height, draw: func(p pen) {
		top := p.heading(c.title, c.note)
		beside := max(widest(names, smallSize)+16, textWidth(c.legend, smallSize, true)) + 14
		xlo, xhi := padded(xs, 0.04)
		ylo, yhi := padded(ys, 0.05)
		a := &panel{pen: p, x0: margin + 44, y0: margin + 27, x1: width - margin - beside, y1: top - 8, xmin: xlo, xmax: xhi, ymin: ylo, ymax: yhi}
		a.axes(wholeTicks(xs), ticks(ylo, yhi), true, true)
		for i, l := range c.lines {
			a.lineBand(l, faded(c.color(i), 0.16))
		}
		for i, l := range c.lines {
			col := c.color(i)
			if l.single {
				a.dashedCurve(l, col)
			} else {
				a.curve(l.x, l.y, 1.2, col)
			}
			for k, y := range l.y {
				if !math.IsNaN(y) {
					a.mark(a.X(l.x[k]), a.Y(y), 2.1, i, col)
				}
			}
		}
		p.text((a.x0+a.x1)/2, margin+6, c.xTitle, lettering{size: smallSize, align: 0.5, color: muted})
		p.text(margin+4, (a.y0+a.y1)/2, c.yTitle, lettering{size: smallSize, align: 0.5, color: muted, upright: true})
		x := a.x1 + 12
		p.text(x, a.y1-5, c.legend, lettering{size: smallSize, bold: true})
		for i, l := range c.lines {
			y := a.y1 - 5 - 11*vg.Length(i+1)
			p.line(1.2, c.color(i), vg.Point{X: x, Y: y}, vg.Point{X: x + 12, Y: y})
			a.mark(x+6, y, 2.1, i, c.color(i))
			p.text(x+16, y, l.name, lettering{size: smallSize})
		}
	}}
}

// color gives ordered lines steps of the palette without its ends, which white or black ground swallows, and others the
// colours of groups.
func (c *lineChart) color(i int) color.RGBA {
	if c.lines[i].single {
		return ink
	}
	if !c.ordered {
		return clusterColors[i%len(clusterColors)]
	}
	if len(c.lines) == 1 {
		return viridis(0.3)
	}
	return viridis(0.2 + 0.65*float64(i)/float64(len(c.lines)-1))
}

func (a *panel) lineBand(l chartLine, c color.Color) {
	var up, down []vg.Point
	for k := range l.x {
		if k < len(l.lo) && !math.IsNaN(l.lo[k]) && !math.IsNaN(l.hi[k]) {
			up = append(up, vg.Point{X: a.X(l.x[k]), Y: a.Y(l.hi[k])})
			down = append(down, vg.Point{X: a.X(l.x[k]), Y: a.Y(l.lo[k])})
		}
	}
	if len(up) < 2 {
		return
	}
	var path vg.Path
	path.Move(up[0])
	for _, q := range up[1:] {
		path.Line(q)
	}
	for _, q := range slices.Backward(down) {
		path.Line(q)
	}
	path.Close()
	a.SetColor(c)
	a.Fill(path)
}

func (a *panel) dashedCurve(l chartLine, c color.Color) {
	var points []vg.Point
	for k, y := range l.y {
		if !math.IsNaN(y) {
			points = append(points, vg.Point{X: a.X(l.x[k]), Y: a.Y(y)})
		}
	}
	a.dashed(1.2, c, []vg.Length{4, 2}, points...)
}

// mark draws one of four shapes, so that lines can be told apart without colour.
func (a *panel) mark(x, y, radius vg.Length, shape int, c color.Color) {
	if shape%4 == 0 {
		a.dot(x, y, radius, c)
		return
	}
	var path vg.Path
	r := 1.2 * radius
	switch shape % 4 {
	case 1:
		path = rectangle(x-0.8*r, y-0.8*r, x+0.8*r, y+0.8*r)
	case 2:
		path = polygon(vg.Point{X: x - r, Y: y - 0.8*r}, vg.Point{X: x + r, Y: y - 0.8*r}, vg.Point{X: x, Y: y + r})
	case 3:
		path = polygon(vg.Point{X: x - r, Y: y}, vg.Point{X: x, Y: y - r}, vg.Point{X: x + r, Y: y}, vg.Point{X: x, Y: y + r})
	}
	a.SetColor(c)
	a.Fill(path)
}

func polygon(points ...vg.Point) (path vg.Path) {
	path.Move(points[0])
	for _, q := range points[1:] {
		path.Line(q)
	}
	path.Close()
	return path
}

// wholeTicks marks the whole numbers that occur, thinned to about ten.
func wholeTicks(xs []float64) (out []tick) {
	distinct := slices.Compact(slices.Sorted(slices.Values(xs)))
	step := (len(distinct) + 9) / 10
	for k, x := range distinct {
		if k%max(step, 1) == 0 {
			out = append(out, tick{x, strconv.FormatFloat(x, 'g', -1, 64)})
		}
	}
	return out
}

// short prints a number with three digits, for texts.
func short(v float64) string {
	if math.IsNaN(v) {
		return "–"
	}
	return minus(strconv.FormatFloat(v, 'g', 3, 64))
}

// readCells reads a table with one row per N and k as one line per k. scale is 100 for fractions shown in per cent.
func (r *Run) readCells(file, mean string, scale float64) (lines []chartLine, csv []byte, err error) {
	t, content, err := r.analysisTable(file, "N", "k", mean, "sd", "ci_lo", "ci_hi", "draws")
	if t == nil {
		return nil, nil, err
	}
	byK := map[int]*chartLine{}
	var ks []int
	for _, row := range t.rows {
		n, err := row.count("N", 1)
		if err != nil {
			return nil, nil, err
		}
		k, err := row.count("k", 1)
		if err != nil {
			return nil, nil, err
		}
		var v [3]float64
		for i, name := range []string{mean, "ci_lo", "ci_hi"} {
			if v[i], err = row.number(name); err != nil {
				return nil, nil, err
			}
		}
		if byK[k] == nil {
			byK[k] = &chartLine{name: "k = " + strconv.Itoa(k)}
			ks = append(ks, k)
		}
		l := byK[k]
		if at := len(l.x); at > 0 && float64(n) <= l.x[at-1] {
			return nil, nil, row.fail("N", "%d after %g for k = %d: want N to rise", n, l.x[at-1], k)
		}
		l.x, l.y = append(l.x, float64(n)), append(l.y, scale*v[0])
		l.lo, l.hi = append(l.lo, scale*v[1]), append(l.hi, scale*v[2])
	}
	slices.Sort(ks)
	for _, k := range ks {
		lines = append(lines, *byK[k])
	}
	return lines, content, nil
}
