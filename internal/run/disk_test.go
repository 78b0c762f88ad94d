package run

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sat/internal/store/storetest"
)

// compared reads every file below dir that may not depend on how a run went.
func compared(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	must(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path == dir {
			return nil
		}
		if err != nil || entry.IsDir() || entry.Name() == "progress.json" || entry.Name() == ".lock" {
			return err
		}
		name, err := filepath.Rel(dir, path)
		files[name] = string(readFile(t, path))
		return err
	}))
	return files
}

// TestEveryWriteFails lets the disk fail at each of a run's writes, as a full disk does: from there on. The run says where
// and why, nothing incomplete has its final name, and the next run comes to the same bytes.
func TestEveryWriteFails(t *testing.T) {
	spec := comparison(t, 6, "a", "b")
	spec.Workers = 1 // and else their order
	usual := heartbeatInterval
	heartbeatInterval = time.Hour // else the number of writes depends on how long the run takes
	t.Cleanup(func() { heartbeatInterval = usual })

	at := func(dir string) Spec {
		s := spec
		s.Dir, s.Similarity = dir, filepath.Join(dir, "similarity")
		return s
	}
	work := func(dir string) error {
		_, err := Run(t.Context(), at(dir), Options{Until: StageSimilarity, Progress: silent()})
		return err
	}
	undisturbed := filepath.Join(t.TempDir(), "run")
	must(t, work(undisturbed))
	want := compared(t, undisturbed)

	folders := func() string { return filepath.Join(t.TempDir(), "run") }
	storetest.EveryFailure(t, folders, unix.ENOSPC, work, func(t *testing.T, dir string, got error) {
		// Nothing depends on the last thing written, the heartbeat.
		if got == nil && len(compared(t, dir)) != len(want) {
			t.Fatal("no error, and not everything there")
		}
		if got != nil && (!errors.Is(got, unix.ENOSPC) || !strings.Contains(got.Error(), dir) || !strings.Contains(got.Error(), "df -h")) {
			t.Errorf("error %q; want the cause, the path and the way out", got)
		}
		for name, content := range compared(t, dir) {
			if want[name] != content {
				t.Errorf("%s is there with other bytes than in the end", name)
			}
		}
		storetest.NoTemps(t, dir)
	})
}

// TestRunAfterAFullDisk continues after a disk was full in each stage, and ends with the bytes of an undisturbed run.
func TestRunAfterAFullDisk(t *testing.T) {
	spec := comparison(t, 6, "a", "b")
	spec.Workers = 1
	disk := storetest.Watch(t, spec.Dir)
	compare(t, spec)
	writes, want := disk.Count(storetest.Write), compared(t, spec.Dir)
	const lastHeartbeat = 1
	for nth := 0; nth < writes-lastHeartbeat; nth += 4 {
		again := spec
		again.Dir = filepath.Join(t.TempDir(), "run")
		again.Similarity = filepath.Join(again.Dir, "similarity")
		t.Run(fmt.Sprintf("write %d of %d", nth, writes), func(t *testing.T) {
			storetest.Fail(t, again.Dir, storetest.Write, nth, unix.ENOSPC)
			if _, err := Run(t.Context(), again, Options{Until: StageSimilarity, Progress: silent()}); !errors.Is(err, unix.ENOSPC) {
				t.Errorf("error %v", err)
			}
		})
		compare(t, again)
		for name, content := range compared(t, again.Dir) {
			if want[name] != content {
				t.Errorf("after write %d failed: %s differs from an undisturbed run's", nth, name)
			}
		}
	}
}
