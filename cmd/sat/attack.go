package main

import (
	"errors"
	"fmt"
	"slices"

	"github.com/urfave/cli/v2"

	"sat/internal/run"
)

func attackCommand() *cli.Command {
	flags := []cli.Flag{
		&cli.StringFlag{Name: "model", Usage: "TorchScript file", Required: true},
		&cli.StringFlag{Name: "images", Usage: imagesUsage, Required: true},
		&cli.StringFlag{Name: "labels", Usage: "Y.npy (int64 [N]); a folder's classes by default"},
		&cli.StringFlag{Name: "out", Usage: "adversarial images, float32 [N,3,H,W]"},
		&cli.BoolFlag{Name: "check", Usage: "instead of attacking, look for what would make an attack meaningless: normalised images, a soft-max, training mode, zero gradients"},
		&cli.BoolFlag{Name: "only-correct", Usage: "copy the clean image where the model is wrong already"},
		&cli.StringFlag{Name: "pictures", Usage: "folder for pictures of the first eight images: original, amplified perturbation, result"},
		&cli.StringFlag{Name: "target-labels", Usage: "with --target label: T.npy (int64 [N]), the class that each image shall reach"},
	}
	return command(cli.Command{
		Name:   "attack",
		Usage:  "adversarial images of one TorchScript classifier",
		Flags:  slices.Concat(flags, folderFlags(), attackFlags("label"), modeFlags(), modelFlags()),
		Action: attack,
	}, "sat attack --model a.pt --images images.npy --labels labels.npy --epsilon 8/255 --out adversarial.npy")
}

// attackJSON is the output of `sat attack --json`.
type attackJSON struct {
	SchemaVersion int            `json:"schema_version"`
	Model         string         `json:"model"`
	Out           string         `json:"out"`
	Correct       []bool         `json:"correct"`
	Fooled        []bool         `json:"fooled"`
	Attack        map[string]any `json:"attack"`
	Batch         int            `json:"batch"`
	Threads       int            `json:"threads"`
	Precision     string         `json:"precision"`
	Mode          string         `json:"mode"` // float32, channels-last or lowered (both in float32), or bfloat16
	Saturated     int            `json:"saturated_images"`
	ZeroGradient  int            `json:"zero_grad_images"`
	Survivors     int            `json:"survivors"` // classified correctly before and after
	Targets       []int64        `json:"targets,omitempty"`
	Reached       []bool         `json:"reached,omitempty"`
	Stages        []stageJSON    `json:"stages,omitempty"` // of autoattack: always four
	Warnings      []string       `json:"warnings"`
}

// stageJSON says which images are classified correctly in spite of an attack and those before it.
type stageJSON struct {
	Name   string `json:"name"`
	Robust []bool `json:"robust"`
}

func attack(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	settings, err := readModelSettings(c)
	if err != nil {
		return err
	}
	n, err := threads(c)
	if err != nil {
		return err
	}
	switch check := c.Bool("check"); {
	case check && c.IsSet("out"):
		return usagef("--out: a check writes no images")
	case !check && c.String("out") == "":
		return usagef("sat attack needs --out")
	}
	if given := c.String("target-labels") != ""; given != (c.String("target") == "label") {
		return usagef("--target label and --target-labels T.npy go together")
	}
	if c.IsSet("batch") && c.String("rng") == "stream-compat" {
		return usagef("--batch: with --rng stream-compat all images are one batch, because the reference's draws depend on it")
	}
	if c.IsSet("memory") && c.String("rng") == "stream-compat" {
		return usagef("--memory: with --rng stream-compat all images are one batch, because the reference's draws depend on it")
	}
	batch, err := batchSize(c, 0) // 0: chosen when the number of images is known
	if err != nil {
		return err
	}
	job := run.AttackJob{
		Model: c.String("model"), Describe: settings.describe, Images: c.String("images"), Folder: folderOptions(c), Labels: c.String("labels"),
		Targets: c.String("target-labels"), Out: c.String("out"), Pictures: c.String("pictures"),
		Attack: settings.attack, OnlyCorrect: c.Bool("only-correct"),
		Device: settings.device, Threads: n, Mode: settings.mode, Batch: batch, Memory: settings.memory,
		Progress: progress(c),
	}
	if c.Bool("check") {
		return checkAttack(c, job)
	}
	result, err := run.AttackOne(c.Context, job)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		var stages []stageJSON
		for _, s := range result.Stages {
			stages = append(stages, stageJSON{s.Name, s.Robust})
		}
		return printJSON(c.App.Writer, attackJSON{
			SchemaVersion: schemaVersion, Model: result.Model, Out: c.String("out"), Correct: result.Correct, Fooled: result.Fooled,
			Attack: result.Settings, Batch: result.Batch, Threads: n, Precision: settings.mode.Precision.String(), Mode: settings.mode.String(),
			Saturated: result.SaturatedImages, ZeroGradient: result.ZeroGradImages,
			Survivors: result.Survivors(), Targets: result.Targets, Reached: result.Reached, Stages: stages,
			Warnings: append([]string{}, result.Warnings...),
		})
	}
	_, err = fmt.Fprintf(c.App.Writer, "%s\n", c.String("out"))
	return err
}

// checkJSON is the output of `sat attack --check --json`.
type checkJSON struct {
	SchemaVersion int           `json:"schema_version"`
	Model         string        `json:"model"`
	Images        int           `json:"images"`
	OK            bool          `json:"ok"` // nothing failed
	Checks        []findingJSON `json:"checks"`
}

type findingJSON struct {
	Check  string `json:"check"`
	Status string `json:"status"` // ok, warning or failed
	Detail string `json:"detail"`
}

// errUnsound ends a check that found something broken.
var errUnsound = errors.New("attacks on this model mean nothing before what failed is mended")

func checkAttack(c *cli.Context, job run.AttackJob) error {
	result, err := run.CheckOne(c.Context, job)
	if err != nil {
		return err
	}
	out := checkJSON{SchemaVersion: schemaVersion, Model: result.Model, Images: result.Images, OK: !result.Broken(), Checks: []findingJSON{}}
	for _, f := range result.Findings {
		out.Checks = append(out.Checks, findingJSON{f.Check, f.Status.String(), f.Detail})
		if !c.Bool("json") {
			fmt.Fprintf(c.App.Writer, "%-8s %-14s %s\n", f.Status, f.Check, f.Detail)
		}
	}
	if c.Bool("json") {
		if err := printJSON(c.App.Writer, out); err != nil {
			return err
		}
	}
	if result.Broken() {
		return errUnsound
	}
	return nil
}
