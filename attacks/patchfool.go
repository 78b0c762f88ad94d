package attacks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"sat/internal/rng"
)

// PatchSelect says how PatchFool chooses the patches, once, on the clean image.
type PatchSelect int

const (
	// SelectAttention takes the patches that receive most attention in one layer, averaged over heads and queries.
	SelectAttention PatchSelect = iota
	// SelectRandom draws distinct patches.
	SelectRandom
	// SelectSaliency takes the patches with the largest sum of |d cross-entropy / d pixel|.
	SelectSaliency
)

// String returns the word used in files and messages.
func (s PatchSelect) String() string {
	return wordOf(int(s), "PatchSelect", "attention", "random", "saliency")
}

// AttentionForm is the attention objective J_l of a layer l, to be made large. A[h,i,j] is what query i of head h pays to
// token j after the soft-max.
type AttentionForm int

const (
	// FormCode is what the authors' program computes: the mean over queries i of log(mean over heads A[h,i,p]) for the first
	// chosen patch p, in the layers 1 to L/2-1 (counted from 0).
	FormCode AttentionForm = iota
	// FormPaper is what the paper writes: the sum of A[h,i,p] over heads, queries and all chosen patches, in every layer.
	FormPaper
)

// String returns the word used in files and messages.
func (f AttentionForm) String() string { return wordOf(int(f), "AttentionForm", "code", "paper") }

// layers lists the layers, of a network with so many, that have an objective.
func (f AttentionForm) layers(n int) []int {
	from, to := 0, n
	if f == FormCode {
		from, to = 1, n/2
	}
	var list []int
	for l := from; l < to; l++ {
		list = append(list, l)
	}
	return list
}

// Conflict says what happens to an attention gradient that points against the gradient of the cross-entropy.
type Conflict int

const (
	// ConflictProject takes the part away that points against it: g - (g·c)/(c·c) c (Yu et al., "Gradient surgery for
	// multi-task learning", NeurIPS 2020).
	ConflictProject Conflict = iota
	// ConflictCodeNorm divides by |c| instead of c·c, as the authors' program does; that is no projection.
	ConflictCodeNorm
)

// String returns the word used in files and messages.
func (c Conflict) String() string { return wordOf(int(c), "Conflict", "project", "code-norm") }

func wordOf(value int, kind string, words ...string) string {
	if value < 0 || value >= len(words) {
		return fmt.Sprintf("%s(%d)", kind, value)
	}
	return words[value]
}

// AttentionShape describes the attention of a vision transformer over the patches of an image.
type AttentionShape struct {
	Layers int
	Heads  int
	Prefix int // tokens before those of the patches: class and distillation tokens
	Patch  int // side of a patch in pixels
}

// AttentionModel is a vision transformer that also tells where it looks.
type AttentionModel interface {
	Model
	Normalized
	// Attention describes the maps; ok is false for a network that does not give them.
	Attention() (shape AttentionShape, ok bool)
	// AttentionScores returns, for each image and each patch, what the patch receives in a layer: the mean over heads and
	// over all queries, prefix tokens included. Patches are numbered row by row.
	AttentionScores(ctx context.Context, x Batch, layer int) (scores []float32, err error)
	// AttentionGrad returns what LossGrad returns for the cross-entropy and the gradients, with respect to the pixels, of
	// the summed objectives of the given layers, one after the other. patches[i] are the numbers of image i's patches.
	AttentionGrad(ctx context.Context, x Batch, y []int64, patches [][]int, form AttentionForm, layers []int) (Gradient, [][]float32, error)
}

