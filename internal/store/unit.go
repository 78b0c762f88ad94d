package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// ErrCorrupt marks a file whose content is not what was written: damaged, truncated, or edited. The error names the
// file and, where known, the part of it.
var ErrCorrupt = errors.New("file is damaged")

// Unit is one idempotent piece of work of a run.
type Unit struct {
	Stage string // a folder below the run's units: "export", "train", "evaluate", "attack", "transfer"
	Name  string // for people: which model, which shard
	Key   Key
}

const (
	recordSuffix   = "unit.json"
	manifestSuffix = "manifest.json"
)

// record is the content of a unit's record file.
type record struct {
	SchemaVersion int          `json:"schema_version"`
	Stage         string       `json:"stage"`
	Name          string       `json:"name"`
	Key           Key          `json:"key"`
	Files         []recordFile `json:"files"` // sorted by suffix
}

type recordFile struct {
	Suffix string `json:"suffix"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// File returns the path of one of the unit's files below dir, the run's folder of units: DIR/STAGE/NAME-KEY.SUFFIX
// with the short form of the key.
func (u Unit) File(dir, suffix string) string {
	return filepath.Join(dir, u.Stage, u.Name+"-"+u.Key.Short()+"."+suffix)
}

// Finished reports whether the unit's result is there and verified. Without a record it is not finished (and err is
// nil); with a record and a missing or altered file, or with an unreadable record, err is ErrCorrupt and names it.
func (u Unit) Finished(dir string) (bool, error) {
	rec, err := u.readRecord(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for _, file := range rec.Files {
		if err := u.verify(dir, file); err != nil {
			return false, err
		}
	}
	return true, nil
}

// Recorded is Finished without reading the files: for counting, not for trusting.
func (u Unit) Recorded(dir string) bool {
	_, err := u.readRecord(dir)
	return err == nil
}

// Begin prepares for computing the unit (again): it makes the folder and removes the record, so that the unit counts
// as not done until Commit.
func (u Unit) Begin(dir string) error {
	if err := u.check(); err != nil {
		return err
	}
	path := u.File(dir, recordSuffix)
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return WriteError(path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return WriteError(path, err)
	}
	return nil
}

// Commit declares the unit finished with the files of the given suffixes, which must exist: they are synced, hashed
// and recorded.
func (u Unit) Commit(dir string, suffixes ...string) error {
	if err := u.check(); err != nil {
		return err
	}
	rec := record{SchemaVersion: schemaVersion, Stage: u.Stage, Name: u.Name, Key: u.Key, Files: []recordFile{}}
	for _, suffix := range slices.Sorted(slices.Values(suffixes)) {
		path := u.File(dir, suffix)
		digest, size, err := syncAndDigest(path)
		if err != nil {
			return fmt.Errorf("commit %s %s: %w", u.Stage, u.Name, err)
		}
		rec.Files = append(rec.Files, recordFile{Suffix: suffix, Size: size, SHA256: digest})
	}
	return WriteJSON(u.File(dir, recordSuffix), rec)
}

// Load returns the verified content of one file of a finished unit. An unfinished unit is fs.ErrNotExist, a damaged
// file ErrCorrupt.
func (u Unit) Load(dir, suffix string) ([]byte, error) {
	rec, err := u.readRecord(dir)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(rec.Files, func(f recordFile) bool { return f.Suffix == suffix })
	if i < 0 {
		return nil, fmt.Errorf("%s %s has no file %q: %w", u.Stage, u.Name, suffix, fs.ErrNotExist)
	}
	path := u.File(dir, suffix)
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s is missing", ErrCorrupt, path)
	}
	if err != nil {
		return nil, err
	}
	digest, size, err := digestOf(bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	if err := matches(path, rec.Files[i], digest, size); err != nil {
		return nil, err
	}
	return content, nil
}

func (u Unit) verify(dir string, file recordFile) error {
	path := u.File(dir, file.Suffix)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s is missing", ErrCorrupt, path)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	digest, size, err := digestOf(f)
	if err != nil {
		return fmt.Errorf("verify %s: %w", path, err)
	}
	return matches(path, file, digest, size)
}

func matches(path string, file recordFile, digest string, size int64) error {
	if size != file.Size {
		return fmt.Errorf("%w: %s has %d bytes, %d were written", ErrCorrupt, path, size, file.Size)
	}
	if digest != file.SHA256 {
		return fmt.Errorf("%w: %s differs from what was written (SHA-256)", ErrCorrupt, path)
	}
	return nil
}

func (u Unit) readRecord(dir string) (record, error) {
	path := u.File(dir, recordSuffix)
	content, err := os.ReadFile(path)
	if err != nil {
		return record{}, err
	}
	var rec record
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&rec); err != nil {
		return record{}, fmt.Errorf("%w: %s: %v", ErrCorrupt, path, err)
	}
	if rec.SchemaVersion != schemaVersion || rec.Stage != u.Stage || rec.Name != u.Name || rec.Key != u.Key {
		return record{}, fmt.Errorf("%w: %s is the record of another unit (%s %s, key %s)",
			ErrCorrupt, path, rec.Stage, rec.Name, rec.Key.Short())
	}
	return rec, nil
}

func (u Unit) check() error {
	if len(u.Key) != 64 {
		return fmt.Errorf("unit %s %s: key %q is not a SHA-256", u.Stage, u.Name, u.Key)
	}
	for _, word := range []string{u.Stage, u.Name} {
		if err := CheckName(word); err != nil {
			return fmt.Errorf("unit %s %s: %w", u.Stage, u.Name, err)
		}
	}
	return nil
}

// maxName leaves room in a file name (255 bytes on common systems) for a key, a suffix and a temporary mark.
const maxName = 160

// CheckName returns an error unless name can be a part of a file name everywhere: letters, digits and . _ - + @, not
// starting with a dot or a dash, at most 160 bytes.
func CheckName(name string) error {
	switch {
	case name == "":
		return errors.New("a name is empty")
	case len(name) > maxName:
		return fmt.Errorf("name %q... has %d bytes, at most %d fit into a file name", name[:32], len(name), maxName)
	case name[0] == '.' || name[0] == '-':
		return fmt.Errorf("name %q starts with %q", name, name[:1])
	}
	safe := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-+@", r)
	}
	for _, r := range name {
		if !safe(r) {
			return fmt.Errorf("name %q contains %q; letters, digits and . _ - + @ are allowed", name, r)
		}
	}
	return nil
}

// Manifest says how a unit came to be. It is for people and for estimating time; nothing depends on it, and it lies
// outside what is compared between runs.
type Manifest struct {
	Host     string            `json:"host"`
	PID      int               `json:"pid"`
	Started  time.Time         `json:"started"`
	Finished time.Time         `json:"finished"`
	Versions map[string]string `json:"versions,omitempty"` // of libtorch, timm, this program, ...
	Notes    map[string]any    `json:"notes,omitempty"`    // counters worth keeping: images per second, zero gradients
}

// WriteManifest writes m beside the unit's files.
func (u Unit) WriteManifest(dir string, m Manifest) error {
	return WriteJSON(u.File(dir, manifestSuffix), m)
}

// ReadManifest reads what WriteManifest wrote.
func (u Unit) ReadManifest(dir string) (Manifest, error) {
	path := u.File(dir, manifestSuffix)
	content, err := os.ReadFile(path)
	if err != nil {
		return Manifest{}, err
	}
	var m Manifest
	if err := json.Unmarshal(content, &m); err != nil {
		return Manifest{}, fmt.Errorf("%w: %s: %v", ErrCorrupt, path, err)
	}
	return m, nil
}

// WriteJSON writes v as indented JSON with WriteFile.
func WriteJSON(path string, v any) error {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(v); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return WriteBytes(path, out.Bytes())
}

// syncAndDigest makes sure that a file written by other code is on the disk before a record vouches for it.
func syncAndDigest(path string) (digest string, size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	if digest, size, err = digestOf(f); err != nil {
		return "", 0, fmt.Errorf("read %s: %w", path, err)
	}
	if err := f.Sync(); err != nil {
		return "", 0, WriteError(path, err)
	}
	return digest, size, nil
}
