package zoo

import (
	"errors"
	"strings"
	"testing"

	"sat/torch"
)

func FuzzParseManifest(f *testing.F) {
	text, err := torch.ReadExtra("testdata/vit.pt", manifestFile)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"format": 2}`))
	f.Add([]byte(`{"format": 1, "name": ".."}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := parseManifest(text)
		if err != nil {
			return
		}
		// What was accepted can be written and read again.
		again, err := m.encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseManifest(again); err != nil {
			t.Fatalf("%v after writing %s", err, again)
		}
	})
}

func TestRegistry(t *testing.T) {
	entries, err := Entries()
	if err != nil {
		t.Fatal(err)
	}
	names, err := ComponentNames()
	if err != nil {
		t.Fatal(err)
	}
	if len(names) != 13 || names[0] != "base_architecture" || names[12] != "cw_attention_location" {
		t.Errorf("components %q", names)
	}
	inPaper, clusters := 0, map[int]int{}
	for i, e := range entries {
		if e.InPaper() {
			inPaper++
			clusters[e.Cluster]++
			if i >= 69 {
				t.Errorf("%s of the 69 is entry %d", e.Timm067, i)
			}
			for _, n := range names {
				if e.Components[n] == "" {
					t.Errorf("%s has no %s", e.Timm067, n)
				}
			}
			if len(e.Components) != len(names) {
				t.Errorf("%s has components %v", e.Timm067, e.Components)
			}
		}
		for _, name := range []string{e.Timm067, e.Timm1031, e.Alias, strings.ToUpper(e.Timm067)} {
			if got, err := Lookup(name); name != "" && (err != nil || got.Name() != e.Name()) {
				t.Errorf("Lookup(%q) = %s, %v", name, got.Name(), err)
			}
		}
	}
	if inPaper != 69 || len(clusters) != 10 {
		t.Errorf("%d networks of the paper in %d clusters", inPaper, len(clusters))
	}

	e, err := Lookup("dpn107")
	if err != nil || e.Timm1031 != "dpn107.mx_in1k" || e.Mean[0] != 0.4863 || e.InputSize != [3]int{3, 224, 224} || e.CropPct != 0.875 {
		t.Errorf("dpn107: %+v, %v", e, err)
	}
	var unknown *UnknownError
	if _, err := Lookup("resnet5O"); !errors.As(err, &unknown) || unknown.Nearest != "resnet50" {
		t.Errorf("Lookup of a misspelled name: %v", err)
	}

	job := e.Job(7)
	if job.Name != "dpn107" || job.Model != "dpn107.mx_in1k" || job.Seed != 7 || job.OldTimm || job.Components["group_conv"] != "Yes" {
		t.Errorf("job %+v", job)
	}
	old, err := Lookup("Xception-65")
	if err != nil {
		t.Fatal(err)
	}
	job = old.Job(0)
	if job.Model != "gluon_xception65" || !job.OldTimm || job.WeightFile != "gluon_xception-7015a15c.pth" {
		t.Errorf("job of a network that timm 1.0.31 lacks: %+v", job)
	}
	if err := (Exporter{}).Export(t.Context(), []Job{e.Job(0), job}, t.TempDir(), nil); !errors.Is(err, ErrNeedsTimm067) {
		t.Errorf("export without timm 0.6.7: %v", err)
	}
}

// The groups are as large as the paper says. Five of the 22 downloaded ResNet-50 are not in timm (training.md, 1.1).
func TestGroups(t *testing.T) {
	want := map[string]int{"all": 90, "paper": 69, "teachers": 25, "students": 2, "novel": 2, "resnet50-regimes": 17,
		"vit-s-regimes": 4, "regimes": 21}
	for _, g := range Groups() {
		entries, ok, err := InGroup(g.Name)
		if err != nil || !ok || len(entries) != want[g.Name] {
			t.Errorf("%s has %d networks, want %d (%v)", g.Name, len(entries), want[g.Name], err)
		}
		if _, err := Lookup(g.Name); err == nil {
			t.Errorf("%s is also the name of a network", g.Name)
		}
	}
	if len(Groups()) != len(want) {
		t.Errorf("%d groups", len(Groups()))
	}
	if _, ok, _ := InGroup("resnet50"); ok {
		t.Error("resnet50 is a group")
	}
	// Regimes are compared at one size, without resizing.
	regimes, _, _ := InGroup("resnet50-regimes")
	for _, e := range regimes {
		if e.InputSize != [3]int{3, 224, 224} {
			t.Errorf("%s has input size %v", e.Name(), e.InputSize)
		}
	}
}
