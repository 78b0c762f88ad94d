package run

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"

	"sat/analysis"
	"sat/boundary"
	"sat/internal/store"
	"sat/internal/studies"
)

// boundaryFiles are the result files of the stage, without their provenance.
var boundaryFiles = []string{"agreement.csv", "agreement_pairs.csv", "agreement_groups.csv", "planes.json", "stability_scores.csv"}

// agreement is the outcome of one pair of models.
type agreement struct {
	a, b  int   // places among the members
	equal []int // points of each plane on which both see the same class
	share float64
}

// writeAgreement writes agreement.csv, agreement_pairs.csv, agreement_groups.csv and planes.json.
func (r *runner) writeAgreement(ctx context.Context, main planeSet) error {
	equal, err := r.agreements(ctx, r.members, main)
	if err != nil {
		return err
	}
	points := r.Boundary.Grid * r.Boundary.Grid
	names := make([]string, len(r.members))
	for i, m := range r.members {
		names[i] = m.Name
	}
	meta, matrix := r.boundaryMeta(main), analysis.NewMatrix(names)
	var pairs []agreement
	var rows [][]string
	number := analysis.FormatFloat
	for i := range r.members {
		matrix.Set(i, i, 1)
		for j := i + 1; j < len(r.members); j++ {
			p := agreement{a: i, b: j, equal: equal[len(pairs)]}
			total, shares := 0, make([]float64, len(p.equal))
			for k, n := range p.equal {
				total += n
				shares[k] = float64(n) / float64(points)
			}
			p.share = float64(total) / float64(points*len(p.equal))
			interval, err := analysis.BootstrapMean(ctx, shares, analysis.BootstrapOptions{Seed: r.Boundary.Seed})
			if err != nil {
				return err
			}
			matrix.Set(i, j, p.share)
			matrix.Set(j, i, p.share)
			pairs = append(pairs, p)
			rows = append(rows, []string{names[i], names[j], strconv.Itoa(len(p.equal)), strconv.Itoa(points * len(p.equal)), strconv.Itoa(total),
				number(p.share), number(interval.Lo), number(interval.Hi)})
		}
	}
	in := func(name string) string { return filepath.Join(r.Agreement, name) }
	if err := studies.WriteMatrix(in("agreement.csv"), meta, matrix); err != nil {
		return err
	}
	header := []string{"a", "b", "triplets", "points", "equal", "agreement", "ci_lo", "ci_hi"}
	if err := studies.WriteTable(in("agreement_pairs.csv"), meta, header, rows); err != nil {
		return err
	}
	if err := r.writeGroupAgreement(in("agreement_groups.csv"), meta, pairs); err != nil {
		return err
	}
	return r.writePlanes(in("planes.json"), main, pairs)
}

// writeGroupAgreement writes the mean over pairs of different copies, for every two groups: how Somepalli et al. compare
// architectures of which there are several trained copies. Without copies there is nothing to add to the pairs.
func (r *runner) writeGroupAgreement(path string, meta studies.Meta, pairs []agreement) error {
	var groups []string
	for _, m := range r.members {
		if !slices.Contains(groups, m.Group) {
			groups = append(groups, m.Group)
		}
	}
	if len(groups) == len(r.members) {
		return nil
	}
	n := len(groups)
	sums, counts := make([]float64, n*n), make([]int, n*n)
	for _, p := range pairs {
		g, h := slices.Index(groups, r.members[p.a].Group), slices.Index(groups, r.members[p.b].Group)
		at := min(g, h)*n + max(g, h)
		sums[at] += p.share
		counts[at]++
	}
	var rows [][]string
	for g := range n {
		for h := g; h < n; h++ {
			if at := g*n + h; counts[at] > 0 { // one copy has no pair inside its group
				rows = append(rows, []string{groups[g], groups[h], strconv.Itoa(counts[at]), analysis.FormatFloat(sums[at] / float64(counts[at]))})
			}
		}
	}
	return studies.WriteTable(path, meta, []string{"group_a", "group_b", "pairs", "agreement"}, rows)
}

