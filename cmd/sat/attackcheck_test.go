package main

import (
	"strings"
	"testing"
)

// TestAttackCheck: a sound model passes; one that is given a normalisation that it was not trained with fails, with the
// flags that mend it; nothing is written.
func TestAttackCheck(t *testing.T) {
	t.Parallel()
	needTorch(t)
	dir := workplace(t)
	args := []string{"attack", "--check", "--images", "images.npy", "--labels", "labels.npy", "--json", "--quiet", "--threads", "1"}
	var out checkJSON
	strictJSON(t, mustSat(t, dir, append(args, "--model", "a.pt")...), &out)
	if !out.OK || out.Images != 64 || out.Model != "a" {
		t.Errorf("got %+v", out)
	}
	seen := map[string]bool{}
	for _, f := range out.Checks {
		seen[f.Check] = true
		if f.Status != "ok" {
			t.Errorf("%s: %s, %s", f.Check, f.Status, f.Detail)
		}
	}
	for _, check := range []string{"logits", "determinism", "accuracy", "batch", "gradient", "slope", "attack", "normalisation"} {
		if !seen[check] {
			t.Errorf("no check of %s", check)
		}
	}

	o := sat(t, dir, append(args, "--model", "a.pt", "--mean", "0.9", "--std", "0.05")...)
	var wrong checkJSON
	strictJSON(t, o.stdout, &wrong)
	if o.code != 1 || wrong.OK {
		t.Errorf("exit %d, %+v", o.code, wrong)
	}
	for _, f := range wrong.Checks {
		if f.Check == "normalisation" && (f.Status != "failed" || !strings.Contains(f.Detail, "--mean 0,0,0 --std 1,1,1")) {
			t.Errorf("normalisation: %s, %s", f.Status, f.Detail)
		}
	}
	if o := sat(t, dir, "attack", "--check", "--images", "images.npy", "--labels", "labels.npy", "--model", "a.pt"); o.code != 0 ||
		!strings.Contains(o.stdout, "ok       slope") {
		t.Errorf("exit %d: %s", o.code, o.stdout)
	}
}
