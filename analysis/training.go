package analysis

import (
	"context"
	"fmt"
)

// TrainingSet is a set of models of one architecture that differ in how they were trained.
type TrainingSet struct {
	Architecture string
	Diversity    string // in what they differ: initialization, hyper-parameter, training regime
	SAT          *Matrix
}

// TrainingSimilarity is a line of Tab. 3.
type TrainingSimilarity struct {
	Architecture, Diversity string
	MatrixMean
}

// TrainingSimilarities returns the mean similarity inside each set of models (Tab. 3), with intervals by resampling models.
// Each set is described as if it stood alone, so a set's line does not depend on which others there are.
func TrainingSimilarities(ctx context.Context, sets []TrainingSet, o BootstrapOptions) ([]TrainingSimilarity, error) {
	var rows []TrainingSimilarity
	for _, s := range sets {
		m, err := MeanSimilarity(ctx, s.SAT, o)
		if err != nil {
			return nil, fmt.Errorf("training sets, %s by %s: %w", s.Architecture, s.Diversity, err)
		}
		rows = append(rows, TrainingSimilarity{Architecture: s.Architecture, Diversity: s.Diversity, MatrixMean: *m})
	}
	return rows, nil
}

// TrainingLogits is a [TrainingSet] with what its models say to the evaluation images.
type TrainingLogits struct {
	Architecture, Diversity string
	Logits                  *Logits
}

// TrainingEnsemble is a point of Fig. 7: ensembles of N models drawn within one set.
type TrainingEnsemble struct {
	Architecture, Diversity string
	Cell                    EnsembleCell // K is 1
}

// TrainingEnsembles evaluates ensembles whose members differ in training only (Fig. 7). Its line "All" are the cells with
// N = k of [Logits.ClusterEnsembles] over all models.
func TrainingEnsembles(ctx context.Context, sets []TrainingLogits, o ClusterEnsembleOptions) ([]TrainingEnsemble, error) {
	o.Clusters = []int{1}
	var rows []TrainingEnsemble
	for _, s := range sets {
		cells, err := s.Logits.ClusterEnsembles(ctx, make([]int, len(s.Logits.Models)), o)
		if err != nil {
			return nil, fmt.Errorf("training sets, %s by %s: %w", s.Architecture, s.Diversity, err)
		}
		for _, c := range cells {
			rows = append(rows, TrainingEnsemble{Architecture: s.Architecture, Diversity: s.Diversity, Cell: c})
		}
	}
	return rows, nil
}
