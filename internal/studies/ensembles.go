package studies

import (
	"context"
	"strconv"

	"sat/analysis"
)

// EnsemblesJob asks what the diversity of an ensemble's members is worth (Figs. 5, 6 and F.1).
type EnsemblesJob struct {
	SAT     *analysis.Matrix // knows all models of Logits
	Logits  *analysis.Logits
	Labels  *Labels // clusters; nil: pairs only
	Options analysis.ClusterEnsembleOptions
}

type ensemblesFile struct {
	SchemaVersion int              `json:"schema_version"`
	Models        int              `json:"models"`
	Images        int              `json:"images"`
	Classes       int              `json:"classes"`
	Average       analysis.Average `json:"average"`
	Pairs         correlationFile  `json:"pairs"` // correlation of SAT and ERR over the pairs
	Warnings      []string         `json:"warnings"`
}

// Ensembles writes fig5_sat_vs_err.csv, correlations.csv and ensembles.json; with clusters also fig6a_err_by_clusters.csv,
// fig6b_wrong_by_all.csv, figF1_ens_error.csv and ensemble_cells.csv.
func Ensembles(ctx context.Context, f Folder, job EnsemblesJob) ([]string, error) {
	pairs, err := job.Logits.PairEnsembles(ctx, job.SAT, job.Options.EnsembleOptions)
	if err != nil {
		return nil, err
	}
	var cells []analysis.EnsembleCell
	if job.Labels != nil {
		labels, err := job.Labels.Of(job.Logits.Models)
		if err != nil {
			return nil, err
		}
		if cells, err = job.Logits.ClusterEnsembles(ctx, labels, job.Options); err != nil {
			return nil, err
		}
	}
	o := job.Options
	f = f.with("ensembles", map[string]any{"average": o.Average, "draws": o.Draws, "cover": !o.NoCover, "resamples": o.Resamples,
		"seed": o.Seed, "images": pairs.Images, "classes": job.Logits.Classes})
	var rows [][]string
	for _, p := range pairs.Pairs {
		rows = append(rows, []string{p.A, p.B, number(p.SAT), number(p.ErrA), number(p.ErrB), number(p.ErrEns), number(p.ERR)})
	}
	if err := f.table("fig5_sat_vs_err.csv", []string{"a", "b", "sat", "err_a", "err_b", "err_ens", "ERR"}, rows); err != nil {
		return nil, err
	}
	if err := Correlations(f, NamedCorrelation{"fig5", pairs.Correlation}); err != nil {
		return nil, err
	}
	if cells != nil {
		if err := f.cells(cells); err != nil {
			return nil, err
		}
	}
	return pairs.Warnings, f.json("ensembles.json", ensemblesFile{
		SchemaVersion: schemaVersion, Models: len(job.Logits.Models), Images: pairs.Images, Classes: job.Logits.Classes,
		Average: o.Average, Pairs: correlationOf(pairs.Correlation), Warnings: append([]string{}, pairs.Warnings...),
	})
}

// cells writes one file per figure, and all that is known of each cell into ensemble_cells.csv.
func (f Folder) cells(cells []analysis.EnsembleCell) error {
	all := []string{"statistic", "N", "k", "mean", "sd", "ci_lo", "ci_hi", "lo", "hi", "draws", "exhaustive", "undefined"}
	var every [][]string
	for _, figure := range []struct {
		file, mean, statistic string
		of                    func(analysis.EnsembleCell) analysis.DrawStatistic
	}{
		{"fig6a_err_by_clusters.csv", "mean_ERR", "ERR", func(c analysis.EnsembleCell) analysis.DrawStatistic { return c.ERR }},
		{"fig6b_wrong_by_all.csv", "mean_count", "wrong_by_all", func(c analysis.EnsembleCell) analysis.DrawStatistic { return c.WrongByAll }},
		{"figF1_ens_error.csv", "mean_top1_error", "top1_error", func(c analysis.EnsembleCell) analysis.DrawStatistic { return c.Error }},
	} {
		var rows [][]string
		for _, c := range cells {
			s := figure.of(c)
			rows = append(rows, []string{strconv.Itoa(c.N), strconv.Itoa(c.K), number(s.Mean), number(s.SD), number(s.CILo), number(s.CIHi),
				strconv.Itoa(c.Sets)})
			every = append(every, []string{figure.statistic, strconv.Itoa(c.N), strconv.Itoa(c.K), number(s.Mean), number(s.SD),
				number(s.CILo), number(s.CIHi), number(s.Lo), number(s.Hi), strconv.Itoa(c.Sets), strconv.FormatBool(c.Exhaustive),
				strconv.Itoa(s.Undefined)})
		}
		if err := f.table(figure.file, []string{"N", "k", figure.mean, "sd", "ci_lo", "ci_hi", "draws"}, rows); err != nil {
			return err
		}
	}
	return f.table("ensemble_cells.csv", all, every)
}
