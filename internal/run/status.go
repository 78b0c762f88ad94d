package run

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"sat/internal/store"
)

// heartbeatInterval is how often a run writes where it is; a heartbeat older than a few of them means it is gone.
var heartbeatInterval = 2 * time.Second

// heartbeat is DIR/progress.json, for `sat status` in another terminal.
type heartbeat struct {
	Time     time.Time `json:"time"`
	PID      int       `json:"pid"`
	Stage    string    `json:"stage"`
	Share    float64   `json:"share"` // of the stage
	Left     string    `json:"left"`
	RunLeft  string    `json:"run_left"`
	Doing    string    `json:"doing"`
	Plan     []planned `json:"plan"` // of the run
	Running  bool      `json:"running"`
	Failures []Failure `json:"failures"`
	Costs    *costs    `json:"costs"` // for the time left of a run that is continued
}

func heartbeatFile(dir string) string { return filepath.Join(dir, "progress.json") }

// beat writes heartbeats until the returned function is called, which writes the last one.
func (r *runner) beat() (stop func()) {
	write := func(running bool) {
		stage, share, left, runLeft, doing := r.Progress.where()
		// A heartbeat that cannot be written must not end the work it reports on.
		_ = store.WriteJSON(heartbeatFile(r.Dir), heartbeat{
			Time: time.Now().UTC(), PID: os.Getpid(), Stage: stage, Share: share, Left: left, RunLeft: runLeft, Doing: doing, Plan: r.planOf(), Running: running,
			Failures: append([]Failure{}, r.failures()...), Costs: r.Progress.measured(),
		})
	}
	write(true)
	ticker, done, finished := time.NewTicker(heartbeatInterval), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(finished)
		for {
			select {
			case <-ticker.C:
				write(true)
			case <-done:
				write(false)
				return
			}
		}
	}()
	return func() {
		ticker.Stop()
		close(done)
		<-finished
	}
}

// Status is what can be seen of a run from its files.
type Status struct {
	SchemaVersion int           `json:"schema_version"`
	Dir           string        `json:"dir"`
	Running       bool          `json:"running"`
	Stage         string        `json:"stage"`
	Share         float64       `json:"share"` // of the stage
	Left          string        `json:"left"`
	RunLeft       string        `json:"run_left"` // of the whole run
	Doing         string        `json:"doing"`
	Stages        []StageStatus `json:"stages"`
	Failures      []Failure     `json:"failures"`
	Report        string        `json:"report,omitempty"`
}

// StageStatus counts the units of one stage.
type StageStatus struct {
	Stage   Stage `json:"stage"`
	Done    int   `json:"done"`
	Planned int   `json:"planned"` // 0 if nobody has said yet
}

// ReadStatus looks at the files of a run, whether or not it is running now.
func ReadStatus(spec Spec) (Status, error) {
	s := Status{SchemaVersion: schemaVersion, Dir: spec.Dir, Failures: []Failure{}}
	wanted := map[Stage]int{}
	content, err := os.ReadFile(heartbeatFile(spec.Dir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s, err
	}
	if err == nil {
		var h heartbeat
		if err := json.Unmarshal(content, &h); err != nil {
			return s, err
		}
		s.Stage, s.Share, s.Left, s.Failures = h.Stage, h.Share, h.Left, h.Failures
		s.RunLeft, s.Doing = h.RunLeft, h.Doing
		for _, p := range h.Plan {
			wanted[p.Stage] += p.Units
		}
		s.Running = h.Running && time.Since(h.Time) < 5*heartbeatInterval
	}
	counted := []Stage{StageExport, StageTrain, StageEvaluate, StageAttack, StageTransfer}
	if len(spec.Pretrains) > 0 {
		counted = slices.Insert(counted, 1, StagePretrain)
	}
	if spec.Boundary != nil {
		counted = append(counted, StageBoundary)
	}
	for _, stage := range counted {
		s.Stages = append(s.Stages, StageStatus{stage, recorded(filepath.Join(spec.Dir, "units"), stage), wanted[stage]})
	}
	report := filepath.Join(spec.Dir, "report.html")
	if _, err := os.Stat(report); err == nil {
		s.Report = report
	}
	return s, nil
}
