package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// experimentFile and fullSize are for `make soak`; without them the tests take what runs in seconds.
var (
	experimentFile = flag.String("experiment", "", "experiment file that TestKilledRunEndsWithTheSameBytes runs")
	fullSize       = flag.Bool("full-size", false, "networks of the registry in TestKilledRunWithoutLabels, and TestFullScaleTrainings")
)

// tinyExperiment is experiments/digits_quick.toml made smaller: networks of two input sizes, a handful of images.
const tinyExperiment = `name = "tiny"

[data]
path = "data/digits"
prepare = "digits"

[data.subset]
mode = "uniform"
count = 40

[attack]
epsilon = "24/255"
steps = 2

[sweep]
epsilon = ["8/255", "24/255"]

[similarity]
bootstrap = 100

[boundary]
triplets = 12
grid = 5
pictures = 1

[stability]
pair = ["resnet-s0", "mixer-s0"]
sizes = [10, 20]
triplets = [1, 2]
repeats = 3

[analysis.clusters]
k = 2

[analysis.tsne]

[evaluate]
logits = "float32"

[analysis.ensembles]
largest = 3
draws = 20

[analysis.training]

[analysis.novel]
models = ["resnet-s1"]

[analysis.choose]
k = 2

[analysis.sensitivity]
resamples = 100

[recipe.short]
epochs = 3
batch = 32
opt = "adamw"
lr = 4e-3
shift = 2
average_last = 2
log_every = 2
tensorboard = true
keep_best = 1

[recipe.hardened]
inherit = "short"
adversarial = { epsilon = "2/255", step_size = "2/255", steps = 1 }

[[model]]
name = "resnet"
timm = "resnet18d"
args = { layers = [1, 1, 1, 1], channels = [8, 16, 16, 16], stem_width = 8 }
recipe = "short"
seeds = [0, 1]
input_size = 32
crop_pct = 1.0
interpolation = "bilinear"

[[model]]
name = "mixer"
timm = "models.mlp_mixer.MlpMixer"
args = { img_size = 16, patch_size = 4, embed_dim = 32, num_blocks = 2 }
recipe = "short"
seeds = [0, 1]
input_size = 16
crop_pct = 1.0
interpolation = "bilinear"

[[model]]
name = "hardened"
timm = "models.mlp_mixer.MlpMixer"
args = { img_size = 16, patch_size = 4, embed_dim = 32, num_blocks = 2 }
recipe = "hardened"
input_size = 16
crop_pct = 1.0
interpolation = "bilinear"
`

// reference is one uninterrupted run of tinyExperiment, which several tests share and none may change.
var reference struct {
	once sync.Once
	dir  string
	err  error
}

// tinyRun returns a folder with experiment.toml, data/digits and the finished run runs/tiny. The caller must not change it.
func tinyRun(t *testing.T) string {
	t.Helper()
	needTorch(t)
	needExporter(t)
	reference.once.Do(func() {
		if reference.dir, reference.err = os.MkdirTemp("", "sat-tiny-"); reference.err != nil {
			return
		}
		path := filepath.Join(reference.dir, "experiment.toml")
		if reference.err = os.WriteFile(path, []byte(tinyExperiment), 0o666); reference.err != nil {
			return
		}
		output, err := program(context.Background(), reference.dir, "run", "experiment.toml").CombinedOutput()
		if err != nil {
			reference.err = fmt.Errorf("the uninterrupted run: %w\n%s", err, output)
		}
	})
	must(t, reference.err)
	return reference.dir
}

// copyOf copies the shared run, without its units of the stages named and without what was made from units.
func copyOf(t *testing.T, reference string, without ...string) string {
	t.Helper()
	dir := t.TempDir()
	must(t, exec.Command("cp", "-a", reference+"/.", dir).Run()) // with times, which the cache of images goes by
	for _, stage := range without {
		must(t, os.RemoveAll(filepath.Join(dir, "runs/tiny/units", stage)))
	}
	for _, results := range comparedResults {
		must(t, os.RemoveAll(filepath.Join(dir, "runs/tiny", results)))
	}
	return dir
}

