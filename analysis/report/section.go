package report

import (
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// A section is one family of results: it reads its own files, draws its own figures, and says what report.html, report.md
// and report.json show of them. doc.go tells how to add one.
type section struct {
	id    string // anchor in the page, key under results in report.json, column section of paper.csv
	nav   string // name in the navigation; "" leaves it out
	title string
	lead  string // what a reader sees here, in one or two sentences
	// files are the result files it is made of, below analysis/. Their NAME.meta.json become its settings, and what was
	// not run is explained by their names.
	files   []string
	needs   string // a file of the run outside analysis/ that it is made of, if files are none
	command string // that writes them, for readers who find nothing here
	// read returns nil when the files are not there. Files that are wrong, or disagree with the run, are an error.
	read func(r *Run) (*content, error)
}

// content is what a section shows.
type content struct {
	blocks []block
	values map[string]ownValue // numbers of ours that paper.csv has a value for, by its id
	data   any                 // for report.json, under results; nil: nothing beyond blocks and values
}

// sections are those of the page, in its order.
var sections = []*section{
	clustersSection, embeddingSection, importanceSection, ensembleSection, trainingSection, pretrainingSection, distillationSection,
	attacksSection, guardsSection, picturesSection, boundarySection, stabilitySection, hardenedSection, novelSection,
	catalogueSection, correlationsSection,
}

// readSections reads what each section is made of and the settings beside it.
func readSections(r *Run) error {
	r.sections, r.scatters = map[string]*content{}, map[string]*scatter{}
	for _, s := range sections {
		c, err := s.read(r)
		if err != nil {
			return err
		}
		if c == nil {
			continue
		}
		r.sections[s.id] = c
		for _, name := range s.files {
			if err := r.readMeta(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// readMeta makes the provenance beside a file of analysis/ one of the run's settings.
func (r *Run) readMeta(name string) error {
	var values settingMap
	found, err := readJSON(r.path("analysis", strings.TrimSuffix(name, ".csv")+".meta.json"), &values)
	if found {
		r.Settings["analysis/"+name] = values
	}
	return err
}

// analysisTable reads a file of analysis/ and the bytes a reader may download; nil when it is not there.
func (r *Run) analysisTable(name string, required ...string) (*table, []byte, error) {
	path := r.path("analysis", name)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	t, err := parseTable(path, strings.NewReader(string(b)), required...)
	return t, b, err
}

// block is a piece of a section. Exactly one of its fields says which kind it is.
type block struct {
	Heading string
	Text    string      // paragraph
	Strong  string      // paragraph that states a finding
	Note    string      // small print
	NotRun  string      // what is missing
	Figure  *figure     //
	Table   *dataTable  //
	Keys    []keyValue  // settings
	Cards   []card      // one per group of models
	Label   string      // of cards: what they are
	Fold    *foldedPart // opened by the reader
}

type foldedPart struct {
	Summary string
	Blocks  []block
}

// dataTable is a table of the page and of report.md. The first cell of a row names the row.
type dataTable struct {
	Label   string // what it holds, for readers who cannot see it
	Columns []column
	Rows    [][]cellText
	Narrow  bool // no wider than its content
	// Stem and CSV, where given, are the table as a file of figures/, with all digits.
	Stem string
	CSV  []byte
}

type column struct {
	Name   string
	Number bool // aligned to the right
}

type cellText struct {
	Text  string
	Small string // second line
	Color string // of a mark in front, "" none
	Badge string // class of a verdict
	Bold  bool
}

func badge(verdict string) cellText {
	return cellText{Text: verdict, Badge: strings.ReplaceAll(verdict, " ", "-")}
}

// card is a small box about a group of models.
type card struct {
	Title, Small, Color string
	List                []cellText
	Members             []string
}

// CSS is the colour as the page's template wants it.
func (c card) CSS() template.CSS { return template.CSS(c.Color) }

// columns makes text columns; a name that starts with # is a column of numbers.
func columns(names ...string) (out []column) {
	for _, name := range names {
		plain := strings.TrimPrefix(name, "#")
		out = append(out, column{plain, plain != name})
	}
	return out
}

// cells makes plain cells.
func cells(texts ...string) (out []cellText) {
	for _, s := range texts {
		out = append(out, cellText{Text: s})
	}
	return out
}

// figuresIn returns the figures of blocks in their order.
func figuresIn(blocks []block) (out []*figure) {
	for _, b := range blocks {
		if b.Figure != nil {
			out = append(out, b.Figure)
		}
		if b.Fold != nil {
			out = append(out, figuresIn(b.Fold.Blocks)...)
		}
	}
	return out
}

// tablesIn returns the tables of blocks that are files of their own.
func tablesIn(blocks []block) (out []*dataTable) {
	for _, b := range blocks {
		if b.Table != nil && b.Table.Stem != "" {
			out = append(out, b.Table)
		}
		if b.Fold != nil {
			out = append(out, tablesIn(b.Fold.Blocks)...)
		}
	}
	return out
}

// settingsSummary names the folded settings of a section. On paper they stay folded: they stand together at the end too.
const settingsSummary = "Settings and scope"

// shown is a section that was run as the page and report.md show it: its blocks, the paper's values beside ours, and its
// settings.
func (s *section) shown(r *Run, comparisons []comparison) []block {
	c := r.sections[s.id]
	blocks := append(slices.Clone(c.blocks), comparisonBlocks(r, comparisons, s.id)...)
	var settings []block
	for _, name := range s.files {
		if values := pairsOf(r.Settings["analysis/"+name]); len(values) > 0 {
			settings = append(settings, block{Heading: name}, block{Keys: values})
		}
	}
	if settings != nil {
		blocks = append(blocks, block{Fold: &foldedPart{Summary: settingsSummary, Blocks: settings}})
	}
	return blocks
}

// missing says why there is nothing of a section.
func (s *section) missing() string {
	text := "there is no " + s.needs
	if len(s.files) > 0 {
		text = "there is no " + strings.Join(s.files, ", ") + " in analysis/"
	}
	if s.command != "" {
		text += fmt.Sprintf(" (%s)", s.command)
	}
	return text + "."
}

// comparisonBlocks is the table of the paper's values of one section beside ours.
func comparisonBlocks(r *Run, list []comparison, id string) []block {
	t := comparisonTable()
	for _, c := range list {
		if c.Section == id {
			t.Rows = append(t.Rows, c.row(r.paperScale()))
		}
	}
	if t.Rows == nil {
		return nil
	}
	return []block{{Heading: "Beside the paper"}, {Table: t}}
}

func comparisonTable() *dataTable {
	return &dataTable{Label: "Values of the paper beside ours", Columns: columns("Where", "Quantity", "Paper", "Ours", "#Difference", "Verdict")}
}
