package run

import (
	"fmt"

	"sat/internal/store"
)

// CheckNames refuses models whose results could not be told apart, or whose name cannot name a file.
func (s *Spec) CheckNames() error {
	paths := map[string]string{}
	for _, m := range s.Members {
		if err := store.CheckName(m.Name); err != nil {
			return fmt.Errorf("model %s: %w; rename the file", m.Path, err)
		}
		other, ok := paths[m.Name]
		switch {
		case ok && (other == "" || m.Path == ""):
			return fmt.Errorf("two models are called %q", m.Name)
		case ok && other == m.Path:
			return fmt.Errorf("%s is given twice", m.Path)
		case ok:
			return fmt.Errorf("%s and %s are both called %q: rename one of the files", other, m.Path, m.Name)
		}
		paths[m.Name] = m.Path
	}
	return nil
}
