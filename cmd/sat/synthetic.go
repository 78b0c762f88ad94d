package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"sat/internal/synthetic"
)

// syntheticCommand is for those who work on the report or want to see one before they have a GPU. It is hidden because none
// of its numbers is a result.
func syntheticCommand() *cli.Command {
	c := command(cli.Command{
		Name:   "synthetic",
		Usage:  "invent a run with planted structure, to try reports on",
		Hidden: true,
		Flags: []cli.Flag{
			&cli.IntFlag{Name: "models", Usage: "14: a small demo with training; 69: the paper's models and every analysis; else copies of these", Value: 69},
			&cli.StringFlag{Name: "out", Usage: "folder of the run, which must not hold another", Required: true},
		},
		Action: func(c *cli.Context) error {
			if err := noArguments(c); err != nil {
				return err
			}
			z := synthetic.Many(max(c.Int("models"), 1))
			switch n := c.Int("models"); {
			case n < 2:
				return usagef("--models: %d, want at least 2", n)
			case n == len(synthetic.Small().Models):
				z = synthetic.Small()
			case n == len(synthetic.Paper().Models):
				z = synthetic.Paper()
			}
			out := c.String("out")
			if _, err := os.Stat(filepath.Join(out, "similarity")); !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%s holds a run already: choose another folder", out)
			}
			if err := z.Write(c.Context, out); err != nil {
				return err
			}
			return printFolder(c, nil)
		},
	}, "sat synthetic --models 14 --out invented")
	return c
}
