package store_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"sat/internal/store"
)

func TestRemakeFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "analysis")
	fill := func(name string) func(string) error {
		return func(fresh string) error { return os.WriteFile(filepath.Join(fresh, name), nil, 0o644) }
	}
	for _, name := range []string{"first", "second"} {
		if err := os.MkdirAll(filepath.Join(dir+".new", "of a run that was killed"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := store.RemakeFolder(dir, fill(name)); err != nil {
			t.Fatal(err)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 || entries[0].Name() != name {
			t.Errorf("after %s: %v, %v", name, entries, err)
		}
		if _, err := os.Stat(dir + ".new"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s.new is still there: %v", dir, err)
		}
	}
	failure := errors.New("no figures")
	if err := store.RemakeFolder(dir, func(string) error { return failure }); !errors.Is(err, failure) {
		t.Errorf("a failure: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "second")); err != nil {
		t.Errorf("a failure lost the folder: %v", err)
	}
	if err := store.RemakeFolder(filepath.Join(dir, "second"), fill("third")); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("over a file: %v", err)
	}
}
