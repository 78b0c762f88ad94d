package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"sat/internal/data"
)

// example is a command line that help or README shows.
type example struct {
	line  string
	where string
}

// notRun lists the commands shown to people that these tests do not run, and why.
var notRun = map[string]string{}

// helpExamples returns the example of every command, which each must have.
func helpExamples(t *testing.T) []example {
	t.Helper()
	var examples []example
	var walk func(prefix string, commands []*cli.Command)
	walk = func(prefix string, commands []*cli.Command) {
		for _, c := range commands {
			name := prefix + " " + c.Name
			if len(c.Subcommands) > 0 {
				walk(name, c.Subcommands)
				continue
			}
			line, ok := strings.CutPrefix(c.Description, "Example:\n  ")
			if !ok || !strings.Contains(line, name) {
				t.Errorf("%s has no example of itself: %q", name, c.Description)
				continue
			}
			line, _, _ = strings.Cut(line, "\n") // what follows explains
			examples = append(examples, example{line, name + " --help"})
		}
	}
	walk("sat", newApp(new(bytes.Buffer), new(bytes.Buffer)).Commands)
	return examples
}

// readmeCommands returns the lines of README.md's ```sh blocks.
func readmeCommands(t *testing.T) []example {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(checkout(), "README.md"))
	if os.IsNotExist(err) {
		t.Skip("there is no README.md")
	}
	must(t, err)
	var examples []example
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		for _, line := range strings.Split(strings.ReplaceAll(block[1], "\\\n", " "), "\n") {
			line, _, _ = strings.Cut(line, "  #") // a remark behind the command
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				examples = append(examples, example{strings.TrimPrefix(line, "bin/"), "README.md"})
			}
		}
	}
	return examples
}

// prepared is a folder in which every example works: the tests' networks and images, a finished run with its tables, the
// experiment files. digits_quick is the tiny experiment under that name, so that running it takes no time.
func prepared(t *testing.T) string {
	t.Helper()
	finished := tinyRun(t)
	dir := workplace(t)
	in := func(path string) string { return filepath.Join(dir, path) }
	must(t, os.CopyFS(in("experiments"), os.DirFS(filepath.Join(checkout(), "experiments"))))
	must(t, os.Remove(in("experiments/digits_quick.toml")))
	write(t, in("experiments/digits_quick.toml"), []byte(strings.Replace(tinyExperiment, `"tiny"`, `"digits_quick"`, 1)))
	must(t, os.Mkdir(in("runs"), 0o777))
	must(t, exec.Command("cp", "-a", filepath.Join(finished, "data"), in("data")).Run())
	must(t, exec.Command("cp", "-a", filepath.Join(finished, "runs/tiny"), in("runs/digits_quick")).Run())
	for from, to := range map[string]string{
		"similarity/sat.csv": "sat.csv", "similarity/pairs_undirected.csv": "pairs_undirected.csv", "analysis/tab2_clusters.csv": "tab2_clusters.csv",
		"similarity/pairs.csv": "pairs.csv", "similarity/accuracy.csv": "accuracy.csv",
		"analysis/stability_scores.csv": "stability_scores.csv",
	} {
		write(t, in(to), readFile(t, filepath.Join(finished, "runs/tiny", from)))
	}
	features := "model,base_architecture,normalization,pooling_final\n"
	sets, settings, students := "model,architecture,diversity\n", "model,architecture,lr\n", "teacher,student_top1\n"
	for i, row := range table(t, in("tab2_clusters.csv"))[1:] {
		kind, architecture := "CNN,BN,GAP", "resnet"
		if strings.HasPrefix(row[0], "mixer") {
			kind, architecture = "MLP-Mixer,LN,GAP", "mixer"
		}
		features += row[0] + "," + kind + "\n"
		sets += row[0] + "," + architecture + ",Initialization\n"
		settings += fmt.Sprintf("%s,%s,%d\n", row[0], architecture, i%2)
		if row[0] != "resnet-s0" {
			students += fmt.Sprintf("%s,%d\n", row[0], 60+i)
		}
		logits := make([]float32, 12*10)
		for k := range logits {
			logits[k] = float32(math.Sin(float64((i + 2) * (k + 1))))
		}
		must(t, data.WriteNPY(in("logits/"+row[0]+".npy"), logits, 12, 10))
	}
	write(t, in("features.csv"), []byte(features))
	write(t, in("sets.csv"), []byte(sets))
	write(t, in("settings.csv"), []byte(settings))
	write(t, in("students.csv"), []byte(students))
	must(t, data.WriteNPY(in("logit_labels.npy"), []int64{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1}, 12))
	return dir
}

// shell runs a line as a user would type it, with sat on the path.
func shell(t *testing.T, dir, line string) output {
	t.Helper()
	bin := t.TempDir()
	self, err := os.Executable()
	must(t, err)
	must(t, os.Symlink(self, filepath.Join(bin, "sat")))
	cmd := program(t.Context(), dir) // for its environment
	cmd.Env = append(cmd.Env, "PATH="+bin+":"+os.Getenv("PATH"))
	cmd.Path, cmd.Args = "/bin/bash", []string{"bash", "-c", line}
	return finish(t, cmd)
}

