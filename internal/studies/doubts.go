package studies

import (
	"errors"
	"slices"
	"strconv"

	"sat/analysis"
)

// ReadPairs reads pairs_undirected.csv: the models, the common images and the status of each pair.
func ReadPairs(path string) ([]analysis.Pair, error) {
	t, err := ReadTable(path, "a", "b", "n_both", "status")
	if err != nil {
		return nil, err
	}
	statuses := []analysis.Status{analysis.StatusEmpty, analysis.StatusFloored, analysis.StatusSmall, analysis.StatusOK}
	var pairs []analysis.Pair
	for row := range t.Len() {
		p := analysis.Pair{A: t.Text(row, "a"), B: t.Text(row, "b"), Status: analysis.Status(t.Text(row, "status"))}
		if p.NBoth, err = t.Count(row, "n_both"); err != nil {
			return nil, err
		}
		if !slices.Contains(statuses, p.Status) {
			return nil, t.Fail(row, "status is %q, not one of %v", p.Status, statuses)
		}
		pairs = append(pairs, p)
	}
	return pairs, nil
}

// ReadResized reads resize_only.csv.
func ReadResized(path string) ([]analysis.Resized, error) {
	t, err := ReadTable(path, "source", "target", "n_both", "n_wrong")
	if err != nil {
		return nil, err
	}
	var out []analysis.Resized
	for row := range t.Len() {
		r := analysis.Resized{Source: t.Text(row, "source"), Target: t.Text(row, "target")}
		if r.NBoth, err = t.Count(row, "n_both"); err != nil {
			return nil, err
		}
		if r.NWrong, err = t.Count(row, "n_wrong"); err != nil {
			return nil, err
		}
		if r.NWrong > r.NBoth {
			return nil, t.Fail(row, "n_wrong is %d of n_both %d images", r.NWrong, r.NBoth)
		}
		out = append(out, r)
	}
	return out, nil
}

// WarningsJob looks for scores that must not be taken at face value. Pairs know more than a matrix: with them, SAT is not
// needed.
type WarningsJob struct {
	SAT     *analysis.Matrix // nil without
	Floor   float64          // of SAT, in percent
	Pairs   []analysis.Pair
	Resized []analysis.Resized
}

type warningsFile struct {
	SchemaVersion int            `json:"schema_version"`
	Pairs         int            `json:"pairs"`         // looked at
	OrderedPairs  int            `json:"ordered_pairs"` // looked at for resizing
	Counts        map[string]int `json:"counts"`        // by status
	Warnings      []string       `json:"warnings"`
}

// Warnings writes warnings.csv, one line for each pair and reason, and warnings.json. It returns the warnings.
func Warnings(f Folder, job WarningsJob) ([]string, error) {
	pairs := len(job.Pairs)
	doubts := analysis.Doubts(job.Pairs, job.Resized)
	if job.Pairs == nil && job.SAT != nil {
		of, err := analysis.MatrixDoubts(job.SAT, job.Floor)
		if err != nil {
			return nil, err
		}
		doubts, pairs = append(of, doubts...), job.SAT.Len()*(job.SAT.Len()-1)/2
	}
	if pairs == 0 && len(job.Resized) == 0 {
		return nil, errors.New("no pairs of models to look at")
	}
	file := warningsFile{SchemaVersion: schemaVersion, Pairs: pairs, OrderedPairs: len(job.Resized), Counts: map[string]int{},
		Warnings: append([]string{}, analysis.DoubtWarnings(doubts, pairs, len(job.Resized))...)}
	var rows [][]string
	for _, d := range doubts {
		file.Counts[string(d.Status)]++
		images := ""
		if d.Images >= 0 {
			images = strconv.Itoa(d.Images)
		}
		rows = append(rows, []string{d.A, d.B, string(d.Status), images, number(d.Share)})
	}
	f = f.with("warnings", map[string]any{"floor": job.Floor, "small": analysis.SmallSample, "resize_limit": analysis.ResizeLimit})
	if err := f.table("warnings.csv", []string{"a", "b", "status", "n_both", "resize_share"}, rows); err != nil {
		return nil, err
	}
	return file.Warnings, f.json("warnings.json", file)
}
