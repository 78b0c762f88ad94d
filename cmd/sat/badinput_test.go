package main

import (
	"archive/zip"
	"bytes"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sat/internal/data"
)

// TestBadInput: each mistake gets its exit code, a message that names what is wrong and the way out, and leaves no result.
func TestBadInput(t *testing.T) {
	t.Parallel()
	needTorch(t)
	dir := workplace(t)
	in := func(name string) string { return filepath.Join(dir, name) }
	module, err := os.ReadFile(in("a.pt"))
	must(t, err)
	write(t, in("truncated.pt"), module[:len(module)/2])
	write(t, in("text.pt"), []byte("these are not the weights you are looking for"))
	writeStateDict(t, in("weights.pt"))
	altered := readFile(t, zooModule("resnet"))
	altered[len(altered)/2] ^= 1
	write(t, in("altered.pt"), altered)

	write(t, in("two-classes/val/3/ok.png"), digitPNG(t))
	write(t, in("two-classes/val/4/ok.png"), digitPNG(t))
	for class := range 10 {
		write(t, in("images/val/"+string(rune('0'+class))+"/ok.png"), digitPNG(t))
	}
	write(t, in("images/val/4/broken.png"), digitPNG(t)[:60])
	write(t, in("images/val/5/text.jpeg"), []byte("a recipe for bread"))
	write(t, in("corrupt/val/4/broken.png"), digitPNG(t)[:60])
	var photograph bytes.Buffer
	must(t, jpeg.Encode(&photograph, image.NewRGBA(image.Rect(0, 0, 60, 40)), nil))
	write(t, in("cut/whole.jpg"), photograph.Bytes())
	write(t, in("cut/broken.jpg"), photograph.Bytes()[:photograph.Len()-40])
	must(t, os.MkdirAll(in("empty"), 0o777))
	for name, spoil := range map[string]func(x []float32){
		"nan.npy":   func(x []float32) { x[3*side*side+5] = float32(math.NaN()) },
		"range.npy": func(x []float32) { x[7] = 255 },
		"below.npy": func(x []float32) { x[7] = -1e-6 },
	} {
		x := make([]float32, 2*3*side*side)
		spoil(x)
		must(t, data.WriteNPY(in(name), x, 2, 3, side, side))
	}
	must(t, data.WriteNPY(in("big.npy"), make([]float32, 2*3*24*24), 2, 3, 24, 24))
	must(t, data.WriteNPY(in("two.npy"), make([]float32, 2*3*side*side), 2, 3, side, side))
	must(t, data.WriteNPY(in("nhwc.npy"), make([]float32, 2*3*side*side), 2, side, side, 3))
	must(t, data.WriteNPY(in("bytes.npy"), make([]uint8, 2*3*side*side), 2, 3, side, side))
	must(t, data.WriteNPY(in("label10.npy"), []int64{1, 10}, 2))
	must(t, data.WriteNPY(in("negative.npy"), []int64{1, -1}, 2))
	must(t, data.WriteNPY(in("labels3.npy"), []int64{1, 2, 3}, 3))
	must(t, data.WriteNPY(in("zeros.npy"), []int64{0, 0}, 2))
	must(t, data.WriteNPY(in("floats.npy"), []float32{0, 0}, 2))
	write(t, in("cut.npy"), readFile(t, in("images.npy"))[:5000])
	write(t, in("square.csv"), []byte("model,u,v\nu,1,2\nv,3,1\n"))
	write(t, in("table.csv"), []byte("x,y\n1,2\n2,many\n"))
	write(t, in("clusters.csv"), []byte("model,cluster\nu,1\nv,0\n"))

	experiment := func(name, text string) string {
		write(t, in(name), []byte(text))
		return name
	}
	const header = "[data]\npath = \"two-classes\"\n[[model]]\nname = \"a\"\npath = \"a.pt\"\ninput_size = 16\n"
	// OUT becomes a path of the case's own, where nothing may appear.
	attack := func(args ...string) []string {
		return append([]string{"attack", "--out", "OUT.npy", "--steps", "1"}, args...)
	}
	good := []string{"--model", "a.pt", "--images", "images.npy", "--labels", "labels.npy"}
	on := func(model, images, labels string) []string {
		return attack("--model", model, "--images", images, "--labels", labels)
	}
	with := func(args ...string) []string { return append(attack(args...), good...) }
	compare := func(args ...string) []string {
		return append([]string{"compare", "--out", "OUT", "--steps", "1"}, args...)
	}
	two := []string{"--model", "b.pt", "--images", "images.npy", "--labels", "labels.npy"}
	planes := func(args ...string) []string {
		return append([]string{"boundary", "--out", "OUT", "--model", "a.pt"}, args...)
	}

	for _, c := range []struct {
		name string
		args []string
		code int
		want []string // all of these in stderr
	}{
		{"unknown command", []string{"atack"}, 2, []string{`"atack"`, `did you mean "attack"?`}},
		{"unknown subcommand", []string{"zoo", "lst"}, 2, []string{`"lst"`, "sat zoo", `did you mean "list"?`}},
		{"no subcommand", []string{"config"}, 2, []string{"sat config needs one of: check, show"}},
		{"unknown flag", attack("--modle", "a.pt"), 2, []string{"--modle", `did you mean "--model"?`}},
		{"flag before the command", []string{"--json", "doctor"}, 2, []string{"--json", "in front of the command"}},
		{"missing flags", []string{"attack", "--model", "a.pt"}, 2, []string{"needs --images"}},
		{"nowhere to write", []string{"attack", "--model", "a.pt", "--images", "images.npy", "--labels", "labels.npy"}, 2, []string{"sat attack needs --out"}},
		{"check that writes", with("--check"), 2, []string{"--out: a check writes no images"}},
		{"flag without value", []string{"attack", "--model"}, 2, []string{"--model", "needs a value"}},
		{"superfluous argument", with("more"), 2, []string{`sat attack takes no argument, got "more"`}},
		{"argument of a command without any", []string{"doctor", "now"}, 2, []string{`"now"`}},
		{"no argument", []string{"run"}, 2, []string{"sat run", "an experiment file"}},
		{"unknown word", with("--method", "pgs"), 2, []string{`--method: unknown word "pgs"`, `did you mean "pgd"?`}},
		{"step of the square attack", with("--method", "square", "--step-size", "0.1"), 2, []string{"--step-size", "means nothing with method square", "pgd"}},
		{"steps of the square attack", with("--method", "square", "--steps", "3"), 2, []string{"--steps", "autoattack"}},
		{"random start of AutoAttack", with("--method", "autoattack", "--random-start"), 2, []string{"--random-start", "pgd"}},
		{"norm of PGD", with("--norm", "L2", "--epsilon", "0.5"), 2, []string{"--norm", "method pgd"}},
		{"L2 with the default radius", with("--method", "pgd-l2"), 2, []string{"--epsilon", "8/255", "0.5"}},
		{"stream of PGD", with("--rng", "stream-compat"), 2, []string{"--rng", "autoattack"}},
		{"stream in batches", with("--method", "autoattack", "--rng", "stream-compat", "--batch", "4"), 2, []string{"--batch", "stream-compat"}},
		{"targets without the word", with("--target-labels", "labels.npy"), 2, []string{"--target label"}},
		{"the word without targets", with("--target", "label"), 2, []string{"--target-labels"}},
		{"targets of labels in compare", compare("--model", "a.pt", "--images", "images.npy", "--labels", "labels.npy", "--target", "label"), 2, []string{"--target"}},
		{"no target", with("--method", "apgd-t", "--targets", "0"), 2, []string{"targets is 0"}},
		{"batch of many", with("--batch", "many"), 2, []string{`--batch: "many" is not a whole number`}},
		{"batch of none", with("--batch", "0"), 2, []string{"--batch: 0"}},
		{"memory of words", with("--memory", "much"), 2, []string{"--memory", `"much"`, "8GiB"}},
		{"memory of the reference", with("--memory", "8GiB", "--method", "autoattack", "--rng", "stream-compat"), 2, []string{"--memory", "stream-compat"}},
		{"negative seed", with("--seed", "-1"), 2, []string{`--seed: "-1" is not a whole number from 0`}},
		{"no thread", with("--threads", "0"), 2, []string{"--threads: 0", "at least 1"}},
		{"epsilon over zero", with("--epsilon", "8/0"), 2, []string{"--epsilon", "8/0", "zero", "8/255"}},
		{"epsilon in bytes", with("--epsilon", "8"), 2, []string{"--epsilon", "8/255"}},
		{"negative epsilon", with("--epsilon", "-8/255"), 2, []string{"epsilon"}},
		{"epsilon that is no number", with("--epsilon", "small"), 2, []string{"--epsilon", "small", "8/255"}},
		{"restarts of the same start", with("--restarts", "2"), 2, []string{"restarts", "random"}},
		{"two means", with("--mean", "0.5,0.5"), 2, []string{"--mean: 2 numbers", "one per channel"}},
		{"std of zero", with("--std", "0"), 2, []string{"--std", "0"}},
		{"input size of nothing", with("--input-size", "0"), 2, []string{"--input-size", "224"}},
		{"unknown device", with("--device", "gpu"), 2, []string{"gpu", "cuda"}},
		{"same model twice", compare("--model", "a.pt", "--model", "a.pt", "--images", "images.npy", "--labels", "labels.npy"), 2,
			[]string{"a.pt is given twice"}},
		{"two models of one name", compare("--model", "a.pt", "--model", "./a.pt", "--images", "images.npy", "--labels", "labels.npy"), 2,
			[]string{"./a.pt", `"a"`, "rename"}},
		{"compare without labels", compare("--model", "a.pt", "--images", "images.npy"), 2, []string{"--labels"}},
		{"boundaries of one model", planes("--images", "images.npy", "--labels", "labels.npy"), 2, []string{"two models", "--model"}},
		{"no triplets", planes(append(slices.Clone(two), "--triplets", "0")...), 2, []string{"--triplets: 0", "at least 1"}},
		{"grid of a point", planes(append(slices.Clone(two), "--grid", "1")...), 2, []string{"grid of 1", "at least 2"}},
		{"negative range", planes(append(slices.Clone(two), "--range", "-1")...), 2, []string{"margin -1"}},
		{"space of zero", planes(append(slices.Clone(two), "--space-std", "0.2,0,0.2")...), 2, []string{"--space-std: 0"}},
		{"more pictures than planes", planes(append(slices.Clone(two), "--triplets", "1", "--pictures", "2")...), 2, []string{"--pictures: 2 of 1"}},
		{"wrong completion", []string{"completion", "tcsh"}, 2, []string{"tcsh", "bash"}},

		{"missing experiment", []string{"run", "nowhere.toml"}, 2, []string{"nowhere.toml"}},
		{"report of a missing experiment", []string{"report", "nowhere.toml"}, 2, []string{"there is no experiment file nowhere.toml"}},
		{"folder for an experiment", []string{"status", "images"}, 2, []string{"images", ".toml"}},
		{"unknown key", []string{"run", experiment("key.toml", header+"[attack]\nepslion = \"4/255\"\n")}, 2,
			[]string{"key.toml:8:", "epslion", `did you mean "epsilon"?`}},
		{"ablation of a stranger", []string{"config", "check", experiment("stranger.toml", header+"[[ablation]]\nmodels = [\"a\", \"b\"]\nattack = { steps = 3 }\n")}, 2,
			[]string{"stranger.toml:8:", `there is no model "b"`}},
		{"ablation without a pair", []string{"config", "check", experiment("alone.toml", header+"[[ablation]]\nmodels = [\"a\"]\nattack = { steps = 3 }\n")}, 2,
			[]string{"alone.toml:8:", "one model has no pair", "sources attacks a single one"}},
		{"wrong type", []string{"run", experiment("type.toml", header+"[attack]\nsteps = \"ten\"\n")}, 2, []string{"type.toml:8:", "steps", "ten"}},
		{"epsilon over zero in a file", []string{"config", "check", experiment("zero.toml", header+"[attack]\nepsilon = \"8/0\"\n")}, 2,
			[]string{"zero.toml:8:", "8/0"}},
		{"syntax error", []string{"config", "show", experiment("syntax.toml", "name = \n")}, 2, []string{"syntax.toml:1"}},
		{"unknown word in a file", []string{"config", "check", experiment("word.toml", header+"[attack]\nselect = \"lest\"\n")}, 2,
			[]string{"word.toml:8:", "lest", "last"}},

		{"missing model", on("nowhere.pt", "images.npy", "labels.npy"), 1, []string{"nowhere.pt", "no such file"}},
		{"missing images", on("a.pt", "nowhere.npy", "labels.npy"), 1, []string{"nowhere.npy", "no such file"}},
		{"missing labels", on("a.pt", "images.npy", "nowhere.npy"), 1, []string{"nowhere.npy", "no such file"}},
		{"no labels", attack("--model", "a.pt", "--images", "images.npy"), 1, []string{"images.npy", "--labels"}},
		{"missing model of several", compare("--model", "a.pt", "--model", "nowhere.pt", "--images", "images.npy", "--labels", "labels.npy"), 1,
			[]string{"nowhere.pt", "no such file"}},
		{"missing images of several", compare("--model", "a.pt", "--model", "b.pt", "--images", "nowhere.npy", "--labels", "labels.npy"), 1,
			[]string{"nowhere.npy", "no such file"}},
		{"not TorchScript", on("text.pt", "images.npy", "labels.npy"), 1, []string{"text.pt", "not a TorchScript file"}},
		{"weights without code", on("weights.pt", "images.npy", "labels.npy"), 1, []string{"weights.pt", "torch.save", "torch.jit.script"}},
		{"truncated module", on("truncated.pt", "images.npy", "labels.npy"), 1, []string{"truncated.pt", "truncated"}},
		{"flipped bit in a module", on("altered.pt", "images.npy", "labels.npy"), 1, []string{"altered.pt", "damaged"}},
		{"flipped bit, verified", []string{"zoo", "verify", "altered.pt"}, 1, []string{"altered.pt", "damaged"}},
		{"wrong input size", append(on("b.pt", "big.npy", "zeros.npy"), "--input-size", "16"), 1, []string{"16x16", "24x24", "big.npy"}},
		{"input size that the network does not take", on("b.pt", "big.npy", "zeros.npy"), 1, []string{"b.pt", "[3,3,24,24]"}},
		{"label out of range", on("a.pt", "two.npy", "label10.npy"), 1, []string{"label10.npy", "label 1", "is 10", "0 to 9"}},
		{"negative label", on("a.pt", "two.npy", "negative.npy"), 1, []string{"negative.npy", "label 1", "is -1"}},
		{"labels as floats", on("a.pt", "two.npy", "floats.npy"), 1, []string{"floats.npy", "float32", "int64"}},
		{"too many labels", on("a.pt", "two.npy", "labels3.npy"), 1, []string{"labels3.npy", "3 labels", "2 images"}},
		{"classes of a folder", attack("--model", "a.pt", "--images", "two-classes", "--input-size", "16"), 1,
			[]string{"two-classes", "2 classes", "10 outputs", "--labels"}},
		{"classes of a folder, compared", compare("--model", "a.pt", "--images", "two-classes", "--input-size", "16"), 1,
			[]string{"2 classes, but the network has 10 outputs", "class map", "--labels"}},
		{"labels beyond the classes, compared", compare("--model", "a.pt", "--images", "two.npy", "--labels", "label10.npy"), 1,
			[]string{"a has 10 classes", "labels go up to 10"}},
		{"NaN", on("a.pt", "nan.npy", "zeros.npy"), 1, []string{"nan.npy", "image 1, channel 0, row 0, column 5 is NaN"}},
		{"above 1", on("a.pt", "range.npy", "zeros.npy"), 1, []string{"range.npy", "image 0", "255", "divide by 255"}},
		{"below 0", on("a.pt", "below.npy", "zeros.npy"), 1, []string{"below.npy", "image 0", "-1e-06", "[0,1]"}},
		{"channels last", on("a.pt", "nhwc.npy", "zeros.npy"), 1, []string{"nhwc.npy", ".transpose(0, 3, 1, 2)"}},
		{"images as bytes", on("a.pt", "bytes.npy", "zeros.npy"), 1, []string{"bytes.npy", "uint8", "float32"}},
		{"truncated array", on("a.pt", "cut.npy", "labels.npy"), 1, []string{"cut.npy", "truncated"}},
		{"image for an array", on("a.pt", "images/val/3/ok.png", "labels.npy"), 1, []string{"ok.png", ".npy"}},
		{"empty folder", attack("--model", "a.pt", "--images", "empty", "--input-size", "16"), 1, []string{"empty", "no class folders"}},
		{"folder without a size", attack("--model", "a.pt", "--images", "images"), 1, []string{"a.pt", "sat.json", "--input-size"}},
		{"folder without a size, compared", compare("--model", "a.pt", "--images", "images"), 1, []string{"model a", "--input-size"}},
		{"corrupt PNG", attack("--model", "a.pt", "--images", "images", "--input-size", "16"), 1, []string{"images/val/4/broken.png", "PNG", "replace"}},
		{"corrupt PNG, compared", compare("--model", "a.pt", "--images", "images", "--input-size", "16"), 1, []string{"images/val/4/broken.png", "PNG"}},
		{"corrupt PNG, dumped", []string{"data", "dump", "--images", "images", "--size", "8", "--out", "OUT.npy"}, 1,
			[]string{"images/val/4/broken.png", "--on-bad-image skip"}},
		{"truncated JPEG without labels", compare("--model", "a.pt", "--images", "cut", "--input-size", "16", "--labels", "predicted"), 1,
			[]string{"cut/broken.jpg", "JPEG", "--on-bad-image skip"}},
		{"nothing but corrupt PNG", []string{"data", "dump", "--images", "corrupt", "--size", "8", "--out", "OUT.npy", "--on-bad-image", "skip"}, 1,
			[]string{"corrupt", "broken.png"}},
		{"matrix that is not symmetric", []string{"analyze", "clusters", "--sat", "square.csv", "--k", "2", "--out", "OUT"}, 1, []string{"square.csv", "symmetric"}},
		{"planes through one class", planes("--model", "b.pt", "--images", "two.npy", "--labels", "zeros.npy"), 1,
			[]string{"1 different labels", "three are needed"}},
		{"scores that are none", []string{"analyze", "stability", "--scores", "table.csv", "--out", "OUT"}, 1, []string{"table.csv:1", `"method"`}},
		{"text in a column", []string{"analyze", "correlate", "table.csv", "--x", "x", "--y", "y"}, 1, []string{"table.csv:3", "many"}},
		{"unknown column", []string{"analyze", "correlate", "table.csv", "--x", "x", "--y", "z"}, 1, []string{"table.csv:1", `"z"`, "x, y"}},
		{"cluster zero", []string{"analyze", "keywords", "--labels", "clusters.csv", "--features", "table.csv", "--out", "OUT"}, 1,
			[]string{"clusters.csv", "line 3", `"0"`}},
		{"report of nothing", []string{"report", "empty"}, 1, []string{"empty"}},

		{"too little memory", with("--memory", "1MiB"), 1, []string{"a", `memory = "1MiB"`, "allow more"}},
		{"too little memory, compared", append(compare(good...), "--memory", "1MiB"), 1, []string{`memory = "1MiB"`, "allow more"}},

		{"folder for a file", append(with(), "--out", "images"), 1, []string{"images", "is a folder"}},
		{"file for a folder", append(with(), "--out", "a.pt/x.npy"), 1, []string{"a.pt/x.npy", "a part of the path is a file"}},
		{"file for the folder of a comparison", append(compare(good...), "--out", "a.pt/similarity"), 1, []string{"a.pt", "not a directory"}},
		{"place that takes no file", append(with(), "--out", "/proc/x.npy"), 1, []string{"/proc/x.npy"}},
		{"place that takes no folder", append(compare(good...), "--out", "/proc/similarity"), 1, []string{"/proc/similarity"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			own := "out-" + strings.ReplaceAll(strings.TrimPrefix(t.Name(), "TestBadInput/"), "/", "-")
			args := make([]string, len(c.args))
			for i, arg := range c.args {
				args[i] = strings.Replace(arg, "OUT", own, 1)
			}
			refused(t, sat(t, dir, args...), c.code, c.want, args)
			if left := results(t, dir, own); len(left) > 0 {
				t.Errorf("the failed command left %s", strings.Join(left, ", "))
			}
		})
	}
}

