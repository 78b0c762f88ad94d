package goldentest

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"sat/attacks"
	"sat/boundary"
	"sat/internal/testkit"
	"sat/torch"
	"sat/zoo"
)

// golden is testdata/planes.json; scripts/goldens/boundary_planes.py says what it holds.
type golden struct {
	Triplets   [][]int
	Cases      []goldenCase
	Agreements []struct {
		A, B  string
		Equal int
	}
}

type goldenCase struct {
	Name, Network string
	Size          int
	Mean, Std     []float32
	Margin        *float64
	SpaceStd      []float64 `json:"space_std"`
	Planes        []boundary.Plane
	Maps          []string
}

const channels, side = 3, 16

// networks is where the networks and images of the attacks' goldens are.
const networks = "../../attacks/goldentest/testdata"

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// The classes of every point of every plane, of networks that take the images' size and of one that takes a larger one,
// with normalisation and in normalised space, are those that Python gets from points that are made, and resized, as images.
func TestClassMapsEqualPython(t *testing.T) {
	testkit.NoLeaks(t)
	worker := testkit.Torch(t)
	text, err := os.ReadFile(filepath.Join("testdata", "planes.json"))
	must(t, err)
	var g golden
	must(t, json.Unmarshal(text, &g))
	raw, err := os.ReadFile(filepath.Join(networks, "images.u8"))
	must(t, err)

	maps := map[string][][]int32{}
	for _, c := range g.Cases {
		t.Run(c.Name, func(t *testing.T) {
			o := boundary.Defaults()
			o.Std = c.SpaceStd
			if c.Margin != nil {
				o.Margin = *c.Margin
			}
			model, err := zoo.Load(t.Context(), filepath.Join(networks, c.Network+".pt"), zoo.LoadOptions{
				Worker: worker, Describe: zoo.Description{Height: c.Size, Width: c.Size, Mean: c.Mean, Std: c.Std},
			})
			must(t, err)
			defer model.Close()
			var planes []boundary.Plane
			for k, numbers := range g.Triplets {
				p, err := boundary.Span(three(raw, numbers), o.Std)
				must(t, err)
				for what, v := range map[string][2]float64{"|u|": {p.U, c.Planes[k].U}, "c": {p.C, c.Planes[k].C}, "h": {p.H, c.Planes[k].H}} {
					if math.Abs(v[0]-v[1]) > 1e-12*p.U {
						t.Errorf("plane %d: %s is %v, want %v", k, what, v[0], v[1])
					}
				}
				planes = append(planes, p)
			}
			points, err := boundary.NewPoints(planes, func(ctx context.Context, k int) (attacks.Batch, error) {
				return resized(ctx, worker, three(raw, g.Triplets[k]), c.Size)
			}, o)
			must(t, err)
			got, err := boundary.ClassMaps(t.Context(), model.Logits, points, 128, nil)
			must(t, err)
			for k, want := range c.Maps {
				for i, class := range got[k] {
					if want := int32(want[i] - '0'); class != want {
						t.Fatalf("plane %d, point (%d, %d): class %d, want %d", k, i/o.Grid, i%o.Grid, class, want)
					}
				}
			}
			maps[c.Name] = got
		})
	}
	for _, a := range g.Agreements {
		equal, err := boundary.Agree(maps[a.A], maps[a.B])
		must(t, err)
		sum := 0
		for _, e := range equal {
			sum += e
		}
		if sum != a.Equal {
			t.Errorf("%s and %s agree on %d points, want %d", a.A, a.B, sum, a.Equal)
		}
	}
}

func three(raw []byte, numbers []int) attacks.Batch {
	x := attacks.NewBatch(3, channels, side, side)
	for k, i := range numbers {
		for p, b := range raw[i*channels*side*side:][:channels*side*side] {
			x.Image(k)[p] = float32(b) / 255
		}
	}
	return x
}

func resized(ctx context.Context, w *torch.Worker, x attacks.Batch, size int) (attacks.Batch, error) {
	if size == side {
		return x, nil
	}
	out := attacks.NewBatch(x.N, x.C, size, size)
	return out, w.Do(ctx, func(s *torch.Scope) error {
		return s.Interpolate(s.FromFloat32(x.Pixels, x.N, x.C, x.H, x.W), size, size, torch.Bilinear, false).CopyFloat32s(out.Pixels)
	})
}
