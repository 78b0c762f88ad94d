package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sat/internal/experiment"
	"sat/internal/run"
	"sat/torch"
)

// TestExitCodes: causes are told apart however deep they are wrapped; an interrupt comes before everything it led to.
func TestExitCodes(t *testing.T) {
	deep := func(err error) error { return fmt.Errorf("attack a: %w", fmt.Errorf("batch 3: %w", err)) }
	for _, c := range []struct {
		name string
		err  error
		want int
	}{
		{"nothing", nil, 0},
		{"any error", deep(errors.New("no such thing")), 1},
		{"missing file", deep(os.ErrNotExist), 1},
		{"wrong usage", deep(usagef("no such flag")), 2},
		{"wrong experiment", deep(&experiment.Problems{}), 2},
		{"failed units", deep(run.ErrPartial), 3},
		{"no libtorch", deep(torch.ErrUnavailable), 4},
		{"no GPU", deep(torch.ErrNoCUDA), 4},
		{"no exporter", deep(run.ErrEnvironment), 4},
		{"interrupt", deep(context.Canceled), 130},
		{"interrupt among failures", errors.Join(run.ErrPartial, deep(context.Canceled)), 130},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := exitCode(c.err); got != c.want {
				t.Errorf("exit code of %v is %d, want %d", c.err, got, c.want)
			}
		})
	}
}

// TestNoGPU: asking for a GPU on a machine without one is a matter of the environment, found before any work.
func TestNoGPU(t *testing.T) {
	t.Parallel()
	needTorch(t)
	if cudaDriver() {
		t.Skip("this machine has an NVIDIA driver")
	}
	dir := workplace(t)
	for _, args := range [][]string{
		{"attack", "--model", "a.pt", "--images", "images.npy", "--labels", "labels.npy", "--out", "x.npy", "--device", "cuda"},
		{"compare", "--model", "a.pt", "--images", "images.npy", "--labels", "labels.npy", "--out", "similarity", "--device", "cuda:0"},
		{"zoo", "verify", "a.pt", "--input-size", "16", "--device", "cuda"},
	} {
		refused(t, sat(t, dir, args...), exitEnvironment, []string{"CUDA"}, args)
	}
	out := sat(t, dir, "doctor", "--device", "cuda")
	if out.code != exitEnvironment || !strings.Contains(out.stdout, "--device cpu") {
		t.Errorf("sat doctor --device cuda: exit code %d\n%s", out.code, out.stdout)
	}
}

// TestNoExporter: what needs the Python environment says so and how to make it.
func TestNoExporter(t *testing.T) {
	t.Parallel()
	needTorch(t)
	dir := t.TempDir()
	cmd := program(t.Context(), dir, "zoo", "export", "--out", "modules", "resnet18")
	cmd.Env = append(cmd.Env, asProgram+"="+dir) // a checkout without environment
	out := finish(t, cmd)
	refused(t, out, exitEnvironment, []string{filepath.Join(dir, "third_party"), "make build"}, cmd.Args)
}

// TestWithoutCgo: built without libtorch, the program analyses and reports; what needs a network exits 4.
func TestWithoutCgo(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("builds the program")
	}
	finished := tinyRun(t)
	dir := copyOf(t, finished)
	binary := filepath.Join(t.TempDir(), "sat")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("CGO_ENABLED=0 go build: %v\n%s", err, text)
	}
	for from, to := range map[string]string{"similarity/sat.csv": "sat.csv", "similarity/pairs_undirected.csv": "pairs.csv",
		"analysis/tab2_clusters.csv": "tab2_clusters.csv"} {
		write(t, filepath.Join(dir, to), readFile(t, filepath.Join(finished, "runs/tiny", from)))
	}
	write(t, filepath.Join(dir, "features.csv"), []byte("model,norm\nresnet-s0,BN\nresnet-s1,BN\nmixer-s0,LN\nmixer-s1,LN\nhardened,LN\n"))
	write(t, filepath.Join(dir, "a.pt"), readFile(t, filepath.Join(goldens, "conv.pt")))
	images := []string{"--images", "data/digits", "--input-size", "16"}
	for _, c := range []struct {
		args []string
		code int
	}{
		{[]string{"analyze", "clusters", "--sat", "sat.csv", "--k", "2", "--out", "clusters"}, 0},
		{[]string{"analyze", "keywords", "--labels", "tab2_clusters.csv", "--features", "features.csv", "--out", "keywords"}, 0},
		{[]string{"analyze", "correlate", "--x", "n_both", "--y", "sat", "pairs.csv"}, 0},
		{[]string{"config", "check", "experiment.toml"}, 0},
		{[]string{"config", "show", "experiment.toml"}, 0},
		{[]string{"status", "experiment.toml"}, 0},
		{[]string{"zoo", "list"}, 0},
		{[]string{"data", "dump", "--images", "data/digits", "--size", "16", "--out", "x.npy"}, 0}, // PNG; only JPEG needs C
		{[]string{"similarity", "experiment.toml"}, 0},
		{[]string{"report", "runs/tiny"}, 0},
		{[]string{"report", "experiment.toml"}, 0},
		{[]string{"--help"}, 0},
		{[]string{"atack"}, 2},
		{[]string{"doctor"}, 4},
		{append([]string{"attack", "--model", "a.pt", "--out", "y.npy"}, images...), 4},
		{append([]string{"compare", "--model", "a.pt", "--out", "y"}, images...), 4},
		{[]string{"zoo", "verify", "a.pt", "--input-size", "16"}, 4},
		{[]string{"train", "experiment.toml", "--force"}, 4},
	} {
		cmd := exec.CommandContext(t.Context(), binary, c.args...)
		cmd.Dir = dir
		out := finish(t, cmd)
		if out.code != c.code {
			t.Errorf("sat %q: exit code %d, want %d\n%s", c.args, out.code, c.code, out.stderr)
		}
		if c.code == exitEnvironment && !strings.Contains(out.stderr+out.stdout, "cgo") && !strings.Contains(out.stderr, "make build") {
			t.Errorf("sat %q does not say what is missing: %s", c.args, out.stderr)
		}
	}
	sameFiles(t, filepath.Join(dir, "runs/tiny/similarity"), filepath.Join(finished, "runs/tiny/similarity"))
}
