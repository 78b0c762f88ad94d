package zoo

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Job is what scripts/export.py makes one module file from. Fields left zero are timm's.
type Job struct {
	Name          string            `json:"name"`
	Model         string            `json:"model,omitempty"` // for timm's create_model; or
	Class         string            `json:"class,omitempty"` // path of a network class inside timm
	Kwargs        map[string]any    `json:"kwargs,omitempty"`
	NumClasses    int               `json:"num_classes,omitempty"`
	InputSize     []int             `json:"input_size,omitempty"` // channels, height, width
	Mean          []float32         `json:"mean,omitempty"`
	Std           []float32         `json:"std,omitempty"`
	Interpolation string            `json:"interpolation,omitempty"`
	CropPct       float64           `json:"crop_pct,omitempty"`
	Alias         string            `json:"alias,omitempty"`
	Timm067       string            `json:"timm_0_6_7,omitempty"`
	Components    map[string]string `json:"components,omitempty"`
	Heads         int               `json:"heads,omitempty"` // 2: a distilled network gives both of its classifiers
	Seed          uint64            `json:"seed"`
	Weights       string            `json:"weights,omitempty"`     // random (default) or pretrained
	Checkpoints   string            `json:"checkpoints,omitempty"` // folder to look for trained weights in
	TimmPath      string            `json:"timm_path,omitempty"`   // folder of another version of timm
	Attention     bool              `json:"attention,omitempty"`   // a ViT or DeiT that also returns its attention maps
}

// ErrNeedsTimm067 reports a network that timm 1.0.31 has not.
var ErrNeedsTimm067 = errors.New("only timm 0.6.7 has this network")

// Job returns the job that exports the network with random weights. timm067 is a folder that holds timm 0.6.7; it is
// needed, and used, only for what timm 1.0.31 does not have. The file is called after the timm 0.6.7 name.
func (e Entry) Job(seed uint64, timm067 string) (Job, error) {
	j := Job{Name: e.Timm067, Model: e.Timm1031, InputSize: e.InputSize[:], Mean: e.Mean, Std: e.Std,
		Interpolation: e.Interpolation, CropPct: e.CropPct, Alias: e.Alias, Timm067: e.Timm067, Components: e.Components,
		Seed: seed}
	if j.Model == "" {
		if timm067 == "" {
			return Job{}, fmt.Errorf("export %s: %w", e.Timm067, ErrNeedsTimm067)
		}
		j.Model, j.TimmPath = e.Timm067, timm067
	}
	return j, nil
}

// Exporter runs scripts/export.py.
type Exporter struct {
	Python string // interpreter that has torch and timm
	Script string // path of export.py
}

// ExportEvent is one line of the exporter's progress.
type ExportEvent struct {
	Event      string  `json:"event"` // start, note, done or error
	Name       string  `json:"name"`
	Path       string  `json:"path"`
	Kind       string  `json:"kind"`
	Parameters int     `json:"parameters"`
	Bytes      int64   `json:"bytes"`
	Seconds    float64 `json:"seconds"`
	Message    string  `json:"message"`
}

// Export writes one module file per job to the folder out. Jobs run one after the other; a failing one does not stop the
// others. progress, which may be nil, sees every event. The error joins those of all jobs. Jobs that need another version
// of timm go to a process of their own.
func (x Exporter) Export(ctx context.Context, jobs []Job, out string, progress func(ExportEvent)) error {
	var paths []string
	groups := map[string][]Job{}
	for _, j := range jobs {
		if _, ok := groups[j.TimmPath]; !ok {
			paths = append(paths, j.TimmPath)
		}
		groups[j.TimmPath] = append(groups[j.TimmPath], j)
	}
	var failures []error
	for _, path := range paths {
		if err := x.run(ctx, groups[path], out, progress); err != nil {
			failures = append(failures, err)
		}
	}
	return errors.Join(failures...)
}

func (x Exporter) run(ctx context.Context, jobs []Job, out string, progress func(ExportEvent)) error {
	folder, err := os.MkdirTemp("", "sat-export-")
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	defer os.RemoveAll(folder)
	text, err := json.Marshal(jobs)
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	file := filepath.Join(folder, "jobs.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return fmt.Errorf("export: %w", err)
	}

	command := exec.CommandContext(ctx, x.Python, x.Script, "--job", file, "--out", out)
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) } // lets it remove its temporary folder
	command.WaitDelay = 10 * time.Second
	var complaints bytes.Buffer
	command.Stderr = &complaints
	stdout, err := command.StdoutPipe()
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	if err := command.Start(); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	var failures []error
	unfinished := len(jobs)
	lines := bufio.NewScanner(stdout)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e ExportEvent
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			continue // a library that prints
		}
		switch e.Event {
		case "done":
			unfinished--
		case "error":
			unfinished--
			failures = append(failures, fmt.Errorf("export %s: %s", e.Name, e.Message))
		}
		if progress != nil {
			progress(e)
		}
	}
	scanErr := lines.Err()
	err = command.Wait()
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("export: %w", ctx.Err())
	case scanErr != nil:
		return fmt.Errorf("export: %w", scanErr)
	case unfinished > 0:
		failures = append(failures, fmt.Errorf("export: the exporter ended early (%v): %s", err, lastLine(complaints.String())))
	}
	return errors.Join(failures...)
}

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}
