package experiment

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// decoder fills structs from the generic value that the TOML library makes, and notes all that does not fit.
type decoder struct {
	src      *source
	given    map[string]bool // paths of the keys in the file, whether or not their values are any good
	noted    map[string]bool // paths that have a problem
	problems []Problem
}

func newDecoder(src *source) *decoder {
	return &decoder{src: src, given: map[string]bool{}, noted: map[string]bool{}}
}

// good reports whether the key at path is in the file and has a value that fits.
func (d *decoder) good(path string) bool { return d.given[path] && !d.noted[path] }

// misfit says why a value does not fit its key ("wants an integer, not a string"), and the way out.
type misfit struct{ what, hint string }

// fromTOML is implemented by types that read their own values.
type fromTOML interface{ fromTOML(raw any) *misfit }

// atKey and atValue note a problem with what stands at path.
func (d *decoder) atKey(path, hint, format string, args ...any) {
	d.note(path, d.src.spot(path).key, fmt.Sprintf(format, args...), hint)
}

func (d *decoder) atValue(path, hint, format string, args ...any) {
	d.note(path, d.src.spot(path).value, fmt.Sprintf(format, args...), hint)
}

func (d *decoder) note(path string, where span, message, hint string) {
	d.noted[path] = true
	d.problems = append(d.problems, d.src.problemAt(path, where, message, hint))
}

// label is a path as messages show it: without the numbers of elements, which the line tells better.
func label(path string) string {
	var out strings.Builder
	for path != "" {
		before, after, found := strings.Cut(path, "[")
		out.WriteString(before)
		if !found {
			break
		}
		_, path, _ = strings.Cut(after, "]")
	}
	return out.String()
}

// table fills the struct v from the table at path. Keys that the table lacks leave v as it is.
func (d *decoder) table(v reflect.Value, raw map[string]any, path string) {
	fields := map[string]reflect.StructField{}
	for _, field := range reflect.VisibleFields(v.Type()) {
		if key := field.Tag.Get("toml"); key != "" {
			fields[key] = field
		}
	}
	for _, key := range slices.Sorted(maps.Keys(raw)) {
		at := join(path, key)
		field, known := fields[key]
		if !known {
			d.atKey(at, d.unknownKeyHint(key, path, slices.Sorted(maps.Keys(fields))), "unknown key %q", label(at))
			continue
		}
		d.given[at] = true
		d.value(v.FieldByIndex(field.Index), raw[key], at, field.Tag)
	}
}

// otherWords are words of other programs for our keys.
var otherWords = map[string]string{
	"alpha": "step_size", "eps_step": "step_size", "eps": "epsilon", "iterations": "steps", "iters": "steps", "nb_iter": "steps",
	"learning_rate": "lr", "optimizer": "opt", "optimiser": "opt", "scheduler": "sched", "wd": "weight_decay", "batch_size": "batch",
	"filter": "interpolation", "kwargs": "args", "file": "path", "folder": "path", "root": "path", "output": "out", "num_clusters": "k",
	"n_clusters": "k",
}

func (d *decoder) unknownKeyHint(key, path string, known []string) string {
	if near, ok := Nearest(key, known); ok {
		return fmt.Sprintf("did you mean %q?", near)
	}
	if ours := otherWords[strings.ToLower(key)]; slices.Contains(known, ours) {
		return fmt.Sprintf("here the word is %q", ours)
	}
	if homes := tablesWith(reflect.TypeFor[Config](), "", key); len(homes) > 0 {
		// The nearest to the top first: [attack] before a table inside a recipe.
		slices.SortStableFunc(homes, func(a, b string) int { return strings.Count(a, ".") - strings.Count(b, ".") })
		return fmt.Sprintf("%q belongs in %s", key, strings.Join(homes, " or "))
	}
	where := "the top of the file"
	if path != "" {
		where = "[" + label(path) + "]"
	}
	return fmt.Sprintf("keys of %s: %s", where, strings.Join(known, ", "))
}

// tablesWith lists the headers of the tables below t that know key.
func tablesWith(t reflect.Type, header, key string) (found []string) {
	for i := range t.NumField() {
		field := t.Field(i)
		name := field.Tag.Get("toml")
		if name == "" {
			continue
		}
		if name == key && header != "" {
			found = append(found, header)
		}
		path := join(strings.Trim(header, "[]"), name)
		switch kind := field.Type; {
		case kind.Kind() == reflect.Struct && !isOwn(kind):
			found = append(found, tablesWith(kind, "["+path+"]", key)...)
		case kind.Kind() == reflect.Pointer:
			found = append(found, tablesWith(kind.Elem(), "["+path+"]", key)...)
		case kind.Kind() == reflect.Slice && kind.Elem().Kind() == reflect.Struct && !isOwn(kind.Elem()):
			found = append(found, tablesWith(kind.Elem(), "[["+path+"]]", key)...)
		case kind == reflect.TypeFor[map[string]*Recipe]():
			found = append(found, tablesWith(kind.Elem().Elem(), "["+path+".NAME]", key)...)
		}
	}
	return found
}

