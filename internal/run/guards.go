package run

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"sat/analysis"
	"sat/attacks"
	"sat/internal/store"
	"sat/internal/studies"
	"sat/torch"
	"sat/zoo"
)

// checkedImages is how many images are shown to a model several times before anything is spent on an attack.
const checkedImages = 16

// cleanGuards is what a model's first images say about it; a file of the evaluate unit, so that a resumed run has it.
type cleanGuards struct {
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
	return cleanGuards{len(numbers), report.Probabilities, report.Unstable, report.Drift}, err
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

// writeGuards writes guards.csv, one row per model, and warns of what it shows. controls are the rows of resize_only.csv.
func (r *runner) writeGuards(m *measurements, s *analysis.Scores, controls [][]string) error {
	var rows [][]string
	for i, c := range m.Clean {
		var clean cleanGuards
		if err := r.readGuards(guardFile(c.File), &clean); err != nil {
			return fmt.Errorf("guards of %s: %w", c.Model, err)
		}
		var attack attackGuards
		for _, file := range m.Settings[0].Attacks[c.Model] {
			var shard attackGuards
			if err := r.readGuards(guardFile(file), &shard); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("guards of the attack on %s: %w", c.Model, err)
			}
			attack.Attacked += shard.Attacked
			attack.Saturated += shard.Saturated
			attack.ZeroGrad += shard.ZeroGrad
			attack.NaN += shard.NaN
		}
		self := s.Self[i]
		pairs, marked := resizePairs(c.Model, controls)
		flags := r.flag(c.Model, clean, attack, self.N > 0 && self.Percent < weakAttack, marked)
		rows = append(rows, []string{c.Model, strconv.Itoa(clean.Images), strconv.FormatBool(clean.Probabilities), strconv.Itoa(clean.Unstable),
			analysis.FormatFloat(clean.Drift), strconv.Itoa(attack.Attacked), strconv.Itoa(attack.ZeroGrad), strconv.Itoa(attack.Saturated),
			strconv.Itoa(attack.NaN), analysis.FormatFloat(self.Percent), strconv.Itoa(pairs), strconv.Itoa(marked), strings.Join(flags, ";")})
	}
	header := []string{"model", "checked", "probabilities", "unstable", "drift", "attacked", "zero_gradient", "saturated", "nan_replaced",
		"white_box", "resized_pairs", "resize_marked", "flags"}
	return studies.WriteTable(filepath.Join(r.Similarity, "guards.csv"), nil, header, rows)
}

// flag names what is wrong with a model, and warns of it.
func (r *runner) flag(model string, clean cleanGuards, attack attackGuards, weak bool, resized int) (flags []string) {
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
