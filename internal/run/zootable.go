package run

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sat/attacks"
	"sat/internal/rng"
	"sat/internal/store"
	"sat/torch"
	"sat/zoo"
)

// TableJob measures module files one after the other: is each what it says, and what do a prediction and a gradient cost?
type TableJob struct {
	Files  []string
	Device torch.Device
	zoo.Mode
	Threads  int
	Batch    int
	Repeats  int
	Describe zoo.Description // of files without description
	Journal  string          // file that keeps finished rows, so that an interrupted measurement goes on; "" keeps none
}

// tableWarmup calls come before the measured ones: TorchScript optimises a graph during the first ones.
const tableWarmup = 2

// TableRow is one network of the table. What could not be measured is zero, and Verified says why.
type TableRow struct {
	Model      string `json:"model"`
	Alias      string `json:"alias"`
	Weights    string `json:"weights"` // where they come from
	Parameters int    `json:"parameters"`
	FileBytes  int64  `json:"file_bytes"`
	InputSize  string `json:"input_size"` // height x width
	Kind       string `json:"kind"`       // scripted or traced; "" for a file without description
	// Milliseconds per image: the median over the repetitions, with all copies between Go and libtorch.
	ForwardMs  float64 `json:"forward_ms"`
	GradientMs float64 `json:"gradient_ms"`
	Verified   string  `json:"verified"` // recorded, self-checks, or the reason for the refusal
	Logits     float64 `json:"logits_difference"`
	Gradient   float64 `json:"gradient_difference"`
	// About TableJob.Batch smooth random images, with the loss at the predicted class.
	ZeroGradients  int     `json:"zero_gradients"`  // images whose gradient is zero everywhere
	ConstantOutput bool    `json:"constant_output"` // all images have the same logits
	Confidence     float64 `json:"confidence"`      // the largest probability of a class
	PeakMB         float64 `json:"peak_mb"`         // resident memory while this network was measured; 0 where unknown
	Seconds        float64 `json:"seconds"`         // that verifying and measuring took
}

// OK reports whether the file can be trusted and the network attacked.
func (r TableRow) OK() bool {
	return (r.Verified == verifiedRecorded || r.Verified == verifiedSelf) && r.ZeroGradients == 0 && !r.ConstantOutput
}

const (
	verifiedRecorded = "recorded"
	verifiedSelf     = "self-checks"
)

// Table runs the measurement; report, which may be nil, sees each row as soon as it is there. A file that is refused has a row
// that says so. The error is ErrPartial if a row is not OK.
func (job TableJob) Table(ctx context.Context, report func(TableRow)) ([]TableRow, error) {
	if err := StartTorch(job.Device, job.Threads); err != nil {
		return nil, err
	}
	journal, err := openJournal(job)
	if err != nil {
		return nil, err
	}
	defer journal.close()
	var rows []TableRow
	bad := 0
	for _, file := range job.Files {
		key, err := fileKey(file)
		if err != nil {
			return rows, err
		}
		row, known := journal.rows[key]
		if !known {
			if row, err = job.measure(ctx, file); err != nil {
				return rows, err
			}
			if err := journal.add(key, row); err != nil {
				return rows, err
			}
		}
		if !row.OK() {
			bad++
		}
		rows = append(rows, row)
		if report != nil {
			report(row)
		}
	}
	if bad > 0 {
		return rows, fmt.Errorf("%w: %d of %d networks are not fit for an attack", ErrPartial, bad, len(rows))
	}
	return rows, nil
}

// measure returns an error only for what is not the file's fault.
func (job TableJob) measure(ctx context.Context, file string) (TableRow, error) {
	started := time.Now()
	resetPeak()
	row := TableRow{}
	info, err := os.Stat(file)
	if err != nil {
		return row, err
	}
	row.FileBytes = info.Size()
	if row.Model, err = zoo.Name(file); err != nil {
		row.Model = strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))
	}
	if m, err := zoo.ReadManifest(file); err == nil {
		row.Alias, row.Kind, row.Weights = m.Alias, m.Kind, m.Weights.Source
		row.InputSize = fmt.Sprintf("%dx%d", m.InputSize[1], m.InputSize[2])
	}
	model, err := zoo.Load(ctx, file, zoo.LoadOptions{Device: job.Device, Mode: job.Mode, Describe: job.Describe})
	if err == nil {
		defer model.Close()
		row.Verified = verifiedSelf
		if v := model.Verified(); v.Recorded {
			row.Verified, row.Logits, row.Gradient = verifiedRecorded, v.Float32.Logits, v.Float32.Gradient
		}
		row.Parameters = model.Parameters()
		h, w := model.InputSize()
		row.InputSize = fmt.Sprintf("%dx%d", h, w)
		err = job.time(ctx, model, &row)
	}
	if ctx.Err() != nil {
		return row, ctx.Err()
	}
	if err != nil {
		row.Verified = err.Error()
	}
	row.PeakMB, row.Seconds = peakMB(), time.Since(started).Seconds()
	return row, nil
}

