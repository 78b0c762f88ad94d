"""Trained weights of a network, from a folder of checkpoints or from the caches that timm fills. Nothing is downloaded: what
is missing is said instead, with the place to get it from."""
import hashlib
import importlib
import os
import re
import sys

import torch

from .build import JobError

EXTENSIONS = (".safetensors", ".pth", ".pth.tar", ".bin", ".npz")
HUB_NAMES = ("model.safetensors", "pytorch_model.bin")


def load(job, construct, note):
    """The network of the job with trained weights, and a record of where they came from. note(message) hears of doubts.

    The weights go through create_model, because that applies the network's own filter of older checkpoints."""
    timm = sys.modules["timm"]
    if "class" in job:
        raise JobError("there are no published weights of a network built from a class")
    tag = job["model"]
    config = getattr(construct(), "pretrained_cfg", None) or {}
    if job.get("num_classes", config["num_classes"]) != config["num_classes"]:
        raise JobError(f"the weights of {tag} have {config['num_classes']} classes, not {job['num_classes']}")
    path = _find(job, config)
    _check_digest(path, note)
    raw = {} if path.endswith(".npz") else _read(path, tag)
    if timm.__version__.startswith("0."):  # knows no overlay, and the one network taken from it needs no filter
        more = {"checkpoint_path": path}
    else:
        more = {"pretrained": True, "pretrained_cfg_overlay": {"file": path, "custom_load": path.endswith(".npz")}}
    try:
        net = construct(**more)
    except Exception as e:  # filters of checkpoints raise whatever a missing tensor leads them to
        raise JobError(f"{path} does not hold the weights of {tag}: {_offence(e.__cause__ or e)}") from e
    for name, p in net.named_parameters():
        # timm stretches position embeddings of another image size to fit, without a word.
        if name in raw and raw[name].numel() != p.numel():
            raise JobError(f"{path} does not hold the weights of {tag}: tensor {name} is {list(raw[name].shape)} in the "
                           f"file and {list(p.shape)} in the network")
        if not bool(torch.isfinite(p).all()):
            raise JobError(f"{path}: tensor {name} holds numbers that are not finite")
    return net, {"source": "pretrained", "tag": tag, "file": os.path.basename(path)}


def _find(job, config):
    """The file with the weights."""
    tag, url, hub = job["model"], config.get("url") or "", config.get("hf_hub_id") or ""
    names = [n for n in (job.get("weight_file"), os.path.basename(url)) if n]
    sources = [s for s in (url, f"https://huggingface.co/{hub}" if hub else "") if s]
    advice = "; get it from " + " or ".join(sources) if sources else ""
    if folder := job.get("checkpoints"):
        names += [tag + extension for extension in EXTENSIONS]
        if path := _first(folder, names):
            return path
        raise JobError(f"no weights of {tag} in {folder}: looked for {', '.join(dict.fromkeys(names))}{advice}")
    cache = os.path.join(torch.hub.get_dir(), "checkpoints")
    path = _hub_file(hub) or _first(cache, names)
    if path is None:
        places = [f"{' or '.join(dict.fromkeys(names))} in {cache}"] if names else []
        places += [f"{hub} in the cache of huggingface_hub"] if hub else []
        raise JobError(f"the weights of {tag} are not on this machine: looked for {', and for '.join(places)}{advice}, or "
                       "name a folder of checkpoints")
    return path


def _first(folder, names):
    return next((p for p in (os.path.join(folder, n) for n in names) if os.path.exists(p)), None)


def _hub_file(hub):
    """The weights of a model of the Hugging Face hub, if they were downloaded before; None otherwise."""
    if not hub:
        return None
    from huggingface_hub import try_to_load_from_cache
    repository, _, revision = hub.partition("@")
    found = (try_to_load_from_cache(repository, name, revision=revision or None) for name in HUB_NAMES)
    return next((p for p in found if isinstance(p, str)), None)


def _check_digest(path, note):
    """The usual file names end with the first digits of their SHA-256."""
    said = re.search(r"-([0-9a-f]{8})\.", os.path.basename(path))
    if not said:
        return
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        while block := f.read(1 << 20):
            digest.update(block)
    if not digest.hexdigest().startswith(said[1]):
        note(f"the SHA-256 of {path} begins with {digest.hexdigest()[:8]}, not as its name says: a damaged download, or "
             "other weights under this name?")


def _read(path, tag):
    """The tensors of a checkpoint file by name, as they are stored."""
    with open(path, "rb") as f:
        head = f.read(4)
    if not path.endswith(".safetensors") and head != b"PK\x03\x04" and head[:1] != b"\x80":
        raise JobError(f"{path} does not hold the weights of {tag}: it is not a file of PyTorch")
    old = sys.modules["timm"].__version__.startswith("0.")
    helpers = importlib.import_module("timm.models.helpers" if old else "timm.models._helpers")
    try:
        state = helpers.load_state_dict(path)
    except Exception as e:  # pickle, safetensors and zip readers each have their own kinds
        raise JobError(f"{path} cannot be read, is it complete? {type(e).__name__}: {_line(e)}") from e
    return {k: v for k, v in state.items() if isinstance(v, torch.Tensor)}


def _offence(e):
    """The first tensor that does not fit, from what load_state_dict raises."""
    text = str(e)
    if m := re.search(r'Missing key\(s\) in state_dict: "([^"]+)"', text):
        return f"it has no tensor {m[1]}"
    if m := re.search(r"size mismatch for (\S+): copying a param with shape torch\.Size\((.*?)\) from checkpoint, the shape "
                      r"in current model is torch\.Size\((.*?)\)", text):
        return f"tensor {m[1]} is {m[2]} in the file and {m[3]} in the network"
    if m := re.search(r'Unexpected key\(s\) in state_dict: "([^"]+)"', text):
        return f"the network has no tensor {m[1]}"
    return f"{type(e).__name__}: {_line(e)}"


def _line(e):
    return (str(e).strip().splitlines() or [""])[0]
