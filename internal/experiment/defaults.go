package experiment

import "reflect"

// defaults holds the value of every table of a file before the file is read. The attack, the number of clusters, the
// restarts and the keywords are the paper's; the floor, which it does not give, is below every success rate that
// 50,000 images can show. Planes are those of Somepalli et al., the sizes of the stability study the paper's, adversarial
// training that of Madry et al. on CIFAR-10.
var defaults = map[reflect.Type]any{
	typeOf[Config]():   Config{Device: "cpu", Threads: 1, Batch: 64, Precision: "float32"},
	typeOf[Data]():     Data{Train: "train", Val: "val", Labels: "given", OnBadImage: "stop"},
	typeOf[Subset]():   Subset{Mode: "all"},
	typeOf[Evaluate](): Evaluate{Images: "subset", Logits: "none"},
	typeOf[Zoo]():      Zoo{Weights: "pretrained"},
	typeOf[Attack](): Attack{
		Method: "pgd", Epsilon: fraction("8/255"), Norm: "Linf", StepSize: fraction("0.1"), StepUnit: "pixel", Restarts: 1, Select: "last",
		Loss: "cross-entropy", Target: "none", Targets: 9, Queries: 5000, Survivors: "clean", RNG: "keyed", NaN: "stop",
		Patches: 1, PatchSelect: "attention", AttentionLayer: 4, Rate: 0.2, AttentionWeight: 0.002, Form: "code", Conflict: "project",
	},
	typeOf[Transfer]():     Transfer{Resize: "bilinear", Clean: "own", ResizeOnly: true},
	typeOf[Similarity]():   Similarity{Floor: 5e-4, Bootstrap: 2000},
	typeOf[Clusters]():     Clusters{K: 10, Affinity: "sat", Gamma: 1, Diagonal: "zero", Laplacian: "sym", Which: "smooth", Restarts: 100},
	typeOf[Keywords]():     Keywords{BaseMap: "keywords", Attention: "presence", TF: "count", IDF: "smooth", Norm: "l2", Top: 5},
	typeOf[Report]():       Report{Paper: true},
	typeOf[Boundary]():     Boundary{Triplets: 500, Grid: 50, Range: 0.1},
	typeOf[Stability]():    Stability{Sizes: []int{500, 1000, 2500, 5000}, Triplets: []int{10, 20, 50, 100}, Repeats: 10},
	typeOf[Adversarial]():  Adversarial{Epsilon: fraction("8/255"), StepSize: fraction("2/255"), Steps: 7, RandomStart: true},
	typeOf[Distill]():      Distill{Type: "hard", Alpha: 0.5, Tau: 1, Resize: "bicubic", Renormalise: true, Precision: "float32"},
	typeOf[Importance]():   Importance{BaseMap: "table", Attention: "presence", Stages: 500, Depth: 12, MinSamples: "split", MinRows: 4, Rate: 0.02, Ties: "random", Seeds: 10, Repeats: 10, Eval: "train", Holdout: 0.1},
	typeOf[TSNE]():         TSNE{Distance: "logdiff", Init: "mds", Steps: 1000},
	typeOf[Ensembles]():    Ensembles{Average: "logit", Largest: 10, Draws: 1000, Cover: true, Resamples: 2000},
	typeOf[Training]():     Training{Resamples: 2000},
	typeOf[Distillation](): Distillation{Group: "transformer+hybrid"},
	typeOf[Choose]():       Choose{K: 3},
	typeOf[Sensitivity]():  Sensitivity{Permutations: 9999, Resamples: 2000},
	typeOf[Matrices]():     Matrices{Permutations: 9999, Resamples: 2000},
	// The values of the methods' papers and programs; BYOL's colours are MoCo v3's too. The momentum of mocov3 is in pretrain.go.
	typeOf[Pretrain](): Pretrain{
		Position: "sincos", Mask: 0.75, NormPixels: true, DecoderDepth: 8, DecoderWidth: 512, DecoderHeads: 16, Momentum: []float64{0.99, 0.99},
		Hidden: 4096, Projection: 256, Temperature: 0.2, FreezePatches: true, Jitter: []float64{0.4, 0.4, 0.2, 0.1}, JitterProb: 0.8, GreyProb: 0.2,
		Blur: []float64{0.1, 2}, BlurProb: []float64{1, 0.1}, SolarizeProb: []float64{0, 0.2},
	},
	typeOf[Probe](): Probe{L2: 1e-3, Updates: 300},
	typeOf[Recipe](): Recipe{
		Momentum: 0.9, Betas: []float64{0.9, 0.999}, Eps: 1e-8, Sched: "cosine", SchedUnit: "epoch", Gamma: 0.1, WarmupLR: 1e-6,
		LayerDecay: 1, Accumulate: 1, AMP: "float32", Loss: "ce", Interpolation: "bicubic", RepeatedAug: 1, EvalEvery: 1, MixProb: 1, MixSwitch: 0.5,
		CutMixBox: "floor", LogEvery: 50,
	},
}

// Defaults that depend on other values (Out, the seeds, Title, Weights, Clean, Rows, the mode of a subset, the steps of an attack) are in
// check.go, where those values are known.

// DefaultData, DefaultTransfer and DefaultSimilarity serve commands without an experiment file.
func DefaultData() Data             { return defaultOf[Data]() }
func DefaultTransfer() Transfer     { return defaultOf[Transfer]() }
func DefaultSimilarity() Similarity { return defaultOf[Similarity]() }

func defaultOf[T any]() (v T) {
	setDefaults(reflect.ValueOf(&v).Elem())
	return v
}

func typeOf[T any]() reflect.Type { return reflect.TypeFor[T]() }

// fraction is for constants of this package.
func fraction(text string) Fraction {
	f, err := ParseFraction(text)
	if err != nil {
		panic(err)
	}
	return f
}

// setDefaults fills v, a struct, and the structs inside it.
func setDefaults(v reflect.Value) {
	if value, ok := defaults[v.Type()]; ok {
		v.Set(reflect.ValueOf(value))
	}
	for i := range v.NumField() {
		if field := v.Field(i); field.Kind() == reflect.Struct && v.Type().Field(i).IsExported() {
			setDefaults(field)
		}
	}
}
