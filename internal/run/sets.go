package run

import (
	"cmp"
	"fmt"
	"slices"

	"sat/internal/experiment"
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

// teacherOf describes a teacher to the training of a student.
func teacherOf(d *experiment.Distill, t *member) (*train.Teacher, error) {
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
	return &train.Teacher{
		Module: t.module, Describe: describe, Key: string(t.key), Soft: d.Type == "soft", Alpha: d.Alpha, Tau: cmp.Or(d.Tau, 1),
		Resize: resize, Renormalise: d.Renormalise, Precision: precision,
	}, nil
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
