package run

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"sat/attacks"
	"sat/boundary"
	"sat/internal/data"
	"sat/internal/experiment"
	"sat/internal/store"
	"sat/torch"
	"sat/zoo"
)

// Boundary asks for the agreement of decision boundaries, see package boundary.
type Boundary struct {
	boundary.Options
	Triplets  int
	Reference string // the member whose preprocessing cuts the images that the planes go through
	Pictures  int    // planes to draw, for the pair that agrees most and the one that agrees least
}

// askForBoundaries resolves [boundary] and [stability], whose models must be among the members.
func (s *Spec) askForBoundaries(c *experiment.Config) error {
	names := s.MemberNames()
	known := func(path, name string) error {
		if slices.Contains(names, name) {
			return nil
		}
		hint := "models are called as in the results: " + strings.Join(names[:min(len(names), 10)], ", ")
		if near, ok := experiment.Nearest(name, names); ok {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		return c.Problem(path, hint, "there is no model %q", name)
	}
	if o := c.Boundary; o != nil {
		s.Boundary = &Boundary{
			Options:  boundary.Options{Seed: o.Seed, Grid: o.Grid, Margin: o.Range, Std: o.SpaceStd},
			Triplets: o.Triplets, Reference: cmp.Or(o.Reference, names[0]), Pictures: o.Pictures,
		}
		if err := known("boundary.reference", s.Boundary.Reference); err != nil {
			return err
		}
	}
	o := c.Stability
	if o == nil {
		return nil
	}
	pair := o.Pair
	if pair == nil {
		if len(names) < 2 {
			return c.Problem("stability", "add a model", "stability is about a pair of models, and there is one")
		}
		pair = names[:2]
	}
	s.Stability = &Stability{Pair: [2]string(pair), Sizes: o.Sizes, Triplets: o.Triplets, Repeats: o.Repeats}
	return cmp.Or(known("stability.pair", pair[0]), known("stability.pair", pair[1]))
}

// planesPerUnit is how many planes one unit covers: at 50 x 50 points 25,000 passes, what an interruption can lose.
const planesPerUnit = 10

// planeSet is a list of planes that some models classify.
type planeSet struct {
	name     string // part of the units' names; "" is the main set
	triplets []boundary.Triplet
}

// boundaryKey is what determines class maps besides model and images.
type boundaryKey struct {
	Images    [][3]int  `json:"images"`
	Grid      int       `json:"grid"`
	Range     float64   `json:"range"`
	SpaceStd  []float64 `json:"space_std"`
	Resize    string    `json:"resize"`
	Antialias bool      `json:"antialias"`
	numerics
}

// boundary classifies the planes by every model, once, and compares the class maps of all pairs.
func (r *runner) boundary(ctx context.Context) error {
	if r.Boundary == nil {
		return r.forget(r.Agreement, boundaryFiles...)
	}
	if _, err := r.workers(); err != nil {
		return err
	}
	main, err := r.drawPlanes(ctx, "", 0, r.Boundary.Triplets, count(r.eval.Len()))
	if err != nil {
		return err
	}
	repeats, err := r.stabilityPlanes(ctx)
	if err != nil {
		return err
	}
	if err := r.classify(ctx, main, repeats); err != nil {
		return err
	}
	if err := r.writeAgreement(ctx, main); err != nil {
		return err
	}
	return r.writeStabilityOfAgreement(ctx, repeats)
}

// count returns 0, ..., n-1.
func count(n int) []int {
	numbers := make([]int, n)
	for i := range numbers {
		numbers[i] = i
	}
	return numbers
}

// drawPlanes draws triplets from, ..., from+n-1 among the candidates.
func (r *runner) drawPlanes(ctx context.Context, name string, from, n int, candidates []int) (planeSet, error) {
	shared, err := r.sharedImages()
	if err != nil {
		return planeSet{}, err
	}
	labels, err := r.planeLabels()
	if err != nil {
		return planeSet{}, err
	}
	s := planeSet{name: name, triplets: make([]boundary.Triplet, n)}
	for k := range s.triplets {
		if err := ctx.Err(); err != nil {
			return planeSet{}, err
		}
		if s.triplets[k], err = boundary.Draw(ctx, shared.batch, labels, candidates, from+k, r.Boundary.Options); err != nil {
			return planeSet{}, fmt.Errorf("%s: %w", StageBoundary, err)
		}
	}
	return s, nil
}

// sharedSet is the images that planes go through: one version for all models.
type sharedSet struct{ set *data.Set }

func (s sharedSet) batch(_ context.Context, numbers []int) (attacks.Batch, error) {
	return gather(s.set, numbers), nil
}

// reference is the member whose images the planes go through; the first one if that failed.
func (r *runner) reference() *member {
	return r.members[max(0, slices.IndexFunc(r.members, func(m *member) bool { return m.Name == r.Boundary.Reference }))]
}

// planeLabels are the classes of which a triplet has three: the labels or, in a run without, what the reference sees.
func (r *runner) planeLabels() ([]int64, error) {
	if r.eval.Labels != nil {
		return r.eval.Labels, nil
	}
	predicted, err := r.predictions(r.reference())
	if err != nil {
		return nil, err
	}
	return r.eval.right(predicted), nil
}

// sharedImages returns the array of the experiment, or the folder's images as the reference model takes them.
func (r *runner) sharedImages() (sharedSet, error) {
	switch images := r.reference().images.(type) {
	case *setImages:
		return sharedSet{images.set}, nil
	case *arrayImages:
		return sharedSet{images.set}, nil
	default:
		return sharedSet{}, fmt.Errorf("%s: no shared images of %T", StageBoundary, images)
	}
}

// boundaryUnit is the class maps of one model on planes from, ..., to-1 of a set.
func (r *runner) boundaryUnit(m *member, s planeSet, from, to int) (store.Unit, error) {
	shared, err := r.sharedImages()
	if err != nil {
		return store.Unit{}, err
	}
	b := r.Boundary
	parameters := boundaryKey{Grid: b.Grid, Range: b.Margin, SpaceStd: b.Std, Resize: r.Transfer.Resize, Antialias: r.Transfer.Antialias, numerics: r.numerics(m)}
	for _, t := range s.triplets[from:to] {
		parameters.Images = append(parameters.Images, t.Images)
	}
	key, err := store.NewKey("boundary", parameters, map[string]string{"module": string(m.key), "images": shared.set.Content})
	name := m.Name
	if s.name != "" {
		name += "-" + s.name
	}
	return store.Unit{Stage: string(StageBoundary), Name: fmt.Sprintf("%s-%d", name, from), Key: key}, err
}

// pendingMaps is one unit of class maps to compute.
type pendingMaps struct {
	planes   planeSet
	from, to int
	unit     store.Unit
}

// classify makes the class maps that are not there yet: those of main by every model, those of repeats by the pair of the
// stability study. A task is one model, loaded once.
func (r *runner) classify(ctx context.Context, main planeSet, repeats []planeSet) error {
	var tasks []task
	points, skipped := float64(r.Boundary.Grid*r.Boundary.Grid)*passForward, 0.0
	for _, m := range r.members {
		sets := []planeSet{main}
		if r.Stability != nil && slices.Contains(r.Stability.Pair[:], m.Name) {
			sets = append(sets, repeats...)
		}
		var todo []pendingMaps
		passes := 0.0
		for _, s := range sets {
			for from := 0; from < len(s.triplets); from += planesPerUnit {
				to := min(from+planesPerUnit, len(s.triplets))
				unit, err := r.boundaryUnit(m, s, from, to)
				if err != nil {
					return err
				}
				done, err := r.finished(unit)
				if err != nil {
					return err
				}
				if done {
					skipped += points * float64(to-from)
					r.skipped++
					continue
				}
				passes += points * float64(to-from)
				todo = append(todo, pendingMaps{s, from, to, unit})
			}
		}
		if len(todo) > 0 {
			tasks = append(tasks, task{model: m.Name, name: m.Name, passes: passes,
				do: func(ctx context.Context, w *torch.Worker, advance func(float64)) error {
					return r.classifyBy(ctx, w, m, todo, advance)
				}})
		}
	}
	return r.execute(ctx, StageBoundary, tasks, skipped, fmt.Sprintf("%d models, %d planes", len(r.members), len(main.triplets)))
}

func (r *runner) classifyBy(ctx context.Context, w *torch.Worker, m *member, todo []pendingMaps, advance func(float64)) error {
	shared, err := r.sharedImages()
	if err != nil {
		return err
	}
	model, err := r.load(ctx, w, m)
	if err != nil {
		return err
	}
	defer model.Close()
	height, width := model.InputSize()
	for _, t := range todo {
		triplets := t.planes.triplets[t.from:t.to]
		planes, rows := make([]boundary.Plane, len(triplets)), make([]string, len(triplets))
		for k, triplet := range triplets {
			planes[k], rows[k] = triplet.Plane, fmt.Sprint(triplet.Number)
		}
		points, err := boundary.NewPoints(planes, func(ctx context.Context, k int) (attacks.Batch, error) {
			x, err := shared.batch(ctx, triplets[k].Images[:])
			if err != nil {
				return x, err
			}
			return r.resizeLinearly(ctx, w, x, height, width)
		}, r.Boundary.Options)
		if err != nil {
			return err
		}
		maps, err := boundary.ClassMaps(ctx, model.Logits, points, r.batchOf(m), stepwise(passForward, advance))
		if err != nil {
			return fmt.Errorf("planes %d to %d by %s: %w", t.from, t.to-1, m.Name, err)
		}
		table := store.NewPredictions(store.TableHeader{Subject: m.Name, Rows: rows, Images: len(maps[0]), ImagesDigest: string(t.unit.Key)})
		table.Classes = maps
		if err := r.commit(t.unit, unitFile{"maps", table.Write}); err != nil {
			return err
		}
	}
	return nil
}

// resizeLinearly brings the three images of a plane to a model's size. They are not clamped, so that resizing them is
// resizing every point between them.
func (r *runner) resizeLinearly(ctx context.Context, w *torch.Worker, x attacks.Batch, height, width int) (attacks.Batch, error) {
	if x.H == height && x.W == width {
		return x, nil
	}
	out := attacks.NewBatch(x.N, x.C, height, width)
	return out, w.Do(ctx, func(s *torch.Scope) error {
		resize := zoo.Resize{Filter: r.Transfer.Resize, Antialias: r.Transfer.Antialias}
		resized, err := resize.Linear(s, s.FromFloat32(x.Pixels, x.N, x.C, x.H, x.W), height, width)
		if err != nil {
			return err
		}
		return resized.CopyFloat32s(out.Pixels)
	})
}

// classMaps reads the maps of planes from, ..., to-1 of a set, which must be finished.
func (r *runner) classMaps(m *member, s planeSet, from, to int) ([][]int32, error) {
	unit, err := r.boundaryUnit(m, s, from, to)
	if err != nil {
		return nil, err
	}
	table, err := store.ReadPredictions(unit.File(r.units(), "maps"))
	if err != nil {
		return nil, fmt.Errorf("class maps of %s: %w", m.Name, err)
	}
	if len(table.Classes) != to-from || table.Images != r.Boundary.Grid*r.Boundary.Grid || table.ImagesDigest != string(unit.Key) {
		return nil, fmt.Errorf("%w: the class maps of %s in %s are those of other planes", store.ErrCorrupt, m.Name, unit.File(r.units(), "maps"))
	}
	return table.Classes, nil
}

// agreements counts, for every pair of models, a before b, the points of each plane on which they agree: [pair][plane].
// Only the maps of one unit of planes are in memory.
func (r *runner) agreements(ctx context.Context, members []*member, s planeSet) ([][]int, error) {
	equal := make([][]int, len(members)*(len(members)-1)/2)
	for from := 0; from < len(s.triplets); from += planesPerUnit {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("%s: %w", StageBoundary, err)
		}
		to := min(from+planesPerUnit, len(s.triplets))
		maps := make([][][]int32, len(members))
		for i, m := range members {
			var err error
			if maps[i], err = r.classMaps(m, s, from, to); err != nil {
				return nil, err
			}
		}
		pair := 0
		for i := range members {
			for j := i + 1; j < len(members); j++ {
				counts, err := boundary.Agree(maps[i], maps[j])
				if err != nil {
					return nil, fmt.Errorf("%s and %s: %w", members[i].Name, members[j].Name, err)
				}
				equal[pair] = append(equal[pair], counts...)
				pair++
			}
		}
	}
	return equal, nil
}
