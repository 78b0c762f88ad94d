package run

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"

	"sat/analysis"
	"sat/internal/experiment"
	"sat/internal/studies"
	"sat/internal/train"
	"sat/torch"
	"sat/zoo"
)

// diversities are the paper's words for what the members of a set differ in.
var diversities = map[string]string{
	"initialization": "Initialization", "hyper-parameter": "Hyper-parameter", "regime": "Training regime", "distillation": "Teacher",
}

// resolveSets lists the members of each set and checks the names that only the whole run knows.
func (s *Spec) resolveSets(c *experiment.Config) error {
	find := func(name string) bool {
		return slices.ContainsFunc(s.Members, func(m Member) bool { return m.Name == name })
	}
	for i := range c.Sets {
		set := &c.Sets[i]
		resolved := Set{Name: set.Name, Architecture: set.Architecture, Diversity: diversities[set.Diversity]}
		for k := range s.Members {
			if m := &s.Members[k]; m.set == set {
				resolved.Models = append(resolved.Models, m.Name)
			}
		}
		for key, names := range map[string][]string{"models": set.Models, "teachers": set.Teachers} {
			for k, name := range names {
				if !find(name) {
					return c.Problem(fmt.Sprintf("set[%d].%s[%d]", i, key, k), "name a model of this file or of [zoo]", "there is no model %q", name)
				}
			}
		}
		resolved.Models = append(resolved.Models, set.Models...)
		s.Sets = append(s.Sets, resolved)
	}
	return nil
}

// teacher is the member that m learns from, once its module is there; nil without one.
func (r *runner) teacher(m *member) (*member, error) {
	if m.Teacher == "" {
		return nil, nil
	}
	for _, t := range r.members {
		if t.Name == m.Teacher {
			return t, nil
		}
	}
	return nil, fmt.Errorf("its teacher %s failed", m.Teacher)
}

// teacherOf describes a teacher to the training of a student on a device.
func teacherOf(d *experiment.Distill, t *member, device torch.Device) (*train.Teacher, error) {
	describe := t.Describe
	manifest, err := zoo.ReadManifest(t.module)
	if err != nil {
		return nil, fmt.Errorf("teacher %s: %w", t.Name, err)
	}
	describe.Height, describe.Width = cmp.Or(describe.Height, manifest.InputSize[1]), cmp.Or(describe.Width, manifest.InputSize[2])
	if describe.Mean == nil {
		describe.Mean, describe.Std = manifest.Mean, manifest.Std
	}
	precision, err := torch.ParseDType(d.Precision)
	if err != nil {
		return nil, err
	}
	resize := torch.Bicubic
	if d.Resize == "bilinear" {
		resize = torch.Bilinear
	}
	lowered := 0
	if (zoo.Mode{Precision: precision}).On(device).Lowered {
		lowered = loweredVersion
	}
	return &train.Teacher{
		Module: t.module, Describe: describe, Key: string(t.key), Soft: d.Type == "soft", Alpha: d.Alpha, Tau: cmp.Or(d.Tau, 1),
		Resize: resize, Renormalise: d.Renormalise, Precision: precision, Lowered: lowered,
	}, nil
}

// student is a distilled model with its accuracy. Students are trained and evaluated by their training alone: the similarity
// that the study asks for is that of their teachers.
type student struct {
	model, teacher, set string
	seed                uint64
	top1                float64 // share of the validation images
}

// retireStudents takes the students out of the run, once they are trained, and members that learned too little for their
// set, and writes the table of all members of sets: models/sets.csv.
func (r *runner) retireStudents() error {
	var rows [][]string
	r.students = nil
	for _, m := range r.Spec.Members {
		if m.set == nil {
			continue
		}
		row := []string{m.set.Name, m.Name, m.set.Architecture, diversities[m.set.Diversity], m.Teacher, fmt.Sprint(m.Seed), "trained", "", ""}
		k := slices.IndexFunc(r.members, func(other *member) bool { return other.Name == m.Name })
		if k < 0 {
			row[6] = "failed"
			for _, f := range r.failures() {
				if f.Model == m.Name {
					row[8] = f.Error
				}
			}
			rows = append(rows, row)
			continue
		}
		top1, err := trainedTop1(r.members[k].module)
		if err != nil {
			return err
		}
		row[7] = analysis.FormatFloat(100 * top1)
		if 100*top1 < m.set.MinTop1 {
			row[6], row[8] = "failed", fmt.Sprintf("below the %v %% that set %s asks for", m.set.MinTop1, m.set.Name)
			r.warn("%s is right about %.1f %% of the validation images, %s: it is left out of the comparison", m.Name, 100*top1, row[8])
			r.members = slices.Delete(r.members, k, k+1)
			rows = append(rows, row)
			continue
		}
		rows = append(rows, row)
		if m.Teacher != "" {
			r.students = append(r.students, student{m.Name, m.Teacher, m.set.Name, m.Seed, top1})
		}
	}
	r.members = slices.DeleteFunc(r.members, func(m *member) bool { return m.Teacher != "" })
	if rows == nil {
		return nil
	}
	header := []string{"set", "model", "architecture", "diversity", "teacher", "seed", "state", "top1", "failure"}
	meta := studies.Meta{"schema_version": schemaVersion, "top1": "per cent of the validation images, by the last evaluation of the training"}
	return studies.WriteTable(filepath.Join(r.Dir, "models", "sets.csv"), meta, header, rows)
}

