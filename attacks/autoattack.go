package attacks

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Survivors says what AutoAttack returns for images that all four attacks leave correctly classified.
type Survivors int

const (
	// SurvivorsClean returns the clean image, as the reference does.
	SurvivorsClean Survivors = iota
	// SurvivorsBestLoss returns the image of largest cross-entropy that APGD-CE saw: a stronger sample for transfer.
	SurvivorsBestLoss
)

// String returns the word used in files and messages.
func (s Survivors) String() string {
	switch s {
	case SurvivorsClean:
		return "clean"
	case SurvivorsBestLoss:
		return "best-loss"
	default:
		return fmt.Sprintf("Survivors(%d)", int(s))
	}
}

// AutoAttack is the standard version of AutoAttack (Croce and Hein, ICML 2020): APGD on the cross-entropy, APGD on the
// targeted DLR loss, FAB-T and Square, each on the images that the ones before left robust, always from the clean image.
type AutoAttack struct {
	Norm       Norm
	Epsilon    float64 // radius of the ball, in pixel space
	Batch      int     // images per call of an attack; 0: all that are left, in one batch
	Steps      int     // of APGD and FAB
	Targets    int     // of APGD-T and FAB-T
	Queries    int     // of Square
	Survivors  Survivors
	Seed       uint64
	Randomness Randomness
	ZeroNaN    bool // replace NaN gradient entries by 0 and count them, instead of stopping
}

// DefaultAutoAttack returns the standard version at L-infinity 8/255.
func DefaultAutoAttack() AutoAttack {
	return AutoAttack{Norm: Linf, Epsilon: 8.0 / 255, Steps: 100, Targets: 9, Queries: 5000}
}

// StageNames are the attacks in their order.
var StageNames = [...]string{"apgd-ce", "apgd-t", "fab-t", "square"}

// Validate reports every setting that has no meaning, all at once.
func (a AutoAttack) Validate() error {
	var errs []error
	if a.Batch < 0 {
		errs = append(errs, fmt.Errorf("batch of %d images", a.Batch))
	}
	if a.Survivors != SurvivorsClean && a.Survivors != SurvivorsBestLoss {
		errs = append(errs, fmt.Errorf("unknown policy for survivors: %v", a.Survivors))
	}
	ce, targeted, fab, square := a.attacks()
	errs = append(errs, ce.Validate(), targeted.Validate(), fab.Validate(), square.Validate())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("autoattack: %w", err)
	}
	return nil
}

// attacks returns the four with their settings.
func (a AutoAttack) attacks() (ce, targeted APGD, fab FAB, square Square) {
	ce = DefaultAPGD()
	ce.Norm, ce.Epsilon, ce.Steps, ce.Seed, ce.Randomness, ce.ZeroNaN = a.Norm, a.Epsilon, a.Steps, a.Seed, a.Randomness, a.ZeroNaN
	targeted = ce
	targeted.Loss, targeted.Targets = TargetedDLR, a.Targets
	fab = DefaultFAB()
	fab.Norm, fab.Epsilon, fab.Steps, fab.Targets, fab.ZeroNaN = a.Norm, a.Epsilon, a.Steps, a.Targets, a.ZeroNaN
	square = DefaultSquare()
	square.Norm, square.Epsilon, square.Queries, square.Seed, square.Randomness = a.Norm, a.Epsilon, a.Queries, a.Seed, a.Randomness
	return ce, targeted, fab, square
}

// Stage is one of the four attacks, finished.
type Stage struct {
	Name   string
	Robust []bool // by image: correctly classified in spite of this and all earlier attacks
}

// AutoAttackState is a run between two batches. It is plain data: saved in any exact form (encoding/json will do) and
// given back to Run with the same settings, model and images, it leads to the same bytes as an uninterrupted run.
type AutoAttackState struct {
	Stages      []Stage // finished
	Next        int     // the stage under way has attacked its images before this one
	Correct     []bool  // clean predictions
	Robust      []bool  // so far
	Adversarial Batch   // so far
	Predicted   []int64 // on Adversarial
	Saturated   []bool  // images whose float32 probability of y was exactly 1 at some step
	ZeroGrad    []bool  // images whose whole gradient was 0 at some step
	NaNReplaced int
}

// AutoAttackOptions are the optional parts of a run; each may be left out.
type AutoAttackOptions struct {
	Resume *AutoAttackState // not modified
	// Checkpoint is called after every batch of every attack; an error ends the run. The state changes after the next
	// batch only: what the last call got is still true when the run ends early.
	Checkpoint func(s *AutoAttackState) error
	// Progress is told the stage and how much of its work is done, in steps times images.
	Progress func(stage string, done, total int)
}

// Name is autoattack.
func (a AutoAttack) Name() string { return "autoattack" }

// survivingShare is the share of images that costs are estimated with: networks trained in the usual way lose nearly all
// their images to APGD-CE.
const survivingShare = 0.02

