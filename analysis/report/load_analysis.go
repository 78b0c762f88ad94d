package report

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"strings"

	"sat/analysis"
)

func loadFeatures(r *Run) error {
	t, err := optionalTable(r.path("features.csv"), "model")
	if t == nil {
		return err
	}
	// The table may describe more models than this run has.
	index := r.lookup()
	for _, row := range t.rows {
		i, ok := index[row.text("model")]
		if !ok {
			continue
		}
		m := &r.Models[i]
		if m.Features != nil {
			return row.fail("model", "%q appears twice", m.Name)
		}
		m.Features = map[string]string{}
		for k, column := range t.columns {
			if column != "model" {
				m.Features[column] = row.fields[k]
			}
		}
		m.Architecture = m.Features["base_architecture"]
	}
	return nil
}

func loadClusters(r *Run) error {
	t, err := optionalTable(r.path("analysis", "tab2_clusters.csv"), "model", "cluster")
	if t == nil {
		return err
	}
	r.Clusters = &Clusters{Eigengap: math.NaN(), Inertia: math.NaN()}
	return r.modelRows(t, func(row tableRow, m *Model) (err error) {
		m.Cluster, err = row.count("cluster", 1)
		if m.Cluster > len(r.Models) {
			return row.fail("cluster", "number %d with %d models", m.Cluster, len(r.Models))
		}
		r.Clusters.K = max(r.Clusters.K, m.Cluster)
		return err
	})
}

func loadDistance(r *Run) error {
	m, err := r.optionalMatrix("spectral_distance.csv")
	if m == nil {
		return err
	}
	if !slices.Equal(m.Names, r.SAT.Names) {
		return fmt.Errorf("%s: models %s are not those of sat.csv in the same order", r.path("analysis", "spectral_distance.csv"), strings.Join(m.Names, ", "))
	}
	r.Distance = m
	return nil
}

