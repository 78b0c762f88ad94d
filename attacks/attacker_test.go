package attacks

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// everyAttack has each type with settings under which all of its fields count.
func everyAttack() []Attacker {
	p := Defaults()
	p.RandomStart = true
	return []Attacker{p, DefaultAPGDT(), DefaultFAB(), DefaultSquare(), DefaultAutoAttack(), DefaultPatchFool()}
}

// TestParametersHoldEverySetting: a setting that is not among the parameters would not be in the keys of stored results.
func TestParametersHoldEverySetting(t *testing.T) {
	names := map[string]bool{}
	for _, a := range everyAttack() {
		if names[a.Name()] {
			t.Errorf("two attacks are called %s", a.Name())
		}
		names[a.Name()] = true
		for i := range reflect.TypeOf(a).NumField() {
			changed := reflect.New(reflect.TypeOf(a)).Elem()
			changed.Set(reflect.ValueOf(a))
			switch f := changed.Field(i); f.Kind() {
			case reflect.Bool:
				f.SetBool(!f.Bool())
			case reflect.Int:
				f.SetInt(f.Int() + 1)
			case reflect.Uint64:
				f.SetUint(f.Uint() + 1)
			case reflect.Float64:
				f.SetFloat(f.Float() + 0.125)
			default:
				t.Fatalf("%s: no rule for a %v", a.Name(), f.Kind())
			}
			if reflect.DeepEqual(changed.Interface().(Attacker).Parameters(), a.Parameters()) {
				t.Errorf("%s: the parameters do not tell another %s", a.Name(), reflect.TypeOf(a).Field(i).Name)
			}
		}
		for name, v := range a.Parameters() {
			switch v.(type) {
			case string, bool, int, uint64, float64:
			default:
				t.Errorf("%s: parameter %s is a %T", a.Name(), name, v)
			}
		}
	}
	plain := Defaults()
	if _, ok := plain.Parameters()["seed"]; ok {
		t.Error("PGD without anything random has a seed among its parameters")
	}
}

// TestCostsAreUpperBounds: no attack asks for more than it says of an image that withstands (AutoAttack's cost is a guess).
func TestCostsAreUpperBounds(t *testing.T) {
	m := newMLP(2, 3*6*5, 12, 5, 0.6)
	x := images(11, 1, 3, 6, 5)
	y := predictions(t, m, x)
	for _, a := range []Attacker{
		PGD{Steps: 4, Restarts: 2, RandomStart: true, Select: BestLoss},
		APGD{Steps: 5, Restarts: 2, Rho: 0.75}, APGD{Steps: 5, Restarts: 1, Loss: TargetedDLR, Targets: 3},
		FAB{Steps: 3, Targets: 2, AlphaMax: 0.1, Eta: 1.05, Beta: 0.9}, Square{Queries: 7, Share: 0.8, Restarts: 1},
	} {
		counted := &counting{Model: m}
		if _, err := a.Run(context.Background(), counted, x, y, names(1), nil); err != nil {
			t.Fatal(err)
		}
		if c := a.Cost(); counted.forwards > c.Forwards+1 || counted.gradients > c.Gradients || counted.gradients < c.Gradients/2 {
			t.Errorf("%s: %d forward passes and %d gradients, announced %+v", a.Name(), counted.forwards, counted.gradients, c)
		}
	}
}

type counting struct {
	Model
	forwards, gradients int
}

func (c *counting) Logits(ctx context.Context, x Batch) ([]float32, error) {
	c.forwards++
	return c.Model.Logits(ctx, x)
}

func (c *counting) LossGrad(ctx context.Context, x Batch, y, targets []int64, loss Loss) (Gradient, error) {
	c.gradients++
	return c.Model.LossGrad(ctx, x, y, targets, loss)
}

