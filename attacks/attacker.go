package attacks

import (
	"context"
	"fmt"
)

// Attacker is an attack with its settings: PGD, APGD, FAB, Square, AutoAttack or PatchFool.
type Attacker interface {
	// Name is the word for the attack in files and messages.
	Name() string
	// Validate reports every setting that has no meaning, all at once.
	Validate() error
	// Run attacks the images x, labelled y and named ids, in one batch unless the attack says otherwise. x and y are not
	// modified.
	Run(ctx context.Context, model Model, x Batch, y []int64, ids []string, progress Progress) (Result, error)
	// Cost estimates what an image costs, for estimates of time.
	Cost() Cost
	// Parameters are the settings that the result depends on, by name, as strings, booleans, integers and float64s. The
	// seed is one of them only if something is drawn.
	Parameters() map[string]any
}

var _ = []Attacker{PGD{}, APGD{}, FAB{}, Square{}, AutoAttack{}, PatchFool{}}

// Cost counts calls of a model.
type Cost struct{ Forwards, Gradients int }

// Progress is told how much of a call's work is done, done <= total. It runs on the calling goroutine. Nil is silent.
type Progress func(done, total int)

// Result is what an attack made of one batch. Index i of every slice of N elements belongs to image i of the input.
type Result struct {
	Adversarial Batch
	Clean       []int64 // prediction on the clean image
	Predicted   []int64 // on the adversarial image
	Fooled      []bool  // Predicted is not y (untargeted) or is the target (targeted), whatever the clean prediction
	Correct     []bool  // Clean is y
	Targets     []int64 // that PGD aimed at; nil if it was untargeted

	Stages   []Stage  // of AutoAttack: always four, also when one had nothing left to do
	Warnings []string // sentences on what may make the figures misleading

	SaturatedImages int // images whose float32 probability of y was exactly 1 at some step: rounding steered them there
	ZeroGradImages  int // images whose whole gradient was exactly 0 at some step: they stood still there
	NaNReplaced     int // gradient entries replaced because of ZeroNaN
}

// Survivors counts the images that were classified correctly and did not fall. Attacks other than PGD return their clean
// image (AutoAttack and APGD on request another one), which says little about transfer.
func (r Result) Survivors() int {
	n := 0
	for i, correct := range r.Correct {
		if correct && !r.Fooled[i] {
			n++
		}
	}
	return n
}

// nanWord names what happens to NaN in a gradient.
func nanWord(zero bool) string {
	if zero {
		return "zero"
	}
	return "stop"
}

// Target says which class a targeted attack aims at.
type Target int

const (
	Untargeted        Target = iota
	TargetGiven              // the labels given to Run are the targets
	TargetNext               // label + 1, after the last class the first
	TargetLeastLikely        // the smallest clean logit
	TargetRandom             // one of the others, uniformly, keyed by seed and image id
	TargetRunnerUp           // the largest clean logit but the label's
)

// String returns the word used in files and messages.
func (t Target) String() string {
	switch t {
	case Untargeted:
		return "none"
	case TargetGiven:
		return "label"
	case TargetNext:
		return "next"
	case TargetLeastLikely:
		return "least-likely"
	case TargetRandom:
		return "random"
	case TargetRunnerUp:
		return "runner-up"
	default:
		return fmt.Sprintf("Target(%d)", int(t))
	}
}

// choose returns the targets of images with the clean logits [n,K] and labels y. It returns nil if there are none.
func (t Target) choose(logits []float32, y []int64, ids []string, seed uint64) ([]int64, error) {
	n := len(y)
	switch t {
	case TargetGiven:
		return y, nil
	case TargetNext:
		return NextTargets(y, len(logits)/n), nil
	case TargetLeastLikely:
		return LeastLikelyTargets(logits, n, 1)
	case TargetRandom:
		return RandomTargets(y, ids, len(logits)/n, seed)
	case TargetRunnerUp:
		return RunnerUpTargets(logits, n, y)
	default:
		return nil, nil
	}
}
