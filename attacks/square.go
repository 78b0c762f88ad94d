package attacks

import (
	"context"
	"errors"
	"fmt"
	"math"
)

// Square is the square attack (Andriushchenko, Croce, Flammarion and Hein, ECCV 2020): a random search that never looks at
// a gradient. Every query changes a random square of the perturbation and keeps the change where it lowers the margin
// z_y - max_{j != y} z_j or makes it at most 0. The squares shrink on a fixed schedule.
type Square struct {
	Norm       Norm
	Epsilon    float64 // radius of the ball, in pixel space
	Queries    int     // per restart, beside the one for the start
	Share      float64 // p_init: share of the pixels in the first squares
	Restarts   int     // >= 1; only images still robust take part in later ones
	Seed       uint64
	Randomness Randomness // Keyed: proposals of its own for each image; StreamCompat: one for all, as in the reference
}

// DefaultSquare returns the square attack as AutoAttack's standard version runs it, at L-infinity 8/255.
func DefaultSquare() Square {
	return Square{Norm: Linf, Epsilon: 8.0 / 255, Queries: 5000, Share: 0.8, Restarts: 1}
}

// Name is square; draws are keyed by it.
func (q Square) Name() string { return "square" }

// Cost is that of an image that withstands: all queries.
func (q Square) Cost() Cost { return Cost{Forwards: 2 + q.Restarts*(q.Queries+2)} }

// Parameters implements Attacker.
func (q Square) Parameters() map[string]any {
	return map[string]any{
		"norm": q.Norm.String(), "epsilon": q.Epsilon, "queries": q.Queries, "share": q.Share, "restarts": q.Restarts,
		"seed": q.Seed, "rng": q.Randomness.String(),
	}
}

// Validate reports every setting that has no meaning, all at once.
func (q Square) Validate() error {
	errs := []error{checkCommon(q.Norm, q.Epsilon, q.Randomness)}
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if q.Queries < 0 {
		bad("queries is %d, want >= 0", q.Queries)
	}
	if !(q.Share > 0 && q.Share <= 1) {
		bad("share is %v, want a number in (0,1]", q.Share)
	}
	if q.Restarts < 1 {
		bad("restarts is %d, want >= 1", q.Restarts)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%s: %w", q.Name(), err)
	}
	return nil
}

// Run attacks those of the images x, labelled y, that the model classifies correctly, in one batch. The others are
// returned as they are, and so are those that are never misclassified. x and y are not modified. It asks for logits only.
func (q Square) Run(ctx context.Context, model Model, x Batch, y []int64, ids []string, progress Progress) (Result, error) {
	if err := q.Validate(); err != nil {
		return Result{}, err
	}
	return alone(ctx, q.Name(), model, x, y, ids, func(v victims) (outcome, error) {
		return q.attack(ctx, model, v, progress)
	})
}

// tiles is the number of squares per side that the L2 attack starts from.
const tiles = 5

// attack is Run on victims.
func (q Square) attack(ctx context.Context, model Model, v victims, progress Progress) (outcome, error) {
	if v.classes() < 2 {
		return outcome{}, errors.New("the model has one class only")
	}
	if q.Norm == L2 && min(v.x.H, v.x.W) < tiles {
		return outcome{}, fmt.Errorf("images of %dx%d are too small for the L2 attack, which needs %d rows and columns",
			v.x.H, v.x.W, tiles)
	}
	if progress == nil {
		progress = func(int, int) {}
	}
	out := newOutcome(v)
	fooled := make([]bool, v.x.N)
	random := newDraws(q.Randomness, q.Seed, q.Name())
	for restart := range q.Restarts {
		left, places := v.pick(func(k int) bool { return !fooled[k] })
		if left.x.N == 0 {
			break
		}
		s := search{Square: q, victims: left, model: model, sources: make([]uniform, left.x.N)}
		for k := range s.sources {
			s.sources[k] = random.of(restart, left.id(k))
		}
		if err := s.run(ctx, func(query int) { progress(restart*q.Queries+query, q.Restarts*q.Queries) }); err != nil {
			return outcome{}, fmt.Errorf("restart %d: %w", restart, err)
		}
		predicted, err := left.predictions(ctx, model, s.best)
		if err != nil {
			return outcome{}, fmt.Errorf("restart %d: %w", restart, err)
		}
		for k, place := range places {
			if predicted[k] != left.y[k] { // a tie has margin 0 and may still go to y
				fooled[place] = true
				copy(out.adv.Image(place), s.best.Image(k))
			}
		}
	}
	progress(q.Restarts*q.Queries, q.Restarts*q.Queries)
	return out, nil
}

