package analysis

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Features is a table of the architectural components of models, all categorical.
type Features struct {
	Models     []string
	Components []string   // column names, for example "stem_layer"
	Values     [][]string // Values[m][c]; "" and "-" mean that the model has no such component
}

// BaseMap chooses how the base architectures of the paper's tables are grouped (column "base_architecture").
type BaseMap string

const (
	// BaseTable takes the strings of Tab. A.3 as they stand.
	BaseTable BaseMap = "table"
	// BaseElements follows Tab. A.2, where both kinds of searched architecture are one: NAS.
	BaseElements BaseMap = "elements"
	// BaseKeywords is the grouping that reproduces the keywords of Tab. 2: hybrids and searched Transformers count as
	// Transformer, searched convolutional networks as NAS.
	BaseKeywords BaseMap = "keywords"
)

// Attention chooses whether the kind of an attention layer, in brackets behind Yes, is part of the category.
type Attention string

const (
	// AttentionPresence drops the kind, as Tab. A.2 does.
	AttentionPresence Attention = "presence"
	// AttentionKind keeps it.
	AttentionKind Attention = "kind"
)

// baseColumn is the component that a BaseMap groups.
const baseColumn = "base_architecture"

var baseMaps = map[BaseMap]map[string]string{
	BaseTable:    {},
	BaseElements: {"NAS (CNN)": "NAS", "NAS (TFM)": "NAS"},
	BaseKeywords: {"NAS (CNN)": "NAS", "NAS (TFM)": "Transformer", "Hybrid": "Transformer"},
}

// ReadFeatures parses a CSV table whose first column names the model and whose other columns are its components.
// Space around cells is dropped. A table without models or components, a name that is missing or stands twice, and a
// line with too few or too many cells are errors that name the line.
func ReadFeatures(r io.Reader) (*Features, error) {
	cr := newCSVReader(r)
	header, err := cr.Read()
	if err != nil {
		return nil, fmt.Errorf("read features: header: %w", describeCSV(err))
	}
	f := &Features{Components: trimAll(header[1:])}
	if err := checkComponents(f.Components); err != nil {
		return nil, fmt.Errorf("read features: header: %w", err)
	}
	lines := map[string]int{}
	for {
		record, err := cr.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read features: %w", err)
		}
		line, _ := cr.FieldPos(0)
		record = trimAll(record)
		name := record[0]
		if name == "" {
			return nil, fmt.Errorf("read features: line %d: the first column, the model, is empty", line)
		}
		if first, ok := lines[name]; ok {
			return nil, fmt.Errorf("read features: line %d: model %q stands in line %d already", line, name, first)
		}
		lines[name] = line
		f.Models = append(f.Models, name)
		f.Values = append(f.Values, record[1:])
	}
	if len(f.Models) == 0 {
		return nil, errors.New("read features: no model behind the header")
	}
	return f, nil
}

func trimAll(cells []string) []string {
	out := make([]string, len(cells))
	for i, c := range cells {
		out[i] = strings.TrimSpace(c)
	}
	return out
}

func checkComponents(names []string) error {
	if len(names) == 0 {
		return errors.New("no component behind the first column, the model")
	}
	for i, name := range names {
		if name == "" {
			return fmt.Errorf("column %d has no name", i+2)
		}
		if k := slices.Index(names, name); k < i {
			return fmt.Errorf("component %q stands twice, in columns %d and %d", name, k+2, i+2)
		}
	}
	return nil
}

// Validate checks names and shape.
func (f *Features) Validate() error {
	if err := checkNames(f.Models); err != nil {
		return err
	}
	if err := checkComponents(f.Components); err != nil {
		return err
	}
	if len(f.Values) != len(f.Models) {
		return fmt.Errorf("features of %d models have %d rows", len(f.Models), len(f.Values))
	}
	for i, row := range f.Values {
		if len(row) != len(f.Components) {
			return fmt.Errorf("features of %s: %d values for %d components", f.Models[i], len(row), len(f.Components))
		}
	}
	return nil
}

// Select returns the features of the given models, in that order. The error names every model that is missing.
func (f *Features) Select(models []string) (*Features, error) {
	if err := f.Validate(); err != nil {
		return nil, fmt.Errorf("features: %w", err)
	}
	index, err := locate(models, f.Models)
	if err != nil {
		return nil, fmt.Errorf("features: %w", err)
	}
	out := &Features{Models: slices.Clone(models), Components: slices.Clone(f.Components)}
	for _, i := range index {
		out.Values = append(out.Values, slices.Clone(f.Values[i]))
	}
	return out, nil
}

// Column returns the values of one component, in the order of Models.
func (f *Features) Column(component string) ([]string, error) {
	c := slices.Index(f.Components, component)
	if c < 0 {
		return nil, fmt.Errorf("features have no component %q; there are %s", component, strings.Join(f.Components, ", "))
	}
	out := make([]string, len(f.Models))
	for i, row := range f.Values {
		out[i] = row[c]
	}
	return out, nil
}

// Recode returns a copy with base architectures grouped and attention kinds kept or dropped. Tables without a column
// base_architecture, or with other words in it, pass through unchanged.
func (f *Features) Recode(base BaseMap, attention Attention) (*Features, error) {
	if err := f.Validate(); err != nil {
		return nil, fmt.Errorf("features: %w", err)
	}
	groups, ok := baseMaps[base]
	if !ok {
		return nil, fmt.Errorf("grouping of base architectures %q: want %s, %s or %s", base, BaseTable, BaseElements, BaseKeywords)
	}
	if attention != AttentionPresence && attention != AttentionKind {
		return nil, fmt.Errorf("attention %q: want %s or %s", attention, AttentionPresence, AttentionKind)
	}
	out := &Features{Models: slices.Clone(f.Models), Components: slices.Clone(f.Components)}
	for _, row := range f.Values {
		row = slices.Clone(row)
		for c, v := range row {
			if g, ok := groups[v]; ok && f.Components[c] == baseColumn {
				row[c] = g
			}
			if attention == AttentionPresence && strings.HasPrefix(v, "Yes (") && strings.HasSuffix(v, ")") {
				row[c] = "Yes"
			}
		}
		out.Values = append(out.Values, row)
	}
	return out, nil
}

// PairDifferences returns one row per unordered pair of models i < j, row by row of the upper triangle, and one column
// per component: 1 where the two models' categories differ, else 0. "-" and "" are one category of their own. The
// result is row major, one byte per entry; the sum of a row is the Hamming distance of the pair.
func (f *Features) PairDifferences() ([]uint8, error) {
	if err := f.Validate(); err != nil {
		return nil, fmt.Errorf("features: %w", err)
	}
	n, c := len(f.Models), len(f.Components)
	out := make([]uint8, 0, n*(n-1)/2*c)
	for i, a := range f.Values {
		for _, b := range f.Values[i+1:] {
			for k := range a {
				var differ uint8
				if a[k] != b[k] && !(absent(a[k]) && absent(b[k])) {
					differ = 1
				}
				out = append(out, differ)
			}
		}
	}
	return out, nil
}

// absent says that a model has no such component.
func absent(value string) bool { return value == "" || value == "-" }
