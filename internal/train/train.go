package train

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"sat/internal/data"
	"sat/torch"
	"sat/zoo"
)

// Job is one training run.
type Job struct {
	Module   string      // TorchScript file with sat.json: the network and the rules that initialise it
	Recipe   Recipe      //
	Seed     uint64      // of the initial weights, the order of the images, their augmentation, and dropout
	Train    data.Images // of the network's input size, or of any size where the recipe crops
	Val      *data.Set   // uint8 images of the network's input size
	Dir      string      // where checkpoint and curves are kept, and found again
	Out      string      // the trained TorchScript file
	Name     string      // of the trained model in Out's sat.json; "" keeps that of Module
	Worker   *torch.Worker
	Device   torch.Device
	Teacher  *Teacher       // the network to distil from; nil without
	Encoder  string         // pre-training module whose encoder takes the place of the initial weights, but for the head; "": none
	Workers  int            // goroutines that prepare images; 0: one per core; results do not depend on it
	Records  Records        // what is left in Dir beside that
	Progress func(Progress) // after every update and evaluation, on the worker's thread; nil is silent
}

// Progress says how far a run is.
type Progress struct {
	Epoch, Epochs   int // epochs begun, of how many
	Update, Updates int // updates done in this epoch, of how many
	LR, Loss        float64
	Top1            float64 // of the last evaluation, NaN before the first
	ImagesPerSecond float64 // of the training updates of this epoch
	LoaderWait      float64 // share of their time that was spent waiting for images
}

func (p Progress) String() string {
	text := fmt.Sprintf("epoch %d of %d, %.4g images/s, %.0f %% waiting, loss %.3f", p.Epoch, p.Epochs, p.ImagesPerSecond, 100*p.LoaderWait, p.Loss)
	if !math.IsNaN(p.Top1) {
		text += fmt.Sprintf(", top-1 %.1f %%", 100*p.Top1)
	}
	return text
}

// Epoch is what a run remembers of one epoch.
type Epoch struct {
	LR        float64 `json:"lr"`         // of the last update
	TrainLoss float64 `json:"train_loss"` // mean over the updates, of the loss that was minimised
	// DistillLoss is the teacher's part of it, before it is weighted.
	DistillLoss float64 `json:"distill_loss,omitempty"`
	Evaluated   bool    `json:"evaluated"`
	ValLoss     float64 `json:"val_loss"` // mean cross-entropy
	ValTop1     float64 `json:"val_top1"` // share of images whose class has the largest logit, 0 to 1
	ValTop5     float64 `json:"val_top5"` // one of the five largest
	Images      int     `json:"images"`
	Seconds     float64 `json:"seconds"`            // of the updates, without evaluation
	Waited      float64 `json:"waited"`             // of those, for images
	EMALoss     float64 `json:"ema_loss,omitempty"` // of the averaged weights
	EMATop1     float64 `json:"ema_top1,omitempty"`
	EMATop5     float64 `json:"ema_top5,omitempty"`
}

// Result is a finished run. Its scores are those of the weights in Job.Out on the validation images.
type Result struct {
	Epochs     []Epoch
	Top1, Top5 float64 // 0 to 1
	ValLoss    float64
	Resumed    bool // whether a checkpoint was continued
}

// NonFiniteError reports a loss or parameter that is not finite. Training stops there; the last checkpoint is good.
type NonFiniteError struct {
	What       string // "loss is NaN"
	Epoch      int    // from 1
	Update     int    // of the run, from 1; the one that failed or was the last before the parameter was seen
	LR         float64
	Checkpoint string // "" before the first one
	SavedEpoch int    // whole epochs in the checkpoint
}

func (e *NonFiniteError) Error() string {
	return fmt.Sprintf("%s at update %d (epoch %d), learning rate %g; %s", e.What, e.Update, e.Epoch, e.LR,
		lastGood(e.Checkpoint, e.SavedEpoch))
}

func lastGood(checkpoint string, epoch int) string {
	if checkpoint == "" {
		return "there is no checkpoint yet"
	}
	return fmt.Sprintf("the last good checkpoint is %s (after epoch %d)", checkpoint, epoch)
}

// Run trains a network from its initial weights, or continues from the checkpoint in job.Dir, and writes job.Out. When
// ctx ends it saves a checkpoint and returns the error of ctx.
func Run(ctx context.Context, job Job) (Result, error) {
	if err := job.Recipe.Validate(); err != nil {
		return Result{}, err
	}
	var result Result
	err := job.Worker.Do(ctx, func(s *torch.Scope) error {
		t, err := open(ctx, s, job)
		if err != nil {
			return err
		}
		defer t.close()
		result, err = t.run(ctx, s)
		return err
	})
	if err != nil {
		return Result{}, fmt.Errorf("train %s with seed %d: %w", job.Module, job.Seed, err)
	}
	return result, nil
}

