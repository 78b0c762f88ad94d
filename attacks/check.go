package attacks

import (
	"context"
	"errors"
	"fmt"
	"math"
)

// CheckInputs reports the first thing about a batch that no attack accepts: no images, slices of the wrong length, a
// pixel that is NaN or outside [0,1], a negative label, an id given twice.
func CheckInputs(x Batch, y []int64, ids []string) error {
	switch size := x.C * x.H * x.W; {
	case x.N <= 0 || size <= 0:
		return fmt.Errorf("no images: the batch is %dx%dx%dx%d", x.N, x.C, x.H, x.W)
	case len(x.Pixels) != x.N*size:
		return fmt.Errorf("%d pixels for a batch of %dx%dx%dx%d", len(x.Pixels), x.N, x.C, x.H, x.W)
	case len(y) != x.N:
		return fmt.Errorf("%d labels for %d images", len(y), x.N)
	case len(ids) != x.N:
		return fmt.Errorf("%d ids for %d images", len(ids), x.N)
	}
	seen := make(map[string]bool, len(ids))
	for i, id := range ids {
		if seen[id] {
			return fmt.Errorf("image id %q is given twice", id)
		}
		seen[id] = true
		for j, v := range x.Image(i) {
			if !(v >= 0 && v <= 1) {
				c, h, w := j/(x.H*x.W), j/x.W%x.H, j%x.W
				return fmt.Errorf("image %d (%q), channel %d, row %d, column %d: pixel is %v, want a number in [0,1]",
					i, id, c, h, w, v)
			}
		}
		if y[i] < 0 {
			return fmt.Errorf("image %d (%q): label is %d, want >= 0", i, id, y[i])
		}
	}
	return nil
}

// CheckLabels reports the first label outside [0, classes).
func CheckLabels(y []int64, ids []string, classes int) error {
	for i, label := range y {
		if label < 0 || label >= int64(classes) {
			return fmt.Errorf("image %d (%q): label is %d, but the model has classes 0 to %d", i, ids[i], label, classes-1)
		}
	}
	return nil
}

// Report is what CheckModel saw.
type Report struct {
	Classes   int
	Predicted []int64 // first pass
	Correct   int     // images predicted as their label
	// Probabilities: every output lies in [0,1] and every row sums to 1, each within 1e-5. The model probably ends in
	// a soft-max; attacked through one, gradients vanish.
	Probabilities bool
	// Unstable counts the images whose prediction was not the same in all passes; Drift is the largest L2 distance
	// of any image's logits, scaled to length 1, from those of the first pass.
	Unstable int
	Drift    float64
}

// passes is how often CheckModel shows the batch to the model, and maxDrift what it tolerates; both as AutoAttack does.
const (
	passes   = 5
	maxDrift = 1e-4
)

// Warnings returns a sentence for everything suspicious, and nothing for a sound model.
func (r Report) Warnings() []string {
	var w []string
	if r.Probabilities {
		w = append(w, "the outputs look like probabilities, not logits: gradients through a soft-max vanish where the model is sure")
	}
	if r.Answers() {
		w = append(w, fmt.Sprintf("the model answers differently to equal images (%d predictions changed in %d passes, "+
			"logits by up to %.2g): is it in training mode?", r.Unstable, passes, r.Drift))
	}
	return w
}

// Answers reports whether the model answers differently to equal images.
func (r Report) Answers() bool { return r.Unstable > 0 || r.Drift > maxDrift }

// CheckModel shows the clean batch x to the model five times, before anything is spent on an attack.
func CheckModel(ctx context.Context, model Model, x Batch, y []int64, ids []string) (Report, error) {
	if err := CheckInputs(x, y, ids); err != nil {
		return Report{}, err
	}
	var r Report
	var first []float64
	changed := make([]bool, x.N)
	for pass := range passes {
		if err := ctx.Err(); err != nil {
			return Report{}, err
		}
		logits, err := model.Logits(ctx, x)
		if err != nil {
			return Report{}, fmt.Errorf("clean pass %d: %w", pass+1, err)
		}
		predicted, err := predict(logits, x.N, ids, nil)
		if err != nil {
			return Report{}, fmt.Errorf("clean pass %d: %w", pass+1, err)
		}
		unit := unitRows(logits, x.N)
		if pass == 0 {
			r.Classes = len(logits) / x.N
			if err := CheckLabels(y, ids, r.Classes); err != nil {
				return Report{}, err
			}
			r.Predicted, r.Probabilities, first = predicted, probabilities(logits, x.N), unit
			continue
		}
		if len(unit) != len(first) {
			return Report{}, errors.New("the number of logits changes from pass to pass")
		}
		for i := range predicted {
			changed[i] = changed[i] || predicted[i] != r.Predicted[i]
			sum := 0.0
			for j := i * r.Classes; j < (i+1)*r.Classes; j++ {
				sum += (unit[j] - first[j]) * (unit[j] - first[j])
			}
			r.Drift = max(r.Drift, math.Sqrt(sum))
		}
	}
	r.Unstable = count(changed)
	for i, class := range r.Predicted {
		if class == y[i] {
			r.Correct++
		}
	}
	return r, nil
}

// unitRows divides each row by its length plus 1e-10.
func unitRows(logits []float32, n int) []float64 {
	k := len(logits) / n
	unit := make([]float64, len(logits))
	for i := range n {
		length := norm2(logits[i*k:(i+1)*k]) + 1e-10
		for j := i * k; j < (i+1)*k; j++ {
			unit[j] = float64(logits[j]) / length
		}
	}
	return unit
}

func probabilities(logits []float32, n int) bool {
	const tolerance = 1e-5
	k := len(logits) / n
	for i := range n {
		sum := 0.0
		for _, z := range logits[i*k : (i+1)*k] {
			if float64(z) < -tolerance || float64(z) > 1+tolerance {
				return false
			}
			sum += float64(z)
		}
		if math.Abs(sum-1) > tolerance {
			return false
		}
	}
	return true
}
