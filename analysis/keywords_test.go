package analysis

import (
	"math"
	"slices"
	"strings"
	"testing"

	"sat/internal/rng"
)

func TestKeywordsByHand(t *testing.T) {
	f := &Features{Models: []string{"a", "b", "c", "d"}, Components: []string{"stem", "norm"}, Values: [][]string{
		{"3s2", "BN"}, {"3s2", "BN"}, {"4s4", "BN"}, {"4s4", "-"}}}
	got, err := Keywords(f, []int{1, 1, 2, 2}, KeywordOptions{Norm: NormNone})
	if err != nil {
		t.Fatal(err)
	}
	stem, norm := math.Log(5./3)+1, math.Log(5./4)+1 // N = 4; df 2 and 3
	want := []Keyword{
		{1, 1, "stem", "3s2", stem}, {1, 2, "norm", "BN", norm},
		{2, 1, "stem", "4s4", stem}, {2, 2, "norm", "BN", norm / 2},
	}
	if len(got) != len(want) {
		t.Fatalf("keywords %v, want %v", got, want)
	}
	for i, k := range got {
		near(t, "score of "+k.Value, k.Score, want[i].Score, 1e-15, 0)
		if k.Score = want[i].Score; k != want[i] {
			t.Errorf("keyword %d: %v, want %v", i, k, want[i])
		}
	}
	frequency, err := Keywords(f, []int{1, 1, 2, 2}, KeywordOptions{Norm: NormNone, TF: TFFrequency})
	if err != nil {
		t.Fatal(err)
	}
	// Models with two words halve the weights, model d with one does not.
	near(t, "frequency of 4s4", frequency[2].Score, (stem/2+stem)/2, 1e-15, 0)
}

func TestKeywordsBreakTies(t *testing.T) {
	f := &Features{Models: []string{"a", "b"}, Components: []string{"x", "y", "z"}, Values: [][]string{
		{"1", "1", "2"}, {"1", "1", "1"}}}
	words := func(o KeywordOptions) string {
		got, err := Keywords(f, []int{7, 7}, o)
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, k := range got {
			out = append(out, k.Component+k.Value)
		}
		return strings.Join(out, " ")
	}
	if got, want := words(KeywordOptions{Norm: NormNone}), "x1 y1 z1 z2"; got != want {
		t.Errorf("table order: %s, want %s", got, want)
	}
	if got, want := words(KeywordOptions{Norm: NormNone, Order: []string{"z", "y", "absent"}, Top: 3}), "y1 x1 z1"; got != want {
		t.Errorf("given order: %s, want %s", got, want)
	}
}

// TestKeywordsDoNotDependOnRowOrder: to the last bit.
func TestKeywordsDoNotDependOnRowOrder(t *testing.T) {
	f, labels := paperTable(t)
	want, err := Keywords(f, labels, KeywordOptions{Top: 20})
	if err != nil {
		t.Fatal(err)
	}
	moved := &Features{Components: f.Components}
	var movedLabels []int
	for _, k := range rng.New(2, "test").Perm(len(labels)) {
		moved.Models = append(moved.Models, f.Models[k])
		moved.Values = append(moved.Values, f.Values[k])
		movedLabels = append(movedLabels, labels[k])
	}
	got, err := Keywords(moved, movedLabels, KeywordOptions{Top: 20})
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("keywords change with the order of rows: %v", err)
	}
}

func TestKeywordsEdges(t *testing.T) {
	f := &Features{Models: []string{"a", "b"}, Components: []string{"x"}, Values: [][]string{{"1"}, {"1"}}}
	// A word that every model has weighs nothing under plain idf, and a document of such words has no length.
	got, err := Keywords(f, []int{1, 2}, KeywordOptions{IDF: IDFPlain})
	if err != nil || len(got) != 2 || got[0].Score != 0 {
		t.Errorf("plain idf of a common word: %v, %v", got, err)
	}
	for name, o := range map[string]KeywordOptions{
		"tf": {TF: "x"}, "idf": {IDF: "x"}, "norm": {Norm: "x"}, "base map": {BaseMap: "x"}, "attention": {Attention: "x"}, "top": {Top: -1},
	} {
		if _, err := Keywords(f, []int{1, 1}, o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := Keywords(f, []int{1}, KeywordOptions{}); err == nil {
		t.Error("one label for two models accepted")
	}
	f.Values = [][]string{{"-"}, {""}}
	if _, err := Keywords(f, []int{1, 1}, KeywordOptions{}); err == nil {
		t.Error("table without any word accepted")
	}
}
