package experiment_test

import (
	"errors"
	"flag"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"sat/internal/experiment"
)

var update = flag.Bool("update", false, "rewrite the expected texts; look at the difference before committing it")

// minimal is the smallest experiment; tests append to it.
const minimal = `[data]
path = "images"
[[model]]
timm = "a"
[[model]]
timm = "b"
`

func parse(t *testing.T, text string) *experiment.Config {
	t.Helper()
	c, err := experiment.Parse("exp.toml", text)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// problems parses a text that must be wrong.
func problems(t *testing.T, text string) []experiment.Problem {
	t.Helper()
	_, err := experiment.Parse("exp.toml", text)
	var many *experiment.Problems
	if !errors.As(err, &many) || len(many.List) == 0 {
		t.Fatalf("error is %v, want problems", err)
	}
	return many.List
}

// golden compares got with testdata/name.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got == string(want) {
		return
	}
	gotLines, wantLines := strings.Split(got, "\n"), strings.Split(string(want), "\n")
	for i := range max(len(gotLines), len(wantLines)) {
		line := func(lines []string) string {
			if i < len(lines) {
				return lines[i]
			}
			return "(end)"
		}
		if line(gotLines) != line(wantLines) {
			t.Fatalf("%s, line %d:\n got %s\nwant %s", path, i+1, line(gotLines), line(wantLines))
		}
	}
}

// TestProblemText covers the kinds of mistakes that the TOML library reports in four different ways, or not at all.
func TestProblemText(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"unknown key", minimal + "[attack]\nepslion = \"4/255\"\n", `exp.toml:8: unknown key "attack.epslion"
    8 | epslion = "4/255"
      | ^^^^^^^ did you mean "epsilon"?`},
		{"syntax", minimal + "[attack]\nsteps = fifty\n", `exp.toml:8: not valid TOML: expected value but found "fifty" instead
    8 | steps = fifty
      |         ^^^^^ texts and fractions are written between quotes: "8/255"`},
		{"own type", minimal + "[attack]\nepsilon = \"8/0\"\n", `exp.toml:8: attack.epsilon cannot be read: "8/0" divides by zero
    8 | epsilon = "8/0"
      |           ^^^^^ write a fraction with a denominator other than 0, "8/255", or a decimal, 0.03`},
		{"plain type", minimal + "[attack]\n  steps = \"50\" # many\n", `exp.toml:8: attack.steps wants an integer, not a string
    8 |   steps = "50" # many
      |           ^^^^ write 50 without the quotes`},
		{"missing", "[data]\npath = \"x\"\n\n[[model]]\nname = \"a\"\n", `exp.toml:4: the model has neither a timm name nor a path
    4 | [[model]]
      |   ^^^^^ add timm = "NAME" or path = "FILE.pt"`},
		{"contradiction", minimal + "[transfer]\nresize = \"nearest\"\nantialias = true\n", `exp.toml:9: antialias means nothing with resize = "nearest"
    9 | antialias = true
      | ^^^^^^^^^ leave it out, or write resize = "bilinear"`},
		{"tab in front", minimal + "[attack]\n\tstep = 1\n", "exp.toml:8: unknown key \"attack.step\"\n    8 | \tstep = 1\n      | \t^^^^ did you mean \"steps\"?"},
		{"closing quote", minimal + "[attack]\nmethod = \"pgd\n", `exp.toml:8: not valid TOML: strings cannot contain newlines
    8 | method = "pgd
      |             ^ the closing quote is missing`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := experiment.Parse("exp.toml", c.text); err == nil || err.Error() != c.want {
				t.Errorf("got\n%v\nwant\n%s", err, c.want)
			}
		})
	}
}

func TestManyProblemsAtOnce(t *testing.T) {
	_, err := experiment.Load("testdata/many_problems.toml")
	if err == nil {
		t.Fatal("accepted")
	}
	golden(t, "many_problems.txt", err.Error()+"\n")
}

