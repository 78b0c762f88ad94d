package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sat/internal/store"
)

func tableHeader(rows, images int) store.TableHeader {
	h := store.TableHeader{Subject: "vit-s1", Images: images, ImagesDigest: "abc"}
	for i := range rows {
		h.Rows = append(h.Rows, fmt.Sprintf("source-%d", i))
	}
	return h
}

func TestBits(t *testing.T) {
	for _, size := range [][2]int{{0, 0}, {1, 0}, {1, 1}, {3, 8}, {2, 9}, {69, 5000}} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(2, 1))
			table := store.NewBits(tableHeader(size[0], size[1]))
			want := make([][]bool, size[0])
			for row := range want {
				want[row] = make([]bool, size[1])
				for i := range want[row] {
					want[row][i] = rng.IntN(3) == 0
					table.Set(row, i, true)
					table.Set(row, i, want[row][i])
				}
			}
			path := filepath.Join(t.TempDir(), "wrong.bits")
			if err := table.Write(path); err != nil {
				t.Fatal(err)
			}
			got, err := store.ReadBits(path)
			if err != nil {
				t.Fatal(err)
			}
			if got.Subject != "vit-s1" || got.ImagesDigest != "abc" || !slices.Equal(got.Rows, table.Rows) || got.Images != size[1] {
				t.Errorf("header %+v", got.TableHeader)
			}
			for row := range want {
				if !slices.Equal(got.Bools(row), want[row]) {
					t.Errorf("row %d differs", row)
				}
				count := 0
				for _, v := range want[row] {
					if v {
						count++
					}
				}
				if got.Count(row) != count {
					t.Errorf("row %d: count %d, want %d", row, got.Count(row), count)
				}
			}
			if info, err := os.Stat(path); err == nil && size[0] == 69 && info.Size() > 69*5000/8+3000 {
				t.Errorf("%d bytes for 69 x 5000 bits", info.Size())
			}
		})
	}
}

func TestPredictions(t *testing.T) {
	for _, size := range [][2]int{{0, 0}, {1, 0}, {1, 1}, {5, 1000}} {
		rng := rand.New(rand.NewPCG(2, 2))
		table := store.NewPredictions(tableHeader(size[0], size[1]))
		for _, row := range table.Classes {
			for i := range row {
				row[i] = rng.Int32N(1000)
			}
			if len(row) > 1 {
				row[0], row[1] = math.MaxInt32, -1
			}
		}
		path := filepath.Join(t.TempDir(), "predictions")
		if err := table.Write(path); err != nil {
			t.Fatal(err)
		}
		got, err := store.ReadPredictions(path)
		if err != nil {
			t.Fatal(err)
		}
		for row := range table.Classes {
			if !slices.Equal(got.Classes[row], table.Classes[row]) {
				t.Errorf("%v: row %d differs", size, row)
			}
		}
		if row, err := got.Row("source-9"); err == nil {
			t.Errorf("row source-9 is %d", row)
		}
	}
	ragged := store.NewPredictions(tableHeader(2, 3))
	ragged.Classes[1] = ragged.Classes[1][:2]
	if err := ragged.Write(filepath.Join(t.TempDir(), "a")); err == nil || !strings.Contains(err.Error(), "source-1") {
		t.Errorf("ragged rows: %v", err)
	}
}

func TestTableEveryFlip(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	table := store.NewBits(tableHeader(3, 21))
	table.Set(1, 20, true)
	if err := table.Write(path); err != nil {
		t.Fatal(err)
	}
	if _, err := store.ReadPredictions(path); err == nil {
		t.Error("bits were read as predictions")
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, content []byte) {
		t.Helper()
		if err := os.WriteFile(path, content, 0o666); err != nil {
			t.Fatal(err)
		}
		if _, err := store.ReadBits(path); !errors.Is(err, store.ErrCorrupt) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for i := range whole {
		flipped := bytes.Clone(whole)
		flipped[i] ^= 1 << (i % 8)
		check(fmt.Sprintf("byte %d", i), flipped)
		check(fmt.Sprintf("cut to %d", i), whole[:i])
	}
	check("a byte too many", append(bytes.Clone(whole), 0))
}

func FuzzTable(f *testing.F) {
	path := filepath.Join(f.TempDir(), "a")
	for _, write := range []func() error{
		func() error { return store.NewBits(tableHeader(3, 2000)).Write(path) },
		func() error { return store.NewPredictions(tableHeader(2, 5)).Write(path) },
	} {
		if err := write(); err != nil {
			f.Fatal(err)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content)
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		content = bytes.Clone(content)
		store.RepairTable(content)
		_ = store.ParseTable(content)
	})
}