// PatchFool replaces the content of a few patches (Fu et al., "Patch-Fool: are vision transformers always robust against
// adversarial perturbations?", ICLR 2022): inside them nothing but [0,1] bounds the pixels, outside nothing changes. It
// climbs the cross-entropy together with objectives that draw attention to the patches, with Adam in units of the
// normalised image. The model must be an AttentionModel.
type PatchFool struct {
	Patches  int // per image
	Select   PatchSelect
	Layer    int // whose attention SelectAttention looks at, from 0; the last one of a network that has fewer
	Steps    int
	Rate     float64 // of Adam; times 0.95 after every 10 steps
	Weight   float64 // of the attention objectives
	Form     AttentionForm
	Conflict Conflict
	MildL2   float64 // if positive, largest L2 length of a channel's change, in pixel space
	MildLinf float64 // if positive, largest change of a pixel
	Pixels   int     // if positive, only so many pixels change, and which ones is learnt too
	Seed     uint64
	ZeroNaN  bool // replace NaN gradient entries by 0 and count them, instead of stopping
}

// DefaultPatchFool returns the settings of the paper and, where it is silent, of its program.
func DefaultPatchFool() PatchFool {
	return PatchFool{Patches: 1, Layer: 4, Steps: 250, Rate: 0.2, Weight: 0.002}
}

// Constants of the authors' program.
const (
	rateDecay, rateEvery = 0.95, 10   // course of the learning rate
	scoreRate            = 1e-2       // of Adam for the scores of the sparse variant
	scoreShare           = 0.8        // of the steps in which the scores are learnt: 200 of 250
	scoreFloor           = 1e-6       // smallest score inside the patches
	beta1, beta2         = 0.9, 0.999 // of Adam
	adamEps              = 1e-8
)

// Name is patchfool; draws are keyed by it.
func (p PatchFool) Name() string { return "patchfool" }

// Cost counts the backward passes of the attention objectives as one gradient per step: each reaches part of the network.
func (p PatchFool) Cost() Cost {
	gradients := p.Steps
	if p.Weight > 0 {
		gradients *= 2
	}
	return Cost{Forwards: 3, Gradients: gradients}
}

// Parameters implements Attacker.
func (p PatchFool) Parameters() map[string]any {
	return map[string]any{
		"patches": p.Patches, "patch_select": p.Select.String(), "attention_layer": p.Layer, "steps": p.Steps, "rate": p.Rate,
		"attention_weight": p.Weight, "form": p.Form.String(), "conflict": p.Conflict.String(), "mild_l2": p.MildL2,
		"mild_linf": p.MildLinf, "sparse_pixels": p.Pixels, "seed": p.Seed, "nan": nanWord(p.ZeroNaN),
	}
}

// Validate reports every setting that has no meaning, all at once.
func (p PatchFool) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("patchfool: "+format, args...)) }
	if p.Patches < 1 {
		bad("patches is %d, want >= 1", p.Patches)
	}
	if p.Select < SelectAttention || p.Select > SelectSaliency {
		bad("unknown selection %v", p.Select)
	}
	if p.Form != FormCode && p.Form != FormPaper {
		bad("unknown form %v", p.Form)
	}
	if p.Conflict != ConflictProject && p.Conflict != ConflictCodeNorm {
		bad("unknown treatment of conflicts %v", p.Conflict)
	}
	if p.Steps < 1 {
		bad("steps is %d, want >= 1", p.Steps)
	}
	if p.Layer < 0 || p.Pixels < 0 {
		bad("layer %d and pixels %d: want >= 0", p.Layer, p.Pixels)
	}
	for _, v := range []struct {
		name  string
		value float64
	}{{"rate", p.Rate}, {"weight", p.Weight}, {"mild L2", p.MildL2}, {"mild Linf", p.MildLinf}} {
		if !(v.value >= 0) || math.IsInf(v.value, 0) {
			bad("%s is %v, want a finite number >= 0", v.name, v.value)
		}
	}
	if p.MildL2 > 0 && p.MildLinf > 0 {
		bad("only one of the mild bounds can be set")
	}
	return errors.Join(errs...)
}

// rate is the learning rate of step i, from 0.
func (p PatchFool) rate(i int) float64 {
	return p.Rate * math.Pow(rateDecay, float64(i/rateEvery))
}

