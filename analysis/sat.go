package analysis

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
)

const (
	// DefaultFloor is eps_s of Eq. (1), in percent. The paper gives no value; this one lies below the smallest nonzero
	// percentage 100/(2n) for every n up to 50,000, the whole ImageNet validation set, so it only ever replaces a zero.
	DefaultFloor = 5e-4
	// SmallSample is the number of common images under which a pair is marked [StatusSmall].
	SmallSample = 100
)

// ErrNoSharedImages says that no image is classified correctly by both models, so their similarity is undefined.
var ErrNoSharedImages = errors.New("no image is classified correctly by both models")

// SAT returns the similarity of models A and B (Eq. 1 of the paper): the natural logarithm of the mean, in percent and
// floored at eps_s = floor, of both transfer success rates over the nBoth images that A and B both classify correctly.
// fooledAB of these images, attacked on A, fool B; fooledBA, attacked on B, fool A. The arguments of the two directions
// may be swapped: the result is the same bit for bit. percent is the value before floor and logarithm.
//
// With no common image the value is undefined and the error is [ErrNoSharedImages].
func SAT(nBoth, fooledAB, fooledBA int, floor float64) (sat, percent float64, err error) {
	if err := checkFloor(floor); err != nil {
		return undefined, undefined, err
	}
	if err := checkCounts(nBoth, fooledAB); err != nil {
		return undefined, undefined, err
	}
	if err := checkCounts(nBoth, fooledBA); err != nil {
		return undefined, undefined, err
	}
	if nBoth == 0 {
		return undefined, undefined, ErrNoSharedImages
	}
	percent = 100 * float64(fooledAB+fooledBA) / float64(2*nBoth)
	return math.Log(math.Max(floor, percent)), percent, nil
}

// OneSided is [SAT] from one direction only, for a model whose partner cannot be attacked (appendix H of the paper):
// ln max(floor, 100 fooled / nBoth). It is not symmetric in the two models.
func OneSided(nBoth, fooled int, floor float64) (sat, percent float64, err error) {
	return SAT(nBoth, fooled, fooled, floor)
}

func checkFloor(floor float64) error {
	if !(floor > 0 && floor <= 100) {
		return fmt.Errorf("floor %v of the SAT score: want a percentage in (0, 100]", floor)
	}
	return nil
}

func checkCounts(nBoth, fooled int) error {
	if nBoth < 0 || fooled < 0 || fooled > nBoth {
		return fmt.Errorf("%d images fooled of %d common images: want 0 <= fooled <= common", fooled, nBoth)
	}
	return nil
}

// status grades a score: fooled counts the adversarial images that transferred, in either direction. A score that the
// floor has replaced is floored, also where a floor chosen too high replaces a nonzero percentage.
func status(nBoth, fooled int, percent, floor float64) Status {
	switch {
	case nBoth == 0:
		return StatusEmpty
	case fooled == 0 || percent < floor:
		return StatusFloored
	case nBoth < SmallSample:
		return StatusSmall
	}
	return StatusOK
}

// Bits is a set of images: bit i%64 of word i/64 belongs to image i.
type Bits []uint64

// NewBits packs one bool per image.
func NewBits(values []bool) Bits {
	b := make(Bits, words(len(values)))
	for i, v := range values {
		if v {
			b[i/64] |= 1 << (i % 64)
		}
	}
	return b
}

// words returns the length of a Bits for n images.
func words(n int) int { return (n + 63) / 64 }

// count2 returns |a ∩ b|.
func count2(a, b Bits) int {
	n := 0
	for i, w := range a {
		n += bits.OnesCount64(w & b[i])
	}
	return n
}

// count3 returns |a ∩ b ∩ c|.
func count3(a, b, c Bits) int {
	n := 0
	for i, w := range a {
		n += bits.OnesCount64(w & b[i] & c[i])
	}
	return n
}

// Tables holds the outcome of the attack and transfer stages, one bit per fact, from which every similarity score and
// its uncertainty follow. Adding a model adds rows and columns and changes no existing entry.
type Tables struct {
	Models  []string
	Images  int      // number of evaluation images
	Correct []Bits   // Correct[m]: images that model m classifies correctly when clean
	Wrong   [][]Bits // Wrong[s][t]: images whose adversarial version made on s model t gets wrong; read only inside Correct[s]
}

