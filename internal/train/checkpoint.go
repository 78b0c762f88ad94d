package train

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"

	"sat/internal/store"
	"sat/torch"
	"sat/zoo"
)

// Files in Job.Dir. The checkpoint is a TorchScript file whose extra files hold the rest of the state. The curve is a
// function of the job alone; what depends on the machine and the hour is kept apart from it.
const (
	CheckpointFile = "checkpoint.pt"
	CurveFile      = "curve.csv" // epoch, lr, train_loss, val_loss, val_top1, ema_loss, ema_top1
	SpeedFile      = "speed.csv" // epoch, images_per_second, seconds, loader_wait
)

// Extra files of a checkpoint.
const (
	stateExtra     = "train.json"
	optimizerExtra = "optimizer.bin"
	averageExtra   = "average.bin" // with ema: the tensors of the averaged network, in the network's order
)

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
	module, err := os.Open(j.Module)
	if err != nil {
		return "", err
	}
	defer module.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, module); err != nil {
		return "", fmt.Errorf("read %s: %w", j.Module, err)
	}
	text, err := json.Marshal(struct {
		Recipe             Recipe
		Seed               uint64
		Module, Train, Val string
		Teacher            *Teacher `json:",omitempty"`
	}{j.Recipe, j.Seed, hex.EncodeToString(sum.Sum(nil)), j.Train.Key(), j.Val.Key(), j.Teacher})
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
	if t.optimizer, err = torch.NewOptimizer(t.module, t.Recipe.optimizer(t.module.Tensors())); err != nil {
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
			if err := setTensors(s, t.average, averaged); err != nil {
				return fmt.Errorf("checkpoint %s: averaged weights: %w", path, err)
			}
		}
	}
	return nil
}

// tensorsOf returns the tensors of a network one after the other, little-endian: float32 for numbers that are not whole,
// int64 for the others.
func tensorsOf(s *torch.Scope, m *torch.Module) (out []byte, err error) {
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

// setTensors is the inverse of tensorsOf.
func setTensors(s *torch.Scope, m *torch.Module, data []byte) error {
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
		if extra[averageExtra], err = tensorsOf(s, t.average); err != nil {
			return fmt.Errorf("save checkpoint: %w", err)
		}
	}
	if err := t.module.Save(t.checkpoint(), extra); err != nil {
		return fmt.Errorf("save checkpoint: %w", err)
	}
	t.saved = true
	return nil
}

// export writes the trained network, with a manifest that says how it was trained. The weights are put into a fresh copy
// of the network file: code that went through a checkpoint computes the same but is not written as the same bytes.
func (t *session) export(ctx context.Context, s *torch.Scope, last Epoch) error {
	network, manifest, err := zoo.OpenModule(ctx, s, t.Module, t.Device)
	if err != nil {
		return err
	}
	defer network.Close()
	trained := t.module
	if t.average != nil && t.Recipe.EMAExport {
		trained = t.average
	}
	for _, info := range trained.Tensors() {
		err := s.Step(func(s *torch.Scope) error { return network.Set(s, info.Name, trained.Get(s, info.Name)) })
		if err != nil {
			return err
		}
	}
	run, err := json.Marshal(struct {
		Recipe  Recipe  `json:"recipe"`
		Images  int     `json:"images"`
		ValLoss float64 `json:"val_loss"`
		ValTop1 float64 `json:"val_top1"`
		EMATop1 float64 `json:"ema_top1,omitempty"`
	}{t.Recipe, t.Train.Len(), last.ValLoss, last.ValTop1, last.EMATop1})
	if err != nil {
		return err
	}
	manifest.Weights = zoo.Weights{Source: "trained", Seed: t.Seed, Run: string(run)}
	if t.Name != "" {
		manifest.Name = t.Name
	}
	if err := os.MkdirAll(filepath.Dir(t.Out), 0o755); err != nil {
		return err
	}
	return zoo.Save(ctx, s, network, manifest, t.Out)
}

// writeCurves writes both tables from the beginning: after a kill between checkpoint and table, the checkpoint counts.
func (t *session) writeCurves() error {
	err := store.WriteFile(filepath.Join(t.Dir, CurveFile), func(w io.Writer) error {
		_, err := fmt.Fprintln(w, "epoch,lr,train_loss,val_loss,val_top1,ema_loss,ema_top1")
		for i, e := range t.state.History {
			loss, top1, averagedLoss, averagedTop1 := "", "", "", ""
			if e.Evaluated {
				loss, top1 = number(e.ValLoss), number(e.ValTop1)
				if t.average != nil {
					averagedLoss, averagedTop1 = number(e.EMALoss), number(e.EMATop1)
				}
			}
			if err == nil {
				_, err = fmt.Fprintf(w, "%d,%s,%s,%s,%s,%s,%s\n", i+1, number(e.LR), number(e.TrainLoss), loss, top1, averagedLoss, averagedTop1)
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	return store.WriteFile(filepath.Join(t.Dir, SpeedFile), func(w io.Writer) error {
		_, err := fmt.Fprintln(w, "epoch,images_per_second,seconds,loader_wait")
		for i, e := range t.state.History {
			if err == nil {
				_, err = fmt.Fprintf(w, "%d,%.1f,%.3f,%.3f\n", i+1, float64(e.Images)/e.Seconds, e.Seconds, e.Waited)
			}
		}
		return err
	})
}

// number writes v so that reading it gives v again.
func number(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
