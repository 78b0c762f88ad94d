package analysis

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// Agree compares two partitions of the same models, given as one label per model. The labels themselves do not matter.
func Agree(a, b []int) (Agreement, error) {
	if len(a) != len(b) {
		return Agreement{}, fmt.Errorf("agreement: partitions of %d and %d models", len(a), len(b))
	}
	if len(a) == 0 {
		return Agreement{}, errors.New("agreement: no models")
	}
	table, _, _ := contingency(a, b)
	return Agreement{ARI: adjustedRand(table), NMI: normalizedInformation(table), Matched: matchedFraction(table, len(a))}, nil
}

// contingency returns the overlap counts of the clusters of a (rows) and b (columns) and the label of each row and column.
func contingency(a, b []int) (table [][]int, rows, cols []int) {
	rows = slices.Compact(slices.Sorted(slices.Values(a)))
	cols = slices.Compact(slices.Sorted(slices.Values(b)))
	table = make([][]int, len(rows))
	for i := range table {
		table[i] = make([]int, len(cols))
	}
	for k := range a {
		i, _ := slices.BinarySearch(rows, a[k])
		j, _ := slices.BinarySearch(cols, b[k])
		table[i][j]++
	}
	return table, rows, cols
}

// adjustedRand is the Rand index corrected for chance (Hubert and Arabie 1985), from the four kinds of pairs of models:
// together in both, in the first or in the second partition only, in neither. Two partitions that agree on every pair,
// also trivial ones, have index 1.
func adjustedRand(table [][]int) float64 {
	n, squares := 0, 0.0
	rowSum, colSum := make([]int, len(table)), make([]int, len(table[0]))
	for i, row := range table {
		for j, c := range row {
			n += c
			rowSum[i] += c
			colSum[j] += c
			squares += float64(c) * float64(c)
		}
	}
	rows, cols := 0.0, 0.0
	for _, c := range rowSum {
		rows += float64(c) * float64(c)
	}
	for _, c := range colSum {
		cols += float64(c) * float64(c)
	}
	both := squares - float64(n)
	first, second := rows-squares, cols-squares
	neither := float64(n)*float64(n) - rows - cols + squares
	if first == 0 && second == 0 {
		return 1
	}
	return 2 * (both*neither - first*second) / ((both+first)*(first+neither) + (both+second)*(second+neither))
}

// normalizedInformation is the mutual information of two partitions over the arithmetic mean of their entropies. Two
// partitions without any information (one cluster each) agree: 1.
func normalizedInformation(table [][]int) float64 {
	n := 0.0
	rowSum, colSum := make([]float64, len(table)), make([]float64, len(table[0]))
	for i, row := range table {
		for j, c := range row {
			n += float64(c)
			rowSum[i] += float64(c)
			colSum[j] += float64(c)
		}
	}
	if len(rowSum) == 1 && len(colSum) == 1 {
		return 1
	}
	information := 0.0
	for i, row := range table {
		for j, c := range row {
			if c > 0 {
				information += float64(c) / n * (math.Log(float64(c)) - math.Log(rowSum[i]) - math.Log(colSum[j]) + math.Log(n))
			}
		}
	}
	entropy := func(sums []float64) float64 {
		h := 0.0
		for _, s := range sums {
			h -= s / n * (math.Log(s) - math.Log(n))
		}
		return h
	}
	const rounding = 0x1p-52 // independent partitions: what is left of the sum is rounding
	if information <= rounding {
		return 0
	}
	return min(1, information/((entropy(rowSum)+entropy(colSum))/2))
}

func matchedFraction(table [][]int, n int) float64 {
	matched := 0
	for i, j := range maximumMatching(table) {
		if j >= 0 {
			matched += table[i][j]
		}
	}
	return float64(matched) / float64(n)
}

// maximumMatching pairs rows with columns one to one so that the sum of the paired weights is largest, and returns each
// row's column, or -1 where there are fewer columns than rows. It is the Hungarian algorithm with potentials
// (shortest augmenting paths), O(n^3) in exact integer arithmetic.
func maximumMatching(weight [][]int) []int {
	if len(weight) == 0 {
		return nil
	}
	n := max(len(weight), len(weight[0])) // a square problem: missing rows and columns weigh nothing
	cost := func(i, j int) int {
		if i < len(weight) && j < len(weight[0]) {
			return -weight[i][j]
		}
		return 0
	}
	// Row and column 0 are sentinels; owner[j] is the row that holds column j.
	rowPotential, colPotential := make([]int, n+1), make([]int, n+1)
	owner, previous := make([]int, n+1), make([]int, n+1)
	for i := 1; i <= n; i++ {
		owner[0] = i
		column := 0
		slack := slices.Repeat([]int{math.MaxInt}, n+1)
		visited := make([]bool, n+1)
		for owner[column] != 0 {
			visited[column] = true
			row, step, next := owner[column], math.MaxInt, 0
			for j := 1; j <= n; j++ {
				if visited[j] {
					continue
				}
				if d := cost(row-1, j-1) - rowPotential[row] - colPotential[j]; d < slack[j] {
					slack[j], previous[j] = d, column
				}
				if slack[j] < step {
					step, next = slack[j], j
				}
			}
			for j := 0; j <= n; j++ {
				if visited[j] {
					rowPotential[owner[j]] += step
					colPotential[j] -= step
				} else {
					slack[j] -= step
				}
			}
			column = next
		}
		for column != 0 { // hand the columns along the path over to the next row
			owner[column] = owner[previous[column]]
			column = previous[column]
		}
	}
	match := slices.Repeat([]int{-1}, len(weight))
	for j := 1; j <= n; j++ {
		if i := owner[j]; i <= len(weight) && j <= len(weight[0]) {
			match[i-1] = j - 1
		}
	}
	return match
}
