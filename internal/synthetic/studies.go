package synthetic

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"slices"

	"sat/analysis"
	"sat/internal/rng"
	"sat/internal/studies"
)

// outcome is what the invented networks did.
type outcome struct {
	logits *Logits
	tables *analysis.Tables
	scores *analysis.Scores
	labels *studies.Labels
}

// writeStudies writes every analysis of the paper.
func (z *Zoo) writeStudies(ctx context.Context, f studies.Folder, dir string, o *outcome) error {
	sat := o.scores.Matrix()
	if _, err := studies.TSNE(ctx, f, studies.TSNEJob{SAT: sat, Labels: o.labels}); err != nil {
		return err
	}
	importance := analysis.ImportanceOptions{Boosting: analysis.BoostingOptions{Stages: 200}, Fits: 3, Repeats: 10, Seed: z.Seed}
	if _, err := studies.Importance(ctx, f, studies.ImportanceJob{SAT: sat, Features: z.features(), Options: importance}); err != nil {
		return err
	}
	ensembles := analysis.ClusterEnsembleOptions{Draws: 100, Resamples: 200, Seed: z.Seed}
	if _, err := studies.Ensembles(ctx, f, studies.EnsemblesJob{SAT: sat, Logits: o.logits.reader(), Labels: o.labels, Options: ensembles}); err != nil {
		return err
	}
	for _, write := range []func(context.Context, studies.Folder, string, *outcome) error{
		z.writeAttacks, z.writeAgreement, z.writeStability, z.writeTraining, z.writeStudents, z.writeNovel,
	} {
		if err := write(ctx, f, dir, o); err != nil {
			return err
		}
	}
	return nil
}

// writeAttacks compares PGD with AutoAttack on eight of the models (Fig. 2a) and with Patch-Fool from one source (Fig. 2b).
func (z *Zoo) writeAttacks(ctx context.Context, f studies.Folder, _ string, o *outcome) error {
	var eight []Model
	for _, name := range []string{patchSource, "coat_lite_small", "resnet101", "lamhalobotnet50ts_256", "rexnet_150", "nfnet_l0",
		"swin_tiny_patch4_window7_224", "twins_pcpvt_base"} {
		eight = append(eight, z.Models[z.find(name)])
	}
	other, err := z.score(eight, z.logits(eight, "logits"), autoAttack)
	if err != nil {
		return err
	}
	if _, err := studies.Matrices(ctx, f, studies.MatricesJob{A: o.scores.Matrix(), B: other.Matrix(), Figure: true,
		Mantel:    analysis.MantelOptions{Permutations: 199, Seed: z.Seed},
		Bootstrap: analysis.BootstrapOptions{Resamples: 200, Seed: z.Seed}}); err != nil {
		return err
	}
	patch, err := z.score(z.Models, o.logits, patchFool)
	if err != nil {
		return err
	}
	var rows [][]string
	var x, y []float64
	for k, d := range patch.Directed {
		if d.Source == patchSource {
			x, y = append(x, o.scores.Directed[k].OneSided), append(y, d.OneSided)
			rows = append(rows, []string{d.Target, analysis.FormatFloat(o.scores.Directed[k].OneSided), analysis.FormatFloat(d.OneSided)})
		}
	}
	if err := studies.WriteTable(filepath.Join(f.Dir, "fig2b_patchfool.csv"), f.Meta, []string{"target", "sat_pgd", "sat_patchfool"}, rows); err != nil {
		return err
	}
	c, err := analysis.Correlate(x, y, 0.95)
	if err != nil {
		return err
	}
	return studies.Correlations(f, studies.NamedCorrelation{ID: "fig2b", Correlation: c})
}

const patchSource = "vit_small_patch16_224"

func (z *Zoo) find(name string) int {
	return slices.IndexFunc(z.Models, func(m Model) bool { return m.Name == name })
}

func (z *Zoo) score(models []Model, l *Logits, a attack) (*analysis.Scores, error) {
	counts, err := z.tables(models, l, a, nil).Count()
	if err != nil {
		return nil, err
	}
	return counts.Score(analysis.DefaultFloor)
}

