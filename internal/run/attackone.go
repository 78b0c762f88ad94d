package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"

	"sat/attacks"
	"sat/internal/data"
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
	Images   string // .npy or folder
	Labels   string // .npy; "" takes the folder's classes
	Out      string // .npy
	Attack   Attack
	// OnlyCorrect copies the clean image where the model is wrong already, instead of attacking it.
	OnlyCorrect bool

	Device    torch.Device
	Threads   int
	Precision torch.DType
	Batch     int // 0: all images, at most 64
	Progress  *Progress
}

// AttackResult describes the images of AttackJob.Out; index i belongs to image i of the input.
type AttackResult struct {
	Model           string
	Correct, Fooled []bool
	Settings        map[string]any
	Batch           int
	SaturatedImages int
	ZeroGradImages  int
}

// AttackOne attacks every given image, also those that the model misclassifies, and writes the adversarial images as
// float32 in the order of the input. Nothing is written if anything fails.
func AttackOne(ctx context.Context, job AttackJob) (AttackResult, error) {
	if err := store.CheckWritable(job.Out); err != nil {
		return AttackResult{}, err
	}
	if err := StartTorch(job.Device, job.Threads); err != nil {
		return AttackResult{}, err
	}
	p, err := newPool(1, job.Progress)
	if err != nil {
		return AttackResult{}, err
	}
	defer p.Close()
	set, err := job.array(ctx)
	if err != nil {
		return AttackResult{}, err
	}
	describe, err := job.describe(set)
	if err != nil {
		return AttackResult{}, err
	}
	model, err := zoo.Load(ctx, job.Model, zoo.LoadOptions{
		Device: job.Device, Worker: p.workers[0], Describe: describe, Warn: job.Progress.Warn,
	})
	if err != nil {
		return AttackResult{}, err
	}
	defer model.Close()
	if set == nil {
		if set, err = job.folder(ctx, model); err != nil {
			return AttackResult{}, err
		}
	}
	defer set.Close()
	if err := set.CheckLabels(model.Classes()); err != nil {
		return AttackResult{}, fmt.Errorf("%s and %s do not fit: %w", model.Name(), cmp.Or(job.Labels, job.Images), err)
	}
	if h, w := model.InputSize(); h != set.H || w != set.W {
		return AttackResult{}, fmt.Errorf("%s takes %dx%d images, %s holds %dx%d", model.Name(), h, w, job.Images, set.H, set.W)
	}
	result := AttackResult{Model: model.Name(), Settings: attackMeta(job.Attack), Batch: job.Batch,
		Correct: make([]bool, set.N), Fooled: make([]bool, set.N)}
	if result.Batch == 0 {
		result.Batch = min(set.N, defaultBatch)
	}
	perImage := float64(job.Attack.PGD.Steps*job.Attack.PGD.Restarts) * passGradient
	job.Progress.Begin("attack", perImage*float64(set.N), 0)
	err = data.StreamNPY(job.Out, []int{set.N, set.C, set.H, set.W}, func(write func([]float32) error) error {
		for from := 0; from < set.N; from += result.Batch {
			to := min(from+result.Batch, set.N)
			x := attacks.Batch{Pixels: set.Float32(nil, from, to), N: to - from, C: set.C, H: set.H, W: set.W}
			last := 0.0
			r, err := job.Attack.PGD.Run(ctx, model, x, set.Labels[from:to], set.IDs[from:to], func(done, total int) {
				share := float64(done) / float64(total)
				job.Progress.Advance(perImage*float64(to-from)*(share-last), model.Name())
				last = share
			})
			if err != nil {
				return fmt.Errorf("attack %s, images %d to %d: %w", model.Name(), from, to-1, err)
			}
			copy(result.Correct[from:], r.Correct)
			copy(result.Fooled[from:], r.Fooled)
			if job.OnlyCorrect {
				for i, correct := range r.Correct {
					if !correct {
						copy(r.Adversarial.Image(i), x.Image(i))
						result.Fooled[from+i] = true // its clean prediction is wrong
					}
				}
			}
			result.SaturatedImages += r.SaturatedImages
			result.ZeroGradImages += r.ZeroGradImages
			if err := write(r.Adversarial.Pixels); err != nil {
				return err
			}
		}
		return nil
	})
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
	if result.ZeroGradImages > 0 {
		job.Progress.Warn(fmt.Sprintf("the gradient of %d images was exactly zero at some step: they stood still there", result.ZeroGradImages))
	}
	return result, nil
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
	case info.IsDir():
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
	folder, err := data.OpenFolder(job.Images, data.FolderOptions{})
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
