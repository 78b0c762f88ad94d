package run

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sat/internal/testkit"
)

func tableJob(t *testing.T, names ...string) TableJob {
	t.Helper()
	job := TableJob{Threads: 1, Batch: 2, Repeats: 1, Journal: filepath.Join(t.TempDir(), "table.csv.partial")}
	for _, name := range names {
		job.Files = append(job.Files, filepath.Join(testkit.Root(t), "zoo", "testdata", name+".pt"))
	}
	return job
}

func TestTable(t *testing.T) {
	testkit.SkipWithoutTorch(t)
	testkit.NoLeaks(t)
	job := tableJob(t, "resnet", "mixer", "plain-noisy")
	job.Describe.Height, job.Describe.Width = 16, 16
	altered := filepath.Join(t.TempDir(), "altered.pt")
	content, err := os.ReadFile(job.Files[0])
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)/2] ^= 1
	if err := os.WriteFile(altered, content, 0o600); err != nil {
		t.Fatal(err)
	}
	job.Files = append(job.Files, altered)
	rows, err := job.Table(t.Context(), nil)
	if !errors.Is(err, ErrPartial) || len(rows) != 4 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	good := rows[0]
	if !good.OK() || good.Model != "resnet" || good.Verified != verifiedRecorded || good.InputSize != "16x16" || good.Kind != "scripted" ||
		good.Parameters < 1000 || good.FileBytes != int64(len(content)) || good.ForwardMs <= 0 || good.GradientMs <= 0 ||
		good.Confidence <= 0.1 || good.Confidence >= 1 || good.PeakMB <= 0 {
		t.Errorf("%+v", good)
	}
	// The mixer starts with a head of zero: what the table must say of it.
	if dead := rows[1]; dead.OK() || !dead.ConstantOutput || dead.ZeroGradients != 2 || dead.Verified != verifiedRecorded {
		t.Errorf("%+v", dead)
	}
	if noisy := rows[2]; noisy.OK() || !strings.Contains(noisy.Verified, "from call to call") {
		t.Errorf("%+v", noisy)
	}
	if broken := rows[3]; broken.OK() || !strings.Contains(broken.Verified, "damaged") || broken.ForwardMs != 0 {
		t.Errorf("%+v", broken)
	}
}

// An interrupted measurement keeps what it has, also when its last line was cut off; other settings start anew.
func TestTableResumes(t *testing.T) {
	testkit.SkipWithoutTorch(t)
	testkit.NoLeaks(t)
	job := tableJob(t, "resnet", "regnet")
	ctx, cancel := context.WithCancel(t.Context())
	first, err := job.Table(ctx, func(TableRow) { cancel() })
	if !errors.Is(err, context.Canceled) || len(first) != 1 {
		t.Fatalf("%d rows, %v", len(first), err)
	}
	f, err := os.OpenFile(job.Journal, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteString(`{"key":"half a li`)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		rows, err := job.Table(t.Context(), nil)
		if err != nil || len(rows) != 2 || rows[0] != first[0] || rows[1].Model != "regnet" {
			t.Fatalf("%+v, %v; the first was %+v", rows, err, first)
		}
	}
	job.Batch = 1
	rows, err := job.Table(t.Context(), nil)
	if err != nil || rows[0] == first[0] {
		t.Errorf("%+v, %v after a change of settings", rows[0], err)
	}
}
