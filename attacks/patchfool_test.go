package attacks

import (
	"context"
	"math"
	"slices"
	"strings"
	"testing"

	"sat/internal/rng"
)

// gazing is a model with patches of 2x2 pixels whose attention objectives are linear in the pixels of the chosen patches.
type gazing struct {
	*mlp
	shape       AttentionShape
	direction   [][]float32 // by layer, per pixel of an image
	scores, ask int         // calls of AttentionScores and AttentionGrad
}

func newGazing(t *testing.T) (*gazing, Batch, []int64, []string) {
	t.Helper()
	m := &gazing{mlp: newMLP(41, 3*6*4, 14, 5, 0.5), shape: AttentionShape{Layers: 6, Heads: 2, Prefix: 1, Patch: 2}}
	draw := rng.New(7, "gaze")
	for range m.shape.Layers {
		d := make([]float32, 3*6*4)
		for i := range d {
			d[i] = float32(draw.Normal())
		}
		m.direction = append(m.direction, d)
	}
	x := images(42, 7, 3, 6, 4)
	return m, x, predictions(t, m, x), names(x.N)
}

func (g *gazing) Normalization() (mean, std []float32) {
	return []float32{0.3, 0.5, 0.4}, []float32{0.2, 0.3, 0.4}
}

func (g *gazing) Attention() (AttentionShape, bool) { return g.shape, g.shape.Layers > 0 }

func (g *gazing) AttentionScores(_ context.Context, x Batch, layer int) ([]float32, error) {
	g.scores++
	scores := make([]float32, x.N*6)
	for i := range x.N {
		for j, v := range x.Image(i) {
			scores[i*6+j/x.W%x.H/2*2+j%x.W/2] += v * g.direction[layer][j]
		}
	}
	return scores, nil
}

func (g *gazing) AttentionGrad(ctx context.Context, x Batch, y []int64, patches [][]int, _ AttentionForm, layers []int) (Gradient, [][]float32, error) {
	g.ask++
	ce, err := g.LossGrad(ctx, x, y, nil, CrossEntropy)
	out := make([][]float32, len(layers))
	for l, layer := range layers {
		out[l] = make([]float32, len(x.Pixels))
		for i := range out[l] {
			out[l][i] = g.direction[layer][i%(x.C*x.H*x.W)]
		}
	}
	return ce, out, err
}

