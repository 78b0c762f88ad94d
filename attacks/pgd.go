package attacks

import (
	"context"
	"errors"
	"fmt"
	"math"
)

// Norm is the norm of the ball that a perturbation may not leave.
type Norm int

const (
	Linf Norm = iota // largest absolute change of a pixel
	L2               // Euclidean length over the C*H*W pixels of an image
)

// String returns the word used in files and messages.
func (n Norm) String() string {
	switch n {
	case Linf:
		return "Linf"
	case L2:
		return "L2"
	default:
		return fmt.Sprintf("Norm(%d)", int(n))
	}
}

// Select says which of the iterates x_0, ..., x_T an attack returns.
type Select int

const (
	// Last returns x_T.
	Last Select = iota
	// BestLoss returns, per image, the iterate of largest loss (smallest in a targeted run), the earliest of equals.
	BestLoss
	// FirstFooled returns, per image, the first iterate that fools, and x_T if none does. The attack spends nothing
	// on an image after that. It transfers worst of the three.
	FirstFooled
)

// String returns the word used in files and messages.
func (s Select) String() string {
	switch s {
	case Last:
		return "last"
	case BestLoss:
		return "best-loss"
	case FirstFooled:
		return "first-fooled"
	default:
		return fmt.Sprintf("Select(%d)", int(s))
	}
}

// PGD is projected gradient descent (Madry et al. 2018). Epsilon and StepSize are in pixel space; other units of the
// step are the caller's to resolve. Both are rounded to float32 where they meet pixels.
type PGD struct {
	Norm        Norm
	Epsilon     float64 // radius of the ball
	StepSize    float64 // alpha
	Steps       int     // T, gradient evaluations per restart
	RandomStart bool    // x_0 is drawn from the ball instead of being x
	Restarts    int     // >= 1; more than one needs RandomStart, or all would be equal
	Target      Target  // Untargeted: away from the label; else towards a class
	Select      Select
	Loss        Loss    // CrossEntropy, DLR or Margin
	Momentum    float64 // decay of the accumulated, L1-normalised gradient; 0 is plain PGD
	Seed        uint64  // of the random starts and random targets
	// NormalizedStep: StepSize is in units of the normalised image, so in pixel space StepSize times the standard deviation
	// of the channel that the model divides by. Only in L-infinity, and the model must be Normalized.
	NormalizedStep bool
	ZeroNaN        bool // replace NaN gradient entries by 0 and count them, instead of stopping
}

// Defaults returns the settings of the SAT paper: L-infinity, epsilon 8/255, 50 steps, step ("learning rate") 0.1 in
// pixel units, no random start, last iterate.
func Defaults() PGD {
	return PGD{Norm: Linf, Epsilon: 8.0 / 255, StepSize: 0.1, Steps: 50, Restarts: 1, Select: Last, Loss: CrossEntropy}
}

// Normalized is a Model that says how it normalises the pixels of each channel: (x - mean) / std.
type Normalized interface {
	Normalization() (mean, std []float32)
}

// Name is pgd or pgd-l2.
func (p PGD) Name() string {
	if p.Norm == L2 {
		return "pgd-l2"
	}
	return "pgd"
}

// Cost is one gradient per step and two looks at logits, at the clean images and at the result.
func (p PGD) Cost() Cost { return Cost{Forwards: 2, Gradients: p.Steps * max(p.Restarts, 1)} }

// Parameters implements Attacker.
func (p PGD) Parameters() map[string]any {
	m := map[string]any{
		"norm": p.Norm.String(), "epsilon": p.Epsilon, "step_size": p.StepSize, "steps": p.Steps, "random_start": p.RandomStart,
		"restarts": p.Restarts, "select": p.Select.String(), "loss": p.Loss.String(), "momentum": p.Momentum,
		"target": p.Target.String(), "nan": nanWord(p.ZeroNaN), "normalized_step": p.NormalizedStep,
	}
	if p.RandomStart || p.Target == TargetRandom {
		m["seed"] = p.Seed
	}
	return m
}

