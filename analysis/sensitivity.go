package analysis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
)

// SensitivityOptions are the settings of [Sensitivities].
type SensitivityOptions struct {
	Bootstrap BootstrapOptions // of the means
	Groups    GroupOptions     // of the tests
}

// FactorSensitivity says what one setting, a learning rate say, does to the similarity of models of one architecture.
type FactorSensitivity struct {
	Factor string
	Levels int
	// Test compares the pairs that share the setting (Within) with those that differ in it (Across), permuting models.
	Test *GroupTest
}

// Sensitivity is the similarity of models of one architecture that were trained with different settings: the less, the more
// the architecture's mistakes depend on how it is trained.
type Sensitivity struct {
	Architecture string
	MatrixMean
	Factors []FactorSensitivity // settings with at least two values, two pairs that share one and two that do not
}

// Sensitivities describes each architecture of a table of models: column names the one that holds the architecture, all
// others are settings. table must know all models of sat; architectures with one model are left out, and the rest is sorted
// by falling mean similarity, the least sensitive architecture first. Whether a setting matters is tested by [CompareGroups].
func Sensitivities(ctx context.Context, sat *Matrix, table *Features, column string, o SensitivityOptions) ([]Sensitivity, error) {
	out, err := sensitivities(ctx, sat, table, column, o)
	if err != nil {
		return nil, fmt.Errorf("sensitivity: %w", err)
	}
	return out, nil
}

func sensitivities(ctx context.Context, sat *Matrix, table *Features, column string, o SensitivityOptions) ([]Sensitivity, error) {
	if err := sat.checkSymmetric(); err != nil {
		return nil, err
	}
	names := slices.Sorted(slices.Values(sat.Names))
	table, err := table.Select(names)
	if err != nil {
		return nil, err
	}
	architectures, err := table.Column(column)
	if err != nil {
		return nil, err
	}
	members := map[string][]string{}
	for i, a := range architectures {
		if absent(a) {
			return nil, fmt.Errorf("%s has no %s", names[i], column)
		}
		members[a] = append(members[a], names[i])
	}
	var out []Sensitivity
	for a, models := range members {
		if len(models) < 2 {
			continue
		}
		m, err := sat.Select(models)
		if err != nil {
			return nil, err
		}
		inside, err := MeanSimilarity(ctx, m, o.Bootstrap)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", a, err)
		}
		settings, err := table.Select(models)
		if err != nil {
			return nil, err
		}
		s := Sensitivity{Architecture: a, MatrixMean: *inside}
		for _, factor := range table.Components {
			if factor == column {
				continue
			}
			f, err := factorSensitivity(ctx, m, settings, factor, o.Groups)
			if err != nil {
				return nil, fmt.Errorf("%s by %s: %w", a, factor, err)
			}
			if f != nil {
				s.Factors = append(s.Factors, *f)
			}
		}
		out = append(out, s)
	}
	if out == nil {
		return nil, fmt.Errorf("no two models share a %s", column)
	}
	slices.SortFunc(out, func(a, b Sensitivity) int {
		// NaN, an architecture without a defined pair, sorts last
		return cmp.Or(cmp.Compare(b.Summary.Mean, a.Summary.Mean), cmp.Compare(a.Architecture, b.Architecture))
	})
	return out, nil
}

// factorSensitivity returns nil for a setting that gives nothing to compare.
func factorSensitivity(ctx context.Context, m *Matrix, table *Features, factor string, o GroupOptions) (*FactorSensitivity, error) {
	levels, err := table.Column(factor)
	if err != nil {
		return nil, err
	}
	distinct := slices.Compact(slices.Sorted(slices.Values(levels)))
	t, err := CompareGroups(ctx, m.Names, m.pairs(), levels, o)
	if errors.Is(err, ErrNoContrast) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if t.Within.Pairs < 2 || t.Across.Pairs < 2 {
		return nil, nil
	}
	return &FactorSensitivity{Factor: factor, Levels: len(distinct), Test: t}, nil
}