// session is a run in progress.
type session struct {
	Job
	key       string
	manifest  *zoo.Manifest
	module    *torch.Module
	optimizer *torch.Optimizer
	average   *torch.Module // of the weights; nil without
	teacher   *torch.Module // nil without
	precision torch.DType
	augment   data.Augment
	state     state
	resumed   bool
	saved     bool // whether there is a checkpoint

	draws  Generator
	report Progress
}

// state is what a checkpoint holds besides the tensors: everything that was decided so far.
type state struct {
	Key     string  `json:"key"`
	Epoch   int     `json:"epoch"`    // whole epochs done
	Update  int     `json:"update"`   // updates done in the epoch after them
	LossSum float64 `json:"loss_sum"` // of those updates
	Distill float64 `json:"distill"`  // sum of the teacher's part
	Seconds float64 `json:"seconds"`  // of those updates
	Waited  float64 `json:"waited"`   // of Seconds, for images
	History []Epoch `json:"history"`
	Window  window  `json:"window"` // of the log

	Scale float64 `json:"scale,omitempty"` // of the loss in float16
	Good  int     `json:"good,omitempty"`  // updates since it changed
}

// open loads the network and either initialises it or restores the checkpoint.
func open(ctx context.Context, s *torch.Scope, job Job) (*session, error) {
	manifest, err := zoo.ReadManifest(job.Module)
	if err != nil {
		return nil, err
	}
	if err := checkSets(job, manifest); err != nil {
		return nil, err
	}
	key, err := job.key()
	if err != nil {
		return nil, err
	}
	t := &session{Job: job, key: key, manifest: manifest, report: Progress{Epochs: job.Recipe.Epochs, Top1: math.NaN()}}
	if t.augment, err = job.Recipe.augmentation(manifest.Mean); err != nil {
		return nil, err
	}
	if t.precision, err = torch.ParseDType(job.Recipe.Precision); err != nil {
		return nil, err
	}
	if err := errors.Join(t.load(ctx, s), t.openTeacher(ctx)); err != nil {
		t.close()
		return nil, err
	}
	if err := t.resumeRecords(job.Train.Len() / job.Recipe.Batch); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

func checkSets(job Job, manifest *zoo.Manifest) error {
	height, width := manifest.InputSize[1], manifest.InputSize[2]
	if job.Train == nil || job.Train.Len() == 0 {
		return errors.New("no training images")
	}
	if set, ok := job.Train.(*data.Set); ok {
		if err := checkSet("training", set); err != nil {
			return err
		}
		if !job.Recipe.crops() && (set.H != height || set.W != width) {
			return fmt.Errorf("training images are %dx%d, the network takes %dx%d", set.H, set.W, height, width)
		}
	}
	if job.Val == nil || job.Val.N == 0 {
		return errors.New("no validation images")
	}
	if err := checkSet("validation", job.Val); err != nil {
		return err
	}
	if job.Val.H != height || job.Val.W != width {
		return fmt.Errorf("validation images are %dx%d, the network takes %dx%d", job.Val.H, job.Val.W, height, width)
	}
	for name, images := range map[string]data.Images{"training": job.Train, "validation": job.Val} {
		for i := range images.Len() {
			if label := images.Label(i); label < 0 || label >= int64(manifest.Classes) {
				return fmt.Errorf("%s image %s: label is %d, but the network has classes 0 to %d", name, images.ID(i), label, manifest.Classes-1)
			}
		}
	}
	if job.Train.Len() < job.Recipe.Batch {
		return fmt.Errorf("%d training images do not fill one batch of %d", job.Train.Len(), job.Recipe.Batch)
	}
	return nil
}

// checkSet reports a set that cannot be trained on or evaluated: floats, or images without labels.
func checkSet(name string, set *data.Set) error {
	switch {
	case len(set.Images) != set.N*set.H*set.W*set.C:
		return fmt.Errorf("%s images are not uint8", name)
	case len(set.Labels) != set.N:
		return fmt.Errorf("%d labels for %d %s images", len(set.Labels), set.N, name)
	case set.C != 3:
		return fmt.Errorf("%s images have %d channels, not 3", name, set.C)
	}
	return nil
}

func (t *session) close() {
	for _, m := range []*torch.Module{t.average, t.teacher} {
		if m != nil {
			m.Close()
		}
	}
	if t.optimizer != nil {
		t.optimizer.Close()
	}
	if t.module != nil {
		t.module.Close()
	}
}

// run does the epochs that are left, evaluates, and saves the network.
func (t *session) run(ctx context.Context, s *torch.Scope) (Result, error) {
	for t.state.Epoch < t.Recipe.Epochs {
		if err := t.epoch(ctx, s); err != nil {
			return Result{}, err
		}
	}
	last := t.state.History[len(t.state.History)-1]
	v, err := t.export(ctx, s, last)
	if err != nil {
		return Result{}, err
	}
	return Result{Epochs: t.state.History, Top1: v.top1, Top5: v.top5, ValLoss: v.loss, Resumed: t.resumed}, nil
}

// epoch finishes the current epoch, evaluates if it is time to, and saves a checkpoint.
func (t *session) epoch(ctx context.Context, s *torch.Scope) error {
	r, epoch := t.Recipe, t.state.Epoch
	stream := data.Stream{
		Images: t.Train, Height: t.manifest.InputSize[1], Width: t.manifest.InputSize[2], Batch: r.Batch, Seed: t.Seed, Epoch: epoch,
		Repeats: r.RepeatedAug, Augment: t.augment, Workers: t.Workers, Skip: t.state.Update,
	}
	updates := stream.Len()
	batches := stream.Open(ctx)
	defer batches.Close()
	if err := t.module.SetTraining(true); err != nil {
		return err
	}
	t.report.Epoch, t.report.Update, t.report.Updates = epoch+1, t.state.Update, updates
	for update := t.state.Update; update < updates; update++ {
		if err := ctx.Err(); err != nil {
			return errors.Join(fmt.Errorf("epoch %d, update %d: %w", epoch+1, update, err), t.save(s))
		}
		began := time.Now()
		lr := r.LearningRate(epoch, update, updates)
		batch, _, err := batches.Next()
		waited := time.Since(began)
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("update %d (epoch %d): %w; %s", epoch*updates+update+1, epoch+1, err, lastGood(t.savedCheckpoint(), epoch))
		} else if err != nil {
			return errors.Join(fmt.Errorf("epoch %d, update %d: %w", epoch+1, update, err), t.save(s))
		}
		var loss torch.Losses
		err = s.Step(func(s *torch.Scope) (err error) {
			loss, err = t.update(s, batch, lr, epoch, update)
			return err
		})
		if err != nil {
			// Also a gradient norm that is not finite, which the binding refuses to clip by.
			return fmt.Errorf("update %d (epoch %d), learning rate %g: %w; %s", epoch*updates+update+1, epoch+1, lr, err,
				lastGood(t.savedCheckpoint(), epoch))
		}
		if !finite(loss.Total) {
			return t.nonFinite(fmt.Sprintf("loss is %v", loss.Total), update, updates)
		}
		w := window{Loss: loss.Total, Distillation: loss.Distillation, Seconds: time.Since(began).Seconds(), Waited: waited.Seconds()}
		t.state.Update, t.state.LossSum, t.state.Distill = update+1, t.state.LossSum+w.Loss, t.state.Distill+w.Distillation
		t.state.Seconds += w.Seconds
		t.state.Waited += w.Waited
		if err := t.logUpdate(w, lr, epoch*updates+update+1, r.Epochs*updates); err != nil {
			return err
		}
		t.report.Update, t.report.LR, t.report.Loss = update+1, lr, loss.Total
		t.report.ImagesPerSecond = float64((update+1)*r.Batch) / t.state.Seconds
		t.report.LoaderWait = t.state.Waited / t.state.Seconds
		t.tell()
	}

	// A loss is that of the parameters before its update, so the last update of the epoch is looked at here.
	if name, err := NonFiniteTensor(s, t.module); err != nil {
		return err
	} else if name != "" {
		return t.nonFinite(name+" is not finite", updates-1, updates)
	}
	done := Epoch{
		LR: r.LearningRate(epoch, updates-1, updates), TrainLoss: t.state.LossSum / float64(updates), DistillLoss: t.state.Distill / float64(updates),
		Images: updates * r.Batch, Seconds: t.state.Seconds, Waited: t.state.Waited,
	}
	if (epoch+1)%r.EvalEvery == 0 || epoch+1 == r.Epochs {
		v, err := t.evaluate(ctx, s, t.module)
		switch {
		case err != nil && ctx.Err() != nil:
			return errors.Join(fmt.Errorf("evaluation after epoch %d: %w", epoch+1, err), t.save(s))
		case err != nil:
			return fmt.Errorf("evaluation after epoch %d: %w", epoch+1, err)
		case !finite(v.loss):
			return t.nonFinite(fmt.Sprintf("validation loss is %v", v.loss), updates-1, updates)
		}
		done.Evaluated, done.ValLoss, done.ValTop1, done.ValTop5 = true, v.loss, v.top1, v.top5
		if t.average != nil {
			if v, err = t.evaluate(ctx, s, t.average); err != nil {
				return fmt.Errorf("evaluation of the averaged weights after epoch %d: %w", epoch+1, err)
			}
			done.EMALoss, done.EMATop1, done.EMATop5 = v.loss, v.top1, v.top5
		}
		t.report.Top1 = v.top1
		t.tell()
	}
	// Before the checkpoint: what is written twice after a kill between the two is cut off, what is missing would not be noticed.
	if err := t.logEpoch(done, epoch+1, (epoch+1)*updates); err != nil {
		return err
	}
	t.state.Epoch, t.state.Update, t.state.LossSum, t.state.Distill, t.state.Seconds, t.state.Waited = epoch+1, 0, 0, 0, 0, 0
	t.state.History = append(t.state.History, done)
	if err := t.save(s); err != nil {
		return err
	}
	return errors.Join(t.keepEpochs(), t.writeCurves())
}

