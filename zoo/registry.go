package zoo

import (
	"bytes"
	"cmp"
	_ "embed"
	"encoding/csv"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/xrash/smetrics"
)

// The three tables are those of the paper (names, Table A.1; components, Tables A.3 and A.4) and the correspondence of
// weights and preprocessing between timm 0.6.7, which the paper used, and timm 1.0.31.
var (
	//go:embed data/models.csv
	modelsCSV []byte
	//go:embed data/features.csv
	featuresCSV []byte
	//go:embed data/names.csv
	namesCSV []byte
)

// Entry is one network of the registry.
type Entry struct {
	Alias         string   // as in Table A.1; for networks outside it, a name of the same kind
	AliasTable2   string   // as Table 2 prints it; "" outside the 69
	Roles         []string // what the paper uses it for, see Groups
	Timm067       string   // name in timm 0.6.7; "" where it has none, although the paper downloaded the weights
	Timm1031      string   // name and tag of the same weights in timm 1.0.31; "" where it has none
	WeightFile    string   // that timm 0.6.7 points to
	Match         string   // how sure the correspondence is: exact, unsure or none
	InputSize     [3]int   // channels, height, width
	CropPct       float64
	Interpolation string
	Mean, Std     []float32
	Params        int
	Cluster       int               // in Table 2; 0 outside the 69
	Components    map[string]string // ComponentNames to values; nil outside the 69
}

// InPaper reports whether the network is one of the 69 of the main experiment.
func (e Entry) InPaper() bool { return e.Components != nil }

// Name is the unique name of the network, and that of its module file: the one of timm 0.6.7, or else of timm 1.0.31.
func (e Entry) Name() string { return cmp.Or(e.Timm067, e.Timm1031) }

// Group is a word for several networks of the registry.
type Group struct {
	Name  string
	Usage string
	roles []string // an entry with any of them belongs to the group; nil: all do
}

// Groups lists the words, with the section of the paper that uses the networks.
func Groups() []Group {
	return []Group{
		{"all", "everything in the registry", nil},
		{"paper", "the 69 of the main experiment (Table A.1)", []string{"paper"}},
		{"teachers", "the 25 teachers of the distillation study (G.1)", []string{"teacher"}},
		{"students", "DeiT-Ti with and without distillation token (G.1)", []string{"student"}},
		{"novel", "stand-ins for a network that is not among the 69 (H)", []string{"novel"}},
		{"resnet50-regimes", "ResNet-50 as others trained it (E)", []string{"resnet50-regime"}},
		{"vit-s-regimes", "ViT-S as others trained it (E)", []string{"vit-s-regime"}},
		{"regimes", "both", []string{"resnet50-regime", "vit-s-regime"}},
	}
}

// Has reports whether e belongs to the group.
func (g Group) Has(e Entry) bool {
	return g.roles == nil || slices.ContainsFunc(g.roles, func(role string) bool { return slices.Contains(e.Roles, role) })
}

// InGroup lists the networks that the word group stands for; ok is false if it is not one of Groups.
func InGroup(group string) (entries []Entry, ok bool, err error) {
	i := slices.IndexFunc(Groups(), func(g Group) bool { return g.Name == group })
	if i < 0 {
		return nil, false, nil
	}
	all, err := Entries()
	for _, e := range all {
		if Groups()[i].Has(e) {
			entries = append(entries, e)
		}
	}
	return entries, true, err
}

type registry struct {
	entries    []Entry
	components []string
	err        error
}

var loadRegistry = sync.OnceValue(func() registry {
	r, err := parseRegistry(modelsCSV, featuresCSV, namesCSV)
	r.err = err
	return r
})

// Entries lists the registry, the 69 of the paper first.
func Entries() ([]Entry, error) {
	r := loadRegistry()
	return r.entries, r.err
}

// ComponentNames are the 13 columns of the paper's component table, in its order.
func ComponentNames() ([]string, error) {
	r := loadRegistry()
	return r.components, r.err
}

// UnknownError says that no network has the given name.
type UnknownError struct {
	Name    string
	Nearest string // the known name that is spelled most like it
}

func (e *UnknownError) Error() string {
	return fmt.Sprintf("unknown model %q; did you mean %q?", e.Name, e.Nearest)
}

