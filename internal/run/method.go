package run

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"reflect"

	"sat/attacks"
	"sat/internal/experiment"
)

// Attack is one setting of the attack. Equal Attacks make equal images.
type Attack struct {
	Method  string // its word: pgd, autoattack, ...
	Epsilon string // as written: "8/255"; "" for a method without a radius
	attacks.Attacker
}

// NewAttack resolves what an experiment file or a command line says, at the radius epsilon.
func NewAttack(a experiment.Attack, epsilon experiment.Fraction) (Attack, error) {
	attacker, err := attackerOf(a, epsilon)
	if err != nil {
		return Attack{}, err
	}
	attack := Attack{Method: a.Method, Epsilon: epsilon.String(), Attacker: attacker}
	if a.Method == "patchfool" {
		attack.Epsilon = ""
	}
	return attack, attacker.Validate()
}

func attackerOf(a experiment.Attack, epsilon experiment.Fraction) (attacks.Attacker, error) {
	radius, norm := epsilon.Float64(), attacks.Linf
	if a.L2() {
		norm = attacks.L2
	}
	random, zeroNaN := attacks.Keyed, a.NaN == "zero"
	if a.RNG == "stream-compat" {
		random = attacks.StreamCompat
	}
	switch a.Method {
	case "pgd", "pgd-l2":
		p := attacks.Defaults()
		p.Norm, p.Epsilon, p.StepSize, p.NormalizedStep, p.Steps = norm, radius, a.Step(epsilon), a.StepUnit == "norm", a.Steps
		p.RandomStart, p.Restarts, p.Momentum, p.Seed, p.ZeroNaN = a.RandomStart, a.Restarts, a.Momentum, a.Seed, zeroNaN
		p.Select = word(a.Select, attacks.Last, attacks.BestLoss, attacks.FirstFooled)
		p.Loss = word(a.Loss, attacks.CrossEntropy, attacks.DLR, attacks.Margin)
		p.Target = word(a.Target, attacks.Untargeted, attacks.TargetGiven, attacks.TargetNext, attacks.TargetLeastLikely,
			attacks.TargetRandom, attacks.TargetRunnerUp)
		return p, nil
	case "apgd-ce", "apgd-t":
		p := attacks.DefaultAPGD()
		if a.Method == "apgd-t" {
			p = attacks.DefaultAPGDT()
			p.Targets = a.Targets
		}
		p.Norm, p.Epsilon, p.Steps, p.Restarts, p.BestLoss = norm, radius, a.Steps, a.Restarts, a.BestLoss
		p.Seed, p.Randomness, p.ZeroNaN = a.Seed, random, zeroNaN
		return p, nil
	case "fab-t":
		f := attacks.DefaultFAB()
		f.Norm, f.Epsilon, f.Steps, f.Targets, f.ZeroNaN = norm, radius, a.Steps, a.Targets, zeroNaN
		return f, nil
	case "square":
		q := attacks.DefaultSquare()
		q.Norm, q.Epsilon, q.Queries, q.Restarts, q.Seed, q.Randomness = norm, radius, a.Queries, a.Restarts, a.Seed, random
		return q, nil
	case "autoattack":
		aa := attacks.DefaultAutoAttack()
		aa.Norm, aa.Epsilon, aa.Steps, aa.Targets, aa.Queries = norm, radius, a.Steps, a.Targets, a.Queries
		aa.Survivors = word(a.Survivors, attacks.SurvivorsClean, attacks.SurvivorsBestLoss)
		aa.Seed, aa.Randomness, aa.ZeroNaN = a.Seed, random, zeroNaN
		return aa, nil
	case "patchfool":
		p := attacks.DefaultPatchFool()
		p.Patches, p.Layer, p.Steps, p.Rate, p.Weight = a.Patches, a.AttentionLayer, a.Steps, a.Rate, a.AttentionWeight
		p.Select = word(a.PatchSelect, attacks.SelectAttention, attacks.SelectRandom, attacks.SelectSaliency)
		p.Form = word(a.Form, attacks.FormCode, attacks.FormPaper)
		p.Conflict = word(a.Conflict, attacks.ConflictProject, attacks.ConflictCodeNorm)
		p.MildL2, p.MildLinf, p.Pixels = a.MildL2.Float64(), a.MildLinf.Float64(), a.SparsePixels
		p.Seed, p.ZeroNaN = a.Seed, zeroNaN
		return p, nil
	default:
		return nil, fmt.Errorf("there is no attack %q", a.Method)
	}
}