// boundaryMeta is the provenance of the tables of agreement.
func (r *runner) boundaryMeta(main planeSet) studies.Meta {
	b := r.Boundary
	redrawn := 0
	for _, t := range main.triplets {
		redrawn += t.Redrawn
	}
	space := "pixel"
	if b.Std != nil {
		space = "norm"
	}
	return studies.Meta{
		"schema_version": schemaVersion, "models": len(r.members), "images": r.eval.Len(), "images_digest": r.eval.Digest(),
		"triplets": len(main.triplets), "redrawn": redrawn, "grid": b.Grid, "range": b.Margin, "space": space, "space_std": b.Std,
		"seed": b.Seed, "reference": b.Reference, "resize": r.Transfer.Resize, "antialias": r.Transfer.Antialias,
		"numerics": r.numerics(nil), "versions": Versions(),
	}
}

// planesFile is planes.json: the class maps behind the pictures.
type planesFile struct {
	SchemaVersion int            `json:"schema_version"`
	Grid          int            `json:"grid"`
	Range         float64        `json:"range"`
	Pictures      []planePicture `json:"pictures"`
}

// planePicture is one plane as two models see it.
type planePicture struct {
	A         string         `json:"a"`
	B         string         `json:"b"`
	Pair      string         `json:"pair"` // why this one: "most alike", "least alike", or "only pair"
	Triplet   int            `json:"triplet"`
	Images    [3]string      `json:"images"` // IDs of x1, x2 and x3
	Labels    [3]int64       `json:"labels"`
	Plane     boundary.Plane `json:"plane"`
	Agreement float64        `json:"agreement"` // on this plane
	ClassesA  []int32        `json:"classes_a"` // the first axis outermost
	ClassesB  []int32        `json:"classes_b"`
}

func (r *runner) writePlanes(path string, main planeSet, pairs []agreement) error {
	file := planesFile{SchemaVersion: schemaVersion, Grid: r.Boundary.Grid, Range: r.Boundary.Margin, Pictures: []planePicture{}}
	if len(pairs) > 0 {
		byShare := func(p, q agreement) int { return cmp.Compare(p.share, q.share) }
		most := slices.MaxFunc(pairs, byShare)
		least := slices.MinFunc(pairs, byShare)
		shown := []struct {
			pair agreement
			why  string
		}{{most, "most alike"}, {least, "least alike"}}
		if len(pairs) == 1 {
			shown = shown[:1]
			shown[0].why = "only pair"
		}
		for _, s := range shown {
			for k := range r.Boundary.Pictures {
				picture, err := r.picture(main, s.pair, k)
				if err != nil {
					return err
				}
				picture.Pair = s.why
				file.Pictures = append(file.Pictures, picture)
			}
		}
	}
	return store.WriteJSON(path, file)
}

// picture reads the maps of plane k by a pair.
func (r *runner) picture(main planeSet, p agreement, k int) (planePicture, error) {
	t := main.triplets[k]
	a, b := r.members[p.a], r.members[p.b]
	out := planePicture{A: a.Name, B: b.Name, Triplet: t.Number, Plane: t.Plane,
		Agreement: float64(p.equal[k]) / float64(r.Boundary.Grid*r.Boundary.Grid)}
	labels, err := r.planeLabels()
	if err != nil {
		return out, err
	}
	for i, number := range t.Images {
		out.Images[i], out.Labels[i] = r.eval.IDs[number], labels[number]
	}
	from := k - k%planesPerUnit
	for _, side := range []struct {
		m  *member
		to *[]int32
	}{{a, &out.ClassesA}, {b, &out.ClassesB}} {
		maps, err := r.classMaps(side.m, main, from, min(from+planesPerUnit, len(main.triplets)))
		if err != nil {
			return out, err
		}
		*side.to = maps[k-from]
	}
	return out, nil
}

// correlateAgreement compares SAT with the agreement of decision boundaries over the pairs that have both.
func (r *runner) correlateAgreement(ctx context.Context, dir string) error {
	if r.Boundary == nil {
		return nil
	}
	agreement, err := studies.ReadMatrix(filepath.Join(r.Agreement, "agreement.csv"))
	if err != nil {
		return fmt.Errorf("agreement of decision boundaries: %w", err)
	}
	main := r.measured[""]
	if len(main.scores.Models) < 2 {
		return nil
	}
	if err := studies.Agreement(ctx, studies.Folder{Dir: dir, Meta: main.meta}, main.scores.Matrix(), agreement, r.Seed); err != nil {
		return fmt.Errorf("similarity and agreement: %w", err)
	}
	return nil
}
