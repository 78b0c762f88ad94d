package report

// distillationSection asks which teacher serves a student (Figs. 8 and G.1).
var distillationSection = &section{
	id: "distillation", nav: "Distillation", title: "Which teacher serves a student?",
	lead: "Students of one architecture, each distilled from another teacher: their accuracy against the similarity of teacher and " +
		"student before distillation, and against the teacher's accuracy.",
	files:   []string{"fig8a_distill_all.csv", "fig8b_distill_transformer.csv", "fig8c_distill_other.csv", "figG1_teacher_accuracy.csv"},
	command: "sat analyze distillation",
	read:    readDistillation,
}

func readDistillation(r *Run) (*content, error) {
	c := &content{values: map[string]ownValue{}}
	data := map[string]any{}
	for _, f := range []struct{ id, stem, title, x, xTitle, paper string }{
		{"fig8a", "fig8a_distill_all", "Distilled students, all teachers", "sat", "SAT of teacher and student", "r = −0.32, p = 0.12, n = 25"},
		{"fig8b", "fig8b_distill_transformer", "Distilled students, teachers of the student's kind", "sat", "SAT of teacher and student", "r = 0.70, p = 0.078, n = 7"},
		{"fig8c", "fig8c_distill_other", "Distilled students, other teachers", "sat", "SAT of teacher and student", "r = −0.51, p = 0.030, n = 18"},
		{"figG1", "figG1_teacher_accuracy", "Accuracy of teachers and students", "teacher_top1", "accuracy of the teacher, %", "r = 0.049, p = 0.82, n = 25"},
	} {
		s := &scatter{stem: f.stem, title: f.title, xTitle: f.xTitle, yTitle: "accuracy of the student, %", paper: f.paper,
			note: "One dot per teacher; line with its 90 % band."}
		blocks, err := r.scatterBlocks(f.id, s, f.stem+".csv", []string{"teacher"}, f.x, "student_top1")
		if err != nil {
			return nil, err
		}
		if blocks == nil {
			continue
		}
		c.blocks = append(c.blocks, blocks...)
		c.values[f.id] = s.value(plural(s.corr.N, "teacher", "teachers"))
		data[f.id] = correlationData(s)
	}
	if c.blocks == nil {
		return nil, nil
	}
	c.data = data
	return c, nil
}
