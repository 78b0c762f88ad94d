package run

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"

	"sat/torch"
)

// logInterval is how often a run that does not own a terminal prints where it is.
const logInterval = 10 * time.Second

// Progress tells a person, or a log, how far a run is. One stage is shown at a time; its work is counted in passes: one
// image through one model once, forward passes and gradients weighted by their cost (passForward, passGradient).
// Its methods are safe for concurrent use.
type Progress struct {
	out      io.Writer
	terminal bool
	quiet    bool

	mu        sync.Mutex
	stage     string
	total     float64
	done      float64
	skipped   float64 // finished by an earlier run: counts for the bar, not for the rate
	started   time.Time
	lastPrint time.Time
	doing     string
	bar       *progressbar.ProgressBar

	ahead   []*ahead // see Plan
	past    map[Stage]bool
	working *ahead // the tasks at work; nil in a stage without tasks
	workers int
	costs   costs
	besides map[*torch.Worker]time.Duration // since its last lap, see clock
}

// NewProgress writes to out: a bar if it is a terminal, plain lines otherwise, nothing if quiet.
func NewProgress(out io.Writer, terminal, quiet bool) *Progress {
	return &Progress{out: out, terminal: terminal, quiet: quiet}
}

// Say prints one line of news.
func (p *Progress) Say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.say(fmt.Sprintf(format, args...))
}

func (p *Progress) say(line string) {
	if p.quiet {
		return
	}
	if p.bar != nil {
		_ = p.bar.Clear()
	}
	fmt.Fprintln(p.out, line)
}

// Warn prints a warning, which quiet does not silence.
func (p *Progress) Warn(message string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar != nil {
		_ = p.bar.Clear()
	}
	fmt.Fprintln(p.out, "warning: "+message)
}

// Begin starts a stage of total passes, of which skipped were done by an earlier run.
func (p *Progress) Begin(stage string, total, skipped float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stage, p.total, p.done, p.skipped, p.doing = stage, total, skipped, skipped, ""
	p.started, p.lastPrint = time.Now(), time.Now()
	if p.terminal && !p.quiet {
		p.bar = progressbar.NewOptions64(1000,
			progressbar.OptionSetWriter(p.out), progressbar.OptionSetWidth(30), progressbar.OptionClearOnFinish(),
			progressbar.OptionSetPredictTime(false), progressbar.OptionSetElapsedTime(false),
			progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionSetDescription(stage))
	}
}

// Advance adds finished passes; doing says what is being worked on.
func (p *Progress) Advance(passes float64, doing string) { p.advance(passes, "", doing) }

// advance is Advance for the work of a model.
func (p *Progress) advance(passes float64, model, doing string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done += passes
	if p.working != nil && p.working.work[model] != nil {
		p.working.work[model].passes -= passes
	}
	if doing != "" {
		p.doing = doing
	}
	p.show()
}

func (p *Progress) show() {
	if p.quiet || p.total <= 0 {
		return
	}
	if p.bar != nil {
		p.bar.Describe(fmt.Sprintf("%-9s %s %s", p.stage, p.doing, p.bothLeft()))
		_ = p.bar.Set64(int64(1000 * min(p.done/p.total, 1)))
		return
	}
	if time.Since(p.lastPrint) >= logInterval {
		p.lastPrint = time.Now()
		p.say(fmt.Sprintf("%-9s %3.0f %%  %s  %s", p.stage, 100*min(p.done/p.total, 1), p.bothLeft(), p.doing))
	}
}

// enough is the share of a stage after which its own rate says something about the rest of it.
const enough = 0.05

// left estimates the time to the end of the stage: from the costs of its models, or from the rate of this run alone.
func (p *Progress) left() string {
	if p.working != nil {
		if seconds, ok := p.seconds(p.working); ok {
			if seconds == 0 {
				return ""
			}
			return about(seconds)
		}
	}
	fresh := p.done - p.skipped
	elapsed := time.Since(p.started)
	if fresh <= 0 || fresh < enough*(p.total-p.skipped) || elapsed < 2*time.Second {
		return ""
	}
	return about(elapsed.Seconds() * (p.total - p.done) / fresh)
}

// bothLeft is the time left of the stage, and of the run where that is known and longer.
func (p *Progress) bothLeft() string {
	stage, run := p.left(), p.runLeft()
	if run == "" || stage == "" || run == stage {
		return stage
	}
	return stage + " (run: " + run + ")"
}

// where returns the current stage, the share of it that is done, the time left of it and of the run, and what is at work.
func (p *Progress) where() (stage string, share float64, left, runLeft, doing string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.total <= 0 {
		return p.stage, 0, "", p.runLeft(), ""
	}
	return p.stage, min(p.done/p.total, 1), p.left(), p.runLeft(), p.doing
}

// End closes the stage with a line that says what it cost.
func (p *Progress) End(summary string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar != nil {
		_ = p.bar.Clear()
		p.bar = nil
	}
	p.working = nil
	p.say(fmt.Sprintf("%-10s %s (%s)", p.stage, summary, time.Since(p.started).Round(100*time.Millisecond)))
}

// count increments a counter that several workers share.
func (p *Progress) count(n *int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	*n++
}
