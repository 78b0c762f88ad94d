package torch_test

import (
	"bytes"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sat/internal/testkit"
	"sat/torch"
)

func TestLoadRefusesWhatIsNoModule(t *testing.T) {
	testkit.NoLeaks(t)
	testkit.Torch(t)
	whole, err := os.ReadFile(file("conv.pt"))
	if err != nil {
		t.Fatal(err)
	}
	// The bytes of a weight, not of the zip structure around it: only the checksum can tell.
	flipped := bytes.Clone(whole)
	record := bytes.Index(flipped, []byte("conv/data/0"))
	flipped[record+len("conv/data/0")+4] ^= 1
	folder := t.TempDir()
	for name, c := range map[string]struct {
		content []byte
		want    string
	}{
		"empty":       {nil, "not a TorchScript file"},
		"text":        {[]byte("PKdefinitely not a network"), "not a TorchScript file"},
		"truncated":   {whole[:len(whole)/2], "truncated or damaged"},
		"no end":      {whole[:len(whole)-30], "truncated or damaged"},
		"flipped bit": {flipped, "data/0 is damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(folder, name+".pt")
			if err := os.WriteFile(path, c.content, 0o644); err != nil {
				t.Fatal(err)
			}
			_, _, err := torch.LoadModule(path, torch.CPU)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("got %v, want an error with %q and the path", err, c.want)
			}
		})
	}
	_, _, err = torch.LoadModule(file("weights.pt"), torch.CPU)
	if err == nil || !strings.Contains(err.Error(), "torch.save") {
		t.Errorf("state dictionary: %v", err)
	}
	if _, _, err := torch.LoadModule("no/such.pt", torch.CPU); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v, want ErrNotExist", err)
	}
	if _, _, err := torch.LoadModule(folder, torch.CPU); err == nil {
		t.Error("loaded a folder")
	}
}

func TestWrongInputs(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	m := load(t, "conv.pt")
	mean, std := []float32{0, 0, 0}, []float32{1, 1, 1}
	labels := func(s *torch.Scope, v ...int64) torch.Tensor { return s.FromInt64(v, len(v)) }
	for name, c := range map[string]struct {
		f    func(s *torch.Scope)
		want string
	}{
		"channels": {func(s *torch.Scope) { m.Forward(s, s.Ones(2, 1, 12, 12), nil, nil) }, "forward conv.pt [2,1,12,12]"},
		"channels of the normalisation": {
			func(s *torch.Scope) { m.Forward(s, s.Ones(2, 1, 12, 12), mean, std) }, "[N,3,H,W]",
		},
		"dimensions": {func(s *torch.Scope) { m.Forward(s, s.Ones(12, 12), nil, nil) }, "[12,12]"},
		"integers": {
			func(s *torch.Scope) { m.Forward(s, s.FromInt64(make([]int64, 432), 1, 3, 12, 12), nil, nil) }, "floating",
		},
		"too few labels": {
			func(s *torch.Scope) {
				m.InputGrad(s, s.Ones(2, 3, 12, 12), labels(s, 1), torch.GradOptions{})
			}, "labels are not [N]",
		},
		"label too large": {
			func(s *torch.Scope) {
				m.InputGrad(s, s.Ones(2, 3, 12, 12), labels(s, 1, 5), torch.GradOptions{})
			}, "label 5 lies outside of 5 classes",
		},
		// libtorch would skip this one without a word.
		"label -100": {
			func(s *torch.Scope) {
				m.InputGrad(s, s.Ones(2, 3, 12, 12), labels(s, 1, -100), torch.GradOptions{})
			}, "label -100",
		},
		"labels of another type": {
			func(s *torch.Scope) {
				m.InputGrad(s, s.Ones(1, 3, 12, 12), s.Ones(1), torch.GradOptions{})
			}, "not int64",
		},
		"deviation 0": {
			func(s *torch.Scope) { m.Forward(s, s.Ones(1, 3, 12, 12), mean, []float32{1, 0, 1}) }, "not positive",
		},
		"mean without deviation": {
			func(s *torch.Scope) { m.Forward(s, s.Ones(1, 3, 12, 12), mean, nil) }, "3 means",
		},
		"set shape": {
			func(s *torch.Scope) { _ = m.Set(s, "head.bias", s.Ones(1)) }, "set head.bias conv.pt [1]: the shapes differ",
		},
		"set name":    {func(s *torch.Scope) { _ = m.Set(s, "nobody", s.Ones(1)) }, "nobody"},
		"get name":    {func(s *torch.Scope) { m.Get(s, "nobody") }, "nobody"},
		"no gradient": {func(s *torch.Scope) { m.GradOf(s, "head.bias") }, "no gradient"},
		"backward in eval mode": {
			func(s *torch.Scope) {
				_, _, _ = m.Backward(s, s.Ones(1, 3, 12, 12), torch.Target{Labels: labels(s, 1)}, torch.BackwardOptions{})
			}, "eval mode",
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := w.Do(t.Context(), func(s *torch.Scope) error { c.f(s); return nil })
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("error of several lines: %v", err)
			}
		})
	}
	if err := m.To(torch.CPU, torch.Int64); err == nil {
		t.Error("converted to int64")
	}
	do(t, w, func(s *torch.Scope) error { // and the module still works
		m.Forward(s, s.Ones(1, 3, 12, 12), nil, nil)
		return nil
	})
}

