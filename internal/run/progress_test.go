package run

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sat/internal/store"
)

// TestProgress: who watches sees what; --quiet leaves warnings.
func TestProgress(t *testing.T) {
	for _, c := range []struct {
		name            string
		terminal, quiet bool
		want, not       []string
	}{
		{"log", false, false, []string{"attack     3 models (", "news\n", "warning: look\n"}, []string{"\r", "\x1b"}},
		{"terminal", true, false, []string{"attack     3 models (", "news\n", "warning: look\n", "\r"}, nil},
		{"quiet log", false, true, []string{"warning: look\n"}, []string{"attack", "news", "\r"}},
		{"quiet terminal", true, true, []string{"warning: look\n"}, []string{"attack", "news", "\r"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			p := NewProgress(&out, c.terminal, c.quiet)
			p.Begin("attack", 10, 4)
			p.Advance(3, "resnet")
			p.Say("news")
			p.Warn("look")
			if stage, share, _, _, _ := p.where(); stage != "attack" || share != 0.7 {
				t.Errorf("at %s, %v; want attack, 0.7", stage, share)
			}
			p.End("3 models")
			for _, want := range c.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("%q lacks %q", out.String(), want)
				}
			}
			for _, not := range c.not {
				if strings.Contains(out.String(), not) {
					t.Errorf("%q has %q", out.String(), not)
				}
			}
		})
	}
}

// TestTimeLeft counts only what this run did: work of an earlier run says nothing about speed.
func TestTimeLeft(t *testing.T) {
	p := silent()
	p.Begin("train", 100, 90)
	if left := p.left(); left != "" {
		t.Errorf("%q before anything was done", left)
	}
	p.Advance(5, "")
	p.started = time.Now().Add(-10 * time.Second) // five passes in ten seconds, five to go
	if left := p.left(); left != "about 10s left" {
		t.Errorf("%q, want about 10s left", left)
	}
}

// TestStatus: from another terminal one sees stage, share and finished units, and whether anybody is at work.
func TestStatus(t *testing.T) {
	spec := Spec{Dir: t.TempDir()}
	s, err := ReadStatus(spec)
	must(t, err)
	if s.Running || s.Report != "" || len(s.Failures) != 0 {
		t.Errorf("of nothing: %+v", s)
	}
	unit := store.Unit{Stage: "attack", Name: "a-0", Key: store.Key(strings.Repeat("0", 64))}
	must(t, unit.Begin(filepath.Join(spec.Dir, "units")))
	must(t, unit.Commit(filepath.Join(spec.Dir, "units")))
	must(t, os.WriteFile(filepath.Join(spec.Dir, "report.html"), nil, 0o666))
	beat := heartbeat{Time: time.Now(), Stage: "attack", Share: 0.25, Running: true, RunLeft: "about 2h left", Plan: []planned{{StageAttack, 7, nil}}, Failures: []Failure{{"train", "b", "loss is NaN"}}}
	must(t, store.WriteJSON(heartbeatFile(spec.Dir), beat))
	s, err = ReadStatus(spec)
	must(t, err)
	if !s.Running || s.Stage != "attack" || s.Share != 0.25 || s.Report == "" || len(s.Failures) != 1 {
		t.Errorf("of a run at work: %+v", s)
	}
	if s.RunLeft != "about 2h left" {
		t.Errorf("time left of the run: %q", s.RunLeft)
	}
	for _, stage := range s.Stages {
		if want := map[Stage]int{StageAttack: 7}[stage.Stage]; stage.Planned != want {
			t.Errorf("%d units of %s planned, want %d", stage.Planned, stage.Stage, want)
		}
		if want := map[Stage]int{StageAttack: 1}[stage.Stage]; stage.Done != want {
			t.Errorf("%d units of %s, want %d", stage.Done, stage.Stage, want)
		}
	}
	beat.Time = time.Now().Add(-time.Minute) // killed: nobody wrote that it ended
	must(t, store.WriteJSON(heartbeatFile(spec.Dir), beat))
	if s, err = ReadStatus(spec); err != nil || s.Running {
		t.Errorf("a minute after the last heartbeat: %+v, %v", s, err)
	}
}

// TestCheckNames: names become files and table rows.
func TestCheckNames(t *testing.T) {
	for _, c := range []struct {
		name  string
		paths map[string]string
		want  string // "": fine
	}{
		{"different", map[string]string{"x/a.pt": "a", "x/b.pt": "b"}, ""},
		{"same name", map[string]string{"x/a.pt": "a", "y/a.pt": "a"}, `both called "a"`},
		{"comma", map[string]string{"x/a,b.pt": "a,b"}, "x/a,b.pt"},
		{"blank", map[string]string{"x/a b.pt": "a b"}, "rename the file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s Spec
			for path, name := range c.paths {
				s.Members = append(s.Members, Member{Name: name, Path: path})
			}
			err := s.CheckNames()
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}
