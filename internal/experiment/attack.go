package experiment

import (
	"fmt"
	"math/big"
	"reflect"
	"slices"
	"strings"
)

// Attack says how adversarial images are made. The tag "only" names the methods that a setting means something for.
type Attack struct {
	Method      string   `toml:"method" enum:"pgd pgd-l2 apgd-ce apgd-t fab-t square autoattack patchfool"`
	Epsilon     Fraction `toml:"epsilon" only:"method=pgd|pgd-l2|apgd-ce|apgd-t|fab-t|square|autoattack" min:"0" doc:"radius of the ball, pixels in [0,1]"`
	Norm        string   `toml:"norm" only:"method=apgd-ce|apgd-t|fab-t|square|autoattack" enum:"Linf L2" doc:"of the ball"`
	StepSize    Fraction `toml:"step_size" only:"method=pgd|pgd-l2" above:"0" doc:"in step_unit"`
	StepUnit    string   `toml:"step_unit" only:"method=pgd|pgd-l2" enum:"pixel eps norm byte" doc:"pixel: step_size is in [0,1] like epsilon; eps: it multiplies epsilon; norm: each channel's standard deviation; byte: 1/255"`
	Steps       int      `toml:"steps" only:"method=pgd|pgd-l2|apgd-ce|apgd-t|fab-t|autoattack|patchfool" min:"0" doc:"gradient steps"`
	RandomStart bool     `toml:"random_start" only:"method=pgd|pgd-l2" doc:"start at a random point of the ball"`
	Restarts    int      `toml:"restarts" only:"method=pgd|pgd-l2|apgd-ce|apgd-t|square" min:"1" doc:"attempts from other random points"`
	Select      string   `toml:"select" only:"method=pgd|pgd-l2" enum:"last best-loss first-fooled" doc:"which iterate is kept"`
	Loss        string   `toml:"loss" only:"method=pgd|pgd-l2" enum:"cross-entropy dlr margin" doc:"that is climbed"`
	Momentum    float64  `toml:"momentum" only:"method=pgd|pgd-l2" min:"0" doc:"decay of the accumulated gradient"`
	Target      string   `toml:"target" only:"method=pgd|pgd-l2" enum:"none next least-likely random runner-up" doc:"class to reach; none: any but the label's"`
	BestLoss    bool     `toml:"best_loss" only:"method=apgd-ce" doc:"keep the image of largest loss instead of a misclassified one or the clean one"`
	Targets     int      `toml:"targets" only:"method=apgd-t|fab-t|autoattack" min:"1" doc:"classes to aim at, by the clean logits"`
	Queries     int      `toml:"queries" only:"method=square|autoattack" min:"0" doc:"of the square attack"`
	Survivors   string   `toml:"survivors" only:"method=autoattack" enum:"clean best-loss" doc:"what stands for an image that withstands"`
	RNG         string   `toml:"rng" only:"method=apgd-ce|apgd-t|square|autoattack" enum:"keyed stream-compat" doc:"keyed: draws by seed and image; stream-compat: those of the reference implementation, by batch"`
	NaN         string   `toml:"nan" only:"method=pgd|pgd-l2|apgd-ce|apgd-t|fab-t|autoattack|patchfool" enum:"stop zero" doc:"what a NaN in a gradient does"`

	Patches         int      `toml:"patches" only:"method=patchfool" min:"1" doc:"patches of an image that are replaced"`
	PatchSelect     string   `toml:"patch_select" only:"method=patchfool" enum:"attention random saliency" doc:"which ones"`
	AttentionLayer  int      `toml:"attention_layer" only:"method=patchfool" min:"0" doc:"whose attention selects patches, from 0; the last if there are fewer"`
	Rate            float64  `toml:"rate" only:"method=patchfool" above:"0" doc:"of Adam, in units of the normalised image"`
	AttentionWeight float64  `toml:"attention_weight" only:"method=patchfool" min:"0" doc:"of the attention objectives beside the cross-entropy"`
	Form            string   `toml:"form" only:"method=patchfool" enum:"code paper" doc:"attention objectives of the authors' program, or as the paper writes them"`
	Conflict        string   `toml:"conflict" only:"method=patchfool" enum:"project code-norm" doc:"what happens to an attention gradient against the cross-entropy's"`
	MildL2          Fraction `toml:"mild_l2" optional:"yes" only:"method=patchfool" min:"0" doc:"largest L2 length of a channel's change, pixels in [0,1]; 0 = no limit"`
	MildLinf        Fraction `toml:"mild_linf" optional:"yes" only:"method=patchfool" min:"0" max:"1" doc:"largest change of a pixel in [0,1]; 0 = no limit"`
	SparsePixels    int      `toml:"sparse_pixels" optional:"yes" only:"method=patchfool" min:"0" doc:"so many pixels change, which ones is learnt; 0 = all of the patches"`

	Seed uint64 `toml:"seed" doc:"of random numbers; default: the run's seed"`
}

