package report

import (
	"bytes"
	"fmt"
	"image"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"gonum.org/v1/plot/vg"
)

// picturesSection shows adversarial images, so that a reader sees what all the numbers are about.
var picturesSection = &section{
	id: "pictures", nav: "Pictures", title: "What do the adversarial images look like?",
	lead:    "One image of each kind of model: the original, what the attack added to it, and the result.",
	needs:   "pictures/pictures.json",
	command: "sat transfer",
	read:    readPictures,
}

// picturesFile is pictures/pictures.json.
type picturesFile struct {
	Pictures []struct {
		File        string  `json:"file"`
		Source      string  `json:"source"`
		Image       string  `json:"image"`
		Label       int     `json:"label"`
		Amplified   float64 `json:"amplified"`
		Linf        float64 `json:"linf"`
		Predictions []struct {
			Model string `json:"model"`
			Class int    `json:"class"`
		} `json:"predictions"`
	} `json:"pictures"`
}

// mostPictures is how many the page shows; the others are in the folder.
const mostPictures = 8

func readPictures(r *Run) (*content, error) {
	var f picturesFile
	path := r.path("pictures", "pictures.json")
	if found, err := readJSON(path, &f); !found || err != nil {
		return nil, err
	}
	if len(f.Pictures) == 0 {
		return nil, nil
	}
	sheet := pictureSheet{}
	rows := [][]string{{"source", "image", "label", "linf", "model", "class"}}
	var data []map[string]any
	for i, p := range f.Pictures {
		if p.File != filepath.Base(p.File) {
			return nil, fmt.Errorf("%s: pictures[%d]: %q is not a file of this folder", path, i, p.File)
		}
		img, err := readPicture(r.path("pictures", p.File))
		if err != nil {
			return nil, err
		}
		wrong, own := 0, -1
		for _, q := range p.Predictions {
			if q.Class != p.Label {
				wrong++
			}
			if q.Model == p.Source {
				own = q.Class
			}
			rows = append(rows, []string{p.Source, p.Image, strconv.Itoa(p.Label), strconv.FormatFloat(p.Linf, 'g', -1, 64), q.Model, strconv.Itoa(q.Class)})
		}
		data = append(data, map[string]any{"source": p.Source, "image": p.Image, "label": p.Label, "linf": number(p.Linf),
			"fooled": wrong, "models": len(p.Predictions)})
		if i >= mostPictures {
			continue
		}
		lines := []string{"made on " + p.Source, fmt.Sprintf("class %d", p.Label)}
		if own >= 0 {
			lines[1] += fmt.Sprintf(", seen as %d", own)
		}
		lines = append(lines, fmt.Sprintf("%d of %d models are wrong", wrong, len(p.Predictions)),
			fmt.Sprintf("change times %.3g: at most %.3g/255", p.Amplified, 255*p.Linf))
		sheet.rows = append(sheet.rows, pictureRow{img, lines})
	}
	return &content{blocks: []block{{Figure: sheet.figure(rows)}}, data: data}, nil
}

func readPicture(path string) (image.Image, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	const most = 64 << 20
	content, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		return nil, err
	}
	img, err := png.Decode(bytes.NewReader(content))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return img, nil
}

// pictureSheet is the figure: a row for each picture, its words on the right.
type pictureSheet struct{ rows []pictureRow }

type pictureRow struct {
	img   image.Image
	lines []string
}

func (s pictureSheet) figure(csv [][]string) *figure {
	const (
		note      = "Left to right: original, change amplified about grey, adversarial image."
		rowHeight = vg.Length(72)
		gap       = vg.Length(10)
		line      = vg.Length(14)
	)
	top := headingHeight(note, figureWidth)
	return &figure{
		Stem: "pictures", Title: "Adversarial images", CSV: csvBytes(csv),
		Alt: fmt.Sprintf("%d adversarial images, each with its original and the change between them. All predictions are in the table of the figure.",
			len(s.rows)),
		width: figureWidth, height: top + vg.Length(len(s.rows))*(rowHeight+gap) + margin,
		draw: func(c pen) {
			y := c.heading("Adversarial images", note)
			for _, row := range s.rows {
				size := row.img.Bounds().Size()
				w := rowHeight * vg.Length(size.X) / vg.Length(max(size.Y, 1))
				c.DrawImage(vg.Rectangle{Min: vg.Point{X: margin, Y: y - rowHeight}, Max: vg.Point{X: margin + w, Y: y}}, row.img)
				for k, text := range row.lines {
					c.text(margin+w+gap, y-line*(vg.Length(k)+0.8), text, lettering{size: textSize, bold: k == 0})
				}
				y -= rowHeight + gap
			}
		},
	}
}
