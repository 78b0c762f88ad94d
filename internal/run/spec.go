package run

import (
	"fmt"
	"path/filepath"
	"runtime"
	"slices"

	"sat/internal/experiment"
	"sat/torch"
	"sat/zoo"
)

// Spec says what to run, with every default filled in. An experiment file resolves to one (FromConfig), and so do the
// flags of `sat compare`.
type Spec struct {
	Name       string
	Title      string
	Experiment string // path of the experiment file, for the report; "" without one
	Resolved   []byte // the fully resolved experiment file, stored with the results; nil without one
	Dir        string // units and results
	Similarity string // folder of the result files: DIR/similarity of an experiment, DIR itself for `sat compare`
	Agreement  string // folder of the agreement of decision boundaries: DIR/boundary, or DIR itself for `sat boundary`
	Seed       uint64

	Device   torch.Device
	zoo.Mode       // part of every key, like Threads
	Workers  int   // OS threads that run models at the same time
	Threads  int   // threads of one operation; part of every key, because kernels round differently for another number
	Batch    int   // images per forward pass or gradient; part of every key for the same reason; 0: chosen for each model
	Memory   int64 // the most that may be resident, in bytes; 0: no limit, and Batch must be given

	Data       experiment.Data
	Evaluate   experiment.Evaluate
	Members    []Member
	Sets       []Set
	Pretrains  []Pretrain
	Probe      *experiment.Probe // nil: not asked for
	Attack     Attack
	Sweep      []Attack // the same experiment at other epsilons; analysed only for the central claim
	Ablation   []Ablation
	Transfer   experiment.Transfer
	Boundary   *Boundary  // nil: not asked for
	Stability  *Stability // likewise; needs Boundary
	Scores     experiment.Similarity
	Analysis   experiment.Analysis // the analyses asked for
	PaperValue bool                // whether the report sets the paper's values beside ours
	See        []string            // experiment files whose reports this one points to
	PDF        bool                // the report's figures as PDF too
	Dendrogram bool                // the matrix also with the tree of a hierarchical clustering
}

// Member is one model of a run. Exactly one of Path and Export is set.
type Member struct {
	Name       string
	Group      string // models of one group differ only by their seed: the central claim compares groups
	Path       string // a TorchScript file
	Export     *Network
	Describe   zoo.Description
	Recipe     *experiment.Recipe // train natively; nil to use the module as it is
	Seed       uint64
	Components map[string]string // the paper's 13 components, for features.csv; nil if unknown
	Teacher    string            // the member that it is distilled from; "" without

	set     *experiment.Set // that made it; nil without
	Weights string          // kind of weights that the file must hold, "random" or "pretrained"; "" for any
	Network string          // timm's name of the network that the file must hold; "" for any
}

// Set is a family of models that differ in one thing.
type Set struct {
	Name         string   `json:"name"`
	Architecture string   `json:"architecture"`
	Diversity    string   `json:"diversity"` // as the paper's Tab. 3 calls it
	Models       []string `json:"models"`
}

// Network describes a module that the exporter makes from timm.
type Network struct {
	Name        string     // of the file; the seeds of a natively trained member share it
	Entry       *zoo.Entry // of the registry, which knows weights and preprocessing; or
	Timm        string     // name for timm.create_model, or the path of a class inside timm: "models.mlp_mixer.MlpMixer"
	Arguments   map[string]any
	Attention   bool // the module also gives its attention maps
	Heads       int  // 2: both classifiers of a distilled network
	Pretrained  bool
	Checkpoints string // folder of weight files; "" for timm's local cache
	WeightFile  string // name of the file in there; "" for that of timm 0.6.7 or 1.0.31
	Seed        uint64
}

