package analysis

import (
	"context"
	"math"
	"slices"
	"strings"
	"testing"
)

func TestTrainingSimilarities(t *testing.T) {
	sets := []TrainingSet{{"ResNet-50", "initialization", randomScores(8, 1)}, {"ViT-S", "hyper-parameter", randomScores(5, 2)}}
	rows, err := TrainingSimilarities(context.Background(), sets, BootstrapOptions{Seed: 3, Resamples: 100})
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range sets {
		m := mustMean(t, s.SAT, BootstrapOptions{Seed: 3, Resamples: 100})
		if rows[i].Summary != m.Summary || rows[i].CILo != m.CILo || rows[i].Architecture != s.Architecture || rows[i].Summary.Pairs != []int{28, 10}[i] {
			t.Errorf("%+v, want %+v", rows[i], m)
		}
	}
	sets[1].SAT = triangle(1, nil, 1)
	if _, err := TrainingSimilarities(context.Background(), sets, BootstrapOptions{}); err == nil || !strings.Contains(err.Error(), "ViT-S by hyper-parameter") {
		t.Errorf("a set of one model: error %v", err)
	}
}

func TestTrainingEnsembles(t *testing.T) {
	sets := []TrainingLogits{{"ResNet-50", "initialization", drawLogits(5, 100, 4, 1, 1)}, {"ResNet-50", "regime", drawLogits(3, 100, 4, 1, 2)}}
	rows, err := TrainingEnsembles(context.Background(), sets, ClusterEnsembleOptions{Sizes: []int{2, 4}})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{10, 5, 3, 0} { // the last: four of three models
		if c := rows[i].Cell; c.Sets != want || c.K != 1 || c.N != []int{2, 4}[i%2] || math.IsNaN(c.ERR.Mean) != (want == 0) {
			t.Errorf("row %d: %+v, want %d sets", i, rows[i], want)
		}
	}
	if rows[2].Diversity != "regime" || len(rows) != 4 {
		t.Errorf("rows %+v", rows)
	}
}

// TestDistillationGroups: the rules give the paper's 25 teachers the sizes that are known.
func TestDistillationGroups(t *testing.T) {
	f, _ := paperTable(t)
	bases, err := f.Column(baseColumn)
	if err != nil {
		t.Fatal(err)
	}
	var students []Student
	for i, name := range []string{"botnet26t_256", "coat_lite_small", "convit_base", "convnext_tiny", "crossvit_base_240", "cspdarknet53",
		"cspresnext50", "dla102x2", "dpn107", "efficientnet_b2", "fbnetv3_g", "gcresnet50t", "gmlp_s16_224", "haloregnetz_b", "mixnet_xl",
		"nfnet_l0", "pit_s_224", "regnety_032", "resmlp_24_224", "resnet50", "sehalonet33ts", "swin_tiny_patch4_window7_224",
		"tnt_s_patch16_224", "visformer_small", "xcit_tiny_12_p8_224"} {
		k := slices.Index(f.Models, name)
		if k < 0 {
			t.Fatalf("%s is not in the paper's feature table", name)
		}
		students = append(students, Student{Teacher: name, Base: bases[k], SAT: 2 + float64(i*7%25)/25, TeacherTop1: 80 + float64(i%4),
			StudentTop1: 75 + float64(i*3%11)})
	}
	listed := []string{"resnet50", "dpn107", "pit_s_224"}
	s, err := Distillation(context.Background(), students, DistillOptions{Listed: listed})
	if err != nil {
		t.Fatal(err)
	}
	if s.All.Correlation.N != 25 || s.Accuracy.Correlation.N != 25 || len(s.Groupings) != 4 {
		t.Errorf("%d and %d teachers, %d groupings", s.All.Correlation.N, s.Accuracy.Correlation.N, len(s.Groupings))
	}
	for i, want := range []int{8, 5, 7, 3} {
		g := s.Groupings[i]
		if len(g.Inside.Teachers) != want || g.Inside.Correlation.N != want || len(g.Rest.Teachers) != 25-want || g.Inside.Trend.N != want {
			t.Errorf("%s: %d teachers inside, %d outside, want %d inside", g.Group, len(g.Inside.Teachers), len(g.Rest.Teachers), want)
		}
	}

	few, err := Distillation(context.Background(), students[:1], DistillOptions{})
	if err != nil || few.All.Correlation.Warning == "" || few.Groupings[0].Rest.Trend.Warning == "" {
		t.Errorf("one teacher: %+v, %v", few, err)
	}
	bad := slices.Clone(students)
	bad[3].SAT = math.NaN()
	for name, f := range map[string]func() error{
		"NaN": func() error { _, err := Distillation(context.Background(), bad, DistillOptions{}); return err },
		"unknown teacher": func() error {
			_, err := Distillation(context.Background(), students, DistillOptions{Listed: []string{"x"}})
			return err
		},
		"twice": func() error {
			_, err := Distillation(context.Background(), append(students, students[0]), DistillOptions{})
			return err
		},
		"none": func() error { _, err := Distillation(context.Background(), nil, DistillOptions{}); return err },
	} {
		if f() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
