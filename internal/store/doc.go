// Package store keeps what a run computes on disk, so that no finished work is lost and none is trusted unread.
//
// # Commits
//
// WriteFile is the only way a file of a run gets its name: a hidden temporary file in the same folder is written,
// synced and renamed, then the folder is synced. A process may be killed at any moment; Sweep removes what it left.
//
// # Units of work
//
// A Unit is one idempotent piece of work, named by its stage, a name for people and a Key: the SHA-256 of everything
// that determines its result (format version, stage, parameters, digests of its inputs) in canonical JSON. Where a
// unit ran, when, and with which host's libraries is not part of the key; it goes into a manifest beside the result.
// A unit is finished when its record exists and every file listed there has the recorded SHA-256. The record is
// written last, so files may be written by code that knows nothing of this package (libtorch saves modules itself).
// That one rule makes resuming, sharding over machines and merging the same thing.
//
// # Files of our own
//
// All start with eight bytes of magic, a format version and a JSON header, and are checked to the last byte by CRC-32C
// (Castagnoli, which detects every flipped bit, byte or burst up to 32 bits). Numbers are little-endian.
//
//   - The adversarial store (WriteAdversarial, OpenAdversarial) holds the adversarial images of one source model,
//     lossless, one block per image, relative to the clean images, which it does not hold. See adversarial.go.
//   - Tables (Bits, Predictions) hold one bit or one class per model and image. See table.go.
//
// # One process per run
//
// Lock refuses a second process on the same run folder and says who holds it.
//
// The package does not decide what to compute or when to give up: a damaged file is ErrCorrupt with the file's name,
// and the caller recomputes or reports.
package store
