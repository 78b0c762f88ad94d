"""Initialisation rules of a network, taken from the network's own code.

Every way a network initialises a tensor (torch.nn.init, timm's variants, `torch.randn(...) * scale`, `tensor.normal_()`)
ends in a few primitive operations. A dispatch mode sees these while the network is constructed and follows, per memory
block, the distribution its elements are drawn from: normal, uniform, or the truncated normal that comes from the inverse
error function of a uniform number, each closed under scaling and shifting. So no list of initialisers has to be kept.

A tensor whose elements differ between two seeds must have a followed distribution, and samples of three seeds must fit it
(Kolmogorov-Smirnov); else the export fails and names the tensor. What is equal for all seeds needs no rule from the
recording: one value everywhere is a constant; anything else is a table (identity matrix, position index), which stays as
it is in the file for a buffer ("keep") and is stored run-length coded for a parameter ("values"), because training
changes parameters.
"""
import math

import numpy as np
import torch
from scipy import special, stats
from torch.utils._python_dispatch import TorchDispatchMode

# The p-value of each Kolmogorov-Smirnov test must exceed this. A network has up to about a thousand random tensors, the
# zoo 1e5: one false alarm in 1e4 exports of the whole zoo.
P_VALUE = 1e-9
SAMPLES = 20_000  # per tensor and seed; enough to tell a bound that is off by 1 %


class InitError(Exception):
    """A tensor whose initialisation is not understood."""


class Normal:
    """Elements independent, N(mean, std^2), optionally restricted to [low, high]."""

    def __init__(self, mean, std, low=-math.inf, high=math.inf):
        self.mean, self.std, self.low, self.high = mean, std, low, high

    def affine(self, scale, shift):
        cuts = sorted((self.low * scale + shift, self.high * scale + shift))
        return Normal(self.mean * scale + shift, self.std * abs(scale), *cuts) if scale else None

    def clamp(self, low, high):
        """The initialisers clamp to where they have cut already, against rounding. Anything that would move more than a
        millionth of the values onto a bound is another distribution."""
        if self.cdf(low) > 1e-6 or self.cdf(high) < 1 - 1e-6:
            return None
        return Normal(self.mean, self.std, max(low, self.low), min(high, self.high))

    def rule(self):
        if math.isinf(self.low) and math.isinf(self.high):
            return {"kind": "normal", "mean": self.mean, "std": self.std}
        return {"kind": "trunc_normal", "mean": self.mean, "std": self.std, "low": self.low, "high": self.high}

    def cdf(self, x):
        low, high, at = (special.ndtr((v - self.mean) / self.std) for v in (self.low, self.high, x))
        return np.clip((at - low) / (high - low), 0, 1)


class Uniform:
    """Elements independent, uniform in [low, high)."""

    def __init__(self, low, high):
        self.low, self.high = low, high

    def affine(self, scale, shift):
        return Uniform(*sorted((self.low * scale + shift, self.high * scale + shift))) if scale else None

    def clamp(self, low, high):
        return self if low <= self.low and high >= self.high else None

    def erfinv(self):
        """sqrt(2) erfinv(v) of v uniform in [low, high] is a standard normal cut at the images of the bounds."""
        if not -1 <= self.low < self.high <= 1:
            return None
        low, high = (float(special.erfinv(v)) for v in (self.low, self.high))
        return Normal(0.0, math.sqrt(0.5), low, high)

    def rule(self):
        return {"kind": "uniform", "low": self.low, "high": self.high}

    def cdf(self, x):
        return np.clip((x - self.low) / (self.high - self.low), 0, 1)


def _number(v):
    """A Python number, also from the 0-dimensional tensor that some operations wrap it in; None for a real tensor."""
    if isinstance(v, torch.Tensor):
        return v.item() if v.numel() == 1 and v.device.type != "meta" else None
    return v


