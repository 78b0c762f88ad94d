package selfsup

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"sat/internal/data"
	"sat/internal/train"
	"sat/torch"
	"sat/zoo"
)

// ProbeJob is a linear probe: how well a linear classifier tells the classes from what a frozen encoder makes of the images.
type ProbeJob struct {
	Module     string    // pre-training module
	Random     bool      // draw its weights anew, from Seed, rather than take those of the file
	Seed       uint64    //
	Train, Val *data.Set // uint8 images of the network's input size
	Classes    int
	L2         float64 // weight of half the squared norm of the classifier
	Steps      int     // of the optimisation
	Batch      int     // images at a time through the encoder
	Worker     *torch.Worker
	Device     torch.Device
	Progress   func(images int) // after every batch; nil is silent
}

// ProbeResult is how well a probe did.
type ProbeResult struct {
	Images    int     `json:"images"`     // validation images
	Top1      float64 `json:"top1"`       // share of them, 0 to 1
	TrainTop1 float64 `json:"train_top1"` // share of the training images
	Loss      float64 `json:"loss"`       // mean cross-entropy on them
}

// Probe extracts the features of all images, without augmentation and in evaluation mode, gives each feature mean 0 and
// deviation 1 over the training images, as MAE's protocol does by a batch norm in front of the classifier, and fits
//
//	min over W of  mean CE(X·W, y) + l2/2 · ‖W‖²        X with a last column of ones
//
// by Nesterov's accelerated gradient with the step 1/(λ/2 + l2), λ being the largest eigenvalue of XᵀX/N (Böhning, 1992, bounds
// the curvature of the loss by half of it). The problem is convex and the start is zero, so nothing is drawn at random. All
// images of a set must fit in memory.
func Probe(ctx context.Context, job ProbeJob) (result ProbeResult, err error) {
	err = job.Worker.Do(ctx, func(s *torch.Scope) error {
		m, manifest, err := zoo.OpenPretraining(ctx, s, job.Module, job.Device)
		if err != nil {
			return err
		}
		defer m.Close()
		if job.Random {
			if err := zoo.InitWeights(ctx, s, m, manifest.Init, job.Seed); err != nil {
				return err
			}
		}
		if err := m.SetTraining(false); err != nil {
			return err
		}
		training, err := job.features(ctx, s, m, manifest, job.Train)
		if err != nil {
			return fmt.Errorf("training images: %w", err)
		}
		validation, err := job.features(ctx, s, m, manifest, job.Val)
		if err != nil {
			return fmt.Errorf("validation images: %w", err)
		}
		standardise(training, validation)
		result, err = job.fit(ctx, s, training, validation)
		return err
	})
	if err != nil {
		return result, fmt.Errorf("probe %s: %w", job.Module, err)
	}
	return result, nil
}

// table holds the features of images row by row, a 1 at the end of each, and their classes.
type table struct {
	x      []float32
	width  int
	labels []int64
}

