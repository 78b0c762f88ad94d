package experiment

import (
	"fmt"
	"maps"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Resolved returns the experiment as a TOML file in which every default is written out, with a comment on meaning and
// unit beside each key. Equal Configs give equal bytes, and Parse gives the same Config back.
func (c *Config) Resolved() []byte {
	w := &writer{}
	w.WriteString("# An experiment of sat with every default filled in.\n")
	w.table("", reflect.ValueOf(c).Elem())
	return []byte(w.String())
}

type writer struct{ strings.Builder }

// table writes the keys of the struct v, then the tables inside it.
func (w *writer) table(path string, v reflect.Value) {
	t := v.Type()
	for i := range t.NumField() {
		field := t.Field(i)
		if key := field.Tag.Get("toml"); key != "" && !isTable(field.Type) && written(v, i) {
			fmt.Fprintf(w, "%s = %s", key, tomlValue(v.Field(i)))
			if doc := comment(field.Tag); doc != "" {
				fmt.Fprintf(w, "  # %s", doc)
			}
			w.WriteByte('\n')
		}
	}
	for i := range t.NumField() {
		field, value := t.Field(i), v.Field(i)
		key := field.Tag.Get("toml")
		if key == "" || !isTable(field.Type) {
			continue
		}
		at := join(path, key)
		switch kind := field.Type.Kind(); {
		case kind == reflect.Struct:
			if hasKeys(value) {
				fmt.Fprintf(w, "\n[%s]\n", at)
			}
			w.table(at, value)
		case kind == reflect.Pointer:
			if !value.IsNil() {
				fmt.Fprintf(w, "\n[%s]\n", at)
				w.table(at, value.Elem())
			}
		case kind == reflect.Slice:
			for j := range value.Len() {
				fmt.Fprintf(w, "\n[[%s]]\n", at)
				w.table(at, value.Index(j))
			}
		case field.Type == reflect.TypeFor[map[string]*Recipe]():
			recipes := value.Interface().(map[string]*Recipe)
			for _, name := range slices.Sorted(maps.Keys(recipes)) {
				fmt.Fprintf(w, "\n[%s.%s]\n", at, tomlKey(name))
				w.table(at+"."+name, reflect.ValueOf(recipes[name]).Elem())
			}
		case field.Type == reflect.TypeFor[map[string]string](): // components, in the paper's order
			components := value.Interface().(map[string]string)
			if components == nil {
				continue
			}
			fmt.Fprintf(w, "\n[%s]\n", at)
			for _, name := range ComponentNames {
				fmt.Fprintf(w, "%s = %s\n", name, tomlString(components[name]))
			}
		default: // arguments
			if args := value.Interface().(map[string]any); args != nil {
				fmt.Fprintf(w, "\n[%s]\n", at)
				for _, name := range slices.Sorted(maps.Keys(args)) {
					fmt.Fprintf(w, "%s = %s\n", tomlKey(name), tomlAny(args[name]))
				}
			}
		}
	}
}

// isTable reports whether a field is written under a header of its own.
func isTable(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Struct:
		return !isOwn(t)
	case reflect.Slice:
		return t.Elem().Kind() == reflect.Struct && !isOwn(t.Elem())
	}
	return t.Kind() == reflect.Map || t.Kind() == reflect.Pointer
}

// hasKeys reports whether a table has a line of its own, so that [analysis], which only holds tables, gets no header.
func hasKeys(v reflect.Value) bool {
	for i := range v.NumField() {
		if field := v.Type().Field(i); field.Tag.Get("toml") != "" && !isTable(field.Type) && written(v, i) {
			return true
		}
	}
	return false
}

// written reports whether a key is given and means something.
func written(v reflect.Value, i int) bool {
	field := v.Type().Field(i)
	if field.Tag.Get("optional") != "" && v.Field(i).IsZero() {
		return false
	}
	key, words, conditional := condition(field)
	if !conditional {
		return true
	}
	for j := range v.NumField() {
		if v.Type().Field(j).Tag.Get("toml") == key {
			return slices.Contains(words, v.Field(j).String())
		}
	}
	return false
}

// comment is the meaning of a key and the words it accepts.
func comment(tag reflect.StructTag) string {
	doc := tag.Get("doc")
	if words := strings.Fields(tag.Get("enum")); len(words) > 1 {
		choices := strings.Join(words, ", ")
		if doc == "" {
			return choices
		}
		return doc + " (" + choices + ")"
	}
	return doc
}

func tomlValue(v reflect.Value) string {
	switch value := v.Interface().(type) {
	case Fraction:
		return value.toTOML()
	case Bytes:
		return tomlString(value.String())
	case Size:
		return fmt.Sprintf("[%d, %d]", value.Height, value.Width)
	case Draw:
		return value.toTOML()
	}
	if v.Kind() == reflect.Slice {
		var elements []string
		for i := range v.Len() {
			elements = append(elements, tomlValue(v.Index(i)))
		}
		return "[" + strings.Join(elements, ", ") + "]"
	}
	return tomlAny(v.Interface())
}

// tomlAny writes a plain value, or an argument of any depth on one line.
func tomlAny(raw any) string {
	switch v := raw.(type) {
	case string:
		return tomlString(v)
	case float64:
		text := strconv.FormatFloat(v, 'g', -1, 64)
		if !strings.ContainsAny(text, ".e") && !math.IsInf(v, 0) && !math.IsNaN(v) {
			text += ".0" // or an argument would become an integer
		}
		return text
	case []any:
		var elements []string
		for _, element := range v {
			elements = append(elements, tomlAny(element))
		}
		return "[" + strings.Join(elements, ", ") + "]"
	case []map[string]any:
		var elements []string
		for _, element := range v {
			elements = append(elements, tomlAny(element))
		}
		return "[" + strings.Join(elements, ", ") + "]"
	case map[string]any:
		var pairs []string
		for _, key := range slices.Sorted(maps.Keys(v)) {
			pairs = append(pairs, tomlKey(key)+" = "+tomlAny(v[key]))
		}
		return "{" + strings.Join(pairs, ", ") + "}"
	default:
		return fmt.Sprint(v) // integers and booleans
	}
}

var bareKey = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

func tomlKey(key string) string {
	if bareKey.MatchString(key) {
		return key
	}
	return tomlString(key)
}

// tomlString quotes a text. TOML's escapes are fewer than Go's.
func tomlString(text string) string {
	var out strings.Builder
	out.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			out.WriteByte('\\')
			out.WriteRune(r)
		case r < 0x20 || r == 0x7f:
			fmt.Fprintf(&out, `\u%04X`, r)
		default:
			out.WriteRune(r)
		}
	}
	out.WriteByte('"')
	return out.String()
}
