package main

import (
	"fmt"
	"slices"

	"github.com/urfave/cli/v2"

	"sat/analysis"
	"sat/internal/data"
	"sat/internal/studies"
)

func analyzeTrainingCommand() *cli.Command {
	return command(cli.Command{
		Name:  "training",
		Usage: "similarity inside sets of models that differ in their training only",
		Flags: append([]cli.Flag{
			&cli.StringSliceFlag{Name: "sat", Usage: "similarity matrix; give it once per matrix. The first is \"All\"; a set comes from the first that has all its models", Required: true},
			&cli.StringFlag{Name: "sets", Usage: "CSV with columns model, architecture, diversity (Initialization, Hyper-parameter, Training regime)", Required: true},
			outFlag(),
			&cli.StringFlag{Name: "logits", Usage: "folder of NAME.npy, one per model: also ensembles inside the sets"},
			&cli.StringFlag{Name: "labels", Usage: "Y.npy, the true classes; with --logits"},
			&cli.StringFlag{Name: "clusters", Usage: "clusters of the models of the first matrix: also ensembles of N models of N clusters"},
			&cli.IntFlag{Name: "k", Usage: "clusters behind the distances of Fig. 4b, over the first matrix; 0: no such table", Value: 0},
		}, ensembleFlags()...),
		Action: analyzeTraining,
	}, "sat analyze training --sat sat.csv --sets sets.csv --out training")
}

func analyzeTraining(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	o, err := ensembleOptions(c)
	if err != nil {
		return err
	}
	if c.IsSet("logits") != c.IsSet("labels") {
		return usagef("--logits and --labels belong together")
	}
	job := studies.TrainingJob{Bootstrap: analysis.BootstrapOptions{Resamples: o.Resamples, Seed: o.Seed}, Ensembles: o}
	for _, path := range c.StringSlice("sat") {
		m, err := studies.ReadMatrix(path)
		if err != nil {
			return err
		}
		job.SAT = append(job.SAT, m)
	}
	if job.Sets, err = studies.ReadTrainingSets(c.String("sets")); err != nil {
		return err
	}
	if job.Labels, err = optionalLabels(c); err != nil {
		return err
	}
	switch k := c.Int("k"); {
	case k < 0:
		return usagef("--k: %d; at least 0", k)
	case k > 0:
		job.Distances = &analysis.ClusterOptions{K: k, Seed: o.Seed, Reference: studies.PaperClusters()}
	}
	if c.IsSet("logits") {
		truth, err := data.ReadLabels(c.Context, c.String("labels"))
		if err != nil {
			return err
		}
		var models []string
		for _, s := range job.Sets.Sets {
			models = append(models, s.Models...)
		}
		if job.Labels != nil {
			models = append(models, job.SAT[0].Names...)
		}
		slices.Sort(models)
		logits, err := studies.OpenLogits(c.String("logits"), slices.Compact(models), truth)
		if err != nil {
			return err
		}
		defer logits.Close()
		job.Logits = logits.Logits
	}
	warnings, err := studies.Training(c.Context, resultFolder(c, job.SAT[0].Len(), "sat", "sets", "logits", "labels", "clusters"), job)
	if err != nil {
		return fmt.Errorf("%s: %w", c.String("sets"), err)
	}
	return printFolder(c, warnings)
}
