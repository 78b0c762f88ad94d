package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"sat/internal/store"
	"sat/zoo"
)

// ExporterPython is the interpreter of the exporter's environment, which set-up makes.
func ExporterPython(home string) string {
	return filepath.Join(home, "third_party", "env", "bin", "python")
}

func script(home, name string) string { return filepath.Join(home, "scripts", name) }

// checkExporter refuses to start what cannot work.
func checkExporter(home string) error {
	if _, err := os.Stat(ExporterPython(home)); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: no Python environment at %s; \"make build\" in the checkout makes it", ErrEnvironment, ExporterPython(home))
	}
	return nil
}

// Export has the exporter write NAME.pt into out for every job, and calls done after each.
func Export(ctx context.Context, home string, jobs []zoo.Job, out string, done func(name string)) error {
	return export(ctx, home, jobs, out, func(e zoo.ExportEvent) {
		if e.Event == "done" {
			done(e.Name)
		}
	})
}

func export(ctx context.Context, home string, jobs []zoo.Job, out string, progress func(zoo.ExportEvent)) error {
	if err := checkExporter(home); err != nil {
		return err
	}
	exporter := zoo.Exporter{Python: ExporterPython(home), Script: script(home, "export.py")}
	return exporter.Export(ctx, jobs, out, progress)
}

// prepareImages has the exporter's environment write one of its image folders (data.prepare: "digits" or "photographs"),
// unless that is there complete.
func prepareImages(ctx context.Context, home, what, dir string) error {
	if err := checkExporter(home); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, ExporterPython(home), script(home, what+".py"), "--out", dir)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a Ctrl-C at the terminal reaches it through ctx, once
	output, err := cmd.CombinedOutput()
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		text := strings.TrimSpace(string(output))
		return fmt.Errorf("%s.py: %w: %s", what, err, text[strings.LastIndexByte(text, '\n')+1:])
	}
	return nil
}

// timm067 is the folder in which set-up leaves timm 0.6.7.
func timm067(home string) string { return filepath.Join(home, "third_party", "timm067") }

// job is what the exporter needs to make the module of m. A natively trained network gets the data's classes.
func (m *Member) job(home string, classes int) (zoo.Job, error) {
	e, d := m.Export, m.Describe
	if e.Entry != nil {
		return e.registered(home, d)
	}
	job := zoo.Job{Name: e.Name, Kwargs: e.Arguments, Interpolation: d.Interpolation, CropPct: d.CropPct,
		Mean: d.Mean, Std: d.Std, Components: m.Components, Attention: e.Attention, Seed: e.Seed, Heads: e.Heads}
	if strings.HasPrefix(e.Timm, "models.") {
		job.Class = e.Timm
	} else {
		job.Model = e.Timm
	}
	if d.Height > 0 {
		job.InputSize = []int{3, d.Height, d.Width}
	}
	if e.Pretrained {
		job.Weights = "pretrained"
	}
	if m.Recipe != nil {
		job.NumClasses = classes
	}
	return job, nil
}

// registered is the job of a network of the registry. d overrides its preprocessing.
func (e *Network) registered(home string, d zoo.Description) (zoo.Job, error) {
	job, err := e.Entry.Job(e.Seed, timm067(home))
	if err != nil {
		return job, err
	}
	job.Name, job.Attention = e.Name, e.Attention
	if e.Pretrained {
		job.Weights, job.Checkpoints = "pretrained", e.Checkpoints
	}
	if d.Height > 0 {
		job.InputSize = []int{3, d.Height, d.Width}
	}
	if d.Mean != nil {
		job.Mean, job.Std = d.Mean, d.Std
	}
	job.CropPct, job.Interpolation = cmp.Or(d.CropPct, job.CropPct), cmp.Or(d.Interpolation, job.Interpolation)
	return job, nil
}

// export makes the modules that come from timm. Members that differ only by the seed of their training share one.
func (r *runner) export(ctx context.Context) error {
	units := map[string]store.Unit{} // by the name of the file
	var jobs []zoo.Job
	var failures []Failure
	for _, m := range r.members {
		if m.Export == nil {
			continue
		}
		job, err := m.job(r.Home, r.classes)
		if err != nil {
			failures = append(failures, Failure{string(StageExport), m.Name, err.Error()})
			continue
		}
		identity := job
		identity.TimmPath = "" // where timm lies on this machine; its version follows from the network
		key, err := store.NewKey("export", identity, map[string]string{"exporter": exporterVersion})
		if err != nil {
			return err
		}
		unit := store.Unit{Stage: string(StageExport), Name: job.Name, Key: key}
		m.exported, m.key = unit.File(r.units(), "pt"), key
		if _, known := units[job.Name]; known {
			continue
		}
		units[job.Name] = unit
		done, err := r.finished(unit)
		if err != nil {
			return err
		}
		if done {
			r.skipped++
			continue
		}
		jobs = append(jobs, job)
	}
	if len(jobs) == 0 {
		return r.leaveOut(StageExport, failures)
	}
	r.Progress.Begin(string(StageExport), float64(len(jobs)), 0)
	// The exporter names files by the model alone; they get their unit's name when they are complete.
	work := filepath.Join(r.units(), string(StageExport), "work")
	defer os.RemoveAll(work)
	var failed error               // outside the models
	refused := map[string]string{} // by the name of the file: why
	exported := 0
	err := export(ctx, r.Home, jobs, work, func(e zoo.ExportEvent) {
		switch e.Event {
		case "error":
			refused[e.Name] = e.Message
		case "done":
			unit := units[e.Name]
			err := unit.Begin(r.units())
			if err == nil {
				err = os.Rename(filepath.Join(work, e.Name+".pt"), unit.File(r.units(), "pt"))
			}
			if err == nil {
				err = unit.Commit(r.units(), "pt")
			}
			failed = errors.Join(failed, err)
			exported++
			r.computed++
			r.Progress.Advance(1, e.Name)
		}
	})
	if exported+len(refused) < len(jobs) || ctx.Err() != nil { // the exporter itself came to grief
		failed = errors.Join(failed, err)
	}
	if failed != nil {
		return failed
	}
	r.Progress.End(fmt.Sprintf("%d modules from timm", exported))
	for _, m := range r.members {
		if m.Export != nil && refused[m.Export.Name] != "" {
			failures = append(failures, Failure{string(StageExport), m.Name, refused[m.Export.Name]})
		}
	}
	return r.leaveOut(StageExport, failures)
}
