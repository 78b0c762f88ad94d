package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"sat/internal/store/internal/vfs"
)

// ErrLocked marks a run folder that another process is using.
var ErrLocked = errors.New("run folder is in use")

const lockName = ".lock"

type holder struct {
	PID   int       `json:"pid"`
	Host  string    `json:"host"`
	Since time.Time `json:"since"`
}

// DirLock is the exclusive use of a run folder.
type DirLock struct{ file *os.File }

// Lock takes dir, which is made if missing, for this process. If another process has it the error is ErrLocked and
// names that process, its host and since when. The lock is advisory (flock) and ends with the process, however that
// ends: there is no stale lock to remove by hand, and the file .lock staying behind means nothing. A file system
// without locks gives an error that matches errors.ErrUnsupported.
func Lock(dir string) (*DirLock, error) {
	path := filepath.Join(dir, lockName)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, WriteError(path, err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, WriteError(path, err)
	}
	if err := vfs.Lock(f, false); err != nil {
		defer f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: %s %s; wait for it, end it, or use another folder", ErrLocked, dir, holderOf(f))
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	host, err := os.Hostname()
	if err != nil {
		host = "this host"
	}
	me, err := json.Marshal(holder{PID: os.Getpid(), Host: host, Since: time.Now().UTC().Truncate(time.Second)})
	if err == nil {
		err = errors.Join(f.Truncate(0), writeAt(f, append(me, '\n')))
	}
	if err != nil {
		f.Close()
		return nil, WriteError(path, err)
	}
	return &DirLock{f}, nil
}

// Unlock ends the exclusive use.
func (l *DirLock) Unlock() error {
	return errors.Join(l.file.Truncate(0), l.file.Close())
}

func writeAt(f *os.File, content []byte) error {
	_, err := f.WriteAt(content, 0)
	return err
}

// holderOf reads who holds a lock. The holder may be between locking and writing; then it is just "another process".
func holderOf(f *os.File) string {
	content, err := io.ReadAll(io.LimitReader(f, 4096))
	var h holder
	if err != nil || json.Unmarshal(content, &h) != nil {
		return "is held by another process"
	}
	return fmt.Sprintf("is held by process %d on %s since %s", h.PID, h.Host, h.Since.Format(time.RFC3339))
}
