package train

import (
	"math/rand/v2"
	"slices"

	"sat/internal/data/augment"
	"sat/internal/rng"
	"sat/torch"
)

// Loss is what is minimised on the labels.
type Loss string

// The losses of a recipe.
const (
	CrossEntropy Loss = "ce"
	BCE          Loss = "bce" // binary cross-entropy per class
)

// mixing returns the recipe's mixup and CutMix.
func (r Recipe) mixing() augment.Mixing {
	return augment.Mixing{Mixup: r.Mixup, CutMix: r.CutMix, Probability: r.MixProb, Switch: r.MixSwitch, CeilBox: r.CutMixBox == CeilBox}
}

// mixes reports whether batches are mixed.
func (r Recipe) mixes() bool { return (r.Mixup > 0 || r.CutMix > 0) && r.MixProb > 0 }

// softTargets reports whether the loss needs probabilities rather than labels.
func (r Recipe) softTargets() bool { return r.mixes() || r.Loss == BCE }

// random is a stream of random numbers of one update.
func (t *session) random(stream string, epoch, update int) *rng.Stream {
	return rng.New(t.Seed, stream, uint64(epoch), uint64(update))
}

// erase fills boxes of the images x [N,3,H,W] with normal noise. It happens before the normalisation, where a pixel of
// mean + deviation * n becomes n.
func (t *session) erase(s *torch.Scope, x torch.Tensor, epoch, update int) error {
	e := augment.DefaultErasing(t.Recipe.EraseProb)
	shape := x.Shape()
	n, channels, height, width := shape[0], shape[1], shape[2], shape[3]
	var noise []float32
	for i := range n {
		random := rng.New(t.Seed, "erase", uint64(epoch), uint64(update*n+i))
		box, ok := e.Draw(random, width, height)
		if !ok {
			continue
		}
		// The standard library's ziggurat is several times as fast as the sines and logarithms of Stream.Normal, which would be a
		// seventh of a loader's time under the DeiT recipe.
		normal := rand.New(random)
		noise = slices.Grow(noise[:0], channels*box.Height*box.Width)[:channels*box.Height*box.Width]
		plane := box.Height * box.Width
		for c := range channels {
			mean, deviation := float32(0), float32(1)
			if len(t.manifest.Mean) > 0 {
				mean, deviation = t.manifest.Mean[c], t.manifest.Std[c]
			}
			for k := range plane {
				noise[c*plane+k] = mean + float32(deviation*float32(normal.NormFloat64()))
			}
		}
		err := s.Step(func(s *torch.Scope) error {
			fill := s.ToDevice(s.FromFloat32(noise, 1, channels, box.Height, box.Width), t.Device)
			return s.Assign(part(s, s.Slice(x, 0, i, i+1), box), fill)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// part is the box of all images of x, sharing their memory.
func part(s *torch.Scope, x torch.Tensor, box augment.Rect) torch.Tensor {
	return s.Slice(s.Slice(x, 2, box.Top, box.Top+box.Height), 3, box.Left, box.Left+box.Width)
}

// mix mixes the images of x with those of the reversed batch, in place, and returns the share of the former. It is done
// on pixels, which is the same as on normalised images, because the shares add up to one.
func (t *session) mix(s *torch.Scope, x torch.Tensor, epoch, update int) (share float64, err error) {
	shape := x.Shape()
	m := t.Recipe.mixing().Draw(t.random("mix", epoch, update), shape[3], shape[2])
	err = s.Step(func(s *torch.Scope) error {
		switch {
		case m.CutMix && (m.Box.Width == 0 || m.Box.Height == 0):
			return nil
		case m.CutMix:
			return s.Assign(part(s, x, m.Box), part(s, s.Flip(x, 0), m.Box))
		case m.Share == 1:
			return nil
		}
		return s.Assign(x, s.Add(s.MulScalar(x, m.Share), s.MulScalar(s.Flip(x, 0), 1-m.Share)))
	})
	return m.Share, err
}

// probabilities are the targets [N,K] of a batch whose images hold a share of their own label and the rest of that of the
// reversed batch, in float32 as timm computes them. Smoothing takes s from the label and spreads it over all classes.
// With a threshold above 0, targets above it become 1 and the others 0.
func probabilities(labels []int64, classes int, share, smoothing, threshold float64) []float32 {
	n := len(labels)
	out := make([]float32, n*classes)
	off := float32(smoothing / float64(classes))
	on := float32(1 - smoothing + smoothing/float64(classes))
	for i := range n {
		own, other := labels[i], labels[n-1-i]
		for k := range int64(classes) {
			a, b := off, off
			if k == own {
				a = on
			}
			if k == other {
				b = on
			}
			v := float32(a*float32(share)) + float32(b*float32(1-share))
			if threshold > 0 {
				above := float64(v) > threshold
				v = 0
				if above {
					v = 1
				}
			}
			out[int64(i*classes)+k] = v
		}
	}
	return out
}