// TestProblem lists mistakes with the line and the words that must be in the message.
func TestProblem(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		line int
		part string
	}{
		"nothing":                    {"", 1, "no model"},
		"no data":                    {"[[model]]\ntimm=\"a\"\n", 1, "[data] does not say which images"},
		"path and images":            {"[data]\npath=\"a\"\nimages=\"b\"\nlabels_file=\"c\"\n[[model]]\ntimm=\"a\"", 3, "both a path and images"},
		"images without labels":      {"[data]\nimages=\"b\"\n[[model]]\ntimm=\"a\"", 2, "have no labels"},
		"images and own clean":       {"[data]\nimages=\"b\"\nlabels_file=\"c\"\n[transfer]\nclean=\"own\"\n[[model]]\ntimm=\"a\"", 5, "shared"},
		"images and recipe":          {"[data]\nimages=\"b\"\nlabels_file=\"c\"\n[[model]]\ntimm=\"a\"\nrecipe=\"r\"\n[recipe.r]\nepochs=1\nbatch=1\nopt=\"sgd\"\nlr=1", 6, "no images to train on"},
		"images and subset":          {"[data]\nimages=\"b\"\nlabels_file=\"c\"\nsubset.fraction=0.1\n[[model]]\ntimm=\"a\"", 4, "file names"},
		"subset without size":        {minimal + "[data.subset]\nmode=\"uniform\"\n", 7, "how many"},
		"subset fraction and count":  {minimal + "[data.subset]\nfraction=0.5\ncount=3\n", 9, "both"},
		"subset all with fraction":   {minimal + "[data.subset]\nfraction=0.5\nmode=\"all\"\n", 9, "every image"},
		"count of what":              {minimal + "[data.subset]\ncount=10\n", 8, "what is counted"},
		"fraction above one":         {minimal + "[data.subset]\nfraction=1.5\n", 8, "at most 1"},
		"prepare of something else":  {"[data]\npath=\"a\"\nprepare=\"cifar\"\n[[model]]\ntimm=\"a\"", 3, `one of: digits, few-digits, photographs`},
		"labels guessed":             {"[data]\npath=\"a\"\nlabels=\"guessed\"\n[[model]]\ntimm=\"a\"", 3, `one of: given, predicted`},
		"predicted and given labels": {"[data]\nimages=\"a\"\nlabels=\"predicted\"\nlabels_file=\"y\"\n[[model]]\ntimm=\"a\"", 4, "means nothing"},
		"zoo without names":          {minimal + "[zoo]\nweights=\"random\"", 7, "names no network"},
		"zoo of no weights":          {minimal + "[zoo]\nnames=[\"a\"]\nweights=\"trained\"", 9, "one of: pretrained, random"},
		"checkpoints of random":      {minimal + "[zoo]\nnames=[\"a\"]\nweights=\"random\"\ncheckpoints=\"c\"", 10, "means nothing"},
		"checkpoints and modules":    {minimal + "[zoo]\nnames=[\"a\"]\nmodules=\"m\"\ncheckpoints=\"c\"", 10, "both"},
		"split with a path":          {"[data]\npath=\"a\"\nval=\"../b\"\n[[model]]\ntimm=\"a\"", 3, "split"},
		"one bracket":                {"[data]\npath=\"a\"\n[model]\ntimm=\"a\"", 3, "two brackets"},
		"model is a number":          {"model = 3\n[data]\npath=\"a\"\n", 1, "an array"},
		"table is a number":          {"attack = 3\n" + minimal, 1, "[attack] on a line of its own"},
		"timm and path":              {minimal + "[[model]]\ntimm=\"a\"\nname=\"c\"\npath=\"b.pt\"", 10, "both"},
		"empty timm":                 {minimal + "[[model]]\nname=\"c\"\ntimm=\"\"", 9, "empty"},
		"duplicate names":            {minimal + "[[model]]\ntimm=\"b\"", 8, "in line 6"},
		"duplicate by seed":          {minimal + "[[model]]\nname=\"c-s1\"\ntimm=\"x\"\n[[model]]\nname=\"c\"\ntimm=\"x\"\nweights=\"random\"\nseeds=[0,1]", 11, `"c-s1", here and in line 8`},
		"duplicate by file":          {minimal + "[[model]]\npath=\"x/b.pt\"", 8, "in line 6"},
		"name with a slash":          {minimal + "[[model]]\nname=\"a/b\"\ntimm=\"x\"", 8, `contains '/'`},
		"hub name":                   {minimal + "[[model]]\ntimm=\"hf_hub:timm/x\"", 8, `write name =`},
		"seeds of finished weights":  {minimal + "[[model]]\nname=\"c\"\ntimm=\"x\"\nseeds=[0,1]", 10, "the same model"},
		"seeds of a file":            {minimal + "[[model]]\npath=\"c.pt\"\nseeds=[0,1]", 9, "the same model"},
		"no seeds":                   {minimal + "[[model]]\npath=\"c.pt\"\nseeds=[]\nrecipe=\"r\"\n[recipe.r]\nepochs=1\nbatch=1\nopt=\"sgd\"\nlr=1", 9, "empty"},
		"negative seed":              {minimal + "[attack]\nseed=-1", 8, "negative"},
		"args of a file":             {minimal + "[[model]]\npath=\"c.pt\"\nargs={a=1}", 9, "timm models"},
		"pretrained and recipe":      {minimal + "[[model]]\ntimm=\"c\"\nweights=\"pretrained\"\nrecipe=\"r\"\n[recipe.r]\nepochs=1\nbatch=1\nopt=\"sgd\"\nlr=1", 9, "random weights"},
		"unknown recipe":             {minimal + "[[model]]\ntimm=\"c\"\nrecipe=\"r\"", 9, "add a table [recipe.r]"},
		"space of two channels":      {minimal + "[boundary]\nspace_std=[1,1]", 8, "2 numbers"},
		"more pictures than planes":  {minimal + "[boundary]\ntriplets=2\npictures=3", 9, "3 pictures of 2 planes"},
		"no triplets":                {minimal + "[boundary]\ntriplets=0", 8, "at least 1"},
		"stability alone":            {minimal + "[stability]\nrepeats=3", 7, "add [boundary]"},
		"stability of one":           {minimal + "[boundary]\n[stability]\npair=[\"a\"]", 9, "two different models"},
		"sizes that fall":            {minimal + "[boundary]\n[stability]\nsizes=[20,10]", 9, "not rising"},
		"no sizes":                   {minimal + "[boundary]\n[stability]\nsizes=[]", 9, "empty"},
		"one repeat":                 {minimal + "[boundary]\n[stability]\nrepeats=1", 9, "at least 2"},
		"adversarial by a word":      {minimal + "[recipe.r]\nepochs=1\nbatch=1\nopt=\"sgd\"\nlr=1\nadversarial=true", 12, "a table"},
		"adversarial without steps":  {minimal + "[recipe.r]\nepochs=1\nbatch=1\nopt=\"sgd\"\nlr=1\nadversarial={steps=0}", 12, "at least 1"},
		"adversarial in bytes":       {minimal + "[recipe.r]\nepochs=1\nbatch=1\nopt=\"sgd\"\nlr=1\nadversarial={epsilon=8}", 12, `did you mean "8/255"?`},
		"adversarial and mixed":      {minimal + "[recipe.r]\nepochs=1\nbatch=2\nopt=\"sgd\"\nlr=1\nmixup=0.8\nadversarial={steps=1}", 13, "one label"},
		"mean without std":           {minimal + "[[model]]\ntimm=\"c\"\nmean=[0.5]", 9, "std"},
		"std of zero":                {minimal + "[[model]]\ntimm=\"c\"\nmean=[0.5]\nstd=[0]", 10, "more than 0"},
		"mean and std of two sizes":  {minimal + "[[model]]\ntimm=\"c\"\nmean=[0.5]\nstd=[1,1]", 10, "1 means and 2"},
		"size of three":              {minimal + "[[model]]\ntimm=\"c\"\ninput_size=[3,224,224]", 9, "[height, width]"},
		"size of text":               {minimal + "[[model]]\ntimm=\"c\"\ninput_size=\"224\"", 9, "size in pixels"},
		"NaN in args":                {minimal + "[[model]]\ntimm=\"c\"\nargs.drop=nan", 9, "finite"},
		"NaN in a recipe":            {minimal + "[recipe.r]\nepochs=1\nbatch=1\nopt=\"sgd\"\nlr=nan", 11, "finite"},
		"recipe lacks much":          {minimal + "[recipe.r]\nepochs=1\nsched=\"step\"", 7, "lacks batch, opt, lr, step_epochs"},
		"recipe is no table":         {minimal + "[recipe]\nepochs=1", 8, "[recipe.epochs]"},
		"recipes are no table":       {"recipe=1\n" + minimal, 1, "[recipe.NAME]"},
		"inherits itself":            {minimal + "[recipe.r]\ninherit=\"r\"", 8, `"r" inherits itself`},
		"cycle of three":             {minimal + "[recipe.a]\ninherit=\"b\"\n[recipe.b]\ninherit=\"c\"\n[recipe.c]\ninherit=\"a\"", 12, "inherits itself by way of"},
		"warm-up to the end":         {minimal + "[recipe.r]\nepochs=1\nbatch=1\nopt=\"sgd\"\nlr=1\nwarmup_epochs=1", 12, "1 of 1 epochs"},
		"Nesterov without momentum":  {minimal + "[recipe.r]\nepochs=1\nbatch=1\nopt=\"sgd\"\nlr=1\nmomentum=0\nnesterov=true", 13, "momentum"},
		"learning rate rises":        {minimal + "[recipe.r]\nepochs=1\nbatch=1\nopt=\"sgd\"\nlr=1e-3\nmin_lr=1.0", 12, "above its start"},
		"three betas":                {minimal + "[recipe.r]\nepochs=1\nbatch=1\nopt=\"adamw\"\nlr=1\nbetas=[0.1,0.2,0.3]", 12, "two numbers"},
		"empty set":                  {minimal + "[[set]]\nname=\"s\"\narchitecture=\"a\"\ndiversity=\"regime\"", 7, "the set is empty"},
		"set without a name":         {minimal + "[[set]]\nmodels=[\"b\"]\narchitecture=\"a\"\ndiversity=\"regime\"", 7, "lacks name"},
		"set of a stranger":          {minimal + "[[set]]\nname=\"s\"\narchitecture=\"a\"\ndiversity=\"regime\"\nmodel=\"x\"", 11, "no model \"x\""},
		"set of what is not trained": {minimal + "[[set]]\nname=\"s\"\narchitecture=\"a\"\ndiversity=\"regime\"\nmodel=\"b\"", 11, "not trained here"},
		"two ways to vary":           {minimal + "[[set]]\nname=\"s\"\narchitecture=\"a\"\ndiversity=\"regime\"\nmodel=\"b\"\nlr_mul=[1]\nrecipes=[]", 7, "exclude each other"},
		"a draw of two":              {minimal + "[[set]]\nname=\"s\"\narchitecture=\"a\"\ndiversity=\"regime\"\nmodel=\"b\"\ndraws=[[1,2]]", 12, "wants a draw"},
		"teachers of a regime":       {minimal + "[[set]]\nname=\"s\"\narchitecture=\"a\"\ndiversity=\"regime\"\nmodel=\"b\"\nteachers=[\"b\"]", 10, "belong together"},
		"template of nothing":        {minimal + "[[model]]\ntimm=\"c\"\ntemplate=true", 9, "no set copies c"},
		"student without teacher":    {minimal + "[[model]]\ntimm=\"c\"\nrecipe=\"r\"\n[recipe.r]\nepochs=1\nbatch=8\nopt=\"sgd\"\nlr=1\ndistill={}", 9, "from no teacher"},
		"mixing an odd batch":        {minimal + "[recipe.r]\nepochs=1\nopt=\"adamw\"\nlr=1\nbatch=3\nmixup=0.8", 11, "3 is odd"},
		"parts of a batch":           {minimal + "[recipe.r]\nepochs=1\nopt=\"adamw\"\nlr=1\nbatch=8\naccumulate=3", 12, "no 3 equal parts"},
		"crop that falls":            {minimal + "[recipe.r]\nepochs=1\nopt=\"adamw\"\nlr=1\nbatch=8\ncrop_scale=[1,0.1]", 12, "two rising numbers"},
		"crop and shift":             {minimal + "[recipe.r]\nepochs=1\nopt=\"adamw\"\nlr=1\nbatch=8\ncrop_scale=[0.1,1]\nshift=2", 13, "both move"},
		"ratio without crop":         {minimal + "[recipe.r]\nepochs=1\nopt=\"adamw\"\nlr=1\nbatch=8\ncrop_ratio=[1,1]", 12, "without a crop"},
		"two averages":               {minimal + "[recipe.r]\nepochs=4\nopt=\"adamw\"\nlr=1\nbatch=8\nema=0.9\nema_export=true\naverage_last=2", 14, "both say which weights"},
		"average of more epochs":     {minimal + "[recipe.r]\nepochs=4\nopt=\"adamw\"\nlr=1\nbatch=8\naverage_last=5", 12, "average_last is 5, but there are 4 epochs"},
		"keep more epochs":           {minimal + "[recipe.r]\nepochs=4\nopt=\"adamw\"\nlr=1\nbatch=8\nkeep_best=9", 12, "at most keep_best = 4"},
		"keep fewer than none":       {minimal + "[recipe.r]\nepochs=4\nopt=\"adamw\"\nlr=1\nbatch=8\nkeep_last=-1", 12, "at least 0"},
		"log every half update":      {minimal + "[recipe.r]\nepochs=4\nopt=\"adamw\"\nlr=1\nbatch=8\nlog_every=0.5", 12, ""},
		"misspelt option":            {minimal + "[recipe.r]\nepochs=4\nopt=\"adamw\"\nlr=1\nbatch=8\ntensorbord=true", 12, `did you mean "tensorboard"`},
		"no average to export":       {minimal + "[recipe.r]\nepochs=1\nopt=\"adamw\"\nlr=1\nbatch=8\nema_export=true", 12, "without an average"},
		"policy":                     {minimal + "[recipe.r]\nepochs=1\nopt=\"adamw\"\nlr=1\nbatch=8\naa=\"rand-m12\"", 12, "m0..10"},
		"eight instead of 8/255":     {minimal + "[attack]\nepsilon=8", 8, `did you mean "8/255"?`},
		"negative radius":            {minimal + "[attack]\nepsilon=\"-8/255\"", 8, "at least 0"},
		"radius of text":             {minimal + "[attack]\nepsilon=\"small\"", 8, "not a number"},
		"radius that fills memory":   {minimal + "[attack]\nepsilon=\"1e999999999\"", 8, "not a number"},
		"radius of boolean":          {minimal + "[attack]\nepsilon=true", 8, "true or false"},
		"restarts without start":     {minimal + "[attack]\nrestarts=2", 8, "random_start"},
		"method in full":             {minimal + "[attack]\nmethod=\"auto-attack\"", 8, `did you mean "autoattack"?`},
		"step of the square attack":  {minimal + "[attack]\nmethod=\"square\"\nstep_size=0.1", 9, "step_size means nothing with method square"},
		"random start of AutoAttack": {minimal + "[attack]\nmethod=\"autoattack\"\nrandom_start=true", 9, "it is for pgd, pgd-l2"},
		"stream of PGD":              {minimal + "[attack]\nrng=\"stream-compat\"", 8, "it is for apgd-ce"},
		"L2 without radius":          {minimal + "[attack]\nmethod=\"pgd-l2\"", 7, "give the radius"},
		"L2 norm without radius":     {minimal + "[attack]\nmethod=\"square\"\nnorm=\"L2\"", 7, "0.5"},
		"L2 in normalised units":     {minimal + "[attack]\nmethod=\"pgd-l2\"\nepsilon=0.5\nstep_unit=\"norm\"", 10, "no length in L2"},
		"APGD without a step":        {minimal + "[attack]\nmethod=\"apgd-ce\"\nsteps=0", 9, "at least 1"},
		"sweep of 8":                 {minimal + "[sweep]\nepsilon=[8]", 8, "pixels are in [0,1]"},
		"radius of Patch-Fool":       {minimal + "[attack]\nmethod=\"patchfool\"\nepsilon=0.1", 9, "epsilon means nothing with method patchfool"},
		"sweep of Patch-Fool":        {minimal + "[attack]\nmethod=\"patchfool\"\n[sweep]\nepsilon=[0.1]", 10, "no radius"},
		"two mild bounds":            {minimal + "[attack]\nmethod=\"patchfool\"\nmild_l2=1\nmild_linf=0.1", 9, "exclude each other"},
		"attention of a file":        {"[data]\npath=\"x\"\n[[model]]\npath=\"a.pt\"\nattention=true", 5, "timm models"},
		"ablation without attack":    {minimal + "[[ablation]]\nname=\"a\"", 7, "method = \"autoattack\""},
		"ablation of a new method":   {minimal + "[[ablation]]\nattack={method=\"autoatack\"}", 8, `did you mean "autoattack"?`},
		"ablation twice":             {minimal + "[[ablation]]\nattack={steps=1}\n[[ablation]]\nattack={steps=2}", 10, "two ablations"},
		"ablation of nothing":        {minimal + "[[ablation]]\nsources=[]\nattack={steps=1}", 8, "sources is empty"},
		"ablation of no models":      {minimal + "[[ablation]]\nmodels=[]\nattack={steps=1}", 8, "models is empty"},
		"ablation of two kinds":      {minimal + "[[ablation]]\nmodels=[\"a\"]\nsources=[\"a\"]\nattack={steps=1}", 9, "both models and sources"},
		"ablation in L2":             {minimal + "[[ablation]]\nattack={method=\"pgd-l2\"}", 8, "give the radius"},
		"ablation of a square step":  {minimal + "[[ablation]]\nattack={method=\"square\", step_size=1}", 8, "means nothing with method square"},
		"sweep twice the same":       {minimal + "[sweep]\nepsilon=[\"8/255\",\"16/510\"]", 8, "twice"},
		"sweep is no array":          {minimal + "[sweep]\nepsilon=\"8/255\"", 8, "between brackets"},
		"floor of zero":              {minimal + "[similarity]\nfloor=0", 8, "more than 0"},
		"more clusters than models":  {minimal + "[analysis.clusters]\n", 7, "10 clusters of 2 models"},
		"keywords without clusters":  {minimal + "[analysis.keywords]\n", 7, "add [analysis.clusters]"},
		"keywords of unknown models": {minimal + "[[model]]\npath=\"c.pt\"\n[analysis.clusters]\nk=2\n[analysis.keywords]\n", 7, "add [model.components]"},
		"chosen alone":               {minimal + "[analysis.choose]\nk=1", 8, "at least 2"},
		"unknown novel model":        {minimal + "[analysis.clusters]\nk=2\n[analysis.novel]\nmodels=[\"c\"]", 10, "no model \"c\""},
		"novel without clusters":     {minimal + "[analysis.novel]\nmodels=[\"a\"]", 7, "add [analysis.clusters]"},
		"unknown student":            {minimal + "[analysis.choose]\nstudent=\"c\"", 8, "no model \"c\""},
		"logits nowhere":             {minimal + "[analysis.ensembles]\nlogits=\"l\"\n", 7, "does not say where the logits are"},
		"matrix nowhere":             {minimal + "[analysis.matrices]\n", 7, "similarity/sat.csv"},
		"nameless training set":      {minimal + "[[analysis.training.set]]\nmodels=[\"a\"]\n", 7, "architecture"},
		"empty training set":         {minimal + "[[analysis.training.set]]\narchitecture=\"r\"\ndiversity=\"s\"\n", 7, "no models"},
		"unknown model in a set":     {minimal + "[[analysis.training.set]]\narchitecture=\"r\"\ndiversity=\"s\"\nmodels=[\"c\"]\n", 10, "no model \"c\""},
		"share without a split":      {minimal + "[analysis.importance]\nholdout=0.2\n", 8, "means nothing"},
		"set twice":                  {"[data]\npath=\"x\"\nsubset.mode=\"all\"\nsubset=3\n[[model]]\ntimm=\"a\"", 4, "a value already"},
		"defined twice":              {minimal + "[attack]\nsteps=1\nsteps=2", 9, "already been defined"},
		"bad device":                 {"device=\"gpu0\"\n" + minimal, 1, "cuda:1"},
		"empty out":                  {"out=\"\"\n" + minimal, 1, "runs/NAME"},
		"huge count":                 {"batch=99999999999\n" + minimal, 1, "too large"},
		"not UTF-8":                  {minimal + "\xff", 7, "UTF-8"},
		"memory without unit":        {"memory=8\n" + minimal, 1, "an amount of memory"},
		"memory of words":            {"memory=\"much\"\n" + minimal, 1, "8GiB"},
		"batch of nobody":            {"batch=0\n" + minimal, 1, "add memory"},
		"wrong boolean":              {minimal + "[attack]\nrandom_start=\"true\"", 8, "without the quotes"},
		"name is a number":           {"name=3\n" + minimal, 1, "between quotes"},
		"component of a number":      {minimal + "[model.components]\nstem_layer=4", 8, "a string"},
	} {
		t.Run(name, func(t *testing.T) {
			list := problems(t, c.text)
			for _, p := range list {
				if p.Line == c.line && strings.Contains(p.Message+"\n"+p.Hint, c.part) {
					return
				}
			}
			t.Errorf("no problem in line %d says %q:\n%v", c.line, c.part, &experiment.Problems{List: list})
		})
	}
}

