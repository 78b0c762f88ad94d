package run

import (
	"context"
	"encoding/json"
	"fmt"
	"math"

	"sat/attacks"
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

// attackKey holds what determines the adversarial images besides the model and its clean predictions.
type attackKey struct {
	Method   string         `json:"method"`
	Settings map[string]any `json:"settings"`
	From     int            `json:"from"`
	To       int            `json:"to"`
	numerics
}

func (r *runner) attackUnit(a Attack, m *member, shard [2]int) (store.Unit, error) {
	clean, err := r.cleanKey(m)
	if err != nil {
		return store.Unit{}, err
	}
	parameters := attackKey{Method: a.Method, Settings: a.keyParameters(), From: shard[0], To: shard[1], numerics: r.numerics(m)}
	key, err := store.NewKey("attack", parameters, map[string]string{"clean": string(clean)})
	return store.Unit{Stage: string(StageAttack), Name: fmt.Sprintf("%s-%d", m.Name, shard[0]), Key: key}, err
}

// attack makes the adversarial images of every model, once, for every setting.
func (r *runner) attack(ctx context.Context) error {
	var tasks []task
	skipped := 0.0
	for _, set := range r.imageSets() {
		a := set.attack
		for _, m := range r.members {
			if !set.attacked(m) {
				continue
			}
			for _, shard := range r.shards() {
				unit, err := r.attackUnit(a, m, shard)
				if err != nil {
					return err
				}
				passes := float64(shard[1]-shard[0]) * a.passes()
				done, err := r.finished(unit)
				if err != nil {
					return err
				}
				if done {
					skipped += passes
					r.skipped++
					continue
				}
				tasks = append(tasks, task{model: m.Name, name: fmt.Sprintf("%s, %s", m.Name, a), passes: passes,
					do: func(ctx context.Context, w *torch.Worker, advance func(float64)) error {
						return r.attackShard(ctx, w, a, m, shard, unit, advance)
					}})
			}
		}
	}
	return r.execute(ctx, StageAttack, tasks, skipped, fmt.Sprintf("%d models, %s", len(r.members), r.Attack))
}

func (r *runner) attackShard(ctx context.Context, w *torch.Worker, a Attack, m *member, shard [2]int, unit store.Unit, advance func(float64)) error {
	numbers, classes, err := r.correct(m, shard)
	if err != nil {
		return err
	}
	model, err := r.load(ctx, w, m)
	if err != nil {
		return err
	}
	defer model.Close()
	h, wd := model.InputSize()
	parameters, err := json.Marshal(a)
	if err != nil {
		return err
	}
	header := store.AdversarialHeader{
		Source: m.Name, Attack: a.Method, EpsilonBits: math.Float32bits(float32(a.radius())), C: 3, H: h, W: wd,
		CleanDigest: m.images.Digest(), Parameters: parameters, IDs: make([]string, len(numbers)),
	}
	for k, i := range numbers {
		header.IDs[k] = r.eval.IDs[i]
	}
	perImage := a.passes()
	advance(perImage * float64(shard[1]-shard[0]-len(numbers))) // the misclassified ones cost nothing
	per := r.batchOf(m)
	auto, whole := a.Attacker.(attacks.AutoAttack)
	if whole { // its later attacks are on few images: together they fill batches
		per, auto.Batch = max(len(numbers), 1), per
	}
	var met attackGuards
	images := func(path string) error {
		return store.WriteAdversarial(path, header, func(out *store.AdversarialWriter) error {
			for from := 0; from < len(numbers); from += per {
				batch := numbers[from:min(from+per, len(numbers))]
				x, err := m.images.Batch(ctx, w, batch)
				if err != nil {
					return err
				}
				y, ids := classes[from:from+len(batch)], make([]string, len(batch))
				for k, i := range batch {
					ids[k] = r.eval.IDs[i]
				}
				progress := proportional(perImage*float64(len(batch)), advance)
				var result attacks.Result
				pgd, plain := a.Attacker.(attacks.PGD)
				switch {
				case whole:
					result, err = r.resumable(ctx, auto, model, x, y, header, unit.File(r.units(), "state"), progress)
				case plain && pgd.ImagesAlone(): // clean predictions are known, those on the result are the transfer stage's
					result, err = pgd.Images(ctx, model, x, y, ids, progress)
				default:
					result, err = a.Run(ctx, model, x, y, ids, progress)
				}
				if err != nil {
					return fmt.Errorf("attack %s, images %d to %d: %w", m.Name, batch[0], batch[len(batch)-1], err)
				}
				for _, warning := range result.Warnings {
					r.warn("%s of %s: %s", a.Method, m.Name, warning)
				}
				met.add(result)
				if err := out.Add(x.Pixels, result.Adversarial.Pixels); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err = r.commit(unit, unitFile{"adv", images}, unitFile{"guards", func(path string) error { return store.WriteJSON(path, met) }})
	if err != nil || !whole {
		return err
	}
	return removeState(unit.File(r.units(), "state"))
}

// proportional turns progress of a call that costs passes into increments of passes.
func proportional(passes float64, advance func(float64)) attacks.Progress {
	before := 0.0
	return func(done, total int) {
		now := passes * float64(done) / float64(max(total, 1))
		advance(now - before)
		before = now
	}
}
