package attacks

import (
	"math"
	"testing"

	"sat/internal/rng"
)

// plane is a point of the box and a hyperplane at w·t - c.
type plane struct {
	t, w []float32
	c    float64
}

// planes draws cases of n entries: some at a wall, some with no weight, reachable ones and others.
func planes(seed uint64, n, count int) []plane {
	draw := rng.New(seed, "planes")
	cases := make([]plane, count)
	for i := range cases {
		p := plane{t: make([]float32, n), w: make([]float32, n)}
		sum := 0.0
		for j := range p.t {
			p.t[j], p.w[j] = float32(draw.Float64()), float32(draw.Normal())
			switch draw.IntN(6) {
			case 0:
				p.t[j] = float32(draw.IntN(2))
			case 1:
				p.w[j] = 0
			}
			sum += math.Abs(float64(p.w[j]))
		}
		p.c = (2*draw.Float64() - 1) * sum * []float64{1e-6, 0.05, 0.5, 1.5}[i%4]
		cases[i] = p
	}
	return cases
}

// reach is the most that w·d can fall (c > 0) or rise (c < 0) inside the box.
func (p plane) reach() float64 {
	sum := 0.0
	for j, w := range p.w {
		turned := w
		if p.c < 0 {
			turned = -w
		}
		sum += math.Abs(float64(w)) * float64(room(p.t[j], turned))
	}
	return sum
}

func lengthOf(d []float32, norm Norm) float64 {
	if norm == L2 {
		return norm2(d)
	}
	largest := 0.0
	for _, v := range d {
		largest = max(largest, math.Abs(float64(v)))
	}
	return largest
}

// What the optimality conditions demand: the hyperplane is met (or everything is at its wall), nothing leaves the box, and
// one λ explains every entry: it has moved by λu or stands at its wall before that.
func TestProjectionIsOptimal(t *testing.T) {
	for _, norm := range []Norm{Linf, L2} {
		for seed, n := range []int{1, 2, 5, 40, 700} {
			for _, p := range planes(uint64(seed), n, 40) {
				d := make([]float32, n)
				project(d, p.t, p.w, p.c, norm)
				met, weight, lambda := p.c, 0.0, 0.0
				for j, v := range d {
					met += float64(p.w[j]) * float64(v)
					weight += math.Abs(float64(p.w[j]))
					if at := float64(p.t[j]) + float64(v); at < -1e-7 || at > 1+1e-7 {
						t.Fatalf("%v: entry %d goes from %v to %v", norm, j, p.t[j], at)
					}
					if p.w[j] == 0 && v != 0 {
						t.Fatalf("%v: entry %d has no weight and moves by %v", norm, j, v)
					}
					if float64(v)*float64(p.w[j])*p.c > 0 {
						t.Fatalf("%v: entry %d moves away from the hyperplane", norm, j)
					}
					if _, u := pace(p.w[j], norm); u > 0 {
						lambda = max(lambda, math.Abs(float64(v))/u)
					}
				}
				if feasible := p.reach() > math.Abs(p.c)*(1+1e-6); feasible && math.Abs(met) > 1e-6*weight {
					t.Fatalf("%v: misses the hyperplane by %v, want at most %v", norm, met, 1e-6*weight)
				}
				for j, v := range d {
					turned := p.w[j]
					if p.c < 0 {
						turned = -turned
					}
					_, u := pace(p.w[j], norm)
					wall, moved := float64(room(p.t[j], turned)), math.Abs(float64(v))
					if p.w[j] != 0 && wall-moved > 1e-6 && math.Abs(moved-lambda*u) > 1e-6*max(1, lambda*u) {
						t.Fatalf("%v: entry %d moves by %v; the others by %v, its wall is at %v", norm, j, moved, lambda*u, wall)
					}
				}
			}
		}
	}
}

