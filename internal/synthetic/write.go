package synthetic

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strconv"

	"sat/analysis"
	"sat/internal/rng"
	"sat/internal/store"
	"sat/internal/studies"
)

// Write makes the run directory dir.
func (z *Zoo) Write(ctx context.Context, dir string) error {
	if err := z.write(ctx, dir); err != nil {
		return fmt.Errorf("synthetic run %s: %w", z.Name, err)
	}
	return nil
}

func (z *Zoo) write(ctx context.Context, dir string) error {
	logits := z.logits(z.Models, "logits")
	tables := z.tables(z.Models, logits, pgd, nil)
	counts, err := tables.Count()
	if err != nil {
		return err
	}
	scores, err := counts.Score(analysis.DefaultFloor)
	if err != nil {
		return err
	}
	if z.Resamples > 0 {
		if err := scores.Bootstrap(ctx, tables, analysis.BootstrapOptions{Resamples: z.Resamples, Seed: z.Seed}); err != nil {
			return err
		}
	}
	if err := WriteSimilarity(dir, z.Images, scores); err != nil {
		return err
	}
	if err := z.writeGuards(dir, scores); err != nil {
		return err
	}
	if err := z.writeRun(dir); err != nil {
		return err
	}
	if err := z.writeFeatures(dir); err != nil {
		return err
	}
	if z.Curves {
		if err := z.writeCurves(dir); err != nil {
			return err
		}
	}
	if z.Sweep {
		if err := z.writeSweep(dir, scores); err != nil {
			return err
		}
	}
	if !z.Clusters {
		return nil
	}
	f := z.folder(dir)
	labels, err := z.writeClusters(ctx, f, dir, scores)
	if err != nil {
		return err
	}
	if err := z.writeGroups(ctx, dir, scores); err != nil {
		return err
	}
	if !z.Studies {
		return nil
	}
	return z.writeStudies(ctx, f, dir, &outcome{logits, tables, scores, labels})
}

// folder is where the analyses go, with the provenance of all of them.
func (z *Zoo) folder(dir string) studies.Folder {
	return studies.Folder{Dir: filepath.Join(dir, "analysis"), Meta: studies.Meta{"source": "synthetic", "models": len(z.Models), "images": z.Images, "seed": z.Seed}}
}

// WriteSimilarity writes the tables of dir/similarity.
func WriteSimilarity(dir string, images int, s *analysis.Scores) error {
	f := analysis.FormatFloat
	path := func(name string) string { return filepath.Join(dir, "similarity", name) }
	meta := studies.Meta{"floor": s.Floor, "models": len(s.Models), "images": images}
	if err := studies.WriteMatrix(path("sat.csv"), meta, s.Matrix()); err != nil {
		return err
	}
	var undirected, directed, self, accuracy [][]string
	for _, p := range s.Pairs {
		undirected = append(undirected, []string{p.A, p.B, strconv.Itoa(p.NBoth), strconv.Itoa(p.FooledAB), strconv.Itoa(p.FooledBA),
			f(p.Percent), f(p.SAT), f(p.CILo), f(p.CIHi), string(p.Status)})
	}
	for _, d := range s.Directed {
		directed = append(directed, []string{d.Source, d.Target, strconv.Itoa(d.NBoth), strconv.Itoa(d.Fooled)})
	}
	for _, c := range s.Self {
		self = append(self, []string{c.Model, strconv.Itoa(c.N), strconv.Itoa(c.Fooled)})
		accuracy = append(accuracy, []string{c.Model, strconv.Itoa(images), f(100 * float64(c.N) / float64(images))})
	}
	for _, t := range []struct {
		name   string
		header []string
		rows   [][]string
	}{
		{"pairs_undirected.csv", []string{"a", "b", "n_both", "fooled_ab", "fooled_ba", "percent", "sat", "ci_lo", "ci_hi", "status"}, undirected},
		{"pairs.csv", []string{"source", "target", "n_both", "n_fooled"}, directed},
		{"self.csv", []string{"model", "n_both", "n_fooled"}, self},
		{"accuracy.csv", []string{"model", "n", "top1"}, accuracy},
	} {
		if err := studies.WriteTable(path(t.name), nil, t.header, t.rows); err != nil {
			return err
		}
	}
	return nil
}

