package train

import (
	"math"
	"slices"
	"strings"
	"testing"

	"sat/torch"
)

// deit is the schedule of the DeiT recipe at base rate 1e-3 (lr 5e-4, batch 1024).
func deit() Recipe {
	r := Defaults()
	r.Epochs, r.Batch, r.Optimizer, r.LR, r.LRScaleBatch = 300, 1024, AdamW, 5e-4, 512
	r.Unit, r.WarmupEpochs, r.WarmupLR, r.MinLR, r.SchedLag = PerEpoch, 5, 1e-6, 1e-5, 1
	return r
}

func TestLearningRate(t *testing.T) {
	step := Defaults()
	step.Epochs, step.Batch, step.Optimizer, step.LR, step.Schedule = 90, 256, SGD, 0.1, Step
	plain := Defaults()
	plain.Epochs, plain.Batch, plain.Optimizer, plain.LR = 90, 256, SGD, 0.1
	updates := plain
	updates.Epochs, updates.Unit, updates.WarmupEpochs, updates.WarmupLR = 10, PerUpdate, 2, 0.02
	noLag := deit()
	noLag.SchedLag = 0
	for _, c := range []struct {
		name                   string
		r                      Recipe
		epoch, update, updates int
		want                   float64
	}{
		// Values of DeiT's loop, whose rate is one epoch late.
		{"deit 0", deit(), 0, 0, 1, 1e-6},
		{"deit 1", deit(), 1, 0, 1, 1e-6},
		{"deit 2", deit(), 2, 7, 9, 2.008e-4},
		{"deit 3", deit(), 3, 0, 1, 4.006e-4},
		{"deit 4", deit(), 4, 0, 1, 6.004e-4},
		{"deit 5", deit(), 5, 0, 1, 8.002e-4},
		{"deit 6", deit(), 6, 0, 1, 9.9932e-4},
		{"deit 299", deit(), 299, 0, 1, 1.010856e-5},
		{"without lag", noLag, 1, 0, 1, 2.008e-4},
		{"beyond the end", noLag, 300, 0, 1, 1e-5},
		{"step 0", step, 0, 0, 1, 0.1},
		{"step 29", step, 29, 5, 6, 0.1},
		{"step 30", step, 30, 0, 1, 0.01},
		{"step 89", step, 89, 0, 1, 0.001},
		{"cosine start", plain, 0, 0, 1, 0.1},
		{"cosine half", plain, 45, 0, 1, 0.05},
		{"cosine 60", plain, 60, 0, 1, 0.025},
		{"updates, first", updates, 0, 0, 4, 0.02},
		{"updates, warming", updates, 1, 2, 4, 0.02 + 0.75*0.08},
		{"updates, warm", updates, 2, 0, 4, 0.05 * (1 + math.Cos(math.Pi*0.2))},
		{"updates, middle of epoch 5", updates, 5, 0, 4, 0.05},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := c.r.LearningRate(c.epoch, c.update, c.updates)
			if math.Abs(got-c.want) > 5e-6*c.want { // the listed values have 5 digits
				t.Fatalf("got %.9g, want %.9g", got, c.want)
			}
		})
	}
}

func TestDecayGroups(t *testing.T) {
	tensors := []torch.TensorInfo{
		{Name: "cls_token", Shape: []int{1, 1, 8}}, {Name: "pos_embed", Shape: []int{1, 5, 8}},
		{Name: "dist_token", Shape: []int{1, 1, 8}}, {Name: "patch_embed.proj.weight", Shape: []int{8, 3, 4, 4}},
		{Name: "patch_embed.proj.bias", Shape: []int{8}}, {Name: "norm.weight", Shape: []int{8}},
		{Name: "head.weight", Shape: []int{10, 8}}, {Name: "odd.bias", Shape: []int{2, 2}},
		{Name: "bn.running_mean", Shape: []int{8}, Buffer: true},
	}
	r := Defaults()
	r.WeightDecay = 0.05
	got := r.groups(tensors)
	none := []string{"cls_token", "pos_embed", "patch_embed.proj.bias", "norm.weight", "odd.bias"}
	decayed := []string{"dist_token", "patch_embed.proj.weight", "head.weight"}
	if len(got) != 2 || !slices.Equal(got[0].Names, none) || !slices.Equal(got[1].Names, decayed) ||
		got[0].WeightDecay != 0 || got[1].WeightDecay != 0.05 {
		t.Fatalf("got %+v, want no decay for %v and 0.05 for %v", got, none, decayed)
	}
	r.DecayAllParams = true
	if got = r.groups(tensors); len(got) != 1 || len(got[0].Names) != 8 || got[0].WeightDecay != 0.05 {
		t.Fatalf("decay_all_params: got %+v", got)
	}
}

func TestRecipeValidate(t *testing.T) {
	if err := deit().Validate(); err != nil {
		t.Fatalf("the DeiT schedule: %v", err)
	}
	for word, change := range map[string]func(*Recipe){
		"epochs":          func(r *Recipe) { r.Epochs = 0 },
		"batch":           func(r *Recipe) { r.Batch = -1 },
		"opt":             func(r *Recipe) { r.Optimizer = "adam" },
		"lr":              func(r *Recipe) { r.LR = math.NaN() },
		"momentum":        func(r *Recipe) { r.Optimizer, r.Momentum = SGD, 1 },
		"nesterov":        func(r *Recipe) { r.Optimizer, r.Momentum, r.Nesterov = SGD, 0, true },
		"betas":           func(r *Recipe) { r.Betas[1] = 1 },
		"eps":             func(r *Recipe) { r.Eps = 0 },
		"weight_decay":    func(r *Recipe) { r.WeightDecay = -1 },
		"clip_grad":       func(r *Recipe) { r.ClipGrad = math.Inf(1) },
		"sched":           func(r *Recipe) { r.Schedule = "linear" },
		"sched_unit":      func(r *Recipe) { r.Unit = "step" },
		"sched_lag":       func(r *Recipe) { r.Unit = PerUpdate },
		"warmup_epochs":   func(r *Recipe) { r.WarmupEpochs = 301 },
		"step_epochs":     func(r *Recipe) { r.Schedule, r.StepEpochs = Step, 0 },
		"gamma":           func(r *Recipe) { r.Schedule, r.Gamma = Step, 2 },
		"label_smoothing": func(r *Recipe) { r.LabelSmoothing = 1 },
		"hflip":           func(r *Recipe) { r.HFlip = 1.5 },
		"shift":           func(r *Recipe) { r.Shift = -1 },
		"eval_every":      func(r *Recipe) { r.EvalEvery = 0 },
		"eval_batch":      func(r *Recipe) { r.EvalBatch = 0 },
		"lr_scale_batch":  func(r *Recipe) { r.LRScaleBatch = -1 },
	} {
		r := deit()
		change(&r)
		if err := r.Validate(); err == nil || !strings.Contains(err.Error(), "recipe: "+word) {
			t.Errorf("%s: got %v", word, err)
		}
	}
	r := deit()
	r.Epochs, r.Shift, r.WarmupEpochs = 0, -1, 0
	if err := r.Validate(); err == nil || strings.Count(err.Error(), "recipe:") != 2 {
		t.Errorf("two problems reported as %v", err)
	}
}
