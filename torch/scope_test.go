package torch_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"sat/internal/testkit"
	"sat/torch"
)

func TestCreationAndCopies(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	do(t, w, func(s *torch.Scope) error {
		data := []float32{1, 2, 3, 4, 5, 6}
		x := s.FromFloat32(data, 2, 3)
		data[0] = 99 // the tensor has its own copy
		bitEqual(t, "float32", floats(t, x), []float32{1, 2, 3, 4, 5, 6})
		if got := x.Shape(); !slices.Equal(got, []int{2, 3}) || x.DType() != torch.Float32 || x.Device() != torch.CPU {
			t.Errorf("shape %v, type %s, device %s", got, x.DType(), x.Device())
		}
		if v, err := s.FromInt64([]int64{-7, 1 << 40}, 2).Int64s(); err != nil || !slices.Equal(v, []int64{-7, 1 << 40}) {
			t.Errorf("int64: %v %v", v, err)
		}
		if v, err := s.FromUint8([]uint8{0, 255}, 2).Uint8s(); err != nil || !slices.Equal(v, []uint8{0, 255}) {
			t.Errorf("uint8: %v %v", v, err)
		}
		if v, err := s.FromFloat64([]float64{math.Pi}, 1).Float64s(); err != nil || v[0] != math.Pi {
			t.Errorf("float64: %v %v", v, err)
		}
		if v, err := s.FromFloat32(nil, 0, 3).Float32s(); err != nil || len(v) != 0 {
			t.Errorf("empty: %v %v", v, err)
		}
		if v, err := s.Sum(s.Ones(2, 3)).Item(); err != nil || v != 6 {
			t.Errorf("sum of ones: %v %v", v, err)
		}
		// A view that is not contiguous comes out in row-major order.
		bitEqual(t, "permuted", floats(t, s.Permute(x, 1, 0)), []float32{1, 4, 2, 5, 3, 6})
		if _, err := x.Int64s(); err == nil || !strings.Contains(err.Error(), "float32, not int64") {
			t.Errorf("copy out with the wrong type: %v", err)
		}
		if err := x.CopyFloat32s(make([]float32, 5)); err == nil {
			t.Error("copied 6 elements into 5")
		}
		return s.Err()
	})
}

func TestArithmetic(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	do(t, w, func(s *torch.Scope) error {
		a, b := s.FromFloat32([]float32{1, -2, 3, -4}, 2, 2), s.FromFloat32([]float32{2, 4}, 2)
		for name, c := range map[string]struct {
			got  torch.Tensor
			want []float32
		}{
			"add":         {s.Add(a, b), []float32{3, 2, 5, 0}},
			"sub":         {s.Sub(a, b), []float32{-1, -6, 1, -8}},
			"mul":         {s.Mul(a, b), []float32{2, -8, 6, -16}},
			"div":         {s.Div(a, b), []float32{0.5, -0.5, 1.5, -1}},
			"add scalar":  {s.AddScalar(a, 0.5), []float32{1.5, -1.5, 3.5, -3.5}},
			"mul scalar":  {s.MulScalar(a, -2), []float32{-2, 4, -6, 8}},
			"clamp":       {s.Clamp(a, -2.5, 1), []float32{1, -2, 1, -2.5}},
			"sign":        {s.Sign(s.FromFloat32([]float32{-3, 0, 2}, 3)), []float32{-1, 0, 1}},
			"abs":         {s.Abs(a), []float32{1, 2, 3, 4}},
			"sqrt":        {s.Sqrt(b), []float32{float32(math.Sqrt2), 2}},
			"exp log":     {s.Exp(s.Log(b)), []float32{2, 4}},
			"sum":         {s.Sum(a), []float32{-2}},
			"sum 0":       {s.Sum(a, 0), []float32{4, -6}},
			"mean -1":     {s.Mean(a, -1), []float32{-0.5, -0.5}},
			"max":         {s.Max(a), []float32{3}},
			"max 1":       {s.Max(a, 1), []float32{1, 3}},
			"norm":        {s.Norm(s.FromFloat32([]float32{3, 4}, 2)), []float32{5}},
			"norm 0":      {s.Norm(s.FromFloat32([]float32{3, 0, 4, 2}, 2, 2), 0), []float32{5, 2}},
			"matmul":      {s.MatMul(a, s.Reshape(b, 2, 1)), []float32{-6, -10}},
			"softmax":     {s.Softmax(s.Zeros(1, 2), 1), []float32{0.5, 0.5}},
			"reshape":     {s.Reshape(a, -1), []float32{1, -2, 3, -4}},
			"slice":       {s.Slice(a, 1, 1, 2), []float32{-2, -4}},
			"cat":         {s.Cat(0, b, b), []float32{2, 4, 2, 4}},
			"flip":        {s.Flip(a, 0), []float32{3, -4, 1, -2}},
			"index":       {s.Index(a, s.FromInt64([]int64{1, 1, 0}, 3)), []float32{3, -4, 3, -4, 1, -2}},
			"to and back": {s.To(s.To(b, torch.Int32), torch.Float32), []float32{2, 4}},
			"full":        {s.Full(7, 2), []float32{7, 7}},
		} {
			near(t, name, floats(t, c.got), c.want, 1e-6)
		}
		v, err := s.Argmax(a, 1).Int64s()
		if err != nil || !slices.Equal(v, []int64{0, 0}) {
			t.Errorf("argmax %v %v", v, err)
		}
		shifted := s.Shift(s.FromFloat32([]float32{1, 2, 3, 4, 5, 6, 7, 8}, 2, 1, 2, 2), []int{1, 0}, []int{0, -1})
		bitEqual(t, "shift", floats(t, shifted), []float32{0, 0, 1, 2, 6, 0, 8, 0})
		gone := s.Shift(s.Ones(1, 1, 2, 2), []int{5}, []int{0})
		bitEqual(t, "shifted out", floats(t, gone), make([]float32, 4))
		view := s.Slice(a, 0, 1, 2)
		if err := s.Assign(view, s.Zeros(1, 2)); err != nil {
			return err
		}
		bitEqual(t, "assign to a view", floats(t, a), []float32{1, -2, 0, 0})
		return s.Err()
	})
}

