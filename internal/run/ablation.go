package run

import (
	"fmt"
	"math"
	"math/bits"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"sat/analysis"
	"sat/internal/store"
	"sat/internal/studies"
)

// Ablation is the same comparison with another attack, set beside the main one.
type Ablation struct {
	Name    string   // of its folder and columns
	Models  []string // models or groups that are compared, two-sided; nil: all
	Sources []string // in place of Models: models or groups that are attacked, and scored one-sidedly
	Attack  Attack
}

// setting is one attack of a run.
type setting struct {
	folder  string // of its scores, below the run's; "" for the main attack
	attack  Attack
	models  []string // as of Ablation
	sources []string // as of Ablation
	// ordinary leaves out the models trained on adversarial images: other attacks and radii are compared on the others, and
	// an attack that goes on until it succeeds would spend most of its time on these.
	ordinary bool
}

// shown reports whether m is shown the images.
func (s setting) shown(m *member) bool {
	return (s.models == nil || named(s.models, &m.Member)) && !(s.ordinary && m.hardened())
}

// attacked reports whether there are images made on m.
func (s setting) attacked(m *member) bool {
	if s.sources != nil {
		return named(s.sources, &m.Member)
	}
	return s.shown(m)
}

// named reports whether a list of models and groups names m.
func named(list []string, m *Member) bool {
	return slices.Contains(list, m.Name) || slices.Contains(list, m.Group)
}

// settings lists the main attack, those of the sweep and those of the ablations, without repetition.
func (r *runner) settings() []setting {
	all := []setting{{attack: r.Attack}}
	for _, a := range r.Sweep {
		if a.Attacker != r.Attack.Attacker {
			all = append(all, setting{folder: filepath.Join("sweep", sweepFolder(a)), attack: a, ordinary: true})
		}
	}
	for _, a := range r.Ablation {
		if r.settingOf(all, a) == nil {
			all = append(all, setting{filepath.Join("ablation", a.Name), a.Attack, a.Models, a.Sources, a.Sources == nil})
		}
	}
	return all
}

// settingOf finds the setting that holds the images of an ablation; an attack on all models serves one on some.
func (r *runner) settingOf(all []setting, a Ablation) *setting {
	for i, s := range all {
		serves := s.sources == nil && !(s.ordinary && slices.ContainsFunc(a.Sources, r.isHardened))
		if s.models != nil {
			serves = slices.Equal(s.models, a.Models)
		} else if s.sources != nil {
			serves = slices.Equal(s.sources, a.Sources)
		}
		if s.attack.Attacker == a.Attack.Attacker && serves {
			return &all[i]
		}
	}
	return nil
}

// compared are the models whose pairs a two-sided ablation is about.
func (a Ablation) compared() func(*member) bool {
	return setting{models: a.Models, ordinary: true}.shown
}

// imageSet is one attack with all settings that want images by it: what two of them ask for is made once.
type imageSet struct {
	attack   Attack
	settings []setting
}

// imageSets are the settings by attack.
func (r *runner) imageSets() (out []imageSet) {
	for _, s := range r.settings() {
		i := slices.IndexFunc(out, func(known imageSet) bool { return known.attack.Attacker == s.attack.Attacker })
		if i < 0 {
			i = len(out)
			out = append(out, imageSet{attack: s.attack})
		}
		out[i].settings = append(out[i].settings, s)
	}
	return out
}

// attacked reports whether there are images made on m.
func (set imageSet) attacked(m *member) bool {
	return slices.ContainsFunc(set.settings, func(s setting) bool { return s.attacked(m) })
}

// transferred reports whether the images made on source are shown to target.
func (set imageSet) transferred(source, target *member) bool {
	return slices.ContainsFunc(set.settings, func(s setting) bool { return s.attacked(source) && s.shown(target) })
}

// outcome finds what was measured under a setting.
func (m *measurements) outcome(s setting) (settingOutcome, bool) {
	i := slices.IndexFunc(m.Settings, func(o settingOutcome) bool {
		return o.Attack == s.attack && slices.Equal(o.Models, s.models) && slices.Equal(o.Sources, s.sources)
	})
	if i < 0 {
		return settingOutcome{}, false
	}
	return m.Settings[i], true
}

