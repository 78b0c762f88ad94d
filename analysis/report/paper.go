package report

import (
	_ "embed"
	"fmt"
	"math"
	"strconv"
	"strings"

	"sat/analysis"
)

// Verdicts of a comparison with the paper.
const (
	verdictMatch   = "match"        // equal to the paper's value as printed
	verdictNoise   = "within noise" // the paper's value lies in our confidence interval
	verdictDiffers = "differs"
	verdictNotRun  = "not run"
)

//go:embed paper.csv
var paperCSV string

// comparison is a value of the paper beside ours.
type comparison struct {
	ID, Where, Quantity string
	Lo, Hi              float64 // the paper's value or range as printed; NaN: the paper gives words
	Text                string  // the paper's finding in words
	Scope               string  // what the paper's value rests on
	Ours                float64 // NaN: not run
	Interval            Interval
	OurScope            string
	Verdict             string
}

func (c *comparison) expected() string {
	switch {
	case math.IsNaN(c.Lo):
		return c.Text
	case c.Lo == c.Hi:
		return printed(c.Lo)
	}
	return printed(c.Lo) + " to " + printed(c.Hi)
}

// printed gives a number as the paper prints it: two decimals, or three where the first two would be zero or lost.
func printed(v float64) string {
	if v == math.Trunc(v) {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	if math.Abs(v) < 0.1 {
		return strconv.FormatFloat(v, 'f', 3, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

// difference is ours minus the nearest value of the paper's range; NaN when there is none.
func (c *comparison) difference() float64 { return c.Ours - min(max(c.Ours, c.Lo), c.Hi) }

// compare returns the paper's values with ours beside them.
func compare(r *Run) ([]comparison, error) {
	if r.Info.WithoutPaper {
		return nil, nil
	}
	t, err := parseTable("paper.csv", strings.NewReader(paperCSV), "id", "where", "quantity", "value", "value_hi", "text", "scope")
	if err != nil {
		return nil, err
	}
	ours := ownValues(r)
	var out []comparison
	for _, row := range t.rows {
		c := comparison{ID: row.text("id"), Where: row.text("where"), Quantity: row.text("quantity"), Text: row.text("text"), Scope: row.text("scope"),
			Ours: math.NaN(), Interval: Interval{math.NaN(), math.NaN()}, Verdict: verdictNotRun}
		if c.Lo, err = row.number("value"); err != nil {
			return nil, err
		}
		if c.Hi, err = row.number("value_hi"); err != nil {
			return nil, err
		}
		if math.IsNaN(c.Hi) {
			c.Hi = c.Lo
		}
		if own, ok := ours[c.ID]; ok && !math.IsNaN(own.value) {
			c.Ours, c.Interval, c.OurScope = own.value, own.interval, own.scope
			c.Verdict = verdict(c)
		}
		out = append(out, c)
	}
	return out, nil
}

// verdict compares with the paper's numbers, which are printed to two decimals.
func verdict(c comparison) string {
	const rounding = 0.005
	switch {
	case math.Abs(c.difference()) <= rounding:
		return verdictMatch
	case c.Interval.known() && c.Interval.Lo <= c.Hi+rounding && c.Interval.Hi >= c.Lo-rounding:
		return verdictNoise
	}
	return verdictDiffers
}

type ownValue struct {
	value    float64
	interval Interval
	scope    string
}

func ownValues(r *Run) map[string]ownValue {
	none := Interval{math.NaN(), math.NaN()}
	own := map[string]ownValue{}
	all := analysis.Summarize(r.Pairs)
	allInterval := none
	if r.Groups != nil && r.Groups.All != nil {
		allInterval = r.Groups.All.Interval
	}
	own["mean_all"] = ownValue{all.Mean, allInterval, fmt.Sprintf("%s, %s", plural(len(r.Models), "model", "models"), plural(all.Pairs, "pair", "pairs"))}
	sum, models := 0.0, 0
	for i := range r.Models {
		if s := &r.Models[i].Self; !math.IsNaN(s.SAT) {
			sum += s.SAT
			models++
		}
	}
	if models > 0 {
		own["diagonal"] = ownValue{sum / float64(models), none, "mean over " + plural(models, "model", "models")}
	}
	if g := r.Groups; g != nil && g.Within.Summary.Pairs > 0 {
		groups := map[string]int{}
		for i := range r.Models {
			groups[r.Models[i].Group]++
		}
		several := 0
		for _, n := range groups {
			if n > 1 {
				several++
			}
		}
		scope := fmt.Sprintf("%s of %s", plural(g.Within.Summary.Pairs, "pair", "pairs"), plural(several, "architecture", "architectures"))
		own["mean_init"] = ownValue{g.Within.Summary.Mean, g.Within.Interval, scope}
		own["init_minus_all"] = ownValue{g.Within.Summary.Mean - all.Mean, none, scope}
	}
	return own
}
