package train

import (
	"context"
	"fmt"

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
