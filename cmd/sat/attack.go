package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"sat/internal/run"
)

func attackCommand() *cli.Command {
	flags := []cli.Flag{
		&cli.StringFlag{Name: "model", Usage: "TorchScript file", Required: true},
		&cli.StringFlag{Name: "images", Usage: "X.npy (float32 [N,3,H,W] in [0,1]) or a folder of CLASS/FILE", Required: true},
		&cli.StringFlag{Name: "labels", Usage: "Y.npy (int64 [N]); a folder's classes by default"},
		&cli.StringFlag{Name: "out", Usage: "adversarial images, float32 [N,3,H,W]", Required: true},
		&cli.BoolFlag{Name: "only-correct", Usage: "copy the clean image where the model is wrong already"},
	}
	return command(cli.Command{
		Name:   "attack",
		Usage:  "adversarial images of one TorchScript classifier",
		Flags:  append(append(flags, attackFlags()...), modelFlags()...),
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
	Saturated     int            `json:"saturated_images"`
	ZeroGradient  int            `json:"zero_grad_images"`
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
	batch := 0 // chosen when the number of images is known
	if c.IsSet("batch") {
		if batch, err = batchSize(c, 0); err != nil {
			return err
		}
	}
	result, err := run.AttackOne(c.Context, run.AttackJob{
		Model: c.String("model"), Describe: settings.describe, Images: c.String("images"), Labels: c.String("labels"), Out: c.String("out"),
		Attack: settings.attack, OnlyCorrect: c.Bool("only-correct"),
		Device: settings.device, Threads: n, Precision: settings.precision, Batch: batch, Progress: progress(c),
	})
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(c.App.Writer, attackJSON{
			SchemaVersion: schemaVersion, Model: result.Model, Out: c.String("out"), Correct: result.Correct, Fooled: result.Fooled,
			Attack: result.Settings, Batch: result.Batch, Threads: n, Precision: settings.precision.String(),
			Saturated: result.SaturatedImages, ZeroGradient: result.ZeroGradImages,
		})
	}
	_, err = fmt.Fprintf(c.App.Writer, "%s\n", c.String("out"))
	return err
}