// Cost assumes that APGD-CE leaves one image in fifty to the other three attacks.
func (a AutoAttack) Cost() Cost {
	weights := a.weights()
	cost := weights[0]
	for _, w := range weights[1:] {
		cost.Forwards += int(survivingShare * float64(w.Forwards))
		cost.Gradients += int(survivingShare * float64(w.Gradients))
	}
	return cost
}

// weights are the costs of the four attacks for an image that withstands them.
func (a AutoAttack) weights() [len(StageNames)]Cost {
	ce, targeted, fab, square := a.attacks()
	return [...]Cost{ce.Cost(), targeted.Cost(), fab.Cost(), square.Cost()}
}

// Parameters implements Attacker.
func (a AutoAttack) Parameters() map[string]any {
	return map[string]any{
		"norm": a.Norm.String(), "epsilon": a.Epsilon, "batch": a.Batch, "steps": a.Steps, "targets": a.Targets,
		"queries": a.Queries, "survivors": a.Survivors.String(), "seed": a.Seed, "rng": a.Randomness.String(),
		"nan": nanWord(a.ZeroNaN),
	}
}

// Run attacks the images x, labelled y. Misclassified images are returned as they are; Survivors says what happens to those
// that withstand.
func (a AutoAttack) Run(ctx context.Context, model Model, x Batch, y []int64, ids []string, progress Progress) (Result, error) {
	return a.RunWith(ctx, model, x, y, ids, AutoAttackOptions{Progress: a.Overall(progress)})
}

// Overall turns progress within stages into progress of the whole, as Cost weighs the stages. Nil is silent.
func (a AutoAttack) Overall(progress Progress) func(stage string, done, total int) {
	if progress == nil {
		return nil
	}
	const gradient = 3 // passes
	weight, sum := map[string]float64{}, 0.0
	for i, w := range a.weights() {
		passes := float64(w.Forwards + gradient*w.Gradients)
		if i > 0 {
			passes *= survivingShare
		}
		weight[StageNames[i]] = passes
		sum += passes
	}
	return func(stage string, done, total int) {
		const fine = 10000
		at := 0.0
		for _, name := range StageNames {
			if name == stage {
				at += weight[name] * float64(done) / float64(max(total, 1))
				break
			}
			at += weight[name]
		}
		progress(int(fine*at/sum), fine)
	}
}

// RunWith is Run that can be interrupted and resumed.
func (a AutoAttack) RunWith(ctx context.Context, model Model, x Batch, y []int64, ids []string, o AutoAttackOptions) (Result, error) {
	if err := a.Validate(); err != nil {
		return Result{}, err
	}
	v, clean, err := newVictims(ctx, model, x, y, ids)
	if err != nil {
		return Result{}, fmt.Errorf("autoattack: %w", err)
	}
	r := autoRun{AutoAttack: a, model: model, all: v, clean: clean, options: o}
	if err := r.begin(); err != nil {
		return Result{}, fmt.Errorf("autoattack: %w", err)
	}
	for len(r.state.Stages) < len(StageNames) {
		name := StageNames[len(r.state.Stages)]
		if err := r.stage(ctx, name); err != nil {
			return Result{}, fmt.Errorf("autoattack, %s: %w", name, err)
		}
	}
	return r.result(), nil
}

// autoRun is one call of Run.
type autoRun struct {
	AutoAttack
	model   Model
	all     victims
	clean   []int64 // predictions
	options AutoAttackOptions
	state   AutoAttackState
}

// begin makes the first state, or takes the one to resume from.
func (r *autoRun) begin() error {
	n := r.all.x.N
	correct := make([]bool, n)
	for i := range correct {
		correct[i] = r.clean[i] == r.all.y[i]
	}
	s := r.options.Resume
	if s == nil {
		r.state = AutoAttackState{Correct: correct, Robust: slices.Clone(correct), Adversarial: r.all.x.Clone(),
			Predicted: slices.Clone(r.clean), Saturated: make([]bool, n), ZeroGrad: make([]bool, n)}
		return nil
	}
	adv := s.Adversarial
	switch {
	case !slices.Equal(s.Correct, correct):
		return errors.New("the saved state has other clean predictions: it is of another model or of other images")
	case len(s.Robust) != n || len(s.Predicted) != n || len(s.Saturated) != n || len(s.ZeroGrad) != n,
		len(s.Stages) > len(StageNames) || s.Next < 0,
		adv.N != n || adv.C != r.all.x.C || adv.H != r.all.x.H || adv.W != r.all.x.W || len(adv.Pixels) != len(r.all.x.Pixels):
		return errors.New("the saved state does not fit the images")
	}
	for i, stage := range s.Stages {
		if stage.Name != StageNames[i] || len(stage.Robust) != n {
			return fmt.Errorf("the saved state has stage %q with %d images where %q with %d belongs",
				stage.Name, len(stage.Robust), StageNames[i], n)
		}
	}
	r.state = *s
	r.state.Stages = slices.Clone(s.Stages)
	r.state.Robust, r.state.Predicted = slices.Clone(s.Robust), slices.Clone(s.Predicted)
	r.state.Saturated, r.state.ZeroGrad = slices.Clone(s.Saturated), slices.Clone(s.ZeroGrad)
	r.state.Adversarial = adv.Clone()
	return nil
}

