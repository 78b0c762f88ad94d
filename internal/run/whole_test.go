package run

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sat/attacks"
	"sat/internal/data"
	"sat/internal/experiment"
	"sat/internal/store/storetest"
	"sat/internal/studies"
	"sat/internal/testkit"
	"sat/zoo"
)

// TestLogits: the stored logits are those of a plain pass, whole or in shards, whatever interrupts the run, and the reader
// of `sat analyze ensembles` reads them.
func TestLogits(t *testing.T) {
	const n = 11
	spec := comparison(t, n, "a", "b")
	spec.Evaluate = experiment.Evaluate{Images: "all", Logits: "float32"}
	usual := wholeShard
	wholeShard = 4 // the batch, so that shards and the whole cut the same batches
	t.Cleanup(func() { wholeShard = usual })
	disk := storetest.Watch(t, spec.Dir)
	compare(t, spec)
	writes := disk.Count(storetest.Write)

	images, _, err := data.ReadNPY[float32](t.Context(), spec.Data.Images)
	must(t, err)
	labels, _, err := data.ReadNPY[int64](t.Context(), filepath.Join(spec.Dir, "logit_labels.npy"))
	must(t, err)
	files, err := studies.OpenLogits(filepath.Join(spec.Dir, "logits"), []string{"a", "b"}, labels)
	must(t, err)
	defer files.Close()
	for i, m := range spec.Members {
		want := logitsOf(t, m, images, n, spec.Batch)
		got := make([]float32, n*classes)
		must(t, files.ReadLogits(t.Context(), i, 0, got))
		right := 0
		for k := range want {
			if math.Float32bits(got[k]) != math.Float32bits(want[k]) {
				t.Fatalf("%s: logit %d is %v, want %v", m.Name, k, got[k], want[k])
			}
		}
		predicted, err := attacks.Predict(want, n)
		must(t, err)
		for k := range predicted {
			if predicted[k] == labels[k] {
				right++
			}
		}
		row := records(t, filepath.Join(spec.Similarity, "accuracy.csv"))[i]
		if row[1] != strconv.Itoa(n) || !strings.HasPrefix(row[2], strconv.FormatFloat(100*float64(right)/n, 'g', 8, 64)[:4]) {
			t.Errorf("accuracy.csv: %q, want %d of %d", row, right, n)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(spec.Dir, "units/evaluate/*-all-*-*.npy")); len(left) > 0 {
		t.Errorf("shards are left: %q", left)
	}
	want := readFile(t, filepath.Join(spec.Dir, "logits", "b.npy"))

	// With and without logits the attacks are the same.
	without := spec
	without.Evaluate = experiment.Evaluate{}
	sameSet(t, "without logits", computed(t, without, func() { compare(t, without) }))

	// A disk that is full at some write; then the same bytes.
	for nth := 2; nth < writes/2; nth += 7 {
		again := spec
		again.Dir = filepath.Join(t.TempDir(), "run")
		again.Similarity = filepath.Join(again.Dir, "similarity")
		t.Run(strconv.Itoa(nth), func(t *testing.T) {
			storetest.Fail(t, again.Dir, storetest.Write, nth, unix.ENOSPC)
			if _, err := Run(t.Context(), again, Options{Until: StageEvaluate, Progress: silent()}); err != nil && !errors.Is(err, unix.ENOSPC) {
				t.Errorf("error %v", err)
			}
		})
		_, err := Run(t.Context(), again, Options{Until: StageEvaluate, Progress: silent()})
		must(t, err)
		if string(readFile(t, filepath.Join(again.Dir, "logits", "b.npy"))) != string(want) {
			t.Errorf("write %d: other logits after a full disk", nth)
		}
	}

	half := spec
	half.Evaluate.Logits = "float16"
	compare(t, half)
	info, err := os.Stat(filepath.Join(spec.Dir, "logits", "b.npy"))
	must(t, err)
	if size := int64(128 + 2*n*classes); info.Size() != size {
		t.Errorf("float16: %d bytes, want %d", info.Size(), size)
	}
}

// logitsOf shows images to a model, a batch at a time.
func logitsOf(t *testing.T, m Member, images []float32, n, batch int) []float32 {
	t.Helper()
	model, err := zoo.Load(t.Context(), m.Path, zoo.LoadOptions{Worker: testkit.Torch(t), Describe: m.Describe})
	must(t, err)
	defer model.Close()
	var out []float32
	all := attacks.Batch{Pixels: images, N: n, C: 3, H: side, W: side}
	for from := 0; from < n; from += batch {
		logits, err := model.Logits(t.Context(), all.Slice(from, min(from+batch, n)))
		must(t, err)
		out = append(out, logits...)
	}
	return out
}
