package zoo

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"

	"sat/attacks"
	"sat/torch"
)

// Description says what a file without sat.json takes, or overrides what its sat.json says. A zero field means: as the
// manifest says, or else mean 0 and standard deviation 1.
type Description struct {
	Mean, Std     []float32 // per channel, of pixels in [0,1]
	Height, Width int       // of the input
	CropPct       float64
	Interpolation string
}

// Resize is how TransferLogits brings images to the model's size: half-pixel centres, float32, then clamped to [0,1].
type Resize struct {
	Filter    string // bilinear (the zero value), bicubic or nearest
	Antialias bool   // blur before shrinking
}

// filter translates the word.
func (r Resize) filter() (torch.Interpolation, error) {
	filters := map[string]torch.Interpolation{
		"": torch.Bilinear, "bilinear": torch.Bilinear, "bicubic": torch.Bicubic, "nearest": torch.Nearest,
	}
	f, ok := filters[r.Filter]
	if !ok {
		return 0, fmt.Errorf("resize filter %q: want bilinear, bicubic or nearest", r.Filter)
	}
	return f, nil
}

// LoadOptions are the choices of Load and Verify.
type LoadOptions struct {
	Device torch.Device
	// Worker runs the model; without one the model starts and closes its own. Load and the model's methods must not be
	// called inside its Do.
	Worker   *torch.Worker
	Describe Description
	Mode     // the checks of the file run in plain float32 in any case
	// CaptureGraphs records the steps of attacks as CUDA graphs; see torch.SignOptions.Capture.
	CaptureGraphs bool
	Resize        Resize       // of transferred images that have another size
	Name          string       // instead of the manifest's or the file's
	Classes       int          // if positive, a model with another number of classes is an error
	CacheDir      string       // where successful replays are remembered, keyed by the contents of the file; "" replays always
	Warn          func(string) // may be nil
}

// Model is a classifier in a TorchScript file, ready for attacks and transfer evaluation; it implements attacks.Model.
// Images have exactly the size InputSize. Methods may be called from several goroutines; they run one after the other.
type Model struct {
	name      string
	manifest  *Manifest
	module    *torch.Module
	worker    *torch.Worker
	ownWorker bool
	device    torch.Device

	channels, height, width, classes int
	parameters                       int
	mean, std                        []float32
	cropPct                          float64
	interpolation                    string
	resize                           torch.Interpolation
	capture                          bool
	antialias                        bool
	verified                         VerifyResult
}

var _ interface {
	attacks.Model
	attacks.Normalized
} = (*Model)(nil)

// OpenModule loads a module file for training: weights checked against the manifest, code not replayed (Load does that).
// The file must have a manifest. It runs on the worker of s; the caller closes the module.
func OpenModule(ctx context.Context, s *torch.Scope, path string, d torch.Device) (*torch.Module, *Manifest, error) {
	module, m, err := open(ctx, s, path, d)
	if err == nil && m == nil {
		module.Close()
		return nil, nil, fmt.Errorf("%s: %w", path, ErrNoManifest)
	}
	return module, m, err
}

// open returns a nil manifest for a file without sat.json.
func open(ctx context.Context, s *torch.Scope, path string, d torch.Device) (_ *torch.Module, _ *Manifest, err error) {
	m, err := ReadManifest(path)
	if err != nil && !errors.Is(err, ErrNoManifest) {
		return nil, nil, err
	}
	module, _, err := torch.LoadModule(path, d)
	if err != nil {
		return nil, nil, err
	}
	if m == nil {
		return module, nil, nil
	}
	digest, err := WeightsSHA256(ctx, s, module)
	if err == nil && digest != m.WeightsSHA256 {
		err = fmt.Errorf("model %s %w: the weights in %s were altered, their SHA-256 is %s and sat.json says %s",
			m.Name, ErrRefused, path, digest, m.WeightsSHA256)
	}
	if err != nil {
		module.Close()
		return nil, nil, err
	}
	return module, m, nil
}

// Save writes module with manifest m to path, whole or not at all. Its weights_sha256 is computed anew and stored in m;
// the check stays as it is, because it does not depend on the weights. Set m.Name and m.Weights before.
func Save(ctx context.Context, s *torch.Scope, module *torch.Module, m *Manifest, path string) error {
	digest, err := WeightsSHA256(ctx, s, module)
	if err != nil {
		return fmt.Errorf("save model %s: %w", m.Name, err)
	}
	m.WeightsSHA256 = digest
	if err := m.validate(); err != nil {
		return fmt.Errorf("save model %s: %w", m.Name, err)
	}
	text, err := m.encode()
	if err != nil {
		return fmt.Errorf("save model %s: %w", m.Name, err)
	}
	return module.Save(path, map[string][]byte{manifestFile: text, m.Check.File: m.recorded})
}

