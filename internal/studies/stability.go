package studies

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"sat/analysis"
)

// StabilityJob asks how much scores change with the images that they are measured on (Tab. 1).
type StabilityJob struct {
	Series    []analysis.StabilitySeries
	Pair      []string // the models, if known
	Bootstrap analysis.BootstrapOptions
	Warnings  []string // what is known of the scores already
}

var stabilityColumns = []string{"method", "n", "repeat", "score", "passes", "population"}

// WriteStabilityScores writes what ReadStabilityScores reads.
func WriteStabilityScores(path string, series []analysis.StabilitySeries) error {
	return WriteTable(path, nil, stabilityColumns, stabilityRows(series))
}

func stabilityRows(series []analysis.StabilitySeries) [][]string {
	var rows [][]string
	for _, s := range series {
		for q, score := range s.Scores {
			rows = append(rows, []string{s.Method, strconv.Itoa(s.Samples), strconv.Itoa(q), number(score), strconv.Itoa(s.Passes), number(s.Population)})
		}
	}
	return rows
}

// ReadStabilityScores reads one score per method, size and repeat: columns method, n (samples), repeat (from 0), score
// (percent), passes (forward passes per sample) and population (how many samples there are; may be empty).
func ReadStabilityScores(path string) ([]analysis.StabilitySeries, error) {
	t, err := ReadTable(path, stabilityColumns...)
	if err != nil {
		return nil, err
	}
	var series []analysis.StabilitySeries
	for row := range t.Len() {
		one := analysis.StabilitySeries{Method: t.Text(row, "method")}
		if one.Samples, err = t.Count(row, "n"); err != nil {
			return nil, err
		}
		if one.Samples == 0 {
			return nil, t.Fail(row, "n is 0: a score of no samples")
		}
		score, err := t.Number(row, "score")
		if err != nil {
			return nil, err
		}
		if one.Passes, err = t.Count(row, "passes"); err != nil {
			return nil, err
		}
		if t.Text(row, "population") != "" {
			if one.Population, err = t.Number(row, "population"); err != nil {
				return nil, err
			}
		}
		repeat, err := t.Count(row, "repeat")
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(series, func(s analysis.StabilitySeries) bool { return s.Method == one.Method && s.Samples == one.Samples })
		if i < 0 {
			i = len(series)
			series = append(series, one)
		}
		s := &series[i]
		switch {
		case s.Passes != one.Passes || s.Population != one.Population:
			return nil, t.Fail(row, "passes or population differ from those of an earlier repeat of %s with %d samples", one.Method, one.Samples)
		case repeat != len(s.Scores):
			return nil, t.Fail(row, "repeat is %d; the next one of %s with %d samples is %d", repeat, one.Method, one.Samples, len(s.Scores))
		}
		s.Scores = append(s.Scores, score)
	}
	if len(series) == 0 {
		return nil, fmt.Errorf("%s has no scores", path)
	}
	return series, nil
}

// stabilityLevel is that of all intervals.
const stabilityLevel = 0.95

type stabilityFile struct {
	SchemaVersion int             `json:"schema_version"`
	Pair          []string        `json:"pair,omitempty"`
	Repeats       int             `json:"repeats"`
	Level         float64         `json:"level"`
	Seed          uint64          `json:"seed"` // of the resamples
	Tests         []stabilityTest `json:"tests"`
	Warnings      []string        `json:"warnings"`
}

// stabilityTest compares the spread of two methods, each at its k-th size; log_ratio is ln(std_a/std_b), below 0 if a is the
// stabler one.
type stabilityTest struct {
	A        string   `json:"a"`
	NA       int      `json:"n_a"`
	B        string   `json:"b"`
	NB       int      `json:"n_b"`
	LogRatio *float64 `json:"log_ratio"`
	CILo     *float64 `json:"ci_lo"`
	CIHi     *float64 `json:"ci_hi"`
	F        *float64 `json:"f"`
	P        *float64 `json:"p"` // of the Brown-Forsythe test
	Warning  string   `json:"warning,omitempty"`
}

// Stability writes tab1_stability.csv, stability_scores.csv and stability.json.
func Stability(ctx context.Context, f Folder, job StabilityJob) error {
	described, err := analysis.DescribeStability(job.Series, stabilityLevel)
	if err != nil {
		return err
	}
	var rows [][]string
	for _, d := range described {
		rows = append(rows, []string{d.Method, strconv.Itoa(d.Samples), number(d.Ratio), number(d.Std), number(d.StdLo), number(d.StdHi), number(d.Cost)})
	}
	file := stabilityFile{SchemaVersion: schemaVersion, Pair: job.Pair, Level: stabilityLevel, Seed: job.Bootstrap.Seed,
		Tests: []stabilityTest{}, Warnings: append([]string{}, job.Warnings...)}
	bySize := map[string][]analysis.StabilitySeries{}
	var methods []string
	for _, s := range job.Series {
		if bySize[s.Method] == nil {
			methods = append(methods, s.Method)
		}
		bySize[s.Method] = append(bySize[s.Method], s)
		file.Repeats = max(file.Repeats, len(s.Scores))
	}
	job.Bootstrap.Level = stabilityLevel
	for i, a := range methods {
		for _, b := range methods[i+1:] {
			for k := range min(len(bySize[a]), len(bySize[b])) {
				u, v := bySize[a][k], bySize[b][k]
				t, err := analysis.CompareSpread(ctx, u, v, job.Bootstrap)
				if err != nil {
					return err
				}
				file.Tests = append(file.Tests, stabilityTest{a, u.Samples, b, v.Samples, Defined(t.LogRatio), Defined(t.CILo), Defined(t.CIHi),
					Defined(t.F), Defined(t.P), t.Warning})
			}
		}
	}
	f = f.with("stability", map[string]any{"pair": job.Pair, "repeats": file.Repeats, "seed": file.Seed, "level": stabilityLevel})
	if err := f.table("stability_scores.csv", stabilityColumns, stabilityRows(job.Series)); err != nil {
		return err
	}
	if err := f.table("tab1_stability.csv", []string{"method", "n", "ratio", "std", "std_lo", "std_hi", "cost"}, rows); err != nil {
		return err
	}
	return f.json("stability.json", file)
}
