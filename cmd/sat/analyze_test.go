package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"sat/internal/data"
	"sat/internal/rng"
)

// square writes a similarity matrix of n models, model00 and so on; value gives the entries above the diagonal.
func square(t *testing.T, path string, n int, value func(i, j int) float64) []string {
	t.Helper()
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("model%02d", i)
	}
	var b strings.Builder
	b.WriteString("model," + strings.Join(names, ",") + "\n")
	for i, name := range names {
		b.WriteString(name)
		for j := range names {
			v := math.Log(100)
			if i != j {
				v = value(min(i, j), max(i, j))
			}
			b.WriteString("," + strconv.FormatFloat(v, 'g', -1, 64))
		}
		b.WriteString("\n")
	}
	write(t, path, []byte(b.String()))
	return names
}

// similar gives models of one third of the list higher scores than others, with noise that is fixed.
func similar(n int) func(i, j int) float64 {
	return func(i, j int) float64 {
		v := 2.5
		if 3*i/n == 3*j/n {
			v = 3.8
		}
		return v + 0.2*rng.New(1, "test", uint64(i), uint64(j)).Normal()
	}
}

// studiesOf writes everything the analyses read for n models into dir.
func studiesOf(t *testing.T, dir string, n int) {
	t.Helper()
	in := func(name string) string { return filepath.Join(dir, name) }
	value := similar(n)
	names := square(t, in("sat.csv"), n, value)
	features, clusters, accuracy := "model,base_architecture,norm,stem\n", "model,cluster\n", "model,n,top1\n"
	sets, settings, students := "model,architecture,diversity\n", "model,architecture,lr,wd\n", "teacher,student_top1\n"
	pairs := "source,target,n_both,n_fooled\n"
	for i, name := range names {
		third := 3 * i / n
		features += fmt.Sprintf("%s,%s,%s,%d\n", name, []string{"CNN", "Transformer", "MLP-Mixer"}[third], []string{"BN", "LN"}[i%2], i%3)
		clusters += fmt.Sprintf("%s,%d\n", name, third+1)
		accuracy += fmt.Sprintf("%s,100,%d\n", name, 70+i%7)
		sets += fmt.Sprintf("%s,arch%d,Initialization\n", name, third)
		settings += fmt.Sprintf("%s,arch%d,%d,%d\n", name, third, i%2, i/2%2)
		if i > 0 {
			students += fmt.Sprintf("%s,%g\n", name, 60+math.Sin(float64(i)))
		}
		for j, other := range names {
			if i != j {
				fooled := math.Exp(value(min(i, j), max(i, j))) + 3*math.Sin(float64(7*i+j))
				pairs += fmt.Sprintf("%s,%s,200,%d\n", name, other, int(2*min(max(fooled, 0), 100)))
			}
		}
		logits := make([]float32, 40*6)
		for k := range logits {
			logits[k] = float32(math.Sin(float64((third+2)*(k+1))) + 0.7*math.Sin(float64((i+3)*(k+5))))
		}
		must(t, data.WriteNPY(in("logits/"+name+".npy"), logits, 40, 6))
	}
	labels := make([]int64, 40)
	for i := range labels {
		labels[i] = int64(i % 6)
	}
	must(t, data.WriteNPY(in("labels.npy"), labels, len(labels)))
	for name, text := range map[string]string{"features.csv": features, "clusters.csv": clusters, "accuracy.csv": accuracy, "sets.csv": sets,
		"settings.csv": settings, "students.csv": students, "pairs.csv": pairs} {
		write(t, in(name), []byte(text))
	}
}

