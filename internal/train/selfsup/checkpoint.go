package selfsup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"sat/internal/store"
	"sat/internal/train"
	"sat/torch"
	"sat/zoo"
)

// CurveFile has the columns epoch, lr, momentum, loss and spread. It is a function of the job alone; what depends on the machine
// and the hour is in train.SpeedFile beside it.
const CurveFile = "pretrain.csv"

// Extra files of a checkpoint, which is a file of the kind of Job.Module otherwise.
const (
	stateExtra  = "pretrain.json"
	targetExtra = "target.bin" // the tensors of the target network, in the network's order
)

// Format changes with every change of what a pre-training computes or a checkpoint of one holds; see train.Format.
const Format = 1

func (t *session) checkpoint() train.Checkpoint {
	return train.Checkpoint{Dir: t.Dir, State: stateExtra, Second: targetExtra, Key: t.key, Whose: "recipe, seed, network, method or set of images"}
}

// identity names what determines a pre-training. A checkpoint continues only one of the same.
func (j Job) identity() (string, error) {
	module, err := store.FileDigest(j.Module)
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(struct {
		Format        int
		Settings      Settings
		Recipe        train.Recipe
		Seed          uint64
		Module, Train string
	}{Format, j.Settings, j.Recipe, j.Seed, module, j.Train.Key()})
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
		if t.module, _, err = zoo.OpenPretraining(ctx, s, t.Module, t.Device); err != nil {
			return err
		}
		if err := t.manifest.Verify(ctx, s, t.module, t.Device); err != nil {
			return err
		}
		if err := zoo.InitWeights(ctx, s, t.module, t.manifest.Init, t.Seed); err != nil {
			return err
		}
	} else {
		t.module, t.resumed, t.saved = saved.Module, true, true
	}
	if err := t.module.SetTraining(true); err != nil {
		return err
	}
	if t.contrasts() {
		// The target's batch norms take the statistics of the batch, as the network's own do.
		if t.target, err = t.module.Clone(); err != nil {
			return err
		}
		if t.resumed {
			if err := train.SetTensorBytes(s, t.target, saved.Second); err != nil {
				return t.checkpoint().Wrap(fmt.Errorf("target network: %w", err))
			}
		}
	}
	if err := t.module.Freeze(t.frozen()...); err != nil {
		return err
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
	return nil
}

// frozen lists the parameters that pre-training leaves as they were drawn.
func (t *session) frozen() (names []string) {
	for _, info := range t.module.Tensors() {
		switch name, _ := strings.CutPrefix(info.Name, zoo.EncoderPrefix); {
		case info.Buffer:
		case name == "pos_embed" && t.manifest.Arguments.Position == "sincos",
			strings.HasPrefix(name, "patch_embed.proj.") && t.Settings.FreezePatches:
			names = append(names, info.Name)
		}
	}
	return slices.Clip(names)
}

// save writes the checkpoint.
func (t *session) save(s *torch.Scope) error {
	if err := t.checkpoint().Save(s, t.module, t.optimizer, t.target, t.state); err != nil {
		return err
	}
	t.saved = true
	return nil
}

// export writes the trained network into a fresh copy of the network file: code that went through a checkpoint computes the
// same but is not written as the same bytes.
func (t *session) export(ctx context.Context, s *torch.Scope) error {
	network, manifest, err := zoo.OpenPretraining(ctx, s, t.Module, t.Device)
	if err != nil {
		return err
	}
	defer network.Close()
	for _, info := range t.module.Tensors() {
		err := s.Step(func(s *torch.Scope) error { return network.Set(s, info.Name, t.module.Get(s, info.Name)) })
		if err != nil {
			return err
		}
	}
	run, err := json.Marshal(struct {
		Settings Settings     `json:"settings"`
		Recipe   train.Recipe `json:"recipe"`
		Images   int          `json:"images"`
		Loss     float64      `json:"loss"`
	}{t.Settings, t.Recipe, t.Train.Len(), t.state.History[len(t.state.History)-1].Loss})
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
	return zoo.SavePretraining(ctx, s, network, manifest, t.Out)
}

// writeCurves writes both tables from the beginning: after a kill between checkpoint and table, the checkpoint counts.
func (t *session) writeCurves() error {
	number := func(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
	err := store.WriteFile(filepath.Join(t.Dir, CurveFile), func(w io.Writer) error {
		_, err := fmt.Fprintln(w, "epoch,lr,momentum,loss,spread")
		for i, e := range t.state.History {
			momentum, spread := "", ""
			if t.contrasts() {
				momentum, spread = number(e.Momentum), number(e.Spread)
			}
			if err == nil {
				_, err = fmt.Fprintf(w, "%d,%s,%s,%s,%s\n", i+1, number(e.LR), momentum, number(e.Loss), spread)
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	return store.WriteFile(filepath.Join(t.Dir, train.SpeedFile), func(w io.Writer) error {
		_, err := fmt.Fprintln(w, "epoch,images_per_second,seconds,loader_wait")
		for i, e := range t.state.History {
			if err == nil {
				_, err = fmt.Fprintf(w, "%d,%.1f,%.3f,%.3f\n", i+1, float64(e.Images)/e.Seconds, e.Seconds, e.Waited)
			}
		}
		return err
	})
}
