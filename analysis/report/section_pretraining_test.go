package report

import (
	"path/filepath"
	"strings"
	"testing"

	"sat/internal/synthetic"
)

const pretrainingText = `kind,encoder,method,model,seed,n,top1,ci_lo,ci_hi
linear probe,mae,mae,,0,359,93,90,95
linear probe,random-vit,,,0,359,73,68,78
linear probe,random-vit,,,1,359,76,71,80
linear probe,byol,byol,,0,359,70,65,75
training,random-vit,,vit-s1,1,359,90,86,93
training,mae,mae,vit-s2,2,359,98,96,99
`

// Probes stand beside the best encoder as drawn, networks as drawn last, and what the table cannot mean is an error.
func TestPretrainingSection(t *testing.T) {
	dir := t.TempDir()
	invent(t, synthetic.Small(), dir)
	path := filepath.Join(dir, "models", "pretraining.csv")
	writeFile(t, path, pretrainingText)
	if _, err := Write(t.Context(), dir, Options{SkipPNG: true}); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"report.html", "report.md"} {
		for _, want := range []string{"1 of 2 pre-trained encoders are better than the best of 2 encoders as drawn (76.0", "73.0 to 76.0", "vit-s2", "MAE"} {
			if text := read(t, dir, file); !strings.Contains(text, want) {
				t.Errorf("%s lacks %q", file, want)
			}
		}
	}
	r, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, row := range r.sections["pretraining"].blocks[1].Table.Rows {
		order = append(order, row[0].Text)
	}
	if got := strings.Join(order, " "); got != "mae byol random-vit" {
		t.Errorf("rows %s", got)
	}
	if got := read(t, dir, "figures", "pretraining.csv"); got != pretrainingText {
		t.Errorf("the file to download differs:\n%s", got)
	}

	for name, c := range map[string]struct{ old, new, want string }{
		"a third kind":         {"training,mae", "guess,mae", `kind: "guess" is neither`},
		"two methods":          {"training,mae,mae", "training,mae,byol", `"byol", but "mae" above`},
		"more than everything": {"98,96,99", "198,96,99", "198 is not a percentage"},
		"no number":            {"98,96,99", "?,96,99", `"?" is not a number`},
		"no encoder":           {"kind,encoder", "kind,network", `no column "encoder"`},
	} {
		writeFile(t, path, strings.Replace(pretrainingText, c.old, c.new, 1))
		if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "pretraining.csv") {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
