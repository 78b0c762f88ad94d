#!/usr/bin/env python3
"""The peer of `sat bench attack` and `sat bench transfer`: an eager timm network in float32.

    python scripts/peers/attack.py --model resnet18 --module resnet18.pt --images images.npy --work pgd --threads 1

The network has the weights of the module, a TorchScript file; the images are float32 [N,3,H,W] in [0,1], labelled with what
the network makes of them, so that an attack has all of them to do. Reads lines with a number of steps from standard input.
For each it does the work once and answers with the seconds that took, the processor time of this process, its peak
resident memory in KiB, and how many images the attack fooled, -1 where that is not part of it. So the caller can interleave
its own measurements with these.

  transfer                          so many forward passes without gradients, with predictions
  pgd, pgd-l2                       torchattacks
  apgd-ce, apgd-t, fab-t, square    pyautoattack, the packaged reference implementation, as its standard version sets them;
                                    steps of square are queries
  autoattack                        the four together. The checks of the model that come first are left out: they are not
                                    part of the attack
  patchfool                         the eager attack of scripts/goldens/attacks_patchfool.py
"""
import argparse
import contextlib
import logging
import random
import resource
import sys
import time
import warnings

warnings.filterwarnings("ignore")

import numpy as np  # noqa: E402
import timm  # noqa: E402
import torch  # noqa: E402
import torchattacks  # noqa: E402

SEED = 0


def column(values):
    return torch.tensor(values)[:, None, None]


def transfer(net, mean, std, x, labels, args):
    def work(steps):
        with torch.no_grad():
            for _ in range(steps):
                net((x - mean) / std).argmax(1)
    return work


def pgd(net, mean, std, x, labels, args):
    if args.work == "pgd":
        attack = torchattacks.PGD(net, eps=args.epsilon, alpha=args.step_size, random_start=False)
    else:
        attack = torchattacks.PGDL2(net, eps=args.epsilon, alpha=args.step_size, random_start=False)
    attack.set_normalization_used(mean=mean.flatten().tolist(), std=std.flatten().tolist())
    attack.set_model_training_mode(False, False, False)
    inputs = (x - mean) / std

    def work(steps):
        attack.steps = steps
        attack(inputs, labels)
    return work


def reference(net, mean, std, x, labels, args):
    import pyautoattack.autoattack as package
    logging.disable(logging.WARNING)
    for check in ("check_randomized", "check_range_output", "check_dynamic", "check_n_classes", "check_square_sr"):
        setattr(package.checks, check, lambda *_, **__: None)

    def model(images):
        return net((images - mean) / std)
    attack = package.AutoAttack(model, norm="Linf", eps=args.epsilon, seed=SEED, version="standard")
    for part in (attack.apgd, attack.apgd_targeted, attack.fab, attack.square):
        part.seed = SEED
    attack.apgd.loss, attack.fab.targeted = "ce", True
    attack.apgd_targeted.n_target_classes = attack.fab.n_target_classes = args.targets
    parts = {"apgd-ce": attack.apgd, "apgd-t": attack.apgd_targeted, "fab-t": attack.fab, "square": attack.square}

    def work(steps):
        for part in (attack.apgd, attack.apgd_targeted, attack.fab):
            part.n_iter = steps
        attack.apgd.n_iter_orig = attack.apgd_targeted.n_iter_orig = steps
        attack.square.n_queries = args.queries if args.work == "autoattack" else steps
        if args.work == "autoattack":
            predicted = attack.run_standard_evaluation(x, labels, batch_size=len(x))[1]
        else:
            with torch.no_grad():  # as run_standard_evaluation does
                predicted = model(parts[args.work].perturb(x.clone(), labels.clone())).argmax(1)
        return int((predicted != labels).sum())
    return work


def patchfool(net, mean, std, x, labels, args):
    sys.path[:0] = ["scripts", "scripts/goldens"]
    import attacks_patchfool as golden
    golden.MEAN, golden.STD = mean.flatten().tolist(), std.flatten().tolist()
    golden.SIZE, golden.PATCH, golden.WATCHED = x.shape[-1], net.patch_embed.patch_size[0], ()

    class Quick:
        """Its keyed random numbers are of Python and slow; these are not the golden's, but cost next to nothing."""
        def __init__(self, *_):
            self.float32 = self.float64 = random.random
    golden.Stream = Quick
    watched = golden.Watched(net)
    case = {"patches": 1, "select": "attention", "layer": 4, "rate": 0.2, "weight": 0.002, "form": "code", "conflict": "project",
            "mild_l2": 0, "mild_linf": 0, "pixels": 0}

    def work(steps):
        golden.patch_fool(watched, x, labels, case | {"steps": steps})
    return work


def main():
    works = {"transfer": transfer, "pgd": pgd, "pgd-l2": pgd, "apgd-ce": reference, "apgd-t": reference, "fab-t": reference,
             "square": reference, "autoattack": reference, "patchfool": patchfool}
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", required=True)
    p.add_argument("--module", required=True)
    p.add_argument("--images", required=True)
    p.add_argument("--work", choices=works, required=True)
    p.add_argument("--threads", type=int, required=True)
    p.add_argument("--epsilon", type=float, default=8 / 255)
    p.add_argument("--step-size", type=float, default=0.1)
    p.add_argument("--targets", type=int, default=9)
    p.add_argument("--queries", type=int, default=5000)
    args = p.parse_args()

    torch.set_num_threads(args.threads)
    torch.manual_seed(SEED)
    net = timm.create_model(args.model, pretrained=False).eval()
    stored = torch.jit.load(args.module).state_dict()  # with buffers that the eager network computes and does not store
    net.load_state_dict({key: stored[key] for key in net.state_dict() if key in stored})
    for parameter in net.parameters():
        parameter.requires_grad_(False)  # as a careful user does; it halves the backward pass
    mean, std = (column(net.pretrained_cfg[key]) for key in ("mean", "std"))
    x = torch.from_numpy(np.load(args.images))
    with torch.no_grad():
        labels = net((x - mean) / std).argmax(1)
    work = works[args.work](net, mean, std, x, labels, args)

    print("ready", torchattacks.__version__, torch.__version__, flush=True)
    for line in sys.stdin:
        with contextlib.redirect_stdout(sys.stderr):
            started, cpu = time.perf_counter(), time.process_time()
            fooled = work(int(line))
            seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        print(seconds, cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, -1 if fooled is None else fooled, flush=True)


if __name__ == "__main__":
    main()
