package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"sat/internal/experiment"
	"sat/internal/run"
	"sat/torch"
	"sat/zoo"
)

// benchFamilies stands for the zoo: plain and grouped residual networks, modern and mobile convolutional ones, convolution
// with attention, vision transformers flat, windowed, pooled and across channels, and networks of matrix products alone.
const benchFamilies = "resnet18,resnet50,regnety_032,convnext_tiny,efficientnet_b2,convmixer_768_32,halonet50ts,botnet26t_256," +
	"deit_tiny_patch16_224,deit_small_patch16_224,swin_tiny_patch4_window7_224,pit_s_224,xcit_tiny_12_p8_224,mixer_b16_224,resmlp_12_224"

func benchCommand() *cli.Command {
	return &cli.Command{
		Name:            "bench",
		Usage:           "measure this machine, also against the Python peers",
		HideHelpCommand: true,
		Subcommands: []*cli.Command{
			benchLoadCommand(),
			command(cli.Command{
				Name:   "attack",
				Usage:  "an attack on networks of timm with random weights; the peers are torchattacks, pyautoattack and an eager Patch-Fool",
				Flags:  append(benchAttackFlags(), benchFlags()...),
				Action: func(c *cli.Context) error { return bench(c, run.BenchAttacks) },
			}, "sat bench attack --models resnet18 --batch 2 --steps 1 --rounds 2\n  sat bench attack --method autoattack --models resnet18 --batch 1 --steps 1 --targets 1 --queries 2 --rounds 1"),
			command(cli.Command{
				Name:   "transfer",
				Usage:  "forward passes with predictions; the peer is the eager network without gradients",
				Flags:  benchFlags(),
				Action: func(c *cli.Context) error { return bench(c, run.BenchTransfer) },
			}, "sat bench transfer --models resnet18 --batch 2 --steps 1 --rounds 2"),
			benchTrainCommand(),
			command(cli.Command{
				Name:      "precision",
				Usage:     "how far bfloat16, and a change of the last bits, move the similarities of an experiment",
				ArgsUsage: "EXPERIMENT.toml",
				Flags:     []cli.Flag{setFlag()},
				Action:    benchPrecision,
			}, "sat bench precision experiments/digits_quick.toml"),
			benchAnalysisCommand(),
		},
	}
}

// benchTransformers are the networks for Patch-Fool, which needs attention maps.
const benchTransformers = "deit_tiny_patch16_224,deit_small_patch16_224"

func benchAttackFlags() []cli.Flag {
	return []cli.Flag{
		choice("method", "attack; of patchfool, --models are vision transformers", experiment.Methods()...),
		&cli.StringFlag{Name: "epsilon", Usage: "radius of the ball for pixels in [0,1] (default: 8/255 for pgd; else so small that no image " +
			"falls, and there is always the same to do)"},
		&cli.IntFlag{Name: "targets", Usage: "apgd-t, fab-t, autoattack: classes to aim at", Value: 9},
		&cli.IntFlag{Name: "queries", Usage: "autoattack: queries of the square attack (default: 50 per step, as usual)"},
	}
}

// benchAttack reads benchAttackFlags.
func benchAttack(c *cli.Context) (run.BenchAttack, error) {
	a := run.BenchAttack{Method: c.String("method"), Targets: c.Int("targets"), Queries: c.Int("queries")}
	text := c.String("epsilon")
	if text == "" {
		text = run.WithstandEpsilon
		if a.PGD() {
			text = "8/255"
		}
	}
	var err error
	if a.Epsilon, err = experiment.ParseFraction(text); err != nil {
		return a, usagef("--epsilon: %v", err)
	}
	if a.Targets < 1 || a.Queries < 0 {
		return a, usagef("--targets %d, --queries %d: at least 1 and 0", a.Targets, a.Queries)
	}
	if a.Method == "autoattack" && c.Int("steps") == 0 {
		return a, usagef("--steps: the steps of autoattack are not chosen by --seconds; give them")
	}
	if a.Method == "autoattack" && a.Queries == 0 {
		const usual = 50 // 5,000 queries to 100 steps
		a.Queries = usual * c.Int("steps")
	}
	return a, nil
}

func benchFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "models", Usage: "names for timm.create_model, comma-separated", Value: benchFamilies},
		&cli.StringFlag{Name: "precision", Usage: "float32, channels-last and lowered (float32 too) and bfloat16, comma-separated; the peer computes in float32, in the usual layout", Value: "float32,bfloat16"},
		&cli.IntFlag{Name: "batch", Usage: "images per pass", Value: 4},
		&cli.IntFlag{Name: "steps", Usage: "iterations per attack, or forward passes per turn; 0: as many as take about --seconds"},
		&cli.Float64Flag{Name: "seconds", Usage: "length of a turn where --steps is 0", Value: 1},
		&cli.IntFlag{Name: "rounds", Usage: "measured turns per network and precision", Value: 10},
		&cli.IntFlag{Name: "workers", Usage: "copies of the network that work at the same time; without --peer", Value: 1},
		&cli.BoolFlag{Name: "peer", Usage: "take turns with the Python peer"},
		&cli.BoolFlag{Name: "markdown", Usage: "print the table for a Markdown page"},
		&cli.StringFlag{Name: "out", Usage: "folder that keeps the modules", Value: "runs/bench"},
	}
}

func bench(c *cli.Context, work run.BenchWork) error {
	if err := noArguments(c); err != nil {
		return err
	}
	n, err := threads(c)
	if err != nil {
		return err
	}
	for flag, least := range map[string]int{"batch": 1, "steps": 0, "rounds": 1, "workers": 1} {
		if c.Int(flag) < least {
			return usagef("--%s: %d; at least %d", flag, c.Int(flag), least)
		}
	}
	if !(c.Float64("seconds") > 0) {
		return usagef("--seconds: %v; more than 0", c.Float64("seconds"))
	}
	if c.Bool("peer") && c.Int("workers") > 1 {
		return usagef("--workers %d: the peer runs one attack at a time; leave out --peer or --workers", c.Int("workers"))
	}
	job := run.BenchJob{
		Work: work, Models: strings.Split(c.String("models"), ","), Batch: c.Int("batch"), Steps: c.Int("steps"),
		Seconds: c.Float64("seconds"), Rounds: c.Int("rounds"), Threads: n, Workers: c.Int("workers"), Peer: c.Bool("peer"),
		Home: home(), Dir: c.String("out"),
	}
	if work == run.BenchAttacks {
		if job.BenchAttack, err = benchAttack(c); err != nil {
			return err
		}
		if job.Method == "patchfool" && !c.IsSet("models") {
			job.Models = strings.Split(benchTransformers, ",")
		}
	}
	for word := range strings.SplitSeq(c.String("precision"), ",") {
		mode, err := zoo.ParseMode(word)
		if err != nil {
			return usagef("--precision: %w", err)
		}
		job.Modes = append(job.Modes, mode)
	}
	perImage := work == run.BenchAttacks && !job.PGD()
	if perImage && !c.IsSet("precision") {
		job.Modes = []zoo.Mode{{}} // bfloat16 ties logits of random networks, and then less is to do
	}

	table := benchTable{tableWriter: tableWriter{out: c.App.Writer, markdown: c.Bool("markdown")}, peer: job.Peer, perImage: perImage}
	if !c.Bool("json") {
		columns := slices.Clone(benchColumns)
		if perImage {
			columns[2] = "s/image"
		}
		table.head(table.own(columns))
	}
	var results []run.BenchResult
	err = run.Bench(c.Context, job, func(r run.BenchResult) {
		results = append(results, r)
		if !c.Bool("json") {
			table.row(r)
		}
	})
	if err != nil {
		return err
	}
	if !c.Bool("json") {
		table.foot(job, results)
		return nil
	}
	return printJSON(c.App.Writer, struct {
		SchemaVersion int               `json:"schema_version"`
		Results       []run.BenchResult `json:"results"`
	}{schemaVersion, results})
}

// tableWriter prints a table line by line, for a terminal or a Markdown page.
type tableWriter struct {
	out      io.Writer
	markdown bool
}

func (t tableWriter) line(cells []string) {
	if t.markdown {
		fmt.Fprintf(t.out, "| %s |\n", strings.Join(cells, " | "))
		return
	}
	for i, cell := range cells {
		switch {
		case i == 0:
			fmt.Fprintf(t.out, "%-32s", cell)
		case i == 1:
			fmt.Fprintf(t.out, " %-9s", cell)
		case strings.Contains(cell, " to ") || strings.Contains(cell, "interval"):
			fmt.Fprintf(t.out, " %16s", cell)
		default:
			fmt.Fprintf(t.out, " %9s", cell)
		}
	}
	fmt.Fprintln(t.out)
}

