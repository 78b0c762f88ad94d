"""From a job to a network with random weights: timm's create_model, or one of timm's own classes, and the two restorations."""
import functools
import importlib
import os
import sys
from collections import OrderedDict


class JobError(Exception):
    """A job that cannot be carried out as written, or weights that are not there."""


def import_timm(path=None):
    """timm, optionally from a folder of its own (the one network that only timm 0.6.7 has)."""
    if path:
        sys.path.insert(0, path)
    import timm
    if path and not os.path.abspath(timm.__file__).startswith(os.path.abspath(path) + os.sep):
        raise JobError(f"{path} holds no timm; {timm.__file__} was found instead")
    return timm


def _lookup(path):
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(f"timm.{module}" if module else "timm"), name)
    except (ImportError, AttributeError) as e:
        raise JobError(f"timm has no {path}: {e}") from None


def _argument(v):
    """JSON and TOML know neither tuples nor classes: a list stands for a tuple, {"ref": PATH, "kwargs": {...}} for
    timm.PATH with those arguments bound."""
    if isinstance(v, dict) and "ref" in v:
        target = _lookup(v["ref"])
        bound = {k: _argument(x) for k, x in v.get("kwargs", {}).items()}
        return functools.partial(target, **bound) if bound else target
    if isinstance(v, dict):
        return {k: _argument(x) for k, x in v.items()}
    if isinstance(v, list):
        return tuple(_argument(x) for x in v)
    return v


def constructor(job):
    """A function that builds the network of the job with random weights; further arguments go to timm.create_model."""
    kwargs = {k: _argument(v) for k, v in job.get("kwargs", {}).items()}
    for key in ("in_chans", "num_classes"):
        if key in job:
            kwargs[key] = job[key]

    def construct(**more):
        timm = sys.modules["timm"]
        try:
            if "class" in job:
                return _lookup(job["class"])(**kwargs)
            return timm.create_model(job["model"], **kwargs, **more)
        except (RuntimeError, TypeError, ValueError, AssertionError, KeyError, IndexError) as e:
            what = job.get("class") or job["model"]
            raise JobError(f"timm {timm.__version__} cannot build {what} with {job.get('kwargs', {})}: "
                           f"{type(e).__name__}: {e}") from e

    return construct


def _restore_dpn107(net):
    from torch import nn
    net.features.conv5_bn_ac.bn.act = nn.ELU()
    return "ELU as the last activation"


def _restore_poolformer_m48(net):
    from timm.layers import GroupNorm1
    from torch import nn
    old = net.head.norm
    norm = GroupNorm1(old.weight.numel(), eps=1e-5)
    norm.weight, norm.bias = old.weight, old.bias
    net.head.global_pool = nn.Sequential(OrderedDict(norm=norm, pool=net.head.global_pool))
    net.head.norm = nn.Identity()
    return "GroupNorm(1) before the average over positions"


# Networks for which timm 1.x computes another function than 0.6.7 does with the same weights.
RESTORATIONS = {"dpn107": _restore_dpn107, "poolformer_m48": _restore_poolformer_m48}


def restore(job, net, version):
    """Gives the network back what it computed in timm 0.6.7; returns what was changed, or ""."""
    architecture = job.get("model", "").split(".")[0]
    if architecture not in RESTORATIONS or version.startswith("0."):
        return ""
    return RESTORATIONS[architecture](net)
