package analysis

import "math"

// Status says how far a score of a pair can be trusted.
type Status string

// The statuses of a pair, worst first: a pair that is both floored and small is reported as floored.
const (
	// StatusEmpty: no image is classified correctly by both models, so the score is undefined (NaN here, an empty cell
	// in a CSV file, null in JSON). It is never the floor.
	StatusEmpty Status = "empty"
	// StatusFloored: not one adversarial image transferred, so the score is the logarithm of the floor, an arbitrary
	// small number. Averages over pairs must say how many of these they hold.
	StatusFloored Status = "floored"
	// StatusSmall: fewer than [SmallSample] common images.
	StatusSmall Status = "small"
	// StatusOK: none of the above.
	StatusOK Status = "ok"
)

// Matrix is a square table over models, for example of SAT scores or of distances.
type Matrix struct {
	Names  []string  // one name per row; columns have the same order
	Values []float64 // row major, len(Names)^2 numbers; NaN where the value is undefined
}

// NewMatrix returns a matrix of zeros.
func NewMatrix(names []string) *Matrix {
	return &Matrix{Names: append([]string(nil), names...), Values: make([]float64, len(names)*len(names))}
}

// Len returns the number of models.
func (m *Matrix) Len() int { return len(m.Names) }

// At returns the value in row i and column j.
func (m *Matrix) At(i, j int) float64 { return m.Values[i*len(m.Names)+j] }

// Set sets the value in row i and column j.
func (m *Matrix) Set(i, j int, v float64) { m.Values[i*len(m.Names)+j] = v }

// Row returns row i without copying it.
func (m *Matrix) Row(i int) []float64 { n := len(m.Names); return m.Values[i*n : (i+1)*n] }

// Pair is the two-sided similarity of two different models (one line of pairs_undirected.csv).
type Pair struct {
	A, B               string
	NBoth              int     // images both models classify correctly when clean: |X_AB|
	FooledAB, FooledBA int     // of these, images made on A that fool B, and images made on B that fool A
	Percent            float64 // 100 (FooledAB + FooledBA) / (2 NBoth); NaN when NBoth is 0
	SAT                float64 // ln max(floor, Percent); NaN when NBoth is 0
	CILo, CIHi         float64 // bootstrap interval of SAT; NaN until [Bootstrap] has filled it
	PercentLo          float64 // bootstrap interval of Percent, likewise
	PercentHi          float64
	Status             Status
}

// Directed holds the counts of one ordered pair of different models (one line of pairs.csv).
type Directed struct {
	Source, Target string
	NBoth          int     // images both models classify correctly when clean
	Fooled         int     // of these, images made on Source that Target gets wrong
	Percent        float64 // 100 Fooled / NBoth; NaN when NBoth is 0
	OneSided       float64 // ln max(floor, Percent); NaN when NBoth is 0
	Status         Status
}

// SelfCount is a diagonal entry: how well the attack works on the model it was made on. It is a measure of the attack,
// not of similarity, and never enters an average over pairs.
type SelfCount struct {
	Model   string
	N       int     // images the model classifies correctly when clean
	Fooled  int     // of these, adversarial images made on the model that the model itself gets wrong
	Percent float64 // 100 Fooled / N; NaN when N is 0
	SAT     float64 // ln max(floor, Percent); NaN when N is 0
	Status  Status
}

// Summary describes the scores of a set of pairs.
type Summary struct {
	Pairs        int     // pairs with a defined score
	Excluded     int     // pairs left out because their score is undefined (status empty)
	Floored      int     // pairs at the floor, included in the mean: compare the median before believing it
	Mean, Median float64 // NaN when Pairs is 0
}

// GroupSummary is the similarity inside one group of models.
type GroupSummary struct {
	Group   string
	Models  int
	Summary Summary
}

// GroupTest compares the similarity of models inside groups (say, one architecture and several seeds) with the
// similarity of models of different groups.
type GroupTest struct {
	Groups       []GroupSummary // in the order of first appearance
	Within       Summary        // over all pairs inside a group
	Across       Summary        // over all pairs between groups
	Difference   float64        // the statistic: mean within minus mean across
	P            float64        // one-sided permutation p of Difference
	PRank        float64        // the same for the mean rank of the scores, which floored pairs cannot dominate
	Permutations int            // labelings looked at: all different ones if Exact, else random ones
	Exact        bool
	AtLeast      int // labelings with a Difference at least as large (the observed one counts if Exact)
}

// Clusters is a partition of the models by spectral clustering.
type Clusters struct {
	Names       []string
	K           int       // clusters asked for
	Labels      []int     // cluster number of each model, from 1
	Sizes       []int     // Sizes[c-1] models have label c
	Order       []int     // model indices in display order: by cluster, inside a cluster nearest to its centroid first
	Eigenvalues []float64 // smallest eigenvalues of the Laplacian, ascending, at most 20
	Eigengap    float64   // Eigenvalues[K] - Eigenvalues[K-1] (0-based); NaN when K equals the number of models
	Inertia     float64   // sum of squared distances of the feature rows to their centroids
	Features    [][]float64
	Distance    *Matrix  // Euclidean distances between the feature rows that were clustered
	Warnings    []string // conditions a reader of the partition should know
}

// Keyword is one of the words that distinguish a cluster.
type Keyword struct {
	Cluster          int // cluster number, from 1
	Rank             int // from 1
	Component, Value string
	Score            float64 // mean TF-IDF weight over the cluster's models
}

// Agreement compares two partitions of the same models.
type Agreement struct {
	ARI     float64 // adjusted Rand index: 1 for equal partitions, expectation 0 for random ones
	NMI     float64 // mutual information over the arithmetic mean of both entropies
	Matched float64 // fraction of models in matching clusters, under the best one-to-one matching of clusters
}

// Correlation describes how two variables go together. Undefined numbers are NaN; Warning then says why.
type Correlation struct {
	N              int
	R              float64 // Pearson's r
	P              float64 // two-sided p of R; underflows to 0, Log10P does not
	Log10P         float64 // -Inf when |R| is 1 and N > 2
	CILo, CIHi     float64 // confidence interval of R by Fisher's z
	Spearman       float64 // Pearson's r of average ranks
	SpearmanP      float64
	SpearmanLog10P float64
	Warning        string
}

// undefined marks a number that the data do not determine; writers turn it into an empty cell or null.
var undefined = math.NaN()
