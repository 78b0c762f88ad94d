package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"sat/internal/run"
	"sat/torch"
)

// finding is one thing doctor looked at. Mend is the command that repairs it; empty when all is well.
type finding struct {
	Name  string `json:"name"`
	OK    bool   `json:"ok"`
	State string `json:"state"`
	Mend  string `json:"mend,omitempty"`
}

func doctorCommand() *cli.Command {
	return command(cli.Command{
		Name:   "doctor",
		Usage:  "what this machine can do and what is missing, with the command that mends it",
		Action: doctor,
	}, "sat doctor")
}

func doctor(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	want, err := device(c, "")
	if err != nil {
		return err
	}
	findings := []finding{
		{Name: "sat", OK: true, State: fmt.Sprintf("%s, %s", run.Version(), runtime.Version())},
		{Name: "cores", OK: true, State: fmt.Sprintf("%d", runtime.NumCPU())},
		memoryFinding(),
		diskFinding(),
		exporterFinding(),
		oldTimmFinding(),
	}
	findings = append(findings, torchFindings(want)...)
	healthy := true
	for _, f := range findings {
		healthy = healthy && f.OK
	}
	if c.Bool("json") {
		err = printJSON(c.App.Writer, struct {
			SchemaVersion int       `json:"schema_version"`
			Healthy       bool      `json:"healthy"`
			Findings      []finding `json:"findings"`
		}{schemaVersion, healthy, findings})
	} else {
		for _, f := range findings {
			mark := "ok  "
			if !f.OK {
				mark = "MEND"
			}
			fmt.Fprintf(c.App.Writer, "%s  %-18s %s\n", mark, f.Name, f.State)
			if f.Mend != "" {
				fmt.Fprintf(c.App.Writer, "      %-18s → %s\n", "", f.Mend)
			}
		}
	}
	if err == nil && !healthy {
		err = fmt.Errorf("%w; see the lines marked MEND", run.ErrEnvironment)
	}
	return err
}

// torchFindings loads libtorch and, if want is a GPU, the CUDA part of it.
func torchFindings(want torch.Device) []finding {
	setup := "make build"
	if err := torch.Init(torch.Config{Threads: runtime.NumCPU()}); err != nil {
		return []finding{{Name: "libtorch", State: err.Error(), Mend: setup}}
	}
	var cudaErr error
	if want.Type == torch.DeviceCUDA {
		cudaErr = torch.LoadCUDA()
	}
	info, err := torch.Describe()
	if err != nil {
		return []finding{{Name: "libtorch", State: err.Error(), Mend: setup}}
	}
	abi := finding{Name: "ABI", OK: true,
		State: fmt.Sprintf("border %d, headers %s, C++11 ABI %v", info.ABI, info.BuildVersion, info.CXX11ABI)}
	if info.BuildVersion != info.Version {
		abi.OK, abi.Mend = false, setup
	}
	bfloat16 := "no instructions for bfloat16"
	if info.BFloat16 {
		bfloat16 = "with bfloat16"
	}
	findings := []finding{
		{Name: "libtorch", OK: true, State: info.Version + " at " + info.Path},
		abi,
		{Name: "CPU kernels", OK: true, State: fmt.Sprintf("%s, %s, %s, %d threads", info.Capability, bfloat16, info.BLAS, info.Threads)},
		cudaFinding(info, want, cudaErr),
		jitFinding(info.JIT),
	}
	openMP := finding{Name: "OpenMP", OK: len(info.OpenMP) <= 1, State: strings.Join(info.OpenMP, ", ")}
	switch len(info.OpenMP) {
	case 0:
		openMP.State = "no runtime mapped"
	case 1:
	default:
		openMP.Mend = "unset LD_PRELOAD LD_LIBRARY_PATH    (two runtimes in one process can deadlock)"
	}
	return append(findings, openMP)
}

func cudaFinding(info torch.Info, want torch.Device, cudaErr error) finding {
	f := finding{Name: "CUDA", OK: true}
	switch {
	case want.Type == torch.DeviceCUDA && cudaErr != nil:
		f.OK, f.State = false, cudaErr.Error()
		f.Mend = "nvidia-smi    (shows whether the driver sees a GPU); until then use --device cpu"
	case !info.CUDA.Built:
		f.State = "this libtorch has no CUDA part"
	case info.CUDA.Loaded:
		f.State = fmt.Sprintf("%d devices, deterministic %v, TF32 %v, cuDNN tuning %v",
			info.CUDA.Devices, info.CUDA.Deterministic, info.CUDA.TF32, info.CUDA.CuDNNTuning)
	case cudaDriver():
		f.State = "driver present; loaded when a command asks for --device cuda"
	default:
		f.State = "no NVIDIA driver on this machine; commands run on the CPU"
	}
	return f
}

// cudaDriver reports whether a driver is there without loading anything of CUDA.
func cudaDriver() bool {
	_, err := os.Stat("/proc/driver/nvidia/version")
	return err == nil
}

func jitFinding(jit torch.JITInfo) finding {
	f := finding{Name: "TorchScript", OK: true, State: "optimising executors off (they have returned wrong gradients)"}
	if jit.ProfilingExecutor || jit.ProfilingMode || jit.GraphOptimizer || jit.TensorExprFuser || jit.FuseOnCPU || jit.FuseOnGPU {
		f.OK, f.State, f.Mend = false, fmt.Sprintf("an optimiser is on: %+v", jit), "make clean build"
	}
	return f
}

func memoryFinding() finding {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return finding{Name: "memory", State: err.Error()}
	}
	total := float64(info.Totalram) * float64(info.Unit) / (1 << 30)
	return finding{Name: "memory", OK: true, State: fmt.Sprintf("%.1f GiB", total)}
}

// diskFinding looks at the folder that runs go to by default.
func diskFinding() finding {
	const enough = 2 << 30 // the demo takes far less; a run over ImageNet says itself what it needs
	var fs unix.Statfs_t
	if err := unix.Statfs(".", &fs); err != nil {
		return finding{Name: "disk", State: err.Error()}
	}
	free := fs.Bavail * uint64(fs.Bsize)
	f := finding{Name: "disk", OK: free >= enough, State: fmt.Sprintf("%.1f GiB free here", float64(free)/(1<<30))}
	if !f.OK {
		f.Mend = "df -h .    (shows the file system; or set out = \"/other/disk\" in the experiment)"
	}
	return f
}

// exporterFinding looks for the Python environment, which only `sat zoo export` and `prepare` need.
func exporterFinding() finding {
	python := run.ExporterPython(home())
	if _, err := os.Stat(python); errors.Is(err, os.ErrNotExist) {
		return finding{Name: "exporter", State: "no Python environment at " + filepath.Dir(filepath.Dir(python)), Mend: "make build"}
	}
	return finding{Name: "exporter", OK: true, State: python}
}

// oldTimmFinding looks for timm 0.6.7, which one network of the paper is exported from.
func oldTimmFinding() finding {
	dir := run.OldTimm(home())
	if _, err := os.Stat(filepath.Join(dir, "timm")); errors.Is(err, os.ErrNotExist) {
		return finding{Name: "timm 0.6.7", State: "not at " + dir, Mend: "make build"}
	}
	return finding{Name: "timm 0.6.7", OK: true, State: dir}
}
