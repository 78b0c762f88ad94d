package attacks

import (
	"context"
	"fmt"
)

// LogitsFunc shows a batch to a model and returns its [N,K] logits, row major. A model that takes another image size
// than the batch has resizes first; Model.Logits is a LogitsFunc for batches of the model's own size.
type LogitsFunc func(ctx context.Context, x Batch) (logits []float32, err error)

// Reader gives access to stored images, in the order in which their predictions are wanted.
type Reader interface {
	Len() int
	// Read returns images from, ..., to-1, 0 <= from < to <= Len(). The result is valid until the next call.
	Read(ctx context.Context, from, to int) (Batch, error)
}

// Read makes a batch in memory a Reader.
func (b Batch) Read(_ context.Context, from, to int) (Batch, error) { return b.Slice(from, to), nil }

// Len is the number of images, for Reader.
func (b Batch) Len() int { return b.N }

// Evaluate returns a model's prediction for every image of r, batch by batch (the last one may be smaller).
func Evaluate(ctx context.Context, model LogitsFunc, r Reader, batch int, progress Progress) ([]int64, error) {
	if batch < 1 {
		return nil, fmt.Errorf("batch of %d images", batch)
	}
	n := r.Len()
	predicted := make([]int64, 0, n)
	for from := 0; from < n; from += batch {
		to := min(from+batch, n)
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("images %d to %d: %w", from, to-1, err)
		}
		x, err := r.Read(ctx, from, to)
		if err != nil {
			return nil, fmt.Errorf("read images %d to %d: %w", from, to-1, err)
		}
		logits, err := model(ctx, x)
		if err != nil {
			return nil, fmt.Errorf("images %d to %d: %w", from, to-1, err)
		}
		p, err := Predict(logits, to-from)
		if err != nil {
			return nil, fmt.Errorf("images %d to %d: %w", from, to-1, err)
		}
		predicted = append(predicted, p...)
		if progress != nil {
			progress(to, n)
		}
	}
	return predicted, nil
}

// Source is the stored adversarial images made on one model.
type Source struct {
	Name   string
	Images Reader
}

// Writer takes the predictions of the target for all images of one source, in the order of the source's Reader.
type Writer interface {
	WriteTransfer(source string, predicted []int64) error
}

// Transfer shows the images of every source to one target model, each image once, and hands over the predictions
// source by source, so that what was written before an interruption stays. progress counts images over all sources.
func Transfer(ctx context.Context, target LogitsFunc, sources []Source, batch int, w Writer, progress Progress) error {
	total, done := 0, 0
	for _, s := range sources {
		total += s.Images.Len()
	}
	for _, s := range sources {
		step := func(n, _ int) {
			if progress != nil {
				progress(done+n, total)
			}
		}
		predicted, err := Evaluate(ctx, target, s.Images, batch, step)
		if err != nil {
			return fmt.Errorf("transfer from %s: %w", s.Name, err)
		}
		if err := w.WriteTransfer(s.Name, predicted); err != nil {
			return fmt.Errorf("transfer from %s: write predictions: %w", s.Name, err)
		}
		done += s.Images.Len()
	}
	return nil
}

// Wrong compares predictions with labels: wrong[i] is predicted[i] != y[i].
func Wrong(predicted, y []int64) ([]bool, error) {
	if len(predicted) != len(y) {
		return nil, fmt.Errorf("%d predictions for %d labels", len(predicted), len(y))
	}
	wrong := make([]bool, len(y))
	for i := range y {
		wrong[i] = predicted[i] != y[i]
	}
	return wrong, nil
}
