package zoo_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sat/internal/testkit"
	"sat/torch"
	"sat/zoo"
)

// exporter is the one that set-up makes; t is skipped without it.
func exporter(t *testing.T) zoo.Exporter {
	t.Helper()
	root := testkit.Root(t)
	x := zoo.Exporter{Python: filepath.Join(root, "third_party", "env", "bin", "python"), Script: filepath.Join(root, "scripts", "export.py"),
		OldTimm: filepath.Join(root, "third_party", "timm067")}
	for _, needed := range []string{x.Python, filepath.Join(x.OldTimm, "timm")} {
		if _, err := os.Stat(needed); err != nil {
			t.Skipf("needs %s (make build makes it)", needed)
		}
	}
	return x
}

// python runs a script in the exporter's environment.
func python(t *testing.T, x zoo.Exporter, code string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), x.Python, append([]string{"-W", "ignore", "-c", code}, args...)...)
	cmd.Env = append(os.Environ(), "PYTHONPATH="+filepath.Dir(x.Script))
	output, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	return string(output)
}

// TestEventIsOneWrite: several exporting processes share one pipe, so a line that goes out in parts may have another's in
// its middle, whatever Python's buffering.
func TestEventIsOneWrite(t *testing.T) {
	const code = `
import sys
import export
written, stdout = [], sys.stdout
class Recorder:
    write, flush = written.append, stdout.flush
sys.stdout = Recorder()
export.emit("error", "a", message="m" * 5000)
sys.stdout = stdout
print(len(written), len(written[0]) < 4096, written[0].endswith("}\n"))
`
	if got := strings.TrimSpace(python(t, exporter(t), code)); got != "1 True True" {
		t.Errorf("writes, fits into a pipe's atomic write, ends the line: got %s, want 1 True True", got)
	}
}

