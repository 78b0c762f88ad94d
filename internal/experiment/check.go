package experiment

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"sat/internal/store"
)

// policyPattern is timm's notation of RandAugment.
var policyPattern = regexp.MustCompile(`^rand(-(m(10(\.0*)?|\d(\.\d+)?)|mstd\d+(\.\d+)?|inc[01]|n[1-9]|p(0(\.\d+)?|1(\.0*)?)))*$`)

var devicePattern = regexp.MustCompile(`^(cpu|cuda(:\d{1,3})?)$`)

// check fills the defaults that depend on other values, and looks at what keys mean together.
func (d *decoder) check(c *Config) {
	if !d.given["name"] {
		c.Name = stem(d.src.file)
	}
	if err := store.CheckName(c.Name); err != nil {
		hint := "the name becomes a folder"
		if !d.given["name"] {
			hint = `the name comes from the file's; write name = "..." to give another`
		}
		d.atValue("name", hint, "%v", err)
	}
	if !d.given["out"] {
		c.Out = filepath.Join("runs", c.Name)
	} else if c.Out == "" {
		d.atValue("out", "leave the key out for runs/NAME", "out is empty")
	}
	if !devicePattern.MatchString(c.Device) {
		d.atValue("device", `write "cpu", "cuda" or "cuda:1"`, "device has no value %q", c.Device)
	}
	for path, seed := range map[string]*uint64{"attack.seed": &c.Attack.Seed, "similarity.seed": &c.Similarity.Seed} {
		if !d.given[path] {
			*seed = c.Seed
		}
	}
	if c.Memory > 0 && !d.given["batch"] {
		c.Batch = 0
	}
	if c.Batch == 0 && c.Memory == 0 && d.good("batch") {
		d.atValue("batch", `add memory = "8GiB"`, "batch = 0 chooses batches that keep to memory, and memory is not given")
	}
	if !d.given["report.title"] {
		c.Report.Title = c.Name
	}
	d.checkData(c)
	d.checkModels(c)
	d.checkSets(c)
	d.checkPretrains(c)
	d.checkAttack(c)
	d.checkAblations(c)
	for i, epsilon := range c.Sweep.Epsilon {
		for j, earlier := range c.Sweep.Epsilon[:i] {
			if epsilon.Rat().Cmp(earlier.Rat()) == 0 {
				d.atValue(index("sweep.epsilon", i), "leave one of them out", "sweep.epsilon holds %s twice (as number %d and %d)", epsilon, j+1, i+1)
			}
		}
	}
	d.onlyWhere(&c.Transfer, "transfer")
	if c.Data.Images != "" && c.Data.Path == "" {
		if !d.given["transfer.clean"] {
			c.Transfer.Clean = "shared"
		} else if c.Transfer.Clean == "own" {
			d.atValue("transfer.clean", `write clean = "shared", or name a folder of images as data.path`,
				"an array of images leaves nothing to each model's own preprocessing")
		}
	}
	d.checkBoundary(c)
	d.checkAnalysis(c)
}