// Run attacks all images x, labelled y, in one batch. x and y are not modified; pixels outside the chosen patches are
// returned bit for bit.
func (p PatchFool) Run(ctx context.Context, model Model, x Batch, y []int64, ids []string, progress Progress) (Result, error) {
	if err := p.Validate(); err != nil {
		return Result{}, err
	}
	r, err := p.begin(ctx, model, x, y, ids)
	if err != nil {
		return Result{}, fmt.Errorf("patchfool: %w", err)
	}
	for i := range p.Steps {
		if err := ctx.Err(); err != nil {
			return Result{}, fmt.Errorf("patchfool step %d: %w", i, err)
		}
		if err := r.step(ctx, i); err != nil {
			return Result{}, fmt.Errorf("patchfool step %d: %w", i, err)
		}
		if progress != nil {
			progress(i+1, p.Steps)
		}
	}
	if r.out.Predicted, err = r.all.predictions(ctx, model, r.out.Adversarial); err != nil {
		return Result{}, fmt.Errorf("patchfool, adversarial images: %w", err)
	}
	for i, class := range r.out.Predicted {
		r.out.Fooled[i] = class != y[i]
	}
	r.out.SaturatedImages, r.out.ZeroGradImages, r.out.NaNReplaced = count(r.seen.saturated), count(r.seen.zeroGrad), r.seen.replaced
	return r.out, nil
}

// patchRun is one call of Run.
type patchRun struct {
	PatchFool
	model     AttentionModel
	shape     AttentionShape
	all       victims
	mean, std []float32
	images    []*patched
	layers    []int
	seen      outcome
	out       Result
}

// patched is one image. Its fields but chosen run over the values inside the patches: pixel after pixel, the channels of
// a pixel one after the other.
type patched struct {
	chosen []int     // numbers of the patches
	places []int     // of the values in the image
	clean  []float32 // normalised
	q      []float32 // the free variable, normalised
	adam   adam
	// Of the sparse variant, one per pixel.
	score     []float32
	scoreAdam adam
	hard      []bool
	channels  int
}

// begin evaluates the clean images, chooses the patches and draws the start.
func (p PatchFool) begin(ctx context.Context, model Model, x Batch, y []int64, ids []string) (*patchRun, error) {
	m, ok := model.(AttentionModel)
	if !ok {
		return nil, errors.New("the model does not give its attention")
	}
	shape, ok := m.Attention()
	if !ok {
		return nil, errors.New("the model does not give its attention; export it with attention")
	}
	if shape.Patch < 1 || shape.Layers < 1 || x.H%shape.Patch != 0 || x.W%shape.Patch != 0 {
		return nil, fmt.Errorf("patches of %d pixels in %d layers do not fill images of %dx%d", shape.Patch, shape.Layers, x.H, x.W)
	}
	if n := (x.H / shape.Patch) * (x.W / shape.Patch); p.Patches > n {
		return nil, fmt.Errorf("%d patches of the %d that an image has", p.Patches, n)
	}
	v, clean, err := newVictims(ctx, model, x, y, ids)
	if err != nil {
		return nil, err
	}
	r := &patchRun{PatchFool: p, model: m, shape: shape, all: v, seen: newOutcome(v),
		out: Result{Adversarial: x.Clone(), Clean: clean, Fooled: make([]bool, x.N), Correct: make([]bool, x.N)}}
	if r.mean, r.std = m.Normalization(); len(r.mean) != x.C || len(r.std) != x.C {
		return nil, fmt.Errorf("the model normalises %d channels, the images have %d", len(r.std), x.C)
	}
	if p.Weight > 0 {
		r.layers = p.Form.layers(shape.Layers)
	}
	for i := range clean {
		r.out.Correct[i] = clean[i] == y[i]
	}
	if p.Select == SelectAttention && p.Layer >= shape.Layers {
		r.out.Warnings = append(r.out.Warnings, fmt.Sprintf("the network has %d layers: patches are chosen by the attention of layer %d, not %d",
			shape.Layers, shape.Layers-1, p.Layer))
	}
	chosen, err := r.choose(ctx)
	if err != nil {
		return nil, fmt.Errorf("choice of patches: %w", err)
	}
	for i := range x.N {
		r.images = append(r.images, r.start(i, chosen[i]))
		r.compose(i)
	}
	return r, nil
}

