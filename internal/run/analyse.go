package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"reflect"
	"slices"

	"sat/analysis"
	"sat/internal/data"
	"sat/internal/store"
	"sat/internal/studies"
)

// analyses is what the studies of one run share.
type analyses struct {
	*runner
	studies.Folder
	sat      *analysis.Matrix
	groups   []string           // of each model; models of one group differ by their seed only
	features *analysis.Features // nil unless the components of every model are known
	labels   *studies.Labels    // clusters; nil without
}

// analyse makes DIR/analysis anew, so that nothing is left of what another experiment file asked for, and the sweep.
func (r *runner) analyse(ctx context.Context) error {
	err := store.RemakeFolder(filepath.Join(r.Dir, "analysis"), func(fresh string) error { return r.analyseInto(ctx, fresh) })
	if err != nil {
		return err
	}
	return r.writeSweep(ctx)
}

// analyseInto makes the analyses that the experiment asks for, and the comparison of groups.
func (r *runner) analyseInto(ctx context.Context, dir string) error {
	main := r.measured[""]
	a := &analyses{runner: r, Folder: studies.Folder{Dir: dir, Meta: main.meta}, sat: main.scores.Matrix(),
		groups: make([]string, len(main.scores.Models))}
	for i, m := range r.members {
		a.groups[i] = m.Group
	}
	usual, groups := r.scoresAmong(main.scores, ordinary)
	test, err := compareGroups(ctx, usual, groups, r.Seed)
	if err != nil {
		return err
	}
	if test != nil {
		if err := writeGroups(ctx, filepath.Join(a.Dir, "groups.json"), usual, groups, test, r.Seed); err != nil {
			return err
		}
	}
	if err := r.correlateAgreement(ctx, a.Dir); err != nil {
		return err
	}
	if err := r.stability(ctx, a.Dir); err != nil {
		return err
	}
	if err := r.writeAblations(a.Dir); err != nil {
		return err
	}
	if a.features, err = r.writeFeatures(); err != nil {
		return err
	}
	for _, study := range []struct {
		name string
		make func(context.Context) error
		want bool
	}{
		{"clusters", a.clusters, r.Analysis.Clusters != nil},
		{"keywords", a.keywords, r.Analysis.Keywords != nil},
		{"importance", a.importance, r.Analysis.Importance != nil},
		{"t-SNE", a.tsne, r.Analysis.TSNE != nil},
		{"ensembles", a.ensembles, r.Analysis.Ensembles != nil},
		{"training sets", a.training, r.Analysis.Training != nil},
		{"distillation", a.distillation, r.Analysis.Distillation != nil},
		{"novel models", a.novel, r.Analysis.Novel != nil},
		{"choice of models", a.choose, r.Analysis.Choose != nil},
		{"sensitivity", a.sensitivity, r.Analysis.Sensitivity != nil},
		{"matrices", a.matrices, r.Analysis.Matrices != nil},
	} {
		if !study.want {
			continue
		}
		if err := study.make(ctx); err != nil {
			if ctx.Err() != nil || !a.excused(err) {
				return err
			}
			r.warn("no %s: %v", study.name, err)
		}
	}
	return nil
}

// notPossible is what a study returns that this run's models or images do not allow: the reason, in words.
type notPossible string

func (n notPossible) Error() string { return string(n) }

// excused says that the other studies are still worth having: the models do not allow this one (also because one is like
// none of the others), or failures have left too few of them, or a pair without a score, which has no place in many studies.
func (a *analyses) excused(err error) bool {
	var path *fs.PathError
	if errors.As(err, &path) {
		return false
	}
	var reason notPossible
	return errors.As(err, &reason) || errors.Is(err, analysis.ErrIsolated) || a.out.Undefined > 0 || len(a.out.Failures) > 0 || a.sat.Len() < 4
}

func (a *analyses) warnAll(warnings []string) {
	for _, w := range warnings {
		a.warn("%s", w)
	}
}

