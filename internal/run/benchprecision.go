package run

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"

	"sat/internal/studies"
	"sat/torch"
	"sat/zoo"
)

// PrecisionPair is one pair of models, scored in float32 and in other modes.
type PrecisionPair struct {
	A       string          `json:"a"`
	B       string          `json:"b"`
	Percent float64         `json:"percent"` // in float32
	SAT     float64         `json:"sat"`     // likewise
	Others  []PrecisionPart `json:"others"`  // in the order of PrecisionResult.Modes
}

// PrecisionPart is the score of a pair in another mode.
type PrecisionPart struct {
	SAT float64 `json:"sat"`
	// Floor: at most floorPercent of the images transfer in this mode or in float32. There the logarithm turns one image more
	// or less into a large change.
	Floor bool `json:"at_floor"`
	// Outside: the score lies outside the 95 % interval that the choice of images alone gives SAT in float32.
	Outside bool `json:"outside_interval"`
}

// floorPercent separates pairs at the floor.
const floorPercent = 1.0

// PrecisionMode sums up how far a mode moves the similarities from those in float32.
type PrecisionMode struct {
	Mode    string  `json:"mode"`
	Pairs   int     `json:"pairs"` // away from the floor; what follows is of them
	AtFloor int     `json:"at_floor"`
	Outside int     `json:"outside_interval"`
	Mean    float64 `json:"mean"` // of the changes with their sign: what the mode itself shifts
	// MeanSize and Max are of |SAT in the mode - SAT in float32|.
	MeanSize float64 `json:"mean_change"`
	Max      float64 `json:"max_change"`
}

// PrecisionResult says how far other modes move the similarities. The first, a network lowered in float32, changes nothing
// but the last bits: what it moves is what attacks make of any change in rounding, a scale for what bfloat16 moves.
type PrecisionResult struct {
	Modes []PrecisionMode `json:"modes"`
	Pairs []PrecisionPair `json:"pairs"`
}

// precisionModes are compared with plain float32; on a GPU nothing is lowered.
func precisionModes(d torch.Device) []zoo.Mode {
	if d.Type != torch.DeviceCPU {
		return []zoo.Mode{{Precision: torch.BFloat16}}
	}
	return []zoo.Mode{{Lowered: true}, {Precision: torch.BFloat16}}
}

// BenchPrecision runs an experiment with its main attack up to the scores, in float32 and in other modes, on the same trained
// networks, and compares. The scores lie in DIR/precision/; those of the experiment itself stay as they are.
func BenchPrecision(ctx context.Context, spec Spec, o Options) (PrecisionResult, error) {
	spec.Sweep, spec.Ablation, o.Until = nil, nil, StageSimilarity
	modes := precisionModes(spec.Device)
	scores := func(mode zoo.Mode) (table map[[2]string]pairScore, order [][2]string, err error) {
		s := spec
		s.Mode, s.Similarity = mode, filepath.Join(spec.Dir, "precision", mode.String())
		if _, err := Run(ctx, s, o); err != nil && !errors.Is(err, ErrPartial) {
			return nil, nil, fmt.Errorf("in mode %s: %w", mode, err)
		}
		return readPairs(filepath.Join(s.Similarity, "pairs_undirected.csv"))
	}
	var others []map[[2]string]pairScore
	for _, mode := range modes {
		table, _, err := scores(mode)
		if err != nil {
			return PrecisionResult{}, err
		}
		others = append(others, table)
	}
	// float32 comes last, so that the folder is left as the experiment leaves it.
	exact, order, err := scores(zoo.Mode{ChannelsLast: spec.ChannelsLast})
	if err != nil {
		return PrecisionResult{}, err
	}
	return comparePairs(order, exact, modes, others), nil
}

// comparePairs compares percent and SAT of the pairs in order.
func comparePairs(order [][2]string, exact map[[2]string]pairScore, modes []zoo.Mode, others []map[[2]string]pairScore) PrecisionResult {
	r := PrecisionResult{Pairs: []PrecisionPair{}}
	for _, mode := range modes {
		r.Modes = append(r.Modes, PrecisionMode{Mode: mode.String()})
	}
	for _, pair := range order {
		a := exact[pair]
		p := PrecisionPair{A: pair[0], B: pair[1], Percent: a.percent, SAT: a.sat}
		defined := !math.IsNaN(a.sat) // else there is no image that both classify correctly
		for _, other := range others {
			b, known := other[pair]
			defined = defined && known && !math.IsNaN(b.sat)
			p.Others = append(p.Others, PrecisionPart{SAT: b.sat, Floor: a.percent <= floorPercent || b.percent <= floorPercent,
				Outside: b.sat < a.lo || b.sat > a.hi})
		}
		if !defined {
			continue
		}
		r.Pairs = append(r.Pairs, p)
		for i, part := range p.Others {
			r.Modes[i].add(part, part.SAT-p.SAT)
		}
	}
	for i := range r.Modes {
		if n := float64(r.Modes[i].Pairs); n > 0 {
			r.Modes[i].Mean /= n
			r.Modes[i].MeanSize /= n
		}
	}
	return r
}

// add counts a pair; the means are sums until all pairs are there.
func (m *PrecisionMode) add(part PrecisionPart, change float64) {
	if part.Floor {
		m.AtFloor++
		return
	}
	m.Pairs++
	if part.Outside {
		m.Outside++
	}
	m.Mean += change
	m.MeanSize += math.Abs(change)
	m.Max = max(m.Max, math.Abs(change))
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