// choose returns the numbers of the patches of each image.
func (r *patchRun) choose(ctx context.Context) ([][]int, error) {
	x := r.all.x
	columns := x.W / r.shape.Patch
	total := (x.H / r.shape.Patch) * columns
	chosen := make([][]int, x.N)
	var scores []float32
	switch r.Select {
	case SelectRandom:
		for i := range chosen {
			chosen[i] = rng.New(r.Seed, r.Name()+" patches", rng.ID(r.all.id(i))).Perm(total)[:r.Patches]
		}
		return chosen, nil
	case SelectAttention:
		var err error
		if scores, err = r.model.AttentionScores(ctx, x, min(r.Layer, r.shape.Layers-1)); err != nil {
			return nil, err
		}
	case SelectSaliency:
		g, _, err := r.differentiator().at(ctx, r.all, x, nil)
		if err != nil {
			return nil, err
		}
		scores = make([]float32, x.N*total)
		for at, v := range g.Pixels {
			i, row, column := at/(x.C*x.H*x.W), at/x.W%x.H, at%x.W
			scores[i*total+row/r.shape.Patch*columns+column/r.shape.Patch] += max(v, -v)
		}
	}
	if len(scores) != x.N*total {
		return nil, fmt.Errorf("%d scores for %d images with %d patches", len(scores), x.N, total)
	}
	order := make([]int, total)
	for i := range chosen {
		of := scores[i*total : (i+1)*total]
		for j := range order {
			order[j] = j
		}
		slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(of[b], of[a]) })
		chosen[i] = slices.Clone(order[:r.Patches])
	}
	return chosen, nil
}

func (r *patchRun) differentiator() differentiator {
	places := make([]int, r.all.x.N)
	for i := range places {
		places[i] = i
	}
	return differentiator{r.model, CrossEntropy, r.ZeroNaN, &r.seen, places}
}

// start draws the first content of an image's patches.
func (r *patchRun) start(i int, chosen []int) *patched {
	x := r.all.x
	p := &patched{chosen: chosen, channels: x.C}
	side, columns := r.shape.Patch, x.W/r.shape.Patch
	for _, patch := range chosen {
		for row := patch / columns * side; row < (patch/columns+1)*side; row++ {
			for column := patch % columns * side; column < (patch%columns+1)*side; column++ {
				for c := range x.C {
					p.places = append(p.places, (c*x.H+row)*x.W+column)
				}
			}
		}
	}
	image := x.Image(i)
	draw := rng.New(r.Seed, r.Name(), 0, rng.ID(r.all.id(i)))
	p.clean, p.q = make([]float32, len(p.places)), make([]float32, len(p.places))
	for k, place := range p.places {
		c := k % x.C
		p.clean[k] = r.normalise(image[place], c)
		if r.MildLinf > 0 {
			p.q[k] = p.clean[k] + float32((2*draw.Float64()-1)*r.MildLinf)/r.std[c]
		} else {
			p.q[k] = r.normalise(draw.Float32(), c)
		}
		p.q[k] = min(max(p.q[k], r.normalise(0, c)), r.normalise(1, c))
	}
	p.adam = newAdam(len(p.q))
	p.hard = make([]bool, len(p.q)/x.C)
	for k := range p.hard {
		p.hard[k] = true
	}
	if r.Pixels > 0 {
		p.score = make([]float32, len(p.hard))
		for k := range p.score {
			p.score[k] = draw.Float32()
		}
		p.scoreAdam = newAdam(len(p.score))
		p.harden(r.Pixels)
	}
	return p
}