// TestSet: a value of the command line takes the place of the file's, and a mistake in it is shown there.
func TestSet(t *testing.T) {
	text := minimal + "[data.subset]\nfraction=0.1\n[zoo]\nnames=[\"a\"]\n"
	c, err := experiment.Parse("exp.toml", text, "name=other", "data.path=/some where/2024", `data.subset={mode = "all"}`, "attack.epsilon=4/255",
		"attack.steps=3", "sweep.epsilon=[\"1/255\"]", `zoo.names=["b", "c"]`, "zoo.weights=random", "report.paper=false", "report.title=2024-01-01")
	if err != nil {
		t.Fatal(err)
	}
	got := []any{c.Name, c.Out, c.Data.Path, c.Data.Subset.Mode, c.Attack.Epsilon.String(), c.Attack.Steps, len(c.Sweep.Epsilon),
		strings.Join(c.Zoo.Names, " "), c.Zoo.Weights, c.Report.Paper, c.Report.Title}
	want := []any{"other", "runs/other", "/some where/2024", "all", "4/255", 3, 1, "b c", "random", false, "2024-01-01"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	for set, part := range map[string]string{
		"attack.steps":        "is not KEY=VALUE",
		"=3":                  "is not KEY=VALUE",
		"attack.steps=many":   "wants an integer",
		"attack.stps=3":       `did you mean "steps"?`,
		"atack.steps=3":       `did you mean "attack"?`,
		"model.name=c":        "change a single [[model]] in the file",
		"data.path.deeper=3":  "data.path is not a table",
		"data.subset=3":       "[data.subset] on a line of its own",
		"data.subset.mode=al": "one of: per-class, uniform, all",
		"batch=-1":            "at least 0",
	} {
		_, err := experiment.Parse("exp.toml", text, set)
		var many *experiment.Problems
		if !errors.As(err, &many) || len(many.List) != 1 || many.List[0].File != "--set "+set || !strings.Contains(err.Error(), part) {
			t.Errorf("--set %s: got\n%v\nwant one problem there that says %q", set, err, part)
		}
	}
}

// TestNoFollowUps: one mistake is one problem.
func TestNoFollowUps(t *testing.T) {
	for _, text := range []string{
		minimal + "[data.subset]\nfraction=\"x\"\n",
		"[data]\npath=3\n[[model]]\ntimm=\"a\"",
		minimal + "[[model]]\ntimm=3\nname=\"c\"",
		minimal + "[[model]]\ntimm=\"c\"\nrecipe=3",
		minimal + "[[model]]\ntimm=\"c\"\nweights=\"random\"\nseeds=\"0\"",
		minimal + "[[model]]\ntimm=\"c\"\nweights=\"random\"\nseeds=[1,1]",
		minimal + "[recipe.a]\ninherit=\"b\"\n[recipe.b]\ninherit=\"a\"",
		minimal + "[recipe.a]\ninherit=\"x\"\n[recipe.b]\ninherit=\"a\"",
		minimal + "[recipe.a]\nepochs=1\nbatch=\"x\"\nopt=\"sgd\"\nlr=1",
		minimal + "[recipe.a]\nepochs=1\nbatch=1\nopt=\"adm\"\nlr=1\nmomentum=0.5",
		minimal + "[[model]]\ntimm=\"c\"\nmean=[0.5]\nstd=\"x\"",
		minimal + "[[model]]\ntimm=\"c\"\ncomponents=3",
	} {
		if list := problems(t, text); len(list) != 1 {
			t.Errorf("%d problems:\n%v", len(list), &experiment.Problems{List: list})
		}
	}
}

func TestLongLine(t *testing.T) {
	text := minimal + "[sweep]\nepsilon = [" + strings.Repeat("0.5, ", 200) + "\"x\"]\n"
	list := problems(t, text)
	for _, p := range list {
		if !strings.Contains(p.Message, "cannot be read") {
			continue
		}
		lines := strings.Split(p.String(), "\n")
		mark := strings.Index(lines[2], "^^^")
		if len(lines[1]) > 130 || mark < 0 || lines[1][mark:mark+3] != `"x"` {
			t.Errorf("the mark is off:\n%v", p)
		}
		return
	}
	t.Error("no such problem")
}

func TestLoadOfNoFile(t *testing.T) {
	dir := t.TempDir()
	binary := filepath.Join(dir, "binary.toml")
	if err := os.WriteFile(binary, []byte{0, 1, 2, 0xff}, 0o666); err != nil {
		t.Fatal(err)
	}
	for path, part := range map[string]string{
		filepath.Join(dir, "x.toml"): "there is no such file", dir: "is a folder", filepath.Join(binary, "x"): "cannot be read", binary: "not valid TOML",
	} {
		_, err := experiment.Load(path)
		var many *experiment.Problems
		if errors.Is(err, fs.ErrNotExist) != strings.HasSuffix(path, "x.toml") {
			t.Errorf("%s: %v is fs.ErrNotExist: %t", path, err, errors.Is(err, fs.ErrNotExist))
		}
		if !errors.As(err, &many) || !strings.Contains(err.Error(), part) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want %q", path, err, part)
		}
	}
}

