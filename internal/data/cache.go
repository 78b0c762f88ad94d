package data

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"sat/internal/store"
)

// A cache file holds the transformed images of one list under one transform:
//
//	0      magic, filled with zeros to one page, so that the images are aligned
//	4096   the images, uint8 [N,H,W,3]
//	...    footer: JSON (cacheInfo), its length as a 32-bit little-endian number, SHA-256 of both
//
// The description comes last because the checksum and the images left out are known only then, and the file is
// written in one pass.
const (
	cacheMagic  = "sat images 1\n"
	cachePage   = 4096
	cacheTail   = 4 + sha256.Size
	cacheFormat = 1 // counts up when decoding or resizing would give other bytes
)

// cacheInfo is a cache file's footer.
type cacheInfo struct {
	cacheKey
	Images int `json:"images"`
	summary
}

// cacheKey says what the images in a cache file are made of.
type cacheKey struct {
	Format      int    `json:"format"`
	Digest      string `json:"list_digest"` // of the list before bad images were left out
	Fingerprint string `json:"files"`       // SHA-256 over size and time of change of every file
	Size        int    `json:"size"`
	Short       int    `json:"short_side"`
	Filter      string `json:"interpolation"`
}

// errStale reports a cache file that is intact but made of something else.
var errStale = errors.New("made from other files")

// loadCached maps the cache file of this list and transform, making it first if it is not there or not right.
func loadCached(ctx context.Context, f *Folder, t EvalTransform, o LoadOptions) (*Set, error) {
	fingerprint, err := fingerprint(ctx, f)
	if err != nil {
		return nil, err
	}
	key := cacheKey{cacheFormat, f.Digest(), fingerprint, t.Size, t.Short, t.Filter.String()}
	path := filepath.Join(o.CacheDir, fmt.Sprintf("%.16s-%d-%d-%v.images", key.Digest, t.Size, t.Short, t.Filter))
	s, err := openCache(path, key, f, t, o)
	switch {
	case err == nil:
		return s, nil
	case errors.Is(err, errBadImage):
		return nil, err
	case !errors.Is(err, fs.ErrNotExist) && o.Warn != nil:
		o.Warn(fmt.Sprintf("image cache %s: %v; decoding again", path, err))
	}
	err = writeCache(ctx, path, key, f, t, o)
	var bad *renderError
	if errors.As(err, &bad) {
		return nil, bad
	}
	if err != nil {
		return nil, fmt.Errorf("image cache: %w", err)
	}
	if s, err = openCache(path, key, f, t, o); err != nil {
		return nil, fmt.Errorf("image cache %s, just written: %w", path, err)
	}
	return s, nil
}

// fingerprint changes when a file of the list is replaced, without reading it.
func fingerprint(ctx context.Context, f *Folder) (string, error) {
	h := sha256.New()
	for _, s := range f.Samples {
		if err := ctx.Err(); err != nil {
			return "", fmt.Errorf("look at the images of %s: %w", f.Root, err)
		}
		info, err := os.Stat(s.File)
		if err != nil {
			return "", fmt.Errorf("image %s: %w", s.File, err)
		}
		fmt.Fprintf(h, "%d %d\n", info.Size(), info.ModTime().UnixNano())
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func writeCache(ctx context.Context, path string, key cacheKey, f *Folder, t EvalTransform, o LoadOptions) error {
	return store.WriteFile(path, func(w io.Writer) error {
		page := make([]byte, cachePage)
		copy(page, cacheMagic)
		if _, err := w.Write(page); err != nil {
			return err
		}
		sum, err := render(ctx, f, t, o, func(pixels []byte) error {
			_, err := w.Write(pixels)
			return err
		})
		if err != nil {
			return err
		}
		footer, err := json.Marshal(cacheInfo{key, len(f.Samples) - len(sum.Skipped), sum})
		if err != nil {
			return err
		}
		footer = binary.LittleEndian.AppendUint32(footer, uint32(len(footer)))
		check := sha256.Sum256(footer)
		_, err = w.Write(append(footer, check[:]...))
		return err
	})
}

// errBadImage reports a skipped image in an otherwise right cache when bad images are not to be skipped.
var errBadImage = errors.New("an image cannot be decoded")

// openCache maps a cache file, after checking all of it against its checksums and the key.
func openCache(path string, key cacheKey, f *Folder, t EvalTransform, o LoadOptions) (_ *Set, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() < cachePage+cacheTail || info.Size() > math.MaxInt {
		return nil, errors.New("truncated")
	}
	mapped, err := unix.Mmap(int(file.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map into memory: %w", err)
	}
	release := func() error { return unix.Munmap(mapped) }
	defer func() {
		if err != nil {
			err = errors.Join(err, release())
		}
	}()

	images, described, err := parseCache(mapped)
	if err != nil {
		return nil, err
	}
	if described.cacheKey != key {
		return nil, errStale
	}
	kept := f.without(described.Skipped)
	s := newSet(kept, t)
	if described.Images != s.N || len(images) != s.N*s.H*s.W*s.C {
		return nil, errors.New("holds another number of images than it says")
	}
	if len(described.Skipped) > 0 && o.OnBad != SkipBadImages {
		bad := described.Skipped[0]
		return nil, fmt.Errorf("%w: %s: %s", errBadImage, filepath.Join(f.Root, filepath.FromSlash(bad.ID)), bad.Reason)
	}
	s.Images, s.release = images[:len(images):len(images)], release
	s.Content, s.Skipped, s.Warnings = described.Content, described.Skipped, described.Warnings
	return s, nil
}

// parseCache takes a cache file apart and verifies both checksums.
func parseCache(file []byte) (images []byte, info cacheInfo, err error) {
	if string(file[:len(cacheMagic)]) != cacheMagic {
		return nil, info, errors.New("not an image cache")
	}
	body, check := file[:len(file)-sha256.Size], file[len(file)-sha256.Size:]
	length := int64(binary.LittleEndian.Uint32(body[len(body)-4:]))
	start := int64(len(body)) - 4 - length
	if start < cachePage {
		return nil, info, errors.New("truncated or damaged")
	}
	if sum := sha256.Sum256(body[start:]); string(sum[:]) != string(check) {
		return nil, info, errors.New("truncated or damaged: the checksum of its description is wrong")
	}
	if err := json.Unmarshal(body[start:len(body)-4], &info); err != nil {
		return nil, info, fmt.Errorf("description: %w", err)
	}
	images = body[cachePage:start]
	if sum := sha256.Sum256(images); hex.EncodeToString(sum[:]) != info.Content {
		return nil, info, errors.New("damaged: the checksum of the images is wrong")
	}
	return images, info, nil
}