// optionalMatrix reads a matrix of distances of analysis/; nil when it is not there.
func (r *Run) optionalMatrix(name string) (*analysis.Matrix, error) {
	path := r.path("analysis", name)
	m, err := readMatrix(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for k, v := range m.Values {
		if math.IsNaN(v) || v < 0 {
			i, j := k/m.Len(), k%m.Len()
			return nil, fmt.Errorf("%s:%d: %s, %s: %v is not a distance", path, i+2, m.Names[i], m.Names[j], v)
		}
	}
	return m, nil
}

// highest is the largest distance, or 1 when all models are in one place: one colour, and a bar that still has a scale.
func highest(m *analysis.Matrix) float64 {
	hi := 0.0
	for _, v := range m.Values {
		hi = max(hi, v)
	}
	if hi == 0 {
		return 1
	}
	return hi
}

func loadEigenvalues(r *Run) error {
	t, err := optionalTable(r.path("analysis", "spectral_eigenvalues.csv"), "index", "eigenvalue")
	if t == nil {
		return err
	}
	if r.Clusters == nil {
		return fmt.Errorf("%s: present without tab2_clusters.csv", t.path)
	}
	for i, row := range t.rows {
		index, err := row.count("index", 1)
		if err != nil {
			return err
		}
		if index != i+1 {
			return row.fail("index", "%d, want %d", index, i+1)
		}
		v, err := row.number("eigenvalue")
		if err != nil {
			return err
		}
		if math.IsNaN(v) || i > 0 && v < r.Clusters.Eigenvalues[i-1] {
			return row.fail("eigenvalue", "%q: eigenvalues must be defined and ascend", row.text("eigenvalue"))
		}
		r.Clusters.Eigenvalues = append(r.Clusters.Eigenvalues, v)
	}
	return nil
}

func loadKeywords(r *Run) error {
	t, err := optionalTable(r.path("analysis", "tab2_keywords.csv"), "cluster", "rank", "component", "value", "score")
	if t == nil {
		return err
	}
	if r.Clusters == nil {
		return fmt.Errorf("%s: present without tab2_clusters.csv", t.path)
	}
	r.Keywords = make([][]analysis.Keyword, r.Clusters.K)
	for _, row := range t.rows {
		k := analysis.Keyword{Component: row.text("component"), Value: row.text("value")}
		if k.Cluster, err = row.count("cluster", 1); err != nil {
			return err
		}
		if k.Cluster > r.Clusters.K {
			return row.fail("cluster", "number %d, but tab2_clusters.csv ends with %d", k.Cluster, r.Clusters.K)
		}
		if k.Rank, err = row.count("rank", 1); err != nil {
			return err
		}
		if k.Score, err = row.number("score"); err != nil {
			return err
		}
		r.Keywords[k.Cluster-1] = append(r.Keywords[k.Cluster-1], k)
	}
	for _, words := range r.Keywords {
		slices.SortStableFunc(words, func(a, b analysis.Keyword) int { return a.Rank - b.Rank })
	}
	return nil
}

func loadClusterInfo(r *Run) error {
	path := r.path("analysis", "clusters.json")
	var file struct {
		Inertia, Eigengap *nullable
		Order, Warnings   []string
		Agreement         *struct{ ARI, NMI, Matched nullable }
	}
	found, err := readJSON(path, &file)
	if err != nil || !found {
		return err
	}
	if r.Clusters == nil {
		return fmt.Errorf("%s: present without tab2_clusters.csv", path)
	}
	c := r.Clusters
	c.Inertia, c.Eigengap, c.Warnings = orNaN(file.Inertia), orNaN(file.Eigengap), file.Warnings
	if a := file.Agreement; a != nil && !r.Info.WithoutPaper {
		c.Agreement = &analysis.Agreement{ARI: float64(a.ARI), NMI: float64(a.NMI), Matched: float64(a.Matched)}
	}
	if file.Order != nil {
		index := r.lookup()
		for _, name := range file.Order {
			i, ok := index[name]
			if !ok || slices.Contains(c.Order, i) {
				return fmt.Errorf("%s: order: %q is not in sat.csv, or appears twice", path, name)
			}
			c.Order = append(c.Order, i)
		}
		if len(c.Order) != len(r.Models) {
			return fmt.Errorf("%s: order lists %d of %d models", path, len(c.Order), len(r.Models))
		}
	}
	var values settingMap
	if _, err := readJSON(path, &values); err != nil {
		return err
	}
	settings := settingMap{}
	for key, v := range values {
		switch root, _, _ := strings.Cut(key, "."); root {
		case "order", "warnings", "agreement", "inertia", "eigengap", "labels", "sizes": // shown elsewhere
		default:
			settings[key] = v
		}
	}
	r.Settings["analysis/clusters"] = settings
	return nil
}

// orderModels gives the display order where clusters.json has none: by cluster, then by mean distance to the cluster's
// members (by name without distances).
func orderModels(r *Run) error {
	c := r.Clusters
	if c == nil || c.Order != nil {
		return nil
	}
	meanDistance := make([]float64, len(r.Models))
	if r.Distance != nil {
		for i := range r.Models {
			for j := range r.Models {
				if r.Models[i].Cluster == r.Models[j].Cluster {
					meanDistance[i] += r.Distance.At(i, j) // same number of terms within a cluster: the sum will do
				}
			}
		}
	}
	for i := range r.Models {
		c.Order = append(c.Order, i)
	}
	slices.SortStableFunc(c.Order, func(i, j int) int {
		a, b := &r.Models[i], &r.Models[j]
		switch {
		case a.Cluster != b.Cluster:
			return a.Cluster - b.Cluster
		case meanDistance[i] < meanDistance[j]:
			return -1
		case meanDistance[i] > meanDistance[j]:
			return 1
		}
		return strings.Compare(a.Name, b.Name)
	})
	return nil
}

func loadGroups(r *Run) error {
	path := r.path("analysis", "groups.json")
	type mean struct {
		Group                    string
		Models                   int
		Pairs, Excluded, Floored int
		Mean, Median             *nullable
		CILo                     *nullable `json:"ci_lo"`
		CIHi                     *nullable `json:"ci_hi"`
	}
	var file struct {
		Models         []struct{ Model, Group string }
		Within, Across *mean
		All            *mean
		Groups         []mean
		Difference, P  *nullable
		PRank          *nullable `json:"p_rank"`
		CILo           *nullable `json:"ci_lo"`
		CIHi           *nullable `json:"ci_hi"`
		Permutations   int
		Exact          bool
	}
	found, err := readJSON(path, &file)
	if err != nil || !found {
		return err
	}
	if file.Within == nil || file.Across == nil {
		return fmt.Errorf("%s: keys \"within\" and \"across\" are needed", path)
	}
	index := r.lookup()
	for k, m := range file.Models {
		i, ok := index[m.Model]
		if !ok || r.Models[i].Group != "" || m.Group == "" {
			return fmt.Errorf("%s: models[%d]: %q is not in sat.csv, appears twice or has no group", path, k, m.Model)
		}
		r.Models[i].Group = m.Group
	}
	if n := r.ordinaryModels(); len(file.Models) != n {
		return fmt.Errorf("%s: models lists %d of %d models", path, len(file.Models), n)
	}
	convert := func(m mean) GroupMean {
		return GroupMean{Name: m.Group, Models: m.Models, Interval: Interval{orNaN(m.CILo), orNaN(m.CIHi)},
			Summary: analysis.Summary{Pairs: m.Pairs, Excluded: m.Excluded, Floored: m.Floored, Mean: orNaN(m.Mean), Median: orNaN(m.Median)}}
	}
	g := &Groups{Within: convert(*file.Within), Across: convert(*file.Across), Difference: orNaN(file.Difference),
		Interval: Interval{orNaN(file.CILo), orNaN(file.CIHi)}, P: orNaN(file.P), PRank: orNaN(file.PRank),
		Permutations: file.Permutations, Exact: file.Exact}
	if file.All != nil {
		all := convert(*file.All)
		g.All = &all
	}
	for _, m := range file.Groups {
		g.Groups = append(g.Groups, convert(m))
	}
	if err := r.checkGroups(g); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	r.Groups = g
	return nil
}

// checkGroups recomputes the two means, so that a claim of another run is not printed above this matrix.
func (r *Run) checkGroups(g *Groups) error {
	sums := map[bool]*analysis.Summary{true: {}, false: {}}
	for i := range r.Models {
		for j := i + 1; j < len(r.Models); j++ {
			if p := r.Pair(i, j); p.Status != analysis.StatusEmpty && !r.Models[i].hardened() && !r.Models[j].hardened() {
				s := sums[r.Models[i].Group == r.Models[j].Group]
				s.Pairs++
				s.Mean += p.SAT
			}
		}
	}
	for same, m := range map[bool]GroupMean{true: g.Within, false: g.Across} {
		want := sums[same]
		got := m.Summary
		if got.Pairs != want.Pairs || want.Pairs > 0 && math.Abs(got.Mean-want.Mean/float64(want.Pairs)) > 1e-6 {
			return fmt.Errorf("mean %v over %d pairs, but sat.csv gives %v over %d: the files are of different runs",
				got.Mean, got.Pairs, want.Mean/float64(want.Pairs), want.Pairs)
		}
	}
	return nil
}

func loadSweep(r *Run) error {
	t, err := optionalTable(r.path("sweep", "sweep.csv"), "epsilon", "model", "n_both", "n_fooled")
	if t == nil {
		return err
	}
	points := map[float64]*SweepPoint{}
	index := r.lookup()
	for _, row := range t.rows {
		epsilon, err := parseEpsilon(row.text("epsilon"))
		if err != nil {
			return row.fail("epsilon", "%w", err)
		}
		i, ok := index[row.text("model")]
		if !ok {
			return row.fail("model", "%q is not in sat.csv", row.text("model"))
		}
		p := points[epsilon]
		if p == nil {
			nan := math.NaN()
			p = &SweepPoint{Label: row.text("epsilon"), Epsilon: epsilon, Counts: make([]analysis.SelfCount, len(r.Models)),
				Within: nan, Across: nan, Difference: nan, P: nan, PRank: nan}
			points[epsilon] = p
		}
		if p.Counts[i].Model != "" {
			return row.fail("model", "%q appears twice at epsilon %s", row.text("model"), p.Label)
		}
		if p.Counts[i], err = selfCount(row); err != nil {
			return err
		}
		p.Counts[i].Model = r.Models[i].Name
	}
	for _, p := range points {
		for i, c := range p.Counts {
			if c.Model == "" && r.Models[i].hardened() {
				p.Counts[i] = analysis.SelfCount{Model: r.Models[i].Name, Percent: math.NaN(), SAT: math.NaN()}
			} else if c.Model == "" {
				return fmt.Errorf("%s: no row for model %q at epsilon %s", t.path, r.Models[i].Name, p.Label)
			}
		}
		r.Sweep = append(r.Sweep, *p)
	}
	slices.SortFunc(r.Sweep, func(a, b SweepPoint) int {
		if a.Epsilon < b.Epsilon {
			return -1
		}
		return 1
	})
	return nil
}

// parseEpsilon reads "8/255" or a decimal.
func parseEpsilon(s string) (float64, error) {
	numerator, denominator, isFraction := strings.Cut(s, "/")
	v, err := parseNumber(strings.TrimSpace(numerator))
	if err == nil && isFraction {
		var d float64
		d, err = parseNumber(strings.TrimSpace(denominator))
		v /= d
	}
	if err != nil || !(v > 0) || math.IsInf(v, 0) {
		return 0, fmt.Errorf("%q is not a positive number or fraction", s)
	}
	return v, nil
}

func loadSweepGroups(r *Run) error {
	t, err := optionalTable(r.path("sweep", "groups.csv"), "epsilon", "within_mean", "across_mean", "difference", "p", "permutations")
	if t == nil {
		return err
	}
	for _, row := range t.rows {
		epsilon, err := parseEpsilon(row.text("epsilon"))
		if err != nil {
			return row.fail("epsilon", "%w", err)
		}
		k := slices.IndexFunc(r.Sweep, func(p SweepPoint) bool { return p.Epsilon == epsilon })
		if k < 0 {
			return row.fail("epsilon", "%s is not in sweep.csv", row.text("epsilon"))
		}
		p := &r.Sweep[k]
		for _, c := range []struct {
			column string
			to     *float64
		}{{"within_mean", &p.Within}, {"across_mean", &p.Across}, {"difference", &p.Difference}, {"p", &p.P}} {
			if *c.to, err = row.number(c.column); err != nil {
				return err
			}
		}
		if p.PRank, err = row.optional("p_rank"); err != nil {
			return err
		}
		if p.Permutations, err = row.count("permutations", 0); err != nil {
			return err
		}
		if t.has("chosen") {
			p.Chosen = row.text("chosen") == "1" || row.text("chosen") == "true"
		}
	}
	return nil
}
