package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sat/internal/run"
)

// TestWrongCheckpoint: the weights of another network under the right name are refused with the file and the tensor, in a
// run that then goes on without that model; so is a finished module under another's name.
func TestWrongCheckpoint(t *testing.T) {
	t.Parallel()
	needTorch(t)
	needExporter(t)
	dir := workplace(t)
	checkpoint := filepath.Join(dir, "checkpoints", "deit_tiny_patch16_224.fb_in1k.pth")
	write(t, checkpoint, nil)
	save := exec.CommandContext(t.Context(), run.ExporterPython(checkout()), "-c",
		"import sys, torch; torch.save({'conv1.weight': torch.zeros(4, 3, 7, 7), 'fc.bias': torch.zeros(10)}, sys.argv[1])", checkpoint)
	if text, err := save.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	text := `name = "wrong"
batch = 64

[data]
images = "images.npy"
labels = "predicted"

[transfer]
clean = "shared"

[attack]
steps = 1

[similarity]
bootstrap = 20

[zoo]
names = ["deit_tiny_patch16_224"]
checkpoints = "checkpoints"

[[model]]
name = "a"
path = "a.pt"
`
	write(t, filepath.Join(dir, "experiment.toml"), []byte(text))
	out := sat(t, dir, "run", "experiment.toml")
	if out.code != exitPartial {
		t.Errorf("exit code %d, want %d", out.code, exitPartial)
	}
	for _, want := range []string{"export of deit_tiny_patch16_224 failed, it is left out", checkpoint[len(dir)+1:], "it has no tensor cls_token"} {
		if !strings.Contains(out.stderr, want) {
			t.Errorf("stderr lacks %q:\n%s", want, out.stderr)
		}
	}
	if rows := table(t, filepath.Join(dir, "runs/wrong/similarity/sat.csv")); len(rows) != 2 || rows[1][0] != "a" {
		t.Errorf("sat.csv: %q", rows)
	}

	write(t, filepath.Join(dir, "modules", "deit_tiny_patch16_224.pt"), readFile(t, zooModule("vit")))
	write(t, filepath.Join(dir, "experiment.toml"), []byte(strings.Replace(text, `checkpoints = "checkpoints"`, "weights = \"random\"\nmodules = \"modules\"", 1)))
	args := []string{"run", "experiment.toml"}
	refused(t, sat(t, dir, args...), exitFailed, []string{"modules/deit_tiny_patch16_224.pt holds the network", `not "deit_tiny_patch16_224.fb_in1k"`}, args)
}
