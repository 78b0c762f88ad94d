package report

import (
	"bytes"
	"fmt"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sat/internal/synthetic"
)

// studyFiles are small tables of every section, for the models of the small zoo.
func studyFiles(s *synthetic.Zoo) map[string]string {
	files := map[string]string{
		"fig2a_autoattack.csv":        "pair,sat_pgd,sat_autoattack\n",
		"fig2b_patchfool.csv":         "target,sat_pgd,sat_patchfool\n",
		"agreement_sat.csv":           "a,b,sat,agreement\n",
		"fig5_sat_vs_err.csv":         "a,b,sat,err_a,err_b,err_ens,ERR\n",
		"figH1_one_sided.csv":         "a,b,sat_two_sided,sat_one_sided\n",
		"figG1_teacher_accuracy.csv":  "teacher,teacher_top1,student_top1\n",
		"fig3_importance.csv":         "component,mean,std,rank\nstem_layer,0.3,0.02,2\nbase_architecture,0.5,0.03,1\nwidth,0.01,,3\n",
		"tab1_stability.csv":          "method,n,ratio,std,std_lo,std_hi,cost\nsat,500,0.01,1.9,1.3,3.4,1.02\nsomepalli,10,4.8e-13,4,2.8,7.3,1\n",
		"tab3_training.csv":           "architecture,diversity,mean_sat,ci_lo,ci_hi,n_models,n_pairs,paper\nResNet-50,Initialization,4.2,4.1,4.3,21,210,4.23\nAll,All,2.5,2.4,2.6,69,2346,2.73\n",
		"tabH_novel_assignment.csv":   "model,method,cluster,margin,expected\ngluon_resnext50_32x4d,nystrom,6,0.1,6\n",
		"fig7_training_ensembles.csv": "architecture,set,N,mean_ERR,wrong_by_all\nResNet-50,initialization,2,0.1,9\nResNet-50,initialization,3,0.15,8\nAll,All,2,0.2,5\nAll,All,3,0.22,4\n",
		"attacks.csv": "setting,method,epsilon,step_size,steps,white_box,pairs,mean_sat,mean_sat_main,median_sat,floored,r,ci_lo,ci_hi,survivors\n" +
			"main,pgd,8/255,0.1,50,99.5,2346,2.7,2.7,2.8,0,,,,\nautoattack,autoattack,8/255,,100,100,28,2.6,2.9,2.7,1,0.98,0.95,0.99,12\n",
		"fig2b_patchfool.json": `{"floored": 2, "without_floored": {"r": 0.9, "ci_lo": 0.85, "ci_hi": 0.94, "n": 66},
			"one_sided": {"r": 0.8, "ci_lo": 0.7, "ci_hi": 0.9, "n": 68}, "one_sided_without_floored": {"r": null, "ci_lo": null, "ci_hi": null, "n": 66}}`,
		"fig4b_training_distance.csv": "model,a,b\na,0,1\nb,1,0\n",
	}
	cells := func(mean string, sign float64) string {
		text := "N,k," + mean + ",sd,ci_lo,ci_hi,draws\n"
		for k := 1; k <= 3; k++ {
			for n := max(2, k); n <= 5; n++ {
				v := 0.1 + 0.02*float64(n) + sign*0.01*float64(k)
				text += fmt.Sprintf("%d,%d,%v,0.01,%v,%v,100\n", n, k, v, v-0.002, v+0.002)
			}
		}
		return text
	}
	files["fig6a_err_by_clusters.csv"], files["fig6b_wrong_by_all.csv"], files["figF1_ens_error.csv"] = cells("mean_ERR", 1), cells("mean_count", -1), cells("mean_top1_error", 1)
	for i, m := range s.Models {
		x, y := 2+0.1*float64(i), 1.8+0.09*float64(i*i%7)
		files["fig2a_autoattack.csv"] += fmt.Sprintf("%s,%v,%v\n", m.Name, x, x-0.1*y)
		files["fig2b_patchfool.csv"] += fmt.Sprintf("%s,%v,%v\n", m.Name, x, y)
		files["fig5_sat_vs_err.csv"] += fmt.Sprintf("%s,x,%v,0.2,0.2,0.18,%v\n", m.Name, x, 0.1*y)
		files["figH1_one_sided.csv"] += fmt.Sprintf("%s,x,%v,%v\n", m.Name, x, y)
		files["figG1_teacher_accuracy.csv"] += fmt.Sprintf("%s,%v,%v\n", m.Name, 70+x, 75+y)
		files["agreement_sat.csv"] += fmt.Sprintf("%s,x,%v,%v\n", m.Name, x, 0.2*y)
	}
	files["fig8a_distill_all.csv"] = strings.ReplaceAll(files["figG1_teacher_accuracy.csv"], "teacher_top1", "sat")
	files["fig8b_distill_transformer.csv"], files["fig8c_distill_other.csv"] = files["fig8a_distill_all.csv"], files["fig8a_distill_all.csv"]
	return files
}

