package train

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"sat/torch"
	"sat/zoo"
)

// takeEncoder puts the weights of a pre-trained encoder into the network, if the job names one.
func (t *session) takeEncoder(ctx context.Context, s *torch.Scope) error {
	if t.Encoder == "" {
		return nil
	}
	trained, _, err := zoo.OpenPretraining(ctx, s, t.Encoder, t.Device)
	if err != nil {
		return fmt.Errorf("pre-trained encoder: %w", err)
	}
	defer trained.Close()
	if err := zoo.CopyEncoder(ctx, s, t.module, trained); err != nil {
		return fmt.Errorf("pre-trained encoder %s: %w", t.Encoder, err)
	}
	return nil
}

// freeze keeps everything but the classifier where it is, if the recipe is that of a linear probe. Batch normalisation would
// learn its statistics all the same, so a network with any is refused.
func (t *session) freeze() error {
	if !t.Recipe.HeadOnly {
		return nil
	}
	var names []string
	learning := 0
	for _, info := range t.module.Tensors() {
		switch {
		case info.Buffer && strings.HasSuffix(info.Name, ".running_mean"):
			return fmt.Errorf("a linear probe (head_only) is for vision transformers; the network has batch normalisation (%s), which learns without gradients",
				strings.TrimSuffix(info.Name, ".running_mean"))
		case info.Buffer:
		case zoo.IsHead(info.Name):
			learning++
		default:
			names = append(names, info.Name)
		}
	}
	if learning == 0 {
		return errors.New("a linear probe (head_only) is for vision transformers, whose classifier is called head; the network has no such tensor")
	}
	return t.module.Freeze(names...)
}
