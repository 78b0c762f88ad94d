package main

import (
	"github.com/urfave/cli/v2"

	"sat/analysis"
	"sat/internal/studies"
)

func analyzeWarningsCommand() *cli.Command {
	return command(cli.Command{
		Name:  "warnings",
		Usage: "scores not to be taken at face value: undefined, at the floor, of few images, or due to resizing alone",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "pairs", Usage: "counts of the pairs, such as pairs_undirected.csv"},
			&cli.StringFlag{Name: "sat", Usage: "instead: similarity matrix, such as sat.csv, which does not tell the number of images"},
			&cli.Float64Flag{Name: "floor", Usage: "of --sat, in percent", Value: analysis.DefaultFloor},
			&cli.StringFlag{Name: "resized", Usage: "what resizing alone turns wrong, such as resize_only.csv"},
			outFlag(),
		},
		Action: analyzeWarnings,
	}, "sat analyze warnings --pairs pairs_undirected.csv --out warnings")
}

func analyzeWarnings(c *cli.Context) (err error) {
	if err := noArguments(c); err != nil {
		return err
	}
	given := func(flag string) bool { return c.String(flag) != "" }
	switch {
	case given("pairs") && given("sat"):
		return usagef("--pairs says all that --sat says: give one of them")
	case !given("pairs") && !given("sat") && !given("resized"):
		return usagef("nothing to look at: give --pairs, --sat or --resized")
	case c.IsSet("floor") && !given("sat"):
		return usagef("--floor is for --sat")
	}
	job := studies.WarningsJob{Floor: c.Float64("floor")}
	models := map[string]bool{}
	if given("pairs") {
		if job.Pairs, err = studies.ReadPairs(c.String("pairs")); err != nil {
			return err
		}
	}
	if given("sat") {
		if job.SAT, err = studies.ReadMatrix(c.String("sat")); err != nil {
			return err
		}
		for _, name := range job.SAT.Names {
			models[name] = true
		}
	}
	if given("resized") {
		if job.Resized, err = studies.ReadResized(c.String("resized")); err != nil {
			return err
		}
	}
	for _, p := range job.Pairs {
		models[p.A], models[p.B] = true, true
	}
	for _, r := range job.Resized {
		models[r.Source], models[r.Target] = true, true
	}
	warnings, err := studies.Warnings(resultFolder(c, len(models), "pairs", "sat", "resized"), job)
	if err != nil {
		return err
	}
	return printFolder(c, warnings)
}
