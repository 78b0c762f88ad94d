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
}

// floorPercent separates pairs at the floor.
const floorPercent = 1.0

// PrecisionResult says how far bfloat16 moves the similarities.
type PrecisionResult struct {
	Pairs   []PrecisionPair `json:"pairs"`
	AtFloor int             `json:"at_floor"`
	Max     float64         `json:"max_change"` // |SAT in bfloat16 - SAT in float32| over the pairs away from the floor
	Mean    float64         `json:"mean_change"`
}

// BenchPrecision runs an experiment with its main attack up to the scores, in bfloat16 and in float32, on the same trained
// networks, and compares. The scores lie in DIR/precision/; those of the experiment itself stay as they are.
func BenchPrecision(ctx context.Context, spec Spec, o Options) (PrecisionResult, error) {
	spec.Sweep, o.Until = nil, StageSimilarity
	tables := map[torch.DType]map[[2]string][2]float64{}
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
	return comparePairs(order, tables[torch.Float32], tables[torch.BFloat16])
}

// comparePairs compares percent and SAT of the pairs in order.
func comparePairs(order [][2]string, exact, rough map[[2]string][2]float64) (PrecisionResult, error) {
	var r PrecisionResult
	for _, pair := range order {
		a, b := exact[pair], rough[pair]
		if math.IsNaN(a[1]) || math.IsNaN(b[1]) {
			continue // no image that both classify correctly
		}
		p := PrecisionPair{A: pair[0], B: pair[1], Percent: a[0], Float32: a[1], BFloat16: b[1],
			Floor: a[0] <= floorPercent || b[0] <= floorPercent}
		r.Pairs = append(r.Pairs, p)
		if p.Floor {
			r.AtFloor++
			continue
		}
		change := math.Abs(p.BFloat16 - p.Float32)
		r.Max, r.Mean = max(r.Max, change), r.Mean+change
	}
	if n := len(r.Pairs) - r.AtFloor; n > 0 {
		r.Mean /= float64(n)
	} else {
		return r, errors.New("every pair is at the floor, so nothing can be compared")
	}
	return r, nil
}

// readPairs reads percent and SAT of every pair; NaN where they are undefined.
func readPairs(path string) (scores map[[2]string][2]float64, order [][2]string, err error) {
	t, err := studies.ReadTable(path, "a", "b", "percent", "sat", "status")
	if err != nil {
		return nil, nil, err
	}
	scores = map[[2]string][2]float64{}
	for row := range t.Len() {
		pair := [2]string{t.Text(row, "a"), t.Text(row, "b")}
		value := [2]float64{math.NaN(), math.NaN()}
		if t.Text(row, "sat") != "" {
			for i, column := range []string{"percent", "sat"} {
				if value[i], err = t.Number(row, column); err != nil {
					return nil, nil, err
				}
			}
		}
		scores[pair], order = value, append(order, pair)
	}
	return scores, order, nil
}
