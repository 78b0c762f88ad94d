package report

import (
	"context"
	"fmt"
	"image"
	"image/color"
	"math"
	"slices"
	"strings"

	"gonum.org/v1/plot/vg"

	"sat/analysis"
)

// scatter is a cloud of points with the least-squares line, its 90 % band, and r, p and n: the form of Figs. 2, 5, 8, G.1
// and H.1.
type scatter struct {
	stem, title, note string
	xTitle, yTitle    string
	names             []string // of the points, each one model; shown beside them when there are few
	x, y              []float64
	yPercent          bool // y is a fraction, shown in per cent
	paper             string
	csv               []byte

	corr  analysis.Correlation
	trend *analysis.Trend
}

const (
	bandLevel     = 0.9  // of the band, as in the paper
	intervalLevel = 0.95 // of the interval of r
	namedPoints   = 40   // most points that carry their names
	drawnPoints   = 6000 // most points drawn as single marks; more become one image, or the file would have many MB
)

// fit computes the line and r of the points.
func (s *scatter) fit() (err error) {
	if s.corr, err = analysis.Correlate(s.x, s.y, intervalLevel); err != nil {
		return fmt.Errorf("%s: %w", s.stem, err)
	}
	if s.trend, err = analysis.FitTrend(context.Background(), s.x, s.y, analysis.TrendOptions{Level: bandLevel}); err != nil {
		return fmt.Errorf("%s: %w", s.stem, err)
	}
	return nil
}

// value is r as a number to set beside the paper's.
func (s *scatter) value(what string) ownValue {
	return ownValue{value: s.corr.R, interval: Interval{s.corr.CILo, s.corr.CIHi}, scope: what}
}

// result is the line of numbers that stands above the points.
func (s *scatter) result() string {
	if math.IsNaN(s.corr.R) {
		return fmt.Sprintf("r undefined (n = %s): %s", thousands(s.corr.N), s.corr.Warning)
	}
	return fmt.Sprintf("r = %s%s    p = %s    n = %s", score(s.corr.R), intervalText(Interval{s.corr.CILo, s.corr.CIHi}),
		figureP(s.corr.Log10P), thousands(s.corr.N))
}

// figureP prints p for figures, whose font has no raised digits: 1.74e-54.
func figureP(log10p float64) string {
	mantissa, exponent, power := strings.Cut(analysis.FormatP(log10p), " × 10^")
	if !power {
		return mantissa
	}
	return mantissa + "e" + exponent
}

func (s *scatter) figure() *figure {
	y := s.y
	if s.yPercent {
		y = make([]float64, len(s.y))
		for i, v := range s.y {
			y[i] = 100 * v
		}
	}
	alt := fmt.Sprintf("Scatter plot of %s against %s with a trend line. %s.", s.yTitle, s.xTitle, s.result())
	width, height := vg.Length(4.6*vg.Inch), vg.Length(3.7*vg.Inch)
	note := s.note
	if s.paper != "" {
		note += " The paper: " + strings.ReplaceAll(s.paper, " ", "\u00a0") + "."
	}
	return &figure{Stem: s.stem, Title: s.title, Alt: alt, CSV: s.csv, width: width, height: height, draw: func(p pen) {
		top := p.heading(s.title, note)
		p.text(margin, top-5, s.result(), lettering{size: smallSize, bold: true})
		xlo, xhi := padded(s.x, 0.05)
		ylo, yhi := padded(y, 0.07)
		a := &panel{pen: p, x0: margin + 42, y0: margin + 27, x1: width - margin - 4, y1: top - 16, xmin: xlo, xmax: xhi, ymin: ylo, ymax: yhi}
		a.axes(ticks(xlo, xhi), ticks(ylo, yhi), true, true)
		a.band(s.trend, s.yPercent)
		a.points(s.x, y)
		a.trendLine(s.trend, s.yPercent)
		p.text((a.x0+a.x1)/2, margin+6, s.xTitle, lettering{size: smallSize, align: 0.5, color: muted})
		p.text(margin+4, (a.y0+a.y1)/2, s.yTitle, lettering{size: smallSize, align: 0.5, color: muted, upright: true})
		if len(s.x) <= namedPoints && s.names != nil {
			a.nameMarks(s.x, y, s.names, dotRadius(len(s.x)))
		}
	}}
}

