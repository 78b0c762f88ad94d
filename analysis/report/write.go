package report

import (
	"bytes"
	"context"
	"fmt"
	"io"
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
	figs, err := figures(r, o)
	if err != nil {
		return "", fmt.Errorf("%s: %w", runDir, err)
	}
	err = store.RemakeFolder(r.path("figures"), func(fresh string) error {
		return writeFigures(r, figs, o, func(content []byte, name string) error { return write(content, filepath.Join(fresh, name)) })
	})
	if err != nil {
		return "", err
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

// writeFigures writes every figure in all its formats, and the tables.
func writeFigures(r *Run, figs []*figure, o Options, write func(content []byte, name string) error) error {
	type format struct {
		suffix string
		encode func() ([]byte, error)
	}
	for _, f := range figs {
		formats := []format{{".svg", f.SVG}, {".csv", func() ([]byte, error) { return f.CSV, nil }}}
		if o.PDF {
			formats = append(formats, format{".pdf", f.PDF})
		}
		if !o.SkipPNG {
			formats = append(formats, format{".png", f.PNG})
		}
		for _, format := range formats {
			content, err := format.encode()
			if err != nil {
				return err
			}
			if err := write(content, f.Stem+format.suffix); err != nil {
				return err
			}
		}
	}
	for _, t := range tables(r) {
		if err := write(t.CSV, t.Stem+".csv"); err != nil {
			return err
		}
	}
	return nil
}
