package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"sat/analysis"
	"sat/internal/studies"
)

func analyzeChooseCommand() *cli.Command {
	return command(cli.Command{
		Name:  "choose",
		Usage: "the most diverse models for an ensemble, or the teachers for a student",
		Flags: []cli.Flag{
			satFlag(),
			&cli.StringFlag{Name: "accuracy", Usage: "accuracies of the models, such as accuracy.csv", Required: true},
			outFlag(),
			&cli.IntFlag{Name: "k", Usage: "models to choose", Value: 3},
			&cli.Float64Flag{Name: "min-accuracy", Usage: "leave out models below, in the unit of the accuracies"},
			&cli.StringFlag{Name: "student", Usage: "instead: rank the others as teachers of this model, the most similar first"},
		},
		Action: analyzeChoose,
	}, "sat analyze choose --sat sat.csv --accuracy accuracy.csv --k 2 --out choose")
}

func analyzeChoose(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	switch {
	case c.Int("k") < 2:
		return usagef("--k: %d; at least 2", c.Int("k"))
	case c.IsSet("k") && c.IsSet("student"):
		return usagef("--k is for an ensemble and --student for teachers: give one of them")
	}
	m, err := studies.ReadMatrix(c.String("sat"))
	if err != nil {
		return err
	}
	accuracy, err := studies.ReadAccuracy(c.String("accuracy"), m.Names)
	if err != nil {
		return err
	}
	err = studies.Choose(c.Context, resultFolder(c, m.Len(), "sat", "accuracy"), studies.ChooseJob{SAT: m, Accuracy: accuracy,
		Options: analysis.ChooseOptions{Size: c.Int("k"), MinAccuracy: c.Float64("min-accuracy")}, Student: c.String("student")})
	if err != nil {
		return fmt.Errorf("%s: %w", c.String("sat"), err)
	}
	return printFolder(c, nil)
}

func analyzeSensitivityCommand() *cli.Command {
	return command(cli.Command{
		Name:  "sensitivity",
		Usage: "how much the mistakes of an architecture depend on how it is trained",
		Flags: []cli.Flag{
			satFlag(),
			&cli.StringFlag{Name: "settings", Usage: "CSV: model, a column that names the architecture, and one column per setting", Required: true},
			outFlag(),
			&cli.StringFlag{Name: "architecture", Usage: "column of the architecture", Value: "architecture"},
			&cli.IntFlag{Name: "permutations", Usage: "of the models, for the tests", Value: 9999},
			resamplesFlag("the models"),
			seedFlag("of permutations and resamples"),
		},
		Action: analyzeSensitivity,
	}, "sat analyze sensitivity --sat sat.csv --settings settings.csv --out sensitivity")
}

func analyzeSensitivity(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	if err := positive(c, "permutations", "resamples"); err != nil {
		return err
	}
	m, err := studies.ReadMatrix(c.String("sat"))
	if err != nil {
		return err
	}
	settings, err := studies.ReadFeatures(c.String("settings"), m.Names)
	if err != nil {
		return err
	}
	warnings, err := studies.Sensitivity(c.Context, resultFolder(c, m.Len(), "sat", "settings"), studies.SensitivityJob{SAT: m, Settings: settings,
		Column: c.String("architecture"), Options: analysis.SensitivityOptions{
			Bootstrap: analysis.BootstrapOptions{Resamples: c.Int("resamples"), Seed: c.Uint64("seed")},
			Groups:    analysis.GroupOptions{Permutations: c.Int("permutations"), Seed: c.Uint64("seed")},
		}})
	if err != nil {
		return fmt.Errorf("%s: %w", c.String("sat"), err)
	}
	return printFolder(c, warnings)
}
