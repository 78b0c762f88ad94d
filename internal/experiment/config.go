package experiment

// The fields' tags are the schema of an experiment file:
//
//	toml      the key
//	doc       what it means, with the unit; a comment in the resolved file
//	enum      the words it accepts, separated by blanks
//	min, max  the range, inclusive; above, below: exclusive
//	only      "key=a|b": it means something only if that key of the same table is one of these words
//	optional  the zero value means "not given" and is not written
//
// Values that a file does not give are in defaults.go.

// Config is an experiment file with every default filled in.
type Config struct {
	Name      string `toml:"name" doc:"of the run; default: the file's name"`
	Seed      uint64 `toml:"seed" doc:"of everything random that has no seed of its own"`
	Out       string `toml:"out" doc:"folder of the results"`
	Device    string `toml:"device" doc:"cpu, cuda or cuda:N"`
	Workers   int    `toml:"workers" min:"0" doc:"models at work at the same time; 0 = as many as cores and threads allow; results do not depend on it"`
	Threads   int    `toml:"threads" min:"1" doc:"of one operation; results depend on it in the last bits"`
	Batch     int    `toml:"batch" min:"0" doc:"images per pass outside training, at most; results depend on it in the last bits; 0 = the fastest for each model that keeps to memory, measured once"`
	Memory    Bytes  `toml:"memory" optional:"yes" doc:"the most that the whole program may have resident; default batch: 0"`
	Precision string `toml:"precision" enum:"float32 bfloat16" doc:"in which models compute; images and attack arithmetic are float32"`
	// Lowered networks and those in bfloat16 always lie so.
	ChannelsLast bool `toml:"channels_last" doc:"filters and feature maps lie pixel by pixel in memory: some CPUs and GPUs then compute convolutions faster in float32 (sat bench attack --precision channels-last); results depend on it in the last bits"`
	// In bfloat16 networks on the CPU always are.
	Lowered bool `toml:"lowered" doc:"on the CPU, networks are rearranged once they are checked: normalisation goes into filters, which lie as the kernels read them. ResNets and their kin attack 1.2 to 1.3 times as fast in float32, transformers as before (sat bench attack --precision lowered); results depend on it in the last bits"`

	Data       Data               `toml:"data"`
	Zoo        *Zoo               `toml:"zoo"`
	Models     []Model            `toml:"model"`
	Sets       []Set              `toml:"set"`
	Pretrains  []Pretrain         `toml:"pretrain"`
	Probe      *Probe             `toml:"probe"`
	Recipes    map[string]*Recipe `toml:"recipe"`
	Evaluate   Evaluate           `toml:"evaluate"`
	Attack     Attack             `toml:"attack"`
	Sweep      Sweep              `toml:"sweep"`
	Ablation   []Ablation         `toml:"ablation"`
	Transfer   Transfer           `toml:"transfer"`
	Similarity Similarity         `toml:"similarity"`
	Boundary   *Boundary          `toml:"boundary"`
	Stability  *Stability         `toml:"stability"`
	Analysis   Analysis           `toml:"analysis"`
	Report     Report             `toml:"report"`

	src *source // for Check
}

// Data says which images: a folder of classes, or arrays.
type Data struct {
	Path       string `toml:"path" optional:"yes" doc:"image folder with the splits, or one split, of CLASS/FILE; a split or a class may be a tar file"`
	Prepare    string `toml:"prepare" optional:"yes" enum:"digits few-digits photographs" doc:"make the folder first if it is absent: the 1,797 digits of scikit-learn, the same with an eighth for training, or four photographs made from its two"`
	Train      string `toml:"train" doc:"name of the split that models are trained on"`
	Val        string `toml:"val" doc:"name of the split that models are compared on"`
	ValList    string `toml:"val_list" optional:"yes" doc:"for a val folder or archive without class folders: text file of lines FILE CLASS"`
	ClassMap   string `toml:"class_map" optional:"yes" doc:"text file of lines CLASS INDEX, instead of numbering the classes by name"`
	Images     string `toml:"images" optional:"yes" doc:"instead of path: float32 [N,C,H,W] in [0,1], .npy"`
	LabelsFile string `toml:"labels_file" optional:"yes" doc:"int64 [N], .npy; overrides the classes of the folder"`
	Labels     string `toml:"labels" enum:"given predicted" doc:"what counts as right: the given labels, or each model's own prediction of the clean image"`
	OnBadImage string `toml:"on_bad_image" enum:"stop skip" doc:"what an unreadable image does to the run"`
	Subset     Subset `toml:"subset"`
}