// refused checks what a failed command said.
func refused(t *testing.T, out output, code int, want, args []string) {
	t.Helper()
	if out.code != code {
		t.Errorf("exit code %d, want %d", out.code, code)
	}
	for _, want := range want {
		if !strings.Contains(out.stderr, want) {
			t.Errorf("the message lacks %q", want)
		}
	}
	if out.stdout != "" {
		t.Errorf("stdout of a failed command: %q", out.stdout)
	}
	for _, trace := range []string{"goroutine ", "panic", "frame #", "Exception raised from"} {
		if strings.Contains(out.stderr, trace) {
			t.Errorf("%q reached the user", trace)
		}
	}
	if t.Failed() || testing.Verbose() {
		t.Logf("sat %q\n%s", args, out.stderr)
	}
}

// results lists the result files, and temporary ones, under the name own or below it.
func results(t *testing.T, dir, own string) []string {
	t.Helper()
	var found []string
	must(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		isResult := strings.HasSuffix(name, ".npy") || strings.HasSuffix(name, ".csv") || strings.HasSuffix(name, ".html")
		isTemporary := strings.HasPrefix(entry.Name(), ".") && entry.Name() != ".lock"
		if strings.HasPrefix(name, own) && (isResult || isTemporary) {
			found = append(found, name)
		}
		return nil
	}))
	return found
}

