package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"sat/analysis"
	"sat/internal/studies"
)

func analyzeImportanceCommand() *cli.Command {
	return command(cli.Command{
		Name:  "importance",
		Usage: "which components explain similarity: gradient boosting and permutation importance",
		Flags: []cli.Flag{
			satFlag(), featuresFlag(), outFlag(),
			choice("base-map", "grouping of base architectures", "table", "elements", "keywords"),
			choice("attention", "whether the kind of an attention counts", "presence", "kind"),
			&cli.IntFlag{Name: "stages", Usage: "trees", Value: 500},
			&cli.IntFlag{Name: "depth", Usage: "of a tree", Value: 12},
			choice("min-samples", "what the minimum number of rows belongs to", "split", "leaf"),
			&cli.IntFlag{Name: "min-rows", Usage: "minimum number of rows", Value: 4},
			&cli.Float64Flag{Name: "rate", Usage: "learning rate", Value: 0.02},
			choice("criterion", "quality of a division; both are the same up to a constant", "squared_error", "friedman_mse"),
			choice("ties", "between components that divide the pairs alike", "random", "first"),
			&cli.IntFlag{Name: "seeds", Usage: "fits that break ties differently", Value: 10},
			&cli.IntFlag{Name: "repeats", Usage: "permutations of a component per fit", Value: 10},
			choice("eval", "pairs that importance is measured on", "train", "holdout", "models"),
			&cli.Float64Flag{Name: "holdout", Usage: "share of pairs or models held out", Value: 0.1},
			seedFlag("of ties, permutations and what is held out"),
			&cli.BoolFlag{Name: "predictions", Usage: "also write the prediction of every pair"},
		},
		Action: analyzeImportance,
	}, "sat analyze importance --sat sat.csv --features features.csv --out importance --predictions")
}

func analyzeImportance(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	if err := positive(c, "stages", "depth", "min-rows", "seeds", "repeats"); err != nil {
		return err
	}
	m, err := studies.ReadMatrix(c.String("sat"))
	if err != nil {
		return err
	}
	features, err := studies.ReadFeatures(c.String("features"), m.Names)
	if err != nil {
		return err
	}
	result, err := studies.Importance(c.Context, resultFolder(c, m.Len(), "sat", "features"), studies.ImportanceJob{
		SAT: m, Features: features, Predictions: c.Bool("predictions"),
		Options: analysis.ImportanceOptions{
			Boosting: analysis.BoostingOptions{Stages: c.Int("stages"), Depth: c.Int("depth"), MinSamples: c.Int("min-rows"),
				MinSamplesOf: analysis.MinSamples(c.String("min-samples")), Rate: c.Float64("rate"),
				Criterion: analysis.Criterion(c.String("criterion")), Ties: analysis.Ties(c.String("ties"))},
			BaseMap: analysis.BaseMap(c.String("base-map")), Attention: analysis.Attention(c.String("attention")), Fits: c.Int("seeds"),
			Repeats: c.Int("repeats"), Eval: analysis.Eval(c.String("eval")), Holdout: c.Float64("holdout"), Seed: c.Uint64("seed"),
		},
	})
	if err != nil {
		return fmt.Errorf("%s: %w", c.String("sat"), err)
	}
	return printFolder(c, result.Warnings)
}
