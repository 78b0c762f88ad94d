package zoo

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sat/internal/store"
	"sat/torch"
)

// Tolerances of the replay, see the package comment.
const (
	exactTolerance         = 1e-5 // same kernels, or float64 anywhere: logits and gradient
	elsewhereLogits        = 1e-4
	elsewhereGradient      = 3e-2
	selfRepeatTolerance    = 1e-5 // one input twice
	selfBatchLogits        = 1e-4 // one image in two batches
	selfBatchGradient      = 3e-2
	scatterFactor          = 4 // how much more than another layout lowering may change the results
	probabilityTolerance   = 1e-5
	selfCheckSeed          = 0
	selfCheckSmall         = 2
	selfCheckLarge         = 3
	checkCalls             = 10
	verificationCacheLabel = "sat-verified/1"
)

// comparedCalls are the calls whose result is looked at: TorchScript optimises a graph during the first calls, and its
// wrong gradients appeared from the third on.
var comparedCalls = []int{1, 3, 10}

// Difference is how far a network's results are from the recorded ones.
type Difference struct {
	Logits   float64 `json:"logits"`   // largest difference relative to the largest recorded logit
	Gradient float64 `json:"gradient"` // relative L2 over the batch
}

// VerifyResult is what Verify found out about one file.
type VerifyResult struct {
	Name     string `json:"name"`
	Path     string `json:"path"`
	Device   string `json:"device"`
	Recorded bool   `json:"recorded"` // compared with recorded gradients; false: self-checks only
	// SameKernels says that this is the kind of CPU that made the record, and one thread per operation, as then.
	SameKernels bool `json:"same_kernels"`
	// Float32 is the worst over calls and batch sizes. Of a file without record it is the worst over repetitions.
	Float32 Difference `json:"float32"`
	// Float64 is the same in double precision, computed where the kernels are others.
	Float64 *Difference `json:"float64,omitempty"`
	// Lowered is the same of the network lowered in float32, if its mode asks for lowering, against the record. Of a file
	// without one it is the distance from the network as it is.
	Lowered  *Difference `json:"lowered,omitempty"`
	Calls    []int       `json:"calls"`
	Batches  []int       `json:"batches"`
	Classes  int         `json:"classes"`
	Warnings []string    `json:"warnings,omitempty"`
}

// Verify loads the module file at path and checks it as Load does, always replaying the recorded gradients. An error that
// wraps ErrRefused says why the file cannot be trusted; the result then holds what was measured until then.
func Verify(ctx context.Context, path string, o LoadOptions) (VerifyResult, error) {
	o.CacheDir = ""
	m, err := Load(ctx, path, o)
	if err != nil {
		var refused *refusal
		if errors.As(err, &refused) {
			return refused.result, err
		}
		return VerifyResult{Path: path, Device: o.Device.String()}, err
	}
	defer m.Close()
	return m.verified, nil
}

// refusal carries the measurements that led to it.
type refusal struct {
	result VerifyResult
	reason string
}

func (r *refusal) Error() string { return r.reason }

func (r *refusal) Unwrap() error { return ErrRefused }

func (v VerifyResult) refuse(format string, args ...any) error {
	return &refusal{result: v, reason: fmt.Sprintf("model %s %v: %s", v.Name, ErrRefused, fmt.Sprintf(format, args...))}
}

// cpuKind is what decides which kernels libtorch runs, and so how numbers round. The exporter writes the same text.
func cpuKind(info torch.Info) string {
	kind := info.Capability
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return kind // not Linux; the capability alone has to do
	}
	for line := range strings.Lines(string(text)) {
		if key, model, ok := strings.Cut(line, ":"); ok && strings.HasPrefix(key, "model name") {
			return strings.TrimSpace(kind + " " + strings.TrimSpace(model))
		}
	}
	return kind
}

// recordedBatch is one batch of sat-check.bin.
type recordedBatch struct {
	n                int
	logits, gradient []float32
}