func TestDefaults(t *testing.T) {
	c := parse(t, minimal)
	// The paper's settings, and the decisions of this project where it is silent.
	if a := c.Attack; a.Method != "pgd" || a.Epsilon.String() != "8/255" || a.StepSize.Float64() != 0.1 || a.StepUnit != "pixel" ||
		a.Steps != 50 || a.RandomStart || a.Restarts != 1 || a.Select != "last" || a.Step(a.Epsilon) != 0.1 {
		t.Errorf("attack %+v", a)
	}
	if c.Similarity.Floor != 5e-4 || c.Similarity.Bootstrap != 2000 || c.Name != "exp" || c.Out != "runs/exp" || c.Data.Subset.Mode != "all" ||
		c.Models[0].Weights != "pretrained" || c.Transfer.Clean != "own" || c.Analysis.Clusters != nil || c.Report.Title != "exp" {
		t.Errorf("config %+v", c)
	}
	c = parse(t, "seed = 5\n"+minimal+"[analysis.clusters]\nk = 2\nlaplacian = \"rw\"\n[data.subset]\nfraction = 0.1\n[similarity]\nseed = 6\n")
	if c.Attack.Seed != 5 || c.Similarity.Seed != 6 || c.Analysis.Clusters.Seed != 5 {
		t.Error("seeds do not follow the run's")
	}
	if c.Analysis.Clusters.Rows != "none" || c.Data.Subset.Mode != "per-class" {
		t.Errorf("rows %q, subset %q", c.Analysis.Clusters.Rows, c.Data.Subset.Mode)
	}
	c = parse(t, "[data]\nimages=\"x.npy\"\nlabels_file=\"y.npy\"\n[[model]]\npath=\"dir/net.v2.pt\"\ninput_size=28")
	if c.Transfer.Clean != "shared" || c.Models[0].Name != "net.v2" || c.Models[0].InputSize != (experiment.Size{Height: 28, Width: 28}) {
		t.Errorf("clean %q, model %+v", c.Transfer.Clean, c.Models[0])
	}
}

