package analysis

import (
	"context"
	"fmt"
	"math"
	"slices"
)

// DistillGroup says which teachers count as being of the student's architecture.
type DistillGroup string

// The rules of [Distillation], by base architecture as printed in Tab. A.3. The p-values of Fig. 8 fix the sizes of the
// groups, 7 and 18, but the paper does not list the members.
const (
	DistillTransformer       DistillGroup = "transformer"        // Transformer: 5 of the paper's 25 teachers
	DistillTransformerHybrid DistillGroup = "transformer+hybrid" // Transformer or Hybrid: 8
	DistillTransformerMLP    DistillGroup = "transformer+mlp"    // Transformer or MLP-Mixer: 7, the printed size
	DistillListed            DistillGroup = "listed"             // the teachers named in the options
)

var distillBases = map[DistillGroup][]string{
	DistillTransformer:       {"Transformer"},
	DistillTransformerHybrid: {"Transformer", "Hybrid"},
	DistillTransformerMLP:    {"Transformer", "MLP-Mixer"},
}

// Student is the outcome of one distillation.
type Student struct {
	Teacher     string
	Base        string  // base architecture of the teacher
	SAT         float64 // similarity of the teacher and the student's architecture before distillation
	TeacherTop1 float64
	StudentTop1 float64
}

// DistillOptions are the settings of [Distillation].
type DistillOptions struct {
	Listed []string // teachers that form a group of their own, beside those by rule
	Level  float64  // of the intervals of correlations; default 0.95
	Trend  TrendOptions
}

// DistillPart relates a teacher's property to the student's accuracy over some of the teachers. Correlation and Trend are
// undefined, with a warning, for too few.
type DistillPart struct {
	Teachers    []string
	Correlation Correlation
	Trend       *Trend
}

// DistillGrouping divides the teachers in two (Figs. 8b and 8c).
type DistillGrouping struct {
	Group        DistillGroup
	Inside, Rest DistillPart
}

// DistillStudy is the result of [Distillation].
type DistillStudy struct {
	All       DistillPart       // similarity and student accuracy over all teachers (Fig. 8a)
	Groupings []DistillGrouping // the same by group, for every rule: the default one, transformer+hybrid, first
	Accuracy  DistillPart       // teacher accuracy and student accuracy (Fig. G.1)
}

// Distillation asks whether a student learns more from a similar or from a different teacher (Figs. 8 and G.1). All rules of
// grouping are reported, because the paper gives none.
func Distillation(ctx context.Context, students []Student, o DistillOptions) (*DistillStudy, error) {
	if o.Level == 0 {
		o.Level = 0.95
	}
	out, err := distillation(ctx, students, o)
	if err != nil {
		return nil, fmt.Errorf("distillation: %w", err)
	}
	return out, nil
}

func distillation(ctx context.Context, students []Student, o DistillOptions) (*DistillStudy, error) {
	var teachers []string
	for _, s := range students {
		teachers = append(teachers, s.Teacher)
		for _, v := range []float64{s.SAT, s.TeacherTop1, s.StudentTop1} {
			if math.IsNaN(v) || math.IsInf(v, 0) {
				return nil, fmt.Errorf("teacher %s: similarity %v, accuracies %v and %v", s.Teacher, s.SAT, s.TeacherTop1, s.StudentTop1)
			}
		}
	}
	if err := checkNames(teachers); err != nil {
		return nil, err
	}
	if _, err := locate(o.Listed, teachers); err != nil && o.Listed != nil {
		return nil, fmt.Errorf("listed teachers: %w", err)
	}
	part := func(keep func(Student) bool, property func(Student) float64) (p DistillPart, err error) {
		var x, y []float64
		for _, s := range students {
			if keep(s) {
				p.Teachers = append(p.Teachers, s.Teacher)
				x, y = append(x, property(s)), append(y, s.StudentTop1)
			}
		}
		if p.Correlation, err = Correlate(x, y, o.Level); err != nil {
			return p, err
		}
		p.Trend, err = FitTrend(ctx, x, y, o.Trend)
		return p, err
	}
	similarity := func(s Student) float64 { return s.SAT }
	everyone := func(Student) bool { return true }
	out := &DistillStudy{}
	var err error
	if out.All, err = part(everyone, similarity); err != nil {
		return nil, err
	}
	if out.Accuracy, err = part(everyone, func(s Student) float64 { return s.TeacherTop1 }); err != nil {
		return nil, err
	}
	groups := []DistillGroup{DistillTransformerHybrid, DistillTransformer, DistillTransformerMLP}
	if o.Listed != nil {
		groups = append(groups, DistillListed)
	}
	for _, group := range groups {
		inside := func(s Student) bool {
			if group == DistillListed {
				return slices.Contains(o.Listed, s.Teacher)
			}
			return slices.Contains(distillBases[group], s.Base)
		}
		g := DistillGrouping{Group: group}
		if g.Inside, err = part(inside, similarity); err != nil {
			return nil, err
		}
		if g.Rest, err = part(func(s Student) bool { return !inside(s) }, similarity); err != nil {
			return nil, err
		}
		out.Groupings = append(out.Groupings, g)
	}
	return out, nil
}
