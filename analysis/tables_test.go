package analysis

import (
	"bytes"
	"math"
	"slices"
	"strings"
	"testing"
)

func TestReadFeatures(t *testing.T) {
	f, err := ReadFeatures(strings.NewReader("\xef\xbb\xbfmodel, stem ,norm\n\"a, b\", 3s2 ,BN\nc,,-\n"))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(f.Models, []string{"a, b", "c"}) || !slices.Equal(f.Components, []string{"stem", "norm"}) ||
		!slices.Equal(f.Values[0], []string{"3s2", "BN"}) || !slices.Equal(f.Values[1], []string{"", "-"}) {
		t.Errorf("read %+v", f)
	}
	bad := []struct{ name, text, want string }{
		{"empty", "", "the table is empty"},
		{"no component", "model\na\n", "no component"},
		{"no model", "model,x\n", "no model"},
		{"unnamed component", "model,,x\na,1,2\n", "column 2 has no name"},
		{"duplicate component", "model,x,x\na,1,2\n", `component "x" stands twice`},
		{"duplicate model", "model,x\na,1\nb,1\na,2\n", `line 4: model "a" stands in line 2`},
		{"unnamed model", "model,x\na,1\n ,1\n", "line 3"},
		{"too few cells", "model,x,y\na,1\n", "line 2"},
		{"too many cells", "model,x\na,1,2\n", "line 2"},
		{"open quote", "model,x\n\"a,1\n", "line"},
	}
	for _, tt := range bad {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := ReadFeatures(strings.NewReader(tt.text)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestFeaturesSelect(t *testing.T) {
	f, _ := paperTable(t)
	got, err := f.Select([]string{"resnet50", "botnet26t_256"})
	if err != nil {
		t.Fatal(err)
	}
	if got.Values[0][1] != "7s2" || got.Values[1][1] != "3s2/3/3" {
		t.Errorf("selected %+v", got)
	}
	got.Values[0][1] = "changed"
	if stem, err := f.Column("stem_layer"); err != nil || slices.Contains(stem, "changed") {
		t.Errorf("a selection shares its rows with the table: %v", err)
	}
	_, err = f.Select([]string{"resnet50", "resnet51", "vgg16"})
	if err == nil || !strings.Contains(err.Error(), `2 of 3 models missing: "resnet51", "vgg16"`) {
		t.Errorf("error %v, want one naming both models", err)
	}
	if _, err := f.Select([]string{"resnet50", "resnet50"}); err == nil {
		t.Error("a model selected twice is accepted")
	}
	if _, err := f.Column("stem"); err == nil || !strings.Contains(err.Error(), "stem_layer") {
		t.Errorf("unknown component: error %v, want one that lists those there are", err)
	}
}

func TestRecode(t *testing.T) {
	f := &Features{Models: modelNames(4), Components: []string{"base_architecture", "self_attention_2d"}, Values: [][]string{
		{"NAS (CNN)", "Yes (Halo, BoT)"}, {"NAS (TFM)", "No"}, {"Hybrid", "Yes (Halo)"}, {"CNN", "Yes"}}}
	tests := []struct {
		base      BaseMap
		attention Attention
		want      [][]string
	}{
		{BaseTable, AttentionKind, f.Values},
		{BaseElements, AttentionPresence, [][]string{{"NAS", "Yes"}, {"NAS", "No"}, {"Hybrid", "Yes"}, {"CNN", "Yes"}}},
		{BaseKeywords, AttentionPresence, [][]string{{"NAS", "Yes"}, {"Transformer", "No"}, {"Transformer", "Yes"}, {"CNN", "Yes"}}},
	}
	for _, tt := range tests {
		got, err := f.Recode(tt.base, tt.attention)
		if err != nil {
			t.Fatal(err)
		}
		for i := range tt.want {
			if !slices.Equal(got.Values[i], tt.want[i]) {
				t.Errorf("%s, %s: row %d is %q, want %q", tt.base, tt.attention, i, got.Values[i], tt.want[i])
			}
		}
	}
	if _, err := f.Recode("tables", AttentionKind); err == nil {
		t.Error("unknown grouping accepted")
	}
	if _, err := f.Recode(BaseTable, "Yes"); err == nil {
		t.Error("unknown attention switch accepted")
	}
}

func TestPairDifferences(t *testing.T) {
	f := &Features{Models: modelNames(3), Components: []string{"a", "b", "c"}, Values: [][]string{
		{"x", "-", "1"}, {"x", "", "2"}, {"y", "End", "2"}}}
	got, err := f.PairDifferences()
	if err != nil {
		t.Fatal(err)
	}
	if want := []uint8{0, 0, 1, 1, 1, 1, 1, 1, 0}; !slices.Equal(got, want) {
		t.Errorf("differences %v, want %v", got, want)
	}
	f, _ = paperTable(t)
	if got, err = f.PairDifferences(); err != nil || len(got) != 2346*13 {
		t.Errorf("paper's table: %d entries, %v; want 2346 x 13", len(got), err)
	}
}

func TestReadMatrix(t *testing.T) {
	m, err := ReadMatrix(strings.NewReader("model,a,b\na,4.6,2.25\nb,,4.5\n"))
	if err != nil {
		t.Fatal(err)
	}
	if m.At(0, 1) != 2.25 || !math.IsNaN(m.At(1, 0)) || m.At(1, 1) != 4.5 {
		t.Errorf("read %+v", m)
	}
	var out bytes.Buffer
	if err := m.WriteCSV(&out, "model"); err != nil || out.String() != "model,a,b\na,4.6,2.25\nb,,4.5\n" {
		t.Errorf("wrote %q, %v", out.String(), err)
	}
	bad := []struct{ name, text, want string }{
		{"empty", "", "the table is empty"},
		{"no column", "model\n", "no models"},
		{"duplicate name", "model,a,a\na,1,2\na,2,1\n", `"a" stands twice`},
		{"missing row", "model,a,b\na,1,2\n", `row "b" is missing`},
		{"extra row", "model,a\na,1\nb,2\n", `row "b" behind`},
		{"other order", "model,a,b\nb,1,2\na,2,1\n", "same order"},
		{"short row", "model,a,b\na,1\nb,1,2\n", "line 2"},
		{"not a number", "model,a\na,x\n", `line 2, column "a": "x"`},
		{"NaN", "model,a\na,NaN\n", "leave an undefined cell empty"},
		{"infinite", "model,a\na,1e999\n", "not a finite number"},
	}
	for _, tt := range bad {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := ReadMatrix(strings.NewReader(tt.text)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestReadLabels(t *testing.T) {
	models, labels, err := ReadLabels(strings.NewReader("cluster,position,model\n2,1,a\n10,1, b \n"))
	if err != nil || !slices.Equal(models, []string{"a", "b"}) || !slices.Equal(labels, []int{2, 10}) {
		t.Errorf("read %v, %v, %v", models, labels, err)
	}
	got, err := SelectLabels([]string{"b"}, models, labels)
	if err != nil || !slices.Equal(got, []int{10}) {
		t.Errorf("selected %v, %v", got, err)
	}
	if _, err := SelectLabels([]string{"c"}, models, labels); err == nil || !strings.Contains(err.Error(), `"c"`) {
		t.Errorf("missing model: error %v", err)
	}
	for name, text := range map[string]string{
		"empty": "", "other columns": "a,b\n1,2\n", "no models": "model,cluster\n", "cluster 0": "model,cluster\na,0\n",
		"not a number": "model,cluster\na,x\n", "duplicate": "model,cluster\na,1\na,2\n", "short": "model,cluster\na\n",
	} {
		if _, _, err := ReadLabels(strings.NewReader(text)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// The fuzz tests ask that a parser never panics, and that what it accepts passes its own checks and survives a round trip.

func FuzzReadFeatures(f *testing.F) {
	f.Add([]byte("model,stem,norm\na,3s2,BN\nb,-,\n"))
	f.Add([]byte("\xef\xbb\xbfm,x\n\"a\"\"b\",\"1\n2\"\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		table, err := ReadFeatures(bytes.NewReader(text))
		if err != nil {
			return
		}
		if err := table.Validate(); err != nil {
			t.Error(err)
		}
		if got, err := table.Select(table.Models); err != nil || !slices.Equal(got.Models, table.Models) {
			t.Errorf("selecting all models: %v", err)
		}
		if _, err := table.PairDifferences(); err != nil {
			t.Error(err)
		}
		labels := make([]int, len(table.Models))
		if words, err := Keywords(table, labels, KeywordOptions{}); err == nil && len(words) > 5 {
			t.Errorf("%d keywords of one cluster", len(words))
		}
	})
}

func FuzzReadMatrix(f *testing.F) {
	f.Add([]byte("model,a,b\na,4.6,2\nb,2,4.6\n"))
	f.Add([]byte("x,a\na,\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := ReadMatrix(bytes.NewReader(text))
		if err != nil {
			return
		}
		if err := m.Validate(); err != nil {
			t.Fatal(err)
		}
		var first bytes.Buffer
		if err := m.WriteCSV(&first, "model"); err != nil {
			t.Fatal(err)
		}
		again, err := ReadMatrix(bytes.NewReader(first.Bytes()))
		if err != nil {
			t.Fatalf("does not read what it wrote: %v\n%s", err, first.Bytes())
		}
		for i, v := range m.Values {
			if w := again.Values[i]; w != v && !(math.IsNaN(w) && math.IsNaN(v)) {
				t.Errorf("value %d: %v, then %v", i, v, w)
			}
		}
	})
}

func FuzzReadLabels(f *testing.F) {
	f.Add([]byte("model,cluster\na,1\nb,2\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		models, labels, err := ReadLabels(bytes.NewReader(text))
		if err == nil && (len(models) != len(labels) || slices.Min(labels) < 1) {
			t.Errorf("models %q, labels %v", models, labels)
		}
	})
}
