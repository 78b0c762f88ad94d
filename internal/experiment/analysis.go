package experiment

import (
	"fmt"
	"reflect"
	"slices"
)

// Analysis holds the analyses. Those whose table is in the file are made.
type Analysis struct {
	Clusters     *Clusters     `toml:"clusters"`
	Keywords     *Keywords     `toml:"keywords"`
	Importance   *Importance   `toml:"importance"`
	TSNE         *TSNE         `toml:"tsne"`
	Ensembles    *Ensembles    `toml:"ensembles"`
	Training     *Training     `toml:"training"`
	Distillation *Distillation `toml:"distillation"`
	Novel        *Novel        `toml:"novel"`
	Choose       *Choose       `toml:"choose"`
	Sensitivity  *Sensitivity  `toml:"sensitivity"`
	Matrices     *Matrices     `toml:"matrices"`
}

// Clusters asks for spectral clustering.
type Clusters struct {
	K         int     `toml:"k" min:"1" doc:"number of clusters"`
	Affinity  string  `toml:"affinity" enum:"sat percent rbf shift" doc:"similarity from SAT"`
	Gamma     float64 `toml:"gamma" only:"affinity=rbf" above:"0"`
	Diagonal  string  `toml:"diagonal" enum:"zero keep"`
	Laplacian string  `toml:"laplacian" enum:"sym rw unnormalized"`
	Which     string  `toml:"which" enum:"smooth literal-largest" doc:"eigenvectors"`
	Rows      string  `toml:"rows" enum:"unit none" doc:"length of the rows before k-means; default: none for laplacian rw, else unit"`
	Restarts  int     `toml:"restarts" min:"1" doc:"of k-means"`
	Seed      uint64  `toml:"seed" doc:"of k-means; default: the run's seed"`
}

// Keywords asks for the components that set each cluster apart.
type Keywords struct {
	BaseMap   string `toml:"base_map" enum:"keywords table elements" doc:"how base architectures are grouped"`
	Attention string `toml:"attention" enum:"presence kind" doc:"whether the kind of an attention counts"`
	TF        string `toml:"tf" enum:"count frequency"`
	IDF       string `toml:"idf" enum:"smooth plain plain+1"`
	Norm      string `toml:"norm" enum:"l2 none"`
	Top       int    `toml:"top" min:"1" doc:"keywords per cluster"`
}

// Importance asks which components explain similarity.
type Importance struct {
	BaseMap     string  `toml:"base_map" enum:"table elements keywords" doc:"how base architectures are grouped"`
	Attention   string  `toml:"attention" enum:"presence kind" doc:"whether the kind of an attention counts"`
	Stages      int     `toml:"stages" min:"1" doc:"trees"`
	Depth       int     `toml:"depth" min:"1" doc:"of a tree"`
	MinSamples  string  `toml:"min_samples" enum:"split leaf" doc:"what the minimum number of rows belongs to"`
	MinRows     int     `toml:"min_rows" min:"1" doc:"minimum number of rows"`
	Rate        float64 `toml:"rate" above:"0" doc:"learning rate"`
	Ties        string  `toml:"ties" enum:"random first" doc:"between components that divide the pairs alike"`
	Seeds       int     `toml:"seeds" min:"1" doc:"fits that break ties differently"`
	Repeats     int     `toml:"repeats" min:"1" doc:"permutations of a component per fit"`
	Eval        string  `toml:"eval" enum:"train holdout models" doc:"pairs that importance is measured on"`
	Holdout     float64 `toml:"holdout" only:"eval=holdout|models" above:"0" below:"1" doc:"share of pairs or models held out"`
	Seed        uint64  `toml:"seed" doc:"of ties, permutations and what is held out; default: the run's seed"`
	Predictions bool    `toml:"predictions" doc:"also write the prediction of every pair"`
}

// TSNE asks for a map of the models.
type TSNE struct {
	Perplexity float64 `toml:"perplexity" optional:"yes" min:"1" doc:"effective number of neighbours; default 30, with at most 30 models a third of the others"`
	Distance   string  `toml:"distance" enum:"logdiff percent" doc:"of two models"`
	Init       string  `toml:"init" enum:"mds random" doc:"start"`
	Steps      int     `toml:"steps" min:"250" doc:"at most"`
	Seed       uint64  `toml:"seed" doc:"of a random start; default: the run's seed"`
}

