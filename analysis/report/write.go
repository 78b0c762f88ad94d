package report

import (
	"bytes"
	"context"
	"fmt"
	"io"

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
// report.html, whose path it returns. The bytes depend on the files read alone: the same run gives the same report.
func Write(ctx context.Context, runDir string, o Options) (path string, err error) {
	r, err := Load(runDir)
	if err != nil {
		return "", err
	}
	write := func(content []byte, parts ...string) error {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("write report: %w", err)
		}
		path = r.path(parts...)
		if err := store.WriteFile(path, func(w io.Writer) error { _, err := w.Write(content); return err }); err != nil {
			return fmt.Errorf("write report: %w", err)
		}
		if o.Progress != nil {
			o.Progress(path)
		}
		return nil
	}
	figs, err := figures(r, o)
	if err != nil {
		return "", fmt.Errorf("%s: %w", runDir, err)
	}
	for _, f := range figs {
		svg, err := f.SVG()
		if err != nil {
			return "", err
		}
		if err := write(svg, "figures", f.Stem+".svg"); err != nil {
			return "", err
		}
		if err := write(f.CSV, "figures", f.Stem+".csv"); err != nil {
			return "", err
		}
		if o.PDF {
			pdf, err := f.PDF()
			if err != nil {
				return "", err
			}
			if err := write(pdf, "figures", f.Stem+".pdf"); err != nil {
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
		if err := write(png, "figures", f.Stem+".png"); err != nil {
			return "", err
		}
	}
	for _, t := range tables(r) {
		if err := write(t.CSV, "figures", t.Stem+".csv"); err != nil {
			return "", err
		}
	}
	text, err := markdown(r, figs)
	if err != nil {
		return "", err
	}
	if err := write(text, "report.md"); err != nil {
		return "", err
	}
	encoded, err := encodeJSON(r, figs)
	if err != nil {
		return "", err
	}
	if err := write(encoded, "report.json"); err != nil {
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
	err = write(html.Bytes(), "report.html")
	return path, err
}
