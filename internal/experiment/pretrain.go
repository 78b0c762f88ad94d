package experiment

import (
	"fmt"
	"slices"

	"sat/internal/store"
)

// Pretrain is a self-supervised training of an encoder. Recipes with pretrain = "NAME" start from what it leaves.
type Pretrain struct {
	Name   string `toml:"name" doc:"by which recipes call it"`
	Method string `toml:"method" enum:"mae mocov3 byol"`
	Model  string `toml:"model" doc:"[[model]] of timm, a ViT, whose network learns"`
	Recipe string `toml:"recipe" doc:"optimiser, schedule, crop, shift and mirror"`
	Seed   uint64 `toml:"seed" doc:"of weights, order, views and masks; default: the run's seed"`

	Position string `toml:"position" enum:"sincos learned" doc:"embedding of the patches' places; sincos: fixed while pre-training"`

	Mask         float64 `toml:"mask" only:"method=mae" above:"0" below:"1" doc:"share of the patches that is hidden"`
	NormPixels   bool    `toml:"norm_pixels" only:"method=mae" doc:"every patch is drawn with mean 0 and variance 1"`
	DecoderDepth int     `toml:"decoder_depth" only:"method=mae" min:"1" doc:"blocks"`
	DecoderWidth int     `toml:"decoder_width" only:"method=mae" min:"4"`
	DecoderHeads int     `toml:"decoder_heads" only:"method=mae" min:"1"`

	Momentum      []float64 `toml:"momentum" only:"method=mocov3|byol" min:"0" max:"1" doc:"share of itself that the target network keeps at an update, first and last, by a cosine between"`
	Hidden        int       `toml:"hidden" only:"method=mocov3|byol" min:"1" doc:"width inside projector and predictor"`
	Projection    int       `toml:"projection" only:"method=mocov3|byol" min:"2" doc:"width of what they return"`
	Temperature   float64   `toml:"temperature" only:"method=mocov3" above:"0"`
	FreezePatches bool      `toml:"freeze_patches" only:"method=mocov3" doc:"the projection of patches stays as it was drawn"`

	Jitter       []float64 `toml:"jitter" only:"method=mocov3|byol" min:"0" doc:"of brightness, contrast, saturation and hue"`
	JitterProb   float64   `toml:"jitter_prob" only:"method=mocov3|byol" min:"0" max:"1"`
	GreyProb     float64   `toml:"grey_prob" only:"method=mocov3|byol" min:"0" max:"1"`
	Blur         []float64 `toml:"blur" only:"method=mocov3|byol" min:"0" doc:"least and largest deviation of the blur, in pixels"`
	BlurProb     []float64 `toml:"blur_prob" only:"method=mocov3|byol" min:"0" max:"1" doc:"of either view"`
	SolarizeProb []float64 `toml:"solarize_prob" only:"method=mocov3|byol" min:"0" max:"1" doc:"of either view"`
}

// Probe asks for linear probes: softmax regression on the frozen features of all encoders of [[pretrain]] and, beside them, of
// encoders as they are drawn. Probes are not models of the run.
type Probe struct {
	Seeds   []uint64 `toml:"seeds" optional:"yes" doc:"of the encoders as they are drawn; default: the run's seed"`
	L2      float64  `toml:"l2" above:"0" doc:"weight of half the squared norm of the classifier, features having deviation 1"`
	Updates int      `toml:"updates" min:"1" doc:"of accelerated gradient descent"`
}

// exportName is what the module of a pre-training is called among those of the models.
func (p *Pretrain) exportName() string { return PretrainPrefix + p.Name }

// PretrainPrefix begins the name of a pre-training's module. Models have other names.
const PretrainPrefix = "pretrain-"

// Pretraining returns the [[pretrain]] of that name, nil without one.
func (c *Config) Pretraining(name string) *Pretrain {
	for i := range c.Pretrains {
		if c.Pretrains[i].Name == name {
			return &c.Pretrains[i]
		}
	}
	return nil
}

// alien lists the keys of a recipe that mean nothing without labels, or that pre-training does not have.
func (r *Recipe) alien() (keys []string) {
	for _, k := range []struct {
		key   string
		given bool
	}{
		{"mixup", r.Mixup > 0}, {"cutmix", r.CutMix > 0}, {"label_smoothing", r.LabelSmoothing > 0}, {"loss", r.Loss != "ce"},
		{"aa", r.AA != ""}, {"color_jitter", r.ColorJitter > 0}, {"erase_prob", r.EraseProb > 0}, {"repeated_aug", r.RepeatedAug > 1},
		{"accumulate", r.Accumulate > 1}, {"ema", r.EMA > 0}, {"layer_decay", r.LayerDecay < 1},
		{"pretrain", r.Pretrain != ""}, {"adversarial", r.Adversarial != nil}, {"distill", r.Distill != nil}, {"amp = \"float16\"", r.AMP == "float16"},
	} {
		if k.given {
			keys = append(keys, k.key)
		}
	}
	return keys
}

