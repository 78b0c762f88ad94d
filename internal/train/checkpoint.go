package train

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"

	"sat/internal/store"
	"sat/torch"
	"sat/zoo"
)

// Files in Job.Dir. The checkpoint is a TorchScript file whose extra files hold the rest of the state. The curve is a
// function of the job alone; what depends on the machine and the hour is kept apart from it.
const (
	CheckpointFile = "checkpoint.pt"
	CurveFile      = "curve.csv" // see curveColumns
	SpeedFile      = "speed.csv" // epoch, images_per_second, seconds, loader_wait
)

// Extra files of a checkpoint.
const (
	stateExtra     = "train.json"
	optimizerExtra = "optimizer.bin"
	averageExtra   = "average.bin" // with ema: the tensors of the averaged network, in the network's order
)

// Format changes with every change of what a job computes or a checkpoint holds. It is part of keys, so that no result and no
// checkpoint of an older program is taken for one of this.
const Format = 2

func (t *session) checkpoint() string { return filepath.Join(t.Dir, CheckpointFile) }

// savedCheckpoint is the checkpoint's path, "" when there is none.
func (t *session) savedCheckpoint() string {
	if !t.saved {
		return ""
	}
	return t.checkpoint()
}

// key identifies what determines a run. A checkpoint continues only a run of the same key.
func (j Job) key() (string, error) {
	module, err := store.FileDigest(j.Module)
	if err != nil {
		return "", err
	}
	encoder := ""
	if j.Encoder != "" {
		if encoder, err = store.FileDigest(j.Encoder); err != nil {
			return "", fmt.Errorf("pre-trained encoder: %w", err)
		}
	}
	text, err := json.Marshal(struct {
		Format             int
		Recipe             Recipe
		Seed               uint64
		Module, Train, Val string
		Teacher            *Teacher `json:",omitempty"`
		Encoder            string   `json:",omitempty"`
	}{Format, j.Recipe, j.Seed, module, j.Train.Key(), j.Val.Key(), j.Teacher, encoder})
	if err != nil {
		return "", err
	}
	key := sha256.Sum256(text)
	return hex.EncodeToString(key[:]), nil
}

// load fills the session from the checkpoint or, without one, from the network file and the seed.
func (t *session) load(ctx context.Context, s *torch.Scope) (err error) {
	path := t.checkpoint()
	var moments, averaged []byte
	switch _, err := os.Stat(path); {
	case errors.Is(err, fs.ErrNotExist):
		t.state.Key = t.key
		if t.module, _, err = zoo.OpenModule(ctx, s, t.Module, t.Device); err != nil {
			return err
		}
		if err := zoo.InitWeights(ctx, s, t.module, t.manifest.Init, t.Seed); err != nil {
			return err
		}
		if err := t.takeEncoder(ctx, s); err != nil {
			return err
		}
	case err != nil:
		return err
	default:
		var files map[string][]byte
		if t.module, files, err = torch.LoadModule(path, t.Device, stateExtra, optimizerExtra, averageExtra); err != nil {
			return err
		}
		if err := json.Unmarshal(files[stateExtra], &t.state); err != nil {
			return fmt.Errorf("checkpoint %s: %w", path, err)
		}
		if t.state.Key != t.key {
			return fmt.Errorf("checkpoint %s belongs to another recipe, seed, network or set of images; remove it to start over", path)
		}
		moments, averaged, t.resumed, t.saved = files[optimizerExtra], files[averageExtra], true, true
	}
	if err := t.module.SetRequiresGrad(true); err != nil {
		return err
	}
	if t.optimizer, err = torch.NewOptimizer(t.module, t.Recipe.OptimizerConfig(t.module.Tensors())); err != nil {
		return err
	}
	if t.resumed {
		if err := t.optimizer.SetState(moments); err != nil {
			return fmt.Errorf("checkpoint %s: %w", path, err)
		}
	}
	if t.Recipe.EMA > 0 {
		if t.average, err = t.module.Clone(); err != nil {
			return err
		}
		if t.resumed {
			if err := SetTensorBytes(s, t.average, averaged); err != nil {
				return fmt.Errorf("checkpoint %s: averaged weights: %w", path, err)
			}
		}
	}
	return nil
}

// TensorBytes returns the tensors of a network one after the other, little-endian: float32 for numbers that are not whole,
// int64 for the others.
func TensorBytes(s *torch.Scope, m *torch.Module) (out []byte, err error) {
	for _, info := range m.Tensors() {
		err := s.Step(func(s *torch.Scope) error {
			value := m.Get(s, info.Name)
			if info.DType.Floating() {
				floats, err := s.To(value, torch.Float32).Float32s()
				for _, v := range floats {
					out = binary.LittleEndian.AppendUint32(out, math.Float32bits(v))
				}
				return err
			}
			ints, err := s.To(value, torch.Int64).Int64s()
			for _, v := range ints {
				out = binary.LittleEndian.AppendUint64(out, uint64(v))
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// SetTensorBytes is the inverse of TensorBytes.
func SetTensorBytes(s *torch.Scope, m *torch.Module, data []byte) error {
	for _, info := range m.Tensors() {
		n, width := info.Elements(), 8
		if info.DType.Floating() {
			width = 4
		}
		if len(data) < n*width {
			return errors.New("they are truncated")
		}
		err := s.Step(func(s *torch.Scope) error {
			var value torch.Tensor
			if info.DType.Floating() {
				floats := make([]float32, n)
				for i := range floats {
					floats[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
				}
				value = s.FromFloat32(floats, info.Shape...)
			} else {
				ints := make([]int64, n)
				for i := range ints {
					ints[i] = int64(binary.LittleEndian.Uint64(data[8*i:]))
				}
				value = s.FromInt64(ints, info.Shape...)
			}
			return m.Set(s, info.Name, s.To(value, info.DType))
		})
		if err != nil {
			return err
		}
		data = data[n*width:]
	}
	if len(data) > 0 {
		return fmt.Errorf("%d bytes too many", len(data))
	}
	return nil
}

// save writes the checkpoint; the one before stays until the new one is complete.
func (t *session) save(s *torch.Scope) error {
	moments, err := t.optimizer.State()
	if err != nil {
		return fmt.Errorf("save checkpoint: %w", err)
	}
	text, err := json.Marshal(t.state)
	if err != nil {
		return fmt.Errorf("save checkpoint: %w", err)
	}
	if err := os.MkdirAll(t.Dir, 0o755); err != nil {
		return fmt.Errorf("save checkpoint: %w", err)
	}
	extra := map[string][]byte{stateExtra: text, optimizerExtra: moments}
	if t.average != nil {
		if extra[averageExtra], err = TensorBytes(s, t.average); err != nil {
			return fmt.Errorf("save checkpoint: %w", err)
		}
	}
	if err := t.module.Save(t.checkpoint(), extra); err != nil {
		return fmt.Errorf("save checkpoint: %w", err)
	}
	t.saved = true
	return nil
}
