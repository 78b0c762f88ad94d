package run

import (
	"context"
	"errors"
	"strconv"

	"sat/internal/data"
	"sat/internal/data/codec"
	"sat/internal/train"
	"sat/torch"
)

// trainingLoad makes training batches of photographs as a run does, with one goroutine: from the file to the bytes of random
// crops, and, for the DeiT recipe, on to the tensor that the network sees, with random erasing.
type trainingLoad struct {
	photos inMemory
	worker *torch.Worker
	epoch  int
}

// inMemory are JPEG files of one class.
type inMemory [][]byte

func (m inMemory) Len() int                 { return len(m) }
func (m inMemory) Label(int) int64          { return 0 }
func (m inMemory) ID(i int) string          { return strconv.Itoa(i) }
func (m inMemory) Key() string              { return "" }
func (m inMemory) Reader() data.ImageReader { return &memoryReader{files: m} }

type memoryReader struct {
	files   inMemory
	decoder codec.Decoder
}

func (r *memoryReader) Image(i int) (codec.Image, error) { return r.decoder.Decode(r.files[i]) }
func (r *memoryReader) Part(i int, choose codec.Choose) (codec.Image, error) {
	return r.decoder.DecodePart(r.files[i], choose)
}
func (r *memoryReader) Close() { r.decoder.Close() }

func newTrainingLoad(photos [][]byte) (*trainingLoad, error) {
	if err := StartTorch(torch.CPU, 1); err != nil {
		return nil, err
	}
	w, err := torch.NewWorker()
	return &trainingLoad{photos: photos, worker: w}, err
}

func (l *trainingLoad) close() { l.worker.Close() }

func (l *trainingLoad) tasks() []loadTask {
	plain := train.Defaults()
	plain.Epochs, plain.Batch, plain.Optimizer, plain.LR = 1, len(l.photos), train.SGD, 0.1
	plain.CropScale, plain.HFlip, plain.Filter = [2]float64{0.08, 1}, 0.5, codec.Bilinear.String()
	deit := plain
	deit.Filter, deit.Policy, deit.EraseProb = codec.Bicubic.String(), "rand-m9-mstd0.5-inc1", 0.25
	task := func(name string, r train.Recipe) loadTask {
		return loadTask{name: name, interpolation: r.Filter, all: func(ctx context.Context) error { return l.load(ctx, r) }}
	}
	return []loadTask{task("train", plain), task("deit", deit)}
}

// load makes one batch of all photographs.
func (l *trainingLoad) load(ctx context.Context, r train.Recipe) error {
	const size = 224
	mean, std := []float32{0.485, 0.456, 0.406}, []float32{0.229, 0.224, 0.225}
	l.epoch++
	stream, err := r.Stream(l.photos, size, size, mean)
	if err != nil {
		return err
	}
	stream.Epoch, stream.Workers = l.epoch, 1
	batches := stream.Open(ctx)
	defer batches.Close()
	batch, ok, err := batches.Next()
	if err != nil || !ok {
		return errors.Join(err, ctx.Err())
	}
	if r.EraseProb == 0 {
		return nil
	}
	return l.worker.Do(ctx, func(s *torch.Scope) error {
		x, err := r.Pixels(s, batch, size, size, mean, std, stream.Epoch)
		if err != nil {
			return err
		}
		per := func(values []float32) torch.Tensor { return s.FromFloat32(values, 1, codec.Channels, 1, 1) }
		s.Div(s.Sub(x, per(mean)), per(std))
		return s.Err()
	})
}
