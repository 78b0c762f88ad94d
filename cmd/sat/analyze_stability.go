package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"sat/analysis"
	"sat/internal/studies"
)

func analyzeStabilityCommand() *cli.Command {
	return command(cli.Command{
		Name:  "stability",
		Usage: "how much a score changes with the images it is measured on, by method and size",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "scores", Usage: "one score per method, size and repeat, such as stability_scores.csv", Required: true},
			outFlag(), seedFlag("of the resamples"), resamplesFlag("the repeats"),
		},
		Action: analyzeStability,
	}, "sat analyze stability --scores stability_scores.csv --out stability")
}

func analyzeStability(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	if err := positive(c, "resamples"); err != nil {
		return err
	}
	series, err := studies.ReadStabilityScores(c.String("scores"))
	if err != nil {
		return err
	}
	job := studies.StabilityJob{Series: series, Bootstrap: analysis.BootstrapOptions{Resamples: c.Int("resamples"), Seed: c.Uint64("seed")}}
	if err := studies.Stability(c.Context, resultFolder(c, 2, "scores"), job); err != nil {
		return fmt.Errorf("%s: %w", c.String("scores"), err)
	}
	return printFolder(c, nil)
}