// trainedTop1 is the accuracy that a training has written into its module.
func trainedTop1(path string) (float64, error) {
	manifest, err := zoo.ReadManifest(path)
	if err != nil {
		return 0, err
	}
	var run struct {
		Top1 *float64 `json:"val_top1"`
	}
	if err := json.Unmarshal([]byte(manifest.Weights.Run), &run); err != nil || run.Top1 == nil {
		return 0, fmt.Errorf("%s: its sat.json does not say how accurate the training left it", path)
	}
	return *run.Top1, nil
}

// byTraining lists the sets whose members are compared with each other, as far as they have come through.
func (r *runner) byTraining(names []string) *studies.TrainingSets {
	out := &studies.TrainingSets{}
	for _, s := range r.Sets {
		if s.Diversity == diversities["distillation"] {
			continue
		}
		members := studies.TrainingMembers{Architecture: s.Architecture, Diversity: s.Diversity}
		for _, name := range s.Models {
			if slices.Contains(names, name) {
				members.Models = append(members.Models, name)
			}
		}
		if len(members.Models) > 1 {
			out.Sets = append(out.Sets, members)
		}
	}
	return out
}

// architectures lists what sets are compared with: the models that the experiment says, else those that no set makes or
// names; nil for all models, if these are too few for a mean.
func (a *analyses) architectures() ([]string, error) {
	said := map[string]bool{}
	for i, name := range a.Analysis.Training.All {
		if slices.ContainsFunc(a.Spec.Members, func(m Member) bool { return m.Name == name }) {
			said[name] = true
			continue
		}
		group, ok, err := zoo.InGroup(name)
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, fmt.Errorf("analysis.training.all[%d]: there is no model %q", i, name)
		}
		for _, e := range group {
			said[e.Name()] = true
		}
	}
	inSet := func(name string) bool {
		return slices.ContainsFunc(a.Sets, func(s Set) bool { return slices.Contains(s.Models, name) })
	}
	var out []string
	for _, name := range a.sat.Names {
		if said[name] || len(said) == 0 && !inSet(name) {
			out = append(out, name)
		}
	}
	if len(out) < 2 {
		return nil, nil
	}
	return out, nil
}

// distillation sets the accuracy of students, averaged over their seeds, against the similarity of their teachers to the
// reference.
func (a *analyses) distillation(ctx context.Context) error {
	o := a.Analysis.Distillation
	top1, count := map[string]float64{}, map[string]int{}
	for _, s := range a.students {
		top1[s.teacher] += 100 * s.top1
		count[s.teacher]++
	}
	accuracy, err := studies.ReadAccuracy(filepath.Join(a.Similarity, "accuracy.csv"), a.sat.Names)
	if err != nil {
		return err
	}
	var students []analysis.Student
	for i, name := range a.sat.Names {
		if count[name] == 0 || name == o.Reference {
			continue
		}
		j := slices.Index(a.sat.Names, o.Reference)
		if j < 0 {
			return notPossible(fmt.Sprintf("the reference %s is not among the models", o.Reference))
		}
		base := ""
		for _, m := range a.members {
			if m.Name == name && m.Components != nil {
				base = m.Components["base_architecture"]
			}
		}
		students = append(students, analysis.Student{Teacher: name, Base: base, SAT: a.sat.At(i, j),
			TeacherTop1: accuracy[i], StudentTop1: top1[name] / float64(count[name])})
	}
	if len(students) < 3 {
		return notPossible(fmt.Sprintf("%d teachers with students, at least 3 are needed", len(students)))
	}
	return studies.Distillation(ctx, a.Folder, studies.DistillationJob{Students: students, Group: analysis.DistillGroup(o.Group),
		Options: analysis.DistillOptions{Listed: o.Listed}})
}

// inOrder lists the members that are trained after those that they learn from.
func (r *runner) inOrder() [2][]*member {
	var out [2][]*member
	for _, m := range r.members {
		k := 0
		if m.Teacher != "" {
			k = 1
		}
		out[k] = append(out[k], m)
	}
	return out
}
