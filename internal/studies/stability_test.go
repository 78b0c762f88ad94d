package studies

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestReadStabilityScores(t *testing.T) {
	header := "method,n,repeat,score,passes,population\n"
	for name, c := range map[string]struct{ text, want string }{
		"empty":            {"", "empty"},
		"no rows":          {header, "no scores"},
		"no column":        {"method,n,repeat,score,passes\n", `no column "population"`},
		"score of words":   {header + "sat,10,0,much,51,100\n", "score"},
		"NaN":              {header + "sat,10,0,NaN,51,100\n", "score"},
		"repeat left out":  {header + "sat,10,0,3,51,100\nsat,10,2,3,51,100\n", ":3: repeat"},
		"passes change":    {header + "sat,10,0,3,51,100\nsat,10,1,3,50,100\n", ":3: passes"},
		"negative samples": {header + "sat,-1,0,3,51,100\n", "n is"},
	} {
		path := filepath.Join(t.TempDir(), "scores.csv")
		must(t, os.WriteFile(path, []byte(c.text), 0o666))
		if _, err := ReadStabilityScores(path); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	path := filepath.Join(t.TempDir(), "scores.csv")
	must(t, os.WriteFile(path, []byte(header+"sat,10,0,3,51,\nsat,10,1,4.5,51,\n"), 0o666))
	series, err := ReadStabilityScores(path)
	must(t, err)
	if len(series) != 1 || !slices.Equal(series[0].Scores, []float64{3, 4.5}) || series[0].Population != 0 {
		t.Errorf("series %+v", series)
	}
	must(t, Stability(t.Context(), Folder{Dir: t.TempDir()}, StabilityJob{Series: series}))
}
