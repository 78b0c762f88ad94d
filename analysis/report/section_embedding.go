package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/plot/vg"
)

// embeddingSection is the map of models (Fig. 1).
var embeddingSection = &section{
	id: "map", nav: "Map", title: "A map of the models",
	lead:    "Models that are similar stand close together (t-SNE). Directions mean nothing, and distances between far groups mean little.",
	files:   []string{"fig1_tsne.csv", "fig1_tsne_perplexity10.csv"},
	command: "sat analyze tsne",
	read:    readEmbedding,
}

type mapPoint struct {
	x, y    float64
	model   int
	cluster int // 0: not clustered
	label   string
}

func readEmbedding(r *Run) (*content, error) {
	var info struct {
		KL, Perplexity, Trustworthiness *nullable
		Warnings                        []string
		Second                          *struct{ KL, Perplexity, Trustworthiness *nullable }
	}
	if _, err := readJSON(r.path("analysis", "tsne.json"), &info); err != nil {
		return nil, err
	}
	c := &content{}
	for _, part := range []struct{ stem, title string }{
		{"fig1_tsne", "Map of the models by similarity"},
		{"fig1_tsne_perplexity10", "The same map with perplexity 10"},
	} {
		points, csv, err := r.readMap(part.stem + ".csv")
		if err != nil {
			return nil, err
		}
		if points == nil {
			continue
		}
		fit := struct{ kl, perplexity, trust float64 }{orNaN(info.KL), orNaN(info.Perplexity), orNaN(info.Trustworthiness)}
		if part.stem != "fig1_tsne" && info.Second != nil {
			fit.kl, fit.perplexity, fit.trust = orNaN(info.Second.KL), orNaN(info.Second.Perplexity), orNaN(info.Second.Trustworthiness)
		}
		note := "t-SNE of the distances ln 100 − SAT."
		if !math.IsNaN(fit.perplexity) {
			note += fmt.Sprintf(" Perplexity %s, KL divergence %s", short(fit.perplexity), short(fit.kl))
			if !math.IsNaN(fit.trust) {
				note += fmt.Sprintf(", trustworthiness %s (1: every neighbour on the map is a neighbour)", short(fit.trust))
			}
			note += "."
		}
		figure := r.mapFigure(part.stem, part.title, note, points, csv)
		if len(c.blocks) == 0 {
			c.blocks = append(c.blocks, block{Figure: figure})
			c.data = map[string]any{"kl": number(fit.kl), "perplexity": number(fit.perplexity), "trustworthiness": number(fit.trust)}
		} else {
			c.blocks = append(c.blocks, block{Fold: &foldedPart{part.title, []block{{Figure: figure}}}})
		}
	}
	if c.blocks == nil {
		return nil, nil
	}
	for _, w := range info.Warnings {
		c.blocks = append(c.blocks, block{Note: w})
	}
	return c, nil
}

func (r *Run) readMap(name string) ([]mapPoint, []byte, error) {
	t, csv, err := r.analysisTable(name, "x", "y", "model", "alias", "cluster")
	if t == nil {
		return nil, nil, err
	}
	index := r.lookup()
	var points []mapPoint
	for _, row := range t.rows {
		i, ok := index[row.text("model")]
		if !ok {
			return nil, nil, row.fail("model", "%q is not in sat.csv", row.text("model"))
		}
		p := mapPoint{model: i, label: cmp.Or(row.text("alias"), row.text("model"))}
		if p.x, err = row.number("x"); err != nil {
			return nil, nil, err
		}
		if p.y, err = row.number("y"); err != nil {
			return nil, nil, err
		}
		if math.IsNaN(p.x) || math.IsNaN(p.y) {
			return nil, nil, row.fail("x", "%q has no place", row.text("model"))
		}
		if row.text("cluster") != "" {
			if p.cluster, err = row.count("cluster", 1); err != nil {
				return nil, nil, err
			}
			if known := r.Models[i].Cluster; r.Clusters != nil && p.cluster != known {
				return nil, nil, row.fail("cluster", "%d, but tab2_clusters.csv has %d: the files are of different runs", p.cluster, known)
			}
		}
		points = append(points, p)
	}
	if points == nil {
		return nil, nil, fmt.Errorf("%s: no line behind the header", t.path)
	}
	return points, csv, nil
}

// namedOnMap is the number of models up to which each is named on the map; of more, the middle ones of every cluster are.
const namedOnMap = 110

