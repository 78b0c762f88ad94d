package data

import (
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sat/internal/data/codec"
)

// fileGoldens are testdata/files.json, written by scripts/goldens/data_files.py.
type fileGoldens struct {
	Header struct {
		Tool, Timm string
		Transforms []struct {
			Size    int
			CropPct float64 `json:"crop_pct"`
			Filter  string
		}
	}
	Cases []struct {
		File          string
		Width, Height int
		SHA256        []string // the start, for each transform
	}
}

func readFileGoldens(t *testing.T) (fileGoldens, []EvalTransform) {
	t.Helper()
	var g fileGoldens
	content, err := os.ReadFile("testdata/files.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(content, &g); err != nil {
		t.Fatal(err)
	}
	if len(g.Cases) < 200 || !strings.Contains(g.Header.Tool, "pillow 13.0.0") || g.Header.Timm != "1.0.31" {
		t.Fatalf("%d cases made by %q and timm %s", len(g.Cases), g.Header.Tool, g.Header.Timm)
	}
	transforms := make([]EvalTransform, len(g.Header.Transforms))
	for k, c := range g.Header.Transforms {
		if transforms[k], err = NewEvalTransform(c.Size, c.CropPct, c.Filter); err != nil {
			t.Fatal(err)
		}
	}
	return g, transforms
}

// Hundreds of files of every kind, read from the archive they are committed in, under every transform of the zoo: byte for byte
// what Pillow and timm make of them.
func TestFilesEqualPillowAndTimm(t *testing.T) {
	g, transforms := readFileGoldens(t)
	f, err := OpenFolder(t.Context(), "testdata/files.tar", FolderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Samples) != len(g.Cases) {
		t.Fatalf("%d files, goldens of %d", len(f.Samples), len(g.Cases))
	}
	out, err := render(t.Context(), f, transforms, LoadOptions{}, func(int, []byte) error { return nil })
	if errors.Is(err, codec.ErrUnavailable) {
		t.Skip("this build has no cgo, hence no libjpeg-turbo")
	}
	if err != nil {
		t.Fatal(err)
	}
	if out.Warnings > 0 {
		t.Errorf("the decoder warned %d times of files that have nothing wrong", out.Warnings)
	}
	place := map[string]int{}
	for i, s := range f.Samples {
		place[s.ID] = i
	}
	wrong := 0
	for _, c := range g.Cases {
		i, ok := place[c.File]
		if !ok || len(c.SHA256) != len(transforms) {
			t.Fatalf("%s: not in the archive, or not a digest for each transform", c.File)
		}
		for k, want := range c.SHA256 {
			if got := hex.EncodeToString(out.digests[k][i][:]); len(want) < 16 || got[:len(want)] != want {
				if wrong++; wrong <= 10 {
					t.Errorf("%s (%dx%d) under %+v: got SHA-256 %.16s, want %s", c.File, c.Width, c.Height, transforms[k], got, want)
				}
			}
		}
	}
	t.Logf("%d files under %d transforms, %d differ", len(g.Cases), len(transforms), wrong)
}

// The goldens cover every transform that a network of the registry has.
func TestGoldensCoverTheZoo(t *testing.T) {
	_, transforms := readFileGoldens(t)
	file, err := os.Open("../../zoo/data/models.csv")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	rows, err := csv.NewReader(file).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	column := func(name string) int { return slices.Index(rows[0], name) }
	for _, row := range rows[1:] {
		size, err := strconv.Atoi(row[column("input_size")][strings.LastIndex(row[column("input_size")], "x")+1:])
		if err != nil {
			t.Fatal(err)
		}
		crop, err := strconv.ParseFloat(row[column("crop_pct")], 64)
		if err != nil {
			t.Fatal(err)
		}
		transform, err := NewEvalTransform(size, crop, row[column("interpolation")])
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(transforms, transform) {
			t.Errorf("%s: no golden for %d / %v %s", row[0], size, crop, row[column("interpolation")])
		}
	}
}
