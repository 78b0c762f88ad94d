package train

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"sat/internal/store"
	"sat/torch"
)

// EpochsDir in Job.Dir holds the checkpoints of single epochs, EpochFile of each. They are like CheckpointFile: a copy in its
// place continues the run from there.
const EpochsDir = "epochs"

// EpochFile is the name of the checkpoint after an epoch, from 1.
func EpochFile(epoch int) string { return fmt.Sprintf("epoch-%04d.pt", epoch) }

func (t *session) epochFile(epoch int) string {
	return filepath.Join(t.Dir, EpochsDir, EpochFile(epoch))
}

// kept returns the epochs, from 1, whose checkpoints are worth keeping after those of the history: the last, the best, and those
// that the result is averaged over. Of equal accuracies the earlier one is better. It depends on the history alone, so a
// resumed run keeps what an uninterrupted one does.
func kept(history []Epoch, r Records, averageLast int, emaExport bool) []int {
	var epochs []int
	n := len(history)
	for epoch := max(1, n-max(r.KeepLast, averageLast)+1); epoch <= n; epoch++ {
		epochs = append(epochs, epoch)
	}
	var evaluated []int
	for i, e := range history {
		if e.Evaluated {
			evaluated = append(evaluated, i+1)
		}
	}
	top1 := func(epoch int) float64 {
		if emaExport {
			return history[epoch-1].EMATop1
		}
		return history[epoch-1].ValTop1
	}
	slices.SortStableFunc(evaluated, func(a, b int) int { return cmp.Compare(top1(b), top1(a)) })
	epochs = append(epochs, evaluated[:min(r.KeepBest, len(evaluated))]...)
	slices.Sort(epochs)
	return slices.Compact(epochs)
}

// keepEpochs copies the checkpoint, if it is that of the end of the last epoch, under the epoch's name if it is worth it, and
// removes those that no longer are. (A copy and not a link: people overwrite checkpoints.)
func (t *session) keepEpochs() error {
	wanted := kept(t.state.History, t.Records, t.Recipe.AverageLast, t.Recipe.EMAExport)
	if last := len(t.state.History); t.state.Update == 0 && slices.Contains(wanted, last) {
		if _, err := os.Stat(t.epochFile(last)); errors.Is(err, fs.ErrNotExist) {
			if err := store.CopyFile(t.epochFile(last), t.checkpoint().Path()); err != nil {
				return fmt.Errorf("keep the checkpoint of epoch %d: %w", last, err)
			}
		}
	}
	files, err := filepath.Glob(filepath.Join(t.Dir, EpochsDir, "epoch-*.pt"))
	if err != nil {
		return err
	}
	for _, file := range files {
		if slices.ContainsFunc(wanted, func(epoch int) bool { return EpochFile(epoch) == filepath.Base(file) }) {
			continue
		}
		if err := os.Remove(file); err != nil {
			return fmt.Errorf("remove an old checkpoint: %w", err)
		}
	}
	return nil
}

// averaged returns the network whose floating-point parameters and buffers are the means, in float64, of those after each of
// the last AverageLast epochs; others, such as counters, are those of the last one. The caller closes it.
func (t *session) averaged(ctx context.Context, s *torch.Scope) (_ *torch.Module, err error) {
	mean, err := t.module.Clone()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			mean.Close()
		}
	}()
	sums := map[string][]float64{}
	for epoch := t.Recipe.Epochs - t.Recipe.AverageLast + 1; epoch <= t.Recipe.Epochs; epoch++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := t.addEpoch(s, epoch, sums); err != nil {
			return nil, fmt.Errorf("average of the last %d epochs: %w", t.Recipe.AverageLast, err)
		}
	}
	for _, info := range mean.Tensors() {
		if !info.DType.Floating() {
			continue
		}
		values := make([]float32, len(sums[info.Name]))
		for i, v := range sums[info.Name] {
			values[i] = float32(v / float64(t.Recipe.AverageLast))
		}
		err := s.Step(func(s *torch.Scope) error { return mean.Set(s, info.Name, s.FromFloat32(values, info.Shape...)) })
		if err != nil {
			return nil, err
		}
	}
	return mean, nil
}

// addEpoch adds the tensors of an epoch's checkpoint to sums.
func (t *session) addEpoch(s *torch.Scope, epoch int, sums map[string][]float64) error {
	path := t.epochFile(epoch)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the checkpoint of epoch %d, %s, is gone; remove %s to train again", epoch, path, t.checkpoint().Path())
	}
	module, files, err := torch.LoadModule(path, torch.CPU, stateExtra)
	if err != nil {
		return err
	}
	defer module.Close()
	var then state
	if err := json.Unmarshal(files[stateExtra], &then); err != nil {
		return fmt.Errorf("checkpoint %s: %w", path, err)
	}
	if then.Key != t.key || then.Epoch != epoch || then.Update != 0 {
		return fmt.Errorf("checkpoint %s is not that of epoch %d of this run; remove %s to train again", path, epoch, t.checkpoint().Path())
	}
	for _, info := range module.Tensors() {
		if !info.DType.Floating() {
			continue
		}
		err := s.Step(func(s *torch.Scope) error {
			values, err := s.To(module.Get(s, info.Name), torch.Float32).Float32s()
			if err != nil {
				return err
			}
			sum := sums[info.Name]
			if sum == nil {
				sum = make([]float64, len(values))
				sums[info.Name] = sum
			}
			for i, v := range values {
				sum[i] += float64(v)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("checkpoint %s: %w", path, err)
		}
	}
	return nil
}
