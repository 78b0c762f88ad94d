package torch

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
)

// Worker runs torch code on one operating-system thread that lives as long as the worker. libtorch keeps state per
// thread (autograd, oneDNN's primitives, OpenMP's team), so a few long-lived workers keep memory and speed steady.
type Worker struct {
	jobs  chan *job
	ended chan struct{}

	mu     sync.Mutex
	closed bool
	users  sync.WaitGroup // calls of Do between their check of closed and the end of their job
	scopes map[*Scope]struct{}
}

type job struct {
	ctx  context.Context
	f    func(*Scope) error
	done chan outcome
}

type outcome struct {
	err      error
	panicked bool
	value    any
	goexit   bool
}

// Panic is what Do panics with when f panicked: the value and the stack of the worker's goroutine.
type Panic struct {
	Value any
	Stack []byte
}

func (p *Panic) String() string {
	return fmt.Sprintf("panic on a torch worker: %v\n\n%s", p.Value, p.Stack)
}

// NewWorker starts a worker. Init must have been called.
func NewWorker() (*Worker, error) {
	if err := initialised(); err != nil {
		return nil, fmt.Errorf("start a torch worker: %w", err)
	}
	w := &Worker{jobs: make(chan *job), ended: make(chan struct{}), scopes: map[*Scope]struct{}{}}
	go w.loop()
	return w, nil
}

// loop serves jobs on its own thread. It ends when jobs is closed; a job that ended the goroutine (runtime.Goexit, as
// testing.T.Fatal does) ends the thread too, and a fresh loop takes over.
func (w *Worker) loop() {
	runtime.LockOSThread() // never unlocked: the thread ends with the goroutine and takes its state along
	finished := false
	defer func() {
		if finished {
			close(w.ended)
		} else {
			go w.loop()
		}
	}()
	for j := range w.jobs {
		w.serve(j)
	}
	finished = true
}

// serve runs one job in a root scope. The outcome is sent from a deferred call, so it is sent however f ends.
func (w *Worker) serve(j *job) {
	out := outcome{goexit: true}
	defer func() {
		if v := recover(); v != nil {
			out = outcome{panicked: true, value: &Panic{Value: v, Stack: debug.Stack()}}
		}
		j.done <- out
	}()
	if err := j.ctx.Err(); err != nil {
		out = outcome{err: err}
		return
	}
	s := newScope(w, nil)
	defer s.Close()
	err := j.f(s)
	if err == nil {
		err = s.err
	}
	out = outcome{err: err}
}

// Do runs f on the worker's thread and waits for it. It returns the error of f or else the first error on the scope,
// which is closed when f returns. While other jobs run it waits in line, until ctx ends; f itself is not interrupted,
// so a long f checks ctx. A panic in f is raised again in the caller as a *Panic. Calling Do of the same worker inside
// f waits for ever.
func (w *Worker) Do(ctx context.Context, f func(s *Scope) error) error {
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return fmt.Errorf("do: worker %w", ErrClosed)
	}
	w.users.Add(1)
	w.mu.Unlock()
	defer w.users.Done()

	j := &job{ctx: ctx, f: f, done: make(chan outcome, 1)}
	select {
	case w.jobs <- j:
	case <-ctx.Done():
		return ctx.Err()
	}
	out := <-j.done
	if out.panicked {
		panic(out.value)
	}
	if out.goexit {
		runtime.Goexit()
	}
	return out.err
}

// NewScope makes a scope for tensors that outlive one Do. Its user closes it; Close of the worker closes what is left.
// Use it only inside Do of the same worker.
func (w *Worker) NewScope() *Scope {
	s := newScope(w, nil)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		s.closed = true
		return s
	}
	w.scopes[s] = struct{}{}
	return s
}

func (w *Worker) forget(s *Scope) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.scopes, s)
}

// Close waits for the jobs in line, closes the remaining scopes and ends the thread. Closing twice is harmless.
func (w *Worker) Close() {
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		<-w.ended
		return
	}
	w.closed = true
	w.mu.Unlock()
	w.users.Wait()
	close(w.jobs)
	<-w.ended
	w.mu.Lock()
	left := make([]*Scope, 0, len(w.scopes))
	for s := range w.scopes {
		left = append(left, s)
	}
	w.mu.Unlock()
	for _, s := range left {
		s.Close()
	}
}