// survivors are the images that withstand the attack on the model they are made on, by model, and for each pair among
// the images that both classify correctly.
type survivors struct {
	byModel map[string]int
	a, b    []int // by pair
}

func survivorsOf(t *analysis.Tables, pairs []analysis.Pair) survivors {
	s := survivors{byModel: map[string]int{}}
	index := map[string]int{}
	withstand := func(source, other int) int {
		n := 0
		for w, both := range t.Correct[source] {
			n += bits.OnesCount64(both & t.Correct[other][w] &^ t.Wrong[source][source][w])
		}
		return n
	}
	for i, name := range t.Models {
		index[name] = i
		s.byModel[name] = withstand(i, i)
	}
	for _, p := range pairs {
		s.a, s.b = append(s.a, withstand(index[p.A], index[p.B])), append(s.b, withstand(index[p.B], index[p.A]))
	}
	return s
}

// writeSurvivors writes survivors.csv beside the scores of an attack that leaves images clean.
func writeSurvivors(dir string, meta studies.Meta, pairs []analysis.Pair, s survivors) error {
	var rows [][]string
	for i, p := range pairs {
		rows = append(rows, []string{p.A, p.B, strconv.Itoa(p.NBoth), analysis.FormatFloat(p.SAT), strconv.Itoa(s.a[i]), strconv.Itoa(s.b[i])})
	}
	return studies.WriteTable(filepath.Join(dir, "survivors.csv"), meta, []string{"a", "b", "n_both", "sat", "survivors_a", "survivors_b"}, rows)
}

// ablationStem names the result of one ablation: the paper's two have names of their own.
func ablationStem(name string) string {
	switch name {
	case "autoattack":
		return "fig2a_autoattack"
	case "patchfool":
		return "fig2b_patchfool"
	}
	return "ablation_" + name
}

func satColumn(name string) string { return "sat_" + strings.ReplaceAll(name, "-", "_") }

// correlated is a correlation in a result file; undefined numbers are null.
type correlated struct {
	R        *float64 `json:"r"`
	P        *float64 `json:"p"`
	Log10P   *float64 `json:"log10_p"`
	N        int      `json:"n"`
	CILo     *float64 `json:"ci_lo"`
	CIHi     *float64 `json:"ci_hi"`
	Spearman *float64 `json:"spearman"`
	Status   string   `json:"status"`
}

// points are two scores of the same pairs of models.
type points struct{ x, y []float64 }

// add leaves out what is undefined.
func (p *points) add(x, y float64) {
	if !math.IsNaN(x) && !math.IsNaN(y) {
		p.x, p.y = append(p.x, x), append(p.y, y)
	}
}

func (p *points) correlate() (analysis.Correlation, error) { return analysis.Correlate(p.x, p.y, 0.95) }

func correlatedOf(c analysis.Correlation) correlated {
	status := c.Warning
	if status == "" {
		status = "ok"
	}
	return correlated{studies.Defined(c.R), studies.Defined(c.P), studies.Defined(c.Log10P), c.N, studies.Defined(c.CILo),
		studies.Defined(c.CIHi), studies.Defined(c.Spearman), status}
}

// correlate relates the scores by two attacks and sets the result beside the paper's.
func (r *runner) correlate(dir string, a Ablation, out *correlated, p points) error {
	c, err := p.correlate()
	if err != nil {
		return err
	}
	*out = correlatedOf(c)
	id, _, _ := strings.Cut(ablationStem(a.Name), "_")
	if id == "ablation" {
		id = ablationStem(a.Name)
	}
	return studies.Correlations(studies.Folder{Dir: dir, Meta: r.measured[""].meta}, studies.NamedCorrelation{ID: id, Correlation: c})
}