func (a *analyses) clusterOptions() analysis.ClusterOptions {
	o := a.Analysis.Clusters
	var reference []analysis.ReferenceModel
	if a.besidePaper() {
		reference = studies.PaperClusters()
	}
	return analysis.ClusterOptions{
		K: o.K, Affinity: analysis.Affinity(o.Affinity), Gamma: o.Gamma, Diagonal: analysis.Diagonal(o.Diagonal),
		Laplacian: analysis.Laplacian(o.Laplacian), Which: analysis.Which(o.Which), Rows: analysis.Rows(o.Rows),
		Restarts: o.Restarts, Seed: o.Seed, Reference: reference,
	}
}

func (a *analyses) clusters(ctx context.Context) error {
	o := a.clusterOptions()
	if o.K > a.sat.Len() {
		a.warn("%d clusters were asked for, but there are only %d models", o.K, a.sat.Len())
		o.K = a.sat.Len()
	}
	c, err := studies.Clusters(ctx, a.Folder, a.sat, o)
	if err != nil {
		return err
	}
	a.labels = &studies.Labels{Models: c.Names, Labels: c.Labels}
	return nil
}

// needFeatures and needClusters say what a study lacks.
func (a *analyses) needFeatures() error {
	if a.features == nil {
		return notPossible("the components of some models are not known")
	}
	return nil
}

func (a *analyses) needClusters() error {
	if a.labels == nil {
		return notPossible("there are no clusters")
	}
	return nil
}

func (a *analyses) keywords(context.Context) error {
	if err := errors.Join(a.needFeatures(), a.needClusters()); err != nil {
		return err
	}
	o := a.Analysis.Keywords
	return studies.Keywords(a.Folder, a.features, a.labels.Labels, analysis.KeywordOptions{
		BaseMap: analysis.BaseMap(o.BaseMap), Attention: analysis.Attention(o.Attention), TF: analysis.TF(o.TF),
		IDF: analysis.IDF(o.IDF), Norm: analysis.Norm(o.Norm), Top: o.Top, Order: studies.PaperOrder(),
	})
}

func (a *analyses) importance(ctx context.Context) error {
	if err := a.needFeatures(); err != nil {
		return err
	}
	o := a.Analysis.Importance
	result, err := studies.Importance(ctx, a.Folder, studies.ImportanceJob{SAT: a.sat, Features: a.features, Predictions: o.Predictions,
		Options: analysis.ImportanceOptions{
			Boosting: analysis.BoostingOptions{Stages: o.Stages, Depth: o.Depth, MinSamples: o.MinRows,
				MinSamplesOf: analysis.MinSamples(o.MinSamples), Rate: o.Rate, Ties: analysis.Ties(o.Ties)},
			BaseMap: analysis.BaseMap(o.BaseMap), Attention: analysis.Attention(o.Attention), Fits: o.Seeds, Repeats: o.Repeats,
			Eval: analysis.Eval(o.Eval), Holdout: o.Holdout, Seed: o.Seed,
		}})
	if err != nil {
		return err
	}
	a.warnAll(result.Warnings)
	return nil
}

func (a *analyses) tsne(ctx context.Context) error {
	o := a.Analysis.TSNE
	warnings, err := studies.TSNE(ctx, a.Folder, studies.TSNEJob{SAT: a.sat, Labels: a.labels, Options: analysis.TSNEOptions{
		Perplexity: o.Perplexity, Distance: analysis.Distance(o.Distance), Init: analysis.Init(o.Init), Steps: o.Steps, Seed: o.Seed}})
	a.warnAll(warnings)
	return err
}

func (a *analyses) ensembleOptions() analysis.ClusterEnsembleOptions {
	o := a.Analysis.Ensembles
	out := analysis.ClusterEnsembleOptions{EnsembleOptions: analysis.EnsembleOptions{Average: analysis.Average(o.Average)},
		Draws: o.Draws, NoCover: !o.Cover, Resamples: o.Resamples, Seed: o.Seed}
	for n := 2; n <= o.Largest; n++ {
		out.Sizes = append(out.Sizes, n)
	}
	return out
}

