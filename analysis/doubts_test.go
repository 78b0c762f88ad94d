package analysis

import (
	"math"
	"strings"
	"testing"
)

func TestDoubts(t *testing.T) {
	pairs := []Pair{{A: "a", B: "b", NBoth: 500, Status: StatusOK}, {A: "a", B: "c", NBoth: 80, Status: StatusSmall},
		{A: "b", B: "c", Status: StatusEmpty}, {A: "a", B: "d", NBoth: 300, Status: StatusFloored}}
	// 5 of 500 is the limit itself, which is still allowed; no common image means no share.
	resized := []Resized{{"a", "b", 500, 5}, {"b", "a", 500, 6}, {"b", "c", 0, 0}}
	got := Doubts(pairs, resized)
	want := []Doubt{{"a", "c", StatusSmall, 80, 0}, {"b", "c", StatusEmpty, 0, 0}, {"a", "d", StatusFloored, 300, 0}, {"b", "a", StatusResize, 500, 0.012}}
	if len(got) != len(want) {
		t.Fatalf("%+v", got)
	}
	for k, d := range got {
		if w := want[k]; d.A != w.A || d.B != w.B || d.Status != w.Status || d.Images != w.Images || (w.Share == 0) != math.IsNaN(d.Share) || w.Share != 0 && math.Abs(d.Share-w.Share) > 1e-15 {
			t.Errorf("doubt %d: %+v, want %+v", k, d, w)
		}
	}
	sentences := DoubtWarnings(got, len(pairs), len(resized))
	for k, begin := range []string{"1 of 4 pairs have no image", "1 of 4 pairs are at the floor", "1 of 4 pairs have fewer than 100", "1 of 3 ordered pairs"} {
		if len(sentences) != 4 || !strings.HasPrefix(sentences[k], begin) {
			t.Fatalf("sentences %q, want %q at %d", sentences, begin, k)
		}
	}
	if !strings.Contains(sentences[3], "at most 1.2 %") {
		t.Errorf("%q does not tell the largest share", sentences[3])
	}
	if none := DoubtWarnings(nil, 4, 3); none != nil {
		t.Errorf("warnings of nothing: %q", none)
	}
}

func TestMatrixDoubts(t *testing.T) {
	m := NewMatrix([]string{"a", "b", "c"})
	set := func(i, j int, v float64) { m.Set(i, j, v); m.Set(j, i, v) }
	set(0, 1, math.Log(DefaultFloor))
	set(0, 2, math.NaN())
	set(1, 2, 2)
	got, err := MatrixDoubts(m, DefaultFloor)
	if err != nil || len(got) != 2 || got[0].Status != StatusFloored || got[0].B != "b" || got[1].Status != StatusEmpty || got[1].B != "c" {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := MatrixDoubts(m, 10); err != nil || len(got) != 3 { // ln 10 is above 2
		t.Errorf("with a floor of 10 %%: %+v, %v", got, err)
	}
	m.Set(0, 1, 3)
	if _, err := MatrixDoubts(m, DefaultFloor); err == nil {
		t.Error("an asymmetric matrix passes")
	}
	for _, floor := range []float64{0, -1, 101, math.NaN()} {
		if _, err := MatrixDoubts(NewMatrix([]string{"a"}), floor); err == nil {
			t.Errorf("a floor of %v passes", floor)
		}
	}
}
