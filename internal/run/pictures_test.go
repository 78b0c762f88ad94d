package run

import (
	"encoding/json"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"testing"

	"sat/attacks"
	"sat/internal/store"
)

// TestPictures: a run shows an adversarial image of each group, with what every model makes of it, as its own tables say;
// the tiles are the image, the change about grey, and the result.
func TestPictures(t *testing.T) {
	spec := comparison(t, 30, "a", "h")
	p := spec.Attack.Attacker.(attacks.PGD)
	p.Epsilon = 0.15
	spec.Attack.Attacker = p
	compare(t, spec)
	var f picturesFile
	must(t, json.Unmarshal(readFile(t, filepath.Join(spec.Dir, "pictures", "pictures.json")), &f))
	if len(f.Pictures) != 2 || f.Attack["method"] != "pgd" {
		t.Fatalf("%+v", f)
	}
	for _, picture := range f.Pictures {
		if picture.Linf > 0.15+6e-8 || picture.Linf < 0.14 || math.Abs(picture.Amplified*picture.Linf-0.5) > 1e-9 || len(picture.Predictions) != 2 {
			t.Errorf("%+v", picture)
		}
		for _, q := range picture.Predictions {
			if q.Model == picture.Source && q.Class == picture.Label {
				t.Errorf("%s is not fooled by %+v", q.Model, picture)
			}
		}
		file, err := os.Open(filepath.Join(spec.Dir, "pictures", picture.File))
		must(t, err)
		img, err := png.Decode(file)
		file.Close()
		must(t, err)
		if size := img.Bounds().Size(); size.X != 3*128+8 || size.Y != 128 {
			t.Errorf("%s has %v pixels", picture.File, size)
		}
	}
	// A finished run draws nothing again.
	before, err := os.Stat(filepath.Join(spec.Dir, "pictures", "pictures.json"))
	must(t, err)
	compare(t, spec)
	after, err := os.Stat(filepath.Join(spec.Dir, "pictures", "pictures.json"))
	must(t, err)
	if !before.ModTime().Equal(after.ModTime()) {
		t.Error("the pictures of a finished run were drawn again")
	}
}

func TestDrawPicture(t *testing.T) {
	clean := []float32{0, 0.5, 1, 0.25}
	adv := []float32{0.1, 0.5, 0.9, 0.25}
	img, amplified, linf, l2 := drawPicture(clean, adv, 1, 2, 2)
	if math.Abs(linf-0.1) > 1e-6 || math.Abs(amplified-5) > 1e-5 || math.Abs(l2-math.Sqrt(0.02)) > 1e-6 {
		t.Errorf("amplified %v, Linf %v, L2 %v", amplified, linf, l2)
	}
	for tile, want := range [][]uint32{{0, 128, 255, 64}, {255, 128, 0, 128}, {26, 128, 229, 64}} {
		for k, w := range want {
			x, y := tile*(128+4)+k%2*64+5, k/2*64+5
			r, g, b, _ := img.At(x, y).RGBA()
			if r>>8 != w || g != r || b != r {
				t.Errorf("tile %d, pixel %d is %d, want %d", tile, k, r>>8, w)
			}
		}
	}
	if _, amplified, linf, _ := drawPicture(clean, clean, 1, 2, 2); amplified != 1 || linf != 0 {
		t.Errorf("no change is amplified by %v", amplified)
	}
}

// TestPicturesWithoutFooling: where nothing is fooled, there is a picture all the same.
func TestPicturesWithoutFooling(t *testing.T) {
	spec := comparison(t, 10, "a")
	p := spec.Attack.Attacker.(attacks.PGD)
	p.Epsilon = 0
	spec.Attack.Attacker = p
	compare(t, spec)
	var f picturesFile
	must(t, json.Unmarshal(readFile(t, filepath.Join(spec.Dir, "pictures", "pictures.json")), &f))
	if len(f.Pictures) != 1 || f.Pictures[0].Linf != 0 || store.CheckName(f.Pictures[0].File) != nil {
		t.Errorf("%+v", f)
	}
}
