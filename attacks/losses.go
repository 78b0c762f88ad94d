package attacks

import (
	"fmt"
	"math"
)

// Loss names the function of an image's logits z, its label y and, for targeted losses, its target t that an attack
// differentiates. Every loss grows as the image is misclassified (as t, if targeted). Below, z(1) >= z(2) >= ... are the
// sorted logits and other is the largest logit of a class that is not y.
type Loss int

const (
	// CrossEntropy is logsumexp(z) - z[y], natural logarithm.
	CrossEntropy Loss = iota
	// DLR, the difference of logits ratio (Croce and Hein, "Reliable evaluation of adversarial robustness with an
	// ensemble of diverse parameter-free attacks", ICML 2020, equation 6), is (other - z[y]) / (z(1) - z(3) + 1e-12). It
	// does not change when all logits are shifted or scaled. It needs three classes.
	DLR
	// Margin is other - z[y].
	Margin
	// TargetedDLR (same paper, equation 7) is (z[t] - z[y]) / (z(1) - (z(3)+z(4))/2 + 1e-12). It needs four classes.
	TargetedDLR
	// LogitDifference is z[t] - z[y].
	LogitDifference
)

// String returns the word used in files and messages.
func (l Loss) String() string {
	switch l {
	case CrossEntropy:
		return "cross-entropy"
	case DLR:
		return "dlr"
	case Margin:
		return "margin"
	case TargetedDLR:
		return "targeted-dlr"
	case LogitDifference:
		return "logit-difference"
	default:
		return fmt.Sprintf("Loss(%d)", int(l))
	}
}

// Targeted says whether the loss takes a target class beside the label.
func (l Loss) Targeted() bool { return l == TargetedDLR || l == LogitDifference }

// Classes is the smallest number of classes for which the loss is defined.
func (l Loss) Classes() int {
	switch l {
	case DLR:
		return 3
	case TargetedDLR:
		return 4
	default:
		return 2
	}
}

// Value returns the loss of one row of logits, computed in float64. target is ignored unless the loss is targeted.
func (l Loss) Value(z []float32, y, target int64) (float64, error) {
	k := int64(len(z))
	switch {
	case l < CrossEntropy || l > LogitDifference:
		return 0, fmt.Errorf("unknown loss %v", l)
	case len(z) < l.Classes():
		return 0, fmt.Errorf("loss %v of %d logits: it needs %d classes", l, len(z), l.Classes())
	case y < 0 || y >= k:
		return 0, fmt.Errorf("loss %v: label %d is not one of %d classes", l, y, k)
	case l.Targeted() && (target < 0 || target >= k):
		return 0, fmt.Errorf("loss %v: target %d is not one of %d classes", l, target, k)
	}
	return l.value(z, y, target), nil
}

// value is Value for arguments known to be good.
func (l Loss) value(z []float32, y, target int64) float64 {
	const tiny = 1e-12 // keeps the ratios finite where the leading logits are equal
	switch l {
	case CrossEntropy:
		return crossEntropy(z, y)
	case DLR:
		top := largest(z)
		return -margin(z, y) / (top[0] - top[2] + tiny)
	case Margin:
		return -margin(z, y)
	case TargetedDLR:
		top := largest(z)
		return (float64(z[target]) - float64(z[y])) / (top[0] - (top[2]+top[3])/2 + tiny)
	default:
		return float64(z[target]) - float64(z[y])
	}
}

// crossEntropy is logsumexp(z) - z[y] in float64.
func crossEntropy(z []float32, y int64) float64 {
	top := z[0]
	for _, v := range z {
		top = max(top, v)
	}
	sum := 0.0
	for _, v := range z {
		sum += math.Exp(float64(v) - float64(top))
	}
	return math.Log(sum) + float64(top) - float64(z[y])
}

// margin is z[y] minus the largest other logit: positive while y wins.
func margin(z []float32, y int64) float64 {
	other := math.Inf(-1)
	for j, v := range z {
		if int64(j) != y {
			other = max(other, float64(v))
		}
	}
	return float64(z[y]) - other
}

// largest returns the four largest logits, downwards; missing ones are -Inf.
func largest(z []float32) [4]float64 {
	top := [4]float64{math.Inf(-1), math.Inf(-1), math.Inf(-1), math.Inf(-1)}
	for _, z := range z {
		v := float64(z)
		for r := range top {
			if v > top[r] {
				v, top[r] = top[r], v
			}
		}
	}
	return top
}