// word returns the value whose String is text; an experiment file has been checked for others.
func word[T fmt.Stringer](text string, values ...T) T {
	for _, v := range values {
		if v.String() == text {
			return v
		}
	}
	return values[0]
}

// empty is an attacker of the method without settings, to read them from a file.
func empty(method string) (attacks.Attacker, error) {
	return attackerOf(experiment.Attack{Method: method}, experiment.Fraction{})
}

// storedAttack is Attack in units/measurements.json.
type storedAttack struct {
	Method   string          `json:"method"`
	Epsilon  string          `json:"epsilon"`
	Settings json.RawMessage `json:"settings"`
}

// MarshalJSON writes what UnmarshalJSON reads.
func (a Attack) MarshalJSON() ([]byte, error) {
	settings, err := json.Marshal(a.Attacker)
	if err != nil {
		return nil, err
	}
	return json.Marshal(storedAttack{a.Method, a.Epsilon, settings})
}

// UnmarshalJSON makes an attacker of the type that the method names.
func (a *Attack) UnmarshalJSON(text []byte) error {
	var s storedAttack
	if err := json.Unmarshal(text, &s); err != nil {
		return err
	}
	kind, err := empty(s.Method)
	if err != nil {
		return err
	}
	settings := reflect.New(reflect.TypeOf(kind))
	if err := json.Unmarshal(s.Settings, settings.Interface()); err != nil {
		return err
	}
	*a = Attack{Method: s.Method, Epsilon: s.Epsilon, Attacker: settings.Elem().Interface().(attacks.Attacker)}
	return nil
}

// keyParameters are the attacker's parameters with numbers as float32 bits, because that is how they meet the pixels: 0.1
// and 0.10000000001 are one attack.
func (a Attack) keyParameters() map[string]any {
	m := maps.Clone(a.Parameters())
	for name, value := range m {
		if v, ok := value.(float64); ok {
			m[name] = math.Float32bits(float32(v))
		}
	}
	return m
}

// radius is the radius of the ball in pixel space, 0 for a method without one.
func (a Attack) radius() float64 {
	v, _ := a.Parameters()["epsilon"].(float64)
	return v
}

// passes estimates the cost of an image.
func (a Attack) passes() float64 {
	c := a.Cost()
	return passForward*float64(c.Forwards) + passGradient*float64(c.Gradients)
}

// String names the attack for people: "pgd, epsilon 8/255".
func (a Attack) String() string {
	if a.Epsilon == "" {
		return a.Method
	}
	return a.Method + ", epsilon " + a.Epsilon
}

// streamCompat reports whether draws are the reference implementation's.
func (a Attack) streamCompat() bool { return a.Parameters()["rng"] == attacks.StreamCompat.String() }

// LeavesClean reports whether an image that withstands the attack stays as it is: it then says little about transfer, so
// results count such images.
func (a Attack) LeavesClean() bool {
	switch v := a.Attacker.(type) {
	case attacks.APGD:
		return !v.BestLoss
	case attacks.FAB, attacks.Square:
		return true
	case attacks.AutoAttack:
		return v.Survivors == attacks.SurvivorsClean
	}
	return false
}

// meta describes the attack in results.
func (a Attack) meta() map[string]any {
	m := maps.Clone(a.Parameters())
	m["method"] = a.Method
	if a.Epsilon != "" {
		m["epsilon"], m["epsilon_decimal"] = a.Epsilon, a.radius()
	}
	return m
}
