package run

import (
	"math"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// planned is the work of one stage, known before the run comes to it. Units and work are those of the whole stage; what an
// earlier run finished is taken off by the number of units found, and exactly when the stage begins.
type planned struct {
	Stage Stage                 `json:"stage"`
	Units int                   `json:"units"`
	Work  map[string]*remaining `json:"-"` // by model; nil: nobody can say before the stage begins
}

// remaining is the work of one model in one stage.
type remaining struct {
	passes float64
	loads  int // of the model, one for each task
}

// plan lists the stages that show images to models, and those before them, for n images in the subset and whole in the
// validation set. Controls are known once the images are open.
func (r *runner) plan(n, whole int) []planned {
	var out []planned
	asked := func(stage Stage) bool {
		at := slices.Index(stages, stage)
		return !slices.Contains(r.Skip, stage) && (r.Until == "" || at <= slices.Index(stages, r.Until)) && at >= slices.Index(stages, r.From)
	}
	add := func(p planned) {
		if p.Units > 0 && asked(p.Stage) {
			out = append(out, p)
		}
	}
	points := 0.0 // of one plane
	exports := map[string]bool{}
	training := planned{Stage: StageTrain}
	evaluate := planned{StageEvaluate, len(r.members), map[string]*remaining{}}
	all := planned{Stage: StageEvaluate, Work: map[string]*remaining{}}
	attack := planned{Stage: StageAttack, Work: map[string]*remaining{}}
	transfer := planned{Stage: StageTransfer, Work: map[string]*remaining{}}
	boundary := planned{Stage: StageBoundary, Work: map[string]*remaining{}}
	if r.Boundary != nil {
		points = passForward * float64(r.Boundary.Grid*r.Boundary.Grid)
	}
	shards := (n + shardSize - 1) / shardSize
	for _, m := range r.members {
		if m.Export != nil {
			exports[m.Export.Name] = true
		}
		if m.Recipe != nil {
			training.Units++
		}
		evaluate.Work[m.Name] = &remaining{passForward * float64(n), 1}
		if r.wantsWhole() {
			images := n
			if r.Evaluate.Images == "all" {
				images = whole
			}
			all.Units++
			all.Work[m.Name] = &remaining{passForward * float64(images), 1}
		}
		attacked, shown := &remaining{}, &remaining{loads: 1}
		for _, set := range r.imageSets() {
			if set.attacked(m) && asked(StageAttack) { // a run of boundaries alone has none
				attack.Units += shards
				attacked.passes += float64(n) * set.attack.passes()
				attacked.loads += shards
			}
			for _, source := range r.members {
				if set.transferred(source, m) {
					transfer.Units++
					shown.passes += passForward * float64(n)
				}
			}
		}
		controls := r.controlsOf(m)
		transfer.Units += controls
		shown.passes += passForward * float64(n*controls)
		attack.Work[m.Name], transfer.Work[m.Name] = attacked, shown
		if r.Boundary != nil {
			units := func(triplets int) int { return (triplets + planesPerUnit - 1) / planesPerUnit }
			planes := r.Boundary.Triplets
			boundary.Units += units(planes)
			if s := r.Stability; s != nil && slices.Contains(s.Pair[:], m.Name) {
				most := slices.Max(s.Triplets)
				boundary.Units += s.Repeats * units(most)
				planes += s.Repeats * most
			}
			boundary.Work[m.Name] = &remaining{points * float64(planes), 1}
		}
	}
	add(planned{Stage: StageExport, Units: len(exports)})
	for _, p := range []planned{training, evaluate, all, attack, transfer, boundary} {
		add(p)
	}
	return out
}

// controlsOf counts the control units of a target; none before the images are open.
func (r *runner) controlsOf(target *member) int {
	seen := map[string]bool{}
	for _, source := range r.members {
		if source.images != nil && target.images != nil && r.needsControl(source, target) {
			seen[source.images.Digest()] = true
		}
	}
	return len(seen)
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

// ahead is what a plan holds of one stage. It is dropped when the stage is over.
type ahead struct {
	stage Stage
	work  map[string]*remaining // nil: unknown
	begun bool
}

// Plan says what the stages will cost, so that there is a time left for the whole run. Those that are over are left out.
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
		if p.past[s.Stage] {
			continue
		}
		a := &ahead{stage: s.Stage}
		if s.Work != nil {
			a.work = map[string]*remaining{}
			left := 1 - float64(done)/float64(s.Units)
			for model, w := range s.Work {
				a.work[model] = &remaining{w.passes * left, int(math.Ceil(float64(w.loads) * left))}
			}
		}
		p.ahead = append(p.ahead, a)
	}
}

