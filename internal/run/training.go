package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"sat/internal/data"
	"sat/internal/experiment"
	"sat/internal/rng"
	"sat/internal/store"
	"sat/internal/train"
	"sat/torch"
)

// passTraining is the cost of one training image: forward, and backward to input and weights.
const passTraining = 4.0

// trainingPasses is the cost of one image in one epoch.
func trainingPasses(r train.Recipe) float64 {
	if r.Adversarial == nil {
		return passTraining
	}
	return passTraining + passGradient*float64(r.Adversarial.Steps)
}

// trainKey is what determines a trained model besides the network and the images.
type trainKey struct {
	Format int          `json:"format"` // of the program's training
	Recipe train.Recipe `json:"recipe"`
	Seed   uint64       `json:"seed"`
	Device string       `json:"device"`
	Thread int          `json:"threads"`

	Distill *experiment.Distill `json:"distill,omitempty"`
	// Lowered is the version of what torch.Module.Lower made of the teacher; 0 where it computes as it is.
	Lowered int `json:"teacher_lowered,omitempty"`
}

// trainingSeed is the seed of a member's weights, image order and augmentation. It depends on the group too: networks of
// two families share parameter names, and with one seed they would start from the same numbers and see the images in the
// same order, which makes them more alike than their architectures do. The students of a set start alike, whatever their
// teacher.
func (m *Member) trainingSeed() uint64 {
	group := m.Group
	if m.Teacher != "" {
		group = m.set.Name
	}
	return rng.New(m.Seed, "member", rng.ID(group)).Uint64()
}

// train trains the members that have a recipe, students after their teachers. From here on every member has a module and a
// key.
func (r *runner) train(ctx context.Context) error {
	sets := trainingSets{runner: r, loaded: map[setOf]*data.Set{}}
	for _, members := range r.inOrder() {
		if err := r.trainAll(ctx, members, &sets); err != nil {
			return err
		}
	}
	if err := r.writePretraining(ctx); err != nil {
		return err
	}
	return r.retireStudents()
}

func (r *runner) trainAll(ctx context.Context, members []*member, sets *trainingSets) error {
	var tasks []task
	var failures []Failure
	skipped, precision := 0.0, torch.Float32
	for _, m := range members {
		if m.Recipe == nil {
			if m.exported != "" {
				m.module = m.exported
			}
			continue
		}
		training, validation, err := sets.of(ctx, m)
		if err != nil {
			return err
		}
		recipe := recipeOf(m.Recipe)
		inputs := map[string]string{"module": string(m.key), "train": training.Key(), "val": validation.Key()}
		from, err := r.teacher(m)
		if err != nil {
			failures = append(failures, Failure{string(StageTrain), m.Name, err.Error()})
			continue
		}
		var teacher *train.Teacher
		lowered := 0
		if from != nil {
			if teacher, err = teacherOf(m.Recipe.Distill, from, r.Device); err != nil {
				return err
			}
			inputs["teacher"], lowered = string(from.key), teacher.Lowered
		}
		start, err := r.encoderOf(m)
		if err != nil {
			failures = append(failures, Failure{string(StageTrain), m.Name, err.Error()})
			continue
		}
		encoderFile := ""
		if start != nil {
			encoderFile = start.file
			inputs["encoder"] = string(start.key)
		}
		key, err := store.NewKey("train", trainKey{train.Format, recipe, m.trainingSeed(), r.device(), r.Threads, m.Recipe.Distill, lowered}, inputs)
		if err != nil {
			return err
		}
		unit := store.Unit{Stage: string(StageTrain), Name: m.Name, Key: key}
		network := m.exported
		m.module, m.key = unit.File(r.units(), "pt"), key
		passes := trainingPasses(recipe) * float64(recipe.Epochs*training.Len())
		done, err := r.finished(unit)
		if err != nil {
			return err
		}
		if done {
			skipped += passes
			r.skipped++
			if err := r.publish(m, unit); err != nil {
				return err
			}
			continue
		}
		if recipe.Precision == torch.BFloat16.String() {
			precision = torch.BFloat16
		}
		tasks = append(tasks, task{model: m.Name, name: m.Name, passes: passes,
			do: func(ctx context.Context, w *torch.Worker, _ func(float64)) error {
				return r.trainModel(ctx, m, unit, train.Job{
					Module: network, Recipe: recipe, Seed: m.trainingSeed(), Train: training, Val: validation, Worker: w, Device: r.Device,
					Teacher: teacher, Encoder: encoderFile, Records: recordsOf(m.Recipe),
				})
			}})
	}
	if err := r.leaveOut(StageTrain, failures); err != nil {
		return err
	}
	if len(tasks) > 0 {
		slowBFloat16(r.Device, "amp", precision, r.Progress.Warn)
	}
	return r.execute(ctx, StageTrain, tasks, skipped, fmt.Sprintf("%d models", len(tasks)))
}

