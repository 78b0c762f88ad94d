package run

import (
	"os"
	"path/filepath"
	"testing"

	"sat/attacks"
	"sat/internal/experiment"
	"sat/internal/testkit"
	"sat/zoo"
)

// TestBenchAttack: every method is measured on images that all withstand, so that there is always the same to do.
func TestBenchAttack(t *testing.T) {
	testkit.NoLeaks(t)
	testkit.SkipWithoutTorch(t)
	dir := t.TempDir()
	root := testkit.Root(t)
	for name, from := range map[string]string{"small": "zoo/testdata/resnet.pt", "small-attention": "attacks/goldentest/testdata/attention.pt"} {
		must(t, os.WriteFile(filepath.Join(dir, name+".pt"), readFile(t, filepath.Join(root, filepath.FromSlash(from))), 0o666))
	}
	epsilon, err := experiment.ParseFraction(WithstandEpsilon)
	must(t, err)
	for _, method := range experiment.Methods() {
		t.Run(method, func(t *testing.T) {
			job := BenchJob{Work: BenchAttacks, BenchAttack: BenchAttack{Method: method, Epsilon: epsilon, Targets: 2, Queries: 3},
				Models: []string{"small"}, Modes: []zoo.Mode{{}}, Batch: 2, Steps: 2, Rounds: 2, Threads: 1, Workers: 1,
				Home: root, Dir: dir}
			var results []BenchResult
			must(t, Bench(t.Context(), job, func(r BenchResult) { results = append(results, r) }))
			if len(results) != 1 {
				t.Fatalf("%d results", len(results))
			}
			r := results[0]
			if r.Method != method || r.Steps != 2 || !(r.SecondsPerImage > 0) || !(r.ImagesPerSecond > 0) {
				t.Errorf("%+v", r)
			}
			counted := method != "pgd" && method != "pgd-l2" && method != "patchfool"
			if (r.Fooled != nil) != counted || counted && *r.Fooled != 0 {
				t.Errorf("fooled %v; every image should withstand", r.Fooled)
			}
		})
	}
}

// TestBenchAttackSettings: steps are iterations, of square its queries, and a turn is never longer than the usual attack.
func TestBenchAttackSettings(t *testing.T) {
	epsilon, err := experiment.ParseFraction("8/255")
	must(t, err)
	for method, most := range map[string]int{"pgd": 50, "apgd-ce": 100, "fab-t": 100, "square": 5000, "patchfool": 250} {
		job := BenchJob{Work: BenchAttacks, BenchAttack: BenchAttack{Method: method, Epsilon: epsilon, Targets: 3, Queries: 7}}
		if got := job.maxSteps(); got != most {
			t.Errorf("%s: at most %d steps, want %d", method, got, most)
		}
	}
	of := func(method string) attacks.Attacker {
		a, err := BenchJob{Work: BenchAttacks, BenchAttack: BenchAttack{Method: method, Epsilon: epsilon, Targets: 3, Queries: 7}}.attacker(4)
		must(t, err)
		return a.Attacker
	}
	if q := of("square").(attacks.Square); q.Queries != 4 {
		t.Errorf("square: %+v", q)
	}
	if a := of("autoattack").(attacks.AutoAttack); a.Queries != 7 || a.Steps != 4 || a.Targets != 3 || a.Epsilon != 8.0/255 {
		t.Errorf("autoattack: %+v", a)
	}
	if p := of("patchfool").(attacks.PatchFool); p.Steps != 4 {
		t.Errorf("patchfool: %+v", p)
	}
}
