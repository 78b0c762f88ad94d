package train

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"sat/torch"
	"sat/zoo"
)

// export writes the trained network, with a manifest that says how it was trained. The weights are put into a fresh copy
// of the network file: code that went through a checkpoint computes the same but is not written as the same bytes. It returns
// how good these weights are.
func (t *session) export(ctx context.Context, s *torch.Scope, last Epoch) (v score, err error) {
	network, manifest, err := zoo.OpenModule(ctx, s, t.Module, t.Device)
	if err != nil {
		return v, err
	}
	defer network.Close()
	trained, which := t.module, "last"
	v = score{last.ValLoss, last.ValTop1, last.ValTop5}
	switch {
	case t.Recipe.AverageLast > 0:
		which = "average_last"
		if trained, err = t.averaged(ctx, s); err != nil {
			return v, err
		}
		defer trained.Close()
		if v, err = t.evaluate(ctx, s, trained); err != nil {
			return v, fmt.Errorf("evaluation of the average: %w", err)
		}
		if !finite(v.loss) {
			return v, fmt.Errorf("the average of the last %d epochs has the validation loss %v", t.Recipe.AverageLast, v.loss)
		}
	case t.average != nil && t.Recipe.EMAExport:
		which, trained, v = "ema", t.average, score{last.EMALoss, last.EMATop1, last.EMATop5}
	}
	for _, info := range trained.Tensors() {
		err := s.Step(func(s *torch.Scope) error { return network.Set(s, info.Name, trained.Get(s, info.Name)) })
		if err != nil {
			return v, err
		}
	}
	run, err := json.Marshal(struct {
		Recipe  Recipe  `json:"recipe"`
		Images  int     `json:"images"`
		Weights string  `json:"weights"` // which: of the last epoch, or an average
		ValLoss float64 `json:"val_loss"`
		ValTop1 float64 `json:"val_top1"`
		ValTop5 float64 `json:"val_top5"`
	}{t.Recipe, t.Train.Len(), which, v.loss, v.top1, v.top5})
	if err != nil {
		return v, err
	}
	manifest.Weights = zoo.Weights{Source: "trained", Seed: t.Seed, Run: string(run)}
	if t.Name != "" {
		manifest.Name = t.Name
	}
	if err := os.MkdirAll(filepath.Dir(t.Out), 0o755); err != nil {
		return v, err
	}
	return v, zoo.Save(ctx, s, network, manifest, t.Out)
}
