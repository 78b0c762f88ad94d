package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"sat/attacks"
	"sat/internal/data"
	"sat/internal/experiment"
	"sat/internal/store"
	"sat/torch"
	"sat/zoo"
)

// defaultBatch is the most images per pass where nobody says otherwise.
const defaultBatch = 64

// AttackJob is one attack on one model, without an experiment.
type AttackJob struct {
	Model    string // TorchScript file
	Describe zoo.Description
	Images   string // .npy, folder or tar file
	Folder   data.FolderOptions
	Labels   string // .npy; "" takes the folder's classes
	Targets  string // .npy: the classes that an attack with TargetGiven aims at
	Out      string // .npy
	Attack   Attack
	Pictures string // folder for pictures of the first images; "" for none
	// OnlyCorrect copies the clean image where the model is wrong already, instead of attacking it.
	OnlyCorrect bool

	Device  torch.Device
	Threads int
	zoo.Mode
	Batch    int   // 0: the fastest within Memory, or without one all images, at most 64
	Memory   int64 // the most that may be resident, in bytes; 0: no limit
	Progress *Progress
}

// AttackResult describes the images of AttackJob.Out; index i belongs to image i of the input.
type AttackResult struct {
	Model           string
	Correct, Fooled []bool          // the clean prediction is the label; the prediction after the attack is not
	Targets         []int64         // of a targeted attack, else nil
	Reached         []bool          // the prediction after the attack is the target; nil if untargeted
	Stages          []attacks.Stage // of AutoAttack, else nil
	Settings        map[string]any
	Batch           int
	SaturatedImages int
	ZeroGradImages  int
	Warnings        []string
}

// Survivors counts the images that were classified correctly and still are.
func (r *AttackResult) Survivors() int {
	n := 0
	for i, correct := range r.Correct {
		if correct && !r.Fooled[i] {
			n++
		}
	}
	return n
}

