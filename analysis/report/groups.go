package report

import (
	"fmt"
	"image/color"
	"math"
	"slices"
	"strings"

	"gonum.org/v1/plot/vg"

	"sat/analysis"
)

// withPairs are the groups of at least two models: of the others there is nothing to say.
func (g *Groups) withPairs() []GroupMean {
	return slices.DeleteFunc(slices.Clone(g.Groups), func(m GroupMean) bool { return m.Summary.Pairs == 0 })
}

// groupsFigure shows the central claim: one dot per pair, pairs of one group against pairs of different groups.
func groupsFigure(r *Run) *figure {
	g := r.Groups
	if g == nil {
		return nil
	}
	var sets [2][]*analysis.Pair // within, across
	var floored [2]int
	rows := [][]string{{"a", "b", "same_group", "sat", "status"}}
	lo, hi := ln100-0.5, ln100
	groupOf := map[string]string{}
	for i := range r.Models {
		groupOf[r.Models[i].Name] = r.Models[i].Group
	}
	for k := range r.Pairs {
		p := &r.Pairs[k]
		if groupOf[p.A] == "" || groupOf[p.B] == "" {
			continue // trained on adversarial images
		}
		set, same := 1, "0"
		if groupOf[p.A] == groupOf[p.B] {
			set, same = 0, "1"
		}
		rows = append(rows, []string{p.A, p.B, same, analysis.FormatFloat(p.SAT), string(p.Status)})
		switch p.Status {
		case analysis.StatusEmpty:
		case analysis.StatusFloored:
			floored[set]++
		default:
			sets[set] = append(sets[set], p)
			lo = min(lo, p.SAT)
		}
	}
	means := [2]GroupMean{g.Within, g.Across}
	for k, m := range means {
		// A mean that includes floored pairs may lie below every dot.
		if floored[k] == 0 || m.Summary.Mean > lo-1 {
			lo = min(lo, m.Summary.Mean)
		}
		if m.Interval.known() && floored[k] == 0 {
			lo, hi = min(lo, m.Interval.Lo), max(hi, m.Interval.Hi)
		}
	}
	lo = math.Floor(lo*10)/10 - 0.05
	names := [2]string{"Same\narchitecture", "Different\narchitecture"}
	const title = "Is the similarity of models decided by their architecture?"
	dots := "Each dot is a pair of models."
	if len(r.Pairs) > maxSwarm {
		dots = "Wide where many pairs of models are."
	}
	note := dots + " Diamond: mean; line: " + lineMeaning(means) + "."
	width, height := vg.Length(figureWidth), vg.Length(3.6*vg.Inch)
	alt := fmt.Sprintf("Dot plot. %s of one architecture: mean SAT %.2f. %s of different architectures: mean %.2f. %s.",
		plural(means[0].Summary.Pairs, "pair", "pairs"), means[0].Summary.Mean, plural(means[1].Summary.Pairs, "pair", "pairs"), means[1].Summary.Mean, g.verdictText())
	return &figure{Stem: "same_vs_different", Title: title, Alt: alt, CSV: csvBytes(rows), width: width, height: height,
		draw: func(p pen) {
			top := p.heading(title, note)
			drawBox(p, margin, top-1, g)
			a := &panel{pen: p, x0: margin + 84, y0: margin + 32, x1: width - margin - 6, y1: top - 26, xmin: lo, xmax: hi + 0.03*(hi-lo), ymin: 0, ymax: 1}
			for _, t := range satTicks(lo, ln100) {
				x := a.X(t.at)
				p.line(0.5, faint, vg.Point{X: x, Y: a.y0}, vg.Point{X: x, Y: a.y1})
				p.line(0.5, muted, vg.Point{X: x, Y: a.y0}, vg.Point{X: x, Y: a.y0 - 2.5})
				p.text(x, a.y0-8, t.label, lettering{size: smallSize, color: muted, align: 0.5})
			}
			p.line(0.7, muted, vg.Point{X: a.x0, Y: a.y0}, vg.Point{X: a.x1, Y: a.y0})
			p.text((a.x0+a.x1)/2, margin+7, "SAT of the pair (ln of the percentage fooled)", lettering{size: smallSize, color: muted, align: 0.5})
			lane := (a.y1 - a.y0) / 2
			for k, set := range sets {
				mid := a.y1 - lane*(vg.Length(k)+0.5)
				c := []color.RGBA{clusterColors[0], clusterColors[1]}[k]
				y := mid + 5
				for i, line := range strings.Split(names[k], "\n") {
					p.text(a.x0-8, y-10*vg.Length(i), line, lettering{size: textSize, align: 1, bold: true})
				}
				p.text(a.x0-8, y-20, plural(means[k].Summary.Pairs, "pair", "pairs"), lettering{size: smallSize, align: 1, color: muted})
				drawSwarm(a, set, mid-6, 0.34*lane, c)
				drawMean(a, means[k], set, mid+0.42*lane, floored[k])
			}
		}}
}

// lineMeaning says what the line through the mean spans: confidence intervals where the run has them, else the middle
// half of the pairs, which describes the pairs and claims nothing.
func lineMeaning(means [2]GroupMean) string {
	if means[0].Interval.known() || means[1].Interval.known() {
		return "its 95 % confidence interval"
	}
	return "the middle half of the pairs"
}

