package run

import (
	"context"

	"sat/attacks"
	"sat/internal/store"
	"sat/torch"
)

// images are the clean evaluation images as one model takes them: in pixel space, of the model's input size.
type images interface {
	// Batch returns the images with the given numbers; work on tensors is done by w.
	Batch(ctx context.Context, w *torch.Worker, numbers []int) (attacks.Batch, error)
	// Digest identifies the pixels: the list of images and how they were transformed.
	Digest() string
}

// cleanReader reads the first n images in order.
type cleanReader struct {
	images images
	worker *torch.Worker
	n      int
}

func (c *cleanReader) Len() int { return c.n }

func (c *cleanReader) Read(ctx context.Context, from, to int) (attacks.Batch, error) {
	numbers := make([]int, to-from)
	for k := range numbers {
		numbers[k] = from + k
	}
	return c.images.Batch(ctx, c.worker, numbers)
}

// adversarialReader decodes the stored images of one shard; numbers are their places among the evaluation images.
type adversarialReader struct {
	stored  *store.AdversarialReader
	images  images
	worker  *torch.Worker
	numbers []int
}

func (a *adversarialReader) Len() int { return len(a.numbers) }

func (a *adversarialReader) Read(ctx context.Context, from, to int) (attacks.Batch, error) {
	clean, err := a.images.Batch(ctx, a.worker, a.numbers[from:to])
	if err != nil {
		return attacks.Batch{}, err
	}
	x := attacks.NewBatch(clean.N, clean.C, clean.H, clean.W)
	return x, a.stored.Images(from, to, clean.Pixels, x.Pixels)
}
