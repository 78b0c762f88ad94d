package report

import (
	"fmt"
	"image/color"
	"math"
	"strconv"

	"gonum.org/v1/plot/vg"

	"sat/analysis"
)

// maxPanels is the number of groups up to which each gets a panel of its own; more share one panel.
const maxPanels = 16

// curvesFigure shows loss and accuracy of every epoch: a panel per group of models, with the curves of all the others
// in the background for comparison.
func curvesFigure(r *Run) *figure {
	if r.Curves == 0 {
		return nil
	}
	rows := [][]string{{"model", "group", "epoch", "train_loss", "val_loss", "val_top1_percent"}}
	var groups []string
	members := map[string][]int{}
	for i := range r.Models {
		m := &r.Models[i]
		for _, e := range m.Curve {
			rows = append(rows, []string{m.Name, m.groupOf(), strconv.Itoa(e.Epoch), analysis.FormatFloat(e.TrainLoss), analysis.FormatFloat(e.ValLoss), analysis.FormatFloat(e.ValTop1)})
		}
		if len(m.Curve) == 0 {
			continue
		}
		if g := m.groupOf(); members[g] == nil {
			groups = append(groups, g)
		}
		members[m.groupOf()] = append(members[m.groupOf()], i)
	}
	if len(groups) > maxPanels {
		var all []int
		for _, g := range groups {
			all = append(all, members[g]...)
		}
		groups, members = []string{plural(len(all), "model", "models")}, map[string][]int{}
		members[groups[0]] = all
	}
	rowsOfPanels := (len(groups) + panelColumns - 1) / panelColumns
	note := "Top: loss on the training images (logarithmic). Bottom: accuracy on the validation images, in per cent. " +
		"A panel per architecture; grey: the other models."
	if len(groups) == 1 {
		note = "Top: loss on the training images (logarithmic). Bottom: accuracy on the validation images, in per cent."
	}
	blocks := []curveBlock{r.lossBlock(), r.accuracyBlock()}
	if blocks[1].hi <= blocks[1].lo { // no validation accuracy recorded
		blocks = blocks[:1]
	}
	width := vg.Length(figureWidth)
	height := headingHeight(note, width) + vg.Length(len(blocks))*(vg.Length(rowsOfPanels)*panelHeight+28) + margin
	lastEpoch := 0
	for i := range r.Models {
		if n := len(r.Models[i].Curve); n > 0 {
			lastEpoch = max(lastEpoch, r.Models[i].Curve[n-1].Epoch)
		}
	}
	alt := fmt.Sprintf("Training loss and validation accuracy of %s over at most %s.", plural(r.Curves, "model", "models"), plural(lastEpoch, "epoch", "epochs"))
	return &figure{Stem: "training_curves", Title: "Training", Alt: alt, CSV: csvBytes(rows), width: width, height: height, draw: func(p pen) {
		top := p.heading("Training", note)
		for _, b := range blocks {
			top = r.drawBlock(p, top, b, groups, members, lastEpoch)
		}
	}}
}

const (
	panelColumns = 4
	panelHeight  = vg.Length(80)
)

// curveBlock is one measure drawn for all groups.
type curveBlock struct {
	label  string
	lo, hi float64
	log    bool
	color  color.RGBA
	value  func(Epoch) float64
	final  func(float64) string // prints the last value
	unit   string
}

func (r *Run) lossBlock() curveBlock {
	b := curveBlock{label: "training loss", log: true, color: clusterColors[0], value: func(e Epoch) float64 { return e.TrainLoss },
		final: func(v float64) string { return strconv.FormatFloat(v, 'g', 2, 64) }}
	b.lo, b.hi = r.curveRange(func(e Epoch) float64 {
		if e.TrainLoss <= 0 {
			return math.NaN() // off a logarithmic axis
		}
		return e.TrainLoss
	})
	if b.hi <= b.lo {
		b.lo, b.hi = b.lo/2, b.hi*2
	}
	b.lo, b.hi = 0.8*b.lo, 1.25*b.hi
	return b
}

func (r *Run) accuracyBlock() curveBlock {
	b := curveBlock{label: "validation accuracy, %", color: clusterColors[2], value: func(e Epoch) float64 { return e.ValTop1 },
		final: func(v float64) string { return strconv.FormatFloat(v, 'f', 1, 64) }, unit: " %"}
	b.lo, b.hi = r.curveRange(b.value)
	if !math.IsInf(b.lo, 0) {
		b.lo, b.hi = min(math.Floor(b.lo/10)*10, 90), 100
	}
	return b
}

