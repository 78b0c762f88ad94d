package run

import (
	"context"
	"path/filepath"
	"slices"
	"strconv"

	"sat/attacks"
	"sat/internal/data"
	"sat/internal/experiment"
	"sat/zoo"
)

// BenchAttack is the attack of a benchmark. Its iterations are the job's Steps; those of square are its queries.
//
// The peers are torchattacks for pgd and pgd-l2, pyautoattack, the packaged reference implementation, for the attacks of
// AutoAttack, and for patchfool the eager attack that its goldens come from. The peer of AutoAttack spares itself the checks
// of the model before the attack, which are no part of it.
type BenchAttack struct {
	Method  string
	Epsilon experiment.Fraction
	Targets int // classes that apgd-t and fab-t aim at
	Queries int // of the square attack within autoattack
}

// PGD reports whether the attack does the same on every image, fooled or not.
func (a BenchAttack) PGD() bool { return a.Method == "pgd" || a.Method == "pgd-l2" }

// WithstandEpsilon is a radius in which no image falls. Images then stay until the end of an attack, here and in the peer;
// with a larger one, chance decides how much there is to do.
const WithstandEpsilon = "0.000001"

// needsAttention reports whether the attack is one on attention maps.
func (job BenchJob) needsAttention() bool {
	return job.Work == BenchAttacks && job.Method == "patchfool"
}

// exported is the name of the module of a network. With attention maps it is another one.
func (job BenchJob) exported(name string) string {
	if job.needsAttention() {
		return name + "-attention"
	}
	return name
}

func (job BenchJob) module(name string) string {
	return filepath.Join(job.Dir, job.exported(name)+".pt")
}

// maxSteps is the usual number of iterations of the attack.
func (job BenchJob) maxSteps() int {
	if job.Work != BenchAttacks {
		return maxTransferSteps
	}
	if job.Method == "square" {
		return experiment.DefaultAttack(job.Method).Queries
	}
	return experiment.DefaultAttack(job.Method).Steps
}

// attacker has so many iterations.
func (job BenchJob) attacker(steps int) (Attack, error) {
	a := experiment.DefaultAttack(job.Method)
	a.Targets, a.Queries = job.Targets, job.Queries
	if job.Method == "square" {
		a.Queries = steps
	} else {
		a.Steps = steps
	}
	return NewAttack(a, job.Epsilon)
}

// attack runs it once. It says how many images were fooled, or -1 where their last predictions are not part of the attack.
func (job BenchJob) attack(ctx context.Context, m *zoo.Model, x attacks.Batch, y []int64, ids []string, steps int) (int, error) {
	attack, err := job.attacker(steps)
	if err != nil {
		return 0, err
	}
	if pgd, ok := attack.Attacker.(attacks.PGD); ok {
		_, err := pgd.Images(ctx, m, x, y, ids, nil)
		return -1, err
	}
	result, err := attack.Run(ctx, m, x, y, ids, nil)
	if err != nil || job.Method == "patchfool" {
		return -1, err
	}
	fooled := 0
	for _, f := range result.Fooled {
		if f {
			fooled++
		}
	}
	return fooled, nil
}

// describe adds what is particular to attacks to the result of one.
func (job BenchJob) describe(r *BenchResult, fooled int) {
	r.Method = job.Method
	if job.Method != "patchfool" {
		r.Epsilon = job.Epsilon.String()
	}
	if slices.Contains([]string{"apgd-t", "fab-t", "autoattack"}, job.Method) {
		r.Targets = job.Targets
	}
	if job.Method == "autoattack" {
		r.Queries = job.Queries
	}
	if fooled >= 0 {
		r.Fooled = &fooled
	}
}

// attackPeer is scripts/peers/attack.py.
type attackPeer struct{ *peer }

// turn implements contender.
func (p attackPeer) turn(_ context.Context, steps int) (turn, error) {
	fooled := 0
	t, err := p.do(steps, &fooled)
	t.fooled = fooled
	return t, err
}

func (job BenchJob) startPeer(ctx context.Context, name string, x attacks.Batch) (*peer, error) {
	images := filepath.Join(job.Dir, "images.npy")
	if err := data.WriteNPY(images, x.Pixels, x.N, x.C, x.H, x.W); err != nil {
		return nil, err
	}
	work := string(job.Work)
	if job.Work == BenchAttacks {
		work = job.Method
	}
	return startPeer(ctx, job.Home, "attack.py", "--model", name, "--module", job.module(name),
		"--images", images, "--work", work, "--threads", strconv.Itoa(job.Threads),
		"--epsilon", strconv.FormatFloat(job.Epsilon.Float64(), 'g', -1, 64),
		"--targets", strconv.Itoa(job.Targets), "--queries", strconv.Itoa(job.Queries))
}
