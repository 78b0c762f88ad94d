package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"sat/internal/experiment"
	"sat/internal/studies"
)

func analyzeNovelCommand() *cli.Command {
	return command(cli.Command{
		Name:  "novel",
		Usage: "one-sided scores, and the cluster of a model that was not clustered",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "pairs", Usage: "directed counts, such as pairs.csv; lines of a novel model need only have it as source", Required: true},
			outFlag(), clustersFlag(false),
			&cli.StringSliceFlag{Name: "model", Usage: "novel model, in the table of pairs; give it once per model. It takes no part in the clusters; a cluster given for it is the expected one"},
			&cli.BoolFlag{Name: "ordered", Usage: "both directions of each pair in Fig. H.1 (default: the images made on its first model)"},
			&cli.Float64Flag{Name: "floor", Usage: "smallest success rate before the logarithm, in percent", Value: experiment.DefaultSimilarity().Floor},
		}, clusterFlags()...),
		Action: analyzeNovel,
	}, "sat analyze novel --pairs pairs.csv --clusters tab2_clusters.csv --model resnet-s1 --out novel")
}

func analyzeNovel(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	models := c.StringSlice("model")
	if len(models) > 0 && !c.IsSet("clusters") {
		return usagef("--model needs --clusters, those of the other models")
	}
	counts, err := studies.ReadCounts(c.String("pairs"))
	if err != nil {
		return err
	}
	labels, err := optionalLabels(c)
	if err != nil {
		return err
	}
	warnings, err := studies.Novel(c.Context, resultFolder(c, len(counts.Models), "pairs", "clusters"), studies.NovelJob{Counts: counts,
		Labels: labels, Novel: models, Floor: c.Float64("floor"), Ordered: c.Bool("ordered"), Options: clusterOptions(c)})
	if err != nil {
		return fmt.Errorf("%s: %w", c.String("pairs"), err)
	}
	return printFolder(c, warnings)
}
