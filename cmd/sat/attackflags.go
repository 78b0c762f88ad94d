package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"sat/attacks"
	"sat/internal/experiment"
	"sat/internal/run"
	"sat/torch"
	"sat/zoo"
)

// methods are the attacks there are.
var methods = []string{"pgd"}

// attackFlags are what `sat attack` and `sat compare` say about the attack. The defaults are the paper's.
func attackFlags() []cli.Flag {
	return []cli.Flag{
		choice("method", "attack", methods...),
		&cli.StringFlag{Name: "epsilon", Usage: "radius of the L-infinity ball for pixels in [0,1], 8/255 or a decimal", Value: "8/255"},
		&cli.StringFlag{Name: "step-size", Usage: "step for pixels in [0,1] (above 2 epsilon every step goes to the ball's edge)", Value: "0.1"},
		&cli.IntFlag{Name: "steps", Usage: "gradient steps", Value: 50},
		&cli.BoolFlag{Name: "random-start", Usage: "start at a random point of the ball"},
		&cli.IntFlag{Name: "restarts", Usage: "attempts; more than one needs --random-start", Value: 1},
		choice("select", "iterate to keep", "last", "best-loss", "first-fooled"),
		&cli.Uint64Flag{Name: "seed", Usage: "of the random starts"},
		choice("rng", "how random numbers are drawn: keyed by image, whatever the batches", "keyed"),
		choice("precision", "in which the model computes; the attack's arithmetic is float32", "float32", "bfloat16"),
		&cli.IntFlag{Name: "batch", Usage: "images per pass (default: all, at most 64)"},
	}
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
	attack    run.Attack
	describe  zoo.Description
	device    torch.Device
	precision torch.DType
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
	s.precision, err = torch.ParseDType(c.String("precision"))
	return s, err
}

// attackSettings reads attackFlags; every mistake is wrong usage.
func attackSettings(c *cli.Context) (run.Attack, error) {
	p := attacks.Defaults()
	epsilon, err := fraction(c, "epsilon")
	if err != nil {
		return run.Attack{}, err
	}
	step, err := fraction(c, "step-size")
	if err != nil {
		return run.Attack{}, err
	}
	p.Epsilon, p.StepSize, p.Steps = epsilon.Float64(), step.Float64(), c.Int("steps")
	p.RandomStart, p.Restarts, p.Seed = c.Bool("random-start"), c.Int("restarts"), c.Uint64("seed")
	p.Select = map[string]attacks.Select{"last": attacks.Last, "best-loss": attacks.BestLoss, "first-fooled": attacks.FirstFooled}[c.String("select")]
	if err := p.Validate(); err != nil {
		return run.Attack{}, usageError{err}
	}
	if p.Epsilon > 1 {
		return run.Attack{}, usagef("--epsilon: %s is more than the whole range of a pixel, 1; write 8/255 rather than 8", epsilon)
	}
	return run.Attack{Method: c.String("method"), Epsilon: epsilon.String(), PGD: p}, nil
}

func fraction(c *cli.Context, flag string) (experiment.Fraction, error) {
	f, err := experiment.ParseFraction(c.String(flag))
	if err != nil {
		return f, usagef("--%s: %w; write a fraction such as 8/255 or a decimal such as 0.03", flag, err)
	}
	return f, nil
}

// batchSize reads --batch; n images are at hand.
func batchSize(c *cli.Context, n int) (int, error) {
	if !c.IsSet("batch") {
		return min(n, 64), nil
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
