package run

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"strconv"

	"sat/attacks"
	"sat/internal/store"
	"sat/internal/studies"
	"sat/torch"
)

// Picture is an adversarial image to look at, in pictures.json.
type Picture struct {
	File        string              `json:"file"` // original, perturbation, adversarial image, side by side
	Source      string              `json:"source"`
	Image       string              `json:"image"`
	Label       int64               `json:"label"`
	Amplified   float64             `json:"amplified"` // factor of the perturbation in the picture, about grey
	Linf        float64             `json:"linf"`
	L2          float64             `json:"l2"`
	Predictions []PicturePrediction `json:"predictions"` // of every model, on the adversarial image
}

// PicturePrediction is what one model makes of it.
type PicturePrediction struct {
	Model string `json:"model"`
	Class int64  `json:"class"`
}

// picturesFile is pictures.json.
type picturesFile struct {
	SchemaVersion int            `json:"schema_version"`
	Attack        map[string]any `json:"attack"`
	Pictures      []Picture      `json:"pictures"`
}

// mostPictures is how many a run or a command makes.
const mostPictures = 8

// sheetSide is the least side of a tile; smaller images are enlarged by a whole factor, without smoothing.
const sheetSide = 128

// drawPicture puts three tiles side by side: the image, what was added to it, amplified about grey so that the largest
// change is black or white, and the result. Two of the numbers say how large the change is.
func drawPicture(clean, adv []float32, c, h, w int) (img image.Image, amplified, linf, l2 float64) {
	sum := 0.0
	for i, v := range adv {
		d := math.Abs(float64(v) - float64(clean[i]))
		linf, sum = max(linf, d), sum+d*d
	}
	amplified = 1
	if linf > 0 {
		amplified = 0.5 / linf
	}
	scale := max(1, (sheetSide+h-1)/h)
	const gap = 4
	out := image.NewRGBA(image.Rect(0, 0, 3*w*scale+2*gap, h*scale))
	for i := range out.Pix {
		out.Pix[i] = 0xff
	}
	value := func(tile, channel, row, col int) float64 {
		at := (min(channel, c-1)*h+row)*w + col
		switch tile {
		case 0:
			return float64(clean[at])
		case 1:
			return 0.5 + amplified*(float64(adv[at])-float64(clean[at]))
		default:
			return float64(adv[at])
		}
	}
	for tile := range 3 {
		for y := range h * scale {
			for x := range w * scale {
				var rgb [3]uint8
				for channel := range rgb {
					rgb[channel] = uint8(math.RoundToEven(255 * min(max(value(tile, channel, y/scale, x/scale), 0), 1)))
				}
				out.SetRGBA(tile*(w*scale+gap)+x, y, color.RGBA{rgb[0], rgb[1], rgb[2], 0xff})
			}
		}
	}
	return out, amplified, linf, math.Sqrt(sum)
}

// write draws the picture into dir and fills in its numbers.
func (p *Picture) write(dir string, clean, adv []float32, c, h, w int) error {
	var img image.Image
	img, p.Amplified, p.Linf, p.L2 = drawPicture(clean, adv, c, h, w)
	var out bytes.Buffer
	if err := png.Encode(&out, img); err != nil {
		return err
	}
	return store.WriteBytes(filepath.Join(dir, p.File), out.Bytes())
}

// writePictures writes pictures.json and predictions.csv beside the pictures.
func writePictures(dir string, attack map[string]any, pictures []Picture) error {
	var rows [][]string
	for _, p := range pictures {
		for _, q := range p.Predictions {
			rows = append(rows, []string{p.File, p.Source, p.Image, strconv.FormatInt(p.Label, 10), q.Model, strconv.FormatInt(q.Class, 10)})
		}
	}
	header := []string{"file", "source", "image", "label", "model", "class"}
	if err := studies.WriteTable(filepath.Join(dir, "predictions.csv"), nil, header, rows); err != nil {
		return err
	}
	return store.WriteJSON(filepath.Join(dir, "pictures.json"), picturesFile{schemaVersion, attack, pictures})
}

