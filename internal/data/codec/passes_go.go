//go:build !cgo

package codec

func resizeHorizontal(dst, src Image, a *axis) { horizontalGo(dst, src, a) }

func resizeVertical(dst, src Image, a *axis, origin int) { verticalGo(dst, src, a, origin) }
