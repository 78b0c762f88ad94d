package report

import (
	"bytes"
	"compress/gzip"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	"sat/analysis"
)

//go:embed page.html page.css page.js
var pageFiles embed.FS

// page is what the template sees: finished texts, so that the template holds no logic but presence and loops.
type page struct {
	Title, Name, Lead string
	CSS               template.CSS
	JS, Data          template.JS
	Matrix            template.HTML
	Tiles             []tile
	Warnings          []string
	Verdict           string
	Holds             bool
	Figures           map[string]*pageFigure // by stem; a missing one is nil
	Claim             []claimRow
	SweepRows         []sweepRow
	Sections          []pageSection
	Missing           []pageSection // what was not run
	Near              []nearRow
	Closest, Farthest []pairRowText
	Models            []modelRow
	ModelColumns      modelColumns
	Problems          []problem
	Comparisons       *pageBlock // nil: the run is not set beside the paper
	comparisons       []comparison
	SameScale         bool
	ScopeOurs         string
	Resamples         string
	Level             string
	Floor             string
	Setup             []keyValue
	AttackRows        []comparedSetting
	Settings          []settingGroup
	Versions          []keyValue
	Machine           []keyValue
	Timings           []timingRow
	TotalTime         string
	Files             []fileRow
	LegendStops       template.CSS
	LegendTicks       []legendTick
	ClusterLegend     []swatch
	SecondLegend      []swatch
	HasUndefined      bool
	HasFloored        bool
	HasIntervals      bool
	HasClusters       bool
	HasGroups         bool
	HasCounts         bool
	HasRanks          bool
	Data0             DataInfo
	Pairs             int
}

// pageSection is a section as the template sees it.
type pageSection struct {
	ID, Nav, Title, Lead string
	Blocks               []*pageBlock
}

// pageBlock is a block with what only the page adds: the embedded drawing or table.
type pageBlock struct {
	block
	Drawn    *pageFigure
	Rows     [][]pageCell
	CSV      download // of the table
	Inner    []*pageBlock
	Summary  string // of a folded part
	Settings bool   // that part holds settings
}

type pageCell struct {
	cellText
	Number bool
	Mark   template.CSS
}

type tile struct{ Value, Label string }

type pageFigure struct {
	Stem, Title, Alt string
	SVG              template.HTML
	CSV              download
	HasPNG, HasPDF   bool
	Width            float64 // pixels at full size
}

type claimRow struct {
	Name                  string
	Models, Pairs         int
	Mean, Median, Floored string
	Bold                  bool
}

type sweepRow struct {
	Epsilon, Lowest, Mean, Within, Across, Difference, P, PRank string
	Chosen                                                      bool
}

type nearRow struct {
	Model, Cluster string
	Color          template.CSS
	Near           []neighbourText
	Far            neighbourText
	Mean           string
}

type neighbourText struct{ Name, Score, Interval string }

type pairRowText struct{ A, B, Score, Interval, Percent, Images string }

type modelColumns struct{ Architecture, Base, Cluster, Parameters, Seed, Epochs, Time bool }

type modelRow struct {
	Name, Title, Architecture, Base, Cluster, Parameters, Seed, Epochs, Time string
	Top1, WhiteBox, WhiteBoxCounts, Mean                                     string
	Color                                                                    template.CSS
	Weak                                                                     bool
}

type problem struct {
	A, B, Status, Images, Fooled string
}

type comparedSetting struct{ Name, Ours, Paper string }

type keyValue struct{ Key, Value string }

type settingGroup struct {
	Name   string
	Values []keyValue
}

type timingRow struct{ Stage, Seconds, Units string }

type fileRow struct{ Path, What string }

type legendTick struct {
	Percent string // position
	Label   string
	Last    bool
}

type swatch struct {
	Color template.CSS
	Label string
}

// pixelsPerPoint is the size at which figures stand on a wide page: their smallest text, 7 points, then has 13 pixels.
const pixelsPerPoint = 1.9

// nearCount is the number of nearest models listed for each.
const nearCount = 3

// maxProblems bounds the list of floored, empty and small pairs; the files have all.
const maxProblems = 60