func (r *runner) trainModel(ctx context.Context, m *member, unit store.Unit, job train.Job) error {
	if err := r.showRecords(m, unit); err != nil {
		return err
	}
	job.Progress = newUpdates(trainingPasses(job.Recipe)*float64(job.Recipe.Batch), func(passes float64, p train.Progress) {
		r.Progress.Advance(passes, fmt.Sprintf("%s: %s", m.Name, p))
	})
	var result train.Result
	err := r.learn(unit, func(dir, out string) (err error) {
		job.Name, job.Dir, job.Out = m.Name, dir, out
		result, err = train.Run(ctx, job)
		return err
	})
	if err != nil {
		return err
	}
	r.Progress.Say("  %-12s %.1f %% of the validation images after %d epochs%s", m.Name, 100*result.Top1, job.Recipe.Epochs, continued(result.Resumed))
	return r.publish(m, unit)
}

// learn does the work of a unit that trains: from what is in its working folder dir to the module out.
func (r *runner) learn(unit store.Unit, train func(dir, out string) error) error {
	if err := unit.Begin(r.units()); err != nil {
		return err
	}
	dir := unit.File(r.units(), "work")
	if r.Force {
		// The checkpoint of a finished training would end this one at once.
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	if err := train(dir, unit.File(r.units(), "pt")); err != nil {
		return err
	}
	if err := unit.Commit(r.units(), "pt"); err != nil {
		return err
	}
	r.Progress.count(&r.computed)
	return nil
}

// continued says of a training that it went on where an earlier one ended.
func continued(resumed bool) string {
	if resumed {
		return ", continued from a checkpoint"
	}
	return ""
}

// newUpdates turns the progress of a training into passes, perUpdate for each update.
func newUpdates(perUpdate float64, advance func(passes float64, p train.Progress)) func(train.Progress) {
	seen := 0
	return func(p train.Progress) {
		if now := (p.Epoch-1)*p.Updates + p.Update; now > seen {
			advance(perUpdate*float64(now-seen), p)
			seen = now
		}
	}
}

// publish puts module and learning curve where people look for them, DIR/models/NAME/, and shows the records of the training.
func (r *runner) publish(m *member, unit store.Unit) error {
	if err := r.publishTraining(m.Name, unit, train.CurveFile); err != nil {
		return err
	}
	return r.showRecords(m, unit)
}

// publishTraining copies the module of a training and its curve to DIR/models/NAME/.
func (r *runner) publishTraining(name string, unit store.Unit, curve string) error {
	dir := filepath.Join(r.Dir, "models", name)
	err := store.CopyFile(filepath.Join(dir, name+".pt"), unit.File(r.units(), "pt"))
	if err == nil {
		err = store.CopyFile(filepath.Join(dir, curve), filepath.Join(unit.File(r.units(), "work"), curve))
	}
	if err != nil {
		return fmt.Errorf("model %s: %w", name, err)
	}
	return nil
}

// showRecords makes DIR/logs/NAME a link to the working folder of the member's training, where log, event file and checkpoints
// of epochs are, also while it trains. They depend on the machine and the hour and are no results.
func (r *runner) showRecords(m *member, unit store.Unit) error {
	link := filepath.Join(r.Dir, "logs", m.Name)
	target, err := filepath.Rel(filepath.Dir(link), unit.File(r.units(), "work"))
	if err != nil {
		return err
	}
	if present, err := os.Readlink(link); err == nil && present == target {
		return nil
	}
	if err := errors.Join(os.MkdirAll(filepath.Dir(link), 0o755), os.RemoveAll(link), os.Symlink(target, link)); err != nil {
		return fmt.Errorf("model %s: %w", m.Name, err)
	}
	return nil
}

// recordsOf is what a recipe wants to be left of a training beside its result.
func recordsOf(e *experiment.Recipe) train.Records {
	return train.Records{LogEvery: e.LogEvery, TensorBoard: e.TensorBoard, KeepLast: e.KeepLast, KeepBest: e.KeepBest}
}

// trainingSets opens the images of both splits. What the network's own transform makes of them is loaded once per
// transform; a recipe that crops at random reads the files themselves.
type trainingSets struct {
	*runner
	loaded map[setOf]*data.Set
}

// setOf names a split under a transform.
type setOf struct {
	split string
	data.EvalTransform
}

func (s *trainingSets) of(ctx context.Context, m *member) (training data.Images, validation *data.Set, err error) {
	if s.Data.Path == "" {
		return nil, nil, fmt.Errorf("model %s has a recipe, but there is no image folder to train on", m.Name)
	}
	t, err := m.transform()
	if err != nil {
		return nil, nil, err
	}
	if validation, err = s.load(ctx, setOf{s.Data.Val, t}); err != nil {
		return nil, nil, err
	}
	if m.Recipe.CropScale == nil {
		training, err = s.load(ctx, setOf{s.Data.Train, t})
		return training, validation, err
	}
	folder, err := s.folder(ctx, s.Data.Train)
	if err != nil {
		return nil, nil, err
	}
	return data.FolderImages{Folder: folder}, validation, nil
}

func (s *trainingSets) load(ctx context.Context, what setOf) (*data.Set, error) {
	if set, ok := s.loaded[what]; ok {
		return set, nil
	}
	folder, err := s.folder(ctx, what.split)
	if err != nil {
		return nil, err
	}
	set, err := data.Load(ctx, folder, what.EvalTransform, data.LoadOptions{CacheDir: s.imageCache()})
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, set.Close)
	s.loaded[what] = set
	return set, nil
}