func (d *decoder) checkData(c *Config) {
	data := &c.Data
	pathGiven, imagesGiven := d.given["data.path"], d.given["data.images"]
	switch {
	case !pathGiven && !imagesGiven:
		d.atKey("data", `add path = "FOLDER" (images as CLASS/FILE) or images = "X.npy"`, "[data] does not say which images")
	case pathGiven && imagesGiven:
		d.atKey("data.images", "leave one of them out", "data has both a path and images")
	case d.good("data.path") && data.Path == "":
		d.atValue("data.path", "name a folder", "data.path is empty")
	case imagesGiven && !d.given["data.labels_file"] && data.Labels != PredictedLabels:
		d.atKey("data.images", `add labels_file = "Y.npy" (int64, one per image), or labels = "predicted"`, "images in an array have no labels")
	}
	if data.Labels == PredictedLabels && d.given["data.labels_file"] {
		d.atKey("data.labels_file", `leave it out, or leave out labels = "predicted"`, "labels_file means nothing with labels = %q", PredictedLabels)
	}
	if imagesGiven && d.given["data.prepare"] {
		d.atKey("data.prepare", "leave it out, or give data.path instead of data.images", "data.prepare makes a folder, and data.images is none")
	}
	for key, path := range map[string]string{"val_list": data.ValList, "class_map": data.ClassMap} {
		switch {
		case imagesGiven && d.given["data."+key]:
			d.atKey("data."+key, "leave it out, or give data.path instead of data.images", "data.%s is about the files of a folder, and data.images is none", key)
		case d.good("data."+key) && path == "":
			d.atValue("data."+key, "leave the key out", "data.%s is empty", key)
		}
	}
	for _, split := range []struct{ key, name string }{{"train", data.Train}, {"val", data.Val}} {
		if err := store.CheckName(split.name); err != nil {
			d.atValue("data."+split.key, "a split is a folder in data.path", "%v", err)
		}
	}
	subset := &data.Subset
	fraction, count := d.given["data.subset.fraction"], d.given["data.subset.count"]
	modeGiven := d.given["data.subset.mode"]
	if !modeGiven && fraction {
		subset.Mode = "per-class"
	}
	switch {
	case fraction && count:
		d.atKey("data.subset.count", "leave one of them out", "data.subset has both a fraction and a count")
	case count && !modeGiven:
		d.atKey("data.subset.count", `add mode = "uniform" for so many in all, or mode = "per-class" for so many of each class`,
			"data.subset does not say what is counted")
	case subset.Mode == "all" && (fraction || count):
		d.atValue("data.subset.mode", `write mode = "per-class" or "uniform", or leave the fraction and the count out`, `mode "all" takes every image`)
	case subset.Mode != "all" && !fraction && !count:
		d.atKey("data.subset", "add fraction = 0.1", "data.subset does not say how many images")
	}
	if c.Evaluate.Images == "all" && d.given["data.labels_file"] && subset.Mode != "all" {
		d.atValue("evaluate.images", "leave it out, or the subset", "labels_file has the labels of the subset, not of all images")
	}
	if imagesGiven && d.given["data.subset"] && subset.Mode != "all" {
		d.atKey("data.subset", "make the subset before writing the array", "a subset is chosen by file names, and data.images has none")
	}
}

func (d *decoder) checkAttack(c *Config) {
	if d.noted["attack.method"] {
		return
	}
	d.complete(&c.Attack, "attack", nil)
	if c.Attack.Method == "patchfool" && len(c.Sweep.Epsilon) > 0 {
		d.atKey("sweep.epsilon", "leave [sweep] out", "method patchfool has no radius to repeat the experiment at")
	}
	for i, epsilon := range c.Sweep.Epsilon {
		if v := epsilon.Float64(); v > 1 && !c.Attack.L2() {
			d.atValue(index("sweep.epsilon", i), "pixels are in [0,1]", "sweep.epsilon holds %s", epsilon)
		}
	}
}

// complete notes what is wrong with the attack at path; without it in the file, at the table that should hold it.
func (d *decoder) complete(a *Attack, path string, inherited []string) {
	for _, p := range a.Complete(func(key string) bool { return d.given[join(path, key)] }, inherited...) {
		key := join(path, p.Key)
		switch {
		case d.noted[key]:
		case d.given[key]:
			d.atValue(key, p.Hint, "%s", p.Message)
		default:
			d.atKey(path, p.Hint, "%s", p.Message)
		}
	}
}