// search is one restart.
type search struct {
	Square
	victims
	model   Model
	sources []uniform // by image; all the same with StreamCompat

	best   Batch
	margin []float32 // of best
}

func (s *search) run(ctx context.Context, done func(query int)) error {
	switch s.Norm {
	case Linf:
		s.stripes()
	case L2:
		s.tiles()
	}
	all := make([]int, s.x.N)
	for k := range all {
		all[k] = k
	}
	var err error
	if s.margin, err = s.margins(ctx, s.best, all); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	for it := range s.Queries {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("query %d: %w", it, err)
		}
		var active []int
		for k, m := range s.margin {
			if m > 0 {
				active = append(active, k)
			}
		}
		if len(active) == 0 {
			break
		}
		proposed := s.best.gather(active)
		switch s.Norm {
		case Linf:
			s.proposeLinf(proposed, active, it)
		case L2:
			s.proposeL2(proposed, active, it)
		}
		margins, err := s.margins(ctx, proposed, active)
		if err != nil {
			return fmt.Errorf("query %d: %w", it, err)
		}
		for i, k := range active {
			if margins[i] < s.margin[k] || margins[i] <= 0 {
				s.margin[k] = margins[i]
				copy(s.best.Image(k), proposed.Image(i))
			}
		}
		done(it + 1)
	}
	return nil
}

// margins asks the model about versions adv of the images at the given places.
func (s *search) margins(ctx context.Context, adv Batch, places []int) ([]float32, error) {
	logits, err := s.model.Logits(ctx, adv)
	if err != nil {
		return nil, err
	}
	index := make([]int, len(places))
	for i, k := range places {
		index[i] = s.index[k]
	}
	if _, err := predict(logits, adv.N, s.ids, index); err != nil { // NaN
		return nil, err
	}
	classes := len(logits) / adv.N
	m := make([]float32, adv.N)
	for i, k := range places {
		m[i] = float32(margin(logits[i*classes:(i+1)*classes], s.y[k]))
	}
	return m, nil
}

// side is the length of the squares of one query: a share of Share/div of the pixels, where div doubles on a schedule that
// does not depend on Queries. The L2 attack wants odd sides from 3 on.
func (s *search) side(it int) int {
	div := 1.0
	for _, after := range []int{10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000} {
		if it > after {
			div *= 2
		}
	}
	side := int(math.RoundToEven(math.Sqrt(s.Share / div * float64(s.x.H*s.x.W))))
	least := 1
	if s.Norm == L2 {
		least = 3
	}
	side = max(side, least)
	if s.Norm == L2 && side%2 == 0 {
		side++
	}
	return min(side, s.x.H, s.x.W)
}

// below draws an integer from 0 to n-1; 0 if n is 0.
func below(source uniform, n int) int { return int(float32(float32(n) * source.Float32())) }

// stripes starts the L-infinity attack: every column of every channel moves by plus or minus epsilon.
func (s *search) stripes() {
	s.best = s.x.Clone()
	eps := float32(s.Epsilon)
	for k := range s.best.N {
		image := s.best.Image(k)
		for c := range s.x.C {
			for col := range s.x.W {
				move := float32(eps * plusMinus(s.sources[k]))
				for row := range s.x.H {
					j := (c*s.x.H+row)*s.x.W + col
					image[j] = clamp01(float32(image[j] + move))
				}
			}
		}
	}
}

// window is a square of the image, and what one L-infinity query adds to its channels.
type window struct {
	row, col int
	signs    []float32
}

func (s *search) drawWindow(source uniform, side int) window {
	w := window{row: below(source, s.x.H-side), col: below(source, s.x.W-side), signs: make([]float32, s.x.C)}
	for c := range w.signs {
		w.signs[c] = plusMinus(source)
	}
	return w
}

// proposeLinf moves the square of each image by plus or minus 2 epsilon per channel, back into the ball.
func (s *search) proposeLinf(proposed Batch, active []int, it int) {
	side := s.side(it)
	eps, twice := float32(s.Epsilon), float32(2*s.Epsilon)
	var w window
	for i, k := range active {
		if i == 0 || s.Randomness == Keyed {
			w = s.drawWindow(s.sources[k], side)
		}
		x, v := s.x.Image(k), proposed.Image(i)
		for c, sign := range w.signs {
			move := float32(twice * sign)
			for row := w.row; row < w.row+side; row++ {
				for j := (c*s.x.H+row)*s.x.W + w.col; j < (c*s.x.H+row)*s.x.W+w.col+side; j++ {
					moved := float32(v[j] + move)
					v[j] = clamp01(min(max(moved, float32(x[j]-eps)), float32(x[j]+eps)))
				}
			}
		}
	}
}
