// Package run turns an experiment into units of work, executes what is missing and writes the result files.
//
// # Units
//
// A unit is one idempotent piece of work with a content key: export a module, train a model, predict the clean images,
// attack a shard of images on one source, show one source's images to one target. The key hashes everything that
// determines the result: the keys or digests of its inputs, the parameters, the batch size and the number of threads
// (kernels round differently for others), the kind of device, the version of the format. A unit's files appear under
// their final names only when complete (package store), and a finished unit whose files verify is skipped. So a run that
// was killed at any moment continues where it was and ends with the same bytes, a changed experiment recomputes only what
// the change touches, and adding a model to M others costs its attack and 2M+1 transfer units.
//
// # Stages
//
//	prepare → export → pretrain → train → evaluate → attack → transfer → boundary → similarity → analysis → report
//
// A stage ends before the next begins. Inside a stage tasks run on a few workers, each with the one module it needs:
// a model is attacked once, not once per pair, and a target is loaded once for all sources. A model that fails (its
// training diverges, its file is damaged) is left out from there on and named in the result, and the run ends with
// ErrPartial; a cause outside the models (a full disk, an interrupt) ends the run at once with everything finished kept.
//
// # Memory and batches
//
// With a budget (memory) in place of a batch size, every model gets the largest batch of a ladder whose gradient is not
// slower than a smaller one's and whose measured memory, times the workers, keeps to the budget (batches.go). The choice is
// made once and kept in batch.json, because results depend on it in the last bits: it is in the keys like a given one.
// run.json has the most that was resident.
//
// # The whole validation set
//
// [evaluate] keeps predictions and logits on all validation images beside those of the subset (whole.go): checkpointed
// in shards, one .npy file per model in the end, streamed, never in memory. Keys of attacks do not depend on it.
//
// # Guards
//
// Before an attack a model is shown its first images five times, and the attack counts zero gradients and saturated images
// (guards.go). Both are files of their units; guards.csv and the warnings of the run are made from them each time. An
// evaluate unit has a format of its own, which is not in the keys of the attacks: what an earlier version of the program did
// not check is checked again, and the attacks stay. Cells of what nobody checked are empty.
//
// # Time left
//
// Passes differ a hundredfold in cost between models, and loading a model with its checks can take longer than a few images
// through it. So seconds per pass and per load are measured for each model and stage (costs.go); the heartbeat,
// progress.json, keeps them for a run that is continued. The time left of the run (plan.go) covers the stages that show
// images to models, with controls and boundaries, not the analyses; nothing is said before every model to come was measured,
// and while modules are exported or trained.
//
// # Runs without labels
//
// With labels = "predicted" (experiment.PredictedLabels) y_m is model m's own clean prediction: every image is right for
// every model, the attack on m leads away from y_m, and an image fools a target when its prediction is not that of the
// target's clean image. The models need not have classes in common, and the folder no class folders. Result files say so
// (labels in their meta files and in run.json), accuracies are empty, and nothing is set beside the paper's values.
//
// # Files of a run
//
//	DIR/experiment.toml   the fully resolved experiment
//	DIR/run.json          versions, machine, times: everything that may differ between equal runs
//	DIR/batch.json        the chosen batch sizes and what was measured
//	DIR/logits/NAME.npy   logits of the images in logit_images.csv, whose labels are in logit_labels.npy
//	DIR/units/STAGE/      units of work, see store.Unit
//	DIR/models/NAME/      trained module and learning curve
//	DIR/logs/NAME/        log, event file, speed and checkpoints of its training, as they are made; see package train
//	DIR/models/           sets.csv; pretraining.csv: linear probes of pre-trained encoders, and the models beside them
//	DIR/boundary/         agreement.csv, agreement_pairs.csv, agreement_groups.csv, planes.json, stability_scores.csv
//	DIR/similarity/       sat.csv, sat.npy, pairs.csv, pairs_undirected.csv, self.csv, accuracy.csv,
//	                      guards.csv, resize_only.csv
//	DIR/analysis/         what the tables [analysis.NAME] ask for, see package studies; the comparison of groups, SAT beside
//	                      agreement, stability; made anew by every run
//	DIR/sweep/            the same comparison at other epsilons
//	DIR/ablation/         the same comparison by other attacks
//	DIR/pictures/         adversarial images to look at, pictures.json
//	DIR/figures/          figures of the report
//	DIR/report.html       the report; also report.md and report.json
//
// # Self-supervised pre-training
//
// The encoders of [[pretrain]] are units of their own stage, named pretrain-NAME and no models of the run; a recipe with pretrain =
// NAME starts from one, and its encoder's key is in the key of the training. [probe] fits linear classifiers to the encoders and to
// encoders as they are drawn, over the whole training and validation splits.
//
// # Decision boundaries
//
// The boundary stage draws planes through three images (package boundary), once for all models; a unit is the class maps of
// one model on ten planes. All pairs are scored from stored maps, so another model costs its own maps only. The images are
// those of the experiment's array, or the folder's as the reference model takes them; a model of another size is shown planes
// through the three images resized. The stability study compares one pair on sets of images that are nested within a repeat:
// set q takes them in the order of their keys under salt q, the similarity of a set comes from the stored outcomes of the
// attack, and the agreement of repeat q from planes through images of set q. Seconds are measured beside it, pass by pass, in
// DIR/stability_seconds.json.
package run
