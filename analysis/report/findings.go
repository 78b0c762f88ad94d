package report

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"sat/analysis"
)

// whiteBoxGoal is the success of the attack on its own model, in per cent, below which a model's row is questionable: a
// low score may then mean a weak attack instead of a dissimilar model.
const whiteBoxGoal = 95

// significance is the p above which the report does not claim a difference.
const significance = 0.01

// The central claim of a run, and why a run may have nothing to say about it.
const (
	claimTitle = "Does the architecture decide?"
	noClaim    = "there are not two groups of models to compare, for instance two architectures of several seeds."
)

// neighbours returns the other models with a defined score, most similar first; equal scores stay in the order of sat.csv.
func (r *Run) neighbours(i int) (others []int) {
	for j := range r.Models {
		if j != i && !math.IsNaN(r.SAT.At(i, j)) {
			others = append(others, j)
		}
	}
	slices.SortStableFunc(others, func(a, b int) int {
		switch va, vb := r.SAT.At(i, a), r.SAT.At(i, b); {
		case va > vb:
			return -1
		case va < vb:
			return 1
		}
		return 0
	})
	return others
}

// meanTo returns the mean SAT of a model with all others, NaN when none is defined.
func (r *Run) meanTo(i int) float64 {
	others := r.neighbours(i)
	if len(others) == 0 {
		return math.NaN()
	}
	sum := 0.0
	for _, j := range others {
		sum += r.SAT.At(i, j)
	}
	return sum / float64(len(others))
}

// members returns the models of a cluster in display order.
func (r *Run) members(cluster int) (out []int) {
	for _, i := range r.Clusters.Order {
		if r.Models[i].Cluster == cluster {
			out = append(out, i)
		}
	}
	return out
}

// pairsWith returns the pairs that have a status.
func (r *Run) pairsWith(s analysis.Status) (out []*analysis.Pair) {
	for i := range r.Pairs {
		if r.Pairs[i].Status == s {
			out = append(out, &r.Pairs[i])
		}
	}
	return out
}

// warnings lists what a reader must know before believing the numbers, worst first.
func (r *Run) warnings() (out []string) {
	if r.Info.PathsOnly {
		out = append(out, "The models have random weights. This run shows that every step works; none of its numbers is a result.")
	}
	if n := len(r.Info.Failures); n > 0 {
		first := r.Info.Failures[0]
		out = append(out, fmt.Sprintf("%s of work failed, and what they would have given is missing here. First: %s of %s: %s", plural(n, "unit", "units"), first.Stage, first.Model, first.Error))
	}
	out = append(out, r.Info.Warnings...)
	out = append(out, analysis.DoubtWarnings(analysis.Doubts(r.Pairs, r.Resized), len(r.Pairs), len(r.Resized))...)
	weak, worst := 0, 100.0
	for i := range r.Models {
		if s := &r.Models[i].Self; s.N > 0 && s.Percent < whiteBoxGoal && !r.Models[i].hardened() {
			weak++
			worst = min(worst, s.Percent)
		}
	}
	if weak > 0 {
		out = append(out, fmt.Sprintf("The attack fools %s in fewer than %d %% of the images (lowest: %.1f %%). A low similarity of such a model may come from the weak attack.",
			plural(weak, "model", "models"), whiteBoxGoal, worst))
	}
	if r.Clusters != nil {
		out = append(out, r.Clusters.Warnings...)
	}
	return out
}

func (g *Groups) holds() bool { return g.P < significance && g.Difference > 0 }

// verdictText answers the central question in one sentence without a full stop.
func (g *Groups) verdictText() string {
	switch {
	case math.IsNaN(g.P) || math.IsNaN(g.Difference):
		return "The claim cannot be tested: it needs a group with two models and a second group"
	case g.holds():
		return "Models of one architecture are more similar than models of different architectures, p = " + formatP(g.P)
	}
	text := fmt.Sprintf("These data do not show that models of one architecture are more similar than models of different architectures: difference %s, p = %s",
		score(g.Difference), formatP(g.P))
	if smallest := 1 / float64(g.Permutations); g.Exact && smallest >= significance {
		text += fmt.Sprintf(" (with so few models no p below %s is possible)", formatP(smallest))
	}
	return text
}

// testText names the test behind p.
func (g *Groups) testText() string {
	if g.Exact {
		return fmt.Sprintf("exact permutation test over models, %s labelings", thousands(g.Permutations))
	}
	return fmt.Sprintf("permutation test over models, %s labelings", thousands(g.Permutations))
}

func intervalText(iv Interval) string {
	if !iv.known() {
		return ""
	}
	return fmt.Sprintf(" [%s, %s]", score(iv.Lo), score(iv.Hi))
}

// formatP prints p as the project does everywhere, with raised exponents: 7.40 × 10⁻⁶.
func formatP(p float64) string { return raisedPower(analysis.FormatP(math.Log10(p))) }

// raisedPower writes 10^-6 as 10⁻⁶.
func raisedPower(s string) string {
	mantissa, exponent, power := strings.Cut(s, "^")
	if !power {
		return mantissa
	}
	return strings.ReplaceAll(mantissa, " ", "\u00a0") + strings.NewReplacer("-", "⁻", "0", "⁰", "1", "¹", "2", "²", "3", "³", "4", "⁴", "5", "⁵", "6", "⁶", "7", "⁷", "8", "⁸", "9", "⁹").Replace(exponent)
}

// plainP prints p for figures, whose font has no raised digits.
func plainP(p float64) string {
	switch {
	case math.IsNaN(p):
		return "undefined"
	case p > 0 && p < 1e-6:
		return "less than 0.000001"
	}
	return strconv.FormatFloat(p, 'f', max(3, 1-int(math.Floor(math.Log10(max(p, 1e-6))))), 64)
}

// thousands writes 12345 as 12,345.
func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// score writes a SAT value, or a dash where it is undefined.
func score(v float64) string {
	if math.IsNaN(v) {
		return "–"
	}
	return minus(strconv.FormatFloat(v, 'f', 2, 64))
}

// minus replaces the hyphen in front of a number by a minus sign.
func minus(s string) string { return strings.Replace(s, "-", "−", 1) }
