package studies

import (
	"context"
	"slices"
	"strconv"

	"sat/analysis"
	"sat/analysis/paper"
)

// ImportanceJob asks which components explain similarity (Fig. 3).
type ImportanceJob struct {
	SAT         *analysis.Matrix
	Features    *analysis.Features
	Options     analysis.ImportanceOptions
	Predictions bool // also write the target and the prediction of every pair
}

type importanceFile struct {
	SchemaVersion int                   `json:"schema_version"`
	Models        int                   `json:"models"`
	Pairs         int                   `json:"pairs"`
	Evaluated     int                   `json:"evaluated"`
	Fits          int                   `json:"fits"`
	Repeats       int                   `json:"repeats"`
	Eval          analysis.Eval         `json:"eval"`
	TrainR2       *float64              `json:"train_r2"` // mean over the fits
	EvalR2        *float64              `json:"eval_r2"`
	Loss          []float64             `json:"loss"` // mean squared error on the training rows after each stage, first fit
	Components    []importanceComponent `json:"components"`
	SpearmanPaper *float64              `json:"spearman_paper"` // of our order and the paper's; null without the paper's components
	Settings      map[string]any        `json:"settings"`
	Warnings      []string              `json:"warnings"`
}

type importanceComponent struct {
	Component string  `json:"component"`
	Rank      int     `json:"rank"`
	Mean      float64 `json:"mean"`
	Std       float64 `json:"std"`
	Within    float64 `json:"within"`  // standard deviation between the permutations of a fit
	Between   float64 `json:"between"` // standard deviation between the means of the fits
	RankPaper *int    `json:"rank_paper"`
}

// Importance writes fig3_importance.csv and importance_fit.json.
func Importance(ctx context.Context, f Folder, job ImportanceJob) (*analysis.Importance, error) {
	result, err := analysis.FeatureImportance(ctx, job.SAT, job.Features, job.Options)
	if err != nil {
		return nil, err
	}
	o, b := job.Options, job.Options.Boosting
	settings := map[string]any{"stages": b.Stages, "depth": b.Depth, "min_samples": b.MinSamples, "min_samples_of": b.MinSamplesOf,
		"rate": b.Rate, "ties": b.Ties, "base_map": o.BaseMap, "attention": o.Attention, "fits": o.Fits, "repeats": o.Repeats,
		"eval": o.Eval, "holdout": o.Holdout, "seed": o.Seed}
	f = f.with("importance", settings)

	components := slices.Clone(result.Components)
	slices.SortFunc(components, func(a, b analysis.ComponentImportance) int { return a.Rank - b.Rank })
	printed := paperRanks()
	file := importanceFile{
		SchemaVersion: schemaVersion, Models: job.SAT.Len(), Pairs: result.Pairs, Evaluated: result.Evaluated, Fits: o.Fits,
		Repeats: o.Repeats, Eval: o.Eval, TrainR2: Defined(result.TrainR2), EvalR2: Defined(result.EvalR2), Loss: result.First.Loss,
		Settings: settings, Warnings: append([]string{}, result.Warnings...),
	}
	var rows [][]string
	var ours, theirs []float64
	for _, c := range components {
		rows = append(rows, []string{c.Component, number(c.Mean), number(c.Std), strconv.Itoa(c.Rank)})
		entry := importanceComponent{Component: c.Component, Rank: c.Rank, Mean: c.Mean, Std: c.Std, Within: c.Within, Between: c.Between}
		if rank, ok := printed[c.Component]; ok {
			entry.RankPaper = &rank
			ours, theirs = append(ours, float64(c.Rank)), append(theirs, float64(rank))
		}
		file.Components = append(file.Components, entry)
	}
	if len(ours) == len(printed) {
		order, err := analysis.Correlate(ours, theirs, 0.95)
		if err != nil {
			return nil, err
		}
		file.SpearmanPaper = Defined(order.Spearman)
	}
	if err := f.table("fig3_importance.csv", []string{"component", "mean", "std", "rank"}, rows); err != nil {
		return nil, err
	}
	if err := f.json("importance_fit.json", file); err != nil {
		return nil, err
	}
	if !job.Predictions {
		return result, nil
	}
	rows = nil
	names := job.SAT.Names
	for i, a := range names {
		for _, b := range names[i+1:] {
			rows = append(rows, []string{a, b, number(result.Y[len(rows)]), number(result.Predicted[len(rows)])})
		}
	}
	return result, f.table("importance_predictions.csv", []string{"a", "b", "y", "pred"}, rows)
}

// paperRanks are the ranks of the components in Fig. 3, by column of the feature table.
func paperRanks() map[string]int {
	ranks := map[string]int{}
	for _, c := range paper.Components() {
		ranks[c.Column] = c.Rank
	}
	return ranks
}
