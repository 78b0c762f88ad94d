package analysis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
)

// exactChoices is how many sets of models are looked at one by one rather than searched greedily.
const exactChoices = 5_000_000

// ChooseOptions are the settings of [ChooseDiverse].
type ChooseOptions struct {
	Size        int     // models to choose; at least 2
	MinAccuracy float64 // models below are left out, in the unit of the accuracies
}

// Choice is a set of models chosen to be different.
type Choice struct {
	Models     []string // by name
	Mean       float64  // mean SAT of its pairs, the smaller the more diverse
	Largest    float64  // SAT of its most similar pair
	Exact      bool     // no other set of the candidates has a smaller mean; else the search was greedy with exchanges
	GreedyMean float64  // what the greedy search alone found: how far it was from the best
	Candidates int      // models at or above the accuracy floor
}

// ChooseDiverse picks the most diverse models for an ensemble: of all sets of o.Size models with at least the accuracy
// floor, one with the smallest mean SAT over its pairs. Up to about five million sets, the best is found for certain; beyond,
// models are added greedily from every start and then exchanged one by one as long as that helps. accuracy is in the order
// of sat.Names. Pairs of candidates must be defined. Models are searched in the order of
// their names, so the order of rows changes nothing.
func ChooseDiverse(ctx context.Context, sat *Matrix, accuracy []float64, o ChooseOptions) (*Choice, error) {
	c, err := chooseDiverse(ctx, sat, accuracy, o)
	if err != nil {
		return nil, fmt.Errorf("choose models: %w", err)
	}
	return c, nil
}

func chooseDiverse(ctx context.Context, sat *Matrix, accuracy []float64, o ChooseOptions) (*Choice, error) {
	candidates, err := atLeast(sat, accuracy, o.MinAccuracy)
	if err != nil {
		return nil, err
	}
	if o.Size < 2 {
		return nil, fmt.Errorf("%d models: want at least two", o.Size)
	}
	if len(candidates) < o.Size {
		return nil, fmt.Errorf("%d models have an accuracy of %v or more: want at least %d", len(candidates), o.MinAccuracy, o.Size)
	}
	m, err := sat.Select(candidates)
	if err != nil {
		return nil, err
	}
	if err := m.checkPairs(); err != nil {
		return nil, err
	}
	s := newDiversity(m, o.Size)
	best, err := s.greedy(ctx)
	if err != nil {
		return nil, err
	}
	out := &Choice{GreedyMean: s.mean(best), Candidates: len(candidates)}
	if binomial(len(candidates), o.Size) <= exactChoices {
		if best, err = s.exact(ctx, best); err != nil {
			return nil, err
		}
		out.Exact = true
	}
	slices.Sort(best)
	out.Mean, out.Largest = s.mean(best), math.Inf(-1)
	for i, a := range best {
		out.Models = append(out.Models, candidates[a])
		for _, b := range best[i+1:] {
			out.Largest = max(out.Largest, s.at(a, b))
		}
	}
	return out, nil
}

