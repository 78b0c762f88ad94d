package run

import (
	"path/filepath"
	"testing"

	"sat/internal/experiment"
	"sat/internal/testkit"
)

// The studies at full scale have the members that the paper counts.
func TestFullScaleSets(t *testing.T) {
	for file, want := range map[string]map[string]int{
		"training.toml": {"resnet50-init": 21, "resnet50-hp": 28, "resnet50-regime": 22, "vit_s-init": 16, "vit_s-hp": 9, "vit_s-regime": 7},
		"distill.toml":  {"deit_ti": 25},
	} {
		path := filepath.Join(testkit.Root(t), "experiments", file)
		config, err := experiment.Load(path)
		must(t, err)
		spec, err := FromConfig(config, path)
		must(t, err)
		if len(spec.Sets) != len(want) {
			t.Errorf("%s has %d sets", file, len(spec.Sets))
		}
		seeds := map[uint64]string{}
		for _, set := range spec.Sets {
			if len(set.Models) != want[set.Name] {
				t.Errorf("%s: set %s has %d members, want %d", file, set.Name, len(set.Models), want[set.Name])
			}
			for _, m := range spec.Members {
				if m.set == nil || m.set.Name != set.Name {
					continue
				}
				// The members of one architecture differ in their seeds too, whatever the set; students share theirs.
				key := m.Seed
				if other := seeds[key]; other != "" && m.Teacher == "" && m.architecture() == architectureOf(&spec, other) {
					t.Errorf("%s: %s and %s have seed %d", file, other, m.Name, m.Seed)
				}
				seeds[key] = m.Name
			}
		}
	}
}

func architectureOf(s *Spec, name string) string {
	for i := range s.Members {
		if s.Members[i].Name == name {
			return s.Members[i].architecture()
		}
	}
	return ""
}
