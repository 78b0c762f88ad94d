// Package synthetic makes run directories with planted structure: what `sat run` and `sat analyze` would leave, without
// networks, images or hours. The report is tried on them, and they show what every file looks like.
//
// The models are invented, down to their logits: every image has a difficulty that all models share, one that the models
// of a cluster share, one that those of a base architecture share, and one of each model alone. From their sum follow the
// logits, hence who is right. An adversarial image transfers with a probability that rises with what two models have in
// common: cluster, base architecture and other components, in the order of the paper's Fig. 3. So clusters, importances,
// ensembles and correlations have a known direction, and everything follows from the seed. The tables of analysis/ are
// written by package studies from these outcomes, as those of a real run are; only what needs networks of its own
// (AutoAttack, Patch-Fool, training sets, students) is drawn here.
//
// No number of such a run is a result, and its run.json says so.
package synthetic
