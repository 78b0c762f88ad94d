package data

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func npyFile(t *testing.T, descr, shape string, content []byte) string {
	t.Helper()
	header := "{'descr': '" + descr + "', 'fortran_order': False, 'shape': (" + shape + "), }"
	for (10+len(header)+1)%64 != 0 {
		header += " "
	}
	header += "\n"
	path := filepath.Join(t.TempDir(), "x.npy")
	file := append([]byte(npyMagic+"\x01\x00"), byte(len(header)), byte(len(header)>>8))
	if err := os.WriteFile(path, append(append(file, header...), content...), 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestNPYRows: any rows can be read, of both types. The half-precision values are known bit patterns of IEEE 754.
func TestNPYRows(t *testing.T) {
	half := []struct {
		bits  uint16
		value float32
	}{
		{0x3c00, 1}, {0xc000, -2}, {0x7bff, 65504}, {0x0400, 0x1p-14}, {0x0001, 0x1p-24}, {0x83ff, -0x3ffp-24}, {0x3555, 0x1.554p-2},
		{0x8000, float32(math.Copysign(0, -1))}, {0x7c00, float32(math.Inf(1))}, {0xfc00, float32(math.Inf(-1))},
	}
	var content []byte
	var want []float32
	for _, h := range half {
		content, want = append(content, byte(h.bits), byte(h.bits>>8)), append(want, h.value)
	}
	m, err := OpenNPYRows(npyFile(t, "<f2", "5, 2", content))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for from := range 5 {
		for to := from + 1; to <= 5; to++ {
			got := make([]float32, 2*(to-from))
			if err := m.Read(from, got); err != nil {
				t.Fatal(err)
			}
			for i, v := range got {
				if w := want[2*from+i]; math.Float32bits(v) != math.Float32bits(w) {
					t.Errorf("rows %d to %d: element %d is %v, want %v", from, to, i, v, w)
				}
			}
		}
	}
	if m.Rows != 5 || m.Columns != 2 || m.Read(4, make([]float32, 4)) == nil || m.Read(0, make([]float32, 3)) == nil {
		t.Error("rows beyond the end, or half a row, are read")
	}

	values := make([]float32, 3*100_000) // more than a chunk
	for i := range values {
		values[i] = float32(math.Sin(float64(i)))
	}
	path := filepath.Join(t.TempDir(), "y.npy")
	if err := WriteNPY(path, values, 3, 100_000); err != nil {
		t.Fatal(err)
	}
	long, err := OpenNPYRows(path)
	if err != nil {
		t.Fatal(err)
	}
	defer long.Close()
	got := make([]float32, 200_000)
	if err := long.Read(1, got); err != nil || !slices.Equal(got, values[100_000:]) {
		t.Errorf("other values than were written (%v)", err)
	}
	if err := os.Truncate(path, 500_000); err != nil {
		t.Fatal(err)
	}
	if err := long.Read(1, got); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a file cut short while it is read: %v", err)
	}
}

func TestNPYRowsRefuse(t *testing.T) {
	for name, c := range map[string]struct {
		descr, shape string
		bytes        int
		want         string
	}{
		"float64":   {"<f8", "2, 2", 32, `float64, want float32 or float16: convert with .astype("float32")`},
		"vector":    {"<f4", "4,", 16, "want [rows columns]"},
		"empty":     {"<f4", "0, 4", 0, "want [rows columns]"},
		"truncated": {"<f4", "2, 2", 15, "truncated"},
		"more":      {"<f2", "2, 2", 9, "1 bytes follow"},
		"huge":      {"<f4", "9223372036854775807, 2", 8, "shape"},
	} {
		_, err := OpenNPYRows(npyFile(t, c.descr, c.shape, make([]byte, c.bytes)))
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "x.npy") {
			t.Errorf("%s: error %v, want one with %q", name, err, c.want)
		}
	}
}