func TestHasNonFinite(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	nan, inf := float32(math.NaN()), float32(math.Inf(-1))
	do(t, w, func(s *torch.Scope) error {
		for _, c := range []struct {
			t    torch.Tensor
			want bool
		}{
			{s.FromFloat32([]float32{1, 2}, 2), false},
			{s.FromFloat32([]float32{1, nan}, 2), true},
			{s.FromFloat32([]float32{inf, 1}, 2), true},
			{s.FromInt64([]int64{1}, 1), false},
			{s.FromFloat32(nil, 0), false},
		} {
			if got, err := c.t.HasNonFinite(); err != nil || got != c.want {
				t.Errorf("got %v %v, want %v", got, err, c.want)
			}
		}
		return s.Err()
	})
}

// After the first error operations do nothing, and the first error comes out everywhere.
func TestFirstErrorSticks(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	err := w.Do(t.Context(), func(s *torch.Scope) error {
		bad := s.Add(s.Ones(2, 3), s.Ones(4))
		if bad.Valid() {
			t.Error("a failed operation returned a valid tensor")
		}
		first := s.Err()
		if first == nil || !strings.Contains(first.Error(), "add [2,3] [4]") {
			t.Fatalf("error %v does not name the operation and the shapes", first)
		}
		if _, err := s.Exp(s.MatMul(bad, bad)).Float32s(); !errors.Is(err, first) {
			t.Errorf("copy out gives %v, want the first error", err)
		}
		if err := s.Step(func(*torch.Scope) error { t.Error("step ran"); return nil }); !errors.Is(err, first) {
			t.Errorf("step gives %v, want the first error", err)
		}
		if err := s.Assign(bad, bad); !errors.Is(err, first) {
			t.Errorf("assign gives %v, want the first error", err)
		}
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), "add") {
		t.Errorf("do gives %v, want the first error", err)
	}
}