// everyAnalysis are command lines that work in the folder of studiesOf, by the name of their folder of results.
var everyAnalysis = map[string][]string{
	"importance":   {"importance", "--sat", "sat.csv", "--features", "features.csv", "--stages", "40", "--seeds", "3", "--predictions"},
	"tsne":         {"tsne", "--sat", "sat.csv", "--clusters", "clusters.csv"},
	"ensembles":    {"ensembles", "--sat", "sat.csv", "--logits", "logits", "--labels", "labels.npy", "--clusters", "clusters.csv", "--largest", "4", "--draws", "20"},
	"matrices":     {"matrices", "--a", "sat.csv", "--b", "sat.csv", "--fig2a", "--permutations", "99", "--resamples", "50"},
	"training":     {"training", "--sat", "sat.csv", "--sets", "sets.csv", "--logits", "logits", "--labels", "labels.npy", "--clusters", "clusters.csv", "--k", "3", "--largest", "3", "--draws", "20"},
	"distillation": {"distillation", "--students", "students.csv", "--sat", "sat.csv", "--student", "model00", "--accuracy", "accuracy.csv", "--features", "features.csv"},
	"novel":        {"novel", "--pairs", "pairs.csv", "--clusters", "clusters.csv", "--model", "model01"},
	"choose":       {"choose", "--sat", "sat.csv", "--accuracy", "accuracy.csv", "--k", "3", "--min-accuracy", "71"},
	"teachers":     {"choose", "--sat", "sat.csv", "--accuracy", "accuracy.csv", "--student", "model00"},
	"sensitivity":  {"sensitivity", "--sat", "sat.csv", "--settings", "settings.csv", "--permutations", "99", "--resamples", "50"},
	"clusters":     {"clusters", "--sat", "sat.csv", "--k", "3"},
	"keywords":     {"keywords", "--clusters", "clusters.csv", "--features", "features.csv"},
}

// resultFiles are the columns of the files of each analysis; "" where the columns are the models.
var resultFiles = map[string]map[string]string{
	"importance": {"fig3_importance.csv": "component,mean,std,rank", "importance_predictions.csv": "a,b,y,pred"},
	"tsne":       {"fig1_tsne.csv": "x,y,model,alias,cluster"},
	"ensembles": {
		"fig5_sat_vs_err.csv":       "a,b,sat,err_a,err_b,err_ens,ERR",
		"fig6a_err_by_clusters.csv": "N,k,mean_ERR,sd,ci_lo,ci_hi,draws",
		"fig6b_wrong_by_all.csv":    "N,k,mean_count,sd,ci_lo,ci_hi,draws",
		"figF1_ens_error.csv":       "N,k,mean_top1_error,sd,ci_lo,ci_hi,draws",
		"ensemble_cells.csv":        "statistic,N,k,mean,sd,ci_lo,ci_hi,lo,hi,draws,exhaustive,undefined",
		"correlations.csv":          "id,r,ci_lo,ci_hi,p,log10_p,n,r_paper,p_paper,verdict",
	},
	"matrices": {"matrices.csv": "a,b,x,y", "fig2a_autoattack.csv": "pair,sat_pgd,sat_autoattack", "correlations.csv": "id,r,ci_lo,ci_hi,p,log10_p,n,r_paper,p_paper,verdict"},
	"training": {
		"tab3_training.csv":           "architecture,diversity,mean_sat,ci_lo,ci_hi,n_models,n_pairs,paper",
		"fig7_training_ensembles.csv": "architecture,set,N,mean_ERR,wrong_by_all,sd,ci_lo,ci_hi,draws",
		"fig4b_training_distance.csv": "",
	},
	"distillation": {
		"fig8a_distill_all.csv":         "teacher,sat,student_top1",
		"fig8b_distill_transformer.csv": "teacher,sat,student_top1",
		"fig8c_distill_other.csv":       "teacher,sat,student_top1",
		"figG1_teacher_accuracy.csv":    "teacher,teacher_top1,student_top1",
	},
	"novel":       {"figH1_one_sided.csv": "a,b,sat_two_sided,sat_one_sided", "tabH_novel_assignment.csv": "model,method,cluster,margin,expected"},
	"choose":      {"choose_ensemble.csv": "model,top1,mean_sat"},
	"teachers":    {"choose_teachers.csv": "rank,model,sat,top1"},
	"sensitivity": {"sensitivity.csv": "architecture,mean_sat,ci_lo,ci_hi,n_models,n_pairs", "sensitivity_settings.csv": "architecture,setting,levels,same_mean,different_mean,difference,p,permutations,same_pairs,different_pairs"},
	"clusters":    {"tab2_clusters.csv": "model,cluster", "spectral_eigenvalues.csv": "index,eigenvalue", "spectral_distance.csv": ""},
	"keywords":    {"tab2_keywords.csv": "cluster,rank,component,value,score"},
}