func (j ProbeJob) features(ctx context.Context, s *torch.Scope, m *torch.Module, manifest *zoo.Pretraining, set *data.Set) (*table, error) {
	size := manifest.InputSize
	if set == nil || set.N == 0 || len(set.Labels) != set.N {
		return nil, errors.New("there are none, or they have no labels")
	}
	if set.C != size[0] || set.H != size[1] || set.W != size[2] || len(set.Images) != set.N*set.H*set.W*set.C {
		return nil, fmt.Errorf("they are not bytes of %dx%d pixels and %d channels, as the network takes them", size[1], size[2], size[0])
	}
	out := &table{labels: set.Labels}
	for _, y := range set.Labels {
		if y < 0 || y >= int64(j.Classes) {
			return nil, fmt.Errorf("label %d, there are %d classes", y, j.Classes)
		}
	}
	length := set.H * set.W * set.C
	for from := 0; from < set.N; from += j.Batch {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n := min(j.Batch, set.N-from)
		err := s.Step(func(s *torch.Scope) error {
			x := train.ImageTensor(s, set.Images[from*length:(from+n)*length], n, size, j.Device)
			outputs := m.Call(s, "features", torch.Float32, manifest.Normalise(s, x, j.Device))
			if len(outputs) != 1 {
				return errors.Join(s.Err(), errors.New("the network returns no features"))
			}
			values, err := outputs[0].Float32s()
			if err != nil {
				return err
			}
			width := len(values) / n
			out.width = width + 1
			for i := range n {
				out.x = append(append(out.x, values[i*width:(i+1)*width]...), 1)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		if j.Progress != nil {
			j.Progress(n)
		}
	}
	return out, nil
}

// standardise gives every feature mean 0 and deviation 1 over the training images; one that never changes becomes 0.
func standardise(training, validation *table) {
	n, width := len(training.labels), training.width
	for k := range width - 1 {
		sum, squares := 0.0, 0.0
		for i := range n {
			sum += float64(training.x[i*width+k])
		}
		mean := sum / float64(n)
		for i := range n {
			d := float64(training.x[i*width+k]) - mean
			squares += d * d
		}
		factor := 0.0
		if deviation := math.Sqrt(squares / float64(n)); deviation > 1e-6 {
			factor = 1 / deviation
		}
		for _, t := range []*table{training, validation} {
			for i := range t.labels {
				v := &t.x[i*width+k]
				*v = float32((float64(*v) - mean) * factor)
			}
		}
	}
}

// fit minimises the loss of the training images and counts what it gets right.
func (j ProbeJob) fit(ctx context.Context, s *torch.Scope, training, validation *table) (ProbeResult, error) {
	n, width, classes := len(training.labels), training.width, j.Classes
	x := s.ToDevice(s.FromFloat32(training.x, n, width), j.Device)
	transposed := s.MulScalar(s.Permute(x, 1, 0), 1/float64(n))
	wanted := make([]float32, n*classes)
	for i, y := range training.labels {
		wanted[i*classes+int(y)] = 1
	}
	target := s.ToDevice(s.FromFloat32(wanted, n, classes), j.Device)
	covariance, err := s.MatMul(transposed, x).Float32s()
	if err != nil {
		return ProbeResult{}, err
	}
	step := 1 / (largestEigenvalue(covariance, width)/2 + j.L2)
	w := s.ToDevice(s.Full(0, width, classes), j.Device)
	ahead := s.Clone(w)
	for k := range j.Steps {
		if err := ctx.Err(); err != nil {
			return ProbeResult{}, err
		}
		err := s.Step(func(s *torch.Scope) error {
			wrong := s.Sub(s.Softmax(s.MatMul(x, ahead), 1), target)
			gradient := s.Add(s.MatMul(transposed, wrong), s.MulScalar(ahead, j.L2))
			next := s.Sub(ahead, s.MulScalar(gradient, step))
			momentum := float64(k) / float64(k+3)
			further := s.Add(next, s.MulScalar(s.Sub(next, w), momentum))
			return errors.Join(s.Assign(ahead, further), s.Assign(w, next))
		})
		if err != nil {
			return ProbeResult{}, fmt.Errorf("step %d: %w", k+1, err)
		}
	}
	loss, err := s.CrossEntropy(s.MatMul(x, w), s.ToDevice(s.FromInt64(training.labels, n), j.Device), torch.ReduceMean, 0).Item()
	if err != nil {
		return ProbeResult{}, err
	}
	if math.IsNaN(loss) || math.IsInf(loss, 0) {
		return ProbeResult{}, fmt.Errorf("the loss is %v: the features are not finite", loss)
	}
	result := ProbeResult{Images: len(validation.labels), Loss: loss}
	for _, t := range []struct {
		of  *table
		out *float64
	}{{training, &result.TrainTop1}, {validation, &result.Top1}} {
		rows := len(t.of.labels)
		logits, err := s.MatMul(s.ToDevice(s.FromFloat32(t.of.x, rows, width), j.Device), w).Float32s()
		if err != nil {
			return ProbeResult{}, err
		}
		right := 0
		for i, y := range t.of.labels {
			row := logits[i*classes : (i+1)*classes]
			if slices.Index(row, slices.Max(row)) == int(y) { // ties go to the lowest class
				right++
			}
		}
		*t.out = float64(right) / float64(rows)
	}
	return result, nil
}

// largestEigenvalue of a symmetric positive matrix, by power iteration. What it falls short of, the power of 1.05 makes up for: a
// step that is a little too short costs little, one that is too long diverges.
func largestEigenvalue(a []float32, n int) float64 {
	v, next := make([]float64, n), make([]float64, n)
	for i := range v {
		v[i] = 1 + float64(i%7)/7 // not orthogonal to the eigenvector by some symmetry
	}
	norm := 0.0
	for range 100 {
		norm = 0
		for i := range next {
			next[i] = 0
			for k, x := range v {
				next[i] += float64(a[i*n+k]) * x
			}
			norm += next[i] * next[i]
		}
		norm = math.Sqrt(norm)
		if norm == 0 {
			return 0
		}
		for i := range v {
			v[i] = next[i] / norm
		}
	}
	return 1.05 * norm
}
