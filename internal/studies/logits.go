package studies

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"

	"sat/analysis"
	"sat/internal/data"
)

// LogitFiles are the logits of models in files of their own, NAME.npy, float32 or float16 [N,K], read a block at a time.
type LogitFiles struct {
	*analysis.Logits
	files []*data.NPYRows
}

// OpenLogits opens the logits of the given models in dir, whose rows belong to the labels. Close the result.
func OpenLogits(dir string, models []string, labels []int64) (_ *LogitFiles, err error) {
	l := &LogitFiles{Logits: &analysis.Logits{Models: models}}
	defer func() {
		if err != nil {
			_ = l.Close()
		}
	}()
	for _, y := range labels {
		if y < 0 || y > math.MaxInt32 {
			return nil, fmt.Errorf("label %d is no class", y)
		}
		l.Labels = append(l.Labels, int(y))
	}
	for i, name := range models {
		file, err := data.OpenNPYRows(filepath.Join(dir, name+".npy"))
		if err != nil {
			return nil, fmt.Errorf("logits of %s: %w", name, err)
		}
		l.files = append(l.files, file)
		switch {
		case file.Rows != len(labels):
			return nil, fmt.Errorf("logits of %s: %d images, but there are %d labels", name, file.Rows, len(labels))
		case i == 0:
			l.Classes = file.Columns
		case file.Columns != l.Classes:
			return nil, fmt.Errorf("logits of %s: %d classes, but %s has %d", name, file.Columns, models[0], l.Classes)
		}
	}
	l.Reader = l
	return l, nil
}

// ReadLogits implements analysis.LogitReader.
func (l *LogitFiles) ReadLogits(ctx context.Context, model, from int, dst []float32) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return l.files[model].Read(from, dst)
}

// Close closes the files.
func (l *LogitFiles) Close() error {
	var errs []error
	for _, f := range l.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}
