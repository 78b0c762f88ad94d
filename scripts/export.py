#!/usr/bin/env python3
"""Exports timm networks to module files: TorchScript plus the manifest sat.json.

    python scripts/export.py --job job.json --out models
    python scripts/export.py --out models --name tiny --model resnet18d --kwargs '{"channels": [8, 8, 8, 8]}' \\
        --num-classes 10 --input-size 32 --mean 0.5 0.5 0.5 --std 0.5 0.5 0.5 --seed 1

A job file holds one job or a list of them. Fields of a job:

  name          name of the file (NAME.pt)
  model         name for timm.create_model, with its tag; or
  class         path inside timm of a network class, such as "models.mlp_mixer.MlpMixer"
  kwargs        arguments; a list stands for a tuple, {"ref": "models.mlp_mixer.Affine", "kwargs": {...}} for something
                that timm defines, with those arguments bound
  num_classes, in_chans, input_size ([3,H,W]), mean, std, interpolation, crop_pct      default: what timm says
  alias, timm_0_6_7, components     copied to the manifest
  seed          of the random weights
  weights       "random" (default): as timm initialises the network; "random, non-degenerate": see satexport/randomise.py;
                "pretrained": from timm's local cache, or from the folder checkpoints; weight_file: name of the file
                in timm 0.6.7, which is looked for first
  pretrain      {"method": "mae" | "mocov3" | "byol", ...}: not a classifier but what pre-trains one, see satexport/selfsup.py
  attention     true: a ViT or DeiT that also returns its attention maps, for Patch-Fool
  heads         2: a distilled DeiT that returns the logits of both of its classifiers, for distillation

Each job runs in a process of its own, --workers of them at a time, so a file does not depend on what was exported before
it. Progress is written as
one JSON object per line: {"event": "start"|"note"|"done"|"error", "name": ..., ...}. Exit status 1 when a job failed, 2
for a wrong job file, 130 when interrupted.
"""
import argparse
import copy
import gc
import json
import os
import resource
import signal
import sys
import time
import traceback
import warnings

if __name__ == "__main__" and os.environ.get("PYTHONHASHSEED") != "0":
    # TorchScript writes the constants of a class in the order of a set of strings, which is otherwise another one in
    # every process; equal jobs must give equal files. In front of the imports, which take seconds.
    os.environ["PYTHONHASHSEED"] = "0"
    os.execv(sys.executable, [sys.executable, *sys.argv])

gc.disable()  # torch and timm make a million objects that stay; see main
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
os.environ["HF_HUB_OFFLINE"] = "1"  # an export never downloads; huggingface_hub reads this when it is imported

from satexport import (attention, build, check, distilled, fill, initrules, modulefile, pretrained, randomise,  # noqa: E402
                       selfsup)


def emit(event, name, **fields):
    if "message" in fields:  # a line must go out in one piece, since several processes write
        fields["message"] = fields["message"][-3000:]
    # print() hands over text and newline one after the other, which PYTHONUNBUFFERED makes two writes.
    sys.stdout.write(json.dumps({"event": event, "name": name, **fields}) + "\n")
    sys.stdout.flush()


def cpu_kind(torch):
    """What decides which kernels run, and so how numbers round: instruction set and model of the processor."""
    model = ""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as f:
            model = next((line.split(":", 1)[1].strip() for line in f if line.startswith("model name")), "")
    except OSError:
        pass  # not Linux; the capability alone has to do
    return f"{torch.backends.cpu.get_cpu_capability()} {model}".strip()


def describe(job, net):
    """Input size, normalisation and transform: the job's, else timm's."""
    cfg = getattr(net, "pretrained_cfg", None) or {}
    size = list(job.get("input_size") or cfg.get("input_size") or ())
    if len(size) != 3 or not all(isinstance(v, int) and v > 0 for v in size):
        raise build.JobError(f"the job must give input_size as [channels, height, width], not {size}")
    out = {"input_size": size}
    for key, default in (("mean", (0.0,) * size[0]), ("std", (1.0,) * size[0]), ("interpolation", "bicubic"),
                         ("crop_pct", 0.875)):
        value = job.get(key, cfg.get(key) or default)
        out[key] = list(value) if isinstance(value, (list, tuple)) else value
    for key in ("mean", "std"):
        if len(out[key]) != size[0]:
            raise build.JobError(f"{key} {out[key]} does not have {size[0]} values")
    if not all(s > 0 for s in out["std"]):
        raise build.JobError(f"std {out['std']} is not positive")
    return out