// logits opens what the models say to the evaluation images, or to those that the experiment brings logits of.
func (a *analyses) logits(ctx context.Context) (*studies.LogitFiles, error) {
	o := a.Analysis.Ensembles
	if o.Labels == "" && a.predicted() {
		return nil, notPossible("nobody knows the true classes of the images")
	}
	labels, err := data.ReadLabels(ctx, cmp.Or(o.Labels, a.logitLabels()))
	if err != nil {
		return nil, err
	}
	return studies.OpenLogits(cmp.Or(o.Logits, a.logitFolder()), a.sat.Names, labels)
}

func (a *analyses) ensembles(ctx context.Context) error {
	logits, err := a.logits(ctx)
	if err != nil {
		return err
	}
	defer logits.Close()
	warnings, err := studies.Ensembles(ctx, a.Folder, studies.EnsemblesJob{SAT: a.sat, Logits: logits.Logits, Labels: a.labels,
		Options: a.ensembleOptions()})
	a.warnAll(warnings)
	return err
}

// training takes the sets of the experiment, or the models that differ by their seed only.
func (a *analyses) training(ctx context.Context) error {
	o := a.Analysis.Training
	sets := &studies.TrainingSets{}
	var all []string
	for _, s := range o.Sets {
		members := studies.TrainingMembers{Architecture: s.Architecture, Diversity: s.Diversity}
		for i, name := range a.sat.Names {
			if slices.Contains(s.Models, name) || slices.Contains(s.Models, a.groups[i]) {
				members.Models = append(members.Models, name)
			}
		}
		sets.Sets = append(sets.Sets, members)
	}
	if o.Sets == nil {
		if sets = a.byTraining(a.sat.Names); len(sets.Sets) == 0 {
			sets = studies.BySeed(a.sat.Names, a.groups)
		} else {
			var err error
			if all, err = a.architectures(); err != nil {
				return err
			}
		}
	}
	if len(sets.Sets) == 0 {
		return notPossible("no two models differ by their seed only")
	}
	job := studies.TrainingJob{SAT: []*analysis.Matrix{a.sat}, All: all, Sets: sets, Bootstrap: analysis.BootstrapOptions{Resamples: o.Resamples, Seed: o.Seed}}
	if a.Analysis.Ensembles != nil {
		logits, err := a.logits(ctx)
		if err != nil {
			return err
		}
		defer logits.Close()
		job.Logits, job.Labels, job.Ensembles = logits.Logits, a.labels, a.ensembleOptions()
	}
	if a.labels != nil {
		distances := a.clusterOptions()
		distances.K = min(distances.K, a.sat.Len())
		job.Distances = &distances
	}
	warnings, err := studies.Training(ctx, a.Folder, job)
	a.warnAll(warnings)
	return err
}

// novel treats the named models as if they had not been clustered: the cluster they are in is the one to be found.
func (a *analyses) novel(ctx context.Context) error {
	o := a.Analysis.Novel
	counts, err := studies.ReadCounts(filepath.Join(a.Similarity, "pairs.csv"))
	if err != nil {
		return err
	}
	job := studies.NovelJob{Counts: counts, Floor: a.Scores.Floor, Ordered: o.Ordered}
	if len(o.Models) > 0 {
		if err := a.needClusters(); err != nil {
			return err
		}
		job.Novel, job.Labels, job.Options = o.Models, a.labels, a.clusterOptions()
	}
	warnings, err := studies.Novel(ctx, a.Folder, job)
	a.warnAll(warnings)
	return err
}

