package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"sat/internal/run"
	"sat/zoo"
)

func zooCommand() *cli.Command {
	return &cli.Command{
		Name:            "zoo",
		Usage:           "the paper's models: list, export from timm, verify files, measure them",
		HideHelpCommand: true,
		Subcommands: []*cli.Command{
			command(cli.Command{
				Name:   "list",
				Usage:  "names and components of the paper's models",
				Action: listZoo,
			}, "sat zoo list"),
			zooExportCommand(),
			command(cli.Command{
				Name:      "verify",
				Usage:     "replay the recorded logits and gradients of module files",
				ArgsUsage: "FILE...",
				Flags:     slices.Concat(modelFlags(), modeFlags()),
				Action:    verifyZoo,
			}, "sat zoo verify modules/resnet18.pt"),
			zooTableCommand(),
		},
	}
}

// listedModel is one model of `sat zoo list --json`.
type listedModel struct {
	Alias      string            `json:"alias"`
	Timm067    string            `json:"timm_0_6_7"`
	Timm1031   string            `json:"timm_1_0_31"` // "" where it is not in that version
	Name       string            `json:"name"`        // of the exported file
	Roles      []string          `json:"roles"`       // what the paper uses it for
	Groups     []string          `json:"groups"`      // words of sat zoo export that stand for it among others
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
			models[i] = listedModel{Alias: e.Alias, Timm067: e.Timm067, Timm1031: e.Timm1031, Name: e.Name(), Roles: e.Roles,
				InputSize: e.InputSize, Components: e.Components}
			for _, g := range zoo.Groups() {
				if g.Has(e) {
					models[i].Groups = append(models[i].Groups, g.Name)
				}
			}
		}
		return printJSON(c.App.Writer, struct {
			SchemaVersion int           `json:"schema_version"`
			Models        []listedModel `json:"models"`
		}{schemaVersion, models})
	}
	table := tabwriter.NewWriter(c.App.Writer, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ALIAS\tTIMM 0.6.7\tTIMM 1.0.31\tROLES\tBASE")
	for _, e := range entries {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", e.Alias, cmp.Or(e.Timm067, "-"), cmp.Or(e.Timm1031, "-"), strings.Join(e.Roles, ", "),
			cmp.Or(e.Components["base_architecture"], "-"))
	}
	return table.Flush()
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
	mode, err := readMode(c, d)
	if err != nil {
		return err
	}
	if err := run.StartTorch(d, n); err != nil {
		return err
	}
	var results []zoo.VerifyResult
	var failures []error
	for _, path := range c.Args().Slice() {
		result, err := zoo.Verify(c.Context, path, zoo.LoadOptions{Device: d, Describe: describe, Mode: mode})
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
			lowered := ""
			if r.Lowered != nil {
				lowered = fmt.Sprintf("; lowered %.1e, %.1e", r.Lowered.Logits, r.Lowered.Gradient)
			}
			fmt.Fprintf(c.App.Writer, "%s  %s (logits %.1e, gradient %.1e%s)\n", r.Path, how, r.Float32.Logits, r.Float32.Gradient, lowered)
		}
	}
	return errors.Join(failures...)
}