// stage runs one attack on what is robust, batch by batch in the order of the images. An interrupted stage goes on with the
// same batches: what it has attacked lies before Next, and the flags behind are those it began with.
func (r *autoRun) stage(ctx context.Context, name string) error {
	s := &r.state
	done, total := 0, 0
	for i, robust := range s.Robust {
		if robust && i >= s.Next {
			total++
		}
	}
	for {
		var batch []int
		for i := s.Next; i < r.all.x.N && (r.Batch == 0 || len(batch) < r.Batch); i++ {
			if s.Robust[i] {
				batch = append(batch, i)
			}
		}
		if len(batch) == 0 {
			break
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		v, _ := r.all.pick(func(i int) bool { _, in := slices.BinarySearch(batch, i); return in })
		progress := func(step, steps int) {
			if r.options.Progress != nil {
				r.options.Progress(name, done*steps+step*len(batch), total*steps)
			}
		}
		if err := r.batch(ctx, name, v, progress); err != nil {
			return fmt.Errorf("images %d to %d: %w", batch[0], batch[len(batch)-1], err)
		}
		done += len(batch)
		s.Next = batch[len(batch)-1] + 1
		if err := r.checkpoint(); err != nil {
			return err
		}
	}
	s.Stages = append(s.Stages, Stage{Name: name, Robust: slices.Clone(s.Robust)})
	s.Next = 0
	return r.checkpoint()
}

func (r *autoRun) checkpoint() error {
	if r.options.Checkpoint == nil {
		return nil
	}
	if err := r.options.Checkpoint(&r.state); err != nil {
		return fmt.Errorf("save the state: %w", err)
	}
	return nil
}

// batch attacks v and books the result.
func (r *autoRun) batch(ctx context.Context, name string, v victims, progress Progress) error {
	out, err := r.attack(ctx, name, v, progress)
	if err != nil {
		return err
	}
	predicted, err := v.predictions(ctx, r.model, out.adv)
	if err != nil {
		return fmt.Errorf("adversarial images: %w", err)
	}
	s := &r.state
	s.NaNReplaced += out.replaced
	for k, i := range v.index {
		s.Saturated[i] = s.Saturated[i] || out.saturated[k]
		s.ZeroGrad[i] = s.ZeroGrad[i] || out.zeroGrad[k]
		switch {
		case predicted[k] != v.y[k]:
			s.Robust[i], s.Predicted[i] = false, predicted[k]
			copy(s.Adversarial.Image(i), out.adv.Image(k))
		case name == StageNames[0] && r.Survivors == SurvivorsBestLoss: // later successes overwrite it
			copy(s.Adversarial.Image(i), out.best.Image(k))
		}
	}
	return nil
}

func (r *autoRun) attack(ctx context.Context, name string, v victims, progress Progress) (outcome, error) {
	ce, targeted, fab, square := r.attacks()
	switch name {
	case "apgd-ce":
		return ce.attack(ctx, name, r.model, v, progress)
	case "apgd-t":
		targeted.Loss = secondLoss(v.classes())
		return targeted.attack(ctx, name, r.model, v, progress)
	case "fab-t":
		return fab.attack(ctx, r.model, v, progress)
	default:
		return square.attack(ctx, r.model, v, progress)
	}
}

// secondLoss is the loss of the stage apgd-t. With fewer than four classes the targeted DLR loss does not exist.
func secondLoss(classes int) Loss {
	for _, loss := range []Loss{TargetedDLR, DLR} {
		if classes >= loss.Classes() {
			return loss
		}
	}
	return CrossEntropy
}

func (r *autoRun) result() Result {
	s, n := &r.state, r.all.x.N
	out := Result{
		Adversarial: s.Adversarial, Clean: r.clean, Predicted: s.Predicted, Fooled: make([]bool, n), Correct: s.Correct,
		Stages: s.Stages, SaturatedImages: count(s.Saturated), ZeroGradImages: count(s.ZeroGrad), NaNReplaced: s.NaNReplaced,
	}
	for i := range n {
		out.Fooled[i] = s.Predicted[i] != r.all.y[i]
	}
	warn := func(format string, args ...any) { out.Warnings = append(out.Warnings, fmt.Sprintf(format, args...)) }
	classes := r.all.classes()
	if loss := secondLoss(classes); loss != TargetedDLR {
		warn("with %d classes there is no targeted DLR loss: stage apgd-t climbs the loss %v instead", classes, loss)
	}
	if classes-1 < r.Targets {
		warn("with %d classes there are %d targets, not %d", classes, classes-1, r.Targets)
	}
	if out.ZeroGradImages > 0 {
		warn("%d of %d images had a gradient of exactly 0 at some step: attacks by gradients may overrate the model",
			out.ZeroGradImages, n)
	}
	const suspicious = 0.002 // of all images; the reference's figure
	if gain := count(s.Stages[2].Robust) - count(s.Stages[3].Robust); float64(gain) > suspicious*float64(n) {
		warn("square fooled %d images that no gradient attack could: gradients of this model mislead", gain)
	}
	return out
}
