package report

import (
	"image/color"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"sat/internal/synthetic"
)

// planesText is a grid of 3 x 3 points; the first axis is the slow one.
const planesText = `{"schema_version": 1, "grid": 3, "range": 0.1, "pictures": [{"a": "vit-s0", "b": "mixer-s0", "pair": "least alike", "triplet": 4,
"images": ["1/a.png", "2/b.png", "3/c.png"], "labels": [1, 2, 3], "plane": {"u": 2, "c": 0.5, "h": 1}, "agreement": 0.4444,
"classes_a": [1, 1, 3, 1, 1, 3, 2, 2, 3], "classes_b": [1, 1, 1, 1, 7, 7, 7, 2, 2]}]}`

func TestPlanePicture(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "planes.json")
	writeFile(t, path, planesText)
	written, err := WritePlanes(t.Context(), dir, path)
	if err != nil {
		t.Fatal(err)
	}
	if len(written) != 2 || filepath.Base(written[0]) != "plane-4-vit-s0-mixer-s0.png" {
		t.Fatalf("written %q", written)
	}
	svg := read(t, dir, "plane-4-vit-s0-mixer-s0.svg")
	for _, want := range []string{"vit-s0", "mixer-s0", "44.4 %", "least alike", "1/a.png", "class"} {
		if !strings.Contains(svg, want) {
			t.Errorf("the picture lacks %q", want)
		}
	}
	if strings.Count(svg, "<image") != 2 {
		t.Errorf("%d class maps", strings.Count(svg, "<image"))
	}
}

// The first axis goes to the right and the second upwards: point (i, j) is cell i from the left, j from the bottom.
func TestClassImageOrientation(t *testing.T) {
	classes := []int{0, 0, 0, 0, 0, 5, 0, 0, 0} // point (1, 2)
	img := classImage(classes, 3, func(class int) color.RGBA { return color.RGBA{R: uint8(class), A: 255} })
	for x := range 3 * cellPixels {
		for y := range 3 * cellPixels {
			want := uint32(0)
			if x/cellPixels == 1 && y/cellPixels == 0 { // images count rows from the top
				want = 5
			}
			if r, _, _, _ := img.At(x, y).RGBA(); r>>8 != want {
				t.Fatalf("pixel (%d, %d) has class %d, want %d", x, y, r>>8, want)
			}
		}
	}
}

func TestBadPlanes(t *testing.T) {
	for name, c := range map[string]struct{ old, new, want string }{
		"too few classes": {`"classes_b": [1, `, `"classes_b": [`, "9 and 8 classes"},
		"no plane":        {`"h": 1`, `"h": 0`, "no plane"},
		"no grid":         {`"grid": 3`, `"grid": 1`, "grid is 1"},
		"path in a name":  {`"a": "vit-s0"`, `"a": "../vit"`, "cannot be names"},
		"cut off":         {`]}]}`, `]`, "planes.json:"},
	} {
		path := filepath.Join(t.TempDir(), "planes.json")
		writeFile(t, path, strings.Replace(planesText, c.old, c.new, 1))
		if _, err := loadPlanes(path); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// A model trained on adversarial images is shown by direction, beside the mean of the others, and judged by none of them.
func TestHardenedModel(t *testing.T) {
	dir := t.TempDir()
	invent(t, synthetic.Small(), dir)
	r, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if c := r.sections[hardenedSection.id]; c != nil {
		t.Errorf("hardened models where there are none: %+v", c)
	}
	r.Models[2].Info.Adversarial = &AdversarialInfo{Epsilon: "24/255", StepSize: "8/255", Steps: 3}
	r.Models[2].Self.Percent = 40
	c, err := hardenedSection.read(r)
	if err != nil {
		t.Fatal(err)
	}
	rows := c.blocks[0].Table.Rows
	if len(rows) != 2 || rows[0][0].Text != r.Models[2].Name || rows[0][2].Text != "40.0 %" || !strings.Contains(rows[0][0].Small, "3 steps") {
		t.Fatalf("rows %+v", rows)
	}
	// By hand, from the undirected pairs.
	var made, by float64
	for j := range r.Models {
		if j == 2 {
			continue
		}
		p := r.Pair(2, j)
		ab, ba := p.FooledAB, p.FooledBA
		if j < 2 { // the pair starts with the other model
			ab, ba = ba, ab
		}
		made, by = made+100*float64(ab)/float64(p.NBoth), by+100*float64(ba)/float64(p.NBoth)
	}
	d, n := r.againstOrdinary(2), float64(len(r.Models)-1)
	if math.Abs(d.made-made/n) > 1e-12 || math.Abs(d.fooledBy-by/n) > 1e-12 {
		t.Errorf("its images fool %v, it is fooled by %v, want %v and %v", d.made, d.fooledBy, made/n, by/n)
	}
	if r.ordinaryModels() != len(r.Models)-1 || len(r.ordinaryPairs()) != (len(r.Models)-1)*(len(r.Models)-2)/2 {
		t.Errorf("%d ordinary models, %d pairs", r.ordinaryModels(), len(r.ordinaryPairs()))
	}
	for _, w := range r.warnings() {
		if strings.Contains(w, "fewer than 95 %") && strings.Contains(w, "40.0") {
			t.Errorf("the attack is judged by a hardened model: %s", w)
		}
	}
}