func (r *patchRun) normalise(v float32, channel int) float32 {
	return float32(float32(v-r.mean[channel]) / r.std[channel])
}

// harden lets the pixels with the largest scores change: at most n, and those whose score equals the n-th.
func (p *patched) harden(n int) {
	if n >= len(p.score) {
		return
	}
	sorted := slices.Clone(p.score)
	slices.Sort(sorted)
	threshold := sorted[len(sorted)-n]
	for k, s := range p.score {
		p.hard[k] = s >= threshold
	}
}

// compose puts the content of the patches into the adversarial image, in pixel space.
func (r *patchRun) compose(i int) {
	p, adv, clean := r.images[i], r.out.Adversarial.Image(i), r.all.x.Image(i)
	for k, place := range p.places {
		c := k % p.channels
		if !p.hard[k/p.channels] {
			adv[place] = clean[place]
			continue
		}
		adv[place] = clamp01(float32(float32(p.q[k]*r.std[c]) + r.mean[c]))
	}
}

// step looks at the images as they are and moves their patches.
func (r *patchRun) step(ctx context.Context, i int) error {
	adv := r.out.Adversarial
	var ce Gradient
	var attention [][]float32
	var err error
	if len(r.layers) == 0 {
		ce, _, err = r.differentiator().at(ctx, r.all, adv, nil)
	} else {
		chosen := make([][]int, len(r.images))
		for k, p := range r.images {
			chosen[k] = p.chosen
		}
		d := r.differentiator()
		d.model = attentive{r.model, chosen, r.Form, r.layers, &attention}
		ce, _, err = d.at(ctx, r.all, adv, nil)
	}
	if err != nil {
		return err
	}
	size := adv.C * adv.H * adv.W
	for k, p := range r.images {
		of := func(g []float32) []float32 { return p.inside(g[k*size:(k+1)*size], r.std) }
		ceGrad := of(ce.Pixels)
		var layers [][]float32
		for _, g := range attention {
			if _, _, err := vetGradient(g[k*size:(k+1)*size], r.all.id(k), r.ZeroNaN); err != nil {
				return fmt.Errorf("attention: %w", err)
			}
			layers = append(layers, of(g))
		}
		r.move(p, r.combine(p, ceGrad, layers), i)
		r.compose(k)
	}
	return nil
}

// attentive is an AttentionModel whose LossGrad leaves the gradients of the attention objectives in place of nothing, so
// that the cross-entropy's is looked after as everywhere.
type attentive struct {
	AttentionModel
	chosen [][]int
	form   AttentionForm
	layers []int
	out    *[][]float32
}

func (a attentive) LossGrad(ctx context.Context, x Batch, y, _ []int64, _ Loss) (g Gradient, err error) {
	g, *a.out, err = a.AttentionGrad(ctx, x, y, a.chosen, a.form, a.layers)
	if err == nil && len(*a.out) != len(a.layers) {
		err = fmt.Errorf("%d gradients of %d layers", len(*a.out), len(a.layers))
	}
	for _, layer := range *a.out {
		if len(layer) != len(x.Pixels) {
			return g, fmt.Errorf("an attention gradient has %d entries for %d pixels", len(layer), len(x.Pixels))
		}
	}
	return g, err
}

// inside takes the gradient of an image with respect to pixels, and returns that with respect to the normalised values
// inside the patches.
func (p *patched) inside(g, std []float32) []float32 {
	out := make([]float32, len(p.places))
	for k, place := range p.places {
		out[k] = float32(g[place] * std[k%p.channels])
	}
	return out
}

