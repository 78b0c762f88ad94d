package experiment

import (
	"fmt"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
)

// replace puts the value of "KEY=VALUE" into the generic content of a file, as if the file said so: KEY is a path with
// dots ("attack.steps"), VALUE is written as in the file, but quotes around a string may be left out. A table replaces the
// whole table: data.subset={mode="all"}.
func (d *decoder) replace(raw map[string]any, set string) {
	wrong := func(hint, format string, args ...any) {
		d.problems = append(d.problems, Problem{File: "--set " + set, Message: fmt.Sprintf(format, args...), Hint: hint})
	}
	key, text, found := strings.Cut(set, "=")
	path := strings.TrimSpace(key)
	if !found || path == "" {
		wrong("for instance attack.steps=3", "is not KEY=VALUE")
		return
	}
	table, keys := raw, strings.Split(path, ".")
	for i, key := range keys {
		if i == len(keys)-1 {
			table[key] = tomlOr(text)
			break
		}
		if table[key] == nil {
			table[key] = map[string]any{}
		}
		inner, ok := table[key].(map[string]any)
		if !ok {
			hint := "a key inside a table has the form table.key"
			if key == "model" {
				hint = "change a single [[model]] in the file"
			}
			wrong(hint, "%s is not a table with keys", strings.Join(keys[:i+1], "."))
			return
		}
		table = inner
	}
	if d.src.set == nil {
		d.src.set = map[string]string{}
	}
	d.src.set[path] = set
}

// tomlOr reads a value as TOML, or takes the text itself as a string: paths, names and fractions.
func tomlOr(text string) any {
	var v struct{ V any }
	if _, err := toml.Decode("V = "+text, &v); err != nil || strings.Contains(text, "\n") {
		return text
	}
	if _, date := v.V.(time.Time); date {
		return text
	}
	return v.V
}

// problemAt is problem for what stands at path: where the command line gave the value, that is what it points at.
func (s *source) problemAt(path string, where span, message, hint string) Problem {
	for p := path; p != ""; p = p[:max(strings.LastIndexAny(p, ".["), 0)] {
		if set, ok := s.set[p]; ok {
			return Problem{File: "--set " + set, Message: message, Hint: hint}
		}
	}
	if _, written := s.spots[path]; !written { // a table that only the command line knows
		for at, set := range s.set {
			if strings.HasPrefix(at, path+".") {
				return Problem{File: "--set " + set, Message: message, Hint: hint}
			}
		}
	}
	return s.problem(where, message, hint)
}