// Brute force for few entries: in the solution some entries stand at a wall and λ moves the rest; try every set.
func TestProjectionByBruteForce(t *testing.T) {
	for _, norm := range []Norm{Linf, L2} {
		for n := 1; n <= 6; n++ {
			for _, p := range planes(100+uint64(n), n, 40) {
				if p.reach() < math.Abs(p.c)*(1+1e-5) {
					continue
				}
				best := math.Inf(1)
				for walls := range 1 << n {
					d, rest, slope := make([]float32, n), math.Abs(p.c), 0.0
					for j, w := range p.w {
						size, u := pace(w, norm)
						if walls>>j&1 == 0 {
							slope += size * u
							continue
						}
						turned := w
						if p.c < 0 {
							turned = -w
						}
						d[j] = room(p.t[j], turned)
						rest -= size * float64(d[j])
					}
					lambda, fits := 0.0, true
					if slope > 0 {
						lambda = rest / slope
					} else if math.Abs(rest) > 1e-9 {
						continue
					}
					for j, w := range p.w {
						if _, u := pace(w, norm); walls>>j&1 == 0 && w != 0 {
							turned := w
							if p.c < 0 {
								turned = -w
							}
							d[j] = float32(lambda * u)
							fits = fits && lambda >= 0 && float64(d[j]) <= float64(room(p.t[j], turned))+1e-9
						}
						if w == 0 {
							d[j] = 0
						}
					}
					if fits {
						best = min(best, lengthOf(d, norm))
					}
				}
				d := make([]float32, n)
				project(d, p.t, p.w, p.c, norm)
				if got := lengthOf(d, norm); math.Abs(got-best) > 1e-6 {
					t.Fatalf("%v, %d entries: length %v, the best is %v\nt %v\nw %v\nc %v", norm, n, got, best, p.t, p.w, p.c)
				}
			}
		}
	}
}

func TestProjectionOfAPointOnThePlaneStays(t *testing.T) {
	for _, norm := range []Norm{Linf, L2} {
		d := []float32{1, 2, 3}
		project(d, []float32{0, 0.5, 1}, []float32{1, -1, 0}, 0, norm)
		if d[0] != 0 || d[1] != 0 || d[2] != 0 {
			t.Errorf("%v: moves by %v", norm, d)
		}
		project(d, []float32{0, 0.5, 1}, []float32{0, 0, 0}, 1, norm)
		if d[0] != 0 || d[1] != 0 || d[2] != 0 {
			t.Errorf("%v: without a gradient it moves by %v", norm, d)
		}
		project(d, []float32{0.25, 0.5, 1}, []float32{1, -1, 2}, 100, norm)
		if d[0] != -0.25 || d[1] != 0.5 || d[2] != -1 {
			t.Errorf("%v: beyond reach it moves by %v, not to the corner", norm, d)
		}
	}
}

// testdata/projection.json is made by scripts/goldens/attacks_autoattack.py with the reference's routines.
func TestProjectionEqualsReference(t *testing.T) {
	var golden struct {
		Cases []struct {
			T, W, Linf, L2 []float32
			B              float64
		}
	}
	readGolden(t, "projection", &golden)
	for i, c := range golden.Cases {
		shift := -c.B
		for j, w := range c.W {
			shift += float64(w) * float64(c.T[j])
		}
		for norm, want := range map[Norm][]float32{Linf: c.Linf, L2: c.L2} {
			d := make([]float32, len(c.T))
			project(d, c.T, c.W, shift, norm)
			for j := range d {
				if math.Abs(float64(d[j]-want[j])) > 5e-6 {
					t.Errorf("case %d, %v, entry %d: got %v, the reference has %v", i, norm, j, d[j], want[j])
				}
			}
		}
	}
}

func BenchmarkProject(b *testing.B) {
	for _, norm := range []Norm{Linf, L2} {
		b.Run(norm.String(), func(b *testing.B) {
			p := planes(5, 3*224*224, 2)[1]
			d := make([]float32, len(p.t))
			b.ResetTimer()
			for b.Loop() {
				project(d, p.t, p.w, p.c, norm)
			}
		})
	}
}
