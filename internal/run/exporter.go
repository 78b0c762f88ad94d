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
	"slices"
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

// OldTimm is the folder with timm 0.6.7, which set-up makes.
func OldTimm(home string) string { return filepath.Join(home, "third_party", "timm067") }

func script(home, name string) string { return filepath.Join(home, "scripts", name) }

// checkExporter refuses to start what cannot work.
func checkExporter(home string) error {
	if _, err := os.Stat(ExporterPython(home)); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: no Python environment at %s; \"make build\" in the checkout makes it", ErrEnvironment, ExporterPython(home))
	}
	return nil
}

// exportMemory is what the largest networks of the registry take while they are exported: 4.8 GiB were measured.
const exportMemory = 5 << 30

// ExportWorkers is how many exports may run at the same time on so many cores: one needs one core, and what is free of the
// machine's memory must hold as many of the largest.
func ExportWorkers(cores int) int {
	workers := min(cores, 4)
	if free, err := availableMemory(); err == nil {
		workers = min(workers, int(free/exportMemory))
	}
	return max(1, workers)
}

// Export has the exporter write NAME.pt into out for every job, workers of them at a time; progress, which may be nil, sees
// every event.
func Export(ctx context.Context, home string, jobs []zoo.Job, out string, workers int, progress func(zoo.ExportEvent)) error {
	if err := checkExporter(home); err != nil {
		return err
	}
	i := slices.IndexFunc(jobs, func(j zoo.Job) bool { return j.OldTimm })
	if _, err := os.Stat(filepath.Join(OldTimm(home), "timm")); i >= 0 && errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s needs timm 0.6.7, which is not at %s; \"make build\" in the checkout puts it there", ErrEnvironment,
			jobs[i].Name, OldTimm(home))
	}
	exporter := zoo.Exporter{Python: ExporterPython(home), Script: script(home, "export.py"), OldTimm: OldTimm(home), Workers: workers}
	return exporter.Export(ctx, jobs, out, progress)
}

// Exported reports whether file is what an earlier export of the same job wrote.
func Exported(file string, job zoo.Job) bool {
	if _, err := os.Stat(file); err != nil {
		return false
	}
	m, err := zoo.ReadManifest(file)
	if err != nil || m.Name != job.Name || m.Timm.Model != job.Model || m.Weights.Source != job.Weights || m.Attention != job.Attention ||
		m.Torch != torchVersion {
		return false
	}
	version := timmVersion
	if job.OldTimm {
		version = oldTimmVersion
	}
	return m.Timm.Version == version && (job.Weights == zoo.WeightsPretrained || m.Weights.Seed == job.Seed)
}

// preparations are the programs, with arguments, that write the image folders of data.prepare.
var preparations = map[string][]string{
	"digits": {"digits.py"}, "few-digits": {"digits.py", "--few"}, "photographs": {"photographs.py"},
}

// prepareImages has the exporter's environment write one of its image folders, unless that is there complete.
func prepareImages(ctx context.Context, home, what, dir string) error {
	if err := checkExporter(home); err != nil {
		return err
	}
	program := preparations[what]
	cmd := exec.CommandContext(ctx, ExporterPython(home), slices.Concat([]string{script(home, program[0])}, program[1:], []string{"--out", dir})...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a Ctrl-C at the terminal reaches it through ctx, once
	output, err := cmd.CombinedOutput()
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		text := strings.TrimSpace(string(output))
		return fmt.Errorf("%s: %w: %s", program[0], err, text[strings.LastIndexByte(text, '\n')+1:])
	}
	return nil
}