// PredictedLabels is the Data.Labels of a run without labels: a model's class for an image is what it predicts for the
// clean image, so every image counts as right for every model, and an image fools a model when its prediction changes.
const PredictedLabels = "predicted"

// Subset says which images of the validation split are used.
type Subset struct {
	Mode     string   `toml:"mode" enum:"per-class uniform all" doc:"per-class: the fraction of each class; uniform: of all images at once"`
	Fraction Fraction `toml:"fraction" optional:"yes" above:"0" max:"1" doc:"of the images"`
	Count    int      `toml:"count" optional:"yes" min:"1" doc:"instead of a fraction: images of each class (per-class) or in all (uniform)"`
	Salt     uint64   `toml:"salt" doc:"other salts choose other images"`
}

// Zoo takes networks of the registry, with their preprocessing and components. They come before those of [[model]].
type Zoo struct {
	Names       []string `toml:"names" doc:"timm 0.6.7 names, timm 1.0.31 names or aliases of \"sat zoo list\"; or the words of \"sat zoo export\" for several: paper, all, ..."`
	Weights     string   `toml:"weights" enum:"pretrained random"`
	Seed        uint64   `toml:"seed" doc:"of random weights; default: the run's seed"`
	Checkpoints string   `toml:"checkpoints" optional:"yes" doc:"folder of weight files, instead of timm's local cache"`
	Attention   []string `toml:"attention" optional:"yes" doc:"those of the names whose modules also give their attention, for patchfool"`
	Modules     string   `toml:"modules" optional:"yes" doc:"folder of finished modules, NAME.pt as \"sat zoo export\" writes them, instead of exporting"`
}

// Evaluate says what is kept of the clean images beside the subset's predictions.
type Evaluate struct {
	Images string `toml:"images" enum:"subset all" doc:"all: predictions, and accuracies, on the whole validation split too"`
	Logits string `toml:"logits" enum:"none float32 float16" doc:"of these images, as OUT/logits/NAME.npy"`
}

// Model is one network, or one per seed.
type Model struct {
	Name          string            `toml:"name" doc:"in all results; with seeds, -sSEED is appended"`
	Timm          string            `toml:"timm" optional:"yes" doc:"name for timm.create_model, or a class inside timm: models.mlp_mixer.MlpMixer"`
	Args          map[string]any    `toml:"args" optional:"yes"`
	Path          string            `toml:"path" optional:"yes" doc:"TorchScript file, instead of timm"`
	Attention     bool              `toml:"attention" optional:"yes" doc:"a ViT or DeiT of timm that also gives its attention, for patchfool"`
	Weights       string            `toml:"weights" optional:"yes" enum:"random pretrained" doc:"of a timm model"`
	Checkpoint    string            `toml:"checkpoint" optional:"yes" doc:"file with the weights of a timm model, instead of timm's local cache"`
	Recipe        string            `toml:"recipe" optional:"yes" doc:"how it is trained; without one it is used as it is"`
	Seeds         []uint64          `toml:"seeds" optional:"yes" doc:"one model for each"`
	Template      bool              `toml:"template" optional:"yes" doc:"only copied by [[set]], not a model of the run itself"`
	Heads         int               `toml:"heads" optional:"yes" min:"1" max:"2" doc:"2: a distilled network of timm gives both of its classifiers"`
	Mean          []float64         `toml:"mean" optional:"yes" doc:"per channel, subtracted from pixels in [0,1]"`
	Std           []float64         `toml:"std" optional:"yes" above:"0" doc:"per channel, divides after that"`
	InputSize     Size              `toml:"input_size" optional:"yes" doc:"height and width in pixels"`
	CropPct       float64           `toml:"crop_pct" optional:"yes" above:"0" max:"1" doc:"side of the centre crop / side it is cut from"`
	Interpolation string            `toml:"interpolation" optional:"yes" enum:"bilinear bicubic nearest" doc:"of the resize before the crop"`
	Components    map[string]string `toml:"components" optional:"yes"`
}

