// Package testkit holds what the tests of several packages share.
package testkit

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"sat/torch"
)

// NoLeaks makes t fail when, after everything t registered with Cleanup later, more tensors, modules or optimisers live
// on the C++ side than now. Call it first. Tests that use it must not run in parallel with each other.
func NoLeaks(t testing.TB) {
	t.Helper()
	before := torch.LiveHandles()
	t.Cleanup(func() {
		if after := torch.LiveHandles(); after != before {
			t.Errorf("%d torch handles live at the end, %d at the start", after, before)
		}
	})
}

// Torch initialises libtorch with one thread and returns a worker that ends with t. It skips t when the program was built
// without cgo.
func Torch(t testing.TB) *torch.Worker {
	t.Helper()
	SkipWithoutTorch(t)
	if err := torch.Init(torch.Config{Threads: 1}); err != nil {
		t.Fatal(err)
	}
	w, err := torch.NewWorker()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

// SkipWithoutTorch skips t when the program was built without cgo.
func SkipWithoutTorch(t testing.TB) {
	t.Helper()
	if !torch.Available() {
		t.Skip("needs libtorch: built with CGO_ENABLED=0")
	}
}

// SameKernels says whether torch computes with the kernels that made a golden, whose header names them. Others round differently.
func SameKernels(t testing.TB, capability string) bool {
	t.Helper()
	info, err := torch.Describe()
	if err != nil {
		t.Fatal(err)
	}
	return info.Capability == capability
}

// Root is the top folder of the project, found from this source file.
func Root(t testing.TB) string {
	t.Helper()
	_, file, _, ok := runtime.Caller(0)
	if !ok {
		t.Fatal("testkit: no caller information")
	}
	root := filepath.Join(filepath.Dir(file), "..", "..")
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		t.Fatalf("testkit: %v", err)
	}
	return root
}
