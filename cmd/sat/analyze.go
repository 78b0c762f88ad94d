package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"sat/analysis"
	"sat/internal/run"
)

func analyzeCommand() *cli.Command {
	sat := &cli.StringFlag{Name: "sat", Usage: "similarity matrix, such as sat.csv", Required: true}
	out := &cli.StringFlag{Name: "out", Usage: "folder of the results", Required: true}
	return &cli.Command{
		Name:            "analyze",
		Usage:           "one analysis of anybody's similarity matrix",
		HideHelpCommand: true,
		Subcommands: []*cli.Command{
			command(cli.Command{
				Name:  "clusters",
				Usage: "groups of similar models by spectral clustering",
				Flags: []cli.Flag{
					sat, out,
					&cli.IntFlag{Name: "k", Usage: "number of clusters", Value: 10},
					choice("affinity", "similarity from SAT", "sat", "percent", "rbf", "shift"),
					choice("laplacian", "of the graph of similarities", "sym", "rw", "unnormalized"),
					choice("rows", "length of the feature rows", "unit", "none"),
					choice("diagonal", "of the graph", "zero", "keep"),
					&cli.IntFlag{Name: "restarts", Usage: "of k-means", Value: 100},
					&cli.Uint64Flag{Name: "seed", Usage: "of k-means"},
				},
				Action: analyzeClusters,
			}, "sat analyze clusters --sat sat.csv --k 2 --out clusters"),
			command(cli.Command{
				Name:  "keywords",
				Usage: "the components that set each cluster apart",
				Flags: []cli.Flag{
					&cli.StringFlag{Name: "labels", Usage: "clusters, such as tab2_clusters.csv", Required: true},
					&cli.StringFlag{Name: "features", Usage: "components of each model, CSV", Required: true},
					out,
					choice("base-map", "grouping of base architectures", "keywords", "table", "elements"),
					choice("tf", "weight inside a model", "count", "frequency"),
					choice("idf", "weight among models", "smooth", "plain", "plain+1"),
					choice("norm", "length of a model's weights", "l2", "none"),
					&cli.IntFlag{Name: "top", Usage: "keywords per cluster", Value: 5},
				},
				Action: analyzeKeywords,
			}, "sat analyze keywords --labels tab2_clusters.csv --features features.csv --out keywords"),
			command(cli.Command{
				Name:      "correlate",
				Usage:     "correlation of two columns of a table; JSON on stdout",
				ArgsUsage: "FILE.csv",
				Flags: []cli.Flag{
					&cli.StringFlag{Name: "x", Usage: "column", Required: true},
					&cli.StringFlag{Name: "y", Usage: "column", Required: true},
				},
				Action: analyzeCorrelate,
			}, "sat analyze correlate --x n_both --y sat pairs_undirected.csv"),
		},
	}
}

// choice is a flag that takes one of a few words, the first by default.
func choice(name, usage string, words ...string) *cli.StringFlag {
	return &cli.StringFlag{
		Name: name, Usage: usage + ": " + strings.Join(words, ", "), Value: words[0],
		Action: func(_ *cli.Context, word string) error {
			if !slices.Contains(words, word) {
				return usagef("--%s: unknown word %q (%s)%s", name, word, strings.Join(words, ", "), didYouMean(word, words, ""))
			}
			return nil
		},
	}
}

func analyzeClusters(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	m, err := run.ReadMatrix(c.String("sat"))
	if err != nil {
		return err
	}
	options := analysis.ClusterOptions{
		K: c.Int("k"), Affinity: analysis.Affinity(c.String("affinity")), Laplacian: analysis.Laplacian(c.String("laplacian")),
		Diagonal: analysis.Diagonal(c.String("diagonal")), Restarts: c.Int("restarts"), Seed: c.Uint64("seed"),
		Reference: run.PaperClusters(),
	}
	if c.IsSet("rows") { // without it, the default depends on the Laplacian
		options.Rows = analysis.Rows(c.String("rows"))
	}
	meta := run.Meta{"schema_version": schemaVersion, "sat": filepath.Base(c.String("sat")), "models": m.Len(), "versions": run.Versions()}
	clusters, err := run.WriteClusters(c.Context, c.String("out"), meta, m, options)
	if err != nil {
		return fmt.Errorf("%s: %w", c.String("sat"), err)
	}
	for _, w := range clusters.Warnings {
		warn(c, "%s", w)
	}
	return printFolder(c, c.String("out"))
}

