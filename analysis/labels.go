package analysis

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// ReadLabels parses a CSV table with the columns model and cluster, a whole number from 1, in any order and among others.
func ReadLabels(r io.Reader) (models []string, labels []int, err error) {
	cr := newCSVReader(r)
	header, err := cr.Read()
	if err != nil {
		return nil, nil, fmt.Errorf("read labels: header: %w", describeCSV(err))
	}
	header = trimAll(header)
	model, cluster := slices.Index(header, "model"), slices.Index(header, "cluster")
	if model < 0 || cluster < 0 {
		return nil, nil, fmt.Errorf("read labels: columns are %s: want model and cluster", strings.Join(header, ", "))
	}
	for {
		record, err := cr.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, nil, fmt.Errorf("read labels: %w", err)
		}
		line, _ := cr.FieldPos(0)
		k, err := strconv.Atoi(strings.TrimSpace(record[cluster]))
		if err != nil || k < 1 {
			return nil, nil, fmt.Errorf("read labels: line %d: cluster %q is not a whole number from 1", line, record[cluster])
		}
		models, labels = append(models, strings.TrimSpace(record[model])), append(labels, k)
	}
	if err := checkNames(models); err != nil {
		return nil, nil, fmt.Errorf("read labels: %w", err)
	}
	return models, labels, nil
}

// SelectLabels returns the labels of the wanted models, in that order. The error names every model that is missing.
func SelectLabels(want, models []string, labels []int) ([]int, error) {
	if len(models) != len(labels) {
		return nil, fmt.Errorf("labels: %d for %d models", len(labels), len(models))
	}
	index, err := locate(want, models)
	if err != nil {
		return nil, fmt.Errorf("labels: %w", err)
	}
	out := make([]int, len(want))
	for i, k := range index {
		out[i] = labels[k]
	}
	return out, nil
}
