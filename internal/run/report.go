package run

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"time"

	"sat/analysis/report"
	"sat/internal/experiment"
	"sat/internal/store"
	"sat/torch"
	"sat/zoo"
)

// exporterVersion is part of the key of exported modules: it goes up when scripts/export.py writes something else for
// the same job.
const exporterVersion = "2: torch 2.11.0, timm 1.0.31"

// componentNames are the columns of features.csv.
var componentNames = experiment.ComponentNames

// Version names this build of the program.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	revision, modified := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision" && len(s.Value) >= 12:
			revision = " " + s.Value[:12]
		case s.Key == "vcs.modified" && s.Value == "true":
			modified = " (modified)"
		}
	}
	return "sat" + revision + modified
}

// Versions are what a result depends on besides its settings.
func Versions() map[string]string {
	return map[string]string{"torch": torchVersion, "timm": timmVersion, "format": fmt.Sprint(schemaVersion)}
}

// The versions that set-up pins (third_party/requirements*.txt); sat doctor shows what is loaded.
const (
	torchVersion   = "2.11.0"
	timmVersion    = "1.0.31"
	oldTimmVersion = "0.6.7"
)

// runFile is DIR/run.json: everything about a run that its numbers do not depend on, and what a reader needs to know of
// those they do depend on.
type runFile struct {
	SchemaVersion int                       `json:"schema_version"`
	Name          string                    `json:"name"`
	Title         string                    `json:"title"`
	Experiment    string                    `json:"experiment,omitempty"`
	Seed          uint64                    `json:"seed"`
	Finished      time.Time                 `json:"finished"`
	Data          map[string]any            `json:"data"`
	Attack        map[string]any            `json:"attack"`
	Similarity    map[string]any            `json:"similarity"`
	Models        []map[string]any          `json:"models"`
	Settings      map[string]map[string]any `json:"settings"`
	Versions      map[string]string         `json:"versions"`
	Machine       map[string]string         `json:"machine"`
	Timings       []timing                  `json:"timings"`
	Warnings      []string                  `json:"warnings"`
	Failures      []Failure                 `json:"failures"`
	PathsOnly     bool                      `json:"paths_only"`
	WithoutPaper  bool                      `json:"without_paper"`
	See           []otherReport             `json:"see"`
}

// otherReport is a run that the report points to.
type otherReport struct {
	Title      string `json:"title"`
	Experiment string `json:"experiment"`
	Report     string `json:"report,omitempty"` // relative to this report; absent while that run has none
}

// otherReports looks up the experiments that the report is to point to.
func (r *runner) otherReports() ([]otherReport, error) {
	var out []otherReport
	for _, file := range r.See {
		c, err := experiment.Load(file)
		if err != nil {
			return nil, fmt.Errorf("report.see: %w", err)
		}
		other := otherReport{Title: cmp.Or(c.Report.Title, c.Name), Experiment: file}
		page := filepath.Join(c.Out, "report.html")
		if _, err := os.Stat(page); err == nil {
			relative, err := filepath.Rel(r.Dir, page)
			if err != nil {
				return nil, err
			}
			other.Report = filepath.ToSlash(relative)
		}
		out = append(out, other)
	}
	return out, nil
}

// report writes run.json and then figures and pages from the result files alone.
func (r *runner) report(ctx context.Context) error {
	if err := r.writeRun(ctx); err != nil {
		return err
	}
	path, err := report.Write(ctx, r.Dir, report.Options{PDF: r.PDF, Dendrogram: r.Dendrogram})
	if err != nil {
		return err
	}
	r.out.Report = path
	r.Progress.Say("report     %s", path)
	return nil
}

