package main

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"sat/analysis"
	"sat/internal/run"
	"sat/internal/studies"
)

func analyzeCommand() *cli.Command {
	return &cli.Command{
		Name:            "analyze",
		Usage:           "one analysis of anybody's similarity matrix",
		HideHelpCommand: true,
		Subcommands: []*cli.Command{
			analyzeClustersCommand(),
			analyzeKeywordsCommand(),
			analyzeImportanceCommand(),
			analyzeTSNECommand(),
			analyzeEnsemblesCommand(),
			analyzeCorrelateCommand(),
			analyzeMatricesCommand(),
			analyzeTrainingCommand(),
			analyzeDistillationCommand(),
			analyzeNovelCommand(),
			analyzeChooseCommand(),
			analyzeSensitivityCommand(),
			analyzeStabilityCommand(),
			analyzeWarningsCommand(),
		},
	}
}

// Flags that several analyses share.

func satFlag() cli.Flag {
	return &cli.StringFlag{Name: "sat", Usage: "similarity matrix, such as sat.csv", Required: true}
}

func outFlag() cli.Flag {
	return &cli.StringFlag{Name: "out", Usage: "folder of the results", Required: true}
}

func featuresFlag() cli.Flag {
	return &cli.StringFlag{Name: "features", Usage: "components of each model, CSV", Required: true}
}

// clustersFlag is also called --labels, as `sat analyze keywords` calls it.
func clustersFlag(required bool) cli.Flag {
	return &cli.StringFlag{Name: "clusters", Aliases: []string{"labels"}, Usage: "clusters, such as tab2_clusters.csv", Required: required}
}

func seedFlag(of string) cli.Flag { return &cli.Uint64Flag{Name: "seed", Usage: of} }

func resamplesFlag(of string) cli.Flag {
	return &cli.IntFlag{Name: "resamples", Usage: "of " + of + ", for intervals", Value: 2000}
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

// positive refuses numbers below 1.
func positive(c *cli.Context, flags ...string) error {
	for _, flag := range flags {
		if c.Int(flag) < 1 {
			return usagef("--%s: %d; at least 1", flag, c.Int(flag))
		}
	}
	return nil
}

// resultFolder is the folder of an analysis. inputs are the flags that name files; models is what they are about.
func resultFolder(c *cli.Context, models int, inputs ...string) studies.Folder {
	files := map[string]any{}
	for _, flag := range inputs {
		var names []string
		for _, path := range c.StringSlice(flag) {
			names = append(names, filepath.Base(path))
		}
		switch path := c.String(flag); {
		case len(names) > 0:
			files[flag] = names
		case path != "":
			files[flag] = filepath.Base(path)
		}
	}
	meta := studies.Meta{"schema_version": schemaVersion, "models": models, "versions": run.Versions()}
	maps.Copy(meta, files)
	return studies.Folder{Dir: c.String("out"), Meta: meta}
}

// printFolder says where the results are, after the warnings.
func printFolder(c *cli.Context, warnings []string) error {
	for _, w := range warnings {
		warn(c, "%s", w)
	}
	dir := c.String("out")
	if c.Bool("json") {
		return printJSON(c.App.Writer, struct {
			SchemaVersion int      `json:"schema_version"`
			Out           string   `json:"out"`
			Warnings      []string `json:"warnings"`
		}{schemaVersion, dir, append([]string{}, warnings...)})
	}
	_, err := fmt.Fprintln(c.App.Writer, dir)
	return err
}

// clusterFlags are the switches of spectral clustering; without k where the clusters are given.
func clusterFlags() []cli.Flag {
	return []cli.Flag{
		choice("affinity", "similarity from SAT", "sat", "percent", "rbf", "shift"),
		choice("laplacian", "of the graph of similarities", "sym", "rw", "unnormalized"),
		choice("rows", "length of the feature rows (default for rw: none)", "unit", "none"),
		choice("diagonal", "of the graph", "zero", "keep"),
		choice("which", "eigenvectors", "smooth", "literal-largest"),
		&cli.Float64Flag{Name: "gamma", Usage: "of the affinity rbf", Value: 1},
	}
}

func clusterOptions(c *cli.Context) analysis.ClusterOptions {
	o := analysis.ClusterOptions{
		Affinity: analysis.Affinity(c.String("affinity")), Laplacian: analysis.Laplacian(c.String("laplacian")),
		Diagonal: analysis.Diagonal(c.String("diagonal")), Which: analysis.Which(c.String("which")), Gamma: c.Float64("gamma"),
	}
	if c.IsSet("rows") { // without it, the default depends on the Laplacian
		o.Rows = analysis.Rows(c.String("rows"))
	}
	return o
}

func analyzeClustersCommand() *cli.Command {
	return command(cli.Command{
		Name:  "clusters",
		Usage: "groups of similar models by spectral clustering",
		Flags: append([]cli.Flag{satFlag(), outFlag(), &cli.IntFlag{Name: "k", Usage: "number of clusters", Value: 10},
			&cli.IntFlag{Name: "restarts", Usage: "of k-means", Value: 100}, seedFlag("of k-means")}, clusterFlags()...),
		Action: analyzeClusters,
	}, "sat analyze clusters --sat sat.csv --k 2 --out clusters")
}

func analyzeClusters(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	if err := positive(c, "k", "restarts"); err != nil {
		return err
	}
	m, err := studies.ReadMatrix(c.String("sat"))
	if err != nil {
		return err
	}
	o := clusterOptions(c)
	o.K, o.Restarts, o.Seed, o.Reference = c.Int("k"), c.Int("restarts"), c.Uint64("seed"), studies.PaperClusters()
	clusters, err := studies.Clusters(c.Context, resultFolder(c, m.Len(), "sat"), m, o)
	if err != nil {
		return fmt.Errorf("%s: %w", c.String("sat"), err)
	}
	return printFolder(c, clusters.Warnings)
}

func analyzeKeywordsCommand() *cli.Command {
	return command(cli.Command{
		Name:  "keywords",
		Usage: "the components that set each cluster apart",
		Flags: []cli.Flag{
			clustersFlag(true), featuresFlag(), outFlag(),
			choice("base-map", "grouping of base architectures", "keywords", "table", "elements"),
			choice("attention", "whether the kind of an attention counts", "presence", "kind"),
			choice("tf", "weight inside a model", "count", "frequency"),
			choice("idf", "weight among models", "smooth", "plain", "plain+1"),
			choice("norm", "length of a model's weights", "l2", "none"),
			&cli.IntFlag{Name: "top", Usage: "keywords per cluster", Value: 5},
		},
		Action: analyzeKeywords,
	}, "sat analyze keywords --labels tab2_clusters.csv --features features.csv --out keywords")
}

func analyzeKeywords(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	if err := positive(c, "top"); err != nil {
		return err
	}
	labels, err := studies.ReadLabels(c.String("clusters"))
	if err != nil {
		return err
	}
	features, err := studies.ReadFeatures(c.String("features"), labels.Models)
	if err != nil {
		return err
	}
	o := analysis.KeywordOptions{
		BaseMap: analysis.BaseMap(c.String("base-map")), Attention: analysis.Attention(c.String("attention")), TF: analysis.TF(c.String("tf")),
		IDF: analysis.IDF(c.String("idf")), Norm: analysis.Norm(c.String("norm")), Top: c.Int("top"), Order: studies.PaperOrder(),
	}
	if err := studies.Keywords(resultFolder(c, len(labels.Models), "clusters", "features"), features, labels.Labels, o); err != nil {
		return err
	}
	return printFolder(c, nil)
}
