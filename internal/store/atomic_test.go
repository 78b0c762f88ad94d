package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sat/internal/store"
	"sat/internal/store/storetest"
)

func put(content string) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.WriteString(w, content)
		return err
	}
}

func wantFile(t *testing.T, path, want string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("%s holds %q (%v), want %q", path, got, err, want)
	}
}

func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "new", "folders", "a.csv")
	for _, content := range []string{"first", "", strings.Repeat("longer than the buffer ", 50_000)} {
		if err := store.WriteFile(path, put(content)); err != nil {
			t.Fatal(err)
		}
		wantFile(t, path, content)
	}
	storetest.NoTemps(t, dir)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm()&0o400 == 0 || info.Mode().Perm()&0o111 != 0 {
		t.Errorf("mode %v (%v), want an ordinary file's", info.Mode(), err)
	}
}

func TestWriteFileKeepsSymbolicLink(t *testing.T) {
	dir := t.TempDir()
	target, link := filepath.Join(dir, "scratch", "a"), filepath.Join(dir, "a")
	if err := errors.Join(os.Mkdir(filepath.Dir(target), 0o777), os.WriteFile(target, nil, 0o666), os.Symlink(target, link)); err != nil {
		t.Fatal(err)
	}
	if err := store.WriteFile(link, put("x")); err != nil {
		t.Fatal(err)
	}
	wantFile(t, target, "x")
	if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link became %v (%v)", info.Mode(), err)
	}
}

func TestWriteFileRefuses(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	fifo := filepath.Join(dir, "fifo")
	if err := errors.Join(os.WriteFile(file, nil, 0o666), unix.Mkfifo(fifo, 0o666)); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{
		"is a folder":               dir,
		"is the name of a folder":   filepath.Join(dir, "x") + "/",
		"not a regular file":        fifo,
		"a part of the path is a":   filepath.Join(file, "x"),
		"no file name given":        "",
		"(make the folder writable": "/proc/1/x",
	} {
		t.Run(name, func(t *testing.T) {
			for _, err := range []error{store.WriteFile(path, put("x")), store.CheckWritable(path)} {
				switch {
				case err == nil:
					t.Errorf("%q was accepted", path)
				case strings.HasPrefix(path, "/proc"):
					// What the system answers differs; that nothing is written does not.
				case !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), path):
					t.Errorf("error is %q, want it to name %q and say %q", err, path, name)
				}
			}
		})
	}
}

func TestCopyFile(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "a"), filepath.Join(dir, "sub", "b")
	content := strings.Repeat("longer than the buffer ", 50_000)
	if err := os.WriteFile(from, []byte(content), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := store.CopyFile(to, from); err != nil {
		t.Fatal(err)
	}
	wantFile(t, to, content)
	if err := store.CopyFile(to, filepath.Join(dir, "missing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing source: %v", err)
	}
	wantFile(t, to, content)
}

func TestCheckWritableLeavesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "a")
	if err := store.CheckWritable(path); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 0 {
		t.Errorf("left %v (%v)", entries, err)
	}
}

// TestWriteFileEveryFailure: whatever fails, the old content or nothing is there, never half of the new.
func TestWriteFileEveryFailure(t *testing.T) {
	content := strings.Repeat("0123456789abcdef", 50_000) // several writes of the buffer
	for name, wayOut := range map[error]string{
		unix.ENOSPC: "free some space",
		unix.EDQUOT: "quota",
		unix.EROFS:  "read-only",
		unix.EACCES: "make the folder writable",
		unix.EIO:    "input/output error",
	} {
		for _, before := range []string{"", "old content"} {
			t.Run(fmt.Sprintf("%v/before=%q", name, before), func(t *testing.T) {
				storetest.EveryFailure(t,
					func() string {
						dir := t.TempDir()
						if before != "" {
							if err := os.WriteFile(filepath.Join(dir, "a"), []byte(before), 0o666); err != nil {
								t.Fatal(err)
							}
						}
						return dir
					},
					name,
					func(dir string) error { return store.WriteFile(filepath.Join(dir, "a"), put(content)) },
					func(t *testing.T, dir string, err error) {
						path := filepath.Join(dir, "a")
						if !errors.Is(err, name) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), wayOut) {
							t.Errorf("error is %q, want it to name %s and say %q", err, path, wayOut)
						}
						if got, err := os.ReadFile(path); err == nil && (before == "" || string(got) != before) {
							t.Errorf("a file of %d bytes has the final name", len(got))
						}
						storetest.NoTemps(t, dir)
					})
			})
		}
	}
}