class Recorder(TorchDispatchMode):
    """While active, follows the distribution of each memory block that is written as a whole."""

    def __init__(self):
        super().__init__()
        self.blocks = {}  # address -> distribution; absent: not random, or not understood

    @staticmethod
    def _whole(t):
        return t.numel() * t.element_size() == t.untyped_storage().nbytes()

    def of(self, t):
        return self.blocks.get(t.untyped_storage().data_ptr()) if self._whole(t) else None

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func._schema.name.removeprefix("aten::")
        before = self.of(args[0]) if args and isinstance(args[0], torch.Tensor) else None
        result = func(*args, **kwargs)
        if not isinstance(result, torch.Tensor) or not result.is_floating_point():
            return result
        if func._schema.returns[0].alias_info is not None:
            if not name.endswith("_"):
                return result  # a view: the block is the same, and nothing was written
        inplace = name.endswith("_")
        distribution = self._after(name.rstrip("_"), before, args, kwargs)
        key = result.untyped_storage().data_ptr()
        if distribution is not None and (not inplace or self._whole(result)):
            self.blocks[key] = distribution
        else:
            self.blocks.pop(key, None)
        return result

    def _after(self, op, d, args, kwargs):
        """The distribution that op leaves behind, given that of its first operand; None when not understood."""
        def arg(i, name, default):
            return _number(args[i]) if len(args) > i else _number(kwargs.get(name, default))

        if op == "normal":
            return Normal(float(arg(1, "mean", 0.0)), float(arg(2, "std", 1.0)))
        if op == "uniform":
            return Uniform(float(arg(1, "from", 0.0)), float(arg(2, "to", 1.0)))
        if op in ("randn", "randn_like"):
            return Normal(0.0, 1.0)
        if op in ("rand", "rand_like"):
            return Uniform(0.0, 1.0)
        if op == "copy":
            source = self.of(args[1])
            return source if args[1].numel() == args[0].numel() else None
        if d is None:
            return None
        if op in ("clone", "_to_copy"):
            return d
        if op == "erfinv":
            return d.erfinv() if isinstance(d, Uniform) else None
        if op == "neg":
            return d.affine(-1.0, 0.0)
        if op == "clamp":
            low, high = arg(1, "min", None), arg(2, "max", None)
            return d.clamp(-math.inf if low is None else low, math.inf if high is None else high)
        if op in ("mul", "div", "add", "sub"):
            v = arg(1, "other", None)
            if v is None:
                return None
            alpha = kwargs.get("alpha", 1)
            scale, shift = {"mul": (v, 0.0), "div": (1 / v if v else 0.0, 0.0), "add": (1.0, v * alpha),
                            "sub": (1.0, -v * alpha)}[op]
            return d.affine(float(scale), float(shift))
        return None


def record(construct, seed):
    """construct() under seed: the network and the distribution of each of its parameters and buffers, by name."""
    torch.manual_seed(seed)
    with Recorder() as recorder:
        net = construct()
    named = tensors(net)
    return net, {name: recorder.of(t.data) for name, t in named.items()}


def tensors(net):
    """Parameters and buffers by dotted name."""
    named = dict(net.named_parameters(remove_duplicate=False))
    named.update(net.named_buffers(remove_duplicate=False))
    return named


def _sample(values, seed):
    flat = values.detach().reshape(-1).double().numpy()
    if flat.size > SAMPLES:
        flat = flat[np.random.default_rng(seed).integers(0, flat.size, SAMPLES)]
    return flat


def _runs(values):
    """Run-length code [[count, value], ...]."""
    flat = values.detach().reshape(-1).double().numpy()
    starts = np.flatnonzero(np.concatenate(([True], flat[1:] != flat[:-1])))
    counts = np.diff(np.concatenate((starts, [flat.size])))
    return [[int(n), float(flat[i])] for n, i in zip(counts, starts)]


def rules(construct, seed):
    """construct() under seed, and the rules of all its tensors, checked against two further seeds."""
    net, distributions = record(construct, seed)
    named = tensors(net)
    others = []
    for s in (seed + 1, seed + 2):
        torch.manual_seed(s)
        others.append(tensors(construct()))
    buffers = {name for name, _ in net.named_buffers(remove_duplicate=False)}
    out = []
    for name, t in named.items():
        copies = [o[name] for o in others]
        if not t.numel():
            raise InitError(f"tensor {name} is empty")
        if all(torch.equal(t, c) for c in copies):
            out.append({"tensor": name, **_fixed(t, name in buffers)})
            continue
        d = distributions[name]
        if d is None:
            raise InitError(f"tensor {name} {list(t.shape)} differs between seeds, but its initialisation was not "
                            "understood; the code that fills it uses an operation this exporter does not follow")
        sample = np.concatenate([_sample(v, i) for i, v in enumerate([t, *copies])])
        p = stats.kstest(sample, d.cdf).pvalue
        if not p > P_VALUE:
            raise InitError(f"tensor {name} {list(t.shape)} does not follow its recorded initialisation {d.rule()}: "
                            f"Kolmogorov-Smirnov p = {p:.2g} over {sample.size} values, seeds {seed} to {seed + 2}")
        out.append({"tensor": name, **d.rule()})
    return net, out


def _fixed(t, buffer):
    first = t.reshape(-1)[0].item()
    if bool((t == t.reshape(-1)[0]).all()):
        if isinstance(first, bool) or (buffer and not t.is_floating_point() and t.numel() > 1):
            return {"kind": "keep"}
        return {"kind": "constant", "value": first}
    return {"kind": "keep"} if buffer else {"kind": "values", "runs": _runs(t)}
