package studies

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sat/analysis"
)

func writeText(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "table.csv")
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestReadPairsAndResized(t *testing.T) {
	const header = "a,b,n_both,fooled_ab,fooled_ba,percent,sat,ci_lo,ci_hi,status\n"
	pairs, err := ReadPairs(writeText(t, header+"x,y,90,1,2,1.6,0.5,,,small\nx,z,0,0,0,,,,,empty\n"))
	must(t, err)
	if len(pairs) != 2 || pairs[0].NBoth != 90 || pairs[0].Status != analysis.StatusSmall || pairs[1].Status != analysis.StatusEmpty {
		t.Errorf("%+v", pairs)
	}
	for row, want := range map[string]string{"x,y,-1,1,2,1.6,0.5,,,ok\n": "n_both", "x,y,9,1,2,1.6,0.5,,,fine\n": `"fine"`} {
		if _, err := ReadPairs(writeText(t, header+row)); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "table.csv:2") {
			t.Errorf("%q: %v", row, err)
		}
	}
	resized, err := ReadResized(writeText(t, "source,target,n_both,n_wrong,status\nx,y,100,2,resize\n"))
	must(t, err)
	if len(resized) != 1 || resized[0].Status() != analysis.StatusResize {
		t.Errorf("%+v", resized)
	}
	if _, err := ReadResized(writeText(t, "source,target,n_both,n_wrong\nx,y,1,2\n")); err == nil || !strings.Contains(err.Error(), "2 of n_both 1") {
		t.Errorf("more wrong than there are: %v", err)
	}
}

func TestWarnings(t *testing.T) {
	dir := t.TempDir()
	got, err := Warnings(Folder{Dir: dir}, WarningsJob{Pairs: []analysis.Pair{{A: "x", B: "y", NBoth: 90, Status: analysis.StatusSmall}, {A: "x", B: "z", NBoth: 200, Status: analysis.StatusOK}},
		Resized: []analysis.Resized{{Source: "x", Target: "y", NBoth: 90, NWrong: 9}}})
	must(t, err)
	if len(got) != 2 {
		t.Errorf("warnings %q", got)
	}
	text, err := os.ReadFile(filepath.Join(dir, "warnings.csv"))
	must(t, err)
	if want := "a,b,status,n_both,resize_share\nx,y,small,90,\nx,y,resize,90,0.1\n"; string(text) != want {
		t.Errorf("%s, want %s", text, want)
	}
	m := analysis.NewMatrix([]string{"x", "y"})
	m.Set(0, 1, math.Log(analysis.DefaultFloor))
	m.Set(1, 0, math.Log(analysis.DefaultFloor))
	if got, err := Warnings(Folder{Dir: dir}, WarningsJob{SAT: m, Floor: analysis.DefaultFloor}); err != nil || len(got) != 1 || !strings.HasPrefix(got[0], "1 of 1 pairs are at the floor") {
		t.Errorf("of a matrix: %q, %v", got, err)
	}
	if _, err := Warnings(Folder{Dir: dir}, WarningsJob{}); err == nil {
		t.Error("nothing to look at is no error")
	}
}

// FuzzReaders: tables of any content are refused by an error that names the file, or give what the readers promise.
func FuzzReaders(f *testing.F) {
	for _, text := range []string{
		"a,b,n_both,fooled_ab,fooled_ba,percent,sat,ci_lo,ci_hi,status\nx,y,90,1,2,1.6,0.5,0.1,0.9,small\n",
		"source,target,n_both,n_wrong,status\nx,y,100,2,resize\n",
		"source,target,n_both,n_fooled\nx,y,100,2\ny,x,100,3\n",
		"method,n,repeat,score,passes,population\nsat,10,0,3,51,\nsat,10,1,4.5,51,\n",
		"model,x,y\nx,4.6,1\ny,1,4.6\n",
		"model,cluster\nx,1\ny,2\n",
		"model,top1\nx,81.5\ny,79\n",
		"model,Base architecture,stem\nx,CNN,7s2\ny,Transformer,16s16\n",
		"set,model\nadversarial,x\nadversarial,y\n",
		"teacher,group,student_top1,sat\nx,t,80,2\n",
		"\ufeffmodel,top1\n\"x\n\",1e400\n", "model\n\xff\n", "model,model\n", ",\n",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		path := writeText(t, text)
		named := func(err error) bool {
			if err != nil && !strings.Contains(err.Error(), "table.csv") {
				t.Errorf("the error does not name the file: %v", err)
			}
			return err == nil
		}
		if pairs, err := ReadPairs(path); named(err) {
			for _, p := range pairs {
				if p.NBoth < 0 {
					t.Errorf("pair %+v", p)
				}
			}
		}
		if resized, err := ReadResized(path); named(err) {
			for _, r := range resized {
				if r.NWrong < 0 || r.NWrong > r.NBoth {
					t.Errorf("%+v", r)
				}
			}
		}
		if m, err := ReadMatrix(path); named(err) && len(m.Values) != m.Len()*m.Len() {
			t.Errorf("%d values of %d models", len(m.Values), m.Len())
		}
		if l, err := ReadLabels(path); named(err) && len(l.Labels) != len(l.Models) {
			t.Errorf("%d labels of %d models", len(l.Labels), len(l.Models))
		}
		if series, err := ReadStabilityScores(path); named(err) {
			for _, s := range series {
				for _, v := range s.Scores {
					if math.IsNaN(v) || math.IsInf(v, 0) {
						t.Errorf("score %v", v)
					}
				}
			}
		}
		if accuracy, err := ReadAccuracy(path, []string{"x", "y"}); named(err) && (math.IsNaN(accuracy[0]) || math.IsInf(accuracy[1], 0)) {
			t.Errorf("accuracies %v", accuracy)
		}
		if features, err := ReadFeatures(path, []string{"y", "x"}); named(err) && (len(features.Models) != 2 || features.Models[0] != "y") {
			t.Errorf("features of %q", features.Models)
		}
		_, err := ReadTrainingSets(path)
		named(err)
		_, err = ReadCounts(path)
		named(err)
		_, err = ReadStudents(path, StudentSources{})
		named(err)
	})
}