// writeGuards writes what a run knows of each model, here that nothing is wrong with it.
func (z *Zoo) writeGuards(dir string, s *analysis.Scores) error {
	f := analysis.FormatFloat
	var rows [][]string
	for _, c := range s.Self {
		top1 := 100 * float64(c.N) / float64(z.Images)
		filter := "inside"
		if top1 < 79 {
			filter = "below"
		} else if top1 > 83 {
			filter = "above"
		}
		rows = append(rows, []string{c.Model, strconv.Itoa(z.Classes), strconv.Itoa(c.N), "0", "0", "0", f(c.Percent), f(top1), filter, ""})
	}
	return studies.WriteTable(filepath.Join(dir, "similarity", "guards.csv"), nil,
		[]string{"model", "classes", "attacked", "zero_gradient", "saturated", "nan_replaced", "white_box", "top1", "paper_filter", "flags"}, rows)
}

func (z *Zoo) writeFeatures(dir string) error {
	components := z.components()
	var rows [][]string
	for _, m := range z.Models {
		row := []string{m.Name}
		for _, c := range components {
			row = append(row, m.Features[c])
		}
		rows = append(rows, row)
	}
	return studies.WriteTable(filepath.Join(dir, "features.csv"), nil, append([]string{"model"}, components...), rows)
}

func (z *Zoo) features() *analysis.Features {
	f := &analysis.Features{Models: z.names(), Components: z.components()}
	for _, m := range z.Models {
		var row []string
		for _, c := range f.Components {
			row = append(row, m.Features[c])
		}
		f.Values = append(f.Values, row)
	}
	return f
}

func (z *Zoo) writeClusters(ctx context.Context, f studies.Folder, dir string, scores *analysis.Scores) (*studies.Labels, error) {
	o := analysis.ClusterOptions{K: z.K, Restarts: 20, Seed: 1, Reference: studies.PaperClusters()}
	c, err := studies.Clusters(ctx, f, scores.Matrix(), o)
	if err != nil {
		return nil, err
	}
	if err := studies.Keywords(f, z.features(), c.Labels, analysis.KeywordOptions{Top: 5, Order: studies.PaperOrder()}); err != nil {
		return nil, err
	}
	return studies.ReadLabels(filepath.Join(f.Dir, "tab2_clusters.csv"))
}

// writeGroups writes groups.json as a run does.
func (z *Zoo) writeGroups(ctx context.Context, dir string, scores *analysis.Scores) error {
	var groups []string
	members := []map[string]string{}
	for _, m := range z.Models {
		groups = append(groups, m.Group)
		members = append(members, map[string]string{"model": m.Name, "group": m.Group})
	}
	g, err := analysis.CompareGroups(ctx, scores.Models, scores.Pairs, groups, analysis.GroupOptions{Permutations: 999, Seed: 1})
	if errors.Is(err, analysis.ErrNoContrast) {
		return nil
	}
	if err != nil {
		return err
	}
	summary := func(v analysis.Summary) map[string]any {
		return map[string]any{"pairs": v.Pairs, "excluded": v.Excluded, "floored": v.Floored, "mean": studies.Defined(v.Mean), "median": studies.Defined(v.Median)}
	}
	within, across := summary(g.Within), summary(g.Across)
	if z.Resamples > 0 && len(z.Models) < 100 {
		iv, err := analysis.BootstrapGroups(ctx, scores.Models, scores.Pairs, groups, analysis.BootstrapOptions{Resamples: 200, Seed: 1})
		if err != nil {
			return err
		}
		within["ci_lo"], within["ci_hi"] = studies.Defined(iv.Within.Lo), studies.Defined(iv.Within.Hi)
		across["ci_lo"], across["ci_hi"] = studies.Defined(iv.Across.Lo), studies.Defined(iv.Across.Hi)
	}
	perGroup := []map[string]any{}
	for _, v := range g.Groups {
		one := summary(v.Summary)
		one["group"], one["models"] = v.Group, v.Models
		perGroup = append(perGroup, one)
	}
	return store.WriteJSON(filepath.Join(dir, "analysis", "groups.json"), map[string]any{"models": members, "within": within, "across": across,
		"groups": perGroup, "difference": studies.Defined(g.Difference), "p": studies.Defined(g.P), "permutations": g.Permutations, "exact": g.Exact})
}

