package goldentest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"sat/attacks"
	"sat/internal/testkit"
)

// autoGolden is testdata/autoattack.json; scripts/goldens/attacks_autoattack.py makes it with the reference implementation.
type autoGolden struct {
	Header struct {
		Tool       string
		Capability string `json:"cpu_capability"`
		Seed       uint64
	}
	Cases []struct {
		Model, Norm, Correct string // flags are strings of 0 and 1
		Epsilon              float64
		Images               int
		Stages               []struct{ Name, Robust string }
	}
	Alone []struct {
		Model, Norm, Attack, Robust string
		Epsilon                     float64
		Images, Steps               int
	}
}

// readAutoGolden also says whether this is the kind of CPU that made the flags.
func readAutoGolden(t *testing.T) (g autoGolden, sameKernels bool) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "autoattack.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &g); err != nil {
		t.Fatal(err)
	}
	return g, testkit.SameKernels(t, g.Header.Capability)
}

// compare wants equal flags with equal kernels. Elsewhere gradients near 0 round to other signs and long attacks end
// elsewhere, so there it wants about as many flags: within an eighth of the images.
func compare(t *testing.T, what, got, want string, sameKernels bool) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d flags, the reference has %d", what, len(got), len(want))
	}
	if sameKernels && got != want {
		t.Errorf("%s: flags differ\n      got %s\nreference %s", what, got, want)
	}
	if a, b := ones(got), ones(want); max(a-b, b-a) > len(want)/8 {
		t.Errorf("%s: %d images, in the reference %d", what, a, b)
	}
}

var norms = map[string]attacks.Norm{"Linf": attacks.Linf, "L2": attacks.L2}

func bits(flags []bool) string {
	text := make([]byte, len(flags))
	for i, f := range flags {
		text[i] = '0'
		if f {
			text[i] = '1'
		}
	}
	return string(text)
}

func ones(flags string) (n int) {
	for _, f := range flags {
		n += int(f - '0')
	}
	return n
}

// The robust flags of every image after every stage.
func TestAutoAttackEqualsReference(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped in short mode: thousands of forward passes")
	}
	testkit.NoLeaks(t)
	worker := testkit.Torch(t)
	images, x := readGolden(t)
	g, sameKernels := readAutoGolden(t)
	decided := map[string]int{}
	for _, c := range g.Cases {
		t.Run(fmt.Sprintf("%s %s %.0f of 255", c.Model, c.Norm, c.Epsilon*255), func(t *testing.T) {
			a := attacks.DefaultAutoAttack()
			a.Epsilon, a.Seed, a.Randomness = c.Epsilon, g.Header.Seed, attacks.StreamCompat
			a.Norm = norms[c.Norm]
			model := load(t, worker, c.Model)
			r, err := a.Run(context.Background(), model, x.Slice(0, c.Images), images.Labels[:c.Images], ids(c.Images), nil)
			if err != nil {
				t.Fatal(err)
			}
			compare(t, "correct", bits(r.Correct), c.Correct, true)
			before := ones(c.Correct)
			for s, want := range c.Stages {
				if r.Stages[s].Name != want.Name {
					t.Errorf("stage %d is %s, in the reference %s", s, r.Stages[s].Name, want.Name)
				}
				compare(t, "robust after "+want.Name, bits(r.Stages[s].Robust), want.Robust, sameKernels)
				decided[want.Name] += before - ones(want.Robust)
				before = ones(want.Robust)
			}
		})
	}
	for _, name := range attacks.StageNames {
		if decided[name] == 0 {
			t.Errorf("in no case does %s decide about any image", name)
		}
	}
}

// Single attacks, without those before them: what FAB and Square do, in both norms.
func TestSingleAttacksEqualReference(t *testing.T) {
	testkit.NoLeaks(t)
	worker := testkit.Torch(t)
	images, x := readGolden(t)
	g, sameKernels := readAutoGolden(t)
	for _, c := range g.Alone {
		t.Run(c.Model+" "+c.Norm+" "+c.Attack, func(t *testing.T) {
			model := load(t, worker, c.Model)
			x, y, ids := x.Slice(0, c.Images), images.Labels[:c.Images], ids(c.Images)
			var r attacks.Result
			var err error
			switch c.Attack {
			case "fab-t":
				f := attacks.DefaultFAB()
				f.Norm, f.Epsilon, f.Steps, f.Targets = norms[c.Norm], c.Epsilon, c.Steps, 3
				r, err = f.Run(context.Background(), model, x, y, ids, nil)
			case "square":
				q := attacks.DefaultSquare()
				q.Norm, q.Epsilon, q.Queries, q.Seed, q.Randomness = norms[c.Norm], c.Epsilon, c.Steps, g.Header.Seed, attacks.StreamCompat
				r, err = q.Run(context.Background(), model, x, y, ids, nil)
			}
			if err != nil {
				t.Fatal(err)
			}
			robust := make([]bool, c.Images)
			for i, fooled := range r.Fooled {
				robust[i] = !fooled
			}
			compare(t, "robust", bits(robust), c.Robust, sameKernels)
			if n := ones(c.Robust); n == 0 || n == ones(bits(r.Correct)) {
				t.Errorf("%d images are robust: the case decides nothing", n)
			}
		})
	}
}
