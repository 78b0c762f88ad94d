package run

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"

	"sat/internal/data"
	"sat/internal/store"
	"sat/internal/train/selfsup"
	"sat/torch"
)

// probed is a linear probe and what it reached.
type probed struct {
	encoder, method string
	seed            uint64
	result          selfsup.ProbeResult
	job             selfsup.ProbeJob
	unit            store.Unit
}

// probeKey is what determines a probe besides the module and the images.
type probeKey struct {
	Random  bool    `json:"random"`
	Seed    uint64  `json:"seed"`
	L2      float64 `json:"l2"`
	Updates int     `json:"updates"`
	Batch   int     `json:"batch"`
	Device  string  `json:"device"`
	Thread  int     `json:"threads"`
}

// probeBatch is how many images a probe shows to an encoder at a time.
const probeBatch = 64

// probe fits linear classifiers to the pre-trained encoders, and to encoders as they are drawn, if [probe] asks for it.
func (r *runner) probe(ctx context.Context, sets *trainingSets) error {
	r.probed = nil
	if r.Probe == nil {
		return nil
	}
	var tasks []task
	skipped := 0.0
	for i, e := range r.encoders {
		if e.failed != "" {
			continue
		}
		training, validation, err := sets.plain(ctx, e.member)
		if err != nil {
			return err
		}
		job := selfsup.ProbeJob{Train: training, Val: validation, Classes: r.classes, L2: r.Probe.L2, Steps: r.Probe.Updates, Batch: probeBatch, Device: r.Device}
		trained := job
		trained.Module = e.file
		all := []*probed{{encoder: e.config.Name, method: e.config.Method, seed: e.config.Seed, job: trained}}
		// Once for every network that is pre-trained.
		if !slices.ContainsFunc(r.encoders[:i], func(f *encoder) bool { return f.config.Model == e.config.Model && f.failed == "" }) {
			for _, seed := range r.Probe.Seeds {
				drawn := job
				drawn.Module, drawn.Random, drawn.Seed = e.exported, true, seed
				all = append(all, &probed{encoder: randomEncoder(e.config.Model), seed: seed, job: drawn})
			}
		}
		for _, p := range all {
			module := e.key
			if p.job.Random {
				module = e.member.key
			}
			key, err := store.NewKey("probe", probeKey{p.job.Random, p.job.Seed, p.job.L2, p.job.Steps, p.job.Batch, r.device(), r.Threads},
				map[string]string{"module": string(module), "train": training.Key(), "val": validation.Key()})
			if err != nil {
				return err
			}
			p.unit = store.Unit{Stage: string(StagePretrain), Name: fmt.Sprintf("probe-%s-s%d", p.encoder, p.seed), Key: key}
			r.probed = append(r.probed, p)
			passes := passForward * float64(training.N+validation.N)
			done, err := r.finished(p.unit)
			if err != nil {
				return err
			}
			if done {
				skipped += passes
				r.skipped++
				continue
			}
			tasks = append(tasks, task{model: e.Name, name: p.unit.Name, passes: passes,
				do: func(ctx context.Context, w *torch.Worker, advance func(float64)) error {
					return r.fitProbe(ctx, w, p, advance)
				}})
		}
	}
	if err := r.execute(ctx, StagePretrain, tasks, skipped, fmt.Sprintf("%d probes", len(r.probed))); err != nil {
		return err
	}
	// Those of this execution and those found finished alike are read back. One that failed has no file, and is in the failures.
	r.probed = slices.DeleteFunc(r.probed, func(p *probed) bool {
		done, err := p.unit.Finished(r.units())
		return err == nil && !done
	})
	for _, p := range r.probed {
		content, err := os.ReadFile(p.unit.File(r.units(), "json"))
		if err == nil {
			err = json.Unmarshal(content, &p.result)
		}
		if err != nil {
			return fmt.Errorf("probe of %s: %w", p.encoder, err)
		}
	}
	return nil
}

func (r *runner) fitProbe(ctx context.Context, w *torch.Worker, p *probed, advance func(float64)) error {
	p.job.Worker = w
	p.job.Progress = func(images int) { advance(passForward * float64(images)) }
	result, err := selfsup.Probe(ctx, p.job)
	if err != nil {
		return err
	}
	content, err := json.Marshal(result)
	if err != nil {
		return err
	}
	r.Progress.Say("  probe of %-12s %.1f %% of %d validation images", p.encoder, 100*result.Top1, result.Images)
	return r.commit(p.unit, unitFile{"json", func(path string) error { return os.WriteFile(path, append(content, '\n'), 0o666) }})
}

// plain loads both splits as the network's own transform cuts them.
func (s *trainingSets) plain(ctx context.Context, m *member) (training, validation *data.Set, err error) {
	t, err := m.transform()
	if err != nil {
		return nil, nil, err
	}
	if training, err = s.load(ctx, setOf{s.Data.Train, t}); err != nil {
		return nil, nil, err
	}
	validation, err = s.load(ctx, setOf{s.Data.Val, t})
	return training, validation, err
}
