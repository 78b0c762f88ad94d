package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"

	"sat/analysis"
)

// schemaVersion counts incompatible changes of report.json, whose keys doc.go describes.
const schemaVersion = 2

// number is a float64 that is null in JSON when undefined.
type number float64

func (v number) MarshalJSON() ([]byte, error) {
	if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
		return []byte("null"), nil
	}
	return json.Marshal(float64(v))
}

type jsonReport struct {
	SchemaVersion int                   `json:"schema_version"`
	Name          string                `json:"name"`
	Scope         jsonScope             `json:"scope"`
	Warnings      []string              `json:"warnings"`
	Summary       jsonSummary           `json:"summary"`
	Claim         *jsonClaim            `json:"claim"`
	Clusters      *jsonClusters         `json:"clusters"`
	Models        []jsonModel           `json:"models"`
	Sweep         []jsonSweep           `json:"sweep"`
	Results       map[string]any        `json:"results"`
	Items         []jsonItem            `json:"items"`
	Settings      map[string]settingMap `json:"settings"`
	Versions      map[string]string     `json:"versions"`
	Figures       []string              `json:"figures"`
	Tables        []string              `json:"tables"`
}

type jsonScope struct {
	Data       string `json:"data"`
	Models     int    `json:"models"`
	Pairs      int    `json:"pairs"`
	Images     int    `json:"images"`
	PaperScale bool   `json:"paper_scale"`
	PathsOnly  bool   `json:"paths_only"`
}

type jsonSummary struct {
	Pairs    int    `json:"pairs"`
	Excluded int    `json:"excluded"`
	Floored  int    `json:"floored"`
	Small    int    `json:"small"`
	Mean     number `json:"mean"`
	Median   number `json:"median"`
}

type jsonMean struct {
	Group   string `json:"group,omitempty"`
	Models  int    `json:"models,omitempty"`
	Pairs   int    `json:"pairs"`
	Floored int    `json:"floored"`
	Mean    number `json:"mean"`
	Median  number `json:"median"`
	CILo    number `json:"ci_lo"`
	CIHi    number `json:"ci_hi"`
}

type jsonClaim struct {
	Within       jsonMean   `json:"within"`
	Across       jsonMean   `json:"across"`
	Groups       []jsonMean `json:"groups"`
	Difference   number     `json:"difference"`
	CILo         number     `json:"ci_lo"`
	CIHi         number     `json:"ci_hi"`
	P            number     `json:"p"`
	PRank        number     `json:"p_rank"`
	Permutations int        `json:"permutations"`
	Exact        bool       `json:"exact"`
	Holds        bool       `json:"holds"`
}

type jsonClusters struct {
	K           int           `json:"k"`
	Order       []string      `json:"order"`
	Eigenvalues []number      `json:"eigenvalues"`
	Eigengap    number        `json:"eigengap"`
	Inertia     number        `json:"inertia"`
	Agreement   *jsonAgree    `json:"agreement_with_paper"`
	Keywords    []jsonKeyword `json:"keywords"`
}

type jsonAgree struct {
	ARI     number `json:"ari"`
	NMI     number `json:"nmi"`
	Matched number `json:"matched"`
}

type jsonKeyword struct {
	Cluster   int    `json:"cluster"`
	Rank      int    `json:"rank"`
	Component string `json:"component"`
	Value     string `json:"value"`
	Score     number `json:"score"`
}

type jsonNeighbour struct {
	Model string `json:"model"`
	SAT   number `json:"sat"`
	CILo  number `json:"ci_lo"`
	CIHi  number `json:"ci_hi"`
}

type jsonModel struct {
	Model    string          `json:"model"`
	Group    string          `json:"group"`
	Cluster  *int            `json:"cluster"`
	N        int             `json:"n"`
	Top1     number          `json:"top1"`
	Correct  int             `json:"n_self"`
	Fooled   int             `json:"n_fooled_self"`
	MeanSAT  number          `json:"mean_sat"`
	Nearest  []jsonNeighbour `json:"nearest"`
	Farthest *jsonNeighbour  `json:"farthest"`
}

type jsonSweep struct {
	Epsilon      string `json:"epsilon"`
	Value        number `json:"value"`
	Chosen       bool   `json:"chosen"`
	Lowest       number `json:"lowest_white_box"`
	Within       number `json:"within_mean"`
	Across       number `json:"across_mean"`
	Difference   number `json:"difference"`
	P            number `json:"p"`
	PRank        number `json:"p_rank"`
	Permutations int    `json:"permutations"`
}

type jsonItem struct {
	ID         string `json:"id"`
	Section    string `json:"section"`
	Where      string `json:"where"`
	Quantity   string `json:"quantity"`
	Value      number `json:"value"`
	Text       string `json:"value_text,omitempty"`
	CILo       number `json:"ci_lo"`
	CIHi       number `json:"ci_hi"`
	Expected   number `json:"expected"`
	ExpectedHi number `json:"expected_hi"`
	Finding    string `json:"expected_text,omitempty"`
	Difference number `json:"difference"`
	Verdict    string `json:"verdict"`
	Scope      string `json:"scope"`
	PaperScope string `json:"expected_scope"`
}

