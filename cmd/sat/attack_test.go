package main

import (
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sat/internal/data"
	"sat/internal/testkit"
)

// attackOutput is what `sat attack --json` promises, read strictly.
type attackOutput struct {
	SchemaVersion int            `json:"schema_version"`
	Model         string         `json:"model"`
	Out           string         `json:"out"`
	Correct       []bool         `json:"correct"`
	Fooled        []bool         `json:"fooled"`
	Attack        map[string]any `json:"attack"`
	Batch         int            `json:"batch"`
	Threads       int            `json:"threads"`
	Precision     string         `json:"precision"`
	Mode          string         `json:"mode"`
	Saturated     int            `json:"saturated_images"`
	ZeroGradient  int            `json:"zero_grad_images"`
	Survivors     int            `json:"survivors"`
	Targets       []int64        `json:"targets"`
	Reached       []bool         `json:"reached"`
	Stages        []stageJSON    `json:"stages"`
	Warnings      []string       `json:"warnings"`
}

// attacked runs `sat attack` on the workplace's files and returns what it says and the images it wrote.
func attacked(t *testing.T, dir string, args ...string) (attackOutput, []float32, []int) {
	t.Helper()
	args = append([]string{"attack", "--out", "adversarial.npy", "--json", "--quiet", "--threads", "1"}, args...)
	var out attackOutput
	strictJSON(t, mustSat(t, dir, args...), &out)
	pixels, shape, err := data.ReadNPY[float32](t.Context(), filepath.Join(dir, "adversarial.npy"))
	must(t, err)
	return out, pixels, shape
}

// strictJSON decodes exactly one document and no key that into lacks.
func strictJSON(t *testing.T, text string, into any) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	must(t, d.Decode(into))
	if d.More() {
		t.Errorf("more than one JSON document on stdout: %s", text)
	}
}

// count returns the number of true values.
func count(flags []bool) (n int) {
	for _, f := range flags {
		if f {
			n++
		}
	}
	return n
}

// allowedToDiffer is the number of pixels in which an attack may end elsewhere than the golden: one in a thousand, and one in
// thirty with other kernels than those that made it, which round gradients near 0 to other signs.
func allowedToDiffer(t *testing.T, g golden, pixels int) int {
	t.Helper()
	if testkit.SameKernels(t, g.Header.Capability) {
		return pixels / 1000
	}
	return pixels / 30
}

// TestAttackEqualsTorchattacks: the images of `sat attack` are those that torchattacks made from the same files, in the
// same batch; see scripts/goldens/attacks_torchattacks.py.
func TestAttackEqualsTorchattacks(t *testing.T) {
	t.Parallel()
	needTorch(t)
	dir := workplace(t)
	g := readGolden(t)
	clean, _, err := data.ReadNPY[float32](t.Context(), filepath.Join(dir, "images.npy"))
	must(t, err)
	files := map[string]string{"conv": "a.pt", "vit": "b.pt"}
	for _, c := range g.Cases {
		if c.Attack != "pgd" || c.Norm != "Linf" || c.Targeted || c.Momentum != 0 {
			continue // the command has no flag for these
		}
		t.Run(c.Name, func(t *testing.T) {
			out, got, shape := attacked(t, dir, "--model", files[c.Model], "--images", "images.npy", "--labels", "labels.npy",
				"--epsilon", fmt.Sprint(c.Epsilon), "--step-size", fmt.Sprint(c.StepSize), "--steps", fmt.Sprint(c.Steps),
				"--mean", "0", "--std", "1", "--input-size", fmt.Sprint(side))
			if !slices.Equal(shape, []int{c.Images, 3, side, side}) {
				t.Fatalf("shape %v", shape)
			}
			if out.Batch != c.Images { // of 64: one batch, as torchattacks was given
				t.Errorf("batch %d, want %d", out.Batch, c.Images)
			}
			want := goldenImages(t, c.Name, len(got))
			differ := 0
			for i, v := range got {
				moved := math.Abs(float64(v) - float64(clean[i]))
				if moved > c.Epsilon+6e-8 || v < 0 || v > 1 { // 6e-8: one unit in the last place below 1
					t.Fatalf("pixel %d went from %v to %v, %v away; epsilon is %v", i, clean[i], v, moved, c.Epsilon)
				}
				if math.Abs(float64(v)-float64(want[i])) > 1e-6 {
					differ++
				}
			}
			if allowed := allowedToDiffer(t, g, len(want)); differ > allowed {
				t.Errorf("%d of %d pixels differ from torchattacks' (made with %s kernels), want at most %d",
					differ, len(want), g.Header.Capability, allowed)
			}
			robust := 0
			for i, class := range c.Predicted {
				if class == g.Labels[i] {
					robust++
				}
			}
			if ours := c.Images - count(out.Fooled); ours < robust-1 || ours > robust+1 {
				t.Errorf("%d images are robust, torchattacks leaves %d", ours, robust)
			}
		})
	}
}

