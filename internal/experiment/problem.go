package experiment

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Problem is one thing wrong with an experiment file, and the way out.
type Problem struct {
	File    string
	Line    int    // from 1; 0 if the problem is with the file as a whole
	Column  int    // of the first marked character, from 1
	Length  int    // number of marked characters
	Text    string // of the line
	Message string
	Hint    string // the way out
}

// maxShown is how many characters of a line are shown; longer ones are cut around the mark.
const maxShown = 110

// String returns the problem as a person reads it, in three lines.
func (p Problem) String() string {
	if p.Line == 0 {
		return strings.TrimSuffix(fmt.Sprintf("%s: %s\n      | %s", p.File, p.Message, p.Hint), "\n      | ")
	}
	text := []rune(strings.TrimRight(p.Text, "\r"))
	for i, r := range text {
		if r != '\t' && !unicode.IsPrint(r) {
			text[i] = '\ufffd'
		}
	}
	column := min(p.Column-1, len(text))
	if len(text) > maxShown {
		from := max(0, min(column-maxShown/2, len(text)-maxShown))
		text, column = text[from:from+maxShown], column-from
	}
	var pad strings.Builder
	for _, r := range text[:column] {
		if r != '\t' {
			r = ' '
		}
		pad.WriteRune(r) // a tab takes as much room here as in the line above
	}
	mark := strings.Repeat("^", max(1, min(p.Length, len(text)-column)))
	return strings.TrimRight(fmt.Sprintf("%s:%d: %s\n%5d | %s\n      | %s%s %s", p.File, p.Line, p.Message, p.Line, string(text), &pad, mark, p.Hint), " ")
}

// Problems is the error that Load returns: everything that is wrong, in the order of the file.
type Problems struct {
	List  []Problem
	cause error // of the operating system, if the file could not be read
}

// Unwrap returns why the file could not be read, or nil.
func (p *Problems) Unwrap() error { return p.cause }

// Error returns all problems, one after the other.
func (p *Problems) Error() string {
	lines := make([]string, len(p.List))
	for i, problem := range p.List {
		lines[i] = problem.String()
	}
	return strings.Join(lines, "\n")
}

func (p *Problems) sort() {
	slices.SortStableFunc(p.List, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}

// problem makes a Problem that marks a range of the text. A range over several lines is marked on its first.
func (s *source) problem(where span, message, hint string) Problem {
	start := min(max(where.start, 0), len(s.text))
	lineStart := strings.LastIndexByte(s.text[:start], '\n') + 1
	text, _, _ := strings.Cut(s.text[lineStart:], "\n")
	end := min(max(where.end, start), lineStart+len(text))
	return Problem{
		File: s.file, Line: 1 + strings.Count(s.text[:start], "\n"), Text: text,
		Column:  1 + utf8.RuneCountInString(s.text[lineStart:start]),
		Length:  utf8.RuneCountInString(s.text[start:max(start, end)]),
		Message: message, Hint: hint,
	}
}

// Nearest returns the known word that word was probably meant to be: one whose letters differ least (transposed
// neighbours count once; case, "-" and "_" do not count), or the only one that starts with word. Words that differ in
// more than a third of their letters are not near.
func Nearest(word string, known []string) (string, bool) {
	plain := strings.NewReplacer("-", "", "_", "", " ", "")
	fold := func(s string) []rune { return []rune(plain.Replace(strings.ToLower(s))) }
	a := fold(word)
	best, bestDistance := "", len(a) // a word of other letters only is never near
	for _, candidate := range known {
		b := fold(candidate)
		distance := editDistance(a, b)
		if distance <= max(1, max(len(a), len(b))/3) && distance < bestDistance {
			best, bestDistance = candidate, distance
		}
	}
	if best != "" {
		return best, true
	}
	const shortest = 3 // letters that make a beginning
	for _, candidate := range known {
		if len(a) >= shortest && strings.HasPrefix(string(fold(candidate)), string(a)) {
			if best != "" {
				return "", false
			}
			best = candidate
		}
	}
	return best, best != ""
}

// editDistance is the number of insertions, deletions, replacements and swaps of neighbours between a and b.
func editDistance(a, b []rune) int {
	const maxWord = 64 // longer than any of ours, and the table stays small
	if len(a) > maxWord || len(b) > maxWord {
		return max(len(a), len(b))
	}
	d := make([][]int, len(a)+1)
	for i := range d {
		d[i] = make([]int, len(b)+1)
		d[i][0] = i
	}
	for j := range d[0] {
		d[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			replace := 1
			if a[i-1] == b[j-1] {
				replace = 0
			}
			d[i][j] = min(d[i-1][j]+1, d[i][j-1]+1, d[i-1][j-1]+replace)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return d[len(a)][len(b)]
}
