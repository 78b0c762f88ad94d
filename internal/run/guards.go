package run

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"sat/analysis"
	"sat/attacks"
	"sat/internal/experiment"
	"sat/internal/store"
	"sat/internal/studies"
	"sat/torch"
	"sat/zoo"
)

// checkedImages is how many images are shown to a model several times before anything is spent on an attack.
const checkedImages = 16

// cleanGuards is what a model's first images say about it; a file of the evaluate unit, so that a resumed run has it.
type cleanGuards struct {
	Classes       int     `json:"classes"` // outputs of the model
	Images        int     `json:"images"`
	Probabilities bool    `json:"probabilities"`
	Unstable      int     `json:"unstable"` // images whose prediction changed from pass to pass
	Drift         float64 `json:"drift"`    // of the logits
}

// attackGuards is what the attack met in one shard; a file of the attack unit.
type attackGuards struct {
	Attacked  int `json:"attacked"`
	Saturated int `json:"saturated"`     // images with p_y = 1 in float32 at some step
	ZeroGrad  int `json:"zero_gradient"` // images whose whole gradient was 0 at some step
	NaN       int `json:"nan_replaced"`  // gradient entries
}

func (g *attackGuards) add(r attacks.Result) {
	g.Attacked += r.Adversarial.N
	g.Saturated += r.SaturatedImages
	g.ZeroGrad += r.ZeroGradImages
	g.NaN += r.NaNReplaced
}

// guard looks at a model before it is attacked: does it answer twice alike, does it give logits?
func (r *runner) guard(ctx context.Context, w *torch.Worker, m *member, model *zoo.Model) (cleanGuards, error) {
	numbers := make([]int, min(checkedImages, r.batchOf(m), r.eval.Len()))
	y, ids := make([]int64, len(numbers)), make([]string, len(numbers))
	for k := range numbers {
		numbers[k], ids[k] = k, r.eval.IDs[k]
		if r.eval.Labels != nil {
			y[k] = r.eval.Labels[k]
		}
	}
	x, err := m.images.Batch(ctx, w, numbers)
	if err != nil {
		return cleanGuards{}, err
	}
	report, err := attacks.CheckModel(ctx, model, x, y, ids)
	return cleanGuards{report.Classes, len(numbers), report.Probabilities, report.Unstable, report.Drift}, err
}

func writeJSON(v any) func(path string) error {
	return func(path string) error { return store.WriteJSON(path, v) }
}

// guardFile is the guards beside a file of a unit.
func guardFile(file string) string { return strings.TrimSuffix(file, filepath.Ext(file)) + ".guards" }

func (r *runner) readGuards(file string, v any) error {
	path := filepath.Join(r.units(), file)
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(content, v); err != nil {
		return fmt.Errorf("%w: %s: %v", store.ErrCorrupt, path, err)
	}
	return nil
}

// guarded is what is known of one model. Of units that an earlier version of the program made, nothing is.
type guarded struct {
	clean    cleanGuards
	checked  bool
	attack   attackGuards
	attacked bool
}

// guardsOf collects the guards of a model from its units.
func (r *runner) guardsOf(m *measurements, c cleanOutcome) (g guarded, err error) {
	there := func(err error) (bool, error) {
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		return err == nil, err
	}
	if g.checked, err = there(r.readGuards(guardFile(c.File), &g.clean)); err != nil {
		return g, fmt.Errorf("guards of %s: %w", c.Model, err)
	}
	g.attacked = true
	for _, file := range m.Settings[0].Attacks[c.Model] {
		var shard attackGuards
		known, err := there(r.readGuards(guardFile(file), &shard))
		if err != nil {
			return g, fmt.Errorf("guards of the attack on %s: %w", c.Model, err)
		}
		g.attacked = g.attacked && known
		g.attack.Attacked += shard.Attacked
		g.attack.Saturated += shard.Saturated
		g.attack.ZeroGrad += shard.ZeroGrad
		g.attack.NaN += shard.NaN
	}
	if !g.attacked {
		g.attack = attackGuards{}
	}
	return g, nil
}

