#!/usr/bin/env python3
"""The peer of `sat bench attack`: torchattacks' PGD on an eager timm network.

    python scripts/peers/attack.py --model resnet18 --size 224 --batch 8 --steps 10 --threads 1

Reads one line per attack from standard input and answers each with the seconds it took and the peak resident memory in
KiB, so that the caller can interleave its own measurements with these.
"""
import argparse
import resource
import sys
import time
import warnings

warnings.filterwarnings("ignore")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", required=True)
    p.add_argument("--size", type=int, required=True)
    p.add_argument("--batch", type=int, required=True)
    p.add_argument("--steps", type=int, required=True)
    p.add_argument("--threads", type=int, required=True)
    p.add_argument("--epsilon", type=float, default=8 / 255)
    p.add_argument("--step-size", type=float, default=0.1)
    args = p.parse_args()

    import timm
    import torch
    import torchattacks
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    net = timm.create_model(args.model, pretrained=False).eval()
    for parameter in net.parameters():
        parameter.requires_grad_(False)  # as a careful user does; it halves the backward pass
    attack = torchattacks.PGD(net, eps=args.epsilon, alpha=args.step_size, steps=args.steps, random_start=False)
    attack.set_normalization_used(mean=net.pretrained_cfg["mean"], std=net.pretrained_cfg["std"])
    x = torch.rand(args.batch, 3, args.size, args.size)
    labels = torch.randint(0, 1000, (args.batch,))
    attack.set_model_training_mode(False, False, False)
    inputs = (x - torch.tensor(net.pretrained_cfg["mean"])[:, None, None]) / torch.tensor(net.pretrained_cfg["std"])[:, None, None]
    print("ready", torchattacks.__version__, torch.__version__, flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        attack(inputs, labels)
        print(time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, flush=True)


if __name__ == "__main__":
    main()