func newPage(r *Run, figs []*figure, o Options) (*page, error) {
	p := &page{Name: r.Info.Name, CSS: mustEmbed("page.css"), Figures: map[string]*pageFigure{}, Warnings: r.warnings(), Pairs: len(r.Pairs),
		Data0: r.Info.Data, HasClusters: r.Clusters != nil, HasGroups: r.Groups != nil, ScopeOurs: r.scopeLine()}
	p.JS = template.JS(mustEmbed("page.js"))
	p.Title = r.Info.Title
	if p.Title == "" {
		p.Title = "How similar are these image classifiers?"
	}
	for _, f := range figs {
		svg, err := f.inlineSVG()
		if err != nil {
			return nil, err
		}
		p.Figures[f.Stem] = &pageFigure{Stem: f.Stem, Title: f.Title, Alt: f.Alt, SVG: template.HTML(svg), CSV: csvDownload(f.Stem, f.CSV), HasPNG: !o.SkipPNG, HasPDF: o.PDF, Width: f.width.Points() * pixelsPerPoint}
	}
	m := newPageMatrix(r)
	var err error
	if p.Matrix, err = m.svg(r); err != nil {
		return nil, err
	}
	if p.Data, err = m.data(r); err != nil {
		return nil, err
	}
	p.fillLegend(r)
	p.fillTop(r)
	p.fillClaim(r)
	p.fillNear(r)
	p.fillModels(r)
	p.fillProblems(r)
	if err := p.fillComparisons(r); err != nil {
		return nil, err
	}
	p.fillSections(r)
	p.fillSettings(r)
	p.fillFiles(r, figs)
	return p, nil
}

func mustEmbed(name string) template.CSS {
	b, err := pageFiles.ReadFile(name)
	if err != nil {
		panic(err) // the name is a constant of this file
	}
	return template.CSS(b)
}

// download is a file that a reader can save from the page.
type download struct {
	Name string
	URL  template.URL
	Size string // of a file beside the page, "" for one that is inside
}

// Files above plainCSV are embedded compressed; what is above largestCSV even then stays beside the page, which would
// else be too large to open with a thousand models.
const (
	plainCSV   = 200 << 10
	largestCSV = 2 << 20
)

