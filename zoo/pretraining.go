package zoo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	"sat/torch"
)

// pretrainingFile is the extra file of a module that pre-trains an encoder. Such a file has no sat.json: it classifies nothing.
const pretrainingFile = "sat-pretrain.json"

// EncoderPrefix begins the names of the encoder's tensors in a pre-training module. What follows is what the classifier calls
// them.
const EncoderPrefix = "encoder."

// Pretraining is sat-pretrain.json: a network whose forward pass returns the loss of a self-supervised method, see
// scripts/satexport/selfsup.py.
type Pretraining struct {
	Format        int               `json:"format"`
	Name          string            `json:"name"`
	Method        string            `json:"method"`
	Arguments     PretrainArguments `json:"arguments"`
	Timm          Timm              `json:"timm"` // of the encoder
	Torch         string            `json:"torch"`
	InputSize     [3]int            `json:"input_size"` // channels, height, width
	Mean          []float32         `json:"mean"`
	Std           []float32         `json:"std"`
	Interpolation string            `json:"interpolation"`
	CropPct       float64           `json:"crop_pct"`
	Patches       int               `json:"patches"` // of an image
	Weights       Weights           `json:"weights"`
	WeightsSHA256 string            `json:"weights_sha256"`
	Init          []InitRule        `json:"init"`
	Check         PretrainCheck     `json:"check"`
}

// PretrainArguments shape a pre-training network. Those of other methods are without effect.
type PretrainArguments struct {
	Mask         float64 `json:"mask"`        // MAE: share of the patches that are hidden
	NormPixels   bool    `json:"norm_pixels"` // MAE: each patch is drawn with mean 0 and variance 1
	DecoderDepth int     `json:"decoder_depth"`
	DecoderWidth int     `json:"decoder_width"`
	DecoderHeads int     `json:"decoder_heads"`
	Hidden       int     `json:"hidden"`      // MoCo v3, BYOL: width inside projector and predictor
	Projection   int     `json:"projection"`  // and of what they return
	Temperature  float64 `json:"temperature"` // MoCo v3
	Position     string  `json:"position"`    // of the patches: sincos, fixed while pre-training, or learned
}

// PretrainCheck says how the parameters are filled and what eager PyTorch computes then for seeded images: the values of the
// forward pass, keys being those of the network itself, and the norm of the gradient of the first.
type PretrainCheck struct {
	Generator string     `json:"generator"`
	Seed      uint64     `json:"seed"`
	Batch     int        `json:"batch"`
	Fill      []FillRule `json:"fill"`
	Values    []float64  `json:"values"`
	GradNorm  float64    `json:"grad_norm"`
	CPU       string     `json:"cpu"`
}

// The methods.
const (
	MAE    = "mae"
	MoCoV3 = "mocov3"
	BYOL   = "byol"
)

// PretrainJob is the part of an export Job that asks for a pre-training module.
type PretrainJob struct {
	Method string `json:"method"`
	PretrainArguments
}

// ReadPretraining returns the manifest of the pre-training module at path. It does not need libtorch.
func ReadPretraining(path string) (*Pretraining, error) {
	text, err := torch.ReadExtra(path, pretrainingFile)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	p := new(Pretraining)
	if err := d.Decode(p); err != nil {
		return nil, fmt.Errorf("%s of %s: %w", pretrainingFile, path, err)
	}
	if err := p.validate(); err != nil {
		return nil, fmt.Errorf("%s of %s: %w: %w", pretrainingFile, path, ErrRefused, err)
	}
	return p, nil
}

func (p *Pretraining) validate() error {
	switch {
	case p.Format < 1 || p.Format > Format:
		return fmt.Errorf("format %d, this program reads up to %d", p.Format, Format)
	case !slices.Contains([]string{MAE, MoCoV3, BYOL}, p.Method):
		return fmt.Errorf("unknown method %q", p.Method)
	case p.Patches < 1:
		return fmt.Errorf("%d patches", p.Patches)
	case p.Check.Generator != generator:
		return fmt.Errorf("check with unknown generator %q", p.Check.Generator)
	case p.Check.Batch < 2 || len(p.Check.Values) == 0:
		return fmt.Errorf("a check of %d values for %d images", len(p.Check.Values), p.Check.Batch)
	}
	for _, n := range p.InputSize {
		if n < 1 || n > 1<<16 {
			return fmt.Errorf("input size %v", p.InputSize)
		}
	}
	return checkNormalisation(p.Mean, p.Std, p.InputSize[0])
}

