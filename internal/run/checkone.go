package run

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"sat/attacks"
	"sat/internal/data"
	"sat/zoo"
)

// CheckResult is what CheckOne found.
type CheckResult struct {
	Model    string
	Images   int // that were looked at
	Findings []attacks.Finding
}

// Broken reports whether attacks on the model mean anything.
func (r *CheckResult) Broken() bool {
	return slices.ContainsFunc(r.Findings, func(f attacks.Finding) bool { return f.Status == attacks.Broken })
}

// checkImages is how many images a check looks at, at most.
const checkImages = 64

// usualNormalisations are those that published classifiers expect.
var usualNormalisations = []struct {
	name      string
	mean, std []float32
}{
	{"none", []float32{0, 0, 0}, []float32{1, 1, 1}},
	{"ImageNet's", []float32{0.485, 0.456, 0.406}, []float32{0.229, 0.224, 0.225}},
	{"Inception's", []float32{0.5, 0.5, 0.5}, []float32{0.5, 0.5, 0.5}},
	{"CIFAR-10's", []float32{0.4914, 0.4822, 0.4465}, []float32{0.247, 0.2435, 0.2616}},
}

// CheckOne looks at the model of a job, on the first of its images, for what makes attacks on it meaningless. Nothing is
// written.
func CheckOne(ctx context.Context, job AttackJob) (CheckResult, error) {
	s, err := job.open(ctx)
	if err != nil {
		return CheckResult{}, err
	}
	defer s.close()
	n := min(s.set.N, checkImages)
	x := attacks.Batch{Pixels: s.set.Float32(nil, 0, n), N: n, C: s.set.C, H: s.set.H, W: s.set.W}
	y, ids := s.set.Labels[:n], s.set.IDs[:n]
	out := CheckResult{Model: s.model.Name(), Images: n}
	if out.Findings, err = attacks.Diagnose(ctx, s.model, x, y, ids); err != nil {
		return CheckResult{}, fmt.Errorf("check of %s: %w", s.model.Name(), err)
	}
	f, err := job.checkNormalisation(ctx, s, x, y)
	if err != nil {
		return CheckResult{}, err
	}
	out.Findings = append(out.Findings, f)
	return out, nil
}

// checkNormalisation compares the accuracy with that under the usual normalisations: a model that expects another one than
// it is given is far less accurate, and so is one that normalises inside and is given a normalisation too.
func (job *AttackJob) checkNormalisation(ctx context.Context, s *session, x attacks.Batch, y []int64) (attacks.Finding, error) {
	found := attacks.Finding{Check: "normalisation"}
	mean, std := s.model.Normalization()
	ours, err := accurate(ctx, s.model, x, y)
	if err != nil {
		return found, err
	}
	best, name, bestAt := ours, "", -1
	for i, u := range usualNormalisations {
		if len(mean) != len(u.mean) || slices.Equal(u.mean, mean) && slices.Equal(u.std, std) {
			continue
		}
		describe := s.describe
		describe.Mean, describe.Std = u.mean, u.std
		model, err := zoo.Load(ctx, job.Model, zoo.LoadOptions{Device: job.Device, Worker: s.pool.workers[0], Describe: describe})
		if err != nil {
			return found, err
		}
		right, err := accurate(ctx, model, x, y)
		model.Close()
		if err != nil {
			return found, err
		}
		if right > best {
			best, name, bestAt = right, u.name, i
		}
	}
	// Three standard deviations of the difference of two shares, at worst: chance does not look like this.
	if margin := 3 * math.Sqrt(0.5*float64(x.N)); bestAt >= 0 && float64(best-ours) > margin {
		u := usualNormalisations[bestAt]
		found.Status = attacks.Broken
		found.Detail = fmt.Sprintf("with mean %v and std %v %d of %d images are right, with %s normalisation %d: try --mean %s --std %s, unless the "+
			"images are normalised already (they must be in [0,1])", mean, std, ours, x.N, name, best, list(u.mean), list(u.std))
		return found, nil
	}
	found.Detail = fmt.Sprintf("mean %v and std %v suit the model as well as any usual normalisation", mean, std)
	return found, nil
}

func list(values []float32) string {
	var out []string
	for _, v := range values {
		out = append(out, strconv.FormatFloat(float64(v), 'g', -1, 32))
	}
	return strings.Join(out, ",")
}

func accurate(ctx context.Context, model *zoo.Model, x attacks.Batch, y []int64) (int, error) {
	logits, err := model.Logits(ctx, x)
	if err != nil {
		return 0, err
	}
	predicted, err := attacks.Predict(logits, x.N)
	right := 0
	for i, class := range predicted {
		if class == y[i] {
			right++
		}
	}
	return right, err
}

// session is what a job works with.
type session struct {
	pool     *pool
	set      *data.Set
	describe zoo.Description
	model    *zoo.Model
}

func (s *session) close() {
	if s.set != nil {
		s.set.Close()
	}
	if s.model != nil {
		s.model.Close()
	}
	s.pool.Close()
}