func (z *Zoo) writeRun(dir string) error {
	models := []map[string]any{}
	data := map[string]any{"name": "invented images", "description": "A synthetic run with planted structure.", "eval_images": z.Images, "classes": z.Classes}
	attack := map[string]any{"method": "pgd", "epsilon": "8/255", "step_size": "0.1", "steps": 50, "random_start": false, "restarts": 1, "seed": 0}
	settings := map[string]any{}
	if z.Curves {
		for i, m := range z.Models {
			models = append(models, map[string]any{"model": m.Name, "architecture": m.Group, "seed": i % 2, "parameters": 90000 + 1234*i, "epochs": epochs,
				"train_seconds": 12.5 + float64(i)})
		}
		data["train_images"], data["image_size"] = 1437, "8 × 8"
		attack["epsilon"], attack["step_size"], attack["random_start"] = "24/255", "76.5/255", true
		settings["training"] = map[string]any{"optimizer": "adamw", "epochs": epochs}
	}
	return store.WriteJSON(filepath.Join(dir, "run.json"), map[string]any{"schema_version": 1, "name": z.Name, "title": "A synthetic zoo with planted structure",
		"seed": z.Seed, "data": data, "attack": attack, "similarity": map[string]any{"floor": analysis.DefaultFloor, "resamples": z.Resamples, "level": 0.95},
		"models": models, "settings": settings, "versions": map[string]string{"go": "1.26"}, "machine": map[string]any{"cpu": "none"},
		"timings":    []map[string]any{{"stage": "train", "seconds": 151.2, "units": len(z.Models)}, {"stage": "attack", "seconds": 33.4, "units": len(z.Models)}},
		"paths_only": true, "warnings": []string{}})
}

const epochs = 30

func (z *Zoo) writeCurves(dir string) error {
	f := analysis.FormatFloat
	for i, m := range z.Models {
		stream := rng.New(z.Seed, "curve", uint64(i))
		speed := 0.15 + 0.2*stream.Float64()
		var rows [][]string
		for epoch := 1; epoch <= epochs; epoch++ {
			loss := 2.3*math.Exp(-speed*float64(epoch)) + 0.01 + 0.02*stream.Float64()
			top1 := 1 - 0.9*math.Exp(-speed*1.2*float64(epoch)) - 0.03*stream.Float64()
			row := []string{strconv.Itoa(epoch), "0.001", f(loss), "", ""}
			if i%2 == 0 || epoch%5 == 0 { // some models were not validated after every epoch
				row[3], row[4] = f(loss*1.2), f(top1)
			}
			rows = append(rows, row)
		}
		if err := studies.WriteTable(filepath.Join(dir, "models", m.Name, "curve.csv"), nil, []string{"epoch", "lr", "train_loss", "val_loss", "val_top1"}, rows); err != nil {
			return err
		}
	}
	return nil
}

// writeSweep writes the white-box success and the comparison of groups at other radii.
func (z *Zoo) writeSweep(dir string, scores *analysis.Scores) error {
	f := analysis.FormatFloat
	var rows, groups [][]string
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
		groups = append(groups, []string{label, f(2.5 + 0.3*float64(k)), f(1.5 + 0.4*float64(k)), f(1 - 0.1*float64(k)), "0.000007399", "135135", chosen})
	}
	if err := studies.WriteTable(filepath.Join(dir, "sweep", "sweep.csv"), nil, []string{"epsilon", "model", "n_both", "n_fooled"}, rows); err != nil {
		return err
	}
	return studies.WriteTable(filepath.Join(dir, "sweep", "groups.csv"), nil,
		[]string{"epsilon", "within_mean", "across_mean", "difference", "p", "permutations", "chosen"}, slices.Clone(groups))
}
