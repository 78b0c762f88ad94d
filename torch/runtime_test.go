package torch_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sat/internal/testkit"
	"sat/torch"
)

func TestParsing(t *testing.T) {
	for text, want := range map[string]torch.Device{
		"cpu": torch.CPU, "cuda": {Type: torch.DeviceCUDA}, "cuda:0": {Type: torch.DeviceCUDA},
		"cuda:11": {Type: torch.DeviceCUDA, Index: 11},
	} {
		if got, err := torch.ParseDevice(text); err != nil || got != want {
			t.Errorf("%q is %v %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "gpu", "cuda:", "cuda:-1", "cuda:x", "cuda:128", "CPU"} {
		if got, err := torch.ParseDevice(text); err == nil {
			t.Errorf("%q is %v, want an error", text, got)
		}
	}
	for d := torch.Float32; d <= torch.Bool; d++ {
		if got, err := torch.ParseDType(d.String()); err != nil || got != d {
			t.Errorf("%s is %v %v", d, got, err)
		}
	}
}

func TestWithoutLibtorch(t *testing.T) {
	if torch.Available() {
		t.Skip("built with cgo: the build without it is what this tests")
	}
	if _, err := torch.NewWorker(); !errors.Is(err, torch.ErrUnavailable) {
		t.Errorf("new worker: %v", err)
	}
	if _, _, err := torch.LoadModule(file("conv.pt"), torch.CPU); !errors.Is(err, torch.ErrUnavailable) {
		t.Errorf("load module: %v", err)
	}
	if err := torch.Init(torch.Config{Threads: 1}); !errors.Is(err, torch.ErrUnavailable) {
		t.Errorf("init: %v", err)
	}
}

func TestInitAndDescribe(t *testing.T) {
	testkit.NoLeaks(t)
	testkit.Torch(t)
	if err := torch.Init(torch.Config{Threads: 1}); err != nil {
		t.Errorf("the same configuration again: %v", err)
	}
	if err := torch.Init(torch.Config{Threads: 2}); err == nil {
		t.Error("another configuration is accepted")
	}
	if err := torch.Init(torch.Config{}); err == nil {
		t.Error("0 threads are accepted")
	}
	info, err := torch.Describe()
	if err != nil {
		t.Fatal(err)
	}
	if info.Version != info.BuildVersion || info.Version == "" {
		t.Errorf("libtorch %q, built for %q", info.Version, info.BuildVersion)
	}
	if _, err := os.Stat(info.Path); err != nil {
		t.Error(err)
	}
	if info.Threads != 1 || info.InterOp != 1 {
		t.Errorf("%d threads, %d between operations", info.Threads, info.InterOp)
	}
	if info.JIT != (torch.JITInfo{}) {
		t.Errorf("an optimiser of TorchScript is on: %+v", info.JIT)
	}
	if len(info.OpenMP) != 1 {
		t.Errorf("OpenMP runtimes %v, want one", info.OpenMP)
	}
	if c := info.CUDA; !c.Deterministic || c.TF32 || c.CuDNNTuning || c.Workspace == "" {
		t.Errorf("kernels are not repeatable: %+v", c)
	}
}

func TestMemoryFigures(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	do(t, w, func(s *torch.Scope) error {
		before, err := torch.MemoryOf(torch.CPU)
		if err != nil {
			return err
		}
		s.Ones(64, 1<<20) // 256 MiB
		after, err := torch.MemoryOf(torch.CPU)
		if err != nil {
			return err
		}
		if grown := (after.Allocated - before.Allocated) >> 20; grown < 250 || grown > 300 {
			t.Errorf("256 MiB of ones grew memory by %d MiB", grown)
		}
		if after.PeakAllocated < after.Allocated || after.Total < after.Free || after.Free <= 0 {
			t.Errorf("memory figures %+v", after)
		}
		return s.Err()
	})
	torch.MallocTrim()
	if err := torch.EmptyCache(torch.CPU); err != nil {
		t.Error(err)
	}
	if err := torch.Synchronize(torch.CPU); err != nil {
		t.Error(err)
	}
}

// Tensors lie in huge pages where the kernel has them: from the call after the one that made the heap grow.
func TestHeapInHugePages(t *testing.T) {
	modes, err := os.ReadFile("/sys/kernel/mm/transparent_hugepage/enabled")
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	var major, minor int
	_, _ = fmt.Sscanf(string(release), "%d.%d", &major, &minor)
	if err != nil || strings.Contains(string(modes), "[never]") || major < 6 || major == 6 && minor < 1 {
		t.Skipf("kernel %s, huge pages %s: nothing to collapse", release, modes)
	}
	testkit.NoLeaks(t)
	do(t, testkit.Torch(t), func(s *torch.Scope) error {
		s.Ones(64, 1<<20) // 256 MiB
		s.Ones(1)
		maps, err := os.ReadFile("/proc/self/smaps")
		if err != nil {
			return err
		}
		huge, heap := 0, false
		for line := range strings.Lines(string(maps)) {
			var kilobytes int
			switch fields := strings.Fields(line); {
			case len(fields) > 4 && strings.Contains(fields[0], "-"):
				heap = fields[len(fields)-1] == "[heap]"
			case heap && fields[0] == "AnonHugePages:":
				if _, err := fmt.Sscan(fields[1], &kilobytes); err != nil {
					return err
				}
				huge += kilobytes
			}
		}
		if huge < 64<<10 {
			t.Errorf("%d KiB of the heap lie in huge pages, after 256 MiB of ones", huge)
		}
		return s.Err()
	})
}

func TestGeneratorState(t *testing.T) {
	testkit.Torch(t)
	if err := torch.ManualSeed(7); err != nil {
		t.Fatal(err)
	}
	first, err := torch.GeneratorState()
	if err != nil {
		t.Fatal(err)
	}
	if err := torch.ManualSeed(8); err != nil {
		t.Fatal(err)
	}
	if other, err := torch.GeneratorState(); err != nil || bytes.Equal(first, other) {
		t.Errorf("two seeds give the same state: %v", err)
	}
	if err := torch.SetGeneratorState(first); err != nil {
		t.Fatal(err)
	}
	if again, err := torch.GeneratorState(); err != nil || !bytes.Equal(first, again) {
		t.Errorf("the state did not come back: %v", err)
	}
	for name, bad := range map[string][]byte{"empty": nil, "short": first[:10]} {
		if err := torch.SetGeneratorState(bad); err == nil {
			t.Errorf("%s state is accepted", name)
		}
	}
}

// growth returns by how many bytes f made the resident memory grow.
func growth(t *testing.T, f func()) int64 {
	t.Helper()
	torch.MallocTrim()
	before, err := torch.ResidentBytes()
	if err != nil {
		t.Fatal(err)
	}
	f()
	torch.MallocTrim()
	after, err := torch.ResidentBytes()
	if err != nil {
		t.Fatal(err)
	}
	return after - before
}

const mib = 1 << 20

func TestCreateAndCloseDoesNotGrow(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	data := make([]float32, 1000)
	round := func(n int) {
		do(t, w, func(s *torch.Scope) error {
			for range n {
				err := s.Step(func(s *torch.Scope) error {
					_, err := s.FromFloat32(data, 10, 100).Item() // an error with a text to free
					if err == nil {
						t.Error("item of 1000 elements")
					}
					return nil
				})
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	round(1000)
	if grown := growth(t, func() { round(100_000) }); grown > 20*mib {
		t.Errorf("100,000 tensors grew memory by %d MiB", grown/mib)
	}
}

func TestInputGradDoesNotGrow(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	g := loadGolden(t)
	m := load(t, "conv.pt")
	round := func(n int) {
		do(t, w, func(s *torch.Scope) error {
			for range n {
				err := s.Step(func(s *torch.Scope) error {
					x, y := s.FromFloat32(g.X, g.XShape...), s.FromInt64(g.Y, len(g.Y))
					grad, _, _ := m.InputGrad(s, x, y, torch.GradOptions{Mean: g.Mean, Std: g.Std})
					_, err := grad.Float32s()
					return err
				})
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	round(20)
	if grown := growth(t, func() { round(1000) }); grown > 20*mib {
		t.Errorf("1,000 gradients grew memory by %d MiB", grown/mib)
	}
}

// inChild runs the named test again in a process of its own, where child reports true. CUDA must be loaded before
// anything computes, and loading it makes every later memory figure useless.
func inChild(t *testing.T, name string) (child bool) {
	t.Helper()
	const mark = "SAT_TORCH_TEST_CHILD"
	if os.Getenv(mark) == name {
		return true
	}
	testkit.SkipWithoutTorch(t)
	cmd := exec.Command(os.Args[0], "-test.run=^"+name+"$", "-test.v")
	cmd.Env = append(os.Environ(), mark+"="+name)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	return false
}

// CUDA's libraries replace signal handlers; Go's must be back afterwards, or Ctrl-C kills the process.
func TestSignalHandlersSurviveCUDA(t *testing.T) {
	if !inChild(t, "TestSignalHandlersSurviveCUDA") {
		return
	}
	w := testkit.Torch(t)
	err := torch.LoadCUDA()
	info, describeErr := torch.Describe()
	if describeErr != nil {
		t.Fatal(describeErr)
	}
	if info.CUDA.Built != info.CUDA.Loaded {
		t.Errorf("libtorch_cuda.so was not loaded: %v", err)
	}
	if (err == nil) != (info.CUDA.Devices > 0) || err != nil && !errors.Is(err, torch.ErrNoCUDA) {
		t.Errorf("%d devices, error %v", info.CUDA.Devices, err)
	}
	if err != nil {
		_, _, err := torch.LoadModule(file("conv.pt"), torch.Device{Type: torch.DeviceCUDA})
		if !errors.Is(err, torch.ErrNoCUDA) {
			t.Errorf("load to a GPU without one: %v", err)
		}
	}
	absent := torch.Device{Type: torch.DeviceCUDA, Index: 99}
	_, memoryErr := torch.MemoryOf(absent)
	for _, err := range []error{memoryErr, torch.EmptyCache(absent), torch.Synchronize(absent)} {
		if !errors.Is(err, torch.ErrNoCUDA) {
			t.Errorf("device that no machine has: %v, want ErrNoCUDA", err)
		}
	}
	m := load(t, "conv.pt")
	do(t, w, func(s *torch.Scope) error {
		m.InputGrad(s, s.Ones(1, 3, 12, 12), s.FromInt64([]int64{1}, 1), torch.GradOptions{})
		return nil
	})
	for _, sig := range []syscall.Signal{
		syscall.SIGINT, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGHUP,
	} {
		c := make(chan os.Signal, 1)
		signal.Notify(c, sig)
		if err := syscall.Kill(os.Getpid(), sig); err != nil {
			t.Fatal(err)
		}
		select {
		case <-c:
		case <-time.After(5 * time.Second):
			t.Errorf("%s did not arrive", sig)
		}
		signal.Stop(c)
	}
	defer func() { // SIGSEGV still becomes a Go panic
		if recover() == nil {
			t.Error("reading through a nil pointer did not panic")
		}
	}()
	var p *int
	t.Log(*p)
}

// A process that computed on the CPU cannot turn to CUDA any more: libtorch has settled. It must say so.
func TestCUDAAfterComputingIsRefused(t *testing.T) {
	if !inChild(t, "TestCUDAAfterComputingIsRefused") {
		return
	}
	w := testkit.Torch(t)
	m := load(t, "conv.pt")
	do(t, w, func(s *torch.Scope) error {
		m.InputGrad(s, s.Ones(1, 3, 12, 12), s.FromInt64([]int64{1}, 1), torch.GradOptions{})
		return nil
	})
	if err := torch.LoadCUDA(); !errors.Is(err, torch.ErrNoCUDA) || !strings.Contains(err.Error(), "before") {
		t.Errorf("load CUDA: %v", err)
	}
}

// The shared library must pull in libtorch by itself and leave CUDA's part out.
func TestLinkedLibraries(t *testing.T) {
	if !inChild(t, "TestLinkedLibraries") {
		return
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	for lib, want := range map[string]bool{
		"libsat_torch.so": true, "libtorch_cpu.so": true, "libc10.so": true,
		"libtorch_cuda.so": false, "libtorch_python.so": false,
	} {
		if got := bytes.Contains(maps, []byte(string(filepath.Separator)+lib)); got != want {
			t.Errorf("%s mapped: %v, want %v", lib, got, want)
		}
	}
}
