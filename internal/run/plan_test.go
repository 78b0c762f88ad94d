package run

import (
	"strings"
	"testing"
	"time"

	"sat/boundary"
	"sat/internal/data"
	"sat/internal/experiment"
	"sat/internal/store"
	"sat/internal/testkit"
	"sat/torch"
)

// recordUnits makes n finished units of a stage.
func recordUnits(t *testing.T, units string, stage Stage, n int) {
	t.Helper()
	for i := range n {
		u := store.Unit{Stage: string(stage), Name: string(rune('a' + i)), Key: store.Key(strings.Repeat("0", 64))}
		must(t, u.Begin(units))
		must(t, u.Commit(units))
	}
}

// work is a plan's work of models "slow" and "fast".
func work(passes float64, loads int) map[string]*remaining {
	return map[string]*remaining{"slow": {passes, loads}, "fast": {passes, loads}}
}

// TestRunLeft: a time left of the run is given when every model has been measured, counts what models cost and what loading
// them costs apart, and takes off what was finished.
func TestRunLeft(t *testing.T) {
	units := t.TempDir()
	recordUnits(t, units, StageTransfer, 1)
	p := silent()
	p.Plan([]planned{{StageEvaluate, 2, work(4, 1)}, {StageAttack, 2, work(600, 2)}, {StageTransfer, 4, work(8, 1)}}, units)
	expect := func(when, want string) {
		t.Helper()
		if got := p.runLeft(); got != want {
			t.Errorf("%s: %q, want %q", when, got, want)
		}
	}
	expect("before anything", "")
	p.Begin("evaluate", 8, 0)
	p.enter(StageEvaluate, []task{{model: "slow", passes: 4}, {model: "fast", passes: 4}}, 1)
	p.costs.add(StageEvaluate, "slow", 4, 4*time.Second)
	p.costs.of("slow").Load = 10
	p.advance(4, "slow", "")
	p.ended("slow")
	expect("one of two models measured", "")
	p.costs.add(StageEvaluate, "fast", 2, time.Second)
	p.costs.of("fast").Load = 1
	p.advance(2, "fast", "")
	// Two passes and the load of this task; 600 of a second and 600 of half a second, 2 x 11 of loading; three quarters of
	// 8 + 4 passes, 11 of loading.
	expect("both measured", about(1+1+900+22+9+11))
	p.advance(2, "fast", "")
	p.ended("fast")
	p.End("done")
	p.over(StageEvaluate)
	expect("evaluated", about(900+22+9+11))

	p.Begin("attack", 1200, 0)
	p.enter(StageAttack, []task{{model: "slow", passes: 600}, {model: "fast", passes: 500}}, 2)
	// Two workers, and passes of an attack turn out twice as long.
	p.costs.add(StageAttack, "slow", 100, 200*time.Second)
	p.advance(100, "slow", "")
	expect("attacking", about((500*2+500*1+11)/2.+(9+11)/2.))
	if left := p.left(); left != about((500*2+500+11)/2.) {
		t.Errorf("of the stage: %q", left)
	}
	p.forget("slow")
	expect("without the slow one", about((500+1)/1.+(3+1)/1.))
	p.over(StageAttack)
	p.over(StageTransfer)
	expect("at the end", "")
}

// TestUnknownWork: as long as models are trained or exported, nobody knows what the rest of the run costs.
func TestUnknownWork(t *testing.T) {
	p := silent()
	p.costs.add(StageEvaluate, "fast", 1, time.Second) // by an earlier execution
	p.costs.add(StageEvaluate, "slow", 1, time.Second)
	p.Plan([]planned{{StageTrain, 1, nil}, {StageEvaluate, 2, work(5, 0)}}, t.TempDir())
	p.Begin("train", 10, 0)
	p.enter(StageTrain, []task{{model: "slow", passes: 10}}, 1)
	if left := p.runLeft(); left != "" {
		t.Errorf("while training: %q", left)
	}
	p.over(StageTrain)
	if left := p.runLeft(); left != "about 10s left" {
		t.Errorf("trained: %q", left)
	}
	p.Plan([]planned{{StageTrain, 1, nil}, {StageEvaluate, 2, work(6, 0)}}, t.TempDir()) // known better
	if left := p.runLeft(); left != "about 12s left" {
		t.Errorf("planned again: %q", left)
	}
	p.nothing(StageEvaluate) // all of it was finished
	if left := p.runLeft(); left != "" {
		t.Errorf("nothing to do: %q", left)
	}
}

