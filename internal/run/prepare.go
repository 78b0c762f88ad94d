package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"sat/attacks"
	"sat/internal/data"
	"sat/internal/experiment"
	"sat/internal/store"
	"sat/torch"
	"sat/zoo"
)

// What timm assumes of a network that does not say.
const (
	usualCropPct       = 0.875
	usualInterpolation = "bicubic"
)

// member is one model of a run as the stages see it.
type member struct {
	Member
	exported string    // the module from timm; "" for a file of the user's own
	module   string    // the file that is measured
	key      store.Key // identifies the content of module
	images   images    // the evaluation images as this model takes them
	batch    int       // images per pass, chosen by measurement; 0 where the experiment gives one
}

// evaluation is the list of evaluation images: what every model is compared on.
type evaluation struct {
	IDs          []string `json:"ids"`
	Labels       []int64  `json:"labels"` // null in a run with predicted labels
	ImagesDigest string   `json:"digest"`
}

// Len is the number of images.
func (e *evaluation) Len() int { return len(e.IDs) }

// Digest identifies the list and its labels; results of different lists must never be mixed.
func (e *evaluation) Digest() string { return e.ImagesDigest }

// right returns the classes that count as right for the model that predicted these on the clean images: the labels, or
// without labels its own predictions.
func (e *evaluation) right(predicted []int32) []int64 {
	if e.Labels != nil {
		return e.Labels
	}
	right := make([]int64, len(predicted))
	for i, class := range predicted {
		right[i] = int64(class)
	}
	return right
}

// prepare makes the data if the experiment says how, and sets up the members.
func (r *runner) prepare(ctx context.Context) error {
	for _, m := range r.Spec.Members {
		r.members = append(r.members, &member{Member: m, module: m.Path})
	}
	if r.Data.Prepare != "" {
		// The script looks for itself whether the folder is complete.
		if err := prepareImages(ctx, r.Home, r.Data.Prepare, r.Data.Path); err != nil {
			return fmt.Errorf("prepare %s: %w", r.Data.Prepare, err)
		}
	}
	if r.Data.Path != "" {
		folder, err := r.validation(ctx)
		if err != nil {
			return err
		}
		r.classes = len(folder.Classes)
		subset, err := r.evaluationFolder(ctx)
		if err != nil {
			return err
		}
		r.split = len(folder.Samples)
		r.setPlan(len(subset.Samples))
	}
	for _, m := range r.members {
		if m.Path == "" {
			continue
		}
		if err := m.checkWeights(); err != nil {
			return err
		}
		digest, err := store.FileDigest(m.Path)
		if err != nil {
			return fmt.Errorf("model %s: %w", m.Name, err)
		}
		// Names and describing flags change what a bare file computes, so they belong to its identity.
		m.key, err = store.NewKey("module", m.Describe, map[string]string{"file": digest})
		if err != nil {
			return err
		}
	}
	return nil
}

// validation lists the images that models are compared on. A run with predicted labels needs no class folders.
func (r *runner) validation(ctx context.Context) (*data.Folder, error) {
	return data.OpenFolder(ctx, r.Data.Path, data.FolderOptions{
		Split: r.Data.Val, Flat: r.predicted(), List: r.Data.ValList, ClassMap: r.Data.ClassMap, IndexDir: r.imageCache(),
	})
}

// folder lists one split of the image folder.
func (r *runner) folder(ctx context.Context, split string) (*data.Folder, error) {
	if split == r.Data.Val {
		return r.validation(ctx)
	}
	return data.OpenFolder(ctx, r.Data.Path, data.FolderOptions{Split: split, ClassMap: r.Data.ClassMap, IndexDir: r.imageCache()})
}

// imageCache is the folder of what is remembered about the images.
func (r *runner) imageCache() string { return filepath.Join(r.Dir, "cache") }

// predicted reports whether the run goes without labels, see experiment.PredictedLabels.
func (r *runner) predicted() bool { return r.Data.Labels == experiment.PredictedLabels }

// besidePaper reports whether results are set beside the paper's. Without labels they never are: the paper's models know the
// right answer.
func (r *runner) besidePaper() bool { return r.PaperValue && !r.predicted() }