// ComponentNames are the 13 architectural components of a model, in the order of the paper's table.
var ComponentNames = []string{
	"base_architecture", "stem_layer", "input_resolution", "normalization", "hierarchical", "activation", "pooling_stem",
	"self_attention_2d", "cw_attention", "dw_conv", "group_conv", "pooling_final", "cw_attention_location",
}

// Recipe says how a model is trained.
type Recipe struct {
	Inherit        string    `toml:"inherit" optional:"yes" doc:"recipe whose values hold where this one is silent"`
	Epochs         int       `toml:"epochs" min:"1" doc:"passes over the training images"`
	Batch          int       `toml:"batch" min:"1" doc:"images per step"`
	Opt            string    `toml:"opt" enum:"sgd adamw lamb rmsprop" doc:"optimiser"`
	Momentum       float64   `toml:"momentum" only:"opt=sgd|rmsprop" min:"0" below:"1"`
	Nesterov       bool      `toml:"nesterov" only:"opt=sgd"`
	Betas          []float64 `toml:"betas" only:"opt=adamw|lamb|rmsprop" min:"0" below:"1" doc:"decay of the averages of the gradient and its square"`
	Eps            float64   `toml:"eps" only:"opt=adamw|lamb|rmsprop" above:"0"`
	LR             float64   `toml:"lr" above:"0" doc:"largest learning rate"`
	LRScaleBatch   int       `toml:"lr_scale_batch" min:"0" doc:"used lr = lr * batch / this; 0 = lr as it is"`
	WeightDecay    float64   `toml:"weight_decay" min:"0"`
	DecayAllParams bool      `toml:"decay_all_params" doc:"biases and normalisation weights too"`
	ClipGrad       float64   `toml:"clip_grad" min:"0" doc:"largest norm of the gradient; 0 = no limit"`
	LayerDecay     float64   `toml:"layer_decay" above:"0" max:"1" doc:"factor of the learning rate from one transformer block to the one before it"`
	Accumulate     int       `toml:"accumulate" min:"1" doc:"parts of a batch that are computed one after the other"`
	EMA            float64   `toml:"ema" min:"0" below:"1" doc:"decay of the average of the weights; 0 = none"`
	EMAExport      bool      `toml:"ema_export" doc:"the trained model has the averaged weights"`
	AverageLast    int       `toml:"average_last" optional:"yes" min:"0" doc:"the trained model has the mean of the weights after each of so many last epochs"`
	AMP            string    `toml:"amp" enum:"float32 bfloat16 float16" doc:"in which products and convolutions compute; float16 needs CUDA"`
	Sched          string    `toml:"sched" enum:"step cosine" doc:"course of the learning rate"`
	SchedUnit      string    `toml:"sched_unit" enum:"epoch update" doc:"how often the learning rate changes"`
	StepEpochs     int       `toml:"step_epochs" only:"sched=step" min:"1" doc:"epochs between two drops"`
	Gamma          float64   `toml:"gamma" only:"sched=step" above:"0" max:"1" doc:"factor of a drop"`
	SchedLag       int       `toml:"sched_lag" only:"sched_unit=epoch" min:"0" doc:"epochs by which the learning rate is late; DeiT's loop has 1"`
	WarmupEpochs   float64   `toml:"warmup_epochs" min:"0" doc:"epochs in which the learning rate rises from warmup_lr"`
	WarmupLR       float64   `toml:"warmup_lr" min:"0"`
	MinLR          float64   `toml:"min_lr" only:"sched=cosine" min:"0" doc:"learning rate at the end"`
	Loss           string    `toml:"loss" enum:"ce bce" doc:"cross-entropy, or binary cross-entropy per class"`
	BCEThreshold   float64   `toml:"bce_threshold" only:"loss=bce" min:"0" below:"1" doc:"targets above it count as 1, others as 0; 0 = as they are"`
	LabelSmoothing float64   `toml:"label_smoothing" min:"0" below:"1"`
	CropScale      []float64 `toml:"crop_scale" optional:"yes" above:"0" max:"1" doc:"least and largest share of the area that a random resized crop takes"`
	CropRatio      []float64 `toml:"crop_ratio" optional:"yes" above:"0" doc:"least and largest width / height of the crop; default 3/4 to 4/3"`
	Interpolation  string    `toml:"interpolation" enum:"bilinear bicubic random" doc:"of crops and geometric augmentation"`
	AA             string    `toml:"aa" optional:"yes" doc:"RandAugment in timm's notation: rand-m9-mstd0.5-inc1"`
	ColorJitter    float64   `toml:"color_jitter" min:"0" max:"10" doc:"of brightness, contrast and saturation; without effect while aa is on"`
	EraseProb      float64   `toml:"erase_prob" min:"0" max:"1" doc:"probability that a box of an image is filled with noise"`
	RepeatedAug    int       `toml:"repeated_aug" min:"1" doc:"how often an image comes in a row, differently augmented"`
	Mixup          float64   `toml:"mixup" min:"0" doc:"parameter of the Beta distribution of the shares; 0 = no mixup"`
	CutMix         float64   `toml:"cutmix" min:"0" doc:"parameter of the Beta distribution of the boxes; 0 = no CutMix"`
	MixProb        float64   `toml:"mix_prob" min:"0" max:"1" doc:"probability that a batch is mixed"`
	MixSwitch      float64   `toml:"mix_switch" min:"0" max:"1" doc:"probability that it is CutMix, where both are used"`
	CutMixBox      string    `toml:"cutmix_box" enum:"floor ceil" doc:"size of odd boxes: as timm 0.6.7 and DeiT, or as timm 1.0.31"`
	Shift          int       `toml:"shift" min:"0" doc:"largest random shift of an image, in pixels"`
	HFlip          float64   `toml:"hflip" min:"0" max:"1" doc:"probability of a horizontal flip"`
	EvalEvery      int       `toml:"eval_every" min:"1" doc:"epochs from one evaluation to the next; the last is always evaluated"`

	LogEvery    int  `toml:"log_every" min:"0" doc:"updates from one line of logs/NAME/log.jsonl to the next; 0 = no lines"`
	TensorBoard bool `toml:"tensorboard" optional:"yes" doc:"write the same, and the scores of each epoch, as event file for TensorBoard"`
	KeepLast    int  `toml:"keep_last" optional:"yes" min:"0" doc:"keep the checkpoints of so many last epochs, in logs/NAME/epochs"`
	KeepBest    int  `toml:"keep_best" optional:"yes" min:"0" doc:"keep those of so many epochs with the highest accuracy"`

	Pretrain string `toml:"pretrain" optional:"yes" doc:"[[pretrain]] whose encoder the training starts from"`

	Adversarial *Adversarial `toml:"adversarial"`
	Distill     *Distill     `toml:"distill"`
}

