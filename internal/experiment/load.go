package experiment

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

// maxFile is far more than any experiment needs: a description of 10,000 models has some megabytes.
const maxFile = 16 << 20

// Load reads the experiment file at path. Each of set is KEY=VALUE and takes the place of what the file says, see
// replace. Its error is *Problems, with everything that is wrong, also when the file cannot be read.
func Load(path string, set ...string) (*Config, error) {
	info, err := os.Stat(path)
	whole := func(message, hint string) error {
		return &Problems{List: []Problem{{File: path, Message: message, Hint: hint}}, cause: err}
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, whole("there is no such file", "experiment files end in .toml; examples are in the folder experiments")
	case err == nil && info.IsDir():
		return nil, whole("is a folder", "name the .toml file in it")
	case err == nil && info.Size() > maxFile:
		return nil, whole(fmt.Sprintf("has %d bytes", info.Size()), "this is not an experiment file")
	}
	text, err := os.ReadFile(path)
	if err != nil {
		cause := err
		if inner := errors.Unwrap(err); inner != nil {
			cause = inner
		}
		return nil, whole("cannot be read: "+cause.Error(), "")
	}
	return Parse(path, string(text), set...)
}

// Parse is Load for a text; file is its name in messages, and the run's name where the text gives none.
func Parse(file, text string, set ...string) (*Config, error) {
	var raw map[string]any
	text = strings.TrimPrefix(text, "\ufeff") // a mark that some editors set
	if _, err := toml.Decode(text, &raw); err != nil {
		return nil, &Problems{List: []Problem{syntaxProblem(file, text, err)}}
	}
	d := newDecoder(scan(file, text))
	for _, path := range d.src.twice {
		d.atKey(path, "keep one of them", "%s has a value already", label(path))
	}
	if raw == nil {
		raw = map[string]any{}
	}
	for _, s := range set {
		d.replace(raw, s)
	}
	c := new(Config)
	root := reflect.ValueOf(c).Elem()
	setDefaults(root)
	c.src = d.src
	recipes := raw["recipe"]
	delete(raw, "recipe") // read last, because one may build on another
	d.table(root, raw, "")
	d.recipes(c, recipes)
	d.check(c)
	if len(d.problems) > 0 {
		problems := &Problems{List: d.problems}
		problems.sort()
		return nil, problems
	}
	return c, nil
}

// syntaxProblem turns an error of the TOML library into a Problem.
func syntaxProblem(file, text string, err error) Problem {
	src := &source{file: file, text: text}
	var syntax toml.ParseError
	if !errors.As(err, &syntax) {
		return Problem{File: file, Message: err.Error()}
	}
	at := span{syntax.Position.Start, syntax.Position.Start + max(syntax.Position.Len, 1)}
	// At the end of a line the library points at the line end, which belongs to the next line by its count.
	if at.start > 0 && at.start <= len(text) && (at.start == len(text) || text[at.start] == '\n') && text[at.start-1] != '\n' {
		at.start--
	}
	message := strings.TrimSuffix(syntax.Message, ".")
	return src.problem(at, "not valid TOML: "+lowerFirst(message), syntaxHint(message))
}

func lowerFirst(s string) string {
	if s == "" {
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}

// syntaxHint is the way out of the usual mistakes.
func syntaxHint(message string) string {
	for _, known := range []struct{ part, hint string }{
		{"already been defined", "keep one of them"},
		{"expected value but found", `texts and fractions are written between quotes: "8/255"`},
		{"cannot contain newlines", "the closing quote is missing"},
		{"instead of '='", "write key = value"},
		{"expected '.' or '='", "write key = value"},
		{"to end table name", "the closing bracket is missing"},
		{"invalid escape", "write \\\\ for a backslash, or the text between single quotes"},
		{"out of range", "the number is too large"},
		{"UTF-8", "save the file as UTF-8"},
	} {
		if strings.Contains(message, known.part) {
			return known.hint
		}
	}
	return "see toml.io for how TOML is written"
}

// recipes reads [recipe.NAME], each on top of the one that it inherits.
func (d *decoder) recipes(c *Config, raw any) {
	c.Recipes = map[string]*Recipe{}
	if raw == nil {
		return
	}
	tables, ok := raw.(map[string]any)
	if !ok {
		d.wants("recipe", "tables", raw, "write [recipe.NAME] on a line of its own and the keys below it")
		return
	}
	names := slices.Sorted(maps.Keys(tables))
	const (
		reading = 1
		done    = 2
	)
	state := map[string]int{}
	var read func(name string) *Recipe
	read = func(name string) *Recipe {
		path := join("recipe", name)
		if state[name] == done {
			return c.Recipes[name]
		}
		state[name] = reading
		defer func() { state[name] = done }()
		r := new(Recipe)
		c.Recipes[name] = r
		setDefaults(reflect.ValueOf(r).Elem())
		table, ok := tables[name].(map[string]any)
		if !ok {
			d.wants(path, "a table", tables[name], fmt.Sprintf("write [recipe.%s] on a line of its own and the keys below it", name))
			return r
		}
		if parent, ok := table["inherit"].(string); ok {
			switch _, exists := tables[parent]; {
			case !exists:
				d.atValue(join(path, "inherit"), d.nameHint(parent, names, "recipe"), "there is no recipe %q to inherit", parent)
			case state[parent] == reading:
				d.atValue(join(path, "inherit"), "one of them has to stand on its own", "recipe %q inherits itself%s", name, through(name, parent))
			default:
				*r = *read(parent)
			}
		}
		d.table(reflect.ValueOf(r).Elem(), table, path)
		r.Inherit = "" // its values are in
		return r
	}
	for _, name := range names {
		read(name)
	}
	lost := slices.ContainsFunc(names, func(name string) bool { return d.noted[join(join("recipe", name), "inherit")] })
	for _, name := range names {
		if _, ok := tables[name].(map[string]any); ok {
			path := join("recipe", name)
			d.checkRecipe(c.Recipes[name], path, lost && d.given[join(path, "inherit")])
		}
	}
}

func through(name, parent string) string {
	if name == parent {
		return ""
	}
	return fmt.Sprintf(" by way of %q", parent)
}

// nameHint suggests one of the names that the file defines.
func (d *decoder) nameHint(name string, known []string, what string) string {
	if near, ok := Nearest(name, known); ok {
		return fmt.Sprintf("did you mean %q?", near)
	}
	if len(known) == 0 {
		return fmt.Sprintf("add a table [%s.%s]", what, name)
	}
	return fmt.Sprintf("the file has: %s", strings.Join(known, ", "))
}

// stem is a file's name without folder and extension.
func stem(path string) string {
	base := filepath.Base(path)
	return strings.TrimSuffix(base, filepath.Ext(base))
}
