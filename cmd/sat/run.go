package main

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/urfave/cli/v2"

	"sat/internal/experiment"
	"sat/internal/run"
)

func runCommand() *cli.Command {
	return command(cli.Command{
		Name:      "run",
		Usage:     "every stage an experiment asks for, resuming; ends with report.html",
		ArgsUsage: "EXPERIMENT.toml",
		Flags:     []cli.Flag{setFlag(), &cli.BoolFlag{Name: "force", Usage: "compute finished units again"}},
		Action:    func(c *cli.Context) error { return runUntil(c, run.StageReport) },
	}, "sat run experiments/digits_quick.toml")
}

// stageCommand runs an experiment up to one stage.
func stageCommand(stage run.Stage, usage string) *cli.Command {
	return command(cli.Command{
		Name:      string(stage),
		Usage:     usage,
		ArgsUsage: "EXPERIMENT.toml",
		Flags:     []cli.Flag{setFlag(), &cli.BoolFlag{Name: "force", Usage: "compute finished units again"}},
		Action:    func(c *cli.Context) error { return runUntil(c, stage) },
	}, fmt.Sprintf("sat %s experiments/digits_quick.toml", stage))
}

func runUntil(c *cli.Context, until run.Stage) error {
	spec, err := loadSpec(c)
	if err != nil {
		return err
	}
	from := run.Stage("")
	if until == run.StageSimilarity {
		from = until // scoring again needs nothing of the earlier stages but their results
	}
	outcome, err := run.Run(c.Context, spec, run.Options{From: from, Until: until, Force: c.Bool("force"), Home: home(), Progress: progress(c)})
	if err != nil && !errors.Is(err, run.ErrPartial) {
		return err
	}
	if printErr := printOutcome(c, spec, outcome); printErr != nil {
		return printErr
	}
	return err
}

func printOutcome(c *cli.Context, spec run.Spec, outcome run.Outcome) error {
	if c.Bool("json") {
		return printJSON(c.App.Writer, struct {
			SchemaVersion int           `json:"schema_version"`
			Name          string        `json:"name"`
			Dir           string        `json:"dir"`
			Report        string        `json:"report,omitempty"`
			Undefined     int           `json:"undefined_pairs"`
			PeakMemory    int64         `json:"peak_memory_bytes,omitempty"`
			Failures      []run.Failure `json:"failures"`
			Warnings      []string      `json:"warnings"`
		}{schemaVersion, spec.Name, spec.Dir, outcome.Report, outcome.Undefined, outcome.PeakMemory,
			append([]run.Failure{}, outcome.Failures...), append([]string{}, outcome.Warnings...)})
	}
	where := outcome.Report
	if where == "" {
		where = spec.Dir
	}
	_, err := fmt.Fprintln(c.App.Writer, where)
	return err
}

// setFlag is --set of the commands that take an experiment file.
func setFlag() cli.Flag {
	return &cli.StringSliceFlag{Name: "set", Usage: "KEY=VALUE instead of what the file says, for instance attack.steps=3; may be repeated. " +
		"Another name=NAME keeps the results apart"}
}

// loadConfig reads the experiment file that the command line names. One that is not there is wrong usage.
func loadConfig(c *cli.Context) (*experiment.Config, string, error) {
	path, err := oneArgument(c, "an experiment file")
	if err != nil {
		return nil, "", err
	}
	config, err := experiment.Load(path, c.StringSlice("set")...)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, path, usageError{fmt.Errorf("there is no experiment file %s; experiments/ holds examples", path)}
	}
	return config, path, err
}

// loadSpec resolves the experiment file and lets --device and --threads override it.
func loadSpec(c *cli.Context) (run.Spec, error) {
	config, path, err := loadConfig(c)
	if err != nil {
		return run.Spec{}, err
	}
	if c.IsSet("device") {
		d, err := device(c, "")
		if err != nil {
			return run.Spec{}, err
		}
		config.Device = d.String()
	}
	if c.IsSet("threads") {
		if config.Threads, err = threads(c); err != nil {
			return run.Spec{}, err
		}
	}
	return run.FromConfig(config, path)
}