def to_torchscript(torch, name, net, size):
    """Scripted where timm allows it. A trace bakes devices and eval mode in, so it is the fallback."""
    try:
        return torch.jit.script(net), "scripted"
    except Exception as e:  # the compiler raises RuntimeError, NotSupportedError, TypeError, ... by construct
        reason = str(e).strip().splitlines()
        emit("note", name, message=f"cannot be scripted ({type(e).__name__}: {reason[0] if reason else ''}); tracing it")
        with torch.no_grad():
            return torch.jit.trace(net, torch.rand(2, *size), check_trace=False), "traced"


def head_parameters(net):
    """Names of the parameters of the classifier, however many layers it has."""
    layers = net.get_classifier()
    layers = layers if isinstance(layers, (list, tuple)) else [layers]
    own = {id(p) for layer in layers for p in layer.parameters()}
    return [name for name, p in net.named_parameters(remove_duplicate=False) if id(p) in own]


def export(job, out):
    import torch
    timm = sys.modules["timm"]
    torch.set_num_threads(1)
    name, started = job["name"], time.monotonic()
    seed = int(job.get("seed", 0))
    construct = build.constructor(job)

    restored = ""

    def construct_restored():
        nonlocal restored
        net = construct()
        restored = build.restore(job, net, timm.__version__)
        return net

    net, rules = initrules.rules(construct_restored, seed)
    source = job.get("weights", "random")
    weights = {"source": source, "seed": seed}
    if source == "pretrained":
        net, weights = pretrained.load(job, construct, lambda message: emit("note", name, message=message))
        build.restore(job, net, timm.__version__)
    for p in net.parameters():
        p.requires_grad_(False)
    net.eval()
    described = describe(job, net)
    mean, std, size, classes = described["mean"], described["std"], described["input_size"], int(net.num_classes)
    head = head_parameters(net)
    if source == randomise.SOURCE:
        randomise.make(net, rules, head, seed, mean, std, size)
    maps = None
    if job.get("attention"):
        net, maps = attention.expose(net, size)
    heads = job.get("heads", 1)
    if heads == 2:
        net = distilled.both_heads(net, size)

    script, kind = to_torchscript(torch, name, net, size)
    if (maps or heads == 2) and kind != "scripted":
        raise build.JobError("a network with attention maps or two classifiers cannot be traced")
    stored = initrules.tensors(script)
    if stored.keys() != {r["tensor"] for r in rules}:
        raise build.JobError("TorchScript names other tensors than the network: "
                             f"{sorted(stored.keys() ^ {r['tensor'] for r in rules})}")

    filled = copy.deepcopy(net)
    intervals = check.make(filled, rules, head, mean, std, size)
    arrays, exact = check.reference(filled, mean, std, classes, size)
    binary = check.pack(arrays)
    del filled, arrays  # the file is made in memory

    manifest = {
        "format": modulefile.FORMAT,
        "name": name,
        "alias": job.get("alias", ""),
        "timm": {"version": timm.__version__, "model": job.get("model", ""), "class": job.get("class", ""),
                 "name_0_6_7": job.get("timm_0_6_7", ""), "kwargs": job.get("kwargs", {}), "restored": restored},
        "torch": torch.__version__,
        **described,
        "classes": classes,
        "kind": kind,
        "heads": heads,
        "attention": maps is not None,
        **({"attention_shape": maps} if maps else {}),
        "weights": weights,
        "weights_sha256": modulefile.weights_sha256(stored),
        "init": rules,
        "check": {
            "generator": fill.GENERATOR,
            "seed": check.SEED,
            "fill": [{"tensor": n, "low": low, "high": high} for n, (low, high) in intervals.items()],
            "batches": list(check.BATCHES),
            "file": modulefile.CHECK,
            "sha256": modulefile.sha256(binary),
            "float64": exact,
            "cpu": cpu_kind(torch),
        },
        "components": job.get("components", {}),
    }
    path = os.path.join(out, f"{name}.pt")
    text = json.dumps(manifest, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    modulefile.save(script, path, {modulefile.MANIFEST: text.encode(), modulefile.CHECK: binary})
    emit("done", name, path=path, kind=kind, parameters=sum(p.numel() for p in net.parameters()),
         bytes=os.path.getsize(path), seconds=round(time.monotonic() - started, 2),
         peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


def export_pretraining(job, out):
    """A file that pre-trains the job's network, whose tensors in it are called encoder.NAME."""
    import torch
    timm = sys.modules["timm"]
    torch.set_num_threads(1)
    name, started = job["name"], time.monotonic()
    given = selfsup.arguments(job["pretrain"])
    seed, build_encoder = int(job.get("seed", 0)), build.constructor({**job, "num_classes": 0})
    net, rules = initrules.rules(lambda: selfsup.wrap(build_encoder(), given), seed)
    described = describe(job, net.encoder)
    script = torch.jit.script(net.train())
    for p in script.parameters():
        p.requires_grad_(False)
    stored = initrules.tensors(script)
    patches = net.encoder.patch_embed
    manifest = {
        "format": modulefile.FORMAT,
        "name": name,
        "method": given["method"],
        "arguments": {k: v for k, v in given.items() if k != "method"},
        "timm": {"version": timm.__version__, "model": job.get("model", ""), "class": job.get("class", ""),
                 "name_0_6_7": "", "kwargs": job.get("kwargs", {}), "restored": ""},
        "torch": torch.__version__,
        **described,
        "patches": patches.num_patches,
        "weights": {"source": "random", "seed": seed},
        "weights_sha256": modulefile.weights_sha256(stored),
        "init": rules,
    }
    initial = copy.deepcopy(script.state_dict())
    manifest["check"] = {**selfsup.record(net, script, rules, given["method"], described["mean"], described["std"],
                                          described["input_size"]), "cpu": cpu_kind(torch)}
    script.load_state_dict(initial)
    for p in script.parameters():
        p.requires_grad_(False)
        p.grad = None
    path = os.path.join(out, f"{name}.pt")
    text = json.dumps(manifest, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    modulefile.save(script, path, {modulefile.PRETRAIN: text.encode()})
    emit("done", name, path=path, kind="scripted", parameters=sum(p.numel() for p in net.parameters()),
         bytes=os.path.getsize(path), seconds=round(time.monotonic() - started, 2),
         peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


KNOWN = {"name", "model", "class", "kwargs", "num_classes", "in_chans", "input_size", "mean", "std", "interpolation",
         "crop_pct", "alias", "timm_0_6_7", "components", "seed", "weights", "checkpoints", "weight_file",
         "attention", "heads", "pretrain"}
WEIGHTS = ("random", randomise.SOURCE, "pretrained")


def validate(job):
    if not isinstance(job, dict):
        raise build.JobError(f"a job is an object, not {job!r}")
    if unknown := sorted(job.keys() - KNOWN):
        raise build.JobError(f"unknown job fields {', '.join(unknown)}")
    if not isinstance(job.get("name"), str) or not job["name"] or "/" in job["name"] or job["name"].startswith("."):
        raise build.JobError(f"a job needs a name that can be a file name, not {job.get('name')!r}")
    if ("model" in job) == ("class" in job):
        raise build.JobError(f"job {job['name']} needs exactly one of model and class")
    if job.get("heads", 1) not in (1, 2) or job.get("heads") == 2 and job.get("attention"):
        raise build.JobError(f"job {job['name']}: heads is 1 or 2, and 1 with attention, not {job['heads']!r}")
    if "pretrain" in job:
        selfsup.arguments(job["pretrain"])
    if job.get("weights", "random") not in WEIGHTS:
        raise build.JobError(f"job {job['name']}: weights are one of {', '.join(map(repr, WEIGHTS))}, not {job['weights']!r}")


def start(job, out):
    """Starts one job in a child process."""
    emit("start", job["name"])
    if pid := os.fork():
        return pid
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        (export_pretraining if "pretrain" in job else export)(job, out)
        code = 0
    except modulefile.WriteError as e:  # hits every job, unlike a checkpoint that cannot be read
        emit("error", job["name"], message=str(e), errno=e.errno)
    except (build.JobError, initrules.InitError, check.CheckError, randomise.DegenerateError, OSError, ValueError) as e:
        emit("error", job["name"], message=str(e))
    except KeyboardInterrupt:
        code = 130
    except BaseException:  # a defect of this program: the trace helps, the parent must live on
        emit("error", job["name"], message=traceback.format_exc(limit=8))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def finish(running):
    """Waits for the first of the running jobs {pid: name} to end; True when it succeeded."""
    pid, status = os.wait()
    name = running.pop(pid)
    if os.WIFSIGNALED(status):
        emit("error", name, message=f"the export was killed by signal {os.WTERMSIG(status)}"
             + (" (out of memory?)" if os.WTERMSIG(status) == 9 else ""))
    return status == 0


def run(jobs, out, workers):
    """Runs the jobs, at most workers at a time; True when all succeeded. A failing one does not stop the others."""
    running, ok = {}, True
    try:
        for job in jobs:
            if len(running) == workers:
                ok = finish(running) and ok
            running[start(job, out)] = job["name"]
        while running:
            ok = finish(running) and ok
    except KeyboardInterrupt:  # sent to this process alone, unless it came from a terminal
        for pid in running:
            os.kill(pid, signal.SIGINT)
        while running:
            running.pop(os.wait()[0])
        raise
    return ok


def jobs_of(args):
    if args.job:
        with open(args.job, encoding="utf-8") as f:
            jobs = json.load(f)
        return jobs if isinstance(jobs, list) else [jobs]
    job = {"name": args.name, "kwargs": json.loads(args.kwargs), "seed": args.seed, "weights": args.weights}
    given = {"model": args.model, "class": args.cls, "num_classes": args.num_classes, "mean": args.mean, "std": args.std,
             "checkpoints": args.checkpoints,
             "input_size": args.input_size and [3, args.input_size, args.input_size]}
    return [job | {k: v for k, v in given.items() if v is not None}]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", required=True, help="folder for the module files")
    p.add_argument("--job", help="JSON file with one job or a list; instead of the following")
    p.add_argument("--name")
    p.add_argument("--model")
    p.add_argument("--class", dest="cls")
    p.add_argument("--kwargs", default="{}", help="JSON")
    p.add_argument("--num-classes", type=int)
    p.add_argument("--input-size", type=int)
    p.add_argument("--mean", type=float, nargs="+")
    p.add_argument("--std", type=float, nargs="+")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--weights", default="random", choices=WEIGHTS)
    p.add_argument("--checkpoints", help="folder of checkpoint files, instead of timm's local cache")
    p.add_argument("--timm-path", help="folder that holds another version of timm, instead of the installed one")
    p.add_argument("--workers", type=int, default=1, help="exports that run at the same time")
    args = p.parse_args()
    try:
        jobs = jobs_of(args)
        for job in jobs:
            validate(job)
        names = [j["name"] for j in jobs]
        if twice := sorted({n for n in names if names.count(n) > 1}):
            raise build.JobError(f"two jobs are named {', '.join(twice)}")
        warnings.filterwarnings("ignore")  # TorchScript's deprecation, timm's registry: nothing the caller can act on
        build.import_timm(args.timm_path)
    except (build.JobError, OSError, json.JSONDecodeError) as e:
        print(f"export: {e}", file=sys.stderr)
        return 2
    gc.freeze()  # the collector need not look again at what was imported, half of the time of a small export
    gc.enable()
    try:
        return 0 if run(jobs, args.out, args.workers) else 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
