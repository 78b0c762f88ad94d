package tensorboard

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

// golden is testdata/events.json, which scripts/goldens/tensorboard_events.py makes with TensorBoard's own writer.
func golden(t testing.TB) (events []Event, file []byte) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", "events.json"))
	if err != nil {
		t.Fatal(err)
	}
	var g struct {
		Header struct{ Tool string }
		Events []struct {
			Seconds float64
			Step    int64
			Values  []struct{ Tag, Scalar string }
		}
		File string
	}
	if err := json.Unmarshal(content, &g); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(g.Header.Tool, "tensorboard ") || len(g.Events) < 5 {
		t.Fatalf("%d events by %q", len(g.Events), g.Header.Tool)
	}
	for _, e := range g.Events {
		event := Event{Seconds: e.Seconds, Step: e.Step}
		for _, v := range e.Values {
			scalar, err := strconv.ParseFloat(v.Scalar, 64)
			if err != nil {
				t.Fatal(err)
			}
			event.Values = append(event.Values, Value{v.Tag, float32(scalar)})
		}
		events = append(events, event)
	}
	if file, err = hex.DecodeString(g.File); err != nil {
		t.Fatal(err)
	}
	return events, file
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func TestBytesEqualTensorBoard(t *testing.T) {
	events, want := golden(t)
	// All at once, and each by itself.
	for _, size := range []int{len(events), 1} {
		path := filepath.Join(t.TempDir(), FileName)
		for from := 0; from < len(events); from += size {
			if err := Append(path, events[from:from+size]...); err != nil {
				t.Fatal(err)
			}
		}
		if got := read(t, path); !bytes.Equal(got, want) {
			t.Errorf("%d at a time:\n got %x\nwant %x", size, got, want)
		}
	}
}

func upTo(step int64) func(Event) bool { return func(e Event) bool { return e.Step <= step } }

func TestRead(t *testing.T) {
	want, file := golden(t)
	path := filepath.Join(t.TempDir(), FileName)
	if err := os.WriteFile(path, append(file, 1, 2, 3), 0o644); err != nil { // the next record has only begun
		t.Fatal(err)
	}
	got, err := Read(path)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
}

// A file that was cut at a step and continued has the bytes of one that was written in one go, wherever it broke off.
func TestCutAndContinue(t *testing.T) {
	var events []Event
	for step := range int64(12) {
		events = append(events, Event{Seconds: 100 + float64(step), Step: 5 * step, Values: []Value{{"a", float32(step)}}})
	}
	dir := t.TempDir()
	whole := filepath.Join(dir, "whole")
	if err := Append(whole, events...); err != nil {
		t.Fatal(err)
	}
	want := read(t, whole)
	for broken := 0; broken <= len(want); broken += 7 {
		for _, step := range []int64{0, 12, 55} {
			path := filepath.Join(dir, fmt.Sprintf("%d-%d", broken, step))
			if err := os.WriteFile(path, want[:broken], 0o644); err != nil {
				t.Fatal(err)
			}
			if err := Cut(path, upTo(step)); err != nil {
				t.Fatalf("broken at byte %d, cut at step %d: %v", broken, step, err)
			}
			left := read(t, path)
			if !bytes.HasPrefix(want, left) {
				t.Fatalf("broken at byte %d, cut at step %d: the rest is no beginning of the whole", broken, step)
			}
			// What is left are whole records up to the step. Every event but the version has one tag.
			n := bytes.Count(left, []byte("\x0a\x01a"))
			if n > 0 && events[n-1].Step > step {
				t.Fatalf("broken at byte %d, cut at step %d: event of step %d is still there", broken, step, events[n-1].Step)
			}
			if err := Append(path, events[n:]...); err != nil {
				t.Fatal(err)
			}
			if got := read(t, path); !bytes.Equal(got, want) {
				t.Fatalf("broken at byte %d, cut at step %d, continued after %d events: other bytes than the whole", broken, step, n)
			}
		}
	}
}

func TestCutRefusesStrangers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	if err := Cut(path, upTo(3)); err != nil {
		t.Errorf("no file: %v", err)
	}
	if err := os.WriteFile(path, []byte("a letter to a friend"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Cut(path, upTo(3)); err == nil || !strings.Contains(err.Error(), "not an event file") {
		t.Errorf("a letter: %v", err)
	}
	if len(read(t, path)) == 0 {
		t.Error("the letter is gone")
	}
}

// A damaged byte ends what is kept, and nothing panics.
func FuzzCut(f *testing.F) {
	_, file := golden(f)
	f.Add(file, int64(50))
	f.Add(file[:40], int64(0))
	f.Add([]byte{}, int64(1))
	f.Fuzz(func(t *testing.T, content []byte, step int64) {
		path := filepath.Join(t.TempDir(), "x")
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := Cut(path, upTo(step)); err == nil && !bytes.HasPrefix(content, read(t, path)) {
			t.Error("what is left is no beginning of what was there")
		}
	})
}