// atLeast returns the models with the given accuracy or more, by name.
func atLeast(sat *Matrix, accuracy []float64, floor float64) ([]string, error) {
	if err := sat.checkSymmetric(); err != nil {
		return nil, err
	}
	if len(accuracy) != sat.Len() || math.IsNaN(floor) {
		return nil, fmt.Errorf("%d accuracies of %d models, floor %v", len(accuracy), sat.Len(), floor)
	}
	var names []string
	for i, name := range sat.Names {
		if math.IsNaN(accuracy[i]) {
			return nil, fmt.Errorf("accuracy of %s is undefined", name)
		}
		if accuracy[i] >= floor {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// diversity searches sets of models with a small sum of pairwise scores.
type diversity struct {
	n, size int
	score   []float64 // n x n, symmetric
	least   float64   // the smallest score of two models
}

func newDiversity(m *Matrix, size int) *diversity {
	s := &diversity{n: m.Len(), size: size, score: make([]float64, m.Len()*m.Len()), least: lowestScore(m)}
	for i := range s.n {
		for j := range s.n {
			s.score[i*s.n+j] = symmetric(m, i, j)
		}
	}
	return s
}

func (s *diversity) at(i, j int) float64 { return s.score[i*s.n+j] }

// mean is over the pairs of a set, added in ascending order of the models.
func (s *diversity) mean(set []int) float64 {
	set = slices.Sorted(slices.Values(set))
	sum := 0.0
	for i, a := range set {
		for _, b := range set[i+1:] {
			sum += s.at(a, b)
		}
	}
	return sum / float64(len(set)*(len(set)-1)/2)
}

// greedy grows a set from every model, each time by the one that adds least, improves the best by exchanges and returns it.
func (s *diversity) greedy(ctx context.Context) ([]int, error) {
	var best []int
	lowest := math.Inf(1)
	added := make([]float64, s.n) // what a model would add to the set
	for start := range s.n {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		set := []int{start}
		copy(added, s.score[start*s.n:(start+1)*s.n])
		for len(set) < s.size {
			next := -1
			for i := range s.n {
				if !slices.Contains(set, i) && (next < 0 || added[i] < added[next]) {
					next = i
				}
			}
			set = append(set, next)
			for i := range s.n {
				added[i] += s.at(next, i)
			}
		}
		if m := s.mean(set); m < lowest {
			best, lowest = set, m
		}
	}
	for improved := true; improved; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		improved = false
		for k := range best {
			own := best[k]
			for i := range s.n {
				if slices.Contains(best, i) {
					continue
				}
				trial := slices.Clone(best)
				trial[k] = i
				if m := s.mean(trial); m < lowest-tieTolerance*math.Abs(lowest) {
					own, lowest, improved = i, m, true
				}
			}
			best[k] = own
		}
	}
	return best, nil
}

// exact looks through all sets in ascending order, leaving out branches that even with the smallest score for every pair
// still missing cannot become better than the best known set.
func (s *diversity) exact(ctx context.Context, known []int) ([]int, error) {
	pairs := s.size * (s.size - 1) / 2
	best := slices.Clone(known)
	lowest := s.mean(known) * float64(pairs)
	set := make([]int, 0, s.size)
	var visit func(from int, sum float64)
	visit = func(from int, sum float64) {
		if ctx.Err() != nil {
			return
		}
		if len(set) == s.size {
			best, lowest = slices.Clone(set), sum
			return
		}
		for i := from; i <= s.n-(s.size-len(set)); i++ {
			with := sum
			for _, j := range set {
				with += s.at(i, j)
			}
			done := (len(set) + 1) * len(set) / 2
			if with+float64(pairs-done)*s.least >= lowest-tieTolerance*math.Abs(lowest) {
				continue
			}
			set = append(set, i)
			visit(i+1, with)
			set = set[:len(set)-1]
		}
	}
	visit(0, 0)
	return best, ctx.Err()
}

// Teacher is a candidate for distilling into a student.
type Teacher struct {
	Model    string
	SAT      float64 // with the student
	Accuracy float64
}

// RankTeachers sorts the models with at least the accuracy floor by their similarity with the student's architecture, the
// most similar first; the last is the most different. Ties go by name. Models without a defined similarity are left out.
func RankTeachers(sat *Matrix, accuracy []float64, student string, minAccuracy float64) ([]Teacher, error) {
	names, err := atLeast(sat, accuracy, minAccuracy)
	if err != nil {
		return nil, fmt.Errorf("rank teachers: %w", err)
	}
	s := slices.Index(sat.Names, student)
	if s < 0 {
		return nil, fmt.Errorf("rank teachers: student %s is not in the matrix", student)
	}
	var out []Teacher
	for _, name := range names {
		i := slices.Index(sat.Names, name)
		if v := symmetric(sat, s, i); i != s && !math.IsNaN(v) {
			out = append(out, Teacher{Model: name, SAT: v, Accuracy: accuracy[i]})
		}
	}
	if len(out) == 0 {
		return nil, errors.New("rank teachers: no model is left")
	}
	slices.SortStableFunc(out, func(a, b Teacher) int { return cmp.Compare(b.SAT, a.SAT) })
	return out, nil
}
