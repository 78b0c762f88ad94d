package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"sat/internal/run"
)

func statusCommand() *cli.Command {
	return command(cli.Command{
		Name:      "status",
		Usage:     "units done, running and failed, and the time left; from any terminal",
		ArgsUsage: "EXPERIMENT.toml",
		Flags:     []cli.Flag{setFlag()},
		Action:    status,
	}, "sat status experiments/digits_quick.toml")
}

func status(c *cli.Context) error {
	spec, err := loadSpec(c)
	if err != nil {
		return err
	}
	s, err := run.ReadStatus(spec)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(c.App.Writer, s)
	}
	state := "not running"
	if s.Running {
		state = fmt.Sprintf("running: %s %.0f %%", s.Stage, 100*s.Share)
		if s.Left != "" {
			state += ", " + s.Left
		}
		if s.RunLeft != "" {
			state += "; the whole run: " + s.RunLeft
		}
	}
	fmt.Fprintf(c.App.Writer, "%s  %s\n", spec.Dir, state)
	for _, stage := range s.Stages {
		of := ""
		if stage.Planned >= stage.Done && stage.Planned > 0 {
			of = fmt.Sprintf(" of %d", stage.Planned)
		}
		at := ""
		if s.Running && string(stage.Stage) == s.Stage && s.Doing != "" {
			at = ", at work: " + s.Doing
		}
		fmt.Fprintf(c.App.Writer, "  %-9s %d%s units done%s\n", stage.Stage, stage.Done, of, at)
	}
	for _, f := range s.Failures {
		fmt.Fprintf(c.App.Writer, "  failed: %s of %s: %s\n", f.Stage, f.Model, f.Error)
	}
	if s.Report != "" {
		fmt.Fprintf(c.App.Writer, "  report: %s\n", s.Report)
	}
	return nil
}
