package main

import (
	"cmp"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"sat/internal/run"
	"sat/internal/store"
	"sat/torch"
)

func zooTableCommand() *cli.Command {
	c := command(cli.Command{
		Name:      "table",
		Usage:     "verify and measure module files: size, cost of a prediction and of a gradient, what is wrong with them",
		ArgsUsage: "DIR|FILE...",
		Flags: slices.Concat(modelFlags(), modeFlags(), []cli.Flag{
			&cli.StringFlag{Name: "out", Usage: "FILE.csv, FILE.md or FILE.json; without it CSV goes to stdout"},
			&cli.IntFlag{Name: "batch", Value: 4, Usage: "images per call"},
			&cli.IntFlag{Name: "repeats", Value: 5, Usage: "measured calls, of which the median counts, after two that do not"},
		}),
		Action: zooTable,
	}, "sat zoo table --batch 2 --repeats 3 --out table.md modules")
	c.Description += "\n\nThe time is that of one image. With --out, an interrupted measurement goes on where it was."
	return c
}

func zooTable(c *cli.Context) error {
	files, err := moduleFiles(c.Args().Slice())
	if err != nil {
		return err
	}
	job := run.TableJob{Files: files, Batch: c.Int("batch"), Repeats: c.Int("repeats")}
	if err := positive(c, "batch", "repeats"); err != nil {
		return err
	}
	if job.Device, err = device(c, ""); err != nil {
		return err
	}
	if job.Mode, err = readMode(c, job.Device); err != nil {
		return err
	}
	if job.Threads, err = threads(c); err != nil {
		return err
	}
	if job.Describe, err = description(c); err != nil {
		return err
	}
	out := c.String("out")
	write, known := tableFormats[cmp.Or(strings.ToLower(filepath.Ext(out)), ".csv")]
	if !known {
		return usagef("--out: %s is not called .csv, .md or .json", out)
	}
	if out != "" {
		if err := store.CheckWritable(out); err != nil {
			return err
		}
		job.Journal = out + ".partial"
	}
	p := progress(c)
	p.Begin("zoo table", float64(len(files)), 0)
	rows, err := job.Table(c.Context, func(r run.TableRow) {
		p.Advance(1, r.Model)
		if !r.OK() {
			p.Warn(r.Model + ": " + complaint(r))
		}
	})
	if err != nil && !errors.Is(err, run.ErrPartial) {
		return err
	}
	p.End(fmt.Sprintf("%d modules", len(rows)))
	table := zooTableFile{SchemaVersion: schemaVersion, Settings: tableSettings(job), Models: rows}
	if out != "" {
		if err := store.WriteFile(out, func(w io.Writer) error { return write(w, table) }); err != nil {
			return err
		}
		if filepath.Ext(out) == ".csv" {
			if err := store.WriteJSON(strings.TrimSuffix(out, ".csv")+".meta.json", table.Settings); err != nil {
				return err
			}
		}
		if err := os.Remove(job.Journal); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	switch {
	case c.Bool("json"):
		return errors.Join(err, printJSON(c.App.Writer, table))
	case out == "":
		return errors.Join(err, write(c.App.Writer, table))
	}
	_, printErr := fmt.Fprintln(c.App.Writer, out)
	return errors.Join(err, printErr)
}

// moduleFiles lists the files named, and those called .pt in the folders named.
func moduleFiles(args []string) ([]string, error) {
	if len(args) == 0 {
		return nil, usagef("sat zoo table needs module files, or a folder of them")
	}
	var files []string
	for _, arg := range args {
		info, err := os.Stat(arg)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			files = append(files, arg)
			continue
		}
		entries, err := os.ReadDir(arg)
		if err != nil {
			return nil, err
		}
		before := len(files)
		for _, e := range entries {
			if e.Type().IsRegular() && filepath.Ext(e.Name()) == ".pt" {
				files = append(files, filepath.Join(arg, e.Name()))
			}
		}
		if len(files) == before {
			return nil, fmt.Errorf("no module file NAME.pt in %s", arg)
		}
	}
	return slices.Compact(files), nil
}

// zooTableFile is what `--json` prints and FILE.json holds.
type zooTableFile struct {
	SchemaVersion int             `json:"schema_version"`
	Settings      tableProvenance `json:"settings"`
	Models        []run.TableRow  `json:"models"`
}

