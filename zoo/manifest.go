package zoo

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"sat/torch"
)

// Format is the newest format of module files that this package reads, and the one that it writes.
const Format = 1

// Names of the extra files in a module file.
const (
	manifestFile = "sat.json"
	checkFile    = "sat-check.bin"
)

// Errors that callers test with errors.Is.
var (
	// ErrNoManifest reports a TorchScript file without sat.json.
	ErrNoManifest = errors.New("no sat.json in the file")
	// ErrRefused reports a module that is not what it says it is, or that cannot be trusted.
	ErrRefused = errors.New("refused")
)

// Manifest is sat.json.
type Manifest struct {
	Format         int               `json:"format"`
	Name           string            `json:"name"`
	Alias          string            `json:"alias"` // the paper's name; may be empty
	Timm           Timm              `json:"timm"`
	Torch          string            `json:"torch"`      // version that made the file
	InputSize      [3]int            `json:"input_size"` // channels, height, width
	Mean           []float32         `json:"mean"`       // per channel, of pixels in [0,1]
	Std            []float32         `json:"std"`
	Interpolation  string            `json:"interpolation"` // of the evaluation transform
	CropPct        float64           `json:"crop_pct"`
	Classes        int               `json:"classes"`
	Kind           string            `json:"kind"`      // scripted or traced; a trace cannot be trained
	Heads          int               `json:"heads"`     // 2: logits of two classifiers
	Attention      bool              `json:"attention"` // attention maps are a second output, one per layer
	AttentionShape *AttentionShape   `json:"attention_shape,omitempty"`
	Weights        Weights           `json:"weights"`
	WeightsSHA256  string            `json:"weights_sha256"` // see WeightsSHA256
	Init           []InitRule        `json:"init"`           // one rule per tensor
	Check          Check             `json:"check"`
	Components     map[string]string `json:"components"` // ComponentNames to values; may be empty

	recorded []byte // contents of sat-check.bin
}

// Timm says how timm builds the network.
type Timm struct {
	Version  string          `json:"version"`
	Model    string          `json:"model"` // for create_model; or
	Class    string          `json:"class"` // path of a class inside timm
	Name067  string          `json:"name_0_6_7"`
	Kwargs   json.RawMessage `json:"kwargs"`
	Restored string          `json:"restored"` // what was changed to compute what timm 0.6.7 computes
}

// Weights says where the weights came from.
type Weights struct {
	Source string `json:"source"` // one of the Weights constants, or "trained"
	Seed   uint64 `json:"seed"`   // of random and trained weights
	Tag    string `json:"tag,omitempty"`
	File   string `json:"file,omitempty"`
	Run    string `json:"run,omitempty"` // what trained them
}

// Random reports whether nothing has trained the weights.
func (w Weights) Random() bool { return w.Source == WeightsRandom || w.Source == WeightsNonDegenerate }

// InitRule says how one tensor is initialised.
type InitRule struct {
	Tensor string `json:"tensor"`
	// Kind is one of
	//   constant     all elements Value
	//   normal       independent, N(Mean, Std^2)
	//   trunc_normal the same, restricted to [Low, High]
	//   uniform      independent, uniform in [Low, High)
	//   values       run-length coded: Runs of [count, value]
	//   keep         a buffer that no seed changes and no training touches (index tables): left as it is
	Kind  string       `json:"kind"`
	Value float64      `json:"value,omitempty"`
	Mean  float64      `json:"mean,omitempty"`
	Std   float64      `json:"std,omitempty"`
	Low   float64      `json:"low,omitempty"`
	High  float64      `json:"high,omitempty"`
	Runs  [][2]float64 `json:"runs,omitempty"`
}

// Check defines seeded weights and inputs, and points to what eager PyTorch computed for them: in sat-check.bin, for each
// batch size, logits [N,K] and pixel gradients [N,C,H,W] as little-endian float32; then, if Float64, the same computed in
// float64. Images are in [0,1] and labels integers, see checkImages and checkLabels.
type Check struct {
	Generator string     `json:"generator"` // algorithm of the numbers, see uniformBits
	Seed      uint64     `json:"seed"`
	Fill      []FillRule `json:"fill"` // tensors that are not named keep their values
	Batches   []int      `json:"batches"`
	File      string     `json:"file"`
	SHA256    string     `json:"sha256"` // of the file
	Float64   bool       `json:"float64"`
	CPU       string     `json:"cpu"` // kind of processor, see cpuKind
}