// TestAttackJSON: every field of the output has the value that the flags and defaults say.
func TestAttackJSON(t *testing.T) {
	t.Parallel()
	needTorch(t)
	dir := workplace(t)
	out, _, _ := attacked(t, dir, "--model", "a.pt", "--images", "images.npy", "--labels", "labels.npy", "--steps", "2",
		"--epsilon", "2/255", "--batch", "24", "--random-start", "--restarts", "2", "--seed", "7", "--select", "best-loss")
	if out.SchemaVersion != schemaVersion || out.Model != "a" || out.Out != "adversarial.npy" || out.Batch != 24 ||
		out.Threads != 1 || out.Precision != "float32" || out.Mode != "float32" || len(out.Correct) != 64 || len(out.Fooled) != 64 {
		t.Errorf("got %+v", out)
	}
	if n := count(out.Correct); n < 56 { // these networks are right on more than 9 of 10 digits
		t.Errorf("%d of 64 correct; the files' description is not applied", n)
	}
	for key, want := range map[string]any{
		"method": "pgd", "epsilon": "2/255", "epsilon_decimal": 2.0 / 255, "step_size": 0.1, "steps": 2.0, "norm": "Linf",
		"random_start": true, "restarts": 2.0, "select": "best-loss", "seed": 7.0,
	} {
		if got := out.Attack[key]; got != want {
			t.Errorf("attack.%s is %v, want %v", key, got, want)
		}
	}

	out, _, _ = attacked(t, dir, "--model", "a.pt", "--images", "images.npy", "--labels", "labels.npy", "--steps", "1")
	if out.Batch != 64 || out.Attack["epsilon"] != "8/255" || out.Attack["select"] != "last" || out.Attack["random_start"] != false {
		t.Errorf("defaults: got %+v", out)
	}
}

