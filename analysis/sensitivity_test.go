package analysis

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"sat/internal/rng"
)

// settingsZoo has eight models of each of two architectures, trained with two learning rates and two weight decays: in the
// first architecture the learning rate matters, in the second nothing does. A third has one model.
func settingsZoo() (*Matrix, *Features) {
	f := &Features{Components: []string{"architecture", "lr", "wd", "seed"}}
	for _, a := range []string{"resnet", "vit"} {
		for k := range 8 {
			f.Models = append(f.Models, fmt.Sprintf("%s-%d", a, k))
			f.Values = append(f.Values, []string{a, fmt.Sprint("lr", k%2), fmt.Sprint("wd", k/2%2), fmt.Sprint(k)})
		}
	}
	f.Models, f.Values = append(f.Models, "lonely"), append(f.Values, []string{"mixer", "lr0", "wd0", "0"})
	random := rng.New(1, "test")
	m := NewMatrix(f.Models)
	for i := range f.Models {
		m.Set(i, i, 4.6)
		for j := range i {
			v := 2.5 + 0.05*random.Normal()
			if f.Values[i][0] == f.Values[j][0] {
				v++
				if f.Values[i][0] == "resnet" && f.Values[i][1] != f.Values[j][1] {
					v -= 0.8
				}
			}
			m.Set(i, j, v)
			m.Set(j, i, v)
		}
	}
	return m, f
}

func TestSensitivities(t *testing.T) {
	m, f := settingsZoo()
	run := func(m *Matrix, f *Features) []Sensitivity {
		got, err := Sensitivities(context.Background(), m, f, "architecture", SensitivityOptions{
			Bootstrap: BootstrapOptions{Seed: 1, Resamples: 200}, Groups: GroupOptions{Seed: 1}})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	got := run(m, f)
	if len(got) != 2 || got[0].Architecture != "vit" || got[1].Architecture != "resnet" {
		t.Fatalf("%+v, want the insensitive architecture first and none of one model", got)
	}
	for _, s := range got {
		if s.Models != 8 || s.Summary.Pairs != 28 || len(s.Factors) != 2 { // every seed differs: nothing to compare
			t.Errorf("%s: %d models, %d pairs, %d settings", s.Architecture, s.Models, s.Summary.Pairs, len(s.Factors))
		}
		for _, factor := range s.Factors {
			matters := s.Architecture == "resnet" && factor.Factor == "lr"
			if (factor.Test.P < 0.05) != matters || (factor.Test.Difference > 0.5) != matters || factor.Levels != 2 {
				t.Errorf("%s by %s: difference %v, p %v", s.Architecture, factor.Factor, factor.Test.Difference, factor.Test.P)
			}
		}
	}
	names := slices.Clone(m.Names)
	slices.Reverse(names)
	turned, err := m.Select(names)
	if err != nil {
		t.Fatal(err)
	}
	if again := run(turned, f); !reflect.DeepEqual(again, got) {
		t.Error("another order of rows gives another result")
	}
	for name, tt := range map[string]struct {
		column, want string
		change       func(f *Features)
	}{
		"column":          {"family", "family", func(*Features) {}},
		"no architecture": {"architecture", "vit-3", func(f *Features) { f.Values[11][0] = "-" }},
		"all different": {"seed2", "no two models", func(f *Features) {
			f.Components[3] = "seed2"
			for i := range f.Values {
				f.Values[i][3] = fmt.Sprint(i)
			}
		}},
		"missing model": {"architecture", "lonely", func(f *Features) { f.Models[16] = "other" }},
	} {
		m, f := settingsZoo()
		tt.change(f)
		if _, err := Sensitivities(context.Background(), m, f, tt.column, SensitivityOptions{}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, tt.want)
		}
	}
}
