package zoo

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
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
	Weights       string            `json:"weights,omitempty"`     // one of the Weights constants; default: WeightsRandom
	Checkpoints   string            `json:"checkpoints,omitempty"` // folder to look for trained weights in
	WeightFile    string            `json:"weight_file,omitempty"` // name of the file with them in timm 0.6.7
	Attention     bool              `json:"attention,omitempty"`   // a ViT or DeiT that also returns its attention maps
	Pretrain      *PretrainJob      `json:"pretrain,omitempty"`    // not a classifier, but what pre-trains one
	OldTimm       bool              `json:"-"`                     // needs timm 0.6.7 itself
}

// What a module file is exported with; a manifest records the word as Weights.Source.
const (
	WeightsRandom        = "random"                 // as timm initialises the network
	WeightsNonDegenerate = "random, non-degenerate" // zero gains drawn too, batch normalisation calibrated, head scaled
	WeightsPretrained    = "pretrained"
)

// ErrNeedsTimm067 reports a network that timm 1.0.31 has not, and an Exporter without the older version.
var ErrNeedsTimm067 = errors.New("only timm 0.6.7 has this network")

// Job returns the job that exports the network with random weights, to a file called Name.
func (e Entry) Job(seed uint64) Job {
	return Job{Name: e.Name(), Model: cmp.Or(e.Timm1031, e.Timm067), OldTimm: e.Timm1031 == "", InputSize: e.InputSize[:],
		Mean: e.Mean, Std: e.Std, Interpolation: e.Interpolation, CropPct: e.CropPct, Alias: e.Alias, Timm067: e.Timm067,
		Components: e.Components, WeightFile: e.WeightFile, Seed: seed}
}

// Exporter runs scripts/export.py.
type Exporter struct {
	Python  string // interpreter that has torch and timm
	Script  string // path of export.py
	OldTimm string // folder that holds timm 0.6.7; needed for jobs that say so
	Workers int    // exports that run at the same time; below 1: one
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
	PeakMB     float64 `json:"peak_mb"` // of the memory of the exporting process
	Message    string  `json:"message"`
	Errno      int     `json:"errno"` // of a file that cannot be written, such as ENOSPC; else 0
}

// Export writes one module file per job to the folder out. A failing job does not stop the others. progress, which may be
// nil, sees every event. The error joins those of all jobs. Jobs that need timm 0.6.7 go to a process of their own.
func (x Exporter) Export(ctx context.Context, jobs []Job, out string, progress func(ExportEvent)) error {
	isOld := func(j Job) bool { return j.OldTimm }
	old := slices.DeleteFunc(slices.Clone(jobs), func(j Job) bool { return !j.OldTimm })
	if len(old) > 0 && x.OldTimm == "" {
		return fmt.Errorf("export %s: %w", old[0].Name, ErrNeedsTimm067)
	}
	var failures []error
	if now := slices.DeleteFunc(slices.Clone(jobs), isOld); len(now) > 0 {
		failures = append(failures, x.run(ctx, now, "", out, progress))
	}
	if len(old) > 0 && ctx.Err() == nil {
		failures = append(failures, x.run(ctx, old, x.OldTimm, out, progress))
	}
	return errors.Join(failures...)
}

func (x Exporter) run(ctx context.Context, jobs []Job, timmPath, out string, progress func(ExportEvent)) error {
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

	args := []string{x.Script, "--job", file, "--out", out, "--workers", strconv.Itoa(max(1, x.Workers))}
	if timmPath != "" {
		args = append(args, "--timm-path", timmPath)
	}
	command := exec.CommandContext(ctx, x.Python, args...)
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