// TestChosenTargets: PGD that chooses targets itself does what PGD does that is given them.
func TestChosenTargets(t *testing.T) {
	m := newMLP(3, 60, 12, 5, 0.6)
	x := images(4, 9, 3, 4, 5)
	y, ids := predictions(t, m, x), names(x.N)
	y[2] = (y[2] + 1) % 5
	logits, err := m.Logits(context.Background(), x)
	if err != nil {
		t.Fatal(err)
	}
	least, err := LeastLikelyTargets(logits, x.N, 1)
	if err != nil {
		t.Fatal(err)
	}
	second, err := RunnerUpTargets(logits, x.N, y)
	if err != nil {
		t.Fatal(err)
	}
	random, err := RandomTargets(y, ids, 5, 3)
	if err != nil {
		t.Fatal(err)
	}
	for target, want := range map[Target][]int64{
		TargetNext: NextTargets(y, 5), TargetLeastLikely: least, TargetRunnerUp: second, TargetRandom: random,
	} {
		p := Defaults()
		p.StepSize, p.Steps, p.Seed, p.Target, p.Epsilon = 0.02, 8, 3, target, 0.1
		got := attack(t, p, m, x, y, ids)
		p.Target = TargetGiven
		given := attack(t, p, m, x, want, ids)
		if !slices.Equal(got.Targets, want) || !slices.Equal(given.Targets, want) {
			t.Errorf("%v: targets %v, want %v", target, got.Targets, want)
		}
		if bitsDiffer(got.Adversarial.Pixels, given.Adversarial.Pixels) >= 0 || !slices.Equal(got.Fooled, given.Fooled) {
			t.Errorf("%v: other images than with the same targets given", target)
		}
		reached := 0
		for i := range want {
			if got.Fooled[i] != (got.Predicted[i] == want[i]) {
				t.Errorf("%v, image %d: fooled %v, predicted %d, target %d", target, i, got.Fooled[i], got.Predicted[i], want[i])
			}
			if got.Correct[i] != (got.Clean[i] == y[i]) {
				t.Errorf("%v, image %d: correct %v", target, i, got.Correct[i])
			}
			if got.Fooled[i] && !got.Correct[i] {
				continue
			}
			if got.Fooled[i] {
				reached++
			}
		}
		if reached == 0 {
			t.Errorf("%v: no image reaches its target", target)
		}
	}
}

// normalizing is a model that divides its channels.
type normalizing struct {
	Model
	std []float32
}

func (n normalizing) Normalization() (mean, std []float32) { return make([]float32, len(n.std)), n.std }

// TestNormalizedStep: steps in units of the normalised image are steps of their own in each channel.
func TestNormalizedStep(t *testing.T) {
	m := newMLP(5, 60, 12, 4, 0.6)
	x := images(6, 4, 3, 4, 5)
	for i, v := range x.Pixels { // away from the walls of the box
		x.Pixels[i] = 0.3 + 0.4*v
	}
	y := predictions(t, m, x)
	p := Defaults()
	p.Steps, p.StepSize, p.NormalizedStep, p.Epsilon = 1, 0.1, true, 0.2
	std := []float32{0.2, 0.05, 0.4}
	r := attack(t, p, normalizing{m, std}, x, y, names(x.N))
	for i, v := range r.Adversarial.Pixels {
		channel := i / 20 % 3
		want := 0.1 * float64(std[channel])
		if got := float64(v) - float64(x.Pixels[i]); max(got, -got) < want-1e-6 || max(got, -got) > want+1e-6 {
			t.Fatalf("pixel %d of channel %d moved by %v, want %v", i, channel, got, want)
		}
	}
	for _, c := range []struct {
		model Model
		want  string
	}{{m, "says how it normalises"}, {normalizing{m, std[:1]}, "1 channels"}} {
		if _, err := p.Run(context.Background(), c.model, x, y, names(x.N), nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%T: %v", c.model, err)
		}
	}
	p.Norm = L2
	if err := p.Validate(); err == nil || !strings.Contains(err.Error(), "no length in L2") {
		t.Error(err)
	}
}

func TestTargetWords(t *testing.T) {
	seen := map[string]bool{}
	for target := Untargeted; target <= TargetRunnerUp; target++ {
		seen[target.String()] = true
	}
	if len(seen) != 6 || fmt.Sprint(Target(9)) != "Target(9)" {
		t.Errorf("words %v", seen)
	}
}
