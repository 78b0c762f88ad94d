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
	"math"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
)

// A cache file holds the transformed images of one list under one transform:
//
//	0      magic, filled with zeros to one page, so that the images are aligned
//	4096   the images, uint8 [N,H,W,3]
//	...    footer: JSON (cacheInfo), its length as a 32-bit little-endian number, SHA-256 of both
//
// The description comes last because the checksums and the images left out are known only then, and the file is
// written in one pass.
const (
	cacheMagic  = "sat images 2\n"
	cachePage   = 4096
	cacheTail   = 4 + sha256.Size
	cacheFormat = 1 // counts up when decoding or resizing would give other bytes
)

// cacheInfo is a cache file's footer.
type cacheInfo struct {
	cacheKey
	Digests []byte `json:"images_sha256"` // one after the other
	rendering
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

func newCacheKey(f *Folder, states []string, t EvalTransform) cacheKey {
	h := sha256.New()
	for _, s := range states {
		io.WriteString(h, s)
	}
	return cacheKey{cacheFormat, f.Digest(), hex.EncodeToString(h.Sum(nil)), t.Size, t.Short, t.Filter.String()}
}

// path is where a cache file with this key lies below dir.
func (k *cacheKey) path(dir string) string {
	return filepath.Join(dir, fmt.Sprintf("%.16s-%d-%d-%v.images", k.Digest, k.Size, k.Short, k.Filter))
}

func writeCacheHead(w io.Writer) error {
	page := make([]byte, cachePage)
	copy(page, cacheMagic)
	_, err := w.Write(page)
	return err
}

func writeCacheTail(w io.Writer, info *cacheInfo) error {
	footer, err := json.Marshal(info)
	if err != nil {
		return err
	}
	footer = binary.LittleEndian.AppendUint32(footer, uint32(len(footer)))
	check := sha256.Sum256(footer)
	_, err = w.Write(append(footer, check[:]...))
	return err
}

// openedCache is a cache file whose description has been read and found intact.
type openedCache struct {
	file *os.File
	end  int64 // of the images
	size int64 // of the file
	info cacheInfo
}

// openCacheFile opens a cache file and verifies its description.
func openCacheFile(path string) (c *openedCache, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			file.Close()
		}
	}()
	stat, err := file.Stat()
	if err != nil {
		return nil, err
	}
	size := stat.Size()
	if size < cachePage+cacheTail || size > math.MaxInt {
		return nil, errors.New("truncated")
	}
	head, tail := make([]byte, len(cacheMagic)), make([]byte, cacheTail)
	if _, err := file.ReadAt(head, 0); err != nil {
		return nil, err
	}
	if string(head) != cacheMagic {
		return nil, errors.New("not an image cache of this version")
	}
	if _, err := file.ReadAt(tail, size-cacheTail); err != nil {
		return nil, err
	}
	end := size - cacheTail - int64(binary.LittleEndian.Uint32(tail))
	if end < cachePage {
		return nil, errors.New("truncated or damaged")
	}
	footer := make([]byte, size-sha256.Size-end)
	if _, err := file.ReadAt(footer, end); err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(footer); string(sum[:]) != string(tail[4:]) {
		return nil, errors.New("truncated or damaged: the checksum of its description is wrong")
	}
	c = &openedCache{file: file, end: end, size: size}
	if err := json.Unmarshal(footer[:len(footer)-4], &c.info); err != nil {
		return nil, fmt.Errorf("description: %w", err)
	}
	return c, nil
}

// readCache opens the cache file of list f under transform t and checks it against the key and, unless this process has just
// written it, the images against their checksums.
func readCache(ctx context.Context, path string, key cacheKey, f *Folder, t EvalTransform, o LoadOptions, written bool) (_ *openedCache, err error) {
	c, err := openCacheFile(path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			c.file.Close()
		}
	}()
	if c.info.cacheKey != key {
		return nil, errStale
	}
	n := len(f.Samples) - len(c.info.Skipped)
	if len(c.info.Digests) != n*sha256.Size || c.end-cachePage != int64(n)*int64(t.bytes()) {
		return nil, errors.New("holds another number of images than it says")
	}
	if !written {
		if err := verifyImages(ctx, c.file, c.info.Digests, t.bytes()); err != nil {
			return nil, err
		}
	}
	if len(c.info.Skipped) > 0 && o.OnBad != SkipBadImages {
		bad := c.info.Skipped[0]
		return nil, fmt.Errorf("%w: %s: %s", errBadImage, f.where(bad.ID), bad.Reason)
	}
	return c, nil
}

// verifyImages checks the images of a cache file on all cores. It reads the file rather than a mapping of it, so that
// the images do not count as memory of this process.
func verifyImages(ctx context.Context, file *os.File, digests []byte, size int) error {
	n := len(digests) / sha256.Size
	var next, wrong atomic.Int64
	var running sync.WaitGroup
	failures := make(chan error, runtime.GOMAXPROCS(0))
	for range min(n, cap(failures)) {
		running.Go(func() {
			pixels := make([]byte, size)
			for i := next.Add(1) - 1; i < int64(n) && ctx.Err() == nil; i = next.Add(1) - 1 {
				if _, err := file.ReadAt(pixels, cachePage+i*int64(size)); err != nil {
					failures <- err
					return
				}
				if sum := sha256.Sum256(pixels); string(sum[:]) != string(digests[i*sha256.Size:][:sha256.Size]) {
					wrong.Add(1)
				}
			}
		})
	}
	running.Wait()
	close(failures)
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := <-failures; err != nil {
		return err
	}
	if k := wrong.Load(); k > 0 {
		return fmt.Errorf("damaged: the checksum of the images is wrong for %d of %d", k, n)
	}
	return nil
}
