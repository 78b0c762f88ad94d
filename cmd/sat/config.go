package main

import (
	"fmt"

	"github.com/urfave/cli/v2"
)

func configCommand() *cli.Command {
	return &cli.Command{
		Name:            "config",
		Usage:           "look at an experiment file without running it",
		HideHelpCommand: true,
		Subcommands: []*cli.Command{
			command(cli.Command{
				Name:      "check",
				Usage:     "say everything that is wrong, with file and line; absent paths are warnings",
				ArgsUsage: "EXPERIMENT.toml",
				Flags:     []cli.Flag{setFlag()},
				Action:    checkConfig,
			}, "sat config check experiments/digits.toml"),
			command(cli.Command{
				Name:      "show",
				Usage:     "print the experiment with every default filled in",
				ArgsUsage: "EXPERIMENT.toml",
				Flags:     []cli.Flag{setFlag()},
				Action:    showConfig,
			}, "sat config show experiments/digits.toml"),
		},
	}
}

func checkConfig(c *cli.Context) error {
	config, path, err := loadConfig(c)
	if err != nil {
		return err
	}
	spec, err := loadSpec(c)
	if err != nil {
		return err
	}
	warnings := config.Check()
	for _, w := range warnings {
		fmt.Fprintln(c.App.ErrWriter, "warning: "+w.String())
	}
	if c.Bool("json") {
		return printJSON(c.App.Writer, struct {
			SchemaVersion int      `json:"schema_version"`
			File          string   `json:"file"`
			Models        []string `json:"models"`
			Warnings      int      `json:"warnings"`
		}{schemaVersion, path, spec.MemberNames(), len(warnings)})
	}
	_, err = fmt.Fprintf(c.App.Writer, "%s: no errors, %d models, results go to %s\n", path, len(spec.Members), spec.Dir)
	return err
}

func showConfig(c *cli.Context) error {
	config, _, err := loadConfig(c)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(c.App.Writer, struct {
			SchemaVersion int    `json:"schema_version"`
			Resolved      string `json:"resolved"`
		}{schemaVersion, string(config.Resolved())})
	}
	_, err = c.App.Writer.Write(config.Resolved())
	return err
}
