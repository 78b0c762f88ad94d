//go:build !cgo

package codec

func SharpenRow(_, _, _, _ []byte, _ float32) bool { return false }

func ColorRow([]byte, float32) bool { return false }

func BicubicRow([]byte, Image, float64, *[6]float64, *[Channels]byte) bool { return false }
