package run

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"time"

	"sat/attacks"
	"sat/internal/store"
	"sat/torch"
)

// secondsFile is DIR/stability_seconds.json: what a score of either method costs on this machine. It is a measurement of the
// machine and lies outside the results that equal runs have in common.
type secondsFile struct {
	SchemaVersion int            `json:"schema_version"`
	Key           store.Key      `json:"key"` // of what was measured: nothing is measured twice
	Device        string         `json:"device"`
	Threads       int            `json:"threads"`
	Batch         int            `json:"batch"`
	Models        []modelSeconds `json:"models"`
	Rows          []methodCost   `json:"rows"`
}

// modelSeconds are the medians of some passes of one model, per image.
type modelSeconds struct {
	Model    string  `json:"model"`
	Gradient float64 `json:"seconds_per_gradient"`
	Forward  float64 `json:"seconds_per_forward"`
}

// methodCost is the time of one score of the pair, both models together.
type methodCost struct {
	Method  string  `json:"method"`
	N       int     `json:"n"`
	Seconds float64 `json:"seconds"`
}

func (r *runner) secondsFile() string { return filepath.Join(r.Dir, "stability_seconds.json") }

// timedRounds are how many passes are measured, after one that is not.
const timedRounds = 3

// measureSeconds times gradients and forward passes of the pair one after the other on one worker, with nothing beside them,
// and derives the time of each score: an image costs one gradient per step on its source and a forward pass of the target.
func (r *runner) measureSeconds(ctx context.Context) error {
	pair := r.pair()
	gradients, forwards := attackPasses(r.Attack)
	key, err := store.NewKey("seconds", struct {
		Stability Stability `json:"stability"`
		Grid      int       `json:"grid"`
		Gradients int       `json:"gradients"`
		Forwards  int       `json:"forwards"`
		numerics
	}{*r.Stability, r.Boundary.Grid, gradients, forwards, r.numerics(pair[0])}, map[string]string{"a": string(pair[0].key), "b": string(pair[1].key)})
	if err != nil {
		return err
	}
	if text, err := os.ReadFile(r.secondsFile()); err == nil {
		var before secondsFile
		if json.Unmarshal(text, &before) == nil && before.Key == key {
			return nil
		}
	}
	p, err := r.workers()
	if err != nil {
		return err
	}
	file := secondsFile{SchemaVersion: schemaVersion, Key: key, Device: r.Device.String(), Threads: r.Threads, Batch: min(r.batchOf(pair[0]), r.eval.Len())}
	var image, point float64
	for _, m := range pair {
		s, err := r.timeModel(ctx, p.workers[0], m, file.Batch)
		if err != nil {
			return err
		}
		file.Models = append(file.Models, s)
		image += float64(gradients)*s.Gradient + float64(forwards)*s.Forward
		point += s.Forward
	}
	for _, n := range r.Stability.Triplets {
		file.Rows = append(file.Rows, methodCost{methodAgreement, n, float64(n*r.Boundary.Grid*r.Boundary.Grid) * point})
	}
	for _, n := range r.Stability.Sizes {
		file.Rows = append(file.Rows, methodCost{methodSAT, n, float64(n) * image})
	}
	return store.WriteJSON(r.secondsFile(), file)
}

func (r *runner) timeModel(ctx context.Context, w *torch.Worker, m *member, batch int) (modelSeconds, error) {
	model, err := r.load(ctx, w, m)
	if err != nil {
		return modelSeconds{}, err
	}
	defer model.Close()
	x, err := m.images.Batch(ctx, w, count(batch))
	if err != nil {
		return modelSeconds{}, err
	}
	median := func(pass func() error) (float64, error) {
		var times []float64
		for round := range timedRounds + 1 {
			started := time.Now()
			if err := pass(); err != nil {
				return 0, err
			}
			if round > 0 {
				times = append(times, time.Since(started).Seconds())
			}
		}
		slices.Sort(times)
		return times[timedRounds/2] / float64(batch), nil
	}
	labels, err := r.planeLabels()
	if err != nil {
		return modelSeconds{}, err
	}
	out := modelSeconds{Model: m.Name}
	out.Gradient, err = median(func() error {
		_, err := model.LossGrad(ctx, x, labels[:batch], nil, attacks.CrossEntropy)
		return err
	})
	if err != nil {
		return out, err
	}
	out.Forward, err = median(func() error {
		_, err := model.Logits(ctx, x)
		return err
	})
	return out, err
}
