package run

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"sat/internal/data"
	"sat/internal/data/codec"
	"sat/internal/rng"
)

// LoadBench measures decoding and resizing on one core, on photograph-like JPEG files of 500x375 pixels (quality 95, 4:2:0,
// about 100 kB), as ImageNet's are.
type LoadBench struct {
	Images int
	Rounds int  // measured pairs of each task
	Peer   bool // also run torchvision, Pillow and timm, turn by turn
	Home   string
}

// LoadResult is the measurement of one task.
type LoadResult struct {
	Task            string  `json:"task"`
	Interpolation   string  `json:"interpolation,omitempty"`
	Images          int     `json:"images"`
	Rounds          int     `json:"rounds"`
	ImagesPerSecond float64 `json:"images_per_second"` // of processor time; median
	PeerPerSecond   float64 `json:"peer_images_per_second,omitempty"`
	// Ratio is peer seconds over ours, pair by pair: above 1 we are faster.
	Ratio  float64 `json:"ratio,omitempty"`
	RatioA float64 `json:"ratio_ci_lo,omitempty"` // 95 % interval of the median
	RatioB float64 `json:"ratio_ci_hi,omitempty"`
	// Equal says whether both gave the same bytes; nil without a peer, and where random numbers decide on them.
	Equal *bool `json:"equal_bytes,omitempty"`
}

const (
	photoWidth, photoHeight = 500, 375
	photoQuality            = 95
	shortSide               = 248 // 224 / 0.9, the zoo's most frequent one but for 256
)

// loadTask is one kind of work on one photograph, whose result is valid until the next call; or, for training, on all of
// them, differently each time.
type loadTask struct {
	name, interpolation string
	do                  func(i int) (codec.Image, error)
	all                 func(ctx context.Context) error
}

// Run measures every task and hands over each result as it is there.
func (b LoadBench) Run(ctx context.Context, report func(LoadResult)) error {
	photos, err := photographs(b.Images)
	if err != nil {
		return err
	}
	tasks, err := loadTasks(photos)
	if err != nil {
		return err
	}
	training, err := newTrainingLoad(photos)
	if err != nil {
		return err
	}
	defer training.close()
	tasks = append(tasks, training.tasks()...)
	var other *loadPeer
	if b.Peer {
		if other, err = b.startPeer(ctx, photos); err != nil {
			return err
		}
		defer other.stop()
	}
	for _, t := range tasks {
		result, err := b.measure(ctx, t, other)
		if err != nil {
			return fmt.Errorf("bench load, %s: %w", t.name, err)
		}
		report(result)
	}
	return nil
}

func (b LoadBench) measure(ctx context.Context, t loadTask, other *loadPeer) (LoadResult, error) {
	result := LoadResult{Task: t.name, Interpolation: t.interpolation, Images: b.Images, Rounds: b.Rounds}
	var ours, theirs, ratios []float64
	equal := true
	for round := range benchWarmup + b.Rounds {
		if err := ctx.Err(); err != nil {
			return result, err
		}
		seconds, err := t.seconds(ctx, b.Images)
		if err != nil {
			return result, err
		}
		var peerSeconds float64
		if other != nil {
			var digest string
			if peerSeconds, digest, err = other.do(t); err != nil {
				return result, err
			}
			if round == 0 && t.all == nil {
				own, err := t.digest(b.Images)
				if err != nil {
					return result, err
				}
				equal = own == digest
			}
		}
		if round < benchWarmup {
			continue
		}
		ours = append(ours, seconds)
		if other != nil {
			theirs, ratios = append(theirs, peerSeconds), append(ratios, peerSeconds/seconds)
		}
	}
	result.ImagesPerSecond = float64(b.Images) / median(ours)
	if other != nil {
		result.PeerPerSecond = float64(b.Images) / median(theirs)
		result.Ratio = median(ratios)
		if t.all == nil {
			result.Equal = &equal
		}
		result.RatioA, result.RatioB = medianInterval(ratios)
	}
	return result, nil
}

// seconds is the processor time of the task on n photographs. Other programs on the machine disturb it less than the time
// of day.
func (t loadTask) seconds(ctx context.Context, n int) (float64, error) {
	started := processorTime()
	if t.all != nil {
		err := t.all(ctx)
		return processorTime() - started, err
	}
	for i := range n {
		if _, err := t.do(i); err != nil {
			return 0, err
		}
	}
	return processorTime() - started, nil
}

