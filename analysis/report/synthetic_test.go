package report

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sat/analysis"
	papertables "sat/analysis/paper"
	"sat/internal/rng"
)

// The generator below writes a run directory with planted structure: models of one architecture share most of what
// fools them, models of one base architecture less, others little. Everything follows from the seed.

type synthetic struct {
	models   []syntheticModel
	images   int
	k        int
	seed     uint64
	training bool
	sweep    bool
	gridless bool // leave out all optional files
}

type syntheticModel struct {
	name, group, base string
	features          map[string]string
}

// smallZoo has the shape of the demo: seven architectures, two seeds each.
func smallZoo() synthetic {
	bases := []struct{ name, base, stem, norm, act, hierarchical, pool string }{
		{"resnet", "CNN", "3s1", "BN", "ReLU", "Yes", "GAP"},
		{"resnext", "CNN", "3s1", "BN", "ReLU", "Yes", "GAP"},
		{"convnext", "CNN", "2s2", "LN", "GeLU", "Yes", "GAP"},
		{"vit", "Transformer", "4s4", "LN", "GeLU", "No", "CLS token"},
		{"swin", "Transformer", "2s2", "LN", "GeLU", "Yes", "GAP"},
		{"mixer", "MLP-Mixer", "4s4", "LN", "GeLU", "No", "GAP"},
		{"resmlp", "MLP-Mixer", "4s4", "Affine transform", "GeLU", "No", "GAP"},
	}
	s := synthetic{images: 360, k: 4, seed: 7, training: true, sweep: true}
	for _, b := range bases {
		for seed := range 2 {
			s.models = append(s.models, syntheticModel{fmt.Sprintf("%s-s%d", b.name, seed), b.name, b.base, map[string]string{
				"base_architecture": b.base, "stem_layer": b.stem, "normalization": b.norm, "activation": b.act, "hierarchical": b.hierarchical, "pooling_final": b.pool}})
		}
	}
	return s
}

// largeZoo has the names and components of the paper's 69 models.
func largeZoo(t testing.TB) synthetic {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "paper", "tabA3_A4_features.csv"))
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(strings.NewReader(string(b))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	s := synthetic{images: 500, k: 10, seed: 11}
	for _, row := range rows[1:] {
		m := syntheticModel{name: row[0], features: map[string]string{}}
		for i, column := range rows[0][1:] {
			m.features[column] = row[i+1]
		}
		m.base = m.features["base_architecture"]
		s.models = append(s.models, m)
	}
	clusters := map[string]int{}
	for _, member := range papertables.Clusters() {
		clusters[member.Timm] = member.Cluster
	}
	for i := range s.models {
		s.models[i].group = fmt.Sprintf("family %d", clusters[s.models[i].name])
	}
	return s
}

// tables draws who is right and who is fooled. Each image has a weak spot per group, base and model; an adversarial image
// transfers when it hits a spot that both models share.
func (s synthetic) tables() *analysis.Tables {
	t := &analysis.Tables{Images: s.images}
	n := len(s.models)
	stream := rng.New(s.seed, "synthetic")
	for i := range n {
		t.Models = append(t.Models, s.models[i].name)
		right := make([]bool, s.images)
		accuracy := 0.94 + 0.05*stream.Float64()
		for k := range right {
			right[k] = stream.Float64() < accuracy
		}
		t.Correct = append(t.Correct, analysis.NewBits(right))
	}
	for i := range n {
		var row []analysis.Bits
		for j := range n {
			p := 0.07 + 0.05*math.Abs(math.Sin(float64(i*31+j*17)))
			if s.models[i].base == s.models[j].base {
				p += 0.10
			}
			if s.models[i].group == s.models[j].group {
				p += 0.40
			}
			if i == j {
				p = 0.97 + 0.03*stream.Float64()
			}
			wrong := make([]bool, s.images)
			for k := range wrong {
				wrong[k] = stream.Float64() < p
			}
			row = append(row, analysis.NewBits(wrong))
		}
		t.Wrong = append(t.Wrong, row)
	}
	return t
}

