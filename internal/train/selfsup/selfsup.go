package selfsup

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"sat/internal/data"
	"sat/internal/rng"
	"sat/internal/train"
	"sat/torch"
	"sat/zoo"
)

// Job is the pre-training of one network.
type Job struct {
	Module   string       // file of the exporter with sat-pretrain.json
	Settings Settings     //
	Recipe   train.Recipe // optimiser, schedule, crop, shift and mirror; not what is about labels
	Seed     uint64       // of the initial weights, the order of the images, their views and masks
	Train    data.Images  // as in train.Job; the labels are not looked at
	Dir      string       // where checkpoint and curves are kept, and found again
	Out      string       // the trained file, of the same kind as Module
	Name     string       // in Out's manifest; "" keeps that of Module
	Worker   *torch.Worker
	Device   torch.Device
	Workers  int                  // goroutines that prepare images; 0: one per core; results do not depend on it
	Progress func(train.Progress) // after every update, on the worker's thread; nil is silent
}

// Epoch is what is remembered of one epoch.
type Epoch struct {
	LR       float64 `json:"lr"`       // of the last update
	Momentum float64 `json:"momentum"` // likewise; 0 for MAE
	Loss     float64 `json:"loss"`     // mean over the updates
	// Spread is the mean of the predictions' standard deviation over the batch, 1 for predictions in all directions, 0 when all
	// images have become one (MoCo v3, BYOL).
	Spread  float64 `json:"spread"`
	Images  int     `json:"images"`
	Seconds float64 `json:"seconds"`
	Waited  float64 `json:"waited"` // of those, for images
}

// Result is a finished pre-training.
type Result struct {
	Epochs  []Epoch
	Resumed bool // whether a checkpoint was continued
}

// Run pre-trains a network from its initial weights, or continues from the checkpoint in job.Dir, and writes job.Out. When ctx
// ends it saves a checkpoint and returns the error of ctx. A loss or tensor that is not finite is a train.NonFiniteError.
func Run(ctx context.Context, job Job) (Result, error) {
	if err := checkRecipe(job.Recipe); err != nil {
		return Result{}, err
	}
	var result Result
	err := job.Worker.Do(ctx, func(s *torch.Scope) error {
		t, err := open(ctx, s, job)
		if err != nil {
			return err
		}
		defer t.close()
		for t.state.Epoch < t.Recipe.Epochs {
			if err := t.epoch(ctx, s); err != nil {
				return err
			}
		}
		result = Result{Epochs: t.state.History, Resumed: t.resumed}
		return t.export(ctx, s)
	})
	if err != nil {
		return Result{}, fmt.Errorf("pre-train %s with seed %d: %w", job.Module, job.Seed, err)
	}
	return result, nil
}

// session is a pre-training in progress.
type session struct {
	Job
	key       string
	manifest  *zoo.Pretraining
	module    *torch.Module
	target    *torch.Module // the slowly moving copy; nil for MAE
	optimizer *torch.Optimizer
	precision torch.DType
	stream    data.Stream
	masks     func(epoch, position, n int) []int64 // of MAE
	draws     train.Generator
	state     state
	resumed   bool
	saved     bool // whether there is a checkpoint
	report    train.Progress
}

// state is what a checkpoint holds besides the tensors.
type state struct {
	Key       string  `json:"key"`
	Epoch     int     `json:"epoch"`  // whole epochs done
	Update    int     `json:"update"` // updates done in the epoch after them
	LossSum   float64 `json:"loss_sum"`
	SpreadSum float64 `json:"spread_sum"`
	Seconds   float64 `json:"seconds"`
	Waited    float64 `json:"waited"`
	History   []Epoch `json:"history"`
}

