package report

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"sat/internal/store"
)

// Options says what Write leaves out or reports.
type Options struct {
	SkipPNG bool // write no PNG files, which take most of the time
	PDF     bool // write the figures as PDF too
	// Dendrogram adds the similarity matrix in the order of a hierarchical clustering, with its tree.
	Dendrogram bool
	Progress   func(path string) // called after each file; nil: silent
}

// Write reads the run directory and writes figures/*.svg, *.png and *.csv, report.md, report.json and, last,
// report.html, whose path it returns. The bytes depend on the files read alone: the same run gives the same report. The folder
// of figures is made anew, so that it holds those of this report and no others.
func Write(ctx context.Context, runDir string, o Options) (path string, err error) {
	r, err := Load(runDir)
	if err != nil {
		return "", err
	}
	finished, fresh := r.path("figures"), r.path("figures.new")
	// What is there is of a report that was killed.
	if err := errors.Join(os.RemoveAll(fresh), os.MkdirAll(fresh, 0o755)); err != nil {
		return "", fmt.Errorf("write report: %w", err)
	}
	defer os.RemoveAll(fresh) // not there any more after a success
	write := func(content []byte, path string) error {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("write report: %w", err)
		}
		if err := store.WriteFile(path, func(w io.Writer) error { _, err := w.Write(content); return err }); err != nil {
			return fmt.Errorf("write report: %w", err)
		}
		if o.Progress != nil {
			o.Progress(path)
		}
		return nil
	}
	figure := func(content []byte, name string) error { return write(content, filepath.Join(fresh, name)) }
	figs, err := figures(r, o)
	if err != nil {
		return "", fmt.Errorf("%s: %w", runDir, err)
	}
	for _, f := range figs {
		svg, err := f.SVG()
		if err != nil {
			return "", err
		}
		if err := figure(svg, f.Stem+".svg"); err != nil {
			return "", err
		}
		if err := figure(f.CSV, f.Stem+".csv"); err != nil {
			return "", err
		}
		if o.PDF {
			pdf, err := f.PDF()
			if err != nil {
				return "", err
			}
			if err := figure(pdf, f.Stem+".pdf"); err != nil {
				return "", err
			}
		}
		if o.SkipPNG {
			continue
		}
		png, err := f.PNG()
		if err != nil {
			return "", err
		}
		if err := figure(png, f.Stem+".png"); err != nil {
			return "", err
		}
	}
	for _, t := range tables(r) {
		if err := figure(t.CSV, t.Stem+".csv"); err != nil {
			return "", err
		}
	}
	if err := store.ReplaceFolder(finished, fresh); err != nil {
		return "", fmt.Errorf("write report: %w", err)
	}
	text, err := markdown(r, figs)
	if err != nil {
		return "", err
	}
	if err := write(text, r.path("report.md")); err != nil {
		return "", err
	}
	encoded, err := encodeJSON(r, figs)
	if err != nil {
		return "", err
	}
	if err := write(encoded, r.path("report.json")); err != nil {
		return "", err
	}
	p, err := newPage(r, figs, o)
	if err != nil {
		return "", err
	}
	var html bytes.Buffer
	if err := p.write(&html); err != nil {
		return "", err
	}
	path = r.path("report.html")
	return path, write(html.Bytes(), path)
}
