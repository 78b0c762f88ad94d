package main

import (
	"fmt"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"sat/analysis/report"
)

func reportCommand() *cli.Command {
	return command(cli.Command{
		Name:      "report",
		Usage:     "write figures and report.html again from the result files of a run",
		ArgsUsage: "RUN or EXPERIMENT.toml",
		Flags: []cli.Flag{
			setFlag(),
			&cli.BoolFlag{Name: "pdf", Usage: "the figures as PDF too"},
			&cli.BoolFlag{Name: "dendrogram", Usage: "the similarity matrix also in the order of a hierarchical clustering, with its tree"},
		},
		Action: func(c *cli.Context) error {
			dir, err := oneArgument(c, "the folder of a run or its experiment file")
			if err != nil {
				return err
			}
			if filepath.Ext(dir) == ".toml" {
				spec, err := loadSpec(c)
				if err != nil {
					return err
				}
				dir = spec.Dir
			}
			path, err := report.Write(c.Context, dir, report.Options{PDF: c.Bool("pdf"), Dendrogram: c.Bool("dendrogram")})
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return printJSON(c.App.Writer, struct {
					SchemaVersion int    `json:"schema_version"`
					Report        string `json:"report"`
				}{schemaVersion, path})
			}
			_, err = fmt.Fprintln(c.App.Writer, path)
			return err
		},
	}, "sat report runs/digits_quick")
}
