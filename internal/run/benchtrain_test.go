package run

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"testing"

	"sat/internal/testkit"
	"sat/torch"
)

// For an odd number of values the distribution of the median of a resample is known: it is at most the k-th smallest value
// if at least half of n draws are, each with probability k/n.
func TestBootstrapMedian(t *testing.T) {
	const n = 19 // no quantile of interest lies near a step of the distribution
	values := make([]float64, n)
	for i := range values {
		values[i] = float64((i*7)%n + 1) // 1 to n in another order
	}
	quantile := func(q float64) float64 {
		for k := 1; ; k++ {
			p, below := float64(k)/n, 0.0
			for hits := n/2 + 1; hits <= n; hits++ {
				ways := math.Exp(lgamma(n+1) - lgamma(hits+1) - lgamma(n-hits+1))
				below += ways * math.Pow(p, float64(hits)) * math.Pow(1-p, float64(n-hits))
			}
			if below >= q {
				return float64(k)
			}
		}
	}
	lo, hi := bootstrapMedian(values)
	if wantLo, wantHi := quantile(0.025), quantile(0.975); lo != wantLo || hi != wantHi {
		t.Errorf("interval %v to %v, the exact distribution has %v to %v", lo, hi, wantLo, wantHi)
	}
}

func lgamma(n int) float64 {
	v, _ := math.Lgamma(float64(n))
	return v
}

// The native loop and eager PyTorch make the same updates: the benchmark itself refuses a pair whose losses differ after the
// weights have moved. Networks of timm's own tests keep it short.
func TestTrainBenchAgainstPeer(t *testing.T) {
	testkit.NoLeaks(t)
	testkit.SkipWithoutTorch(t)
	home := filepath.Join("..", "..")
	if _, err := os.Stat(filepath.Join(home, "third_party", "peers", ".complete")); err != nil {
		t.Skip("the peers' environment is missing: scripts/setup.sh peers")
	}
	if testing.Short() {
		t.Skip("exports two networks of timm and starts two peers")
	}
	for _, c := range []struct {
		model, opt string
		precision  torch.DType
	}{{"test_resnet", "sgd", torch.Float32}, {"test_vit", "adamw", torch.BFloat16}} {
		b := TrainBench{
			Models: []string{c.model}, Precisions: []torch.DType{c.precision}, Batch: 4, Steps: 1, Rounds: 2,
			Threads: 1, Peer: true, Home: home, Dir: t.TempDir(),
		}
		var results []TrainResult
		if err := b.Run(context.Background(), func(r TrainResult) { results = append(results, r) }); err != nil {
			t.Fatal(err)
		}
		if len(results) != 1 {
			t.Fatalf("%d results of one network in one precision", len(results))
		}
		if r := results[0]; r.Loss == 0 || r.PeerLoss == 0 || !(r.Ratio > 0) || r.RatioLo > r.Ratio || r.RatioHi < r.Ratio || r.PeakMB <= 0 || r.PeerMB <= 0 ||
			r.Optimizer != c.opt || r.Precision != c.precision.String() {
			t.Errorf("%+v", r)
		}
	}
}