// drawSwarm places one dot per pair along x and moves dots that would cover each other up and down, within half a lane.
// The dots are as large as lets all of them find room.
func drawSwarm(a *panel, pairs []*analysis.Pair, mid, half vg.Length, c color.RGBA) {
	xs := make([]vg.Length, len(pairs))
	for i, p := range pairs {
		xs[i] = a.X(p.SAT)
	}
	slices.Sort(xs)
	if len(xs) > maxSwarm {
		a.drawOutline(xs, mid, half, c)
		return
	}
	radius := vg.Length(2.4)
	rise, fits := swarm(xs, radius, half)
	for !fits && radius > 0.4 {
		radius *= 0.85
		rise, fits = swarm(xs, radius, half)
	}
	for i, x := range xs {
		a.dot(x, mid+rise[i], radius, c)
	}
}

// maxSwarm is the number of dots above which a swarm shows nothing that its outline does not.
const maxSwarm = 3000

// drawOutline shades where the sorted positions are: the wider, the more of them.
func (a *panel) drawOutline(xs []vg.Length, mid, half vg.Length, c color.RGBA) {
	const bins = 80
	from, width := xs[0], max(xs[len(xs)-1]-xs[0], 1)
	counts, most := make([]int, bins), 1
	for _, x := range xs {
		k := min(int(bins*(x-from)/width), bins-1)
		counts[k]++
		most = max(most, counts[k])
	}
	var path vg.Path
	path.Move(vg.Point{X: from, Y: mid})
	at := func(k int, side vg.Length) vg.Point {
		return vg.Point{X: from + width*(vg.Length(k)+0.5)/bins, Y: mid + side*half*vg.Length(counts[k])/vg.Length(most)}
	}
	for k := range bins {
		path.Line(at(k, 1))
	}
	path.Line(vg.Point{X: from + width, Y: mid})
	for k := bins - 1; k >= 0; k-- {
		path.Line(at(k, -1))
	}
	path.Close()
	a.SetColor(c)
	a.Fill(path)
}

// swarm returns how far each of the dots at the ascending positions xs is moved up, and whether none covers another.
func swarm(xs []vg.Length, radius, half vg.Length) (rise []vg.Length, fits bool) {
	step := 0.5 * radius
	levels := 2*int(half/step) + 1
	reach := 2.15 * radius // centres this far apart leave a gap
	rise, fits = make([]vg.Length, len(xs)), true
	first := 0 // dots before it are too far left to touch
	for i, x := range xs {
		for x-xs[first] > reach {
			first++
		}
		placed := false
		for k := range levels { // the middle, then further and further up and down
			y := vg.Length((k+1)/2) * step
			if k%2 == 0 {
				y = -y
			}
			free := true
			for j := first; j < i && free; j++ {
				dx, dy := x-xs[j], y-rise[j]
				free = dx*dx+dy*dy >= reach*reach
			}
			if free {
				rise[i], placed = y, true
				break
			}
		}
		fits = fits && placed
	}
	return rise, fits
}

// drawMean draws the mean and the line of lineMeaning above the dots.
func drawMean(a *panel, m GroupMean, pairs []*analysis.Pair, y vg.Length, floored int) {
	if math.IsNaN(m.Summary.Mean) {
		return
	}
	label := fmt.Sprintf("mean %.2f", m.Summary.Mean)
	span := m.Interval
	if span.known() {
		label += intervalText(span)
	} else if floored == 0 && len(pairs) > 1 {
		scores := make([]float64, len(pairs))
		for i, p := range pairs {
			scores[i] = p.SAT
		}
		slices.Sort(scores)
		span = Interval{analysis.Quantile(scores, 0.25), analysis.Quantile(scores, 0.75)}
	}
	if floored > 0 {
		label += fmt.Sprintf(", median %.2f, %d at the floor", m.Summary.Median, floored)
	}
	left, right := a.X(m.Summary.Mean)-4, a.X(m.Summary.Mean)+4
	if span.known() {
		lo, hi := max(a.X(span.Lo), a.x0), min(a.X(span.Hi), a.x1)
		a.line(1.2, ink, vg.Point{X: lo, Y: y}, vg.Point{X: hi, Y: y})
		for _, x := range []vg.Length{lo, hi} {
			a.line(1.2, ink, vg.Point{X: x, Y: y - 2.5}, vg.Point{X: x, Y: y + 2.5})
		}
		left, right = min(left, lo), max(right, hi)
	}
	if x := a.X(m.Summary.Mean); x >= a.x0 {
		var diamond vg.Path
		diamond.Move(vg.Point{X: x - 4, Y: y})
		diamond.Line(vg.Point{X: x, Y: y + 4})
		diamond.Line(vg.Point{X: x + 4, Y: y})
		diamond.Line(vg.Point{X: x, Y: y - 4})
		diamond.Close()
		a.SetColor(ink)
		a.Fill(diamond)
	}
	style := lettering{size: smallSize, bold: true}
	if right+6+textWidth(label, smallSize, true) <= a.x1 {
		a.text(max(right, a.x0)+6, y, label, style)
	} else {
		style.align = 1
		a.text(left-6, y, label, style)
	}
}

// drawBox states the test above the plot, where no dot can lie under it.
func drawBox(p pen, x, top vg.Length, g *Groups) {
	parts := []struct {
		text string
		bold bool
	}{
		{"difference of the means " + score(g.Difference) + intervalText(g.Interval), false},
		{"p = " + plainP(g.P), true},
		{g.testText(), false},
	}
	const gap, height = vg.Length(10), vg.Length(15)
	at := x + gap
	for _, part := range parts {
		p.text(at, top-height/2, part.text, lettering{size: smallSize, bold: part.bold})
		at += textWidth(part.text, smallSize, part.bold) + gap
	}
	p.outline(x, top-height, at, top, 0.6, muted)
}
