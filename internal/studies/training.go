package studies

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"

	"sat/analysis"
	"sat/analysis/paper"
)

// TrainingSets names sets of models of one architecture that differ in how they were trained. A model may be in several.
type TrainingSets struct {
	Sets []TrainingMembers
}

// TrainingMembers is one of them.
type TrainingMembers struct {
	Architecture, Diversity string
	Models                  []string
}

// ReadTrainingSets reads a table with the columns model, architecture and diversity, one line per membership.
func ReadTrainingSets(path string) (*TrainingSets, error) {
	t, err := ReadTable(path, "model", "architecture", "diversity")
	if err != nil {
		return nil, err
	}
	s := &TrainingSets{}
	for i := range t.Len() {
		model, architecture, diversity := t.Text(i, "model"), t.Text(i, "architecture"), t.Text(i, "diversity")
		for _, column := range []string{"model", "architecture", "diversity"} {
			if t.Text(i, column) == "" {
				return nil, t.Fail(i, "%s is empty", column)
			}
		}
		if slices.Contains(s.of(architecture, diversity).Models, model) {
			return nil, t.Fail(i, "%s stands twice in %s by %s", model, architecture, diversity)
		}
		s.add(architecture, diversity, model)
	}
	if len(s.Sets) == 0 {
		return nil, fmt.Errorf("%s: no line behind the header", path)
	}
	return s, nil
}

func (s *TrainingSets) of(architecture, diversity string) *TrainingMembers {
	for k := range s.Sets {
		if s.Sets[k].Architecture == architecture && s.Sets[k].Diversity == diversity {
			return &s.Sets[k]
		}
	}
	return &TrainingMembers{}
}

func (s *TrainingSets) add(architecture, diversity, model string) {
	if set := s.of(architecture, diversity); set.Models != nil {
		set.Models = append(set.Models, model)
		return
	}
	s.Sets = append(s.Sets, TrainingMembers{architecture, diversity, []string{model}})
}

// BySeed makes a set by initialization of every group with at least two models.
func BySeed(models, groups []string) *TrainingSets {
	all := &TrainingSets{}
	for i, name := range models {
		all.add(groups[i], "Initialization", name)
	}
	all.Sets = slices.DeleteFunc(all.Sets, func(s TrainingMembers) bool { return len(s.Models) < 2 })
	return all
}

// TrainingJob asks what training changes (Tab. 3, Fig. 4b, Fig. 7).
type TrainingJob struct {
	// SAT are similarity matrices: a set is taken from the first that has all its models.
	SAT []*analysis.Matrix
	// All are the models of the line "All", by which the sets are judged: networks that differ in their architecture. nil:
	// all models of the first matrix.
	All       []string
	Sets      *TrainingSets
	Bootstrap analysis.BootstrapOptions
	// Logits of the models of all sets and, with Labels, of the models of "All"; nil: no ensembles.
	Logits    *analysis.Logits
	Labels    *Labels // clusters of the models of "All", for its ensembles; nil without
	Ensembles analysis.ClusterEnsembleOptions
	Distances *analysis.ClusterOptions // of Fig. 4b, over the first matrix; nil without
}

