package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"sat/internal/experiment"
	"sat/internal/run"
	"sat/torch"
	"sat/zoo"
)

// attackFlags are what `sat attack` and `sat compare` say about the attack: the keys of [attack] in an experiment file, with
// the same defaults and for the same methods.
func attackFlags(targets ...string) []cli.Flag {
	return []cli.Flag{
		choice("method", "attack", experiment.Methods()...),
		&cli.StringFlag{Name: "epsilon", Usage: "radius of the ball for pixels in [0,1], 8/255 or a decimal", Value: "8/255"},
		choice("norm", "of the ball (not for pgd: there is pgd-l2)", "Linf", "L2"),
		&cli.StringFlag{Name: "step-size", Usage: "pgd: step for pixels in [0,1] (above 2 epsilon every step goes to the ball's edge)", Value: "0.1"},
		choice("step-unit", "pgd: pixels in [0,1], multiples of epsilon, of each channel's standard deviation, or of 1/255", "pixel", "eps", "norm", "byte"),
		&cli.IntFlag{Name: "steps", Usage: "gradient steps; default 50 for pgd, 100 for the attacks of AutoAttack, 250 for patchfool"},
		&cli.BoolFlag{Name: "random-start", Usage: "pgd: start at a random point of the ball"},
		&cli.IntFlag{Name: "restarts", Usage: "attempts; more than one of pgd needs --random-start", Value: 1},
		choice("select", "pgd: iterate to keep", "last", "best-loss", "first-fooled"),
		choice("loss", "pgd: loss to climb", "cross-entropy", "dlr", "margin"),
		&cli.Float64Flag{Name: "momentum", Usage: "pgd: decay of the accumulated gradient"},
		choice("target", "pgd: class to reach", append([]string{"none", "next", "least-likely", "random", "runner-up"}, targets...)...),
		&cli.BoolFlag{Name: "best-loss", Usage: "apgd-ce: keep the image of largest loss instead of a misclassified or the clean one"},
		&cli.IntFlag{Name: "targets", Usage: "apgd-t, fab-t, autoattack: classes to aim at", Value: 9},
		&cli.IntFlag{Name: "queries", Usage: "square, autoattack: queries of the square attack", Value: 5000},
		choice("survivors", "autoattack: what stands for an image that withstands", "clean", "best-loss"),
		choice("rng", "random numbers: keyed by image, whatever the batches, or those of AutoAttack's reference implementation", "keyed", "stream-compat"),
		&cli.IntFlag{Name: "patches", Usage: "patchfool: patches of an image that are replaced", Value: 1},
		choice("patch-select", "patchfool: which patches", "attention", "random", "saliency"),
		&cli.IntFlag{Name: "attention-layer", Usage: "patchfool: layer whose attention selects patches, from 0", Value: 4},
		&cli.Float64Flag{Name: "rate", Usage: "patchfool: of Adam, in units of the normalised image", Value: 0.2},
		&cli.Float64Flag{Name: "attention-weight", Usage: "patchfool: of the attention objectives beside the cross-entropy", Value: 0.002},
		choice("form", "patchfool: attention objectives of the authors' program, or as the paper writes them", "code", "paper"),
		choice("conflict", "patchfool: what happens to an attention gradient against the cross-entropy's", "project", "code-norm"),
		&cli.StringFlag{Name: "mild-l2", Usage: "patchfool: largest L2 length of a channel's change", Value: "0"},
		&cli.StringFlag{Name: "mild-linf", Usage: "patchfool: largest change of a pixel, 8/255 or a decimal", Value: "0"},
		&cli.IntFlag{Name: "sparse-pixels", Usage: "patchfool: so many pixels change, which ones is learnt; 0: all of the patches"},
		choice("nan", "what a NaN in a gradient does", "stop", "zero"),
		&cli.Uint64Flag{Name: "seed", Usage: "of random numbers"},
		&cli.IntFlag{Name: "batch", Usage: "images per pass (default: all, at most 64, or what --memory chooses)"},
		&cli.StringFlag{Name: "memory", Usage: "the most that the program may have resident, 8GiB: without --batch, each model gets " +
			"the fastest batch that keeps to it, measured"},
	}
}