// Adversarial asks for adversarial training: every batch is replaced by images that an attack on the current weights makes of it.
type Adversarial struct {
	Epsilon     Fraction `toml:"epsilon" above:"0" max:"1" doc:"radius of the L-infinity ball, pixels in [0,1]"`
	StepSize    Fraction `toml:"step_size" above:"0" doc:"pixels in [0,1]"`
	Steps       int      `toml:"steps" min:"1" doc:"of the attack, for every batch"`
	RandomStart bool     `toml:"random_start" doc:"start at a random point of the ball"`
}

// Distill asks for distillation on a second classifier (DeiT). The teacher is given by a [[set]].
type Distill struct {
	Type        string  `toml:"type" enum:"hard soft" doc:"the teacher's class, or its probabilities"`
	Alpha       float64 `toml:"alpha" min:"0" max:"1" doc:"share of the distillation in the loss"`
	Tau         float64 `toml:"tau" only:"type=soft" above:"0" doc:"temperature"`
	Resize      string  `toml:"resize" enum:"bicubic bilinear" doc:"of the student's images to the teacher's size"`
	Renormalise bool    `toml:"renormalise" doc:"the teacher gets its own mean and deviation; false: what the student sees, as in DeiT's code"`
	Precision   string  `toml:"precision" enum:"float32 bfloat16 float16" doc:"in which the teacher computes"`
}