// Training writes tab3_training.csv; with logits fig7_training_ensembles.csv, with distances fig4b_training_distance.csv.
func Training(ctx context.Context, f Folder, job TrainingJob) (warnings []string, err error) {
	if len(job.SAT) == 0 {
		return nil, fmt.Errorf("training sets: no similarity matrix")
	}
	var sets []analysis.TrainingSet
	var logits []analysis.TrainingLogits
	for _, s := range job.Sets.Sets {
		m, err := firstWith(job.SAT, s)
		if err != nil {
			return nil, err
		}
		sets = append(sets, analysis.TrainingSet{Architecture: s.Architecture, Diversity: s.Diversity, SAT: m})
		if job.Logits != nil {
			l, err := selectLogits(job.Logits, s.Models)
			if err != nil {
				return nil, fmt.Errorf("training sets, %s by %s: %w", s.Architecture, s.Diversity, err)
			}
			logits = append(logits, analysis.TrainingLogits{Architecture: s.Architecture, Diversity: s.Diversity, Logits: l})
		}
	}
	all, err := firstWith(job.SAT[:1], TrainingMembers{"All", "All", job.all()})
	if err != nil {
		return nil, err
	}
	sets = append(sets, analysis.TrainingSet{Architecture: "All", Diversity: "All", SAT: all})
	lines, err := analysis.TrainingSimilarities(ctx, sets, job.Bootstrap)
	if err != nil {
		return nil, err
	}
	ensembles, err := analysis.TrainingEnsembles(ctx, logits, job.Ensembles)
	if err != nil {
		return nil, err
	}
	if job.Logits != nil && job.Labels != nil {
		all, err := allEnsembles(ctx, job)
		if err != nil {
			return nil, err
		}
		ensembles = append(ensembles, all...)
	}
	var distances *analysis.Clusters
	if job.Distances != nil {
		if distances, err = analysis.SpectralClusters(ctx, job.SAT[0], *job.Distances); err != nil {
			return nil, err
		}
		warnings = append(warnings, distances.Warnings...)
	}

	f = f.with("training", map[string]any{"resamples": job.Bootstrap.Resamples, "level": 0.95, "seed": job.Bootstrap.Seed,
		"unit": "models", "draws": job.Ensembles.Draws, "average": job.Ensembles.Average})
	var rows [][]string
	for _, l := range lines {
		for _, w := range withoutTwo(&l.MatrixMean) {
			warnings = append(warnings, fmt.Sprintf("%s by %s: %s", l.Architecture, l.Diversity, w))
		}
		printed, _ := paper.TrainingSetLike(l.Architecture, l.Diversity) // empty where Tab. 3 has no such line
		rows = append(rows, []string{l.Architecture, l.Diversity, number(l.Summary.Mean), number(l.CILo), number(l.CIHi),
			strconv.Itoa(l.Models), strconv.Itoa(l.Summary.Pairs), printed.SAT})
	}
	header := []string{"architecture", "diversity", "mean_sat", "ci_lo", "ci_hi", "n_models", "n_pairs", "paper"}
	if err := f.table("tab3_training.csv", header, rows); err != nil {
		return nil, err
	}
	if distances != nil {
		if err := f.matrix("fig4b_training_distance.csv", distances.Distance); err != nil {
			return nil, err
		}
	}
	if ensembles == nil {
		return warnings, nil
	}
	rows = nil
	for _, e := range ensembles {
		rows = append(rows, []string{e.Architecture, e.Diversity, strconv.Itoa(e.Cell.N), number(e.Cell.ERR.Mean), number(e.Cell.WrongByAll.Mean),
			number(e.Cell.ERR.SD), number(e.Cell.ERR.CILo), number(e.Cell.ERR.CIHi), strconv.Itoa(e.Cell.Sets)})
	}
	header = []string{"architecture", "set", "N", "mean_ERR", "wrong_by_all", "sd", "ci_lo", "ci_hi", "draws"}
	return warnings, f.table("fig7_training_ensembles.csv", header, rows)
}

// all lists the models of the line "All".
func (job TrainingJob) all() []string {
	if job.All != nil {
		return job.All
	}
	return job.SAT[0].Names
}

// withoutTwo takes its interval from the mean of two models: resampling them either leaves their one pair or none, so it has
// no width whatever the uncertainty. It returns the warnings of other means.
func withoutTwo(m *analysis.MatrixMean) []string {
	if m.Models > 2 {
		return m.Warnings
	}
	m.CILo, m.CIHi = math.NaN(), math.NaN()
	return nil
}

// firstWith returns the part of the first matrix that knows all models of a set.
func firstWith(matrices []*analysis.Matrix, s TrainingMembers) (*analysis.Matrix, error) {
	var first error
	for _, m := range matrices {
		part, err := m.Select(s.Models)
		if err == nil {
			return part, nil
		}
		if first == nil {
			first = err
		}
	}
	return nil, fmt.Errorf("training sets, %s by %s: %w", s.Architecture, s.Diversity, first)
}

// allEnsembles are the ensembles of N models of N clusters, the line "All" of Fig. 7.
func allEnsembles(ctx context.Context, job TrainingJob) ([]analysis.TrainingEnsemble, error) {
	l, err := selectLogits(job.Logits, job.all())
	if err != nil {
		return nil, err
	}
	labels, err := job.Labels.Of(l.Models)
	if err != nil {
		return nil, err
	}
	o := job.Ensembles
	o.Equal = true
	cells, err := l.ClusterEnsembles(ctx, labels, o)
	if err != nil {
		return nil, err
	}
	var out []analysis.TrainingEnsemble
	for _, c := range cells {
		out = append(out, analysis.TrainingEnsemble{Architecture: "All", Diversity: "All", Cell: c})
	}
	return out, nil
}

// selectLogits narrows logits to some of their models.
func selectLogits(l *analysis.Logits, models []string) (*analysis.Logits, error) {
	part := &selectedLogits{reader: l.Reader}
	for _, name := range models {
		k := slices.Index(l.Models, name)
		if k < 0 {
			return nil, fmt.Errorf("no logits of %s", name)
		}
		part.index = append(part.index, k)
	}
	return &analysis.Logits{Models: models, Classes: l.Classes, Labels: l.Labels, Reader: part}, nil
}

type selectedLogits struct {
	reader analysis.LogitReader
	index  []int
}

func (s *selectedLogits) ReadLogits(ctx context.Context, model, from int, dst []float32) error {
	return s.reader.ReadLogits(ctx, s.index[model], from, dst)
}
