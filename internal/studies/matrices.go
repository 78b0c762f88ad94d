package studies

import (
	"context"

	"sat/analysis"
)

// MatricesJob asks whether two ways to measure similarity rank pairs of models alike (Fig. 2a).
type MatricesJob struct {
	A, B      *analysis.Matrix
	Mantel    analysis.MantelOptions
	Bootstrap analysis.BootstrapOptions
	Figure    bool // A by PGD and B by AutoAttack: also Fig. 2a
}

type matricesFile struct {
	SchemaVersion int             `json:"schema_version"`
	Models        int             `json:"models"`
	Left          []string        `json:"left_out"` // models that only one matrix has
	Correlation   correlationFile `json:"correlation"`
	// The intervals resample models, which pairs share; those in correlation take pairs for independent.
	RLo        *float64    `json:"r_models_ci_lo"`
	RHi        *float64    `json:"r_models_ci_hi"`
	SpearmanLo *float64    `json:"spearman_models_ci_lo"`
	SpearmanHi *float64    `json:"spearman_models_ci_hi"`
	Mantel     *mantelFile `json:"mantel"` // null with fewer than three models, an undefined pair or a constant matrix
	Warnings   []string    `json:"warnings"`
}

type mantelFile struct {
	R            float64 `json:"r"`
	P            float64 `json:"p"` // of a permutation of models
	Permutations int     `json:"permutations"`
}

// Matrices writes matrices.csv and matrices.json, and as a figure also fig2a_autoattack.csv and correlations.csv.
func Matrices(ctx context.Context, f Folder, job MatricesJob) ([]string, error) {
	c, err := analysis.CompareMatrices(ctx, job.A, job.B, analysis.MatrixOptions{Mantel: job.Mantel, Bootstrap: job.Bootstrap})
	if err != nil {
		return nil, err
	}
	f = f.with("matrices", map[string]any{"permutations": job.Mantel.Permutations, "resamples": job.Bootstrap.Resamples, "seed": job.Mantel.Seed})
	var rows, figure [][]string
	for _, p := range c.Points {
		rows = append(rows, []string{p.A, p.B, number(p.X), number(p.Y)})
		figure = append(figure, []string{p.A + " / " + p.B, number(p.X), number(p.Y)})
	}
	if err := f.table("matrices.csv", []string{"a", "b", "x", "y"}, rows); err != nil {
		return nil, err
	}
	if job.Figure {
		if err := f.table("fig2a_autoattack.csv", []string{"pair", "sat_pgd", "sat_autoattack"}, figure); err != nil {
			return nil, err
		}
		if err := Correlations(f, NamedCorrelation{"fig2a", c.Correlation}); err != nil {
			return nil, err
		}
	}
	return c.Warnings, f.json("matrices.json", describeMatrices(c))
}

func describeMatrices(c *analysis.MatrixComparison) matricesFile {
	file := matricesFile{SchemaVersion: schemaVersion, Models: c.Models, Left: append([]string{}, c.Left...),
		Correlation: correlationOf(c.Correlation), RLo: Defined(c.R.Lo), RHi: Defined(c.R.Hi), SpearmanLo: Defined(c.Spearman.Lo),
		SpearmanHi: Defined(c.Spearman.Hi), Warnings: append([]string{}, c.Warnings...)}
	if c.Mantel != nil {
		file.Mantel = &mantelFile{c.Mantel.R, c.Mantel.P, c.Mantel.Permutations}
	}
	return file
}

// Agreement relates the similarity of models to the agreement of their decision boundaries, pair by pair: agreement_sat.csv
// and agreement_sat.json, which holds what matrices.json does.
func Agreement(ctx context.Context, f Folder, sat, agreement *analysis.Matrix, seed uint64) error {
	o := analysis.MatrixOptions{Mantel: analysis.MantelOptions{Seed: seed}, Bootstrap: analysis.BootstrapOptions{Seed: seed}}
	c, err := analysis.CompareMatrices(ctx, sat, agreement, o)
	if err != nil {
		return err
	}
	var rows [][]string
	for _, p := range c.Points {
		rows = append(rows, []string{p.A, p.B, number(p.X), number(p.Y)})
	}
	if err := f.with("agreement", map[string]any{"seed": seed}).table("agreement_sat.csv", []string{"a", "b", "sat", "agreement"}, rows); err != nil {
		return err
	}
	return f.json("agreement_sat.json", describeMatrices(c))
}