// Ensembles asks what ensembles of the models gain.
type Ensembles struct {
	Logits    string `toml:"logits" optional:"yes" doc:"folder of NAME.npy, float32 or float16 [N,K], one for each model; default: those that [evaluate] keeps"`
	Labels    string `toml:"labels" optional:"yes" doc:"the true classes of these N images, .npy, int64; default: theirs"`
	Average   string `toml:"average" enum:"logit prob" doc:"what an ensemble averages"`
	Largest   int    `toml:"largest" min:"2" doc:"members of the largest ensembles"`
	Draws     int    `toml:"draws" min:"1" doc:"ensembles per cell; all, if there are no more"`
	Cover     bool   `toml:"cover" doc:"the members touch every one of the clusters drawn"`
	Resamples int    `toml:"resamples" min:"2" doc:"of the draws, for intervals"`
	Seed      uint64 `toml:"seed" doc:"of draws and resamples; default: the run's seed"`
}

// Training asks for the similarity inside sets of models that differ in their training only.
type Training struct {
	Resamples int           `toml:"resamples" min:"2" doc:"of the models, for intervals"`
	Seed      uint64        `toml:"seed" doc:"of the resamples; default: the run's seed"`
	All       []string      `toml:"all" optional:"yes" doc:"models that sets are compared with, or words of zoo.names for several; default: those that no [[set]] makes or names"`
	Sets      []TrainingSet `toml:"set"`
}

// TrainingSet names one such set. Without any, models that differ by their seed only are sets by initialization.
type TrainingSet struct {
	Architecture string   `toml:"architecture"`
	Diversity    string   `toml:"diversity" doc:"in what they differ: Initialization, Hyper-parameter, Training regime"`
	Models       []string `toml:"models" doc:"names of models, or of [[model]] tables with seeds"`
}

// Distillation asks which teachers serve the students of the [[set]] tables.
type Distillation struct {
	Reference string   `toml:"reference" doc:"model whose similarity to each teacher counts: the paper takes DeiT-S"`
	Group     string   `toml:"group" enum:"transformer+hybrid transformer transformer+mlp listed" doc:"teachers of the student's architecture, apart from the others"`
	Listed    []string `toml:"listed" optional:"yes" doc:"the teachers of group listed"`
}

// Novel asks for one-sided scores, and for the cluster of models that take no part in the clustering.
type Novel struct {
	Models  []string `toml:"models" optional:"yes" doc:"names of models to treat as novel: is the cluster found that they are in?"`
	Ordered bool     `toml:"ordered" doc:"both directions of each pair"`
}

// Choose asks for the most diverse models for an ensemble, or for the teachers of a student.
type Choose struct {
	K           int     `toml:"k" min:"2" doc:"models to choose"`
	MinAccuracy float64 `toml:"min_accuracy" min:"0" max:"100" doc:"leave out models below, in percent"`
	Student     string  `toml:"student" optional:"yes" doc:"also rank the others as teachers of this model"`
}

// Sensitivity asks how much the mistakes of an architecture depend on how it is trained.
type Sensitivity struct {
	Permutations int    `toml:"permutations" min:"1" doc:"of the models, for the tests"`
	Resamples    int    `toml:"resamples" min:"2" doc:"of the models, for intervals"`
	Seed         uint64 `toml:"seed" doc:"of both; default: the run's seed"`
}

// Matrices asks whether another run ranks pairs of models as this one does.
type Matrices struct {
	With         string `toml:"with" doc:"similarity matrix, such as runs/NAME/similarity/sat.csv"`
	Fig2a        bool   `toml:"fig2a" doc:"that run used PGD and this one AutoAttack: also the table of Fig. 2a"`
	Permutations int    `toml:"permutations" min:"1" doc:"of the models, for the test"`
	Resamples    int    `toml:"resamples" min:"2" doc:"of the models, for intervals"`
	Seed         uint64 `toml:"seed" doc:"of both; default: the run's seed"`
}

