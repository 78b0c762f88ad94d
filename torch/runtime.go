package torch

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// abiVersion is the version of the border that this package was written for. It changes with every change of the C
// headers (ST_ABI_VERSION), so that a stale shared library is refused and not misread.
const abiVersion = 8

var initState struct {
	sync.Mutex
	done   atomic.Bool
	config Config
	err    error
}

// Init prepares libtorch, once per process and before anything else of this package: thread counts, TorchScript's
// optimisers off, repeatable kernels. The same Config again is harmless, another one an error. It fails when the shared
// library was built for another version of this package or of libtorch.
func Init(c Config) error {
	if c.Threads < 1 {
		return fmt.Errorf("initialise libtorch: %d threads", c.Threads)
	}
	initState.Lock()
	defer initState.Unlock()
	if initState.done.Load() {
		if c != initState.config {
			return fmt.Errorf("initialise libtorch: already running with %+v, cannot change to %+v", initState.config, c)
		}
		return initState.err
	}
	abi, built, loaded, err := borderVersions()
	if err == nil && abi != abiVersion {
		err = fmt.Errorf("the shared library has border version %d, the program needs %d: rebuild both", abi, abiVersion)
	}
	if err == nil && built != loaded {
		err = fmt.Errorf("the shared library was built for libtorch %s, but %s was loaded: rebuild it", built, loaded)
	}
	if err == nil {
		err = borderInit(c.Threads)
	}
	if err != nil {
		err = fmt.Errorf("initialise libtorch: %w", err)
	}
	initState.config, initState.err = c, err
	initState.done.Store(true)
	return err
}

// Available reports whether this program was built with libtorch, that is with cgo.
func Available() bool { return available }

func initialised() error {
	if !initState.done.Load() {
		if !available {
			return ErrUnavailable
		}
		return errors.New("torch.Init was not called")
	}
	initState.Lock()
	defer initState.Unlock()
	return initState.err
}

// Describe reports versions, paths, devices and settings. It may be called before Init.
func Describe() (Info, error) {
	text, err := borderDescribe()
	if err != nil {
		return Info{}, err
	}
	var info Info
	if err := json.Unmarshal([]byte(text), &info); err != nil {
		return Info{}, fmt.Errorf("describe libtorch: %w", err)
	}
	if info.ABI, info.BuildVersion, info.Version, err = borderVersions(); err != nil {
		return Info{}, err
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(info.Path), "libtorch_cuda.so")); err == nil {
		info.CUDA.Built = true
	}
	if info.OpenMP, err = mappedOpenMP(); err != nil {
		return Info{}, err
	}
	return info, nil
}

// mappedOpenMP lists the files of OpenMP runtimes mapped into this process.
func mappedOpenMP() ([]string, error) {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return nil, fmt.Errorf("list OpenMP runtimes: %w", err)
	}
	found := map[string]bool{}
	for line := range strings.Lines(string(maps)) {
		_, path, ok := strings.Cut(line, "/")
		if !ok {
			continue
		}
		path = "/" + strings.TrimSpace(path)
		for _, prefix := range []string{"libgomp", "libomp", "libiomp"} {
			if strings.HasPrefix(filepath.Base(path), prefix) {
				found[path] = true
			}
		}
	}
	list := make([]string, 0, len(found))
	for path := range found {
		list = append(list, path)
	}
	sort.Strings(list)
	return list, nil
}

// LoadCUDA loads libtorch_cuda and starts the CUDA runtime, keeping Go's signal handlers; ErrNoCUDA without a device. A
// program that will use a GPU calls it directly after Init: once libtorch has loaded or computed something on the CPU it
// never looks for CUDA again. Loading a module to a CUDA device or moving a tensor there calls it too.
func LoadCUDA() error {
	if err := initialised(); err != nil {
		return err
	}
	return borderLoadCUDA()
}

// AllowTF32 lets CUDA round the factors of float32 products and convolutions to TensorFloat-32, which keeps 10 of 23 bits and
// is several times as fast. It is off after Init and changes nothing on the CPU.
func AllowTF32(on bool) error {
	if err := initialised(); err != nil {
		return err
	}
	return borderAllowTF32(on)
}

// LiveHandles counts the tensors, modules and optimisers that exist on the C++ side. It is 0 without cgo.
func LiveHandles() int64 { return borderLiveHandles() }

// ResidentBytes is the memory of this process that is in RAM.
func ResidentBytes() (int64, error) {
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, fmt.Errorf("resident memory: %w", err)
	}
	fields := strings.Fields(string(statm))
	if len(fields) < 2 {
		return 0, fmt.Errorf("resident memory: unexpected /proc/self/statm %q", statm)
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("resident memory: %w", err)
	}
	return pages * int64(os.Getpagesize()), nil
}

// MallocTrim returns free heap memory of the C library to the system.
func MallocTrim() { borderMallocTrim() }

// EmptyCache returns the unused memory of the caching allocator of d to the system; on the CPU it is MallocTrim.
func EmptyCache(d Device) error {
	if d.Type == DeviceCPU {
		MallocTrim()
		return nil
	}
	return borderEmptyCache(d)
}

// Synchronize waits for the work queued on d. On the CPU there is none.
func Synchronize(d Device) error {
	if d.Type == DeviceCPU {
		return nil
	}
	return borderSynchronize(d)
}

// MemoryOf returns the memory figures of d.
func MemoryOf(d Device) (Memory, error) {
	if d.Type != DeviceCPU {
		return borderMemory(d)
	}
	var m Memory
	var err error
	if m.Allocated, err = ResidentBytes(); err != nil {
		return Memory{}, err
	}
	m.Reserved = m.Allocated
	if m.PeakAllocated, err = procKilobytes("/proc/self/status", "VmHWM:"); err != nil {
		return Memory{}, err
	}
	if m.Total, err = procKilobytes("/proc/meminfo", "MemTotal:"); err != nil {
		return Memory{}, err
	}
	if m.Free, err = procKilobytes("/proc/meminfo", "MemAvailable:"); err != nil {
		return Memory{}, err
	}
	return m, nil
}

// procKilobytes reads a line such as "MemTotal: 123 kB" and returns bytes.
func procKilobytes(path, key string) (int64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, fmt.Errorf("memory figures: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		rest, ok := strings.CutPrefix(line, key)
		if !ok {
			continue
		}
		kb, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("memory figures: %s in %s: %w", key, path, err)
		}
		return kb << 10, nil
	}
	return 0, fmt.Errorf("memory figures: no %s in %s", key, path)
}

// ManualSeed seeds the generators that libtorch's own random operations (dropout, stochastic depth) draw from: the
// CPU's and, once loaded, those of the CUDA devices. Everything else in this project draws from its own streams.
func ManualSeed(seed uint64) error { return borderManualSeed(seed) }

// GeneratorState returns the state of the CPU generator, for checkpoints.
func GeneratorState() ([]byte, error) { return borderGeneratorState() }

// SetGeneratorState restores what GeneratorState returned.
func SetGeneratorState(state []byte) error {
	if len(state) == 0 {
		return errors.New("set generator state: empty")
	}
	return borderSetGeneratorState(state)
}
