"""Random weights with which a network is worth attacking.

As timm initialises them, many networks are degenerate: gains and heads of zero make logits and gradient constant, layer
scales of 1e-6 switch every block off, and batch normalisation with the statistics 0 and 1 lets activations vanish or
explode with depth. Here everything random stays as timm draws it, and

1. each parameter that starts as one number near zero is drawn from the interval of the check (check.py);
2. the statistics of batch normalisation are taken from photographs;
3. the classifier is scaled to logits of standard deviation 1.

What comes out is tried: finite logits, and for each image a gradient at the predicted class that is not zero.
"""
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from . import check, fill

SOURCE = "random, non-degenerate"
SMALL = 0.1  # a constant below this is a switch that training opens


class DegenerateError(Exception):
    """A network that stays degenerate."""


def images(channels, height, width):
    """Four images in [0,1]: of each of the two photographs that scikit-learn ships, the middle and a detail."""
    from sklearn.datasets import load_sample_images  # only these need it, and it takes long to import
    out = []
    for photograph in load_sample_images().images:
        picture = Image.fromarray(photograph)
        for left, top, side in ((107, 0, 427), (220, 130, 200)):
            crop = picture.crop((left, top, left + side, top + side)).resize((width, height), Image.Resampling.BICUBIC)
            out.append(torch.from_numpy(np.asarray(crop)).permute(2, 0, 1))
    return (torch.stack(out).float() / 255)[:, [c % 3 for c in range(channels)]]


def make(net, rules, head, seed, mean, std, size):
    """Changes the random weights of net in place (eval mode, CPU)."""
    parameters = dict(net.named_parameters(remove_duplicate=False))
    for rule in rules:
        p = parameters.get(rule["tensor"])
        if p is not None and rule["kind"] == "constant" and abs(rule["value"]) < SMALL:
            low, high = check.interval(rule["tensor"], p, rule)
            with torch.no_grad():
                p.copy_(torch.from_numpy(fill.values(seed, rule["tensor"], p.numel(), low, high)).reshape(p.shape))
    x = check.normalised(images(*size), mean, std)
    with torch.no_grad():
        _calibrate(net, x)
        spread = net(x).std(1).mean().item()
        if not 0 < spread < float("inf"):
            raise DegenerateError(f"random weights give logits of standard deviation {spread}")
        for name in set(head):
            parameters[name].mul_(1 / spread)
    x.requires_grad_(True)
    logits = net(x)
    gradient, = torch.autograd.grad(F.cross_entropy(logits, logits.argmax(1), reduction="sum"), x)
    if not bool(torch.isfinite(logits).all() and torch.isfinite(gradient).all()):
        raise DegenerateError("random weights give logits or gradients that are not finite")
    if not bool((gradient.flatten(1).abs().amax(1) > 0).all()):
        raise DegenerateError("random weights give a gradient of zero")


def _calibrate(net, x):
    """Sets the running statistics to those of the batch x, layer after layer, each seeing what the calibrated ones before it
    let through. The variance is that over all channels: some are all but constant on a few images, and dividing by their
    own would blow up what other images excite in them."""
    def hook(module, inputs):
        t = inputs[0]
        dims = [d for d in range(t.ndim) if d != 1]
        if getattr(module, "running_mean", None) is not None:
            module.running_mean.copy_(t.mean(dims))
        module.running_var.fill_(t.var())

    hooks = [m.register_forward_pre_hook(hook) for m in net.modules() if getattr(m, "running_var", None) is not None]
    net(x)
    for h in hooks:
        h.remove()