func csvDownload(stem string, content []byte) download {
	if len(content) <= plainCSV {
		return download{stem + ".csv", template.URL("data:text/csv;base64," + base64.StdEncoding.EncodeToString(content)), ""}
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, _ = w.Write(content) // a bytes.Buffer takes everything
	_ = w.Close()
	if packed.Len() > largestCSV {
		return download{stem + ".csv", template.URL("figures/" + stem + ".csv"), fmt.Sprintf("%.0f MB, beside this page", float64(len(content))/1e6)}
	}
	return download{stem + ".csv.gz", template.URL("data:application/gzip;base64," + base64.StdEncoding.EncodeToString(packed.Bytes())), ""}
}

func (p *page) fillLegend(r *Run) {
	lo, hi := satRange(r)
	const stops = 16
	var css []string
	for k := range stops + 1 {
		css = append(css, hex(viridis(float64(k)/stops)))
	}
	p.LegendStops = template.CSS("background:linear-gradient(to right," + strings.Join(css, ",") + ")")
	list := satTicks(lo, hi)
	for k, t := range list {
		p.LegendTicks = append(p.LegendTicks, legendTick{fmt.Sprintf("%.2f%%", 100*(t.at-lo)/(hi-lo)), t.label, k == len(list)-1})
	}
	if r.Clusters != nil {
		for c := 1; c <= r.Clusters.K; c++ {
			p.ClusterLegend = append(p.ClusterLegend, swatch{template.CSS(hex(clusterColor(c))), strconv.Itoa(c)})
		}
	}
	if s := r.secondStrip(); s != nil {
		h := heatmap{order: r.displayOrder(), second: s}
		distinct, colors := colorize(h.secondValues(), architectureColors)
		for _, name := range distinct {
			p.SecondLegend = append(p.SecondLegend, swatch{template.CSS(hex(colors[name])), name})
		}
	}
	p.HasUndefined = len(r.pairsWith(analysis.StatusEmpty)) > 0
	p.HasFloored = len(r.pairsWith(analysis.StatusFloored)) > 0
	for _, q := range r.Pairs {
		p.HasIntervals = p.HasIntervals || Interval{q.CILo, q.CIHi}.known()
	}
}

func (p *page) fillSections(r *Run) {
	for _, s := range sections {
		if r.sections[s.id] == nil {
			p.Missing = append(p.Missing, pageSection{ID: s.id, Title: s.title, Lead: s.missing()})
			continue
		}
		out := pageSection{ID: s.id, Nav: s.nav, Title: s.title, Lead: s.lead}
		for _, b := range s.shown(r, p.comparisons) {
			out.Blocks = append(out.Blocks, p.block(b))
		}
		p.Sections = append(p.Sections, out)
	}
}

func (p *page) block(b block) *pageBlock {
	out := &pageBlock{block: b}
	switch {
	case b.Figure != nil:
		out.Drawn = p.Figures[b.Figure.Stem]
	case b.Table != nil:
		for _, row := range b.Table.Rows {
			var line []pageCell
			for k, c := range row {
				line = append(line, pageCell{c, b.Table.Columns[k].Number, template.CSS(c.Color)})
			}
			out.Rows = append(out.Rows, line)
		}
		if b.Table.Stem != "" {
			out.CSV = csvDownload(b.Table.Stem, b.Table.CSV)
		}
	case b.Fold != nil:
		out.Summary, out.Settings = b.Fold.Summary, b.Fold.Summary == settingsSummary
		for _, inner := range b.Fold.Blocks {
			out.Inner = append(out.Inner, p.block(inner))
		}
	}
	return out
}

func (p *page) fillTop(r *Run) {
	all := analysis.Summarize(r.Pairs)
	p.Tiles = append(p.Tiles, tile{strconv.Itoa(len(r.Models)), "models"})
	if n := r.Info.Data.EvalImages; n > 0 {
		p.Tiles = append(p.Tiles, tile{thousands(n), "test images"})
	}
	lo, hi := 100.0, 0.0
	for i := range r.Models {
		lo, hi = min(lo, r.Models[i].Top1), max(hi, r.Models[i].Top1)
	}
	if !math.IsNaN(lo) {
		p.Tiles = append(p.Tiles, tile{percentRange(lo, hi), "accuracy"})
	}
	if all.Pairs > 0 {
		p.Tiles = append(p.Tiles, satTile(all, plural(all.Pairs, "pair", "pairs")))
	}
	if g := r.Groups; g != nil && g.Within.Summary.Pairs > 0 && g.Across.Summary.Pairs > 0 {
		p.Tiles = append(p.Tiles, satTile(g.Within.Summary, "same architecture"), satTile(g.Across.Summary, "different architectures"))
	}
	if r.Clusters != nil {
		p.Tiles = append(p.Tiles, tile{strconv.Itoa(r.Clusters.K), "clusters"})
	}
	p.Lead = fmt.Sprintf("%s were attacked", plural(len(r.Models), "image classifier", "image classifiers"))
	if r.Info.Data.Name != "" {
		p.Lead += " on " + r.Info.Data.Name
	}
	if a := r.attackLine(); a != "" {
		p.Lead += " (" + a + ")"
	}
	p.Lead += "."
}

// satTile shows the mean, or the median where floored pairs make the mean meaningless.
func satTile(s analysis.Summary, of string) tile {
	if s.Floored > 0 {
		return tile{score(s.Median), "median SAT, " + of}
	}
	return tile{score(s.Mean), "mean SAT, " + of}
}

// top1Text is the accuracy in per cent, or a dash where nobody knows what is right.
func (m *Model) top1Text() string {
	if math.IsNaN(m.Top1) {
		return "–"
	}
	return fmt.Sprintf("%.1f", m.Top1)
}

func percentRange(lo, hi float64) string {
	if hi-lo < 2 {
		return fmt.Sprintf("%.1f %%", (lo+hi)/2)
	}
	return fmt.Sprintf("%.0f–%.0f %%", lo, hi)
}

func (p *page) fillClaim(r *Run) {
	g := r.Groups
	if g != nil {
		p.Verdict, p.Holds = g.verdictText(), g.holds()
		row := func(m GroupMean, name string, bold bool) claimRow {
			floored := ""
			if m.Summary.Floored > 0 {
				floored = strconv.Itoa(m.Summary.Floored)
			}
			return claimRow{Name: name, Models: m.Models, Pairs: m.Summary.Pairs, Mean: score(m.Summary.Mean) + intervalText(m.Interval),
				Median: score(m.Summary.Median), Floored: floored, Bold: bold}
		}
		p.Claim = append(p.Claim, row(g.Within, "same architecture, other seed", true), row(g.Across, "different architecture", true))
		for _, m := range g.Groups {
			p.Claim = append(p.Claim, row(m, m.Name, false))
		}
		for _, c := range p.Claim {
			p.HasCounts = p.HasCounts || c.Models > 0
		}
	}
	for _, s := range r.Sweep {
		low, sum, n := 100.0, 0.0, 0
		for _, c := range s.Counts {
			if !math.IsNaN(c.Percent) {
				low, sum, n = min(low, c.Percent), sum+c.Percent, n+1
			}
		}
		row := sweepRow{Epsilon: s.Label, Lowest: "–", Mean: "–", Within: score(s.Within), Across: score(s.Across), Difference: score(s.Difference), P: "–", PRank: "–", Chosen: s.Chosen}
		if n > 0 {
			row.Lowest, row.Mean = fmt.Sprintf("%.1f %%", low), fmt.Sprintf("%.1f %%", sum/float64(n))
		}
		if !math.IsNaN(s.P) {
			row.P = formatP(s.P)
		}
		if !math.IsNaN(s.PRank) {
			row.PRank, p.HasRanks = formatP(s.PRank), true
		}
		p.SweepRows = append(p.SweepRows, row)
	}
}

// readable turns a column name into words.
func readable(component string) string { return strings.ReplaceAll(component, "_", " ") }

func (r *Run) neighbourText(i, j int) neighbourText {
	p := r.Pair(i, j)
	return neighbourText{r.Models[j].Name, score(p.SAT), strings.TrimSpace(intervalText(Interval{p.CILo, p.CIHi}))}
}

func (p *page) fillNear(r *Run) {
	for _, i := range r.displayOrder() {
		row := nearRow{Model: r.Models[i].Name, Mean: score(r.meanTo(i)), Color: template.CSS(hex(clusterColor(r.Models[i].Cluster)))}
		if r.Clusters != nil {
			row.Cluster = strconv.Itoa(r.Models[i].Cluster)
		}
		others := r.neighbours(i)
		for k := range nearCount {
			if k < len(others) {
				row.Near = append(row.Near, r.neighbourText(i, others[k]))
			} else {
				row.Near = append(row.Near, neighbourText{Name: "–"})
			}
		}
		row.Far = neighbourText{Name: "–"}
		if len(others) > 0 {
			row.Far = r.neighbourText(i, others[len(others)-1])
		}
		p.Near = append(p.Near, row)
	}
	var defined []*analysis.Pair
	for k := range r.Pairs {
		if r.Pairs[k].Status != analysis.StatusEmpty {
			defined = append(defined, &r.Pairs[k])
		}
	}
	slices.SortStableFunc(defined, func(a, b *analysis.Pair) int {
		switch {
		case a.SAT > b.SAT:
			return -1
		case a.SAT < b.SAT:
			return 1
		}
		return 0
	})
	text := func(q *analysis.Pair) pairRowText {
		return pairRowText{q.A, q.B, score(q.SAT), strings.TrimSpace(intervalText(Interval{q.CILo, q.CIHi})),
			strconv.FormatFloat(q.Percent, 'f', 1, 64), strconv.Itoa(q.NBoth)}
	}
	const list = 8
	for k := range min(list, (len(defined)+1)/2) {
		p.Closest = append(p.Closest, text(defined[k]))
		p.Farthest = append(p.Farthest, text(defined[len(defined)-1-k]))
	}
}

func (p *page) fillModels(r *Run) {
	for _, i := range r.displayOrder() {
		m := &r.Models[i]
		row := modelRow{Name: m.Name, Title: m.Info.Title, Architecture: m.groupOf(), Base: m.Architecture, Top1: m.top1Text(),
			Mean: score(r.meanTo(i)), Color: template.CSS(hex(clusterColor(m.Cluster)))}
		if m.Cluster > 0 {
			row.Cluster = strconv.Itoa(m.Cluster)
		}
		if m.Info.Parameters > 0 {
			row.Parameters = thousands(int(m.Info.Parameters))
		}
		if m.Info.Seed != nil {
			row.Seed = strconv.FormatInt(*m.Info.Seed, 10)
		}
		if m.Info.Epochs > 0 {
			row.Epochs = strconv.Itoa(m.Info.Epochs)
		} else if n := len(m.Curve); n > 0 {
			row.Epochs = strconv.Itoa(m.Curve[n-1].Epoch)
		}
		if m.Info.TrainSeconds > 0 {
			row.Time = duration(m.Info.TrainSeconds)
		}
		row.WhiteBox, row.WhiteBoxCounts = "–", "no correct image"
		if m.Self.N > 0 {
			row.WhiteBox = fmt.Sprintf("%.1f", m.Self.Percent)
			row.WhiteBoxCounts = fmt.Sprintf("%d of %d", m.Self.Fooled, m.Self.N)
			row.Weak = m.Self.Percent < whiteBoxGoal
		}
		c := &p.ModelColumns
		c.Architecture = c.Architecture || row.Architecture != ""
		c.Base = c.Base || row.Base != "" && row.Base != row.Architecture
		c.Cluster = c.Cluster || row.Cluster != ""
		c.Parameters = c.Parameters || row.Parameters != ""
		c.Seed = c.Seed || row.Seed != ""
		c.Epochs = c.Epochs || row.Epochs != ""
		c.Time = c.Time || row.Time != ""
		p.Models = append(p.Models, row)
	}
}

func duration(seconds float64) string {
	switch {
	case seconds < 100:
		return strconv.FormatFloat(seconds, 'f', 1, 64) + " s"
	case seconds < 6000:
		return strconv.FormatFloat(seconds/60, 'f', 1, 64) + " min"
	}
	return strconv.FormatFloat(seconds/3600, 'f', 1, 64) + " h"
}

func (p *page) fillProblems(r *Run) {
	for _, s := range []analysis.Status{analysis.StatusEmpty, analysis.StatusFloored, analysis.StatusSmall} {
		for _, q := range r.pairsWith(s) {
			if len(p.Problems) == maxProblems {
				return
			}
			p.Problems = append(p.Problems, problem{q.A, q.B, string(s), strconv.Itoa(q.NBoth), fmt.Sprintf("%d + %d", q.FooledAB, q.FooledBA)})
		}
	}
}

func (p *page) fillComparisons(r *Run) error {
	list, err := compare(r)
	if err != nil {
		return err
	}
	p.SameScale = r.paperScale()
	if len(list) > 0 {
		t := comparisonTable()
		for _, c := range list {
			t.Rows = append(t.Rows, c.row(p.SameScale))
		}
		p.Comparisons = p.block(block{Table: t})
	}
	p.comparisons = list
	return nil
}

func differenceText(v float64) string {
	if math.Abs(v) < 0.005 {
		return "0.00"
	}
	return minus(fmt.Sprintf("%+.2f", v))
}

// paperScale reports whether the run has the size and the attack of the paper. Other numbers still are measured the
// same way, but are not expected to agree.
func (r *Run) paperScale() bool {
	epsilon, err := parseEpsilon(r.Info.Attack["epsilon"])
	return len(r.Models) == 69 && r.Info.Data.Classes == 1000 && r.Info.Data.EvalImages == 5000 &&
		err == nil && math.Abs(epsilon-8.0/255) < 1e-9 && strings.EqualFold(r.Info.Attack["method"], "pgd") && !r.Info.PathsOnly
}

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

// pageTemplate is parsed once; an error here is a mistake in the embedded file, which every test would show.
var pageTemplate = template.Must(template.New("page.html").ParseFS(pageFiles, "page.html"))

func (p *page) write(w io.Writer) error {
	if err := pageTemplate.Execute(w, p); err != nil {
		return fmt.Errorf("write page: %w", err)
	}
	return nil
}