// TestExamples runs what --help and README.md show, each twice: as shown, and with --json --quiet. Both must succeed; the
// second prints one JSON object with a schema version on stdout and nothing but warnings on stderr.
func TestExamples(t *testing.T) {
	t.Parallel()
	needTorch(t)
	dir := prepared(t)
	examples := helpExamples(t)
	if _, err := os.Stat(filepath.Join(checkout(), "README.md")); err == nil {
		examples = append(examples, readmeCommands(t)...)
	}
	// Exporting needs many seconds, so it runs once, as JSON. What works on exported modules gets a small one instead.
	slow := regexp.MustCompile(`^sat zoo export `)
	once := regexp.MustCompile(`^sat (zoo export|synthetic) `) // the latter writes to a new folder only
	small := readFile(t, zooModule("resnet"))
	var seen []string
	for _, e := range examples {
		if slices.Contains(seen, e.line) || !strings.Contains(e.line, "sat ") {
			continue
		}
		seen = append(seen, e.line)
		t.Run(e.line, func(t *testing.T) {
			if reason := notRun[e.line]; reason != "" {
				t.Skip(reason)
			}
			if slow.MatchString(e.line) && testing.Short() {
				t.Skip("exports a network of timm, which takes many seconds")
			}
			for _, path := range []string{"modules/resnet18.pt", "runs/bench/resnet18.pt"} {
				write(t, filepath.Join(dir, path), small)
			}
			if !once.MatchString(e.line) {
				out := shell(t, dir, e.line)
				if out.code != exitDone {
					t.Fatalf("%s: exit code %d\n%s", e.where, out.code, out.stderr)
				}
				if out.stdout == "" && strings.HasPrefix(e.line, "sat ") {
					t.Errorf("%s: nothing on stdout", e.where)
				}
			}
			if !strings.HasPrefix(e.line, "sat ") {
				return // inside another command
			}
			out := shell(t, dir, e.line+" --json --quiet")
			if out.code != exitDone {
				t.Fatalf("%s, as JSON: exit code %d\n%s", e.where, out.code, out.stderr)
			}
			oneObject(t, out.stdout)
			onlyWarnings(t, out.stderr)
		})
	}
}

// oneObject checks that text is one JSON object that says its schema version, and holds nothing JSON has no number for.
func oneObject(t *testing.T, text string) {
	t.Helper()
	var object map[string]any
	d := json.NewDecoder(strings.NewReader(text))
	if err := d.Decode(&object); err != nil {
		t.Fatalf("stdout is not a JSON object: %v\n%s", err, text)
	}
	if d.More() {
		t.Errorf("more than one JSON object on stdout:\n%s", text)
	}
	if object["schema_version"] != float64(schemaVersion) {
		t.Errorf("schema_version is %v", object["schema_version"])
	}
	for key := range object {
		if key != strings.ToLower(key) {
			t.Errorf("key %q is not in lower case", key)
		}
	}
}

func onlyWarnings(t *testing.T, stderr string) {
	t.Helper()
	quoted := regexp.MustCompile(`^ +\d* +\| `) // a line of the experiment that a warning speaks of, and the marks below it
	for i, line := range strings.Split(strings.TrimRight(stderr, "\n"), "\n") {
		if line != "" && !strings.HasPrefix(line, "warning: ") && (i == 0 || !quoted.MatchString(line)) {
			t.Errorf("--quiet lets through %q", line)
		}
	}
}

// TestReadmeTargets: every make command that README.md shows is a target of the Makefile, and everything else in its sh
// blocks is a command of sat.
func TestReadmeTargets(t *testing.T) {
	makefile := string(readFile(t, filepath.Join(checkout(), "Makefile")))
	for _, e := range readmeCommands(t) {
		word, rest, _ := strings.Cut(e.line, " ")
		switch word {
		case "sat":
		case "make":
			target, _, _ := strings.Cut(rest, " ")
			if !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(target) + `:`).MatchString(makefile) {
				t.Errorf("README.md shows %q; there is no such target", e.line)
			}
		default:
			t.Errorf("README.md shows %q, which no test runs", e.line)
		}
	}
}

// TestExperimentFiles: the experiments that come with the program have no mistakes, and showing one and reading that back
// changes nothing.
func TestExperimentFiles(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(checkout(), "experiments")
	entries, err := fs.Glob(os.DirFS(folder), "*.toml")
	must(t, err)
	if len(entries) == 0 {
		t.Fatal("no experiment files")
	}
	for _, name := range entries {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			mustSat(t, dir, "config", "check", filepath.Join(folder, name))
			shown := mustSat(t, dir, "config", "show", filepath.Join(folder, name))
			write(t, filepath.Join(dir, name), []byte(shown))
			if again := mustSat(t, dir, "config", "show", name); again != shown {
				t.Errorf("showing what was shown gives another file")
			}
		})
	}
}

// TestCompletion: the scripts are what their shells can read, and bash's knows commands, subcommands and flags.
func TestCompletion(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, shellName := range []string{"bash", "zsh", "fish"} {
		script := mustSat(t, dir, "completion", shellName)
		write(t, filepath.Join(dir, shellName), []byte(script))
		t.Run(shellName, func(t *testing.T) {
			path, err := exec.LookPath(shellName)
			if err != nil {
				t.Skipf("there is no %s on this machine to read its script", shellName)
			}
			if text, err := exec.Command(path, "-n", filepath.Join(dir, shellName)).CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, text)
			}
		})
	}
	for _, c := range []struct{ typed, want string }{
		{"sat att", "attack"},
		{"sat config ch", "check"},
		{"sat zoo verify --thr", "--threads"},
		{"sat attack --eps", "--epsilon"},
		{"sat analyze clusters --lap", "--laplacian"},
	} {
		line := `source ./bash; COMP_WORDS=(` + c.typed + `); COMP_CWORD=$((${#COMP_WORDS[@]}-1)); _sat; echo "${COMPREPLY[@]}"`
		out := shell(t, dir, line)
		if strings.TrimSpace(out.stdout) != c.want {
			t.Errorf("%q is completed to %q, want %q %s", c.typed, strings.TrimSpace(out.stdout), c.want, out.stderr)
		}
	}
}