func (t loadTask) digest(n int) (string, error) {
	h := sha256.New()
	for i := range n {
		m, err := t.do(i)
		if err != nil {
			return "", err
		}
		for y := range m.Height {
			h.Write(m.Pixels[y*m.Stride:][:m.Width*codec.Channels])
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func loadTasks(photos [][]byte) ([]loadTask, error) {
	decoder := new(codec.Decoder) // lives as long as the program
	decode := func(i int) (codec.Image, error) { return decoder.Decode(photos[i]) }
	decoded := make([]codec.Image, len(photos))
	for i := range photos {
		m, err := decode(i)
		if err != nil {
			return nil, err
		}
		m.Pixels = bytes.Clone(m.Pixels)
		decoded[i] = m
	}
	tasks := []loadTask{{name: "decode", do: decode}}
	small := codec.NewImage(shortSide*photoWidth/photoHeight, shortSide)
	for _, filter := range []codec.Filter{codec.Bilinear, codec.Bicubic} {
		transform, err := data.NewEvalTransform(224, 0.875, filter.String())
		if err != nil {
			return nil, err
		}
		resizer, cropper := new(codec.Resizer), new(codec.Resizer)
		cropped := codec.NewImage(transform.Size, transform.Size)
		resize := func(m codec.Image) (codec.Image, error) {
			return small, resizer.Resize(small, m, small.Width, small.Height, 0, 0, filter)
		}
		tasks = append(tasks,
			loadTask{name: "resize", interpolation: filter.String(), do: func(i int) (codec.Image, error) { return resize(decoded[i]) }},
			loadTask{name: "load", interpolation: filter.String(), do: func(i int) (codec.Image, error) {
				m, err := decode(i)
				if err != nil {
					return m, err
				}
				return resize(m)
			}},
			loadTask{name: "transform", interpolation: filter.String(), do: func(i int) (codec.Image, error) {
				m, err := decode(i)
				if err != nil {
					return m, err
				}
				return cropped, transform.Apply(cropped.Pixels, m, cropper)
			}})
	}
	return tasks, nil
}

// photographs makes JPEG files with structure at all scales: coarse noise, enlarged, and a quarter of finer noise.
func photographs(n int) ([][]byte, error) {
	var r codec.Resizer
	var out [][]byte
	for i := range n {
		random := rng.New(0, "photograph", uint64(i))
		noise := func(width, height int) (codec.Image, error) {
			small, large := codec.NewImage(width, height), codec.NewImage(photoWidth, photoHeight)
			for k := range small.Pixels {
				small.Pixels[k] = byte(random.IntN(256))
			}
			return large, r.Resize(large, small, photoWidth, photoHeight, 0, 0, codec.Bicubic)
		}
		coarse, err := noise(16, 12)
		if err != nil {
			return nil, err
		}
		fine, err := noise(photoWidth/2, photoHeight/2)
		if err != nil {
			return nil, err
		}
		m := image.NewRGBA(image.Rect(0, 0, photoWidth, photoHeight))
		for p := range photoWidth * photoHeight {
			for c := range codec.Channels {
				k := p*codec.Channels + c
				m.Pix[4*p+c] = byte((3*int(coarse.Pixels[k]) + int(fine.Pixels[k])) / 4)
			}
			m.Pix[4*p+3] = 255
		}
		var file bytes.Buffer
		if err := jpeg.Encode(&file, m, &jpeg.Options{Quality: photoQuality}); err != nil {
			return nil, err
		}
		out = append(out, file.Bytes())
	}
	return out, nil
}

// loadPeer is scripts/peers/load.py waiting for the next task.
type loadPeer struct {
	cmd   *exec.Cmd
	input io.WriteCloser
	lines *bufio.Reader
	dir   string
}

func (b LoadBench) startPeer(ctx context.Context, photos [][]byte) (_ *loadPeer, err error) {
	python := filepath.Join(b.Home, "third_party", "env", "bin", "python")
	if _, err := os.Stat(python); err != nil {
		return nil, fmt.Errorf("%w: no Python at %s; \"scripts/setup.sh\" makes it", ErrEnvironment, python)
	}
	p := &loadPeer{}
	if p.dir, err = os.MkdirTemp("", "sat-bench-load"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(p.dir)
		}
	}()
	for i, photo := range photos {
		if err := os.WriteFile(filepath.Join(p.dir, fmt.Sprintf("%04d.jpg", i)), photo, 0o644); err != nil {
			return nil, err
		}
	}
	p.cmd = exec.CommandContext(ctx, python, script(b.Home, "peers/load.py"), p.dir)
	p.cmd.Stderr = os.Stderr
	if p.input, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	output, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	p.lines = bufio.NewReader(output)
	if _, err := p.lines.ReadString('\n'); err != nil { // "ready"
		p.stop()
		return nil, errors.New("the peer did not start; its complaint is above")
	}
	return p, nil
}

// do has the peer do a task on all photographs.
func (p *loadPeer) do(t loadTask) (seconds float64, digest string, err error) {
	filter := t.interpolation
	if filter == "" {
		filter = "none"
	}
	if _, err := fmt.Fprintln(p.input, t.name, filter); err != nil {
		return 0, "", err
	}
	_, err = fmt.Fscanln(p.lines, &seconds, &digest)
	return seconds, digest, err
}

func (p *loadPeer) stop() {
	_ = p.input.Close() // ends its loop
	_ = p.cmd.Wait()
	_ = os.RemoveAll(p.dir)
}