// batchFloats is the number of recorded values of a batch of n.
func (m *Manifest) batchFloats(n int) int {
	return n * (m.Classes + m.InputSize[0]*m.InputSize[1]*m.InputSize[2])
}

// checkRecorded compares sat-check.bin with what the manifest says of it.
func (m *Manifest) checkRecorded() error {
	size := 0
	for _, n := range m.Check.Batches {
		size += 4 * m.batchFloats(n)
	}
	if m.Check.Float64 {
		size *= 2
	}
	if len(m.recorded) != size {
		return fmt.Errorf("%s has %d bytes, the manifest describes %d: %w", m.Check.File, len(m.recorded), size, ErrRefused)
	}
	if digest := sha256.Sum256(m.recorded); hex.EncodeToString(digest[:]) != m.Check.SHA256 {
		return fmt.Errorf("%s was altered, its SHA-256 is not the one in the manifest: %w", m.Check.File, ErrRefused)
	}
	return nil
}

// batches decodes the record in float32 or float64 precision.
func (m *Manifest) batches(dtype torch.DType) []recordedBatch {
	rest := m.recorded
	if dtype == torch.Float64 {
		rest = rest[len(rest)/2:]
	}
	next := func(n int) []float32 {
		out := make([]float32, n)
		for i := range out {
			out[i] = math.Float32frombits(binary.LittleEndian.Uint32(rest[4*i:]))
		}
		rest = rest[4*n:]
		return out
	}
	var out []recordedBatch
	for _, n := range m.Check.Batches {
		logits := next(n * m.Classes)
		out = append(out, recordedBatch{n: n, logits: logits, gradient: next(m.batchFloats(n) - len(logits))})
	}
	return out
}

// replay compares a copy of module with the record and fills in v.
func (m *Manifest) replay(ctx context.Context, s *torch.Scope, module *torch.Module, d torch.Device, v *VerifyResult) error {
	info, err := torch.Describe()
	if err != nil {
		return err
	}
	v.Recorded, v.SameKernels = true, d.Type == torch.DeviceCPU && cpuKind(info) == m.Check.CPU && info.Threads == 1
	v.Calls, v.Batches = comparedCalls, m.Check.Batches
	filled, err := m.filledCopy(ctx, s, module)
	if err != nil {
		return err
	}
	defer filled.Close()
	logits, gradient := exactTolerance, exactTolerance
	if !v.SameKernels {
		logits, gradient = elsewhereLogits, elsewhereGradient
	}
	if v.Float32, err = m.compare(ctx, s, filled, d, torch.Float32); err != nil {
		return err
	}
	if err := v.judge("float32", v.Float32, logits, gradient); err != nil || v.SameKernels || !m.Check.Float64 {
		return err
	}
	if err := filled.To(d, torch.Float64); err != nil {
		return err
	}
	difference, err := m.compare(ctx, s, filled, d, torch.Float64)
	if err != nil {
		return err
	}
	v.Float64 = &difference
	return v.judge("float64", difference, exactTolerance, exactTolerance)
}

// replayLowered is replay of a copy lowered in float32: what is rearranged shows there, without the rounding of bfloat16, for
// which the same is rearranged.
func (m *Manifest) replayLowered(ctx context.Context, s *torch.Scope, module *torch.Module, d torch.Device, v *VerifyResult) error {
	filled, err := m.filledCopy(ctx, s, module)
	if err != nil {
		return err
	}
	defer filled.Close()
	if err := filled.Lower(torch.Float32); err != nil {
		return err
	}
	difference, err := m.compare(ctx, s, filled, d, torch.Float32)
	if err != nil {
		return err
	}
	v.Lowered = &difference
	return v.judgeLowered(Difference{})
}