func open(ctx context.Context, s *torch.Scope, job Job) (*session, error) {
	manifest, err := zoo.ReadPretraining(job.Module)
	if err != nil {
		return nil, err
	}
	if err := job.Settings.validate(manifest.Method); err != nil {
		return nil, err
	}
	if err := checkImages(job, manifest); err != nil {
		return nil, err
	}
	t := &session{Job: job, manifest: manifest, report: train.Progress{Epochs: job.Recipe.Epochs, Top1: math.NaN()}}
	if t.key, err = job.identity(); err != nil {
		return nil, err
	}
	if t.precision, err = torch.ParseDType(job.Recipe.Precision); err != nil {
		return nil, err
	}
	stream, err := job.Recipe.Stream(job.Train, manifest.InputSize[1], manifest.InputSize[2], manifest.Mean)
	if err != nil {
		return nil, err
	}
	t.masks = func(epoch, position, n int) []int64 { return masks(job.Seed, epoch, position, n, manifest.Patches) }
	t.stream = stream
	t.stream.Seed, t.stream.Workers, t.stream.Views = job.Seed, job.Workers, []data.Augment{stream.Augment}
	if t.contrasts() {
		first, second := stream.Augment, stream.Augment
		first.Colour, second.Colour = &t.Settings.Views[0], &t.Settings.Views[1]
		t.stream.Views = []data.Augment{first, second}
	}
	if err := t.load(ctx, s); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

// contrasts reports whether the method compares two views of an image, the other one seen by the target network.
func (t *session) contrasts() bool { return t.manifest.Method != zoo.MAE }

func checkImages(job Job, manifest *zoo.Pretraining) error {
	if job.Train == nil || job.Train.Len() < job.Recipe.Batch {
		n := 0
		if job.Train != nil {
			n = job.Train.Len()
		}
		return fmt.Errorf("%d training images do not fill one batch of %d", n, job.Recipe.Batch)
	}
	if manifest.Method != zoo.MAE && job.Recipe.Batch < 2 {
		return errors.New("a batch of 1 has no other images to normalise by or to tell from; use a larger one")
	}
	if manifest.InputSize[0] != 3 {
		return fmt.Errorf("the network takes images of %d channels, training images have 3", manifest.InputSize[0])
	}
	set, ok := job.Train.(*data.Set)
	if !ok {
		return nil
	}
	if len(set.Images) != set.N*set.H*set.W*set.C || set.C != 3 {
		return errors.New("training images are not uint8 of 3 channels")
	}
	if job.Recipe.CropScale == [2]float64{} && (set.H != manifest.InputSize[1] || set.W != manifest.InputSize[2]) {
		return fmt.Errorf("training images are %dx%d, the network takes %dx%d", set.H, set.W, manifest.InputSize[1], manifest.InputSize[2])
	}
	return nil
}

func (t *session) close() {
	if t.optimizer != nil {
		t.optimizer.Close()
	}
	for _, m := range []*torch.Module{t.module, t.target} {
		if m != nil {
			m.Close()
		}
	}
}

// epoch finishes the current epoch and saves a checkpoint.
func (t *session) epoch(ctx context.Context, s *torch.Scope) error {
	r, epoch := t.Recipe, t.state.Epoch
	stream := t.stream
	stream.Epoch, stream.Skip = epoch, t.state.Update
	updates := stream.Len()
	all := updates * r.Epochs
	batches := stream.Open(ctx)
	defer batches.Close()
	t.report.Epoch, t.report.Update, t.report.Updates = epoch+1, t.state.Update, updates
	for update := t.state.Update; update < updates; update++ {
		if err := ctx.Err(); err != nil {
			return errors.Join(fmt.Errorf("epoch %d, update %d: %w", epoch+1, update, err), t.save(s))
		}
		began := time.Now()
		step := epoch*updates + update
		lr := r.LearningRate(epoch, update, updates)
		batch, _, err := batches.Next()
		waited := time.Since(began)
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("update %d (epoch %d): %w", step+1, epoch+1, err)
		} else if err != nil {
			return errors.Join(fmt.Errorf("epoch %d, update %d: %w", epoch+1, update, err), t.save(s))
		}
		var loss, spread float64
		err = s.Step(func(s *torch.Scope) (err error) {
			loss, spread, err = t.update(s, batch, lr, t.Settings.momentum(step, all), update)
			return err
		})
		switch {
		case err != nil:
			return fmt.Errorf("update %d (epoch %d), learning rate %g: %w", step+1, epoch+1, lr, err)
		case math.IsNaN(loss) || math.IsInf(loss, 0):
			return t.nonFinite(fmt.Sprintf("loss is %v", loss), step, lr)
		}
		t.state.Update, t.state.LossSum, t.state.SpreadSum = update+1, t.state.LossSum+loss, t.state.SpreadSum+spread
		t.state.Seconds += time.Since(began).Seconds()
		t.state.Waited += waited.Seconds()
		t.report.Update, t.report.LR, t.report.Loss = update+1, lr, loss
		t.report.ImagesPerSecond = float64((update+1)*r.Batch) / t.state.Seconds
		if t.Progress != nil {
			t.Progress(t.report)
		}
	}
	last := r.LearningRate(epoch, updates-1, updates)
	// A loss is that of the parameters before its update, so the last update of the epoch is looked at here.
	for _, m := range []*torch.Module{t.module, t.target} {
		if m == nil {
			continue
		}
		if name, err := train.NonFiniteTensor(s, m); err != nil {
			return err
		} else if name != "" {
			return t.nonFinite(name+" is not finite", (epoch+1)*updates-1, last)
		}
	}
	done := Epoch{
		LR: last, Loss: t.state.LossSum / float64(updates), Spread: t.state.SpreadSum / float64(updates),
		Images: updates * r.Batch, Seconds: t.state.Seconds, Waited: t.state.Waited,
	}
	if t.contrasts() {
		done.Momentum = t.Settings.momentum((epoch+1)*updates-1, all)
	}
	t.state = state{Key: t.key, Epoch: epoch + 1, History: append(t.state.History, done)}
	if err := t.save(s); err != nil {
		return err
	}
	return t.writeCurves()
}