func fool(t *testing.T, p PatchFool, m Model, x Batch, y []int64, ids []string) Result {
	t.Helper()
	r, err := p.Run(context.Background(), m, x, y, ids, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func smallPatchFool() PatchFool {
	p := DefaultPatchFool()
	p.Steps, p.Patches, p.Seed = 12, 2, 5
	return p
}

func TestPatchFoolInvariants(t *testing.T) {
	for name, change := range map[string]func(*PatchFool){
		"default":    func(*PatchFool) {},
		"paper":      func(p *PatchFool) { p.Form, p.Weight = FormPaper, 0.5 },
		"code norm":  func(p *PatchFool) { p.Conflict, p.Weight = ConflictCodeNorm, 0.5 },
		"random":     func(p *PatchFool) { p.Select = SelectRandom },
		"saliency":   func(p *PatchFool) { p.Select = SelectSaliency },
		"mild L2":    func(p *PatchFool) { p.MildL2 = 0.1 },
		"mild Linf":  func(p *PatchFool) { p.MildLinf = 0.05 },
		"sparse":     func(p *PatchFool) { p.Pixels = 3 },
		"all pixels": func(p *PatchFool) { p.Pixels = 8 },
	} {
		t.Run(name, func(t *testing.T) {
			m, x, y, ids := newGazing(t)
			p := smallPatchFool()
			change(&p)
			before := x.Clone()
			r := fool(t, p, m, x, y, ids)
			if bitsDiffer(x.Pixels, before.Pixels) >= 0 {
				t.Fatal("the clean images were modified")
			}
			for i := range x.N {
				pixels, patches := map[int]bool{}, map[int]bool{}
				squares := make([]float64, x.C)
				for j, v := range r.Adversarial.Image(i) {
					c := x.Image(i)[j]
					if !(v >= 0 && v <= 1) {
						t.Fatalf("image %d: pixel %v", i, v)
					}
					if math.Float32bits(v) == math.Float32bits(c) {
						continue
					}
					d := float64(v) - float64(c)
					squares[j/(x.H*x.W)] += d * d
					pixels[j%(x.H*x.W)] = true
					patches[j/x.W%x.H/2*2+j%x.W/2] = true
					if p.MildLinf > 0 && math.Abs(d) > p.MildLinf+1e-6 {
						t.Errorf("image %d: a pixel moved by %v", i, d)
					}
				}
				if len(patches) > p.Patches || len(pixels) > 4*p.Patches || p.Pixels > 0 && len(pixels) > p.Pixels || len(pixels) == 0 {
					t.Errorf("image %d: %d pixels of %d patches changed", i, len(pixels), len(patches))
				}
				for c, sum := range squares {
					if p.MildL2 > 0 && math.Sqrt(sum) > p.MildL2+1e-6 {
						t.Errorf("image %d: channel %d moved by %v", i, c, math.Sqrt(sum))
					}
				}
			}
			// The same draws, and here the same bits, in any batch and order.
			for i := range x.N {
				alone := fool(t, p, m, x.Slice(i, i+1), y[i:i+1], ids[i:i+1])
				if bitsDiffer(alone.Adversarial.Pixels, r.Adversarial.Image(i)) >= 0 {
					t.Errorf("image %d alone becomes another image", i)
				}
			}
		})
	}
}

// TestPatchFoolProjection: after the projection no attention gradient points against the cross-entropy's.
func TestPatchFoolProjection(t *testing.T) {
	draw := rng.New(3, "projection")
	p := &patched{channels: 1, hard: make([]bool, 40)}
	for k := range p.hard {
		p.hard[k] = true
	}
	vector := func() []float32 {
		v := make([]float32, 40)
		for k := range v {
			v[k] = float32(draw.Normal())
		}
		return v
	}
	conflicts := 0
	for range 200 {
		c, g := vector(), vector()
		r := &patchRun{PatchFool: PatchFool{Weight: 1}}
		total := r.combine(p, c, [][]float32{g})
		moved := make([]float32, len(g)) // the attention gradient as it was added
		for k := range g {
			moved[k] = total[k] - c[k]
		}
		length := math.Sqrt(p.dot(g, g) * p.dot(c, c))
		if p.dot(g, c) < 0 {
			conflicts++
			if along := p.dot(moved, c); math.Abs(along) > 1e-5*length {
				t.Fatalf("the projected gradient still has %v along the other", along/length)
			}
		} else if at := bitsDiffer(total, r.combine(p, c, [][]float32{g})); at >= 0 || math.Abs(p.dot(moved, c)-p.dot(g, c)) > 1e-4*length {
			t.Fatal("a gradient without conflict was changed")
		}
		// The weight of the authors' program depends on the size of the loss, a projection does not.
		double := slices.Clone(c)
		for k := range double {
			double[k] *= 2
		}
		scaled := r.combine(p, double, [][]float32{g})
		for k := range scaled {
			if math.Abs(float64(scaled[k]-double[k]-moved[k])) > 1e-4 {
				t.Fatal("the projection depends on the length of the cross-entropy's gradient")
			}
		}
	}
	if conflicts < 50 {
		t.Errorf("%d conflicts", conflicts)
	}
	r := &patchRun{PatchFool: PatchFool{Weight: 1}}
	g := vector()
	for k, v := range r.combine(p, make([]float32, 40), [][]float32{g}) {
		if v != g[k] {
			t.Fatal("with a zero gradient of the cross-entropy there is nothing to project on")
		}
	}
}

func TestPatchFoolRate(t *testing.T) {
	p := DefaultPatchFool()
	for step, want := range map[int]float64{0: 0.2, 9: 0.2, 10: 0.19, 19: 0.19, 20: 0.1805, 249: 0.2 * math.Pow(0.95, 24)} {
		if got := p.rate(step); math.Abs(got-want) > 1e-12 {
			t.Errorf("rate of step %d is %v, want %v", step, got, want)
		}
	}
}

// TestPatchFoolWithoutAttention: with weight 0 the maps are not read, only, by choice, for the selection.
func TestPatchFoolWithoutAttention(t *testing.T) {
	m, x, y, ids := newGazing(t)
	p := smallPatchFool()
	p.Weight = 0
	fool(t, p, m, x, y, ids)
	if m.scores != 1 || m.ask != 0 {
		t.Errorf("%d looks at the attention, %d attention gradients", m.scores, m.ask)
	}
	p.Select = SelectRandom
	fool(t, p, m, x, y, ids)
	if m.scores != 1 || m.ask != 0 {
		t.Errorf("random patches: %d looks at the attention, %d attention gradients", m.scores, m.ask)
	}
}

func TestPatchFoolLayers(t *testing.T) {
	for _, c := range []struct {
		form AttentionForm
		n    int
		want []int
	}{{FormCode, 12, []int{1, 2, 3, 4, 5}}, {FormCode, 2, nil}, {FormCode, 5, []int{1}}, {FormPaper, 3, []int{0, 1, 2}}} {
		if got := c.form.layers(c.n); !slices.Equal(got, c.want) {
			t.Errorf("%v of %d layers: %v, want %v", c.form, c.n, got, c.want)
		}
	}
}

func TestPatchFoolRefusals(t *testing.T) {
	m, x, y, ids := newGazing(t)
	blind := *m
	blind.shape = AttentionShape{}
	large := *m
	large.shape.Patch = 4
	for name, c := range map[string]struct {
		model  Model
		change func(*PatchFool)
		want   string
	}{
		"no attention":      {m.mlp, func(*PatchFool) {}, "does not give its attention"},
		"plain module":      {&blind, func(*PatchFool) {}, "export it with attention"},
		"patches too large": {&large, func(*PatchFool) {}, "do not fill images of 6x4"},
		"too many patches":  {m, func(p *PatchFool) { p.Patches = 7 }, "7 patches of the 6"},
		"no patch":          {m, func(p *PatchFool) { p.Patches = 0 }, "patches is 0"},
		"no step":           {m, func(p *PatchFool) { p.Steps = 0 }, "steps is 0"},
		"both mild bounds":  {m, func(p *PatchFool) { p.MildL2, p.MildLinf = 1, 1 }, "only one of the mild bounds"},
		"rate of NaN":       {m, func(p *PatchFool) { p.Rate = math.NaN() }, "rate is NaN"},
	} {
		p := smallPatchFool()
		c.change(&p)
		if _, err := p.Run(context.Background(), c.model, x, y, ids, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	few := *m
	few.shape.Layers = 3
	if r := fool(t, smallPatchFool(), &few, x, y, ids); len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "layer 2, not 4") {
		t.Errorf("warnings %q", r.Warnings)
	}
}