func jsonMeanOf(m GroupMean) jsonMean {
	return jsonMean{m.Name, m.Models, m.Summary.Pairs, m.Summary.Floored, number(m.Summary.Mean), number(m.Summary.Median), number(m.Interval.Lo), number(m.Interval.Hi)}
}

// encodeJSON returns report.json.
func encodeJSON(r *Run, figs []*figure) ([]byte, error) {
	all := analysis.Summarize(r.Pairs)
	out := jsonReport{SchemaVersion: schemaVersion, Name: r.Info.Name, Settings: r.Settings, Versions: r.Info.Versions,
		Scope: jsonScope{r.Info.Data.Name, len(r.Models), len(r.Pairs), r.Info.Data.EvalImages, r.paperScale(), r.Info.PathsOnly},
		Summary: jsonSummary{all.Pairs, all.Excluded, all.Floored, len(r.pairsWith(analysis.StatusSmall)),
			number(all.Mean), number(all.Median)},
		Warnings: append([]string{}, r.warnings()...), Models: []jsonModel{}, Sweep: []jsonSweep{}, Figures: []string{}, Tables: []string{}, Items: []jsonItem{}}
	if g := r.Groups; g != nil {
		out.Claim = &jsonClaim{Within: jsonMeanOf(g.Within), Across: jsonMeanOf(g.Across), Groups: []jsonMean{}, Difference: number(g.Difference),
			CILo: number(g.Interval.Lo), CIHi: number(g.Interval.Hi), P: number(g.P), PRank: number(g.PRank), Permutations: g.Permutations, Exact: g.Exact, Holds: g.holds()}
		for _, m := range g.Groups {
			out.Claim.Groups = append(out.Claim.Groups, jsonMeanOf(m))
		}
	}
	if c := r.Clusters; c != nil {
		j := &jsonClusters{K: c.K, Eigengap: number(c.Eigengap), Inertia: number(c.Inertia), Eigenvalues: []number{}, Keywords: []jsonKeyword{}}
		for _, i := range c.Order {
			j.Order = append(j.Order, r.Models[i].Name)
		}
		for _, v := range c.Eigenvalues {
			j.Eigenvalues = append(j.Eigenvalues, number(v))
		}
		if a := c.Agreement; a != nil {
			j.Agreement = &jsonAgree{number(a.ARI), number(a.NMI), number(a.Matched)}
		}
		for _, words := range r.Keywords {
			for _, w := range words {
				j.Keywords = append(j.Keywords, jsonKeyword{w.Cluster, w.Rank, w.Component, w.Value, number(w.Score)})
			}
		}
		out.Clusters = j
	}
	for i := range r.Models {
		m := &r.Models[i]
		j := jsonModel{Model: m.Name, Group: m.groupOf(), N: m.Images, Top1: number(m.Top1), Correct: m.Self.N, Fooled: m.Self.Fooled,
			MeanSAT: number(r.meanTo(i)), Nearest: []jsonNeighbour{}}
		if m.Cluster > 0 {
			j.Cluster = &m.Cluster
		}
		others := r.neighbours(i)
		neighbour := func(k int) jsonNeighbour {
			p := r.Pair(i, k)
			return jsonNeighbour{r.Models[k].Name, number(p.SAT), number(p.CILo), number(p.CIHi)}
		}
		for _, k := range others[:min(nearCount, len(others))] {
			j.Nearest = append(j.Nearest, neighbour(k))
		}
		if len(others) > 0 {
			far := neighbour(others[len(others)-1])
			j.Farthest = &far
		}
		out.Models = append(out.Models, j)
	}
	for _, s := range r.Sweep {
		low := math.NaN()
		for _, c := range s.Counts {
			if !math.IsNaN(c.Percent) && !(low <= c.Percent) {
				low = c.Percent
			}
		}
		out.Sweep = append(out.Sweep, jsonSweep{s.Label, number(s.Epsilon), s.Chosen, number(low), number(s.Within), number(s.Across), number(s.Difference), number(s.P), number(s.PRank), s.Permutations})
	}
	out.Results = map[string]any{}
	for _, s := range sections {
		if c := r.sections[s.id]; c != nil && c.data != nil {
			out.Results[s.id] = c.data
		}
	}
	list, err := compare(r)
	if err != nil {
		return nil, err
	}
	for _, c := range list {
		out.Items = append(out.Items, jsonItem{ID: c.ID, Section: c.Section, Text: c.OursText, Where: c.Where, Quantity: c.Quantity, Value: number(c.Ours), CILo: number(c.Interval.Lo), CIHi: number(c.Interval.Hi),
			Expected: number(c.Lo), ExpectedHi: number(c.Hi), Finding: c.Text, Difference: number(c.difference()), Verdict: c.Verdict, Scope: c.OurScope, PaperScope: c.Scope})
	}
	for _, f := range figs {
		out.Figures = append(out.Figures, "figures/"+f.Stem+".svg")
	}
	for _, t := range tables(r) {
		out.Tables = append(out.Tables, "figures/"+t.Stem+".csv")
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(out); err != nil {
		return nil, fmt.Errorf("encode report.json: %w", err)
	}
	return b.Bytes(), nil
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