// ablationFile is analysis/STEM.json. X and Y are the columns of STEM.csv that are correlated.
type ablationFile struct {
	SchemaVersion int            `json:"schema_version"`
	Name          string         `json:"name"`
	Main          map[string]any `json:"main"`
	Attack        map[string]any `json:"attack"`
	X             string         `json:"x"`
	Y             string         `json:"y"`
	correlated
	Unfloored correlated  `json:"without_floored"`     // the same without the points of which one attack fools no image
	OneSided  *correlated `json:"one_sided,omitempty"` // both scores from images made on the source alone
	// OneSidedUnfloored is OneSided without the same points.
	OneSidedUnfloored *correlated    `json:"one_sided_without_floored,omitempty"`
	Floored           int            `json:"floored"`             // points of which one attack fools no image
	Excluded          int            `json:"excluded"`            // pairs without a common image
	Survivors         map[string]int `json:"survivors,omitempty"` // by model: images that withstand and stay clean
}

// writeAblations writes, for each other attack, its scores beside the main one's, and all settings in one table.
func (r *runner) writeAblations(dir string) error {
	if len(r.Ablation) == 0 {
		return nil
	}
	main := r.among(r.measured[""], ordinary)
	rows := [][]string{r.settingRow("main", main, main, correlated{})}
	for _, a := range r.Ablation {
		m := r.measured[r.settingOf(r.settings(), a).folder]
		var file ablationFile
		var err error
		if a.Sources == nil {
			same := r.among(main, a.compared())
			m = r.among(m, a.compared())
			if file, err = r.writeTwoSided(dir, a, same, m); err == nil {
				rows = append(rows, r.settingRow(a.Name, m, same, file.correlated))
			}
		} else {
			file, err = r.writeOneSided(dir, a, r.measured[""], m)
		}
		if err != nil {
			return fmt.Errorf("ablation %s: %w", a.Name, err)
		}
		if err := store.WriteJSON(filepath.Join(dir, ablationStem(a.Name)+".json"), file); err != nil {
			return err
		}
	}
	header := []string{"setting", "method", "epsilon", "step_size", "steps", "white_box", "pairs", "mean_sat", "mean_sat_main", "median_sat",
		"floored", "r", "ci_lo", "ci_hi", "survivors"}
	return studies.WriteTable(filepath.Join(dir, "attacks.csv"), nil, header, rows)
}

// settingRow is one line of attacks.csv: white_box is the mean success on the attacked model itself, in percent; main is
// measured by the main attack on the same models; r is the correlation of SAT over pairs with the main attack's.
func (r *runner) settingRow(name string, m, main *measured, c correlated) []string {
	number := analysis.FormatFloat
	optional := func(v *float64) string {
		if v == nil {
			return ""
		}
		return number(*v)
	}
	white, models := 0.0, 0
	for _, self := range m.scores.Self {
		if self.N > 0 {
			white += self.Percent
			models++
		}
	}
	left := ""
	if m.survivors != nil {
		total := 0
		for _, n := range m.survivors.byModel {
			total += n
		}
		left = strconv.Itoa(total)
	}
	parameters := m.attack.Parameters()
	text := func(key string) string {
		switch v := parameters[key].(type) {
		case float64:
			return number(v)
		case int:
			return strconv.Itoa(v)
		}
		return ""
	}
	sum := m.scores.Summary()
	return []string{name, m.attack.Method, m.attack.Epsilon, text("step_size"), text("steps"), number(white / float64(models)),
		strconv.Itoa(sum.Pairs), number(sum.Mean), number(main.scores.Summary().Mean), number(sum.Median), strconv.Itoa(sum.Floored), optional(c.R), optional(c.CILo),
		optional(c.CIHi), left}
}

func (r *runner) ablationFile(a Ablation) ablationFile {
	return ablationFile{SchemaVersion: schemaVersion, Name: a.Name, Main: r.Attack.meta(), Attack: a.Attack.meta(),
		X: satColumn(r.Attack.Method), Y: satColumn(a.Name)}
}