func (a *analyses) choose(ctx context.Context) error {
	o := a.Analysis.Choose
	accuracy, err := studies.ReadAccuracy(filepath.Join(a.Similarity, "accuracy.csv"), a.sat.Names)
	if err != nil {
		return err
	}
	job := studies.ChooseJob{SAT: a.sat, Accuracy: accuracy, Options: analysis.ChooseOptions{Size: o.K, MinAccuracy: o.MinAccuracy}}
	if able := len(slices.DeleteFunc(slices.Clone(accuracy), func(v float64) bool { return v < o.MinAccuracy })); able < o.K {
		return notPossible(fmt.Sprintf("%d models have an accuracy of %v %% or more, %d are to be chosen", able, o.MinAccuracy, o.K))
	}
	if err := studies.Choose(ctx, a.Folder, job); err != nil {
		return err
	}
	if o.Student == "" {
		return nil
	}
	job.Student = o.Student
	return studies.Choose(ctx, a.Folder, job)
}

// sensitivity compares models of one network that differ in their recipe or their seed.
func (a *analyses) sensitivity(ctx context.Context) error {
	settings := a.trainingSettings()
	if settings == nil {
		return notPossible("no two models are of one network")
	}
	var rows [][]string
	for i, name := range settings.Models {
		rows = append(rows, append([]string{name}, settings.Values[i]...))
	}
	if err := studies.WriteTable(filepath.Join(a.Dir, "settings.csv"), a.Meta, append([]string{"model"}, settings.Components...), rows); err != nil {
		return err
	}
	o := a.Analysis.Sensitivity
	warnings, err := studies.Sensitivity(ctx, a.Folder, studies.SensitivityJob{SAT: a.sat, Settings: settings, Column: "architecture",
		Options: analysis.SensitivityOptions{
			Bootstrap: analysis.BootstrapOptions{Resamples: o.Resamples, Seed: o.Seed},
			Groups:    analysis.GroupOptions{Permutations: o.Permutations, Seed: o.Seed},
		}})
	a.warnAll(warnings)
	return err
}

// trainingSettings is a table of what distinguishes the trained models: network, seed, and the keys of their recipes that
// not all have alike. A network goes by the name of the first group that has it; nil if no two models share one.
func (a *analyses) trainingSettings() *analysis.Features {
	f := &analysis.Features{Components: []string{"architecture", "seed"}}
	recipes := make([]map[string]string, len(a.members))
	varied := map[string]bool{}
	var keys []string
	shared := false
	for i, m := range a.members {
		architecture := m.Group
		for k, other := range a.members[:i] {
			if m.Export != nil && other.Export != nil && m.Export.Timm == other.Export.Timm && reflect.DeepEqual(m.Export.Arguments, other.Export.Arguments) ||
				m.Group == other.Group {
				architecture = f.Values[k][0]
				shared = true
				break
			}
		}
		f.Models, f.Values = append(f.Models, m.Name), append(f.Values, []string{architecture, fmt.Sprint(m.Seed)})
		recipes[i] = map[string]string{}
		if m.Recipe == nil {
			continue
		}
		v := reflect.ValueOf(m.Recipe).Elem()
		for k := range v.NumField() {
			key := v.Type().Field(k).Tag.Get("toml")
			if key == "" || key == "inherit" {
				continue
			}
			recipes[i][key] = fmt.Sprint(v.Field(k).Interface())
			if !slices.Contains(keys, key) {
				keys = append(keys, key)
			}
		}
	}
	if !shared {
		return nil
	}
	for _, key := range keys {
		for _, recipe := range recipes {
			varied[key] = varied[key] || recipe[key] != recipes[0][key]
		}
		if !varied[key] {
			continue
		}
		f.Components = append(f.Components, key)
		for i := range f.Values {
			f.Values[i] = append(f.Values[i], recipes[i][key])
		}
	}
	return f
}

func (a *analyses) matrices(ctx context.Context) error {
	o := a.Analysis.Matrices
	other, err := studies.ReadMatrix(o.With)
	if err != nil {
		return err
	}
	warnings, err := studies.Matrices(ctx, a.Folder, studies.MatricesJob{A: other, B: a.sat, Figure: o.Fig2a,
		Mantel:    analysis.MantelOptions{Permutations: o.Permutations, Seed: o.Seed},
		Bootstrap: analysis.BootstrapOptions{Resamples: o.Resamples, Seed: o.Seed}})
	a.warnAll(warnings)
	return err
}