// AttackOne attacks every given image, also those that the model misclassifies, and writes the adversarial images as
// float32 in the order of the input. Nothing is written if anything fails.
func AttackOne(ctx context.Context, job AttackJob) (AttackResult, error) {
	if err := store.CheckWritable(job.Out); err != nil {
		return AttackResult{}, err
	}
	var meter memoryMeter
	base, err := processStatus("VmRSS")
	if err != nil && job.Memory > 0 {
		return AttackResult{}, err
	}
	s, err := job.open(ctx)
	if err != nil {
		return AttackResult{}, err
	}
	defer s.close()
	set, model := s.set, s.model
	targets, err := job.targets(ctx, set, model)
	if err != nil {
		return AttackResult{}, err
	}
	result := AttackResult{Model: model.Name(), Settings: job.Attack.meta(), Batch: job.Batch}
	switch {
	case result.Batch > 0:
	case job.Memory > 0:
		if result.Batch, err = job.chooseBatch(ctx, &meter, s, base); err != nil {
			return AttackResult{}, err
		}
	default:
		result.Batch = min(set.N, defaultBatch)
	}
	attacker, per := job.batches(set.N, &result.Batch)
	var pictures []Picture
	perImage := job.Attack.passes()
	job.Progress.Begin("attack", perImage*float64(set.N), 0)
	err = data.StreamNPY(job.Out, []int{set.N, set.C, set.H, set.W}, func(write func([]float32) error) error {
		for from := 0; from < set.N; from += per {
			to := min(from+per, set.N)
			x := attacks.Batch{Pixels: set.Float32(nil, from, to), N: to - from, C: set.C, H: set.H, W: set.W}
			y := set.Labels[from:to]
			if targets != nil {
				y = targets[from:to]
			}
			r, err := attacker.Run(ctx, model, x, y, set.IDs[from:to], proportional(perImage*float64(x.N),
				func(passes float64) { job.Progress.Advance(passes, model.Name()) }))
			if err != nil {
				return fmt.Errorf("attack %s, images %d to %d: %w", model.Name(), from, to-1, err)
			}
			result.add(&r, x, set.Labels[from:to], job.OnlyCorrect)
			if job.Pictures != "" {
				for i := 0; i < x.N && len(pictures) < mostPictures; i++ {
					label, class := set.Labels[from+i], r.Predicted[i]
					if job.OnlyCorrect && r.Clean[i] != label {
						class = r.Clean[i]
					}
					p := Picture{File: fmt.Sprintf("image-%d.png", from+i), Source: model.Name(), Image: set.IDs[from+i], Label: label,
						Predictions: []PicturePrediction{{model.Name(), class}}}
					if err := p.write(job.Pictures, x.Image(i), r.Adversarial.Image(i), x.C, x.H, x.W); err != nil {
						return err
					}
					pictures = append(pictures, p)
				}
			}
			if err := write(r.Adversarial.Pixels); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil && job.Pictures != "" {
		err = writePictures(job.Pictures, result.Settings, pictures)
	}
	if err != nil {
		return AttackResult{}, err
	}
	count := func(flags []bool) int {
		n := 0
		for _, f := range flags {
			if f {
				n++
			}
		}
		return n
	}
	job.Progress.End(fmt.Sprintf("%d images, %d classified correctly, %d of all misclassified after the attack",
		set.N, count(result.Correct), count(result.Fooled)))
	if result.Targets != nil {
		job.Progress.Say("           %d of %d images are taken for their target", count(result.Reached), set.N)
	}
	if result.ZeroGradImages > 0 && result.Stages == nil { // AutoAttack warns itself
		result.Warnings = append(result.Warnings,
			fmt.Sprintf("the gradient of %d images was exactly zero at some step: they stood still there", result.ZeroGradImages))
	}
	if peak, err := meter.highest(); err == nil && job.Memory > 0 && peak > job.Memory {
		result.Warnings = append(result.Warnings, fmt.Sprintf("%s were resident at most, more than %s", mebibytes(peak), experiment.Bytes(job.Memory)))
	}
	for _, w := range result.Warnings {
		job.Progress.Warn(w)
	}
	return result, nil
}

// chooseBatch measures the fastest batch that keeps to Memory; base is what was resident before images and model.
func (job *AttackJob) chooseBatch(ctx context.Context, meter *memoryMeter, s *session, base int64) (int, error) {
	if job.Device.Type != torch.DeviceCPU {
		return 0, errMemoryOfCPU
	}
	share := int64(usableMemory*float64(job.Memory)) - base
	batch, tried, err := climb(s.set.N, share, func(n int) (batchTest, error) {
		numbers := make([]int, n)
		for k := range numbers {
			numbers[k] = k % s.set.N
		}
		return tryBatch(ctx, meter, s.model, base, n, func() (attacks.Batch, error) { return gather(s.set, numbers), nil })
	})
	if err == nil && batch == 0 {
		err = fmt.Errorf("model, images and one gradient take %s, and memory = %q leaves %s to them; allow more",
			mebibytes(tried[0].PeakBytes), experiment.Bytes(job.Memory), mebibytes(share))
	}
	if err != nil {
		return 0, fmt.Errorf("choose a batch size for %s: %w", s.model.Name(), err)
	}
	return batch, nil
}

// batches says how many of n images are attacked by one call, and by what. The draws of the reference implementation
// depend on the batch: there it is all images. AutoAttack cuts its own batches, of what each of its attacks leaves.
func (job *AttackJob) batches(n int, batch *int) (attacks.Attacker, int) {
	if job.Attack.streamCompat() {
		*batch = n
		return job.Attack.Attacker, n
	}
	if auto, ok := job.Attack.Attacker.(attacks.AutoAttack); ok {
		auto.Batch = *batch
		return auto, max(shardSize, *batch)
	}
	return job.Attack.Attacker, *batch
}

// targets reads the classes to aim at. Without such a file it returns nil.
func (job *AttackJob) targets(ctx context.Context, set *data.Set, model *zoo.Model) ([]int64, error) {
	if job.Targets == "" {
		return nil, nil
	}
	targets, err := data.ReadLabels(ctx, job.Targets)
	if err != nil {
		return nil, err
	}
	if len(targets) != set.N {
		return nil, fmt.Errorf("targets %s: %d for %d images", job.Targets, len(targets), set.N)
	}
	if err := attacks.CheckLabels(targets, set.IDs, model.Classes()); err != nil {
		return nil, fmt.Errorf("targets %s: %w", job.Targets, err)
	}
	return targets, nil
}

// add appends what an attack made of the images x, labelled y. With onlyCorrect, misclassified images go back to x.
func (r *AttackResult) add(a *attacks.Result, x attacks.Batch, y []int64, onlyCorrect bool) {
	for i, label := range y {
		correct := a.Clean[i] == label
		predicted := a.Predicted[i]
		if onlyCorrect && !correct {
			copy(a.Adversarial.Image(i), x.Image(i))
			predicted = a.Clean[i]
		}
		r.Correct, r.Fooled = append(r.Correct, correct), append(r.Fooled, predicted != label)
		if a.Targets != nil {
			r.Targets, r.Reached = append(r.Targets, a.Targets[i]), append(r.Reached, predicted == a.Targets[i])
		}
	}
	if r.Stages == nil && a.Stages != nil {
		r.Stages = make([]attacks.Stage, len(a.Stages))
	}
	for i, stage := range a.Stages {
		r.Stages[i].Name = stage.Name
		r.Stages[i].Robust = append(r.Stages[i].Robust, stage.Robust...)
	}
	r.SaturatedImages += a.SaturatedImages
	r.ZeroGradImages += a.ZeroGradImages
	for _, w := range a.Warnings {
		if !slices.Contains(r.Warnings, w) {
			r.Warnings = append(r.Warnings, w)
		}
	}
}

// open starts libtorch, reads the images with their labels and loads the model; the caller closes the session.
func (job *AttackJob) open(ctx context.Context) (_ *session, err error) {
	if err := StartTorch(job.Device, job.Threads); err != nil {
		return nil, err
	}
	s := &session{}
	if s.pool, err = newPool(1, job.Progress); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.set, err = job.array(ctx); err != nil {
		return nil, err
	}
	if s.describe, err = job.describe(s.set); err != nil {
		return nil, err
	}
	slowBFloat16(job.Device, "precision", job.Precision, job.Progress.Warn)
	s.model, err = zoo.Load(ctx, job.Model, zoo.LoadOptions{
		Device: job.Device, Worker: s.pool.workers[0], Describe: s.describe, Mode: job.Mode,
		Warn: job.Progress.Warn,
	})
	if err != nil {
		return nil, err
	}
	if s.set == nil {
		if s.set, err = job.folder(ctx, s.model); err != nil {
			return nil, err
		}
	}
	if err := s.set.CheckLabels(s.model.Classes()); err != nil {
		return nil, fmt.Errorf("%s and %s do not fit: %w", s.model.Name(), cmp.Or(job.Labels, job.Images), err)
	}
	if h, w := s.model.InputSize(); h != s.set.H || w != s.set.W {
		return nil, fmt.Errorf("%s takes %dx%d images, %s holds %dx%d", s.model.Name(), h, w, job.Images, s.set.H, s.set.W)
	}
	return s, nil
}

// transformOf is the model's own preprocessing of folder images.
func transformOf(model *zoo.Model) (data.EvalTransform, error) {
	h, w := model.InputSize()
	if h != w {
		return data.EvalTransform{}, fmt.Errorf("model %s takes %dx%d images; folder images are cut square, so give the images as a .npy file",
			model.Name(), h, w)
	}
	cropPct, interpolation := model.Transform()
	return data.NewEvalTransform(h, cmp.Or(cropPct, usualCropPct), cmp.Or(interpolation, usualInterpolation))
}

// array reads the images of a .npy file, with labels. For a folder it returns nil: those are cut to the model's size, once that is known.
func (job *AttackJob) array(ctx context.Context) (*data.Set, error) {
	info, err := os.Stat(job.Images)
	switch {
	case err != nil:
		return nil, fmt.Errorf("images: %w", err)
	case info.IsDir() || data.IsArchive(job.Images):
		return nil, nil
	case job.Labels == "":
		return nil, fmt.Errorf("images %s have no labels; give them with --labels", job.Images)
	}
	set, err := data.ReadImages(ctx, job.Images)
	if err != nil {
		return nil, err
	}
	return set, job.relabel(ctx, set)
}

// describe completes the description of a file without sat.json: it takes images as large as those of the array.
func (job *AttackJob) describe(array *data.Set) (zoo.Description, error) {
	d := job.Describe
	if d.Height > 0 {
		return d, nil
	}
	switch _, err := zoo.ReadManifest(job.Model); {
	case !errors.Is(err, zoo.ErrNoManifest): // it has one, or Load will say what is wrong
	case array == nil:
		return d, fmt.Errorf("%s has no sat.json, so nothing says how large its images are; give their size with --input-size", job.Model)
	default:
		d.Height, d.Width = array.H, array.W
	}
	return d, nil
}

// folder reads the images of a folder with labels, in its order, at the model's size.
func (job *AttackJob) folder(ctx context.Context, model *zoo.Model) (*data.Set, error) {
	folder, err := data.OpenFolder(ctx, job.Images, job.Folder)
	if err != nil {
		return nil, err
	}
	if job.Labels == "" {
		if err := folder.CheckClasses(model.Classes()); err != nil {
			return nil, fmt.Errorf("%w, or labels (--labels)", err)
		}
	}
	t, err := transformOf(model)
	if err != nil {
		return nil, err
	}
	set, err := data.Load(ctx, folder, t, data.LoadOptions{})
	if err != nil {
		return nil, err
	}
	return set, job.relabel(ctx, set)
}

// relabel applies Labels.
func (job *AttackJob) relabel(ctx context.Context, set *data.Set) error {
	if job.Labels == "" {
		return nil
	}
	labels, err := data.ReadLabels(ctx, job.Labels)
	if err != nil {
		return err
	}
	if err := set.SetLabels(labels); err != nil {
		return fmt.Errorf("labels %s: %w", job.Labels, err)
	}
	return nil
}
