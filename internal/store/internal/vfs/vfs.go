// Package vfs is the seam between package store and the disk: the few operations of which an atomic file commit
// consists. Production code always uses the real disk; storetest replaces it to make any single operation fail.
package vfs

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// File is a temporary file being written.
type File interface {
	io.Writer
	Sync() error
	Close() error
	Name() string
}

// FS holds the operations of a commit, in the order in which they happen.
type FS interface {
	MkdirAll(dir string) error
	// CreateTemp makes a new file in dir, named by TempName(base), and holds an exclusive advisory lock on it until
	// Close, which tells a sweeper that its writer lives.
	CreateTemp(dir, base string) (File, error)
	Rename(from, to string) error
	SyncDir(dir string) error
	Remove(name string) error
}

var current atomic.Pointer[FS]

func init() { Swap(disk{}) }

// Current is the file system in use.
func Current() FS { return *current.Load() }

// Swap installs fs and returns the one it replaces. For tests only.
func Swap(fs FS) FS {
	old := current.Swap(&fs)
	if old == nil {
		return nil
	}
	return *old
}

// tempMark separates the final name from the random part in the name of a temporary file.
const tempMark = ".tmp-"

const tempRandomBytes = 6

// TempName returns a fresh name for a temporary file that will become base: hidden, and recognised by IsTemp.
func TempName(base string) string {
	var random [tempRandomBytes]byte
	rand.Read(random[:]) // never fails: crypto/rand ends the process where the system has no entropy
	return "." + base + tempMark + hex.EncodeToString(random[:])
}

// IsTemp reports whether name (without folder) is that of a temporary file: made by TempName, or by os.CreateTemp with
// the pattern ".NAME.tmp-*", as package torch does for module files.
func IsTemp(name string) bool {
	at := strings.LastIndex(name, tempMark)
	if at < 1 || name[0] != '.' {
		return false
	}
	random := name[at+len(tempMark):]
	return random != "" && strings.Trim(random, "0123456789abcdef") == ""
}

// Lock takes an exclusive advisory lock on an open file; without wait it returns unix.EWOULDBLOCK when another open
// file description holds it. The system drops the lock when the holder closes the file or dies, however it dies.
func Lock(f *os.File, wait bool) error {
	how := unix.LOCK_EX
	if !wait {
		how |= unix.LOCK_NB
	}
	for {
		err := unix.Flock(int(f.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// disk is the real file system.
type disk struct{}

func (disk) MkdirAll(dir string) error    { return os.MkdirAll(dir, 0o777) }
func (disk) Rename(from, to string) error { return os.Rename(from, to) }
func (disk) Remove(name string) error     { return os.Remove(name) }

// CreateTemp retries when a sweeper took the file between its creation and its lock: the sweeper removes only what
// it has locked, so a file that still has a name once we hold the lock is ours.
func (disk) CreateTemp(dir, base string) (File, error) {
	const attempts = 100
	for range attempts {
		f, err := os.OpenFile(filepath.Join(dir, TempName(base)), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
		if errors.Is(err, os.ErrExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		// A file system without locks is no obstacle to writing: Sweep is then careful instead (see there).
		_ = Lock(f, true)
		if _, err := os.Lstat(f.Name()); err == nil {
			return f, nil
		}
		f.Close()
	}
	return nil, fmt.Errorf("no temporary file in %s after %d attempts", dir, attempts)
}

// SyncDir makes a rename in dir durable. Some network file systems refuse to sync a folder; they order renames
// themselves, so the refusal is not an error.
func (disk) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOTSUP) {
		return err
	}
	return nil
}