// Lookup finds a network by its timm 0.6.7 name, its timm 1.0.31 name with tag, or its alias; case does not matter. The
// error for an unknown name is an *UnknownError.
func Lookup(name string) (Entry, error) {
	r := loadRegistry()
	if r.err != nil {
		return Entry{}, r.err
	}
	nearest, distance := "", 0
	for _, e := range r.entries {
		for _, known := range []string{e.Timm067, e.Timm1031, e.Alias, e.AliasTable2} {
			switch {
			case known == "":
			case strings.EqualFold(known, name):
				return e, nil
			default:
				d := smetrics.WagnerFischer(strings.ToLower(name), strings.ToLower(known), 1, 1, 1)
				if nearest == "" || d < distance {
					nearest, distance = known, d
				}
			}
		}
	}
	return Entry{}, &UnknownError{Name: name, Nearest: nearest}
}

// parseRegistry joins the three tables: components and names on the timm 0.6.7 name, which all of the 69 have.
func parseRegistry(models, features, names []byte) (registry, error) {
	var r registry
	_, featureRows, err := readTable(features, "timm")
	if err != nil {
		return r, fmt.Errorf("component table: %w", err)
	}
	header, _, _ := bytes.Cut(features, []byte("\n"))
	r.components = strings.Split(strings.TrimSpace(string(header)), ",")[1:]
	_, nameRows, err := readTable(names, "timm")
	if err != nil {
		return r, fmt.Errorf("name table: %w", err)
	}
	keys, modelRows, err := readTable(models, "timm_0_6_7", "timm_1_0_31")
	if err != nil {
		return r, fmt.Errorf("model table: %w", err)
	}
	for _, key := range keys {
		e, err := parseEntry(modelRows[key])
		if err != nil {
			return r, fmt.Errorf("model table, %s: %w", key, err)
		}
		if row, ok := featureRows[key]; ok {
			delete(row, "timm")
			e.Components = row
		}
		if row, ok := nameRows[key]; ok {
			e.AliasTable2 = row["alias_tab2"]
			if e.Cluster, err = strconv.Atoi(row["cluster_tab2"]); err != nil {
				return r, fmt.Errorf("name table, %s: %w", key, err)
			}
		}
		r.entries = append(r.entries, e)
	}
	return r, nil
}

func parseEntry(row map[string]string) (Entry, error) {
	e := Entry{Alias: row["alias"], Roles: strings.Fields(row["roles"]), Timm067: row["timm_0_6_7"], Timm1031: row["timm_1_0_31"],
		WeightFile: row["weight_file_0_6_7"], Match: row["match"], Interpolation: row["interpolation"]}
	size := strings.Split(row["input_size"], "x")
	if len(size) != len(e.InputSize) {
		return e, fmt.Errorf("input size %q", row["input_size"])
	}
	var err error
	for i, text := range size {
		if e.InputSize[i], err = strconv.Atoi(text); err != nil {
			return e, fmt.Errorf("input size: %w", err)
		}
	}
	if e.CropPct, err = strconv.ParseFloat(row["crop_pct"], 64); err != nil {
		return e, fmt.Errorf("crop fraction: %w", err)
	}
	if e.Params, err = strconv.Atoi(row["params"]); err != nil {
		return e, fmt.Errorf("parameters: %w", err)
	}
	if e.Mean, err = parseFloats(row["mean"]); err != nil {
		return e, fmt.Errorf("mean: %w", err)
	}
	if e.Std, err = parseFloats(row["std"]); err != nil {
		return e, fmt.Errorf("standard deviation: %w", err)
	}
	return e, checkNormalisation(e.Mean, e.Std, e.InputSize[0])
}

func parseFloats(text string) ([]float32, error) {
	var out []float32
	for _, field := range strings.Fields(text) {
		v, err := strconv.ParseFloat(field, 32)
		if err != nil {
			return nil, err
		}
		out = append(out, float32(v))
	}
	return out, nil
}

// readTable returns the rows of a CSV table by their key, and the keys in order. The key of a row is its value in the first
// of the columns that is not empty.
func readTable(text []byte, columns ...string) (keys []string, rows map[string]map[string]string, err error) {
	records, err := csv.NewReader(bytes.NewReader(text)).ReadAll()
	if err != nil {
		return nil, nil, err
	}
	rows = map[string]map[string]string{}
	for _, record := range records[1:] {
		row := map[string]string{}
		for i, column := range records[0] {
			row[column] = record[i]
		}
		key := ""
		for _, column := range columns {
			key = cmp.Or(key, row[column])
		}
		if _, twice := rows[key]; twice || key == "" {
			return nil, nil, fmt.Errorf("column %s has %q twice or empty", columns[0], key)
		}
		keys = append(keys, key)
		rows[key] = row
	}
	return keys, rows, nil
}