// Sweep repeats the experiment at other radii.
type Sweep struct {
	Epsilon []Fraction `toml:"epsilon" optional:"yes" min:"0" doc:"radii, pixels in [0,1]; attack.epsilon is used in any case"`
}

// Ablation repeats the comparison with another attack and sets its scores beside those of the main one.
type Ablation struct {
	Name    string   `toml:"name" doc:"of its results; default: the method"`
	Models  []string `toml:"models" optional:"yes" doc:"models that are compared, scored both ways; default: all"`
	Sources []string `toml:"sources" optional:"yes" doc:"in place of models: those that are attacked, scored by their images alone on all others"`
	Attack  Attack   `toml:"attack" doc:"what it leaves out is as in [attack] if the method is the same; with another, radius and seed are"`
}

// Transfer says how adversarial images of one model are shown to a model of another input size.
type Transfer struct {
	Resize     string `toml:"resize" enum:"bilinear bicubic nearest"`
	Antialias  bool   `toml:"antialias" only:"resize=bilinear|bicubic" doc:"blur before shrinking"`
	Clean      string `toml:"clean" enum:"own shared" doc:"own: each model's own preprocessing; shared: one image for all, resized"`
	ResizeOnly bool   `toml:"resize_only" doc:"also count the errors that resizing alone causes"`
}

// Similarity says how counts become scores.
type Similarity struct {
	Floor     float64 `toml:"floor" above:"0" max:"100" doc:"smallest success rate before the logarithm, in percent"`
	Bootstrap int     `toml:"bootstrap" min:"0" doc:"resamples of the images behind each interval; 0 = no intervals"`
	Seed      uint64  `toml:"seed" doc:"of the resamples; default: the run's seed"`
}

// Report says what the report shows.
type Report struct {
	Title string   `toml:"title" doc:"default: the run's name"`
	Paper bool     `toml:"paper" doc:"set the paper's values beside ours"`
	See   []string `toml:"see" optional:"yes" doc:"experiment files whose reports this one points to"`
	PDF   bool     `toml:"pdf" doc:"write the figures as PDF too"`
	// Dendrogram is the matrix once more.
	Dendrogram bool `toml:"dendrogram" doc:"the similarity matrix also in the order of a hierarchical clustering, with its tree"`
}

// Size is an image size. In a file it is one number for a square, or [height, width]. The zero Size is "not given".
type Size struct{ Height, Width int }

func (s *Size) fromTOML(raw any) *misfit {
	wrong := &misfit{"wants a size in pixels", "write one number for a square, 224, or [height, width]"}
	sides, _ := raw.([]any)
	if side, ok := raw.(int64); ok {
		sides = []any{side, side}
	}
	const largest = 1 << 16
	var values []int
	for _, side := range sides {
		v, ok := side.(int64)
		if !ok || v < 1 || v > largest {
			return wrong
		}
		values = append(values, int(v))
	}
	if len(values) != 2 {
		return wrong
	}
	*s = Size{values[0], values[1]}
	return nil
}