// TestAttackOnlyCorrect: with the flag, images that the network misclassifies stay as they are, and nothing else changes.
func TestAttackOnlyCorrect(t *testing.T) {
	t.Parallel()
	needTorch(t)
	dir := workplace(t)
	// A quarter of the labels is wrong, so that there is something to leave alone.
	labels := slices.Clone(readGolden(t).Labels)
	for i := range labels {
		if i%4 == 0 {
			labels[i] = (labels[i] + 1) % 10
		}
	}
	must(t, data.WriteNPY(filepath.Join(dir, "labels.npy"), labels, len(labels)))
	clean, _, err := data.ReadNPY[float32](t.Context(), filepath.Join(dir, "images.npy"))
	must(t, err)
	args := []string{"--model", "b.pt", "--images", "images.npy", "--labels", "labels.npy", "--steps", "3"}
	every, all, _ := attacked(t, dir, args...)
	only, some, _ := attacked(t, dir, append(args, "--only-correct")...)
	if !slices.Equal(every.Correct, only.Correct) {
		t.Errorf("correct without the flag %v\nwith it %v", every.Correct, only.Correct)
	}
	size := 3 * side * side
	for i, correct := range only.Correct {
		got, want := some[i*size:(i+1)*size], all[i*size:(i+1)*size]
		moved := !slices.Equal(want, clean[i*size:(i+1)*size])
		if !moved {
			t.Errorf("image %d: not attacked without the flag", i)
		}
		if !correct {
			want = clean[i*size : (i+1)*size]
			if !only.Fooled[i] {
				t.Errorf("image %d is misclassified as it is, but not reported as fooled", i)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("image %d (correct: %v) is not what it should be", i, correct)
		}
	}
}

// TestAttackBatches: how images are grouped changes neither which ones are classified correctly nor their random starts,
// and for equal batches and threads it changes no bit.
func TestAttackBatches(t *testing.T) {
	t.Parallel()
	needTorch(t)
	dir := workplace(t)
	args := []string{"--model", "b.pt", "--images", "images.npy", "--labels", "labels.npy", "--random-start", "--seed", "3"}
	whole, start, _ := attacked(t, dir, append(args, "--steps", "0")...)
	for _, batch := range []string{"1", "7", "64"} {
		out, got, _ := attacked(t, dir, append(args, "--steps", "0", "--batch", batch)...)
		if !slices.Equal(out.Correct, whole.Correct) {
			t.Errorf("batch %s: other images are correct", batch)
		}
		if !slices.Equal(got, start) {
			t.Errorf("batch %s: other random starts", batch)
		}
	}
	_, first, _ := attacked(t, dir, append(args, "--steps", "5", "--batch", "16")...)
	_, again, _ := attacked(t, dir, append(args, "--steps", "5", "--batch", "16")...)
	if !slices.Equal(first, again) {
		t.Error("the same command gave other images")
	}
	_, other, _ := attacked(t, dir, "--model", "b.pt", "--images", "images.npy", "--labels", "labels.npy", "--random-start",
		"--seed", "4", "--steps", "0")
	if slices.Equal(other, start) {
		t.Error("another seed gave the same random starts")
	}
}

// TestAttackFolder: a folder of images gives what an array of the same pixels and labels gives, in (class, path) order.
func TestAttackFolder(t *testing.T) {
	t.Parallel()
	needTorch(t)
	dir := workplace(t)
	g := readGolden(t)
	raw := readFile(t, filepath.Join(goldens, "images.u8"))
	// Images of one class in the order of their file names, classes in order.
	var order []int
	for class := range int64(10) {
		for i, y := range g.Labels {
			if y == class {
				order = append(order, i)
			}
		}
	}
	size := 3 * side * side
	sorted, labels := make([]float32, 0, len(raw)), []int64{}
	for _, i := range order {
		m := image.NewNRGBA(image.Rect(0, 0, side, side))
		planes := raw[i*size : (i+1)*size]
		for p := range side * side {
			m.SetNRGBA(p%side, p/side, color.NRGBA{planes[p], planes[side*side+p], planes[2*side*side+p], 255})
		}
		path := filepath.Join(dir, "folder", "val", fmt.Sprint(g.Labels[i]), fmt.Sprintf("%02d.png", i))
		must(t, os.MkdirAll(filepath.Dir(path), 0o777))
		f, err := os.Create(path)
		must(t, err)
		must(t, png.Encode(f, m))
		must(t, f.Close())
		for _, b := range planes {
			sorted = append(sorted, float32(b)/255)
		}
		labels = append(labels, g.Labels[i])
	}
	must(t, data.WriteNPY(filepath.Join(dir, "sorted.npy"), sorted, len(order), 3, side, side))
	must(t, data.WriteNPY(filepath.Join(dir, "sorted-labels.npy"), labels, len(order)))

	fromArray, want, _ := attacked(t, dir, "--model", "a.pt", "--images", "sorted.npy", "--labels", "sorted-labels.npy", "--steps", "2")
	fromFolder, got, shape := attacked(t, dir, "--model", "a.pt", "--images", "folder", "--steps", "2",
		"--input-size", fmt.Sprint(side), "--crop-pct", "1", "--interpolation", "bilinear")
	if !slices.Equal(shape, []int{len(order), 3, side, side}) || !slices.Equal(got, want) {
		t.Errorf("the folder gave other images (shape %v)", shape)
	}
	if !slices.Equal(fromFolder.Correct, fromArray.Correct) || !slices.Equal(fromFolder.Fooled, fromArray.Fooled) {
		t.Error("the folder gave other outcomes")
	}
	// Labels from a file override the classes, in (class, path) order.
	for i := range labels {
		labels[i] = (labels[i] + 1) % 10
	}
	must(t, data.WriteNPY(filepath.Join(dir, "other-labels.npy"), labels, len(labels)))
	relabelled, _, _ := attacked(t, dir, "--model", "a.pt", "--images", "folder", "--labels", "other-labels.npy", "--steps", "1",
		"--input-size", fmt.Sprint(side), "--crop-pct", "1", "--interpolation", "bilinear")
	if n := count(relabelled.Correct); n > 8 {
		t.Errorf("%d of 64 images correct under wrong labels", n)
	}
}
