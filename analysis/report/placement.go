package report

import (
	"cmp"
	"math"
	"slices"

	"gonum.org/v1/plot/vg"
)

// labelPlacer puts names beside their marks so that no two names overlap and none covers a mark.
type labelPlacer struct {
	panel  *panel
	size   vg.Length
	radius vg.Length // of a mark
	marks  []vg.Point
	taken  []vg.Rectangle
}

// placedLabel is a name with its place; Leader says that it is far enough from its mark to need a line.
type placedLabel struct {
	index  int
	box    vg.Rectangle
	leader bool
}

// place returns where the names go, in the order of texts; a name that finds no room is left out. Marks in crowded places
// choose first, because they have the fewest places to choose from.
func (l *labelPlacer) place(texts []string) (out []placedLabel) {
	order := make([]int, len(texts))
	crowd := make([]float64, len(texts))
	for i := range texts {
		order[i] = i
		for j := range l.marks {
			if i != j {
				d := math.Hypot(float64(l.marks[i].X-l.marks[j].X), float64(l.marks[i].Y-l.marks[j].Y))
				crowd[i] += 1 / (1 + d*d/100)
			}
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(crowd[b], crowd[a]) })
	for _, i := range order {
		if texts[i] == "" {
			continue
		}
		if box, distance, ok := l.free(l.marks[i], textWidth(texts[i], l.size, false)); ok {
			l.taken = append(l.taken, box)
			out = append(out, placedLabel{i, box, distance > 7})
		}
	}
	slices.SortFunc(out, func(a, b placedLabel) int { return a.index - b.index })
	return out
}

// free looks for a box of the given width around a mark, nearer places first, right of it before the others.
func (l *labelPlacer) free(mark vg.Point, width vg.Length) (box vg.Rectangle, distance vg.Length, ok bool) {
	const directions, steps = 16, 26
	for step := range steps {
		distance = l.radius + 1.5 + 3.2*vg.Length(step)
		for k := range directions {
			turn := (k + 1) / 2 // 0, 1, -1, 2, -2, ... sixteenths from the right
			if k%2 == 0 {
				turn = -turn
			}
			angle := 2 * math.Pi * float64(turn) / directions
			dx, dy := vg.Length(math.Cos(angle)), vg.Length(math.Sin(angle))
			// The box touches the circle of that distance with the side that faces the mark.
			center := vg.Point{X: mark.X + dx*(distance+width/2), Y: mark.Y + dy*(distance+l.size/2)}
			box = vg.Rectangle{Min: vg.Point{X: center.X - width/2, Y: center.Y - l.size/2}, Max: vg.Point{X: center.X + width/2, Y: center.Y + l.size/2}}
			if l.inside(box) && !l.covers(box) {
				return box, distance, true
			}
		}
	}
	return box, 0, false
}

func (l *labelPlacer) inside(b vg.Rectangle) bool {
	a := l.panel
	return b.Min.X >= a.x0+1 && b.Max.X <= a.x1-1 && b.Min.Y >= a.y0+1 && b.Max.Y <= a.y1-1
}

func (l *labelPlacer) covers(b vg.Rectangle) bool {
	const gap = 0.6
	for _, t := range l.taken {
		if b.Min.X < t.Max.X+gap && t.Min.X < b.Max.X+gap && b.Min.Y < t.Max.Y+gap && t.Min.Y < b.Max.Y+gap {
			return true
		}
	}
	for _, m := range l.marks {
		// Distance from the mark's centre to the box.
		dx := max(b.Min.X-m.X, 0, m.X-b.Max.X)
		dy := max(b.Min.Y-m.Y, 0, m.Y-b.Max.Y)
		if dx*dx+dy*dy < l.radius*l.radius {
			return true
		}
	}
	return false
}

// draw writes the names and the lines to those that stand away from their mark.
func (l *labelPlacer) draw(p pen, texts []string, placed []placedLabel) {
	for _, q := range placed {
		if q.leader {
			m := l.marks[q.index]
			end := vg.Point{X: min(max(m.X, q.box.Min.X), q.box.Max.X), Y: min(max(m.Y, q.box.Min.Y), q.box.Max.Y)}
			p.line(0.4, muted, m, end)
		}
	}
	for _, q := range placed {
		p.text(q.box.Min.X, (q.box.Min.Y+q.box.Max.Y)/2, texts[q.index], lettering{size: l.size})
	}
}

// nameMarks names the points of a panel.
func (a *panel) nameMarks(x, y []float64, names []string, radius vg.Length) {
	l := &labelPlacer{panel: a, size: 5.5, radius: radius}
	for i := range x {
		l.marks = append(l.marks, vg.Point{X: a.X(x[i]), Y: a.Y(y[i])})
	}
	l.draw(a.pen, names, l.place(names))
}