func TestWriteFileErrorOfTheCaller(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	own := errors.New("image 7 holds NaN")
	err := store.WriteFile(path, func(w io.Writer) error {
		io.WriteString(w, "half")
		return own
	})
	if !errors.Is(err, own) || !strings.Contains(err.Error(), path) {
		t.Errorf("error is %v", err)
	}
	func() {
		defer func() { recover() }()
		store.WriteFile(path, func(io.Writer) error { panic("bug") })
	}()
	storetest.NoTemps(t, dir)
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s exists (%v)", path, err)
	}
}

// A writer that ignores errors does not make a truncated file look whole.
func TestWriteFileCallerIgnoresErrors(t *testing.T) {
	dir := t.TempDir()
	storetest.Fail(t, dir, storetest.Write, 0, unix.ENOSPC)
	err := store.WriteFile(filepath.Join(dir, "a"), func(w io.Writer) error {
		for range 100_000 {
			w.Write([]byte("ignored"))
		}
		return nil
	})
	if !errors.Is(err, unix.ENOSPC) {
		t.Errorf("error is %v", err)
	}
}

const childEnv = "SAT_STORE_TEST_CHILD"

// TestMain lets a test start this binary as another process.
func TestMain(m *testing.M) {
	switch arg := os.Getenv(childEnv); {
	case strings.HasPrefix(arg, "write:"):
		err := store.WriteFile(strings.TrimPrefix(arg, "write:"), func(w io.Writer) error {
			io.WriteString(w, "half")
			fmt.Println("writing")
			time.Sleep(time.Minute)
			return nil
		})
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	case strings.HasPrefix(arg, "lock:"):
		if _, err := store.Lock(strings.TrimPrefix(arg, "lock:")); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("locked")
		time.Sleep(time.Minute)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child starts this binary with an instruction, and returns once it has printed its first line.
func child(t *testing.T, instruction string) (cmd *exec.Cmd, line string) {
	t.Helper()
	cmd = exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+instruction)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	buffer := make([]byte, 4096)
	n, _ := out.Read(buffer)
	return cmd, strings.TrimSpace(string(buffer[:n]))
}

func TestSweep(t *testing.T) {
	dir := t.TempDir()
	if n, err := store.Sweep(filepath.Join(dir, "missing")); n != 0 || err != nil {
		t.Errorf("missing folder: %d, %v", n, err)
	}
	path := filepath.Join(dir, "sub", "a.adv")
	bystanders := []string{".hidden", ".a.tmp-xyz", "a.tmp-0123456789ab", ".tmp-0123456789ab"}
	for _, name := range bystanders {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	writer, _ := child(t, "write:"+path)
	if n, err := store.Sweep(dir); n != 0 || err != nil {
		t.Errorf("while the writer lives: %d removed, %v", n, err)
	}
	writer.Process.Kill()
	writer.Wait()
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a killed writer left %s", path)
	}
	if n, err := store.Sweep(dir); n != 1 || err != nil {
		t.Errorf("after the writer was killed: %d removed, %v", n, err)
	}
	storetest.NoTemps(t, dir)
	for _, name := range bystanders {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
}

// TestSweepAgainstWriters: a sweeper running all the time never takes a file from a living writer.
func TestSweepAgainstWriters(t *testing.T) {
	dir := t.TempDir()
	stop, swept := make(chan struct{}), make(chan error)
	go func() {
		for {
			select {
			case <-stop:
				swept <- nil
				return
			default:
				if _, err := store.Sweep(dir); err != nil {
					swept <- err
					return
				}
			}
		}
	}()
	want := bytes.Repeat([]byte("x"), 1000)
	for i := range 200 {
		path := filepath.Join(dir, fmt.Sprint(i%7))
		if err := store.WriteBytes(path, want); err != nil {
			t.Fatal(err)
		}
		wantFile(t, path, string(want))
	}
	close(stop)
	if err := <-swept; err != nil {
		t.Error(err)
	}
}