// FillRule is the interval that the check draws one tensor from.
type FillRule struct {
	Tensor string  `json:"tensor"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
}

// ReadManifest returns the manifest of the module file at path, or an error that wraps ErrNoManifest. It does not need
// libtorch and does not look at the weights.
func ReadManifest(path string) (*Manifest, error) {
	text, err := torch.ReadExtra(path, manifestFile)
	if errors.Is(err, fs.ErrNotExist) {
		if _, other := torch.ExtraFiles(path); other != nil {
			return nil, other // there is no file at all
		}
		return nil, fmt.Errorf("%s: %w", path, ErrNoManifest)
	}
	if err != nil {
		return nil, err
	}
	m, err := parseManifest(text)
	if err != nil {
		return nil, fmt.Errorf("sat.json of %s: %w", path, err)
	}
	if m.recorded, err = torch.ReadExtra(path, m.Check.File); err != nil {
		return nil, err
	}
	if err := m.checkRecorded(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return m, nil
}

// Name returns what the module file at path is called without further instruction: the name in its manifest, or the file
// name without extension.
func Name(path string) (string, error) {
	m, err := ReadManifest(path)
	if errors.Is(err, ErrNoManifest) {
		return stem(path), nil
	}
	if err != nil {
		return "", err
	}
	return m.Name, nil
}

func stem(path string) string {
	base := filepath.Base(path)
	return strings.TrimSuffix(base, filepath.Ext(base))
}

func parseManifest(text []byte) (*Manifest, error) {
	var version struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(text, &version); err != nil {
		return nil, err
	}
	if version.Format > Format {
		return nil, fmt.Errorf("format %d is newer than this program, which reads up to %d: %w", version.Format, Format,
			ErrRefused)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields() // a field that is ignored now would be lost by Save; new fields come with a new format
	m := new(Manifest)
	if err := d.Decode(m); err != nil {
		return nil, err
	}
	if err := m.validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return m, nil
}

func (m *Manifest) validate() error {
	if m.Format < 1 {
		return fmt.Errorf("format %d", m.Format)
	}
	if m.Name == "" || strings.ContainsAny(m.Name, "/\\\x00") {
		return fmt.Errorf("name %q cannot be the name of a file", m.Name)
	}
	for _, n := range m.InputSize {
		if n < 1 || n > 1<<16 {
			return fmt.Errorf("input size %v", m.InputSize)
		}
	}
	if err := checkNormalisation(m.Mean, m.Std, m.InputSize[0]); err != nil {
		return err
	}
	if !(m.CropPct > 0 && m.CropPct <= 1) {
		return fmt.Errorf("crop fraction %v is not in (0,1]", m.CropPct)
	}
	if !slices.Contains([]string{"nearest", "bilinear", "bicubic", "lanczos"}, m.Interpolation) {
		return fmt.Errorf("unknown interpolation %q", m.Interpolation)
	}
	if m.Classes < 1 || m.Classes > 1<<24 {
		return fmt.Errorf("%d classes", m.Classes)
	}
	if m.Kind != "scripted" && m.Kind != "traced" {
		return fmt.Errorf("unknown kind %q", m.Kind)
	}
	if m.Heads < 1 {
		return fmt.Errorf("%d heads", m.Heads)
	}
	if err := m.validateAttention(); err != nil {
		return err
	}
	named := map[string]bool{}
	for _, r := range m.Init {
		if named[r.Tensor] {
			return fmt.Errorf("two initialisation rules for tensor %s", r.Tensor)
		}
		named[r.Tensor] = true
		if err := r.validate(); err != nil {
			return fmt.Errorf("initialisation of tensor %s: %w", r.Tensor, err)
		}
	}
	return m.Check.validate(named)
}

func checkNormalisation(mean, std []float32, channels int) error {
	if len(mean) != channels || len(std) != channels {
		return fmt.Errorf("%d means and %d standard deviations for %d channels", len(mean), len(std), channels)
	}
	for i := range mean {
		if m, s := float64(mean[i]), float64(std[i]); math.IsNaN(m) || math.IsInf(m, 0) || !(s > 0) || math.IsInf(s, 0) {
			return fmt.Errorf("mean %v and standard deviation %v of channel %d", m, s, i)
		}
	}
	return nil
}

func (r InitRule) validate() error {
	switch r.Kind {
	case "constant", "keep":
		return nil
	case "normal":
		if !(r.Std > 0) {
			return fmt.Errorf("standard deviation %v is not positive", r.Std)
		}
		return nil
	case "trunc_normal":
		if !(r.Std > 0) {
			return fmt.Errorf("standard deviation %v is not positive", r.Std)
		}
		if !(r.Low < r.High) {
			return fmt.Errorf("empty interval [%v, %v]", r.Low, r.High)
		}
		if p := normalCDF((r.High-r.Mean)/r.Std) - normalCDF((r.Low-r.Mean)/r.Std); !(p > 0) {
			return fmt.Errorf("N(%v, %v^2) has nothing in [%v, %v]", r.Mean, r.Std, r.Low, r.High)
		}
		return nil
	case "uniform":
		if !(r.Low < r.High) {
			return fmt.Errorf("empty interval [%v, %v)", r.Low, r.High)
		}
		return nil
	case "values":
		for _, run := range r.Runs {
			if run[0] != math.Trunc(run[0]) || run[0] < 1 {
				return fmt.Errorf("a run of %v elements", run[0])
			}
		}
		return nil
	default:
		return fmt.Errorf("unknown kind %q", r.Kind)
	}
}

func (c *Check) validate(tensors map[string]bool) error {
	if c.Generator != generator {
		return fmt.Errorf("check with unknown generator %q", c.Generator)
	}
	if len(c.Batches) < 2 || len(c.Batches) > 16 {
		return fmt.Errorf("check with %d batch sizes; two are needed", len(c.Batches))
	}
	for _, n := range c.Batches {
		if n < 1 || n > 1024 {
			return fmt.Errorf("check with batch size %d", n)
		}
	}
	if c.File != checkFile {
		return fmt.Errorf("check in the file %q, not %s", c.File, checkFile)
	}
	filled := map[string]bool{}
	for _, f := range c.Fill {
		switch {
		case !tensors[f.Tensor]:
			return fmt.Errorf("the check fills tensor %s, which has no initialisation rule", f.Tensor)
		case filled[f.Tensor]:
			return fmt.Errorf("the check fills tensor %s twice", f.Tensor)
		case !(f.Low <= f.High):
			return fmt.Errorf("the check fills tensor %s from the empty interval [%v, %v)", f.Tensor, f.Low, f.High)
		}
		filled[f.Tensor] = true
	}
	return nil
}

// encode is the inverse of parseManifest.
func (m *Manifest) encode() ([]byte, error) {
	text, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return nil, err
	}
	return append(text, '\n'), nil
}