func TestStep(t *testing.T) {
	c := parse(t, minimal+"[attack]\nstep_size = 3.1875\nstep_unit = \"eps\"\n")
	// 3.1875 times 8/255 is 0.1 exactly, which the product of the two float64 is not bound to be.
	if got := c.Attack.Step(c.Attack.Epsilon); got != 0.1 {
		t.Errorf("step %v, want 0.1", got)
	}
	c = parse(t, minimal+"[attack]\nstep_size = 25.5\nstep_unit = \"byte\"\n")
	if got := c.Attack.Step(c.Attack.Epsilon); got != 0.1 {
		t.Errorf("25.5 bytes are %v, want 0.1", got)
	}
}

// TestAblation: what an ablation leaves out comes from the main attack as far as it means the same.
func TestAblation(t *testing.T) {
	c := parse(t, "seed = 4\n"+minimal+"[attack]\nepsilon=\"24/255\"\nsteps=7\nstep_size=0.2\n"+
		"[[ablation]]\nattack={method=\"autoattack\", queries=10}\n"+
		"[[ablation]]\nname=\"pgd-eps\"\nattack={step_size=0.1, step_unit=\"eps\"}\n"+
		"[[ablation]]\nattack={method=\"patchfool\"}\nsources=[\"a\"]\n")
	auto, eps, patch := c.Ablation[0], c.Ablation[1], c.Ablation[2]
	if a := auto.Attack; auto.Name != "autoattack" || a.Epsilon.String() != "24/255" || a.Steps != 100 || a.Queries != 10 || a.Seed != 4 || a.StepUnit != "" {
		t.Errorf("autoattack: %+v", auto)
	}
	if a := eps.Attack; eps.Name != "pgd-eps" || a.Steps != 7 || a.StepSize.Float64() != 0.1 || a.StepUnit != "eps" || a.Epsilon.String() != "24/255" {
		t.Errorf("pgd: %+v", eps)
	}
	if a := patch.Attack; a.Steps != 250 || a.Seed != 4 || a.Epsilon.Float64() != 0 || !slices.Equal(patch.Sources, []string{"a"}) {
		t.Errorf("patchfool: %+v", patch)
	}
	if again := parse(t, string(c.Resolved())); !reflect.DeepEqual(again.Ablation, c.Ablation) {
		t.Errorf("the resolved file gives %+v\nwant %+v\n%s", again.Ablation, c.Ablation, c.Resolved())
	}
}