// combine adds the attention gradients to that of the cross-entropy, c, without what points against it.
func (r *patchRun) combine(p *patched, c []float32, layers [][]float32) []float32 {
	total := slices.Clone(c)
	cc := p.dot(c, c)
	for _, g := range layers {
		along := 0.0
		if gc := p.dot(g, c); gc < 0 && cc > 0 {
			switch r.Conflict {
			case ConflictProject:
				along = gc / cc
			case ConflictCodeNorm:
				along = gc / math.Sqrt(cc)
			}
		}
		for k := range total {
			total[k] += float32(r.Weight * (float64(g[k]) - along*float64(c[k])))
		}
	}
	return total
}

// dot is over what may change.
func (p *patched) dot(a, b []float32) float64 {
	sum := 0.0
	for k := range a {
		if p.hard[k/p.channels] {
			sum += float64(a[k]) * float64(b[k])
		}
	}
	return sum
}

// move climbs along the gradient g with respect to the normalised input and goes back into the bounds.
func (r *patchRun) move(p *patched, g []float32, step int) {
	descent := make([]float32, len(g))
	for k := range g {
		if p.hard[k/p.channels] {
			descent[k] = -g[k]
		}
	}
	if r.Pixels > 0 && float64(step) < scoreShare*float64(r.Steps) {
		p.moveScores(g, r.Pixels)
	}
	p.adam.step(p.q, descent, r.rate(step))
	switch {
	case r.MildL2 > 0:
		p.shorten(r.MildL2, r.std)
	case r.MildLinf > 0:
		for k, v := range p.q {
			bound := float32(r.MildLinf) / r.std[k%p.channels]
			p.q[k] = min(max(v, p.clean[k]-bound), p.clean[k]+bound)
		}
	}
	for k, v := range p.q {
		c := k % p.channels
		p.q[k] = min(max(v, r.normalise(0, c)), r.normalise(1, c))
	}
}

// shorten brings the change of every channel back to the length r in pixel space.
func (p *patched) shorten(r float64, std []float32) {
	for c := range p.channels {
		sum := 0.0
		for k := c; k < len(p.q); k += p.channels {
			if p.hard[k/p.channels] {
				d := float64(p.q[k]) - float64(p.clean[k])
				sum += d * d
			}
		}
		bound := r / float64(std[c])
		if length := math.Sqrt(sum); length > bound {
			for k := c; k < len(p.q); k += p.channels {
				p.q[k] = p.clean[k] + float32((float64(p.q[k])-float64(p.clean[k]))*bound/length)
			}
		}
	}
}

// moveScores is the step of the sparse variant: input = clean + hard*(q - clean), differentiated as if the hard mask were
// the score.
func (p *patched) moveScores(g []float32, n int) {
	descent := make([]float32, len(p.score))
	for k := range g {
		descent[k/p.channels] -= float32(g[k] * float32(p.q[k]-p.clean[k]))
	}
	p.scoreAdam.step(p.score, descent, scoreRate)
	least := slices.Min(p.score)
	for k := range p.score {
		p.score[k] = float32(p.score[k]-least) + scoreFloor
	}
	p.harden(n)
}

// adam is the optimiser of Kingma and Ba (ICLR 2015), rounded to float32 where PyTorch rounds.
type adam struct {
	m, v []float32
	t    int
}

func newAdam(n int) adam { return adam{m: make([]float32, n), v: make([]float32, n)} }

func (a *adam) step(w, g []float32, rate float64) {
	a.t++
	step := float32(rate / (1 - math.Pow(beta1, float64(a.t))))
	correction := float32(math.Sqrt(1 - math.Pow(beta2, float64(a.t))))
	for k := range w {
		a.m[k] += float32(float32(g[k]-a.m[k]) * float32(1-beta1))
		a.v[k] = float32(float32(a.v[k]*float32(beta2)) + float32(float32(g[k]*g[k])*float32(1-beta2)))
		denominator := float32(float32(float32(math.Sqrt(float64(a.v[k])))/correction) + adamEps)
		w[k] -= float32(step * float32(a.m[k]/denominator))
	}
}