// padded returns the range of values with room around it; a range of its own when there is none.
func padded(v []float64, share float64) (lo, hi float64) {
	lo, hi = math.Inf(1), math.Inf(-1)
	for _, x := range v {
		if !math.IsNaN(x) {
			lo, hi = min(lo, x), max(hi, x)
		}
	}
	switch {
	case lo > hi:
		return 0, 1
	case lo == hi:
		around := max(math.Abs(lo)*0.1, 0.1)
		return lo - around, hi + around
	}
	room := share * (hi - lo)
	return lo - room, hi + room
}

func dotRadius(n int) vg.Length {
	switch {
	case n <= 100:
		return 2.4
	case n <= 1000:
		return 1.6
	}
	return 1.1
}

// band shades the interval around the line. It lies under the points.
func (a *panel) band(t *analysis.Trend, percent bool) {
	if len(t.X) == 0 || math.IsNaN(t.Slope) || math.IsNaN(t.Lo[0]) {
		return
	}
	scale := 1.0
	if percent {
		scale = 100
	}
	var path vg.Path
	for k := range t.X {
		q := vg.Point{X: a.X(t.X[k]), Y: a.within(scale * t.Hi[k])}
		if k == 0 {
			path.Move(q)
		} else {
			path.Line(q)
		}
	}
	for k := len(t.X) - 1; k >= 0; k-- {
		path.Line(vg.Point{X: a.X(t.X[k]), Y: a.within(scale * t.Lo[k])})
	}
	path.Close()
	a.SetColor(faded(accent, 0.22))
	a.Fill(path)
}

// within is Y kept inside the plotting area.
func (a *panel) within(v float64) vg.Length { return a.Y(min(max(v, a.ymin), a.ymax)) }

func (a *panel) trendLine(t *analysis.Trend, percent bool) {
	if len(t.X) == 0 || math.IsNaN(t.Slope) {
		return
	}
	scale := 1.0
	if percent {
		scale = 100
	}
	last := len(t.X) - 1
	x, y, ok := clipped([2]float64{t.X[0], t.X[last]}, [2]float64{scale * t.Y[0], scale * t.Y[last]}, a.ymin, a.ymax)
	if ok {
		a.line(1.4, accent, vg.Point{X: a.X(x[0]), Y: a.Y(y[0])}, vg.Point{X: a.X(x[1]), Y: a.Y(y[1])})
	}
}

// clipped cuts a segment off where it leaves the range of y, along its own direction; not ok if nothing is left of it.
func clipped(x, y [2]float64, lo, hi float64) (_, _ [2]float64, ok bool) {
	if max(y[0], y[1]) < lo || min(y[0], y[1]) > hi {
		return x, y, false
	}
	cutX, cutY := x, y
	for k := range y {
		if inside := min(max(y[k], lo), hi); inside != y[k] {
			cutX[k], cutY[k] = x[0]+(x[1]-x[0])*(inside-y[0])/(y[1]-y[0]), inside
		}
	}
	return cutX, cutY, true
}

// points draws the cloud, dense places darker.
func (a *panel) points(x, y []float64) {
	radius := dotRadius(len(x))
	if len(x) <= drawnPoints {
		c := faded(clusterColors[0], opacity(len(x)))
		for i := range x {
			if !math.IsNaN(x[i]) && !math.IsNaN(y[i]) {
				a.dot(a.X(x[i]), a.Y(y[i]), radius, c)
			}
		}
		return
	}
	a.DrawImage(vg.Rectangle{Min: vg.Point{X: a.x0, Y: a.y0}, Max: vg.Point{X: a.x1, Y: a.y1}}, a.density(x, y))
}