// OpenPretraining loads the module at path and refuses one whose weights are not those of its manifest.
func OpenPretraining(ctx context.Context, s *torch.Scope, path string, d torch.Device) (*torch.Module, *Pretraining, error) {
	p, err := ReadPretraining(path)
	if err != nil {
		return nil, nil, err
	}
	m, _, err := torch.LoadModule(path, d)
	if err != nil {
		return nil, nil, err
	}
	digest, err := WeightsSHA256(ctx, s, m)
	if err == nil && digest != p.WeightsSHA256 {
		err = fmt.Errorf("pre-training module %s %w: the weights in %s were altered, their SHA-256 is %s and %s says %s",
			p.Name, ErrRefused, path, digest, pretrainingFile, p.WeightsSHA256)
	}
	if err != nil {
		m.Close()
		return nil, nil, err
	}
	return m, p, nil
}

// SavePretraining writes the module with its manifest, whole or not at all. weights_sha256 is computed anew.
func SavePretraining(ctx context.Context, s *torch.Scope, m *torch.Module, p *Pretraining, path string) error {
	digest, err := WeightsSHA256(ctx, s, m)
	if err != nil {
		return fmt.Errorf("save %s: %w", p.Name, err)
	}
	p.WeightsSHA256 = digest
	text, err := json.MarshalIndent(p, "", " ")
	if err != nil {
		return fmt.Errorf("save %s: %w", p.Name, err)
	}
	return m.Save(path, map[string][]byte{pretrainingFile: append(text, '\n')})
}

// Tolerances of Verify: the losses are means over some hundred terms, and the norm is that of all gradients together.
const (
	pretrainTolerance     = 1e-4
	pretrainGradTolerance = 1e-3
)

// Verify replays the check on a copy of m, at the first three calls. An error that wraps ErrRefused says what differs from
// what eager PyTorch computed.
func (p *Pretraining) Verify(ctx context.Context, s *torch.Scope, m *torch.Module, d torch.Device) error {
	filled, err := m.Clone()
	if err != nil {
		return err
	}
	defer filled.Close()
	if err := fillTensors(ctx, s, filled, p.Check.Seed, p.Check.Fill); err != nil {
		return fmt.Errorf("check of %s: %w", p.Name, err)
	}
	if err := filled.SetRequiresGrad(true); err != nil {
		return err
	}
	if err := filled.SetTraining(true); err != nil {
		return err
	}
	for call := range 3 {
		err := s.Step(func(s *torch.Scope) error {
			values, err := filled.Objective(s, 1, torch.Float32, p.checkInputs(s, filled, d)...)
			if err != nil {
				return err
			}
			if len(values) != len(p.Check.Values) {
				return fmt.Errorf("%w: it returns %d values, %d are recorded", ErrRefused, len(values), len(p.Check.Values))
			}
			for i, want := range p.Check.Values {
				if !near(values[i], want, pretrainTolerance) {
					return fmt.Errorf("%w: call %d computes %v, eager PyTorch computed %v", ErrRefused, call+1, values, p.Check.Values)
				}
			}
			norm, err := filled.ClipGradNorm(math.MaxFloat64)
			if err != nil {
				return err
			}
			if !near(norm, p.Check.GradNorm, pretrainGradTolerance) {
				return fmt.Errorf("%w: the gradient of call %d has norm %v, that of eager PyTorch %v", ErrRefused, call+1, norm, p.Check.GradNorm)
			}
			return filled.ZeroGrad()
		})
		if err != nil {
			return fmt.Errorf("check of %s: %w", p.Name, err)
		}
	}
	return nil
}

func near(got, want, tolerance float64) bool { return math.Abs(got-want) <= tolerance*math.Abs(want) }

