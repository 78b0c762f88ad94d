// Package goldentest compares package boundary, over libtorch, with an evaluation by NumPy and eager PyTorch. It is a
// package of its own so that package boundary and its tests stay free of cgo; it holds tests only.
package goldentest