func (r *runner) writeRun(ctx context.Context) error {
	attack := r.Attack.meta()
	attack["batch"], attack["precision"] = r.Batch, r.Precision.String()
	execution := map[string]any{"device": r.Device.String(), "threads": r.Threads, "batch": r.Batch, "precision": r.Precision.String()}
	if r.ChannelsLast {
		execution["channels_last"] = true
	}
	if r.Lowered {
		execution["lowered"] = true
	}
	file := runFile{
		SchemaVersion: schemaVersion, Name: r.Name, Title: r.Title, Experiment: r.Experiment, Seed: r.Seed,
		Finished: time.Now().UTC().Truncate(time.Second), Attack: attack,
		Similarity: map[string]any{"floor": r.Scores.Floor, "resamples": r.Scores.Bootstrap, "level": 0.95, "clean": r.Transfer.Clean},
		Data:       map[string]any{"eval_images": r.eval.Len(), "classes": r.classes, "digest": r.eval.Digest(), "labels": r.Data.Labels},
		Settings: map[string]map[string]any{
			"execution": execution,
			"transfer":  {"resize": r.Transfer.Resize, "antialias": r.Transfer.Antialias, "clean": r.Transfer.Clean},
		},
		Versions: Versions(), Machine: machine(r.Workers), Timings: r.timings,
		Warnings: append([]string{}, r.out.Warnings...), Failures: append([]Failure{}, r.out.Failures...), PathsOnly: true,
		WithoutPaper: !r.besidePaper(),
	}
	var err error
	if file.See, err = r.otherReports(); err != nil {
		return err
	}
	file.Versions["sat"] = Version()
	if peak, err := r.meter.highest(); err == nil {
		file.Machine["peak_memory"] = mebibytes(peak)
	}
	switch r.Data.Prepare {
	case "digits":
		file.Data["name"], file.Data["natural"] = "handwritten digits", true
		file.Data["description"] = "1,797 handwritten digits, 8x8 pixels (UCI Optical Recognition of Handwritten Digits, as scikit-learn ships them)"
	case "few-digits":
		file.Data["name"], file.Data["natural"] = "handwritten digits, few for training", true
		file.Data["description"] = "1,797 handwritten digits, 8x8 pixels (UCI Optical Recognition of Handwritten Digits, as scikit-learn ships them), an eighth of them for training"
	case "photographs":
		file.Data["name"], file.Data["natural"] = "photographs", true
		file.Data["description"] = "two photographs that scikit-learn ships, 640x427 pixels, and a part of each"
	}
	if r.Data.Path != "" {
		if training, err := r.folder(ctx, r.Data.Train); err == nil {
			file.Data["train_images"] = len(training.Samples)
		}
	}
	for _, m := range r.members {
		entry := map[string]any{"model": m.Name, "seed": m.Seed}
		if m.Components != nil {
			entry["architecture"] = m.Components["base_architecture"]
		}
		entry["family"] = m.architecture()
		manifest, err := zoo.ReadManifest(m.module)
		if err == nil {
			entry["input_size"] = fmt.Sprintf("%dx%d", manifest.InputSize[1], manifest.InputSize[2])
			if !manifest.Weights.Random() {
				file.PathsOnly = false
			}
			file.Data["image_size"] = fmt.Sprintf("%dx%d", manifest.InputSize[1], manifest.InputSize[2])
		} else {
			file.PathsOnly = false // a file of the user's own: its weights are what they say they are
		}
		if m.Recipe != nil {
			entry["epochs"] = m.Recipe.Epochs
		}
		if m.hardened() {
			a := m.Recipe.Adversarial
			entry["adversarial"] = map[string]any{"epsilon": a.Epsilon.String(), "step_size": a.StepSize.String(), "steps": a.Steps, "random_start": a.RandomStart}
		}
		file.Models = append(file.Models, entry)
	}
	return store.WriteJSON(filepath.Join(r.Dir, "run.json"), file)
}

func machine(workers int) map[string]string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	out := map[string]string{"host": host, "cores": fmt.Sprint(runtime.NumCPU()), "workers": fmt.Sprint(workers), "system": runtime.GOOS + "/" + runtime.GOARCH}
	if info, err := torch.Describe(); err == nil {
		out["cpu_kernels"] = info.Capability
		out["libtorch"] = info.Version
	}
	return out
}