// comparedResults are the files and folders of a run that must not depend on when, where and how often it was started.
// The report and run.json hold times and the machine.
var comparedResults = []string{"similarity", "boundary", "analysis", "sweep", "models", "logits"}

// sameResults compares the results of two runs byte for byte.
func sameResults(t *testing.T, got, want string) {
	t.Helper()
	if len(filesBelow(t, filepath.Join(want, "similarity"))) == 0 {
		t.Errorf("there is nothing in %s to compare with", want)
	}
	for _, results := range comparedResults {
		sameFiles(t, filepath.Join(got, results), filepath.Join(want, results))
	}
}

func sameFiles(t *testing.T, got, want string) {
	t.Helper()
	g, w := filesBelow(t, got), filesBelow(t, want)
	for name, content := range w {
		if other, ok := g[name]; !ok {
			t.Errorf("%s/%s is missing", got, name)
		} else if !bytes.Equal(other, content) {
			t.Errorf("%s/%s differs", got, name)
		}
	}
	for name := range g {
		if _, ok := w[name]; !ok {
			t.Errorf("%s/%s should not be there", got, name)
		}
	}
}

// filesBelow reads every file below dir; there are none if dir does not exist.
func filesBelow(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	must(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path == dir {
			return nil
		}
		if err != nil || entry.IsDir() || entry.Type()&fs.ModeSymlink != 0 { // logs/ links to the working folders of trainings
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err == nil {
			files[name], err = os.ReadFile(path)
		}
		return err
	}))
	return files
}

// process is a run of the program that a test will interrupt.
type process struct {
	*exec.Cmd
	stderr bytes.Buffer
	done   chan struct{} // closed when it has ended
}

// start starts the program as the leader of a process group, which its exporter belongs to.
func start(t *testing.T, dir string, args ...string) *process {
	t.Helper()
	p := &process{Cmd: program(context.Background(), dir, args...), done: make(chan struct{})}
	p.Stderr = &p.stderr
	p.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	must(t, p.Start())
	go func() {
		defer close(p.done)
		_ = p.Wait() // the exit code is in ProcessState
	}()
	t.Cleanup(func() {
		_ = p.signal(syscall.SIGKILL) // where the test failed early
		<-p.done
	})
	return p
}

// signal reaches the program and its children, as Ctrl-C and batch systems do.
func (p *process) signal(s syscall.Signal) error { return syscall.Kill(-p.Process.Pid, s) }

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// until polls for a condition while the process lives; it reports whether the condition came true.
func (p *process) until(condition func() bool) bool {
	for !p.ended() {
		asked := time.Now()
		if condition() {
			return true
		}
		time.Sleep(max(5*time.Millisecond, 10*time.Since(asked))) // the process shall have the machine, not the question
	}
	return false
}

// recorded returns when each finished unit of a run was recorded, in order.
func recorded(t *testing.T, run string) []time.Time {
	t.Helper()
	records, err := filepath.Glob(filepath.Join(run, "units", "*", "*.unit.json"))
	must(t, err)
	var times []time.Time
	for _, path := range records {
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) || strings.HasPrefix(filepath.Base(path), ".") {
			continue // a temporary file, renamed meanwhile
		}
		must(t, err)
		times = append(times, info.ModTime())
	}
	slices.SortFunc(times, time.Time.Compare)
	return times
}

// TestKilledRunEndsWithTheSameBytes kills a run with SIGKILL ten times and lets it end: the results are those of a run that
// nothing disturbed.
func TestKilledRunEndsWithTheSameBytes(t *testing.T) {
	t.Parallel()
	needTorch(t)
	needExporter(t)
	text, home := []byte(tinyExperiment), tinyRun
	if *experimentFile != "" {
		text = readFile(t, *experimentFile)
		home = func(t *testing.T) string { return finishedRun(t, text, nil) }
	}
	const kills = 10
	killedRunEndsAs(t, runFolder(t, home(t)), text, nil, kills)
}