// TestAttackMethods: what a method has no use for is neither in the resolved file nor in the keys that come from it, and
// the number of steps is the method's own.
func TestAttackMethods(t *testing.T) {
	for _, method := range experiment.Methods() {
		c := parse(t, minimal+"[attack]\nmethod = \""+method+"\"\nrng = \"keyed\"\n"+map[bool]string{true: "epsilon = 0.5\n"}[method != "patchfool"])
		if method == "square" != (c.Attack.Steps == 0) || strings.HasPrefix(method, "pgd") != (c.Attack.StepUnit == "pixel") {
			t.Errorf("%s: %+v", method, c.Attack)
		}
		if again := parse(t, string(c.Resolved())); !reflect.DeepEqual(again.Attack, c.Attack) {
			t.Errorf("%s: the resolved file gives %+v, want %+v", method, again.Attack, c.Attack)
		}
		if strings.Contains(string(c.Resolved()), "step_size") != strings.HasPrefix(method, "pgd") {
			t.Errorf("%s: the resolved file is\n%s", method, c.Resolved())
		}
	}
	if a := parse(t, minimal+"[attack]\nmethod=\"autoattack\"\nsteps=7\n").Attack; a.Steps != 7 || a.Targets != 9 || a.Queries != 5000 {
		t.Errorf("autoattack: %+v", a)
	}
}

// pretrained is a file with a pre-training and a recipe for it; tests append to it, or change it.
const pretrained = `[data]
path = "images"
[[model]]
name = "vit"
timm = "vit_tiny_patch16_224"
recipe = "tuned"
[[pretrain]]
name = "p"
method = "byol"
model = "vit"
recipe = "alone"
[recipe.alone]
epochs = 2
batch = 8
opt = "adamw"
lr = 1e-3
[recipe.tuned]
inherit = "alone"
pretrain = "p"
mixup = 0.8
`

func TestPretrain(t *testing.T) {
	c := parse(t, pretrained+"[probe]\n")
	if p := c.Pretraining("p"); p == nil || !slices.Equal(p.Momentum, []float64{0.99, 0.99}) || p.Hidden != 4096 || p.Mask != 0 || p.DecoderDepth != 0 {
		t.Errorf("the pre-training is %+v", p)
	}
	if c.Recipes["tuned"].Pretrain != "p" || !slices.Equal(c.Probe.Seeds, []uint64{0}) {
		t.Errorf("recipe %+v, probe %+v", c.Recipes["tuned"], c.Probe)
	}
	moco := parse(t, strings.Replace(pretrained, `"byol"`, `"mocov3"`, 1)).Pretrains[0]
	if !slices.Equal(moco.Momentum, []float64{0.99, 1}) || !moco.FreezePatches || moco.Temperature != 0.2 {
		t.Errorf("MoCo v3 is %+v", moco)
	}
	for name, w := range map[string]struct {
		old, new string // in the file
		line     int
		part     string
	}{
		"unknown method":   {`"byol"`, `"dino"`, 9, "one of: mae, mocov3, byol"},
		"no method":        {"method = \"byol\"\n", "", 7, "lacks method"},
		"another's key":    {"[recipe.alone]", "mask = 0.5\n[recipe.alone]", 12, `mask means nothing with method = "byol"`},
		"unknown model":    {`model = "vit"`, `model = "vot"`, 10, `there is no model "vot"`},
		"unknown recipe":   {`recipe = "alone"`, `recipe = "alon"`, 11, `did you mean "alone"?`},
		"recipe of labels": {`recipe = "alone"`, `recipe = "tuned"`, 11, `mixup of recipe "tuned" means nothing to a pre-training`},
		"unknown pretrain": {`pretrain = "p"`, `pretrain = "q"`, 19, `there is no [[pretrain]] "q"`},
		"falling momentum": {"[recipe.alone]", "momentum = [1, 0.9]\n[recipe.alone]", 12, "pretrain.momentum falls"},
		"three views":      {"[recipe.alone]", "blur_prob = [1, 1, 1]\n[recipe.alone]", 12, "pretrain.blur_prob has 3 numbers"},
		"hue":              {"[recipe.alone]", "jitter = [0, 0, 0, 0.6]\n[recipe.alone]", 12, "the jitter of hue is 0.6"},
		"twice":            {"[recipe.alone]", "[[pretrain]]\nname = \"p\"\nmethod = \"mae\"\nmodel = \"vit\"\nrecipe = \"alone\"\n[recipe.alone]", 13, `two pre-trainings are called "p"`},
		"a model's name":   {`name = "vit"`, "name = \"pretrain-p\"", 8, "has the name of this pre-training's module"},
		"trained weights":  {"recipe = \"tuned\"\n[[", "[[", 9, "vit is not trained here"},
		"decoder":          {`"byol"`, "\"mae\"\ndecoder_heads = 7", 10, "a decoder of width 512 has no 7 equal heads"},
		"batch of one":     {"batch = 8", "batch = 1", 11, "batches of one image"},
		"seed twice":       {"[recipe.alone]", "[probe]\nseeds = [1, 1]\n[recipe.alone]", 13, "seed 1 is there twice"},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(pretrained, w.old, w.new, 1)
			if text == pretrained {
				t.Fatalf("the file has no %q", w.old)
			}
			for _, p := range problems(t, text) {
				if p.Line == w.line && strings.Contains(p.Message+p.Hint, w.part) {
					return
				}
			}
			_, err := experiment.Parse("exp.toml", text)
			t.Errorf("no problem in line %d with %q:\n%v", w.line, w.part, err)
		})
	}
	if got := problems(t, pretrained+"[[pretrain]]\n"); len(got) < 2 {
		t.Errorf("only %v", got)
	}
}