func TestOwnership(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	var escaped torch.Tensor
	do(t, w, func(s *torch.Scope) error {
		base := torch.LiveHandles()
		var kept, lost torch.Tensor
		err := s.Step(func(s *torch.Scope) error {
			lost = s.Ones(3)
			kept = s.Keep(s.MulScalar(lost, 2))
			return nil
		})
		if err != nil {
			return err
		}
		if n := torch.LiveHandles() - base; n != 1 {
			t.Errorf("%d handles live after a step that keeps one", n)
		}
		bitEqual(t, "kept", floats(t, kept), []float32{2, 2, 2})
		if _, err := lost.Float32s(); !errors.Is(err, torch.ErrClosed) {
			t.Errorf("tensor of a closed scope gives %v, want ErrClosed", err)
		}
		err = s.Step(func(inner *torch.Scope) error { inner.Add(kept, lost); return nil })
		if !errors.Is(err, torch.ErrClosed) || !strings.Contains(err.Error(), "add") {
			t.Errorf("add with a closed tensor gives %v, want ErrClosed that names add", err)
		}
		if s.Err() != nil {
			t.Errorf("an error of a step spread to its parent: %v", s.Err())
		}
		boom := errors.New("boom")
		if err := s.Step(func(*torch.Scope) error { return boom }); !errors.Is(err, boom) {
			t.Errorf("step gives %v, want the error of its function", err)
		}
		escaped = kept
		return nil
	})
	if _, err := escaped.Float32s(); !errors.Is(err, torch.ErrClosed) {
		t.Errorf("tensor of an ended Do gives %v, want ErrClosed", err)
	}
	if escaped.Shape() != nil || escaped.DType() != -1 {
		t.Errorf("closed tensor has shape %v and type %s", escaped.Shape(), escaped.DType())
	}
	for name, f := range map[string]func(s *torch.Scope) error{
		"keep without parent": func(s *torch.Scope) error { s.Keep(s.Ones(1)); return nil },
		"keep a stranger": func(s *torch.Scope) error {
			x := s.Ones(1)
			return s.Step(func(s *torch.Scope) error { s.Keep(x); return nil })
		},
		"zero tensor":    func(s *torch.Scope) error { s.Exp(torch.Tensor{}); return nil },
		"negative shape": func(s *torch.Scope) error { s.Ones(-1); return nil },
		"huge shape":     func(s *torch.Scope) error { s.Ones(1<<40, 1<<40); return nil },
		"wrong length":   func(s *torch.Scope) error { s.FromFloat32([]float32{1}, 2); return nil },
		"row outside":    func(s *torch.Scope) error { s.Index(s.Ones(2), s.FromInt64([]int64{2}, 1)); return nil },
		"assign shape":   func(s *torch.Scope) error { return s.Assign(s.Ones(2, 2), s.Ones(2)) },
		"shift offsets":  func(s *torch.Scope) error { s.Shift(s.Ones(2, 1, 2, 2), []int{1}, []int{1}); return nil },
	} {
		if err := w.Do(t.Context(), f); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestScopeThatOutlivesDo(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	var long *torch.Scope
	var data torch.Tensor
	do(t, w, func(s *torch.Scope) error {
		long = w.NewScope()
		data = long.Full(3, 4)
		return long.Err()
	})
	do(t, w, func(s *torch.Scope) error {
		bitEqual(t, "data", floats(t, s.AddScalar(data, 1)), []float32{4, 4, 4, 4})
		return s.Err()
	})
	long.Close()
	long.Close()
	if err := w.Do(t.Context(), func(s *torch.Scope) error { s.Exp(data); return nil }); !errors.Is(err, torch.ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
	err := w.Do(t.Context(), func(*torch.Scope) error { long.Ones(1); return long.Err() })
	if !errors.Is(err, torch.ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
	// Left open: Worker.Close, called at the end of the test, frees it and NoLeaks sees it.
	do(t, w, func(*torch.Scope) error { w.NewScope().Ones(1); return nil })
}

// A failed CPU allocation is a plain torch error that only its text tells apart.
func TestOutOfMemory(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	err := w.Do(t.Context(), func(s *torch.Scope) error { s.Zeros(1<<44, 4); return nil })
	if !errors.Is(err, torch.ErrOutOfMemory) {
		t.Errorf("256 TiB: %v, want ErrOutOfMemory", err)
	}
	// The same from inside TorchScript's interpreter, which hides the kind of the exception.
	m := load(t, "hungry.pt")
	err = w.Do(t.Context(), func(s *torch.Scope) error { m.Forward(s, s.Ones(1, 3, 2, 2), nil, nil); return nil })
	if !errors.Is(err, torch.ErrOutOfMemory) {
		t.Errorf("inside a network: %v, want ErrOutOfMemory", err)
	}
}

func Example() {
	if !torch.Available() {
		fmt.Println("[2 4 6]")
		return
	}
	if err := torch.Init(torch.Config{Threads: 1}); err != nil {
		fmt.Println(err)
		return
	}
	w, err := torch.NewWorker()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer w.Close()
	err = w.Do(context.Background(), func(s *torch.Scope) error {
		x := s.FromFloat32([]float32{1, 2, 3}, 3)
		values, err := s.Add(x, x).Float32s()
		fmt.Println(values)
		return err
	})
	if err != nil {
		fmt.Println(err)
	}
	// Output: [2 4 6]
}