// Validate reports every setting that has no meaning, all at once.
func (p PGD) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("pgd: "+format, args...)) }
	if p.Norm != Linf && p.Norm != L2 {
		bad("unknown norm %v", p.Norm)
	}
	if !(p.Epsilon >= 0) || math.IsInf(p.Epsilon, 0) {
		bad("epsilon is %v, want a finite number >= 0", p.Epsilon)
	}
	if !(p.StepSize >= 0) || math.IsInf(p.StepSize, 0) {
		bad("step size is %v, want a finite number >= 0", p.StepSize)
	}
	if p.Steps < 0 {
		bad("steps is %d, want >= 0", p.Steps)
	}
	if p.Restarts < 1 {
		bad("restarts is %d, want >= 1", p.Restarts)
	}
	if p.Restarts > 1 && !p.RandomStart {
		bad("%d restarts without random start would repeat one attack", p.Restarts)
	}
	if p.Select != Last && p.Select != BestLoss && p.Select != FirstFooled {
		bad("unknown selection %v", p.Select)
	}
	if p.Loss != CrossEntropy && p.Loss != DLR && p.Loss != Margin {
		bad("loss %v: want %v, %v or %v", p.Loss, CrossEntropy, DLR, Margin)
	}
	if !(p.Momentum >= 0) || math.IsInf(p.Momentum, 0) {
		bad("momentum is %v, want a finite number >= 0", p.Momentum)
	}
	if p.Target < Untargeted || p.Target > TargetRunnerUp {
		bad("unknown target %v", p.Target)
	}
	if p.NormalizedStep && p.Norm == L2 {
		bad("a step in units of the normalised image has no length in L2")
	}
	return errors.Join(errs...)
}

// Run attacks the images x, labelled y (or, with TargetGiven, to be led to y), all in one batch. ids names the images:
// random starts are keyed by (seed, attack, restart, id), never by position, and errors quote them. x and y are not
// modified.
//
// Besides Steps gradients per restart it costs one forward pass over the clean images, before anything else, which
// checks labels and logits and fills Correct, and one per restart over the last iterates, which fills Predicted.
func (p PGD) Run(ctx context.Context, model Model, x Batch, y []int64, ids []string, progress Progress) (Result, error) {
	return p.run(ctx, model, x, x, y, ids, progress)
}

// RunFrom is Run started at the iterates start instead of at x: Steps further steps about the clean images x. PGD
// without momentum that is stopped after any step and continued from the images it had ends with the same bits. It
// takes one restart and no random start.
func (p PGD) RunFrom(ctx context.Context, model Model, x, start Batch, y []int64, ids []string, progress Progress) (Result, error) {
	if p.RandomStart || p.Restarts > 1 {
		return Result{}, errors.New("pgd: a given start excludes random start and restarts")
	}
	if start.N != x.N || start.C != x.C || start.H != x.H || start.W != x.W || len(start.Pixels) != len(x.Pixels) {
		return Result{}, fmt.Errorf("pgd: start is %dx%dx%dx%d, the images are %dx%dx%dx%d",
			start.N, start.C, start.H, start.W, x.N, x.C, x.H, x.W)
	}
	return p.run(ctx, model, x, start, y, ids, progress)
}

func (p PGD) run(ctx context.Context, model Model, x, start Batch, y []int64, ids []string, progress Progress) (Result, error) {
	if err := p.Validate(); err != nil {
		return Result{}, err
	}
	if err := CheckInputs(x, y, ids); err != nil {
		return Result{}, fmt.Errorf("pgd: %w", err)
	}
	logits, err := model.Logits(ctx, x)
	if err != nil {
		return Result{}, fmt.Errorf("pgd, clean images: %w", err)
	}
	clean, err := predict(logits, x.N, ids, nil)
	if err != nil {
		return Result{}, fmt.Errorf("pgd, clean images: %w", err)
	}
	classes := len(logits) / x.N
	if err := CheckLabels(y, ids, classes); err != nil {
		return Result{}, fmt.Errorf("pgd: %w", err)
	}
	if classes < p.Loss.Classes() {
		return Result{}, fmt.Errorf("pgd: loss %v needs %d classes, the model has %d", p.Loss, p.Loss.Classes(), classes)
	}
	r := newPGDRun(p, model, x, start, y, ids, progress)
	r.out.Clean = clean
	if r.out.Targets, err = p.Target.choose(logits, y, ids, p.Seed); err != nil {
		return Result{}, fmt.Errorf("pgd: %w", err)
	}
	if p.Target != Untargeted {
		r.y = r.out.Targets
	}
	if r.stepSizes, err = p.channelSteps(model, x.C); err != nil {
		return Result{}, fmt.Errorf("pgd: %w", err)
	}
	for i := range clean {
		r.out.Correct[i] = clean[i] == y[i]
		r.loss[i] = math.Inf(-1)
	}
	for restart := range p.Restarts {
		if err := r.restart(ctx, start, restart); err != nil {
			return Result{}, err
		}
	}
	return r.result(), nil
}

