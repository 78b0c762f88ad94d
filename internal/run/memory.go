package run

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
)

// memoryMeter measures the resident memory of this process, as Linux counts it.
type memoryMeter struct {
	mu   sync.Mutex
	peak int64 // before the last reset
}

// processStatus returns a line of /proc/self/status in bytes: VmRSS is what is resident now, VmHWM the most since the start
// or the last reset.
func processStatus(field string) (int64, error) { return procField("/proc/self/status", field) }

// availableMemory is what programs can still take on this machine without swapping.
func availableMemory() (int64, error) { return procField("/proc/meminfo", "MemAvailable") }

// procField returns a line "FIELD: N kB" of a file of /proc in bytes.
func procField(path, field string) (int64, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return 0, fmt.Errorf("measure memory: %w", err)
	}
	for lines := bufio.NewScanner(bytes.NewReader(content)); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), field+":"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err != nil {
				return 0, fmt.Errorf("measure memory: %s is %q", field, rest)
			}
			return kib << 10, nil
		}
	}
	return 0, fmt.Errorf("measure memory: %s has no %s", path, field)
}

// during returns the most that was resident while f ran.
func (m *memoryMeter) during(f func() error) (int64, error) {
	if _, err := m.highest(); err != nil { // before it is forgotten
		return 0, err
	}
	const resetPeak = "5" // proc(5), clear_refs
	if err := os.WriteFile("/proc/self/clear_refs", []byte(resetPeak), 0); err != nil {
		return 0, fmt.Errorf("measure memory: %w; give batch instead of memory", err)
	}
	if err := f(); err != nil {
		return 0, err
	}
	now, err := processStatus("VmHWM")
	return now, err
}

// highest returns the most that was resident since the process started.
func (m *memoryMeter) highest() (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now, err := processStatus("VmHWM")
	m.peak = max(m.peak, now)
	return m.peak, err
}
