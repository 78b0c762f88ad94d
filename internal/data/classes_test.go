package data

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestCheckClasses(t *testing.T) {
	names := func(n int, format func(int) string) *Folder {
		f := &Folder{Root: "DIR"}
		for i := range n {
			f.Classes = append(f.Classes, format(i))
		}
		return f
	}
	imagenet := strings.Fields(imagenetSynsets)
	if len(imagenet) != imagenetClasses || !slices.IsSorted(imagenet) || imagenet[0] != "n01440764" || imagenet[999] != "n15075141" {
		t.Fatal("the list of ImageNet's classes is not what it should be")
	}
	renamed := slices.Clone(imagenet)
	renamed[7] = "n01514668 cock"
	others := func(i int) string { return "n" + strconv.Itoa(10000000+i) }
	cases := []struct {
		name   string
		folder *Folder
		k      int
		want   []string
	}{
		{"ten of ten", names(10, strconv.Itoa), 10, nil},
		{"nine of ten", names(9, strconv.Itoa), 10, []string{"9 classes, but the network has 10 outputs", "class map"}},
		{"ImageNet", &Folder{Root: "DIR", Classes: imagenet}, 1000, nil},
		{"ImageNet without a class", &Folder{Root: "DIR", Classes: slices.Delete(slices.Clone(imagenet), 217, 218)}, 1000,
			[]string{"999 of ImageNet's 1000 class folders", `class "n02102040" missing`}},
		{"ImageNet without four", &Folder{Root: "DIR", Classes: imagenet[4:]}, 1000,
			[]string{`4 classes: "n01440764", "n01443537", "n01484850", ... missing`}},
		{"a hundred of ImageNet's", &Folder{Root: "DIR", Classes: imagenet[:100]}, 1000, []string{"100 of ImageNet's 1000 class folders", "class map"}},
		{"a renamed class", &Folder{Root: "DIR", Classes: renamed}, 1000, []string{`class "n01514668 cock" not ImageNet's`, `class "n01514668" missing`}},
		{"other synsets", names(1000, others), 1000, nil},
		{"a thousand others", names(1000, strconv.Itoa), 1000, []string{"not an ImageNet class", "class map"}},
		{"class map", &Folder{Root: "DIR", Classes: make([]string, 7), mapped: true}, 1000, nil},
		{"class map beyond", &Folder{Root: "DIR", Classes: make([]string, 1002), mapped: true}, 1000, []string{"labels go up to 1001"}},
		{"numbers of the challenge's kit", &Folder{Root: "DIR", Classes: make([]string, 1001), mapped: true}, 1000, []string{"labels go up to 1000", "count from 1"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			err := c.folder.CheckClasses(c.k)
			if c.want == nil {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			wantError(t, err, c.want...)
		})
	}
}

func TestCheckOrder(t *testing.T) {
	const seed = 5
	random := rand.New(rand.NewPCG(seed, 0))
	// images of classes, each predicted by wrong: with probability accuracy as its own class, else as any.
	predictions := func(classes, each int, accuracy float64, rename func(int32) int32) (labels []int64, predicted []int32) {
		for class := range classes {
			for range each {
				p := int32(class)
				if random.Float64() >= accuracy {
					p = int32(random.IntN(classes))
				}
				labels, predicted = append(labels, int64(class)), append(predicted, rename(p))
			}
		}
		return labels, predicted
	}
	same := func(p int32) int32 { return p }
	reversed := func(n int32) func(int32) int32 { return func(p int32) int32 { return n - 1 - p } }
	shifted := func(n int32) func(int32) int32 { return func(p int32) int32 { return (p + 1) % n } }
	cases := []struct {
		name          string
		classes, each int
		accuracy      float64
		rename        func(int32) int32
		want          bool
	}{
		{"ImageNet's subset, good", 1000, 5, 0.8, same, false},
		{"ImageNet's subset, poor", 1000, 5, 0.3, same, false},
		{"ImageNet's subset, chance", 1000, 5, 0, same, false},
		{"ImageNet's subset, reversed", 1000, 5, 0.8, reversed(1000), true},
		{"ImageNet's subset, counted from 1", 1000, 5, 0.8, shifted(1000), true},
		{"ten classes, good", 10, 30, 0.9, same, false},
		{"ten classes, chance", 10, 30, 0, same, false},
		{"ten classes, shifted", 10, 30, 0.9, shifted(10), true},
		{"one class for all", 10, 30, 1, func(int32) int32 { return 3 }, false},
		{"two classes exchanged of ten", 10, 30, 0.9, func(p int32) int32 { return []int32{1, 0, 2, 3, 4, 5, 6, 7, 8, 9}[p] }, false},
		{"few images", 3, 2, 1, shifted(3), false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			err := CheckOrder(predictions(c.classes, c.each, c.accuracy, c.rename))
			if (err != nil) != c.want {
				t.Errorf("seed %d: got %v", seed, err)
			}
			if c.want {
				wantError(t, err, "another order", "class map", "seems to mean class")
			}
		})
	}
	if err := CheckOrder(nil, nil); err != nil {
		t.Error(err)
	}
}
