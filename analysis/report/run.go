package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"

	"sat/analysis"
)

// Run is what Load found in a run directory. Parts that were not run are nil or empty.
type Run struct {
	Dir      string
	Info     Info
	Models   []Model               // in the order of sat.csv
	SAT      *analysis.Matrix      // NaN where undefined; the diagonal is the attack's success on its own model
	Pairs    []analysis.Pair       // a before b in the order of Models; index i, j by Run.Pair
	Resized  []analysis.Resized    // ordered pairs of models that take images of different sizes
	Clusters *Clusters             // nil: not run
	Distance *analysis.Matrix      // Euclidean distance of the spectral features; nil: not run
	Keywords [][]analysis.Keyword  // per cluster, from cluster 1, by rank; nil: not run
	Groups   *Groups               // the central claim; nil: not run
	Sweep    []SweepPoint          // by ascending epsilon; empty: not run
	Curves   int                   // models with a training curve
	Settings map[string]settingMap // provenance files and settings of run.json, by section

	sections map[string]*content // of the sections that were run, by id
	scatters map[string]*scatter // the clouds of points drawn, by the id of the paper's correlation
}

// Model is one row of the matrix with all that is known of the model.
type Model struct {
	Name         string
	Images       int     // images evaluated
	Top1         float64 // per cent; NaN in a run without labels
	Self         analysis.SelfCount
	Cluster      int               // from 1; 0: not clustered
	Group        string            // the group of the central claim, normally the architecture; "" unknown
	Architecture string            // base architecture of features.csv; "" unknown
	Features     map[string]string // components of features.csv; nil: not given
	Info         ModelInfo
	Curve        []Epoch // empty: not trained here
}

// Epoch is one line of a training curve. NaN: not recorded, as validation is not run after every epoch.
type Epoch struct {
	Epoch              int
	TrainLoss, ValLoss float64
	ValTop1            float64 // per cent
}

// Clusters is the partition of tab2_clusters.csv with clusters.json and the eigenvalues.
type Clusters struct {
	K           int
	Order       []int // model indices in display order
	Eigenvalues []float64
	Eigengap    float64 // NaN: unknown
	Inertia     float64
	Agreement   *analysis.Agreement // with the clusters printed in the paper; nil: not comparable
	Warnings    []string
}

// Interval is a confidence interval; both ends are NaN when there is none.
type Interval struct{ Lo, Hi float64 }

func (iv Interval) known() bool { return !math.IsNaN(iv.Lo) && !math.IsNaN(iv.Hi) }

// GroupMean is the mean SAT over a set of pairs.
type GroupMean struct {
	Name     string // of the group; "" for the sums
	Models   int
	Summary  analysis.Summary
	Interval Interval // of the mean
}

// Groups is the central claim: are models of one group (say, one architecture with several seeds) more similar than
// models of different groups?
type Groups struct {
	Within, Across GroupMean
	All            *GroupMean // over all pairs; nil: not recorded
	Groups         []GroupMean
	Difference     float64
	Interval       Interval // of Difference
	P, PRank       float64  // NaN: undefined
	Permutations   int
	Exact          bool
}

// SweepPoint is one attack strength: how well the attack works, and whether the claim holds there.
type SweepPoint struct {
	Label   string  // as written in the file, for example "8/255"
	Epsilon float64 // its value in pixel units
	Chosen  bool    // the run uses it
	Counts  []analysis.SelfCount
	// The claim at this strength; NaN and 0 where groups.csv has no such row.
	Within, Across, Difference, P, PRank float64
	Permutations                         int
}