func TestModeIsKept(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	g := loadGolden(t)
	m := load(t, "conv.pt")
	if m.Training() {
		t.Error("loaded in train mode")
	}
	before := tensors(t, w, m)
	do(t, w, func(s *torch.Scope) error {
		m.Forward(s, s.FromFloat32(g.X, g.XShape...), nil, nil)
		return nil
	})
	if after := tensors(t, w, m); !slices.Equal(before["bn1.running_mean"], after["bn1.running_mean"]) {
		t.Error("a forward pass in eval mode changed the batch statistics")
	}
	if err := m.SetTraining(true); err != nil {
		t.Fatal(err)
	}
	do(t, w, func(s *torch.Scope) error {
		m.Forward(s, s.FromFloat32(g.X, g.XShape...), nil, nil)
		return nil
	})
	after := tensors(t, w, m)
	if slices.Equal(before["bn1.running_mean"], after["bn1.running_mean"]) {
		t.Error("a forward pass in train mode left the batch statistics alone")
	}
	if got := after["bn1.num_batches_tracked"][0] - before["bn1.num_batches_tracked"][0]; got != 1 {
		t.Errorf("%v batches tracked, want 1", got)
	}
	// Without SetRequiresGrad there is nothing to collect.
	err := w.Do(t.Context(), func(s *torch.Scope) error {
		_, _, err := m.Backward(s, s.FromFloat32(g.X, g.XShape...), torch.Target{Labels: s.FromInt64(g.Y, 3)},
			torch.BackwardOptions{})
		return err
	})
	if err == nil || !strings.Contains(err.Error(), "do not require gradients") {
		t.Errorf("backward: %v", err)
	}
}

func TestTracedNetworkIsNotTrained(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	g := loadGolden(t)
	m := load(t, "traced.pt")
	do(t, w, func(s *torch.Scope) error { // attacks may use it
		x, y := s.FromFloat32(g.X, g.XShape...), s.FromInt64(g.Y, len(g.Y))
		grad, _, _ := m.InputGrad(s, x, y, torch.GradOptions{Mean: g.Mean, Std: g.Std})
		near(t, "gradient", floats(t, grad), g.Conv.Float32.Grad, tolFloat32)
		return nil
	})
	if err := m.SetTraining(true); err == nil || !strings.Contains(err.Error(), "traced") {
		t.Errorf("train mode of a traced network: %v", err)
	}
	if err := m.SetTraining(false); err != nil {
		t.Error(err)
	}
	// A copy saved by this program has lost the record that torch.jit.trace left; the graph still tells.
	path := filepath.Join(t.TempDir(), "copy.pt")
	if err := m.Save(path, nil); err != nil {
		t.Fatal(err)
	}
	copied, _, err := torch.LoadModule(path, torch.CPU)
	if err != nil {
		t.Fatal(err)
	}
	defer copied.Close()
	if err := copied.SetTraining(true); err == nil || !strings.Contains(err.Error(), "traced") {
		t.Errorf("train mode of a copy of a traced network: %v", err)
	}
}

