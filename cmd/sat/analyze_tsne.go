package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"sat/analysis"
	"sat/internal/studies"
)

func analyzeTSNECommand() *cli.Command {
	return command(cli.Command{
		Name:  "tsne",
		Usage: "a map of the models by exact t-SNE",
		Flags: []cli.Flag{
			satFlag(), outFlag(), clustersFlag(false),
			&cli.Float64Flag{Name: "perplexity", Usage: "effective number of neighbours (default: 30, and 10 beside it; with at most 30 models a third of the others)"},
			choice("distance", "of two models", "logdiff", "percent"),
			choice("init", "start: classical scaling, or random", "mds", "random"),
			&cli.IntFlag{Name: "steps", Usage: "at most", Value: 1000},
			seedFlag("of a random start"),
		},
		Action: analyzeTSNE,
	}, "sat analyze tsne --sat sat.csv --clusters tab2_clusters.csv --out tsne")
}

func analyzeTSNE(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	if err := positive(c, "steps"); err != nil {
		return err
	}
	if c.IsSet("perplexity") && !(c.Float64("perplexity") >= 1) {
		return usagef("--perplexity: %v; at least 1", c.Float64("perplexity"))
	}
	m, err := studies.ReadMatrix(c.String("sat"))
	if err != nil {
		return err
	}
	labels, err := optionalLabels(c)
	if err != nil {
		return err
	}
	warnings, err := studies.TSNE(c.Context, resultFolder(c, m.Len(), "sat", "clusters"), studies.TSNEJob{SAT: m, Labels: labels,
		Options: analysis.TSNEOptions{Perplexity: c.Float64("perplexity"), Distance: analysis.Distance(c.String("distance")),
			Init: analysis.Init(c.String("init")), Steps: c.Int("steps"), Seed: c.Uint64("seed")}})
	if err != nil {
		return fmt.Errorf("%s: %w", c.String("sat"), err)
	}
	return printFolder(c, warnings)
}

// optionalLabels reads --clusters; nil without.
func optionalLabels(c *cli.Context) (*studies.Labels, error) {
	if !c.IsSet("clusters") {
		return nil, nil
	}
	return studies.ReadLabels(c.String("clusters"))
}
