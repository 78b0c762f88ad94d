package run

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"sat/analysis"
	"sat/internal/data"
	"sat/internal/data/augment"
	"sat/internal/experiment"
	"sat/internal/store"
	"sat/internal/studies"
	"sat/internal/train"
	"sat/internal/train/selfsup"
	"sat/torch"
	"sat/zoo"
)

// Pretrain is a self-supervised pre-training. Network, recipe and seed are those of its Member, which is called "pretrain-NAME"
// and is no model of the run.
type Pretrain struct {
	Member
	Config experiment.Pretrain
}

// encoder is a pre-training as the stages see it. The member's module is what the exporter made.
type encoder struct {
	*member
	config experiment.Pretrain
	file   string    // what the training leaves
	key    store.Key // of file
	failed string    // why there is no such file; "" if there is one, or will be
}

// pretrainings resolves [[pretrain]] and [probe].
func (s *Spec) pretrainings(c *experiment.Config) {
	s.Probe = c.Probe
	for _, p := range c.Pretrains {
		model := slices.IndexFunc(c.Models, func(m experiment.Model) bool { return m.Name == p.Model })
		name := experiment.PretrainPrefix + p.Name
		m := memberOf(c, experiment.Member{Name: name, Group: name, Seed: p.Seed, Model: &c.Models[model], Recipe: c.Recipes[p.Recipe]})
		s.Pretrains = append(s.Pretrains, Pretrain{m, p})
	}
}

// randomEncoder is what the encoder of a model is called as it is drawn.
func randomEncoder(model string) string { return "random-" + model }

// exportPretraining is the job of the module that pre-trains.
func (p *Pretrain) exportPretraining() zoo.Job {
	job := p.job(0)
	job.Name, job.Attention, job.Heads, job.Components = p.Name, false, 0, nil
	c := p.Config
	job.Pretrain = &zoo.PretrainJob{Method: c.Method, PretrainArguments: zoo.PretrainArguments{
		Mask: c.Mask, NormPixels: c.NormPixels, DecoderDepth: c.DecoderDepth, DecoderWidth: c.DecoderWidth, DecoderHeads: c.DecoderHeads,
		Hidden: c.Hidden, Projection: c.Projection, Temperature: c.Temperature, Position: c.Position,
	}}
	return job
}

// pretrainSettings translates a [[pretrain]].
func pretrainSettings(c experiment.Pretrain) selfsup.Settings {
	if c.Method == zoo.MAE {
		return selfsup.Settings{}
	}
	out := selfsup.Settings{Momentum: [2]float64(c.Momentum), FreezePatches: c.FreezePatches}
	for i := range out.Views {
		out.Views[i] = augment.Colour{
			Jitter:     augment.Jitter{Brightness: c.Jitter[0], Contrast: c.Jitter[1], Saturation: c.Jitter[2], Hue: c.Jitter[3]},
			JitterProb: c.JitterProb, GreyProb: c.GreyProb, Sigma: [2]float64(c.Blur), BlurProb: c.BlurProb[i], SolarizeProb: c.SolarizeProb[i],
		}
	}
	return out
}

// Costs of one image in one epoch: an autoencoder goes once through the network, the others twice and twice through the
// target.
const (
	passesMasked      = passTraining
	passesContrastive = 2*passTraining + 2*passForward
)

// pretrainKey is what determines a pre-trained encoder besides the network and the images.
type pretrainKey struct {
	Format   int              `json:"format"` // of the program's pre-training
	Settings selfsup.Settings `json:"settings"`
	Recipe   train.Recipe     `json:"recipe"`
	Seed     uint64           `json:"seed"`
	Device   string           `json:"device"`
	Thread   int              `json:"threads"`
}

// pretrain trains the encoders that recipes start from.
func (r *runner) pretrain(ctx context.Context) error {
	sets := trainingSets{runner: r, loaded: map[setOf]*data.Set{}}
	var tasks []task
	skipped := 0.0
	for _, e := range r.encoders {
		if e.failed != "" {
			continue
		}
		manifest, err := zoo.ReadPretraining(e.exported)
		if err != nil {
			return err
		}
		// Its file has no sat.json to take them from.
		d := &e.Describe
		d.Height, d.Width, d.CropPct, d.Interpolation = manifest.InputSize[1], manifest.InputSize[2], manifest.CropPct, manifest.Interpolation
		training, _, err := sets.of(ctx, e.member)
		if err != nil {
			return err
		}
		recipe, settings := recipeOf(e.Recipe), pretrainSettings(e.config)
		key, err := store.NewKey("pretrain", pretrainKey{selfsup.Format, settings, recipe, e.trainingSeed(), r.device(), r.Threads},
			map[string]string{"module": string(e.member.key), "train": training.Key()})
		if err != nil {
			return err
		}
		unit := store.Unit{Stage: string(StagePretrain), Name: e.Name, Key: key}
		e.file, e.key = unit.File(r.units(), "pt"), key
		perImage := passesMasked
		if manifest.Method != zoo.MAE {
			perImage = passesContrastive
		}
		passes := perImage * float64(recipe.Epochs*training.Len())
		done, err := r.finished(unit)
		if err != nil {
			return err
		}
		if done {
			skipped += passes
			r.skipped++
			if err := r.publishTraining(e.Name, unit, selfsup.CurveFile); err != nil {
				return err
			}
			continue
		}
		tasks = append(tasks, task{model: e.Name, name: e.Name, passes: passes,
			do: func(ctx context.Context, w *torch.Worker, advance func(float64)) error {
				err := r.pretrainEncoder(ctx, e, unit, selfsup.Job{
					Module: e.exported, Settings: settings, Recipe: recipe, Seed: e.trainingSeed(), Train: training, Worker: w, Device: r.Device,
				}, perImage, advance)
				if err != nil {
					e.failed = err.Error() // unless the run ends by it, its classifiers fail
				}
				return err
			}})
	}
	if err := r.execute(ctx, StagePretrain, tasks, skipped, fmt.Sprintf("%d encoders", len(tasks))); err != nil {
		return err
	}
	return r.probe(ctx, &sets)
}

