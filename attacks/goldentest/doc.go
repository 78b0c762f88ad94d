// Package goldentest compares package attacks, over libtorch, with torchattacks and foolbox on two small trained
// networks. It is a package of its own so that package attacks and its tests stay free of cgo; it holds tests only.
package goldentest