// job is what the exporter needs to make the module of m. A natively trained network gets the data's classes.
func (m *Member) job(classes int) zoo.Job {
	e, d := m.Export, m.Describe
	if e.Entry != nil {
		return e.registered(d)
	}
	job := zoo.Job{Name: e.Name, Kwargs: e.Arguments, Interpolation: d.Interpolation, CropPct: d.CropPct,
		Mean: d.Mean, Std: d.Std, Components: m.Components, Attention: e.Attention, Seed: e.Seed, Heads: e.Heads}
	if strings.HasPrefix(e.Timm, "models.") {
		job.Class = e.Timm
	} else {
		job.Model = e.Timm
	}
	if entry, err := zoo.Lookup(e.Timm); err == nil { // the architecture; what a variant of it takes, timm knows
		job.Model, job.OldTimm = entry.Job(0).Model, entry.Job(0).OldTimm
	}
	if d.Height > 0 {
		job.InputSize = []int{3, d.Height, d.Width}
	}
	switch {
	case e.Pretrained:
		job.Weights, job.Checkpoints, job.WeightFile = zoo.WeightsPretrained, e.Checkpoints, e.WeightFile
	case m.Recipe != nil: // training draws its own, by the rules in the file
		job.NumClasses = classes
	default:
		job.Weights = zoo.WeightsNonDegenerate
	}
	return job
}

// registered is the job of a network of the registry. d overrides its preprocessing.
func (e *Network) registered(d zoo.Description) zoo.Job {
	job := e.Entry.Job(e.Seed)
	job.Name, job.Attention, job.Weights = e.Name, e.Attention, zoo.WeightsNonDegenerate
	if e.Pretrained {
		job.Weights, job.Checkpoints, job.WeightFile = zoo.WeightsPretrained, e.Checkpoints, cmp.Or(e.WeightFile, job.WeightFile)
	}
	if d.Height > 0 {
		job.InputSize = []int{3, d.Height, d.Width}
	}
	if d.Mean != nil {
		job.Mean, job.Std = d.Mean, d.Std
	}
	job.CropPct, job.Interpolation = cmp.Or(d.CropPct, job.CropPct), cmp.Or(d.Interpolation, job.Interpolation)
	return job
}

// exportUnit is the unit that makes the module of a job.
func exportUnit(job zoo.Job) (store.Unit, error) {
	key, err := store.NewKey("export", job, map[string]string{"exporter": exporterVersion})
	return store.Unit{Stage: string(StageExport), Name: job.Name, Key: key}, err
}

// export makes the modules that come from timm. Members that differ only by the seed of their training share one.
func (r *runner) export(ctx context.Context) error {
	units := map[string]store.Unit{} // by the name of the file
	var jobs []zoo.Job
	var failures []Failure
	want := func(job zoo.Job) (store.Unit, error) {
		unit, err := exportUnit(job)
		if _, known := units[job.Name]; known || err != nil {
			return unit, err
		}
		units[job.Name] = unit
		done, err := r.finished(unit)
		switch {
		case err != nil:
		case done:
			r.skipped++
		default:
			jobs = append(jobs, job)
		}
		return unit, err
	}
	for _, m := range r.members {
		if m.Export == nil {
			continue
		}
		unit, err := want(m.job(r.classes))
		if err != nil {
			return err
		}
		m.exported, m.key = unit.File(r.units(), "pt"), unit.Key
	}
	r.encoders = nil
	for _, p := range r.Pretrains {
		unit, err := want(p.exportPretraining())
		if err != nil {
			return err
		}
		m := &member{Member: p.Member, exported: unit.File(r.units(), "pt"), key: unit.Key}
		r.encoders = append(r.encoders, &encoder{member: m, config: p.Config})
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
	exporting, stop := context.WithCancel(ctx)
	defer stop()
	err := Export(exporting, r.Home, jobs, work, ExportWorkers(r.Workers*r.Threads), func(e zoo.ExportEvent) {
		switch e.Event {
		case "note":
			r.Progress.Warn(fmt.Sprintf("model %s: %s", e.Name, e.Message))
		case "error":
			refused[e.Name] = e.Message
			if cause := syscall.Errno(e.Errno); e.Errno != 0 && hitsEveryModel(cause) {
				path := units[e.Name].File(r.units(), "pt") // the exporter's own will be gone
				failed = cmp.Or(failed, fmt.Errorf("export %s: %w", e.Name, store.WriteError(path, cause)))
				stop()
			}
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
	if exported+len(refused) < len(jobs) && failed == nil || ctx.Err() != nil { // the exporter itself came to grief
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
	for _, e := range r.encoders {
		if why := refused[e.Name]; why != "" {
			e.failed = why
			failures = append(failures, Failure{string(StageExport), e.Name, why})
		}
	}
	return r.leaveOut(StageExport, failures)
}
