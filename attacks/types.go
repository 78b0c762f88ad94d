package attacks

import (
	"context"
	"fmt"
	"math"
)

// Batch is N images in NCHW order, float32 in [0,1] ("pixel space"): len(Pixels) == N*C*H*W, image after image,
// channel after channel, row after row.
type Batch struct {
	Pixels     []float32
	N, C, H, W int
}

// NewBatch returns n black images of c channels, h rows and w columns.
func NewBatch(n, c, h, w int) Batch {
	return Batch{Pixels: make([]float32, n*c*h*w), N: n, C: c, H: h, W: w}
}

// Image returns the C*H*W pixels of image i. The slice shares memory with the batch.
func (b Batch) Image(i int) []float32 {
	size := b.C * b.H * b.W
	return b.Pixels[i*size : (i+1)*size : (i+1)*size]
}

// Slice returns images from, ..., to-1. The result shares memory with the batch.
func (b Batch) Slice(from, to int) Batch {
	size := b.C * b.H * b.W
	return Batch{Pixels: b.Pixels[from*size : to*size : to*size], N: to - from, C: b.C, H: b.H, W: b.W}
}

// Clone returns a copy with pixels of its own.
func (b Batch) Clone() Batch {
	b.Pixels = append(make([]float32, 0, len(b.Pixels)), b.Pixels...)
	return b
}

// Gradient is what a model returns for one batch.
type Gradient struct {
	Pixels []float32 // d(sum of the N losses)/d(pixel), laid out like Batch.Pixels
	Logits []float32 // [N,K], row major
	Loss   []float32 // [N]
}

// Model is a classifier in evaluation mode that takes images in pixel space; it normalises inside.
// Neither method may modify or keep x or y; the caller owns the returned slices.
type Model interface {
	// Logits returns the [N,K] logits, row major, no soft-max; K = len(logits)/x.N.
	Logits(ctx context.Context, x Batch) (logits []float32, err error)
	// LossGrad returns logits, the loss of each image and the gradient of their sum with respect to the pixels.
	// The sum, not the mean, so that an image's gradient does not depend on the size of its batch. targets are nil
	// unless loss.Targeted(). A model need not know every Loss: which an attack asks for is in its documentation, and
	// an unknown one is an error.
	LossGrad(ctx context.Context, x Batch, y, targets []int64, loss Loss) (Gradient, error)
}

// Predict returns the index of the largest of the K = len(logits)/n logits of each row; ties go to the lowest index.
// A NaN is an error that names its row and column: it is not a misclassification.
func Predict(logits []float32, n int) ([]int64, error) {
	return predict(logits, n, nil, nil)
}

// predict is Predict for rows that belong to the images ids[index[0]], ids[index[1]], ...; a nil index counts up.
func predict(logits []float32, n int, ids []string, index []int) ([]int64, error) {
	if n <= 0 || len(logits) == 0 || len(logits)%n != 0 {
		return nil, fmt.Errorf("%d logits cannot be the rows of %d images", len(logits), n)
	}
	k := len(logits) / n
	predicted := make([]int64, n)
	for i := range predicted {
		row := logits[i*k : (i+1)*k]
		best := 0
		for j, z := range row {
			if math.IsNaN(float64(z)) {
				at := i
				if index != nil {
					at = index[i]
				}
				if ids != nil {
					return nil, fmt.Errorf("image %q: logit %d is NaN", ids[at], j)
				}
				return nil, fmt.Errorf("row %d: logit %d is NaN", at, j)
			}
			if z > row[best] {
				best = j
			}
		}
		predicted[i] = int64(best)
	}
	return predicted, nil
}