func opacity(n int) float64 {
	switch {
	case n <= 100:
		return 0.85
	case n <= 1000:
		return 0.55
	}
	return 0.35
}

// density counts points in small cells and darkens a cell by the logarithm of its count.
func (a *panel) density(x, y []float64) image.Image {
	const perPoint = 1.5 // cells per typographic point
	w, h := int((a.x1-a.x0).Points()*perPoint), int((a.y1-a.y0).Points()*perPoint)
	counts := make([]int, w*h)
	most := 1
	for i := range x {
		if math.IsNaN(x[i]) || math.IsNaN(y[i]) {
			continue
		}
		cx := min(int(float64(w)*(x[i]-a.xmin)/(a.xmax-a.xmin)), w-1)
		cy := min(int(float64(h)*(a.ymax-y[i])/(a.ymax-a.ymin)), h-1)
		counts[cy*w+cx]++
		most = max(most, counts[cy*w+cx])
	}
	img := image.NewNRGBA(image.Rect(0, 0, w, h))
	base := clusterColors[0]
	for k, n := range counts {
		if n > 0 {
			share := (1 + math.Log(float64(n))) / (1 + math.Log(float64(most)))
			img.SetNRGBA(k%w, k/w, color.NRGBA{base.R, base.G, base.B, uint8(60 + 195*share)})
		}
	}
	return img
}

// faded makes a colour see-through.
func faded(c color.RGBA, opacity float64) color.NRGBA {
	return color.NRGBA{c.R, c.G, c.B, uint8(math.Round(255 * opacity))}
}

// readScatter reads a table of points. Rows with an undefined coordinate are left out and counted.
func (r *Run) readScatter(s *scatter, file string, names []string, x, y string) (skipped int, found bool, err error) {
	t, content, err := r.analysisTable(file, append(slices.Clone(names), x, y)...)
	if t == nil {
		return 0, false, err
	}
	s.csv = content
	for _, row := range t.rows {
		vx, err := row.number(x)
		if err != nil {
			return 0, true, err
		}
		vy, err := row.number(y)
		if err != nil {
			return 0, true, err
		}
		if math.IsNaN(vx) || math.IsNaN(vy) {
			skipped++
			continue
		}
		s.x, s.y = append(s.x, vx), append(s.y, vy)
		if len(names) == 1 {
			s.names = append(s.names, row.text(names[0]))
		}
	}
	return skipped, true, s.fit()
}

// scatterBlocks reads a table of points and returns its figure; nil when the file is not there. id is that of the paper's
// correlation.
func (r *Run) scatterBlocks(id string, s *scatter, file string, names []string, x, y string) ([]block, error) {
	skipped, found, err := r.readScatter(s, file, names, x, y)
	if err != nil || !found {
		return nil, err
	}
	r.scatters[id] = s
	if r.Info.WithoutPaper {
		s.paper = ""
	}
	if skipped > 0 {
		s.note += fmt.Sprintf(" %s without a defined value left out.", plural(skipped, "point", "points"))
	}
	blocks := []block{{Figure: s.figure()}}
	if s.corr.Warning != "" {
		blocks = append(blocks, block{Note: "r is undefined: " + s.corr.Warning + "."})
	}
	return blocks, nil
}

// correlationData is a correlation in report.json.
func correlationData(s *scatter) map[string]any {
	c := s.corr
	return map[string]any{"r": number(c.R), "ci_lo": number(c.CILo), "ci_hi": number(c.CIHi), "p": number(c.P), "log10_p": number(c.Log10P),
		"n": c.N, "spearman": number(c.Spearman), "slope": number(s.trend.Slope), "intercept": number(s.trend.Intercept), "band_level": bandLevel}
}