// Methods are the words for the attacks.
func Methods() []string {
	field, _ := reflect.TypeFor[Attack]().FieldByName("Method")
	return strings.Fields(field.Tag.Get("enum"))
}

// DefaultAttack is the attack of a file that says nothing but the method.
func DefaultAttack(method string) Attack {
	a := defaultOf[Attack]()
	a.Method = method
	a.Steps = defaultSteps[method]
	return a
}

// defaultSteps are the paper's for PGD and those of the papers of the other attacks.
var defaultSteps = map[string]int{"pgd": 50, "pgd-l2": 50, "apgd-ce": 100, "apgd-t": 100, "fab-t": 100, "autoattack": 100, "patchfool": 250}

// L2 reports whether the ball is one of Euclidean length.
func (a *Attack) L2() bool { return a.Method == "pgd-l2" || a.Norm == "L2" }

// Complete says what is wrong with an attack besides single values, and clears the settings that mean nothing for its
// method. given reports whether a key was given; inherited keys have a value that was given elsewhere.
func (a *Attack) Complete(given func(key string) bool, inherited ...string) []AttackProblem {
	var problems []AttackProblem
	bad := func(key, hint, format string, args ...any) {
		problems = append(problems, AttackProblem{key, fmt.Sprintf(format, args...), hint})
	}
	known := func(key string) bool { return given(key) || slices.Contains(inherited, key) }
	if !known("steps") {
		a.Steps = defaultSteps[a.Method]
	}
	v := reflect.ValueOf(a).Elem()
	for i := range v.NumField() {
		field := v.Type().Field(i)
		_, words, conditional := condition(field)
		if !conditional || slices.Contains(words, a.Method) {
			continue
		}
		key := field.Tag.Get("toml")
		// Saying that draws are keyed is true of every method.
		if given(key) && !(key == "rng" && a.RNG == "keyed") {
			bad(key, fmt.Sprintf("leave it out; it is for %s", strings.Join(words, ", ")), "%s means nothing with method %s", key, a.Method)
		}
		v.Field(i).SetZero()
	}
	epsilon := a.Epsilon.Float64()
	switch {
	case a.Method == "patchfool": // what bounds the change is the number of patches
	case a.L2() && !known("epsilon"):
		bad("epsilon", "give the radius, for instance 0.5", "the default, 8/255, is a radius for the largest change of a pixel, not for a length in L2")
	case !a.L2() && epsilon > 1:
		hint := "at most 1"
		if epsilon <= 255 {
			hint = fmt.Sprintf(`pixels are in [0,1]; did you mean "%s/255"?`, a.Epsilon)
		}
		bad("epsilon", hint, "epsilon is %s", a.Epsilon)
	}
	if a.Restarts > 1 && strings.HasPrefix(a.Method, "pgd") && !a.RandomStart {
		bad("restarts", "add random_start, or leave restarts out", "%d restarts without a random start would repeat one attack", a.Restarts)
	}
	if a.L2() && a.StepUnit == "norm" {
		bad("step_unit", "write pixel or eps", "a step in units of the normalised image has no length in L2")
	}
	if a.MildL2.Float64() > 0 && a.MildLinf.Float64() > 0 {
		bad("mild_l2", "leave one of them out", "mild_l2 and mild_linf exclude each other")
	}
	if a.Steps == 0 && defaultSteps[a.Method] > 50 {
		bad("steps", "at least 1", "steps is 0")
	}
	return problems
}

// inherit takes over from main, which is complete, what an ablation leaves out, and returns the keys.
func (a *Attack) inherit(main *Attack, given func(key string) bool) []string {
	keys := []string{"seed"}
	v, from := reflect.ValueOf(a).Elem(), reflect.ValueOf(main).Elem()
	if a.Method == main.Method {
		keys = nil
		for i := range v.NumField() {
			keys = append(keys, v.Type().Field(i).Tag.Get("toml"))
		}
	} else if a.Method != "patchfool" && main.Method != "patchfool" && a.L2() == main.L2() {
		keys = append(keys, "epsilon")
	}
	keys = slices.DeleteFunc(keys, given)
	for i := range v.NumField() {
		if slices.Contains(keys, v.Type().Field(i).Tag.Get("toml")) {
			v.Field(i).Set(from.Field(i))
		}
	}
	return keys
}

// AttackProblem is one thing that Complete found, about one key.
type AttackProblem struct{ Key, Message, Hint string }

// Step returns the step in pixel units at radius epsilon; with the unit norm, in units of a standard deviation.
func (a *Attack) Step(epsilon Fraction) float64 {
	step := a.StepSize.Rat()
	switch a.StepUnit {
	case "eps":
		step = new(big.Rat).Mul(step, epsilon.Rat())
	case "byte":
		step = new(big.Rat).Quo(step, big.NewRat(255, 1))
	}
	v, _ := step.Float64()
	return v
}