// TestAnalyses: every analysis writes its tables with the columns users read, says beside each where it comes from, and
// gives the same bytes again, whatever the number of goroutines.
func TestAnalyses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	studiesOf(t, dir, 12)
	for name, args := range everyAnalysis {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, run := range []struct{ out, processors string }{{name, "1"}, {name + "-again", "4"}} {
				cmd := program(t.Context(), dir, append(append([]string{"analyze"}, args...), "--out", run.out)...)
				cmd.Env = append(cmd.Env, "GOMAXPROCS="+run.processors)
				if out := finish(t, cmd); out.code != exitDone || strings.TrimSpace(out.stdout) != run.out {
					t.Fatalf("exit code %d, stdout %q, stderr %s", out.code, out.stdout, out.stderr)
				}
			}
			for file, columns := range resultFiles[name] {
				header, _, _ := strings.Cut(string(readFile(t, filepath.Join(dir, name, file))), "\n")
				if columns != "" && header != columns {
					t.Errorf("%s has the columns %s, want %s", file, header, columns)
				}
			}
			entries, err := os.ReadDir(filepath.Join(dir, name))
			must(t, err)
			for _, e := range entries {
				content := readFile(t, filepath.Join(dir, name, e.Name()))
				if again := readFile(t, filepath.Join(dir, name+"-again", e.Name())); string(again) != string(content) {
					t.Errorf("%s differs with another number of processors", e.Name())
				}
				if strings.Contains(string(content), "NaN") || strings.Contains(string(content), "Inf") {
					t.Errorf("%s holds NaN or Inf", e.Name())
				}
				if stem, ok := strings.CutSuffix(e.Name(), ".csv"); ok {
					if _, err := os.Stat(filepath.Join(dir, name, stem+".meta.json")); err != nil {
						t.Errorf("%s has no provenance: %v", e.Name(), err)
					}
				}
			}
		})
	}
}