func writeFile(t testing.TB, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func writeRows(t testing.TB, path string, rows [][]string) {
	t.Helper()
	writeFile(t, path, string(csvBytes(rows)))
}

func writeJSON(t testing.TB, path string, v any) {
	t.Helper()
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, path, string(b))
}

// write makes the run directory.
func (s synthetic) write(t testing.TB, dir string) {
	t.Helper()
	ctx := context.Background()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	tables := s.tables()
	counts, err := tables.Count()
	check(err)
	scores, err := counts.Score(analysis.DefaultFloor)
	check(err)
	check(scores.Bootstrap(ctx, tables, analysis.BootstrapOptions{Resamples: 50, Seed: s.seed}))
	writeSimilarity(t, dir, s.images, scores)
	if s.gridless {
		return
	}
	s.writeAnalysis(t, dir, scores)
	s.writeRun(t, dir)
	if s.training {
		s.writeCurves(t, dir)
	}
	if s.sweep {
		s.writeSweep(t, dir, scores)
	}
}

func writeSimilarity(t testing.TB, dir string, images int, scores *analysis.Scores) {
	t.Helper()
	f := analysis.FormatFloat
	matrix := scores.Matrix()
	order := make([]int, matrix.Len())
	for i := range order {
		order[i] = i
	}
	writeFile(t, filepath.Join(dir, "similarity", "sat.csv"), string(matrixCSV(matrix, order)))
	undirected := [][]string{{"a", "b", "n_both", "fooled_ab", "fooled_ba", "percent", "sat", "ci_lo", "ci_hi", "status"}}
	for _, p := range scores.Pairs {
		undirected = append(undirected, []string{p.A, p.B, strconv.Itoa(p.NBoth), strconv.Itoa(p.FooledAB), strconv.Itoa(p.FooledBA),
			f(p.Percent), f(p.SAT), f(p.CILo), f(p.CIHi), string(p.Status)})
	}
	writeRows(t, filepath.Join(dir, "similarity", "pairs_undirected.csv"), undirected)
	directed := [][]string{{"source", "target", "n_both", "n_fooled"}}
	for _, d := range scores.Directed {
		directed = append(directed, []string{d.Source, d.Target, strconv.Itoa(d.NBoth), strconv.Itoa(d.Fooled)})
	}
	writeRows(t, filepath.Join(dir, "similarity", "pairs.csv"), directed)
	self := [][]string{{"model", "n_both", "n_fooled"}}
	accuracy := [][]string{{"model", "n", "top1"}}
	for _, c := range scores.Self {
		self = append(self, []string{c.Model, strconv.Itoa(c.N), strconv.Itoa(c.Fooled)})
		accuracy = append(accuracy, []string{c.Model, strconv.Itoa(images), f(100 * float64(c.N) / float64(images))})
	}
	writeRows(t, filepath.Join(dir, "similarity", "self.csv"), self)
	writeRows(t, filepath.Join(dir, "similarity", "accuracy.csv"), accuracy)
	writeJSON(t, filepath.Join(dir, "similarity", "sat.meta.json"), map[string]any{"floor": analysis.DefaultFloor, "models": len(scores.Models), "images": images})
}

