package experiment

import (
	"fmt"
	"slices"
	"strconv"
)

// Set is a family of models that differ in one thing: their initialisation, their hyper-parameters, their regime of
// training or their teacher. It makes copies of one [[model]], or names models that are there already.
type Set struct {
	Name         string `toml:"name" doc:"begins the names of the members"`
	Architecture string `toml:"architecture" doc:"as tables call it: ResNet-50"`
	Diversity    string `toml:"diversity" enum:"initialization hyper-parameter regime distillation" doc:"what the members differ in"`
	Model        string `toml:"model" optional:"yes" doc:"[[model]] with a recipe, of which the members are copies"`

	Count     int    `toml:"count" optional:"yes" min:"1" doc:"members that differ by their seed, in all or of each draw, recipe or teacher; default 1"`
	FirstSeed uint64 `toml:"first_seed" doc:"seeds count from here; every member has its own, but those of two teachers share them"`

	LR          []float64 `toml:"lr_mul" optional:"yes" above:"0" doc:"factors of the recipe's learning rate, combined with the other lists"`
	WeightDecay []float64 `toml:"weight_decay_mul" optional:"yes" min:"0" doc:"factors of the recipe's weight decay"`
	Sched       []string  `toml:"scheds" optional:"yes" enum:"step cosine" doc:"courses of the learning rate"`
	Draws       []Draw    `toml:"draws" optional:"yes" doc:"instead of the lists: [factor of lr, factor of weight decay, sched]"`
	Recipes     []string  `toml:"recipes" optional:"yes" doc:"a member for each recipe"`
	MinTop1     float64   `toml:"min_top1" min:"0" max:"100" doc:"members that are trained to less are kept apart as failed; per cent of the validation images"`
	Teachers    []string  `toml:"teachers" optional:"yes" doc:"a member for each teacher: a model of this file, or of [zoo]"`
	Models      []string  `toml:"models" optional:"yes" doc:"models of this file, or of [zoo], that belong to the set as they are"`
}

// Draw is a point of a hyper-parameter study, [5, 0.1, "cosine"] in a file.
type Draw struct {
	LR, WeightDecay float64 // factors
	Sched           string
}

func (d *Draw) fromTOML(raw any) *misfit {
	wrong := &misfit{"wants a draw", `write [factor of lr, factor of weight decay, "step" or "cosine"]: [0.5, 2, "cosine"]`}
	list, _ := raw.([]any)
	if len(list) != 3 {
		return wrong
	}
	for i, to := range []*float64{&d.LR, &d.WeightDecay} {
		switch v := list[i].(type) {
		case int64:
			*to = float64(v)
		case float64:
			*to = v
		default:
			return wrong
		}
	}
	sched, ok := list[2].(string)
	d.Sched = sched
	if !ok || sched != "step" && sched != "cosine" || !(d.LR > 0) || !(d.WeightDecay >= 0) {
		return wrong
	}
	return nil
}

// toTOML writes the draw as a file has it.
func (d Draw) toTOML() string { return tomlAny([]any{d.LR, d.WeightDecay, d.Sched}) }

// variant is what sets one kind of member apart, besides the seed.
type variant struct {
	suffix  string
	recipe  *Recipe
	teacher string
}

// variants lists the kinds of members. base is the recipe of the model.
func (s *Set) variants(c *Config, base *Recipe) []variant {
	draws := s.Draws
	if draws == nil && (s.LR != nil || s.WeightDecay != nil || s.Sched != nil) {
		one := []float64{1}
		lrs, decays, scheds := s.LR, s.WeightDecay, s.Sched
		if lrs == nil {
			lrs = one
		}
		if decays == nil {
			decays = one
		}
		if scheds == nil {
			scheds = []string{base.Sched}
		}
		for _, lr := range lrs {
			for _, decay := range decays {
				for _, sched := range scheds {
					draws = append(draws, Draw{lr, decay, sched})
				}
			}
		}
	}
	var out []variant
	switch {
	case draws != nil:
		for _, d := range draws {
			r := *base
			r.LR, r.WeightDecay, r.Sched = base.LR*d.LR, base.WeightDecay*d.WeightDecay, d.Sched
			out = append(out, variant{suffix: fmt.Sprintf("-lr%s-wd%s-%s", short(d.LR), short(d.WeightDecay), d.Sched), recipe: &r})
		}
	case s.Recipes != nil:
		for _, name := range s.Recipes {
			out = append(out, variant{suffix: "-" + name, recipe: c.Recipes[name]})
		}
	case s.Teachers != nil:
		for _, name := range s.Teachers {
			out = append(out, variant{suffix: "-" + name, recipe: base, teacher: name})
		}
	default:
		out = append(out, variant{recipe: base})
	}
	return out
}

