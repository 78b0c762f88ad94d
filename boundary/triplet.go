package boundary

import (
	"context"
	"errors"
	"fmt"

	"sat/attacks"
	"sat/internal/rng"
)

// maxRedraws is after how many degenerate triplets in a row the images are taken to be the cause.
const maxRedraws = 1000

// Options are the settings of a comparison.
type Options struct {
	Seed   uint64
	Grid   int       // points along each side of a plane, at least 2
	Margin float64   // of the box, as a share of its length; the original's "range"
	Std    []float64 // nil for planes in pixel space, else per channel: see [Span]
}

// Defaults returns the settings of the original: 50 x 50 points, a tenth of margin.
func Defaults() Options { return Options{Grid: DefaultGrid, Margin: DefaultMargin} }

// Validate reports everything that has no meaning, all at once.
func (o Options) Validate() error {
	var errs []error
	if o.Grid < 2 {
		errs = append(errs, fmt.Errorf("grid of %d points a side, want at least 2", o.Grid))
	}
	if !(o.Margin >= 0 && o.Margin <= maxMargin) {
		errs = append(errs, fmt.Errorf("margin %v, want one in [0, %d]", o.Margin, maxMargin))
	}
	return errors.Join(errs...)
}

// maxMargin is where a plane shows little but noise: images a hundred times as far apart as the three.
const maxMargin = 100

// Images returns the images with the given numbers, in their order, all of one size and in pixel space.
type Images func(ctx context.Context, numbers []int) (attacks.Batch, error)

// Triplet is three images of different labels and the plane that they span.
type Triplet struct {
	Number  int    `json:"number"`
	Images  [3]int `json:"images"`
	Redrawn int    `json:"redrawn"` // degenerate triplets that were drawn before it
	Plane   Plane  `json:"plane"`
}

// Draw returns triplet number r: images whose numbers are among candidates, drawn from the stream of o.Seed+r. labels
// belong to all images. It is an error if the candidates have fewer than three labels.
func Draw(ctx context.Context, images Images, labels []int64, candidates []int, r int, o Options) (Triplet, error) {
	if err := o.Validate(); err != nil {
		return Triplet{}, err
	}
	if err := checkCandidates(labels, candidates); err != nil {
		return Triplet{}, fmt.Errorf("triplet %d: %w", r, err)
	}
	random := rng.New(o.Seed+uint64(r), "boundary/triplet")
	for redrawn := range maxRedraws {
		t := Triplet{Number: r, Images: three(random, labels, candidates), Redrawn: redrawn}
		x, err := images(ctx, t.Images[:])
		if err != nil {
			return Triplet{}, fmt.Errorf("triplet %d: %w", r, err)
		}
		t.Plane, err = Span(x, o.Std)
		switch {
		case err == nil:
			return t, nil
		case !errors.Is(err, ErrDegenerate):
			return Triplet{}, fmt.Errorf("triplet %d, images %v: %w", r, t.Images, err)
		}
	}
	return Triplet{}, fmt.Errorf("triplet %d: %w, %d times in a row: are the images all the same?", r, ErrDegenerate, maxRedraws)
}

func three(random *rng.Stream, labels []int64, candidates []int) (numbers [3]int) {
	for k := 0; k < len(numbers); {
		numbers[k] = candidates[random.IntN(len(candidates))]
		taken := false
		for _, earlier := range numbers[:k] {
			taken = taken || labels[earlier] == labels[numbers[k]]
		}
		if !taken {
			k++
		}
	}
	return numbers
}

func checkCandidates(labels []int64, candidates []int) error {
	seen := map[int64]bool{}
	for _, i := range candidates {
		if i < 0 || i >= len(labels) {
			return fmt.Errorf("image %d of %d is unknown", i, len(labels))
		}
		seen[labels[i]] = true
	}
	if len(seen) < 3 {
		return fmt.Errorf("the %d images to draw from have %d different labels; three are needed", len(candidates), len(seen))
	}
	return nil
}
