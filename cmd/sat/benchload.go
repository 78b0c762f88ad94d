package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"sat/internal/run"
)

func benchLoadCommand() *cli.Command {
	return command(cli.Command{
		Name:  "load",
		Usage: "decoding, resizing and training augmentation of 500x375 JPEG files, on one core",
		Flags: []cli.Flag{
			&cli.IntFlag{Name: "images", Usage: "files per measurement", Value: 16},
			&cli.IntFlag{Name: "rounds", Usage: "measurements of each task", Value: 15},
			&cli.BoolFlag{Name: "peer", Usage: "take turns with torchvision, Pillow and timm"},
		},
		Action: benchLoad,
	}, "sat bench load --images 2 --rounds 2")
}

func benchLoad(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	for _, flag := range []string{"images", "rounds"} {
		if c.Int(flag) < 1 {
			return usagef("--%s: %d; at least 1", flag, c.Int(flag))
		}
	}
	var results []run.LoadResult
	json := c.Bool("json")
	if !json {
		fmt.Fprintf(c.App.Writer, "%-20s %10s %10s %8s %18s %6s\n", "task", "images/s", "peer", "ratio", "95 % interval", "equal")
	}
	b := run.LoadBench{Images: c.Int("images"), Rounds: c.Int("rounds"), Peer: c.Bool("peer"), Home: home()}
	err := b.Run(c.Context, func(r run.LoadResult) {
		results = append(results, r)
		if json {
			return
		}
		fmt.Fprintf(c.App.Writer, "%-20s %10.0f", r.Task+" "+r.Interpolation, r.ImagesPerSecond)
		if b.Peer {
			fmt.Fprintf(c.App.Writer, " %10.0f %8.2f %18s", r.PeerPerSecond, r.Ratio, fmt.Sprintf("%.2f to %.2f", r.RatioA, r.RatioB))
		}
		if r.Equal != nil {
			fmt.Fprintf(c.App.Writer, " %6v", *r.Equal)
		}
		fmt.Fprintln(c.App.Writer)
	})
	if err != nil || !json {
		return err
	}
	return printJSON(c.App.Writer, struct {
		SchemaVersion int              `json:"schema_version"`
		Results       []run.LoadResult `json:"results"`
	}{schemaVersion, results})
}
