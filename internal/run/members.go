package run

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"sat/internal/experiment"
	"sat/zoo"
)

// registered resolves [zoo]. Its members are called by their timm 0.6.7 names, which name files and are those of the
// paper's tables; the few without one by that of timm 1.0.31.
func registered(c *experiment.Config) ([]Member, error) {
	if c.Zoo == nil {
		return nil, nil
	}
	var members []Member
	seen := map[string]bool{}
	add := func(e zoo.Entry) {
		if !seen[e.Name()] { // "paper" and one of its networks by name
			seen[e.Name()] = true
			members = append(members, registeredMember(c, e))
		}
	}
	for i, name := range c.Zoo.Names {
		group, ok, err := zoo.InGroup(name)
		if err != nil {
			return nil, err
		}
		for _, e := range group {
			add(e)
		}
		if ok {
			continue
		}
		e, err := zoo.Lookup(name)
		var unknown *zoo.UnknownError
		switch {
		case errors.As(err, &unknown):
			return nil, c.Problem(fmt.Sprintf("zoo.names[%d]", i), fmt.Sprintf("did you mean %q? \"sat zoo list\" shows all", unknown.Nearest),
				"the registry has no network %q", name)
		case err != nil:
			return nil, err
		}
		add(e)
	}
	return members, nil
}

func registeredMember(c *experiment.Config, e zoo.Entry) Member {
	z := c.Zoo
	m := Member{Name: e.Name(), Group: e.Name(), Seed: z.Seed, Components: e.Components}
	if z.Modules != "" {
		m.Path, m.Weights, m.Network = filepath.Join(z.Modules, e.Name()+".pt"), z.Weights, e.Job(0).Model
		return m
	}
	attention := slices.ContainsFunc([]string{e.Timm067, e.Timm1031, e.Alias}, func(name string) bool { return slices.Contains(z.Attention, name) })
	m.Export = &Network{Name: m.Name, Entry: &e, Attention: attention, Pretrained: z.Weights == "pretrained", Checkpoints: z.Checkpoints, Seed: z.Seed}
	return m
}

// memberOf resolves one model of the file.
func memberOf(c *experiment.Config, e experiment.Member) Member {
	m := e.Model
	out := Member{Name: e.Name, Group: e.Group, Path: m.Path, Seed: e.Seed, Recipe: e.Recipe, Components: m.Components,
		Teacher: e.Teacher, set: e.Set,
		Describe: zoo.Description{
			Mean: float32s(m.Mean), Std: float32s(m.Std), Height: m.InputSize.Height, Width: m.InputSize.Width,
			CropPct: m.CropPct, Interpolation: m.Interpolation,
		}}
	if m.Timm == "" {
		return out
	}
	out.Export = &Network{Name: m.Name, Timm: m.Timm, Arguments: m.Args, Attention: m.Attention, Pretrained: m.Weights == "pretrained", Seed: c.Seed, Heads: m.Heads}
	if m.Checkpoint != "" {
		out.Export.Checkpoints, out.Export.WeightFile = filepath.Split(m.Checkpoint)
		out.Export.Checkpoints = cmp.Or(out.Export.Checkpoints, ".")
	}
	if m.Recipe != "" {
		return out
	}
	// Without native training a seed is another set of random weights, so another file. And a plain name of the registry
	// means what "sat zoo export" makes of it.
	out.Export.Name, out.Export.Seed = e.Name, e.Seed
	if entry, err := zoo.Lookup(m.Timm); err == nil && m.Args == nil {
		out.Export.Entry = &entry
		if out.Components == nil {
			out.Components = entry.Components
		}
	}
	return out
}

func float32s(values []float64) []float32 {
	if values == nil {
		return nil
	}
	out := make([]float32, len(values))
	for i, v := range values {
		out[i] = float32(v)
	}
	return out
}
