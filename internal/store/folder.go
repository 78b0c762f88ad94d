package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"sat/internal/store/internal/vfs"
)

// ReplaceFolder makes the folder fresh, beside dir, be dir, and removes what dir was. Where the file system can exchange two
// folders in one step, there is always one of them at dir; elsewhere a kill in the middle leaves none.
func ReplaceFolder(dir, fresh string) error {
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