func (d *decoder) checkAblations(c *Config) {
	for i := range c.Ablation {
		a := &c.Ablation[i]
		path := index("ablation", i)
		at := join(path, "attack")
		if !d.given[at] {
			d.atKey(path, `add attack = { method = "autoattack" }`, "the ablation has no attack")
			continue
		}
		if d.noted[join(at, "method")] || d.noted["attack.method"] {
			continue
		}
		given := func(key string) bool { return d.given[join(at, key)] }
		if !given("method") {
			a.Attack.Method = c.Attack.Method
		}
		d.complete(&a.Attack, at, a.Attack.inherit(&c.Attack, given))
		named := join(path, "name")
		if !d.given[named] {
			a.Name, named = a.Attack.Method, at
		}
		if err := store.CheckName(a.Name); err != nil {
			d.atValue(named, `write name = "..." with letters, digits and . _ - + @`, "%v", err)
		}
		for _, earlier := range c.Ablation[:i] {
			if earlier.Name == a.Name {
				d.atKey(named, `give one of them another name = "..."`, "two ablations are called %q", a.Name)
			}
		}
		for key, list := range map[string][]string{"models": a.Models, "sources": a.Sources} {
			if d.given[join(path, key)] && len(list) == 0 {
				d.atValue(join(path, key), "name at least one model, or leave the key out", "ablation.%s is empty", key)
			}
		}
		if a.Models != nil && a.Sources != nil {
			d.atKey(join(path, "sources"), "leave one of them out", "the ablation has both models and sources")
		}
	}
}

func (d *decoder) checkModels(c *Config) {
	if len(c.Models) == 0 && !d.given["model"] && !d.given["zoo"] {
		d.atKey("model", `add [[model]] with timm = "NAME" or path = "FILE.pt", once for each model, or [zoo]`, "no model is given")
		return
	}
	if c.Zoo != nil {
		d.checkZoo(c)
	}
	recipes := slices.Sorted(maps.Keys(c.Recipes))
	for i := range c.Models {
		m := &c.Models[i]
		path := index("model", i)
		has := func(key string) bool { return d.given[join(path, key)] }
		at := func(key string) string { return join(path, key) }
		switch {
		case !has("timm") && !has("path"):
			d.atKey(path, `add timm = "NAME" or path = "FILE.pt"`, "the model has neither a timm name nor a path")
		case has("timm") && has("path"):
			d.atKey(at("path"), "leave one of them out", "the model has both a timm name and a path")
		}
		for key, value := range map[string]string{"timm": m.Timm, "path": m.Path, "recipe": m.Recipe} {
			if d.good(at(key)) && value == "" {
				d.atValue(at(key), "leave the key out", "model.%s is empty", key)
			}
		}
		for _, key := range []string{"args", "weights", "attention", "checkpoint"} {
			if has(key) && !has("timm") && has("path") {
				d.atKey(at(key), "leave it out", "model.%s is for timm models; a file has its network already", key)
			}
		}
		if m.Recipe != "" {
			if _, ok := c.Recipes[m.Recipe]; !ok {
				d.atValue(at("recipe"), d.nameHint(m.Recipe, recipes, "recipe"), "there is no recipe %q", m.Recipe)
			}
			if m.Weights == "pretrained" {
				d.atValue(at("weights"), "leave the recipe out to use the weights, or the weights to train", "recipes train from random weights")
			}
			if c.Data.Images != "" {
				d.atValue(at("recipe"), "give data.path, a folder with a training split", "there are no images to train on: data.images are for comparing")
			}
		}
		if m.Weights == "" && has("timm") {
			m.Weights = "pretrained"
			if m.Recipe != "" {
				m.Weights = "random"
			}
		}
		if has("checkpoint") && has("timm") && m.Weights != "pretrained" {
			d.atKey(at("checkpoint"), `leave it out, or write weights = "pretrained" and no recipe`, "model.checkpoint holds weights, and %s begins with random ones", cmp.Or(m.Name, m.Timm))
		}
		if has("seeds") {
			d.checkSeeds(m, path)
		}
		d.checkPreprocessing(m, path)
		if has("components") {
			d.checkComponents(m, path)
		}
		if !has("name") {
			m.Name = m.Timm
			if m.Timm == "" {
				m.Name = stem(m.Path)
			}
		}
	}
	d.checkNames(c)
}