func TestSaveAndLoad(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	names, err := torch.ExtraFiles(file("conv.pt"))
	slices.Sort(names)
	if err != nil || !slices.Equal(names, []string{"note.txt", "sat.json"}) {
		t.Errorf("extra files %v %v", names, err)
	}
	if note, err := torch.ReadExtra(file("conv.pt"), "note.txt"); err != nil || string(note) != "second extra file" {
		t.Errorf("note.txt: %q %v", note, err)
	}
	if _, err := torch.ReadExtra(file("conv.pt"), "none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent extra file: %v", err)
	}
	m, extra, err := torch.LoadModule(file("conv.pt"), torch.CPU, "sat.json", "none")
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if len(extra) != 1 || string(extra["sat.json"]) != `{"name": "conv"}` {
		t.Errorf("extra files %q", extra)
	}
	do(t, w, func(s *torch.Scope) error {
		return m.Set(s, "head.bias", s.FromFloat64([]float64{1, 2, 3, 4, 5}, 5)) // converted to float32
	})
	want := tensors(t, w, m)
	if !slices.Equal(want["head.bias"], []float64{1, 2, 3, 4, 5}) {
		t.Errorf("head.bias is %v after set", want["head.bias"])
	}

	folder := t.TempDir()
	files := map[string][]byte{"sat.json": []byte("{}"), "empty": nil, "binary": {0, 1, 2, 0}}
	first, second := filepath.Join(folder, "first.pt"), filepath.Join(folder, "other name.pt")
	if err := m.Save(first, files); err != nil {
		t.Fatal(err)
	}
	if err := m.SetRequiresGrad(true); err != nil { // not part of the file
		t.Fatal(err)
	}
	loaded, extra, err := torch.LoadModule(first, torch.CPU, "sat.json", "empty", "binary")
	if err != nil {
		t.Fatal(err)
	}
	defer loaded.Close()
	for name, content := range files {
		if got, ok := extra[name]; !ok || !bytes.Equal(got, content) {
			t.Errorf("extra file %s is %q, want %q", name, got, content)
		}
	}
	for name, got := range tensors(t, w, loaded) {
		if !slices.Equal(got, want[name]) {
			t.Errorf("%s changed in the file", name)
		}
	}
	if err := m.Save(second, files); err != nil {
		t.Fatal(err)
	}
	third := filepath.Join(folder, "third.pt")
	if err := loaded.Save(third, files); err != nil {
		t.Fatal(err)
	}
	a, errA := os.ReadFile(first)
	for _, path := range []string{second, third} {
		b, errB := os.ReadFile(path)
		if errA != nil || errB != nil || !bytes.Equal(a, b) {
			t.Errorf("%s has other bytes than the first copy: %v %v", path, errA, errB)
		}
	}
	entries, err := os.ReadDir(folder)
	if err != nil || len(entries) != 3 {
		t.Errorf("%d files in the folder, want 3 and no temporary one: %v", len(entries), err)
	}
	if err := m.Save(filepath.Join(folder, "no", "such", "folder.pt"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("save to a missing folder: %v", err)
	}
}

func TestCloneIsIndependent(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	m := load(t, "vit.pt")
	c, err := m.Clone()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	want := tensors(t, w, m)
	do(t, w, func(s *torch.Scope) error { return c.Set(s, "cls_token", s.Ones(1, 1, 8)) })
	for name, got := range tensors(t, w, m) {
		if !slices.Equal(got, want[name]) {
			t.Errorf("%s changed with the clone's", name)
		}
	}
	if infos := c.Tensors(); len(infos) != len(m.Tensors()) || infos[0].Name != m.Tensors()[0].Name {
		t.Errorf("the clone has other tensors: %v", infos)
	}
}

func TestTensorsAreNamedAsInTheCode(t *testing.T) {
	testkit.NoLeaks(t)
	testkit.Torch(t)
	g := loadGolden(t)
	for name, net := range networks(g) {
		var got []string
		for _, info := range load(t, name).Tensors() {
			got = append(got, info.Name)
		}
		slices.Sort(got)
		want := slices.Sorted(slices.Values(net.Names))
		if !slices.Equal(got, want) {
			t.Errorf("%s: tensors %v, want %v", name, got, want)
		}
	}
}