func (job TableJob) time(ctx context.Context, model *zoo.Model, row *TableRow) error {
	h, w := model.InputSize()
	x := smoothImages(job.Batch, model.Channels(), h, w)
	var logits []float32
	forward, err := job.median(func() (err error) {
		logits, err = model.Logits(ctx, x)
		return err
	})
	if err != nil {
		return err
	}
	labels := make([]int64, x.N)
	for i := range labels {
		z := logits[i*model.Classes() : (i+1)*model.Classes()]
		labels[i] = int64(slices.Index(z, slices.Max(z)))
	}
	var g attacks.Gradient
	gradient, err := job.median(func() (err error) {
		g, err = model.LossGrad(ctx, x, labels, nil, attacks.CrossEntropy)
		return err
	})
	if err != nil {
		return err
	}
	row.ForwardMs, row.GradientMs = forward, gradient
	row.ConstantOutput = x.N > 1
	pixels, k := x.C*x.H*x.W, model.Classes()
	for i := range x.N {
		if !slices.ContainsFunc(g.Pixels[i*pixels:(i+1)*pixels], func(v float32) bool { return v != 0 }) {
			row.ZeroGradients++
		}
		row.ConstantOutput = row.ConstantOutput && slices.Equal(logits[:k], logits[i*k:(i+1)*k])
		row.Confidence = max(row.Confidence, confidence(logits[i*k:(i+1)*k]))
	}
	return nil
}

// median calls f and returns the middle duration, in milliseconds per image.
func (job TableJob) median(f func() error) (float64, error) {
	var times []float64
	for i := range tableWarmup + job.Repeats {
		started := time.Now()
		if err := f(); err != nil {
			return 0, err
		}
		if i >= tableWarmup {
			times = append(times, 1e3*time.Since(started).Seconds()/float64(job.Batch))
		}
	}
	return median(times), nil
}

// confidence is the probability of the predicted class: 1 / sum of exp(z_k - max z).
func confidence(z []float32) float64 {
	sum, top := 0.0, slices.Max(z)
	for _, v := range z {
		sum += math.Exp(float64(v - top))
	}
	return 1 / sum
}

// smoothImages are n images in [0,1]: random values on a grid of 8x8 cells, interpolated bilinearly. White noise would look
// the same to every network with a pooling layer.
func smoothImages(n, channels, height, width int) attacks.Batch {
	const cells = 8
	x := attacks.NewBatch(n, channels, height, width)
	random := rng.New(0, "zoo table")
	at := func(i, size int) (cell int, share float32) {
		p := (float32(i) + 0.5) / float32(size) * (cells - 1)
		return int(p), p - float32(int(p))
	}
	for plane := range n * channels {
		var grid [cells + 1][cells + 1]float32
		for r := range grid {
			for c := range grid[r] {
				grid[r][c] = random.Float32()
			}
		}
		for i := range height {
			r, v := at(i, height)
			for j := range width {
				c, u := at(j, width)
				top := grid[r][c]*(1-u) + grid[r][c+1]*u
				bottom := grid[r+1][c]*(1-u) + grid[r+1][c+1]*u
				x.Pixels[(plane*height+i)*width+j] = top*(1-v) + bottom*v
			}
		}
	}
	return x
}

// resetPeak makes peakMB start anew, where the system can (Linux).
func resetPeak() { _ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) }

// peakMB is the highest resident memory of this process since resetPeak.
func peakMB() float64 {
	m, err := torch.MemoryOf(torch.CPU)
	if err != nil {
		return 0
	}
	return float64(m.PeakAllocated) / 1e6
}

// journal keeps the rows that are finished. Its first line is the settings: other settings start it anew.
type journal struct {
	path string
	rows map[string]TableRow
	file *os.File
}

type journalLine struct {
	Key string   `json:"key"`
	Row TableRow `json:"row"`
}

// fileKey tells whether a file is the one that was measured.
func fileKey(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	full, err := filepath.Abs(path)
	return fmt.Sprintf("%s %d %d", full, info.Size(), info.ModTime().UnixNano()), err
}

func openJournal(job TableJob) (*journal, error) {
	j := &journal{path: job.Journal, rows: map[string]TableRow{}}
	if job.Journal == "" {
		return j, nil
	}
	settings := fmt.Sprintf("%s %s %d %d %d %v", job.Device, job.Mode, job.Threads, job.Batch, job.Repeats, job.Describe)
	text, err := os.ReadFile(job.Journal)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	first, rest, _ := strings.Cut(string(text), "\n")
	if first == settings {
		for line := range strings.Lines(rest) {
			var l journalLine
			if json.Unmarshal([]byte(line), &l) == nil { // the last line of a killed measurement may be cut off
				j.rows[l.Key] = l.Row
			}
		}
	}
	// Written anew, so that what follows a cut-off line starts on its own.
	err = store.WriteFile(job.Journal, func(w io.Writer) error {
		b := bufio.NewWriter(w)
		fmt.Fprintln(b, settings)
		for key, row := range j.rows {
			if err := json.NewEncoder(b).Encode(journalLine{key, row}); err != nil {
				return err
			}
		}
		return b.Flush()
	})
	if err != nil {
		return nil, err
	}
	j.file, err = os.OpenFile(job.Journal, os.O_APPEND|os.O_WRONLY, 0)
	return j, err
}

func (j *journal) add(key string, row TableRow) error {
	if j.file == nil {
		return nil
	}
	return json.NewEncoder(j.file).Encode(journalLine{key, row})
}

func (j *journal) close() {
	if j.file != nil {
		j.file.Close()
	}
}
