package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"sat/internal/run"
	"sat/zoo"
)

func zooCommand() *cli.Command {
	return &cli.Command{
		Name:            "zoo",
		Usage:           "the paper's models: list, export from timm, verify files",
		HideHelpCommand: true,
		Subcommands: []*cli.Command{
			command(cli.Command{
				Name:   "list",
				Usage:  "names and components of the paper's models",
				Action: listZoo,
			}, "sat zoo list"),
			command(cli.Command{
				Name:      "export",
				Usage:     "write NAME.pt, TorchScript with description and check, for models of timm",
				ArgsUsage: "NAME...",
				Flags: []cli.Flag{
					&cli.StringFlag{Name: "out", Usage: "folder of the files", Required: true},
					&cli.BoolFlag{Name: "random", Usage: "random weights (the default)"},
					&cli.BoolFlag{Name: "pretrained", Usage: "trained weights, from timm's local cache or --checkpoints"},
					&cli.BoolFlag{Name: "attention", Usage: "a ViT or DeiT that also returns its attention maps, for patchfool"},
					&cli.StringFlag{Name: "checkpoints", Usage: "folder of weight files, with --pretrained"},
					&cli.Uint64Flag{Name: "seed", Usage: "of the random weights"},
				},
				Action: exportZoo,
			}, "sat zoo export --random --seed 0 --out modules resnet18"),
			command(cli.Command{
				Name:      "verify",
				Usage:     "replay the recorded logits and gradients of module files",
				ArgsUsage: "FILE...",
				Flags:     modelFlags(),
				Action:    verifyZoo,
			}, "sat zoo verify modules/resnet18.pt"),
		},
	}
}

// listedModel is one model of `sat zoo list --json`.
type listedModel struct {
	Alias      string            `json:"alias"`
	Timm067    string            `json:"timm_0_6_7"`
	Timm1031   string            `json:"timm_1_0_31"` // "" where it is not in that version
	Role       string            `json:"role"`
	InputSize  [3]int            `json:"input_size"`
	Components map[string]string `json:"components"` // null outside the paper's 69
}

func listZoo(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	entries, err := zoo.Entries()
	if err != nil {
		return err
	}
	if c.Bool("json") {
		models := make([]listedModel, len(entries))
		for i, e := range entries {
			models[i] = listedModel{e.Alias, e.Timm067, e.Timm1031, e.Role, e.InputSize, e.Components}
		}
		return printJSON(c.App.Writer, struct {
			SchemaVersion int           `json:"schema_version"`
			Models        []listedModel `json:"models"`
		}{schemaVersion, models})
	}
	table := tabwriter.NewWriter(c.App.Writer, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ALIAS\tTIMM 0.6.7\tTIMM 1.0.31\tROLE\tBASE")
	for _, e := range entries {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", e.Alias, e.Timm067, e.Timm1031, e.Role, e.Components["base_architecture"])
	}
	return table.Flush()
}

func exportZoo(c *cli.Context) error {
	if c.NArg() == 0 {
		return usagef("sat zoo export needs at least one name; sat zoo list shows the paper's, timm's others work too")
	}
	if c.Bool("random") && c.Bool("pretrained") {
		return usagef("--random and --pretrained exclude each other")
	}
	if c.IsSet("checkpoints") && !c.Bool("pretrained") {
		return usagef("--checkpoints is about trained weights: add --pretrained")
	}
	var jobs []zoo.Job
	for _, name := range c.Args().Slice() {
		job, err := exportJob(name, c.Uint64("seed"))
		if err != nil {
			return err
		}
		if c.Bool("pretrained") {
			job.Weights, job.Checkpoints = "pretrained", c.String("checkpoints")
		}
		job.Attention = c.Bool("attention")
		jobs = append(jobs, job)
	}
	p := progress(c)
	p.Begin("export", float64(len(jobs)), 0)
	out := c.String("out")
	var files []string
	err := run.Export(c.Context, home(), jobs, out, func(name string) {
		files = append(files, filepath.Join(out, name+".pt"))
		p.Advance(1, name)
	})
	if err != nil {
		if strings.Contains(err.Error(), "Unknown model") { // the words of timm
			err = fmt.Errorf("%w%s", err, suggestModels(jobs))
		}
		return err
	}
	p.End(fmt.Sprintf("%d modules", len(files)))
	if c.Bool("json") {
		return printJSON(c.App.Writer, struct {
			SchemaVersion int      `json:"schema_version"`
			Files         []string `json:"files"`
		}{schemaVersion, files})
	}
	_, err = fmt.Fprintln(c.App.Writer, strings.Join(files, "\n"))
	return err
}

// exportJob looks name up in the paper's zoo; what is not there may still be one of timm's many others.
func exportJob(name string, seed uint64) (zoo.Job, error) {
	entry, err := zoo.Lookup(name)
	if err != nil {
		return zoo.Job{Name: name, Model: name, Seed: seed}, nil
	}
	return entry.Job(seed, "")
}

// suggestModels offers models of the paper for names that are not among them: perhaps they were meant.
func suggestModels(jobs []zoo.Job) string {
	entries, err := zoo.Entries()
	if err != nil {
		return ""
	}
	var known []string
	for _, e := range entries {
		known = append(known, e.Timm067, e.Alias)
	}
	for _, j := range jobs {
		if j.Alias == "" {
			if hint := didYouMean(j.Name, known, ""); hint != "" {
				return hint
			}
		}
	}
	return ""
}

func verifyZoo(c *cli.Context) error {
	if c.NArg() == 0 {
		return usagef("sat zoo verify needs at least one file")
	}
	d, err := device(c, "")
	if err != nil {
		return err
	}
	n, err := threads(c)
	if err != nil {
		return err
	}
	describe, err := description(c)
	if err != nil {
		return err
	}
	if err := run.StartTorch(d, n); err != nil {
		return err
	}
	var results []zoo.VerifyResult
	var failures []error
	for _, path := range c.Args().Slice() {
		result, err := zoo.Verify(c.Context, path, zoo.LoadOptions{Device: d, Describe: describe})
		if errors.Is(err, context.Canceled) {
			return err
		}
		if err != nil {
			failures = append(failures, err)
			continue
		}
		results = append(results, result)
		for _, w := range result.Warnings {
			warn(c, "%s: %s", path, w)
		}
	}
	if c.Bool("json") {
		messages := []string{}
		for _, err := range failures {
			messages = append(messages, err.Error())
		}
		err = printJSON(c.App.Writer, struct {
			SchemaVersion int                `json:"schema_version"`
			Verified      []zoo.VerifyResult `json:"verified"`
			Failures      []string           `json:"failures"`
		}{schemaVersion, append([]zoo.VerifyResult{}, results...), messages})
		if err != nil {
			return err
		}
	} else {
		for _, r := range results {
			how := "reproduces the recorded gradients"
			if !r.Recorded {
				how = "passes the self-checks; it has no recorded gradients"
			}
			fmt.Fprintf(c.App.Writer, "%s  %s (logits %.1e, gradient %.1e)\n", r.Path, how, r.Float32.Logits, r.Float32.Gradient)
		}
	}
	return errors.Join(failures...)
}
