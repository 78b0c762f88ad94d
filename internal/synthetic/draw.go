package synthetic

import (
	"context"
	"math"
	"sync"

	"sat/analysis"
	papertables "sat/analysis/paper"
	"sat/internal/rng"
)

// The strengths of what models share, chosen so that the scores have the size of the paper's: a mean SAT near 2.7, about
// 80 % accuracy, whole clusters near 3.5.
const (
	sharedDifficulty  = 0.9
	clusterDifficulty = 0.8
	baseDifficulty    = 0.5
	ownDifficulty     = 0.9
	steepness         = 1.7 // logits lost per unit of difficulty
	margin            = 4.2 // logit of the true class of an easy image
	alike             = 1.2 // log odds of transfer inside a cluster
	transfer          = -2.6
)

// logits draws the answers of the models to the images and returns them with the labels.
func (z *Zoo) logits(models []Model, stream string) *Logits {
	l := &Logits{Classes: z.Classes, values: make([][]float32, len(models))}
	shared := z.normals(stream + "/all")
	labels := rng.New(z.Seed, stream+"/labels")
	for range z.Images {
		l.Labels = append(l.Labels, labels.IntN(z.Classes))
	}
	clusters, bases, confusions := map[int][]float64{}, map[string][]float64{}, map[int][]int{}
	for i := range models {
		m := &models[i]
		l.Models = append(l.Models, m.Name)
		if clusters[m.Cluster] == nil {
			clusters[m.Cluster] = z.normals(stream+"/cluster", uint64(m.Cluster))
			drawn := rng.New(z.Seed, stream+"/confusion", uint64(m.Cluster))
			for range z.Images {
				confusions[m.Cluster] = append(confusions[m.Cluster], 1+drawn.IntN(z.Classes-1))
			}
		}
		if bases[m.base()] == nil {
			bases[m.base()] = z.normals(stream + "/base/" + m.base())
		}
		own := rng.New(z.Seed, stream+"/model/"+m.Name)
		skill := 0.25 * own.Normal()
		values := make([]float32, 0, z.Images*z.Classes)
		for x, y := range l.Labels {
			hard := sharedDifficulty*shared[x] + clusterDifficulty*clusters[m.Cluster][x] + baseDifficulty*bases[m.base()][x] + ownDifficulty*own.Normal()
			row := make([]float32, z.Classes)
			for c := range row {
				row[c] = float32(0.5 * own.Normal())
			}
			row[y] += float32(margin + skill - steepness*hard)
			row[(y+confusions[m.Cluster][x])%z.Classes] += float32(1 + 0.4*steepness*hard)
			values = append(values, row...)
		}
		l.values[i] = values
	}
	return l
}

func (z *Zoo) normals(stream string, counters ...uint64) []float64 {
	s := rng.New(z.Seed, stream, counters...)
	out := make([]float64, z.Images)
	for i := range out {
		out[i] = s.Normal()
	}
	return out
}

// Logits are the answers of the models, in memory. They serve as an analysis.LogitReader.
type Logits struct {
	Models  []string
	Classes int
	Labels  []int
	values  [][]float32 // of each model, row major
}

// ReadLogits implements analysis.LogitReader.
func (l *Logits) ReadLogits(ctx context.Context, model, from int, dst []float32) error {
	copy(dst, l.values[model][from*l.Classes:])
	return ctx.Err()
}

func (l *Logits) reader() *analysis.Logits {
	return &analysis.Logits{Models: l.Models, Classes: l.Classes, Labels: l.Labels, Reader: l}
}

func (l *Logits) correct(model int) []bool {
	out := make([]bool, len(l.Labels))
	for x, y := range l.Labels {
		row := l.values[model][x*l.Classes : (x+1)*l.Classes]
		best := 0
		for c, v := range row {
			if v > row[best] {
				best = c
			}
		}
		out[x] = best == y
	}
	return out
}

// attack says how adversarial images of one method transfer.
type attack struct {
	stream string
	shift  float64 // of the log odds
	noise  float64 // of the log odds of a pair
}

var (
	pgd        = attack{"pgd", 0, 0.25}
	autoAttack = attack{"autoattack", 0.12, 0.1}
	patchFool  = attack{"patchfool", -0.2, 0.2}
)

// tables draws which adversarial images fool whom. planted gives the log odds for pairs that the clusters do not explain;
// it may be nil.
func (z *Zoo) tables(models []Model, l *Logits, a attack, planted func(i, j int) (float64, bool)) *analysis.Tables {
	t := &analysis.Tables{Images: z.Images}
	for i := range models {
		t.Models = append(t.Models, models[i].Name)
		t.Correct = append(t.Correct, analysis.NewBits(l.correct(i)))
	}
	fragile := z.normals("fragile") // images that are easily turned, for every attack
	for i := range models {
		row := make([]analysis.Bits, len(models))
		for j := range models {
			odds := z.odds(&models[i], &models[j], a)
			if planted != nil {
				if v, ok := planted(i, j); ok {
					odds = v
				}
			}
			drawn := rng.New(z.Seed, a.stream+"/"+models[i].Name+"/"+models[j].Name)
			if i == j {
				odds = 4.5 + drawn.Normal()
			}
			wrong := make([]bool, z.Images)
			for x := range wrong {
				wrong[x] = drawn.Float64() < 1/(1+math.Exp(-odds-0.8*fragile[x]))
			}
			row[j] = analysis.NewBits(wrong)
		}
		t.Wrong = append(t.Wrong, row)
	}
	return t
}

// byImportance are the columns of the components in the order of the paper's Fig. 3.
var byImportance = sync.OnceValue(func() (columns []string) {
	for _, c := range papertables.Components() {
		columns = append(columns, c.Column)
	}
	return columns
})

// odds is the log odds that an image made on one model fools another. The noise of a pair is the same both ways and for
// all attacks but for its own part, so that attacks agree; source and target have strengths of their own, so that one
// direction does not say all.
func (z *Zoo) odds(s, t *Model, a attack) float64 {
	odds := transfer + a.shift
	if s.Cluster == t.Cluster {
		odds += alike
	}
	for rank, column := range byImportance() {
		if s.Features[column] != "" && s.Features[column] == t.Features[column] {
			odds += 0.5 / float64(rank+2)
		}
	}
	first, second := s.Name, t.Name
	if first > second {
		first, second = second, first
	}
	odds += 0.2 * rng.New(z.Seed, "pair/"+first+"/"+second).Normal()
	odds += a.noise * rng.New(z.Seed, a.stream+"/pair/"+first+"/"+second).Normal()
	return odds + 0.25*rng.New(z.Seed, "source/"+s.Name).Normal() + 0.25*rng.New(z.Seed, "target/"+t.Name).Normal()
}