// finishedRun runs an experiment to its end, in a folder that fill, which may be nil, puts its files into.
func finishedRun(t *testing.T, text []byte, fill func(dir string)) string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "experiment.toml"), text)
	if fill != nil {
		fill(dir)
	}
	mustSat(t, dir, "run", "experiment.toml")
	return dir
}

// killedRunEndsAs repeats the run of an experiment with kills on its way, and compares. Half of the moments are uniform over
// the time that the undisturbed run took, half over its units: most of the time may go into one stage, most of the kinds of
// files belong to others. A run that was killed has to do a part of its work again, so each moment is kept as "so many units
// are finished, and so much of the time to the next".
func killedRunEndsAs(t *testing.T, undisturbed string, text []byte, fill func(dir string), kills int) {
	t.Helper()
	// When each unit was finished, between the first file of the run and the last.
	times := append([]time.Time{modified(t, filepath.Join(undisturbed, "experiment.toml"))}, recorded(t, undisturbed)...)
	times = append(times, modified(t, filepath.Join(undisturbed, "report.html")))
	took := times[len(times)-1].Sub(times[0])

	seed := rand.Uint64()
	t.Logf("%d units in %v without a kill; moments from seed %d", len(times)-2, took, seed)
	random := rand.New(rand.NewPCG(seed, 0))
	moments := make([]time.Duration, kills)
	for i := range moments {
		if moments[i] = time.Duration(random.Int64N(int64(took))); i%2 == 1 {
			unit := random.IntN(len(times) - 1)
			moments[i] = times[unit].Sub(times[0]) + time.Duration(random.Float64()*float64(times[unit+1].Sub(times[unit])))
		}
	}
	slices.Sort(moments)

	dir := t.TempDir()
	write(t, filepath.Join(dir, "experiment.toml"), text)
	if fill != nil {
		fill(dir)
	}
	disturbed, killed := filepath.Join(dir, "runs", filepath.Base(undisturbed)), 0
	for _, moment := range moments {
		finished := func() int { return len(recorded(t, disturbed)) }
		units := len(times) - 2
		for times[units].Sub(times[0]) > moment {
			units--
		}
		share := float64(moment-times[units].Sub(times[0])) / float64(times[units+1].Sub(times[units]))
		units = max(units, finished()) // the kill before may have come late
		pause := time.Duration(share * float64(times[units+1].Sub(times[units])))

		p := start(t, dir, "run", "experiment.toml")
		p.until(func() bool { return finished() >= units })
		reached := time.Now()
		p.until(func() bool { return time.Since(reached) >= pause || finished() > units })
		if p.ended() {
			t.Logf("%3.0f %%: the run ended before the kill\n%s", 100*float64(moment)/float64(took), p.stderr.String())
			continue
		}
		must(t, p.signal(syscall.SIGKILL))
		<-p.done
		killed++
		t.Logf("%3.0f %%: killed %v after unit %d", 100*float64(moment)/float64(took), pause, units)
	}
	if killed < kills/2 {
		t.Errorf("only %d of %d kills came before the end", killed, kills)
	}
	mustSat(t, dir, "run", "experiment.toml")
	sameResults(t, disturbed, undisturbed)
	for name := range filesBelow(t, disturbed) {
		if base := filepath.Base(name); strings.HasPrefix(base, ".") && base != ".lock" {
			t.Errorf("a temporary file is left: %s", name)
		}
	}
}

// runFolder is the only folder below dir/runs.
func runFolder(t *testing.T, dir string) string {
	t.Helper()
	runs, err := filepath.Glob(filepath.Join(dir, "runs", "*"))
	must(t, err)
	if len(runs) != 1 {
		t.Fatalf("runs: %q", runs)
	}
	return runs[0]
}

func modified(t *testing.T, path string) time.Time {
	t.Helper()
	info, err := os.Stat(path)
	must(t, err)
	return info.ModTime()
}

