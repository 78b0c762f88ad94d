package train

import (
	"bytes"
	"sync"

	"sat/torch"
)

// generator guards libtorch's random generator, of which a process has one.
var generator sync.Mutex

// Generator lets one network draw from libtorch's random generator while it is trained (dropout, stochastic depth): networks
// that draw take turns, each seeding the generator for its update. Whether a network draws shows at its first update; one that
// does not is never held up. The zero value is ready. It is used by one goroutine at a time.
type Generator struct{ mode randomness }

type randomness int

const (
	unknown randomness = iota
	deterministic
	stochastic
)

// Do runs what may draw, from a generator with the given seed.
func (g *Generator) Do(seed uint64, run func() error) error {
	if g.mode == deterministic {
		return run()
	}
	generator.Lock()
	defer generator.Unlock()
	if err := torch.ManualSeed(seed); err != nil {
		return err
	}
	if g.mode == stochastic {
		return run()
	}
	before, err := torch.GeneratorState()
	if err != nil {
		return err
	}
	if err := run(); err != nil {
		return err
	}
	after, err := torch.GeneratorState()
	if err != nil {
		return err
	}
	g.mode = stochastic
	if bytes.Equal(before, after) {
		g.mode = deterministic
	}
	return nil
}
