package run

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"slices"
	"time"

	"sat/attacks"
	"sat/internal/store"
)

// saveInterval is how often AutoAttack under way is saved: more often than a batch ends is of no use, and a save compresses
// all images of the unit.
var saveInterval = time.Minute

// afterSave lets a test interrupt.
var afterSave = func() {}

// resumable runs AutoAttack on the images of a unit, saves it now and then to the file at path, and continues from what an
// interrupted run left there. The state is an adversarial store: the images so far, with the flags in its parameters.
func (r *runner) resumable(ctx context.Context, a attacks.AutoAttack, model attacks.Model, x attacks.Batch, y []int64,
	header store.AdversarialHeader, path string, progress attacks.Progress) (attacks.Result, error) {
	resume, err := loadState(path, header.IDs, x)
	switch {
	case errors.Is(err, store.ErrCorrupt) || errors.Is(err, store.ErrWrongClean):
		r.Progress.Say("%v; the attack starts anew", err)
	case err != nil:
		return attacks.Result{}, err
	}
	var unsaved *attacks.AutoAttackState
	last := time.Now()
	o := attacks.AutoAttackOptions{
		Resume: resume, Progress: a.Overall(progress),
		Checkpoint: func(s *attacks.AutoAttackState) error {
			if unsaved = s; time.Since(last) < saveInterval {
				return nil
			}
			unsaved, last = nil, time.Now()
			err := saveState(path, header, x, s)
			afterSave()
			return err
		},
	}
	result, err := a.RunWith(ctx, model, x, y, header.IDs, o)
	if err != nil && unsaved != nil {
		err = errors.Join(err, saveState(path, header, x, unsaved))
	}
	return result, err
}

func saveState(path string, header store.AdversarialHeader, x attacks.Batch, s *attacks.AutoAttackState) error {
	flags := *s
	flags.Adversarial = attacks.Batch{}
	var err error
	if header.Parameters, err = json.Marshal(flags); err != nil {
		return err
	}
	return store.WriteAdversarial(path, header, func(out *store.AdversarialWriter) error {
		return out.Add(x.Pixels, s.Adversarial.Pixels)
	})
}

// loadState returns nil if nothing was saved.
func loadState(path string, ids []string, x attacks.Batch) (*attacks.AutoAttackState, error) {
	saved, err := store.OpenAdversarial(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer saved.Close()
	s := &attacks.AutoAttackState{Adversarial: attacks.NewBatch(x.N, x.C, x.H, x.W)}
	h := saved.Header()
	if !slices.Equal(h.IDs, ids) || h.C != x.C || h.H != x.H || h.W != x.W {
		return nil, store.ErrWrongClean
	}
	pixels := s.Adversarial
	if err := json.Unmarshal(h.Parameters, s); err != nil {
		return nil, errors.Join(store.ErrCorrupt, err)
	}
	s.Adversarial = pixels
	return s, saved.Images(0, x.N, x.Pixels, pixels.Pixels)
}

func removeState(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
