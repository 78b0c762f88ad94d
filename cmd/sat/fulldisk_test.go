package main

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sat/internal/data"
)

// fullDiskExperiment attacks with steps too small to reach the ball's edge, so that an adversarial image takes as much room
// as the store ever needs.
const fullDiskExperiment = `name = "full"
batch = 64

[data]
images = "images.npy"
labels = "predicted"

[transfer]
clean = "shared"

[attack]
epsilon = "24/255"
step_size = "1/255"
steps = 3

[similarity]
bootstrap = 20

[[model]]
name = "a"
path = "a.pt"

[[model]]
name = "b"
path = "b.pt"

[[model]]
name = "exported"
timm = "models.mlp_mixer.MlpMixer"
args = { img_size = 16, patch_size = 4, embed_dim = 16, num_blocks = 1, num_classes = 10 }
weights = "random"
input_size = 16
`

// mountSmallDisk makes dir a file system of its own in memory, or skips t where that takes rights that it has not. grow
// makes it larger.
func mountSmallDisk(t *testing.T, dir, size string) (grow func(size string)) {
	t.Helper()
	must(t, os.MkdirAll(dir, 0o777))
	err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		t.Skipf("needs the right to mount a file system, and has not: %v; TestEveryWriteFails of package run stands in for it", err)
	}
	must(t, err)
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return func(size string) { must(t, unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT, "size="+size)) }
}

// TestFullDisk fills a disk in the middle of an export, and of a shard of adversarial images. Each time the run says which
// file, why and what to do, and leaves nothing half written; with more room it ends with the bytes of a run that had enough
// from the start.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	needTorch(t)
	needExporter(t)
	const images = 300
	x := make([]float32, images*3*side*side)
	for i := range x {
		x[i] = float32(i*i%251) / 250
	}
	place := func(dir string) {
		for name, from := range map[string]string{"a.pt": "conv.pt", "b.pt": "vit.pt"} {
			write(t, filepath.Join(dir, name), readFile(t, filepath.Join(goldens, from)))
		}
		must(t, data.WriteNPY(filepath.Join(dir, "images.npy"), x, images, 3, side, side))
	}
	dir := t.TempDir()
	grow := mountSmallDisk(t, filepath.Join(dir, "runs"), "64k")
	undisturbed := filepath.Join(finishedRun(t, []byte(fullDiskExperiment), place), "runs", "full")

	write(t, filepath.Join(dir, "experiment.toml"), []byte(fullDiskExperiment))
	place(dir)
	for _, c := range []struct{ size, file string }{
		{"64k", `export/exported-[0-9a-f]+\.pt`},
		{"700k", `attack/[a-z]+-0-[0-9a-f]+\.adv`},
		{"700k", `attack/[a-z]+-0-[0-9a-f]+\.adv`}, // as before: a run that failed leaves no less room
	} {
		grow(c.size)
		out := sat(t, dir, "run", "experiment.toml")
		wanted := regexp.MustCompile(`write runs/full/units/` + c.file + `: no space left on device \(free some space, see "df -h`)
		if out.code != exitFailed || !wanted.MatchString(out.stderr) {
			t.Errorf("%s: exit code %d; want %d and %v\n%s", c.size, out.code, exitFailed, wanted, out.stderr)
		}
		for name := range filesBelow(t, filepath.Join(dir, "runs", "full")) {
			if base := filepath.Base(name); strings.HasPrefix(base, ".") && base != ".lock" {
				t.Errorf("%s: a temporary file is left: %s", c.size, name)
			}
		}
	}
	grow("64m")
	out := sat(t, dir, "run", "experiment.toml")
	for _, kept := range []string{"export     1 units were finished before", "evaluate   3 units were finished before"} {
		if out.code != exitDone || !strings.Contains(out.stderr, kept) {
			t.Errorf("with more room: exit code %d; want %d and %q\n%s", out.code, exitDone, kept, out.stderr)
		}
	}
	sameResults(t, filepath.Join(dir, "runs", "full"), undisturbed)
}