// checkZoo leaves the names themselves to whoever knows the registry (Config.Problem).
func (d *decoder) checkZoo(c *Config) {
	z := c.Zoo
	if len(z.Names) == 0 && !d.noted["zoo.names"] {
		d.atKey("zoo", `add names = ["paper"], or names of "sat zoo list"`, "[zoo] names no network")
	}
	if !d.given["zoo.seed"] {
		z.Seed = c.Seed
	}
	for _, folder := range []struct{ key, value string }{{"checkpoints", z.Checkpoints}, {"modules", z.Modules}} {
		if at := "zoo." + folder.key; d.good(at) && folder.value == "" {
			d.atValue(at, "leave the key out", "%s is empty", at)
		}
	}
	switch {
	case z.Checkpoints == "":
	case z.Modules != "":
		d.atKey("zoo.checkpoints", "leave one of them out", "zoo has both modules, which are finished, and checkpoints to make them from")
	case z.Weights == "random":
		d.atKey("zoo.checkpoints", `leave it out, or write weights = "pretrained"`, `zoo.checkpoints means nothing with weights = "random"`)
	}
}

func (d *decoder) checkSeeds(m *Model, path string) {
	at := join(path, "seeds")
	if len(m.Seeds) == 0 && d.good(at) {
		d.atValue(at, "name at least one, or leave the key out", "model.seeds is empty")
	}
	if !d.given[join(path, "recipe")] && m.Weights != "random" {
		d.atKey(at, `add recipe = "NAME" to train one model for each seed`, "with finished weights all seeds give the same model")
	}
	for i, seed := range m.Seeds {
		if slices.Contains(m.Seeds[:i], seed) {
			d.atValue(index(at, i), "leave one of them out", "seed %d is there twice", seed)
		}
	}
}

func (d *decoder) checkPreprocessing(m *Model, path string) {
	mean, std := d.given[join(path, "mean")], d.given[join(path, "std")]
	switch {
	case mean != std:
		key, other := "mean", "std"
		if std {
			key, other = "std", "mean"
		}
		d.atKey(join(path, key), fmt.Sprintf("add %s = [...]", other), "model.%s is given without model.%s", key, other)
	case d.good(join(path, "mean")) && d.good(join(path, "std")) && len(m.Mean) != len(m.Std):
		d.atValue(join(path, "std"), "one of each for every channel", "there are %d means and %d standard deviations", len(m.Mean), len(m.Std))
	case d.good(join(path, "mean")) && len(m.Mean) == 0:
		d.atValue(join(path, "mean"), "one for every channel", "model.mean is empty")
	}
}

func (d *decoder) checkComponents(m *Model, path string) {
	at := join(path, "components")
	if m.Components == nil {
		return // not a table: noted
	}
	misspelt := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(m.Components)) {
		if !slices.Contains(ComponentNames, name) {
			hint := "the components are: " + strings.Join(ComponentNames, ", ")
			if near, ok := Nearest(name, ComponentNames); ok {
				hint = fmt.Sprintf("did you mean %q?", near)
				misspelt[near] = true
			}
			d.atKey(join(at, name), hint, "unknown component %q", name)
		}
	}
	var missing []string
	for _, name := range ComponentNames {
		if _, ok := m.Components[name]; !ok && !misspelt[name] {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		d.atKey(at, `add them, with "-" for what the model does not have`, "the components lack %s", strings.Join(missing, ", "))
	}
}

// checkNames makes sure that every model that the file stands for has a name of its own that can be a file name.
func (d *decoder) checkNames(c *Config) {
	type place struct{ path, line string }
	first := map[string]place{}
	for i := range c.Models {
		m := &c.Models[i]
		path := index("model", i)
		at := path
		for _, key := range []string{"name", "timm", "path"} {
			if d.given[join(path, key)] {
				at = join(path, key)
				break
			}
		}
		if at == path {
			continue // neither a name nor a source: noted
		}
		if err := store.CheckName(m.Name); err != nil {
			d.atValue(at, `write name = "..." with letters, digits and . _ - + @`, "%v", err)
			continue
		}
		for j, name := range m.names() {
			if slices.Contains(m.names()[:j], name) {
				continue // a seed that is there twice: noted
			}
			line := fmt.Sprint(d.src.problem(d.src.spot(at).value, "", "").Line)
			if earlier, taken := first[name]; taken {
				d.atValue(at, `give one of them another name = "..."`, "two models are called %q, here and in line %s", name, earlier.line)
				break
			}
			first[name] = place{at, line}
		}
	}
}

