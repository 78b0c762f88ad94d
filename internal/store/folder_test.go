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

func TestReplaceFolder(t *testing.T) {
	parent := t.TempDir()
	dir, fresh := filepath.Join(parent, "analysis"), filepath.Join(parent, "analysis.new")
	for _, name := range []string{"first", "second"} {
		if err := os.Mkdir(fresh, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(fresh, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := store.ReplaceFolder(dir, fresh); err != nil {
			t.Fatal(err)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 || entries[0].Name() != name {
			t.Errorf("after %s: %v, %v", name, entries, err)
		}
		if _, err := os.Stat(fresh); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there: %v", fresh, err)
		}
	}
	if err := store.ReplaceFolder(dir, fresh); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a fresh folder: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "second")); err != nil {
		t.Errorf("a failure lost the folder: %v", err)
	}
	if err := store.ReplaceFolder(filepath.Join(dir, "second"), dir); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("over a file: %v", err)
	}
}
