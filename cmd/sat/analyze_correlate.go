package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"sat/analysis"
	"sat/internal/studies"
)

func analyzeCorrelateCommand() *cli.Command {
	return command(cli.Command{
		Name:      "correlate",
		Usage:     "correlation of two columns of a table; JSON on stdout",
		ArgsUsage: "FILE.csv",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "x", Usage: "column", Required: true},
			&cli.StringFlag{Name: "y", Usage: "column", Required: true},
			&cli.IntFlag{Name: "permutations", Usage: "of the models, where the rows are all pairs of models (columns a and b); 0: no such test", Value: 9999},
			seedFlag("of the permutations"),
		},
		Action: analyzeCorrelate,
	}, "sat analyze correlate --x n_both --y sat pairs_undirected.csv")
}

func analyzeCorrelate(c *cli.Context) error {
	path, err := oneArgument(c, "a CSV file")
	if err != nil {
		return err
	}
	if c.Int("permutations") < 0 {
		return usagef("--permutations: %d; at least 0", c.Int("permutations"))
	}
	result, err := studies.Correlate(c.Context, path, c.String("x"), c.String("y"),
		analysis.MantelOptions{Permutations: c.Int("permutations"), Seed: c.Uint64("seed")})
	if err != nil {
		return err
	}
	return printJSON(c.App.Writer, result)
}

func analyzeMatricesCommand() *cli.Command {
	return command(cli.Command{
		Name:  "matrices",
		Usage: "do two similarity matrices rank pairs of models alike?",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "a", Usage: "similarity matrix", Required: true},
			&cli.StringFlag{Name: "b", Usage: "another, of the same models or some of them", Required: true},
			outFlag(),
			&cli.BoolFlag{Name: "fig2a", Usage: "a is by PGD and b by AutoAttack: also the table of Fig. 2a"},
			&cli.IntFlag{Name: "permutations", Usage: "of the models, for the test", Value: 9999},
			resamplesFlag("the models"),
			seedFlag("of permutations and resamples"),
		},
		Action: analyzeMatrices,
	}, "sat analyze matrices --a sat.csv --b sat.csv --out matrices")
}

func analyzeMatrices(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	if err := positive(c, "permutations", "resamples"); err != nil {
		return err
	}
	a, err := studies.ReadMatrix(c.String("a"))
	if err != nil {
		return err
	}
	b, err := studies.ReadMatrix(c.String("b"))
	if err != nil {
		return err
	}
	warnings, err := studies.Matrices(c.Context, resultFolder(c, a.Len(), "a", "b"), studies.MatricesJob{A: a, B: b,
		Mantel:    analysis.MantelOptions{Permutations: c.Int("permutations"), Seed: c.Uint64("seed")},
		Bootstrap: analysis.BootstrapOptions{Resamples: c.Int("resamples"), Seed: c.Uint64("seed")}, Figure: c.Bool("fig2a")})
	if err != nil {
		return fmt.Errorf("%s and %s: %w", c.String("a"), c.String("b"), err)
	}
	return printFolder(c, warnings)
}
