package experiment

import (
	"strconv"
	"strings"
)

// source is the text of an experiment file with the places of its keys and values.
type source struct {
	file  string
	text  string
	spots map[string]spot   // by path: "attack.epsilon", "model[2].args.depth", "sweep.epsilon[0]"
	twice []string          // paths that get a value although they have one, which the TOML library lets pass in places
	set   map[string]string // paths that the command line gives another value, with its words
}

// spot is where something stands. For a table or an element of an array of tables, key is the key in its header.
type spot struct{ key, value span }

// span is a range of bytes of the text; end is exclusive.
type span struct{ start, end int }

// scan finds the spots. It relies on the text being valid TOML, as the TOML library has established before; should the two
// ever disagree, spots are missing, and a problem points at the surrounding table instead of at the key.
func scan(file, text string) *source {
	s := &scanner{text: text, src: &source{file: file, text: text, spots: map[string]spot{}}, elements: map[string]int{}}
	s.document()
	return s.src
}

// spot returns where path stands, or else what encloses it, or else the start of the file.
func (s *source) spot(path string) spot {
	for path != "" {
		if found, ok := s.spots[path]; ok {
			return found
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
	return spot{}
}

type scanner struct {
	text     string
	at       int
	src      *source
	elements map[string]int // of each array of tables so far
}

func (s *scanner) document() {
	table := ""
	for {
		s.space(true)
		start := s.at
		switch {
		case s.at == len(s.text):
			return
		case s.text[s.at] == '[':
			table = s.header()
		default:
			s.pair(table)
		}
		if s.at == start {
			return // not TOML after all
		}
		s.restOfLine()
	}
}

// header reads [a.b] or [[a.b]] and returns the path that the following pairs belong to.
func (s *scanner) header() (table string) {
	s.at++
	array := s.skip('[')
	s.space(false)
	keys, where := s.keys()
	for i, key := range keys {
		table = join(table, key)
		last := i == len(keys)-1
		switch {
		case last && array:
			table = s.element(table)
			s.src.spots[table] = spot{where[i], where[i]}
		case s.elements[table] > 0: // [a.b] after [[a]] belongs to the last a
			table = index(table, s.elements[table]-1)
		default:
			if _, known := s.src.spots[table]; !known {
				s.src.spots[table] = spot{where[i], where[i]}
			}
		}
	}
	s.skip(']')
	s.skip(']')
	return table
}

func (s *scanner) element(array string) string {
	s.elements[array]++
	return index(array, s.elements[array]-1)
}

// pair reads a.b = value.
func (s *scanner) pair(table string) {
	keys, where := s.keys()
	if len(keys) == 0 {
		return
	}
	path := table
	for i, key := range keys {
		path = join(path, key)
		known, again := s.src.spots[path]
		if again && (i == len(keys)-1 || known.value != known.key) {
			s.src.twice = append(s.src.twice, path)
		}
		if !again {
			s.src.spots[path] = spot{where[i], where[i]}
		}
	}
	s.space(false)
	s.skip('=')
	s.space(false)
	start := s.at
	s.value(path)
	s.src.spots[path] = spot{where[len(where)-1], span{start, s.at}}
}

// keys reads a dotted key.
func (s *scanner) keys() (keys []string, where []span) {
	for {
		s.space(false)
		start := s.at
		var key string
		switch {
		case s.at < len(s.text) && (s.text[s.at] == '"' || s.text[s.at] == '\''):
			s.str()
			key = s.text[start:s.at]
			if unquoted, err := strconv.Unquote(key); err == nil {
				key = unquoted
			} else {
				key = strings.Trim(key, `"'`)
			}
		default:
			for s.at < len(s.text) && !strings.ContainsRune(" \t\r\n.=[]{},#\"'", rune(s.text[s.at])) {
				s.at++
			}
			key = s.text[start:s.at]
		}
		if s.at == start {
			return keys, where
		}
		keys, where = append(keys, key), append(where, span{start, s.at})
		s.space(false)
		if !s.skip('.') {
			return keys, where
		}
	}
}

func (s *scanner) value(path string) {
	if s.at == len(s.text) {
		return
	}
	switch s.text[s.at] {
	case '"', '\'':
		s.str()
	case '[':
		s.at++
		for i := 0; ; i++ {
			s.space(true)
			if s.at == len(s.text) || s.skip(']') {
				return
			}
			start := s.at
			s.value(index(path, i))
			s.src.spots[index(path, i)] = spot{span{start, s.at}, span{start, s.at}}
			s.space(true)
			if !s.skip(',') && s.at == start {
				return
			}
		}
	case '{':
		s.at++
		for {
			s.space(true)
			start := s.at
			if s.at == len(s.text) || s.skip('}') {
				return
			}
			s.pair(path)
			s.space(true)
			if !s.skip(',') && s.at == start {
				return
			}
		}
	default: // number, boolean, date: dates may hold one space, so the end is where nothing else can be
		end := strings.IndexAny(s.text[s.at:], ",]}#\r\n")
		if end < 0 {
			end = len(s.text) - s.at
		}
		s.at += len(strings.TrimRight(s.text[s.at:s.at+end], " \t"))
	}
}

// str reads a string of any of the four kinds.
func (s *scanner) str() {
	quote := s.text[s.at : s.at+1]
	if triple := strings.Repeat(quote, 3); strings.HasPrefix(s.text[s.at:], triple) {
		quote = triple
	}
	s.at += len(quote)
	for s.at < len(s.text) {
		switch {
		case quote[0] == '"' && s.text[s.at] == '\\':
			s.at = min(s.at+2, len(s.text))
		case strings.HasPrefix(s.text[s.at:], quote):
			s.at += len(quote)
			// A multi-line string may end with one or two quotes of its own.
			for range 2 {
				if len(quote) == 3 {
					s.skip(quote[0])
				}
			}
			return
		default:
			s.at++
		}
	}
}

// space skips blanks and, over several lines, also line ends and comments.
func (s *scanner) space(lines bool) {
	for s.at < len(s.text) {
		switch c := s.text[s.at]; {
		case c == ' ' || c == '\t':
			s.at++
		case lines && (c == '\n' || c == '\r'):
			s.at++
		case lines && c == '#':
			for s.at < len(s.text) && s.text[s.at] != '\n' {
				s.at++
			}
		default:
			return
		}
	}
}

func (s *scanner) restOfLine() {
	s.space(false)
	if s.at < len(s.text) && s.text[s.at] == '#' {
		s.space(true)
	}
}

// skip skips c if it is next.
func (s *scanner) skip(c byte) bool {
	if s.at < len(s.text) && s.text[s.at] == c {
		s.at++
		return true
	}
	return false
}

func join(table, key string) string {
	if table == "" {
		return key
	}
	return table + "." + key
}

func index(array string, i int) string { return array + "[" + strconv.Itoa(i) + "]" }
