package run

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"

	"sat/analysis"
	"sat/attacks"
	"sat/internal/data"
	"sat/internal/studies"
)

// Stability asks how much the scores of one pair change with the images (the paper's Tab. 1).
type Stability struct {
	Pair     [2]string
	Sizes    []int // images behind one similarity, rising
	Triplets []int // planes behind one agreement, rising
	Repeats  int
}

// The methods of the stability study, in the words of the paper's table.
const (
	methodSAT       = "sat"
	methodAgreement = "somepalli"
)

// stabilitySets chooses the images of every repeat: repeat q takes them in the order of their keys under salt q, so that a
// smaller set is the beginning of a larger one. If the largest size divides evenly among the classes, it takes as many of
// each; else classes count as they come.
func stabilitySets(ids []string, labels []int64, largest, repeats int) ([][]int, error) {
	if largest > len(ids) {
		return nil, fmt.Errorf("stability: sets of %d images, but there are %d; write smaller sizes into [stability]", largest, len(ids))
	}
	have := map[int64]int{}
	for _, label := range labels {
		have[label]++
	}
	quota := len(ids)
	if len(have) > 0 && largest%len(have) == 0 {
		quota = largest / len(have)
		for _, n := range have {
			if n < quota {
				quota = len(ids)
				break
			}
		}
	}
	sets := make([][]int, repeats)
	for q := range sets {
		taken := map[int64]int{}
		for _, i := range data.Ranked(ids, uint64(q)) {
			class := int64(0)
			if labels != nil {
				class = labels[i]
			}
			if len(sets[q]) < largest && taken[class] < quota {
				taken[class]++
				sets[q] = append(sets[q], i)
			}
		}
	}
	return sets, nil
}

// stabilityPlanes draws, for every repeat, triplets among the images that the similarity of this repeat is measured on.
// Triplet k of repeat q has number q·T + k, T the largest number of triplets, so that no two repeats share a seed.
func (r *runner) stabilityPlanes(ctx context.Context) ([]planeSet, error) {
	s := r.Stability
	if s == nil || !r.pairIsThere(s) {
		return nil, nil
	}
	sets, err := stabilitySets(r.eval.IDs, r.eval.Labels, slices.Max(s.Sizes), s.Repeats)
	if err != nil {
		return nil, err
	}
	most := slices.Max(s.Triplets)
	var repeats []planeSet
	for q, candidates := range sets {
		planes, err := r.drawPlanes(ctx, fmt.Sprintf("repeat%d", q), q*most, most, candidates)
		if err != nil {
			return nil, fmt.Errorf("stability, repeat %d: %w", q, err)
		}
		repeats = append(repeats, planes)
	}
	return repeats, nil
}

// pairIsThere reports whether both models of the pair have got this far.
func (r *runner) pairIsThere(s *Stability) bool {
	for _, name := range s.Pair {
		if !slices.ContainsFunc(r.members, func(m *member) bool { return m.Name == name }) {
			r.warn("no stability study: %s failed", name)
			return false
		}
	}
	return true
}

// pair returns the two models of the stability study.
func (r *runner) pair() []*member {
	var out []*member
	for _, name := range r.Stability.Pair {
		i := slices.IndexFunc(r.members, func(m *member) bool { return m.Name == name })
		out = append(out, r.members[i])
	}
	return out
}

// writeStabilityOfAgreement writes the scores of the second measure, one per repeat and number of triplets; those of the
// first need the similarity stage.
func (r *runner) writeStabilityOfAgreement(ctx context.Context, repeats []planeSet) error {
	if len(repeats) == 0 {
		return nil
	}
	points := r.Boundary.Grid * r.Boundary.Grid
	n := float64(r.eval.Len())
	byTriplets := make([]analysis.StabilitySeries, len(r.Stability.Triplets))
	for k, triplets := range r.Stability.Triplets {
		byTriplets[k] = analysis.StabilitySeries{Method: methodAgreement, Samples: triplets, Population: n * (n - 1) * (n - 2) / 6, Passes: points}
	}
	for _, planes := range repeats {
		equal, err := r.agreements(ctx, r.pair(), planes)
		if err != nil {
			return err
		}
		for k, triplets := range r.Stability.Triplets {
			sum := 0
			for _, e := range equal[0][:triplets] {
				sum += e
			}
			byTriplets[k].Scores = append(byTriplets[k].Scores, 100*float64(sum)/float64(points*triplets))
		}
	}
	if err := studies.WriteStabilityScores(r.agreementScoresFile(), byTriplets); err != nil {
		return err
	}
	return r.measureSeconds(ctx)
}

func (r *runner) agreementScoresFile() string {
	return filepath.Join(r.Agreement, "stability_scores.csv")
}

// stability adds the scores of the first measure, on sub-sets of what was attacked already, and writes Tab. 1.
func (r *runner) stability(ctx context.Context, dir string) error {
	s := r.Stability
	if s == nil || !r.pairIsThere(s) {
		return nil
	}
	series, err := studies.ReadStabilityScores(r.agreementScoresFile())
	if err != nil {
		return fmt.Errorf("stability of the agreement: %w", err)
	}
	m, err := r.recall()
	if err != nil {
		return err
	}
	tables, err := r.tables(m, m.Settings[0])
	if err != nil {
		return err
	}
	sets, err := stabilitySets(m.Images.IDs, m.Images.Labels, slices.Max(s.Sizes), s.Repeats)
	if err != nil {
		return err
	}
	gradients, forwards := attackPasses(r.Attack)
	var warnings []string
	for _, n := range s.Sizes {
		one := analysis.StabilitySeries{Method: methodSAT, Samples: n, Population: float64(tables.Images), Passes: gradients + forwards}
		for q, set := range sets {
			percent, err := tables.PercentOn(s.Pair[0], s.Pair[1], set[:n])
			if errors.Is(err, analysis.ErrNoSharedImages) {
				warnings = append(warnings, fmt.Sprintf("%d images: in repeat %d the models share no correct one, so this size is left out", n, q))
				break
			}
			if err != nil {
				return err
			}
			one.Scores = append(one.Scores, percent)
		}
		if len(one.Scores) == len(sets) {
			series = append(series, one)
		}
	}
	if share := float64(slices.Max(s.Sizes)) / float64(tables.Images); share > independentShare {
		warnings = append(warnings, fmt.Sprintf("the sets of %d of %d images overlap, which makes their scores up to %.2f times as spread as independent sets would",
			slices.Max(s.Sizes), tables.Images, math.Sqrt(1-share)))
	}
	for _, w := range warnings {
		r.warn("stability: %s", w)
	}
	return studies.Stability(ctx, studies.Folder{Dir: dir, Meta: r.measured[""].meta}, studies.StabilityJob{
		Series: series, Pair: s.Pair[:], Bootstrap: analysis.BootstrapOptions{Seed: r.Scores.Seed}, Warnings: warnings,
	})
}

// independentShare is the share of all images up to which sets count as independent; the paper's largest is a tenth.
const independentShare = 0.1

// attackPasses are the gradients and forward passes of one image in one direction. Of PGD the paper's table counts a step and
// the transfer, not what checks the clean image and the last iterate.
func attackPasses(a Attack) (gradients, forwards int) {
	c := a.Cost()
	if _, pgd := a.Attacker.(attacks.PGD); pgd {
		return c.Gradients, 1
	}
	return c.Gradients, c.Forwards
}
