package boundary

import (
	"context"
	"fmt"

	"sat/attacks"
)

// Points is the grids of some planes as an attacks.Reader: plane after plane, the first axis outermost. Images are made
// when they are read, so only a batch of them is in memory.
type Points struct {
	planes []Plane
	corner func(ctx context.Context, plane int) (attacks.Batch, error)
	o      Options

	plane         int // of the fields below; -1 before the first
	view          View
	size          attacks.Batch // whose C, H and W are those of the view
	first, second []float64
	rowAt         int
	row           []float64
}

var _ attacks.Reader = (*Points)(nil)

// NewPoints returns the points of planes. corner returns the three images of a plane as the model takes them.
func NewPoints(planes []Plane, corner func(ctx context.Context, plane int) (attacks.Batch, error), o Options) (*Points, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	return &Points{planes: planes, corner: corner, o: o, plane: -1}, nil
}

// Len is the number of points.
func (p *Points) Len() int { return len(p.planes) * p.o.Grid * p.o.Grid }

// Read returns points from, ..., to-1.
func (p *Points) Read(ctx context.Context, from, to int) (attacks.Batch, error) {
	perPlane := p.o.Grid * p.o.Grid
	var out attacks.Batch
	for k := from; k < to; k++ {
		if err := p.open(ctx, k/perPlane); err != nil {
			return attacks.Batch{}, err
		}
		if out.Pixels == nil {
			out = attacks.NewBatch(to-from, p.size.C, p.size.H, p.size.W)
		} else if len(p.row) != out.C*out.H*out.W {
			return attacks.Batch{}, fmt.Errorf("plane %d has images of another size", p.plane)
		}
		i, j := k%perPlane/p.o.Grid, k%p.o.Grid
		if i != p.rowAt {
			p.view.row(p.row, p.first[i])
			p.rowAt = i
		}
		p.view.along(out.Image(k-from), p.row, p.second[j])
	}
	return out, nil
}

// open makes a plane the current one.
func (p *Points) open(ctx context.Context, plane int) error {
	if plane == p.plane {
		return nil
	}
	x, err := p.corner(ctx, plane)
	if err != nil {
		return fmt.Errorf("images of plane %d: %w", plane, err)
	}
	if x.N != 3 || x.C*x.H*x.W == 0 || len(x.Pixels) != 3*x.C*x.H*x.W {
		return fmt.Errorf("plane %d goes through %d images %dx%dx%d, want three", plane, x.N, x.C, x.H, x.W)
	}
	p.plane, p.size, p.rowAt = plane, x, -1
	p.view = p.planes[plane].View(x)
	p.first, p.second = p.planes[plane].Axes(p.o.Grid, p.o.Margin)
	p.row = make([]float64, x.C*x.H*x.W)
	return nil
}

// ClassMaps returns the model's class at every point of every plane: [plane][point].
func ClassMaps(ctx context.Context, model attacks.LogitsFunc, p *Points, batch int, progress attacks.Progress) ([][]int32, error) {
	classes, err := attacks.Evaluate(ctx, model, p, batch, progress)
	if err != nil {
		return nil, fmt.Errorf("points of %d planes: %w", len(p.planes), err)
	}
	perPlane := p.o.Grid * p.o.Grid
	maps := make([][]int32, len(p.planes))
	for k := range maps {
		maps[k] = make([]int32, perPlane)
		for i := range maps[k] {
			maps[k][i] = int32(classes[k*perPlane+i])
		}
	}
	return maps, nil
}

// Agree counts the points of each plane to which both models assign the same class; maps are [plane][point].
func Agree(a, b [][]int32) ([]int, error) {
	if len(a) != len(b) {
		return nil, fmt.Errorf("class maps of %d and %d planes cannot be compared", len(a), len(b))
	}
	equal := make([]int, len(a))
	for k := range a {
		if len(a[k]) != len(b[k]) {
			return nil, fmt.Errorf("plane %d: class maps of %d and %d points cannot be compared", k, len(a[k]), len(b[k]))
		}
		for i, class := range a[k] {
			if class == b[k][i] {
				equal[k]++
			}
		}
	}
	return equal, nil
}