// modeFlags say how models compute, for every command that runs them.
func modeFlags() []cli.Flag {
	return []cli.Flag{
		choice("precision", "in which the models compute; images, logits and the arithmetic of attacks are float32", "float32", "bfloat16"),
		&cli.BoolFlag{Name: "channels-last", Usage: "filters and feature maps lie pixel by pixel in memory: some CPUs and GPUs then compute " +
			"convolutions faster in float32, with other last bits"},
		&cli.BoolFlag{Name: "lowered", Usage: "on the CPU, filters hold normalisation and lie as the kernels read them: ResNets and their kin " +
			"attack 1.2 to 1.3 times as fast in float32, with other last bits"},
	}
}

// readMode reads modeFlags; a mistake is wrong usage.
func readMode(c *cli.Context, d torch.Device) (zoo.Mode, error) {
	precision, err := torch.ParseDType(c.String("precision"))
	if err != nil {
		return zoo.Mode{}, err
	}
	mode := zoo.Mode{Precision: precision, ChannelsLast: c.Bool("channels-last"), Lowered: c.Bool("lowered")}
	if err := mode.Check(d); err != nil {
		return zoo.Mode{}, usagef("--device %v: %w", d, err)
	}
	return mode, nil
}

// modelFlags describe TorchScript files that carry no sat.json.
func modelFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "mean", Usage: "per channel, for pixels in [0,1]: 0.485,0.456,0.406 (default: the file's, else 0)"},
		&cli.StringFlag{Name: "std", Usage: "per channel: 0.229,0.224,0.225 (default: the file's, else 1)"},
		&cli.StringFlag{Name: "input-size", Usage: "224 or 224x224 (default: the file's, else that of --images X.npy)"},
		&cli.Float64Flag{Name: "crop-pct", Usage: "centre crop of folder images (default: the file's, else 0.875)"},
		&cli.StringFlag{Name: "interpolation", Usage: "resize of folder images, bilinear or bicubic (default: the file's, else bicubic)"},
	}
}

// modelSettings is what `sat attack` and `sat compare` say about attack and models together.
type modelSettings struct {
	attack   run.Attack
	describe zoo.Description
	device   torch.Device
	mode     zoo.Mode
	memory   int64 // bytes; 0: no limit
}

// readModelSettings reads attackFlags and modelFlags.
func readModelSettings(c *cli.Context) (s modelSettings, err error) {
	if s.attack, err = attackSettings(c); err != nil {
		return s, err
	}
	if s.describe, err = description(c); err != nil {
		return s, err
	}
	if s.device, err = device(c, ""); err != nil {
		return s, err
	}
	if word := c.String("memory"); word != "" {
		memory, err := experiment.ParseBytes(word)
		if err != nil {
			return s, usagef("--memory: %w", err)
		}
		s.memory = int64(memory)
	}
	s.mode, err = readMode(c, s.device)
	return s, err
}

