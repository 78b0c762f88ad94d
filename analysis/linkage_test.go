package analysis

import (
	"encoding/json"
	"os"
	"slices"
	"strconv"
	"testing"
)

func TestAverageLinkageEqualsSciPy(t *testing.T) {
	text, err := os.ReadFile("testdata/linkage.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		Cases []struct {
			N        int
			Distance []float64
			Merges   [][4]float64
		}
	}
	if err := json.Unmarshal(text, &golden); err != nil {
		t.Fatal(err)
	}
	for _, c := range golden.Cases {
		t.Run(strconv.Itoa(c.N), func(t *testing.T) {
			var names []string
			for i := range c.N {
				names = append(names, strconv.Itoa(i))
			}
			steps, err := AverageLinkage(&Matrix{Names: names, Values: c.Distance})
			if err != nil {
				t.Fatal(err)
			}
			if len(steps) != len(c.Merges) {
				t.Fatalf("%d steps, want %d", len(steps), len(c.Merges))
			}
			for k, want := range c.Merges {
				got := steps[k]
				if got.A != int(want[0]) || got.B != int(want[1]) || got.Size != int(want[3]) {
					t.Errorf("step %d: %+v, want %v", k, got, want)
				}
				near(t, "height", got.Height, want[2], 0, 1e-12)
			}
			order := LeafOrder(c.N, steps)
			sorted := slices.Sorted(slices.Values(order))
			for i := range c.N {
				if sorted[i] != i {
					t.Fatalf("order %v is not a permutation", order)
				}
			}
		})
	}
}

func TestAverageLinkageRefuses(t *testing.T) {
	for _, values := range [][]float64{{0, -1, -1, 0}, {0, undefined, undefined, 0}, {0, 1, 2, 0}} {
		if _, err := AverageLinkage(&Matrix{Names: []string{"a", "b"}, Values: values}); err == nil {
			t.Errorf("%v passes", values)
		}
	}
	if steps, err := AverageLinkage(NewMatrix([]string{"a"})); err != nil || steps != nil || !slices.Equal(LeafOrder(1, steps), []int{0}) {
		t.Errorf("one model: %v, %v", steps, err)
	}
}
