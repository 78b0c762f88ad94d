// Package attacks makes adversarial images and shows them to other models. It knows models only through the small
// interface Model (logits, and the gradient of a loss with respect to pixels), is pure Go, and reads and writes no
// files. Every attack is an Attacker: a struct of settings with Validate, Run, Cost and Parameters. Diagnose looks for what
// would make attacks on a model meaningless before anything is spent on one.
//
// # Projected gradient descent
//
// PGD (Madry et al., "Towards deep learning models resistant to adversarial attacks", ICLR 2018) climbs the loss L of
// the true label y inside a ball of radius ε about the image x. In the L∞ norm, with s = +1 (untargeted) or -1
// (targeted, y the target) and x_0 = x or a random point of the ball,
//
//	g       = ∇_x Σ_i s·L(f(x_t), y)
//	d       = clamp(x_t + α·sign(g) - x, -ε, +ε)
//	x_{t+1} = clamp(x + d, 0, 1)
//
// in this order, every operation rounded to float32 and α and ε rounded to float32 first. Given equal gradients this
// equals torchattacks and foolbox bit for bit. In L2, α·g/(‖g‖+1e-10) is added and d is shortened to length ε.
// Targeted runs aim at a class that is given, or chosen by label or clean logits (Target). With momentum μ (Dong et al.
// 2018), m = μ·m + g/max(mean|g|, 1e-12) takes the place of g.
//
// All of it is in pixel space: images are float32 in [0,1] and a model normalises inside. Defaults are those of the
// SAT paper: ε = 8/255, 50 steps, step 0.1. That step is more than 2ε, so every pixel whose gradient is not zero
// jumps to a corner, x_{t+1} = clamp01(x + ε·sign(g)), whatever α; a smooth attack takes a step of about ε/10.
//
// # AutoAttack
//
// AutoAttack (Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
// attacks", ICML 2020), standard version, in L∞ and L2, runs four attacks one after the other; each is a type of its own.
// Each takes the images that are still classified correctly, always from the clean image, and an image that it fools
// keeps that adversarial image. Robust accuracy counts what is left after each, out of all images.
//
//   - apgd-ce: APGD climbs the cross-entropy for 100 iterations from a random point on the surface of the ball,
//     z = P(x_t + η·sign(g)), x_{t+1} = P(x_t + 0.75(z - x_t) + 0.25(x_t - x_{t-1})), where P projects to ball and box and
//     η starts at 2ε. At iterations 22, 41, 57, ... an image whose loss rose in at most 75 % of the iterations since the
//     last such checkpoint, or whose best loss has not risen although η was kept there, halves η and goes back to its best
//     point.
//   - apgd-t: the same on the targeted DLR loss (z_t - z_y) / (z(1) - (z(3)+z(4))/2), z sorted downwards, once for each of
//     the nine classes t with the largest clean logits after the label's.
//   - fab-t: FAB (Croce and Hein, ICML 2020) walks along the boundary between y and each such t, by projections onto the
//     linearised boundary inside the box, and keeps the nearest misclassified image; it counts if that lies in the ball.
//   - square: the square attack (Andriushchenko et al., ECCV 2020) proposes random squares, 5000 times, and looks at
//     logits only.
//
// Warnings of the result name what may make the figure misleading. A state that can be saved and given back is handed out
// after every batch of every attack.
//
// # Patch-Fool
//
// PatchFool (Fu et al., "Patch-Fool: are vision transformers always robust against adversarial perturbations?", ICLR 2022)
// replaces a few patches of an image of a vision transformer: those that receive most attention in the fifth layer. Inside
// them the normalised image q is free within [0,1]; Adam climbs
//
//	J = CE + 0.002 Σ_l J_l     J_l: attention that layer l pays to the patches
//
// where a layer's gradient that points against the cross-entropy's loses that part (PCGrad, Yu et al., NeurIPS 2020). Mild
// variants bound the change in L2 or L∞, a sparse one the number of pixels. The model has to be an AttentionModel.
//
// # What holds
//
// 0 <= x_t <= 1 exactly and |x_t - x| <= ε + 6e-8 (float32 rounding). The gradient is that of the summed loss, so an
// image does not feel the size of its batch. Draws are keyed by (seed, attack, restart or target, image id), so they are
// the same in any batch, order and process, unless StreamCompat asks for the reference's: libtorch's CPU generator,
// reproduced here, one stream per attack and batch. A NaN never becomes a label: NaN logits, and gradients that are not
// finite, end the attack with an error that names image and step.
//
// # Transfer
//
// Evaluate and Transfer stream stored images through a model and collect predictions. Every model is attacked once
// and every stored image is shown to every model once; which pairs of models count is decided later, from the
// predictions alone.
//
// # Not here, and different elsewhere
//
// Which images to attack, where images are stored and how pairs are scored is the business of other packages.
// torchattacks and foolbox differentiate the mean loss of a batch; the sign is the same unless the division
// underflows. MadryLab/robustness returns the iterate of largest loss, everyone else (and Last, the default here) the
// last. ART overwrites a successful restart by a later one; here the first success stays. ART clips to [0,1] before
// the ball, which differs in rounding only.
//
// From AutoAttack's reference implementation (the auto-attack project, also packaged as pyautoattack) this differs so:
//   - Keyed draws, by default; Square then proposes a square per image, where the reference shares one in the batch.
//   - Clean logits are computed once and used for the targets of all attacks; the reference evaluates them again for every
//     attack and target. The misclassified point that FAB found is not evaluated once more before it counts.
//   - The hyperplane projections are exact (Newton's method on a piecewise linear function, in float64); the reference
//     sorts and bisects in float32. They agree to 5e-6.
//   - Lengths in L2 are summed in float64.
//   - With fewer than four classes, where the reference ends with an error, apgd-t climbs the untargeted DLR loss (three) or
//     the cross-entropy (two), from other random points than apgd-ce.
//   - The L2 square attack starts from whole tiles only; the reference fails for sizes that its tiles do not fill, such as 18.
//   - Not here: the L1 norm, the versions plus and rand, expectation over transformations, random restarts of FAB.
//
// From the authors' program of Patch-Fool it differs so: losses are summed, not averaged, over the batch (Adam removes the
// difference but for its epsilon); the projection divides by the squared length of the cross-entropy's gradient, as the paper
// and PCGrad have it (ConflictCodeNorm divides by the length); random patches are distinct; the learning rate is 0.2.
//
// As in the reference, the first checkpoint of APGD compares the loss after the first iteration with 0, not with the loss of
// the starting point, and after a return to the best point the momentum is still that of the point before.
// torchattacks' AutoAttack is another attack: ten iterations, K-1 targets, and a rescaled schedule for Square.
package attacks