func (t *session) tell() {
	if t.Progress != nil {
		t.Progress(t.report)
	}
}

// score is how well the network does on the validation images.
type score struct{ loss, top1, top5 float64 }

// evaluate returns mean cross-entropy and the shares of images whose label has the largest logit and one of the five largest,
// in evaluation mode. A NaN among the logits makes the loss NaN.
func (t *session) evaluate(ctx context.Context, s *torch.Scope, module *torch.Module) (score, error) {
	if err := module.SetTraining(false); err != nil {
		return score{}, err
	}
	v := t.Val
	size := v.H * v.W * v.C
	var loss float64
	var first, amongFive int
	for from := 0; from < v.N; from += t.Recipe.EvalBatch {
		if err := ctx.Err(); err != nil {
			return score{}, err
		}
		n := min(t.Recipe.EvalBatch, v.N-from)
		err := s.Step(func(s *torch.Scope) error {
			x := t.input(s, v.Images[from*size:(from+n)*size], n)
			logits, err := module.Forward(s, x, t.manifest.Mean, t.manifest.Std).Float32s()
			if err != nil {
				return err
			}
			k := len(logits) / n
			for i, y := range v.Labels[from : from+n] {
				z := logits[i*k : (i+1)*k]
				loss += crossEntropy(z, y)
				switch r := rank(z, int(y)); {
				case r == 0:
					first++
					fallthrough
				case r < 5:
					amongFive++
				}
			}
			return nil
		})
		if err != nil {
			return score{}, fmt.Errorf("images from %d: %w", from, err)
		}
	}
	return score{loss / float64(v.N), float64(first) / float64(v.N), float64(amongFive) / float64(v.N)}, nil
}

