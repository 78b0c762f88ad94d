package attacks

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"testing"

	"sat/internal/rng"
)

// mlp is a classifier z = V·tanh(U·x) + b, or z = V·x + b without hidden units, evaluated image by image in float64,
// so that an image's numbers cannot depend on its batch.
type mlp struct {
	inputs, hidden, classes int
	u, v, b                 []float64

	grads  int // number of LossGrad calls, and the images in them
	images int
}

func newMLP(seed uint64, inputs, hidden, classes int, scale float64) *mlp {
	draw := rng.New(seed, "mlp")
	normal := func(n int) []float64 {
		w := make([]float64, n)
		for i := range w {
			w[i] = draw.Normal() * scale
		}
		return w
	}
	m := &mlp{inputs: inputs, hidden: hidden, classes: classes}
	width := inputs
	if hidden > 0 {
		m.u, width = normal(hidden*inputs), hidden
	}
	m.v, m.b = normal(classes*width), normal(classes)
	return m
}

func (m *mlp) forward(x []float32) (h, z []float64) {
	if m.hidden > 0 {
		h = make([]float64, m.hidden)
		for i := range h {
			for j, v := range x {
				h[i] += m.u[i*m.inputs+j] * (float64(v) - 0.5)
			}
			h[i] = math.Tanh(h[i])
		}
	} else {
		h = make([]float64, m.inputs)
		for j, v := range x {
			h[j] = float64(v)
		}
	}
	z = append([]float64(nil), m.b...)
	for k := range z {
		for i, v := range h {
			z[k] += m.v[k*len(h)+i] * v
		}
	}
	return h, z
}

func (m *mlp) Logits(_ context.Context, x Batch) ([]float32, error) {
	logits := make([]float32, 0, x.N*m.classes)
	for i := range x.N {
		_, z := m.forward(x.Image(i))
		for _, v := range z {
			logits = append(logits, float32(v))
		}
	}
	return logits, nil
}

func (m *mlp) LossGrad(_ context.Context, x Batch, y, targets []int64, loss Loss) (Gradient, error) {
	m.grads++
	m.images += x.N
	g := Gradient{Pixels: make([]float32, len(x.Pixels)), Loss: make([]float32, x.N)}
	for i := range x.N {
		h, z := m.forward(x.Image(i))
		target := int64(0)
		if loss.Targeted() {
			target = targets[i]
		}
		value, dz := lossGradient(loss, z, y[i], target)
		g.Loss[i] = float32(value)
		dh := make([]float64, len(h))
		for k, v := range z {
			g.Logits = append(g.Logits, float32(v))
			for j := range dh {
				dh[j] += dz[k] * m.v[k*len(h)+j]
			}
		}
		out := g.Pixels[i*m.inputs : (i+1)*m.inputs]
		for j := range out {
			if m.hidden == 0 {
				out[j] = float32(dh[j])
				continue
			}
			d := 0.0
			for l := range dh {
				d += dh[l] * (1 - h[l]*h[l]) * m.u[l*m.inputs+j]
			}
			out[j] = float32(d)
		}
	}
	return g, nil
}

// lossGradient is a loss of logits z and its gradient with respect to them.
func lossGradient(loss Loss, z []float64, y, target int64) (float64, []float64) {
	dz := make([]float64, len(z))
	order := make([]int, len(z)) // classes by falling logit
	for k := range order {
		order[k] = k
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(z[b], z[a]) })
	if loss == CrossEntropy {
		sum := 0.0
		for _, v := range z {
			sum += math.Exp(v - z[order[0]])
		}
		for k, v := range z {
			dz[k] = math.Exp(v-z[order[0]]) / sum
		}
		dz[y]--
		return math.Log(sum) + z[order[0]] - z[y], dz
	}
	winner := int(target)
	if !loss.Targeted() {
		if winner = order[0]; winner == int(y) {
			winner = order[1]
		}
	}
	numerator, gap := z[winner]-z[y], 1.0
	dz[winner]++
	dz[y]--
	gapGradient := map[int]float64{}
	switch loss {
	case DLR:
		gap = z[order[0]] - z[order[2]] + 1e-12
		gapGradient = map[int]float64{order[0]: 1, order[2]: -1}
	case TargetedDLR:
		gap = z[order[0]] - (z[order[2]]+z[order[3]])/2 + 1e-12
		gapGradient = map[int]float64{order[0]: 1, order[2]: -0.5, order[3]: -0.5}
	}
	for k := range dz { // quotient rule
		dz[k] = (dz[k] - numerator/gap*gapGradient[k]) / gap
	}
	return numerator / gap, dz
}

// images draws n images; every seventh pixel is 0 or 1, where clamping acts.
func images(seed uint64, n, c, h, w int) Batch {
	x, draw := NewBatch(n, c, h, w), rng.New(seed, "images")
	for i := range x.Pixels {
		x.Pixels[i] = float32(draw.Float64())
		if i%7 == 0 {
			x.Pixels[i] = float32(draw.IntN(2))
		}
	}
	return x
}

func names(n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("image-%d", i)
	}
	return ids
}

// predictions are used as labels, so that an attack starts from correctly classified images.
func predictions(t *testing.T, m Model, x Batch) []int64 {
	t.Helper()
	logits, err := m.Logits(context.Background(), x)
	if err != nil {
		t.Fatal(err)
	}
	y, err := Predict(logits, x.N)
	if err != nil {
		t.Fatal(err)
	}
	return y
}

func attack(t *testing.T, p PGD, m Model, x Batch, y []int64, ids []string) Result {
	t.Helper()
	r, err := p.Run(context.Background(), m, x, y, ids, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// bitsDiffer returns the first position where two pixel slices differ as bits, or -1.
func bitsDiffer(a, b []float32) int {
	if len(a) != len(b) {
		return min(len(a), len(b))
	}
	for i := range a {
		if math.Float32bits(a[i]) != math.Float32bits(b[i]) {
			return i
		}
	}
	return -1
}
