package attacks

import (
	"cmp"
	"fmt"
	"slices"

	"sat/internal/rng"
)

// NextTargets returns (y+1) mod classes for each image.
func NextTargets(y []int64, classes int) []int64 {
	targets := make([]int64, len(y))
	for i, label := range y {
		targets[i] = (label + 1) % int64(classes)
	}
	return targets
}

// LeastLikelyTargets returns, per row of the clean logits [n,K], the class of the k-th smallest logit (k = 1: the
// smallest), the lower class first among equals. It may be the label itself where the model is that wrong.
func LeastLikelyTargets(logits []float32, n, k int) ([]int64, error) {
	if _, err := Predict(logits, n); err != nil {
		return nil, err
	}
	classes := len(logits) / n
	if k < 1 || k > classes {
		return nil, fmt.Errorf("least likely class number %d of %d", k, classes)
	}
	targets, order := make([]int64, n), make([]int64, classes)
	for i := range targets {
		row := logits[i*classes : (i+1)*classes]
		for j := range order {
			order[j] = int64(j)
		}
		slices.SortStableFunc(order, func(a, b int64) int { return cmp.Compare(row[a], row[b]) })
		targets[i] = order[k-1]
	}
	return targets, nil
}

// RunnerUpTargets returns, per row of the clean logits [n,K], the class of the largest logit other than the label's,
// the lowest among equals.
func RunnerUpTargets(logits []float32, n int, y []int64) ([]int64, error) {
	if _, err := Predict(logits, n); err != nil {
		return nil, err
	}
	classes := len(logits) / n
	if classes < 2 {
		return nil, fmt.Errorf("a runner-up needs two classes, there are %d", classes)
	}
	targets := make([]int64, n)
	for i := range targets {
		best := -1
		for j, z := range logits[i*classes : (i+1)*classes] {
			if int64(j) != y[i] && (best < 0 || z > logits[i*classes+best]) {
				best = j
			}
		}
		targets[i] = int64(best)
	}
	return targets, nil
}

// RandomTargets returns, per image, one of the classes other than its label, uniformly. The draw depends on the seed
// and the image's id alone.
func RandomTargets(y []int64, ids []string, classes int, seed uint64) ([]int64, error) {
	if classes < 2 {
		return nil, fmt.Errorf("a random target needs two classes, there are %d", classes)
	}
	if err := CheckLabels(y, ids, classes); err != nil {
		return nil, err
	}
	targets := make([]int64, len(y))
	for i, label := range y {
		t := int64(rng.New(seed, "target", rng.ID(ids[i])).IntN(classes - 1))
		if t >= label {
			t++
		}
		targets[i] = t
	}
	return targets, nil
}
