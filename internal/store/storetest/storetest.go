// Package storetest makes the disk fail, for tests of anything that writes through package store.
package storetest

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"sat/internal/store/internal/vfs"
)

// Op is one operation of a commit.
type Op string

const (
	Mkdir   Op = "mkdir"
	Create  Op = "create"
	Write   Op = "write"
	Sync    Op = "sync"
	Rename  Op = "rename"
	Close   Op = "close"
	SyncDir Op = "syncdir"
)

// Ops lists the operations of every commit, in order. A commit of much content has several of Write.
var Ops = []Op{Mkdir, Create, Write, Sync, Rename, Close, SyncDir}

// Disk counts the operations below one folder and fails one of them.
type Disk struct {
	vfs.FS
	root string

	mu     sync.Mutex
	op     Op
	nth    int
	err    error
	done   map[Op]int
	failed bool
}

// Fail makes the nth operation of kind op (counted from 0) on a file or folder below dir return err, and every later
// operation of that kind too, as a full disk would, until the test ends. Other folders are not affected. Tests that
// use it may not run in parallel with each other.
func Fail(t testing.TB, dir string, op Op, nth int, err error) *Disk {
	t.Helper()
	return install(t, dir, op, nth, err)
}

// Watch counts the operations below dir and fails none.
func Watch(t testing.TB, dir string) *Disk {
	t.Helper()
	return install(t, dir, "", 0, nil)
}

func install(t testing.TB, dir string, op Op, nth int, err error) *Disk {
	root, absErr := filepath.Abs(dir)
	if absErr != nil {
		t.Fatal(absErr)
	}
	d := &Disk{FS: vfs.Current(), root: root, op: op, nth: nth, err: err, done: map[Op]int{}}
	vfs.Swap(d)
	t.Cleanup(func() { vfs.Swap(d.FS) })
	return d
}

// Count returns how many operations of kind op were asked for.
func (d *Disk) Count(op Op) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.done[op]
}

// Failed reports whether the failure has happened.
func (d *Disk) Failed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failed
}

// EveryFailure runs work once undisturbed to count its operations below dir, then once for each of them with that
// operation failing. work returns the error of the code under test; check is called after each failing run.
func EveryFailure(t *testing.T, dir func() string, err error, work func(dir string) error, check func(t *testing.T, dir string, got error)) {
	t.Helper()
	counted := map[Op]int{}
	t.Run("undisturbed", func(t *testing.T) {
		root := dir()
		disk := Watch(t, root)
		if err := work(root); err != nil {
			t.Fatalf("without a failure: %v", err)
		}
		for _, op := range Ops {
			counted[op] = disk.Count(op)
		}
	})
	for _, op := range Ops {
		for nth := range counted[op] {
			t.Run(fmt.Sprintf("%s-%d", op, nth), func(t *testing.T) {
				root := dir()
				disk := Fail(t, root, op, nth, err)
				got := work(root)
				if !disk.Failed() {
					t.Fatalf("operation %s %d did not happen", op, nth)
				}
				check(t, root, got)
			})
		}
	}
}

// NoTemps fails the test if a temporary file is left below dir.
func NoTemps(t testing.TB, dir string) {
	t.Helper()
	if left := temps(t, dir); len(left) > 0 {
		t.Errorf("temporary files left: %s", strings.Join(left, ", "))
	}
}

func temps(t testing.TB, dir string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && vfs.IsTemp(entry.Name()) {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(found)
	return found
}

func (d *Disk) step(op Op, path string) error {
	abs, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	if abs != d.root && !strings.HasPrefix(abs, d.root+string(filepath.Separator)) {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.done[op]
	d.done[op]++
	if op == d.op && n >= d.nth && d.err != nil {
		d.failed = true
		return d.err
	}
	return nil
}

// MkdirAll fails before the folder is made.
func (d *Disk) MkdirAll(dir string) error {
	if err := d.step(Mkdir, dir); err != nil {
		return err
	}
	return d.FS.MkdirAll(dir)
}

// CreateTemp wraps the file so that its operations are counted too.
func (d *Disk) CreateTemp(dir, base string) (vfs.File, error) {
	if err := d.step(Create, dir); err != nil {
		return nil, err
	}
	f, err := d.FS.CreateTemp(dir, base)
	if err != nil {
		return nil, err
	}
	return &file{f, d}, nil
}

// Rename fails before the rename takes place.
func (d *Disk) Rename(from, to string) error {
	if err := d.step(Rename, to); err != nil {
		return err
	}
	return d.FS.Rename(from, to)
}

// SyncDir fails instead of syncing.
func (d *Disk) SyncDir(dir string) error {
	if err := d.step(SyncDir, dir); err != nil {
		return err
	}
	return d.FS.SyncDir(dir)
}

type file struct {
	vfs.File
	disk *Disk
}

// Write writes half of p before it fails, as a full disk does.
func (f *file) Write(p []byte) (int, error) {
	if err := f.disk.step(Write, f.Name()); err != nil {
		n, _ := f.File.Write(p[:len(p)/2])
		return n, err
	}
	return f.File.Write(p)
}

func (f *file) Sync() error {
	if err := f.disk.step(Sync, f.Name()); err != nil {
		return err
	}
	return f.File.Sync()
}

// Close releases the file and its lock even when it reports a failure.
func (f *file) Close() error {
	err := f.disk.step(Close, f.Name())
	if closeErr := f.File.Close(); err == nil {
		err = closeErr
	}
	return err
}
