package run

import (
	"context"
	"errors"

	"sat/analysis"
	"sat/internal/store"
	"sat/internal/studies"
)

// groupsFile is analysis/groups.json: are models that differ only by their seed more similar than others?
type groupsFile struct {
	SchemaVersion int           `json:"schema_version"`
	Models        []groupMember `json:"models"`
	Within        summaryFile   `json:"within"`
	Across        summaryFile   `json:"across"`
	All           summaryFile   `json:"all"`
	Difference    *float64      `json:"difference"`
	CILo          *float64      `json:"ci_lo"` // of the difference, resampling groups
	CIHi          *float64      `json:"ci_hi"`
	P             *float64      `json:"p"`
	PRank         *float64      `json:"p_rank"`
	Permutations  int           `json:"permutations"`
	Exact         bool          `json:"exact"`
	AtLeast       int           `json:"at_least"`
	Seed          uint64        `json:"seed"`
	Groups        []groupFile   `json:"groups"`
}

type groupMember struct {
	Model string `json:"model"`
	Group string `json:"group"`
}

type summaryFile struct {
	Pairs    int      `json:"pairs"`
	Excluded int      `json:"excluded"`
	Floored  int      `json:"floored"`
	Mean     *float64 `json:"mean"`
	Median   *float64 `json:"median"`
	CILo     *float64 `json:"ci_lo,omitempty"` // of the mean, resampling groups or, over all pairs, models
	CIHi     *float64 `json:"ci_hi,omitempty"`
}

type groupFile struct {
	Group  string `json:"group"`
	Models int    `json:"models"`
	summaryFile
}

func summarized(s analysis.Summary) summaryFile {
	return summaryFile{Pairs: s.Pairs, Excluded: s.Excluded, Floored: s.Floored, Mean: studies.Defined(s.Mean), Median: studies.Defined(s.Median)}
}

func (s summaryFile) within(i analysis.Interval) summaryFile {
	s.CILo, s.CIHi = studies.Defined(i.Lo), studies.Defined(i.Hi)
	return s
}

// compareGroups runs the permutation test over models. Without a contrast (no two models of one group, or only one
// group) there is nothing to test and the result is nil.
func compareGroups(ctx context.Context, s *analysis.Scores, groups []string, seed uint64) (*analysis.GroupTest, error) {
	if len(s.Models) < 2 {
		return nil, nil
	}
	test, err := analysis.CompareGroups(ctx, s.Models, s.Pairs, groups, analysis.GroupOptions{Seed: seed})
	if errors.Is(err, analysis.ErrNoContrast) {
		return nil, nil
	}
	return test, err
}

func writeGroups(ctx context.Context, path string, s *analysis.Scores, groups []string, test *analysis.GroupTest, seed uint64) error {
	o := analysis.BootstrapOptions{Seed: seed}
	intervals, err := analysis.BootstrapGroups(ctx, s.Models, s.Pairs, groups, o)
	if err != nil {
		return err
	}
	all, err := analysis.MeanSimilarity(ctx, s.Matrix(), o)
	if err != nil {
		return err
	}
	file := groupsFile{
		SchemaVersion: schemaVersion, Within: summarized(test.Within).within(intervals.Within),
		Across:     summarized(test.Across).within(intervals.Across),
		All:        summarized(s.Summary()).within(analysis.Interval{Lo: all.CILo, Hi: all.CIHi}),
		Difference: studies.Defined(test.Difference), CILo: studies.Defined(intervals.Difference.Lo), CIHi: studies.Defined(intervals.Difference.Hi),
		P: studies.Defined(test.P), PRank: studies.Defined(test.PRank),
		Permutations: test.Permutations, Exact: test.Exact, AtLeast: test.AtLeast, Seed: seed,
	}
	for i, name := range s.Models {
		file.Models = append(file.Models, groupMember{name, groups[i]})
	}
	for _, g := range test.Groups {
		file.Groups = append(file.Groups, groupFile{g.Group, g.Models, summarized(g.Summary)})
	}
	return store.WriteJSON(path, file)
}
