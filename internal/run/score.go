package run

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"strconv"
	"strings"

	"sat/analysis"
	"sat/internal/studies"
)

// measured is what the similarity stage knows about one attack setting.
type measured struct {
	attack    Attack
	tables    *analysis.Tables
	meta      studies.Meta
	scores    *analysis.Scores // nil if only some models were attacked
	survivors *survivors       // of an attack that leaves what withstands as it was
}

// similarity turns stored predictions into scores and result files. It needs no model and no image.
func (r *runner) similarity(ctx context.Context) error {
	m, err := r.recall()
	if err != nil {
		return err
	}
	var accuracies []accuracy
	for _, setting := range r.settings() {
		outcome, _ := m.outcome(setting) // recall has looked
		t, err := r.tables(m, outcome)
		if err != nil {
			return err
		}
		t = r.tablesAmong(t, setting.shown)
		if setting.sources != nil {
			r.measured[setting.folder] = &measured{attack: setting.attack, tables: t, meta: r.meta(m, setting.attack, t)}
			continue
		}
		counts, err := t.Count()
		if err != nil {
			return err
		}
		scores, err := counts.Score(r.Scores.Floor)
		if err != nil {
			return err
		}
		dir := filepath.Join(r.Dir, setting.folder)
		if setting.folder == "" {
			for k, name := range counts.Models {
				accuracies = append(accuracies, accuracy{model: name, n: counts.Images, correct: counts.NBoth[k][k], unknown: r.predicted()})
			}
			if m.Whole != nil {
				if accuracies, err = r.wholeAccuracies(m.Whole); err != nil {
					return err
				}
			}
			r.judgeAccuracies(accuracies)
			dir = r.Similarity
			if r.Scores.Bootstrap > 0 {
				o := analysis.BootstrapOptions{Resamples: r.Scores.Bootstrap, Seed: r.Scores.Seed}
				if err := scores.Bootstrap(ctx, t, o); err != nil {
					return err
				}
			}
			r.judge(scores)
			controls, err := r.writeControls(m, t)
			if err != nil {
				return err
			}
			if err := r.writeGuards(m, scores, controls, accuracies); err != nil {
				return err
			}
		}
		s := &measured{attack: setting.attack, tables: t, scores: scores, meta: r.meta(m, setting.attack, t)}
		r.measured[setting.folder] = s
		if setting.attack.LeavesClean() {
			left := survivorsOf(t, scores.Pairs)
			s.survivors, s.meta["survivors"] = &left, left.byModel
			if err := writeSurvivors(dir, s.meta, scores.Pairs, left); err != nil {
				return err
			}
		}
		if err := writeScores(dir, s.meta, scores, accuracies); err != nil {
			return err
		}
	}
	return nil
}

func (r *runner) writeControls(m *measurements, t *analysis.Tables) ([][]string, error) {
	rows, err := r.controls(m, t)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	header := []string{"source", "target", "n_both", "n_wrong", "status"}
	return rows, studies.WriteTable(filepath.Join(r.Similarity, "resize_only.csv"), nil, header, rows)
}

// sweepFolder names the folder of one epsilon: "8/255" becomes "epsilon-8-255".
func sweepFolder(a Attack) string { return "epsilon-" + strings.ReplaceAll(a.Epsilon, "/", "-") }

// weakAttack is the white-box success in percent below which an attack says little about transfer.
const weakAttack = 95

// judge warns of what a reader of the scores must know.
func (r *runner) judge(s *analysis.Scores) {
	for _, w := range s.Warnings {
		r.Progress.Warn(w) // the report says the same from the tables
	}
	var weak []string
	for _, c := range s.Self {
		if c.N > 0 && c.Percent < weakAttack && !r.isHardened(c.Model) {
			weak = append(weak, fmt.Sprintf("%s (%.1f %%)", c.Model, c.Percent))
		}
	}
	if len(weak) > 0 { // one line, however many they are
		r.Progress.Warn(fmt.Sprintf("the attack fools these models themselves on fewer than %d %% of their images, so that their scores measure its weakness too: %s",
			weakAttack, strings.Join(weak, ", ")))
	}
	for _, p := range s.Pairs {
		if p.Status == analysis.StatusEmpty {
			r.out.Undefined++
		}
	}
}