// Small variants of networks with published weights: the file of a ResNet, and that of a PiT, whose names timm's filter
// changes. The checkpoints are random: what is compared is that each number arrives.
var (
	smallResNet = zoo.Job{Name: "resnet", Model: "resnet18.a1_in1k", WeightFile: "resnet18_old-0a1b2c3d.pth", InputSize: []int{3, 32, 32},
		Weights: zoo.WeightsPretrained, Kwargs: map[string]any{"channels": []int{4, 4, 4, 4}, "layers": []int{1, 1, 1, 1}}}
	smallViT = zoo.Job{Name: "vit", Model: "deit_tiny_patch16_224.fb_in1k", InputSize: []int{3, 32, 32}, Weights: zoo.WeightsPretrained,
		Kwargs: map[string]any{"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2}}
)

const makeCheckpoints = `
import os, sys
import torch, timm
from safetensors.torch import save_file
folder, hub, torchhome = sys.argv[1:]
checkpoints = os.path.join(torchhome, "hub", "checkpoints")
os.makedirs(checkpoints)

def state(name, **kwargs):
    net = timm.create_model(name, **kwargs)
    torch.manual_seed(1)
    return {k: torch.rand(t.shape) * 0.1 + 0.01 if t.is_floating_point() else t for k, t in net.state_dict().items()}

small = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2}
resnet, vit = state("resnet18", channels=(4, 4, 4, 4), layers=(1, 1, 1, 1)), state("deit_tiny_patch16_224", **small)
# A folder of checkpoints: a file called as in timm 0.6.7, in the layout of a training run, and one called after the tag.
torch.save({"state_dict": {"module." + k: v for k, v in resnet.items()}, "epoch": 3}, os.path.join(folder, "resnet18_old-0a1b2c3d.pth"))
save_file(vit, os.path.join(folder, "deit_tiny_patch16_224.fb_in1k.safetensors"))
# The two caches of timm.
torch.save(resnet, os.path.join(checkpoints, "resnet18_a1_0-d63eafa0.pth"))
cached = os.path.join(hub, "models--timm--deit_tiny_patch16_224.fb_in1k")
os.makedirs(os.path.join(cached, "snapshots", "0" * 40))
os.makedirs(os.path.join(cached, "refs"))
with open(os.path.join(cached, "refs", "main"), "w") as f:
    f.write("0" * 40)
save_file(vit, os.path.join(cached, "snapshots", "0" * 40, "model.safetensors"))
# What is not the right checkpoint.
def put(case, content):
    path = os.path.join(folder, case, "deit_tiny_patch16_224.fb_in1k.pth")
    os.makedirs(os.path.dirname(path))
    if isinstance(content, str):
        with open(path, "w") as f:
            f.write(content)
    else:
        torch.save(content, path)
    return path
put("keys", resnet)
put("shapes", state("deit_tiny_patch16_224", **{**small, "embed_dim": 32}))
put("position", {**vit, "pos_embed": torch.zeros(1, 50, 16)})
put("more", {**vit, "blocks.1.norm1.weight": torch.zeros(16)})
put("nan", {**vit, "blocks.0.mlp.fc1.bias": torch.full((64,), float("nan"))})
put("text", "<html>404</html>")
path = put("short", vit)
os.truncate(path, os.path.getsize(path) // 2)
`

// compareWeights checks a module file against the checkpoint it was made from.
const compareWeights = `
import sys
import torch
from safetensors.torch import load_file
module = torch.jit.load(sys.argv[1]).state_dict()
path = sys.argv[2]
state = load_file(path) if path.endswith(".safetensors") else torch.load(path)
state = {k.removeprefix("module."): v for k, v in state.get("state_dict", state).items()}
assert module.keys() == state.keys(), module.keys() ^ state.keys()
for name, t in state.items():
    assert torch.equal(module[name], t), name
print(len(state), "tensors equal")
`

func TestPretrained(t *testing.T) {
	testkit.NoLeaks(t)
	x := exporter(t)
	folder, hub, home := t.TempDir(), t.TempDir(), t.TempDir()
	python(t, x, makeCheckpoints, folder, hub, home)
	t.Setenv("TORCH_HOME", home)
	t.Setenv("HF_HUB_CACHE", hub)
	var notes []string
	from := func(j zoo.Job, name, checkpoints string) zoo.Job {
		j.Name, j.Checkpoints = name, checkpoints
		return j
	}
	export := func(jobs ...zoo.Job) (out string, err error) {
		out = t.TempDir()
		return out, x.Export(t.Context(), jobs, out, func(e zoo.ExportEvent) {
			if e.Event == "note" {
				notes = append(notes, e.Name+": "+e.Message)
			}
		})
	}

	out, err := export(from(smallResNet, "resnet", folder), from(smallViT, "vit", folder), from(smallResNet, "resnet-cache", ""),
		from(smallViT, "vit-cache", ""))
	if err != nil {
		t.Fatal(err)
	}
	snapshot := filepath.Join(hub, "models--timm--deit_tiny_patch16_224.fb_in1k", "snapshots", strings.Repeat("0", 40))
	for name, checkpoint := range map[string]string{
		"resnet":       filepath.Join(folder, "resnet18_old-0a1b2c3d.pth"),
		"vit":          filepath.Join(folder, "deit_tiny_patch16_224.fb_in1k.safetensors"),
		"resnet-cache": filepath.Join(home, "hub", "checkpoints", "resnet18_a1_0-d63eafa0.pth"),
		"vit-cache":    filepath.Join(snapshot, "model.safetensors"),
	} {
		python(t, x, compareWeights, filepath.Join(out, name+".pt"), checkpoint)
	}
	if len(notes) != 2 || !strings.Contains(notes[0], "resnet18_old-0a1b2c3d.pth begins with") {
		t.Errorf("files that are not what their names say: notes %q", notes)
	}
	m, err := zoo.ReadManifest(filepath.Join(out, "resnet.pt"))
	want := zoo.Weights{Source: "pretrained", Tag: "resnet18.a1_in1k", File: "resnet18_old-0a1b2c3d.pth"}
	if err != nil || m.Weights != want {
		t.Errorf("%+v, %v; want %+v", m.Weights, err, want)
	}

	cases := []struct {
		job   zoo.Job
		words []string
	}{
		{from(smallResNet, "no-folder", filepath.Join(folder, "none")), []string{"resnet18_old-0a1b2c3d.pth", folder, "https://"}},
		{from(zoo.Job{Model: "convnext_tiny.fb_in1k", Weights: zoo.WeightsPretrained}, "no-cache", ""),
			[]string{"convnext_tiny_1k_224_ema.pth", home, "https://", "name a folder"}},
		{from(smallViT, "keys", filepath.Join(folder, "keys")), []string{"it has no tensor cls_token"}},
		{from(smallViT, "shapes", filepath.Join(folder, "shapes")),
			[]string{"tensor cls_token is [1, 1, 32] in the file and [1, 1, 16] in the network"}},
		{from(smallViT, "position", filepath.Join(folder, "position")),
			[]string{"tensor pos_embed is [1, 50, 16] in the file and [1, 17, 16] in the network"}},
		{from(smallViT, "more", filepath.Join(folder, "more")), []string{"the network has no tensor blocks.1.norm1.weight"}},
		{from(smallViT, "nan", filepath.Join(folder, "nan")), []string{"blocks.0.mlp.fc1.bias", "not finite"}},
		{from(smallViT, "text", filepath.Join(folder, "text")), []string{"it is not a file of PyTorch"}},
		{from(smallViT, "short", filepath.Join(folder, "short")), []string{"cannot be read, is it complete?"}},
	}
	var jobs []zoo.Job
	for _, c := range cases {
		jobs = append(jobs, c.job)
	}
	out, err = export(jobs...)
	if err == nil {
		t.Fatal("wrong checkpoints are accepted")
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != len(cases) {
		t.Fatalf("%d lines for %d failures:\n%v", len(lines), len(cases), err)
	}
	for i, c := range cases {
		words := append(c.words, "export "+c.job.Name+": ")
		if c.job.Checkpoints != "" {
			words = append(words, c.job.Checkpoints) // the file is named
		}
		for _, word := range words {
			if !strings.Contains(lines[i], word) {
				t.Errorf("%s: no %q in\n%s", c.job.Name, word, lines[i])
			}
		}
	}
	if left, _ := os.ReadDir(out); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}

	// The network of timm 0.6.7 looks in the same places.
	xception, err := zoo.Lookup("gluon_xception65")
	if err != nil {
		t.Fatal(err)
	}
	old := xception.Job(0)
	old.Weights = zoo.WeightsPretrained
	_, err = export(old)
	wantError(t, err, "gluon_xception-7015a15c.pth", home, "https://")
}

// What random weights are made of: the same seed gives the same file, another seed another; unlike timm's own, every image
// has a gradient; and only they are recorded as such.
func TestNonDegenerate(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	x := exporter(t)
	// Gains of zero at the end of each residual block and a head of zero: as timm draws it, nothing can be attacked.
	job := func(name, weights string, seed uint64) zoo.Job {
		return zoo.Job{Name: name, Model: "resnet18", NumClasses: 10, InputSize: []int{3, 32, 32}, Seed: seed, Weights: weights,
			Kwargs: map[string]any{"channels": []int{8, 8, 8, 8}, "layers": []int{1, 1, 1, 1}, "zero_init_last": true}}
	}
	again := job("a", zoo.WeightsNonDegenerate, 1)
	out, other := t.TempDir(), t.TempDir()
	if err := x.Export(t.Context(), []zoo.Job{again, job("b", zoo.WeightsNonDegenerate, 2), job("c", zoo.WeightsRandom, 1)}, out, nil); err != nil {
		t.Fatal(err)
	}
	if err := x.Export(t.Context(), []zoo.Job{again}, other, nil); err != nil {
		t.Fatal(err)
	}
	read := func(dir, name string) *zoo.Manifest {
		t.Helper()
		m, err := zoo.ReadManifest(filepath.Join(dir, name+".pt"))
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	a, b, c := read(out, "a"), read(out, "b"), read(out, "c")
	if a.WeightsSHA256 != read(other, "a").WeightsSHA256 || a.WeightsSHA256 == b.WeightsSHA256 {
		t.Error("weights do not depend on the seed alone")
	}
	if want := (zoo.Weights{Source: "random, non-degenerate", Seed: 1}); a.Weights != want || c.Weights.Source != "random" ||
		!a.Weights.Random() || !c.Weights.Random() {
		t.Errorf("recorded as %+v and %+v", a.Weights, c.Weights)
	}
	zeros := func(name string) (n int) {
		t.Helper()
		err := w.Do(t.Context(), func(s *torch.Scope) error {
			module, _, err := zoo.OpenModule(t.Context(), s, filepath.Join(out, name+".pt"), torch.CPU)
			if err != nil {
				return err
			}
			defer module.Close()
			for _, info := range module.Tensors() {
				if !strings.HasSuffix(info.Name, "bn2.weight") {
					continue
				}
				values, err := module.Get(s, info.Name).Float32s()
				if err != nil {
					return err
				}
				for _, v := range values {
					if v == 0 {
						n++
					}
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if got := zeros("c"); got != 32 {
		t.Errorf("timm starts %d gains at zero, not 32: the test tests nothing", got)
	}
	if got := zeros("a"); got != 0 {
		t.Errorf("%d gains are zero", got)
	}
	model := load(t, filepath.Join(out, "a.pt"), zoo.LoadOptions{Worker: w})
	if _, err := model.LossGrad(t.Context(), images(2, 32, 32), []int64{0, 1}, nil, 0); err != nil {
		t.Error(err)
	}
}

// In timm 0.6.7: networks with gains and offsets unlike those that timm starts with, what they compute, and their
// checkpoints. The names of a PoolFormer's tensors are others in timm 1.0.31, whose own filter translates them.
const oldNetworks = `
import os, sys
folder, old = sys.argv[1:]
sys.path.insert(0, old)
import torch, timm
assert timm.__version__ == "0.6.7", timm.__version__
torch.set_num_threads(1)
torch.manual_seed(0)
for name, size in (("dpn107", 64), ("poolformer_m48", 64)):
    net = timm.create_model(name).eval()
    with torch.no_grad():
        for p in net.parameters():
            if p.ndim < 2:  # gains, layer scales, offsets
                p.add_(torch.rand(p.shape) * 0.2)
        x = torch.rand(2, 3, size, size)
        torch.save({"x": x, "logits": net(x)}, os.path.join(folder, name + ".expected"))
        torch.save(net.state_dict(), os.path.join(folder, name + ".old.pth"))
`

// In the exporter's environment: the same weights, read as the exporter reads them.
const newNetworks = `
import os, sys
folder, = sys.argv[1:]
import torch, timm
from satexport import build, pretrained
torch.set_num_threads(1)
for name, tag in (("dpn107", "dpn107.mx_in1k"), ("poolformer_m48", "poolformer_m48.sail_in1k")):
    job = {"name": name, "model": tag, "checkpoints": folder, "weight_file": name + ".old.pth"}
    net, _ = pretrained.load(job, build.constructor(job), print)
    expected = torch.load(os.path.join(folder, name + ".expected"))
    differences = []
    for restored in (False, True):
        if restored:
            build.restore(job, net, timm.__version__)
        with torch.no_grad():
            differences.append((net.eval()(expected["x"]) - expected["logits"]).abs().max().item())
    print(name, *differences)
`

// What timm 1.0.31 computes otherwise than timm 0.6.7 with the same weights, the exporter restores.
func TestSameFunctionAsOldTimm(t *testing.T) {
	if testing.Short() {
		t.Skip("builds two large networks in two versions of timm")
	}
	x := exporter(t)
	folder := t.TempDir()
	python(t, x, oldNetworks, folder, x.OldTimm)
	output := python(t, x, newNetworks, folder)
	missing := map[string]bool{"dpn107": true, "poolformer_m48": true}
	for line := range strings.Lines(output) {
		var name string
		var before, after float64
		if _, err := fmt.Sscan(line, &name, &before, &after); err != nil || !missing[name] {
			t.Fatalf("%q: %v", line, err)
		}
		delete(missing, name)
		if after != 0 {
			t.Errorf("%s: logits differ by %g from those of timm 0.6.7", name, after)
		}
		if before < 1e-5 {
			t.Errorf("%s: without the restoration, the logits differ by no more than %g: the test tests nothing", name, before)
		}
	}
	if len(missing) > 0 {
		t.Errorf("not compared: %v", missing)
	}
}
