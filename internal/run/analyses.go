package run

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"

	"sat/analysis"
	"sat/internal/store"
)

// clustersFile is analysis/clusters.json.
type clustersFile struct {
	SchemaVersion int                 `json:"schema_version"`
	K             int                 `json:"k"`
	Inertia       float64             `json:"inertia"`
	Eigengap      *float64            `json:"eigengap"` // null where k equals the number of models
	Order         []string            `json:"order"`    // display order
	Affinity      string              `json:"affinity"`
	Laplacian     string              `json:"laplacian"`
	Rows          string              `json:"rows"`
	Diagonal      string              `json:"diagonal"`
	Restarts      int                 `json:"restarts"`
	Seed          uint64              `json:"seed"`
	Agreement     *analysis.Agreement `json:"agreement,omitempty"` // with the paper's printed clusters, where they apply
	Warnings      []string            `json:"warnings"`
}

// WriteClusters clusters the models of a SAT matrix and writes the tables into dir.
func WriteClusters(ctx context.Context, dir string, meta Meta, sat *analysis.Matrix, o analysis.ClusterOptions) (*analysis.Clusters, error) {
	c, err := analysis.SpectralClusters(ctx, sat, o)
	if err != nil {
		return nil, err
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	rows := make([][]string, len(c.Names))
	order := make([]string, len(c.Names))
	for i, name := range c.Names {
		rows[i] = []string{name, strconv.Itoa(c.Labels[i])}
		order[i] = c.Names[c.Order[i]]
	}
	if err := writeTable(in("tab2_clusters.csv"), meta, []string{"model", "cluster"}, rows); err != nil {
		return nil, err
	}
	rows = nil
	for i, v := range c.Eigenvalues {
		rows = append(rows, []string{strconv.Itoa(i + 1), analysis.FormatFloat(v)})
	}
	if err := writeTable(in("spectral_eigenvalues.csv"), meta, []string{"index", "eigenvalue"}, rows); err != nil {
		return nil, err
	}
	if err := writeMatrix(in("spectral_distance.csv"), meta, c.Distance); err != nil {
		return nil, err
	}
	o = o.WithDefaults()
	file := clustersFile{
		SchemaVersion: schemaVersion, K: c.K, Inertia: c.Inertia, Eigengap: Defined(c.Eigengap), Order: order,
		Affinity: string(o.Affinity), Laplacian: string(o.Laplacian), Rows: string(o.Rows), Diagonal: string(o.Diagonal),
		Restarts: o.Restarts, Seed: o.Seed, Warnings: append([]string{}, c.Warnings...),
	}
	if agreement, ok := agreeWithReference(c, o.Reference); ok {
		file.Agreement = &agreement
	}
	return c, store.WriteJSON(in("clusters.json"), file)
}

// agreeWithReference compares with a known partition, if that names every model.
func agreeWithReference(c *analysis.Clusters, reference []analysis.ReferenceModel) (analysis.Agreement, bool) {
	known := make(map[string]int, len(reference))
	for _, r := range reference {
		known[r.Model] = r.Cluster
	}
	labels := make([]int, len(c.Names))
	for i, name := range c.Names {
		var ok bool
		if labels[i], ok = known[name]; !ok {
			return analysis.Agreement{}, false
		}
	}
	agreement, err := analysis.Agree(c.Labels, labels)
	return agreement, err == nil
}

// WriteKeywords writes the words that distinguish each cluster. labels has one cluster number per row of f.
func WriteKeywords(dir string, meta Meta, f *analysis.Features, labels []int, o analysis.KeywordOptions) ([]analysis.Keyword, error) {
	words, err := analysis.Keywords(f, labels, o)
	if err != nil {
		return nil, err
	}
	rows := make([][]string, len(words))
	for i, k := range words {
		rows[i] = []string{strconv.Itoa(k.Cluster), strconv.Itoa(k.Rank), k.Component, k.Value, analysis.FormatFloat(k.Score)}
	}
	header := []string{"cluster", "rank", "component", "value", "score"}
	return words, writeTable(filepath.Join(dir, "tab2_keywords.csv"), meta, header, rows)
}

// groupsFile is analysis/groups.json: are models that differ only by their seed more similar than others?
type groupsFile struct {
	SchemaVersion int           `json:"schema_version"`
	Models        []groupMember `json:"models"`
	Within        summaryFile   `json:"within"`
	Across        summaryFile   `json:"across"`
	All           summaryFile   `json:"all"`
	Difference    *float64      `json:"difference"`
	CILo          *float64      `json:"ci_lo"` // of the difference, resampling groups
	CIHi          *float64      `json:"ci_hi"`
	P             *float64      `json:"p"`
	PRank         *float64      `json:"p_rank"`
	Permutations  int           `json:"permutations"`
	Exact         bool          `json:"exact"`
	AtLeast       int           `json:"at_least"`
	Seed          uint64        `json:"seed"`
	Groups        []groupFile   `json:"groups"`
}

type groupMember struct {
	Model string `json:"model"`
	Group string `json:"group"`
}

type summaryFile struct {
	Pairs    int      `json:"pairs"`
	Excluded int      `json:"excluded"`
	Floored  int      `json:"floored"`
	Mean     *float64 `json:"mean"`
	Median   *float64 `json:"median"`
	CILo     *float64 `json:"ci_lo,omitempty"` // of the mean, resampling groups or, over all pairs, models
	CIHi     *float64 `json:"ci_hi,omitempty"`
}

type groupFile struct {
	Group  string `json:"group"`
	Models int    `json:"models"`
	summaryFile
}

func summarized(s analysis.Summary) summaryFile {
	return summaryFile{Pairs: s.Pairs, Excluded: s.Excluded, Floored: s.Floored, Mean: Defined(s.Mean), Median: Defined(s.Median)}
}

func (s summaryFile) within(i analysis.Interval) summaryFile {
	s.CILo, s.CIHi = Defined(i.Lo), Defined(i.Hi)
	return s
}

// compareGroups runs the permutation test over models. Without a contrast (no two models of one group, or only one
// group) there is nothing to test and the result is nil.
func compareGroups(ctx context.Context, s *analysis.Scores, groups []string, seed uint64) (*analysis.GroupTest, error) {
	test, err := analysis.CompareGroups(ctx, s.Models, s.Pairs, groups, analysis.GroupOptions{Seed: seed})
	if errors.Is(err, analysis.ErrNoContrast) {
		return nil, nil
	}
	return test, err
}

func writeGroups(ctx context.Context, path string, s *analysis.Scores, groups []string, test *analysis.GroupTest, seed uint64) error {
	o := analysis.BootstrapOptions{Seed: seed}
	intervals, err := analysis.BootstrapGroups(ctx, s.Models, s.Pairs, groups, o)
	if err != nil {
		return err
	}
	all, err := analysis.MeanSimilarity(ctx, s.Matrix(), o)
	if err != nil {
		return err
	}
	file := groupsFile{
		SchemaVersion: schemaVersion, Within: summarized(test.Within).within(intervals.Within),
		Across:     summarized(test.Across).within(intervals.Across),
		All:        summarized(s.Summary()).within(analysis.Interval{Lo: all.CILo, Hi: all.CIHi}),
		Difference: Defined(test.Difference), CILo: Defined(intervals.Difference.Lo), CIHi: Defined(intervals.Difference.Hi),
		P: Defined(test.P), PRank: Defined(test.PRank),
		Permutations: test.Permutations, Exact: test.Exact, AtLeast: test.AtLeast, Seed: seed,
	}
	for i, name := range s.Models {
		file.Models = append(file.Models, groupMember{name, groups[i]})
	}
	for _, g := range test.Groups {
		file.Groups = append(file.Groups, groupFile{g.Group, g.Models, summarized(g.Summary)})
	}
	return store.WriteJSON(path, file)
}

// Defined turns NaN and infinities, which JSON lacks, into null.
func Defined(v float64) *float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	return &v
}

// ReadFeatures reads a table of components and puts it into the order of models.
func ReadFeatures(path string, models []string) (*analysis.Features, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	features, err := analysis.ReadFeatures(f)
	if err == nil {
		features, err = features.Select(models)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return features, nil
}

// ReadMatrix reads a square table such as sat.csv.
func ReadMatrix(path string) (*analysis.Matrix, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	m, err := analysis.ReadMatrix(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return m, nil
}
