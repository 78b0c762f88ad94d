package data

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"sat/internal/store"
)

// partSamples is how many images of a longer list are lost at most when the program is killed: seconds of work.
var partSamples = 512

var (
	errStale    = errors.New("made from other files")      // of a cache file that is intact
	errBadImage = errors.New("an image cannot be decoded") // of one that is right, when bad images are not to be skipped
)

// loadCached maps the cache files of this list, making first what is not there or not right.
func loadCached(ctx context.Context, f *Folder, transforms []EvalTransform, o LoadOptions) (sets []*Set, err error) {
	states, err := fileStates(ctx, f)
	if err != nil {
		return nil, err
	}
	sets = make([]*Set, len(transforms))
	defer func() {
		for _, s := range sets {
			if err != nil && s != nil {
				_ = s.Close()
			}
		}
	}()
	var missing []int
	var lacking []EvalTransform
	for k, t := range transforms {
		key := newCacheKey(f, states, t)
		path := key.path(o.CacheDir)
		sets[k], err = openCache(ctx, path, key, f, t, o, false)
		switch {
		case err == nil:
			continue
		case errors.Is(err, errBadImage):
			return nil, err
		case ctx.Err() != nil:
			return nil, fmt.Errorf("load images of %s: %w", f.Root, ctx.Err())
		case !errors.Is(err, fs.ErrNotExist):
			o.warn("image cache %s: %v; decoding again", path, err)
		}
		missing, lacking = append(missing, k), append(lacking, t)
	}
	if len(missing) == 0 {
		return sets, nil
	}
	err = writeCaches(ctx, f, states, lacking, o)
	var bad *renderError
	switch {
	case errors.As(err, &bad):
		return nil, bad
	case errors.Is(err, errBadImage):
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("image cache: %w", err)
	}
	for i, k := range missing {
		key := newCacheKey(f, states, lacking[i])
		path := key.path(o.CacheDir)
		if sets[k], err = openCache(ctx, path, key, f, lacking[i], o, true); err != nil {
			return nil, fmt.Errorf("image cache %s, just written: %w", path, err)
		}
	}
	return sets, nil
}

// fileStates returns a line for every sample that changes when its file is replaced, without reading the file.
func fileStates(ctx context.Context, f *Folder) ([]string, error) {
	states := make([]string, len(f.Samples))
	known := map[string]string{}
	for i := range f.Samples {
		s := &f.Samples[i]
		state, ok := known[s.File]
		if !ok {
			if err := ctx.Err(); err != nil {
				return nil, fmt.Errorf("look at the images of %s: %w", f.Root, err)
			}
			info, err := os.Stat(s.File)
			if err != nil {
				return nil, fmt.Errorf("image %s: %w", s.Where(), err)
			}
			state = fmt.Sprintf("%d %d", info.Size(), info.ModTime().UnixNano())
			if s.part != (part{}) {
				known[s.File] = state
			}
		}
		states[i] = fmt.Sprintf("%s %d %d\n", state, s.part.from, s.part.size)
	}
	return states, nil
}

// writeCaches makes the cache files of several transforms, decoding every image once for those that lack it. A long list is
// written as cache files of its parts first, each of which appears when it is complete, and they are then joined: a
// program that is killed loses one part.
func writeCaches(ctx context.Context, f *Folder, states []string, transforms []EvalTransform, o LoadOptions) error {
	if len(f.Samples) <= partSamples {
		return writePart(ctx, f, states, transforms, o.CacheDir, o)
	}
	partDir := filepath.Join(o.CacheDir, "parts")
	parts := make([][]string, len(transforms)) // their files
	done := 0
	partOptions := o
	partOptions.Progress = func(int, int) {
		done++
		o.progress(done, len(f.Samples))
	}
	for from := 0; from < len(f.Samples); from += partSamples {
		to := min(from+partSamples, len(f.Samples))
		sub := *f
		sub.Samples = f.Samples[from:to]
		var missing []EvalTransform
		for k, t := range transforms {
			key := newCacheKey(&sub, states[from:to], t)
			path := key.path(partDir)
			parts[k] = append(parts[k], path)
			c, err := readCache(ctx, path, key, &sub, t, o, false)
			switch {
			case err == nil:
				c.file.Close()
				continue
			case errors.Is(err, errBadImage):
				return err
			case ctx.Err() != nil:
				return fmt.Errorf("load images of %s, %d of %d: %w", f.Root, done, len(f.Samples), ctx.Err())
			}
			missing = append(missing, t) // not written yet, or damaged
		}
		if len(missing) == 0 {
			for range sub.Samples {
				partOptions.Progress(0, 0)
			}
			continue
		}
		if err := writePart(ctx, &sub, states[from:to], missing, partDir, partOptions); err != nil {
			return err
		}
	}
	for k, t := range transforms {
		key := newCacheKey(f, states, t)
		if err := joinParts(ctx, key.path(o.CacheDir), key, parts[k], f); err != nil {
			return err
		}
		for _, path := range parts[k] {
			_ = os.Remove(path) // what stays only takes space
		}
	}
	_ = os.Remove(partDir) // unless another list has parts there
	return nil
}