func (d *decoder) checkPretrains(c *Config) {
	var names, recipes []string
	for name := range c.Recipes {
		recipes = append(recipes, name)
	}
	slices.Sort(recipes)
	for i := range c.Pretrains {
		p := &c.Pretrains[i]
		path := index("pretrain", i)
		at := func(key string) string { return join(path, key) }
		for _, key := range []string{"name", "method", "model", "recipe"} {
			if !d.given[at(key)] {
				d.atKey(path, fmt.Sprintf("add %s = \"...\"", key), "the pre-training lacks %s", key)
			}
		}
		if err := store.CheckName(p.Name); d.good(at("name")) && err != nil {
			d.atValue(at("name"), "write letters, digits and . _ - + @", "%v", err)
		}
		if slices.Contains(names, p.Name) {
			d.atValue(at("name"), "give one of them another name", "two pre-trainings are called %q", p.Name)
		}
		names = append(names, p.Name)
		if c.model(p.exportName()) != nil {
			d.atValue(at("name"), "give one of them another name", "the model %q has the name of this pre-training's module", p.exportName())
		}
		switch m := c.model(p.Model); {
		case !d.good(at("model")):
		case m == nil:
			d.atValue(at("model"), "name a [[model]] of this file", "there is no model %q", p.Model)
		case m.Timm == "" || m.Recipe == "":
			d.atValue(at("model"), `name one with timm = "..." and a recipe`, "%s is not trained here, so nothing would start from its encoder", p.Model)
		case c.Data.Images != "":
			d.atKey(path, "give data.path, a folder with a training split", "there are no images to train on: data.images are for comparing")
		}
		switch r := c.Recipes[p.Recipe]; {
		case !d.good(at("recipe")):
		case r == nil:
			d.atValue(at("recipe"), d.nameHint(p.Recipe, recipes, "recipe"), "there is no recipe %q", p.Recipe)
		default:
			for _, key := range r.alien() {
				d.atValue(at("recipe"), "leave it out of that recipe", "%s of recipe %q means nothing to a pre-training", key, p.Recipe)
			}
			if r.Batch < 2 && p.Method != "mae" {
				d.atValue(at("recipe"), "use a larger batch", "recipe %q has batches of one image, which %s could tell from no others", p.Recipe, p.Method)
			}
		}
		if !d.given[at("seed")] {
			p.Seed = c.Seed
		}
		if !d.given[at("momentum")] && p.Method == "mocov3" {
			p.Momentum = []float64{0.99, 1}
		}
		for _, list := range []struct {
			key    string
			values []float64
			n      int
			rising bool
		}{{"momentum", p.Momentum, 2, true}, {"jitter", p.Jitter, 4, false}, {"blur", p.Blur, 2, true}, {"blur_prob", p.BlurProb, 2, false}, {"solarize_prob", p.SolarizeProb, 2, false}} {
			switch {
			case !d.good(at(list.key)):
			case len(list.values) != list.n:
				d.atValue(at(list.key), fmt.Sprintf("write %d numbers", list.n), "pretrain.%s has %d numbers", list.key, len(list.values))
			case list.rising && list.values[0] > list.values[1]:
				d.atValue(at(list.key), "write the smaller one first", "pretrain.%s falls", list.key)
			case list.key == "jitter" && list.values[3] > 0.5:
				d.atValue(at(list.key), "at most half of the circle, 0.5", "the jitter of hue is %v", list.values[3])
			}
		}
		if p.Method == "mae" && p.DecoderHeads > 0 && p.DecoderWidth%p.DecoderHeads != 0 {
			key := "decoder_heads"
			if !d.given[at(key)] {
				key = "decoder_width"
			}
			d.atKey(at(key), "let decoder_heads divide decoder_width", "a decoder of width %d has no %d equal heads", p.DecoderWidth, p.DecoderHeads)
		}
		d.onlyWhere(p, path)
	}
	for _, name := range recipes {
		r := c.Recipes[name]
		path := join("recipe", name)
		if r.Pretrain != "" && c.Pretraining(r.Pretrain) == nil {
			where := join(path, "pretrain")
			if !d.given[where] {
				continue // inherited: noted there
			}
			d.atValue(where, d.nameHint(r.Pretrain, names, "pretrain"), "there is no [[pretrain]] %q", r.Pretrain)
		}
	}
	if c.Probe != nil {
		d.checkProbe(c)
	}
}

func (d *decoder) checkProbe(c *Config) {
	p := c.Probe
	if len(c.Pretrains) == 0 {
		d.atKey("probe", "add a [[pretrain]]", "[probe] compares encoders, and none is pre-trained")
	}
	for i, seed := range p.Seeds {
		if slices.Contains(p.Seeds[:i], seed) {
			d.atValue(index("probe.seeds", i), "leave one of them out", "seed %d is there twice", seed)
		}
	}
	if len(p.Seeds) == 0 {
		p.Seeds = []uint64{c.Seed}
	}
}