// writeGuards writes guards.csv, one row per model, and warns of what it shows. controls are the rows of resize_only.csv.
func (r *runner) writeGuards(m *measurements, s *analysis.Scores, controls [][]string, accuracies []accuracy) error {
	var rows [][]string
	outputs := map[int]string{} // number of outputs to a model that has it
	for i, c := range m.Clean {
		g, err := r.guardsOf(m, c)
		if err != nil {
			return err
		}
		if g.checked {
			outputs[g.clean.Classes] = c.Model
		} else {
			r.warn("%s was evaluated by an earlier version of this program, which did not check it; \"sat evaluate\" or \"sat run\" does", c.Model)
		}
		cell := func(known bool, v int) string {
			if !known {
				return ""
			}
			return strconv.Itoa(v)
		}
		probabilities, drift := "", ""
		if g.checked {
			probabilities, drift = strconv.FormatBool(g.clean.Probabilities), analysis.FormatFloat(g.clean.Drift)
		}
		self := s.Self[i]
		pairs, marked := resizePairs(c.Model, controls)
		flags := r.flag(c.Model, g, self.N > 0 && self.Percent < weakAttack, marked)
		rows = append(rows, []string{c.Model, cell(g.checked, g.clean.Classes), cell(g.checked, g.clean.Images), probabilities,
			cell(g.checked, g.clean.Unstable), drift, cell(g.attacked, g.attack.Attacked), cell(g.attacked, g.attack.ZeroGrad),
			cell(g.attacked, g.attack.Saturated), cell(g.attacked, g.attack.NaN), analysis.FormatFloat(self.Percent), strconv.Itoa(pairs),
			strconv.Itoa(marked), analysis.FormatFloat(accuracies[i].percent()), accuracies[i].paperFilter(), strings.Join(flags, ";")})
	}
	r.judgeOutputs(m, outputs)
	header := []string{"model", "classes", "checked", "probabilities", "unstable", "drift", "attacked", "zero_gradient", "saturated",
		"nan_replaced", "white_box", "resized_pairs", "resize_marked", "top1", "paper_filter", "flags"}
	return studies.WriteTable(filepath.Join(r.Similarity, "guards.csv"), nil, header, rows)
}

// judgeOutputs warns when labels are compared with predictions of models that do not have the same classes.
func (r *runner) judgeOutputs(m *measurements, outputs map[int]string) {
	if m.Images.Labels == nil || len(outputs) < 2 {
		return
	}
	var seen []string
	for _, n := range slices.Sorted(maps.Keys(outputs)) {
		seen = append(seen, fmt.Sprintf("%s has %d", outputs[n], n))
	}
	r.warn("the models have different numbers of outputs, %s: one label cannot mean the same class to all; "+
		"leave some of them out, or go without labels (labels = %q)", strings.Join(seen, ", "), experiment.PredictedLabels)
}

// flag names what is wrong with a model, and warns of it.
func (r *runner) flag(model string, g guarded, weak bool, resized int) (flags []string) {
	clean, attack := g.clean, g.attack
	if !g.checked || !g.attacked {
		flags = append(flags, "unchecked")
	}
	report := attacks.Report{Probabilities: clean.Probabilities, Unstable: clean.Unstable, Drift: clean.Drift}
	for _, w := range report.Warnings() {
		r.warn("%s: %s", model, w)
	}
	if clean.Probabilities {
		flags = append(flags, "probabilities")
	}
	if report.Answers() {
		flags = append(flags, "unstable")
	}
	if attack.ZeroGrad > 0 {
		r.warn("%s: the gradient of %d of %d attacked images was exactly zero at some step: they stood still there", model, attack.ZeroGrad, attack.Attacked)
		flags = append(flags, "zero_gradient")
	}
	if attack.NaN > 0 {
		r.warn("%s: %d gradient entries were NaN and taken for 0", model, attack.NaN)
		flags = append(flags, "nan")
	}
	if attack.Saturated > 0 {
		flags = append(flags, "saturated")
	}
	if weak {
		flags = append(flags, "weak_attack") // judge warns
	}
	if resized > 0 {
		flags = append(flags, "resize") // controls warns
	}
	return flags
}

// resizePairs counts the sources whose clean images target sees otherwise than its own, and those of them that are marked.
func resizePairs(target string, controls [][]string) (pairs, marked int) {
	for _, row := range controls {
		if row[1] == target {
			pairs++
			if row[4] != "ok" {
				marked++
			}
		}
	}
	return pairs, marked
}
