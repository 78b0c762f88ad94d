// Package paper holds the tables that the paper on Similarity by Attack Transferability prints, as far as the program
// compares its own results with them. The CSV files beside this file are the tables; models are named by their timm 0.6.7
// names, because the paper's own short names differ between its tables.
//
//   - tab2_clusters.csv: Tab. 2, the ten clusters of 69 models, in printed order.
//   - tab2_keywords.csv: Tab. 2, five keywords per cluster as printed, with the value of the component that the keyword
//     must stand for given Tab. A.3 and A.4 (the paper prints Yes/No components without their sign).
//   - tabA3_A4_features.csv: Tab. A.3 and A.4, thirteen components of each model.
//   - fig3_order.csv: the components by falling importance, read off Fig. 3.
//   - tabA1_names.csv: Tab. A.1, the short name of each model.
//   - tab3_training.csv: Tab. 3, mean similarity inside sets of models that differ in their training only.
//   - correlations.csv: every correlation coefficient the paper prints, with its p-value.
//   - cluster_assignment.csv: appendix H, the clusters that two models not among the 69 should fall into.
//
// Nothing here is a result of this program.
package paper

import (
	"bytes"
	_ "embed"
	"encoding/csv"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
)

//go:embed tab2_clusters.csv
var clustersCSV []byte

//go:embed tab2_keywords.csv
var keywordsCSV []byte

//go:embed tabA3_A4_features.csv
var featuresCSV []byte

//go:embed fig3_order.csv
var orderCSV []byte

//go:embed tabA1_names.csv
var namesCSV []byte

//go:embed tab3_training.csv
var trainingCSV []byte

//go:embed correlations.csv
var correlationsCSV []byte

//go:embed cluster_assignment.csv
var assignmentCSV []byte

// Member is one model of a printed cluster (Tab. 2).
type Member struct {
	Cluster, Position int // from 1
	Alias             string
	Timm              string
}

// Keyword is one printed keyword of a cluster (Tab. 2).
type Keyword struct {
	Cluster, Rank int // from 1
	Printed       string
	Component     string // column of the feature table
	Value         string // what the printed words say
	// Opposite is the value the keyword must stand for if Value contradicts the paper's own feature table; else empty.
	Opposite string
}

// Component is one of the thirteen architectural components (Fig. 3).
type Component struct {
	Rank   int // by importance, from 1
	Name   string
	Column string // in the feature table
}

// TrainingSet is one line of Tab. 3.
type TrainingSet struct {
	Architecture, Diversity string
	SAT                     string // mean, as printed
}

// Correlation is a printed coefficient.
type Correlation struct {
	ID   string // of the figure: "fig5"
	R, P string // as printed; "~0" where the paper says almost 0
}

// TrainingSets returns the lines of Tab. 3.
func TrainingSets() []TrainingSet { return slices.Clone(trainingSets()) }

// TrainingSetLike returns the line of Tab. 3 with the given diversity whose architecture is the given one or of that kind:
// "ResNet" is ResNet-50's, "ViT" is ViT-S's. Case is ignored.
func TrainingSetLike(architecture, diversity string) (TrainingSet, bool) {
	for _, s := range trainingSets() {
		kind, _, _ := strings.Cut(s.Architecture, "-")
		if strings.EqualFold(s.Diversity, diversity) && (strings.EqualFold(s.Architecture, architecture) || strings.EqualFold(kind, architecture)) {
			return s, true
		}
	}
	return TrainingSet{}, false
}

// Correlations returns the printed correlations in the order of the figures.
func Correlations() []Correlation { return slices.Clone(correlations()) }

// Assignments returns the expected cluster of each novel model of appendix H, keyed by timm name.
func Assignments() map[string]int { return maps.Clone(assignments()) }

// Clusters returns Tab. 2's partition in printed order.
func Clusters() []Member { return slices.Clone(clusters()) }

// Keywords returns Tab. 2's keywords in printed order.
func Keywords() []Keyword { return slices.Clone(keywords()) }

// Components returns the components in the order of their importance.
func Components() []Component { return slices.Clone(components()) }

// Aliases returns the short name of each model (Tab. A.1), keyed by timm name.
func Aliases() map[string]string { return maps.Clone(aliases()) }

// FeaturesCSV returns the feature table (Tab. A.3 and A.4) as CSV, first column timm.
func FeaturesCSV() []byte { return bytes.Clone(featuresCSV) }

var clusters = sync.OnceValue(func() []Member {
	var out []Member
	for _, r := range records(clustersCSV) {
		out = append(out, Member{Cluster: integer(r["cluster"]), Position: integer(r["position"]), Alias: r["alias_tab2"], Timm: r["timm"]})
	}
	return out
})

var keywords = sync.OnceValue(func() []Keyword {
	var out []Keyword
	for _, r := range records(keywordsCSV) {
		out = append(out, Keyword{Cluster: integer(r["cluster"]), Rank: integer(r["rank"]), Printed: r["keyword_as_printed"],
			Component: r["component"], Value: r["value_as_printed"], Opposite: r["value_that_TFIDF_selects"]})
	}
	return out
})

var components = sync.OnceValue(func() []Component {
	var out []Component
	for _, r := range records(orderCSV) {
		out = append(out, Component{Rank: integer(r["rank"]), Name: r["component"], Column: r["feature_column"]})
	}
	return out
})

var aliases = sync.OnceValue(func() map[string]string {
	out := map[string]string{}
	for _, r := range records(namesCSV) {
		out[r["timm"]] = r["alias_tabA1"]
	}
	return out
})

var trainingSets = sync.OnceValue(func() []TrainingSet {
	var out []TrainingSet
	for _, r := range records(trainingCSV) {
		out = append(out, TrainingSet{Architecture: r["architecture"], Diversity: r["diversity_by"], SAT: r["sat_printed"]})
	}
	return out
})

var correlations = sync.OnceValue(func() []Correlation {
	var out []Correlation
	for _, r := range records(correlationsCSV) {
		out = append(out, Correlation{ID: r["id"], R: r["r_printed"], P: r["p_printed"]})
	}
	return out
})

var assignments = sync.OnceValue(func() map[string]int {
	out := map[string]int{}
	for _, r := range records(assignmentCSV) {
		out[r["timm"]] = integer(r["expected_cluster"])
	}
	return out
})

// records parses an embedded table into maps by column name. The tables are part of the program, so a fault in one is a
// fault of the program.
func records(table []byte) []map[string]string {
	lines, err := csv.NewReader(bytes.NewReader(table)).ReadAll()
	if err != nil {
		panic("paper: embedded table: " + err.Error())
	}
	var out []map[string]string
	for _, line := range lines[1:] {
		r := make(map[string]string, len(line))
		for i, cell := range line {
			r[lines[0][i]] = cell
		}
		out = append(out, r)
	}
	return out
}

func integer(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic("paper: embedded table: " + err.Error())
	}
	return n
}
