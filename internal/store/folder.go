package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"sat/internal/store/internal/vfs"
)

// RemakeFolder makes dir hold what fill writes into an empty folder, and nothing of what it held. If fill fails, dir stays as it
// is. Where the file system can exchange two folders in one step, there is always one of them at dir; elsewhere a kill in the
// middle leaves none.
func RemakeFolder(dir string, fill func(fresh string) error) error {
	fresh := dir + ".new"
	if err := os.RemoveAll(fresh); err != nil { // of a process that was killed
		return WriteError(dir, err)
	}
	if err := os.MkdirAll(fresh, 0o755); err != nil {
		return WriteError(dir, err)
	}
	defer os.RemoveAll(fresh) // not there any more after a success
	if err := fill(fresh); err != nil {
		return err
	}
	return replaceFolder(dir, fresh)
}

func replaceFolder(dir, fresh string) error {
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		return WriteError(dir, unix.ENOTDIR)
	}
	err := unix.Renameat2(unix.AT_FDCWD, fresh, unix.AT_FDCWD, dir, unix.RENAME_EXCHANGE)
	switch {
	case errors.Is(err, fs.ErrNotExist): // nothing to exchange
		err = os.Rename(fresh, dir)
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EOPNOTSUPP):
		if err = os.RemoveAll(dir); err == nil {
			err = os.Rename(fresh, dir)
		}
	case err == nil:
		err = os.RemoveAll(fresh) // what dir was
	}
	if err == nil {
		err = vfs.Current().SyncDir(filepath.Dir(dir))
	}
	if err != nil {
		return WriteError(dir, err)
	}
	return nil
}
