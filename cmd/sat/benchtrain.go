package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"sat/internal/run"
	"sat/torch"
)

// benchTrainFamilies are those of the paper's training studies, in small: a residual network, a vision transformer, and a
// student that learns from a teacher.
const benchTrainFamilies = "resnet18,vit_tiny_patch16_224,deit_tiny_distilled_patch16_224"

func benchTrainCommand() *cli.Command {
	return command(cli.Command{
		Name:  "train",
		Usage: "updates of the training loop; the peer trains the eager network of timm, with the same weights, batches and optimiser",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "models", Usage: "names for timm.create_model, comma-separated", Value: benchTrainFamilies},
			&cli.StringFlag{Name: "precision", Usage: "float32, bfloat16 (autocast) or both, comma-separated; the peer computes in the same", Value: "float32,bfloat16"},
			&cli.IntFlag{Name: "batch", Usage: "images per update", Value: 8},
			&cli.IntFlag{Name: "steps", Usage: "updates per turn; 0: as many as take about --seconds"},
			&cli.Float64Flag{Name: "seconds", Usage: "length of a turn where --steps is 0", Value: 2},
			&cli.IntFlag{Name: "rounds", Usage: "measured pairs per network and precision", Value: 10},
			&cli.BoolFlag{Name: "peer", Usage: "take turns with the Python peer"},
			&cli.BoolFlag{Name: "markdown", Usage: "print the table for a Markdown page"},
			&cli.StringFlag{Name: "out", Usage: "folder that keeps the modules", Value: "runs/bench"},
		},
		Action: benchTrain,
	}, "sat bench train --models resnet18 --precision float32 --batch 2 --steps 1 --rounds 2 --threads 1")
}

func benchTrain(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	n, err := threads(c)
	if err != nil {
		return err
	}
	for flag, least := range map[string]int{"batch": 1, "steps": 0, "rounds": 1} {
		if c.Int(flag) < least {
			return usagef("--%s: %d; at least %d", flag, c.Int(flag), least)
		}
	}
	if !(c.Float64("seconds") > 0) {
		return usagef("--seconds: %v; more than 0", c.Float64("seconds"))
	}
	b := run.TrainBench{
		Models: strings.Split(c.String("models"), ","), Batch: c.Int("batch"), Steps: c.Int("steps"), Seconds: c.Float64("seconds"),
		Rounds: c.Int("rounds"), Threads: n, Peer: c.Bool("peer"), Home: home(), Dir: c.String("out"),
	}
	if b.Precisions, err = benchPrecisions(c); err != nil {
		return err
	}
	json, table := c.Bool("json"), tableWriter{out: c.App.Writer, markdown: c.Bool("markdown")}
	if !json {
		table.head(benchTrainColumns(b.Peer))
	}
	var results []run.TrainResult
	err = b.Run(c.Context, func(r run.TrainResult) {
		results = append(results, r)
		if !json {
			table.line(benchTrainCells(r, b.Peer))
		}
	})
	if err != nil || !json {
		return err
	}
	return printJSON(c.App.Writer, struct {
		SchemaVersion int               `json:"schema_version"`
		Results       []run.TrainResult `json:"results"`
	}{schemaVersion, results})
}

func benchTrainColumns(peer bool) []string {
	columns := []string{"network", "precision", "opt", "ms/update", "spread", "images/s", "peak MB"}
	if peer {
		columns = append(columns, "peer ms", "spread", "ratio", "95 % interval", "cpu ratio", "peer MB")
	}
	return columns
}

func benchTrainCells(r run.TrainResult, peer bool) []string {
	percent := func(x float64) string { return fmt.Sprintf("%.0f %%", 100*x) }
	cells := []string{r.Model, r.Precision, r.Optimizer, fmt.Sprintf("%.1f", 1e3*r.StepSeconds), percent(r.Spread),
		fmt.Sprintf("%.1f", r.ImagesPerSecond), fmt.Sprintf("%.0f", r.PeakMB)}
	if peer {
		cells = append(cells, fmt.Sprintf("%.1f", 1e3*r.PeerStepSeconds), percent(r.PeerSpread), fmt.Sprintf("%.3f", r.Ratio),
			fmt.Sprintf("%.3f to %.3f", r.RatioLo, r.RatioHi), fmt.Sprintf("%.3f", r.CPURatio), fmt.Sprintf("%.0f", r.PeerMB))
	}
	return cells
}

// benchPrecisions reads --precision.
func benchPrecisions(c *cli.Context) ([]torch.DType, error) {
	var out []torch.DType
	for word := range strings.SplitSeq(c.String("precision"), ",") {
		precision, err := torch.ParseDType(word)
		if err != nil || precision != torch.Float32 && precision != torch.BFloat16 {
			return nil, usagef("--precision: %q; float32, bfloat16 or float32,bfloat16", word)
		}
		out = append(out, precision)
	}
	return out, nil
}