// FromConfig resolves an experiment file. Paths in it are relative to the current folder, as on a command line.
func FromConfig(c *experiment.Config, file string) (Spec, error) {
	device, err := torch.ParseDevice(c.Device)
	if err != nil {
		return Spec{}, err
	}
	precision, err := torch.ParseDType(c.Precision)
	if err != nil {
		return Spec{}, err
	}
	mode := zoo.Mode{Precision: precision, ChannelsLast: c.ChannelsLast, Lowered: c.Lowered}
	if err := mode.Check(device); err != nil {
		return Spec{}, c.Problem("lowered", "they go as they are to a GPU", "%v", err)
	}
	s := Spec{
		Name: c.Name, Title: c.Report.Title, Experiment: file, Resolved: c.Resolved(),
		Dir: c.Out, Similarity: filepath.Join(c.Out, "similarity"), Agreement: filepath.Join(c.Out, "boundary"), Seed: c.Seed,
		Device: device, Mode: mode, Threads: c.Threads, Batch: c.Batch, Memory: int64(c.Memory),
		See: c.Report.See, Workers: c.Workers, Data: c.Data, Evaluate: c.Evaluate, Transfer: c.Transfer, Scores: c.Similarity, Analysis: c.Analysis, PaperValue: c.Report.Paper,
		PDF: c.Report.PDF, Dendrogram: c.Report.Dendrogram,
	}
	if s.Workers == 0 {
		s.Workers = max(1, runtime.NumCPU()/s.Threads)
	}
	if s.Attack, err = NewAttack(c.Attack, c.Attack.Epsilon); err != nil {
		return Spec{}, err
	}
	for _, epsilon := range c.Sweep.Epsilon {
		a, err := NewAttack(c.Attack, epsilon)
		if err != nil {
			return Spec{}, err
		}
		s.Sweep = append(s.Sweep, a)
	}
	if s.Members, err = registered(c); err != nil {
		return Spec{}, err
	}
	for _, m := range c.Members() {
		s.Members = append(s.Members, memberOf(c, m))
	}
	s.pretrainings(c)
	if err := s.resolveSets(c); err != nil {
		return Spec{}, err
	}
	if err := s.CheckNames(); err != nil {
		return Spec{}, c.Problem("zoo.names", "leave one of them out, or give it another name", "%v", err)
	}
	for i, ablation := range c.Ablation {
		a, err := NewAttack(ablation.Attack, ablation.Attack.Epsilon)
		if err != nil {
			return Spec{}, err
		}
		for key, list := range map[string][]string{"models": ablation.Models, "sources": ablation.Sources} {
			for k, name := range list {
				if !slices.ContainsFunc(s.Members, func(m Member) bool { return named([]string{name}, &m) }) {
					return Spec{}, c.Problem(fmt.Sprintf("ablation[%d].%s[%d]", i, key, k), "write the name of a model", "there is no model %q", name)
				}
			}
		}
		compared := 0
		for k := range s.Members {
			if named(ablation.Models, &s.Members[k]) {
				compared++
			}
		}
		if compared == 1 {
			return Spec{}, c.Problem(fmt.Sprintf("ablation[%d].models", i), "name another; sources attacks a single one", "one model has no pair")
		}
		s.Ablation = append(s.Ablation, Ablation{ablation.Name, ablation.Models, ablation.Sources, a})
	}
	if o := c.Analysis.Clusters; o != nil && o.K > len(s.Members) {
		return Spec{}, c.Problem("analysis.clusters.k", fmt.Sprintf("at most %d", len(s.Members)), "%d clusters of %d models", o.K, len(s.Members))
	}
	if err := s.askForBoundaries(c); err != nil {
		return Spec{}, err
	}
	if o := c.Analysis.Novel; o != nil {
		for i, name := range o.Models {
			if !slices.Contains(s.MemberNames(), name) {
				return Spec{}, c.Problem(fmt.Sprintf("analysis.novel.models[%d]", i), "name models of this run", "there is no model %q", name)
			}
		}
	}
	if o := c.Analysis.Choose; o != nil && o.Student != "" && !slices.Contains(s.MemberNames(), o.Student) {
		return Spec{}, c.Problem("analysis.choose.student", "name a model of this run", "there is no model %q", o.Student)
	}
	return s, nil
}

// MemberNames lists the models in the order of the results.
func (s *Spec) MemberNames() []string {
	names := make([]string, len(s.Members))
	for i, m := range s.Members {
		names[i] = m.Name
	}
	return names
}
