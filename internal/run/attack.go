package run

import (
	"context"
	"encoding/json"
	"fmt"
	"math"

	"sat/internal/store"
	"sat/torch"
)

// shards cuts the evaluation images into the ranges of the attack units.
func (r *runner) shards() [][2]int {
	var out [][2]int
	for from := 0; from < r.eval.Len(); from += shardSize {
		out = append(out, [2]int{from, min(from+shardSize, r.eval.Len())})
	}
	return out
}

// attackKey holds what determines the adversarial images besides the model and its clean predictions. Steps are float32
// because that is how they meet the pixels: 0.1 and 0.10000000001 are one attack.
type attackKey struct {
	Method      string `json:"method"`
	EpsilonBits uint32 `json:"epsilon_bits"`
	StepBits    uint32 `json:"step_bits"`
	Steps       int    `json:"steps"`
	Norm        string `json:"norm"`
	Select      string `json:"select"`
	RandomStart bool   `json:"random_start"`
	Restarts    int    `json:"restarts"`
	Momentum    uint32 `json:"momentum_bits"`
	Seed        uint64 `json:"seed"`
	From        int    `json:"from"`
	To          int    `json:"to"`
	numerics
}

func (r *runner) attackUnit(a Attack, m *member, shard [2]int) (store.Unit, error) {
	clean, err := r.evaluateUnit(m)
	if err != nil {
		return store.Unit{}, err
	}
	p := a.PGD
	parameters := attackKey{
		Method: a.Method, EpsilonBits: math.Float32bits(float32(p.Epsilon)), StepBits: math.Float32bits(float32(p.StepSize)),
		Steps: p.Steps, Norm: p.Norm.String(), Select: p.Select.String(), RandomStart: p.RandomStart, Restarts: p.Restarts,
		Momentum: math.Float32bits(float32(p.Momentum)), From: shard[0], To: shard[1], numerics: r.numerics(),
	}
	if p.RandomStart {
		parameters.Seed = p.Seed // without random numbers the seed changes nothing
	}
	key, err := store.NewKey("attack", parameters, map[string]string{"clean": string(clean.Key)})
	return store.Unit{Stage: string(StageAttack), Name: fmt.Sprintf("%s-%d", m.Name, shard[0]), Key: key}, err
}

// settings lists the main attack and those of the sweep.
func (r *runner) settings() []Attack {
	all := []Attack{r.Attack}
	for _, a := range r.Sweep {
		if a.PGD != r.Attack.PGD {
			all = append(all, a)
		}
	}
	return all
}

// attack makes the adversarial images of every model, once, for every setting.
func (r *runner) attack(ctx context.Context) error {
	var tasks []task
	skipped := 0.0
	for _, a := range r.settings() {
		for _, m := range r.members {
			for _, shard := range r.shards() {
				unit, err := r.attackUnit(a, m, shard)
				if err != nil {
					return err
				}
				passes := float64(shard[1]-shard[0]) * float64(a.PGD.Steps*max(a.PGD.Restarts, 1)) * passGradient
				done, err := r.finished(unit)
				if err != nil {
					return err
				}
				if done {
					skipped += passes
					r.skipped++
					continue
				}
				tasks = append(tasks, task{model: m.Name, name: fmt.Sprintf("%s, epsilon %s", m.Name, a.Epsilon), passes: passes,
					do: func(ctx context.Context, w *torch.Worker, advance func(float64)) error {
						return r.attackShard(ctx, w, a, m, shard, unit, advance)
					}})
			}
		}
	}
	return r.execute(ctx, StageAttack, tasks, skipped, fmt.Sprintf("%d models, epsilon %s, %d steps", len(r.members), r.Attack.Epsilon, r.Attack.PGD.Steps))
}

func (r *runner) attackShard(ctx context.Context, w *torch.Worker, a Attack, m *member, shard [2]int, unit store.Unit, advance func(float64)) error {
	numbers, err := r.correct(m, shard[0], shard[1])
	if err != nil {
		return err
	}
	model, err := r.load(ctx, w, m)
	if err != nil {
		return err
	}
	defer model.Close()
	h, wd := model.InputSize()
	parameters, err := json.Marshal(a.PGD)
	if err != nil {
		return err
	}
	header := store.AdversarialHeader{
		Source: m.Name, Attack: a.Method, EpsilonBits: math.Float32bits(float32(a.PGD.Epsilon)), C: 3, H: h, W: wd,
		CleanDigest: m.images.Digest(), Parameters: parameters, IDs: make([]string, len(numbers)),
	}
	for k, i := range numbers {
		header.IDs[k] = r.eval.IDs[i]
	}
	perImage := float64(a.PGD.Steps*max(a.PGD.Restarts, 1)) * passGradient
	advance(perImage * float64(shard[1]-shard[0]-len(numbers))) // the misclassified ones cost nothing
	return r.commit(unit, "adv", func(path string) error {
		return store.WriteAdversarial(path, header, func(out *store.AdversarialWriter) error {
			for from := 0; from < len(numbers); from += r.Batch {
				batch := numbers[from:min(from+r.Batch, len(numbers))]
				x, err := m.images.Batch(ctx, w, batch)
				if err != nil {
					return err
				}
				y, ids := make([]int64, len(batch)), make([]string, len(batch))
				for k, i := range batch {
					y[k], ids[k] = r.eval.Labels[i], r.eval.IDs[i]
				}
				perBatch := perImage * float64(len(batch))
				last := 0.0
				result, err := a.PGD.Run(ctx, model, x, y, ids, func(done, total int) {
					share := float64(done) / float64(total)
					advance(perBatch * (share - last))
					last = share
				})
				if err != nil {
					return fmt.Errorf("attack %s, images %d to %d: %w", m.Name, batch[0], batch[len(batch)-1], err)
				}
				if err := out.Add(x.Pixels, result.Adversarial.Pixels); err != nil {
					return err
				}
			}
			return nil
		})
	})
}