// Info is run.json. All of it is optional.
type Info struct {
	SchemaVersion int                   `json:"schema_version"`
	Name          string                `json:"name"`
	Title         string                `json:"title"`
	Experiment    string                `json:"experiment"`
	Command       string                `json:"command"`
	Seed          *int64                `json:"seed"`
	Started       string                `json:"started"`
	Finished      string                `json:"finished"`
	WithoutPaper  bool                  `json:"without_paper"` // the paper's values are not shown beside ours
	PathsOnly     bool                  `json:"paths_only"`    // random weights: no number is a result
	Data          DataInfo              `json:"data"`
	Attack        settingMap            `json:"attack"`
	Similarity    settingMap            `json:"similarity"`
	Models        []ModelInfo           `json:"models"`
	Settings      map[string]settingMap `json:"settings"`
	Versions      map[string]string     `json:"versions"`
	Machine       settingMap            `json:"machine"`
	Timings       []Timing              `json:"timings"`
	Warnings      []string              `json:"warnings"`
	Failures      []Failure             `json:"failures"`
	See           []OtherReport         `json:"see"`
}

// OtherReport is a run that the report points to.
type OtherReport struct {
	Title      string `json:"title"`
	Experiment string `json:"experiment"` // file that "sat run" takes
	Report     string `json:"report"`     // relative to this report; "" while that run has none
}

// Failure is a unit of work that did not succeed; what it would have given is missing from the run.
type Failure struct {
	Stage string `json:"stage"`
	Model string `json:"model"`
	Error string `json:"error"`
}

// DataInfo describes the images.
type DataInfo struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	TrainImages int    `json:"train_images"`
	EvalImages  int    `json:"eval_images"`
	Classes     int    `json:"classes"`
	ImageSize   string `json:"image_size"`
	Digest      string `json:"digest"`
}

// ModelInfo describes a model beyond what the counts tell.
type ModelInfo struct {
	Adversarial  *AdversarialInfo `json:"adversarial"` // nil: trained on images as they are
	Model        string           `json:"model"`
	Title        string           `json:"title"`
	Architecture string           `json:"architecture"`
	Family       string           `json:"family"`
	Seed         *int64           `json:"seed"`
	Parameters   int64            `json:"parameters"`
	InputSize    string           `json:"input_size"`
	Epochs       int              `json:"epochs"`
	TrainSeconds float64          `json:"train_seconds"`
}

// Timing is the time one stage took.
type Timing struct {
	Stage   string  `json:"stage"`
	Seconds float64 `json:"seconds"`
	Units   int     `json:"units"`
}

// settingMap holds scalars as they were written, keyed by a dotted name.
type settingMap map[string]string

func (s *settingMap) UnmarshalJSON(b []byte) error {
	var nested map[string]json.RawMessage
	if err := json.Unmarshal(b, &nested); err != nil {
		return err
	}
	*s = settingMap{}
	return s.flatten("", nested)
}

func (s settingMap) flatten(prefix string, nested map[string]json.RawMessage) error {
	for key, raw := range nested {
		name := prefix + key
		switch raw[0] {
		case '{':
			var inner map[string]json.RawMessage
			if err := json.Unmarshal(raw, &inner); err != nil {
				return err
			}
			if err := s.flatten(name+".", inner); err != nil {
				return err
			}
		case '"':
			var text string
			if err := json.Unmarshal(raw, &text); err != nil {
				return err
			}
			s[name] = text
		case '[':
			var list []any
			if err := json.Unmarshal(raw, &list); err != nil {
				return err
			}
			if len(list) > longList {
				s[name] = fmt.Sprintf("%d entries", len(list))
				continue
			}
			var compact bytes.Buffer
			if err := json.Compact(&compact, raw); err != nil {
				return err
			}
			s[name] = compact.String()
		default: // a number as written, true, false or null
			s[name] = string(raw)
		}
	}
	return nil
}

// longList is the number of entries above which a list in a provenance file is counted, not shown.
const longList = 24

// Pair returns the undirected pair of two different models.
func (r *Run) Pair(i, j int) *analysis.Pair {
	if i > j {
		i, j = j, i
	}
	n := len(r.Models)
	return &r.Pairs[i*n-i*(i+1)/2+j-i-1]
}