// writeTwoSided sets SAT of every pair under both attacks side by side.
func (r *runner) writeTwoSided(dir string, a Ablation, main, m *measured) (ablationFile, error) {
	file := r.ablationFile(a)
	var p, unfloored points
	var rows [][]string
	for i, pair := range main.scores.Pairs {
		other := m.scores.Pairs[i] // of the same models: the order is that of the results
		p.add(pair.SAT, other.SAT)
		row := []string{pair.A + "|" + pair.B, analysis.FormatFloat(pair.SAT), analysis.FormatFloat(other.SAT), strconv.Itoa(pair.NBoth)}
		if m.survivors != nil {
			row = append(row, strconv.Itoa(m.survivors.a[i]), strconv.Itoa(m.survivors.b[i]))
		}
		rows = append(rows, row)
		switch {
		case pair.NBoth == 0:
			file.Excluded++
		case pair.FooledAB+pair.FooledBA == 0 || other.FooledAB+other.FooledBA == 0:
			file.Floored++
		default:
			unfloored.add(pair.SAT, other.SAT)
		}
	}
	header := []string{"pair", file.X, file.Y, "n_both"}
	if m.survivors != nil {
		header = append(header, "survivors_a", "survivors_b")
		file.Survivors = m.survivors.byModel
	}
	if err := r.correlate(dir, a, &file.correlated, p); err != nil {
		return file, err
	}
	c, err := unfloored.correlate()
	if err != nil {
		return file, err
	}
	file.Unfloored = correlatedOf(c)
	return file, studies.WriteTable(filepath.Join(dir, ablationStem(a.Name)+".csv"), m.meta, header, rows)
}

// writeOneSided sets the scores of images made on the sources beside SAT by the main attack, two-sided and of the same
// sources' images alone (spec: a one-sided score is to be compared with a one-sided one).
func (r *runner) writeOneSided(dir string, a Ablation, main, m *measured) (ablationFile, error) {
	file := r.ablationFile(a)
	twoSided := map[[2]string]float64{}
	for _, p := range main.scores.Pairs {
		twoSided[[2]string{p.A, p.B}], twoSided[[2]string{p.B, p.A}] = p.SAT, p.SAT
	}
	score := func(t *analysis.Tables, a, b *member) (sat float64, both, fooled int) {
		source, target := slices.Index(t.Models, a.Name), slices.Index(t.Models, b.Name)
		for w, c := range t.Correct[source] {
			c &= t.Correct[target][w]
			both += bits.OnesCount64(c)
			fooled += bits.OnesCount64(c & t.Wrong[source][target][w])
		}
		if both == 0 {
			return math.NaN(), 0, 0
		}
		return math.Log(max(r.Scores.Floor, 100*float64(fooled)/float64(both))), both, fooled
	}
	var two, one, twoUnfloored, oneUnfloored points
	var rows [][]string
	number := analysis.FormatFloat
	where := setting{sources: a.Sources}
	for _, source := range r.members {
		if !where.attacked(source) {
			continue
		}
		for _, target := range r.members {
			if source == target || !slices.Contains(m.tables.Models, target.Name) {
				continue
			}
			byMain, both, fooledMain := score(main.tables, source, target)
			byOther, _, fooled := score(m.tables, source, target)
			sat := twoSided[[2]string{source.Name, target.Name}]
			two.add(sat, byOther)
			one.add(byMain, byOther)
			rows = append(rows, []string{target.Name, number(sat), number(byOther), number(byMain), source.Name, strconv.Itoa(both),
				strconv.Itoa(fooledMain), strconv.Itoa(fooled)})
			switch {
			case both == 0:
				file.Excluded++
			case fooled == 0 || fooledMain == 0:
				file.Floored++
			default:
				twoUnfloored.add(sat, byOther)
				oneUnfloored.add(byMain, byOther)
			}
		}
	}
	if err := r.correlate(dir, a, &file.correlated, two); err != nil {
		return file, err
	}
	for _, part := range []struct {
		to   **correlated
		from points
	}{{&file.OneSided, one}, {&file.OneSidedUnfloored, oneUnfloored}} {
		c, err := part.from.correlate()
		if err != nil {
			return file, err
		}
		result := correlatedOf(c)
		*part.to = &result
	}
	c, err := twoUnfloored.correlate()
	if err != nil {
		return file, err
	}
	file.Unfloored = correlatedOf(c)
	header := []string{"target", file.X, file.Y, file.X + "_one_sided", "source", "n_both", "fooled_" + strings.TrimPrefix(file.X, "sat_"),
		"fooled_" + strings.TrimPrefix(file.Y, "sat_")}
	return file, studies.WriteTable(filepath.Join(dir, ablationStem(a.Name)+".csv"), m.meta, header, rows)
}
