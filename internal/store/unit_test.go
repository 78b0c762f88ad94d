package store_test

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sat/internal/store"
	"sat/internal/store/storetest"
)

// The expected digest is Python's: hashlib.sha256(json.dumps({"schema": 1, "stage": "attack", "parameters": {"epsilon":
// "8/255", "steps": 50, "big": 9007199254740993, "html": "a<b&c"}, "digests": {"module": "ab", "images": "cd"}},
// sort_keys=True, separators=(",", ":")).encode()).hexdigest()
const keyOfPython = "ecf5efb672c8443601a7f4b3ac0729e3b96cb6a2b7a2384ca8f9c8e59673c513"

func TestNewKey(t *testing.T) {
	type parameters struct { // the order of fields does not matter
		Steps   int    `json:"steps"`
		HTML    string `json:"html"`
		Epsilon string `json:"epsilon"`
		Big     int64  `json:"big"`
	}
	p := parameters{50, "a<b&c", "8/255", 1<<53 + 1}
	digests := map[string]string{"module": "ab", "images": "cd"}
	key, err := store.NewKey("attack", p, digests)
	if err != nil || key != keyOfPython {
		t.Fatalf("key %s (%v), want %s", key, err, keyOfPython)
	}
	if key.Short() != keyOfPython[:12] || store.Key("abc").Short() != "abc" {
		t.Errorf("short %s", key.Short())
	}
	other := map[string]string{"module": "ab", "images": "ce"}
	p2 := p
	p2.Steps++
	for name, k := range map[string]func() (store.Key, error){
		"stage":      func() (store.Key, error) { return store.NewKey("transfer", p, digests) },
		"parameters": func() (store.Key, error) { return store.NewKey("attack", p2, digests) },
		"digests":    func() (store.Key, error) { return store.NewKey("attack", p, other) },
	} {
		if got, err := k(); err != nil || got == key {
			t.Errorf("another %s gives the same key (%v)", name, err)
		}
	}
	if _, err := store.NewKey("attack", math.NaN(), nil); err == nil {
		t.Error("NaN as a parameter was accepted")
	}
}

