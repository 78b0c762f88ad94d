package studies

import (
	"context"
	"fmt"
	"strconv"

	"sat/analysis"
)

// SensitivityJob asks how much the similarity of models of one architecture depends on how they were trained.
type SensitivityJob struct {
	SAT      *analysis.Matrix
	Settings *analysis.Features // one column holds the architecture, all others are settings
	Column   string             // of the architecture
	Options  analysis.SensitivityOptions
}

// Sensitivity writes sensitivity.csv, one line per architecture, and sensitivity_settings.csv, one per setting of each.
func Sensitivity(ctx context.Context, f Folder, job SensitivityJob) (warnings []string, err error) {
	found, err := analysis.Sensitivities(ctx, job.SAT, job.Settings, job.Column, job.Options)
	if err != nil {
		return nil, err
	}
	f = f.with("sensitivity", map[string]any{"column": job.Column, "resamples": job.Options.Bootstrap.Resamples,
		"permutations": job.Options.Groups.Permutations, "seed": job.Options.Bootstrap.Seed})
	var rows, settings [][]string
	for _, s := range found {
		for _, w := range withoutTwo(&s.MatrixMean) {
			warnings = append(warnings, fmt.Sprintf("%s: %s", s.Architecture, w))
		}
		rows = append(rows, []string{s.Architecture, number(s.Summary.Mean), number(s.CILo), number(s.CIHi), strconv.Itoa(s.Models),
			strconv.Itoa(s.Summary.Pairs)})
		for _, factor := range s.Factors {
			t := factor.Test
			settings = append(settings, []string{s.Architecture, factor.Factor, strconv.Itoa(factor.Levels), number(t.Within.Mean),
				number(t.Across.Mean), number(t.Difference), number(t.P), strconv.Itoa(t.Permutations), strconv.Itoa(t.Within.Pairs),
				strconv.Itoa(t.Across.Pairs)})
		}
	}
	header := []string{"architecture", "mean_sat", "ci_lo", "ci_hi", "n_models", "n_pairs"}
	if err := f.table("sensitivity.csv", header, rows); err != nil {
		return nil, err
	}
	header = []string{"architecture", "setting", "levels", "same_mean", "different_mean", "difference", "p", "permutations", "same_pairs",
		"different_pairs"}
	return warnings, f.table("sensitivity_settings.csv", header, settings)
}