func TestMembers(t *testing.T) {
	c, err := experiment.Load("testdata/complete.toml")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range c.Members() {
		got = append(got, strings.Join([]string{m.Name, m.Group, string(rune('0' + m.Seed))}, " "))
		if m.Set == nil && (m.Recipe != nil) != (m.Group == "vit") {
			t.Errorf("%s: recipe %v", m.Name, m.Recipe)
		}
		if (m.Teacher != "") != (m.Set != nil && m.Set.Name == "students") {
			t.Errorf("%s: teacher %q", m.Name, m.Teacher)
		}
	}
	want := []string{"resnet18.a1_in1k resnet18.a1_in1k 7", "vit-s0 vit 0", "vit-s1 vit 1", "vit-s4 vit 4", "network.v2 network.v2 7"}
	want = append(want,
		"init-s40 init X", "init-s41 init Y", "init-s42 init Z",
		"hp-lr5-wd0.1-cosine hp-lr5-wd0.1-cosine \u0094", "hp-lr0.5-wd2-step hp-lr0.5-wd2-step \u0095",
		"grid-lr0.2-wd0-step grid-lr0.2-wd0-step 0", "grid-lr0.2-wd0-cosine grid-lr0.2-wd0-cosine 1",
		"grid-lr0.2-wd1.5-step grid-lr0.2-wd1.5-step 2", "grid-lr0.2-wd1.5-cosine grid-lr0.2-wd1.5-cosine 3",
		"grid-lr1-wd0-step grid-lr1-wd0-step 4", "grid-lr1-wd0-cosine grid-lr1-wd0-cosine 5",
		"grid-lr1-wd1.5-step grid-lr1-wd1.5-step 6", "grid-lr1-wd1.5-cosine grid-lr1-wd1.5-cosine 7",
		"regime-long regime-long 0", "regime-deit regime-deit 1",
		"students-vit-s0-s0 students-vit-s0 0", "students-vit-s0-s1 students-vit-s0 1",
		"students-network.v2-s0 students-network.v2 0", "students-network.v2-s1 students-network.v2 1")
	if !slices.Equal(got, want) {
		t.Errorf("members %q, want %q", got, want)
	}
	for _, m := range c.Members() {
		if base := c.Recipes["short"]; m.Name == "hp-lr5-wd0.1-cosine" &&
			(m.Recipe.LR != 5*base.LR || m.Recipe.WeightDecay != 0.1*base.WeightDecay || m.Recipe.Sched != "cosine" || base.LR != 0.1) {
			t.Errorf("%s is trained by %+v", m.Name, m.Recipe)
		}
	}
}

func TestInheritance(t *testing.T) {
	c, err := experiment.Load("testdata/complete.toml")
	if err != nil {
		t.Fatal(err)
	}
	long := c.Recipes["long"]
	want := experiment.Recipe{Epochs: 40, Batch: 64, Opt: "adamw", Betas: []float64{0.9, 0.95}, Eps: 1e-6, LR: 0.1, LRScaleBatch: 256,
		WeightDecay: 1e-4, DecayAllParams: true, ClipGrad: 1, Sched: "cosine", SchedUnit: "update", WarmupEpochs: 1, WarmupLR: 0.001, MinLR: 1e-5,
		LabelSmoothing: 0.1, Shift: 2, HFlip: 0.5,
		LayerDecay: 1, Accumulate: 1, AMP: "float32", Loss: "ce", Interpolation: "bicubic", RepeatedAug: 1, EvalEvery: 1, MixProb: 1, MixSwitch: 0.5,
		CutMixBox: "floor", LogEvery: 50}
	if !reflect.DeepEqual(*long, want) {
		t.Errorf("recipe long is\n%+v, want\n%+v", *long, want)
	}
	// What means nothing to the recipe in between still reaches the one after it.
	if r := c.Recipes["longer"]; r.Epochs != 80 || r.Momentum != 0.8 || !r.Nesterov || r.Betas != nil {
		t.Errorf("recipe longer is %+v", r)
	}
}

// TestCompleteFileUsesEveryKey keeps testdata/complete.toml complete, so that the tests around it mean what they say.
func TestCompleteFileUsesEveryKey(t *testing.T) {
	text, err := os.ReadFile("testdata/complete.toml")
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := []string{"modules", "images", "fraction", "keywords", "base_map", "attention", "tf", "idf", "norm", "top",
		"best_loss", "targets", "queries", "survivors", "rng",
		"patches", "patch_select", "attention_layer", "rate", "attention_weight", "form", "conflict", "mild_l2", "mild_linf", "sparse_pixels"}
	var visit func(typ reflect.Type)
	visit = func(typ reflect.Type) {
		for i := range typ.NumField() {
			field := typ.Field(i)
			key := field.Tag.Get("toml")
			if key != "" && !strings.Contains(string(text), key) && !slices.Contains(elsewhere, key) {
				t.Errorf("key %q is not used", key)
			}
			inner := field.Type
			for inner.Kind() == reflect.Pointer || inner.Kind() == reflect.Slice || inner.Kind() == reflect.Map {
				inner = inner.Elem()
			}
			if key != "" && inner.Kind() == reflect.Struct {
				visit(inner)
			}
		}
	}
	visit(reflect.TypeFor[experiment.Config]())
}

func TestResolved(t *testing.T) {
	c, err := experiment.Load("testdata/complete.toml")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "complete.resolved.toml", string(c.Resolved()))
	for name, text := range map[string]string{
		"complete": "", "minimal": minimal,
		"keywords": minimal + "[analysis.clusters]\nk = 1\n[analysis.keywords]\n",
		"arrays":   "[data]\nimages=\"x.npy\"\nlabels_file=\"y.npy\"\n[[model]]\npath=\"m\\\\\\u0001.pt\"\nname=\"m\"\n",
	} {
		t.Run(name, func(t *testing.T) {
			first := c
			if text != "" {
				first = parse(t, text)
			}
			again, err := experiment.Parse("other-name.toml", string(first.Resolved()))
			if err != nil {
				t.Fatalf("%v\nin\n%s", err, first.Resolved())
			}
			if got, want := exported(again), exported(first); !reflect.DeepEqual(got, want) {
				t.Errorf("read back\n%+v, want\n%+v", got, want)
			}
			if string(again.Resolved()) != string(first.Resolved()) {
				t.Error("written back differently")
			}
		})
	}
}