// head prints the names of the columns.
func (t tableWriter) head(columns []string) {
	t.line(columns)
	if t.markdown {
		rule := make([]string, len(columns))
		for i := range rule {
			rule[i] = "---:"
		}
		rule[0], rule[1] = "---", "---"
		t.line(rule)
	}
}

// benchTable prints results as they come.
type benchTable struct {
	tableWriter
	peer     bool
	perImage bool // seconds per image in place of images per second
}

var benchColumns = []string{"network", "precision", "images/s", "spread", "peer", "spread", "ratio", "95 % interval", "cpu ratio", "peak MB", "peer MB"}

// own leaves the peer's cells out where there is none.
func (t benchTable) own(cells []string) []string {
	if t.peer {
		return cells
	}
	return append(append([]string{}, cells[:4]...), cells[9])
}

func (t benchTable) row(r run.BenchResult) {
	percent := func(x float64) string { return fmt.Sprintf("%.0f %%", 100*x) }
	ours, theirs := fmt.Sprintf("%.2f", r.ImagesPerSecond), fmt.Sprintf("%.2f", r.PeerPerSecond)
	if t.perImage {
		ours, theirs = fmt.Sprintf("%.4g", r.SecondsPerImage), fmt.Sprintf("%.4g", r.PeerPerImage)
	}
	t.line(t.own([]string{
		r.Model, r.Precision, ours, percent(r.Spread), theirs, percent(r.PeerSpread),
		fmt.Sprintf("%.3f", r.Ratio), fmt.Sprintf("%.3f to %.3f", r.RatioLo, r.RatioHi), fmt.Sprintf("%.3f", r.CPURatio),
		fmt.Sprintf("%.0f", r.PeakMB), fmt.Sprintf("%.0f", r.PeerMB),
	}))
}

// foot prints the geometric means over the networks.
func (t benchTable) foot(job run.BenchJob, results []run.BenchResult) {
	if !t.peer {
		return
	}
	for _, mode := range job.Modes {
		var wall, cpu []float64
		for _, r := range results {
			if r.Precision == mode.String() {
				wall, cpu = append(wall, r.Ratio), append(cpu, r.CPURatio)
			}
		}
		t.line([]string{"geometric mean", mode.String(), "", "", "", "", fmt.Sprintf("%.3f", run.GeometricMean(wall)), "",
			fmt.Sprintf("%.3f", run.GeometricMean(cpu)), "", ""})
	}
}

func benchPrecision(c *cli.Context) error {
	spec, err := loadSpec(c)
	if err != nil {
		return err
	}
	result, err := run.BenchPrecision(c.Context, spec, run.Options{Home: home(), Progress: progress(c)})
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(c.App.Writer, struct {
			SchemaVersion int `json:"schema_version"`
			run.PrecisionResult
		}{schemaVersion, result})
	}
	return printPrecision(c.App.Writer, result)
}

func printPrecision(w io.Writer, r run.PrecisionResult) error {
	fmt.Fprintf(w, "%-24s %-24s %9s", "a", "b", torch.Float32)
	for _, m := range r.Modes {
		fmt.Fprintf(w, " %9s %7s", m.Mode, "change")
	}
	fmt.Fprintln(w)
	for _, p := range r.Pairs {
		fmt.Fprintf(w, "%-24s %-24s %9.3f", p.A, p.B, p.SAT)
		floor := false
		for _, other := range p.Others {
			fmt.Fprintf(w, " %9.3f %+7.3f", other.SAT, other.SAT-p.SAT)
			floor = floor || other.Floor
		}
		if floor {
			fmt.Fprint(w, "  at the floor")
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w)
	var err error
	for _, m := range r.Modes {
		_, err = fmt.Fprintf(w, "%-9s %d pairs away from the floor (%d at it): change of SAT %+.3f on average, %.3f in size, at most %.3f; "+
			"%d outside the 95 %% interval of float32\n", m.Mode+":", m.Pairs, m.AtFloor, m.Mean, m.MeanSize, m.Max, m.Outside)
	}
	if len(r.Modes) > 1 {
		_, err = fmt.Fprintln(w, "\nlowered changes nothing but the last bits: what it moves, attacks make of any change in rounding.")
	}
	return err
}