// recipeOf translates a recipe of the experiment file.
func recipeOf(e *experiment.Recipe) train.Recipe {
	r := train.Defaults()
	r.Epochs, r.Batch, r.Optimizer, r.LR, r.LRScaleBatch = e.Epochs, e.Batch, train.Optimizer(e.Opt), e.LR, e.LRScaleBatch
	if r.Optimizer == train.SGD || r.Optimizer == train.RMSProp {
		r.Momentum, r.Nesterov = e.Momentum, e.Nesterov
	}
	if r.Optimizer != train.SGD && len(e.Betas) == 2 {
		r.Betas, r.Eps = [2]float64(e.Betas), e.Eps
	}
	r.WeightDecay, r.DecayAllParams, r.ClipGrad = e.WeightDecay, e.DecayAllParams, e.ClipGrad
	r.Schedule, r.Unit, r.WarmupEpochs, r.WarmupLR = train.Schedule(e.Sched), train.Unit(e.SchedUnit), float64(e.WarmupEpochs), e.WarmupLR
	if r.Schedule == train.Step {
		r.StepEpochs, r.Gamma = e.StepEpochs, e.Gamma
	} else {
		r.MinLR = e.MinLR
	}
	r.AverageLast = e.AverageLast
	r.LayerDecay, r.Accumulate, r.EMA, r.EMAExport, r.Precision, r.SchedLag = e.LayerDecay, e.Accumulate, e.EMA, e.EMAExport, e.AMP, e.SchedLag
	r.Loss, r.BCEThreshold, r.LabelSmoothing = train.Loss(e.Loss), e.BCEThreshold, e.LabelSmoothing
	if len(e.CropScale) == 2 {
		r.CropScale = [2]float64(e.CropScale)
	}
	if len(e.CropRatio) == 2 {
		r.CropRatio = [2]float64(e.CropRatio)
	}
	r.Filter, r.HFlip, r.Shift, r.Policy, r.Jitter, r.EraseProb = e.Interpolation, e.HFlip, e.Shift, e.AA, e.ColorJitter, e.EraseProb
	r.EvalEvery = e.EvalEvery
	r.RepeatedAug, r.Mixup, r.CutMix, r.MixProb, r.MixSwitch, r.CutMixBox = e.RepeatedAug, e.Mixup, e.CutMix, e.MixProb, e.MixSwitch, e.CutMixBox
	if a := e.Adversarial; a != nil {
		r.Adversarial = &train.Adversarial{Epsilon: a.Epsilon.Float64(), StepSize: a.StepSize.Float64(), Steps: a.Steps, RandomStart: a.RandomStart}
	}
	return r
}
