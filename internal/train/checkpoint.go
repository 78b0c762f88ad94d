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

func (t *session) checkpoint() Checkpoint {
	return Checkpoint{Dir: t.Dir, State: stateExtra, Second: averageExtra, Key: t.key, Whose: "recipe, seed, network or set of images"}
}

// savedCheckpoint is the checkpoint's path, "" when there is none.
func (t *session) savedCheckpoint() string {
	if !t.saved {
		return ""
	}
	return t.checkpoint().Path()
}

// Checkpoint is where a training keeps its state: CheckpointFile in Dir.
type Checkpoint struct {
	Dir   string
	State string // name of the extra file that holds the state in JSON, with the key of the training as "key"
	// Second names the extra file of the tensors of a second network, in the network's order.
	Second string
	Key    string // of the training that asks
	Whose  string // for the error: what else a checkpoint of another key may belong to
}

// Saved is what a checkpoint holds beside the state.
type Saved struct {
	Module    *torch.Module
	Optimizer []byte // see torch.Optimizer.State
	Second    []byte // see TensorBytes; nil without a second network
}

// Path is the file.
func (c Checkpoint) Path() string { return filepath.Join(c.Dir, CheckpointFile) }

// Open reads the checkpoint and its state; nil if there is none.
func (c Checkpoint) Open(device torch.Device, state any) (*Saved, error) {
	if _, err := os.Stat(c.Path()); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	module, files, err := torch.LoadModule(c.Path(), device, c.State, optimizerExtra, c.Second)
	if err != nil {
		return nil, err
	}
	var owner struct {
		Key string `json:"key"`
	}
	if err := errors.Join(json.Unmarshal(files[c.State], state), json.Unmarshal(files[c.State], &owner)); err != nil {
		module.Close()
		return nil, c.Wrap(err)
	}
	if owner.Key != c.Key {
		module.Close()
		return nil, c.Wrap(fmt.Errorf("it belongs to another %s; remove it to start over", c.Whose))
	}
	return &Saved{module, files[optimizerExtra], files[c.Second]}, nil
}

// Save writes a checkpoint; the one before stays until the new one is complete. There may be no second network.
func (c Checkpoint) Save(s *torch.Scope, module *torch.Module, optimizer *torch.Optimizer, second *torch.Module, state any) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("save checkpoint: %w", err)
		}
	}()
	extra := map[string][]byte{}
	if extra[optimizerExtra], err = optimizer.State(); err != nil {
		return err
	}
	if extra[c.State], err = json.Marshal(state); err != nil {
		return err
	}
	if second != nil {
		if extra[c.Second], err = TensorBytes(s, second); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return err
	}
	return module.Save(c.Path(), extra)
}

// Wrap says which file an error is about.
func (c Checkpoint) Wrap(err error) error { return fmt.Errorf("checkpoint %s: %w", c.Path(), err) }

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
	saved, err := t.checkpoint().Open(t.Device, &t.state)
	if err != nil {
		return err
	}
	if saved == nil {
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
	} else {
		t.module, t.resumed, t.saved = saved.Module, true, true
	}
	if err := t.module.SetRequiresGrad(true); err != nil {
		return err
	}
	if t.optimizer, err = torch.NewOptimizer(t.module, t.Recipe.OptimizerConfig(t.module.Tensors())); err != nil {
		return err
	}
	if t.resumed {
		if err := t.optimizer.SetState(saved.Optimizer); err != nil {
			return t.checkpoint().Wrap(err)
		}
	}
	if t.Recipe.EMA > 0 {
		if t.average, err = t.module.Clone(); err != nil {
			return err
		}
		if t.resumed {
			if err := SetTensorBytes(s, t.average, saved.Second); err != nil {
				return t.checkpoint().Wrap(fmt.Errorf("averaged weights: %w", err))
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

// save writes the checkpoint.
func (t *session) save(s *torch.Scope) error {
	if err := t.checkpoint().Save(s, t.module, t.optimizer, t.average, t.state); err != nil {
		return err
	}
	t.saved = true
	return nil
}
