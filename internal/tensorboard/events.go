package tensorboard

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"math"
	"os"
)

// FileName is a name by which TensorBoard knows an event file.
const FileName = "events.out.tfevents.sat"

// version is the first event's file_version.
const version = "brain.Event:2"

// Event holds values of one step.
type Event struct {
	Seconds float64 // wall time since 1970
	Step    int64
	Values  []Value
}

// Value is one point of a curve.
type Value struct {
	Tag    string // slashes group curves
	Scalar float32
}

// Append adds events to the file at path, which it begins if it is not there.
func Append(path string, events ...Event) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			err = fmt.Errorf("write events to %s: %w", path, err)
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	var out []byte
	if info.Size() == 0 && len(events) > 0 {
		first := appendDouble(nil, 1, events[0].Seconds)
		out = appendRecord(out, appendBytes(first, 3, []byte(version)))
	}
	for _, e := range events {
		out = appendRecord(out, e.marshal())
	}
	_, err = f.Write(out)
	return err
}

// Cut removes from the file at path what begins with the first event that keep does not want or the first record that is not
// whole. It is not an error if there is no file. A file that is no event file at all is refused.
func Cut(path string, keep func(Event) bool) error {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	if !isVersion(content) {
		return fmt.Errorf("%s is not an event file of TensorBoard; move it away", path)
	}
	kept := 0
	for kept < len(content) {
		data, size, ok := record(content[kept:])
		if !ok {
			break
		}
		event, err := unmarshal(data)
		if err != nil {
			return fmt.Errorf("events in %s, byte %d: %w", path, kept, err)
		}
		if kept > 0 && !keep(event) { // the first one is the version
			break
		}
		kept += size
	}
	if kept == len(content) {
		return nil
	}
	return os.Truncate(path, int64(kept))
}

// Read returns the events of the file at path, but for the first one, which holds the version. Like TensorBoard it ends at a
// record that is not whole.
func Read(path string) ([]Event, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var events []Event
	for first := true; ; first = false {
		data, size, ok := record(content)
		if !ok {
			return events, nil
		}
		e, err := unmarshal(data)
		if err != nil {
			return nil, fmt.Errorf("events in %s: %w", path, err)
		}
		if !first {
			events = append(events, e)
		}
		content = content[size:]
	}
}

// isVersion reports whether content begins like the first record of a file, be it cut off.
func isVersion(content []byte) bool {
	first := appendRecord(nil, appendBytes(appendDouble(nil, 1, 1), 3, []byte(version)))
	n := min(len(content), 12) // length and its sum: the time is another one
	return string(content[:n]) == string(first[:n])
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sum is the masked CRC-32C.
func sum(data []byte) uint32 {
	c := crc32.Checksum(data, castagnoli)
	return (c>>15 | c<<17) + 0xa282ead8
}

func appendRecord(out, data []byte) []byte {
	from := len(out)
	out = binary.LittleEndian.AppendUint64(out, uint64(len(data)))
	out = binary.LittleEndian.AppendUint32(out, sum(out[from:]))
	out = append(out, data...)
	return binary.LittleEndian.AppendUint32(out, sum(data))
}

// record returns the data of the first record and the record's size; ok is false if it is not whole or damaged.
func record(content []byte) (data []byte, size int, ok bool) {
	const head, tail = 12, 4
	if len(content) < head+tail || binary.LittleEndian.Uint32(content[8:]) != sum(content[:8]) {
		return nil, 0, false
	}
	n := binary.LittleEndian.Uint64(content)
	if n > uint64(len(content)-head-tail) {
		return nil, 0, false
	}
	data = content[head:][:n]
	return data, head + int(n) + tail, binary.LittleEndian.Uint32(content[head+n:]) == sum(data)
}

// The wire types of protocol buffers.
const (
	wireVarint = 0
	wireDouble = 1
	wireBytes  = 2
	wireFloat  = 5
)

func (e Event) marshal() []byte {
	var out []byte
	if e.Seconds != 0 {
		out = appendDouble(out, 1, e.Seconds)
	}
	if e.Step != 0 {
		out = binary.AppendUvarint(append(out, 2<<3|wireVarint), uint64(e.Step))
	}
	var summary []byte
	for _, v := range e.Values {
		var value []byte
		if v.Tag != "" {
			value = appendBytes(value, 1, []byte(v.Tag))
		}
		value = append(value, 2<<3|wireFloat) // one of several kinds of values, so written even if it is zero
		value = binary.LittleEndian.AppendUint32(value, math.Float32bits(v.Scalar))
		summary = appendBytes(summary, 1, value)
	}
	return appendBytes(out, 5, summary)
}

func appendDouble(out []byte, field byte, v float64) []byte {
	return binary.LittleEndian.AppendUint64(append(out, field<<3|wireDouble), math.Float64bits(v))
}

func appendBytes(out []byte, field byte, data []byte) []byte {
	out = binary.AppendUvarint(append(out, field<<3|wireBytes), uint64(len(data)))
	return append(out, data...)
}

// unmarshal is the inverse of marshal. It skips fields that it does not know.
func unmarshal(data []byte) (e Event, err error) {
	err = fields(data, func(field, number uint64, content []byte) error {
		switch field {
		case 1<<3 | wireDouble:
			e.Seconds = math.Float64frombits(number)
		case 2<<3 | wireVarint:
			e.Step = int64(number)
		case 5<<3 | wireBytes:
			return fields(content, func(field, _ uint64, content []byte) error {
				if field != 1<<3|wireBytes {
					return nil
				}
				e.Values = append(e.Values, Value{})
				return fields(content, func(field, number uint64, content []byte) error {
					last := &e.Values[len(e.Values)-1]
					switch field {
					case 1<<3 | wireBytes:
						last.Tag = string(content)
					case 2<<3 | wireFloat:
						last.Scalar = math.Float32frombits(uint32(number))
					}
					return nil
				})
			})
		}
		return nil
	})
	return e, err
}

// fields calls do for every field of a message with its number and wire type, and its content as a number or as bytes.
func fields(message []byte, do func(field, number uint64, content []byte) error) error {
	for len(message) > 0 {
		field, n := binary.Uvarint(message)
		if n <= 0 {
			return errDamaged
		}
		message = message[n:]
		var number uint64
		var content []byte
		switch field & 7 {
		case wireVarint, wireBytes:
			if number, n = binary.Uvarint(message); n <= 0 {
				return errDamaged
			}
			message = message[n:]
			if field&7 == wireVarint {
				break
			}
			if number > uint64(len(message)) {
				return errDamaged
			}
			content, message = message[:number], message[number:]
		case wireDouble:
			if len(message) < 8 {
				return errDamaged
			}
			number, message = binary.LittleEndian.Uint64(message), message[8:]
		case wireFloat:
			if len(message) < 4 {
				return errDamaged
			}
			number, message = uint64(binary.LittleEndian.Uint32(message)), message[4:]
		default:
			return errDamaged
		}
		if err := do(field, number, content); err != nil {
			return err
		}
	}
	return nil
}

var errDamaged = errors.New("the event is damaged")