// checkRecipe checks a recipe with all that it inherits. lostParent says that something it inherits could not be found,
// so that what it lacks may be there.
func (d *decoder) checkRecipe(r *Recipe, path string, lostParent bool) {
	var missing, examples []string
	for _, key := range []struct {
		name    string
		missing bool
		example string
	}{
		{"epochs", r.Epochs == 0, "epochs = 30"},
		{"batch", r.Batch == 0, "batch = 64"},
		{"opt", r.Opt == "", `opt = "adamw"`},
		{"lr", r.LR == 0, "lr = 1e-3"},
		{"step_epochs", r.Sched == "step" && r.StepEpochs == 0, "step_epochs = 30"},
	} {
		if key.missing && !d.given[join(path, key.name)] {
			missing, examples = append(missing, key.name), append(examples, key.example)
		}
	}
	if len(missing) > 0 && !lostParent {
		d.atKey(path, "for instance "+strings.Join(examples, ", "), "recipe lacks %s", strings.Join(missing, ", "))
	}
	given := func(key string) bool { return d.given[join(path, key)] }
	// at points at the key itself, or at the recipe where the value is inherited or a default.
	at := func(keys ...string) string {
		for _, key := range keys {
			if given(key) {
				return join(path, key)
			}
		}
		return path
	}
	for key, pair := range map[string][]float64{"crop_scale": r.CropScale, "crop_ratio": r.CropRatio} {
		if pair != nil && (len(pair) != 2 || pair[0] > pair[1]) && d.good(join(path, key)) {
			d.atValue(join(path, key), "write "+key+" = [LEAST, LARGEST]", "recipe.%s wants two rising numbers", key)
		}
	}
	if r.CropScale != nil && r.Shift > 0 {
		d.atKey(at("shift", "crop_scale"), "leave one of them out", "shift and crop_scale both move the image")
	}
	if r.CropScale == nil && r.CropRatio != nil {
		d.atKey(at("crop_ratio"), "add crop_scale = [0.08, 1.0]", "crop_ratio without a crop")
	}
	if (r.Mixup > 0 || r.CutMix > 0) && r.Batch%2 != 0 {
		d.atKey(at("batch", "mixup", "cutmix"), "use an even batch", "mixing pairs the images of a batch, and %d is odd", r.Batch)
	}
	if r.Accumulate > 1 && r.Batch%r.Accumulate != 0 {
		d.atKey(at("accumulate", "batch"), "let accumulate divide batch", "a batch of %d has no %d equal parts", r.Batch, r.Accumulate)
	}
	if r.AA != "" && !policyPattern.MatchString(r.AA) {
		d.atValue(at("aa"), `write aa = "rand-m9-mstd0.5-inc1"`, "recipe.aa is %q, not rand with m0..10, mstd, inc0 or inc1, n, p0..1", r.AA)
	}
	if r.EMAExport && r.EMA == 0 {
		d.atKey(at("ema_export"), "add ema = 0.9999", "ema_export without an average")
	}
	if r.AverageLast > 0 && r.EMAExport {
		d.atKey(at("average_last", "ema_export"), "leave one of them out", "average_last and ema_export both say which weights the trained model has")
	}
	for _, key := range []struct {
		name   string
		epochs int
	}{{"average_last", r.AverageLast}, {"keep_last", r.KeepLast}, {"keep_best", r.KeepBest}} {
		if r.Epochs > 0 && key.epochs > r.Epochs {
			d.atKey(at(key.name, "epochs"), fmt.Sprintf("write at most %s = %d", key.name, r.Epochs), "%s is %d, but there are %d epochs", key.name, key.epochs, r.Epochs)
		}
	}
	if len(r.Betas) != 2 && d.good(join(path, "betas")) {
		d.atValue(join(path, "betas"), "write betas = [0.9, 0.999]", "recipe.betas wants two numbers")
	}
	if r.Adversarial != nil && (r.Mixup > 0 || r.CutMix > 0) {
		d.atKey(at("adversarial", "mixup", "cutmix"), "leave mixup and cutmix out, or the attack",
			"adversarial training attacks the one label of an image, and mixing gives it several")
	}
	if r.Opt == "sgd" && r.Nesterov && r.Momentum == 0 {
		d.atKey(at("nesterov", "momentum"), "write momentum = 0.9, or leave nesterov out", "Nesterov's method needs a momentum")
	}
	if r.Epochs > 0 && r.WarmupEpochs >= float64(r.Epochs) {
		d.atKey(at("warmup_epochs", "epochs"), "warm up for a part of the epochs", "the warm-up takes %v of %d epochs", r.WarmupEpochs, r.Epochs)
	}
	if r.LR > 0 && r.Sched == "cosine" && r.MinLR > r.LR {
		d.atKey(at("min_lr", "lr"), "it falls from lr to min_lr", "the learning rate ends at %v, above its start %v", r.MinLR, r.LR)
	}
	if r.LR > 0 && r.WarmupEpochs > 0 && r.WarmupLR > r.LR {
		d.atKey(at("warmup_lr", "lr"), "it rises from warmup_lr to lr", "the warm-up starts at %v, above the learning rate %v", r.WarmupLR, r.LR)
	}
	if r.Distill != nil {
		d.onlyWhere(r.Distill, join(path, "distill"))
	}
	d.onlyWhere(r, path)
}