// attackSettings reads attackFlags; every mistake is wrong usage.
func attackSettings(c *cli.Context) (run.Attack, error) {
	epsilon, err := fraction(c, "epsilon")
	if err != nil {
		return run.Attack{}, err
	}
	step, err := fraction(c, "step-size")
	if err != nil {
		return run.Attack{}, err
	}
	mildL2, err := fraction(c, "mild-l2")
	if err != nil {
		return run.Attack{}, err
	}
	mildLinf, err := fraction(c, "mild-linf")
	if err != nil {
		return run.Attack{}, err
	}
	a := experiment.Attack{
		Method: c.String("method"), Epsilon: epsilon, Norm: c.String("norm"), StepSize: step, StepUnit: c.String("step-unit"),
		Steps: c.Int("steps"), RandomStart: c.Bool("random-start"), Restarts: c.Int("restarts"), Select: c.String("select"),
		Loss: c.String("loss"), Momentum: c.Float64("momentum"), Target: c.String("target"), BestLoss: c.Bool("best-loss"),
		Targets: c.Int("targets"), Queries: c.Int("queries"), Survivors: c.String("survivors"), RNG: c.String("rng"), NaN: c.String("nan"),
		Patches: c.Int("patches"), PatchSelect: c.String("patch-select"), AttentionLayer: c.Int("attention-layer"),
		Rate: c.Float64("rate"), AttentionWeight: c.Float64("attention-weight"), Form: c.String("form"), Conflict: c.String("conflict"),
		MildL2: mildL2, MildLinf: mildLinf, SparsePixels: c.Int("sparse-pixels"), Seed: c.Uint64("seed"),
	}
	flag := func(key string) string { return strings.ReplaceAll(key, "_", "-") }
	for _, p := range a.Complete(func(key string) bool { return c.IsSet(flag(key)) }) {
		return run.Attack{}, usagef("--%s: %s; %s", flag(p.Key), p.Message, p.Hint)
	}
	attack, err := run.NewAttack(a, epsilon)
	if err != nil {
		return run.Attack{}, usageError{err}
	}
	return attack, nil
}

func fraction(c *cli.Context, flag string) (experiment.Fraction, error) {
	f, err := experiment.ParseFraction(c.String(flag))
	if err != nil {
		return f, usagef("--%s: %w; write a fraction such as 8/255 or a decimal such as 0.03", flag, err)
	}
	return f, nil
}

// batchSize reads --batch; without, usual, or 0 where --memory chooses.
func batchSize(c *cli.Context, usual int) (int, error) {
	if !c.IsSet("batch") {
		if c.IsSet("memory") {
			return 0, nil
		}
		return usual, nil
	}
	if b := c.Int("batch"); b >= 1 {
		return b, nil
	}
	return 0, usagef("--batch: %d is not a number of images", c.Int("batch"))
}

// description reads modelFlags.
func description(c *cli.Context) (zoo.Description, error) {
	var d zoo.Description
	var err error
	if d.Mean, err = numbers(c, "mean"); err != nil {
		return d, err
	}
	if d.Std, err = numbers(c, "std"); err != nil {
		return d, err
	}
	if slices.Contains(d.Std, 0) {
		return d, usagef("--std: a channel cannot be divided by 0")
	}
	if word := c.String("input-size"); word != "" {
		h, w, square := strings.Cut(word, "x")
		if !square {
			w = h
		}
		if d.Height, err = strconv.Atoi(h); err == nil {
			d.Width, err = strconv.Atoi(w)
		}
		if err != nil || d.Height < 1 || d.Width < 1 {
			return d, usagef("--input-size: %q is not a size; write 224 or 224x192 (height x width)", word)
		}
	}
	d.CropPct, d.Interpolation = c.Float64("crop-pct"), c.String("interpolation")
	if c.IsSet("crop-pct") && !(d.CropPct > 0 && d.CropPct <= 1) {
		return d, usagef("--crop-pct: %v is not a share in (0,1]", d.CropPct)
	}
	if i := d.Interpolation; i != "" && i != "bilinear" && i != "bicubic" {
		return d, usagef("--interpolation: unknown word %q (bilinear, bicubic)%s", i, didYouMean(i, []string{"bilinear", "bicubic"}, ""))
	}
	return d, nil
}

// numbers reads three comma-separated numbers, or one for all channels.
func numbers(c *cli.Context, flag string) ([]float32, error) {
	word := c.String(flag)
	if word == "" {
		return nil, nil
	}
	var out []float32
	for _, part := range strings.Split(word, ",") {
		v, err := strconv.ParseFloat(strings.TrimSpace(part), 32)
		if err != nil || v != v {
			return nil, usagef("--%s: %q is not a number", flag, part)
		}
		out = append(out, float32(v))
	}
	if len(out) == 1 {
		out = []float32{out[0], out[0], out[0]}
	}
	if len(out) != 3 {
		return nil, usageError{fmt.Errorf("--%s: %d numbers; give three, one per channel, or one for all", flag, len(out))}
	}
	return out, nil
}