// pictures shows, for one model of each group, the first image that all models classify correctly and whose adversarial
// version fools the model it was made on; without one, the first that it classifies correctly.
func (r *runner) pictures(ctx context.Context) error {
	dir := filepath.Join(r.Dir, "pictures")
	if _, err := os.Stat(filepath.Join(dir, "pictures.json")); err == nil && r.computed == 0 {
		return nil // a run that was finished before
	}
	p, err := r.workers()
	if err != nil {
		return err
	}
	var pictures []Picture
	seen := map[string]bool{}
	for _, source := range r.members {
		if seen[source.Group] || len(pictures) == mostPictures {
			continue
		}
		seen[source.Group] = true
		classes := make([][]int32, len(r.members)) // of every model, on the images made on source
		own := 0
		for k, target := range r.members {
			unit, err := r.transferUnit(r.Attack, source, target)
			if err != nil {
				return err
			}
			table, err := store.ReadPredictions(unit.File(r.units(), "pred"))
			if err != nil {
				return err
			}
			classes[k] = table.Classes[0]
			if target == source {
				own = k
			}
		}
		number, err := r.picturable(source, classes[own])
		if err != nil {
			return err
		}
		if number < 0 {
			continue
		}
		picture, err := r.drawStored(ctx, p.workers[0], dir, source, number)
		if err != nil {
			return fmt.Errorf("picture of %s: %w", source.Name, err)
		}
		for k, m := range r.members {
			picture.Predictions = append(picture.Predictions, PicturePrediction{m.Name, int64(classes[k][number])})
		}
		pictures = append(pictures, picture)
	}
	return writePictures(dir, r.Attack.meta(), pictures)
}

// picturable returns the number of the image to show of source, whose own predictions on its adversarial images are given;
// -1 if it classifies none correctly.
func (r *runner) picturable(source *member, own []int32) (int, error) {
	shared := make([]bool, r.eval.Len())
	for i := range shared {
		shared[i] = true
	}
	var right []int64
	for _, m := range r.members {
		predicted, err := r.predictions(m)
		if err != nil {
			return 0, err
		}
		of := r.eval.right(predicted)
		if m == source {
			right = of
		}
		for i, class := range predicted {
			shared[i] = shared[i] && int64(class) == of[i]
		}
	}
	fallback := -1
	for i, class := range own {
		switch {
		case class == notAttacked:
		case shared[i] && int64(class) != right[i]:
			return i, nil
		case fallback < 0:
			fallback = i
		}
	}
	return fallback, nil
}

// drawStored reads one adversarial image of source and draws it.
func (r *runner) drawStored(ctx context.Context, w *torch.Worker, dir string, source *member, number int) (Picture, error) {
	for _, shard := range r.shards() {
		if number < shard[0] || number >= shard[1] {
			continue
		}
		numbers, classes, err := r.correct(source, shard)
		if err != nil {
			return Picture{}, err
		}
		for k, i := range numbers {
			if i != number {
				continue
			}
			unit, err := r.attackUnit(r.Attack, source, shard)
			if err != nil {
				return Picture{}, err
			}
			stored, err := store.OpenAdversarial(unit.File(r.units(), "adv"))
			if err != nil {
				return Picture{}, err
			}
			defer stored.Close()
			clean, err := source.images.Batch(ctx, w, []int{number})
			if err != nil {
				return Picture{}, err
			}
			adv := attacks.NewBatch(1, clean.C, clean.H, clean.W)
			if err := stored.Images(k, k+1, clean.Pixels, adv.Pixels); err != nil {
				return Picture{}, err
			}
			p := Picture{File: source.Name + ".png", Source: source.Name, Image: r.eval.IDs[number], Label: classes[k]}
			return p, p.write(dir, clean.Pixels, adv.Pixels, clean.C, clean.H, clean.W)
		}
	}
	return Picture{}, fmt.Errorf("image %d was not attacked", number)
}