// TestAnalysesRefuse: what is wrong with a table is named, with its file, and nothing is written.
func TestAnalysesRefuse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	studiesOf(t, dir, 12)
	square(t, in("one.csv"), 1, similar(1))
	square(t, in("two.csv"), 2, similar(2))
	square(t, in("equal.csv"), 12, func(i, j int) float64 { return 3 })
	good := string(readFile(t, in("sat.csv")))
	edit := func(name, from, to string) {
		t.Helper()
		text := strings.Replace(good, from, to, 1)
		if text == good {
			t.Fatalf("%s: nothing to replace", name)
		}
		write(t, in(name), []byte(text))
	}
	cell := strings.Split(strings.Split(good, "\n")[1], ",")[2] // model00, model01
	edit("nan.csv", ","+cell, ",NaN")
	edit("asymmetric.csv", ","+cell, ",1.25")
	edit("twice.csv", "model,model00,model01", "model,model00,model00")
	edit("order.csv", "\nmodel01", "\nmodel02")
	edit("text.csv", ","+cell, ",similar")
	edit("empty_cell.csv", ","+cell, ",")
	write(t, in("ragged.csv"), []byte("model,a,b\na,1,2\nb,3\n"))
	write(t, in("quote.csv"), []byte("model,a,b\na,\"1,2\nb,3,4\n"))
	write(t, in("nothing.csv"), nil)
	write(t, in("header.csv"), []byte("model,a,b\n"))
	write(t, in("few_features.csv"), []byte("model,base_architecture\nmodel00,CNN\n"))
	write(t, in("twice_features.csv"), []byte("model,norm\nmodel00,BN\nmodel00,LN\n"))
	write(t, in("few_accuracy.csv"), []byte("model,top1\nmodel00,70\n"))
	write(t, in("few_clusters.csv"), []byte("model,cluster\nmodel00,1\n"))
	write(t, in("lost_sets.csv"), []byte("model,architecture,diversity\nmodel00,r,Initialization\nmodel99,r,Initialization\n"))
	write(t, in("lost_students.csv"), []byte("teacher,student_top1\nmodel99,60\n"))
	write(t, in("few_pairs.csv"), []byte("source,target,n_both,n_fooled\na,b,10,5\nb,c,10,5\n"))
	write(t, in("odd_pairs.csv"), []byte("source,target,n_both,n_fooled\na,b,10,11\n"))
	write(t, in("labels_csv/model00.npy"), []byte("no array"))
	must(t, data.WriteNPY(in("short.npy"), []int64{0, 1}, 2))
	must(t, data.WriteNPY(in("far.npy"), append(make([]int64, 39), 6), 40))
	must(t, os.CopyFS(in("lost"), os.DirFS(in("logits"))))
	must(t, os.Remove(in("lost/model03.npy")))
	must(t, os.CopyFS(in("hurt"), os.DirFS(in("logits"))))
	hurt := make([]float32, 40*6)
	hurt[6*7+2] = float32(math.NaN())
	must(t, data.WriteNPY(in("hurt/model03.npy"), hurt, 40, 6))
	must(t, os.CopyFS(in("wide"), os.DirFS(in("logits"))))
	must(t, data.WriteNPY(in("wide/model03.npy"), make([]float32, 40*7), 40, 7))

	onSAT := func(file string) []string { return []string{"clusters", "--k", "2", "--sat", file} }
	ensembles := func(logits, labels string) []string {
		return []string{"ensembles", "--sat", "sat.csv", "--logits", logits, "--labels", labels}
	}
	for _, c := range []struct {
		name string
		args []string
		code int
		want []string
	}{
		{"NaN", onSAT("nan.csv"), 1, []string{"nan.csv", "line 2", `"model01"`, `"NaN"`}},
		{"asymmetric", onSAT("asymmetric.csv"), 1, []string{"asymmetric.csv", "not symmetric", "model00", "model01", "1.25"}},
		{"a name twice", onSAT("twice.csv"), 1, []string{"twice.csv", `"model00" stands twice`}},
		{"another order of rows", onSAT("order.csv"), 1, []string{"order.csv", "line 3", "same order"}},
		{"text in a matrix", onSAT("text.csv"), 1, []string{"text.csv", "line 2", `"similar"`}},
		{"undefined pair", onSAT("empty_cell.csv"), 1, []string{"empty_cell.csv", "model00", "model01", "undefined"}},
		{"ragged", onSAT("ragged.csv"), 1, []string{"ragged.csv", "line 3", "wrong number of fields"}},
		{"open quote", onSAT("quote.csv"), 1, []string{"quote.csv", "line"}},
		{"empty file", onSAT("nothing.csv"), 1, []string{"nothing.csv", "the table is empty"}},
		{"header only", onSAT("header.csv"), 1, []string{"header.csv", "0 rows for 2 columns"}},
		{"no file", onSAT("nowhere.csv"), 1, []string{"nowhere.csv", "no such file"}},
		{"folder", onSAT("logits"), 1, []string{"logits", "directory"}},
		{"more clusters than models", []string{"clusters", "--sat", "sat.csv", "--k", "13"}, 1, []string{"13 clusters of 12 models"}},
		{"no clusters", []string{"clusters", "--sat", "sat.csv", "--k", "0"}, 2, []string{"--k: 0"}},
		{"one model, clusters", []string{"clusters", "--sat", "one.csv", "--k", "1"}, 1, []string{"one.csv", "one model"}},
		{"one model, t-SNE", []string{"tsne", "--sat", "one.csv"}, 1, []string{"one.csv", "one model"}},
		{"one model, importance", []string{"importance", "--sat", "one.csv", "--features", "features.csv"}, 1, []string{"one.csv", "nothing to explain"}},
		{"one model, choose", []string{"choose", "--sat", "one.csv", "--accuracy", "accuracy.csv"}, 1, []string{"one.csv", "at least 3"}},
		{"one model, matrices", []string{"matrices", "--a", "one.csv", "--b", "sat.csv"}, 1, []string{"1 models in both"}},
		{"two models, importance", []string{"importance", "--sat", "two.csv", "--features", "features.csv"}, 1, []string{"two.csv", "nothing to explain"}},
		{"equal similarities, importance", []string{"importance", "--sat", "equal.csv", "--features", "features.csv"}, 1, []string{"equal.csv", "one similarity"}},
		{"perplexity of many", []string{"tsne", "--sat", "sat.csv", "--perplexity", "12"}, 1, []string{"sat.csv", "perplexity 12"}},
		{"model without features", []string{"importance", "--sat", "sat.csv", "--features", "few_features.csv"}, 1, []string{"few_features.csv", "11 of 12", "model01"}},
		{"features twice", []string{"importance", "--sat", "sat.csv", "--features", "twice_features.csv"}, 1, []string{"twice_features.csv", "line 3", "model00"}},
		{"unknown switch", []string{"importance", "--sat", "sat.csv", "--features", "features.csv", "--ties", "rand"}, 2, []string{"--ties", `did you mean "random"?`}},
		{"no permutation", []string{"importance", "--sat", "sat.csv", "--features", "features.csv", "--repeats", "0"}, 2, []string{"--repeats: 0"}},
		{"learning rate of zero", []string{"importance", "--sat", "sat.csv", "--features", "features.csv", "--rate", "-1"}, 1, []string{"learning rate -1"}},
		{"model without accuracy", []string{"choose", "--sat", "sat.csv", "--accuracy", "few_accuracy.csv"}, 1, []string{"few_accuracy.csv", "model01"}},
		{"choose more than there are", []string{"choose", "--sat", "sat.csv", "--accuracy", "accuracy.csv", "--k", "13"}, 1, []string{"at least 13"}},
		{"choose above every accuracy", []string{"choose", "--sat", "sat.csv", "--accuracy", "accuracy.csv", "--min-accuracy", "99"}, 1, []string{"0 models", "99"}},
		{"unknown student", []string{"choose", "--sat", "sat.csv", "--accuracy", "accuracy.csv", "--student", "nobody"}, 1, []string{"nobody"}},
		{"missing logits", ensembles("lost", "labels.npy"), 1, []string{"model03.npy", "no such file"}},
		{"NaN logit", ensembles("hurt", "labels.npy"), 1, []string{"model03", "image 8", "class 2", "NaN"}},
		{"other classes", ensembles("wide", "labels.npy"), 1, []string{"model03", "7 classes", "has 6"}},
		{"too few labels", ensembles("logits", "short.npy"), 1, []string{"model00", "40 images", "2 labels"}},
		{"label beyond the classes", ensembles("logits", "far.npy"), 1, []string{"image 40 is 6", "0 to 5"}},
		{"no array", ensembles("labels_csv", "labels.npy"), 1, []string{"model00.npy", "not a .npy file"}},
		{"model without a cluster", append(ensembles("logits", "labels.npy"), "--clusters", "few_clusters.csv"), 1, []string{"11 of 12", "model01"}},
		{"set with an unknown model", []string{"training", "--sat", "sat.csv", "--sets", "lost_sets.csv"}, 1, []string{"lost_sets.csv", "model99"}},
		{"unknown teacher", []string{"distillation", "--students", "lost_students.csv", "--sat", "sat.csv", "--student", "model00", "--accuracy", "accuracy.csv", "--features", "features.csv"}, 1,
			[]string{"lost_students.csv:2", "model99"}},
		{"students without similarity", []string{"distillation", "--students", "students.csv"}, 1, []string{"students.csv:1", `"sat"`}},
		{"listed without a list", []string{"distillation", "--students", "students.csv", "--group", "listed"}, 2, []string{"--listed"}},
		{"pairs that lack one", []string{"novel", "--pairs", "few_pairs.csv"}, 1, []string{"few_pairs.csv", "a", "c"}},
		{"more fooled than there are", []string{"novel", "--pairs", "odd_pairs.csv"}, 1, []string{"odd_pairs.csv:2", "11", "10"}},
		{"novel without clusters", []string{"novel", "--pairs", "pairs.csv", "--model", "model01"}, 2, []string{"--clusters"}},
		{"unknown novel model", []string{"novel", "--pairs", "pairs.csv", "--clusters", "clusters.csv", "--model", "model99"}, 1, []string{"model99"}},
		{"architecture column that is not there", []string{"sensitivity", "--sat", "sat.csv", "--settings", "settings.csv", "--architecture", "arch"}, 1, []string{`"arch"`, "architecture, lr, wd"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			own := "out-" + strings.ReplaceAll(filepath.Base(t.Name()), " ", "-")
			args := append(append([]string{"analyze"}, c.args...), "--out", own)
			refused(t, sat(t, dir, args...), c.code, c.want, args)
			if left := results(t, dir, own); len(left) > 0 {
				t.Errorf("the failed command left %s", strings.Join(left, ", "))
			}
		})
	}
}