func TestClipGradNorm(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	g := loadGolden(t)
	m := trainable(t, "vit.pt")
	backward := func(scale float64) {
		do(t, w, func(s *torch.Scope) error {
			_, _, err := m.Backward(s, s.FromFloat32(g.X, g.XShape...), torch.Target{Labels: s.FromInt64(g.Y, 3)},
				torch.BackwardOptions{Mean: g.Mean, Std: g.Std, LabelSmoothing: 0.1, Scale: scale})
			return err
		})
	}
	backward(1)
	var sum float64
	for _, grad := range g.ViT.Labels.Grads {
		for _, v := range grad {
			sum += float64(v) * float64(v)
		}
	}
	want := math.Sqrt(sum)
	norm, err := m.ClipGradNorm(want / 2)
	if err != nil {
		t.Fatal(err)
	}
	near(t, "norm", []float64{norm}, []float64{want}, tolFloat32)
	if norm, err = m.ClipGradNorm(10 * want); err != nil {
		t.Fatal(err)
	}
	near(t, "norm after clipping", []float64{norm}, []float64{want / 2}, tolFloat32)
	// Two half steps accumulate to a whole one.
	if err := m.ZeroGrad(); err != nil {
		t.Fatal(err)
	}
	backward(0.5)
	backward(0.5)
	if norm, err = m.ClipGradNorm(10 * want); err != nil {
		t.Fatal(err)
	}
	near(t, "accumulated norm", []float64{norm}, []float64{want}, tolFloat32)
	// A gradient that is not finite is reported and not spread by scaling.
	do(t, w, func(s *torch.Scope) error { return m.Set(s, "head.bias", s.Full(math.Inf(1), 5)) })
	backward(1)
	if _, err := m.ClipGradNorm(1); err == nil || !strings.Contains(err.Error(), "not finite") {
		t.Errorf("clip of a gradient with NaN: %v", err)
	}
	if _, err := m.ClipGradNorm(0); err == nil {
		t.Error("clipped to 0")
	}
}

func TestOptimizerRefusals(t *testing.T) {
	testkit.NoLeaks(t)
	testkit.Torch(t)
	m := load(t, "conv.pt")
	head := []torch.Group{{Names: []string{"head.bias"}}}
	for name, c := range map[string]torch.OptimizerConfig{
		"no groups":    {},
		"unknown name": {Groups: []torch.Group{{Names: []string{"nobody"}}}},
		"a buffer":     {Groups: []torch.Group{{Names: []string{"bn1.running_mean"}}}},
		"twice":        {Groups: []torch.Group{head[0], head[0]}},
		"nesterov":     {Nesterov: true, Groups: head},
		"momentum":     {Momentum: 1, Groups: head},
		"betas":        {Kind: torch.AdamW, Beta1: 1, Beta2: 0.9, Eps: 1e-8, Groups: head},
		"eps":          {Kind: torch.AdamW, Beta1: 0.9, Beta2: 0.9, Groups: head},
		"kind":         {Kind: 9, Groups: head},
		"decay":        {Groups: []torch.Group{{Names: head[0].Names, WeightDecay: math.NaN()}}},
	} {
		if o, err := torch.NewOptimizer(m, c); err == nil {
			t.Errorf("%s: no error", name)
			o.Close()
		}
	}
	sgd := newOptimizer(t, m, torch.OptimizerConfig{Momentum: 0.9, Groups: head})
	adam := newOptimizer(t, m, torch.OptimizerConfig{Kind: torch.AdamW, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, Groups: head})
	state, err := sgd.State()
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string][]byte{
		"empty": nil, "truncated": state[:len(state)-1], "longer": append(bytes.Clone(state), 0),
		"text": []byte("not a state"),
	} {
		if err := sgd.SetState(bad); err == nil {
			t.Errorf("%s state: no error", name)
		}
	}
	if err := adam.SetState(state); err == nil || !strings.Contains(err.Error(), "another kind") {
		t.Errorf("state of another kind: %v", err)
	}
	if err := sgd.SetState(state); err != nil {
		t.Error(err)
	}
	if err := sgd.Step(-1); err == nil {
		t.Error("negative learning rate")
	}
	sgd.Close()
	if err := sgd.Step(1); !errors.Is(err, torch.ErrClosed) {
		t.Errorf("step after close: %v", err)
	}
}

func TestModuleAfterClose(t *testing.T) {
	testkit.NoLeaks(t)
	w := testkit.Torch(t)
	m := load(t, "conv.pt")
	o := newOptimizer(t, m, torch.OptimizerConfig{Groups: []torch.Group{{Names: []string{"head.bias"}}}})
	m.Close()
	m.Close()
	err := w.Do(t.Context(), func(s *torch.Scope) error { m.Forward(s, s.Ones(1, 3, 12, 12), nil, nil); return nil })
	if !errors.Is(err, torch.ErrClosed) || !strings.Contains(err.Error(), "forward") {
		t.Errorf("forward: %v", err)
	}
	for name, err := range map[string]error{
		"save": m.Save(filepath.Join(t.TempDir(), "x.pt"), nil), "train": m.SetTraining(true), "step": o.Step(1),
		"to": m.To(torch.CPU, torch.Float32),
	} {
		if !errors.Is(err, torch.ErrClosed) {
			t.Errorf("%s: %v, want ErrClosed", name, err)
		}
	}
}