// Validate checks names and shapes.
func (t *Tables) Validate() error {
	if err := checkNames(t.Models); err != nil {
		return err
	}
	if t.Images < 0 {
		return fmt.Errorf("bit tables of %d images", t.Images)
	}
	n, w := len(t.Models), words(t.Images)
	if len(t.Correct) != n || len(t.Wrong) != n {
		return fmt.Errorf("bit tables of %d models hold %d rows of clean and %d of adversarial outcomes", n, len(t.Correct), len(t.Wrong))
	}
	for s, source := range t.Models {
		if len(t.Correct[s]) != w {
			return fmt.Errorf("clean outcomes of %s: %d words, want %d for %d images", source, len(t.Correct[s]), w, t.Images)
		}
		if rest := t.Images % 64; rest != 0 && t.Correct[s][w-1]>>rest != 0 {
			return fmt.Errorf("clean outcomes of %s: bits set behind the last of %d images", source, t.Images)
		}
		if len(t.Wrong[s]) != n {
			return fmt.Errorf("adversarial images of %s were shown to %d models, want %d", source, len(t.Wrong[s]), n)
		}
		for d, target := range t.Models {
			if len(t.Wrong[s][d]) != w {
				return fmt.Errorf("outcomes of the images of %s on %s: %d words, want %d for %d images", source, target,
					len(t.Wrong[s][d]), w, t.Images)
			}
		}
	}
	return nil
}

// Counts holds the integers that all scores derive from, so that scoring again with another floor needs no model.
type Counts struct {
	Models []string
	Images int     // number of evaluation images
	NBoth  [][]int // NBoth[a][b] images are classified correctly by a and b; the diagonal holds the single models' counts
	Fooled [][]int // Fooled[s][t] of these, attacked on s, fool t; the diagonal is the white-box success
}

// Count derives the counts from bit tables.
func (t *Tables) Count() (*Counts, error) {
	if err := t.Validate(); err != nil {
		return nil, fmt.Errorf("count outcomes: %w", err)
	}
	c := NewCounts(t.Models, t.Images)
	for a := range t.Models {
		for b := a; b < len(t.Models); b++ {
			both := count2(t.Correct[a], t.Correct[b])
			c.NBoth[a][b], c.NBoth[b][a] = both, both
			c.Fooled[a][b] = count3(t.Correct[a], t.Correct[b], t.Wrong[a][b])
			c.Fooled[b][a] = count3(t.Correct[a], t.Correct[b], t.Wrong[b][a])
		}
	}
	return c, nil
}

// NewCounts returns counts of zero, to be filled from a file.
func NewCounts(models []string, images int) *Counts {
	c := &Counts{Models: append([]string(nil), models...), Images: images}
	c.NBoth, c.Fooled = make([][]int, len(models)), make([][]int, len(models))
	for i := range models {
		c.NBoth[i], c.Fooled[i] = make([]int, len(models)), make([]int, len(models))
	}
	return c
}

// Validate checks names, shapes and the inequalities that counts of real images satisfy.
func (c *Counts) Validate() error {
	if err := checkNames(c.Models); err != nil {
		return err
	}
	n := len(c.Models)
	if len(c.NBoth) != n || len(c.Fooled) != n {
		return fmt.Errorf("counts of %d models have %d and %d rows", n, len(c.NBoth), len(c.Fooled))
	}
	for i, name := range c.Models {
		if len(c.NBoth[i]) != n || len(c.Fooled[i]) != n {
			return fmt.Errorf("counts of %s: %d and %d columns, want %d", name, len(c.NBoth[i]), len(c.Fooled[i]), n)
		}
	}
	for s, source := range c.Models {
		if c.NBoth[s][s] > c.Images {
			return fmt.Errorf("counts of %s: %d of %d images correct", source, c.NBoth[s][s], c.Images)
		}
		for t, target := range c.Models {
			if c.NBoth[s][t] != c.NBoth[t][s] || c.NBoth[s][t] > min(c.NBoth[s][s], c.NBoth[t][t]) {
				return fmt.Errorf("counts of %s and %s: %d and %d common images, %d and %d correct alone", source, target,
					c.NBoth[s][t], c.NBoth[t][s], c.NBoth[s][s], c.NBoth[t][t])
			}
			if err := checkCounts(c.NBoth[s][t], c.Fooled[s][t]); err != nil {
				return fmt.Errorf("counts of images made on %s and shown to %s: %w", source, target, err)
			}
		}
	}
	return nil
}

