"""The check of a module file: a fill under which the network is far from degenerate, and what eager PyTorch computes.

Networks as initialised are useless for comparing gradients: zero-initialised gains and heads make logits constant and the
input gradient zero. So every parameter gets an interval of its own, of the size such a parameter has in a trained network
(weights by fan-in, gains around 1, offsets around 0), and the running statistics of batch normalisation get intervals
around what the filled network really sees, layer after layer; without that, activations of a deep residual network grow
beyond float32. Only intervals are recorded: the numbers follow from the seed.
"""
import math

import numpy as np
import torch
import torch.nn.functional as F

from . import fill, initrules

SEED = 0
BATCHES = (2, 3)
LOGIT_SPREAD = 1.0  # standard deviation over classes that the head is scaled to


class CheckError(Exception):
    """A network for which no meaningful check can be made."""


def interval(name, t, rule):
    """Where the values of parameter t come from."""
    leaf = name.rsplit(".", 1)[-1]
    random = rule["kind"] != "constant"
    if t.numel() > max(t.shape, default=1) or (random and t.ndim > 1 and leaf == "weight"):
        if t.shape[0] == 1 and leaf != "weight":  # position embeddings: no fan-in to speak of
            return -0.2, 0.2
        bound = math.sqrt(3 / math.prod(t.shape[1:]))
        return -bound, bound
    gain = leaf in ("weight", "gamma", "gain", "skipinit_gain", "scale", "alpha") or (not random and rule["value"] != 0)
    return (0.8, 1.2) if gain else (-0.1, 0.1)


def _round(interval):
    """Intervals are our choice, not measurements: six digits read better and make files comparable."""
    return tuple(float(f"{v:.6g}") for v in interval)


class Filler:
    """Fills the tensors of a network and remembers the intervals."""

    def __init__(self, net):
        self.named = initrules.tensors(net)
        self.intervals = {}

    def put(self, name, low, high):
        low, high = self.intervals[name] = _round((low, high))
        t = self.named[name]
        with torch.no_grad():
            t.copy_(torch.from_numpy(fill.values(SEED, name, t.numel(), low, high)).reshape(t.shape))


def make(net, rules, head, mean, std, size):
    """Fills net in place (eval mode, CPU) and returns the intervals by name. head: names of the classifier's parameters."""
    by_name = {r["tensor"]: r for r in rules}
    filler = Filler(net)
    for name, p in net.named_parameters(remove_duplicate=False):
        filler.put(name, *interval(name, p, by_name[name]))
    x = normalised(torch.from_numpy(fill.images(SEED, BATCHES[-1], *size)), mean, std)

    def calibrate(prefix):
        def hook(module, inputs):
            if prefix + "running_var" in filler.intervals:
                return  # a module used twice keeps what its first use saw
            centre, spread = inputs[0].mean().item(), inputs[0].std().item()
            if not math.isfinite(spread) or spread == 0:
                raise CheckError(f"the input of {prefix[:-1]} has standard deviation {spread} under the check's fill")
            if getattr(module, "running_mean", None) is not None:
                filler.put(prefix + "running_mean", centre - 0.1 * spread, centre + 0.1 * spread)
            filler.put(prefix + "running_var", 0.8 * spread ** 2, 1.2 * spread ** 2)
        return hook

    hooks = [m.register_forward_pre_hook(calibrate(n + "." if n else "")) for n, m in net.named_modules()
             if getattr(m, "running_var", None) is not None]
    try:
        with torch.no_grad():
            logits = _logits(net(x))
    except RuntimeError as e:
        raise CheckError(f"the network does not run on images of size {list(size)}: {e}") from e
    for h in hooks:
        h.remove()
    spread = logits.std(1).mean().item()
    if not math.isfinite(spread) or spread == 0:
        raise CheckError(f"the logits have standard deviation {spread} under the check's fill")
    for name in head:
        low, high = filler.intervals[name]
        filler.put(name, low * LOGIT_SPREAD / spread, high * LOGIT_SPREAD / spread)
    return filler.intervals


def _logits(out):
    """The logits a network is judged by: those in front of attention maps, the average of two classifiers."""
    if not isinstance(out, tuple):
        return out
    return (out[0] + out[1]) / 2 if isinstance(out[1], torch.Tensor) else out[0]


def normalised(x, mean, std):
    mean, std = (torch.tensor(v, dtype=torch.float32).to(x.dtype).reshape(1, -1, 1, 1) for v in (mean, std))
    return (x - mean) / std


def _run(net, dtype, mean, std, classes, size):
    """Logits and pixel gradients of the summed cross-entropy, one pair per batch, as float32 arrays."""
    out = []
    for n in BATCHES:
        x = torch.from_numpy(fill.images(SEED, n, *size)).to(dtype).requires_grad_(True)
        logits = _logits(net(normalised(x, mean, std)))
        if tuple(logits.shape) != (n, classes):
            raise CheckError(f"the network returns {list(logits.shape)} for {n} images and {classes} classes")
        loss = F.cross_entropy(logits, torch.from_numpy(fill.labels(SEED, n, classes)), reduction="sum")
        gradient, = torch.autograd.grad(loss, x)
        for what, t in (("logits", logits), ("gradient", gradient)):
            if not bool(torch.isfinite(t).all()):
                raise CheckError(f"the {what} of the check is not finite")
        if not bool((gradient.flatten(1).abs().amax(1) > 0).all()):
            raise CheckError("the gradient of the check is zero for an image")
        if not bool((logits.detach().double().softmax(1).amax(1) < 0.999).all()):
            raise CheckError("the logits of the check are saturated")
        out += [logits.detach().float().numpy(), gradient.float().numpy()]
    return out


def reference(net, mean, std, classes, size):
    """The recorded arrays: logits and gradient of each batch in float32, then the same computed in float64. The second
    half is absent for a network that does not run in float64 (a constant of a fixed type in its code)."""
    arrays = _run(net, torch.float32, mean, std, classes, size)
    double = net.double()
    try:
        exact = _run(double, torch.float64, mean, std, classes, size)
    except RuntimeError:
        return arrays, False
    finally:
        net.float()
    return arrays + exact, True


def pack(arrays):
    return b"".join(np.ascontiguousarray(a, "<f4").tobytes() for a in arrays)
