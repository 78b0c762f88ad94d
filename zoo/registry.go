package zoo

import (
	"bytes"
	_ "embed"
	"encoding/csv"
	"fmt"
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
	Alias         string // as in Table A.1; for networks outside it, a name of the same kind
	AliasTable2   string // as Table 2 prints it; "" outside the 69
	Role          string // what the paper uses it for
	Timm067       string // name in timm 0.6.7
	Timm1031      string // name and tag of the same weights in timm 1.0.31; "" where it has none
	WeightFile    string // of timm 0.6.7
	Match         string // how sure the correspondence is: exact, unsure or none
	InputSize     [3]int // channels, height, width
	CropPct       float64
	Interpolation string
	Mean, Std     []float32
	Params        int
	Cluster       int               // in Table 2; 0 outside the 69
	Components    map[string]string // ComponentNames to values; nil outside the 69
}

// InPaper reports whether the network is one of the 69 of the main experiment.
func (e Entry) InPaper() bool { return e.Components != nil }

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

// parseRegistry joins the three tables on the timm 0.6.7 name.
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
	keys, modelRows, err := readTable(models, "timm_0_6_7")
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
	e := Entry{Alias: row["alias"], Role: row["role"], Timm067: row["timm_0_6_7"], Timm1031: row["timm_1_0_31"],
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

// readTable returns the rows of a CSV table by their value in column key, and those values in order.
func readTable(text []byte, key string) (keys []string, rows map[string]map[string]string, err error) {
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
		if _, twice := rows[row[key]]; twice || row[key] == "" {
			return nil, nil, fmt.Errorf("column %s has %q twice or empty", key, row[key])
		}
		keys = append(keys, row[key])
		rows[row[key]] = row
	}
	return keys, rows, nil
}
