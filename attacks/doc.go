// Package attacks makes adversarial images and shows them to other models. It knows models only through the small
// interface Model (logits, and the gradient of a loss with respect to pixels), is pure Go, and reads and writes no
// files.
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
// With momentum μ (Dong et al. 2018), m = μ·m + g/max(mean|g|, 1e-12) takes the place of g.
//
// All of it is in pixel space: images are float32 in [0,1] and a model normalises inside. Defaults are those of the
// SAT paper: ε = 8/255, 50 steps, step 0.1. That step is more than 2ε, so every pixel whose gradient is not zero
// jumps to a corner, x_{t+1} = clamp01(x + ε·sign(g)), whatever α; a smooth attack takes a step of about ε/10.
//
// # What holds
//
// 0 <= x_t <= 1 exactly and |x_t - x| <= ε + 6e-8 (float32 rounding). The gradient is that of the summed loss, so an
// image does not feel the size of its batch. Draws are keyed by (seed, attack, restart, image id), so they are the
// same in any batch, order and process. A NaN never becomes a label: NaN logits, and gradients that are not finite,
// end the attack with an error that names image and step.
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
package attacks
