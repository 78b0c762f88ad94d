package experiment

import "fmt"

// Member is one model of the run: a [[model]] table, or one seed of it.
type Member struct {
	Name   string // unique in the run, can be a file name
	Group  string // name of the table; members of one group differ by their seeds only
	Seed   uint64 // of the weights and the training
	Model  *Model
	Recipe *Recipe // nil if the model is used as it is

	Set     *Set   // that made it; nil without
	Teacher string // name of the model that it is distilled from; "" without
}

// Members returns the models of the run, in the order of the file.
func (c *Config) Members() []Member {
	var members []Member
	for i := range c.Models {
		m := &c.Models[i]
		if m.Template {
			continue
		}
		for j, name := range m.names() {
			member := Member{Name: name, Group: m.Name, Seed: c.Seed, Model: m, Recipe: c.Recipes[m.Recipe]}
			if len(m.Seeds) > 0 {
				member.Seed = m.Seeds[j]
			}
			members = append(members, member)
		}
	}
	for i := range c.Sets {
		members = append(members, c.Sets[i].members(c)...)
	}
	return members
}

// names returns the name of each model that m stands for.
func (m *Model) names() []string {
	if len(m.Seeds) == 0 {
		return []string{m.Name}
	}
	names := make([]string, len(m.Seeds))
	for i, seed := range m.Seeds {
		names[i] = fmt.Sprintf("%s-s%d", m.Name, seed)
	}
	return names
}
