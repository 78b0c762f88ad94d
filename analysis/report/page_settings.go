package report

import (
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
)

func (p *page) fillSettings(r *Run) {
	a := r.Info.Attack
	orDash := func(s string) string {
		if s == "" {
			return "not recorded"
		}
		return s
	}
	images, classes := "not recorded", "not recorded"
	if r.Info.Data.EvalImages > 0 {
		images = thousands(r.Info.Data.EvalImages)
	}
	if r.Info.Data.Classes > 0 {
		classes = thousands(r.Info.Data.Classes)
	}
	p.AttackRows = []comparedSetting{
		{"models", strconv.Itoa(len(r.Models)), "69"},
		{"images", images, "5,000 (10 % of the ImageNet validation set)"},
		{"classes", classes, "1,000"},
		{"attack", orDash(strings.ToUpper(a["method"])), "PGD"},
		{"ε", orDash(a["epsilon"]), "8/255"},
		{"step", orDash(a["step_size"]), "0.1 (3.1875 ε)"},
		{"steps", orDash(a["steps"]), "50"},
	}
	if r.Clusters != nil {
		p.AttackRows = append(p.AttackRows, comparedSetting{"clusters", strconv.Itoa(r.Clusters.K), "10"})
	}
	p.Floor, p.Resamples, p.Level = r.Info.Similarity["floor"], r.Info.Similarity["resamples"], r.Info.Similarity["level"]
	for _, name := range slices.Sorted(maps.Keys(r.Settings)) {
		if values := pairsOf(r.Settings[name]); len(values) > 0 {
			p.Settings = append(p.Settings, settingGroup{name, values})
		}
	}
	p.Versions, p.Machine = pairsOf(r.Info.Versions), pairsOf(r.Info.Machine)
	d := r.Info.Data
	for _, kv := range []keyValue{
		{"experiment", r.Info.Experiment}, {"command", r.Info.Command}, {"data", d.Name}, {"images for training", countText(d.TrainImages)},
		{"images for evaluation", countText(d.EvalImages)}, {"classes", countText(d.Classes)}, {"image size", d.ImageSize}, {"data digest", d.Digest},
		{"started", r.Info.Started}, {"finished", r.Info.Finished},
	} {
		if kv.Value != "" {
			p.Setup = append(p.Setup, kv)
		}
	}
	if r.Info.Seed != nil {
		p.Setup = append(p.Setup, keyValue{"seed", strconv.FormatInt(*r.Info.Seed, 10)})
	}
	total := 0.0
	for _, t := range r.Info.Timings {
		total += t.Seconds
		p.Timings = append(p.Timings, timingRow{t.Stage, duration(t.Seconds), countText(t.Units)})
	}
	if total > 0 {
		p.TotalTime = duration(total)
	}
}

func countText(n int) string {
	if n == 0 {
		return ""
	}
	return thousands(n)
}

func pairsOf[M ~map[string]string](m M) (out []keyValue) {
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, keyValue{k, m[k]})
	}
	return out
}

func (p *page) fillFiles(r *Run, figs []*figure) {
	add := func(path, what string) { p.Files = append(p.Files, fileRow{path, what}) }
	add("similarity/sat.csv", "the matrix; the diagonal is the attack's success on its own model")
	add("similarity/pairs_undirected.csv", "each pair with counts, percentage, SAT, interval and status")
	if len(r.Resized) > 0 {
		add("similarity/resize_only.csv", "of models that take images of different sizes: what resizing alone turns wrong")
	}
	add("similarity/pairs.csv", "each ordered pair with counts")
	add("similarity/self.csv", "counts of the diagonal")
	add("similarity/accuracy.csv", "top-1 accuracy of each model")
	for _, s := range sections {
		if r.sections[s.id] == nil {
			continue
		}
		for _, name := range s.files {
			if _, err := os.Stat(r.path("analysis", name)); err == nil {
				add("analysis/"+name, "made the part “"+s.title+"”")
			}
		}
	}
	if r.Groups != nil {
		add("analysis/groups.json", "the test of same against different architecture")
	}
	if len(r.Sweep) > 0 {
		add("sweep/sweep.csv", "white-box success by ε and model")
	}
	add("report.json", "the numbers of this page for programs")
	add("report.md", "this report as text")
	for _, f := range figs {
		add("figures/"+f.Stem+".svg", f.Title+" (also .csv and .png)")
	}
}