// writeStability repeats the score of one pair on subsets of many images (Tab. 1).
func (z *Zoo) writeStability(_ context.Context, f studies.Folder, _ string, _ *outcome) error {
	const images, repeats = 50000, 10
	big := *z
	big.Images = images
	pair := []Model{z.Models[z.find("convnext_tiny")], z.Models[z.find("swin_tiny_patch4_window7_224")]}
	tables := big.tables(pair, big.logits(pair, "stability"), pgd, nil)
	sizes := []int{500, 1000, 2500, 5000}
	var series []analysis.StabilitySeries
	triplets := rng.New(z.Seed, "triplets")
	const population = float64(images) * (images - 1) * (images - 2) / 6
	for _, n := range []int{10, 20, 50, 100} {
		s := analysis.StabilitySeries{Method: "somepalli", Samples: n, Population: population, Passes: analysis.TripletPasses}
		for range repeats {
			sum := 0.0
			for range n {
				sum += 100 * triplets.Beta(4, 2)
			}
			s.Scores = append(s.Scores, sum/float64(n))
		}
		series = append(series, s)
	}
	var orders [][]int // of every repeat: smaller sets lie in larger ones
	for q := range repeats {
		orders = append(orders, rng.New(z.Seed, "stability/order", uint64(q)).Perm(images))
	}
	for _, n := range sizes {
		s := analysis.StabilitySeries{Method: "sat", Samples: n, Population: images, Passes: analysis.AttackPasses(50)}
		for q := range repeats {
			percent, err := tables.PercentOn(pair[0].Name, pair[1].Name, orders[q][:n])
			if err != nil {
				return err
			}
			s.Scores = append(s.Scores, percent)
		}
		series = append(series, s)
	}
	described, err := analysis.DescribeStability(series, 0.95)
	if err != nil {
		return err
	}
	number := analysis.FormatFloat
	var rows [][]string
	for _, d := range described {
		rows = append(rows, []string{d.Method, fmt.Sprint(d.Samples), number(d.Ratio), number(d.Std), number(d.StdLo), number(d.StdHi), number(d.Cost)})
	}
	return studies.WriteTable(filepath.Join(f.Dir, "tab1_stability.csv"), f.Meta, []string{"method", "n", "ratio", "std", "std_lo", "std_hi", "cost"}, rows)
}

// trainingSets are the paper's (its Tab. 3), with the share of images that transfer inside each.
var trainingSets = []struct {
	architecture, diversity, original, stem string
	models                                  int
	share                                   float64
}{
	{"ResNet-50", "Initialization", "resnet50", "resnet50-init", 21, 0.687},
	{"ResNet-50", "Hyper-parameter", "resnet50", "resnet50-hyper", 28, 0.574},
	{"ResNet-50", "Training regime", "resnet50", "resnet50-regime", 22, 0.263},
	{"ViT-S", "Initialization", "vit_small_patch16_224", "vit-s-init", 16, 0.674},
	{"ViT-S", "Hyper-parameter", "vit_small_patch16_224", "vit-s-hyper", 9, 0.68},
	{"ViT-S", "Training regime", "vit_small_patch16_224", "vit-s-regime", 7, 0.312},
}

// writeTraining adds models trained differently to the zoo (Tab. 3, Figs. 4b and 7).
func (z *Zoo) writeTraining(ctx context.Context, f studies.Folder, _ string, o *outcome) error {
	models := slices.Clone(z.Models)
	sets := &studies.TrainingSets{}
	set := make([]int, len(models)) // 0: none
	for k, s := range trainingSets {
		members := studies.TrainingMembers{Architecture: s.architecture, Diversity: s.diversity}
		for i := range s.models {
			m := z.Models[z.find(s.original)]
			m.Name = fmt.Sprintf("%s-%02d", s.stem, i+1)
			models, set = append(models, m), append(set, k+1)
			members.Models = append(members.Models, m.Name)
		}
		sets.Sets = append(sets.Sets, members)
	}
	small := *z
	small.Images = 400
	logits := small.logits(models, "training")
	tables := small.tables(models, logits, pgd, func(i, j int) (float64, bool) {
		if set[i] == 0 || set[i] != set[j] {
			return 0, false
		}
		p := trainingSets[set[i]-1].share
		return 1.15*math.Log(p/(1-p)) + 0.1*rng.New(z.Seed, "set/"+models[min(i, j)].Name+"/"+models[max(i, j)].Name).Normal(), true
	})
	counts, err := tables.Count()
	if err != nil {
		return err
	}
	scores, err := counts.Score(analysis.DefaultFloor)
	if err != nil {
		return err
	}
	extended := scores.Matrix()
	if _, err := studies.Training(ctx, f, studies.TrainingJob{SAT: []*analysis.Matrix{o.scores.Matrix(), extended}, Sets: sets,
		Bootstrap: analysis.BootstrapOptions{Resamples: 200, Seed: z.Seed}, Logits: logits.reader(), Labels: o.labels,
		Ensembles: analysis.ClusterEnsembleOptions{Sizes: []int{2, 3, 4, 5, 6}, Draws: 50, Resamples: 100, Seed: z.Seed}}); err != nil {
		return err
	}
	shown := z.names() // with three of each set, so that the figure stays legible
	for _, s := range sets.Sets {
		shown = append(shown, s.Models[:3]...)
	}
	part, err := extended.Select(shown)
	if err != nil {
		return err
	}
	c, err := analysis.SpectralClusters(ctx, part, analysis.ClusterOptions{K: z.K, Restarts: 5, Seed: 1})
	if err != nil {
		return err
	}
	return studies.WriteMatrix(filepath.Join(f.Dir, "fig4b_training_distance.csv"), f.Meta, c.Distance)
}

