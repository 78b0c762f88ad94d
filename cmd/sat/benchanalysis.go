package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"sat/internal/run"
)

func benchAnalysisCommand() *cli.Command {
	return command(cli.Command{
		Name:  "analysis",
		Usage: "boosting, importance, k-means, t-SNE and ensembles of synthetic models",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "models", Usage: "numbers of models, comma-separated", Value: "69,200,1000"},
			&cli.StringFlag{Name: "tasks", Usage: "comma-separated", Value: strings.Join(run.AnalysisTasks, ",")},
			&cli.IntFlag{Name: "images", Usage: "of the ensembles of 69 models; 50000 with 1000 classes are 13.8 GB on disk, while it runs", Value: 5000},
			&cli.IntFlag{Name: "classes", Usage: "of the ensembles", Value: 1000},
			&cli.IntFlag{Name: "peer-images", Usage: "so many of the images for NumPy alone, whose seconds are then scaled; 0: all"},
			&cli.IntFlag{Name: "rounds", Usage: "measured turns; at most 3 beyond 200 models", Value: 10},
			&cli.BoolFlag{Name: "peer", Usage: "take turns with scikit-learn and NumPy"},
			&cli.StringFlag{Name: "out", Usage: "folder of the arrays that both sides read", Value: "runs/bench/analysis"},
		},
		Action: benchAnalysis,
	}, "sat bench analysis --models 20 --tasks boosting,kmeans --rounds 1")
}

func benchAnalysis(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	if err := positive(c, "images", "classes", "rounds"); err != nil {
		return err
	}
	if c.Int("peer-images") < 0 {
		return usagef("--peer-images: %d; at least 0", c.Int("peer-images"))
	}
	job := run.AnalysisBench{Images: c.Int("images"), Classes: c.Int("classes"), PeerImages: c.Int("peer-images"), Rounds: c.Int("rounds"), Peer: c.Bool("peer"), Home: home(), Scratch: c.String("out")}
	for _, word := range strings.Split(c.String("models"), ",") {
		n, err := strconv.Atoi(word)
		if err != nil || n < 11 {
			return usagef("--models: %q is not a number of models from 11", word)
		}
		job.Models = append(job.Models, n)
	}
	for _, word := range strings.Split(c.String("tasks"), ",") {
		if !slices.Contains(run.AnalysisTasks, word) {
			return usagef("--tasks: unknown word %q (%s)%s", word, strings.Join(run.AnalysisTasks, ", "), didYouMean(word, run.AnalysisTasks, ""))
		}
		job.Tasks = append(job.Tasks, word)
	}
	var found []run.AnalysisResult
	if !c.Bool("json") {
		fmt.Fprintf(c.App.Writer, "%-11s %6s  %-44s %10s %10s %8s %18s %9s %9s %8s %8s\n", "task", "models", "size", "seconds", "peer", "ratio",
			"95 % interval", "CPU s", "peer CPU", "peak MB", "peer MB")
	}
	err := run.BenchAnalysis(c.Context, job, func(r run.AnalysisResult) {
		found = append(found, r)
		if c.Bool("json") {
			return
		}
		fmt.Fprintf(c.App.Writer, "%-11s %6d  %-44s %10.4g", r.Task, r.Models, r.Size, r.Seconds)
		if job.Peer {
			fmt.Fprintf(c.App.Writer, " %10.4g %8.3g %18s %9.3g %9.3g %8.0f %8.0f", r.PeerSeconds, r.Ratio, fmt.Sprintf("%.3g to %.3g", r.RatioA, r.RatioB),
				r.CPU, r.PeerCPU, r.PeakMB, r.PeerMB)
		}
		fmt.Fprintln(c.App.Writer)
	})
	if err != nil || !c.Bool("json") {
		return err
	}
	return printJSON(c.App.Writer, struct {
		SchemaVersion int                  `json:"schema_version"`
		Results       []run.AnalysisResult `json:"results"`
	}{schemaVersion, found})
}
