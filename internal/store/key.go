package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
)

// schemaVersion is part of every key. Raising it makes all units of earlier versions of this program count as not
// done; that is needed when the same parameters come to mean another result.
const schemaVersion = 1

// Key identifies the result of a unit of work by its content: 64 hexadecimal digits.
type Key string

// shortKey is how many digits name a file: 48 bits, so a run of a million units has a chance of 1 in 500 that two
// share them; the record holds the full key, so even then nothing wrong is read.
const shortKey = 12

// Short returns the digits that stand in file names and messages.
func (k Key) Short() string {
	if len(k) <= shortKey {
		return string(k)
	}
	return string(k[:shortKey])
}

// NewKey returns the key of a unit: the SHA-256 of the canonical JSON of the schema version, the stage, the
// parameters that determine the result (any value that encodes to JSON; NaN and infinities do not) and the digests
// of the inputs by role ("module", "images", ...).
func NewKey(stage string, parameters any, digests map[string]string) (Key, error) {
	canonical, err := CanonicalJSON(map[string]any{
		"schema": schemaVersion, "stage": stage, "parameters": parameters, "digests": digests,
	})
	if err != nil {
		return "", fmt.Errorf("key of %s: %w", stage, err)
	}
	sum := sha256.Sum256(canonical)
	return Key(hex.EncodeToString(sum[:])), nil
}

// CanonicalJSON encodes v with sorted object keys, no spaces, no escaping of <, > and &, and numbers as encoding/json
// writes them, so that equal values give equal bytes whatever the order of a struct's fields.
func CanonicalJSON(v any) ([]byte, error) {
	first, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var generic any
	decoder := json.NewDecoder(bytes.NewReader(first))
	decoder.UseNumber() // keeps every digit of integers beyond 2^53
	if err := decoder.Decode(&generic); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(generic); err != nil { // maps are written with sorted keys
		return nil, err
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

// FileDigest returns the SHA-256 of a file's content in hexadecimal.
func FileDigest(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("digest: %w", err)
	}
	defer f.Close()
	digest, _, err := digestOf(f)
	if err != nil {
		return "", fmt.Errorf("digest of %s: %w", path, err)
	}
	return digest, nil
}

func digestOf(r io.Reader) (digest string, size int64, err error) {
	h := sha256.New()
	size, err = io.Copy(h, r)
	return hex.EncodeToString(h.Sum(nil)), size, err
}
