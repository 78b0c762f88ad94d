package studies

import (
	"context"
	"strconv"

	"sat/analysis"
	"sat/analysis/paper"
)

// secondPerplexity is shown beside the default of 30 where there are models enough for both: with 69 models, a
// neighbourhood of 30 is nearly half of them.
const secondPerplexity = 10

// TSNEJob asks for a map of the models (Fig. 1).
type TSNEJob struct {
	SAT     *analysis.Matrix
	Labels  *Labels // clusters; nil without, and models that have none get an empty cell
	Options analysis.TSNEOptions
}

type tsneFile struct {
	SchemaVersion int               `json:"schema_version"`
	Models        int               `json:"models"`
	KL            *float64          `json:"kl"`
	Perplexity    float64           `json:"perplexity"`
	Seed          uint64            `json:"seed"`
	Distance      analysis.Distance `json:"distance"`
	Init          analysis.Init     `json:"init"`
	Steps         int               `json:"steps"`
	// Trustworthiness is of five neighbours; null below four models.
	Trustworthiness *float64 `json:"trustworthiness"`
	Second          *tsneFit `json:"second,omitempty"` // fig1_tsne_perplexity10.csv
	Warnings        []string `json:"warnings"`
}

type tsneFit struct {
	KL              *float64 `json:"kl"`
	Perplexity      float64  `json:"perplexity"`
	Steps           int      `json:"steps"`
	Trustworthiness *float64 `json:"trustworthiness"`
}

// TSNE writes fig1_tsne.csv and tsne.json; with the default perplexity and more than 30 models also
// fig1_tsne_perplexity10.csv.
func TSNE(ctx context.Context, f Folder, job TSNEJob) ([]string, error) {
	o := job.Options
	first, err := analysis.TSNE(ctx, job.SAT, o)
	if err != nil {
		return nil, err
	}
	f = f.with("tsne", map[string]any{"perplexity": first.Perplexity, "distance": o.Distance, "init": o.Init, "steps": o.Steps, "seed": o.Seed})
	file := tsneFile{
		SchemaVersion: schemaVersion, Models: job.SAT.Len(), KL: Defined(first.KL), Perplexity: first.Perplexity, Seed: o.Seed,
		Distance: o.Distance, Init: o.Init, Steps: first.Steps, Trustworthiness: Defined(first.Trustworthiness),
		Warnings: append([]string{}, first.Warnings...),
	}
	var second *analysis.Embedding
	if o.Perplexity == 0 && first.Perplexity > secondPerplexity && job.SAT.Len() > int(first.Perplexity) {
		o.Perplexity = secondPerplexity
		if second, err = analysis.TSNE(ctx, job.SAT, o); err != nil {
			return nil, err
		}
		file.Second = &tsneFit{Defined(second.KL), second.Perplexity, second.Steps, Defined(second.Trustworthiness)}
	}
	if err := f.table("fig1_tsne.csv", embeddingHeader, embeddingRows(first, job.Labels)); err != nil {
		return nil, err
	}
	if second != nil {
		f = f.with("tsne", map[string]any{"perplexity": second.Perplexity, "distance": o.Distance, "init": o.Init, "steps": o.Steps, "seed": o.Seed})
		if err := f.table("fig1_tsne_perplexity10.csv", embeddingHeader, embeddingRows(second, job.Labels)); err != nil {
			return nil, err
		}
	}
	return first.Warnings, f.json("tsne.json", file)
}

var embeddingHeader = []string{"x", "y", "model", "alias", "cluster"}

func embeddingRows(e *analysis.Embedding, labels *Labels) [][]string {
	aliases := paper.Aliases()
	var rows [][]string
	for i, name := range e.Names {
		alias, cluster := aliases[name], ""
		if alias == "" {
			alias = name
		}
		if c := labels.find(name); c > 0 {
			cluster = strconv.Itoa(c)
		}
		rows = append(rows, []string{number(e.Points[i][0]), number(e.Points[i][1]), name, alias, cluster})
	}
	return rows
}
