package report

import (
	"context"
	"fmt"
	"image"
	"image/color"
	"math"
	"path/filepath"
	"slices"
	"strconv"

	"gonum.org/v1/plot/vg"

	"sat/internal/store"
)

// PlanePicture is the plane through three images as two models classify it.
type PlanePicture struct {
	A         string     `json:"a"`
	B         string     `json:"b"`
	Pair      string     `json:"pair"` // why this pair
	Triplet   int        `json:"triplet"`
	Images    [3]string  `json:"images"`
	Labels    [3]int     `json:"labels"`
	Plane     planeShape `json:"plane"`
	Agreement float64    `json:"agreement"`
	ClassesA  []int      `json:"classes_a"`
	ClassesB  []int      `json:"classes_b"`
}

// planeShape holds the coordinates of the images: (0,0), (U,0) and (C,H).
type planeShape struct {
	U float64 `json:"u"`
	C float64 `json:"c"`
	H float64 `json:"h"`
}

// planesFile is boundary/planes.json.
type planesFile struct {
	Grid     int            `json:"grid"`
	Range    float64        `json:"range"`
	Pictures []PlanePicture `json:"pictures"`
}

// loadPlanes reads planes.json; a missing file has no pictures.
func loadPlanes(path string) (planesFile, error) {
	var f planesFile
	if _, err := readJSON(path, &f); err != nil {
		return f, err
	}
	for i, p := range f.Pictures {
		bad := func(format string, args ...any) error {
			return fmt.Errorf("%s: pictures[%d]: %s", path, i, fmt.Sprintf(format, args...))
		}
		switch points := f.Grid * f.Grid; {
		case f.Grid < 2 || f.Grid > maxGrid:
			return f, fmt.Errorf("%s: grid is %d, not 2 to %d", path, f.Grid, maxGrid)
		case !(f.Range >= 0):
			return f, fmt.Errorf("%s: range is %v", path, f.Range)
		case len(p.ClassesA) != points || len(p.ClassesB) != points:
			return f, bad("%d and %d classes of a grid of %d points", len(p.ClassesA), len(p.ClassesB), points)
		case !(p.Plane.U > 0) || !(p.Plane.H > 0) || math.IsInf(p.Plane.U+p.Plane.H+p.Plane.C, 0):
			return f, bad("no plane has u = %v, c = %v, h = %v", p.Plane.U, p.Plane.C, p.Plane.H)
		case store.CheckName(p.A) != nil || store.CheckName(p.B) != nil:
			return f, bad("%q and %q cannot be names of models", p.A, p.B)
		}
	}
	return f, nil
}

// maxGrid is far more than a picture can show.
const maxGrid = 1000

// WritePlanes draws the pictures of planes.json at path into dir, as plane-TRIPLET-A-B.svg and .png.
func WritePlanes(ctx context.Context, dir, path string) ([]string, error) {
	f, err := loadPlanes(path)
	if err != nil {
		return nil, err
	}
	var written []string
	for _, figure := range planeFigures(f) {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("draw planes: %w", err)
		}
		for suffix, encode := range map[string]func() ([]byte, error){".svg": figure.SVG, ".png": figure.PNG} {
			content, err := encode()
			if err != nil {
				return nil, err
			}
			name := filepath.Join(dir, figure.Stem+suffix)
			if err := store.WriteBytes(name, content); err != nil {
				return nil, err
			}
			written = append(written, name)
		}
	}
	slices.Sort(written)
	return written, nil
}

func planeFigures(f planesFile) []*figure {
	var out []*figure
	for _, p := range f.Pictures {
		out = append(out, planeFigure(p, f.Grid, f.Range))
	}
	return out
}

