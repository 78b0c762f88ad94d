package run

import (
	"slices"
	"strings"
	"testing"

	"sat/attacks"
	"sat/internal/experiment"
	"sat/internal/store"
	"sat/torch"
)

// keyed is a run of two models of which only the keys are looked at.
func keyed() *runner {
	r := &runner{Spec: Spec{
		Name: "test", Dir: "run", Similarity: "run/similarity", Device: torch.CPU, Workers: 2, Threads: 1, Batch: 64,
		Attack:   Attack{Method: "pgd", Epsilon: "8/255", Attacker: attacks.Defaults()},
		Transfer: experiment.DefaultTransfer(), Scores: experiment.DefaultSimilarity(),
	}}
	r.eval = &evaluation{IDs: make([]string, shardSize+1), ImagesDigest: "list"} // one image more than a unit takes
	for _, name := range []string{"a", "b"} {
		r.members = append(r.members, &member{Member: Member{Name: name}, key: store.Key(strings.Repeat(name, 64)), images: fixedImages("pixels")})
	}
	return r
}

// keysOf returns the keys of all units, by stage and name.
func keysOf(t *testing.T, r *runner) map[string]store.Key {
	t.Helper()
	keys := map[string]store.Key{}
	add := func(u store.Unit, err error) {
		must(t, err)
		keys[u.Stage+" "+u.Name] = u.Key
	}
	for _, m := range r.members {
		add(r.evaluateUnit(m))
		for _, shard := range r.shards() {
			add(r.attackUnit(r.Attack, m, shard))
		}
		for _, target := range r.members {
			add(r.transferUnit(r.Attack, m, target))
		}
		add(r.controlUnit(r.members[0], m))
	}
	return keys
}