// curveRange returns the least and greatest defined value; lo > hi when there is none.
func (r *Run) curveRange(value func(Epoch) float64) (lo, hi float64) {
	lo, hi = math.Inf(1), math.Inf(-1)
	for i := range r.Models {
		for _, e := range r.Models[i].Curve {
			if v := value(e); !math.IsNaN(v) {
				lo, hi = min(lo, v), max(hi, v)
			}
		}
	}
	return lo, hi
}

func (r *Run) drawBlock(p pen, top vg.Length, b curveBlock, groups []string, members map[string][]int, lastEpoch int) vg.Length {
	if b.hi < b.lo {
		return top
	}
	columns := min(len(groups), panelColumns)
	left := margin + 36
	gap := vg.Length(10)
	w := (p.Max.X - margin - left - gap*vg.Length(columns-1)) / vg.Length(columns)
	rowsOfPanels := (len(groups) + panelColumns - 1) / panelColumns
	firstEpoch := 1
	for i := range r.Models {
		if len(r.Models[i].Curve) > 0 {
			firstEpoch = min(firstEpoch, r.Models[i].Curve[0].Epoch)
		}
	}
	yTicks := ticks(b.lo, b.hi)
	if b.log {
		yTicks = logTicks(b.lo, b.hi)
	}
	for k, g := range groups {
		row, column := k/panelColumns, k%panelColumns
		x0 := left + vg.Length(column)*(w+gap)
		y1 := top - vg.Length(row)*panelHeight - 13
		a := &panel{pen: p, x0: x0, y0: y1 - (panelHeight - 20), x1: x0 + w, y1: y1,
			xmin: float64(firstEpoch), xmax: float64(max(lastEpoch, firstEpoch+1)), ymin: b.lo, ymax: b.hi, logY: b.log}
		lastInColumn := k+panelColumns >= len(groups)
		a.axes(epochTicks(firstEpoch, lastEpoch), yTicks, lastInColumn, column == 0)
		own := map[int]bool{}
		for _, i := range members[g] {
			own[i] = true
		}
		for i := range r.Models {
			if !own[i] {
				a.curve(epochs(r.Models[i].Curve), values(r.Models[i].Curve, b.value), 0.5, faint)
			}
		}
		line := vg.Length(1)
		if len(members[g]) > 20 {
			line = 0.5
		}
		var lo, hi = math.Inf(1), math.Inf(-1)
		for _, i := range members[g] {
			ys := values(r.Models[i].Curve, b.value)
			a.curve(epochs(r.Models[i].Curve), ys, line, b.color)
			if v := last(ys); !math.IsNaN(v) {
				lo, hi = min(lo, v), max(hi, v)
			}
		}
		name := g
		if name == "" {
			name = "other"
		}
		p.text(x0, y1+6, name, lettering{size: smallSize, bold: true})
		if lo <= hi {
			end := b.final(lo)
			if other := b.final(hi); other != end {
				end += "–" + other
			}
			end += b.unit
			if textWidth(name, smallSize, true)+8+textWidth(end, smallSize, false) <= w {
				p.text(x0+w, y1+6, end, lettering{size: smallSize, color: muted, align: 1})
			}
		}
	}
	bottom := top - vg.Length(rowsOfPanels)*panelHeight - 28
	p.text(left-28, (top+bottom+20)/2, b.label, lettering{size: smallSize, color: muted, align: 0.5, upright: true})
	p.text(left+(p.Max.X-margin-left)/2, bottom+11, "epoch", lettering{size: smallSize, color: muted, align: 0.5})
	return bottom
}

// last returns the last defined value, NaN when there is none.
func last(ys []float64) float64 {
	for i := len(ys) - 1; i >= 0; i-- {
		if !math.IsNaN(ys[i]) {
			return ys[i]
		}
	}
	return math.NaN()
}

func epochTicks(first, last int) (out []tick) {
	for _, t := range ticks(float64(first), float64(max(last, first+1))) {
		if t.at == math.Trunc(t.at) {
			out = append(out, tick{t.at, strconv.Itoa(int(t.at))})
		}
	}
	return out
}

func epochs(curve []Epoch) []float64 {
	return values(curve, func(e Epoch) float64 { return float64(e.Epoch) })
}

func values(curve []Epoch, value func(Epoch) float64) []float64 {
	out := make([]float64, len(curve))
	for i, e := range curve {
		out[i] = value(e)
	}
	return out
}