// channelSteps are the steps in pixel space, one per channel.
func (p PGD) channelSteps(model Model, channels int) ([]float32, error) {
	steps := make([]float32, channels)
	for c := range steps {
		steps[c] = float32(p.StepSize)
	}
	if !p.NormalizedStep {
		return steps, nil
	}
	m, ok := model.(Normalized)
	if !ok {
		return nil, errors.New("a step in units of the normalised image needs a model that says how it normalises")
	}
	_, std := m.Normalization()
	if len(std) != channels {
		return nil, fmt.Errorf("the model normalises %d channels, the images have %d", len(std), channels)
	}
	for c := range steps {
		steps[c] = float32(p.StepSize * float64(std[c]))
	}
	return steps, nil
}

// pgdRun is one call of Run. Per-image state is indexed by the position in the input.
type pgdRun struct {
	PGD
	model     Model
	x         Batch
	y         []int64 // labels to leave or classes to reach
	ids       []string
	progress  Progress
	stepSizes []float32 // in pixel space, by channel

	out                 Result
	loss                []float64 // s times the loss of the image kept in out, for BestLoss
	saturated, zeroGrad []bool
}

func newPGDRun(p PGD, model Model, x, start Batch, y []int64, ids []string, progress Progress) *pgdRun {
	if progress == nil {
		progress = func(int, int) {}
	}
	return &pgdRun{
		PGD: p, model: model, x: x, y: y, ids: ids, progress: progress,
		out: Result{Adversarial: start.Clone(), Predicted: make([]int64, x.N), Fooled: make([]bool, x.N),
			Correct: make([]bool, x.N)},
		loss: make([]float64, x.N), saturated: make([]bool, x.N), zeroGrad: make([]bool, x.N),
	}
}

// result completes the counts.
func (r *pgdRun) result() Result {
	r.out.SaturatedImages, r.out.ZeroGradImages = count(r.saturated), count(r.zeroGrad)
	return r.out
}

// restart runs T steps on the images that still need it and keeps what the selection asks for.
func (r *pgdRun) restart(ctx context.Context, start Batch, restart int) error {
	a, err := r.steps(ctx, start, restart)
	if err != nil {
		return err
	}
	if a.x.N > 0 {
		if err := r.last(ctx, a, restart); err != nil {
			return fmt.Errorf("pgd, last iterate: %w", err)
		}
	}
	r.progress((restart+1)*r.Steps, r.Restarts*r.Steps)
	return nil
}

// steps runs T steps on the images that still need it and returns those that are active after them, with x_T.
func (r *pgdRun) steps(ctx context.Context, start Batch, restart int) (*active, error) {
	a := newActive(r.x, start, r.y, r.Momentum > 0)
	if restart > 0 && r.Select != BestLoss {
		a.drop(func(k int) bool { return r.out.Fooled[a.index[k]] }, nil)
	}
	if r.RandomStart {
		r.randomStart(a, restart)
	}
	one := func() error { return r.step(ctx, a) }
	resident, err := r.startResident(ctx, a)
	if err != nil {
		return nil, fmt.Errorf("pgd: %w", err)
	}
	if resident != nil {
		defer resident.Close()
		one = func() error { return r.residentStep(ctx, a, resident) }
	}
	for step := range r.Steps {
		if a.x.N == 0 {
			break
		}
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("pgd step %d: %w", step, err)
		}
		if err := one(); err != nil {
			return nil, fmt.Errorf("pgd step %d: %w", step, err)
		}
		r.progress(restart*r.Steps+step+1, r.Restarts*r.Steps)
	}
	if resident != nil {
		if a.adv.Pixels, err = resident.Images(ctx); err != nil {
			return nil, fmt.Errorf("pgd, last iterate: %w", err)
		}
	}
	return a, nil
}