// enter makes the plan exact for the tasks that begin.
func (p *Progress) enter(stage Stage, tasks []task, workers int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	work := map[string]*remaining{}
	for _, t := range tasks {
		if work[t.model] == nil {
			work[t.model] = &remaining{}
		}
		work[t.model].passes += t.passes
		work[t.model].loads++
	}
	p.workers, p.working = workers, &ahead{stage, work, true}
	if i := p.next(stage); i >= 0 {
		p.ahead[i] = p.working
	} else {
		p.ahead = append(p.ahead, p.working)
	}
}

// next is the first part of a stage that has not begun; -1 if there is none. What nobody could foresee stays in the plan as
// long as the stage lasts: there may be more tasks to come.
func (p *Progress) next(stage Stage) int {
	return slices.IndexFunc(p.ahead, func(a *ahead) bool { return a.stage == stage && !a.begun && a.work != nil })
}

// ended takes off a task.
func (p *Progress) ended(model string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.working != nil && p.working.work[model] != nil {
		p.working.work[model].loads--
	}
}

// over takes off a stage, whether or not it had anything to do.
func (p *Progress) over(stage Stage) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ahead = slices.DeleteFunc(p.ahead, func(a *ahead) bool { return a.stage == stage })
	p.working = nil
	if p.past == nil {
		p.past = map[Stage]bool{}
	}
	p.past[stage] = true
}

// nothing takes off a part of a stage that was finished before.
func (p *Progress) nothing(stage Stage) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := p.next(stage); i >= 0 {
		p.ahead = slices.Delete(p.ahead, i, i+1)
	}
}

// forget takes off a model that is left out.
func (p *Progress) forget(model string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range p.ahead {
		delete(a.work, model)
	}
}

// seconds estimates what is left of a stage; ok is false as long as a model of it was never measured.
func (p *Progress) seconds(a *ahead) (seconds float64, ok bool) {
	if a.work == nil {
		return 0, false
	}
	tasks := 0
	for model, w := range a.work {
		if w.passes <= 0 && w.loads <= 0 {
			continue
		}
		rate, known := p.costs.perPass(a.stage, model)
		if !known {
			return 0, false
		}
		seconds += max(w.passes, 0)*rate + float64(max(w.loads, 0))*p.costs.Models[model].Load
		tasks += max(w.loads, 1)
	}
	return seconds / float64(max(1, min(p.workers, tasks))), true
}

// runLeft estimates the time to the end of the last stage that shows images to models; "" until all that is to come was
// measured, in this execution or an earlier one.
func (p *Progress) runLeft() string {
	total := 0.0
	for _, a := range p.ahead {
		s, ok := p.seconds(a)
		if !ok {
			return ""
		}
		total += s
	}
	if total == 0 {
		return ""
	}
	return about(total)
}

// about writes a time left as exactly as it can be meant.
func about(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	unit := time.Second
	if d >= 10*time.Minute {
		unit = time.Minute
	}
	text := d.Round(unit).String()
	if unit == time.Minute {
		text = strings.TrimSuffix(text, "0s")
	}
	return "about " + text + " left"
}