// judgeLowered refuses a network that lowering changes by more than rounding does; scatter is what rounding alone was seen to
// do to it.
func (v *VerifyResult) judgeLowered(scatter Difference) error {
	logits, gradient := max(elsewhereLogits, scatterFactor*scatter.Logits), max(elsewhereGradient, scatterFactor*scatter.Gradient)
	if d := v.Lowered; !(d.Logits <= logits && d.Gradient <= gradient) { // negated, so that NaN fails
		return v.refuse("lowering it changes its logits by %.3g and its input gradients by %.3g (relative); %.2g and %.2g are "+
			"allowed. It can be used in float32 without lowering", d.Logits, d.Gradient, logits, gradient)
	}
	return nil
}

func (v *VerifyResult) judge(precision string, d Difference, logits, gradient float64) error {
	// Negated, so that NaN fails.
	if !(d.Logits <= logits) {
		return v.refuse("in %s on %s its logits differ by %.3g (relative) from those recorded when it was exported; "+
			"%.0e is allowed", precision, v.Device, d.Logits, logits)
	}
	if !(d.Gradient <= gradient) {
		return v.refuse("in %s on %s its input gradients differ by %.3g (relative L2) from those recorded when it was "+
			"exported; %.0e is allowed", precision, v.Device, d.Gradient, gradient)
	}
	return nil
}

// filledCopy returns a copy of module with its tensors set as the check says.
func (m *Manifest) filledCopy(ctx context.Context, s *torch.Scope, module *torch.Module) (*torch.Module, error) {
	filled, err := module.Clone()
	if err != nil {
		return nil, err
	}
	if err := fillTensors(ctx, s, filled, m.Check.Seed, m.Check.Fill); err != nil {
		filled.Close()
		return nil, err
	}
	return filled, nil
}