// step looks at x_t (a.adv), keeps it where the selection says so, and replaces it by x_{t+1}.
func (r *pgdRun) step(ctx context.Context, a *active) error {
	g, err := r.model.LossGrad(ctx, a.adv, a.y, nil, r.Loss)
	if err != nil {
		return err
	}
	if len(g.Pixels) != len(a.adv.Pixels) {
		return fmt.Errorf("gradient has %d entries for %d pixels", len(g.Pixels), len(a.adv.Pixels))
	}
	predicted, err := predict(g.Logits, a.x.N, r.ids, a.index)
	if err != nil {
		return err
	}
	if err := r.inspect(a, g); err != nil {
		return err
	}
	switch r.Select {
	case BestLoss:
		r.keepLarger(a, predicted, g.Logits)
	case FirstFooled:
		r.keepFooled(a, predicted)
		a.drop(func(k int) bool { return r.out.Fooled[a.index[k]] }, g.Pixels)
	}
	direction := g.Pixels[:len(a.adv.Pixels)]
	if r.Momentum > 0 {
		accumulate(a, direction, float32(r.Momentum))
		direction = a.momentum
	}
	switch r.Norm {
	case Linf:
		r.stepLinf(a, direction)
	case L2:
		stepL2(a, direction, float32(r.StepSize), float32(r.Epsilon), r.Target != Untargeted)
	}
	return nil
}

// stepLinf steps the active images, channel by channel where the steps differ.
func (r *pgdRun) stepLinf(a *active, direction []float32) {
	eps, descend := float32(r.Epsilon), r.Target != Untargeted
	if !r.NormalizedStep {
		stepLinf(a.adv.Pixels, a.x.Pixels, direction, r.stepSizes[0], eps, descend)
		return
	}
	plane := a.x.H * a.x.W
	for k := range a.x.N * a.x.C {
		from, to := k*plane, (k+1)*plane
		stepLinf(a.adv.Pixels[from:to], a.x.Pixels[from:to], direction[from:to], r.stepSizes[k%a.x.C], eps, descend)
	}
}

// last evaluates x_T of the images still active.
func (r *pgdRun) last(ctx context.Context, a *active, restart int) error {
	logits, err := r.model.Logits(ctx, a.adv)
	if err != nil {
		return err
	}
	predicted, err := predict(logits, a.x.N, r.ids, a.index)
	if err != nil {
		return err
	}
	switch {
	case r.Select == BestLoss:
		r.keepLarger(a, predicted, logits)
	case restart == 0:
		for k := range predicted {
			r.keep(a, k, predicted[k])
		}
	default: // the first success stays, and without one the result of restart 0
		r.keepFooled(a, predicted)
	}
	return nil
}

// keep makes the current iterate of active image k its result.
func (r *pgdRun) keep(a *active, k int, predicted int64) {
	i := a.index[k]
	copy(r.out.Adversarial.Image(i), a.adv.Image(k))
	r.out.Predicted[i] = predicted
	r.out.Fooled[i] = r.fools(predicted, a.y[k])
}

func (r *pgdRun) fools(predicted, y int64) bool {
	return (predicted == y) == (r.Target != Untargeted)
}

// keepFooled keeps the current iterate of every active image that fools the model.
func (r *pgdRun) keepFooled(a *active, predicted []int64) {
	for k, class := range predicted {
		if r.fools(class, a.y[k]) {
			r.keep(a, k, class)
		}
	}
}

// keepLarger keeps the current iterate of every active image whose loss is strictly the largest so far. Losses are
// computed here, in float64, for all iterates alike: the last one has logits only.
func (r *pgdRun) keepLarger(a *active, predicted []int64, logits []float32) {
	classes := len(logits) / a.x.N
	for k, i := range a.index {
		loss := r.Loss.value(logits[k*classes:(k+1)*classes], a.y[k], 0)
		if r.Target != Untargeted {
			loss = -loss
		}
		if loss > r.loss[i] {
			r.loss[i] = loss
			r.keep(a, k, predicted[k])
		}
	}
}

// inspect counts saturated and motionless images and stops at gradients that are not finite.
func (r *pgdRun) inspect(a *active, g Gradient) error {
	classes := len(g.Logits) / a.x.N
	size := a.x.C * a.x.H * a.x.W
	for k, i := range a.index {
		if saturated(g.Logits[k*classes:(k+1)*classes], a.y[k]) {
			r.saturated[i] = true
		}
		moves, replaced, err := vetGradient(g.Pixels[k*size:(k+1)*size], r.ids[i], r.ZeroNaN)
		if err != nil {
			return err
		}
		r.out.NaNReplaced += replaced
		if !moves {
			r.zeroGrad[i] = true
		}
	}
	return nil
}