func writeStudies(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		writeFile(t, filepath.Join(dir, "analysis", name), text)
	}
}

func TestEverySectionShowsItsFiles(t *testing.T) {
	dir, s := t.TempDir(), synthetic.Small()
	invent(t, s, dir)
	files := studyFiles(s)
	writeStudies(t, dir, files)
	if _, err := Write(t.Context(), dir, Options{SkipPNG: true, PDF: true, Dendrogram: true}); err != nil {
		t.Fatal(err)
	}
	page, markdown := read(t, dir, "report.html"), read(t, dir, "report.md")
	if !strings.Contains(page, "fig-figD1_sat_matrix_dendrogram") || len(texts(t, read(t, dir, "figures", "figD1_sat_matrix_dendrogram.svg"))) < 20 {
		t.Error("no dendrogram")
	}
	for name := range files {
		if strings.HasSuffix(name, ".json") {
			continue
		}
		stem := strings.TrimSuffix(name, ".csv")
		if read(t, dir, "figures", name) == "" {
			t.Errorf("%s: empty", name)
		}
		if strings.HasPrefix(stem, "fig") {
			if svg := read(t, dir, "figures", stem+".svg"); len(texts(t, svg)) < 5 {
				t.Errorf("%s.svg has texts %q", stem, texts(t, svg))
			}
			if pdf := read(t, dir, "figures", stem+".pdf"); !strings.HasPrefix(pdf, "%PDF-") {
				t.Errorf("%s.pdf is none", stem)
			}
			if !strings.Contains(markdown, "(figures/"+stem+".svg)") {
				t.Errorf("report.md lacks %s", stem)
			}
		}
		if !strings.Contains(page, `download="`+name+`"`) {
			t.Errorf("the page has no download of %s", name)
		}
	}
	for _, text := range []string{"Without 2 points where an attack fools no image r = 0.9 [0.85, 0.94], n = 66.",
		"One-sided scores of both attacks, as like should be compared with like: r = 0.8 [0.70, 0.90], n = 68; without 2 points where an attack fools no image r = –, n = 66."} {
		if !strings.Contains(page, text) {
			t.Errorf("the page lacks %q", text)
		}
	}
	if !strings.Contains(markdown, "| 28 | 2.6 (main: 2.9) |") || strings.Contains(markdown, "(main: 2.7)") {
		t.Error("the mean of the main attack on the pairs of an ablation is missing, or stands beside itself")
	}
	if strings.Contains(page, "r undefined") {
		t.Error("a correlation is undefined")
	}
	var report jsonReport
	decodeJSON(t, read(t, dir, "report.json"), &report)
	verdicts := map[string]string{}
	for _, item := range report.Items {
		verdicts[item.ID] = item.Verdict
	}
	for id, want := range map[string]string{"fig3": verdictMatch, "tab3_resnet-50_initialization": verdictNoise, "tab3_all_all": verdictDiffers,
		"tab1_sat_500": verdictNoise, "tab1_somepalli_10": verdictNoise, "fig6a": verdictMatch, "figF1": verdictDiffers,
		"tabH_gluon_resnext50_32x4d": verdictMatch, "tabH_deit_small_distilled_patch16_224": verdictNotRun} {
		if verdicts[id] != want {
			t.Errorf("%s: verdict %q, want %q", id, verdicts[id], want)
		}
	}
}

