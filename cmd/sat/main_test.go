package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"sat/internal/data"
	"sat/internal/run"
	"sat/torch"
)

// asProgram makes the test binary behave as bin/sat, so that tests see real processes, exit codes and signals.
const asProgram = "SAT_TEST_RUN_MAIN"

func TestMain(m *testing.M) {
	if root := os.Getenv(asProgram); root != "" {
		homeFolder = func() string { return root } // the test binary lies elsewhere
		main()
		return
	}
	code := m.Run()
	if reference.dir != "" {
		_ = os.RemoveAll(reference.dir)
	}
	os.Exit(code)
}

// program prepares a run of the program in dir.
func program(ctx context.Context, dir string, args ...string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), asProgram+"="+checkout())
	return cmd
}

// checkout is the root of this source tree; the tests run in cmd/sat.
func checkout() string {
	dir, err := filepath.Abs("../..")
	if err != nil {
		panic(err)
	}
	return dir
}

type output struct {
	code           int
	stdout, stderr string
}

// sat runs the program to its end.
func sat(t *testing.T, dir string, args ...string) output {
	t.Helper()
	return finish(t, program(t.Context(), dir, args...))
}

func finish(t *testing.T, cmd *exec.Cmd) output {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%q: %v", cmd.Args, err)
	}
	return output{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// mustSat is sat for a command that has to succeed.
func mustSat(t *testing.T, dir string, args ...string) string {
	t.Helper()
	out := sat(t, dir, args...)
	if out.code != 0 {
		t.Fatalf("sat %q: exit %d\n%s", args, out.code, out.stderr)
	}
	return out.stdout
}

func needTorch(t *testing.T) {
	t.Helper()
	if !torch.Available() {
		t.Skip("built without cgo, so without libtorch")
	}
}

// needExporter skips t without the Python environment that set-up makes.
func needExporter(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(run.ExporterPython(checkout())); err != nil {
		t.Skip("needs the Python environment of set-up, which \"make build\" makes")
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	must(t, err)
	return content
}

// zooModule is one of the small random networks of package zoo, which carry sat.json: 10 classes, 16x16 images except
// for "convnext", which takes 32x32.
func zooModule(name string) string { return filepath.Join(checkout(), "zoo", "testdata", name+".pt") }

const goldens = "../../attacks/goldentest/testdata"

// golden is the part of the attack goldens that these tests use; see scripts/goldens/attacks_torchattacks.py.
type golden struct {
	Header struct {
		Capability string `json:"cpu_capability"`
	}
	Labels []int64
	Cases  []struct {
		Name, Model, Attack, Norm string
		Images, Steps             int
		Predicted                 []int64
		Epsilon, Momentum         float64
		StepSize                  float64 `json:"step_size"`
		Targeted                  bool
	}
}

func readGolden(t *testing.T) golden {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(goldens, "golden.json"))
	if err != nil {
		t.Fatal(err)
	}
	var g golden
	if err := json.Unmarshal(text, &g); err != nil {
		t.Fatal(err)
	}
	return g
}

// side is the size of the golden images, which have three channels.
const side = 16

// workplace is a folder with what a new user has: a.pt (a convolutional network), b.pt (a vision transformer), both
// trained on the digits and without sat.json, images.npy and labels.npy.
func workplace(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for from, to := range map[string]string{"conv.pt": "a.pt", "vit.pt": "b.pt"} {
		content, err := os.ReadFile(filepath.Join(goldens, from))
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, to), content)
	}
	g := readGolden(t)
	raw, err := os.ReadFile(filepath.Join(goldens, "images.u8"))
	if err != nil {
		t.Fatal(err)
	}
	pixels := make([]float32, len(raw))
	for i, b := range raw {
		pixels[i] = float32(b) / 255
	}
	if err := data.WriteNPY(filepath.Join(dir, "images.npy"), pixels, len(g.Labels), 3, side, side); err != nil {
		t.Fatal(err)
	}
	if err := data.WriteNPY(filepath.Join(dir, "labels.npy"), g.Labels, len(g.Labels)); err != nil {
		t.Fatal(err)
	}
	return dir
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o666); err != nil {
		t.Fatal(err)
	}
}

// goldenImages reads the adversarial images that torchattacks made.
func goldenImages(t *testing.T, name string, n int) []float32 {
	t.Helper()
	f, err := os.Open(filepath.Join(goldens, name+".f32.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	if len(raw) != 4*n {
		t.Fatalf("%s holds %d bytes, want %d floats", name, len(raw), n)
	}
	out := make([]float32, n)
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	return out
}