// TestKeys: a unit's key changes exactly when its result may. A key that does not change when it must mixes old results
// with new; one that changes without need throws nights of work away.
func TestKeys(t *testing.T) {
	const (
		evaluations = "evaluate a, evaluate b, "
		ofAttacks   = "attack a-0, attack a-512, attack b-0, attack b-512, "
		transfers   = "transfer a@a, transfer a@b, transfer b@a, transfer b@b, "
		controls    = "transfer clean@a, transfer clean@b, "
	)
	pgd := func(change func(*attacks.PGD)) func(*runner) {
		return func(r *runner) {
			p := r.Attack.Attacker.(attacks.PGD)
			change(&p)
			r.Attack.Attacker = p
		}
	}
	random := pgd(func(p *attacks.PGD) { p.RandomStart = true })
	for _, c := range []struct {
		name   string
		base   func(*runner) // nil: as keyed makes it
		change func(*runner)
		want   string // units with another key than before
	}{
		{"nothing", nil, func(r *runner) {}, ""},
		{"workers", nil, func(r *runner) { r.Workers = 7 }, ""},
		{"names of run and folders", nil, func(r *runner) { r.Name, r.Title, r.Dir, r.Similarity = "x", "x", "x", "x" }, ""},
		{"scores and intervals", nil, func(r *runner) { r.Scores.Floor, r.Scores.Bootstrap, r.Scores.Seed = 1, 1, 1 }, ""},
		{"seed of the run", nil, func(r *runner) { r.Seed = 5 }, ""},
		{"a sweep beside it", nil, func(r *runner) { r.Sweep = []Attack{{Method: "pgd", Epsilon: "1/255", Attacker: attacks.Defaults()}} }, ""},
		{"another GPU", func(r *runner) { r.Device = torch.Device{Type: torch.DeviceCUDA, Index: 0} },
			func(r *runner) { r.Device.Index = 1 }, ""},
		{"how epsilon is written", nil, func(r *runner) { r.Attack.Epsilon = "16/510" }, ""},
		{"epsilon beyond float32", nil, pgd(func(p *attacks.PGD) { p.Epsilon += 1e-12 }), ""},
		{"seed without random start", nil, pgd(func(p *attacks.PGD) { p.Seed = 9 }), ""},

		{"threads", nil, func(r *runner) { r.Threads = 2 }, evaluations + ofAttacks + transfers + controls},
		{"batch", nil, func(r *runner) { r.Batch = 32 }, evaluations + ofAttacks + transfers + controls},
		{"device", nil, func(r *runner) { r.Device = torch.Device{Type: torch.DeviceCUDA} }, evaluations + ofAttacks + transfers + controls},
		{"precision", nil, func(r *runner) { r.Precision = torch.BFloat16 }, evaluations + ofAttacks + transfers + controls},
		{"channels last", nil, func(r *runner) { r.ChannelsLast = true }, evaluations + ofAttacks + transfers + controls},
		{"lowered", nil, func(r *runner) { r.Lowered = true }, evaluations + ofAttacks + transfers + controls},
		{"channels last, as always when lowered", func(r *runner) { r.Lowered = true }, func(r *runner) { r.ChannelsLast = true }, ""},
		{"lowered, as always in bfloat16", func(r *runner) { r.Precision = torch.BFloat16 }, func(r *runner) { r.Lowered = true }, ""},
		{"channels last, as always in bfloat16", func(r *runner) { r.Precision = torch.BFloat16 }, func(r *runner) { r.ChannelsLast = true }, ""},
		{"list of images or labels", nil, func(r *runner) { r.eval.ImagesDigest = "other" }, evaluations + ofAttacks + transfers + controls},
		{"pixels of one model", nil, func(r *runner) { r.members[1].images = fixedImages("other") },
			"evaluate b, attack b-0, attack b-512, transfer a@b, transfer b@a, transfer b@b, transfer clean@b, "},
		{"one module", nil, func(r *runner) { r.members[1].key = "other" },
			"evaluate b, attack b-0, attack b-512, transfer a@b, transfer b@a, transfer b@b, transfer clean@b, "},

		{"epsilon", nil, pgd(func(p *attacks.PGD) { p.Epsilon = 4.0 / 255 }), ofAttacks + transfers},
		{"step size", nil, pgd(func(p *attacks.PGD) { p.StepSize = 0.2 }), ofAttacks + transfers},
		{"steps", nil, pgd(func(p *attacks.PGD) { p.Steps++ }), ofAttacks + transfers},
		{"norm", nil, pgd(func(p *attacks.PGD) { p.Norm = attacks.L2 }), ofAttacks + transfers},
		{"select", nil, pgd(func(p *attacks.PGD) { p.Select = attacks.BestLoss }), ofAttacks + transfers},
		{"momentum", nil, pgd(func(p *attacks.PGD) { p.Momentum = 0.9 }), ofAttacks + transfers},
		{"loss", nil, pgd(func(p *attacks.PGD) { p.Loss = attacks.DLR }), ofAttacks + transfers},
		{"target", nil, pgd(func(p *attacks.PGD) { p.Target = attacks.TargetNext }), ofAttacks + transfers},
		{"step unit", nil, pgd(func(p *attacks.PGD) { p.NormalizedStep = true }), ofAttacks + transfers},
		{"seed of a random target", pgd(func(p *attacks.PGD) { p.Target = attacks.TargetRandom }),
			pgd(func(p *attacks.PGD) { p.Seed = 9 }), ofAttacks + transfers},
		{"another attack of equal words", nil, func(r *runner) { r.Attack.Attacker = attacks.DefaultFAB() }, ofAttacks + transfers},
		{"random start", nil, random, ofAttacks + transfers},
		{"seed of a random start", random, pgd(func(p *attacks.PGD) { p.Seed = 9 }), ofAttacks + transfers},
		{"restarts", random, pgd(func(p *attacks.PGD) { p.Restarts = 3 }), ofAttacks + transfers},
		{"method", nil, func(r *runner) { r.Attack.Method = "other" }, ofAttacks + transfers},

		{"resize", nil, func(r *runner) { r.Transfer.Resize = "bicubic" }, transfers + controls},
		{"antialias", nil, func(r *runner) { r.Transfer.Antialias = true }, transfers + controls},

		{"one image more", nil, func(r *runner) { r.eval.IDs = append(r.eval.IDs, "new") }, "attack a-512, attack b-512, " + transfers},
	} {
		t.Run(c.name, func(t *testing.T) {
			before, after := keyed(), keyed()
			if c.base != nil {
				c.base(before)
				c.base(after)
			}
			c.change(after)
			old, changed := keysOf(t, before), []string{}
			for name, key := range keysOf(t, after) {
				if old[name] != key {
					changed = append(changed, name)
				}
			}
			want := []string{}
			if c.want != "" {
				want = strings.Split(strings.TrimSuffix(c.want, ", "), ", ")
			}
			slices.Sort(changed)
			slices.Sort(want)
			if !slices.Equal(changed, want) {
				t.Errorf("other keys for %q\nwant %q", changed, want)
			}
		})
	}
}

// TestKeysAreDistinct: no two units of a run share a file.
func TestKeysAreDistinct(t *testing.T) {
	r := keyed()
	files := map[string]string{}
	for _, m := range r.members {
		for _, unit := range []func() (store.Unit, error){
			func() (store.Unit, error) { return r.evaluateUnit(m) },
			func() (store.Unit, error) { return r.attackUnit(r.Attack, m, r.shards()[0]) },
			func() (store.Unit, error) { return r.attackUnit(r.Attack, m, r.shards()[1]) },
			func() (store.Unit, error) { return r.transferUnit(r.Attack, m, r.members[0]) },
			func() (store.Unit, error) { return r.transferUnit(r.Attack, m, r.members[1]) },
			func() (store.Unit, error) { return r.controlUnit(r.members[0], m) },
		} {
			u, err := unit()
			must(t, err)
			file := u.File("units", "pred")
			if other, ok := files[file]; ok {
				t.Errorf("%s and %s are both %s", other, u.Name, file)
			}
			files[file] = u.Name
		}
	}
}