// TestInterruptedTrainingContinues: however a run ends in the middle of training, the next one goes on from the checkpoint
// and comes to the same bytes, also with another number of workers.
func TestInterruptedTrainingContinues(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		signal  syscall.Signal
		code    int
		workers int // of the run that continues
	}{
		{"Ctrl-C", syscall.SIGINT, exitInterrupted, 2},
		{"terminate", syscall.SIGTERM, exitInterrupted, 1},
		{"kill", syscall.SIGKILL, -1, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			undisturbed := tinyRun(t)
			dir := copyOf(t, undisturbed, "train", "evaluate", "attack", "transfer")
			p := start(t, dir, "run", "experiment.toml")
			checkpoints := filepath.Join(dir, "runs/tiny/units/train/*.work/checkpoint.pt")
			if !p.until(func() bool { found, _ := filepath.Glob(checkpoints); return len(found) > 0 }) {
				t.Fatalf("the run ended without a checkpoint\n%s", p.stderr.String())
			}
			if c.signal == syscall.SIGINT {
				// Nobody else may work on the same run meanwhile.
				out := sat(t, dir, "run", "experiment.toml")
				if out.code != exitFailed || !strings.Contains(out.stderr, "runs/tiny") || !strings.Contains(out.stderr, "in use") ||
					!strings.Contains(out.stderr, fmt.Sprint(p.Process.Pid)) {
					t.Errorf("a second process on the run: exit code %d\n%s", out.code, out.stderr)
				}
			}
			must(t, p.signal(c.signal))
			<-p.done
			if code := p.ProcessState.ExitCode(); code != c.code {
				t.Errorf("exit code %d, want %d\n%s", code, c.code, p.stderr.String())
			}
			if c.code == exitInterrupted && !strings.Contains(p.stderr.String(), "interrupted") {
				t.Errorf("nothing said of the interrupt:\n%s", p.stderr.String())
			}
			if _, err := os.Stat(filepath.Join(dir, "runs/tiny/similarity/sat.csv")); err == nil {
				t.Fatal("the run came to its end before the signal")
			}

			write(t, filepath.Join(dir, "experiment.toml"), fmt.Appendf(nil, "workers = %d\n%s", c.workers, tinyExperiment))
			out := sat(t, dir, "run", "experiment.toml")
			if out.code != exitDone || !strings.Contains(out.stderr, "continued from a checkpoint") {
				t.Errorf("exit code %d; want 0, and a word about the checkpoint\n%s", out.code, out.stderr)
			}
			sameResults(t, filepath.Join(dir, "runs/tiny"), filepath.Join(undisturbed, "runs/tiny"))
		})
	}
}

// TestFinishedRunComputesNothing: run again, a finished run touches no unit and writes the same results.
func TestFinishedRunComputesNothing(t *testing.T) {
	t.Parallel()
	undisturbed := tinyRun(t)
	dir := copyOf(t, undisturbed)
	before := recorded(t, filepath.Join(dir, "runs/tiny"))
	out := sat(t, dir, "run", "experiment.toml")
	if out.code != exitDone {
		t.Fatalf("exit code %d\n%s", out.code, out.stderr)
	}
	for _, want := range []string{"export     3 units were finished before", "train      5 units were finished before",
		"evaluate   10 units were finished before", "attack     9 units were finished before"} {
		if !strings.Contains(out.stderr, want) {
			t.Errorf("stderr lacks %q:\n%s", want, out.stderr)
		}
	}
	if after := recorded(t, filepath.Join(dir, "runs/tiny")); !slices.EqualFunc(before, after, time.Time.Equal) {
		t.Errorf("%d units before, %d after, or some were computed again", len(before), len(after))
	}
	sameResults(t, filepath.Join(dir, "runs/tiny"), filepath.Join(undisturbed, "runs/tiny"))
	// What the trainings have left beside their results is still in sight.
	for _, name := range []string{"log.jsonl", "speed.csv", "events.out.tfevents.sat", "epochs/epoch-0003.pt"} {
		if len(readFile(t, filepath.Join(dir, "runs/tiny/logs/resnet-s0", name))) == 0 {
			t.Errorf("logs/resnet-s0/%s is empty", name)
		}
	}
}

