package report

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"sat/analysis"
	"sat/internal/synthetic"
)

// paperZoo is the zoo of the paper's models without the studies, which take seconds.
func paperZoo() *synthetic.Zoo {
	z := synthetic.Paper()
	z.Images, z.Studies = 300, false
	return z
}

// invent writes a synthetic run.
func invent(t testing.TB, z *synthetic.Zoo, dir string) {
	t.Helper()
	if err := z.Write(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
}

// similarity writes scores alone.
func similarity(t testing.TB, dir string, images int, scores *analysis.Scores) {
	t.Helper()
	if err := synthetic.WriteSimilarity(dir, images, scores); err != nil {
		t.Fatal(err)
	}
}

func writeFile(t testing.TB, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func writeJSON(t testing.TB, path string, v any) {
	t.Helper()
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, path, string(b))
}
