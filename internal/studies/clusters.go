package studies

import (
	"context"
	"strconv"

	"sat/analysis"
	"sat/analysis/paper"
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

// Clusters divides the models of a SAT matrix into clusters: tab2_clusters.csv, spectral_eigenvalues.csv,
// spectral_distance.csv and clusters.json.
func Clusters(ctx context.Context, f Folder, sat *analysis.Matrix, o analysis.ClusterOptions) (*analysis.Clusters, error) {
	c, err := analysis.SpectralClusters(ctx, sat, o)
	if err != nil {
		return nil, err
	}
	o = o.WithDefaults()
	f = f.with("clusters", map[string]any{"k": o.K, "affinity": o.Affinity, "gamma": o.Gamma, "diagonal": o.Diagonal,
		"laplacian": o.Laplacian, "which": o.Which, "rows": o.Rows, "restarts": o.Restarts, "seed": o.Seed})
	rows := make([][]string, len(c.Names))
	order := make([]string, len(c.Names))
	for i, name := range c.Names {
		rows[i] = []string{name, strconv.Itoa(c.Labels[i])}
		order[i] = c.Names[c.Order[i]]
	}
	if err := f.table("tab2_clusters.csv", []string{"model", "cluster"}, rows); err != nil {
		return nil, err
	}
	rows = nil
	for i, v := range c.Eigenvalues {
		rows = append(rows, []string{strconv.Itoa(i + 1), analysis.FormatFloat(v)})
	}
	if err := f.table("spectral_eigenvalues.csv", []string{"index", "eigenvalue"}, rows); err != nil {
		return nil, err
	}
	if err := f.matrix("spectral_distance.csv", c.Distance); err != nil {
		return nil, err
	}
	file := clustersFile{
		SchemaVersion: schemaVersion, K: c.K, Inertia: c.Inertia, Eigengap: Defined(c.Eigengap), Order: order,
		Affinity: string(o.Affinity), Laplacian: string(o.Laplacian), Rows: string(o.Rows), Diagonal: string(o.Diagonal),
		Restarts: o.Restarts, Seed: o.Seed, Warnings: append([]string{}, c.Warnings...),
	}
	if agreement, ok := agreeWithReference(c, o.Reference); ok {
		file.Agreement = &agreement
	}
	return c, f.json("clusters.json", file)
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

// Keywords writes the words that distinguish each cluster, tab2_keywords.csv. labels has one cluster number per model of
// the features.
func Keywords(f Folder, features *analysis.Features, labels []int, o analysis.KeywordOptions) error {
	words, err := analysis.Keywords(features, labels, o)
	if err != nil {
		return err
	}
	rows := make([][]string, len(words))
	for i, k := range words {
		rows[i] = []string{strconv.Itoa(k.Cluster), strconv.Itoa(k.Rank), k.Component, k.Value, analysis.FormatFloat(k.Score)}
	}
	header := []string{"cluster", "rank", "component", "value", "score"}
	f = f.with("keywords", map[string]any{"base_map": o.BaseMap, "attention": o.Attention, "tf": o.TF, "idf": o.IDF, "norm": o.Norm, "top": o.Top})
	return f.table("tab2_keywords.csv", header, rows)
}

// PaperClusters is the printed partition of Tab. 2: clusters of the paper's models are numbered after it.
func PaperClusters() []analysis.ReferenceModel {
	var out []analysis.ReferenceModel
	for _, m := range paper.Clusters() {
		out = append(out, analysis.ReferenceModel{Model: m.Timm, Cluster: m.Cluster})
	}
	return out
}

// PaperOrder is the order of the components in Fig. 3, which breaks ties between keywords.
func PaperOrder() []string {
	var out []string
	for _, c := range paper.Components() {
		out = append(out, c.Name)
	}
	return out
}
