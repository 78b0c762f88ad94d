package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"sat/internal/run"
	"sat/torch"
)

// schemaVersion is part of every JSON document on stdout; it changes when a key changes its meaning or goes.
const schemaVersion = 1

// withCommon adds the flags that every command has.
func withCommon(flags ...cli.Flag) []cli.Flag {
	return append(flags,
		&cli.BoolFlag{Name: "json", Usage: "print one JSON object on stdout"},
		&cli.BoolFlag{Name: "quiet", Usage: "no progress and no news on stderr, only warnings and errors"},
		&cli.StringFlag{Name: "device", Usage: "cpu, cuda or cuda:N (default: what the experiment says, else cpu)"},
		&cli.IntFlag{Name: "threads", Usage: "threads of one operation (default: what the experiment says, else 1 per worker)"},
	)
}

// command fills in what all commands share. example is shown by --help and run by a test.
func command(c cli.Command, example string) *cli.Command {
	c.Description = "Example:\n  " + example
	c.OnUsageError = asUsageError
	c.HideHelpCommand = true
	c.Flags = withCommon(c.Flags...)
	return &c
}

// oneArgument returns the only positional argument, called what in messages.
func oneArgument(c *cli.Context, what string) (string, error) {
	if c.NArg() != 1 {
		return "", usagef("%s takes one argument, %s, and got %d", c.Command.HelpName, what, c.NArg())
	}
	return c.Args().First(), nil
}

// noArguments refuses positional arguments.
func noArguments(c *cli.Context) error {
	if c.NArg() > 0 {
		return usagef("%s takes no argument, got %q", c.Command.HelpName, c.Args().First())
	}
	return nil
}

// progress shows a bar on a terminal, plain lines elsewhere, nothing with --quiet.
func progress(c *cli.Context) *run.Progress {
	terminal := term.IsTerminal(int(os.Stderr.Fd())) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	return run.NewProgress(c.App.ErrWriter, terminal, c.Bool("quiet"))
}

// device reads --device; fallback is used without it.
func device(c *cli.Context, fallback string) (torch.Device, error) {
	word := c.String("device")
	if word == "" {
		word = fallback
	}
	if word == "" {
		word = "cpu"
	}
	d, err := torch.ParseDevice(word)
	if err != nil {
		return d, usageError{fmt.Errorf("--device: %w", err)}
	}
	return d, nil
}

// threads reads --threads; without it, all cores serve one operation at a time.
func threads(c *cli.Context) (int, error) {
	if !c.IsSet("threads") {
		return runtime.NumCPU(), nil
	}
	n := c.Int("threads")
	if n < 1 {
		return 0, usagef("--threads: %d is not a number of threads; at least 1", n)
	}
	return n, nil
}

// printJSON writes one document to stdout. fields must have JSON names; the schema version comes first.
func printJSON(w io.Writer, fields any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(fields)
}

// warn prints a warning that --quiet does not silence.
func warn(c *cli.Context, format string, args ...any) {
	fmt.Fprintf(c.App.ErrWriter, "warning: %s\n", fmt.Sprintf(format, args...))
}

// home is the folder that holds bin/, scripts/ and third_party/: the checkout the binary was built in.
func home() string { return homeFolder() }

var homeFolder = func() string {
	exe, err := os.Executable()
	if err != nil {
		return "."
	}
	if real, err := filepath.EvalSymlinks(exe); err == nil {
		exe = real
	}
	return filepath.Dir(filepath.Dir(exe))
}
