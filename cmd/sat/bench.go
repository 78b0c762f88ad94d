package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"sat/internal/run"
)

func benchCommand() *cli.Command {
	return &cli.Command{
		Name:            "bench",
		Usage:           "measure this machine, also against the Python peers",
		HideHelpCommand: true,
		Subcommands: []*cli.Command{
			command(cli.Command{
				Name:  "attack",
				Usage: "PGD on networks of timm with random weights",
				Flags: []cli.Flag{
					&cli.StringFlag{Name: "models", Usage: "names for timm.create_model, comma-separated",
						Value: "resnet18,regnetx_002,convnext_atto,deit_tiny_patch16_224,mixer_s32_224"},
					&cli.IntFlag{Name: "batch", Usage: "images per gradient", Value: 4},
					&cli.IntFlag{Name: "steps", Usage: "gradient steps per attack; an attack also looks at its first and last images, so few steps flatter the peer", Value: 20},
					&cli.IntFlag{Name: "rounds", Usage: "measured attacks per network", Value: 10},
					&cli.BoolFlag{Name: "peer", Usage: "take turns with torchattacks on the eager network"},
					&cli.StringFlag{Name: "out", Usage: "folder that keeps the modules", Value: "runs/bench"},
				},
				Action: benchAttack,
			}, "sat bench attack --models resnet18 --batch 2 --steps 1 --rounds 2"),
			benchAnalysisCommand(),
		},
	}
}

func benchAttack(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	n, err := threads(c)
	if err != nil {
		return err
	}
	for _, flag := range []string{"batch", "steps", "rounds"} {
		if c.Int(flag) < 1 {
			return usagef("--%s: %d; at least 1", flag, c.Int(flag))
		}
	}
	var results []run.BenchResult
	json := c.Bool("json")
	if !json {
		fmt.Fprintf(c.App.Writer, "%-24s %12s %12s %8s %18s %9s %9s\n", "network", "grads/s", "peer", "ratio", "95 % interval", "peak MB", "peer MB")
	}
	err = run.BenchAttack(c.Context, run.BenchJob{
		Models: strings.Split(c.String("models"), ","), Batch: c.Int("batch"), Steps: c.Int("steps"), Rounds: c.Int("rounds"),
		Threads: n, Peer: c.Bool("peer"), Home: home(), Dir: c.String("out"),
	}, func(r run.BenchResult) {
		results = append(results, r)
		if json {
			return
		}
		fmt.Fprintf(c.App.Writer, "%-24s %12.2f", r.Model, r.ImagesPerSecond)
		if c.Bool("peer") {
			fmt.Fprintf(c.App.Writer, " %12.2f %8.3f %18s", r.PeerPerSecond, r.Ratio, fmt.Sprintf("%.3f to %.3f", r.RatioA, r.RatioB))
		} else {
			fmt.Fprintf(c.App.Writer, " %12s %8s %18s", "", "", "")
		}
		fmt.Fprintf(c.App.Writer, " %9.0f", r.PeakMB)
		if c.Bool("peer") {
			fmt.Fprintf(c.App.Writer, " %9.0f", r.PeerMB)
		}
		fmt.Fprintln(c.App.Writer)
	})
	if err != nil || !json {
		return err
	}
	return printJSON(c.App.Writer, struct {
		SchemaVersion int               `json:"schema_version"`
		Results       []run.BenchResult `json:"results"`
	}{schemaVersion, results})
}