// rank returns how many classes come before class y when logits are sorted, the largest first; ties go to the lowest class.
func rank(z []float32, y int) (before int) {
	for k, v := range z {
		if v > z[y] || v == z[y] && k < y {
			before++
		}
	}
	return before
}

// NonFiniteTensor returns the name of a parameter or buffer of m that is not finite, "" when all are.
func NonFiniteTensor(s *torch.Scope, m *torch.Module) (name string, err error) {
	for _, info := range m.Tensors() {
		if !info.DType.Floating() {
			continue
		}
		bad := false
		err := s.Step(func(s *torch.Scope) (err error) {
			v := m.Get(s, info.Name)
			if err := s.Err(); err != nil {
				return err
			}
			bad, err = v.HasNonFinite()
			return err
		})
		if err != nil {
			return "", err
		}
		if bad {
			return info.Name, nil
		}
	}
	return "", nil
}

// nonFinite blames an update of the current epoch, counted from 0.
func (t *session) nonFinite(what string, update, updates int) error {
	e := &NonFiniteError{
		What: what, Epoch: t.state.Epoch + 1, Update: t.state.Epoch*updates + update + 1,
		LR: t.Recipe.LearningRate(t.state.Epoch, update, updates), Checkpoint: t.savedCheckpoint(),
	}
	if t.saved {
		e.SavedEpoch = t.state.Epoch
	}
	return e
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// crossEntropy is logsumexp(z) - z[y] in float64.
func crossEntropy(z []float32, y int64) float64 {
	top := z[0]
	for _, v := range z {
		top = max(top, v)
	}
	sum := 0.0
	for _, v := range z {
		sum += math.Exp(float64(v) - float64(top))
	}
	return math.Log(sum) + float64(top) - float64(z[y])
}