// Scores holds every score that follows from [Counts] and a floor.
type Scores struct {
	Models   []string
	Images   int
	Floor    float64     // percent
	Pairs    []Pair      // unordered pairs a < b in the order of Models, row by row
	Directed []Directed  // ordered pairs s != t, row by row
	Self     []SelfCount // one per model
	Warnings []string    // conditions a reader of the scores should know
}

// Score computes all scores. floor is eps_s in percent, usually [DefaultFloor].
func (c *Counts) Score(floor float64) (*Scores, error) {
	if err := checkFloor(floor); err != nil {
		return nil, err
	}
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("score: %w", err)
	}
	s := &Scores{Models: append([]string(nil), c.Models...), Images: c.Images, Floor: floor}
	largest := 0 // common images of the pair with most of them: its percentages have the finest steps
	for a, nameA := range c.Models {
		n, f := c.NBoth[a][a], c.Fooled[a][a]
		self := SelfCount{Model: nameA, N: n, Fooled: f}
		self.SAT, self.Percent = score(n, f, f, floor)
		self.Status = status(n, f, self.Percent, floor)
		s.Self = append(s.Self, self)
		for b, nameB := range c.Models {
			if a == b {
				continue
			}
			n := c.NBoth[a][b]
			d := Directed{Source: nameA, Target: nameB, NBoth: n, Fooled: c.Fooled[a][b]}
			d.OneSided, d.Percent = score(n, d.Fooled, d.Fooled, floor)
			d.Status = status(n, d.Fooled, d.Percent, floor)
			s.Directed = append(s.Directed, d)
			if a > b {
				continue
			}
			p := Pair{A: nameA, B: nameB, NBoth: n, FooledAB: c.Fooled[a][b], FooledBA: c.Fooled[b][a],
				CILo: undefined, CIHi: undefined, PercentLo: undefined, PercentHi: undefined}
			p.SAT, p.Percent = score(n, p.FooledAB, p.FooledBA, floor)
			p.Status = status(n, p.FooledAB+p.FooledBA, p.Percent, floor)
			s.Pairs = append(s.Pairs, p)
			largest = max(largest, n)
		}
	}
	if largest > 0 && floor >= 100/float64(2*largest) {
		s.Warnings = append(s.Warnings, fmt.Sprintf("the floor of %g %% is not below the smallest nonzero percentage %g %% "+
			"(one image of two times %d): pairs with few transferred images are floored too", floor, 100/float64(2*largest), largest))
	}
	sum := s.Summary()
	if sum.Floored > 0 {
		s.Warnings = append(s.Warnings, fmt.Sprintf("%d of %d pairs are at the floor, each counting %.1f in an average: "+
			"compare medians", sum.Floored, sum.Pairs, math.Log(floor)))
	}
	if sum.Excluded > 0 {
		s.Warnings = append(s.Warnings, fmt.Sprintf("%d pairs have no image that both models classify correctly: "+
			"their similarity is undefined and left out of averages", sum.Excluded))
	}
	return s, nil
}

// score is SAT for counts and a floor already checked: an empty pair gives NaN twice, which its status explains.
func score(nBoth, fooledAB, fooledBA int, floor float64) (sat, percent float64) {
	sat, percent, err := SAT(nBoth, fooledAB, fooledBA, floor)
	if err != nil {
		return undefined, undefined
	}
	return sat, percent
}

// Matrix returns the square table of SAT scores. Its diagonal is each model's similarity with itself, the logarithm of
// its white-box success rate, near ln 100 for a strong attack.
func (s *Scores) Matrix() *Matrix {
	return s.matrix(func(p Pair) float64 { return p.SAT }, func(c SelfCount) float64 { return c.SAT })
}

// PercentMatrix returns the same table before floor and logarithm.
func (s *Scores) PercentMatrix() *Matrix {
	return s.matrix(func(p Pair) float64 { return p.Percent }, func(c SelfCount) float64 { return c.Percent })
}

func (s *Scores) matrix(pair func(Pair) float64, self func(SelfCount) float64) *Matrix {
	m := NewMatrix(s.Models)
	k := 0
	for a := range s.Models {
		m.Set(a, a, self(s.Self[a]))
		for b := a + 1; b < len(s.Models); b++ {
			v := pair(s.Pairs[k])
			m.Set(a, b, v)
			m.Set(b, a, v)
			k++
		}
	}
	return m
}

// Summary describes the SAT scores of all pairs of different models ("All" of Tab. 3 is its mean).
func (s *Scores) Summary() Summary { return Summarize(s.Pairs) }