// planeFigure shows both class maps of a plane side by side, one colour per class, with the three images marked.
func planeFigure(p PlanePicture, grid int, margins float64) *figure {
	classes := slices.Compact(slices.Sorted(slices.Values(append(append(slices.Clone(p.ClassesA), p.ClassesB...), p.Labels[:]...))))
	names := make([]string, len(classes))
	for i, class := range classes {
		names[i] = strconv.Itoa(class)
	}
	_, colors := colorize(names, clusterColors)
	of := func(class int) color.RGBA { return colors[strconv.Itoa(class)] }
	var items []legendItem
	for i, class := range classes {
		items = append(items, legendItem{label: names[i], color: of(class)})
	}
	title := fmt.Sprintf("The same plane by %s and %s", p.A, p.B)
	note := fmt.Sprintf("Triplet %d, through three images (1: %s, class %d; 2: %s, class %d; 3: %s, class %d). Both see the same class at %.1f %% "+
		"of the points%s.", p.Triplet, p.Images[0], p.Labels[0], p.Images[1], p.Labels[1], p.Images[2], p.Labels[2], 100*p.Agreement, why(p.Pair))
	left, right := min(0, p.Plane.C), max(p.Plane.U, p.Plane.C)
	extraX, extraY := margins*(right-left), margins*p.Plane.H
	xmin, xmax, ymin, ymax := left-extraX, right+extraX, -extraY, p.Plane.H+extraY

	const gap = vg.Length(16)
	side := (figureWidth - 2*margin - gap) / 2
	scale := min(float64(side)/(xmax-xmin), float64(1.2*side)/(ymax-ymin))
	w, h := vg.Length(scale*(xmax-xmin)), vg.Length(scale*(ymax-ymin))
	top := headingHeight(note, figureWidth)
	legendHeight := -legend(nil, margin, 0, figureWidth-2*margin, "class", items)
	const caption = vg.Length(14)
	rows := [][]string{{"first", "second", "class_a", "class_b"}}
	at := func(low, high float64, i int) float64 { return low + float64(i)*(high-low)/float64(grid-1) }
	for k := range p.ClassesA {
		rows = append(rows, []string{strconv.FormatFloat(at(xmin, xmax, k/grid), 'g', 6, 64), strconv.FormatFloat(at(ymin, ymax, k%grid), 'g', 6, 64),
			strconv.Itoa(p.ClassesA[k]), strconv.Itoa(p.ClassesB[k])})
	}
	return &figure{
		Stem: fmt.Sprintf("plane-%d-%s-%s", p.Triplet, p.A, p.B), Title: title, CSV: csvBytes(rows),
		Alt:   fmt.Sprintf("Class maps of %s and %s on one plane through three images. They agree at %.1f percent of the points.", p.A, p.B, 100*p.Agreement),
		width: figureWidth, height: top + caption + h + legendHeight + margin,
		draw: func(c pen) {
			y := c.heading(title, note)
			for k, m := range []struct {
				name string
				maps []int
			}{{p.A, p.ClassesA}, {p.B, p.ClassesB}} {
				x := margin + vg.Length(k)*(side+gap) + (side-w)/2
				c.text(x+w/2, y-caption/2, m.name, lettering{size: textSize, bold: true, align: 0.5})
				box := vg.Rectangle{Min: vg.Point{X: x, Y: y - caption - h}, Max: vg.Point{X: x + w, Y: y - caption}}
				c.DrawImage(box, classImage(m.maps, grid, of))
				c.outline(box.Min.X, box.Min.Y, box.Max.X, box.Max.Y, 0.7, muted)
				for corner, spot := range [][2]float64{{0, 0}, {p.Plane.U, 0}, {p.Plane.C, p.Plane.H}} {
					cx, cy := box.Min.X+vg.Length(scale*(spot[0]-xmin)), box.Min.Y+vg.Length(scale*(spot[1]-ymin))
					c.dot(cx, cy, 6, separator)
					c.dot(cx, cy, 5, of(p.Labels[corner]))
					c.text(cx, cy, strconv.Itoa(corner+1), lettering{size: smallSize, color: textOn(of(p.Labels[corner])), bold: true, align: 0.5})
				}
			}
			legend(&c, margin, y-caption-h-4, figureWidth-2*margin, "class", items)
		},
	}
}

func why(pair string) string {
	if pair == "" || pair == "only pair" {
		return ""
	}
	return fmt.Sprintf("; of all pairs, this one is the %s", pair)
}

// cellPixels is the side of a grid point in the image of a class map, so large that no viewer's smoothing blurs it.
const cellPixels = 8

// classImage paints a class map: the first axis to the right, the second upwards.
func classImage(classes []int, grid int, of func(int) color.RGBA) image.Image {
	size := grid * cellPixels
	img := image.NewRGBA(image.Rect(0, 0, size, size))
	for i := range grid {
		for j := range grid {
			c := of(classes[i*grid+j])
			for dx := range cellPixels {
				for dy := range cellPixels {
					img.SetRGBA(i*cellPixels+dx, size-1-j*cellPixels-dy, c)
				}
			}
		}
	}
	return img
}
