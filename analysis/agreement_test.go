package analysis

import (
	"testing"

	"sat/internal/rng"
)

// TestMaximumMatching compares with all permutations.
func TestMaximumMatching(t *testing.T) {
	random := rng.New(1, "test")
	for range 200 {
		rows, cols := 1+random.IntN(5), 1+random.IntN(5)
		weight := make([][]int, rows)
		for i := range weight {
			weight[i] = make([]int, cols)
			for j := range weight[i] {
				weight[i][j] = random.IntN(7)
			}
		}
		best := 0
		permutations(max(rows, cols), func(perm []int) {
			sum := 0
			for i, j := range perm {
				if i < rows && j < cols {
					sum += weight[i][j]
				}
			}
			best = max(best, sum)
		})
		got, seen := 0, map[int]bool{}
		for i, j := range maximumMatching(weight) {
			if j < 0 {
				continue
			}
			if seen[j] {
				t.Fatalf("%v: column %d matched twice", weight, j)
			}
			seen[j] = true
			got += weight[i][j]
		}
		if got != best {
			t.Errorf("%v: matched %d, best is %d", weight, got, best)
		}
	}
}

func TestAgreeIgnoresNames(t *testing.T) {
	a := []int{0, 0, 1, 1, 2, 2, 2}
	b := []int{5, 5, 5, 3, 3, 9, 9}
	first, err := Agree(a, b)
	if err != nil {
		t.Fatal(err)
	}
	renamed := []int{40, 40, -2, -2, 11, 11, 11}
	second, err := Agree(renamed, b)
	if err != nil {
		t.Fatal(err)
	}
	swapped, err := Agree(b, a)
	if err != nil {
		t.Fatal(err)
	}
	for _, other := range []Agreement{second, swapped} {
		near(t, "ARI", other.ARI, first.ARI, 1e-15, 0)
		near(t, "NMI", other.NMI, first.NMI, 1e-15, 0)
		near(t, "matched", other.Matched, first.Matched, 0, 0)
	}
	near(t, "matched", first.Matched, 5./7, 1e-15, 0)
	if _, err := Agree(a, b[1:]); err == nil {
		t.Error("partitions of seven and six models accepted")
	}
	if _, err := Agree(nil, nil); err == nil {
		t.Error("empty partitions accepted")
	}
}