func (s synthetic) writeAnalysis(t testing.TB, dir string, scores *analysis.Scores) {
	t.Helper()
	ctx := context.Background()
	c, err := analysis.SpectralClusters(ctx, scores.Matrix(), analysis.ClusterOptions{K: s.k, Restarts: 20, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	rows := [][]string{{"model", "cluster"}}
	for i, name := range c.Names {
		rows = append(rows, []string{name, strconv.Itoa(c.Labels[i])})
	}
	writeRows(t, filepath.Join(dir, "analysis", "tab2_clusters.csv"), rows)
	rows = [][]string{{"index", "eigenvalue"}}
	for i, v := range c.Eigenvalues {
		rows = append(rows, []string{strconv.Itoa(i + 1), analysis.FormatFloat(v)})
	}
	writeRows(t, filepath.Join(dir, "analysis", "spectral_eigenvalues.csv"), rows)
	identity := make([]int, len(c.Names))
	var order []string
	for i := range c.Names {
		identity[i] = i
		order = append(order, c.Names[c.Order[i]])
	}
	writeFile(t, filepath.Join(dir, "analysis", "spectral_distance.csv"), string(matrixCSV(c.Distance, identity)))
	writeJSON(t, filepath.Join(dir, "analysis", "clusters.json"), map[string]any{"k": c.K, "inertia": c.Inertia, "eigengap": c.Eigengap,
		"order": order, "affinity": "sat", "laplacian": "sym", "rows": "unit", "diagonal": "zero", "restarts": 20, "seed": 1})

	var components []string
	for name := range s.models[0].features {
		components = append(components, name)
	}
	slices.Sort(components)
	features := [][]string{append([]string{"model"}, components...)}
	for _, m := range s.models {
		row := []string{m.name}
		for _, name := range components {
			row = append(row, m.features[name])
		}
		features = append(features, row)
	}
	writeRows(t, filepath.Join(dir, "features.csv"), features)
	table, err := analysis.ReadFeatures(strings.NewReader(string(csvBytes(features))))
	if err != nil {
		t.Fatal(err)
	}
	words, err := analysis.Keywords(table, c.Labels, analysis.KeywordOptions{Top: 5})
	if err != nil {
		t.Fatal(err)
	}
	rows = [][]string{{"cluster", "rank", "component", "value", "score"}}
	for _, w := range words {
		rows = append(rows, []string{strconv.Itoa(w.Cluster), strconv.Itoa(w.Rank), w.Component, w.Value, analysis.FormatFloat(w.Score)})
	}
	writeRows(t, filepath.Join(dir, "analysis", "tab2_keywords.csv"), rows)

	var groups, names []string
	models := []map[string]string{}
	for _, m := range s.models {
		groups, names = append(groups, m.group), append(names, m.name)
		models = append(models, map[string]string{"model": m.name, "group": m.group})
	}
	g, err := analysis.CompareGroups(ctx, names, scores.Pairs, groups, analysis.GroupOptions{Permutations: 999, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	summary := func(v analysis.Summary) map[string]any {
		return map[string]any{"pairs": v.Pairs, "excluded": v.Excluded, "floored": v.Floored, "mean": nullable2(v.Mean), "median": nullable2(v.Median)}
	}
	var perGroup []map[string]any
	for _, v := range g.Groups {
		one := summary(v.Summary)
		one["group"], one["models"] = v.Group, v.Models
		perGroup = append(perGroup, one)
	}
	within, across := summary(g.Within), summary(g.Across)
	if s.sweep { // the small zoo has intervals, the large one shows the report without them
		within["ci_lo"], within["ci_hi"] = g.Within.Mean-0.08, g.Within.Mean+0.07
		across["ci_lo"], across["ci_hi"] = g.Across.Mean-0.09, g.Across.Mean+0.1
	}
	writeJSON(t, filepath.Join(dir, "analysis", "groups.json"), map[string]any{"models": models, "within": within, "across": across,
		"groups": perGroup, "difference": nullable2(g.Difference), "p": nullable2(g.P), "permutations": g.Permutations, "exact": g.Exact})
}

func nullable2(v float64) any {
	if math.IsNaN(v) {
		return nil
	}
	return v
}

func (s synthetic) writeRun(t testing.TB, dir string) {
	t.Helper()
	var models []map[string]any
	for i, m := range s.models {
		if s.training {
			models = append(models, map[string]any{"model": m.name, "architecture": m.group, "seed": i % 2, "parameters": 90000 + 1234*i, "epochs": 30, "train_seconds": 12.5 + float64(i)})
		}
	}
	data := map[string]any{"name": "handwritten digits (scikit-learn)", "description": "8 by 8 grey digits, written as PNG files and read back.",
		"train_images": 1437, "eval_images": s.images, "classes": 10, "image_size": "8 × 8"}
	attack := map[string]any{"method": "pgd", "epsilon": "16/255", "step_size": "51/255", "steps": 50, "random_start": true, "restarts": 1, "seed": 0}
	if !s.training {
		data = map[string]any{"name": "a synthetic zoo with planted structure", "eval_images": s.images, "classes": 1000}
		attack["epsilon"], attack["step_size"] = "8/255", "0.1"
	}
	writeJSON(t, filepath.Join(dir, "run.json"), map[string]any{"schema_version": 1, "name": "synthetic", "experiment": "experiments/digits.toml", "seed": 0,
		"started": "2001-02-03T04:05:06Z", "data": data, "attack": attack, "similarity": map[string]any{"floor": 5e-4, "resamples": 50, "level": 0.95},
		"models": models, "settings": map[string]any{"training": map[string]any{"optimizer": "adamw", "epochs": 30}},
		"versions": map[string]string{"sat": "0.1", "libtorch": "2.11.0", "go": "1.26"}, "machine": map[string]any{"cpu": "2 cores"},
		"timings": []map[string]any{{"stage": "train", "seconds": 151.2, "units": len(s.models)}, {"stage": "attack", "seconds": 33.4, "units": len(s.models)}}})
}

func (s synthetic) writeCurves(t testing.TB, dir string) {
	t.Helper()
	for i, m := range s.models {
		stream := rng.New(s.seed, "curve", uint64(i))
		speed := 0.15 + 0.2*stream.Float64()
		rows := [][]string{{"epoch", "lr", "train_loss", "val_loss", "val_top1"}}
		for epoch := 1; epoch <= 30; epoch++ {
			loss := 2.3*math.Exp(-speed*float64(epoch)) + 0.01 + 0.02*stream.Float64()
			top1 := 1 - 0.9*math.Exp(-speed*1.2*float64(epoch)) - 0.03*stream.Float64()
			row := []string{strconv.Itoa(epoch), "0.001", analysis.FormatFloat(loss), "", ""}
			if i%2 == 0 || epoch%5 == 0 { // some models were not validated after every epoch
				row[3], row[4] = analysis.FormatFloat(loss*1.2), analysis.FormatFloat(top1)
			}
			rows = append(rows, row)
		}
		writeRows(t, filepath.Join(dir, "models", m.name, "curve.csv"), rows)
	}
}

func (s synthetic) writeSweep(t testing.TB, dir string, scores *analysis.Scores) {
	t.Helper()
	rows := [][]string{{"epsilon", "model", "n_both", "n_fooled"}}
	groups := [][]string{{"epsilon", "within_mean", "across_mean", "difference", "p", "permutations", "chosen"}}
	for k, epsilon := range []int{8, 16, 24, 32, 48} {
		label := fmt.Sprintf("%d/255", epsilon)
		for i, c := range scores.Self {
			share := 1 - math.Exp(-float64(epsilon)/(3+0.5*float64(i%7)))
			rows = append(rows, []string{label, c.Model, strconv.Itoa(c.N), strconv.Itoa(int(share * float64(c.N)))})
		}
		chosen := "0"
		if epsilon == 24 {
			chosen = "1"
		}
		groups = append(groups, []string{label, analysis.FormatFloat(2.5 + 0.3*float64(k)), analysis.FormatFloat(1.5 + 0.4*float64(k)),
			analysis.FormatFloat(1 - 0.1*float64(k)), "0.000007399", "135135", chosen})
	}
	writeRows(t, filepath.Join(dir, "sweep", "sweep.csv"), rows)
	writeRows(t, filepath.Join(dir, "sweep", "groups.csv"), groups)
}