// TestFolderWithoutWritePermission is TestBadInput's business, but root may write anywhere.
func TestFolderWithoutWritePermission(t *testing.T) {
	t.Parallel()
	if os.Getuid() == 0 {
		t.Skip("runs as root, who may write into any folder; \"place that takes no file\" of TestBadInput stands in for it")
	}
	needTorch(t)
	dir := workplace(t)
	must(t, os.Mkdir(filepath.Join(dir, "locked"), 0o555))
	args := []string{"attack", "--model", "a.pt", "--images", "images.npy", "--labels", "labels.npy", "--steps", "1", "--out", "locked/x.npy"}
	refused(t, sat(t, dir, args...), 1, []string{"locked/x.npy", "permission denied", "chmod"}, args)
	args = []string{"compare", "--model", "a.pt", "--images", "images.npy", "--labels", "labels.npy", "--steps", "1", "--out", "locked/similarity"}
	refused(t, sat(t, dir, args...), 1, []string{"locked/similarity", "permission denied"}, args)
}

// TestUnknownNetwork needs timm to know that a name is unknown.
func TestUnknownNetwork(t *testing.T) {
	t.Parallel()
	needTorch(t)
	needExporter(t)
	dir := t.TempDir()
	args := []string{"zoo", "export", "--out", "modules", "resnt50"}
	refused(t, sat(t, dir, args...), 1, []string{`Unknown model (resnt50)`, `did you mean "resnet50"?`}, args)
	if _, err := os.Stat(filepath.Join(dir, "modules", "resnt50.pt")); err == nil {
		t.Error("a module was written")
	}
}