// TestAnalysesOfLittle: what two models or equal similarities leave defined is written, the rest is empty.
func TestAnalysesOfLittle(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	studiesOf(t, dir, 12)
	square(t, filepath.Join(dir, "two.csv"), 2, similar(2))
	square(t, filepath.Join(dir, "equal.csv"), 12, func(i, j int) float64 { return 3 })
	for _, c := range []struct {
		name string
		args []string
		file string
		want string // in the file
		warn string // in stderr
	}{
		{"two models, clusters", []string{"clusters", "--sat", "two.csv", "--k", "2"}, "tab2_clusters.csv", "model00,1\nmodel01,2\n", ""},
		{"two models, t-SNE", []string{"tsne", "--sat", "two.csv"}, "fig1_tsne.csv", "model01,model01,\n", ""},
		{"two models, choose", []string{"choose", "--sat", "two.csv", "--accuracy", "accuracy.csv", "--k", "2"}, "choose_ensemble.csv", "model00,70,", ""},
		{"two models, ensembles", []string{"ensembles", "--sat", "two.csv", "--logits", "logits", "--labels", "labels.npy"}, "fig5_sat_vs_err.csv", "model00,model01,", ""},
		{"two models, matrices", []string{"matrices", "--a", "two.csv", "--b", "two.csv"}, "matrices.json", `"mantel": null`, ""},
		{"equal similarities, clusters", []string{"clusters", "--sat", "equal.csv", "--k", "3"}, "tab2_clusters.csv", "model11,", "arbitrary"},
		{"equal similarities, t-SNE", []string{"tsne", "--sat", "equal.csv"}, "fig1_tsne.csv", "model11,model11,", ""},
		{"equal similarities, choose", []string{"choose", "--sat", "equal.csv", "--accuracy", "accuracy.csv"}, "choose_ensemble.csv", "model00,70,3\n", ""},
		{"equal similarities, matrices", []string{"matrices", "--a", "equal.csv", "--b", "sat.csv"}, "matrices.json", "constant", ""},
		{"equal similarities, ensembles", []string{"ensembles", "--sat", "equal.csv", "--logits", "logits", "--labels", "labels.npy"}, "correlations.csv", "fig5,,,,,,66,-0.31,", ""},
		{"equal similarities, sensitivity", []string{"sensitivity", "--sat", "equal.csv", "--settings", "settings.csv"}, "sensitivity.csv", "arch0,3,3,3,4,6\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			own := "out-" + strings.ReplaceAll(filepath.Base(t.Name()), " ", "-")
			out := sat(t, dir, append(append([]string{"analyze"}, c.args...), "--out", own)...)
			if out.code != exitDone || !strings.Contains(out.stderr, c.warn) {
				t.Fatalf("exit code %d, stderr %s", out.code, out.stderr)
			}
			if text := string(readFile(t, filepath.Join(dir, own, c.file))); !strings.Contains(text, c.want) {
				t.Errorf("%s is\n%swant %q in it", c.file, text, c.want)
			}
		})
	}
}
