package torch_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"sat/internal/testkit"
	"sat/torch"
)

// Two workers and many goroutines share one module in eval mode; every result must be that of a single caller.
func TestConcurrentUse(t *testing.T) {
	testkit.NoLeaks(t)
	workers := []*torch.Worker{testkit.Torch(t), testkit.Torch(t)}
	g := loadGolden(t)
	m := load(t, "conv.pt")
	gradient := func(s *torch.Scope) ([]float32, error) {
		x, y := s.FromFloat32(g.X, g.XShape...), s.FromInt64(g.Y, len(g.Y))
		grad, _, _ := m.InputGrad(s, x, y, torch.GradOptions{Mean: g.Mean, Std: g.Std})
		return grad.Float32s()
	}
	var want []float32
	do(t, workers[0], func(s *torch.Scope) (err error) { want, err = gradient(s); return err })
	var group sync.WaitGroup
	for i := range 16 {
		group.Go(func() {
			for range 10 {
				err := workers[i%2].Do(t.Context(), func(s *torch.Scope) error {
					got, err := gradient(s)
					if err == nil {
						for j := range got {
							if got[j] != want[j] {
								return fmt.Errorf("goroutine %d: element %d is %v, want %v", i, j, got[j], want[j])
							}
						}
					}
					return err
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
}

// Gradients are off in Forward on whatever thread, so nothing accumulates.
func TestForwardRecordsNoGradient(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	g := loadGolden(t)
	m := trainable(t, "vit.pt")
	do(t, w, func(s *torch.Scope) error {
		m.Forward(s, s.FromFloat32(g.X, g.XShape...), nil, nil)
		err := s.Step(func(s *torch.Scope) error { m.GradOf(s, "head.bias"); return nil })
		if err == nil || !strings.Contains(err.Error(), "no gradient") {
			t.Errorf("gradient after a forward pass: %v", err)
		}
		return s.Err()
	})
}

func TestTrainModeBelongsToOneWorker(t *testing.T) {
	testkit.NoLeaks(t)
	first, second := testkit.Torch(t), testkit.Torch(t)
	m := load(t, "conv.pt")
	if err := m.SetTraining(true); err != nil {
		t.Fatal(err)
	}
	forward := func(s *torch.Scope) error { m.Forward(s, s.Ones(2, 3, 12, 12), nil, nil); return nil }
	do(t, first, forward)
	if err := second.Do(t.Context(), forward); err == nil || !strings.Contains(err.Error(), "train mode on another worker") {
		t.Errorf("second worker: %v", err)
	}
	do(t, first, forward)
	if err := m.SetTraining(false); err != nil {
		t.Fatal(err)
	}
	do(t, second, forward)
}

func TestPanicReachesTheCaller(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	func() {
		defer func() {
			p, ok := recover().(*torch.Panic)
			if !ok || p.Value != "boom" || !strings.Contains(p.String(), "worker_test.go") {
				t.Errorf("recovered %v", p)
			}
		}()
		_ = w.Do(t.Context(), func(s *torch.Scope) error { s.Ones(3); panic("boom") })
	}()
	do(t, w, func(s *torch.Scope) error { s.Ones(1); return nil }) // the worker lives on
}

// testing.T.Fatal ends the goroutine it runs on; the worker must survive it and the caller must end too.
func TestGoexitReachesTheCaller(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	returned := make(chan bool, 1)
	go func() {
		defer func() { returned <- false }()
		_ = w.Do(t.Context(), func(s *torch.Scope) error { s.Ones(3); runtime.Goexit(); return nil })
		returned <- true
	}()
	if <-returned {
		t.Error("do returned after its function ended the goroutine")
	}
	do(t, w, func(s *torch.Scope) error { s.Ones(1); return nil })
}

func TestDoWaitsInLine(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	started, release := make(chan struct{}), make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		_ = w.Do(context.Background(), func(*torch.Scope) error { close(started); <-release; return nil })
	})
	<-started
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := w.Do(ctx, func(*torch.Scope) error { t.Error("ran"); return nil }); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("do behind a long job: %v", err)
	}
	close(release)
	group.Wait()
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.Do(cancelled, func(*torch.Scope) error { t.Error("ran"); return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("do with an ended context: %v", err)
	}
}

func TestCloseOfWorker(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	var group sync.WaitGroup
	for range 8 { // Close waits for those in line and refuses those that come later
		group.Go(func() {
			err := w.Do(context.Background(), func(s *torch.Scope) error { s.Ones(4); return nil })
			if err != nil && !errors.Is(err, torch.ErrClosed) {
				t.Error(err)
			}
		})
	}
	w.Close()
	w.Close()
	group.Wait()
	if err := w.Do(context.Background(), func(*torch.Scope) error { return nil }); !errors.Is(err, torch.ErrClosed) {
		t.Errorf("do after close: %v", err)
	}
	if s := w.NewScope(); s.Ones(1).Valid() || !errors.Is(s.Err(), torch.ErrClosed) {
		t.Errorf("scope of a closed worker: %v", s.Err())
	}
}