// isOwn reports whether values of t read themselves.
func isOwn(t reflect.Type) bool { return reflect.PointerTo(t).Implements(reflect.TypeFor[fromTOML]()) }

// value sets v from raw, the value at path, and checks it against the tag.
func (d *decoder) value(v reflect.Value, raw any, path string, tag reflect.StructTag) {
	if own, ok := v.Addr().Interface().(fromTOML); ok {
		if wrong := own.fromTOML(raw); wrong != nil {
			d.atValue(path, wrong.hint, "%s %s", label(path), wrong.what)
			return
		}
		d.limits(v, path, tag)
		return
	}
	switch v.Kind() {
	case reflect.Pointer: // a table that asks for something by being there
		v.Set(reflect.New(v.Type().Elem()))
		setDefaults(v.Elem())
		d.value(v.Elem(), raw, path, tag)
	case reflect.Struct:
		if fields, ok := raw.(map[string]any); ok {
			d.table(v, fields, path)
			return
		}
		d.wants(path, "a table", raw, fmt.Sprintf("write [%s] on a line of its own and the keys below it", label(path)))
	case reflect.Slice:
		d.slice(v, raw, path, tag)
	case reflect.Map:
		d.dictionary(v, raw, path)
	default:
		if wrong := setPlain(v, raw); wrong != nil {
			d.atValue(path, wrong.hint, "%s %s", label(path), wrong.what)
			return
		}
		d.limits(v, path, tag)
	}
}

func (d *decoder) wants(path, what string, raw any, hint string) {
	d.atValue(path, hint, "%s wants %s, not %s", label(path), what, kindOf(raw))
}

func (d *decoder) slice(v reflect.Value, raw any, path string, tag reflect.StructTag) {
	ofTables := v.Type().Elem().Kind() == reflect.Struct && !isOwn(v.Type().Elem())
	var elements []any
	switch raw := raw.(type) {
	case []any:
		elements = raw
	case []map[string]any:
		for _, table := range raw {
			elements = append(elements, table)
		}
	case map[string]any:
		if ofTables { // [model] where [[model]] was meant
			d.atKey(path, fmt.Sprintf("write [[%s]], with two brackets, once for each", label(path)), "%s can be there several times", label(path))
			return
		}
	}
	if elements == nil {
		if _, empty := raw.([]any); !empty {
			d.wants(path, "an array", raw, "write the values between brackets, separated by commas")
		}
		return
	}
	list := reflect.MakeSlice(v.Type(), len(elements), len(elements))
	for i, element := range elements {
		if ofTables {
			setDefaults(list.Index(i))
		}
		d.value(list.Index(i), element, index(path, i), tag)
	}
	v.Set(list)
}

// dictionary sets a map with keys of the user's choice: arguments (any values) or components (strings).
func (d *decoder) dictionary(v reflect.Value, raw any, path string) {
	table, ok := raw.(map[string]any)
	if !ok {
		d.wants(path, "a table", raw, "write "+label(path)+" = { key = value, ... }")
		return
	}
	if _, strings := v.Interface().(map[string]string); !strings {
		for _, key := range slices.Sorted(maps.Keys(table)) {
			d.argument(table[key], join(path, key))
		}
		v.Set(reflect.ValueOf(table))
		return
	}
	out := map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(table)) {
		d.given[join(path, key)] = true
		text, ok := table[key].(string)
		switch {
		case !ok:
			d.wants(join(path, key), "a string", table[key], "write it between quotes")
		case strings.TrimSpace(text) == "":
			d.atValue(join(path, key), `write "-" if the model has no such component`, "%s is empty", label(join(path, key)))
		}
		out[key] = strings.TrimSpace(text)
	}
	v.Set(reflect.ValueOf(out))
}

// argument refuses what a Python call cannot be given through JSON.
func (d *decoder) argument(raw any, path string) {
	switch raw := raw.(type) {
	case string, int64, bool:
	case float64:
		if math.IsNaN(raw) || math.IsInf(raw, 0) {
			d.atValue(path, "write a finite number", "%s is %v", label(path), raw)
		}
	case []any:
		for i, element := range raw {
			d.argument(element, index(path, i))
		}
	case []map[string]any:
		for i, element := range raw {
			d.argument(element, index(path, i))
		}
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(raw)) {
			d.argument(raw[key], join(path, key))
		}
	default:
		d.atValue(path, "arguments are strings, numbers, booleans, arrays and tables", "%s cannot be %s", label(path), kindOf(raw))
	}
}

