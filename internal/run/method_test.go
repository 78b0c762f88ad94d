package run

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"sat/attacks"
	"sat/internal/experiment"
)

// attackOfMethod is an attack that runs in no time.
func attackOfMethod(t *testing.T, method string) Attack {
	t.Helper()
	epsilon, err := experiment.ParseFraction("16/255")
	must(t, err)
	a := experiment.DefaultAttack(method)
	a.Epsilon, a.Steps, a.Targets, a.Queries = epsilon, 2, 2, 5
	for _, p := range a.Complete(func(key string) bool { return key == "epsilon" || key == "steps" && method != "square" }) {
		t.Fatalf("%s: %s", method, p.Message)
	}
	attack, err := NewAttack(a, epsilon)
	must(t, err)
	return attack
}

// TestEveryMethod: each method runs as the adversary of a comparison, and what is stored names its settings exactly.
func TestEveryMethod(t *testing.T) {
	keys := map[string]string{}
	for _, method := range experiment.Methods() {
		if method == "patchfool" {
			continue // its networks give their attention; see package goldentest and the tests of the command
		}
		t.Run(method, func(t *testing.T) {
			spec := comparison(t, 8, "a", "b")
			spec.Attack = attackOfMethod(t, method)
			if spec.Attack.Name() != method {
				t.Errorf("the attack is called %s", spec.Attack.Name())
			}
			compare(t, spec)
			text, err := json.Marshal(spec.Attack)
			must(t, err)
			if other, ok := keys[string(text)]; ok {
				t.Errorf("%s and %s are stored alike", method, other)
			}
			keys[string(text)] = method
			var again Attack
			must(t, json.Unmarshal(text, &again))
			if again != spec.Attack {
				t.Errorf("read again: %+v, want %+v", again, spec.Attack)
			}
			// Scoring once more accepts the stored attack, and no other.
			_, err = Run(t.Context(), spec, Options{From: StageSimilarity, Until: StageSimilarity, Progress: silent()})
			must(t, err)
			if c := spec.Attack.Cost(); c.Forwards < 2 || (method == "square") != (c.Gradients == 0) {
				t.Errorf("cost %+v", c)
			}
		})
	}
}

func TestUnknownMethodInFile(t *testing.T) {
	var a Attack
	if err := json.Unmarshal([]byte(`{"method":"bim","settings":{}}`), &a); err == nil {
		t.Error("an attack that does not exist was read")
	}
}

// TestAutoAttackContinues: a unit of AutoAttack that was interrupted after some batch goes on from there, and ends with
// the same bytes; a damaged or foreign state is not trusted.
func TestAutoAttackContinues(t *testing.T) {
	spec := comparison(t, 12, "a")
	spec.Attack = attackOfMethod(t, "autoattack")
	auto := spec.Attack.Attacker.(attacks.AutoAttack)
	auto.Epsilon = 0.4 / 255 // most images withstand, so that every stage has batches
	spec.Attack.Attacker = auto
	before := saveInterval
	saveInterval = 0
	t.Cleanup(func() { saveInterval = before })

	whole := spec
	whole.Dir, whole.Similarity = filepath.Join(t.TempDir(), "run"), ""
	whole.Similarity = filepath.Join(whole.Dir, "similarity")
	compare(t, whole)
	read := func(s Spec) []byte {
		t.Helper()
		files, err := filepath.Glob(filepath.Join(s.Dir, "units", "attack", "*.adv"))
		must(t, err)
		if len(files) != 1 {
			t.Fatalf("%d stores", len(files))
		}
		return readFile(t, files[0])
	}
	want := read(whole)

	// Interrupted again and again: each attempt gets one save further.
	attempts := 0
	for ; ; attempts++ {
		if attempts > 100 {
			t.Fatal("no end")
		}
		ctx, cancel := context.WithCancel(t.Context())
		saved := 0
		afterSave = func() {
			if saved++; saved == 2 {
				cancel()
			}
		}
		_, err := Run(ctx, spec, Options{Until: StageAttack, Progress: silent()})
		afterSave = func() {}
		cancel()
		states, globErr := filepath.Glob(filepath.Join(spec.Dir, "units", "attack", "*.state"))
		must(t, globErr)
		if err == nil {
			if len(states) != 0 {
				t.Errorf("left behind: %q", states)
			}
			break
		}
		if !errors.Is(err, context.Canceled) || len(states) > 1 {
			t.Fatalf("%v, states %q", err, states)
		}
		if len(states) == 0 {
			continue // the last save was that of the finished attack
		}
		if attempts == 1 { // a damaged state: from the beginning
			content := readFile(t, states[0])
			content[len(content)/2] ^= 1
			must(t, os.WriteFile(states[0], content, 0o666))
		}
	}
	if attempts < 4 {
		t.Errorf("only %d interruptions", attempts)
	}
	if !slices.Equal(read(spec), want) {
		t.Error("an interrupted attack ends with other images")
	}
}
