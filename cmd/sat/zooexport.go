package main

import (
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"sat/internal/run"
	"sat/zoo"
)

// initializations are the words of --initialization.
var initializations = map[string]string{"non-degenerate": zoo.WeightsNonDegenerate, "timm": zoo.WeightsRandom}

func zooExportCommand() *cli.Command {
	c := command(cli.Command{
		Name:      "export",
		Usage:     "write NAME.pt, TorchScript with description and check, for models of timm",
		ArgsUsage: "NAME...",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "out", Usage: "folder of the files", Required: true},
			&cli.BoolFlag{Name: "random", Usage: "random weights (the default)"},
			&cli.Uint64Flag{Name: "seed", Usage: "of the random weights"},
			&cli.StringFlag{Name: "initialization", Value: "non-degenerate", Usage: "of random weights: timm, as timm draws " +
				"them, or non-degenerate: gains that start at zero drawn too, batch normalisation calibrated, logits scaled, so " +
				"that every network can be attacked"},
			&cli.BoolFlag{Name: "pretrained", Usage: "trained weights, from timm's local cache or --checkpoints"},
			&cli.BoolFlag{Name: "attention", Usage: "a ViT or DeiT that also returns its attention maps, for patchfool"},
			&cli.StringFlag{Name: "checkpoints", Usage: "folder of weight files, with --pretrained"},
			&cli.IntFlag{Name: "workers", Value: run.ExportWorkers(runtime.NumCPU()), Usage: "exports that run at the same time, " +
				"each on one core and with up to 5 GiB of memory"},
			&cli.BoolFlag{Name: "force", Usage: "export again what is there already"},
		},
		Action: exportZoo,
	}, "sat zoo export --random --seed 0 --out modules resnet18")
	c.Description += "\n\nNAME is a name of timm 0.6.7, a name of timm 1.0.31 with tag, an alias of the paper, or a word for several:"
	for _, g := range zoo.Groups() {
		c.Description += fmt.Sprintf("\n  %-18s%s", g.Name, g.Usage)
	}
	return c
}

func exportZoo(c *cli.Context) error {
	if c.NArg() == 0 {
		return usagef("sat zoo export needs at least one name; sat zoo list shows the paper's, timm's others work too")
	}
	if c.Bool("pretrained") {
		for _, flag := range []string{"random", "seed", "initialization"} {
			if c.IsSet(flag) {
				return usagef("--%s and --pretrained exclude each other", flag)
			}
		}
	}
	if c.IsSet("checkpoints") && !c.Bool("pretrained") {
		return usagef("--checkpoints is about trained weights: add --pretrained")
	}
	if c.Int("workers") < 1 {
		return usagef("--workers: %d is not a number of workers; at least 1", c.Int("workers"))
	}
	source, known := initializations[c.String("initialization")]
	if !known {
		words := []string{"non-degenerate", "timm"}
		return usagef("--initialization: unknown word %q (%s)%s", c.String("initialization"), strings.Join(words, ", "),
			didYouMean(c.String("initialization"), words, ""))
	}
	if c.Bool("pretrained") {
		source = zoo.WeightsPretrained
	}
	jobs, err := exportJobs(c.Args().Slice(), c.Uint64("seed"))
	if err != nil {
		return err
	}
	out := c.String("out")
	var wanted []zoo.Job
	var files []string
	for _, job := range jobs {
		job.Weights, job.Checkpoints, job.Attention = source, c.String("checkpoints"), c.Bool("attention")
		file := filepath.Join(out, job.Name+".pt")
		files = append(files, file)
		if c.Bool("force") || !run.Exported(file, job) {
			wanted = append(wanted, job)
		}
	}
	p := progress(c)
	p.Begin("export", float64(len(jobs)), float64(len(jobs)-len(wanted)))
	if len(wanted) > 0 {
		err = run.Export(c.Context, home(), wanted, out, c.Int("workers"), func(e zoo.ExportEvent) {
			switch e.Event {
			case "note":
				p.Warn(e.Name + ": " + e.Message)
			case "done":
				p.Advance(1, e.Name)
			}
		})
	}
	if err != nil {
		if strings.Contains(err.Error(), "Unknown model") { // the words of timm
			err = fmt.Errorf("%w%s", err, suggestModels(jobs))
		}
		return err
	}
	summary := fmt.Sprintf("%d modules", len(wanted))
	if kept := len(jobs) - len(wanted); kept > 0 {
		summary += fmt.Sprintf(", %d were there already (--force exports them again)", kept)
	}
	p.End(summary)
	if c.Bool("json") {
		return printJSON(c.App.Writer, struct {
			SchemaVersion int      `json:"schema_version"`
			Files         []string `json:"files"`
		}{schemaVersion, files})
	}
	_, err = fmt.Fprintln(c.App.Writer, strings.Join(files, "\n"))
	return err
}

// exportJobs looks names and words for several up in the paper's zoo; what is not there may still be one of timm's many
// others. A network that is named twice is exported once.
func exportJobs(names []string, seed uint64) ([]zoo.Job, error) {
	var jobs []zoo.Job
	add := func(job zoo.Job) {
		if !slices.ContainsFunc(jobs, func(j zoo.Job) bool { return j.Name == job.Name }) {
			jobs = append(jobs, job)
		}
	}
	for _, name := range names {
		group, ok, err := zoo.InGroup(name)
		if err != nil {
			return nil, err
		}
		for _, e := range group {
			add(e.Job(seed))
		}
		if ok {
			continue
		}
		if entry, err := zoo.Lookup(name); err == nil {
			add(entry.Job(seed))
		} else {
			add(zoo.Job{Name: name, Model: name, Seed: seed})
		}
	}
	return jobs, nil
}

// suggestModels offers models of the paper for names that are not among them: perhaps they were meant.
func suggestModels(jobs []zoo.Job) string {
	entries, err := zoo.Entries()
	if err != nil {
		return ""
	}
	var known []string
	for _, g := range zoo.Groups() {
		known = append(known, g.Name)
	}
	for _, e := range entries {
		known = append(known, e.Name(), e.Alias)
	}
	for _, j := range jobs {
		if j.Alias == "" {
			if hint := didYouMean(j.Name, known, ""); hint != "" {
				return hint
			}
		}
	}
	return ""
}