// tableProvenance says how the numbers were measured.
type tableProvenance struct {
	Device    string            `json:"device"`
	Kernels   string            `json:"cpu_kernels"`
	Threads   int               `json:"threads"`
	Precision string            `json:"precision"` // the mode: float32, channels-last, lowered or bfloat16
	Batch     int               `json:"batch"`
	Repeats   int               `json:"repeats"`
	Versions  map[string]string `json:"versions"`
}

func tableSettings(job run.TableJob) tableProvenance {
	s := tableProvenance{Device: job.Device.String(), Threads: job.Threads, Precision: job.Mode.String(), Batch: job.Batch,
		Repeats: job.Repeats, Versions: run.Versions()}
	if info, err := torch.Describe(); err == nil {
		s.Kernels = info.Capability
	}
	return s
}

var tableFormats = map[string]func(io.Writer, zooTableFile) error{
	".csv":  writeTableCSV,
	".md":   writeTableMarkdown,
	".json": func(w io.Writer, t zooTableFile) error { return printJSON(w, t) },
}

func writeTableCSV(w io.Writer, t zooTableFile) error {
	c := csv.NewWriter(w)
	_ = c.Write([]string{"model", "alias", "weights", "parameters", "file_mb", "input_size", "kind", "forward_ms", "gradient_ms",
		"verified", "logits_difference", "gradient_difference", "zero_gradients", "constant_output", "confidence", "peak_mb", "seconds"})
	for _, r := range t.Models {
		_ = c.Write([]string{r.Model, r.Alias, r.Weights, strconv.Itoa(r.Parameters), fixed(float64(r.FileBytes)/1e6, 1), r.InputSize, r.Kind,
			fixed(r.ForwardMs, 2), fixed(r.GradientMs, 2), r.Verified, fmt.Sprintf("%.2g", r.Logits), fmt.Sprintf("%.2g", r.Gradient),
			strconv.Itoa(r.ZeroGradients), strconv.FormatBool(r.ConstantOutput), fixed(r.Confidence, 4), fixed(r.PeakMB, 0), fixed(r.Seconds, 1)})
	}
	c.Flush() // keeps the first error of the writes
	return c.Error()
}

func writeTableMarkdown(w io.Writer, t zooTableFile) error {
	s := t.Settings
	var b strings.Builder
	fmt.Fprintf(&b, "Milliseconds per image: median of %d calls after 2 of warm-up, batches of %d, %s, %d threads on %s (%s), libtorch %s.\n",
		s.Repeats, s.Batch, s.Precision, s.Threads, s.Device, s.Kernels, s.Versions["torch"])
	var parameters int
	var bytes int64
	var forward, gradient float64
	b.WriteString("\n| model | alias | parameters, M | file, MB | input | kind | forward, ms | gradient, ms | peak, MB | verified |\n" +
		"|---|---|--:|--:|---|---|--:|--:|--:|---|\n")
	for _, r := range t.Models {
		verdict := r.Verified
		if r.OK() {
			verdict = fmt.Sprintf("%s, %.0e", r.Verified, r.Gradient)
		} else if what := complaint(r); what != "" {
			verdict = "**" + what + "**"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", r.Model, r.Alias, fixed(float64(r.Parameters)/1e6, 1),
			fixed(float64(r.FileBytes)/1e6, 0), r.InputSize, r.Kind, fixed(r.ForwardMs, 0), fixed(r.GradientMs, 0), fixed(r.PeakMB, 0),
			strings.ReplaceAll(verdict, "|", "\\|"))
		parameters, bytes = parameters+r.Parameters, bytes+r.FileBytes
		forward, gradient = forward+r.ForwardMs, gradient+r.GradientMs
	}
	fmt.Fprintf(&b, "| all %d | | %s | %s | | | %s | %s | | |\n\n", len(t.Models), fixed(float64(parameters)/1e6, 1),
		fixed(float64(bytes)/1e6, 0), fixed(forward, 0), fixed(gradient, 0))
	b.WriteString("Verified: logits and gradients equal those that PyTorch recorded at export; the number is the relative difference of " +
		"the gradients.\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func fixed(v float64, digits int) string { return strconv.FormatFloat(v, 'f', digits, 64) }

// complaint says what is wrong with a network.
func complaint(r run.TableRow) string {
	switch {
	case r.ConstantOutput:
		return "the same logits for all images"
	case r.ZeroGradients > 0:
		return fmt.Sprintf("zero gradient for %d images", r.ZeroGradients)
	case r.OK():
		return ""
	}
	return r.Verified
}