// Load reads a module file, checks it as the package comment says, and returns the model. Errors wrap ErrRefused when the
// file is not what it says, fs.ErrNotExist when there is none.
func Load(ctx context.Context, path string, o LoadOptions) (*Model, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("load model: %w", err)
	}
	filter, err := o.Resize.filter()
	if err != nil {
		return nil, fmt.Errorf("load model %s: %w", path, err)
	}
	if err := o.Check(o.Device); err != nil {
		return nil, fmt.Errorf("load model %s: %w", path, err)
	}
	m := &Model{worker: o.Worker, device: o.Device, resize: filter, antialias: o.Resize.Antialias, capture: o.CaptureGraphs}
	if m.worker == nil {
		w, err := torch.NewWorker()
		if err != nil {
			return nil, fmt.Errorf("load model %s: %w", path, err)
		}
		m.worker, m.ownWorker = w, true
	}
	if err := m.worker.Do(ctx, func(s *torch.Scope) error { return m.load(ctx, s, path, o) }); err != nil {
		m.Close()
		return nil, fmt.Errorf("load model %s: %w", path, err)
	}
	return m, nil
}

func (m *Model) load(ctx context.Context, s *torch.Scope, path string, o LoadOptions) (err error) {
	if m.module, m.manifest, err = open(ctx, s, path, o.Device); err != nil {
		return err
	}
	m.name = stem(path)
	m.channels = 3
	if f := m.manifest; f != nil {
		m.name = f.Name
		m.channels, m.height, m.width, m.classes = f.InputSize[0], f.InputSize[1], f.InputSize[2], f.Classes
		m.mean, m.std, m.cropPct, m.interpolation = f.Mean, f.Std, f.CropPct, f.Interpolation
	}
	if o.Name != "" {
		m.name = o.Name
	}
	if err := m.describe(o.Describe); err != nil {
		return fmt.Errorf("description of model %s: %w", m.name, err)
	}
	m.verified = VerifyResult{Name: m.name, Path: path, Device: m.device.String(), Classes: m.classes}
	mode := o.Mode.On(m.device)
	if m.manifest == nil {
		if err = m.selfCheck(ctx, s, mode.Lowered, &m.verified); err == nil {
			err = m.checkClasses(o.Classes)
		}
		m.verified.Warnings = append(m.verified.Warnings, fmt.Sprintf("the file has no sat.json, so its gradients cannot be "+
			"compared with recorded ones; it passed the self-checks, with mean %v, std %v, input %dx%d assumed", m.mean, m.std,
			m.height, m.width))
	} else if err = m.checkClasses(o.Classes); err == nil {
		if err = m.replayOnce(ctx, s, path, o.CacheDir, mode.Lowered); err == nil && m.manifest.Attention {
			err = m.checkAttention(s)
		}
	}
	if err != nil {
		return err
	}
	for _, t := range m.module.Tensors() {
		if !t.Buffer {
			m.parameters += t.Elements()
		}
	}
	if err := m.setMode(mode); err != nil {
		return err
	}
	if o.Warn != nil {
		for _, w := range m.verified.Warnings {
			o.Warn(fmt.Sprintf("model %s: %s", m.name, w))
		}
	}
	return nil
}

// setMode makes the module compute as mode says. It comes last: a lowered module cannot be changed or read any more.
func (m *Model) setMode(mode Mode) error {
	if mode.Lowered {
		if err := m.module.Lower(mode.Precision); err != nil {
			return fmt.Errorf("%w; it can be used in float32 without lowering", err)
		}
		return nil
	}
	if mode.Precision != torch.Float32 {
		if err := m.module.To(m.device, mode.Precision); err != nil {
			return err
		}
	}
	if mode.ChannelsLast {
		return m.module.SetChannelsLast(true)
	}
	return nil
}

func (m *Model) checkClasses(want int) error {
	if want > 0 && m.classes != want {
		return fmt.Errorf("model %s has %d classes, the data have %d", m.name, m.classes, want)
	}
	return nil
}

// describe applies what the caller says about the model.
func (m *Model) describe(d Description) error {
	if len(d.Mean) > 0 {
		m.mean = d.Mean
	}
	if len(d.Std) > 0 {
		m.std = d.Std
	}
	if d.Height > 0 {
		m.height = d.Height
	}
	if d.Width > 0 {
		m.width = d.Width
	}
	if d.CropPct > 0 {
		m.cropPct = d.CropPct
	}
	if d.Interpolation != "" {
		m.interpolation = d.Interpolation
	}
	if m.mean == nil {
		m.mean = make([]float32, m.channels)
	}
	if m.std == nil {
		m.std = make([]float32, m.channels)
		for i := range m.std {
			m.std[i] = 1
		}
	}
	if m.height < 1 || m.width < 1 {
		return errors.New("the file has no sat.json, so its input size must be given")
	}
	return checkNormalisation(m.mean, m.std, m.channels)
}

