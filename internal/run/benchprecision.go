package run

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"

	"sat/internal/studies"
	"sat/torch"
)

// PrecisionPair is one pair of models, scored in both precisions.
type PrecisionPair struct {
	A        string  `json:"a"`
	B        string  `json:"b"`
	Percent  float64 `json:"percent"` // in float32
	Float32  float64 `json:"sat_float32"`
	BFloat16 float64 `json:"sat_bfloat16"`
	// Floor: at most floorPercent of the images transfer in one of the precisions. There the logarithm turns one image more
	// or less into a large change.
	Floor bool `json:"at_floor"`
	// Outside: SAT in bfloat16 lies outside the 95 % interval that the choice of images alone gives SAT in float32.
	Outside bool `json:"outside_interval"`
}

// floorPercent separates pairs at the floor.
const floorPercent = 1.0

// PrecisionResult says how far bfloat16 moves the similarities.
type PrecisionResult struct {
	Pairs   []PrecisionPair `json:"pairs"`
	AtFloor int             `json:"at_floor"`
	Outside int             `json:"outside_interval"`
	Max     float64         `json:"max_change"` // |SAT in bfloat16 - SAT in float32| over the pairs away from the floor
	Mean    float64         `json:"mean_change"`
}

// BenchPrecision runs an experiment with its main attack up to the scores, in bfloat16 and in float32, on the same trained
// networks, and compares. The scores lie in DIR/precision/; those of the experiment itself stay as they are.
func BenchPrecision(ctx context.Context, spec Spec, o Options) (PrecisionResult, error) {
	spec.Sweep, o.Until = nil, StageSimilarity
	tables := map[torch.DType]map[[2]string]pairScore{}
	var order [][2]string
	// float32 comes last, so that the folder is left as the experiment leaves it.
	for _, precision := range []torch.DType{torch.BFloat16, torch.Float32} {
		s := spec
		s.Precision, s.Similarity = precision, filepath.Join(spec.Dir, "precision", precision.String())
		if _, err := Run(ctx, s, o); err != nil && !errors.Is(err, ErrPartial) {
			return PrecisionResult{}, fmt.Errorf("in %s: %w", precision, err)
		}
		var err error
		if tables[precision], order, err = readPairs(filepath.Join(s.Similarity, "pairs_undirected.csv")); err != nil {
			return PrecisionResult{}, err
		}
	}
	return comparePairs(order, tables[torch.Float32], tables[torch.BFloat16]), nil
}

// comparePairs compares percent and SAT of the pairs in order.
func comparePairs(order [][2]string, exact, rough map[[2]string]pairScore) PrecisionResult {
	var r PrecisionResult
	for _, pair := range order {
		a, b := exact[pair], rough[pair]
		if math.IsNaN(a.sat) || math.IsNaN(b.sat) {
			continue // no image that both classify correctly
		}
		p := PrecisionPair{A: pair[0], B: pair[1], Percent: a.percent, Float32: a.sat, BFloat16: b.sat,
			Floor: a.percent <= floorPercent || b.percent <= floorPercent, Outside: b.sat < a.lo || b.sat > a.hi}
		r.Pairs = append(r.Pairs, p)
		if p.Floor {
			r.AtFloor++
			continue
		}
		if p.Outside {
			r.Outside++
		}
		change := math.Abs(p.BFloat16 - p.Float32)
		r.Max, r.Mean = max(r.Max, change), r.Mean+change
	}
	if n := len(r.Pairs) - r.AtFloor; n > 0 {
		r.Mean /= float64(n)
	}
	return r
}

// pairScore is a line of pairs_undirected.csv; NaN where something is undefined.
type pairScore struct{ percent, sat, lo, hi float64 }

// readPairs reads the scores of every pair, in the order of the file.
func readPairs(path string) (scores map[[2]string]pairScore, order [][2]string, err error) {
	t, err := studies.ReadTable(path, "a", "b", "percent", "sat", "ci_lo", "ci_hi", "status")
	if err != nil {
		return nil, nil, err
	}
	scores = map[[2]string]pairScore{}
	for row := range t.Len() {
		pair := [2]string{t.Text(row, "a"), t.Text(row, "b")}
		score := pairScore{math.NaN(), math.NaN(), math.NaN(), math.NaN()}
		for column, to := range map[string]*float64{"percent": &score.percent, "sat": &score.sat, "ci_lo": &score.lo, "ci_hi": &score.hi} {
			if t.Text(row, column) == "" {
				continue
			}
			if *to, err = t.Number(row, column); err != nil {
				return nil, nil, err
			}
		}
		scores[pair], order = score, append(order, pair)
	}
	return scores, order, nil
}
