package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// stabilitySection asks how much a score changes with the images (Tab. 1).
var stabilitySection = &section{
	id: "stability", nav: "Stability", title: "How stable is a score?",
	lead:    "The score of one pair on several independent sets of images: the smaller the standard deviation, the fewer images are needed.",
	files:   []string{"tab1_stability.csv"},
	command: "sat analyze stability",
	read:    readStability,
}

// methodNames are the methods of Tab. 1 in words.
var methodNames = map[string]string{"sat": "SAT, on images", "somepalli": "decision boundaries, on triplets of images"}

func readStability(r *Run) (*content, error) {
	t, csv, err := r.analysisTable("tab1_stability.csv", "method", "n", "ratio", "std", "std_lo", "std_hi", "cost")
	if t == nil {
		return nil, err
	}
	c := &content{values: map[string]ownValue{}}
	out := &dataTable{Stem: "tab1_stability", CSV: csv, Label: "Standard deviation of a score over independent samples (Tab. 1)",
		Columns: columns("Method", "#Sample size", "#Share of all samples", "#Standard deviation, points", "#Cost")}
	var data []map[string]any
	for _, row := range t.rows {
		n, err := row.count("n", 1)
		if err != nil {
			return nil, err
		}
		var v [5]float64
		for i, name := range []string{"ratio", "std", "std_lo", "std_hi", "cost"} {
			if v[i], err = row.number(name); err != nil {
				return nil, err
			}
		}
		method := row.text("method")
		name := methodNames[method]
		if name == "" {
			name = method
		}
		interval := Interval{v[2], v[3]}
		out.Rows = append(out.Rows, cells(name, thousands(n), short(v[0]), score(v[1])+intervalText(interval), short(v[4])))
		c.values[fmt.Sprintf("tab1_%s_%d", method, n)] = ownValue{value: v[1], interval: interval, scope: "sample size " + strconv.Itoa(n)}
		data = append(data, map[string]any{"method": method, "n": n, "ratio": number(v[0]), "std": number(v[1]), "std_lo": number(v[2]),
			"std_hi": number(v[3]), "cost": number(v[4])})
	}
	note := "In brackets: the 95 % interval of a standard deviation of so few scores. Cost: forward passes, attack steps included, in units of 25,000."
	seconds, err := readSeconds(r)
	if err != nil {
		return nil, err
	}
	if seconds.Rows != nil {
		out.Columns = append(out.Columns, column{"Seconds", true})
		for i := range out.Rows {
			text := "–"
			if v, ok := seconds.of(t.rows[i].text("method"), t.rows[i].text("n")); ok {
				text = short(v)
			}
			out.Rows[i] = append(out.Rows[i], cellText{Text: text})
		}
		note += fmt.Sprintf(" Seconds: one score of the pair, from passes measured one after the other on this machine (%s, %s, %d images at a time).",
			seconds.Device, plural(seconds.Threads, "thread", "threads"), seconds.Batch)
	}
	c.blocks = []block{{Table: out}, {Note: note}}
	tests, err := readSpreadTests(r)
	if err != nil {
		return nil, err
	}
	c.blocks = append(c.blocks, tests...)
	c.data = data
	return c, nil
}

// secondsFile is stability_seconds.json: what a score costs on the machine that ran it.
type secondsFile struct {
	Device  string
	Threads int
	Batch   int
	Rows    []struct {
		Method  string
		N       int
		Seconds float64
	}
}

func readSeconds(r *Run) (f secondsFile, err error) {
	_, err = readJSON(r.path("stability_seconds.json"), &f)
	return f, err
}

func (f *secondsFile) of(method, n string) (float64, bool) {
	for _, row := range f.Rows {
		if row.Method == method && strconv.Itoa(row.N) == n {
			return row.Seconds, true
		}
	}
	return 0, false
}

// readSpreadTests reads stability.json: the comparison of both methods at each size, and what a reader must know.
func readSpreadTests(r *Run) ([]block, error) {
	var file struct {
		Tests []struct {
			A, B     string
			NA       int       `json:"n_a"`
			NB       int       `json:"n_b"`
			LogRatio *nullable `json:"log_ratio"`
			CILo     *nullable `json:"ci_lo"`
			CIHi     *nullable `json:"ci_hi"`
			P        *nullable
		}
		Warnings []string
	}
	if found, err := readJSON(r.path("analysis", "stability.json"), &file); err != nil || !found {
		return nil, err
	}
	t := &dataTable{Label: "Standard deviations of two methods compared", Narrow: true,
		Columns: columns("Methods", "#ln(ratio of standard deviations)", "#p, Brown-Forsythe")}
	for _, v := range file.Tests {
		p := "–"
		if x := orNaN(v.P); !math.IsNaN(x) {
			p = formatP(x)
		}
		t.Rows = append(t.Rows, cells(fmt.Sprintf("%s, %s / %s, %s", v.A, thousands(v.NA), v.B, thousands(v.NB)),
			score(orNaN(v.LogRatio))+intervalText(Interval{orNaN(v.CILo), orNaN(v.CIHi)}), p))
	}
	var out []block
	if t.Rows != nil {
		out = append(out, block{Table: t}, block{Note: "Above 0 the first method scatters more. The interval resamples the repeats, the same ones for both methods."})
	}
	for _, w := range file.Warnings {
		out = append(out, block{Note: strings.ToUpper(w[:1]) + w[1:] + "."})
	}
	return out, nil
}