// replayOnce replays the recorded gradients, lowered too if that is asked for, but for what was done before; dir remembers it.
func (m *Model) replayOnce(ctx context.Context, s *torch.Scope, path, dir string, lower bool) error {
	cache, before := "", (*VerifyResult)(nil)
	if dir != "" {
		var err error
		if cache, before, err = verifiedBefore(path, dir, m.device); err != nil {
			return err
		}
	}
	if before != nil {
		before.Name, before.Path = m.name, path
		m.verified = *before
	} else if err := m.manifest.replay(ctx, s, m.module, m.device, &m.verified); err != nil {
		return err
	}
	lower = lower && m.verified.Lowered == nil
	if lower {
		if err := m.manifest.replayLowered(ctx, s, m.module, m.device, &m.verified); err != nil {
			return err
		}
	}
	if cache == "" || before != nil && !lower {
		return nil
	}
	if err := rememberVerified(cache, m.verified); err != nil { // costs time at the next start, nothing else
		m.verified.Warnings = append(m.verified.Warnings, err.Error())
	}
	return nil
}

// Name is the name of the model in results.
func (m *Model) Name() string { return m.name }

// Manifest is the contents of sat.json, nil for a file without. It must not be modified.
func (m *Model) Manifest() *Manifest { return m.manifest }

// InputSize is the height and width of the images the model takes.
func (m *Model) InputSize() (height, width int) { return m.height, m.width }

// Channels is the number of channels of the images the model takes.
func (m *Model) Channels() int { return m.channels }

// Classes is the number of logits.
func (m *Model) Classes() int { return m.classes }

// Normalization is what the model does to each channel first, (x - mean) / std. The slices must not be modified.
func (m *Model) Normalization() (mean, std []float32) { return m.mean, m.std }

// Parameters is the number of trainable values.
func (m *Model) Parameters() int { return m.parameters }

// Transform is the crop fraction and the interpolation of the model's evaluation transform; 0 and "" when neither the
// manifest nor the caller gave them.
func (m *Model) Transform() (cropPct float64, interpolation string) {
	return m.cropPct, m.interpolation
}

// Verified is what was checked when the model was loaded.
func (m *Model) Verified() VerifyResult { return m.verified }

// Close frees the model. Closing twice is harmless.
func (m *Model) Close() {
	if m.module != nil {
		m.module.Close()
	}
	if m.ownWorker {
		m.worker.Close()
	}
}

// Logits implements attacks.Model.
func (m *Model) Logits(ctx context.Context, x attacks.Batch) (logits []float32, err error) {
	if err := m.checkBatch(x, true); err != nil {
		return nil, err
	}
	err = m.worker.Do(ctx, func(s *torch.Scope) error {
		logits, err = m.forward(s, m.upload(s, x), x.N)
		return err
	})
	return m.finite(logits, err)
}

// TransferLogits is Logits for images of any size: they are resized to the size of this model as LoadOptions.Resize says
// (bilinear, half-pixel centres, no antialiasing unless told otherwise) and clamped to [0,1] first. Images of the right
// size are taken as they are.
func (m *Model) TransferLogits(ctx context.Context, x attacks.Batch) (logits []float32, err error) {
	if x.H == m.height && x.W == m.width {
		return m.Logits(ctx, x)
	}
	if err := m.checkBatch(x, false); err != nil {
		return nil, err
	}
	err = m.worker.Do(ctx, func(s *torch.Scope) error {
		resized := s.Clamp(s.Interpolate(m.upload(s, x), m.height, m.width, m.resize, m.antialias), 0, 1)
		logits, err = m.forward(s, resized, x.N)
		return err
	})
	return m.finite(logits, err)
}

// losses translates the losses of package attacks.
var losses = map[attacks.Loss]torch.LossKind{
	attacks.CrossEntropy:    torch.LossCrossEntropy,
	attacks.DLR:             torch.LossDLR,
	attacks.Margin:          torch.LossMargin,
	attacks.TargetedDLR:     torch.LossTargetedDLR,
	attacks.LogitDifference: torch.LossLogitDifference,
}