// onlyWhere notes keys of the table v at path that mean nothing because of another key, and clears their values, so
// that neither a resolved file nor a unit's key depends on them.
func (d *decoder) onlyWhere(table any, path string) {
	v := reflect.ValueOf(table).Elem()
	for i := range v.NumField() {
		field := v.Type().Field(i)
		key, words, conditional := condition(field)
		if !conditional {
			continue
		}
		var word string
		for j := range v.NumField() {
			if v.Type().Field(j).Tag.Get("toml") == key {
				word = v.Field(j).String()
			}
		}
		if slices.Contains(words, word) {
			continue
		}
		name := field.Tag.Get("toml")
		if at := join(path, name); d.given[at] && word != "" && !d.noted[join(path, key)] {
			d.atKey(at, fmt.Sprintf("leave it out, or write %s = %q", key, words[0]), "%s means nothing with %s = %q", name, key, word)
		}
		v.Field(i).SetZero()
	}
}

// condition reads the tag "only".
func condition(field reflect.StructField) (key string, words []string, conditional bool) {
	key, list, conditional := strings.Cut(field.Tag.Get("only"), "=")
	return key, strings.Split(list, "|"), conditional
}

// Problem returns an error about the value at a path of the file ("zoo.names[2]"), for what only the caller can judge.
func (c *Config) Problem(path, hint, format string, args ...any) error {
	return &Problems{List: []Problem{c.src.problemAt(path, c.src.spot(path).value, fmt.Sprintf(format, args...), hint)}}
}

// Check lists what may be all right on another machine, or later: paths that are not there.
func (c *Config) Check() []Problem {
	var absent []Problem
	check := func(path, file, hint string) {
		if file == "" || c.src == nil {
			return
		}
		if _, err := os.Stat(file); err != nil {
			absent = append(absent, c.src.problemAt(path, c.src.spot(path).value, fmt.Sprintf("%s is not there", file), hint))
		}
	}
	if c.Data.Prepare == "" {
		check("data.path", c.Data.Path, "relative paths start at the working directory")
	}
	check("data.images", c.Data.Images, "relative paths start at the working directory")
	for _, file := range []struct{ key, path string }{{"labels_file", c.Data.LabelsFile}, {"val_list", c.Data.ValList}, {"class_map", c.Data.ClassMap}} {
		check("data."+file.key, file.path, "relative paths start at the working directory")
	}
	if c.Zoo != nil {
		check("zoo.checkpoints", c.Zoo.Checkpoints, "relative paths start at the working directory")
		check("zoo.modules", c.Zoo.Modules, `"sat zoo export" makes modules; relative paths start at the working directory`)
	}
	for i := range c.Models {
		check(join(index("model", i), "path"), c.Models[i].Path, "relative paths start at the working directory")
	}
	return absent
}
