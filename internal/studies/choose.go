package studies

import (
	"context"
	"slices"
	"strconv"

	"sat/analysis"
)

// ChooseJob asks for models for an ensemble, or for the teachers of a student.
type ChooseJob struct {
	SAT      *analysis.Matrix
	Accuracy []float64 // in the order of SAT
	Options  analysis.ChooseOptions
	Student  string // "" without
}

type choiceFile struct {
	SchemaVersion int      `json:"schema_version"`
	Models        []string `json:"models"`
	MeanSAT       *float64 `json:"mean_sat"`
	LargestSAT    *float64 `json:"largest_sat"`
	Exact         bool     `json:"exact"` // no other set has a smaller mean
	GreedyMean    *float64 `json:"greedy_mean_sat"`
	Candidates    int      `json:"candidates"`
	MinAccuracy   float64  `json:"min_accuracy"`
}

// Choose writes choose_ensemble.csv and choose.json, or for a student choose_teachers.csv, the most similar teacher first.
func Choose(ctx context.Context, f Folder, job ChooseJob) error {
	f = f.with("choose", map[string]any{"k": job.Options.Size, "min_accuracy": job.Options.MinAccuracy, "student": job.Student})
	if job.Student != "" {
		teachers, err := analysis.RankTeachers(job.SAT, job.Accuracy, job.Student, job.Options.MinAccuracy)
		if err != nil {
			return err
		}
		var rows [][]string
		for i, t := range teachers {
			rows = append(rows, []string{strconv.Itoa(i + 1), t.Model, number(t.SAT), number(t.Accuracy)})
		}
		return f.table("choose_teachers.csv", []string{"rank", "model", "sat", "top1"}, rows)
	}
	c, err := analysis.ChooseDiverse(ctx, job.SAT, job.Accuracy, job.Options)
	if err != nil {
		return err
	}
	var rows [][]string
	for _, name := range c.Models {
		i := slices.Index(job.SAT.Names, name)
		sum := 0.0
		for _, other := range c.Models {
			if other != name {
				sum += job.SAT.At(i, slices.Index(job.SAT.Names, other))
			}
		}
		rows = append(rows, []string{name, number(job.Accuracy[i]), number(sum / float64(len(c.Models)-1))})
	}
	if err := f.table("choose_ensemble.csv", []string{"model", "top1", "mean_sat"}, rows); err != nil {
		return err
	}
	return f.json("choose.json", choiceFile{schemaVersion, c.Models, Defined(c.Mean), Defined(c.Largest), c.Exact, Defined(c.GreedyMean),
		c.Candidates, job.Options.MinAccuracy})
}