// writeStudents draws the accuracy of DeiT-S distilled from the paper's 25 teachers (Figs. 8 and G.1): among Transformers the
// more similar teacher is the better one, elsewhere the less similar one.
func (z *Zoo) writeStudents(ctx context.Context, f studies.Folder, _ string, o *outcome) error {
	const student = "deit_small_patch16_224"
	sat := o.scores.Matrix()
	at := z.find(student)
	var list []analysis.Student
	for _, name := range []string{"botnet26t_256", "coat_lite_small", "convit_base", "convnext_tiny", "crossvit_base_240", "cspdarknet53", "cspresnext50",
		"dla102x2", "dpn107", "efficientnet_b2", "fbnetv3_g", "gcresnet50t", "gmlp_s16_224", "haloregnetz_b", "mixnet_xl", "nfnet_l0", "pit_s_224",
		"regnety_032", "resmlp_24_224", "resnet50", "sehalonet33ts", "swin_tiny_patch4_window7_224", "tnt_s_patch16_224", "visformer_small", "xcit_tiny_12_p8_224"} {
		i := z.find(name)
		noise := rng.New(z.Seed, "student/"+name)
		s := analysis.Student{Teacher: name, Base: z.Models[i].base(), SAT: sat.At(i, at), TeacherTop1: 100 * float64(o.scores.Self[i].N) / float64(z.Images)}
		slope := -0.35
		if s.Base == "Transformer" || s.Base == "MLP-Mixer" {
			slope = 0.4
		}
		s.StudentTop1 = 79 + slope*(s.SAT-2.7) + 0.15*noise.Normal()
		list = append(list, s)
	}
	return studies.Distillation(ctx, f, studies.DistillationJob{Students: list, Group: analysis.DistillTransformerMLP})
}

// writeNovel adds two models that were not clustered (Fig. H.1, appendix H).
func (z *Zoo) writeNovel(ctx context.Context, f studies.Folder, dir string, _ *outcome) error {
	models := slices.Clone(z.Models)
	var novel []string
	for _, n := range []struct{ name, original string }{{"gluon_resnext50_32x4d", "resnext50_32x4d"}, {"deit_small_distilled_patch16_224", "deit_small_patch16_224"}} {
		m := z.Models[z.find(n.original)]
		m.Name = n.name
		models, novel = append(models, m), append(novel, n.name)
	}
	scores, err := z.score(models, z.logits(models, "logits"), pgd)
	if err != nil {
		return err
	}
	var rows [][]string
	for _, d := range scores.Directed {
		rows = append(rows, []string{d.Source, d.Target, fmt.Sprint(d.NBoth), fmt.Sprint(d.Fooled)})
	}
	pairs := filepath.Join(dir, "novel", "pairs.csv")
	if err := studies.WriteTable(pairs, nil, []string{"source", "target", "n_both", "n_fooled"}, rows); err != nil {
		return err
	}
	counts, err := studies.ReadCounts(pairs)
	if err != nil {
		return err
	}
	labels, err := studies.ReadLabels(filepath.Join(f.Dir, "tab2_clusters.csv"))
	if err != nil {
		return err
	}
	_, err = studies.Novel(ctx, f, studies.NovelJob{Counts: counts, Labels: labels, Novel: novel, Floor: analysis.DefaultFloor,
		Options: analysis.ClusterOptions{K: z.K, Seed: 1, Restarts: 10}})
	return err
}
