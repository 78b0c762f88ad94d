package run

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"sat/torch"
)

// What a pass costs differs a hundredfold between models, and loading a model with its checks can take longer than a few
// photographs through it. So both are measured, per model, and a time left is only given when every model of the stages
// to come has been measured.

// cost is what some work took one worker, loading not included.
type cost struct {
	Passes  float64 `json:"passes"`
	Seconds float64 `json:"seconds"`
}

func (c *cost) known() bool   { return c != nil && c.Passes > 0 }
func (c *cost) rate() float64 { return c.Seconds / c.Passes }

// modelCosts is what was measured of one model.
type modelCosts struct {
	Load   float64         `json:"load_seconds"` // the last time; the first includes the checks of the file
	Stages map[Stage]*cost `json:"stages"`
}

// costs are measured while a run works. The heartbeat keeps them, for a run that is continued.
type costs struct {
	Machine string                 `json:"machine"` // those of another say nothing
	Models  map[string]*modelCosts `json:"models"`
}

func (c *costs) of(model string) *modelCosts {
	if c.Models == nil {
		c.Models = map[string]*modelCosts{}
	}
	m := c.Models[model]
	if m == nil {
		m = &modelCosts{Stages: map[Stage]*cost{}}
		c.Models[model] = m
	}
	return m
}

func (c *costs) add(stage Stage, model string, passes float64, took time.Duration) {
	m := c.of(model)
	if m.Stages[stage] == nil {
		m.Stages[stage] = &cost{}
	}
	m.Stages[stage].Passes += passes
	m.Stages[stage].Seconds += took.Seconds()
}

// costly are the stages that are measured, in the order in which one stands for another.
var costly = []Stage{StageEvaluate, StageTransfer, StageAttack, StageBoundary, StageTrain}

// perPass is the seconds of one pass of a model in a stage: measured there, or in another stage and converted by what the
// models measured in both took. Passes are weighted by what they should cost (passForward, passGradient), so where no
// model was measured in both, they count as alike.
func (c *costs) perPass(stage Stage, model string) (seconds float64, ok bool) {
	m := c.Models[model]
	if m == nil {
		return 0, false
	}
	if own := m.Stages[stage]; own.known() {
		return own.rate(), true
	}
	for _, other := range costly {
		if o := m.Stages[other]; o.known() {
			return o.rate() * c.ratio(stage, other), true
		}
	}
	return 0, false
}

// ratio is how much slower passes are in stage than in other.
func (c *costs) ratio(stage, other Stage) float64 {
	here, there := 0.0, 0.0
	for _, m := range c.Models {
		if a, b := m.Stages[stage], m.Stages[other]; a.known() && b.known() {
			here, there = here+a.rate(), there+b.rate()
		}
	}
	if there == 0 {
		return 1
	}
	return here / there
}

// machine says what costs are about.
func (r *runner) machine() string {
	host, err := os.Hostname()
	if err != nil {
		host = "this host"
	}
	return fmt.Sprintf("%s, %s, %s, %d threads", host, r.device(), r.Mode, r.Threads)
}

// rememberCosts takes what an earlier execution measured on this machine.
func (r *runner) rememberCosts() {
	known := costs{}
	var before heartbeat
	// Without them there is just no time left at first.
	if content, err := os.ReadFile(heartbeatFile(r.Dir)); err == nil && json.Unmarshal(content, &before) == nil && before.Costs != nil &&
		before.Costs.Machine == r.machine() {
		known = *before.Costs
	}
	known.Machine = r.machine()
	r.Progress.remember(known)
}

// remember sets the costs to begin with.
func (p *Progress) remember(c costs) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.costs = c
}

// measured is a copy of the costs so far.
func (p *Progress) measured() *costs {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := &costs{Machine: p.costs.Machine, Models: map[string]*modelCosts{}}
	for name, m := range p.costs.Models {
		copied := &modelCosts{Load: m.Load, Stages: map[Stage]*cost{}}
		for stage, c := range m.Stages {
			once := *c
			copied.Stages[stage] = &once
		}
		out.Models[name] = copied
	}
	return out
}

// loaded says that a worker loaded a model, which is not the cost of any pass.
func (p *Progress) loaded(w *torch.Worker, model string, took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.costs.of(model).Load = took.Seconds()
	p.aside(w, took)
}

// checked says that a worker spent time that no pass of the stage stands for.
func (p *Progress) checked(w *torch.Worker, took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.aside(w, took)
}

func (p *Progress) aside(w *torch.Worker, took time.Duration) {
	if p.besides == nil {
		p.besides = map[*torch.Worker]time.Duration{}
	}
	p.besides[w] += took
}

// clock times one task of one worker.
type clock struct {
	p      *Progress
	worker *torch.Worker
	task   task
	stage  Stage
	last   time.Time
}

// clock starts when a task does.
func (p *Progress) clock(stage Stage, t task, w *torch.Worker) *clock {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.besides, w)
	return &clock{p, w, t, stage, time.Now()}
}

// lap advances the progress by passes and takes the time since the last lap for their cost.
func (c *clock) lap(passes float64) {
	now := time.Now()
	c.p.mu.Lock()
	took := max(now.Sub(c.last)-c.p.besides[c.worker], 0)
	delete(c.p.besides, c.worker)
	c.p.costs.add(c.stage, c.task.model, passes, took)
	c.p.mu.Unlock()
	c.last = now
	c.p.advance(passes, c.task.model, c.task.name)
}