// LossGrad implements attacks.Model for every loss. A NaN logit, a gradient that is not finite and a target that is the
// label are errors that name model and row.
func (m *Model) LossGrad(ctx context.Context, x attacks.Batch, y, targets []int64, loss attacks.Loss) (attacks.Gradient, error) {
	kind, known := losses[loss]
	if !known {
		return attacks.Gradient{}, fmt.Errorf("model %s: no gradient of loss %v", m.name, loss)
	}
	if err := m.checkBatch(x, true); err != nil {
		return attacks.Gradient{}, err
	}
	if err := m.checkLabels(y, x.N); err != nil {
		return attacks.Gradient{}, err
	}
	if err := m.checkTargets(y, targets, loss); err != nil {
		return attacks.Gradient{}, err
	}
	var out attacks.Gradient
	err := m.worker.Do(ctx, func(s *torch.Scope) (err error) {
		o := m.gradOptions()
		o.Loss = kind
		if loss.Targeted() {
			o.Targets = s.FromInt64(targets, x.N)
		}
		grad, logits, perImage := m.module.InputGrad(s, m.upload(s, x), s.FromInt64(y, x.N), o)
		if err := m.checkLogits(s, logits, x.N); err != nil {
			return err
		}
		if out.Pixels, err = grad.Float32s(); err != nil {
			return err
		}
		if out.Logits, err = logits.Float32s(); err != nil {
			return err
		}
		out.Loss, err = perImage.Float32s()
		return err
	})
	if _, err = m.finite(out.Logits, err); err != nil {
		return attacks.Gradient{}, err
	}
	size := x.C * x.H * x.W
	for i, g := range out.Pixels {
		if notFinite(g) {
			return attacks.Gradient{}, fmt.Errorf("model %s: the gradient of row %d is %v", m.name, i/size, g)
		}
	}
	return out, nil
}

func (m *Model) gradOptions() torch.GradOptions {
	return torch.GradOptions{Mean: m.mean, Std: m.std, Loss: torch.LossCrossEntropy}
}

func (m *Model) upload(s *torch.Scope, x attacks.Batch) torch.Tensor {
	return s.ToDevice(tensorOf(s, x), m.device)
}

// forward returns the logits [n,K] of images on the model's device.
func (m *Model) forward(s *torch.Scope, x torch.Tensor, n int) ([]float32, error) {
	logits := m.module.Forward(s, x, m.mean, m.std)
	if err := m.checkLogits(s, logits, n); err != nil {
		return nil, err
	}
	return logits.Float32s()
}

// checkLogits is about shape: [n,K] with the K of the manifest. Before the self-checks K is not known.
func (m *Model) checkLogits(s *torch.Scope, logits torch.Tensor, n int) error {
	if err := s.Err(); err != nil {
		return err
	}
	shape := logits.Shape()
	if len(shape) != 2 || shape[0] != n || shape[1] < 1 {
		return fmt.Errorf("it returns a tensor %v for %d images; a classifier returns [%d,classes]", shape, n, n)
	}
	if m.classes > 0 && shape[1] != m.classes {
		return fmt.Errorf("it returns %d logits, its manifest says %d classes", shape[1], m.classes)
	}
	return nil
}

func (m *Model) checkBatch(x attacks.Batch, sized bool) error {
	if x.N < 1 || x.C < 1 || x.H < 1 || x.W < 1 || len(x.Pixels) != x.N*x.C*x.H*x.W {
		return fmt.Errorf("model %s: a batch of %dx%dx%dx%d images has %d pixels", m.name, x.N, x.C, x.H, x.W, len(x.Pixels))
	}
	if x.C != m.channels || sized && (x.H != m.height || x.W != m.width) {
		return fmt.Errorf("model %s takes %dx%dx%d images, not %dx%dx%d", m.name, m.channels, m.height, m.width, x.C, x.H, x.W)
	}
	return nil
}

func (m *Model) checkLabels(y []int64, n int) error {
	if len(y) != n {
		return fmt.Errorf("model %s: %d labels for %d images", m.name, len(y), n)
	}
	for i, c := range y {
		if c < 0 || c >= int64(m.classes) {
			return fmt.Errorf("model %s: label %d of row %d is not one of its %d classes", m.name, c, i, m.classes)
		}
	}
	return nil
}

func (m *Model) checkTargets(y, targets []int64, loss attacks.Loss) error {
	if !loss.Targeted() {
		if targets != nil {
			return fmt.Errorf("model %s: loss %v takes no targets", m.name, loss)
		}
		return nil
	}
	if len(targets) != len(y) {
		return fmt.Errorf("model %s: %d targets for %d labels", m.name, len(targets), len(y))
	}
	for i, c := range targets {
		if c < 0 || c >= int64(m.classes) {
			return fmt.Errorf("model %s: target %d of row %d is not one of its %d classes", m.name, c, i, m.classes)
		}
		if c == y[i] {
			return fmt.Errorf("model %s: the target of row %d is its label, %d", m.name, i, c)
		}
	}
	return nil
}

// finite refuses NaN logits; it passes on err, which it gives the model's name.
func (m *Model) finite(logits []float32, err error) ([]float32, error) {
	if err != nil {
		return nil, fmt.Errorf("model %s: %w", m.name, err)
	}
	for i, z := range logits {
		if math.IsNaN(float64(z)) {
			return nil, fmt.Errorf("model %s: logit %d of row %d is NaN", m.name, i%m.classes, i/m.classes)
		}
	}
	return logits, nil
}
