package main

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"sat/internal/data"
	"sat/internal/experiment"
	"sat/internal/run"
)

func compareCommand() *cli.Command {
	flags := []cli.Flag{
		&cli.StringSliceFlag{Name: "model", Usage: "TorchScript file; give it once per model", Required: true},
		&cli.StringFlag{Name: "images", Usage: imagesUsage, Required: true},
		&cli.StringFlag{Name: "labels", Usage: "Y.npy (int64 [N]); a folder's classes by default; " +
			"predicted: no labels, each model's own predictions of the clean images in their place"},
		choice("on-bad-image", "what an undecodable image of a folder does", "stop", "skip"),
		&cli.StringFlag{Name: "out", Usage: "folder of the results", Required: true},
		&cli.IntFlag{Name: "workers", Usage: "models at work at the same time", Value: 1},
	}
	return command(cli.Command{
		Name:   "compare",
		Usage:  "similarity of TorchScript classifiers, no experiment file needed",
		Flags:  slices.Concat(flags, folderFlags(), attackFlags(), modeFlags(), modelFlags()),
		Action: compare,
	}, "sat compare --model a.pt --model b.pt --images images.npy --labels labels.npy --epsilon 24/255 --out similarity")
}

func compare(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	settings, err := readModelSettings(c)
	if err != nil {
		return err
	}
	workers := c.Int("workers")
	if workers < 1 {
		return usagef("--workers: %d is not a number of workers", workers)
	}
	n := max(1, runtime.NumCPU()/workers)
	if c.IsSet("threads") {
		if n, err = threads(c); err != nil {
			return err
		}
	}
	batch, err := batchSize(c, 64)
	if err != nil {
		return err
	}
	transfer := experiment.DefaultTransfer()
	spec := run.Spec{
		Name: filepath.Base(c.String("out")), Dir: c.String("out"), Similarity: c.String("out"),
		Device: settings.device, Mode: settings.mode, Workers: workers, Threads: n, Batch: batch, Memory: settings.memory,
		Attack: settings.attack, Transfer: transfer, Scores: experiment.DefaultSimilarity(), Data: experiment.DefaultData(),
	}
	info, err := os.Stat(c.String("images"))
	switch {
	case err != nil:
		return err
	case info.IsDir() || data.IsArchive(c.String("images")):
		spec.Data.Path, spec.Data.Val = c.String("images"), c.String("split")
		spec.Data.ValList, spec.Data.ClassMap, spec.Data.OnBadImage = c.String("list"), c.String("class-map"), c.String("on-bad-image")
	case c.String("labels") == "":
		return usageError{errors.New("--labels is missing: images in a .npy file carry no classes; Y.npy or predicted")}
	default:
		spec.Data.Images, spec.Transfer.Clean = c.String("images"), "shared"
	}
	if spec.Data.LabelsFile = c.String("labels"); spec.Data.LabelsFile == experiment.PredictedLabels {
		spec.Data.Labels, spec.Data.LabelsFile = experiment.PredictedLabels, ""
	}
	for _, path := range c.StringSlice("model") {
		name := strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
		spec.Members = append(spec.Members, run.Member{Name: name, Group: name, Path: path, Describe: settings.describe})
	}
	if err := spec.CheckNames(); err != nil {
		return usageError{err}
	}
	outcome, err := run.Run(c.Context, spec, run.Options{Until: run.StageSimilarity, Home: home(), Progress: progress(c)})
	if err != nil && !errors.Is(err, run.ErrPartial) {
		return err
	}
	if printErr := printOutcome(c, spec, outcome); printErr != nil {
		return printErr
	}
	return err
}