// writePart renders a list into cache files in dir, one for each transform.
func writePart(ctx context.Context, f *Folder, states []string, transforms []EvalTransform, dir string, o LoadOptions) error {
	keys, paths := make([]cacheKey, len(transforms)), make([]string, len(transforms))
	for k, t := range transforms {
		keys[k] = newCacheKey(f, states, t)
		paths[k] = keys[k].path(dir)
	}
	return writeTogether(paths, func(files []io.Writer) error {
		for _, w := range files {
			if err := writeCacheHead(w); err != nil {
				return err
			}
		}
		out, err := render(ctx, f, transforms, o, func(k int, pixels []byte) error {
			_, err := files[k].Write(pixels)
			return err
		})
		if err == nil && dir == o.CacheDir {
			err = out.checkSome(f)
		}
		if err != nil {
			return err
		}
		for k, w := range files {
			info := cacheInfo{cacheKey: keys[k], rendering: out}
			for _, d := range out.digests[k] {
				info.Digests = append(info.Digests, d[:]...)
			}
			if err := writeCacheTail(w, &info); err != nil {
				return err
			}
		}
		return nil
	})
}

// writeTogether is store.WriteFile for several files that are written side by side.
func writeTogether(paths []string, write func(files []io.Writer) error) error {
	var cause error // the innermost, which the others only wrap
	var open func(files []io.Writer) error
	open = func(files []io.Writer) error {
		if len(files) == len(paths) {
			return write(files)
		}
		err := store.WriteFile(paths[len(files)], func(w io.Writer) error { return open(append(files, w)) })
		if cause == nil {
			cause = err
		}
		return err
	}
	if err := open(nil); err != nil {
		return cause
	}
	return nil
}

// joinParts makes the cache file of a list from those of its parts, which have been verified or just written.
func joinParts(ctx context.Context, path string, key cacheKey, parts []string, f *Folder) error {
	return store.WriteFile(path, func(w io.Writer) error {
		if err := writeCacheHead(w); err != nil {
			return err
		}
		whole := cacheInfo{cacheKey: key}
		for _, part := range parts {
			if err := ctx.Err(); err != nil {
				return err
			}
			c, err := openCacheFile(part)
			if err != nil {
				return fmt.Errorf("part %s: %w", part, err)
			}
			_, err = io.Copy(w, io.NewSectionReader(c.file, cachePage, c.end-cachePage))
			c.file.Close()
			if err != nil {
				return err
			}
			whole.Digests = append(whole.Digests, c.info.Digests...)
			whole.Skipped = append(whole.Skipped, c.info.Skipped...)
			whole.Warnings += c.info.Warnings
		}
		if err := whole.checkSome(f); err != nil {
			return err
		}
		return writeCacheTail(w, &whole)
	})
}

// openCache checks a cache file as readCache does and maps it into memory.
func openCache(ctx context.Context, path string, key cacheKey, f *Folder, t EvalTransform, o LoadOptions, written bool) (*Set, error) {
	c, err := readCache(ctx, path, key, f, t, o, written)
	if err != nil {
		return nil, err
	}
	defer c.file.Close()
	mapped, err := unix.Mmap(int(c.file.Fd()), 0, int(c.size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map into memory: %w", err)
	}
	s := newSet(f.without(c.info.Skipped), t)
	s.mapped, s.Images = mapped, mapped[cachePage:c.end:c.end]
	content := sha256.Sum256(c.info.Digests)
	s.Content, s.Skipped, s.Warnings = hex.EncodeToString(content[:]), c.info.Skipped, c.info.Warnings
	return s, nil
}

// forget takes images from, ..., to-1 of a mapped set out of this process's memory; they stay in the system's file
// cache. So a run with the images of twenty transforms does not grow by their size.
func (s *Set) forget(from, to int) {
	if s.mapped == nil || from >= to {
		return
	}
	page, size := os.Getpagesize(), s.C*s.H*s.W
	start, end := (cachePage+from*size)/page*page, cachePage+to*size
	_ = unix.Madvise(s.mapped[start:end], unix.MADV_DONTNEED) // advice; the next access reads the file again
}