// checkWeights refuses a module of the registry that holds another network than its name says, or weights of another kind
// than the experiment asks for.
func (m *Member) checkWeights() error {
	if m.Weights == "" {
		return nil
	}
	manifest, err := zoo.ReadManifest(m.Path)
	if errors.Is(err, zoo.ErrNoManifest) {
		return nil // a file of the user's own, which says nothing about its weights
	}
	switch {
	case err != nil:
	case m.Network != "" && manifest.Timm.Model != m.Network:
		err = fmt.Errorf("%s holds the network %q, not %q: it was renamed, or copied over; export it again (\"sat zoo export\")",
			m.Path, cmp.Or(manifest.Timm.Model, manifest.Timm.Class, manifest.Name), m.Network)
	case !strings.HasPrefix(manifest.Weights.Source, m.Weights):
		err = fmt.Errorf("%s holds weights of the kind %q, but the experiment asks for %q (zoo.weights)", m.Path, manifest.Weights.Source, m.Weights)
	}
	if err != nil {
		return fmt.Errorf("model %s: %w", m.Name, err)
	}
	return nil
}

// evaluationFolder is the validation split, reduced to the subset.
func (r *runner) evaluationFolder(ctx context.Context) (*data.Folder, error) {
	folder, err := r.validation(ctx)
	if err != nil {
		return nil, err
	}
	s := r.Data.Subset
	mode, err := data.ParseSubsetMode(s.Mode)
	if err != nil {
		return nil, err
	}
	return folder.Select(data.Subset{Mode: mode, Fraction: s.Fraction.Float64(), Count: s.Count, Salt: s.Salt})
}

// transform is how the model's own preprocessing cuts folder images.
func (m *member) transform() (data.EvalTransform, error) {
	d, err := m.describe()
	if err != nil {
		return data.EvalTransform{}, err
	}
	if d.Height == 0 {
		return data.EvalTransform{}, fmt.Errorf("model %s does not say its input size; give it with --input-size or input_size", m.Name)
	}
	if d.Height != d.Width {
		return data.EvalTransform{}, fmt.Errorf("model %s takes %dx%d images; folder images are cut square, so give the images as a .npy file",
			m.Name, d.Height, d.Width)
	}
	return data.NewEvalTransform(d.Height, d.CropPct, d.Interpolation)
}

// describe fills what the experiment leaves open from the module's manifest, and then from the usual defaults.
func (m *member) describe() (zoo.Description, error) {
	path := m.module
	if m.exported != "" {
		path = m.exported
	}
	d := m.Describe
	manifest, err := zoo.ReadManifest(path)
	if err != nil && !errors.Is(err, zoo.ErrNoManifest) {
		return d, err
	}
	if manifest != nil {
		if d.Height == 0 {
			d.Height, d.Width = manifest.InputSize[1], manifest.InputSize[2]
		}
		d.CropPct = cmp.Or(d.CropPct, manifest.CropPct)
		d.Interpolation = cmp.Or(d.Interpolation, manifest.Interpolation)
	}
	d.CropPct = cmp.Or(d.CropPct, usualCropPct)
	d.Interpolation = cmp.Or(d.Interpolation, usualInterpolation)
	return d, nil
}

// openImages loads the evaluation images for every member, each distinct transform once.
func (r *runner) openImages(ctx context.Context) error {
	if r.Data.Images != "" {
		return r.openArray(ctx)
	}
	folder, err := r.evaluationFolder(ctx)
	if err != nil {
		return err
	}
	sets, number, err := r.cut(ctx, folder)
	if err != nil {
		return err
	}
	if r.Data.LabelsFile == "" && !r.predicted() {
		r.labelled = folder
	}
	for i, m := range r.members {
		m.images = &setImages{sets[number[i]]}
	}
	return r.setEvaluation(sets[0])
}