// TestPictures: the page shows the pictures with what the models make of them; a picture that is missing or elsewhere is an
// error.
func TestPictures(t *testing.T) {
	dir := t.TempDir()
	invent(t, synthetic.Small(), dir)
	img := image.NewGray(image.Rect(0, 0, 30, 10))
	var content bytes.Buffer
	if err := png.Encode(&content, img); err != nil {
		t.Fatal(err)
	}
	describe := func(file string) {
		writeFile(t, filepath.Join(dir, "pictures", "pictures.json"), `{"schema_version":1,"pictures":[{"file":"`+file+`","source":"vit-s0","image":"a/1.png",
"label":3,"amplified":5,"linf":0.1,"l2":1,"predictions":[{"model":"vit-s0","class":5},{"model":"vit-s1","class":3}]}]}`)
	}
	describe("vit-s0.png")
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "vit-s0.png") {
		t.Errorf("a missing picture: %v", err)
	}
	writeFile(t, filepath.Join(dir, "pictures", "vit-s0.png"), content.String())
	if _, err := Write(t.Context(), dir, Options{SkipPNG: true}); err != nil {
		t.Fatal(err)
	}
	svg := read(t, dir, "figures", "pictures.svg")
	for _, want := range []string{"made on vit-s0", "class 3, seen as 5", "1 of 2 models are wrong"} {
		if !strings.Contains(svg, want) {
			t.Errorf("the figure does not say %q", want)
		}
	}
	if csv := read(t, dir, "figures", "pictures.csv"); !strings.Contains(csv, "vit-s0,a/1.png,3,0.1,vit-s1,3") {
		t.Errorf("predictions %q", csv)
	}
	describe("../secret.png")
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "not a file of this folder") {
		t.Errorf("a picture elsewhere: %v", err)
	}
}

