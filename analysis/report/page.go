package report

import (
	"embed"
	"fmt"
	"html/template"
	"io"
	"math"
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
	See               []OtherReport
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
	ClaimTitle        string
	HasCounts         bool
	HasRanks          bool
	Data0             DataInfo
	Pairs             int
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
		Data0: r.Info.Data, HasClusters: r.Clusters != nil, HasGroups: r.Groups != nil, ClaimTitle: claimTitle, ScopeOurs: r.scopeLine()}
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
	p.See = r.Info.See
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
		colors := s.colors()
		for _, name := range h.secondValues() {
			p.SecondLegend = append(p.SecondLegend, swatch{template.CSS(hex(colors[name])), name})
		}
	}
	p.HasUndefined = len(r.pairsWith(analysis.StatusEmpty)) > 0
	p.HasFloored = len(r.pairsWith(analysis.StatusFloored)) > 0
	for _, q := range r.Pairs {
		p.HasIntervals = p.HasIntervals || Interval{q.CILo, q.CIHi}.known()
	}
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
		p.Claim = append(p.Claim, row(g.Within, "same architecture", true), row(g.Across, "different architecture", true))
		for _, m := range g.withPairs() {
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
	for _, c := range r.Resized {
		if s := c.Status(); s != analysis.StatusOK && len(p.Problems) < maxProblems {
			p.Problems = append(p.Problems, problem{c.Source, c.Target, string(s), strconv.Itoa(c.NBoth), fmt.Sprintf("%d without an attack", c.NWrong)})
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

// pageTemplate is parsed once; an error here is a mistake in the embedded file, which every test would show.
var pageTemplate = template.Must(template.New("page.html").ParseFS(pageFiles, "page.html"))

func (p *page) write(w io.Writer) error {
	if err := pageTemplate.Execute(w, p); err != nil {
		return fmt.Errorf("write page: %w", err)
	}
	return nil
}
