package torch

import (
	"errors"
	"fmt"
	"sync"
)

// OptimizerKind selects the update rule.
type OptimizerKind int

// The update rules. The values are part of the C border (st_optimizer_kind).
const (
	// SGD is: g += wd*p; first step b = g, later b = mu*b + g; p -= lr*(g + mu*b) with Nesterov, else p -= lr*b.
	SGD OptimizerKind = iota
	// AdamW is: p *= 1 - lr*wd; m = b1*m + (1-b1)*g; v = b2*v + (1-b2)*g*g;
	// p -= lr/(1-b1^t) * m / (sqrt(v)/sqrt(1-b2^t) + eps).
	AdamW
	// LAMB is, after dividing all gradients by max(1, their global norm): m and v as AdamW's;
	// d = m/(1-b1^t) / (sqrt(v)/sqrt(1-b2^t) + eps) + wd*p; p -= lr*r*d, where r = ||p||/||d|| per tensor, and 1 where
	// either norm or wd is zero (You et al., 2020, as in timm).
	LAMB
	// RMSProp is TensorFlow 1's: g += wd*p; v starts at 1, v += (1-b2)*(g*g - v); b = mu*b + lr*g/sqrt(v + eps); p -= b.
	RMSProp
)

// Group is a set of parameters with the same settings.
type Group struct {
	Names       []string
	WeightDecay float64
	LRScale     float64 // factor of the learning rate; 0 means 1
}

// OptimizerConfig describes an optimiser. Fields of the other kind are ignored.
type OptimizerConfig struct {
	Kind              OptimizerKind
	Momentum          float64 // SGD, RMSProp
	Nesterov          bool    // SGD; needs a momentum
	Beta1, Beta2, Eps float64 // AdamW, LAMB; RMSProp without Beta1
	Groups            []Group // every parameter that shall move, each in one group
}

func (c OptimizerConfig) check() error {
	switch c.Kind {
	case SGD:
		if !(c.Momentum >= 0 && c.Momentum < 1) {
			return fmt.Errorf("momentum %v is not in [0,1)", c.Momentum)
		}
		if c.Nesterov && c.Momentum == 0 {
			return errors.New("the Nesterov form needs a momentum")
		}
	case AdamW, LAMB, RMSProp:
		if !(c.Beta1 >= 0 && c.Beta1 < 1 && c.Beta2 >= 0 && c.Beta2 < 1) {
			return fmt.Errorf("betas %v and %v are not in [0,1)", c.Beta1, c.Beta2)
		}
		if !(c.Eps > 0) {
			return fmt.Errorf("eps %v is not positive", c.Eps)
		}
		if c.Kind == RMSProp && !(c.Momentum >= 0 && c.Momentum < 1) {
			return fmt.Errorf("momentum %v is not in [0,1)", c.Momentum)
		}
	default:
		return fmt.Errorf("unknown kind %d", c.Kind)
	}
	seen := map[string]bool{}
	for _, g := range c.Groups {
		if !(g.WeightDecay >= 0) || !(g.LRScale >= 0) {
			return fmt.Errorf("weight decay %v or learning-rate factor %v is negative", g.WeightDecay, g.LRScale)
		}
		for _, name := range g.Names {
			if seen[name] {
				return fmt.Errorf("parameter %s is in two groups", name)
			}
			seen[name] = true
		}
	}
	if len(seen) == 0 {
		return errors.New("no parameters")
	}
	return nil
}

// Optimizer moves the parameters of one module along their gradients. It shares the module's mutex, so it may run on
// any worker. Close it before or after the module.
type Optimizer struct {
	mu     sync.Mutex
	handle optimizerHandle
	module *Module
}

// NewOptimizer makes an optimiser over the named parameters of m. Change the device or type of m before, not after.
func NewOptimizer(m *Module, c OptimizerConfig) (*Optimizer, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("make optimiser: %w", err)
	}
	for i := range c.Groups {
		if c.Groups[i].LRScale == 0 {
			groups := append([]Group(nil), c.Groups...) // the caller's slice stays as it is
			for j := range groups {
				if groups[j].LRScale == 0 {
					groups[j].LRScale = 1
				}
			}
			c.Groups = groups
			break
		}
	}
	if err := m.enter("make optimiser"); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	h, err := borderOptimizerNew(m.handle, c)
	if err != nil {
		return nil, m.wrap("make optimiser for", err)
	}
	return &Optimizer{handle: h, module: m}, nil
}

func (o *Optimizer) enter(op string) error {
	o.mu.Lock()
	if o.handle == nil {
		o.mu.Unlock()
		return fmt.Errorf("%s: optimiser %w", op, ErrClosed)
	}
	return nil
}

// Step moves every parameter that has a gradient, with the learning rate lr times the factor of its group.
func (o *Optimizer) Step(lr float64) error {
	if !(lr >= 0) {
		return fmt.Errorf("optimiser step: learning rate %v", lr)
	}
	if err := o.enter("optimiser step"); err != nil {
		return err
	}
	defer o.mu.Unlock()
	if err := o.module.enter("optimiser step"); err != nil {
		return err
	}
	defer o.module.mu.Unlock()
	if err := borderOptimizerStep(o.handle, lr); err != nil {
		return fmt.Errorf("optimiser step: %w", err)
	}
	return nil
}

// ZeroGrad drops the gradients of all parameters of the module.
func (o *Optimizer) ZeroGrad() error { return o.module.ZeroGrad() }

// State returns moments and step counts, exactly, for SetState of an optimiser made from the same configuration.
func (o *Optimizer) State() ([]byte, error) {
	if err := o.enter("optimiser state"); err != nil {
		return nil, err
	}
	defer o.mu.Unlock()
	return borderOptimizerState(o.handle)
}

// SetState restores what State returned. A state of another configuration or a damaged one is refused and changes
// nothing.
func (o *Optimizer) SetState(state []byte) error {
	if err := o.enter("set optimiser state"); err != nil {
		return err
	}
	defer o.mu.Unlock()
	if err := borderOptimizerSetState(o.handle, state); err != nil {
		return fmt.Errorf("set optimiser state: %w", err)
	}
	return nil
}

// Close frees the optimiser. Closing twice is harmless.
func (o *Optimizer) Close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.handle != nil {
		borderOptimizerFree(o.handle)
		o.handle = nil
	}
}
