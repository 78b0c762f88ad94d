package synthetic

import (
	"encoding/csv"
	"fmt"
	"slices"
	"strings"

	papertables "sat/analysis/paper"
)

// Zoo describes a synthetic run.
type Zoo struct {
	Name    string
	Models  []Model
	Images  int // for evaluation
	Classes int
	K       int // clusters to look for
	Seed    uint64

	Clusters  bool // write the clusters, their keywords and the comparison of groups
	Studies   bool // write every analysis of the paper
	Curves    bool // models were trained here
	Sweep     bool // other radii were tried
	Resamples int  // bootstrap of the scores; 0: no intervals
}

// Model is an invented network.
type Model struct {
	Name     string
	Cluster  int    // planted, from 1
	Group    string // of the comparison of groups
	Features map[string]string
}

func (m *Model) base() string { return m.Features["base_architecture"] }

// Small has the shape of the demo: seven architectures, two seeds each.
func Small() *Zoo {
	z := &Zoo{Name: "small", Images: 360, Classes: 10, K: 4, Seed: 7, Clusters: true, Curves: true, Sweep: true, Resamples: 50}
	for k, b := range []struct{ name, base, stem, norm, act, hierarchical, pool string }{
		{"resnet", "CNN", "3s1", "BN", "ReLU", "Yes", "GAP"},
		{"resnext", "CNN", "3s1", "BN", "ReLU", "Yes", "GAP"},
		{"convnext", "CNN", "2s2", "LN", "GeLU", "Yes", "GAP"},
		{"vit", "Transformer", "4s4", "LN", "GeLU", "No", "CLS token"},
		{"swin", "Transformer", "2s2", "LN", "GeLU", "Yes", "GAP"},
		{"mixer", "MLP-Mixer", "4s4", "LN", "GeLU", "No", "GAP"},
		{"resmlp", "MLP-Mixer", "4s4", "Affine transform", "GeLU", "No", "GAP"},
	} {
		for seed := range 2 {
			z.Models = append(z.Models, Model{Name: fmt.Sprintf("%s-s%d", b.name, seed), Cluster: k + 1, Group: b.name, Features: map[string]string{
				"base_architecture": b.base, "stem_layer": b.stem, "normalization": b.norm, "activation": b.act, "hierarchical": b.hierarchical, "pooling_final": b.pool}})
		}
	}
	return z
}

// Paper has the names, components and clusters of the paper's 69 models, and every analysis.
func Paper() *Zoo {
	rows, err := csv.NewReader(strings.NewReader(string(papertables.FeaturesCSV()))).ReadAll()
	if err != nil {
		panic(err) // the table is part of the program
	}
	clusters := map[string]int{}
	for _, member := range papertables.Clusters() {
		clusters[member.Timm] = member.Cluster
	}
	z := &Zoo{Name: "paper", Images: 1000, Classes: 20, K: 10, Seed: 11, Clusters: true, Studies: true, Resamples: 100}
	for _, row := range rows[1:] {
		m := Model{Name: row[0], Cluster: clusters[row[0]], Features: map[string]string{}}
		m.Group = fmt.Sprintf("family %d", m.Cluster)
		for i, column := range rows[0][1:] {
			m.Features[column] = row[i+1]
		}
		z.Models = append(z.Models, m)
	}
	return z
}

// Many has n models: those of the paper over and over, in copies that share cluster and components.
func Many(n int) *Zoo {
	z := Paper()
	z.Name, z.Images, z.Studies, z.Resamples = fmt.Sprintf("many%d", n), 300, false, 0
	originals := z.Models
	z.Models = nil
	for i := range n {
		m := originals[i%len(originals)]
		if copyNumber := i / len(originals); copyNumber > 0 {
			m.Name = fmt.Sprintf("%s.%d", m.Name, copyNumber)
		}
		z.Models = append(z.Models, m)
	}
	z.K = min(z.K, max(1, n-1))
	return z
}

// components are the columns of the feature table.
func (z *Zoo) components() (names []string) {
	for name := range z.Models[0].Features {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (z *Zoo) names() (names []string) {
	for _, m := range z.Models {
		names = append(names, m.Name)
	}
	return names
}
