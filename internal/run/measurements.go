package run

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"sat/analysis"
	"sat/internal/experiment"
	"sat/internal/store"
)

// measurements is DIR/units/measurements.json: which files hold the outcomes that scores are made of. The stages up to
// transfer end by writing it, and similarity starts from it, so scoring again needs no model and no image.
type measurements struct {
	SchemaVersion int               `json:"schema_version"`
	Images        evaluation        `json:"images"`
	Numerics      numerics          `json:"numerics"`
	Batches       map[string]int    `json:"batches,omitempty"` // where numerics has none for all
	Clean         []cleanOutcome    `json:"clean"`             // one per model, in the order of the results
	Settings      []settingOutcome  `json:"settings"`
	Whole         *wholeOutcome     `json:"whole,omitempty"`
	Controls      []transferOutcome `json:"controls"` // clean images of the source, resized for the target
}

// cleanOutcome names the predictions of a model on the images as its own preprocessing cuts them.
type cleanOutcome struct {
	Model string `json:"model"`
	File  string `json:"file"`
}

// settingOutcome holds the outcomes under one attack.
type settingOutcome struct {
	Attack   Attack            `json:"attack"`
	Models   []string          `json:"models,omitempty"`  // the models that were attacked and shown the images; all if absent
	Sources  []string          `json:"sources,omitempty"` // the models that were attacked; as Models if absent
	Transfer []transferOutcome `json:"transfer"`          // every ordered pair of models, also a model with itself
	// Attacks names the adversarial images of each model that was attacked.
	Attacks map[string][]string `json:"attacks"`
}

// transferOutcome names the predictions of target on images made on source.
type transferOutcome struct {
	Source string `json:"source"`
	Target string `json:"target"`
	File   string `json:"file"`
}

func (r *runner) measurementsFile() string { return filepath.Join(r.units(), "measurements.json") }

// record lists the outcomes of the models that got this far.
func (r *runner) record() error {
	out := measurements{SchemaVersion: schemaVersion, Images: *r.eval, Numerics: r.numerics(nil), Controls: []transferOutcome{}}
	relative := func(u store.Unit, suffix string) string {
		return filepath.Join(u.Stage, filepath.Base(u.File("", suffix)))
	}
	if r.Batch == 0 {
		out.Batches = map[string]int{}
		for _, m := range r.members {
			out.Batches[m.Name] = m.batch
		}
	}
	for _, m := range r.members {
		unit, err := r.evaluateUnit(m)
		if err != nil {
			return err
		}
		out.Clean = append(out.Clean, cleanOutcome{m.Name, relative(unit, "pred")})
	}
	var err error
	if out.Whole, err = r.wholeOutcomes(relative); err != nil {
		return err
	}
	for _, s := range r.settings() {
		outcome := settingOutcome{Attack: s.attack, Models: s.models, Sources: s.sources, Attacks: map[string][]string{}}
		for _, source := range r.members {
			if !s.attacked(source) {
				continue
			}
			for _, shard := range r.shards() {
				unit, err := r.attackUnit(s.attack, source, shard)
				if err != nil {
					return err
				}
				outcome.Attacks[source.Name] = append(outcome.Attacks[source.Name], relative(unit, "adv"))
			}
			for _, target := range r.members {
				if !s.shown(target) {
					continue
				}
				unit, err := r.transferUnit(s.attack, source, target)
				if err != nil {
					return err
				}
				outcome.Transfer = append(outcome.Transfer, transferOutcome{source.Name, target.Name, relative(unit, "pred")})
			}
		}
		out.Settings = append(out.Settings, outcome)
	}
	for _, source := range r.members {
		for _, target := range r.members {
			if !r.needsControl(source, target) {
				continue
			}
			unit, err := r.controlUnit(source, target)
			if err != nil {
				return err
			}
			out.Controls = append(out.Controls, transferOutcome{source.Name, target.Name, relative(unit, "pred")})
		}
	}
	return store.WriteJSON(r.measurementsFile(), out)
}

// recall reads what record wrote and reduces the members to those that were measured. The experiment may have changed
// its analyses since, not its attack.
func (r *runner) recall() (*measurements, error) {
	content, err := os.ReadFile(r.measurementsFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s has no transferred images yet; \"sat transfer\" or \"sat run\" makes them", r.Dir)
	}
	if err != nil {
		return nil, err
	}
	m := &measurements{}
	if err := json.Unmarshal(content, m); err != nil {
		return nil, fmt.Errorf("%w: %s: %v", store.ErrCorrupt, r.measurementsFile(), err)
	}
	for _, s := range r.settings() {
		if _, ok := m.outcome(s); !ok {
			return nil, fmt.Errorf("the attack of the experiment (%s) is not the one that was run; "+
				"\"sat transfer\" or \"sat run\" runs it", s.attack)
		}
	}
	if (m.Images.Labels == nil) != r.predicted() {
		return nil, fmt.Errorf("%s was measured with labels = %q, and the experiment says %q; \"sat transfer\" or \"sat run\" measures again",
			r.Dir, map[bool]string{true: experiment.PredictedLabels, false: "given"}[m.Images.Labels == nil], r.Data.Labels)
	}
	r.eval = &m.Images
	before := r.members // of the stages that this execution went through, which know their modules
	r.members = nil
	for _, c := range m.Clean {
		if k := slices.IndexFunc(before, func(b *member) bool { return b.Name == c.Model }); k >= 0 {
			r.members = append(r.members, before[k])
			continue
		}
		i := slices.IndexFunc(r.Spec.Members, func(s Member) bool { return s.Name == c.Model })
		if i < 0 {
			return nil, fmt.Errorf("model %s was measured but is not in the experiment any more; \"sat transfer\" or \"sat run\" brings both together", c.Model)
		}
		r.members = append(r.members, &member{Member: r.Spec.Members[i]})
	}
	return m, nil
}