func (d *decoder) checkAnalysis(c *Config) {
	d.analysisSeeds(c)
	d.checkNamedModels(c)
	d.checkDistillation(c)
	if i := c.Analysis.Importance; i != nil {
		d.onlyWhere(i, "analysis.importance")
	}
	if e := c.Analysis.Ensembles; e != nil && !(e.Logits == "" && e.Labels == "" && c.Evaluate.Logits != "none") && (e.Logits == "" || e.Labels == "") && !d.noted["analysis.ensembles.logits"] && !d.noted["analysis.ensembles.labels"] {
		d.atKey("analysis.ensembles", `add logits = "FOLDER" and labels = "Y.npy", or keep those of this run with [evaluate] logits = "float32"`, "[analysis.ensembles] does not say where the logits are")
	}
	if m := c.Analysis.Matrices; m != nil && m.With == "" && !d.noted["analysis.matrices.with"] {
		d.atKey("analysis.matrices", `add with = "runs/NAME/similarity/sat.csv"`, "[analysis.matrices] does not say with which matrix to compare")
	}
	if clusters := c.Analysis.Clusters; clusters != nil {
		if clusters.Rows == "" {
			clusters.Rows = "unit"
			if clusters.Laplacian == "rw" {
				clusters.Rows = "none"
			}
		}
		members := 0
		for i := range c.Models {
			members += len(c.Models[i].names())
		}
		if clusters.K > members && members > 0 && c.Zoo == nil {
			at := "analysis.clusters"
			if d.given["analysis.clusters.k"] {
				at = "analysis.clusters.k"
			}
			d.atKey(at, fmt.Sprintf("write k = 2, or at most %d", members), "%d clusters of %d models", clusters.K, members)
		}
		d.onlyWhere(clusters, "analysis.clusters")
	}
	if c.Analysis.Keywords == nil {
		return
	}
	if c.Analysis.Clusters == nil {
		d.atKey("analysis.keywords", "add [analysis.clusters]", "keywords describe clusters, and none are asked for")
	}
	for i := range c.Models {
		if path := index("model", i); d.given[join(path, "path")] && !d.given[join(path, "components")] {
			d.atKey(path, "add [model.components], or leave [analysis.keywords] out", "keywords need the components of every model")
		}
	}
}

// analysisSeeds gives analyses without a seed the run's.
func (d *decoder) analysisSeeds(c *Config) {
	analyses := reflect.ValueOf(&c.Analysis).Elem()
	for i := range analyses.NumField() {
		table := analyses.Field(i)
		if table.IsNil() {
			continue
		}
		key := join("analysis", analyses.Type().Field(i).Tag.Get("toml"))
		if seed := table.Elem().FieldByName("Seed"); seed.IsValid() && !d.given[join(key, "seed")] {
			seed.SetUint(c.Seed)
		}
	}
}

// checkDistillation looks at what [analysis.distillation] needs besides names.
func (d *decoder) checkDistillation(c *Config) {
	a := c.Analysis.Distillation
	if a == nil {
		return
	}
	const path = "analysis.distillation"
	if !slices.ContainsFunc(c.Sets, func(s Set) bool { return s.Teachers != nil }) {
		d.atKey(path, "add a [[set]] with teachers = [...]", "no set has teachers")
	}
	if a.Reference == "" && !d.noted[join(path, "reference")] {
		d.atKey(path, `add reference = "MODEL"`, "it does not say to which model the teachers' similarity counts")
	}
	if (a.Group == "listed") != (a.Listed != nil) {
		d.atKey(path, `write group = "listed" and listed = [...] together`, "group listed and listed belong together")
	}
}

// checkNamedModels makes sure that the models which analyses name are there.
func (d *decoder) checkNamedModels(c *Config) {
	var members, tables []string
	for i := range c.Models {
		members, tables = append(members, c.Models[i].names()...), append(tables, c.Models[i].Name)
	}
	if len(members) == 0 || c.Zoo != nil {
		return // noted, or known only when the registry's names are
	}
	known := func(path, name string, among []string) {
		if d.good(path) && !slices.Contains(among, name) {
			d.atValue(path, d.nameHint(name, among, "model"), "there is no model %q", name)
		}
	}
	if a := c.Analysis.Choose; a != nil {
		known("analysis.choose.student", a.Student, members)
	}
	if a := c.Analysis.Distillation; a != nil {
		known("analysis.distillation.reference", a.Reference, members)
	}
	if a := c.Analysis.Novel; a != nil {
		for i, name := range a.Models {
			if d.good("analysis.novel.models") {
				d.given[index("analysis.novel.models", i)] = true
				known(index("analysis.novel.models", i), name, members)
			}
		}
		if len(a.Models) > 0 && c.Analysis.Clusters == nil {
			d.atKey("analysis.novel", "add [analysis.clusters], or leave models out", "novel models are given a cluster, and none are asked for")
		}
	}
	if a := c.Analysis.Training; a != nil {
		for i, s := range a.Sets {
			path := index("analysis.training.set", i)
			switch {
			case s.Architecture == "" && !d.noted[join(path, "architecture")], s.Diversity == "" && !d.noted[join(path, "diversity")]:
				d.atKey(path, `for instance architecture = "ResNet-50", diversity = "Initialization"`, "the set lacks an architecture or a diversity")
			case len(s.Models) == 0 && !d.noted[join(path, "models")]:
				d.atKey(path, `add models = ["NAME", ...]`, "the set has no models")
			}
			for k, name := range s.Models {
				if at := index(join(path, "models"), k); d.good(join(path, "models")) {
					d.given[at] = true
					known(at, name, append(members, tables...))
				}
			}
		}
	}
}