// TestFlagsAfterPositionals: the order of flags and arguments means nothing.
func TestFlagsAfterPositionals(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "table.csv"), []byte("u,v\n1,2\n2,3.5\n3,7\n4,7.5\n"))
	want := mustSat(t, dir, "analyze", "correlate", "--x", "u", "--y", "v", "table.csv")
	if !strings.Contains(want, `"r": 0.964485644340824`) { // 10 / sqrt(5 * 21.5)
		t.Errorf("correlate: %s", want)
	}
	for _, args := range [][]string{
		{"table.csv", "--x", "u", "--y=v"},
		{"--x", "u", "table.csv", "-y", "v"},
		{"--x=u", "--y=v", "--", "table.csv"},
	} {
		if got := mustSat(t, dir, append([]string{"analyze", "correlate"}, args...)...); got != want {
			t.Errorf("%q: %s\nwant %s", args, got, want)
		}
	}
	help := mustSat(t, dir, "analyze", "correlate", "table.csv", "--help")
	if !strings.Contains(help, "Example:") {
		t.Errorf("--help after an argument: %s", help)
	}
}

// TestNoCommonImages: two models that are never right on the same image have no similarity, which is exit code 3.
func TestNoCommonImages(t *testing.T) {
	t.Parallel()
	needTorch(t)
	dir := workplace(t)
	g := readGolden(t)
	wrong := make([]int64, len(g.Labels))
	for i, y := range g.Labels {
		wrong[i] = (y + 1) % 10
	}
	must(t, data.WriteNPY(filepath.Join(dir, "wrong.npy"), wrong, len(wrong)))
	out := sat(t, dir, "compare", "--model", "a.pt", "--model", "b.pt", "--images", "images.npy", "--labels", "wrong.npy",
		"--steps", "1", "--out", "similarity")
	if out.code != 3 {
		t.Fatalf("exit code %d, want 3\n%s", out.code, out.stderr)
	}
	if strings.TrimSpace(out.stdout) != "similarity" || !strings.Contains(out.stderr, "1 pairs have no image") {
		t.Errorf("stdout %q, stderr %s", out.stdout, out.stderr)
	}
	// The cause, here classes counted from 1, is noticed before the attack.
	for _, want := range []string{"model a is right on", "in another order than the labels", "class map"} {
		if !strings.Contains(out.stderr, want) {
			t.Errorf("stderr lacks %q:\n%s", want, out.stderr)
		}
	}
	table := string(readFile(t, filepath.Join(dir, "similarity", "pairs_undirected.csv")))
	if want := "a,b,0,0,0,,,,,empty\n"; !strings.HasSuffix(table, want) {
		t.Errorf("pairs_undirected.csv is\n%swant a last line %s", table, want)
	}
	if matrix := string(readFile(t, filepath.Join(dir, "similarity", "sat.csv"))); strings.Contains(matrix, "NaN") {
		t.Errorf("sat.csv:\n%s", matrix)
	}
}

// digitPNG is a small valid image.
func digitPNG(t *testing.T) []byte {
	t.Helper()
	m := image.NewGray(image.Rect(0, 0, side, side))
	for i := range side {
		m.SetGray(i, i, color.Gray{uint8(16 * i)})
	}
	var b strings.Builder
	must(t, png.Encode(&b, m))
	return []byte(b.String())
}

// writeStateDict writes what torch.save makes of a state dictionary, as far as a reader of TorchScript looks: a zip
// archive with pickled tensors and no code.
func writeStateDict(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	defer f.Close()
	z := zip.NewWriter(f)
	for _, name := range []string{"weights/data.pkl", "weights/version", "weights/data/0"} {
		w, err := z.Create(name)
		must(t, err)
		_, err = w.Write([]byte("3\n"))
		must(t, err)
	}
	must(t, z.Close())
}