func fillTensors(ctx context.Context, s *torch.Scope, module *torch.Module, seed uint64, fill []FillRule) error {
	shapes := map[string][]int{}
	for _, t := range module.Tensors() {
		shapes[t.Name] = t.Shape
	}
	for _, f := range fill {
		if err := ctx.Err(); err != nil {
			return err
		}
		shape, ok := shapes[f.Tensor]
		if !ok {
			return fmt.Errorf("the check fills tensor %s, which the module does not have: %w", f.Tensor, ErrRefused)
		}
		n := 1
		for _, d := range shape {
			n *= d
		}
		err := s.Step(func(s *torch.Scope) error {
			return module.Set(s, f.Tensor, s.FromFloat32(fillValues(seed, f.Tensor, n, f.Low, f.High), shape...))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// compare runs module, whose floating-point tensors are of dtype, checkCalls times in turn on the batches of the check and
// returns the worst difference over the compared calls, which see every batch size.
func (m *Manifest) compare(ctx context.Context, s *torch.Scope, module *torch.Module, d torch.Device, dtype torch.DType) (Difference, error) {
	var worst Difference
	batches := m.batches(dtype)
	c, h, w := m.InputSize[0], m.InputSize[1], m.InputSize[2]
	for call := 1; call <= checkCalls; call++ {
		compared := slices.Contains(comparedCalls, call)
		for i, b := range batches {
			if !compared && i != call%len(batches) {
				continue
			}
			if err := ctx.Err(); err != nil {
				return Difference{}, err
			}
			err := s.Step(func(s *torch.Scope) error {
				x := s.To(s.FromFloat32(checkImages(m.Check.Seed, b.n, c, h, w), b.n, c, h, w), dtype)
				y := s.FromInt64(checkLabels(m.Check.Seed, b.n, m.Classes), b.n)
				grad, logits, _ := module.InputGrad(s, s.ToDevice(x, d), s.ToDevice(y, d),
					torch.GradOptions{Mean: m.Mean, Std: m.Std, Loss: torch.LossCrossEntropy})
				if !compared {
					return nil
				}
				z, err := s.To(logits, torch.Float32).Float32s()
				if err != nil {
					return err
				}
				g, err := s.To(grad, torch.Float32).Float32s()
				if err != nil {
					return err
				}
				if len(z) != len(b.logits) {
					return fmt.Errorf("%d logits for %d images, the manifest says %d classes: %w", len(z), b.n, m.Classes, ErrRefused)
				}
				worst.Logits = maxNaN(worst.Logits, relativeMax(z, b.logits))
				worst.Gradient = maxNaN(worst.Gradient, relativeL2(g, b.gradient))
				return nil
			})
			if err != nil {
				return Difference{}, fmt.Errorf("replay of the check, call %d, batch of %d: %w", call, b.n, err)
			}
		}
	}
	return worst, nil
}

// maxNaN is the larger number, or NaN if one is: a difference that cannot be measured is not a small one.
func maxNaN(a, b float64) float64 {
	if math.IsNaN(a) || math.IsNaN(b) {
		return math.NaN()
	}
	return max(a, b)
}

// relativeMax is max |got - want| / max |want|.
func relativeMax(got, want []float32) float64 {
	var difference, largest float64
	for i := range want {
		difference = maxNaN(difference, math.Abs(float64(got[i])-float64(want[i])))
		largest = max(largest, math.Abs(float64(want[i])))
	}
	return quotient(difference, largest)
}

// relativeL2 is |got - want| / |want|.
func relativeL2(got, want []float32) float64 {
	var difference, norm float64
	for i := range want {
		d := float64(got[i]) - float64(want[i])
		difference += d * d
		norm += float64(want[i]) * float64(want[i])
	}
	return quotient(math.Sqrt(difference), math.Sqrt(norm))
}

func quotient(difference, norm float64) float64 {
	if difference == 0 {
		return 0
	}
	return difference / norm
}

// selfCheck is what can be checked of a file without record. It returns the number of classes. Its images are the seeded
// ones of the record; the label is the least likely class, so that the loss cannot be saturated. lower asks for a
// comparison with the network lowered in float32.
func (m *Model) selfCheck(ctx context.Context, s *torch.Scope, lower bool, v *VerifyResult) error {
	v.Calls, v.Batches = []int{1, 2, 3}, []int{selfCheckSmall, selfCheckLarge}
	pixels := checkImages(selfCheckSeed, selfCheckLarge, m.channels, m.height, m.width)
	images := m.channels * m.height * m.width
	run := func(n int, labels []int64) (grad, logits []float32, err error) {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		err = s.Step(func(s *torch.Scope) error {
			x := s.FromFloat32(pixels[:n*images], n, m.channels, m.height, m.width)
			if logits, err = m.forward(s, s.ToDevice(x, m.device), n); err != nil || labels == nil {
				return err
			}
			g, _, _ := m.module.InputGrad(s, s.ToDevice(x, m.device), s.ToDevice(s.FromInt64(labels[:n], n), m.device), m.gradOptions())
			grad, err = g.Float32s()
			return err
		})
		return grad, logits, err
	}

	_, logits, err := run(selfCheckLarge, nil)
	if err != nil {
		return err
	}
	m.classes = len(logits) / selfCheckLarge
	v.Classes = m.classes
	if i := slices.IndexFunc(logits, notFinite); i >= 0 {
		return v.refuse("logit %d of a test image is %v", i%m.classes, logits[i])
	}
	labels := make([]int64, selfCheckLarge)
	for i := range labels {
		row := logits[i*m.classes : (i+1)*m.classes]
		labels[i] = int64(slices.Index(row, slices.Min(row)))
	}
	if probabilities(logits, m.classes) {
		v.Warnings = append(v.Warnings, "its outputs look like probabilities; the attacks expect logits, and the gradient of "+
			"a cross-entropy of probabilities is weak")
	}

	var first, last []float32
	for call := range v.Calls {
		grad, again, err := run(selfCheckLarge, labels)
		if err != nil {
			return err
		}
		if i := slices.IndexFunc(grad, notFinite); i >= 0 {
			return v.refuse("the input gradient of a test image is %v", grad[i])
		}
		if call == 0 {
			first = grad
		}
		last = grad
		v.Float32.Logits = maxNaN(v.Float32.Logits, relativeMax(again, logits))
		v.Float32.Gradient = maxNaN(v.Float32.Gradient, relativeL2(last, first))
	}
	if !(v.Float32.Logits <= selfRepeatTolerance && v.Float32.Gradient <= selfRepeatTolerance) {
		return v.refuse("the same images give different results from call to call (logits by %.3g, gradient by %.3g, relative): "+
			"was it saved in train mode?", v.Float32.Logits, v.Float32.Gradient)
	}
	for i := range selfCheckLarge {
		if !slices.ContainsFunc(first[i*images:(i+1)*images], func(g float32) bool { return g != 0 }) {
			return v.refuse("the input gradient of test image %d is zero, so it cannot be attacked by gradients", i)
		}
	}
	grad, few, err := run(selfCheckSmall, labels)
	if err != nil {
		return v.refuse("it does not run with a batch of %d: %v", selfCheckSmall, err)
	}
	dLogits := relativeMax(few, logits[:len(few)])
	dGradient := relativeL2(grad, first[:len(grad)])
	if !(dLogits <= selfBatchLogits && dGradient <= selfBatchGradient) {
		return v.refuse("its results for an image depend on the rest of the batch (logits by %.3g, gradient by %.3g, relative)",
			dLogits, dGradient)
	}
	if !lower {
		return nil
	}
	whole := m.module
	defer func() { m.module = whole }()
	changed := func(change func(*torch.Module) error) (d Difference, err error) {
		if m.module, err = whole.Clone(); err != nil {
			return d, err
		}
		defer m.module.Close()
		if err := change(m.module); err != nil {
			return d, err
		}
		grad, again, err := run(selfCheckLarge, labels)
		return Difference{Logits: relativeMax(again, logits), Gradient: relativeL2(grad, first)}, err
	}
	d, err := changed(func(c *torch.Module) error { return c.Lower(torch.Float32) })
	if err != nil {
		return err
	}
	v.Lowered = &d
	if v.judgeLowered(Difference{}) == nil {
		return nil
	}
	// Does any change in rounding do that to this network? Another layout in memory is one.
	scatter, err := changed(func(c *torch.Module) error { return c.SetChannelsLast(true) })
	if err != nil {
		return err
	}
	v.Warnings = append(v.Warnings, fmt.Sprintf("rounding alone changes its logits by %.2g and its input gradients by %.2g "+
		"(relative), so that its results will not repeat on another kind of CPU", scatter.Logits, scatter.Gradient))
	return v.judgeLowered(scatter)
}

func notFinite(v float32) bool { return math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) }

// probabilities reports whether every row lies in [0,1] and sums to 1.
func probabilities(logits []float32, classes int) bool {
	for row := range slices.Chunk(logits, classes) {
		sum := 0.0
		for _, z := range row {
			if !(z >= -probabilityTolerance && z <= 1+probabilityTolerance) {
				return false
			}
			sum += float64(z)
		}
		if math.Abs(sum-1) > probabilityTolerance {
			return false
		}
	}
	return true
}

// verifiedBefore returns the result of an earlier replay of the same file by the same libtorch on the same kind of device.
// Any trouble with the cache means that there is none.
func verifiedBefore(path, dir string, d torch.Device) (cache string, v *VerifyResult, err error) {
	info, err := torch.Describe()
	if err != nil {
		return "", nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return "", nil, err
	}
	defer f.Close()
	digest := sha256.New()
	if _, err := io.Copy(digest, f); err != nil {
		return "", nil, fmt.Errorf("digest of %s: %w", path, err)
	}
	fmt.Fprintf(digest, "\x00%s\x00%s\x00%s\x00%s", verificationCacheLabel, info.Version, d, cpuKind(info))
	cache = filepath.Join(dir, "verified-"+hex.EncodeToString(digest.Sum(nil)[:16])+".json")
	text, err := os.ReadFile(cache)
	if err != nil {
		return cache, nil, nil
	}
	v = new(VerifyResult)
	if err := json.Unmarshal(text, v); err != nil || !v.Recorded {
		return cache, nil, nil
	}
	return cache, v, nil
}

func rememberVerified(cache string, v VerifyResult) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return store.WriteBytes(cache, append(text, '\n'))
}
