"""From a job to a network: timm's create_model, or one of timm's own classes, and the two restorations."""
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


def pretrained(job, construct):
    """The network with trained weights, from a folder of checkpoints (job["checkpoints"]) or from timm's local cache,
    and a record of where they came from. Nothing is downloaded: it says what is missing instead.

    The weights go through create_model, because that applies the network's own filter of older checkpoints."""
    timm = sys.modules["timm"]
    if "class" in job:
        raise JobError("there are no published weights of a network built from a class")
    cfg = _config(construct())
    tag, url, hub = job["model"], cfg.get("url") or "", cfg.get("hf_hub_id") or ""
    if job.get("num_classes", cfg["num_classes"]) != cfg["num_classes"]:
        raise JobError(f"the weights of {tag} have {cfg['num_classes']} classes, not {job['num_classes']}")
    names = [os.path.basename(url)] if url else []
    names += [tag + extension for extension in (".safetensors", ".pth", ".pth.tar", ".bin", ".npz")]
    sources = [s for s in (url, f"https://huggingface.co/{hub}" if hub else "") if s]
    advice = "; get it from " + " or ".join(sources) if sources else ""
    if folder := job.get("checkpoints"):
        path = next((p for p in (os.path.join(folder, n) for n in names) if os.path.exists(p)), None)
        if path is None:
            raise JobError(f"no weights of {tag} in {folder}: looked for {', '.join(names)}{advice}")
        # timm 0.6.7, used for one network only, knows no overlay; that network's file needs no filter either.
        old = timm.__version__.startswith("0.")
        more = {"checkpoint_path": path} if old else {"pretrained": True, "pretrained_cfg_overlay": {"file": path}}
        try:
            return construct(**more), {"source": "pretrained", "tag": tag, "file": os.path.basename(path)}
        except Exception as e:  # pickle, safetensors and zip readers each have their own kinds
            raise JobError(f"{path} does not hold the weights of {tag}: {e}") from e
    cache = os.path.join(_torch_hub_dir(), "checkpoints")
    if not hub and not (url and os.path.exists(os.path.join(cache, names[0]))):
        raise JobError(f"the weights of {tag} ({names[0]}) are not in {cache}{advice}, or name a folder of checkpoints")
    try:
        return construct(pretrained=True), {"source": "pretrained", "tag": tag, "file": hub or names[0]}
    except Exception as e:  # huggingface_hub raises a dozen kinds, by version
        raise JobError(f"the weights of {tag} could not be read from timm's cache ({type(e).__name__}){advice}, "
                       "or name a folder of checkpoints") from e


def _config(net):
    """timm's description of the weights; a dictionary in every version when it hangs on a network."""
    return getattr(net, "pretrained_cfg", None) or {}


def _torch_hub_dir():
    import torch
    return torch.hub.get_dir()