func (r *Run) mapFigure(stem, title, note string, points []mapPoint, csv []byte) *figure {
	labels := make([]string, len(points))
	if len(points) <= namedOnMap {
		for i, p := range points {
			labels[i] = p.label
		}
	} else {
		note += " Named: the two models in the middle of each cluster."
		for _, i := range middleOfClusters(points, 2) {
			labels[i] = points[i].label
		}
	}
	radius, numbered := vg.Length(4.2), true
	if len(points) > namedOnMap {
		radius, numbered = 2.4, false
	}
	items := r.mapLegend(points)
	width, height := vg.Length(figureWidth), vg.Length(5.4*vg.Inch)
	legendHeight := -legend(nil, margin, 0, width-2*margin, "Cluster", items)
	if items == nil {
		legendHeight = 0
	}
	height += legendHeight
	alt := fmt.Sprintf("Map of %s. Close models are similar.", plural(len(points), "model", "models"))
	if items != nil {
		alt += fmt.Sprintf(" Colours and numbers show %s.", plural(len(items), "cluster", "clusters"))
	}
	return &figure{Stem: stem, Title: title, Alt: alt, CSV: csv, width: width, height: height, draw: func(p pen) {
		top := p.heading(title, note)
		xs, ys := make([]float64, len(points)), make([]float64, len(points))
		for i, q := range points {
			xs[i], ys[i] = q.x, q.y
		}
		a := &panel{pen: p, x0: margin, y0: margin + legendHeight + 4, x1: width - margin, y1: top - 2}
		a.xmin, a.xmax = padded(xs, 0.08)
		a.ymin, a.ymax = padded(ys, 0.06)
		p.outline(a.x0, a.y0, a.x1, a.y1, 0.6, faint)
		l := &labelPlacer{panel: a, size: 6, radius: radius}
		for i := range points {
			l.marks = append(l.marks, vg.Point{X: a.X(xs[i]), Y: a.Y(ys[i])})
		}
		placed := l.place(labels)
		for i, q := range points {
			c := clusterColor(q.cluster)
			at := l.marks[i]
			p.dot(at.X, at.Y, radius+0.5, paper)
			if !numbered {
				a.mark(at.X, at.Y, radius, q.cluster, c)
				continue
			}
			p.dot(at.X, at.Y, radius, c)
			if q.cluster > 0 {
				p.text(at.X, at.Y, strconv.Itoa(q.cluster), lettering{size: 5.5, align: 0.5, bold: true, color: textOn(c)})
			}
		}
		l.draw(p, labels, placed)
		legend(&p, margin, margin+legendHeight, width-2*margin, "Cluster", items)
	}}
}

// mapLegend names the clusters, with their first keywords where these were run.
func (r *Run) mapLegend(points []mapPoint) (items []legendItem) {
	seen := map[int]bool{}
	for _, p := range points {
		if p.cluster > 0 {
			seen[p.cluster] = true
		}
	}
	clusters := make([]int, 0, len(seen))
	for k := range seen {
		clusters = append(clusters, k)
	}
	slices.Sort(clusters)
	for _, k := range clusters {
		label := ""
		if k <= len(r.Keywords) {
			var words []string
			for _, w := range r.Keywords[k-1][:min(3, len(r.Keywords[k-1]))] {
				words = append(words, keywordLabel(w.Component, w.Value))
			}
			label = strings.Join(words, "; ")
		}
		items = append(items, legendItem{label, clusterColor(k), strconv.Itoa(k)})
	}
	return items
}

// keywordLabel is a component with its value in few letters: a value that speaks for itself stands alone.
func keywordLabel(component, value string) string {
	if value == "Yes" || value == "No" {
		return readable(component) + ": " + value
	}
	return value
}

// middleOfClusters returns the models nearest to the centre of their cluster, n of each.
func middleOfClusters(points []mapPoint, n int) (out []int) {
	members := map[int][]int{}
	for i, p := range points {
		members[p.cluster] = append(members[p.cluster], i)
	}
	for _, list := range members {
		var cx, cy float64
		for _, i := range list {
			cx, cy = cx+points[i].x/float64(len(list)), cy+points[i].y/float64(len(list))
		}
		slices.SortStableFunc(list, func(a, b int) int {
			return cmp.Compare(math.Hypot(points[a].x-cx, points[a].y-cy), math.Hypot(points[b].x-cx, points[b].y-cy))
		})
		out = append(out, list[:min(n, len(list))]...)
	}
	slices.Sort(out)
	return out
}
