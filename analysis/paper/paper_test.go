package paper

import (
	"bytes"
	"slices"
	"testing"
)

// The sizes are those printed in the paper: 69 models, ten clusters, five keywords each, thirteen components.
func TestTables(t *testing.T) {
	members := Clusters()
	sizes := make([]int, 11)
	var models []string
	for _, m := range members {
		sizes[m.Cluster]++
		if m.Position != sizes[m.Cluster] {
			t.Errorf("%s: position %d, want %d", m.Timm, m.Position, sizes[m.Cluster])
		}
		models = append(models, m.Timm)
	}
	if want := []int{0, 7, 8, 7, 6, 6, 12, 6, 6, 7, 4}; !slices.Equal(sizes, want) {
		t.Errorf("cluster sizes %v, want %v", sizes, want)
	}
	slices.Sort(models)
	if models = slices.Compact(models); len(models) != 69 {
		t.Errorf("%d different models, want 69", len(models))
	}
	if lines := bytes.Count(FeaturesCSV(), []byte("\n")); lines != 70 {
		t.Errorf("feature table has %d lines, want a header and 69 models", lines)
	}
	for _, m := range models {
		if Aliases()[m] == "" {
			t.Errorf("%s has no alias", m)
		}
	}
	if k := Keywords(); len(k) != 50 || k[0].Component != "stem_layer" || k[4].Opposite != "CLS token" {
		t.Errorf("keywords: %d, first %+v, fifth %+v", len(k), k[0], k[4])
	}
	if c := Components(); len(c) != 13 || c[0].Column != "base_architecture" || c[12].Rank != 13 {
		t.Errorf("components: %+v", c)
	}
}

func TestTrainingSetLike(t *testing.T) {
	for _, c := range []struct{ architecture, diversity, want string }{
		{"ResNet-50", "Initialization", "4.23"}, {"resnet", "hyper-parameter", "4.05"}, {"ViT", "Training regime", "3.44"}, {"All", "All", "2.73"},
		{"ResNet-18", "Initialization", ""}, {"ViT", "All", ""}, {"", "Initialization", ""},
	} {
		if s, found := TrainingSetLike(c.architecture, c.diversity); s.SAT != c.want || found != (c.want != "") {
			t.Errorf("%s by %s: %+v, want %s", c.architecture, c.diversity, s, c.want)
		}
	}
}
