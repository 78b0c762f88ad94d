package report

import "fmt"

// boundarySection sets the agreement of decision boundaries beside SAT. Files:
//
//	analysis/agreement_sat.csv    a,b,sat,agreement: agreement as a fraction of 1
//	analysis/agreement_sat.json   mantel {p, permutations}
//	boundary/agreement.meta.json  triplets and grid (points along each side of a plane), of the caption
//	boundary/planes.json          see planes.go
var boundarySection = &section{
	id: "boundary", nav: "Boundaries", title: "Do decision boundaries agree likewise?",
	lead: "Another measure of the same question: on planes through three images, the share of points at which two models see the same " +
		"class (Somepalli et al., CVPR 2022). It shows each model a grid of images on every plane, 2,500 in the original, where SAT needs one attack per image.",
	files:   []string{"agreement_sat.csv"},
	command: "[boundary] in the experiment",
	read:    readBoundary,
}

func readBoundary(r *Run) (*content, error) {
	s := &scatter{stem: "agreement_sat", title: "SAT and the agreement of decision boundaries", xTitle: "SAT", yTitle: "points of the same class, %", yPercent: true,
		note: "One dot per pair of models; line with its 90 % band."}
	var settings struct{ Triplets, Grid int }
	if found, err := readJSON(r.path("boundary", "agreement.meta.json"), &settings); err != nil {
		return nil, err
	} else if found {
		s.note += fmt.Sprintf(" %s of %d × %d points.", plural(settings.Triplets, "plane", "planes"), settings.Grid, settings.Grid)
	}
	blocks, err := r.scatterBlocks("boundary", s, "agreement_sat.csv", []string{"a", "b"}, "sat", "agreement")
	if err != nil {
		return nil, err
	}
	var file struct {
		Mantel *struct {
			P            float64
			Permutations int
		}
	}
	if _, err := readJSON(r.path("analysis", "agreement_sat.json"), &file); err != nil {
		return nil, err
	}
	data := map[string]any{}
	if blocks != nil {
		data = correlationData(s)
	}
	if m := file.Mantel; m != nil && blocks != nil {
		blocks = append(blocks, block{Text: fmt.Sprintf("Pairs share models, so p above takes more for independent than is. Relabelling the models instead, "+
			"%s times: p = %s.", thousands(m.Permutations), formatP(m.P))})
		data["mantel_p"] = m.P
	}
	planes, err := loadPlanes(r.path("boundary", "planes.json"))
	if err != nil {
		return nil, err
	}
	for _, f := range planeFigures(planes) {
		blocks = append(blocks, block{Figure: f})
	}
	if blocks == nil {
		return nil, nil
	}
	return &content{blocks: blocks, data: data}, nil
}