func TestSectionsRefuseWhatIsWrong(t *testing.T) {
	for _, c := range []struct{ file, text, want string }{
		{"fig5_sat_vs_err.csv", "a,b,sat,ERR\nx,y,1.5,high\n", `fig5_sat_vs_err.csv:2:9: ERR: "high" is not a number`},
		{"fig6a_err_by_clusters.csv", "N,k,mean_ERR,sd,ci_lo,ci_hi,draws\n3,1,0.1,,,,9\n2,1,0.1,,,,9\n", "fig6a_err_by_clusters.csv:3:1: N: 2 after 3"},
		{"fig7_training_ensembles.csv", "architecture,set,N,mean_ERR\n", "fig7_training_ensembles.csv: no line behind the header"},
		{"fig1_tsne.csv", "x,y,model,alias,cluster\n0,0,nobody,,1\n", `fig1_tsne.csv:2:5: model: "nobody" is not in sat.csv`},
		{"fig1_tsne.csv", "x,y,model,alias,cluster\n0,0,vit-s0,,4000\n", "the files are of different runs"},
		{"fig3_importance.csv", "component,mean,std,rank\nstem_layer,0.1,0.1,0\n", "fig3_importance.csv:2:20: rank: 0 is below 1"},
		{"fig4b_training_distance.csv", "model,a,b\na,0,-1\nb,1,0\n", "fig4b_training_distance.csv:2: a, b: -1 is not a distance"},
		{"tab1_stability.csv", "method,n,ratio,std,std_lo,std_hi,cost\nsat,some,1,1,1,1,1\n", `tab1_stability.csv:2:5: n: "some" is not an integer`},
		{"tabH_novel_assignment.csv", "model,method,cluster,margin,expected\na,nystrom,0,1,1\n", "tabH_novel_assignment.csv:2:11: cluster: 0 is below 1"},
		{"tab3_training.csv", "architecture,diversity\n", `tab3_training.csv:1:1: no column "mean_sat"`},
		{"correlations.csv", "id,r,ci_lo,ci_hi,p,log10_p,n,r_paper,p_paper,verdict\nfig5,0.5,,,,,3,,,\n", ""},
	} {
		t.Run(c.file, func(t *testing.T) {
			dir := t.TempDir()
			invent(t, synthetic.Small(), dir)
			writeStudies(t, dir, map[string]string{c.file: c.text})
			_, err := Load(dir)
			if c.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				// The same correlation beside points that say otherwise.
				writeStudies(t, dir, map[string]string{"fig5_sat_vs_err.csv": "a,b,sat,ERR\nx,y,1,1\nx,z,2,1.5\nx,w,3,1.1\n"})
				_, err = Load(dir)
				c.want = "the files are of different runs"
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// TestPaperValuesHaveASection: a value of the paper without a section would be shown nowhere.
func TestPaperValuesHaveASection(t *testing.T) {
	r := &Run{Info: Info{}}
	list, err := compare(r)
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{"claim": true, "similarity": true}
	for _, s := range sections {
		known[s.id] = true
	}
	for _, c := range list {
		if !known[c.Section] {
			t.Errorf("%s: no section %q", c.ID, c.Section)
		}
	}
	if _, err := os.Stat("paper.csv"); err != nil || len(list) < 35 {
		t.Errorf("%d values of the paper, %v", len(list), err)
	}
}

// outputs are the file stems of the paper's figures and tables.
var outputs = strings.Fields(`fig1_tsne fig2a_autoattack fig2b_patchfool tab1_stability fig3_importance fig4a_spectral_distance
	fig4b_training_distance tab2_clusters tab3_training fig5_sat_vs_err fig6a_err_by_clusters fig6b_wrong_by_all figF1_ens_error
	fig7_training_ensembles fig8a_distill_all fig8b_distill_transformer fig8c_distill_other tabA1_names tabA2_elements
	tabA3_A4_features figC1_spectral_distance_named figD1_sat_matrix figG1_teacher_accuracy figH1_one_sided
	tabH_novel_assignment correlations`)

func TestEveryOutputOfThePaper(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped with -short: every analysis of 69 models takes seconds")
	}
	dir := written(t, synthetic.Paper())
	page := read(t, dir, "report.html")
	for _, stem := range outputs {
		if strings.Count(read(t, dir, "figures", stem+".csv"), "\n") < 3 {
			t.Errorf("%s.csv has no rows", stem)
		}
		if !strings.Contains(page, `download="`+stem+`.csv`) {
			t.Errorf("the page does not offer %s.csv", stem)
		}
		if !strings.HasPrefix(stem, "fig") {
			continue
		}
		svg := read(t, dir, "figures", stem+".svg")
		if len(texts(t, svg)) < 5 {
			t.Errorf("%s.svg has texts %q", stem, texts(t, svg))
		}
	}
	var report jsonReport
	decodeJSON(t, read(t, dir, "report.json"), &report)
	for _, item := range report.Items {
		if item.Verdict == verdictNotRun {
			t.Errorf("%s was not run", item.ID)
		}
	}
	// What shows real images or needs trained networks is not the synthetic zoo's to give.
	needNetworks := []string{"pictures", "boundary", "hardened", "pretraining"}
	for _, missing := range regexp.MustCompile(`<li id="([^"]+)"><b>`).FindAllStringSubmatch(page, -1) {
		if !slices.Contains(needNetworks, missing[1]) {
			t.Errorf("section %s says it was not run", missing[1])
		}
	}
}
