package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"sat/analysis"
	"sat/internal/studies"
)

func analyzeDistillationCommand() *cli.Command {
	return command(cli.Command{
		Name:  "distillation",
		Usage: "which teacher serves a student: a similar or a different one?",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "students", Usage: "CSV with columns teacher, student_top1 and, unless the flags below give them, sat, teacher_top1, base_architecture", Required: true},
			outFlag(),
			&cli.StringFlag{Name: "sat", Usage: "similarity matrix; with --student"},
			&cli.StringFlag{Name: "student", Usage: "model of the matrix that has the students' architecture"},
			&cli.StringFlag{Name: "accuracy", Usage: "accuracies of the teachers, such as accuracy.csv"},
			&cli.StringFlag{Name: "features", Usage: "components of the teachers, CSV"},
			choice("group", "teachers of the student's architecture, for Figs. 8b and 8c (all rules are in distillation.json)",
				"transformer+hybrid", "transformer", "transformer+mlp", "listed"),
			&cli.StringFlag{Name: "listed", Usage: "teachers of the group listed, comma-separated"},
		},
		Action: analyzeDistillation,
	}, "sat analyze distillation --students students.csv --sat sat.csv --student resnet-s0 --accuracy accuracy.csv --features features.csv --out distillation")
}

func analyzeDistillation(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	group := analysis.DistillGroup(c.String("group"))
	switch {
	case (group == analysis.DistillListed) != c.IsSet("listed"):
		return usagef("--group listed and --listed belong together")
	case c.IsSet("sat") != c.IsSet("student"):
		return usagef("--sat and --student belong together")
	}
	from := studies.StudentSources{Student: c.String("student"), Accuracy: c.String("accuracy"), Features: c.String("features")}
	var err error
	if c.IsSet("sat") {
		if from.SAT, err = studies.ReadMatrix(c.String("sat")); err != nil {
			return err
		}
	}
	students, err := studies.ReadStudents(c.String("students"), from)
	if err != nil {
		return err
	}
	job := studies.DistillationJob{Students: students, Group: group}
	if c.IsSet("listed") {
		job.Options.Listed = strings.Split(c.String("listed"), ",")
	}
	if err := studies.Distillation(c.Context, resultFolder(c, len(students), "students", "sat", "accuracy", "features"), job); err != nil {
		return fmt.Errorf("%s: %w", c.String("students"), err)
	}
	return printFolder(c, nil)
}