// TestDamagedUnitIsComputedAgain: a finished unit whose files changed on disk is named, computed again and gives the same
// results.
func TestDamagedUnitIsComputedAgain(t *testing.T) {
	t.Parallel()
	undisturbed := tinyRun(t)
	dir := copyOf(t, undisturbed)
	var damaged []string
	for pattern, spoil := range map[string]func(content []byte) []byte{
		"train/mixer-s0-*.pt":              flipMiddle,
		"evaluate/mixer-s1-*.pred":         flipMiddle,
		"attack/resnet-s0-0-*.adv":         func(content []byte) []byte { return content[:len(content)-1] },
		"transfer/resnet-s0@mixer-*.pred":  func([]byte) []byte { return nil },
		"attack/resnet-s1-0-*.unit.json":   func([]byte) []byte { return []byte("{") },
		"transfer/mixer-s0@mixer-s0*.pred": flipMiddle,
	} {
		found, err := filepath.Glob(filepath.Join(dir, "runs/tiny/units", pattern))
		must(t, err)
		if len(found) == 0 {
			t.Fatalf("no unit %s", pattern)
		}
		must(t, os.WriteFile(found[0], spoil(readFile(t, found[0])), 0o666))
		damaged = append(damaged, filepath.Base(found[0]))
	}
	out := sat(t, dir, "run", "experiment.toml")
	if out.code != exitDone {
		t.Fatalf("exit code %d\n%s", out.code, out.stderr)
	}
	for _, name := range damaged {
		named := slices.ContainsFunc(strings.Split(out.stderr, "\n"), func(line string) bool {
			return strings.Contains(line, "file is damaged") && strings.Contains(line, name) && strings.Contains(line, "again")
		})
		if !named {
			t.Errorf("no word about %s:\n%s", name, out.stderr)
		}
	}
	sameResults(t, filepath.Join(dir, "runs/tiny"), filepath.Join(undisturbed, "runs/tiny"))
}

func flipMiddle(content []byte) []byte {
	content[len(content)/2] ^= 1
	return content
}

// TestInterruptedAttackLeavesNothing: a single attack cannot be continued, so nothing of it may look like a result.
func TestInterruptedAttackLeavesNothing(t *testing.T) {
	t.Parallel()
	needTorch(t)
	dir := workplace(t)
	// Names only: the program tries the place with a file that is gone at once.
	names := func() int {
		entries, err := os.ReadDir(dir)
		must(t, err)
		return len(entries)
	}
	before := names()
	p := start(t, dir, "attack", "--model", "a.pt", "--images", "images.npy", "--labels", "labels.npy", "--steps", "1000000", "--out", "adversarial.npy")
	if !p.until(func() bool { return names() > before }) { // the temporary file of the result
		t.Fatalf("the attack ended\n%s", p.stderr.String())
	}
	must(t, p.signal(syscall.SIGINT))
	<-p.done
	if code := p.ProcessState.ExitCode(); code != exitInterrupted {
		t.Errorf("exit code %d, want %d\n%s", code, exitInterrupted, p.stderr.String())
	}
	if after := names(); after != before {
		t.Errorf("%d files before, %d after", before, after)
	}
}

// TestForcedTrainingStartsAnew: --force does not take the checkpoint of the finished training for its own, and gives the
// same module.
func TestForcedTrainingStartsAnew(t *testing.T) {
	t.Parallel()
	undisturbed := tinyRun(t)
	dir := copyOf(t, undisturbed)
	out := sat(t, dir, "train", "experiment.toml", "--force")
	if out.code != exitDone || strings.Contains(out.stderr, "checkpoint") || strings.Contains(out.stderr, "finished before") {
		t.Errorf("exit code %d\n%s", out.code, out.stderr)
	}
	sameFiles(t, filepath.Join(dir, "runs/tiny/models"), filepath.Join(undisturbed, "runs/tiny/models"))
}
