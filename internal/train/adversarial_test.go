package train

import (
	"context"
	"math"
	"testing"

	"sat/attacks"
	"sat/internal/testkit"
	"sat/torch"
	"sat/zoo"
)

// The attack stays in its ball and in [0,1], raises the loss, changes neither a parameter nor a running average, depends on
// nothing but seed, epoch and update, and leaves the network in training mode.
func TestAttackedBatch(t *testing.T) {
	testkit.NoLeaks(t)
	worker := testkit.Torch(t)
	j := job(t, worker, "tiny")
	j.Recipe.Adversarial = &Adversarial{Epsilon: 8.0 / 255, StepSize: 4.0 / 255, Steps: 4, RandomStart: true}
	const n = 8
	size := 3 * 16 * 16
	err := worker.Do(context.Background(), func(s *torch.Scope) error {
		session, err := open(context.Background(), s, j)
		if err != nil {
			return err
		}
		defer session.close()
		if err := session.module.SetTraining(true); err != nil {
			return err
		}
		tensors := func() (all []float32) {
			for _, info := range session.module.Tensors() {
				if info.DType == torch.Float32 {
					v, err := session.module.Get(s, info.Name).Float32s()
					if err != nil {
						t.Fatal(err)
					}
					all = append(all, v...)
				}
			}
			return all
		}
		loss := func(x torch.Tensor, y torch.Tensor) float64 {
			if err := session.module.SetTraining(false); err != nil {
				t.Fatal(err)
			}
			v, err := s.CrossEntropy(session.module.Forward(s, x, session.manifest.Mean, session.manifest.Std), y, torch.ReduceMean, 0).Item()
			if err != nil {
				t.Fatal(err)
			}
			if err := session.module.SetTraining(true); err != nil {
				t.Fatal(err)
			}
			return v
		}
		x := session.input(s, set(&j).Images[:n*size], n)
		y := s.FromInt64(set(&j).Labels[:n], n)
		before := tensors()
		attack := func(epoch, update int) []float32 {
			adv, err := session.attacked(s, x, y, epoch, update)
			if err != nil {
				t.Fatal(err)
			}
			pixels, err := adv.Float32s()
			if err != nil {
				t.Fatal(err)
			}
			return pixels
		}
		first := attack(1, 2)
		clean, err := x.Float32s()
		if err != nil {
			return err
		}
		for i, v := range first {
			if d := math.Abs(float64(v - clean[i])); d > 8.0/255+6e-8 || v < 0 || v > 1 {
				t.Fatalf("pixel %d went from %v to %v", i, clean[i], v)
			}
		}
		if a, b := loss(x, y), loss(s.FromFloat32(first, n, 3, 16, 16), y); b <= a {
			t.Errorf("the loss went from %v to %v", a, b)
		}
		for i, v := range tensors() {
			if v != before[i] {
				t.Fatal("the attack changed a parameter or a running average")
			}
		}
		for name, c := range map[string]struct {
			pixels []float32
			equal  bool
		}{"again": {attack(1, 2), true}, "another update": {attack(1, 3), false}, "another epoch": {attack(2, 2), false}} {
			same := true
			for i := range first {
				same = same && c.pixels[i] == first[i]
			}
			if same != c.equal {
				t.Errorf("%s: equal images %v, want %v", name, same, c.equal)
			}
		}
		_, err = session.gradients(s, x, set(&j).Labels[:n], 1, 1, 2) // refuses in evaluation mode
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Adversarial training does what it is for: an attack that breaks the network trained on clean images breaks this one less
// often.
func TestAdversarialTrainingWithstandsMore(t *testing.T) {
	testkit.NoLeaks(t)
	worker := testkit.Torch(t)
	epsilon := 16.0 / 255
	fooled := func(a *Adversarial) (share, top1 float64) {
		j := job(t, worker, "tiny")
		j.Train, j.Val = bars(400, 1), bars(80, 2)
		j.Recipe.Epochs, j.Recipe.Batch, j.Recipe.LR, j.Recipe.LabelSmoothing, j.Recipe.EvalEvery, j.Recipe.HFlip = 8, 20, 1e-2, 0, 8, 0
		j.Recipe.Adversarial = a
		result := mustRun(t, j)
		model, err := zoo.Load(t.Context(), j.Out, zoo.LoadOptions{Worker: worker})
		if err != nil {
			t.Fatal(err)
		}
		defer model.Close()
		pgd := attacks.Defaults()
		pgd.Epsilon, pgd.StepSize, pgd.Steps = epsilon, epsilon/4, 20
		x := asBatch(j.Val)
		r, err := pgd.Run(t.Context(), model, x, j.Val.Labels, j.Val.IDs, nil)
		if err != nil {
			t.Fatal(err)
		}
		broken, correct := 0, 0
		for i, c := range r.Correct {
			if c {
				correct++
				if r.Fooled[i] {
					broken++
				}
			}
		}
		return float64(broken) / float64(correct), result.Top1
	}
	plain, top1 := fooled(nil)
	hardened, top1Hardened := fooled(&Adversarial{Epsilon: epsilon, StepSize: epsilon / 2, Steps: 2, RandomStart: true})
	t.Logf("clean training: %.2f right, of these %.2f fooled; adversarial: %.2f and %.2f", top1, plain, top1Hardened, hardened)
	if top1 < 0.9 || top1Hardened < 0.7 {
		t.Fatalf("accuracies %v and %v: the test shows nothing", top1, top1Hardened)
	}
	if hardened > plain-0.2 {
		t.Errorf("the attack fools %v of the hardened network's images, %v of the plain one's", hardened, plain)
	}
}
