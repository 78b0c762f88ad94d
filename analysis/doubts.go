package analysis

import (
	"fmt"
	"math"
)

// StatusResize: resizing the clean images of the source, without any attack, already makes the target wrong on more than
// [ResizeLimit] of the common images. That share of the score is not the attack's.
const StatusResize Status = "resize"

// ResizeLimit is the share of common images that resizing alone may turn wrong before an ordered pair is marked.
const ResizeLimit = 0.01

// Resized counts, of the images that both models of an ordered pair classify correctly, those that the target gets wrong on
// the source's clean input, resized for the target (one line of resize_only.csv).
type Resized struct {
	Source, Target string
	NBoth, NWrong  int
}

// Status is StatusResize or StatusOK.
func (r Resized) Status() Status {
	if float64(r.NWrong) > ResizeLimit*float64(r.NBoth) {
		return StatusResize
	}
	return StatusOK
}

// Doubt is a reason not to take the score of a pair at face value.
type Doubt struct {
	A, B   string // under StatusResize the source and the target
	Status Status
	Images int     // common images; -1: unknown
	Share  float64 // under StatusResize: what resizing alone turns wrong, a fraction; else NaN
}

// Doubts collects the pairs whose score is undefined, floored, of few images, or partly the work of resizing.
func Doubts(pairs []Pair, resized []Resized) []Doubt {
	var out []Doubt
	for _, p := range pairs {
		if p.Status != StatusOK {
			out = append(out, Doubt{p.A, p.B, p.Status, p.NBoth, undefined})
		}
	}
	for _, r := range resized {
		if s := r.Status(); s != StatusOK {
			out = append(out, Doubt{r.Source, r.Target, s, r.NBoth, float64(r.NWrong) / float64(r.NBoth)})
		}
	}
	return out
}

// MatrixDoubts is Doubts for a similarity matrix alone, which says nothing of the number of images: pairs without a score,
// and pairs at the logarithm of the floor or below. floor is in percent.
func MatrixDoubts(sat *Matrix, floor float64) ([]Doubt, error) {
	if !(floor > 0 && floor <= 100) {
		return nil, fmt.Errorf("a floor of %v percent", floor)
	}
	if err := sat.checkSymmetric(); err != nil {
		return nil, err
	}
	const digits = 1e-9 // that a table may lack
	var out []Doubt
	for i, a := range sat.Names {
		for j := i + 1; j < sat.Len(); j++ {
			switch v := sat.At(i, j); {
			case math.IsNaN(v):
				out = append(out, Doubt{a, sat.Names[j], StatusEmpty, -1, undefined})
			case v <= math.Log(floor)+digits:
				out = append(out, Doubt{a, sat.Names[j], StatusFloored, -1, undefined})
			}
		}
	}
	return out, nil
}

// DoubtWarnings puts doubts into sentences, one for each kind, worst first. pairs and ordered are how many unordered pairs
// and how many resized ordered pairs were looked at.
func DoubtWarnings(doubts []Doubt, pairs, ordered int) (out []string) {
	count, worst := map[Status]int{}, 0.0
	for _, d := range doubts {
		count[d.Status]++
		if d.Share > worst {
			worst = d.Share
		}
	}
	warn := func(s Status, of int, format string, args ...any) {
		if n := count[s]; n > 0 {
			out = append(out, fmt.Sprintf("%d of %d ", n, of)+fmt.Sprintf(format, args...))
		}
	}
	warn(StatusEmpty, pairs, "pairs have no image that both models classify correctly: no similarity is defined there.")
	warn(StatusFloored, pairs, "pairs are at the floor: not one image transferred, and the logarithm of the floor, an arbitrary low number, "+
		"stands for it. Compare medians, not means.")
	warn(StatusSmall, pairs, "pairs have fewer than %d common images: intervals are wide.", SmallSample)
	warn(StatusResize, ordered, "ordered pairs of models that take images of different sizes are marked: resizing alone, without any attack, makes the "+
		"target wrong on more than %g %% of the common images (at most %.1f %%). That share of their similarity is not the attack's.", 100*ResizeLimit, 100*worst)
	return out
}
