package studies

import (
	"context"
	"fmt"
	"slices"

	"sat/analysis"
)

// DistillationJob asks which teacher serves a student (Figs. 8 and G.1).
type DistillationJob struct {
	Students []analysis.Student
	Group    analysis.DistillGroup // whose parts become fig8b and fig8c
	Options  analysis.DistillOptions
}

// StudentSources say where the numbers of [ReadStudents] come from that the table of students does not hold itself.
type StudentSources struct {
	SAT      *analysis.Matrix // with Student: the similarity of teacher and student's architecture
	Student  string
	Accuracy string // path of accuracy.csv: the teachers' accuracy
	Features string // path of features.csv: the teachers' base architecture
}

// ReadStudents reads the outcomes of distillation: columns teacher and student_top1, and sat, teacher_top1 and
// base_architecture where the sources do not give them.
func ReadStudents(path string, from StudentSources) ([]analysis.Student, error) {
	t, err := ReadTable(path, "teacher", "student_top1")
	if err != nil {
		return nil, err
	}
	if _, err := t.ByModel("teacher"); err != nil {
		return nil, err
	}
	var students []analysis.Student
	var teachers []string
	for i := range t.Len() {
		s := analysis.Student{Teacher: t.Text(i, "teacher")}
		if s.StudentTop1, err = t.Number(i, "student_top1"); err != nil {
			return nil, err
		}
		teachers = append(teachers, s.Teacher)
		students = append(students, s)
	}
	if len(students) == 0 {
		return nil, fmt.Errorf("%s: no line behind the header", path)
	}
	for i := range students {
		s := &students[i]
		switch {
		case t.Has("sat"):
			if s.SAT, err = t.Number(i, "sat"); err != nil {
				return nil, err
			}
		case from.SAT != nil:
			if s.SAT, err = between(from.SAT, s.Teacher, from.Student); err != nil {
				return nil, t.Fail(i, "%v", err)
			}
		default:
			return nil, fmt.Errorf("%s:1: no column \"sat\": add it, or give a similarity matrix and the student's name", path)
		}
	}
	switch {
	case t.Has("teacher_top1"):
		for i := range students {
			if students[i].TeacherTop1, err = t.Number(i, "teacher_top1"); err != nil {
				return nil, err
			}
		}
	case from.Accuracy != "":
		accuracy, err := ReadAccuracy(from.Accuracy, teachers)
		if err != nil {
			return nil, err
		}
		for i := range students {
			students[i].TeacherTop1 = accuracy[i]
		}
	default:
		return nil, fmt.Errorf("%s:1: no column \"teacher_top1\": add it, or give the models' accuracies", path)
	}
	switch {
	case t.Has("base_architecture"):
		for i := range students {
			students[i].Base = t.Text(i, "base_architecture")
		}
	case from.Features != "":
		features, err := ReadFeatures(from.Features, teachers)
		if err != nil {
			return nil, err
		}
		bases, err := features.Column("base_architecture")
		if err != nil {
			return nil, fmt.Errorf("%s: %w", from.Features, err)
		}
		for i := range students {
			students[i].Base = bases[i]
		}
	default:
		return nil, fmt.Errorf("%s:1: no column \"base_architecture\": add it, or give the models' components", path)
	}
	return students, nil
}

// between returns the similarity of two models of a matrix.
func between(m *analysis.Matrix, a, b string) (float64, error) {
	i, j := slices.Index(m.Names, a), slices.Index(m.Names, b)
	if i < 0 || j < 0 {
		return 0, fmt.Errorf("%q and %q are not both in the similarity matrix", a, b)
	}
	return m.At(i, j), nil
}

type distillationFile struct {
	SchemaVersion int              `json:"schema_version"`
	Teachers      int              `json:"teachers"`
	All           correlationFile  `json:"all"`      // similarity and student accuracy
	Accuracy      correlationFile  `json:"accuracy"` // teacher and student accuracy
	Groupings     []distillGrouped `json:"groupings"`
}

type distillGrouped struct {
	Group  analysis.DistillGroup `json:"group"`
	Shown  bool                  `json:"shown"` // in fig8b and fig8c
	Inside distillPart           `json:"inside"`
	Rest   distillPart           `json:"rest"`
}

type distillPart struct {
	Teachers []string `json:"teachers"`
	correlationFile
}

// Distillation writes fig8a_distill_all.csv, fig8b_distill_transformer.csv, fig8c_distill_other.csv,
// figG1_teacher_accuracy.csv, correlations.csv and distillation.json.
func Distillation(ctx context.Context, f Folder, job DistillationJob) error {
	study, err := analysis.Distillation(ctx, job.Students, job.Options)
	if err != nil {
		return err
	}
	file := distillationFile{SchemaVersion: schemaVersion, Teachers: len(job.Students), All: correlationOf(study.All.Correlation),
		Accuracy: correlationOf(study.Accuracy.Correlation)}
	var shown *analysis.DistillGrouping
	for i, g := range study.Groupings {
		chosen := g.Group == job.Group
		if chosen {
			shown = &study.Groupings[i]
		}
		part := func(p analysis.DistillPart) distillPart {
			return distillPart{append([]string{}, p.Teachers...), correlationOf(p.Correlation)}
		}
		file.Groupings = append(file.Groupings, distillGrouped{g.Group, chosen, part(g.Inside), part(g.Rest)})
	}
	if shown == nil {
		return fmt.Errorf("distillation: no group %q", job.Group)
	}
	f = f.with("distillation", map[string]any{"group": job.Group, "listed": job.Options.Listed})
	for _, figure := range []struct {
		file string
		part analysis.DistillPart
	}{
		{"fig8a_distill_all.csv", study.All}, {"fig8b_distill_transformer.csv", shown.Inside}, {"fig8c_distill_other.csv", shown.Rest},
	} {
		var rows [][]string
		for _, s := range job.Students {
			if slices.Contains(figure.part.Teachers, s.Teacher) {
				rows = append(rows, []string{s.Teacher, number(s.SAT), number(s.StudentTop1)})
			}
		}
		if err := f.table(figure.file, []string{"teacher", "sat", "student_top1"}, rows); err != nil {
			return err
		}
	}
	var rows [][]string
	for _, s := range job.Students {
		rows = append(rows, []string{s.Teacher, number(s.TeacherTop1), number(s.StudentTop1)})
	}
	if err := f.table("figG1_teacher_accuracy.csv", []string{"teacher", "teacher_top1", "student_top1"}, rows); err != nil {
		return err
	}
	err = Correlations(f, NamedCorrelation{"fig8a", study.All.Correlation}, NamedCorrelation{"fig8b", shown.Inside.Correlation},
		NamedCorrelation{"fig8c", shown.Rest.Correlation}, NamedCorrelation{"figG1", study.Accuracy.Correlation})
	if err != nil {
		return err
	}
	return f.json("distillation.json", file)
}
