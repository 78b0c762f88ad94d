// Package train fits an exported network to labelled images, from weights it draws itself.
//
// Run takes a TorchScript file (the graph and, in its sat.json, the rules that initialise every parameter), a Recipe, a
// seed and two sets of images, and writes a TorchScript file with the trained weights. Per update:
//
//	image -> random resized crop or shift -> mirror -> RandAugment or colour jitter      (package data, on all cores)
//	batch -> random erasing -> adversarial images -> mixup or CutMix -> (x/255 - mean)/std -> network
//	      -> cross-entropy, or binary cross-entropy, with smoothed and mixed targets; distillation on a second head
//	      -> backward -> clip the global gradient norm -> SGD, AdamW, LAMB or RMSProp -> average of the weights
//
// Each step is there if the recipe asks for it. Erasing and mixing work on pixels: with normal noise around the mean they
// are what they would be after the normalisation. A batch may be computed in equal parts whose gradients add up.
//
// Schedules (the rate is a pure function of epoch and update, see Recipe.LearningRate), groups of weight decay and the
// words of a recipe follow timm 0.3.2 and the DeiT repository; the update rules are those of libtorch, see package
// torch. After every Recipe.EvalEvery epochs and at the end, mean cross-entropy, top-1 and top-5 on the validation images. The
// result has the last weights, their moving average (Recipe.EMAExport), or the mean of those after each of the last epochs
// (Recipe.AverageLast: every parameter and buffer averaged in float64, batch-norm statistics among them, as timm's
// avg_checkpoints.py does), and its scores are those of what was chosen.
//
// With Job.Encoder the weights of a self-supervised encoder (package selfsup) take the place of those drawn, but for the head.
//
// # Repeatability
//
// Order, augmentation and random starts of an attack are keyed by (seed, epoch, position), the network's own random numbers (dropout, stochastic
// depth) by (seed, epoch, update), initial weights by (seed, parameter name). The noise of random erasing comes from such a stream
// by the ziggurat of math/rand/v2, several times as fast as package rng's method. Nothing else is random, so the seed, the
// recipe and the files fix every bit on one kind of CPU with one number of threads. libtorch has a single generator per
// process: networks that draw from it are updated one at a time, others on all workers at once.
//
// # Files
//
// Job.Dir holds
//
//	checkpoint.pt     replaced after each epoch and when the run is interrupted: parameters, buffers, the optimiser's moments,
//	                  averaged weights, position and history
//	curve.csv         one line per epoch, see curveColumns; equal bytes whether or not the run was interrupted
//	speed.csv         epoch, images_per_second, seconds, loader_wait (seconds): the machine's business, not the job's
//	log.jsonl         Records.LogEvery: losses and their parts, rate, images per second and the share of time spent waiting
//	                  for images, every so many updates and after each epoch
//	events.out.*      Records.TensorBoard: the same for TensorBoard (package tensorboard)
//	epochs/           Records.KeepLast, KeepBest: checkpoints of single epochs
//
// A run that finds its checkpoint continues from it and ends with the same bits as one never interrupted; a
// checkpoint of another recipe, seed, network or set of images, or of another version of this package (Format), is refused. It
// first cuts from the logs what a killed run wrote after that checkpoint, so that no update is in them twice and the numbers are
// those of an uninterrupted run; sums of a line that was not finished are in the checkpoint.
//
// A loss that is not finite stops the run before it can reach a parameter, and a parameter that is not finite before it
// can reach a checkpoint: NonFiniteError names update, rate and the last good checkpoint.
//
// # Not here
//
// Training on several processes. DeiT and timm drop the last incomplete batch as this does; DeiT's rate is one epoch late,
// which sched_lag = 1 reproduces.
package train
