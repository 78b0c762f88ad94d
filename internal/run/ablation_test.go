package run

import (
	"encoding/csv"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"sat/attacks"
)

func csvRows(t *testing.T, path string) [][]string {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	must(t, err)
	return rows
}

// TestAblations: another attack on all models is scored both ways and correlated; one on some models is scored by their
// images alone, against the main attack scored alike, or both ways among themselves; nothing is computed twice, and an ablation that equals the main
// attack costs nothing.
func TestAblations(t *testing.T) {
	spec := comparison(t, 30, "a", "h", "dd")
	weak := spec.Attack.Attacker.(attacks.PGD)
	weak.Epsilon, weak.StepSize = 0.15, 0.1
	spec.Attack.Attacker = weak
	square := attacks.DefaultSquare()
	square.Epsilon, square.Queries = 0.15, 30
	small := weak
	small.StepSize = 0.03
	spec.Ablation = []Ablation{
		{Name: "square", Attack: Attack{"square", "0.15", square}},
		{Name: "again", Attack: spec.Attack},
		{Name: "small", Sources: []string{"h"}, Attack: Attack{"pgd", "0.15", small}},
		{Name: "few", Models: []string{"a", "h"}, Attack: Attack{"pgd", "0.15", small}},
	}
	_, err := Run(t.Context(), spec, Options{Until: StageAnalysis, Progress: silent()})
	must(t, err)
	attacked, err := filepath.Glob(filepath.Join(spec.Dir, "units", "attack", "*.adv"))
	must(t, err)
	if len(attacked) != 3+3+2 {
		t.Errorf("%d attacks; three models by two attacks and two, one of them for two ablations, by another", len(attacked))
	}
	in := func(name string) string { return filepath.Join(spec.Dir, "analysis", name) }

	rows := csvRows(t, in("ablation_square.csv"))
	if len(rows) != 4 || rows[0][1] != "sat_pgd" || rows[0][2] != "sat_square" || rows[1][0] != "a|h" {
		t.Fatalf("pairs %v", rows)
	}
	// What SAT of the other attack is, its own folder says too, with the images that it left clean.
	own := csvRows(t, filepath.Join(spec.Dir, "ablation", "square", "survivors.csv"))
	for i, row := range rows[1:] {
		if row[2] != own[i+1][3] || row[4] != own[i+1][4] || row[5] != own[i+1][5] {
			t.Errorf("pair %v, in its own folder %v", row, own[i+1])
		}
		n, _ := strconv.Atoi(row[3])
		if left, _ := strconv.Atoi(row[4]); left < 0 || left > n {
			t.Errorf("%d of %d images survive", left, n)
		}
	}
	var square1 struct {
		N         int
		R         *float64
		Survivors map[string]int
	}
	must(t, json.Unmarshal(readFile(t, in("ablation_square.json")), &square1))
	if square1.N != 3 || len(square1.Survivors) != 3 {
		t.Errorf("square: %+v", square1)
	}

	var same struct{ R float64 }
	must(t, json.Unmarshal(readFile(t, in("ablation_again.json")), &same))
	if math.Abs(same.R-1) > 1e-12 {
		t.Errorf("the same attack correlates with itself by %v: %v", same.R, csvRows(t, in("ablation_again.csv")))
	}

	rows = csvRows(t, in("ablation_small.csv"))
	if len(rows) != 3 || rows[1][0] != "a" || rows[2][0] != "dd" || rows[1][4] != "h" {
		t.Fatalf("one-sided %v", rows)
	}
	for _, row := range rows[1:] {
		n, _ := strconv.ParseFloat(row[5], 64)
		fooled, _ := strconv.ParseFloat(row[7], 64)
		got, _ := strconv.ParseFloat(row[2], 64)
		if want := math.Log(max(spec.Scores.Floor, 100*fooled/n)); math.Abs(got-want) > 1e-12 {
			t.Errorf("score %v of %v of %v images, want %v", got, fooled, n, want)
		}
	}
	// The directed count of the main attack is that of its own table.
	for _, row := range csvRows(t, filepath.Join(spec.Similarity, "pairs.csv"))[1:] {
		if row[0] == "h" && row[1] == "dd" && row[3] != rows[2][6] {
			t.Errorf("h fools dd on %s images, in the ablation's table %s", row[3], rows[2][6])
		}
	}

	// Some models both ways: the one image set of h serves here too.
	few := csvRows(t, in("ablation_few.csv"))
	if len(few) != 2 || few[1][0] != "a|h" || few[1][1] != rows[1][1] {
		t.Errorf("pairs of two models %v", few)
	}

	table := csvRows(t, in("attacks.csv"))
	if len(table) != 5 || table[1][0] != "main" || table[2][8] != table[1][7] || table[2][0] != "square" || table[3][0] != "again" || table[2][14] == "" || table[1][14] != "" {
		t.Errorf("settings %v", table)
	}
	fresh := computed(t, spec, func() {
		_, err := Run(t.Context(), spec, Options{Until: StageAnalysis, Progress: silent()})
		must(t, err)
	})
	sameSet(t, "a second run", fresh)

	// What is not asked for any more is not shown any more.
	spec.Ablation = nil
	_, err = Run(t.Context(), spec, Options{Until: StageAnalysis, Progress: silent()})
	must(t, err)
	left, err := filepath.Glob(in("*"))
	must(t, err)
	for _, path := range left {
		if name := filepath.Base(path); strings.HasPrefix(name, "ablation_") || name == "attacks.csv" {
			t.Errorf("%s is left of the ablations", name)
		}
	}
}