// TestClock: loading and checking a model is no cost of its passes.
func TestClock(t *testing.T) {
	p, w := silent(), &torch.Worker{}
	c := p.clock(StageEvaluate, task{model: "m"}, w)
	p.loaded(w, "m", time.Hour)
	p.checked(w, time.Hour)
	c.lap(5)
	m := p.costs.of("m")
	if got := *m.Stages[StageEvaluate]; got != (cost{5, 0}) || m.Load != 3600 {
		t.Errorf("after loading: %+v, %v", got, m.Load)
	}
	c.last = c.last.Add(-10 * time.Second)
	c.lap(5)
	if got := m.Stages[StageEvaluate]; got.Passes != 10 || got.Seconds < 10 {
		t.Errorf("after ten seconds: %+v", got)
	}
}

// TestRateOfABeginning: the rate of the first few passes says nothing about a long stage.
func TestRateOfABeginning(t *testing.T) {
	p := silent()
	p.Begin("images", 1000, 0)
	p.Advance(10, "")
	p.started = time.Now().Add(-time.Hour)
	if left := p.left(); left != "" {
		t.Errorf("after 1 %%: %q", left)
	}
	p.Advance(490, "")
	if left := p.left(); left != "about 1h0m left" {
		t.Errorf("after half: %q", left)
	}
}

// TestPlanOfARun: the plan has as many units as a run makes, controls and planes included, and the heartbeat keeps the costs
// for the next run on the same machine.
func TestPlanOfARun(t *testing.T) {
	spec := comparison(t, 6, "a", "b")
	spec.Members = append(spec.Members, Member{Name: "large", Group: "large", Path: testkit.Root(t) + "/zoo/testdata/vit.pt"}) // 16x16
	must(t, data.WriteNPY(spec.Data.LabelsFile, []int64{0, 1, 2, 3, 0, 1}, 6))                                                 // planes need three classes
	spec.Evaluate = experiment.Evaluate{Logits: "float32"}
	spec.Transfer.ResizeOnly = true
	spec.Boundary = &Boundary{Options: boundary.Options{Grid: 3, Margin: 0.1}, Triplets: planesPerUnit + 1, Reference: "large"}
	spec.Stability = &Stability{Pair: [2]string{"a", "b"}, Sizes: []int{6}, Triplets: []int{1, 2}, Repeats: 2}
	_, err := Run(t.Context(), spec, Options{Until: StageBoundary, Progress: silent()})
	must(t, err)
	s, err := ReadStatus(spec)
	must(t, err)
	want := map[Stage]int{StageEvaluate: 6, StageAttack: 3, StageTransfer: 9 + 3, StageBoundary: 3*2 + 2*2}
	for _, stage := range s.Stages {
		if stage.Done != want[stage.Stage] || stage.Planned != want[stage.Stage] {
			t.Errorf("%s: %d units done of %d, want %d", stage.Stage, stage.Done, stage.Planned, want[stage.Stage])
		}
	}

	again := &runner{Spec: spec, Options: Options{Progress: silent()}}
	again.rememberCosts()
	for _, m := range spec.Members {
		for _, stage := range []Stage{StageEvaluate, StageAttack, StageTransfer, StageBoundary} {
			if rate, ok := again.Progress.costs.perPass(stage, m.Name); !ok || rate <= 0 || !again.Progress.costs.Models[m.Name].Stages[stage].known() {
				t.Errorf("%s of %s: %v seconds per pass", stage, m.Name, rate)
			}
		}
	}
	again.Threads++
	again.rememberCosts()
	if len(again.Progress.costs.Models) > 0 {
		t.Error("costs with another number of threads")
	}
}