// cut loads a folder for every member, each distinct transform once; number says which of the sets is a member's.
func (r *runner) cut(ctx context.Context, folder *data.Folder) (sets []*data.Set, number []int, err error) {
	onBad, err := data.ParseBadImagePolicy(r.Data.OnBadImage)
	if err != nil {
		return nil, nil, err
	}
	var transforms []data.EvalTransform
	number = make([]int, len(r.members)) // of each member's transform
	for i, m := range r.members {
		t, err := m.transform()
		if err != nil {
			return nil, nil, err
		}
		if number[i] = slices.Index(transforms, t); number[i] < 0 {
			number[i] = len(transforms)
			transforms = append(transforms, t)
		}
	}
	r.Progress.Begin("images", float64(len(folder.Samples)), 0)
	sets, err = data.LoadAll(ctx, folder, transforms, data.LoadOptions{
		OnBad: onBad, CacheDir: r.imageCache(),
		Progress: func(int, int) { r.Progress.Advance(1, "") },
		Warn:     func(message string) { r.warn("%s", message) },
	})
	if err != nil {
		return nil, nil, err
	}
	for _, set := range sets {
		r.closers = append(r.closers, set.Close)
		if err := r.relabel(ctx, set); err != nil {
			return nil, nil, err
		}
	}
	if skipped := sets[0].Skipped; len(skipped) > 0 {
		r.warn("%d images could not be decoded and are left out; the first: %s: %s", len(skipped), skipped[0].ID, skipped[0].Reason)
	}
	if n := sets[0].Warnings; n > 0 {
		r.Progress.Say("  the image decoder warned %d times, of extra bytes or odd markers, and went on", n)
	}
	r.Progress.End(fmt.Sprintf("%d images, %d transforms", sets[0].N, len(sets)))
	return sets, number, nil
}

// relabel applies labels_file, or takes the labels away.
func (r *runner) relabel(ctx context.Context, set *data.Set) error {
	if r.predicted() {
		set.Labels = nil
		return nil
	}
	if r.Data.LabelsFile == "" {
		return nil
	}
	labels, err := data.ReadLabels(ctx, r.Data.LabelsFile)
	if err != nil {
		return err
	}
	if err := set.SetLabels(labels); err != nil {
		return fmt.Errorf("labels %s: %w", r.Data.LabelsFile, err)
	}
	return nil
}

// openArray loads images given as an array; each member sees them resized to its size.
func (r *runner) openArray(ctx context.Context) error {
	set, err := data.ReadImages(ctx, r.Data.Images)
	if err != nil {
		return err
	}
	if err := r.relabel(ctx, set); err != nil {
		return err
	}
	if set.Labels == nil && !r.predicted() {
		return fmt.Errorf("images %s have no labels; give them with --labels or labels_file", r.Data.Images)
	}
	for _, m := range r.members {
		d, err := m.describe()
		if err != nil {
			return err
		}
		if d.Height == 0 {
			d.Height, d.Width = set.H, set.W
		}
		m.Describe.Height, m.Describe.Width = d.Height, d.Width
		m.images = &arrayImages{set: set, h: d.Height, w: d.Width}
	}
	return r.setEvaluation(set)
}

// setEvaluation takes the list of images from a set. Those of all transforms have the same.
func (r *runner) setEvaluation(set *data.Set) error {
	digest, err := labelledDigest(set)
	if err == nil {
		r.eval = &evaluation{IDs: set.IDs, Labels: set.Labels, ImagesDigest: digest}
	}
	return err
}

// labelledDigest identifies images by name together with the labels in force.
func labelledDigest(set *data.Set) (string, error) {
	key, err := store.NewKey("images", set.Labels, map[string]string{"list": set.Digest})
	return string(key), err
}

// setImages serves images that were cut for one transform.
type setImages struct{ set *data.Set }

func (s *setImages) Digest() string { return s.set.Content }

func (s *setImages) Batch(_ context.Context, _ *torch.Worker, numbers []int) (attacks.Batch, error) {
	return gather(s.set, numbers), nil
}

func gather(set *data.Set, numbers []int) attacks.Batch {
	return attacks.Batch{Pixels: set.Gather(nil, numbers), N: len(numbers), C: set.C, H: set.H, W: set.W}
}

// arrayImages serves one array to models of any size (clean = shared).
type arrayImages struct {
	set  *data.Set
	h, w int
}

func (a *arrayImages) Digest() string { return fmt.Sprintf("%s %dx%d", a.set.Content, a.h, a.w) }

func (a *arrayImages) Batch(ctx context.Context, w *torch.Worker, numbers []int) (attacks.Batch, error) {
	x := gather(a.set, numbers)
	if x.H == a.h && x.W == a.w {
		return x, nil
	}
	out := attacks.NewBatch(x.N, x.C, a.h, a.w)
	return out, w.Do(ctx, func(s *torch.Scope) error {
		resized := s.Interpolate(s.FromFloat32(x.Pixels, x.N, x.C, x.H, x.W), a.h, a.w, torch.Bilinear, false)
		return s.Clamp(resized, 0, 1).CopyFloat32s(out.Pixels)
	})
}
