package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"sat/analysis"
	"sat/internal/data"
	"sat/internal/studies"
)

// ensembleFlags are the settings of ensembles from clusters or training sets.
func ensembleFlags() []cli.Flag {
	return []cli.Flag{
		choice("average", "what an ensemble averages", "logit", "prob"),
		&cli.IntFlag{Name: "largest", Usage: "members of the largest ensembles; from 2 on", Value: 10},
		&cli.IntFlag{Name: "draws", Usage: "ensembles per cell; all, if there are no more", Value: 1000},
		resamplesFlag("the draws"),
		seedFlag("of draws and resamples"),
	}
}

func ensembleOptions(c *cli.Context) (o analysis.ClusterEnsembleOptions, err error) {
	if err := positive(c, "draws", "resamples"); err != nil {
		return o, err
	}
	if c.Int("largest") < 2 {
		return o, usagef("--largest: %d; at least 2", c.Int("largest"))
	}
	o = analysis.ClusterEnsembleOptions{
		EnsembleOptions: analysis.EnsembleOptions{Average: analysis.Average(c.String("average"))},
		Draws:           c.Int("draws"), Resamples: c.Int("resamples"), Seed: c.Uint64("seed"),
	}
	for n := 2; n <= c.Int("largest"); n++ {
		o.Sizes = append(o.Sizes, n)
	}
	return o, nil
}

func analyzeEnsemblesCommand() *cli.Command {
	return command(cli.Command{
		Name:  "ensembles",
		Usage: "what ensembles gain: of all pairs of models, and of N models from k clusters",
		Flags: append([]cli.Flag{
			satFlag(), outFlag(),
			&cli.StringFlag{Name: "logits", Usage: "folder of NAME.npy, float32 or float16 [N,K], one per model of the matrix", Required: true},
			&cli.StringFlag{Name: "labels", Usage: "Y.npy, the true classes (int64 [N])", Required: true},
			&cli.StringFlag{Name: "clusters", Usage: "clusters, such as tab2_clusters.csv; without them only pairs"},
			&cli.BoolFlag{Name: "cover", Usage: "the members touch every one of the k clusters (--cover=false: need not)", Value: true},
		}, ensembleFlags()...),
		Action: analyzeEnsembles,
	}, "sat analyze ensembles --sat sat.csv --logits logits --labels logit_labels.npy --clusters tab2_clusters.csv --out ensembles --draws 10")
}

func analyzeEnsembles(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	o, err := ensembleOptions(c)
	if err != nil {
		return err
	}
	o.NoCover = !c.Bool("cover")
	m, err := studies.ReadMatrix(c.String("sat"))
	if err != nil {
		return err
	}
	labels, err := optionalLabels(c)
	if err != nil {
		return err
	}
	truth, err := data.ReadLabels(c.Context, c.String("labels"))
	if err != nil {
		return err
	}
	logits, err := studies.OpenLogits(c.String("logits"), m.Names, truth)
	if err != nil {
		return err
	}
	defer logits.Close()
	warnings, err := studies.Ensembles(c.Context, resultFolder(c, m.Len(), "sat", "logits", "labels", "clusters"),
		studies.EnsemblesJob{SAT: m, Logits: logits.Logits, Labels: labels, Options: o})
	if err != nil {
		return fmt.Errorf("%s: %w", c.String("sat"), err)
	}
	return printFolder(c, warnings)
}
