package report

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"sat/internal/synthetic"
)

// guardsTable is guards.csv of the small zoo with rows for some models; the others have nothing to report.
func guardsTable(s *synthetic.Zoo, header string, special map[int]string, usual string) string {
	text := header + "\n"
	for i, m := range s.Models {
		row := usual
		if other, ok := special[i]; ok {
			row = other
		}
		text += m.Name + "," + row + "\n"
	}
	return text
}

// TestGuardsInWords: the page, report.md and report.json say of each model what its flags mean.
func TestGuardsInWords(t *testing.T) {
	dir, s := t.TempDir(), synthetic.Small()
	invent(t, s, dir)
	path := filepath.Join(dir, "similarity", "guards.csv")
	writeFile(t, path, guardsTable(s, "model,classes,attacked,zero_gradient,saturated,nan_replaced,white_box,resized_pairs,resize_marked,top1,paper_filter,flags",
		map[int]string{
			0: "1000,1200,7,30,2,91.5,5,2,78.9,below,zero_gradient;saturated;nan;weak_attack;resize",
			1: "1000,1100,0,0,0,100,5,0,81,inside,probabilities;unstable;something_new",
			2: ",,,,,100,5,0,90,above,unchecked",
		}, "1000,900,0,0,0,100,5,0,82,inside,"))
	if _, err := Write(t.Context(), dir, Options{SkipPNG: true}); err != nil {
		t.Fatal(err)
	}
	markdown, page := read(t, dir, "report.md"), read(t, dir, "report.html")
	for _, want := range []string{
		"There is something to know of 3 of ", "the whole gradient of 7 of 1,200 images was zero", "of 30 of 1,200 images it was so certain",
		"not a number and taken for zero", "fewer than 95 % of its own images", "images of 2 of 5 other models",
		"look like probabilities", "does not answer the same image twice alike; something_new", "an earlier version of the program",
		"79 to 83 % on ImageNet", "below", "above",
	} {
		if !strings.Contains(markdown, want) {
			t.Errorf("report.md lacks %q", want)
		}
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	var report jsonReport
	decodeJSON(t, read(t, dir, "report.json"), &report)
	text, err := json.Marshal(report.Results["guards"])
	if err != nil {
		t.Fatal(err)
	}
	var guards []struct {
		Model        string
		ZeroGradient *float64 `json:"zero_gradient"`
		PaperFilter  string   `json:"paper_filter"`
		Flags        []string
	}
	if err := json.Unmarshal(text, &guards); err != nil {
		t.Fatal(err)
	}
	if len(guards) != len(s.Models) {
		t.Fatalf("%d models in report.json", len(guards))
	}
	if g := guards[0]; *g.ZeroGradient != 7 || g.PaperFilter != "below" || len(g.Flags) != 5 {
		t.Errorf("%+v", g)
	}
	if g := guards[2]; g.ZeroGradient != nil || len(g.Flags) != 1 {
		t.Errorf("what is not known is not 0: %+v", g)
	}

	// Nothing to say, from a table with no more than it must have; what would say it is not there; a table that is wrong.
	writeFile(t, path, guardsTable(s, "model,flags", nil, ""))
	r, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if c := r.sections["guards"]; !strings.HasPrefix(c.blocks[0].Strong, "Nothing speaks against the attack") || len(c.blocks) != 2 {
		t.Errorf("%+v", c.blocks)
	}
	for text, want := range map[string]string{
		guardsTable(s, "model,flags,paper_filter", nil, ",outside"):                         `paper_filter: "outside" is none of inside, below, above`,
		guardsTable(s, "model,flags,zero_gradient", nil, ",many"):                           `zero_gradient: "many" is not a number`,
		guardsTable(s, "model,flag", nil, ""):                                               `no column "flags"`,
		"model,flags\nstranger,\n":                                                          `"stranger" is not in sat.csv`,
		strings.Join(strings.Split(guardsTable(s, "model,flags", nil, ""), "\n")[:3], "\n"): "no row for model",
	} {
		writeFile(t, path, text)
		if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "guards.csv") {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if got := guardsSection.missing(); got != "there is no similarity/guards.csv (sat run)." {
		t.Errorf("missing: %q", got)
	}
}
