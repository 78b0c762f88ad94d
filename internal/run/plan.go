package run

import (
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// planned is the work of one stage, known before the run comes to it. Counts of units and passes are those of the whole
// stage; what an earlier run finished is taken off by the number of units found, and exactly when the stage begins.
type planned struct {
	Stage  Stage   `json:"stage"`
	Units  int     `json:"units"`
	Passes float64 `json:"-"`
}

// plan lists the stages that show images to models, for n images in the subset and whole in the validation set.
func (r *runner) plan(n, whole int) []planned {
	var out []planned
	add := func(stage Stage, units int, passes float64) {
		if units > 0 {
			out = append(out, planned{stage, units, passes})
		}
	}
	models := float64(len(r.members))
	add(StageEvaluate, len(r.members), passForward*models*float64(n))
	if r.wantsWhole() {
		if r.Evaluate.Images != "all" {
			whole = n
		}
		add(StageEvaluate, len(r.members), passForward*models*float64(whole))
	}
	if slices.Contains(r.Skip, StageAttack) {
		return out
	}
	shards := (n + shardSize - 1) / shardSize
	attacks, attackPasses, transfers := 0, 0.0, 0
	for _, s := range r.settings() {
		for _, m := range r.members {
			if s.attacked(m) {
				attacks += shards
				attackPasses += float64(n) * s.attack.passes()
				transfers += len(r.members)
			}
		}
	}
	add(StageAttack, attacks, attackPasses)
	add(StageTransfer, transfers, passForward*float64(transfers)*float64(n))
	return out
}

// recorded counts the finished units of a stage, whatever their keys.
func recorded(units string, stage Stage) int {
	names, err := filepath.Glob(filepath.Join(units, string(stage), "*.unit.json"))
	if err != nil {
		return 0 // only a malformed pattern
	}
	n := 0
	for _, name := range names {
		if !strings.HasPrefix(filepath.Base(name), ".") {
			n++
		}
	}
	return n
}

// ahead is what a plan holds of one stage.
type ahead struct {
	stage     string
	remaining float64 // passes
	begun     bool
}

// Plan says what the stages to come will cost, so that there is a time left for the whole run.
func (p *Progress) Plan(stages []planned, units string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ahead = nil
	found := map[Stage]int{}
	for _, s := range stages {
		if _, known := found[s.Stage]; !known {
			found[s.Stage] = recorded(units, s.Stage)
		}
		done := min(found[s.Stage], s.Units)
		found[s.Stage] -= done
		p.ahead = append(p.ahead, ahead{stage: string(s.Stage), remaining: s.Passes * (1 - float64(done)/float64(s.Units))})
	}
}

// enter makes the plan exact for the stage that begins.
func (p *Progress) enter(stage string, remaining float64) {
	p.leave()
	for i := range p.ahead {
		if a := &p.ahead[i]; a.stage == stage && !a.begun {
			a.begun, a.remaining = true, remaining
			p.current = a
			return
		}
	}
}

// leave closes the stage at work.
func (p *Progress) leave() {
	if p.current != nil {
		p.busy += time.Since(p.started)
		p.current.remaining = 0
		p.current = nil
	}
}

// runLeft estimates the time to the end of the planned stages from the passes and the time of all stages so far.
func (p *Progress) runLeft() string {
	busy, remaining := p.busy, 0.0
	if p.current != nil {
		busy += time.Since(p.started)
	}
	for _, a := range p.ahead {
		remaining += max(a.remaining, 0)
	}
	if p.passes <= 0 || busy < 2*time.Second {
		return ""
	}
	return "about " + time.Duration(float64(busy)*remaining/p.passes).Round(time.Second).String() + " left"
}
