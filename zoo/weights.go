package zoo

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"math"
	"slices"
	"strings"

	"sat/internal/rng"
	"sat/torch"
)

// WeightsSHA256 is the digest of a module's parameters and buffers in byte order of their names: for each, NAME \0 DTYPE
// \0 D1,D2,... \0 and the elements in row-major order, little-endian.
func WeightsSHA256(ctx context.Context, s *torch.Scope, m *torch.Module) (string, error) {
	tensors := m.Tensors()
	slices.SortFunc(tensors, func(a, b torch.TensorInfo) int { return strings.Compare(a.Name, b.Name) })
	digest := sha256.New()
	for _, t := range tensors {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		err := s.Step(func(s *torch.Scope) error {
			fmt.Fprintf(digest, "%s\x00%s\x00%s\x00", t.Name, t.DType, joinInts(t.Shape))
			return hashElements(digest, s, s.ToDevice(m.Get(s, t.Name), torch.CPU), t)
		})
		if err != nil {
			return "", fmt.Errorf("digest of tensor %s: %w", t.Name, err)
		}
	}
	return hex.EncodeToString(digest.Sum(nil)), nil
}

func joinInts(v []int) string {
	var b strings.Builder
	for i, n := range v {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprint(&b, n)
	}
	return b.String()
}

// hashElements writes the elements of t to the digest. Only copies of float32, float64, int64 and uint8 leave a tensor, so
// the narrow integer types go through a wider one, which loses nothing.
func hashElements(digest hash.Hash, s *torch.Scope, t torch.Tensor, info torch.TensorInfo) error {
	switch info.DType {
	case torch.Float32:
		return hashSlice(digest, t.Float32s, 4, func(b []byte, v float32) {
			binary.LittleEndian.PutUint32(b, math.Float32bits(v))
		})
	case torch.Float64:
		return hashSlice(digest, t.Float64s, 8, func(b []byte, v float64) {
			binary.LittleEndian.PutUint64(b, math.Float64bits(v))
		})
	case torch.Int64:
		return hashSlice(digest, t.Int64s, 8, func(b []byte, v int64) { binary.LittleEndian.PutUint64(b, uint64(v)) })
	case torch.Int32:
		return hashSlice(digest, s.To(t, torch.Int64).Int64s, 4, func(b []byte, v int64) {
			binary.LittleEndian.PutUint32(b, uint32(v))
		})
	case torch.Uint8, torch.Bool:
		return hashSlice(digest, s.To(t, torch.Uint8).Uint8s, 1, func(b []byte, v uint8) { b[0] = v })
	default:
		return fmt.Errorf("module files do not hold elements of type %s", info.DType)
	}
}

func hashSlice[T any](digest hash.Hash, read func() ([]T, error), size int, put func([]byte, T)) error {
	values, err := read()
	if err != nil {
		return err
	}
	buffer := make([]byte, 0, 64<<10)
	for chunk := range slices.Chunk(values, cap(buffer)/size) {
		buffer = buffer[:len(chunk)*size]
		for i, v := range chunk {
			put(buffer[i*size:], v)
		}
		digest.Write(buffer)
	}
	return nil
}

// InitWeights sets every tensor of m by its rule, with random numbers that depend on seed and the tensor's name alone.
// There must be exactly one rule for each tensor.
func InitWeights(ctx context.Context, s *torch.Scope, m *torch.Module, rules []InitRule, seed uint64) error {
	tensors := map[string]torch.TensorInfo{}
	for _, t := range m.Tensors() {
		tensors[t.Name] = t
	}
	done := map[string]bool{}
	for _, r := range rules {
		if err := ctx.Err(); err != nil {
			return err
		}
		t, ok := tensors[r.Tensor]
		switch {
		case !ok:
			return fmt.Errorf("initialise weights: the module has no tensor %s", r.Tensor)
		case done[r.Tensor]:
			return fmt.Errorf("initialise weights: two rules for tensor %s", r.Tensor)
		}
		done[r.Tensor] = true
		err := r.validate()
		if err == nil && r.Kind != "keep" {
			err = s.Step(func(s *torch.Scope) error { return r.apply(s, m, t, seed) })
		}
		if err != nil {
			return fmt.Errorf("initialise tensor %s: %w", r.Tensor, err)
		}
	}
	for name := range tensors {
		if !done[name] {
			return fmt.Errorf("initialise weights: no rule for tensor %s", name)
		}
	}
	return nil
}

func (r InitRule) apply(s *torch.Scope, m *torch.Module, t torch.TensorInfo, seed uint64) error {
	if r.Kind == "constant" {
		return m.Set(s, t.Name, s.Full(r.Value, t.Shape...))
	}
	values, err := r.draw(t.Elements(), rng.New(seed, "init", rng.ID(t.Name)))
	if err != nil {
		return err
	}
	return m.Set(s, t.Name, s.FromFloat32(values, t.Shape...))
}

// draw returns n elements. Random ones are computed in float64 and rounded once; conversions keep products unfused, so that
// all processors give the same weights.
func (r InitRule) draw(n int, random *rng.Stream) ([]float32, error) {
	out := make([]float32, n)
	switch r.Kind {
	case "normal":
		for i := range out {
			out[i] = float32(r.Mean + float64(r.Std*random.Normal()))
		}
	case "trunc_normal":
		// Inverse of the distribution function on the stretch of probabilities between the cuts.
		low, high := normalCDF((r.Low-r.Mean)/r.Std), normalCDF((r.High-r.Mean)/r.Std)
		for i := range out {
			p := low + float64((high-low)*random.Float64())
			v := r.Mean + float64(r.Std*math.Sqrt2*math.Erfinv(2*p-1))
			out[i] = float32(min(max(v, r.Low), r.High))
		}
	case "uniform":
		random.FillUniform(out, float32(r.Low), float32(r.High))
	case "values":
		rest := out
		for _, run := range r.Runs {
			count := int(run[0])
			if count > len(rest) {
				return nil, fmt.Errorf("the runs hold more than %d elements", n)
			}
			for i := range rest[:count] {
				rest[i] = float32(run[1])
			}
			rest = rest[count:]
		}
		if len(rest) > 0 {
			return nil, fmt.Errorf("the runs hold %d elements of %d", n-len(rest), n)
		}
	default:
		return nil, fmt.Errorf("unknown kind %q", r.Kind)
	}
	return out, nil
}

// normalCDF is the standard normal distribution function.
func normalCDF(x float64) float64 { return (1 + math.Erf(x/math.Sqrt2)) / 2 }
