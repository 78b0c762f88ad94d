package analysis

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
)

// TF is the weight of a word inside one document.
type TF string

// IDF is the weight of a word by its rarity among documents.
type IDF string

// Norm is the scale of a document's weights.
type Norm string

// The switches of [Keywords]. N is the number of documents, df the number that hold the word.
const (
	TFCount      TF   = "count"     // number of occurrences, here 1
	TFFrequency  TF   = "frequency" // occurrences / words of the document
	IDFSmooth    IDF  = "smooth"    // ln((1+N)/(1+df)) + 1
	IDFPlain     IDF  = "plain"     // ln(N/df)
	IDFPlainPlus IDF  = "plain+1"   // ln(N/df) + 1
	NormL2       Norm = "l2"        // unit Euclidean length
	NormNone     Norm = "none"
)

// tieTolerance: weights this close, relatively, are equal in exact arithmetic.
const tieTolerance = 1e-12

// KeywordOptions are the switches of [Keywords]. The zero value means the variant that reproduces the paper's Tab. 2.
type KeywordOptions struct {
	BaseMap   BaseMap   // default BaseKeywords, independent of the grouping used for distances
	Attention Attention // default AttentionPresence
	TF        TF        // default TFCount
	IDF       IDF       // default IDFSmooth
	Norm      Norm      // default NormL2
	Top       int       // keywords per cluster; default 5
	// Order ranks components when weights tie: the paper's order of importance, say. Components not listed follow in
	// the order of the table.
	Order []string
}

func (o KeywordOptions) withDefaults() KeywordOptions {
	o.BaseMap = cmp.Or(o.BaseMap, BaseKeywords)
	o.Attention = cmp.Or(o.Attention, AttentionPresence)
	o.TF = cmp.Or(o.TF, TFCount)
	o.IDF = cmp.Or(o.IDF, IDFSmooth)
	o.Norm = cmp.Or(o.Norm, NormL2)
	o.Top = cmp.Or(o.Top, 5)
	return o
}

// word is "component=value" as a pair of indices: the column, and the value's place among the column's sorted values.
type word struct{ component, value int }

// Keywords returns the words that distinguish each cluster from the others (Tab. 2): a model is a document, a word is
// "component=value", and a cluster's weight for a word is the mean TF-IDF weight over the cluster's models. labels holds
// one cluster number per model, in the order of f.Models. The result is ordered by cluster number, then rank; only words
// that occur in a cluster are listed for it, so there may be fewer than Top.
//
// Ties go to the component that comes first in Order, then to the alphabetically smaller value. The result does not
// depend on the order of the models, to the last bit.
func Keywords(f *Features, labels []int, o KeywordOptions) ([]Keyword, error) {
	o = o.withDefaults()
	table, err := f.Recode(o.BaseMap, o.Attention)
	if err != nil {
		return nil, fmt.Errorf("keywords: %w", err)
	}
	if len(labels) != len(table.Models) {
		return nil, fmt.Errorf("keywords: %d cluster labels for %d models", len(labels), len(table.Models))
	}
	if o.Top < 0 {
		return nil, fmt.Errorf("keywords: %d per cluster", o.Top)
	}
	values := distinctValues(table)
	weights, err := tfidf(table, values, o)
	if err != nil {
		return nil, fmt.Errorf("keywords: %w", err)
	}
	rank := componentRank(table.Components, o.Order)

	clusters := slices.Compact(slices.Sorted(slices.Values(labels)))
	var out []Keyword
	for _, cluster := range clusters {
		size := 0
		parts := map[word][]float64{}
		for i, label := range labels {
			if label != cluster {
				continue
			}
			size++
			for w, v := range weights[i] {
				parts[w] = append(parts[w], v)
			}
		}
		type scored struct {
			word
			score float64
		}
		list := make([]scored, 0, len(parts))
		for w, p := range parts {
			slices.Sort(p) // a sum in sorted order does not depend on the order of the models
			sum := 0.0
			for _, v := range p {
				sum += v
			}
			list = append(list, scored{w, sum / float64(size)})
		}
		byWord := func(a, b scored) int {
			return cmp.Or(cmp.Compare(rank[a.component], rank[b.component]), cmp.Compare(a.value, b.value))
		}
		slices.SortFunc(list, func(a, b scored) int { return cmp.Or(cmp.Compare(b.score, a.score), byWord(a, b)) })
		for from := 0; from < len(list); { // order each run of ties by its words
			to := from + 1
			for to < len(list) && list[from].score-list[to].score <= tieTolerance*list[from].score {
				to++
			}
			slices.SortFunc(list[from:to], byWord)
			from = to
		}
		for r, s := range list[:min(o.Top, len(list))] {
			out = append(out, Keyword{Cluster: cluster, Rank: r + 1, Component: table.Components[s.component],
				Value: values[s.component][s.value], Score: s.score})
		}
	}
	return out, nil
}

// distinctValues lists the values that are words, sorted, per component.
func distinctValues(f *Features) [][]string {
	values := make([][]string, len(f.Components))
	for c := range f.Components {
		for _, row := range f.Values {
			if !absent(row[c]) {
				values[c] = append(values[c], row[c])
			}
		}
		slices.Sort(values[c])
		values[c] = slices.Compact(values[c])
	}
	return values
}

// tfidf returns the weight of every word of every model.
func tfidf(f *Features, values [][]string, o KeywordOptions) ([]map[word]float64, error) {
	docs := make([][]word, len(f.Models))
	df := map[word]int{}
	for i, row := range f.Values {
		for c, v := range row {
			if absent(v) {
				continue
			}
			k, _ := slices.BinarySearch(values[c], v)
			docs[i] = append(docs[i], word{c, k})
			df[word{c, k}]++
		}
	}
	if len(df) == 0 {
		return nil, errors.New("no model has any component")
	}
	n := float64(len(docs))
	weights := make([]map[word]float64, len(docs))
	for i, doc := range docs {
		weights[i] = make(map[word]float64, len(doc))
		square := 0.0
		for _, w := range doc {
			var v float64
			switch o.TF {
			case TFCount:
				v = 1
			case TFFrequency:
				v = 1 / float64(len(doc))
			default:
				return nil, fmt.Errorf("term frequency %q: want %s or %s", o.TF, TFCount, TFFrequency)
			}
			switch o.IDF {
			case IDFSmooth:
				v *= math.Log((1+n)/(1+float64(df[w]))) + 1
			case IDFPlain:
				v *= math.Log(n / float64(df[w]))
			case IDFPlainPlus:
				v *= math.Log(n/float64(df[w])) + 1
			default:
				return nil, fmt.Errorf("inverse document frequency %q: want %s, %s or %s", o.IDF, IDFSmooth, IDFPlain, IDFPlainPlus)
			}
			weights[i][w] = v
			square += v * v
		}
		switch o.Norm {
		case NormL2:
			if square > 0 { // a document of words that every model has weighs nothing under IDFPlain
				for w := range weights[i] {
					weights[i][w] /= math.Sqrt(square)
				}
			}
		case NormNone:
		default:
			return nil, fmt.Errorf("document scale %q: want %s or %s", o.Norm, NormL2, NormNone)
		}
	}
	return weights, nil
}

// componentRank gives every component its place for breaking ties.
func componentRank(components, order []string) []int {
	rank := make([]int, len(components))
	for c, name := range components {
		rank[c] = len(order) + c
		if k := slices.Index(order, name); k >= 0 {
			rank[c] = k
		}
	}
	return rank
}