func TestFileDigest(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	if err := os.WriteFile(path, []byte("abc"), 0o666); err != nil {
		t.Fatal(err)
	}
	const fips = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" // FIPS 180-2, example B.1
	if got, err := store.FileDigest(path); err != nil || got != fips {
		t.Errorf("digest %s (%v), want %s", got, err, fips)
	}
	if _, err := store.FileDigest(path + "x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}

func testUnit(t *testing.T) store.Unit {
	t.Helper()
	key, err := store.NewKey("attack", "p", nil)
	if err != nil {
		t.Fatal(err)
	}
	return store.Unit{Stage: "attack", Name: "resnet-s0", Key: key}
}

// work does what a stage does with a unit of two files.
func work(u store.Unit, dir string) error {
	if err := u.Begin(dir); err != nil {
		return err
	}
	if err := store.WriteBytes(u.File(dir, "adv"), []byte("images")); err != nil {
		return err
	}
	if err := store.WriteBytes(u.File(dir, "csv"), []byte("a,b\n")); err != nil {
		return err
	}
	return u.Commit(dir, "csv", "adv")
}

func TestUnit(t *testing.T) {
	dir, u := t.TempDir(), testUnit(t)
	if done, err := u.Finished(dir); done || err != nil {
		t.Fatalf("before: %t, %v", done, err)
	}
	if _, err := u.Load(dir, "adv"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("load before: %v", err)
	}
	if err := work(u, dir); err != nil {
		t.Fatal(err)
	}
	if done, err := u.Finished(dir); !done || err != nil || !u.Recorded(dir) {
		t.Errorf("after: %t, %v", done, err)
	}
	if got, err := u.Load(dir, "adv"); err != nil || string(got) != "images" {
		t.Errorf("load: %q, %v", got, err)
	}
	if _, err := u.Load(dir, "other"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("load of a file it does not have: %v", err)
	}
	m := store.Manifest{Host: "h", PID: 1, Started: time.Unix(5, 0).UTC(), Versions: map[string]string{"torch": "2.11.0"}}
	if err := u.WriteManifest(dir, m); err != nil {
		t.Fatal(err)
	}
	if got, err := u.ReadManifest(dir); err != nil || got.Host != "h" || !got.Started.Equal(m.Started) {
		t.Errorf("manifest %v, %v", got, err)
	}
	if err := u.Begin(dir); err != nil {
		t.Fatal(err)
	}
	if done, err := u.Finished(dir); done || err != nil || u.Recorded(dir) {
		t.Errorf("begun again: %t, %v", done, err)
	}
}

func TestUnitDamage(t *testing.T) {
	u := testUnit(t)
	for name, damage := range map[string]func(dir string) error{
		"flipped byte":   func(dir string) error { return os.WriteFile(u.File(dir, "adv"), []byte("imagEs"), 0o666) },
		"truncated":      func(dir string) error { return os.Truncate(u.File(dir, "adv"), 3) },
		"missing":        func(dir string) error { return os.Remove(u.File(dir, "adv")) },
		"record emptied": func(dir string) error { return os.Truncate(u.File(dir, "unit.json"), 0) },
		"record of another unit": func(dir string) error {
			content, err := os.ReadFile(u.File(dir, "unit.json"))
			if err != nil {
				return err
			}
			other := strings.Replace(string(content), string(u.Key[:13]), "0000000000000", 1)
			return os.WriteFile(u.File(dir, "unit.json"), []byte(other), 0o666)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := errors.Join(work(u, dir), damage(dir)); err != nil {
				t.Fatal(err)
			}
			done, err := u.Finished(dir)
			if done || !errors.Is(err, store.ErrCorrupt) || !strings.Contains(err.Error(), dir) {
				t.Errorf("finished: %t, %v; want ErrCorrupt naming the file", done, err)
			}
			if _, err := u.Load(dir, "adv"); !errors.Is(err, store.ErrCorrupt) {
				t.Errorf("load: %v, want ErrCorrupt", err)
			}
			if err := work(u, dir); err != nil {
				t.Fatal(err)
			}
			if done, err := u.Finished(dir); !done || err != nil {
				t.Errorf("computed again: %t, %v", done, err)
			}
		})
	}
}

// TestUnitEveryFailure: a unit that did not get through is not finished, and nothing pretends otherwise.
func TestUnitEveryFailure(t *testing.T) {
	u := testUnit(t)
	storetest.EveryFailure(t, t.TempDir, unix.ENOSPC,
		func(dir string) error { return work(u, dir) },
		func(t *testing.T, dir string, err error) {
			if !errors.Is(err, unix.ENOSPC) {
				t.Errorf("error is %v", err)
			}
			if done, err := u.Finished(dir); done || err != nil {
				t.Errorf("finished: %t, %v", done, err)
			}
			storetest.NoTemps(t, dir)
		})
}

func TestUnitRefuses(t *testing.T) {
	good := testUnit(t)
	for name, u := range map[string]store.Unit{
		"no key":        {Stage: "attack", Name: "a"},
		"path in name":  {Stage: "attack", Name: "../a", Key: good.Key},
		"path in stage": {Stage: "a/b", Name: "a", Key: good.Key},
	} {
		if err := u.Begin(t.TempDir()); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := good.Commit(t.TempDir(), "adv"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("commit without the file: %v", err)
	}
}

func TestCheckName(t *testing.T) {
	for name, ok := range map[string]bool{
		"resnet50.tv_in1k": true, "a-s0": true, "A+b@2": true, "": false, ".a": false, "-a": false, "a/b": false,
		"a b": false, "ä": false, "a\x00": false, "..": false, strings.Repeat("a", 160): true, strings.Repeat("a", 161): false,
	} {
		if err := store.CheckName(name); (err == nil) != ok {
			t.Errorf("%q: %v, want accepted = %t", name, err, ok)
		}
	}
}

func TestLock(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	holder, line := child(t, "lock:"+dir)
	if line != "locked" {
		t.Fatal(line)
	}
	_, err := store.Lock(dir)
	if !errors.Is(err, store.ErrLocked) {
		t.Fatalf("second process got %v", err)
	}
	host, _ := os.Hostname()
	for _, part := range []string{dir, "process", host, time.Now().UTC().Format("2006-01-02T")} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not name %q", err, part)
		}
	}
	holder.Process.Kill() // as hard as it gets: the lock must go with the process
	holder.Wait()
	lock, err := store.Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, line := child(t, "lock:"+dir); !strings.Contains(line, "is in use") {
		t.Errorf("while we hold it another process says %q", line)
	}
	if err := lock.Unlock(); err != nil {
		t.Fatal(err)
	}
	if _, line := child(t, "lock:"+dir); line != "locked" {
		t.Errorf("after we released it another process says %q", line)
	}
}
