package experiment

// Boundary asks for the agreement of decision boundaries between all models.
type Boundary struct {
	Triplets  int       `toml:"triplets" min:"1" doc:"planes through three images"`
	Grid      int       `toml:"grid" min:"2" doc:"points along each side of a plane"`
	Range     float64   `toml:"range" min:"0" max:"100" doc:"how far a plane reaches beyond its three images, as a share of its length"`
	SpaceStd  []float64 `toml:"space_std" optional:"yes" above:"0" doc:"planes in the space of images divided by this, per channel; default: pixel space"`
	Reference string    `toml:"reference" optional:"yes" doc:"model whose preprocessing cuts the images that the planes go through; default: the first"`
	Pictures  int       `toml:"pictures" min:"0" doc:"planes to draw, for the pair that agrees most and the one that agrees least"`
	Seed      uint64    `toml:"seed" doc:"triplet r is drawn by seed + r; default: the run's seed"`
}

// Stability asks how much the score of one pair depends on the images, for both measures.
type Stability struct {
	Pair     []string `toml:"pair" optional:"yes" doc:"two models; default: the first two"`
	Sizes    []int    `toml:"sizes" min:"1" doc:"images behind one similarity, rising"`
	Triplets []int    `toml:"triplets" min:"1" doc:"planes behind one agreement, rising"`
	Repeats  int      `toml:"repeats" min:"2" doc:"sets of images; set q is chosen by salt q"`
}

// checkBoundary checks [boundary] and [stability]. That the models they name are there is left to whoever knows all of them
// (Config.Problem).
func (d *decoder) checkBoundary(c *Config) {
	if b := c.Boundary; b != nil {
		if !d.given["boundary.seed"] {
			b.Seed = c.Seed
		}
		if d.good("boundary.space_std") && len(b.SpaceStd) != 3 {
			d.atValue("boundary.space_std", "one for each channel: [0.229, 0.224, 0.225]", "boundary.space_std has %d numbers", len(b.SpaceStd))
		}
		if b.Pictures > b.Triplets {
			d.atKey("boundary.pictures", "draw at most as many as there are triplets", "%d pictures of %d planes", b.Pictures, b.Triplets)
		}
	}
	s := c.Stability
	if s == nil {
		return
	}
	if c.Boundary == nil {
		d.atKey("stability", "add [boundary]", "stability compares two measures, and the agreement of boundaries is not asked for")
	}
	if d.good("stability.pair") && (len(s.Pair) != 2 || s.Pair[0] == s.Pair[1]) {
		d.atValue("stability.pair", `write pair = ["a", "b"]`, "stability.pair wants two different models")
	}
	for _, list := range []struct {
		path   string
		values []int
	}{{"stability.sizes", s.Sizes}, {"stability.triplets", s.Triplets}} {
		if !d.good(list.path) {
			continue
		}
		if len(list.values) == 0 {
			d.atValue(list.path, "name at least one, or leave the key out", "%s is empty", list.path)
		}
		for i := 1; i < len(list.values); i++ {
			if list.values[i] <= list.values[i-1] {
				d.atValue(index(list.path, i), "write them from the smallest to the largest", "%s is not rising", list.path)
				break
			}
		}
	}
}
