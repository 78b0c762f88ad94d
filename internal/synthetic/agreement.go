package synthetic

import (
	"context"
	"math"

	"sat/analysis"
	"sat/internal/rng"
	"sat/internal/studies"
)

// writeAgreement invents the agreement of decision boundaries: it rises with the similarity, loosely, between chance and 1.
func (z *Zoo) writeAgreement(ctx context.Context, f studies.Folder, _ string, o *outcome) error {
	sat := o.scores.Matrix()
	agreement := analysis.NewMatrix(sat.Names)
	for i := range sat.Names {
		agreement.Set(i, i, 1)
		for j := i + 1; j < sat.Len(); j++ {
			loose := sat.At(i, j) + 0.8*rng.New(z.Seed, "agreement", uint64(i), uint64(j)).Normal()
			share := 0.2 + 0.7/(1+math.Exp(1.5-0.8*loose))
			agreement.Set(i, j, share)
			agreement.Set(j, i, share)
		}
	}
	return studies.Agreement(ctx, f, sat, agreement, z.Seed)
}