// meta is the provenance of every result file of one attack setting.
func (r *runner) meta(m *measurements, a Attack, t *analysis.Tables) studies.Meta {
	meta := studies.Meta{
		"schema_version": schemaVersion,
		"models":         len(t.Models), "images": t.Images, "images_digest": m.Images.ImagesDigest,
		"attack": a.meta(), "numerics": m.Numerics,
		"transfer":   map[string]any{"resize": r.Transfer.Resize, "antialias": r.Transfer.Antialias, "clean": r.Transfer.Clean},
		"similarity": map[string]any{"floor": r.Scores.Floor, "resamples": r.Scores.Bootstrap, "seed": r.Scores.Seed, "level": 0.95},
		"labels":     r.Data.Labels, "seed": r.Seed, "versions": Versions(),
	}
	if m.Batches != nil {
		meta["batches"] = m.Batches
	}
	return meta
}

// writeFeatures writes features.csv if every model has components, and returns them.
func (r *runner) writeFeatures() (*analysis.Features, error) {
	f := &analysis.Features{Components: componentNames}
	for _, m := range r.members {
		if m.Components == nil {
			return nil, nil
		}
		row := make([]string, len(componentNames))
		for i, c := range componentNames {
			row[i] = m.Components[c]
		}
		f.Models = append(f.Models, m.Name)
		f.Values = append(f.Values, row)
	}
	rows := make([][]string, len(f.Models))
	for i, name := range f.Models {
		rows[i] = append([]string{name}, f.Values[i]...)
	}
	return f, studies.WriteTable(filepath.Join(r.Dir, "features.csv"), nil, append([]string{"model"}, f.Components...), rows)
}

// writeSweep writes white-box success and the comparison of groups for every epsilon, of the models that are not trained to
// withstand the attack.
func (r *runner) writeSweep(ctx context.Context) error {
	if len(r.Sweep) == 0 {
		return nil
	}
	var white, compared [][]string
	number := analysis.FormatFloat
	for _, a := range r.Sweep {
		s, chosen := r.measured[filepath.Join("sweep", sweepFolder(a))], "0"
		if a.Attacker == r.Attack.Attacker {
			s, chosen = r.measured[""], "1"
		}
		usual, groups := r.scoresAmong(s.scores, ordinary)
		for _, c := range usual.Self {
			white = append(white, []string{a.Epsilon, c.Model, strconv.Itoa(c.N), strconv.Itoa(c.Fooled)})
		}
		test, err := compareGroups(ctx, usual, groups, r.Seed)
		if err != nil {
			return err
		}
		if test == nil {
			test = &analysis.GroupTest{Difference: math.NaN(), P: math.NaN(), PRank: math.NaN()}
		}
		sum := usual.Summary()
		compared = append(compared, []string{a.Epsilon, number(test.Within.Mean), number(test.Across.Mean), number(test.Difference),
			number(test.P), strconv.Itoa(test.Permutations), number(test.PRank), strconv.Itoa(test.Within.Pairs),
			strconv.Itoa(test.Across.Pairs), strconv.Itoa(sum.Floored), strconv.Itoa(sum.Excluded), chosen})
	}
	in := func(name string) string { return filepath.Join(r.Dir, "sweep", name) }
	if err := studies.WriteTable(in("sweep.csv"), nil, []string{"epsilon", "model", "n_both", "n_fooled"}, white); err != nil {
		return err
	}
	header := []string{"epsilon", "within_mean", "across_mean", "difference", "p", "permutations", "p_rank", "within_pairs",
		"across_pairs", "floored", "empty", "chosen"}
	return studies.WriteTable(in("groups.csv"), nil, header, compared)
}
