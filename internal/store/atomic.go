package store

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"sat/internal/store/internal/vfs"
)

// writeBuffer is the size of the buffer in front of each file: large enough that a stream of small writes costs few
// system calls.
const writeBuffer = 256 << 10

// WriteFile makes the file at path hold exactly what write writes, or leaves path as it was. The bytes go to a
// temporary file in the same folder, which is synced and then renamed; the folder is synced last. After an error
// (also one returned by write, or a panic in it) the temporary file is gone; after a kill it stays under a hidden
// name that Sweep removes. Missing parent folders are made. A path that is a symbolic link keeps being one: its
// target is replaced. The writer is buffered; write need not flush.
//
// Errors name the path and, for the usual causes, the way out; errors.Is finds the cause.
func WriteFile(path string, write func(w io.Writer) error) (err error) {
	disk := vfs.Current()
	final, f, err := temporary(disk, path)
	if err != nil {
		return WriteError(path, err)
	}
	closed, renamed := false, false
	defer func() {
		if !closed {
			f.Close()
		}
		if !renamed {
			_ = disk.Remove(f.Name()) // best effort: Sweep finds what this leaves
		}
	}()
	buffered := bufio.NewWriterSize(f, writeBuffer)
	if err := write(buffered); err != nil {
		return WriteError(path, err)
	}
	if err := buffered.Flush(); err != nil {
		return WriteError(path, err)
	}
	if err := f.Sync(); err != nil {
		return WriteError(path, err)
	}
	// The file keeps its lock until it has its final name, so that no sweeper takes it in between.
	if err := disk.Rename(f.Name(), final); err != nil {
		return WriteError(path, err)
	}
	renamed = true
	closed = true
	err = f.Close()
	if err == nil {
		err = disk.SyncDir(filepath.Dir(final))
	}
	if err != nil {
		// The content may not survive a power cut, so the file must not look finished.
		_ = disk.Remove(final)
		return WriteError(path, err)
	}
	return nil
}

// WriteBytes is WriteFile for content that is already in memory.
func WriteBytes(path string, content []byte) error {
	return WriteFile(path, func(w io.Writer) error {
		_, err := w.Write(content)
		return err
	})
}

// CopyFile makes the file at path hold what the file at from holds, with WriteFile.
func CopyFile(path, from string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	return WriteFile(path, func(w io.Writer) error {
		_, err := io.Copy(w, src)
		return err
	})
}

// CheckWritable reports whether WriteFile(path) could work, so that a long computation fails before it starts rather
// than when it wants to save. It makes missing parent folders and leaves nothing else behind.
func CheckWritable(path string) error {
	disk := vfs.Current()
	_, f, err := temporary(disk, path)
	if err != nil {
		return WriteError(path, err)
	}
	err = errors.Join(disk.Remove(f.Name()), f.Close())
	if err != nil {
		return WriteError(path, err)
	}
	return nil
}

// temporary opens a temporary file beside the file that path stands for, final, and makes missing folders.
func temporary(disk vfs.FS, path string) (final string, f vfs.File, err error) {
	if final, err = destination(path); err != nil {
		return "", nil, err
	}
	dir, base := filepath.Split(final)
	dir = filepath.Clean(dir)
	if err := disk.MkdirAll(dir); err != nil {
		return "", nil, err
	}
	f, err = disk.CreateTemp(dir, base)
	return final, f, err
}

var errNotRegular = errors.New("exists and is not a regular file")

// destination resolves symbolic links and refuses to replace what is not a file: a rename over /dev/null would
// otherwise succeed for root.
func destination(path string) (string, error) {
	if path == "" {
		return "", errors.New("no file name given")
	}
	final := path
	if resolved, err := filepath.EvalSymlinks(path); err == nil {
		final = resolved
	}
	info, err := os.Stat(final)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if last := path[len(path)-1]; os.IsPathSeparator(last) {
			return "", errors.New("is the name of a folder, a file name is needed")
		}
		return final, nil
	case err != nil:
		return "", err
	case info.IsDir():
		return "", errors.New("is a folder, a file name is needed")
	case !info.Mode().IsRegular():
		return "", errNotRegular
	}
	return final, nil
}

// WriteError names the path and adds the way out where one is known.
func WriteError(path string, err error) error {
	// A *PathError names the temporary file, which means nothing to the reader; its cause and the final path do.
	var inPath *fs.PathError
	var inLink *os.LinkError
	if errors.As(err, &inPath) && err == error(inPath) {
		err = inPath.Err
	} else if errors.As(err, &inLink) && err == error(inLink) {
		err = inLink.Err
	}
	if way := wayOut(path, err); way != "" {
		return fmt.Errorf("write %s: %w (%s)", path, err, way)
	}
	return fmt.Errorf("write %s: %w", path, err)
}

func wayOut(path string, err error) string {
	dir := filepath.Dir(path)
	switch {
	case errors.Is(err, unix.ENOSPC):
		return fmt.Sprintf("free some space, see \"df -h %s\", or choose another folder; finished results are kept", dir)
	case errors.Is(err, unix.EDQUOT):
		return "your quota is used up: free some space or choose another folder; finished results are kept"
	case errors.Is(err, unix.EROFS):
		return "the file system is read-only: choose another folder"
	case errors.Is(err, fs.ErrPermission):
		return fmt.Sprintf("make the folder writable, for instance \"chmod u+w %s\", or choose another", dir)
	case errors.Is(err, unix.ENOTDIR):
		return "a part of the path is a file, not a folder"
	}
	return ""
}

// unlockedGrace is how long Sweep leaves a temporary file alone on a file system without locks, where a living writer
// cannot be told from a dead one. No single file of this program takes a day to write.
const unlockedGrace = 24 * time.Hour

// Sweep removes, below dir, the temporary files of writers that died, and returns how many. Files still being
// written, by this or another process, hold a lock and are left alone. A missing dir is nothing to sweep.
func Sweep(dir string) (removed int, err error) {
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed or renamed by its owner meanwhile
		}
		if err != nil {
			return err
		}
		if !entry.Type().IsRegular() || !vfs.IsTemp(entry.Name()) {
			return nil
		}
		gone, err := sweepFile(path)
		if gone {
			removed++
		}
		return err
	})
	if err != nil {
		return removed, fmt.Errorf("sweep %s: %w", dir, err)
	}
	return removed, nil
}

func sweepFile(path string) (removed bool, err error) {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return false, nil // renamed meanwhile, or somebody else's
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	switch err := vfs.Lock(f, false); {
	case errors.Is(err, unix.EWOULDBLOCK):
		return false, nil
	case err != nil:
		info, err := f.Stat()
		if err != nil || time.Since(info.ModTime()) < unlockedGrace {
			return false, nil
		}
	}
	// Between our open and our lock the writer may have renamed the file to its final name and closed it; then the
	// temporary name is gone and removing it would find nothing.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	} else if err != nil {
		return false, nil
	}
	return true, nil
}