// exported returns the values of c without the text it was read from.
func exported(c *experiment.Config) map[string]any {
	out := map[string]any{}
	v := reflect.ValueOf(c).Elem()
	for i := range v.NumField() {
		if field := v.Type().Field(i); field.IsExported() {
			out[field.Name] = v.Field(i).Interface()
		}
	}
	return out
}

func TestCheck(t *testing.T) {
	there := filepath.Join(t.TempDir(), "there.pt")
	if err := os.WriteFile(there, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	c := parse(t, minimal+"[[model]]\npath = \""+there+"\"\n[[model]]\npath = \"absent.pt\"\n")
	var got []string
	for _, p := range c.Check() {
		got = append(got, p.String())
	}
	want := []string{"exp.toml:2: images is not there\n    2 | path = \"images\"\n      |        ^^^^^^^^ relative paths start at the working directory",
		"exp.toml:10: absent.pt is not there\n   10 | path = \"absent.pt\"\n      |        ^^^^^^^^^^^ relative paths start at the working directory"}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if c := parse(t, "[data]\npath=\"made/later\"\nprepare=\"digits\"\n[[model]]\ntimm=\"a\""); len(c.Check()) != 0 {
		t.Errorf("a folder that will be made: %v", c.Check())
	}
}

func TestBytes(t *testing.T) {
	for text, want := range map[string]experiment.Bytes{"8GiB": 8 << 30, "500 MB": 500e6, "1.5KiB": 1536, "17B": 17} {
		got, err := experiment.ParseBytes(text)
		if err != nil || got != want {
			t.Errorf("%q: got %d, %v, want %d", text, got, err, want)
		}
		if again, err := experiment.ParseBytes(got.String()); err != nil || again != got {
			t.Errorf("%q written as %q", text, got)
		}
	}
	for _, text := range []string{"", "8", "8 GiBs", "-1GiB", "0B", "1e3GiB", "999999999999999TiB"} {
		if v, err := experiment.ParseBytes(text); err == nil {
			t.Errorf("%q: got %d", text, v)
		}
	}
	c := parse(t, "memory = \"4GiB\"\n"+minimal)
	if c.Batch != 0 || c.Memory != 4<<30 {
		t.Errorf("batch %d, memory %d", c.Batch, c.Memory)
	}
}

func TestNearest(t *testing.T) {
	keys := []string{"method", "epsilon", "step_size", "step_unit", "steps", "random_start", "restarts", "select", "seed"}
	for word, want := range map[string]string{
		"epslion": "epsilon", "Epsilon": "epsilon", "eps": "epsilon", "stepsize": "step_size", "step-size": "step_size", "step": "steps",
		"restart": "restarts", "randomstart": "random_start", "sed": "seed", "slect": "select", "metod": "method",
		"x": "", "": "", "momentum": "", "lr": "", "norm": "", "ste": "", "targeted": "", "s": "",
	} {
		got, ok := experiment.Nearest(word, keys)
		if got != want || ok != (want != "") {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
	if got, _ := experiment.Nearest("compre", []string{"completion", "compare"}); got != "compare" {
		t.Errorf("compre: %q", got)
	}
}

func TestParseFraction(t *testing.T) {
	for text, want := range map[string]float64{
		"8/255": 8.0 / 255, " 8 / 255 ": 8.0 / 255, "0.1": 0.1, "1e-3": 1e-3, ".5": 0.5, "5.": 5, "+2": 2, "-1/4": -0.25, "1.5/3": 0.5, "0": 0,
		"0.1/0.2": 0.5, "1E2": 100,
	} {
		f, err := experiment.ParseFraction(text)
		if err != nil || f.Float64() != want {
			t.Errorf("%q: %v (%v), want %v", text, f.Float64(), err, want)
		}
	}
	for _, text := range []string{"", "/", "8/", "/255", "8/0", "8/0.0", "1/2/3", "0x10", "nan", "inf", "1e400", "8:255", "1_000", "８", "1e-999999", strings.Repeat("9", 99)} {
		if f, err := experiment.ParseFraction(text); err == nil {
			t.Errorf("%q was read as %v", text, f)
		}
	}
	var zero experiment.Fraction
	if zero.String() != "0" || zero.Float64() != 0 || zero.Rat().Sign() != 0 {
		t.Error("the zero Fraction is not 0")
	}
	var read experiment.Fraction
	if err := read.UnmarshalText([]byte("16/510")); err != nil || read.Float64() != 8.0/255 {
		t.Errorf("%v, %v", read, err)
	}
	if text, err := read.MarshalText(); err != nil || string(text) != "16/510" {
		t.Errorf("%s, %v", text, err)
	}
	if err := read.UnmarshalText([]byte("x")); err == nil || read.Float64() != 8.0/255 {
		t.Errorf("%v, %v", read, err)
	}
	if math.Float32bits(float32(read.Float64())) != 0x3d008081 { // 8/255 rounded to float32, by hand
		t.Errorf("float32 bits %x", math.Float32bits(float32(read.Float64())))
	}
}

// FuzzParse: no input panics, every problem has a line and a text, and what is accepted survives being written and read.
func FuzzParse(f *testing.F) {
	for _, name := range []string{"many_problems.toml", "complete.toml", "complete.resolved.toml"} {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Add(minimal)
	f.Add(minimal + "args.\"a b\".'c' = [{ d = \"\"\"\n#\"\"\" }, 07:32:00]\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := experiment.Parse("fuzz.toml", text)
		if err != nil {
			var many *experiment.Problems
			if !errors.As(err, &many) || len(many.List) == 0 {
				t.Fatalf("error of type %T: %v", err, err)
			}
			for _, p := range many.List {
				if p.Message == "" || p.Line < 1 || p.Column < 1 || p.String() == "" {
					t.Fatalf("problem without a place: %+v", p)
				}
			}
			return
		}
		resolved := string(c.Resolved())
		again, err := experiment.Parse("fuzz.toml", resolved)
		if err != nil {
			t.Fatalf("resolved file: %v\n%s", err, resolved)
		}
		if got := string(again.Resolved()); got != resolved {
			t.Fatalf("resolved twice:\n%s\nfirst:\n%s", got, resolved)
		}
	})
}

// TestShippedExperiments: every file in experiments/ is right, and stays so when written back.
func TestShippedExperiments(t *testing.T) {
	files, err := filepath.Glob("../../experiments/*.toml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files (%v)", err)
	}
	for _, file := range files {
		c, err := experiment.Load(file)
		if err != nil {
			t.Error(err)
			continue
		}
		again, err := experiment.Parse(file, string(c.Resolved()))
		if err != nil || string(again.Resolved()) != string(c.Resolved()) {
			t.Errorf("%s does not survive being written back: %v", file, err)
		}
		t.Logf("%s: %d models", file, len(c.Members()))
	}
}