// checkInputs are the inputs of the check, see scripts/satexport/selfsup.py.
func (p *Pretraining) checkInputs(s *torch.Scope, m *torch.Module, d torch.Device) []torch.Tensor {
	n, c, h, w := p.Check.Batch, p.InputSize[0], p.InputSize[1], p.InputSize[2]
	var views [2]torch.Tensor
	for i := range views {
		x := s.ToDevice(s.FromFloat32(checkImages(p.Check.Seed+uint64(i), n, c, h, w), n, c, h, w), d)
		views[i] = p.Normalise(s, x, d)
	}
	if p.Method == MAE {
		draws := newCheckStream(p.Check.Seed, "order")
		order := make([]int64, 0, n*p.Patches)
		for i := range n {
			row := make([]int64, p.Patches)
			for k := range row {
				row[k] = int64(k)
			}
			slices.SortStableFunc(row, func(a, b int64) int {
				ua, ub := draws.bits(i*p.Patches+int(a))>>11, draws.bits(i*p.Patches+int(b))>>11
				switch {
				case ua < ub:
					return -1
				case ua > ub:
					return 1
				}
				return 0
			})
			order = append(order, row...)
		}
		return []torch.Tensor{views[0], s.ToDevice(s.FromInt64(order, n, p.Patches), d)}
	}
	inputs := views[:]
	for _, x := range views {
		inputs = append(inputs, m.Call(s, "keys", torch.Float32, x)...)
	}
	return inputs
}

// Normalise is (x - mean)/std per channel for images [N,C,H,W] in [0,1] on d.
func (p *Pretraining) Normalise(s *torch.Scope, x torch.Tensor, d torch.Device) torch.Tensor {
	channels := func(v []float32) torch.Tensor { return s.ToDevice(s.FromFloat32(v, 1, len(v), 1, 1), d) }
	return s.Div(s.Sub(x, channels(p.Mean)), channels(p.Std))
}

// IsHead reports whether a tensor of that name belongs to the classifier of a vision transformer: what fine-tuning starts
// anew, and all that a linear probe trains.
func IsHead(name string) bool {
	return strings.HasPrefix(name, "head.") || strings.HasPrefix(name, "head_dist.")
}

// startsAnew lists tensors, beside the head, that a classifier may have and its encoder not: the norm of averaged tokens.
func startsAnew(name string) bool { return IsHead(name) || strings.HasPrefix(name, "fc_norm.") }

// isDropped lists tensors that an encoder may have and the classifier not: the norm of all tokens, where the average is normed.
func isDropped(name string) bool { return strings.HasPrefix(name, "norm.") }

// CopyEncoder gives classifier the weights of the encoder in a pre-training module. Its head, and the norm of averaged tokens,
// stay as they are. Every other tensor must have its counterpart.
func CopyEncoder(ctx context.Context, s *torch.Scope, classifier, pretraining *torch.Module) error {
	encoder := map[string][]int{}
	for _, t := range pretraining.Tensors() {
		if name, ok := strings.CutPrefix(t.Name, EncoderPrefix); ok {
			encoder[name] = t.Shape
		}
	}
	for _, t := range classifier.Tensors() {
		if err := ctx.Err(); err != nil {
			return err
		}
		shape, known := encoder[t.Name]
		delete(encoder, t.Name)
		switch {
		case !known && startsAnew(t.Name):
			continue
		case !known:
			return fmt.Errorf("the pre-trained encoder has no tensor %s: it is another network", t.Name)
		case !slices.Equal(shape, t.Shape):
			return fmt.Errorf("tensor %s is %v in the pre-trained encoder and %v in the classifier: they are different networks", t.Name, shape, t.Shape)
		}
		err := s.Step(func(s *torch.Scope) error {
			return classifier.Set(s, t.Name, pretraining.Get(s, EncoderPrefix+t.Name))
		})
		if err != nil {
			return err
		}
	}
	for name := range encoder {
		if !isDropped(name) {
			return fmt.Errorf("the classifier has no tensor %s of the pre-trained encoder: it is another network", name)
		}
	}
	return nil
}