func short(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

// members lists the models that the set makes.
func (s *Set) members(c *Config) []Member {
	m := c.model(s.Model)
	if m == nil {
		return nil
	}
	count := max(s.Count, 1)
	var out []Member
	for i, v := range s.variants(c, c.Recipes[m.Recipe]) {
		for k := range count {
			seed := s.FirstSeed + uint64(k)
			if v.teacher == "" {
				seed += uint64(i * count)
			}
			name := s.Name + v.suffix
			if count > 1 || v.suffix == "" {
				name = fmt.Sprintf("%s-s%d", name, seed)
			}
			out = append(out, Member{Name: name, Group: s.Name + v.suffix, Seed: seed, Model: m, Recipe: v.recipe, Teacher: v.teacher, Set: s})
		}
	}
	return out
}

// model returns the [[model]] of that name, nil without one.
func (c *Config) model(name string) *Model {
	for i := range c.Models {
		if c.Models[i].Name == name {
			return &c.Models[i]
		}
	}
	return nil
}

func (d *decoder) checkSets(c *Config) {
	first := map[string]bool{}
	recipes := make([]string, 0, len(c.Recipes))
	for name := range c.Recipes {
		recipes = append(recipes, name)
	}
	slices.Sort(recipes)
	for i := range c.Sets {
		s := &c.Sets[i]
		path := index("set", i)
		at := func(key string) string { return join(path, key) }
		for _, key := range []string{"name", "architecture", "diversity"} {
			if !d.given[at(key)] {
				d.atKey(path, fmt.Sprintf("add %s = \"...\"", key), "the set lacks %s", key)
			}
		}
		if first[s.Name] {
			d.atValue(at("name"), "give it another name", "two sets are called %q", s.Name)
		}
		first[s.Name] = true
		ways := 0
		for _, given := range []bool{s.Draws != nil, s.LR != nil || s.WeightDecay != nil || s.Sched != nil, s.Recipes != nil, s.Teachers != nil} {
			if given {
				ways++
			}
		}
		switch m := c.model(s.Model); {
		case s.Model == "" && (ways > 0 || s.Count > 0):
			d.atKey(path, `add model = "NAME"`, "the set makes members but does not say of which model")
		case s.Model == "" && len(s.Models) == 0:
			d.atKey(path, `add model = "NAME" and what varies, or models = ["NAME", ...]`, "the set is empty")
		case s.Model != "" && m == nil:
			d.atValue(at("model"), "name a [[model]] of this file", "there is no model %q", s.Model)
		case s.Model != "" && m.Recipe == "":
			d.atValue(at("model"), "give that model a recipe", "%s is not trained here, so its training cannot vary", s.Model)
		case s.Model != "" && m.Recipe != "" && s.Diversity == "distillation" && c.Recipes[m.Recipe] != nil && c.Recipes[m.Recipe].Distill == nil:
			d.atValue(at("model"), "add distill = { ... } to that recipe", "recipe %q of %s does not distil", m.Recipe, s.Model)
		}
		if base := c.model(s.Model); base != nil && c.Recipes[base.Recipe] != nil && c.Recipes[base.Recipe].StepEpochs == 0 &&
			(slices.Contains(s.Sched, "step") || slices.ContainsFunc(s.Draws, func(v Draw) bool { return v.Sched == "step" })) {
			d.atKey(path, "add sched = \"step\" and step_epochs to the recipe; members may still be drawn with cosine", "recipe %q says nothing of steps", base.Recipe)
		}
		if ways > 1 {
			d.atKey(path, "keep one of them", "draws, the lists of factors, recipes and teachers exclude each other")
		}
		if (s.Teachers != nil) != (s.Diversity == "distillation") && d.good(at("diversity")) {
			d.atValue(at("diversity"), `write diversity = "distillation" and teachers = [...] together`, "teachers and distillation belong together")
		}
		for k, name := range s.Recipes {
			if c.Recipes[name] == nil {
				d.atValue(index(at("recipes"), k), d.nameHint(name, recipes, "recipe"), "there is no recipe %q", name)
			}
		}
	}
	for i := range c.Models {
		m := &c.Models[i]
		r := c.Recipes[m.Recipe]
		if m.Template && !slices.ContainsFunc(c.Sets, func(s Set) bool { return s.Model == m.Name }) &&
			!slices.ContainsFunc(c.Pretrains, func(p Pretrain) bool { return p.Model == m.Name }) {
			d.atKey(join(index("model", i), "template"), "leave it out, or add a [[set]] with this model", "no set copies %s", m.Name)
		}
		if r != nil && r.Distill != nil && !m.Template {
			d.atValue(join(index("model", i), "recipe"), "write template = true and add a [[set]] with teachers = [...]", "%s distils, but from no teacher", m.Name)
		}
	}
}
