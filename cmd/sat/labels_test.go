package main

import (
	"encoding/json"
	"image"
	"image/color"
	"image/png"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// photographs writes n images of noise, of several sizes, into a folder without classes.
func photographs(t *testing.T, dir string, n int) {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	must(t, os.MkdirAll(dir, 0o777))
	for i := range n {
		m := image.NewNRGBA(image.Rect(0, 0, 40+i, 50-i))
		for k := range m.Pix {
			m.Pix[k] = uint8(random.Uint32())
		}
		for y := range m.Rect.Dy() {
			m.Set(0, y, color.White)
		}
		f, err := os.Create(filepath.Join(dir, strconv.Itoa(i)+".png"))
		must(t, err)
		must(t, png.Encode(f, m))
		must(t, f.Close())
	}
}

// TestCompareWithoutLabels: a flat folder of images and networks of ten and of four classes, which have no label in common.
func TestCompareWithoutLabels(t *testing.T) {
	t.Parallel()
	needTorch(t)
	dir := workplace(t)
	photographs(t, filepath.Join(dir, "photographs"), 6)
	write(t, filepath.Join(dir, "few.pt"), readFile(t, zooModule("plain-good")))
	args := []string{"compare", "--model", "a.pt", "--model", "few.pt", "--images", "photographs", "--input-size", "8", "--steps", "2",
		"--epsilon", "32/255", "--out", "similarity"}
	refused(t, sat(t, dir, args...), 1, []string{"photographs", "6 images but no class folders", "without labels"}, args)
	mustSat(t, dir, append(args, "--labels", "predicted")...)
	for _, row := range table(t, filepath.Join(dir, "similarity/pairs.csv"))[1:] {
		if row[2] != "6" {
			t.Errorf("pairs.csv: %q; every image counts for every pair", row)
		}
	}
	var meta map[string]any
	must(t, json.Unmarshal(readFile(t, filepath.Join(dir, "similarity/pairs.meta.json")), &meta))
	if meta["labels"] != "predicted" {
		t.Errorf("pairs.meta.json: labels %v", meta["labels"])
	}
}

// TestSetOnTheCommandLine: --set works with every command that takes an experiment file.
func TestSetOnTheCommandLine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "e.toml"), []byte(tinyExperiment))
	shown := mustSat(t, dir, "config", "show", "e.toml", "--set", "name=other", "--set", `sweep.epsilon=["1/255", "2/255"]`, "--set", "attack.steps=7")
	for _, want := range []string{`out = "runs/other"`, `epsilon = ["1/255", "2/255"]`, "steps = 7"} {
		if !strings.Contains(shown, want) {
			t.Errorf("config show lacks %s:\n%s", want, shown)
		}
	}
	if status := mustSat(t, dir, "status", "e.toml", "--set", "name=other"); !strings.HasPrefix(status, "runs/other ") {
		t.Errorf("status: %s", status)
	}
	args := []string{"run", "e.toml", "--set", "attack.stps=3"}
	refused(t, sat(t, dir, args...), exitUsage, []string{"--set attack.stps=3", `did you mean "steps"?`}, args)
}
