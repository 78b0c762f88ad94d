package main

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"sat/analysis/report"
	"sat/boundary"
	"sat/internal/experiment"
	"sat/internal/run"
)

func boundaryCommand() *cli.Command {
	d := boundary.Defaults()
	flags := []cli.Flag{
		&cli.StringSliceFlag{Name: "model", Usage: "TorchScript file; give it once per model", Required: true},
		&cli.StringFlag{Name: "images", Usage: "X.npy (float32 [N,3,H,W] in [0,1]) or a folder of CLASS/FILE", Required: true},
		&cli.StringFlag{Name: "labels", Usage: "Y.npy (int64 [N]); a folder's classes by default"},
		&cli.StringFlag{Name: "out", Usage: "folder of the results", Required: true},
		&cli.IntFlag{Name: "triplets", Usage: "planes, each through three images of different classes", Value: 500},
		&cli.IntFlag{Name: "grid", Usage: "points along each side of a plane", Value: d.Grid},
		&cli.Float64Flag{Name: "range", Usage: "how far a plane reaches beyond its images, as a share of its length", Value: d.Margin},
		&cli.StringFlag{Name: "space-std", Usage: "planes in the space of images divided by this: 0.229,0.224,0.225 (default: pixel space)"},
		&cli.IntFlag{Name: "pictures", Usage: "planes to draw, for the pair that agrees most and the one that agrees least"},
		&cli.Uint64Flag{Name: "seed", Usage: "triplet r is drawn by seed + r"},
		&cli.IntFlag{Name: "workers", Usage: "models at work at the same time", Value: 1},
		&cli.IntFlag{Name: "batch", Usage: "points per pass", Value: 64},
	}
	return command(cli.Command{
		Name:   "boundary",
		Usage:  "agreement of decision boundaries of TorchScript classifiers on planes through three images",
		Flags:  slices.Concat(flags, modeFlags(), modelFlags()),
		Action: compareBoundaries,
	}, "sat boundary --model a.pt --model b.pt --images images.npy --labels labels.npy --triplets 4 --pictures 1 --out agreement")
}

func compareBoundaries(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	spec, err := boundarySpec(c)
	if err != nil {
		return err
	}
	outcome, err := run.Run(c.Context, spec, run.Options{
		Skip: []run.Stage{run.StageAttack, run.StageTransfer}, Until: run.StageBoundary, Home: home(), Progress: progress(c),
	})
	if err != nil && !errors.Is(err, run.ErrPartial) {
		return err
	}
	if _, drawErr := report.WritePlanes(c.Context, spec.Agreement, filepath.Join(spec.Agreement, "planes.json")); drawErr != nil {
		return drawErr
	}
	if printErr := printOutcome(c, spec, outcome); printErr != nil {
		return printErr
	}
	return err
}

// boundarySpec reads the flags; every mistake in them is wrong usage.
func boundarySpec(c *cli.Context) (run.Spec, error) {
	describe, err := description(c)
	if err != nil {
		return run.Spec{}, err
	}
	d, err := device(c, "")
	if err != nil {
		return run.Spec{}, err
	}
	mode, err := readMode(c, d)
	if err != nil {
		return run.Spec{}, err
	}
	options := boundary.Options{Seed: c.Uint64("seed"), Grid: c.Int("grid"), Margin: c.Float64("range")}
	std, err := numbers(c, "space-std")
	if err != nil {
		return run.Spec{}, err
	}
	for _, v := range std {
		if v <= 0 {
			return run.Spec{}, usagef("--space-std: %v is not above 0", v)
		}
		options.Std = append(options.Std, float64(v))
	}
	if err := options.Validate(); err != nil {
		return run.Spec{}, usageError{err}
	}
	b := &run.Boundary{Options: options, Triplets: c.Int("triplets"), Pictures: c.Int("pictures")}
	for flag, least := range map[string]int{"triplets": 1, "pictures": 0, "workers": 1, "batch": 1} {
		if c.Int(flag) < least {
			return run.Spec{}, usagef("--%s: %d is too few; at least %d", flag, c.Int(flag), least)
		}
	}
	if b.Pictures > b.Triplets {
		return run.Spec{}, usagef("--pictures: %d of %d planes", b.Pictures, b.Triplets)
	}
	n := max(1, runtime.NumCPU()/c.Int("workers"))
	if c.IsSet("threads") {
		if n, err = threads(c); err != nil {
			return run.Spec{}, err
		}
	}
	spec := run.Spec{
		Name: filepath.Base(c.String("out")), Dir: c.String("out"), Agreement: c.String("out"), Seed: options.Seed,
		Device: d, Mode: mode, Workers: c.Int("workers"), Threads: n, Batch: c.Int("batch"), Boundary: b,
		Transfer: experiment.DefaultTransfer(), Data: experiment.DefaultData(),
	}
	info, err := os.Stat(c.String("images"))
	switch {
	case err != nil:
		return spec, err
	case info.IsDir():
		spec.Data.Path = c.String("images")
	case c.String("labels") == "":
		return spec, usageError{errors.New("--labels is missing: images in a .npy file carry no classes")}
	default:
		spec.Data.Images, spec.Transfer.Clean = c.String("images"), "shared"
	}
	spec.Data.LabelsFile = c.String("labels")
	for _, path := range c.StringSlice("model") {
		name := strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
		spec.Members = append(spec.Members, run.Member{Name: name, Group: name, Path: path, Describe: describe})
	}
	if len(spec.Members) < 2 {
		return spec, usageError{errors.New("agreement takes two models at least; give --model once more")}
	}
	b.Reference = spec.Members[0].Name
	if err := spec.CheckNames(); err != nil {
		return spec, usageError{err}
	}
	return spec, nil
}