// outcomes reads predictions by file name.
func (r *runner) outcomes(m *measurements, file string) ([]int32, error) {
	table, err := store.ReadPredictions(filepath.Join(r.units(), file))
	if err != nil {
		return nil, err
	}
	if table.ImagesDigest != m.Images.ImagesDigest || len(table.Classes) != 1 {
		return nil, fmt.Errorf("%w: %s is about other images", store.ErrCorrupt, file)
	}
	return table.Classes[0], nil
}

// tables turns the outcomes under one attack into bits. A member of a pair's common images without an adversarial
// version is a hard error: it would silently count as not fooled.
func (r *runner) tables(m *measurements, s settingOutcome) (*analysis.Tables, error) {
	n := m.Images.Len()
	t := &analysis.Tables{Images: n}
	index := map[string]int{}
	correct, right := make([][]bool, len(m.Clean)), make([][]int64, len(m.Clean))
	for i, c := range m.Clean {
		predicted, err := r.outcomes(m, c.File)
		if err != nil {
			return nil, fmt.Errorf("clean predictions of %s: %w", c.Model, err)
		}
		correct[i], right[i] = make([]bool, n), m.Images.right(predicted)
		for k := range predicted {
			correct[i][k] = int64(predicted[k]) == right[i][k]
		}
		index[c.Model] = i
		t.Models = append(t.Models, c.Model)
		t.Correct = append(t.Correct, analysis.NewBits(correct[i]))
		t.Wrong = append(t.Wrong, make([]analysis.Bits, len(m.Clean)))
	}
	for _, o := range s.Transfer {
		predicted, err := r.outcomes(m, o.File)
		if err != nil {
			return nil, fmt.Errorf("images of %s shown to %s: %w", o.Source, o.Target, err)
		}
		source, target := index[o.Source], index[o.Target]
		wrong := make([]bool, n)
		for k, class := range predicted {
			if correct[source][k] == (class == notAttacked) {
				return nil, fmt.Errorf("%w: %s: image %s should be attacked exactly if %s classifies it correctly",
					store.ErrCorrupt, o.File, m.Images.IDs[k], o.Source)
			}
			wrong[k] = correct[source][k] && int64(class) != right[target][k]
		}
		t.Wrong[source][target] = analysis.NewBits(wrong)
	}
	return t, nil
}

// controls counts, for every ordered pair whose models take the images differently, the commonly correct images that the
// target gets wrong on the source's clean input: errors that are not the attack's doing.
func (r *runner) controls(m *measurements, t *analysis.Tables) (rows [][]string, err error) {
	index := map[string]int{}
	for i, name := range t.Models {
		index[name] = i
	}
	right := map[string][]int64{}
	for _, c := range m.Clean {
		clean, err := r.outcomes(m, c.File)
		if err != nil {
			return nil, fmt.Errorf("clean predictions of %s: %w", c.Model, err)
		}
		right[c.Model] = m.Images.right(clean)
	}
	marked := 0
	for _, o := range m.Controls {
		predicted, err := r.outcomes(m, o.File)
		if err != nil {
			return nil, fmt.Errorf("resized clean images of %s shown to %s: %w", o.Source, o.Target, err)
		}
		both, wrong := 0, 0
		for k, class := range predicted {
			inBoth := t.Correct[index[o.Source]][k/64]&t.Correct[index[o.Target]][k/64]>>(k%64)&1 != 0
			if inBoth {
				both++
				if int64(class) != right[o.Target][k] {
					wrong++
				}
			}
		}
		mark := analysis.Resized{Source: o.Source, Target: o.Target, NBoth: both, NWrong: wrong}.Status()
		if mark != analysis.StatusOK {
			marked++
		}
		rows = append(rows, []string{o.Source, o.Target, fmt.Sprint(both), fmt.Sprint(wrong), string(mark)})
	}
	if marked > 0 {
		r.Progress.Warn(fmt.Sprintf("resizing alone, without any attack, makes the target wrong on more than %g %% of the common images in "+ // the report says the same from the table
			"%d of %d ordered pairs (resize_only.csv): that share of their similarity is not the attack's", 100*analysis.ResizeLimit, marked, len(rows)))
	}
	return rows, nil
}
