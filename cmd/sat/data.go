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
					choice("subset", "which images are kept: per-class or uniform, with --fraction or --count", "all", "per-class", "uniform"),
					&cli.StringFlag{Name: "fraction", Usage: "share of the images that a subset keeps: 0.1"},
					&cli.IntFlag{Name: "count", Usage: "images that a subset keeps, of each class (per-class) or in all (uniform)"},
					&cli.Uint64Flag{Name: "salt", Usage: "another salt is another subset"},
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
	part, err := subset(c)
	if err != nil {
		return err
	}
	folder, err := data.OpenFolder(c.Context, c.String("images"), folderOptions(c))
	if err != nil {
		return err
	}
	if folder, err = folder.Select(part); err != nil {
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
			IDs           []string       `json:"ids"`
			Labels        []int64        `json:"labels"`
			Digest        string         `json:"digest"` // of IDs and labels
			Skipped       []data.Skipped `json:"skipped"`
			Warnings      int            `json:"decoder_warnings"`
		}{schemaVersion, c.String("out"), [4]int{set.N, set.H, set.W, set.C}, set.IDs, set.Labels, set.Digest,
			append([]data.Skipped{}, set.Skipped...), set.Warnings})
	}
	_, err = fmt.Fprintln(c.App.Writer, c.String("out"))
	return err
}

// subset reads which images are kept.
func subset(c *cli.Context) (s data.Subset, err error) {
	if s.Mode, err = data.ParseSubsetMode(c.String("subset")); err != nil {
		return s, usageError{err}
	}
	sized := c.IsSet("fraction") != c.IsSet("count")
	switch {
	case s.Mode == data.All && (c.IsSet("fraction") || c.IsSet("count")):
		return s, usagef("--fraction and --count need --subset per-class or --subset uniform")
	case s.Mode != data.All && !sized:
		return s, usagef("--subset %v needs either --fraction or --count", s.Mode)
	}
	s.Count, s.Salt = c.Int("count"), c.Uint64("salt")
	if c.IsSet("fraction") {
		f, err := fraction(c, "fraction")
		if err != nil {
			return s, err
		}
		if s.Fraction = f.Float64(); !(s.Fraction > 0 && s.Fraction <= 1) {
			return s, usagef("--fraction: %s is not a share in (0,1]", f)
		}
	} else if s.Mode != data.All && s.Count < 1 {
		return s, usagef("--count: %d; at least 1", s.Count)
	}
	return s, nil
}