func analyzeKeywords(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	models, labels, err := readLabels(c.String("labels"))
	if err != nil {
		return err
	}
	features, err := run.ReadFeatures(c.String("features"), models)
	if err != nil {
		return err
	}
	options := analysis.KeywordOptions{
		BaseMap: analysis.BaseMap(c.String("base-map")), TF: analysis.TF(c.String("tf")), IDF: analysis.IDF(c.String("idf")),
		Norm: analysis.Norm(c.String("norm")), Top: c.Int("top"), Order: run.PaperOrder(),
	}
	meta := run.Meta{"schema_version": schemaVersion, "labels": filepath.Base(c.String("labels")),
		"features": filepath.Base(c.String("features")), "models": len(models), "versions": run.Versions()}
	if _, err := run.WriteKeywords(c.String("out"), meta, features, labels, options); err != nil {
		return err
	}
	return printFolder(c, c.String("out"))
}

// readLabels reads model and cluster columns.
func readLabels(path string) (models []string, labels []int, err error) {
	columns, err := readColumns(path, "model", "cluster")
	if err != nil {
		return nil, nil, err
	}
	for i, cell := range columns[1] {
		label, err := strconv.Atoi(cell)
		if err != nil || label < 1 {
			return nil, nil, fmt.Errorf("%s:%d: cluster %q is not a number from 1", path, i+2, cell)
		}
		labels = append(labels, label)
	}
	return columns[0], labels, nil
}

// readColumns returns named columns of a CSV file with a header.
func readColumns(path string, names ...string) ([][]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	records, err := csv.NewReader(f).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(records) == 0 {
		return nil, fmt.Errorf("%s is empty", path)
	}
	columns := make([][]string, len(names))
	for k, name := range names {
		at := slices.Index(records[0], name)
		if at < 0 {
			return nil, fmt.Errorf("%s:1: no column %q; there are %s%s", path, name, strings.Join(records[0], ", "),
				didYouMean(name, records[0], ""))
		}
		for _, record := range records[1:] {
			columns[k] = append(columns[k], record[at])
		}
	}
	return columns, nil
}

// correlationJSON is the output of `sat analyze correlate`; undefined or infinite numbers are null.
type correlationJSON struct {
	SchemaVersion int      `json:"schema_version"`
	R             *float64 `json:"r"`
	P             *float64 `json:"p"`
	Log10P        *float64 `json:"log10_p"`
	N             int      `json:"n"`
	CILo          *float64 `json:"ci_lo"`
	CIHi          *float64 `json:"ci_hi"`
	Spearman      *float64 `json:"spearman"`
	SpearmanP     *float64 `json:"spearman_p"`
	Excluded      int      `json:"excluded"` // rows with an empty cell
	Status        string   `json:"status"`   // "ok", or why a number is null
}

func analyzeCorrelate(c *cli.Context) error {
	path, err := oneArgument(c, "a CSV file")
	if err != nil {
		return err
	}
	columns, err := readColumns(path, c.String("x"), c.String("y"))
	if err != nil {
		return err
	}
	var x, y []float64
	excluded := 0
	for i := range columns[0] {
		if columns[0][i] == "" || columns[1][i] == "" {
			excluded++
			continue
		}
		var values [2]float64
		for k, name := range []string{c.String("x"), c.String("y")} {
			values[k], err = strconv.ParseFloat(columns[k][i], 64)
			if err != nil || math.IsNaN(values[k]) || math.IsInf(values[k], 0) {
				return fmt.Errorf("%s:%d: %s is %q, not a finite number", path, i+2, name, columns[k][i])
			}
		}
		x, y = append(x, values[0]), append(y, values[1])
	}
	if len(x) == 0 {
		return errors.New(path + ": no row has a number in both columns")
	}
	r, err := analysis.Correlate(x, y, 0.95)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	status := "ok"
	if r.Warning != "" {
		status = r.Warning
	}
	finite := run.Defined
	return printJSON(c.App.Writer, correlationJSON{schemaVersion, finite(r.R), finite(r.P), finite(r.Log10P), r.N,
		finite(r.CILo), finite(r.CIHi), finite(r.Spearman), finite(r.SpearmanP), excluded, status})
}

// printFolder says where the results are.
func printFolder(c *cli.Context, dir string) error {
	if c.Bool("json") {
		return printJSON(c.App.Writer, struct {
			SchemaVersion int    `json:"schema_version"`
			Out           string `json:"out"`
		}{schemaVersion, dir})
	}
	_, err := fmt.Fprintln(c.App.Writer, dir)
	return err
}
