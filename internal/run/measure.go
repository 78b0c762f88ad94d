package run

import (
	"context"
	"path/filepath"
	"time"

	"sat/torch"
	"sat/zoo"
)

// Costs in passes, the unit of Progress: a gradient is a forward and a backward pass to the input.
const (
	passForward  = 1.0
	passGradient = 3.0
)

// shardSize is how many evaluation images one attack unit covers: what an interruption can lose.
const shardSize = 512

// notAttacked stands in a transfer table for an image that the source does not classify correctly.
const notAttacked = -1

// numerics is the part of a key that says how numbers are rounded.
type numerics struct {
	Device    string `json:"device"`
	Precision string `json:"precision"`
	Threads   int    `json:"threads"`
	Batch     int    `json:"batch"`
	// ChannelsLast is left out where something else says it already, or it is off.
	ChannelsLast bool `json:"channels_last,omitempty"`
	// Lowered is the version of what torch.Module.Lower makes of a network; 0 where nothing is lowered.
	Lowered int `json:"lowered,omitempty"`
}

// loweredVersion changes with the numbers that lowered networks compute.
const loweredVersion = 2

func (r *runner) numerics(m *member) numerics {
	n := numerics{Device: r.device(), Precision: r.Precision.String(), Threads: r.Threads, Batch: r.batchOf(m)}
	if mode := r.Mode.On(r.Device); mode.Lowered {
		n.Lowered = loweredVersion
	} else {
		n.ChannelsLast = mode.ChannelsLast && mode.Precision == torch.Float32
	}
	return n
}

// device is the kind of device, without its number.
func (r *runner) device() string {
	if r.Device.Type == torch.DeviceCUDA {
		return "cuda"
	}
	return "cpu"
}

// load opens the module of m on the worker's thread.
func (r *runner) load(ctx context.Context, w *torch.Worker, m *member) (*zoo.Model, error) {
	started := time.Now()
	model, err := zoo.Load(ctx, m.module, zoo.LoadOptions{
		Device: r.Device, Worker: w, Describe: m.Describe, Name: m.Name,
		Mode:     r.Mode,
		Resize:   zoo.Resize{Filter: r.Transfer.Resize, Antialias: r.Transfer.Antialias},
		CacheDir: filepath.Join(r.Dir, "cache"), Warn: func(message string) { r.warn("%s", message) },
	})
	if err == nil {
		r.Progress.loaded(w, m.Name, time.Since(started))
	}
	return model, err
}