// setPlain sets a string, number or boolean.
func setPlain(v reflect.Value, raw any) *misfit {
	text, isText := raw.(string)
	unquoted := func(works bool) string { // the usual reason
		if isText && works {
			return fmt.Sprintf("write %s without the quotes", text)
		}
		return ""
	}
	switch v.Kind() {
	case reflect.String:
		if !isText {
			return &misfit{"wants a string, not " + kindOf(raw), "write it between quotes"}
		}
		v.SetString(text)
	case reflect.Bool:
		b, ok := raw.(bool)
		if !ok {
			return &misfit{"wants true or false, not " + kindOf(raw), unquoted(text == "true" || text == "false")}
		}
		v.SetBool(b)
	case reflect.Int, reflect.Uint64:
		n, ok := raw.(int64)
		if !ok {
			_, err := strconv.ParseInt(text, 10, 64)
			return &misfit{"wants an integer, not " + kindOf(raw), cmp.Or(unquoted(err == nil), "write a whole number")}
		}
		if v.Kind() == reflect.Int {
			if n > math.MaxInt32 || n < math.MinInt32 {
				return &misfit{fmt.Sprintf("is %d, which is too large", n), fmt.Sprintf("at most %d", math.MaxInt32)}
			}
			v.SetInt(n)
			return nil
		}
		if n < 0 {
			return &misfit{fmt.Sprintf("is %d", n), "it cannot be negative"}
		}
		v.SetUint(uint64(n))
	case reflect.Float64:
		var f float64
		switch raw := raw.(type) {
		case float64:
			f = raw
		case int64:
			f = float64(raw)
		default:
			_, err := strconv.ParseFloat(text, 64)
			return &misfit{"wants a number, not " + kindOf(raw), cmp.Or(unquoted(err == nil), "write a number")}
		}
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return &misfit{fmt.Sprintf("is %v", f), "write a finite number"}
		}
		v.SetFloat(f)
	default:
		panic("experiment: no rule for a field of type " + v.Type().String())
	}
	return nil
}

// limits checks a value against the tags enum, min, max, above and below.
func (d *decoder) limits(v reflect.Value, path string, tag reflect.StructTag) {
	if words := strings.Fields(tag.Get("enum")); len(words) > 0 && !slices.Contains(words, v.String()) {
		hint := "one of: " + strings.Join(words, ", ")
		if len(words) == 1 {
			hint = fmt.Sprintf("so far only %q", words[0])
		} else if near, ok := Nearest(v.String(), words); ok {
			hint = fmt.Sprintf("did you mean %q? (%s)", near, hint)
		}
		d.atValue(path, hint, "%s has no value %q", label(path), v.String())
		return
	}
	var number float64
	shown := fmt.Sprint(v.Interface())
	switch v := v.Interface().(type) {
	case int:
		number = float64(v)
	case float64:
		number = v
	case Fraction:
		number = v.Float64()
	default:
		return
	}
	for _, limit := range []struct {
		tag, words string
		ok         func(limit float64) bool
	}{
		{"min", "at least", func(l float64) bool { return number >= l }},
		{"max", "at most", func(l float64) bool { return number <= l }},
		{"above", "more than", func(l float64) bool { return number > l }},
		{"below", "less than", func(l float64) bool { return number < l }},
	} {
		bound := tag.Get(limit.tag)
		if bound == "" {
			continue
		}
		l, err := strconv.ParseFloat(bound, 64)
		if err != nil {
			panic("experiment: bad tag of " + path)
		}
		if limit.ok(l) {
			continue
		}
		hint := fmt.Sprintf("%s %s", limit.words, bound)
		if strings.HasSuffix(label(path), "epsilon") && number > 1 && number <= 255 {
			hint = fmt.Sprintf(`pixels are in [0,1]; did you mean "%s/255"?`, shown)
		}
		d.atValue(path, hint, "%s is %s", label(path), shown)
		return
	}
}

// kindOf names the type of a TOML value.
func kindOf(raw any) string {
	switch raw.(type) {
	case string:
		return "a string"
	case int64:
		return "an integer"
	case float64:
		return "a decimal number"
	case bool:
		return "true or false"
	case []any, []map[string]any:
		return "an array"
	case map[string]any:
		return "a table"
	default:
		return "a date or time"
	}
}
