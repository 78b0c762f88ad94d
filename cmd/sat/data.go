package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"sat/internal/data"
)

func dataCommand() *cli.Command {
	return &cli.Command{
		Name:            "data",
		Usage:           "images as the models see them",
		HideHelpCommand: true,
		Subcommands: []*cli.Command{
			command(cli.Command{
				Name:  "dump",
				Usage: "evaluation images of a folder after resize and crop, uint8 [N,H,W,3], in (class, path) order",
				Flags: append(folderFlags(),
					&cli.StringFlag{Name: "images", Usage: "folder or tar file of CLASS/FILE or val/CLASS/FILE", Required: true},
					&cli.IntFlag{Name: "size", Usage: "side of the square result in pixels", Value: 224},
					&cli.Float64Flag{Name: "crop-pct", Usage: "side of the crop / short side it is cut from", Value: 0.875},
					choice("interpolation", "of the resize", "bicubic", "bilinear"),
					choice("on-bad-image", "what an undecodable image does", "stop", "skip"),
					&cli.StringFlag{Name: "out", Usage: "X.npy", Required: true},
				),
				Action: dumpData,
			}, "sat data dump --images data/digits --size 32 --crop-pct 1 --interpolation bilinear --out digits.npy"),
		},
	}
}

func dumpData(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	transform, err := data.NewEvalTransform(c.Int("size"), c.Float64("crop-pct"), c.String("interpolation"))
	if err != nil {
		return usageError{err}
	}
	onBad, err := data.ParseBadImagePolicy(c.String("on-bad-image"))
	if err != nil {
		return usageError{err}
	}
	folder, err := data.OpenFolder(c.Context, c.String("images"), folderOptions(c))
	if err != nil {
		return err
	}
	p := progress(c)
	p.Begin("decode", float64(len(folder.Samples)), 0)
	set, err := data.Load(c.Context, folder, transform, data.LoadOptions{OnBad: onBad, Progress: func(int, int) { p.Advance(1, "") }})
	if err != nil {
		return err
	}
	defer set.Close()
	p.End(fmt.Sprintf("%d images", set.N))
	for _, s := range set.Skipped {
		warn(c, "%s is left out: %s", s.ID, s.Reason)
	}
	if err := set.WriteImages(c.String("out")); err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(c.App.Writer, struct {
			SchemaVersion int            `json:"schema_version"`
			Out           string         `json:"out"`
			Shape         [4]int         `json:"shape"`
			Skipped       []data.Skipped `json:"skipped"`
		}{schemaVersion, c.String("out"), [4]int{set.N, set.H, set.W, set.C}, append([]data.Skipped{}, set.Skipped...)})
	}
	_, err = fmt.Fprintln(c.App.Writer, c.String("out"))
	return err
}
