package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"syscall"

	"github.com/urfave/cli/v2"

	"sat/internal/experiment"
	"sat/internal/run"
	"sat/torch"
)

// Exit codes; cmd/sat/doc.go and the README list them for users.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitPartial     = 3
	exitEnvironment = 4
	exitInterrupted = 130
)

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	interrupts := make(chan os.Signal, 2)
	signal.Notify(interrupts, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-interrupts
		fmt.Fprintln(os.Stderr, "\nsat: interrupted: finishing the current step (interrupt again to stop at once)")
		cancel()
		<-interrupts
		os.Exit(exitInterrupted)
	}()
	os.Exit(execute(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// execute runs one command line and returns the exit code.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	app := newApp(stdout, stderr)
	arranged, err := arrange(app, args)
	if err == nil {
		err = app.RunContext(ctx, append([]string{app.Name}, arranged...))
	}
	if err == nil {
		return exitDone
	}
	code := exitCode(err)
	var many *experiment.Problems
	if errors.As(err, &many) {
		fmt.Fprintln(stderr, many.Error()) // each problem carries its own file and line
	} else {
		fmt.Fprintf(stderr, "sat: %v\n", err)
	}
	if code == exitUsage && many == nil {
		fmt.Fprintln(stderr, "     sat --help lists the commands, sat COMMAND --help their flags")
	}
	return code
}

func newApp(stdout, stderr io.Writer) *cli.App {
	return &cli.App{
		Name:                   "sat",
		Usage:                  "how similar are image classifiers? Adversarial images of one fool its likes.",
		Writer:                 stdout,
		ErrWriter:              stderr,
		HideVersion:            true,
		HideHelpCommand:        true,
		UseShortOptionHandling: false,
		// A comma is a part of a path or of a value, not the start of another.
		DisableSliceFlagSeparator: true,
		ExitErrHandler:            func(*cli.Context, error) {}, // execute decides
		OnUsageError:              asUsageError,
		Commands: []*cli.Command{
			doctorCommand(),
			runCommand(),
			statusCommand(),
			configCommand(),
			zooCommand(),
			stageCommand(run.StageTrain, "train the models of an experiment that have a recipe"),
			stageCommand(run.StageEvaluate, "clean predictions and accuracy of every model"),
			stageCommand(run.StageTransfer, "attack every model once and show the images to every other"),
			stageCommand(run.StageSimilarity, "score again from stored predictions; needs no model"),
			attackCommand(),
			compareCommand(),
			boundaryCommand(),
			analyzeCommand(),
			dataCommand(),
			reportCommand(),
			benchCommand(),
			completionCommand(),
			syntheticCommand(),
		},
	}
}

// usageError is a mistake in the command line: exit code 2.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// badValue is what the command line library says of a flag's value that it cannot parse.
var badValue = regexp.MustCompile(`^invalid (?:boolean )?value (".*") for (?:flag )?-(\S+): `)

// asUsageError marks what the command line library says of a flag's value, and says what it should have been.
func asUsageError(c *cli.Context, err error, _ bool) error {
	match := badValue.FindStringSubmatch(err.Error())
	if match == nil {
		return usageError{err}
	}
	want := "true or false"
	for _, f := range c.Command.Flags {
		if slices.Contains(f.Names(), match[2]) {
			switch f.(type) {
			case *cli.IntFlag:
				want = "a whole number"
			case *cli.Uint64Flag:
				want = "a whole number from 0"
			case *cli.Float64Flag:
				want = "a number"
			}
		}
	}
	return usagef("--%s: %s is not %s", match[2], match[1], want)
}

// exitCode maps an error to the exit code that cmd/sat/doc.go documents.
func exitCode(err error) int {
	var usage usageError
	var problems *experiment.Problems
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.As(err, &usage), errors.As(err, &problems):
		return exitUsage
	case errors.Is(err, torch.ErrUnavailable), errors.Is(err, torch.ErrNoCUDA), errors.Is(err, run.ErrEnvironment):
		return exitEnvironment
	case errors.Is(err, run.ErrPartial):
		return exitPartial
	default:
		return exitFailed
	}
}