func (r *runner) pretrainEncoder(ctx context.Context, e *encoder, unit store.Unit, job selfsup.Job, perImage float64, advance func(float64)) error {
	job.Progress = newUpdates(perImage*float64(job.Recipe.Batch), func(passes float64, _ train.Progress) { advance(passes) })
	var result selfsup.Result
	err := r.learn(unit, func(dir, out string) (err error) {
		job.Name, job.Dir, job.Out = e.Name, dir, out
		result, err = selfsup.Run(ctx, job)
		return err
	})
	if err != nil {
		return err
	}
	last := result.Epochs[len(result.Epochs)-1]
	r.Progress.Say("  %-12s loss %.4f after %d epochs%s", e.Name, last.Loss, len(result.Epochs), continued(result.Resumed))
	if e.config.Method != zoo.MAE && last.Spread < collapsed {
		r.warn("pre-training %s: the predictions for all images are nearly one (spread %.3f of 1): it has collapsed", e.config.Name, last.Spread)
	}
	return r.publishTraining(e.Name, unit, selfsup.CurveFile)
}

// collapsed is the spread of predictions below which they say nothing about the images.
const collapsed = 0.05

// encoderOf is the pre-training that the training of m starts from; nil without one.
func (r *runner) encoderOf(m *member) (*encoder, error) {
	if m.Recipe.Pretrain == "" {
		return nil, nil
	}
	for _, e := range r.encoders {
		if e.config.Name != m.Recipe.Pretrain {
			continue
		}
		if e.failed != "" {
			return nil, fmt.Errorf("pre-training %s failed: %s", e.config.Name, e.failed)
		}
		return e, nil
	}
	return nil, fmt.Errorf("there is no pre-training %s", m.Recipe.Pretrain)
}

// writePretraining writes models/pretraining.csv: what the probes reached, and the models whose networks were pre-trained or start
// from what was.
func (r *runner) writePretraining(ctx context.Context) error {
	if len(r.encoders) == 0 {
		return nil
	}
	folder, err := r.validation(ctx)
	if err != nil {
		return err
	}
	n := len(folder.Samples)
	var rows [][]string
	add := func(kind, encoder, method, model string, seed uint64, n int, top1 float64) {
		lo, hi := analysis.Wilson(top1, n)
		rows = append(rows, []string{kind, encoder, method, model, fmt.Sprint(seed), fmt.Sprint(n),
			analysis.FormatFloat(100 * top1), analysis.FormatFloat(100 * lo), analysis.FormatFloat(100 * hi)})
	}
	for _, p := range r.probed {
		add("linear probe", p.encoder, p.method, "", p.seed, p.result.Images, p.result.Top1)
	}
	networks := map[string]bool{}
	for _, e := range r.encoders {
		networks[e.config.Model] = true
	}
	for _, m := range r.members {
		if m.Recipe != nil && m.Recipe.Pretrain != "" && m.Export != nil {
			networks[m.Export.Name] = true
		}
	}
	for _, m := range r.members {
		if m.Recipe == nil || m.Export == nil || !networks[m.Export.Name] {
			continue
		}
		top1, err := trainedTop1(m.module)
		if err != nil {
			return err
		}
		encoder, method := randomEncoder(m.Export.Name), ""
		for _, e := range r.encoders {
			if m.Recipe.Pretrain == e.config.Name {
				encoder, method = e.config.Name, e.config.Method
			}
		}
		add("training", encoder, method, m.Name, m.Seed, n, top1)
	}
	header := []string{"kind", "encoder", "method", "model", "seed", "n", "top1", "ci_lo", "ci_hi"}
	meta := studies.Meta{"schema_version": schemaVersion, "interval": "95 %, Wilson, over images",
		"top1": "per cent of the n validation images; of a training, by its last evaluation"}
	return studies.WriteTable(filepath.Join(r.Dir, "models", "pretraining.csv"), meta, header, rows)
}
