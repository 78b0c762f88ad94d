package codec

import (
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// rate runs work for the length of a benchmark and reports images per second of processor time, which other programs
// on the machine disturb less than the time of day.
func rate(b *testing.B, work func() error) {
	b.Helper()
	b.ReportAllocs()
	start := processorTime(b)
	for b.Loop() {
		if err := work(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/(processorTime(b)-start).Seconds(), "images/s")
}

func processorTime(b *testing.B) time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t); err != nil {
		b.Fatal(err)
	}
	return time.Duration(t.Nano())
}

// Sizes of an ordinary ImageNet photograph, and what the usual evaluation transform makes of it.
func BenchmarkResize(b *testing.B) {
	src := formulaImage(500, 375, "noise")
	for _, f := range []Filter{Bilinear, Bicubic} {
		for _, c := range []struct{ dstWidth, dstHeight, width, height, left, top int }{
			{330, 248, 330, 248, 0, 0},
			{224, 224, 341, 256, 58, 16},
		} {
			name := fmt.Sprintf("%v/%dx%d of %dx%d", f, c.dstWidth, c.dstHeight, c.width, c.height)
			b.Run(name, func(b *testing.B) {
				var r Resizer
				dst := NewImage(c.dstWidth, c.dstHeight)
				rate(b, func() error { return r.Resize(dst, src, c.width, c.height, c.left, c.top, f) })
			})
		}
	}
}

// BenchmarkDecode decodes a small golden; `sat bench load` measures larger files, beside others.
func BenchmarkDecode(b *testing.B) {
	data := readFile(b, "rgb420_101x203.jpg")
	var d Decoder
	defer d.Close()
	_, err := d.Decode(data)
	skipWithoutJPEG(b, err)
	rate(b, func() error {
		_, err := d.Decode(data)
		return err
	})
}
