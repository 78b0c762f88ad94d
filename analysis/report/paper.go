package report

import (
	_ "embed"
	"fmt"
	"maps"
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
	ID, Section     string // of the section that measures it
	Where, Quantity string
	rounding        float64 // half a unit of the last digit that the paper prints
	Lo, Hi          float64 // the paper's value or range as printed; NaN: the paper gives words
	Text            string  // the paper's finding in words
	Scope           string  // what the paper's value rests on
	Ours            float64 // NaN: not run, or in words
	OursText        string  // our finding in words
	Interval        Interval
	OurScope        string
	Verdict         string
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
	t, err := parseTable("paper.csv", strings.NewReader(paperCSV), "id", "section", "where", "quantity", "value", "value_hi", "text", "scope")
	if err != nil {
		return nil, err
	}
	ours := ownValues(r)
	var out []comparison
	for _, row := range t.rows {
		c := comparison{ID: row.text("id"), Section: row.text("section"), Where: row.text("where"), Quantity: row.text("quantity"), Text: row.text("text"), Scope: row.text("scope"),
			Ours: math.NaN(), Interval: noInterval, Verdict: verdictNotRun, rounding: lastDigit(row.text("value"))}
		if c.Lo, err = row.number("value"); err != nil {
			return nil, err
		}
		if c.Hi, err = row.number("value_hi"); err != nil {
			return nil, err
		}
		if math.IsNaN(c.Hi) {
			c.Hi = c.Lo
		}
		own, ok := ours[c.ID]
		switch {
		case !ok:
		case own.text != "":
			c.OursText, c.OurScope, c.Verdict = own.text, own.scope, verdictDiffers
			if own.same {
				c.Verdict = verdictMatch
			}
		case !math.IsNaN(own.value):
			c.Ours, c.Interval, c.OurScope = own.value, own.interval, own.scope
			c.Verdict = verdict(c)
		}
		out = append(out, c)
	}
	return out, nil
}

// lastDigit is half a unit of the last digit of a printed number: a measured one that rounds to it matches. Whole
// numbers are counts.
func lastDigit(printed string) float64 {
	_, decimals, point := strings.Cut(printed, ".")
	if !point {
		return 1e-9
	}
	return 0.5000001 * math.Pow10(-len(decimals)) // the border itself, which is no binary number, included
}

// verdict compares with the paper's number as printed.
func verdict(c comparison) string {
	switch {
	case math.Abs(c.difference()) <= c.rounding:
		return verdictMatch
	case c.Interval.known() && c.Interval.Lo <= c.Hi+c.rounding && c.Interval.Hi >= c.Lo-c.rounding:
		return verdictNoise
	}
	return verdictDiffers
}

// ours is our value as text, "–" when not run.
func (c *comparison) ours() string {
	switch {
	case c.OursText != "":
		return c.OursText
	case math.IsNaN(c.Ours):
		return "–"
	}
	digits := 100.0
	if c.rounding < 0.001 && c.rounding > 1e-6 {
		digits = 1000
	}
	return minus(printed(math.Round(c.Ours*digits)/digits)) + intervalText(c.Interval)
}

// row is a line of the tables beside the paper. Without the paper's scale no verdict is coloured, because agreement in
// number is not expected.
func (c *comparison) row(sameScale bool) []cellText {
	difference, verdict := "–", badge(c.Verdict)
	if !math.IsNaN(c.Ours) {
		difference = differenceText(c.difference())
	}
	if c.Verdict != verdictNotRun && !sameScale {
		verdict.Badge, verdict.Small = "other", "other scale"
	}
	return []cellText{{Text: c.Where}, {Text: c.Quantity}, {Text: minus(c.expected()), Small: c.Scope}, {Text: c.ours(), Small: c.OurScope}, {Text: difference}, verdict}
}

// ownValue is what we have for a value of the paper: a number, or words and whether they say the same.
type ownValue struct {
	value    float64
	interval Interval
	scope    string
	text     string
	same     bool
}

var noInterval = Interval{math.NaN(), math.NaN()}

func ownValues(r *Run) map[string]ownValue {
	own := map[string]ownValue{}
	for _, s := range sections {
		if c := r.sections[s.id]; c != nil {
			maps.Copy(own, c.values)
		}
	}
	all := analysis.Summarize(r.ordinaryPairs())
	allInterval := noInterval
	if r.Groups != nil && r.Groups.All != nil {
		allInterval = r.Groups.All.Interval
	}
	own["mean_all"] = ownValue{value: all.Mean, interval: allInterval, scope: fmt.Sprintf("%s, %s", plural(r.ordinaryModels(), "model", "models"), plural(all.Pairs, "pair", "pairs"))}
	sum, models := 0.0, 0
	for i := range r.Models {
		if s := &r.Models[i].Self; !math.IsNaN(s.SAT) && !r.Models[i].hardened() {
			sum += s.SAT
			models++
		}
	}
	if models > 0 {
		own["diagonal"] = ownValue{value: sum / float64(models), interval: noInterval, scope: "mean over " + plural(models, "model", "models")}
	}
	if g := r.Groups; g != nil && g.Within.Summary.Pairs > 0 {
		groups := map[string]int{}
		for i := range r.Models {
			if r.Models[i].Group != "" {
				groups[r.Models[i].Group]++
			}
		}
		several := 0
		for _, n := range groups {
			if n > 1 {
				several++
			}
		}
		scope := fmt.Sprintf("%s of %s", plural(g.Within.Summary.Pairs, "pair", "pairs"), plural(several, "architecture", "architectures"))
		own["mean_init"] = ownValue{value: g.Within.Summary.Mean, interval: g.Within.Interval, scope: scope}
		own["init_minus_all"] = ownValue{value: g.Within.Summary.Mean - all.Mean, interval: noInterval, scope: scope}
	}
	return own
}