func (t *session) nonFinite(what string, step int, lr float64) error {
	e := &train.NonFiniteError{What: what, Epoch: t.state.Epoch + 1, Update: step + 1, LR: lr}
	if t.saved {
		e.Checkpoint, e.SavedEpoch = t.checkpoint().Path(), t.state.Epoch
	}
	return e
}

// update is one step of the optimiser. It returns the mean loss of the batch before the step and the spread of the predictions;
// nothing but the target network has moved when the loss is not finite.
func (t *session) update(s *torch.Scope, batch data.Batch, lr, momentum float64, update int) (loss, spread float64, err error) {
	// MoCo v3 moves the target before it looks at it, BYOL after the step that it follows.
	if t.manifest.Method == zoo.MoCoV3 {
		if err := t.target.Average(t.module, momentum); err != nil {
			return 0, 0, err
		}
	}
	inputs, err := t.inputs(s, batch, update)
	if err != nil {
		return 0, 0, err
	}
	var values []float64
	err = t.draws.Do(rng.New(t.Seed, "network", uint64(t.state.Epoch), uint64(update)).Uint64(), func() (err error) {
		values, err = t.module.Objective(s, 1, t.precision, inputs...)
		return err
	})
	if err != nil {
		return 0, 0, err
	}
	loss = values[0]
	if len(values) > 1 {
		spread = values[1]
	}
	if math.IsNaN(loss) || math.IsInf(loss, 0) {
		return loss, spread, nil
	}
	if t.Recipe.ClipGrad > 0 {
		if _, err := t.module.ClipGradNorm(t.Recipe.ClipGrad); err != nil {
			return 0, 0, err
		}
	}
	if err := t.optimizer.Step(lr); err != nil {
		return 0, 0, err
	}
	if t.manifest.Method == zoo.BYOL {
		if err := t.target.Average(t.module, momentum); err != nil {
			return 0, 0, err
		}
	}
	return loss, spread, t.optimizer.ZeroGrad()
}

// inputs makes what the network's forward pass takes: for MAE the images and an order of their patches, else two views of the
// images and the target's keys of both.
func (t *session) inputs(s *torch.Scope, batch data.Batch, update int) ([]torch.Tensor, error) {
	n := t.Recipe.Batch
	length := len(batch.Images) / len(t.stream.Views)
	var inputs []torch.Tensor
	for v := range t.stream.Views {
		x := train.ImageTensor(s, batch.Images[v*length:(v+1)*length], n, t.manifest.InputSize, t.Device)
		inputs = append(inputs, t.manifest.Normalise(s, x, t.Device))
	}
	if !t.contrasts() {
		order := t.masks(t.state.Epoch, update*n, n)
		inputs = append(inputs, s.ToDevice(s.FromInt64(order, n, t.manifest.Patches), t.Device))
		return inputs, s.Err()
	}
	for _, x := range inputs[:2] {
		keys := t.target.Call(s, "keys", t.precision, x)
		if len(keys) != 1 {
			return nil, errors.Join(s.Err(), fmt.Errorf("the network returns %d tensors as keys", len(keys)))
		}
		inputs = append(inputs, keys[0])
	}
	return inputs, s.Err()
}

// masks returns, for n images from a position of the epoch on, random orders of their patches [n, patches]: MAE sees the first
// of each and draws the others.
func masks(seed uint64, epoch, position, n, patches int) []int64 {
	order := make([]int64, 0, n*patches)
	for i := range n {
		for _, patch := range rng.New(seed, "mask", uint64(epoch), uint64(position+i)).Perm(patches) {
			order = append(order, int64(patch))
		}
	}
	return order
}
